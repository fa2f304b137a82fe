/* A subscription: one reading of one instance, over the buckets of the whole cluster.
 *
 * It is a position in each bucket's ring, so a slow one costs a few words and never delays a
 * writer. It belongs to one worker; other threads only mark buckets as dirty and post its task.
 *
 *   rings of buckets led here ---------------------------.
 *   [other server: a subscription whose sink is the link] +-> subscription -> sink: the client
 *        `-- EVENTS feed (subscription_feed.c) -----------'
 *
 * What is pushed is bounded by the credit of its reader and by what waits in the connection's send
 * buffer.
 *
 *   WAITING (not begun in every bucket) --> SNAPSHOT (bucket after bucket) --> TAIL
 *                                               ^--- GAP, DATA_LOSS: of one bucket ---/
 *
 * Rows of a snapshot carry the identity of the record that changed them last and come in its order,
 * so that a resume from the middle of a snapshot misses nothing and repeats nothing.
 *
 *   subscription.c        life          subscription_route.c   where each bucket is read
 *   subscription_push.c   the pump      subscription_client.c  the sink that is a client
 *   subscription_feed.c   what comes of other servers          feed.c  the sink that is a link */
#ifndef VUG_SERVER_SUBSCRIPTION_H
#define VUG_SERVER_SUBSCRIPTION_H

#include "protocol/message.h"
#include "server/feed.h"
#include "server/server.h"

/* Where a subscription stands in a bucket: after this event. In snapshot mode `at` is the last row
 * of the snapshot that was sent (0, 0: none), and `begin` the bucket's last record when the
 * subscription began: its later events are owed whatever becomes of the snapshot (BEGIN_ANY:
 * the snapshot may stand at any moment). */
#define BEGIN_ANY UINT64_MAX
struct token_position {
    uint32_t generation;
    bool in_snapshot;
    uint64_t begin;
    struct ring_position at;
};

/* Resume tokens: opaque to clients, checked by a checksum. */
struct token_head {
    uint64_t instance;
    uint64_t life; /* of cluster and region */
    uint64_t plan; /* beginning of its fingerprint */
};
void token_encode(const struct token_head *head, const struct token_position *positions,
                  uint32_t count, struct buf *out);
/* `positions` has room for `count`. ERROR_MALFORMED; ERROR_CONFLICT if the token has another number
 * of buckets. */
enum error token_decode(struct slice token, struct token_head *head,
                        struct token_position *positions, uint32_t count);
/* The head alone, to find the instance. */
enum error token_read_head(struct slice token, struct token_head *head);

/* What a resume found that its reader has to be told before anything else of the bucket. */
enum subscription_trouble {
    TROUBLE_NONE,
    TROUBLE_LOST,      /* the contents that the position is about are gone */
    TROUBLE_RESTARTED, /* the query was ended in between: its state began anew */
};

enum subscription_route {
    ROUTE_NONE, /* looked for again soon */
    ROUTE_HERE, /* led here: read from its ring */
    ROUTE_FEED, /* led elsewhere: comes through `feed` */
};

struct subscription_bucket {
    enum subscription_trouble trouble;
    uint64_t troubled_from;         /* first record that is missed */
    bool feed_tells;                /* of the trouble, next */
    struct token_position position; /* generation 0: it has none yet */
    struct ring_hint hint;
    enum subscription_route route;
    struct feed_in *feed;
    bool wanted;
    bool settled; /* the position is one in the bucket as it is where it is read */
};

enum subscription_state { SUBSCRIPTION_WAITING, SUBSCRIPTION_SNAPSHOT, SUBSCRIPTION_TAIL };

struct snapshot_row {
    struct ring_position position;
    uint32_t offset, len; /* in `encoded` */
    uint32_t group;       /* of a plan with state */
};

/* The rows of one bucket that a snapshot is pushing. */
struct snapshot {
    struct buf encoded;
    struct snapshot_row *rows;
    size_t count, cap, next;
    struct ring_position after; /* where the tail begins */
    uint64_t wait_seq;          /* nothing of it leaves before this is committed (rule R2) */
    uint32_t term;              /* in which it was cut */
    bool committed;
};

struct subscription;

/* Where the outputs go. Functions that push return false when the reader is lost. */
struct subscription_sink {
    bool (*may_push)(struct subscription *subscription);
    /* Into worker->batch; the position of the bucket is the event's from then on, unless it is
     * `loose`: one of a run that counts as a whole. */
    void (*add_event)(struct subscription *subscription, uint32_t bucket,
                      const struct ring_event *event, bool loose);
    /* `count` loose events follow, which came of `raw` ones. */
    void (*add_run)(struct subscription *subscription, uint32_t count, uint32_t raw);
    bool (*push_batch)(struct subscription *subscription, Pb__CqEventBatch__Phase phase,
                       bool with_token);
    bool (*push_status)(struct subscription *subscription, Pb__CqStatus__Code code, uint32_t bucket,
                        uint64_t from_seq, uint64_t to_seq, const char *detail);
    /* The position of the bucket has moved otherwise than by an event. */
    void (*add_position)(struct subscription *subscription, uint32_t bucket);
    /* This server does not lead it any more, and it is wanted no more. */
    void (*add_moved)(struct subscription *subscription, uint32_t bucket);
    void (*answer)(struct subscription *subscription);
    void (*fail)(struct subscription *subscription, const struct failure *failure);
    /* What was to be said is lost: the reader must not go on as if it had it. */
    void (*give_up)(struct subscription *subscription);
    void (*end)(struct subscription *subscription); /* out of the list of who has it */
};
extern const struct subscription_sink subscription_client_sink, feed_sink;

struct subscription {
    struct subscription *next, *previous; /* of the instance; guarded by its lock */
    struct subscription *next_of_session;
    struct worker *worker;
    const struct subscription_sink *sink;
    struct session *session;      /* NULL: of a feed */
    struct feed_out *feed_out;    /* feed.c */
    struct cq_instance *instance; /* a reference */
    struct query_plan *plan;      /* a reference: of this subscriber's own text, with its names */
    uint64_t id, batch_no;
    enum subscription_state state;
    Pb__Encoding encoding;
    bool is_durable; /* asked for */
    bool conflates;  /* what waits: the net change of each key */
    uint32_t keys[LIMIT_KEY_COLUMNS], key_count;
    bool disconnects_when_slow, token_every_batch, progress;
    uint32_t batch_events_max;
    uint64_t conflated;      /* since the last batch */
    uint32_t run_events_max; /* a run of net changes passes as a whole: what its reader can take */
    uint64_t credit_events;
    int64_t credit_bytes; /* below 0 when the last event was larger than what was left */
    struct subscription_bucket *buckets;
    uint32_t bucket_count;
    struct snapshot snapshot;
    uint32_t snapshot_next;   /* where the search for the next one goes on */
    uint32_t snapshot_bucket; /* being pushed; bucket_count: none */
    struct feed_in *feeds;    /* from other servers */
    bool latest, created;     /* where it starts in a bucket without a position */
    bool has_trouble;
    bool retry_set; /* `retry` runs: something is awaited that wakes nobody */
    uint64_t retry_us;
    uint64_t deadline_us; /* while WAITING */
    struct loop_timer retry;
    _Atomic bool reroute;
    bool wants_snapshot_end; /* a snapshot was asked for or became necessary, and its end was not
                                announced */
    bool tails_go_on; /* the first snapshot has ended: a later one of a bucket delays no other */
    Pb__CqEventBatch__Phase batch_phase; /* of what lies in worker->batch */
    bool progress_due;
    struct session_slot
        *slot;  /* of the subscribe request, while the answer waits for the instance */
    bool moved; /* since the last token */
    bool ended; /* waits only for its task to run, or for its pump to return; its session may be
                   gone */
    bool pumping;
    struct loop_timer progress_timer;
    struct loop_task task;
    _Atomic bool posted;
    uint32_t scan_next;
    _Atomic uint64_t dirty[]; /* a bit for each bucket */
};

struct subscription_options {
    struct cq_instance *instance; /* a reference is taken */
    const Pb__CqSubscribeRequest *request;
    struct query_plan *plan; /* of the request; NULL: the instance's */
    Pb__Encoding encoding;
    bool created; /* the instance starts with this subscription */
};

/* Attaches to the instance and to the session. ERROR_INVALID fills `failure` (token, positions);
 * ERROR_LIMIT, ERROR_MEMORY. */
enum error subscription_new(struct worker *worker, struct session *session,
                            const struct subscription_options *options,
                            struct subscription **subscription, struct failure *failure);
/* For another server: no bucket is wanted yet. Its sink is feed.c's. ERROR_MEMORY. */
enum error subscription_new_of_feed(struct worker *worker, struct cq_instance *instance,
                                    struct feed_out *feed, bool progress,
                                    struct subscription **subscription);
struct subscription *subscription_find(struct session *session, uint64_t id);
/* Answers the subscribe request when the instance is ready in every bucket; `slot` is taken (NULL
 * for a feed). Then pushes what there is. */
void subscription_start(struct subscription *subscription, struct session_slot *slot);
void subscription_add_credit(struct subscription *subscription, uint64_t events, uint64_t bytes);
/* Detaches and frees it (later, if a task of it is on its way). */
void subscription_end(struct subscription *subscription);
/* The session goes: ends all of its subscriptions. */
void subscription_session_end(void *owner, struct session *session);

/* Any thread, with a bucket's lock or none: wakes the subscribers of an instance; `bucket` has
 * something new, UINT32_MAX: look at everything. */
void subscription_notify_all(struct cq_instance *instance, uint32_t bucket);

/* Any thread: every subscription looks anew where its buckets are led. */
void subscription_reroute_all(struct cq_instance *instance);

/* ---- Between the files of this module ---- */

/* Something is awaited that does not wake anybody: the pump runs again soon, later each time. */
void subscription_retry(struct subscription *subscription);
/* The connection has enough to send for now: pushes go on when it has taken it. */
void subscription_wait_for_room(struct subscription *subscription);
/* subscription_push.c: pushes as much as credit and the connection allow. The subscription may be
 * gone after it. */
void subscription_pump(struct subscription *subscription);
/* Out of the list of its session. */
void subscription_leave_session(struct subscription *subscription);
/* Frees what has ended, now or when its task has run. */
void subscription_dispose(struct subscription *subscription);
/* Frees what ended while its task was on its way; the loops have stopped. */
void subscription_free_reaped(struct worker *worker);
/* The bucket starts over with a snapshot whose later events are those after `begin`. */
void subscription_start_over(struct subscription *subscription, uint32_t index, uint64_t begin);
bool subscription_batch_has_room(const struct subscription *subscription, uint32_t events);
/* What is added to the batch from now on is of this phase; pushes what waits of another. False: the
 * reader is lost. */
bool subscription_enter_phase(struct subscription *subscription, Pb__CqEventBatch__Phase phase);
/* Something to push, or to give up for: an event that the batch had no memory for. */
static inline bool subscription_batch_waits(const struct subscription *subscription)
{
    return subscription->worker->batch.len > 0 || subscription->worker->batch.failed;
}
/* The reader fell behind what is kept. False if the subscription ends. */
bool subscription_tell_gap(struct subscription *subscription, uint32_t index, uint64_t from,
                           uint64_t to);

/* subscription_route.c: looks where each bucket that is wanted is led, and settles what is led
 * here. True when every bucket that is wanted is settled. */
bool subscription_route_all(struct subscription *subscription);
/* Which bucket is waited for, for people. */
void subscription_tell_unrouted(struct subscription *subscription, struct failure *failure);

/* subscription_feed.c. */

/* A feed of some buckets that another server leads. */
struct feed_in {
    struct feed_in *next;         /* of the subscription */
    struct feed_in *next_in_line; /* of the server's table, guarded by server->lock */
    uint64_t id;
    struct peer *peer; /* a reference */
    struct server *server;
    uint32_t wanted_count; /* buckets that come through it */
    struct buf items;      /* arrived, not taken; from `taken` on */
    size_t taken;
    uint64_t owed;        /* credit to be given back */
    uint32_t run_left;    /* events of a run that passes as a whole */
    pthread_mutex_t lock; /* a leaf: guards what follows */
    struct subscription *subscription;
    struct buf inbox;
    bool broken, ended; /* link lost; the other side has nothing more to say */
};

/* Opens feeds for the buckets at this peer whose route is ROUTE_NONE and whose place is named in
 * `places` (incarnations, 0: none). False: not now. */
bool subscription_feed_open(struct subscription *subscription, uint64_t incarnation,
                            const uint64_t *places);
/* The bucket is read elsewhere from now on. */
void subscription_feed_leave(struct subscription *subscription, uint32_t index);
/* Takes what has arrived into worker->batch, as far as credit and the phase allow. *events counts.
 * False if the subscription has ended. */
bool subscription_feed_take(struct subscription *subscription, uint32_t *events);
/* What arrived for it, on the loop of the link. False: there is no such feed any more. */
bool subscription_feed_receive(struct server *server, uint64_t id, struct slice items);
/* The link to the peer broke: what came through it is opened again. */
void subscription_feed_lose(struct peer *peer);
/* feed.c: false while a feed has lost something and cannot say so; it ends when it could. */
bool feed_out_is_whole(struct subscription *subscription);
void subscription_feeds_free(struct subscription *subscription);

/* snapshot.c: cuts the snapshot of one bucket into subscription->snapshot. ERROR_BUSY: the query
 * has not begun there. */
enum error snapshot_cut(struct subscription *subscription, uint32_t bucket);
void snapshot_fini(struct snapshot *snapshot);

#endif
