#include "locator/membership.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/mem.h"
#include "locator/ack_wait.h"
#include "locator/departure.h"
#include "locator/failover.h"
#include "locator/join.h"
#include "locator/member_change.h"
#include "locator/member_shift.h"
#include "locator/ops.h"
#include "locator/peer_link.h"
#include "locator/probe.h"

enum {
    PROBE_EVERY_MS = 1000,
    REFRESHED_MS = 5000, /* a map that was read so lately is the newest that is stored */
    LOST_MS = 1000,      /* without a sign: its copies are asked to replace it */
    WAITING_MS = 5000,   /* that a newcomer waits until the last holder of its name is out */
    LOAD_REPORT_MS =
        55000, /* as the reference: a load that does not change is reported that seldom */
};

/* ---- What is kept about each server of the map ---- */

enum error membership_prepare(struct locator *locator, const struct cluster_map *map)
{
    uint64_t now_us = loop_now_us(locator->loop);
    for (uint32_t i = 0; i < map->member_count; i++) {
        const struct cluster_member *server = &map->members[i];
        if (server->role != CLUSTER_SERVER || locator_member(locator, server->incarnation) != NULL)
            continue;
        struct member *member = mem_zalloc(sizeof(*member));
        if (member == NULL)
            return ERROR_MEMORY;
        member->locator = locator;
        member->incarnation = server->incarnation;
        member->heard_us = now_us;
        member->gone = server->state == CLUSTER_DOWN;
        member->probe_due_us = now_us + PROBE_EVERY_MS * UINT64_C(1000);
        member->next = locator->members;
        locator->members = member;
    }
    return OK;
}

static void member_free(struct member *member)
{
    if (member->probe != NULL)
        probe_free(member->probe);
    mem_free(member->regions);
    mem_free(member->linked);
    mem_free(member);
}

void membership_prune(struct locator *locator)
{
    for (struct member **at = &locator->members; *at != NULL;) {
        struct member *member = *at;
        uint32_t index = cluster_map_member_by_incarnation(locator->map, member->incarnation);
        if (index != CLUSTER_NONE) {
            /* Another locator may have had the proof. */
            member->gone = member->gone || locator->map->members[index].state == CLUSTER_DOWN;
            at = &member->next;
            continue;
        }
        if (member->peer != NULL)
            peer_drop(member->peer, "the cluster map names it no more");
        *at = member->next;
        member_free(member);
    }
}

void membership_free_all(struct locator *locator)
{
    while (locator->members != NULL) {
        struct member *member = locator->members;
        locator->members = member->next;
        member_free(member);
    }
}

static bool answers(const struct locator *locator, const struct member *member, uint64_t epoch)
{
    return member->peer != NULL && member->beaconed && !member->gone &&
           member->acknowledged >= epoch &&
           loop_now_us(locator->loop) - member->heard_us < PEER_FRESH_MS * UINT64_C(1000);
}

bool membership_serves(const struct locator *locator, const struct member *member, uint64_t epoch)
{
    return !member->leaving && answers(locator, member, epoch);
}

bool membership_answers(const struct locator *locator, const struct member *member)
{
    return answers(locator, member, locator->map->epoch);
}

void membership_acknowledged(struct locator *locator, struct member *member, uint64_t epoch)
{
    if (epoch <= member->acknowledged)
        return;
    member->acknowledged = epoch;
    if (epoch > locator->map->epoch)
        changes_reload(&locator->changes); /* another locator made it */
    ack_wait_look(locator);
    locator_get_server_look(locator);
}

void membership_take_load(struct member *member, uint32_t clients, uint64_t now_us)
{
    bool is_first = member->clients_reported_us == 0;
    if (is_first || clients != member->clients ||
        now_us - member->clients_reported_us > LOAD_REPORT_MS * UINT64_C(1000)) {
        member->load_estimate = clients;
        member->clients_reported_us = now_us;
    }
    member->clients = clients;
}

/* ---- Seen ---- */

static bool is_fresh(const struct locator *locator, const struct member *member)
{
    return loop_now_us(locator->loop) - member->heard_us < LOST_MS * UINT64_C(1000);
}

bool membership_is_linked(const struct locator *locator, uint64_t incarnation)
{
    for (const struct member *member = locator->members; member != NULL; member = member->next)
        for (uint32_t i = 0; member->peer != NULL && !member->gone && i < member->linked_count; i++)
            if (member->linked[i] == incarnation)
                return true;
    return false;
}

static unsigned look(const void *arg, uint64_t incarnation)
{
    const struct locator *locator = arg;
    const struct member *member = locator_member(locator, incarnation);
    unsigned sight = 0;
    if (member == NULL)
        return 0; /* it is about to join */
    if (member->gone)
        sight |= MEMBER_SEEN_GONE;
    if (member->leaving || !is_fresh(locator, member))
        sight |= MEMBER_SEEN_AWAY;
    if (membership_is_linked(locator, incarnation))
        sight |= MEMBER_SEEN_LINKED;
    return sight;
}

struct member_eyes membership_eyes(const struct locator *locator)
{
    return (struct member_eyes){.look = look, .arg = locator};
}

void membership_tell(struct locator *locator, struct slice name, const char *kind, const char *text)
{
    struct event event = {
        .time_ms = loop_wall_ms(locator->loop), .kind = kind, .epoch = locator->map->epoch};
    snprintf(event.member, sizeof(event.member), "%.*s", SLICE_FMT(name));
    snprintf(event.text, sizeof(event.text), "%s", text);
    events_add(&locator->events, &event);
}

/* ---- Coming back ---- */

void membership_link(struct peer *peer)
{
    struct locator *locator = peer->locator;
    struct member *member = locator_member(locator, peer->incarnation);
    if (member->peer != NULL)
        peer_drop(member->peer, "it has connected anew");
    if (member->probe != NULL)
        probe_free(member->probe);
    member->probe = NULL;
    member->peer = peer;
    member->heard_us = loop_now_us(locator->loop);
    member->beaconed = member->leaving = false;
    member->clients_reported_us = member->queries_told_us = 0;
    member->follows_another = false;
    log_line(locator->log, LOG_INFO, "membership", "VG1202",
             "server %s is connected: %s:%u, map epoch %" PRIu64, peer->name, peer->host,
             peer->port, peer->epoch);
    peer_welcome(peer, member);
    /* It may have acknowledged already, and the welcome may have failed. */
    if (member->peer != NULL)
        membership_acknowledged(locator, member, peer->epoch);
    if (member->peer != NULL && peer->leaving)
        membership_leaves(locator, member);
    failover_linked(locator);
}

static void come_back(struct peer *peer)
{
    struct locator *locator = peer->locator;
    const struct member *member = locator_member(locator, peer->incarnation);
    if (member->gone) {
        peer_refuse(peer, PB__PEER_WELCOME__REFUSAL__NAME_TAKEN,
                    "server %s was taken for dead, with proof or because an operator said so, and "
                    "its place is being given to others. Start it anew; it begins empty.",
                    peer->name);
    } else if (peer->epoch > locator->map->epoch) {
        log_line(locator->log, LOG_ERROR, "membership", "VG1232",
                 "server %s has epoch %" PRIu64 " of the cluster map, this locator only %" PRIu64
                 ": the data directory was restored from an older copy",
                 peer->name, peer->epoch, locator->map->epoch);
        peer_refuse(
            peer, PB__PEER_WELCOME__REFUSAL__OTHER_CLUSTER,
            "the locator's cluster map (epoch %" PRIu64
            ") is older than the server's (epoch %" PRIu64
            "): its data directory was restored from an older copy. Restore the newest one.",
            locator->map->epoch, peer->epoch);
    } else {
        membership_link(peer);
    }
}

/* ---- Deciding about a newcomer ---- */

static void refuse_for(struct peer *peer, const struct cluster_member *holder, const char *why)
{
    peer_refuse(peer, PB__PEER_WELCOME__REFUSAL__NAME_TAKEN,
                "a server named %s at %.*s:%u is a member of this cluster already, and may be "
                "alive: %s. Give this "
                "one another --name, or stop the other first; if it is dead for good, wait "
                "until its host answers, "
                "or run `vug member forget %s`, which gives up its contents.",
                peer->name, SLICE_FMT(holder->host), holder->port, why, peer->name);
}

static void decide(struct peer *peer);

/* The holder of its name is gone: the newcomer joins when the map names that one no more. */
static void wait_for_departure(struct peer *peer, uint64_t holder, const char *why)
{
    struct locator *locator = peer->locator;
    const struct member *member = locator_member(locator, holder);
    struct departure_notice notice = {.noticed_by = locator->options.name,
                                      .evidence = why,
                                      .silent_ms =
                                          (loop_now_us(locator->loop) - member->heard_us) / 1000,
                                      .gone = true};
    peer->waits = true;
    peer->waits_since_us = loop_now_us(locator->loop);
    /* Without memory the next tick says so again. */
    (void)departure_notice(locator, holder, &notice);
}

static void on_probed(void *arg, bool gone, const char *why)
{
    struct peer *peer = arg;
    const struct cluster_map *map = peer->locator->map;
    peer->probe = NULL;
    uint32_t holder = cluster_map_member_by_incarnation(map, peer->probed);
    if (holder == CLUSTER_NONE)
        decide(peer);
    else if (gone && locator_member(peer->locator, peer->probed)->peer == NULL)
        wait_for_departure(peer, peer->probed, why);
    else
        refuse_for(peer, &map->members[holder], why);
}

static void probe_holder(struct peer *peer, const struct cluster_member *holder)
{
    peer->probed = holder->incarnation;
    if (membership_probe(peer->locator, holder, on_probed, peer, &peer->probe) != OK)
        peer_refuse(peer, PB__PEER_WELCOME__REFUSAL__NOT_READY,
                    "the locator has not enough memory; trying again.");
}

/* Whether the map in force may be older than the one that is stored, so that nothing is decided by
 * it about a server that has a newer one. */
static bool may_be_old(const struct locator *locator, const struct peer *peer)
{
    uint64_t refreshed_us = locator->changes.refreshed_us;
    return peer->epoch > locator->map->epoch &&
           (refreshed_us == 0 ||
            loop_now_us(locator->loop) - refreshed_us > REFRESHED_MS * UINT64_C(1000));
}

/* Looks at the map as it is now; comes here again after a probe, or when a name is free. */
static void decide(struct peer *peer)
{
    struct locator *locator = peer->locator;
    const struct cluster_map *map = locator->map;
    peer->waits = false;
    if (may_be_old(locator, peer)) {
        changes_reload(&locator->changes);
        peer_refuse(peer, PB__PEER_WELCOME__REFUSAL__NOT_READY,
                    "the server has a newer cluster map than this locator, which looks whether "
                    "another locator made it.");
        return;
    }
    if (cluster_map_member_by_incarnation(map, peer->incarnation) != CLUSTER_NONE) {
        come_back(peer);
        return;
    }
    if (peer->leaving) {
        peer_refuse(peer, PB__PEER_WELCOME__REFUSAL__NAME_TAKEN,
                    "server %s is about to end, and the cluster map names it no more.", peer->name);
        return;
    }
    uint32_t index = cluster_map_member(map, slice_text(peer->name));
    if (index == CLUSTER_NONE) {
        if (join_submit(peer) != OK)
            peer_refuse(peer, PB__PEER_WELCOME__REFUSAL__NOT_READY,
                        "the locator is busy; trying again.");
        return;
    }
    const struct cluster_member *holder = &map->members[index];
    const struct member *member = locator_member(locator, holder->incarnation);
    bool is_in_its_place =
        holder->port == peer->port && slice_equal(holder->host, slice_text(peer->host));
    if (member->gone)
        wait_for_departure(peer, holder->incarnation, "it is gone");
    else if (member->peer != NULL && (is_fresh(locator, member) || !is_in_its_place))
        refuse_for(peer, holder, "it is connected to this locator");
    else if (is_in_its_place)
        wait_for_departure(peer, holder->incarnation,
                           "another process of its name listens at its address");
    else
        probe_holder(peer, holder);
}

/* A decision may drop other peers, so each time the list is looked at anew. */
static struct peer *next_waiting(const struct locator *locator, uint64_t since_us)
{
    struct peer *peer = locator->peers;
    while (peer != NULL &&
           !(peer->waits &&
             (peer->waits_since_us < since_us ||
              cluster_map_member(locator->map, slice_text(peer->name)) == CLUSTER_NONE)))
        peer = peer->next;
    return peer;
}

void membership_decide_waiting(struct locator *locator)
{
    for (struct peer *peer; (peer = next_waiting(locator, 0)) != NULL;)
        decide(peer);
}

static void refuse_those_that_waited(struct locator *locator, uint64_t now_us)
{
    uint64_t patience_us = WAITING_MS * UINT64_C(1000);
    uint64_t since_us = now_us > patience_us ? now_us - patience_us : 0;
    for (struct peer *peer; (peer = next_waiting(locator, since_us)) != NULL;)
        if (peer->waits_since_us < since_us)
            peer_refuse(peer, PB__PEER_WELCOME__REFUSAL__NOT_READY,
                        "the last server of that name is gone, but not all buckets that it had "
                        "have been given to others yet; trying again.");
        else
            decide(peer);
}

enum error membership_probe(struct locator *locator, const struct cluster_member *server,
                            probe_fn *on_result, void *arg, struct probe **probe)
{
    char *host = mem_strndup((const char *)server->host.data, server->host.len);
    if (host == NULL)
        return ERROR_MEMORY;
    struct probe_target target = {
        .host = host,
        .port = server->port,
        .incarnation = server->incarnation,
        .cluster_id = locator->map->cluster_id,
        .name = locator->options.name,
    };
    enum error error = probe_new(locator->loop, locator->net, &target, on_result, arg, probe);
    mem_free(host);
    return error;
}

void membership_hello(struct peer *peer, const Pb__PeerHello *hello)
{
    struct locator *locator = peer->locator;
    if (hello->role != CLUSTER_SERVER || hello->link != PB__PEER_HELLO__LINK__CONTROL) {
        peer_refuse(peer, PB__PEER_WELCOME__REFUSAL__VERSION,
                    "locators are linked to by servers alone.");
    } else if (hello->incarnation == 0 || hello->port == 0 || hello->port > UINT16_MAX ||
               hello->http_port > UINT16_MAX || hello->n_groups > LIMIT_GROUPS ||
               peer->name[0] == '\0' || peer->host[0] == '\0') {
        peer_refuse(peer, PB__PEER_WELCOME__REFUSAL__MALFORMED,
                    "the server does not say who it is: a name, a host, a port and an incarnation "
                    "are needed.");
    } else if (hello->cluster_id.len != 0 &&
               (hello->cluster_id.len != CLUSTER_ID_BYTES ||
                memcmp(hello->cluster_id.data, locator->map->cluster_id, CLUSTER_ID_BYTES) != 0)) {
        peer_refuse(peer, PB__PEER_WELCOME__REFUSAL__OTHER_CLUSTER,
                    "server %s belongs to another cluster than locator %s. If the locator's data "
                    "directory was lost, restore it, or start the locator with --adopt, which "
                    "takes the map that its servers hold; otherwise --locators names the wrong "
                    "locator, or restart the server, which then begins empty.",
                    peer->name, locator->options.name);
    } else {
        decide(peer);
    }
}

/* ---- The silent ---- */

static void miss(struct locator *locator, const struct member *member, bool gone, const char *why)
{
    struct departure_notice notice = {.noticed_by = locator->options.name,
                                      .evidence = why,
                                      .silent_ms =
                                          (loop_now_us(locator->loop) - member->heard_us) / 1000,
                                      .gone = gone};
    /* Without memory the next tick says so again. */
    (void)departure_notice(locator, member->incarnation, &notice);
}

static void on_watched(void *arg, bool gone, const char *why)
{
    struct member *member = arg;
    member->probe = NULL;
    member->probe_due_us = loop_now_us(member->locator->loop) + PROBE_EVERY_MS * UINT64_C(1000);
    if (gone && member->peer == NULL)
        miss(member->locator, member, true, why);
}

/* Without memory for it the next tick tries again. */
static void watch(struct locator *locator, struct member *member)
{
    uint32_t index = cluster_map_member_by_incarnation(locator->map, member->incarnation);
    if (index == CLUSTER_NONE || member->probe != NULL || member->gone)
        return;
    (void)membership_probe(locator, &locator->map->members[index], on_watched, member,
                           &member->probe);
}

void membership_peer_gone(struct locator *locator, struct peer *peer, const char *why)
{
    if (peer->join != NULL)
        join_forget_peer(peer->join);
    struct member *member = peer->member;
    if (member == NULL)
        return;
    member->peer = NULL;
    member->beaconed = false;
    member->heard_us = loop_now_us(locator->loop);
    member->linked_count = 0;
    if (!locator->closing)
        watch(locator, member);
    if (member->leaving)
        log_line(locator->log, LOG_INFO, "membership", "VG1205",
                 "server %s has ended as it was told to", peer->name);
    else
        log_line(
            locator->log, LOG_WARN, "membership", "VG1210",
            "lost the connection to server %s: %s; clients are not sent there until it is back",
            peer->name, why);
}

void membership_leaves(struct locator *locator, struct member *member)
{
    if (member->leaving)
        return;
    member->leaving = true;
    log_line(locator->log, LOG_INFO, "membership", "VG1204",
             "server %s is about to end, on purpose; clients are not sent there any more",
             member->peer->name);
    member_shift_submit(locator, MEMBER_LEAVING, member->incarnation);
}

static void tick_member(struct locator *locator, uint32_t index, struct member *member,
                        uint64_t now_us)
{
    const struct cluster_member *server = &locator->map->members[index];
    if (member->leaving && server->state == CLUSTER_UP)
        member_shift_submit(locator, MEMBER_LEAVING, member->incarnation);
    bool has_departure = departure_find(locator, member->incarnation) != NULL;
    /* Cut off from this locator alone: others have a link to it, and say so when they lose it. */
    bool is_seen = member->peer == NULL && membership_is_linked(locator, member->incarnation);
    if (member->gone && !has_departure)
        miss(locator, member, true, "the cluster map says so");
    else if (!has_departure && !is_seen && !is_fresh(locator, member))
        miss(locator, member, false,
             member->peer == NULL ? "its connection to the locator is lost"
                                  : "it is connected, but sends no beacons");
    if (member->peer != NULL || member->gone)
        return;
    bool is_silent = !is_seen && now_us - member->heard_us > PEER_SILENT_MS * UINT64_C(1000);
    if ((is_silent || member->leaving || server->state == CLUSTER_LEAVING) &&
        !member_change_holds_buckets(locator->map, index))
        member_shift_submit(locator, MEMBER_SILENT, server->incarnation);
    if (now_us >= member->probe_due_us)
        watch(locator, member);
}

void membership_tick(struct locator *locator, uint64_t now_us)
{
    struct member_eyes eyes = membership_eyes(locator);
    refuse_those_that_waited(locator, now_us);
    for (uint32_t i = 0; i < locator->map->member_count; i++) {
        const struct cluster_member *server = &locator->map->members[i];
        if (server->role == CLUSTER_SERVER)
            tick_member(locator, i, locator_member(locator, server->incarnation), now_us);
    }
    departure_tick(locator, now_us);
    if (!locator->placing && member_change_can_place(locator->map, &eyes))
        member_shift_place(locator);
}
