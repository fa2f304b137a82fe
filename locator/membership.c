#include "locator/membership.h"

#include <inttypes.h>

#include "common/mem.h"
#include "locator/ack_wait.h"
#include "locator/join.h"
#include "locator/member_change.h"
#include "locator/member_shift.h"
#include "locator/peer_link.h"
#include "locator/probe.h"

enum {
    PROBE_EVERY_MS = 1000,
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
    mem_free(member);
}

void membership_prune(struct locator *locator)
{
    for (struct member **at = &locator->members; *at != NULL;) {
        struct member *member = *at;
        if (cluster_map_member_by_incarnation(locator->map, member->incarnation) != CLUSTER_NONE) {
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

bool membership_serves(const struct locator *locator, const struct member *member)
{
    return member->peer != NULL && member->beaconed && !member->leaving &&
           member->acknowledged == locator->map->epoch &&
           loop_now_us(locator->loop) - member->heard_us < PEER_FRESH_MS * UINT64_C(1000);
}

void membership_acknowledged(struct locator *locator, struct member *member, uint64_t epoch)
{
    if (epoch <= member->acknowledged || epoch > locator->map->epoch)
        return;
    member->acknowledged = epoch;
    ack_wait_look(locator);
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

/* ---- Coming back ---- */

void membership_link(struct peer *peer)
{
    struct locator *locator = peer->locator;
    struct member *member = locator_member(locator, peer->incarnation);
    uint32_t index = cluster_map_member_by_incarnation(locator->map, peer->incarnation);
    if (member->peer != NULL)
        peer_drop(member->peer, "it has connected anew");
    if (member->probe != NULL)
        probe_free(member->probe);
    member->probe = NULL;
    member->peer = peer;
    member->heard_us = loop_now_us(locator->loop);
    member->beaconed = member->leaving = false;
    member->clients_reported_us = 0;
    if (locator->map->members[index].state == CLUSTER_DOWN)
        member_shift_submit(locator, MEMBER_UP, peer->incarnation, NULL);
    log_line(locator->log, LOG_INFO, "membership", "VG1202",
             "server %s is connected: %s:%u, map epoch %" PRIu64, peer->name, peer->host,
             peer->port, peer->epoch);
    peer_welcome(peer, member);
    /* It may have acknowledged already, and the welcome may have failed. */
    if (member->peer != NULL)
        membership_acknowledged(locator, member, peer->epoch);
}

static void come_back(struct peer *peer)
{
    struct locator *locator = peer->locator;
    if (peer->epoch > locator->map->epoch) {
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
        return;
    }
    membership_link(peer);
}

/* ---- Deciding about a newcomer ---- */

/* The server of the map that stands in the newcomer's way: of its name, or, as this version runs
 * one server, any. */
const struct cluster_member *membership_holder(const struct cluster_map *map, struct slice name)
{
    const struct cluster_member *other = NULL;
    for (uint32_t i = 0; i < map->member_count; i++) {
        const struct cluster_member *member = &map->members[i];
        if (slice_equal(member->name, name))
            return member;
        if (member->role == CLUSTER_SERVER)
            other = member;
    }
    return other;
}

static void refuse_for(struct peer *peer, const struct cluster_member *holder, const char *why)
{
    if (slice_equal(holder->name, slice_text(peer->name)))
        peer_refuse(peer, PB__PEER_WELCOME__REFUSAL__NAME_TAKEN,
                    "a server named %s at %.*s:%u is a member of this cluster already, and may be "
                    "alive: %s. Give this "
                    "one another --name, or stop the other first; if it is dead for good, wait "
                    "until its host answers, "
                    "or run `vug member forget %s`, which gives up its contents.",
                    peer->name, SLICE_FMT(holder->host), holder->port, why, peer->name);
    else
        peer_refuse(peer, PB__PEER_WELCOME__REFUSAL__SECOND_SERVER,
                    "this version runs one server in a cluster, and %.*s at %.*s:%u is that one: "
                    "%s. Stop it with `vug stop "
                    "%.*s`, or if it is dead for good, run `vug member forget %.*s`, which gives "
                    "up its contents; or "
                    "start another locator for this server.",
                    SLICE_FMT(holder->name), SLICE_FMT(holder->host), holder->port, why,
                    SLICE_FMT(holder->name), SLICE_FMT(holder->name));
}

static void decide(struct peer *peer, uint64_t gone);

static void on_probed(void *arg, bool gone, const char *why)
{
    struct peer *peer = arg;
    const struct cluster_map *map = peer->locator->map;
    peer->probe = NULL;
    uint32_t holder = cluster_map_member_by_incarnation(map, peer->probed);
    if (gone || holder == CLUSTER_NONE)
        decide(peer, gone ? peer->probed : 0);
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

/* Looks at the map as it is now; comes here again after a probe. `gone` is the incarnation that has
 * been proven to be. */
static void decide(struct peer *peer, uint64_t gone)
{
    struct locator *locator = peer->locator;
    if (cluster_map_member_by_incarnation(locator->map, peer->incarnation) != CLUSTER_NONE) {
        come_back(peer);
        return;
    }
    const struct cluster_member *holder = membership_holder(locator->map, slice_text(peer->name));
    uint64_t replaced = holder == NULL ? 0 : holder->incarnation;
    if (holder != NULL && locator_member(locator, replaced)->peer != NULL) {
        refuse_for(peer, holder, "it is connected to this locator");
        return;
    }
    bool is_gone =
        holder == NULL || holder->state == CLUSTER_DOWN || gone == replaced ||
        (holder->port == peer->port && slice_equal(holder->host, slice_text(peer->host)));
    if (!is_gone)
        probe_holder(peer, holder);
    else if (join_submit(peer, replaced) != OK)
        peer_refuse(peer, PB__PEER_WELCOME__REFUSAL__NOT_READY,
                    "the locator is busy; trying again.");
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
                    "directory was lost, "
                    "restore it; otherwise --locators names the wrong locator, or restart the "
                    "server, which then begins "
                    "empty.",
                    peer->name, locator->options.name);
    } else {
        decide(peer, 0);
    }
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
    member->probe_due_us = member->heard_us;
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
}

/* ---- The silent ---- */

static void on_watched(void *arg, bool gone, const char *why)
{
    (void)why;
    struct member *member = arg;
    struct locator *locator = member->locator;
    member->probe = NULL;
    member->probe_due_us = loop_now_us(locator->loop) + PROBE_EVERY_MS * UINT64_C(1000);
    if (gone)
        member_shift_submit(locator, MEMBER_GONE, member->incarnation, NULL);
}

void membership_tick(struct locator *locator, uint64_t now_us)
{
    for (uint32_t i = 0; i < locator->map->member_count; i++) {
        const struct cluster_member *server = &locator->map->members[i];
        if (server->role != CLUSTER_SERVER || server->state == CLUSTER_DOWN)
            continue;
        struct member *member = locator_member(locator, server->incarnation);
        if (member->peer != NULL)
            continue;
        if (now_us - member->heard_us > PEER_SILENT_MS * UINT64_C(1000) && !member->shifting &&
            !member_change_holds_buckets(locator->map, i))
            member_shift_submit(locator, MEMBER_SILENT, server->incarnation, NULL);
        if (member->probe == NULL && now_us >= member->probe_due_us)
            /* Without memory for it the next tick tries again. */
            (void)membership_probe(locator, server, on_watched, member, &member->probe);
    }
}
