/* A locator: knows the members, the regions and which server holds which bucket; sends clients to
 * servers.
 *
 *   clients --session--> op_*.c ---+                     +--> map store (compare-and-swap)
 *   servers --link----> membership +--> changes.c -------+
 *                                        `--> the new map, pushed to every member, acknowledged by
 * them
 *
 * Whatever a locator knows durably is the cluster map; it changes by one compare-and-swap at a
 * time, and only a stored map is ever shown. Links and beacons are what it sees at the moment.
 * Belongs to one loop. */
#ifndef VUG_LOCATOR_LOCATOR_H
#define VUG_LOCATOR_LOCATOR_H

#include "common/log.h"
#include "common/net.h"
#include "locator/map_store.h"

struct client_address;
struct locator;

struct locator_options {
    const char *name;
    const char *bind_host;    /* numeric or a name */
    uint16_t port;            /* 0: a free one */
    const char *hostname;     /* that people and tables may call it by; NULL: bind_host */
    uint16_t http_port;       /* 0: none */
    uint32_t connections_max; /* of clients; 0: LIMIT_CONNECTIONS */
    /* The store has no map, or one without anything in it: the newest that servers hold is taken,
     * and on_ready() waits for that. With a map in the store this changes nothing. */
    bool adopts;
    /* What clients are told of servers; NULL: what the servers say. Outlives the locator. */
    const struct client_address *client_address;

    /* The map is loaded (or a new cluster was made) and the port is open. Once. */
    void (*on_ready)(void *arg);
    /* Instead: the map cannot be read or made (exit status 73), or the port cannot be opened. The
     * locator does nothing any more. `text` says what happened, why, and what to do. */
    void (*on_failed)(void *arg, enum error why, const char *text);
    /* `vug stop` named this locator. NULL: that is refused. */
    void (*on_stop)(void *arg);
    void *arg;
};

/* Starts; on_ready() or on_failed() follows, never from inside this call. On success the store is
 * the locator's, else it stays the caller's. ERROR_MEMORY. */
enum error locator_new(const struct locator_options *options, struct loop *loop, struct net *net,
                       struct log *log, struct map_store *store, struct locator **locator);
/* Closes everything at once; waits for a map that is being written. Not from inside a callback. The
 * loop has to make one more turn for the file store to give back the last of its memory. */
void locator_free(struct locator *locator);

struct net_address locator_address(const struct locator *locator); /* after on_ready() */

/* What /metrics and the banner show. */
struct locator_state {
    uint8_t cluster_id[16];
    uint64_t epoch;
    uint32_t servers, servers_up;
    uint32_t regions, tables;
    uint32_t failovers;               /* servers whose buckets are being given to others */
    uint64_t changes, changes_failed; /* of the map, since the start */
    uint64_t clients;                 /* connections now */
};
void locator_state(const struct locator *locator, struct locator_state *state);

/* Geode's ProtobufProtocolStats of the locator. */
struct session_counters;
const struct session_counters *locator_counters(const struct locator *locator);

#endif
