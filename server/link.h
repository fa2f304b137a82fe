/* The server's link to its locators: joins, receives the cluster map, sends beacons, forwards
 * calls.
 *
 *   until the first map: one locator after the other, until one takes the server in
 *   from then on:        a line (a connection with first byte 86) to each of them
 *
 *   over all lines:  maps (the newest counts), acknowledgements, beacons, proposals, reports, seals
 *   over the first:  calls; and orders about copies are taken from that locator alone
 *
 * "First" is in the order of the list, of those that give signs of life. A line that breaks is
 * tried again for as long as the server lives: it goes on serving without locators, and with one of
 * several away nobody notices. Belongs to the server's main loop. */
#ifndef VUG_SERVER_LINK_H
#define VUG_SERVER_LINK_H

#include "common/log.h"
#include "common/net.h"
#include "protocol/cluster_map.h"
#include "protocol/failure.h"

struct link;
struct proposal;
struct seal_answer;

struct link_region_load { /* of this member's primaries */
    uint32_t region_id;
    uint64_t entries, bytes;
};

struct link_load { /* what a beacon tells of the member */
    uint64_t entries, bytes;
    uint32_t clients, primaries, buckets;
    uint64_t uptime_s;
    const struct link_region_load
        *regions; /* the owner's, valid until the next load(); NULL: not told */
    uint32_t region_count;
    const uint64_t *linked; /* servers that replication links go to; the owner's, too */
    uint32_t linked_count;
    uint64_t moving; /* copies being brought up */
    uint64_t loop_stall_us;
};

/* One bucket that a locator asks to be sealed for `term`, because `deposed` is lost. */
struct link_seal {
    uint64_t deposed;
    bool gone; /* the locator has proof */
    uint32_t region_id, bucket, generation, set_version, term;
};

/* What a locator wants of one bucket that this server leads. */
struct link_place {
    uint32_t region_id, bucket, generation;
    uint32_t action; /* enum place_action */
    uint64_t member; /* incarnation */
};

struct link_options {
    const struct net_address *locators; /* names allowed in host */
    uint32_t locator_count;
    const char *name;
    uint64_t incarnation;
    const char *host; /* for clients */
    uint16_t port, http_port;
    const char *groups; /* comma-separated */
    uint32_t wait_ms;   /* for the first locator: on_refused() after that, with ERROR_TIMEOUT */
};

/* None of these may call link_free(). */
struct link_events {
    /* A newer map; the callee takes its own reference. The first call means that the server has
     * joined. */
    void (*on_map)(void *arg, struct cluster_map *map);
    /* The cluster does not take this server, or no locator was reached in time; all lines have been
     * given up. Before the first map: ERROR_EXISTS (name in use), ERROR_CONFLICT (other cluster),
     * ERROR_UNSUPPORTED (a second server, or another version), ERROR_INVALID, ERROR_UNAUTHORIZED,
     * ERROR_TIMEOUT. After it only ERROR_EXISTS: another process has taken this one's place, which
     * must not answer clients any more. `text` says what, why, and what to do. */
    void (*on_refused)(void *arg, enum error why, const char *text);
    /* A locator has this server's acknowledgement of the newest map and its beacon: it sends
     * clients here. Once for each connection of each line. NULL allowed. */
    void (*on_confirmed)(void *arg);
    /* The locator asks the member to stop (`vug stop`). */
    void (*on_stop)(void *arg);
    void (*load)(void *arg, struct link_load *load);
    /* The map that the server works with, for a locator that has lost its own; NULL: none yet. Not
     * a reference. NULL allowed. */
    struct cluster_map *(*map)(void *arg);
    /* The locator asks for a request of a client to be executed here (RegionClearRequest, over all
     * buckets of this member): answered with link_answer(), now or later; `id` is the link's own.
     * NULL: answered as unsupported. */
    void (*on_call)(void *arg, uint64_t id, uint32_t number, struct slice body);
    /* Seals a bucket, if it may be; `answer` comes zeroed. NULL: refused. */
    void (*on_seal)(void *arg, const struct link_seal *seal, struct seal_answer *answer);
    void (*on_place)(void *arg, const struct link_place *place); /* NULL: not followed */
};

enum error link_new(struct loop *loop, struct net *net, struct log *log,
                    const struct link_options *options, const struct link_events *events, void *arg,
                    struct link **link);
void link_free(struct link *link);

/* The map that the server works with now is `epoch`, from here or from a peer: acknowledged to the
 * locators, which wait for it when they create or destroy something, and of which those that have
 * an older one look for it. */
void link_acknowledge(struct link *link, uint64_t epoch);

/* The server ends on purpose: locators send no more clients here and do not take what follows for
 * trouble; one that is reached only later is told so then. Before the first map: no line is tried
 * any more. */
void link_leave(struct link *link);

bool link_is_up(const struct link *link); /* a line is */

/* These are lost without harm when no locator is there, or memory is short: who says them says them
 * again. */
void link_propose(struct link *link, const struct proposal *proposals, uint32_t count);
void link_report(struct link *link, uint64_t incarnation, bool gone, uint32_t silent_ms,
                 const char *evidence);
void link_fetch_map(struct link *link, uint64_t epoch); /* comes through on_map() */

/* The answer to on_call(). `failure` NULL: success. Lost without harm if the link broke in between.
 */
void link_answer(struct link *link, uint64_t id, const struct failure *failure, uint32_t number,
                 struct slice body);

/* Sends a request (member number and body of a client's message) to a locator; the answer arrives
 * once, on the main loop: `failure` NULL on success. At once: ERROR_UNREACHABLE when no locator is
 * connected, ERROR_BUSY when too many calls wait, ERROR_MEMORY. Through the callback a failure
 * whose text begins with UNREACHABLE when the line breaks, TIMEOUT when 10 s pass (the change may
 * have been made), and whatever the locator says; protocol/admin_reason.h lists the words. */
typedef void link_answer_fn(void *arg, const struct failure *failure, uint32_t number,
                            struct slice body);
enum error link_call(struct link *link, uint32_t number, struct slice body,
                     link_answer_fn *on_answer, void *arg);
/* The same, and the other locators that are connected are told, too. */
enum error link_tell_all(struct link *link, uint32_t number, struct slice body,
                         link_answer_fn *on_answer, void *arg);

#endif
