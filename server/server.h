/* A cache server: the root of everything that it owns.
 *
 *   main loop:  listener, link to the locators, catalog, upkeep
 *   workers:    connections, each with one loop; operations run on the worker that read them
 *
 * Several servers can live in one process: nothing is global. The embedder brings the loops and
 * nets (real threads in cli/server.c, one simulated thread in the tests) and runs them. */
#ifndef VUG_SERVER_SERVER_H
#define VUG_SERVER_SERVER_H

#include "common/log.h"
#include "common/net.h"
#include "server/cq.h"
#include "server/call.h"
#include "server/link.h"
#include "server/region.h"
#include "server/rows.h"

struct server_options {
    const char *name;
    const char *bind_address;
    uint16_t port;                    /* 0: a free one; server_port() tells */
    const char *hostname_for_clients; /* NULL: the bind address */
    const char *groups;               /* comma-separated; NULL or "": none */
    uint16_t http_port;               /* as it is told to others; the embedder serves it */
    const struct net_address *locators;
    uint32_t locator_count;
    uint32_t locator_wait_ms;
    uint64_t ring_bytes_max;  /* 0: LIMIT_RING_BYTES */
    uint32_t connections_max; /* 0: LIMIT_CONNECTIONS */
    uint32_t idle_ms;         /* 0: LIMIT_IDLE_MS */
};

struct server_events {
    void (*on_ready)(void *arg); /* joined, serves, and the locator names it to clients */
    void (*on_refused)(void *arg, enum error why,
                       const char *text); /* the cluster does not take it; server_free() follows */
    void (*on_stop_requested)(void *arg); /* `vug stop` */
};

struct server;

/* A place where connections are served: one loop, one thread, one net. */
struct server_place {
    struct loop *loop;
    struct net *net;
};

/* Listens and starts to join. `main` is where the calls of this header are made; `workers` may be
 * one that equals `main`. Keeps nothing of the options. ERROR_ADDRESS_IN_USE, ERROR_NAME, ERROR_IO,
 * ERROR_MEMORY. The workers' loops must not run yet, or be this thread's. */
enum error server_new(const struct server_options *options, struct server_place main,
                      const struct server_place *workers, uint32_t worker_count, struct log *log,
                      const struct server_events *events, void *arg, struct server **server);

struct net_address server_address(const struct server *server);

/* Tells the locators that the server leaves, hands over what it leads for at most 10 s (of which it
 * waits at most 5 s for a locator, if none is connected), stops taking requests, lets what is in
 * service end, then calls on_drained on the main loop. */
void server_drain(struct server *server, void (*on_drained)(void *arg), void *arg);

/* The workers' loops must have stopped, or be this thread's. */
void server_free(struct server *server);

struct server_stats {
    uint64_t regions, entries, bytes, connections, connections_total, subscriptions, instances,
        ring_bytes, events_pushed;
    uint64_t messages_received, messages_sent, bytes_received, bytes_sent;
};
/* Approximate. Main loop. */
void server_stats(struct server *server, struct server_stats *stats);
/* The same as Prometheus text. */
void server_metrics(struct server *server, struct buf *text);

/* ---- For server/ alone ---- */

struct aheads;

struct worker {
    struct server *server;
    uint32_t index;
    struct loop *loop;
    struct net *net;
    struct session_host host;
    struct arena arena;          /* for pushes */
    struct buf batch;            /* the events of the push being made */
    struct subscription *reaped; /* ended, but their task is still on its way */
    struct aheads *aheads;
    struct catalog *catalog;       /* a reference; newest that this worker has */
    struct loop_task catalog_task; /* brings the next one */
    struct catalog
        *catalog_next; /* guarded by server->lock, as are the flags that a task is on its way */
    bool catalog_posted, adopt_posted;
    _Atomic uint64_t epoch;        /* of `catalog` */
    struct loop_task adopt_task;   /* brings accepted sockets */
    struct worker_socket *sockets; /* guarded by server->lock */
    struct worker_socket **sockets_end;
    struct loop_task drain_task;
    _Atomic uint64_t events_pushed;
    pthread_mutex_t mail_lock;     /* a leaf: guards the mailbox of calls that are done */
    struct call *mail, **mail_end; /* their on_result() runs on this loop */
    bool mail_posted;
    struct loop_task mail_task;
    struct trash *trash; /* old contents that are freed in slices; guarded by mail_lock */
    bool trash_posted;
    struct loop_task trash_task;
    struct call_worker *calls;    /* what else call.c keeps here */
    struct peer_conn *peer_conns; /* that peers opened to this worker */
    _Atomic uint64_t turned_us;   /* a sign of life: beacons stop when a worker has none for 1 s */
    struct peer *peers_out;       /* whose connections out live here; references */
    struct peer *peers_new;       /* the same, on their way here; guarded by server->lock */
    struct loop_timer peers_timer;
    struct loop_task peers_task; /* peers.c looks at all of them */
    _Atomic bool peers_posted;
    uint64_t peers_due_us;     /* when the timer is set for */
    _Atomic uint64_t stall_us; /* longest delay of that timer */
    struct arena peer_arena;   /* of the message being read */
    struct log_limit peer_limit;
};

/* What other threads tell the main loop for the locators (propose.c). */
enum { OUTBOX_REPORTS = 32 };
struct outbox {
    pthread_mutex_t lock; /* a leaf */
    struct loop_task task;
    bool posted;
    struct proposal *proposals;
    uint32_t proposal_count, proposal_cap;
    struct outbox_report {
        uint64_t incarnation;
        bool gone;
        uint32_t silent_ms;
        char evidence[160];
    } reports[OUTBOX_REPORTS];
    uint32_t report_count;
    uint64_t wanted_epoch;
    struct cluster_map *map; /* a reference */
};

enum drain_phase { DRAIN_NONE, DRAIN_HAND_OVER, DRAIN_SESSIONS };
enum { FEED_LINES = 256 };

struct server {
    struct loop *loop;
    struct net *net;
    struct log *log;
    struct link *link;
    struct net_listener *listener;
    struct server_events events;
    void *arg;
    char name[LIMIT_NAME_BYTES + 1];
    char host[256]; /* as it is told to others */
    uint16_t port;
    uint64_t hash_seed, incarnation;
    uint64_t started_us;
    bool is_ready, is_draining;
    _Atomic bool leases_dropped; /* it ends: no lease counts any more */
    _Atomic uint32_t connection_count, subscription_count;
    uint32_t next_worker;
    _Atomic uint32_t draining_workers;
    struct worker *workers;
    uint32_t worker_count;
    bool workers_ended;                              /* server_free() is taking them down */
    _Atomic uint64_t hold_max_us;                    /* server_hold_end() */
    struct peer *peers;                              /* guarded by `lock` */
    _Atomic uint64_t announced_epoch, adopted_epoch; /* of the map: before the first, and after the
                                                        last bucket has adopted it */
    _Atomic uint64_t backlog_bytes;                  /* of all buckets: LIMIT_BACKLOG_BYTES */
    struct catalog *catalog;     /* the main loop's reference; changed under `lock` */
    struct loop_task taken_task; /* a worker has taken a catalog */
    bool taken_posted;           /* guarded by `lock` */
    struct loop_timer upkeep;
    struct loop_timer tick;            /* 50 ms: what waits for time to pass in buckets */
    uint32_t tick_region, tick_bucket; /* where the next one goes on */
    uint64_t tick_due_us;
    _Atomic uint64_t stall_us; /* longest delay of that timer */
    uint64_t stall_max_us;     /* of any loop, since the start */
    struct outbox outbox;
    struct cluster_map *map_waiting; /* could not be taken for want of memory; a reference */
    enum drain_phase drain_phase;
    uint64_t handed_over_us;  /* the last time that buckets were handed over */
    struct server_load *load; /* what beacons tell, made anew each second */
    uint64_t drain_deadline_us;
    uint64_t locator_wait_us; /* since when a server that ends has been waiting for a locator */
    void (*on_drained)(void *arg);
    void *drained_arg;

    pthread_mutex_t lock; /* guards workers' mailboxes here and the registry of instances; never
                             held with a bucket's lock */
    struct cq_instance *instances;
    uint64_t queries_epoch; /* of the map that they are of */
    struct errand *errands;
    struct cq_wait *cq_waits; /* subscribe requests that wait for the map (registry.c) */
    struct loop_task registry_task;
    bool registry_posted;
    bool attachments_due;              /* to be told to the locators at once */
    uint64_t attachments_told_us;      /* main loop */
    struct feed_in *feeds[FEED_LINES]; /* of subscriptions here, by id (subscription_feed.c) */
    uint64_t next_feed_id;
    struct cq_budget budget;
    struct rows rows;
    _Atomic uint64_t next_subscription_id;
};

/* worker.c */
enum error worker_init(struct worker *worker, struct server *server, uint32_t index,
                       struct server_place place, const struct server_options *options);
void worker_fini(struct worker *worker); /* its loop has stopped, or is this thread's */
/* Main loop: gives an accepted socket, the newest catalog, the word to end. */
void worker_give_socket(struct worker *worker, struct net_socket *socket);
void worker_give_catalog(struct worker *worker, struct catalog *catalog);
void worker_drain(struct worker *worker);

/* forward.c: sends a session's request to a locator. The answer comes on the worker's loop, into
 * the slot that was taken. `on_answer` gets the slot. */
enum error server_call_locator(struct worker *worker, struct session *session, uint32_t number,
                               struct slice body, link_answer_fn *on_answer);

/* server.c: takes a map of a locator or a peer if it is newer. Main loop. */
void server_adopt_map(struct server *server, struct cluster_map *map);

/* propose.c: the outbox, and what locators ask of buckets. Main loop. */
void outbox_init(struct server *server);
void outbox_fini(struct server *server);
void server_on_seal(void *arg, const struct link_seal *seal, struct seal_answer *answer);
void server_on_place(void *arg, const struct link_place *place);
void server_hand_over(struct server *server, uint64_t now_us);
bool server_has_handed_over(const struct server *server);

/* load.c: what beacons and metrics tell. Main loop. */
void server_load(struct server *server, struct link_load *load);
void server_load_free(struct server *server);
/* The locator asks for a region to be cleared here. */
void server_on_call(void *arg, uint64_t id, uint32_t number, struct slice body);

/* ask.c: a request to a locator on its way between loops, at the beginning of what stands for it.
 * One that never comes to its end is answered when the server is freed. */
struct errand {
    struct errand *next, **link;
    struct buf body; /* of the request, then of the answer */
    bool failed;
    struct failure failure;
    void (*answer)(void *errand); /* ends it */
};
void errand_begin(struct server *server, struct errand *errand, struct slice body);
void errand_end(struct server *server, struct errand *errand); /* frees it */
void errand_fail_all(struct server *server);

/* The server's own request to a locator. The answer comes once, on the worker's loop or, if
 * that is NULL, on the main loop: as link_answer_fn. Any thread. ERROR_MEMORY: no answer comes. All
 * locators are told of SERVER_ATTACHED: each counts for itself whether a query is forgotten. */
enum { SERVER_ATTACHED = 1074 };
enum error server_ask_locator(struct server *server, struct worker *worker, uint32_t number,
                              struct slice body, link_answer_fn *on_answer, void *arg);

/* registry_plan.c: the plan of a query as the map has it, made with the table that it began with.
 * *ddl, if asked for, is given the DDL of the catalog's table that it reads. ERROR_INVALID,
 * ERROR_NOT_FOUND, ERROR_MEMORY. */
enum error registry_plan(const struct catalog *catalog, const struct cluster_query *query,
                         struct query_plan **plan, struct buf *ddl);
/* What a token is about: a region of that name in another cluster, or made anew, is another one. */
uint64_t registry_life(const struct catalog *catalog, const struct region *region);

/* registry.c, reconcile.c: the instances of the map. */

/* Main loop. registry_adopt() makes and ends instances, before the buckets adopt the map that is
 * the catalog's; registry_reconcile() after them: CQ_ADD and CQ_DROP in the buckets led here, and
 * every subscription looks anew where its buckets are. */
void registry_adopt(struct server *server, struct catalog *catalog);
void registry_reconcile(struct server *server);

/* Finds the instance for a subscription. `plan` may be NULL when `plan_id` or `token_id` names one.
 * ERROR_NOT_FOUND: there is none, and it has to be asked for, or does not exist (no plan);
 * ERROR_CONFLICT (the name or token is another text's). */
struct registry_request {
    struct query_plan *plan;
    struct region *region;
    struct slice name, plan_id;
    uint64_t token_id; /* 0: none */
};
enum error registry_attach(struct server *server, const struct registry_request *request,
                           struct cq_instance **instance);
/* The same by its id. ERROR_NOT_FOUND, or ERROR_BUSY: this server's map does not have it yet; then
 * wait->on_map is posted to the worker's loop once it may. `made_here`: its first subscriber. */
struct cq_wait {
    struct cq_wait *next;
    struct worker *worker;
    struct loop_task on_map;
    uint64_t id, epoch;
};
enum error registry_attach_id(struct server *server, uint64_t id, uint64_t epoch, bool made_here,
                              struct cq_wait *wait, struct cq_instance **instance);
/* It waits no more; false: it was posted already. */
bool registry_forget_wait(struct server *server, struct cq_wait *wait);
/* A reference, for a feed; NULL if this server does not know it. */
struct cq_instance *registry_find(struct server *server, uint64_t id);
/* The caller has attached its subscription, or has given up: the instance may end again. Once for
 * each registry_attach*(). */
void registry_attached(struct server *server, struct cq_instance *instance);
/* Asks for the end of what failed; lets go of what has ended; tells who is attached. Main loop. */
void registry_upkeep(struct server *server);
/* The last subscriber of an unnamed instance has left in so many words. */
void registry_release(struct server *server, struct cq_instance *instance);
/* Of the young instances (LIMIT_YOUNG_MS) of this server's subscribers that nobody is attached to,
 * ends those that were left first, beyond LIMIT_UNATTACHED_INSTANCES without and
 * LIMIT_UNATTACHED_NAMED with a name: clients that subscribe and vanish must not cost those who
 * stay, and a broken network must not cost those who had been there for a while. */
void registry_trim(struct server *server);
/* The queries of this epoch are here. */
void registry_wake_waits(struct server *server, uint64_t epoch);
/* Lets go of instances that have ended in every bucket. Main loop. */
void registry_sweep(struct server *server);
void registry_init(struct server *server);
void registry_free(struct server *server);
void registry_each(struct server *server, void (*visit)(void *arg, struct cq_instance *instance),
                   void *arg);

/* Around work over many entries under a bucket's lock, which must not be held longer than 1 ms: the
 * longest is exported. CPU time, so that a busy machine does not count. */
static inline uint64_t server_hold_begin(const struct bucket *bucket)
{
    const struct server *server = bucket->region->server;
    return server == NULL || server->loop == NULL ? 0 : loop_cpu_us(server->loop);
}

static inline void server_hold_end(const struct bucket *bucket, uint64_t began_us)
{
    struct server *server = bucket->region->server;
    uint64_t held_us = server_hold_begin(bucket) - began_us;
    if (server != NULL &&
        held_us > atomic_load_explicit(&server->hold_max_us, memory_order_relaxed))
        atomic_store_explicit(&server->hold_max_us, held_us, memory_order_relaxed);
}

#endif
