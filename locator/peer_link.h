/* A server's connection to this locator: greeting, beacons, the map, calls in both directions.
 *
 *   greeting --hello--> deciding (membership.c: probe, change of the map) --welcome--> linked
 *
 * Membership decides; this file keeps the connection. What waits to be sent is bounded: a link that
 * lags gets no beacon and no map until it has drained, and then the newest map alone. */
#ifndef VUG_LOCATOR_PEER_LINK_H
#define VUG_LOCATOR_PEER_LINK_H

#include "locator/locator_impl.h"

struct probe;
struct join;

enum peer_state {
    PEER_GREETING,
    PEER_DECIDING,
    PEER_LINKED,
    PEER_ADOPTED /* it was asked for its map (adopt.h) */
};

typedef void peer_answer_fn(void *arg, const struct failure *failure, uint32_t number,
                            struct slice body);

struct peer_call {
    uint64_t id;
    uint64_t deadline_us;
    peer_answer_fn *on_answer;
    void *arg;
    struct peer_call *next;
};

struct peer {
    struct locator *locator;
    struct net_conn *conn;
    enum peer_state state;
    uint64_t heard_us; /* any bytes */
    bool greeted;      /* the first byte was taken */
    /* From the hello. */
    char *name, *host, *version;
    char **groups;
    size_t group_count;
    uint16_t port, http_port;
    uint64_t incarnation;
    uint64_t epoch;
    bool leaving;
    /* While deciding. */
    struct probe *probe; /* of the one in its way */
    uint64_t probed;     /* that one's incarnation */
    struct join *join;
    bool waits; /* until the last holder of its name is out of the map */
    uint64_t waits_since_us;
    /* While linked. */
    struct member *member;
    uint64_t beacon_number, beacon_received;
    uint64_t pushed_epoch;
    struct peer_call *calls; /* to the member */
    struct peer *next;
};

/* session_host's on_peer. */
void peer_accept(void *owner, struct net_conn *conn, struct slice data);
/* Closes the connection, lets go of everything, frees. Not for a peer that a callback up the stack
 * still works on: those use peer_refuse() and peer_drop(), after which their caller does nothing
 * more with it. */
void peer_drop(struct peer *peer, const char *why);
void peer_refuse(struct peer *peer, int refusal, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The member is in the map: welcome, map, beacons. */
void peer_welcome(struct peer *peer, struct member *member);
/* Once each tick: beacons, deadlines, silence. May drop the peer. */
void peer_tick(struct peer *peer, uint64_t now_us);
/* Sends the map in force if this member has not been sent it. */
void peer_push_map(struct peer *peer);

/* Answers a call of the member. */
void peer_answer(struct peer *peer, uint64_t call_id, const struct failure *failure,
                 uint32_t number, struct slice body);
/* Has a member execute a client's request; the answer comes once, never from inside this call.
 * ERROR_MEMORY, ERROR_BUSY. */
enum error peer_call(struct peer *peer, uint32_t number, struct slice body,
                     peer_answer_fn *on_answer, void *arg);
enum error peer_ask_to_stop(struct peer *peer);

#endif
