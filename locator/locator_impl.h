/* The one root of a locator; for the files of this folder alone.
 *
 *   locator.c     life: load, listen, tick       changes.c    the queue of map changes
 *   adopt.c       the map is lost: servers' own
 *   membership.c  who may join, who is missed    peer_link.c  one member's connection
 *   departure.c   those that are lost            failover.c   seals copies, promotes one
 *   proposals.c   what primaries want            placement.c  which copies should be where
 *   placer.c      orders to the primaries        events.c     what happened
 *   regions.c     names, types, buckets          tables.c     CREATE and DROP TABLE
 *   ops.c         the operations, op_*.c each    request.c    whom to answer */
#ifndef VUG_LOCATOR_LOCATOR_IMPL_H
#define VUG_LOCATOR_LOCATOR_IMPL_H

#include "common/buf.h"
#include "locator/changes.h"
#include "locator/events.h"
#include "locator/locator.h"
#include "locator/request.h"
#include "protocol/cluster_map.h"
#include "protocol/peer.h"
#include "protocol/session.h"

#define LOCATOR_TICK_MS PEER_BEACON_MS
#define LOCATOR_ACK_MS  5000u /* for every live member to take a new region or table */
#define LOCATOR_NAME_MS 2000u /* a client waits for a server that may serve in a moment */
#define LOCATOR_CALL_MS                                                                            \
    9000u /* for a member to answer; under the 10 s that its own callers wait                      \
           */
#define LOCATOR_REFRESH_MS  1000u /* looks at a shared store although nobody told of a change */
#define LOCATOR_PEERS_MAX   256u
#define LOCATOR_CHANGES_MAX 256u /* waiting; more are refused */
#define LOCATOR_UNSENT_MAX                                                                         \
    (4u * 1024 *                                                                                   \
     1024) /* on one member's link; above it the link gets no map until it has drained */

/* A map travels to a member in one message. */
#define LOCATOR_MAP_BYTES_MAX (LIMIT_PEER_MESSAGE_BYTES / 2)

struct adopt;
struct probe;
struct proposals;
struct failover;
struct departure;
struct placer;

/* What is seen of a server at the moment; the map says that it is one. There is exactly one for
 * each server of the map in force, kept by incarnation. */
struct member {
    struct locator *locator;
    uint64_t incarnation;
    struct peer *peer;     /* its link, or NULL */
    uint64_t heard_us;     /* last beacon; or when it came into the map, or the link was lost */
    bool beaconed;         /* on this link */
    bool leaving;          /* it said so on its last link: it ends on purpose */
    bool follows_another;  /* of several locators it does what another one asks for */
    uint64_t acknowledged; /* epoch of the map that it works with */
    uint64_t entries, bytes, uptime_s;
    uint32_t clients, primaries, buckets;
    struct peer_region_load *regions;
    uint32_t region_count;
    /* Connections that it is thought to have: what it reported, and one more for each client that
     * was sent there since. */
    uint32_t load_estimate;
    uint64_t clients_reported_us; /* 0: not on this link */
    uint64_t queries_told_us;     /* which queries it has subscribers of; 0: not on this link */
    /* While there is no link. */
    struct probe *probe;
    uint64_t probe_due_us;
    bool shifting; /* a change of the map about it waits */
    bool gone;     /* provably: whatever comes from it now is not believed */
    /* Servers that it has a replication link to, by incarnation. */
    uint64_t *linked;
    uint32_t linked_count;
    struct member *next;
};

struct peer_region_load {
    uint32_t region_id;
    uint64_t entries, bytes;
};

struct locator {
    struct loop *loop;
    struct net *net;
    struct log *log;
    struct map_store *store;
    struct locator_options options; /* its texts are ours */
    uint64_t incarnation, started_us;
    bool failed;
    struct adopt *adopt;     /* while it takes the map from its servers: nothing else is done */
    uint64_t refresh_due_us; /* the store is shared: another locator may have changed the map */

    struct session_host host;
    _Atomic uint32_t connection_count;
    struct net_listener *listener;
    struct loop_timer tick;

    struct cluster_map *map; /* in force: stored; NULL until it is loaded */
    struct buf packed;       /* the same, as it is pushed */
    struct changes changes;

    struct member *members;
    struct peer *peers;
    uint32_t peer_count;
    struct request *requests;
    struct ack_wait *ack_waits;       /* ack_wait.h */
    struct server_wait *server_waits; /* op_get_server.c */

    struct events events;
    struct proposals *proposals;
    struct failover *failover;
    struct departure *departures; /* departure.h */
    struct placer *placer;
    bool departing; /* a change that takes the gone out waits, or is under way */
    bool placing;   /* one that places buckets does */
    bool closing;
    struct queries *queries; /* queries.h */
    uint64_t next_call_id;
    struct arena arena; /* reset for each message of a member */
};

/* Puts a stored map in force and pushes it. Takes the map's reference, and swaps *packed with the
 * bytes that were pushed so far; members were prepared (membership_prepare()), so it cannot fail.
 */
void locator_take_map(struct locator *locator, struct cluster_map *map, struct buf *packed);

struct member *locator_member(const struct locator *locator, uint64_t incarnation);

#endif
