#include "locator/locator.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/mem.h"
#include "locator/ack_wait.h"
#include "locator/adopt.h"
#include "locator/departure.h"
#include "locator/failover.h"
#include "locator/locator_impl.h"
#include "locator/membership.h"
#include "locator/ops.h"
#include "locator/peer_link.h"
#include "locator/placer.h"
#include "locator/proposals.h"
#include "locator/queries.h"

/* ---- The map ---- */

struct member *locator_member(const struct locator *locator, uint64_t incarnation)
{
    struct member *member = locator->members;
    while (member != NULL && member->incarnation != incarnation)
        member = member->next;
    return member;
}

void locator_take_map(struct locator *locator, struct cluster_map *map, struct buf *packed)
{
    struct buf old = locator->packed;
    locator->packed = *packed;
    *packed = old;
    cluster_map_unref(locator->map);
    locator->map = map;
    membership_prune(locator);
    for (struct peer *peer = locator->peers; peer != NULL; peer = peer->next)
        peer_push_map(peer);
    failover_map_taken(locator);
    placer_look(locator);
    ack_wait_look(locator);
}

/* ---- Start ---- */

static void fail_start(struct locator *locator, enum error why, const char *text)
{
    locator->failed = true;
    locator->options.on_failed(locator->options.arg, why, text);
}

static void on_accept(void *arg, struct net_socket *socket)
{
    struct locator *locator = arg;
    /* Whoever is refused was told by the session, or not at all; there is nothing more to do for
     * it. */
    (void)session_accept(&locator->host, locator->net, socket);
}

/* Fails the start if it cannot. */
static bool open_port(struct locator *locator)
{
    const struct locator_options *options = &locator->options;
    enum error error = net_listen(locator->net, options->bind_host, options->port, on_accept,
                                  locator, &locator->listener);
    if (error == OK)
        return true;
    char text[512];
    snprintf(text, sizeof(text),
             "Cannot listen on %s[%u]: %s. Another process may use the port, or the address is "
             "none of this machine's; choose others with --port and --bind-address.",
             options->bind_host, options->port, error_text(error));
    fail_start(locator, error, text);
    return false;
}

static void begin_to_serve(struct locator *locator)
{
    loop_timer_set(&locator->tick, LOCATOR_TICK_MS * UINT64_C(1000));
    locator->options.on_ready(locator->options.arg);
}

static void start_serving(struct locator *locator)
{
    if (open_port(locator))
        begin_to_serve(locator);
}

/* Puts the first map of this process in force: nobody is connected yet. */
static enum error begin_with(struct locator *locator, struct cluster_map *map)
{
    enum error error = membership_prepare(locator, map);
    if (error == OK)
        locator->map = map;
    return error;
}

static void on_loaded(void *arg, const struct map_problem *problem, uint64_t epoch,
                      struct slice bytes);

/* Another locator was faster: its cluster is this one's. */
static void begin_again(struct locator *locator)
{
    cluster_map_unref(locator->map);
    locator->map = NULL;
    buf_clear(&locator->packed);
    if (map_store_load(locator->store, on_loaded, locator) != OK)
        fail_start(locator, ERROR_MEMORY, "There is not enough memory to read the cluster map.");
}

static void on_first_stored(void *arg, const struct map_problem *problem)
{
    struct locator *locator = arg;
    if (problem != NULL && problem->error == ERROR_CONFLICT)
        begin_again(locator);
    else if (problem != NULL)
        fail_start(locator, problem->error, problem->text);
    else
        start_serving(locator);
}

static void begin_new_cluster(struct locator *locator)
{
    uint8_t id[sizeof(locator->map->cluster_id)];
    loop_random(locator->loop, id, sizeof(id));
    struct cluster_map *map = NULL;
    enum error error = cluster_map_new(id, &map);
    if (error == OK)
        error = cluster_map_seal(map);
    if (error == OK)
        error = cluster_map_pack(map, &locator->packed);
    if (error == OK)
        error = begin_with(locator, map);
    if (error == OK)
        error = map_store_store(locator->store, 0, 1, buf_slice(&locator->packed), on_first_stored,
                                locator);
    else
        cluster_map_unref(map);
    if (error != OK)
        fail_start(locator, error, "There is not enough memory to begin a cluster.");
}

static void on_adopted(struct locator *locator, const struct map_problem *problem)
{
    adopt_free(locator->adopt);
    locator->adopt = NULL;
    if (problem == NULL) {
        begin_to_serve(locator);
        return;
    }
    while (locator->peers != NULL)
        peer_drop(locator->peers, "the cluster map could not be adopted");
    net_listener_close(locator->listener);
    locator->listener = NULL;
    fail_start(locator, problem->error, problem->text);
}

static void begin_to_adopt(struct locator *locator, uint64_t stored_epoch)
{
    if (adopt_new(locator, stored_epoch, on_adopted, &locator->adopt) != OK)
        fail_start(locator, ERROR_MEMORY, "There is not enough memory to adopt a cluster map.");
    else
        (void)open_port(locator);
}

/* Whether the servers' map is wanted instead of the stored one. */
static bool is_to_adopt(const struct locator *locator, const struct cluster_map *map)
{
    if (!locator->options.adopts || adopt_is_empty(map))
        return locator->options.adopts;
    log_line(locator->log, LOG_WARN, "map", "VG1253",
             "there is a cluster map of epoch %" PRIu64
             " with %u members and %u regions: --adopt changes nothing and can be left out",
             map->epoch, map->member_count, map->region_count);
    return false;
}

static void on_loaded(void *arg, const struct map_problem *problem, uint64_t epoch,
                      struct slice bytes)
{
    struct locator *locator = arg;
    if (problem != NULL) {
        fail_start(locator, problem->error, problem->text);
        return;
    }
    if (epoch == 0 && locator->options.adopts) {
        begin_to_adopt(locator, 0);
        return;
    }
    if (epoch == 0) {
        begin_new_cluster(locator);
        return;
    }
    struct cluster_map *map = NULL;
    enum error error = cluster_map_unpack(bytes, &map);
    if (error == OK && map->epoch != epoch)
        error = ERROR_DAMAGED;
    if (error == OK && is_to_adopt(locator, map)) {
        cluster_map_unref(map);
        begin_to_adopt(locator, epoch);
        return;
    }
    buf_append_slice(&locator->packed, bytes);
    if (error == OK && locator->packed.failed)
        error = ERROR_MEMORY;
    if (error == OK)
        error = begin_with(locator, map);
    if (error == OK) {
        start_serving(locator);
        return;
    }
    cluster_map_unref(map);
    fail_start(
        locator, error,
        error == ERROR_MEMORY
            ? "There is not enough memory for the cluster map."
            : "The stored cluster map is whole, but this vug cannot read it: another version "
              "wrote it. Start the locator with that version, or restore the map from a copy.");
}

/* ---- Time ---- */

static void on_tick(void *arg)
{
    struct locator *locator = arg;
    uint64_t now_us = loop_now_us(locator->loop);
    if (locator->store->is_shared && now_us >= locator->refresh_due_us) {
        locator->refresh_due_us = now_us + LOCATOR_REFRESH_MS * UINT64_C(1000);
        changes_reload(&locator->changes);
    }
    for (struct peer *peer = locator->peers, *next; peer != NULL; peer = next) {
        next = peer->next;
        peer_tick(peer, now_us);
    }
    membership_tick(locator, now_us);
    placer_tick(locator, now_us);
    ack_wait_look(locator);
    locator_get_server_look(locator);
    loop_timer_set(&locator->tick, LOCATOR_TICK_MS * UINT64_C(1000));
}

/* ---- Life ---- */

static void free_texts(struct locator *locator)
{
    mem_free((void *)(uintptr_t)locator->options.name);
    mem_free((void *)(uintptr_t)locator->options.bind_host);
    mem_free((void *)(uintptr_t)locator->options.hostname);
}

static enum error copy_options(struct locator *locator, const struct locator_options *options)
{
    const char *hostname = options->hostname != NULL ? options->hostname : options->bind_host;
    locator->options = *options;
    locator->options.name = mem_strndup(options->name, strlen(options->name));
    locator->options.bind_host = mem_strndup(options->bind_host, strlen(options->bind_host));
    locator->options.hostname = mem_strndup(hostname, strlen(hostname));
    return locator->options.name == NULL || locator->options.bind_host == NULL ||
                   locator->options.hostname == NULL
               ? ERROR_MEMORY
               : OK;
}

static enum error init_host(struct locator *locator)
{
    const struct locator_options *options = &locator->options;
    locator->host = (struct session_host){
        .role = SESSION_LOCATOR,
        .loop = locator->loop,
        .log = locator->log,
        .operations = locator_operations,
        .owner = locator,
        .http_port = options->http_port,
        .connections_max =
            options->connections_max == 0 ? LIMIT_CONNECTIONS : options->connections_max,
        .idle_ms = LIMIT_IDLE_MS,
        .connection_count = &locator->connection_count,
        .on_peer = peer_accept,
    };
    return session_host_init(&locator->host);
}

/* What submits changes, and the changes themselves. */
static void free_workers(struct locator *locator)
{
    failover_free(locator->failover);
    changes_fini(&locator->changes);
    proposals_free(locator->proposals);
    placer_free(locator->placer);
}

enum error locator_new(const struct locator_options *options, struct loop *loop, struct net *net,
                       struct log *log, struct map_store *store, struct locator **out)
{
    PRE(loop_is_current(loop));
    struct locator *locator = mem_zalloc(sizeof(*locator));
    if (locator == NULL)
        return ERROR_MEMORY;
    locator->loop = loop;
    locator->net = net;
    locator->log = log;
    locator->started_us = loop_now_us(loop);
    loop_random(loop, &locator->incarnation, sizeof(locator->incarnation));
    arena_init(&locator->arena, 2 * (size_t)LIMIT_PEER_MESSAGE_BYTES);
    buf_init(&locator->packed);
    enum error error = copy_options(locator, options);
    if (error != OK)
        goto err_after_texts;
    error = init_host(locator);
    if (error != OK)
        goto err_after_texts;
    error = loop_timer_init(&locator->tick, loop, on_tick, locator);
    if (error != OK)
        goto err_after_host;
    error = changes_init(&locator->changes, locator);
    if (error != OK)
        goto err_after_tick;
    error = failover_new(locator, &locator->failover);
    if (error == OK)
        error = proposals_new(locator, &locator->proposals);
    if (error == OK)
        error = placer_new(locator, &locator->placer);
    if (error == OK)
        error = map_store_load(store, on_loaded, locator);
    if (error != OK)
        goto err_after_changes;
    locator->store = store;
    *out = locator;
    return OK;

err_after_changes:
    free_workers(locator);
err_after_tick:
    loop_timer_fini(&locator->tick);
err_after_host:
    session_host_fini(&locator->host);
err_after_texts:
    free_texts(locator);
    arena_fini(&locator->arena);
    mem_free(locator);
    return error;
}

/* The store first, so that it answers no more; then what waits for it; then the sessions, which no
 * request needs by then. */
void locator_free(struct locator *locator)
{
    locator->closing = true;
    map_store_free(locator->store);
    if (locator->listener != NULL)
        net_listener_close(locator->listener);
    loop_timer_fini(&locator->tick);
    free_workers(locator);
    adopt_free(locator->adopt);
    while (locator->peers != NULL)
        peer_drop(locator->peers, "the locator is shutting down");
    departure_free_all(locator);
    events_fini(&locator->events);
    ack_wait_free_all(locator);
    locator_get_server_drop_all(locator);
    queries_free(locator);
    request_drop_all(locator);
    session_host_fini(&locator->host);
    membership_free_all(locator);
    cluster_map_unref(locator->map);
    buf_fini(&locator->packed);
    arena_fini(&locator->arena);
    free_texts(locator);
    mem_free(locator);
}

/* ---- Queries ---- */

struct net_address locator_address(const struct locator *locator)
{
    PRE(locator->listener != NULL);
    return net_listener_address(locator->listener);
}

void locator_state(const struct locator *locator, struct locator_state *state)
{
    *state = (struct locator_state){.changes = locator->changes.stored,
                                    .changes_failed = locator->changes.failed,
                                    .failovers = failover_count(locator),
                                    .clients = locator->connection_count};
    if (locator->map == NULL)
        return;
    memcpy(state->cluster_id, locator->map->cluster_id, sizeof(state->cluster_id));
    state->epoch = locator->map->epoch;
    state->regions = locator->map->region_count;
    state->tables = locator->map->table_count;
    for (const struct member *member = locator->members; member != NULL; member = member->next) {
        state->servers++;
        state->servers_up += member->peer != NULL;
    }
}

const struct session_counters *locator_counters(const struct locator *locator)
{
    return &locator->host.counters;
}
