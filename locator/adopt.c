#include "locator/adopt.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/mem.h"
#include "locator/membership.h"
#include "locator/peer_link.h"
#include "protocol/message.h"

enum { LOOK_MS = 250, TELL_MS = 10000, NAMES_BYTES = 256 };

struct adopt {
    struct locator *locator;
    void (*on_done)(struct locator *locator, const struct map_problem *problem);
    uint64_t stored_epoch;
    struct loop_timer timer;
    struct cluster_map *newest; /* of a server's; NULL: none yet */
    char from[LIMIT_NAME_BYTES + 1];
    uint64_t greeted[LIMIT_MEMBERS]; /* incarnations of that cluster */
    uint32_t greeted_count;
    uint64_t first_us, told_us; /* of the first map; when a line said what is waited for */
    bool is_storing;
};

bool adopt_is_empty(const struct cluster_map *map)
{
    return map->member_count == 0 && map->region_count == 0 && map->table_count == 0 &&
           map->query_count == 0;
}

/* ---- Who is missing ---- */

static bool has_greeted(const struct adopt *adopt, uint64_t incarnation)
{
    for (uint32_t i = 0; i < adopt->greeted_count; i++)
        if (adopt->greeted[i] == incarnation)
            return true;
    return false;
}

/* The names of the servers that the newest map has and that have not come; how many they are. */
static uint32_t list_missing(const struct adopt *adopt, char *names, size_t size)
{
    const struct cluster_map *map = adopt->newest;
    uint32_t count = 0;
    size_t len = 0;
    names[0] = '\0';
    for (uint32_t i = 0; i < map->member_count; i++) {
        const struct cluster_member *server = &map->members[i];
        if (server->role != CLUSTER_SERVER || server->state == CLUSTER_DOWN ||
            has_greeted(adopt, server->incarnation))
            continue;
        if (len + server->name.len + 3 < size)
            len += (size_t)snprintf(names + len, size - len, "%s%.*s", len > 0 ? ", " : "",
                                    SLICE_FMT(server->name));
        count++;
    }
    return count;
}

/* ---- The end ---- */

static void fail(struct adopt *adopt, enum error error)
{
    struct map_problem problem;
    map_problem_set(&problem, error, "The map that the servers hold cannot be adopted: %s.",
                    error_text(error));
    adopt->on_done(adopt->locator, &problem);
}

static void on_stored(void *arg, const struct map_problem *problem)
{
    struct adopt *adopt = arg;
    struct locator *locator = adopt->locator;
    if (problem != NULL) {
        adopt->on_done(locator, problem);
        return;
    }
    log_line(locator->log, LOG_WARN, "map", "VG1251",
             "adopted the cluster map of epoch %" PRIu64 " that server %s held, as epoch %" PRIu64
             ": %u members, %u regions, %u tables",
             adopt->newest->epoch, adopt->from, locator->map->epoch, locator->map->member_count,
             locator->map->region_count, locator->map->table_count);
    while (locator->peers != NULL)
        peer_drop(locator->peers, "the cluster map is adopted");
    adopt->on_done(locator, NULL);
}

/* The servers' map, with an epoch of its own, becomes the locator's. */
static enum error take_over(struct adopt *adopt)
{
    struct locator *locator = adopt->locator;
    struct cluster_map *map;
    enum error error = cluster_map_edit(adopt->newest, &map);
    if (error != OK)
        return error;
    uint64_t newest = map->epoch > adopt->stored_epoch ? map->epoch : adopt->stored_epoch + 1;
    map->epoch = newest + ADOPT_EPOCHS - 1;
    error = cluster_map_seal(map);
    buf_clear(&locator->packed);
    if (error == OK)
        error = cluster_map_pack(map, &locator->packed);
    if (error == OK)
        error = membership_prepare(locator, map);
    if (error == OK)
        error = map_store_store(locator->store, adopt->stored_epoch, map->epoch,
                                buf_slice(&locator->packed), on_stored, adopt);
    if (error != OK) {
        cluster_map_unref(map);
        return error;
    }
    locator->map = map;
    adopt->is_storing = true;
    return OK;
}

static void finish_if_all_are_here(struct adopt *adopt)
{
    uint64_t now_us = loop_now_us(adopt->locator->loop);
    char names[NAMES_BYTES];
    if (adopt->newest == NULL || adopt->is_storing)
        return;
    uint32_t missing = list_missing(adopt, names, sizeof(names));
    bool is_late = now_us - adopt->first_us >= ADOPT_WAIT_MS * UINT64_C(1000);
    if (missing > 0 && !is_late)
        return;
    if (missing > 0)
        log_line(adopt->locator->log, LOG_WARN, "map", "VG1252",
                 "%u servers have not come within %u s (%s): the map is adopted without hearing "
                 "whether they hold a newer one",
                 missing, ADOPT_WAIT_MS / 1000, names);
    enum error error = take_over(adopt);
    if (error != OK)
        fail(adopt, error);
}

static void tell(struct adopt *adopt, uint64_t now_us)
{
    char names[NAMES_BYTES] = "";
    adopt->told_us = now_us;
    if (adopt->newest == NULL)
        log_line(adopt->locator->log, LOG_INFO, "map", "VG1250",
                 "waits for a server that holds the cluster map");
    else if (list_missing(adopt, names, sizeof(names)) > 0)
        log_line(adopt->locator->log, LOG_INFO, "map", "VG1250",
                 "holds the cluster map of epoch %" PRIu64 " and waits for %s",
                 adopt->newest->epoch, names);
}

static void on_timer(void *arg)
{
    struct adopt *adopt = arg;
    uint64_t now_us = loop_now_us(adopt->locator->loop);
    loop_timer_set(&adopt->timer, LOOK_MS * UINT64_C(1000));
    if (now_us - adopt->told_us >= TELL_MS * UINT64_C(1000))
        tell(adopt, now_us);
    for (struct peer *peer = adopt->locator->peers, *next; peer != NULL; peer = next) {
        next = peer->next;
        if (now_us - peer->heard_us > PEER_SILENT_MS * UINT64_C(1000))
            peer_drop(peer, "it has been silent for 5 s");
    }
    finish_if_all_are_here(adopt);
}

/* ---- Servers ---- */

static void refuse_for_now(struct peer *peer)
{
    peer_refuse(peer, PB__PEER_WELCOME__REFUSAL__NOT_READY,
                "the locator takes over the newest map that its servers hold, and waits for all of "
                "them.");
}

/* Welcomed to its own cluster, so that it can be asked for its map. */
static enum error ask_for_map(struct peer *peer, const Pb__PeerHello *hello)
{
    struct locator *locator = peer->locator;
    Pb__PeerWelcome welcome = PB__PEER_WELCOME__INIT;
    Pb__PeerMapFetch fetch = PB__PEER_MAP_FETCH__INIT;
    welcome.cluster_id = hello->cluster_id;
    welcome.name = (char *)(uintptr_t)locator->options.name;
    welcome.incarnation = locator->incarnation;
    welcome.role = CLUSTER_LOCATOR;
    welcome.version = (char *)(uintptr_t)VUG_VERSION;
    fetch.epoch = hello->epoch;
    peer->state = PEER_ADOPTED;
    enum error error = PEER_SEND(peer->conn, WELCOME, welcome, &welcome);
    return error == OK ? PEER_SEND(peer->conn, MAP_FETCH, map_fetch, &fetch) : error;
}

void adopt_hello(struct peer *peer, const Pb__PeerHello *hello)
{
    struct adopt *adopt = peer->locator->adopt;
    const struct cluster_map *newest = adopt->newest;
    if (hello->role != CLUSTER_SERVER || hello->link != PB__PEER_HELLO__LINK__CONTROL) {
        peer_refuse(peer, PB__PEER_WELCOME__REFUSAL__VERSION,
                    "locators are linked to by servers alone.");
        return;
    }
    if (hello->cluster_id.len != CLUSTER_ID_BYTES || hello->epoch == 0 || adopt->is_storing) {
        refuse_for_now(peer); /* it has nothing to tell */
        return;
    }
    if (newest != NULL && memcmp(newest->cluster_id, hello->cluster_id.data, CLUSTER_ID_BYTES)) {
        peer_refuse(peer, PB__PEER_WELCOME__REFUSAL__OTHER_CLUSTER,
                    "locator %s is adopting the map of another cluster, which server %s was the "
                    "first to bring. Stop the servers of one of the two, and start the locator "
                    "again.",
                    peer->locator->options.name, adopt->from);
        return;
    }
    if (newest == NULL || hello->epoch > newest->epoch) {
        if (ask_for_map(peer, hello) != OK)
            peer_drop(peer, "there was not enough memory to ask it for its map");
        return;
    }
    if (!has_greeted(adopt, peer->incarnation) && adopt->greeted_count < LIMIT_MEMBERS)
        adopt->greeted[adopt->greeted_count++] = peer->incarnation;
    refuse_for_now(peer);
}

enum error adopt_message(struct peer *peer, const Pb__PeerMessage *message)
{
    struct adopt *adopt = peer->locator->adopt;
    struct cluster_map *map;
    if (message->kind_case != PB__PEER_MESSAGE__KIND_MAP_PUSH || adopt->is_storing)
        return OK;
    enum error error =
        cluster_map_unpack(slice_of(message->map_push->map.data, message->map_push->map.len), &map);
    if (error != OK)
        return error;
    bool is_other = adopt->newest != NULL &&
                    memcmp(adopt->newest->cluster_id, map->cluster_id, CLUSTER_ID_BYTES) != 0;
    if (is_other || (adopt->newest != NULL && map->epoch <= adopt->newest->epoch)) {
        cluster_map_unref(map);
    } else {
        if (adopt->newest == NULL)
            adopt->first_us = loop_now_us(peer->locator->loop);
        cluster_map_unref(adopt->newest);
        adopt->newest = map;
        snprintf(adopt->from, sizeof(adopt->from), "%s", peer->name);
        log_line(peer->locator->log, LOG_INFO, "map", "VG1250",
                 "server %s holds the cluster map of epoch %" PRIu64, peer->name, map->epoch);
    }
    /* It comes again, and counts then. */
    peer_drop(peer, "its map was read");
    return OK;
}

/* ---- Life ---- */

enum error adopt_new(struct locator *locator, uint64_t stored_epoch,
                     void (*on_done)(struct locator *locator, const struct map_problem *problem),
                     struct adopt **out)
{
    struct adopt *adopt = mem_zalloc(sizeof(*adopt));
    if (adopt == NULL)
        return ERROR_MEMORY;
    adopt->locator = locator;
    adopt->stored_epoch = stored_epoch;
    adopt->on_done = on_done;
    enum error error = loop_timer_init(&adopt->timer, locator->loop, on_timer, adopt);
    if (error != OK) {
        mem_free(adopt);
        return error;
    }
    tell(adopt, loop_now_us(locator->loop));
    loop_timer_set(&adopt->timer, LOOK_MS * UINT64_C(1000));
    *out = adopt;
    return OK;
}

void adopt_free(struct adopt *adopt)
{
    if (adopt == NULL)
        return;
    loop_timer_fini(&adopt->timer);
    cluster_map_unref(adopt->newest);
    mem_free(adopt);
}
