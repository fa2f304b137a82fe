/* The other servers of the cluster: who they are, the links to and from them, beacons, leases,
 * promises, and proof that one is gone.
 *
 *   this server (A)                                    peer (B)
 *     REPLICATION out  -- records, beacons, images -->   in    (B promises, acknowledges)
 *     REQUESTS out     -- calls, feeds -------------->   in    (B answers)
 *     and the same two the other way round, opened by B
 *
 * Beacons go over A's own REPLICATION link: A sends number n at time s; B promises A until r + 2.5
 * s and answers n with the epoch of its map; A then holds B's lease until s + 2.0 s. Rates of
 * clocks may differ by 1.25, nothing else about clocks is assumed. What B does not promise any more
 * for single buckets (it has sealed them, or wants A out) it says as an exception before it answers
 * another beacon, and first thing on a new link.
 *
 * A struct peer is one incarnation. It lives as long as the map names it, or anybody refers to it.
 */
#ifndef VUG_SERVER_PEERS_H
#define VUG_SERVER_PEERS_H

#include <pthread.h>
#include <stdatomic.h>

#include "common/loop.h"
#include "common/net.h"
#include "protocol/cluster_map.h"
#include "protocol/peer_frame.h"

struct server;
struct worker;
struct bucket;
struct call;
struct replica_copy;
struct image_out;

#define PEER_LEASE_US    2000000u            /* from the moment the beacon was sent */
#define PEER_PROMISE_US  2500000u            /* from the moment it was received */
#define PEER_LOST_US     1000000u            /* without any sign: reported to a locator */
#define PEER_UNACKED_MAX (64u * 1024 * 1024) /* bytes of records; then no new changes */

enum peer_link_kind { PEER_LINK_REQUESTS = 1, PEER_LINK_REPLICATION = 2 };

struct peer {
    _Atomic uint32_t refs;
    struct server *server;
    struct worker *worker; /* on whose loop the connections out live */
    uint64_t incarnation;
    char *name, *host;
    uint16_t port;

    /* Any thread. Times are of this server's boot clock, in microseconds. */
    _Atomic uint64_t lease_until_us;          /* what this peer granted to us */
    _Atomic uint64_t lease_epoch;             /* of its map when it granted that */
    _Atomic uint64_t promise_until_us;        /* what we promised to it */
    _Atomic uint64_t epoch;                   /* newest map that it is known to have */
    _Atomic uint64_t heard_us;                /* any sign of it */
    _Atomic bool replication_up, requests_up; /* our own links to it */
    _Atomic bool gone;                        /* provably: never true again for a living process */
    _Atomic bool out_of_map;                  /* the newest map does not name it */
    _Atomic uint64_t unacked_bytes;           /* of records, all buckets together */

    _Atomic bool is_down;        /* the map says so: it is not connected to */
    _Atomic uint32_t conn_count; /* greeted and open, of both directions */
    _Atomic bool recheck;        /* its last connection to us is gone: is it alive? */

    pthread_mutex_t lock; /* a leaf: guards the mailboxes below, and promises against exceptions */
    struct replica_copy *dirty, **dirty_end; /* copies with something to send */
    struct call *calls, **calls_end;         /* to be sent over REQUESTS */
    struct image_out *images;                /* to be sent, oldest first (image.c) */
    uint64_t image_last_id;
    struct peer_mail *mail[2], **mail_end[2]; /* frames, REQUESTS first */
    size_t mail_bytes;
    bool exceptions_due;     /* told before the next beacon is answered */
    bool flush_posted;       /* the task has a reference */
    struct peer_conn *in[2]; /* the newest connections of its own; REQUESTS first */
    struct loop_task flush;
    uint64_t image_in_flight; /* bytes of images that are unacknowledged; of the peer's loop */
    uint64_t image_turn;      /* of the peer's loop, too */
    struct peer_out *out;     /* peers_impl.h: the connections out, of the worker's loop */
    struct peer *next;        /* in server->peers, guarded by server->lock */
    struct peer *next_out;    /* of the worker */
};

struct peer *peer_ref(struct peer *peer);
void peer_unref(struct peer *peer); /* NULL is allowed */

/* A connection between two servers after its greeting, of either direction: frames may be written
 * to it on its worker's loop. */
struct peer_conn {
    struct worker *worker;
    struct net_conn *conn;
    struct peer *peer; /* a reference */
    enum peer_link_kind kind;
    bool is_outgoing;
    struct buf acks; /* incoming REPLICATION: sent as one ACKS frame at the end of on_data() */
    void *state;     /* of who serves this kind: feed.c for REQUESTS */
    struct peer_conn *next; /* of the worker, incoming ones */
    _Atomic uint32_t refs;  /* conn is NULL when the connection is gone, the struct may live on */

    /* Of peers.c alone. */
    uint8_t stage;      /* enum peer_stage */
    bool skipped_first; /* the byte that says what kind of connection it is */
    uint64_t opened_us;
    uint64_t deadline_us;  /* of the greeting */
    uint64_t wanted_epoch; /* of a map that we want of it; 0: none */
    uint64_t fetch_us;     /* then it is asked */
    uint64_t hello_incarnation, hello_epoch;
    uint8_t cluster_id[CLUSTER_ID_BYTES]; /* of the hello */
};
struct peer_conn *peer_conn_ref(struct peer_conn *conn);
void peer_conn_unref(struct peer_conn *conn);

/* ---- Life (main loop) ---- */

/* Brings the set of peers in line with a map: makes those that are new (and starts to connect),
 * lets go of those that it does not name. Called before buckets adopt the map. ERROR_MEMORY: the
 * set is as it was. */
enum error peers_adopt(struct server *server, const struct cluster_map *map);
void peers_free(struct server *server); /* the workers' loops have stopped, or are this thread's */

/* Any thread; a reference, or NULL if the map does not name it (or it is this server). */
struct peer *peers_find(struct server *server, uint64_t incarnation);

/* Accepts a connection whose first byte is 86 (session_host.on_peer). */
void peers_on_peer(void *owner, struct net_conn *conn, struct slice data);

/* What a worker needs for its peers' connections. Its loop must not run yet, or be this thread's;
 * peers_worker_fini() comes after peers_free(). */
enum error peers_worker_init(struct worker *worker);
void peers_worker_fini(struct worker *worker);

/* Somebody with proof (a locator) says that it is gone. Any thread. */
void peers_declare_gone(struct server *server, uint64_t incarnation);

/* Longest delay of a loop's own timer since the last call with `reset`: how long it did not turn.
 */
uint64_t peers_stall_us(struct server *server, bool reset);

/* ---- Leases and promises (any thread) ---- */

/* We hold a lease from this peer at `now_us` under the map that all our buckets have adopted. The
 * caller has read the clock after the request (rule R4): loop_clock_us(). */
bool peer_lease_holds(const struct peer *peer, uint64_t now_us);
/* Our promise to it still runs: it may be reading. False when it is provably gone. */
bool peer_promise_runs(const struct peer *peer, uint64_t now_us);

/* With the bucket's lock: nothing is granted for this bucket any more to `peer`, from now until the
 * map has moved; told to it before any further beacon is answered. Returns until when (our clock)
 * an earlier promise may be in use: 0 if it is gone. */
uint64_t peer_except(struct peer *peer, struct bucket *bucket);
/* The same, but only if our promise to it has run out (or it is gone); else false, and nothing
 * changed. One decision with what a beacon of it does at the same moment. */
bool peer_except_if_free(struct peer *peer, struct bucket *bucket, uint64_t now_us);

/* ---- Sending (any thread, bucket's lock held or not) ---- */

/* The copy has records (or a probe, or a committed) for this peer: replica_fill() is called on its
 * loop at the end of the turn. Idempotent while it waits. */
void peer_mark_dirty(struct peer *peer, struct replica_copy *copy);
/* The bucket goes, or the copy does: it waits no more. */
void peer_forget_copy(struct peer *peer, struct replica_copy *copy);
/* The call is sent over REQUESTS, by call_fill() on its loop. The mailbox has a reference. */
void peer_send_call(struct peer *peer, struct call *call);
/* A frame on our own REPLICATION or REQUESTS link, from any thread: copied, sent in order with
 * others of this function; lost with the link. ERROR_UNREACHABLE: the link is down; ERROR_BUSY:
 * LIMIT_PEER_MAIL_BYTES wait already; ERROR_MEMORY. */
enum error peer_send(struct peer *peer, enum peer_link_kind link, enum peer_frame_kind kind,
                     struct slice content);

/* ---- What this server tells the locators (any thread; sent from the main loop) ---- */

/* A change of a bucket's place in the map, proposed by its primary. Sent again by the author until
 * the set version has moved. Lost when no locator is there. */
struct proposal {
    uint32_t region_id, bucket, generation;
    uint32_t set_version; /* that it starts from */
    uint32_t term;
    uint64_t primary;     /* incarnation */
    uint64_t in_sync[16]; /* incarnations */
    uint32_t in_sync_count;
};
void server_propose(struct server *server, const struct proposal *proposal);
/* Another server is silent or gone. `evidence` is for people. */
void server_report(struct server *server, uint64_t incarnation, bool gone, uint32_t silent_ms,
                   const char *evidence);
/* Somebody has a newer map than this server: a locator is asked for it. */
void server_want_map(struct server *server, uint64_t epoch);
/* A map that a peer sent; the main loop adopts it if it is newer. Takes its own reference. */
void server_give_map(struct server *server, struct cluster_map *map);

#endif
