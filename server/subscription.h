/* A subscription: one client's reading of one instance.
 *
 * It is a position in each bucket's ring, so a slow one costs a few words and never delays a
 * writer. It belongs to the worker of its connection; other threads only mark buckets as dirty and
 * post its task. What is pushed is bounded by the client's credit and by what waits in the
 * connection's send buffer.
 *
 *   WAITING (the instance still builds) --> SNAPSHOT (bucket after bucket) --> TAIL
 *                                               ^--- GAP, DATA_LOSS: of one bucket ---/
 *
 * Rows of a snapshot carry the identity of the record that changed them last and come in its order,
 * so that a resume from the middle of a snapshot misses nothing and repeats nothing. */
#ifndef VUG_SERVER_SUBSCRIPTION_H
#define VUG_SERVER_SUBSCRIPTION_H

#include "protocol/message.h"
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

struct subscription_bucket {
    enum subscription_trouble trouble;
    uint64_t troubled_from; /* first record that is missed */
    struct token_position position;
    struct ring_hint hint;
    bool wanted;
};

enum subscription_state { SUBSCRIPTION_WAITING, SUBSCRIPTION_SNAPSHOT, SUBSCRIPTION_TAIL };

struct snapshot_row {
    struct ring_position position;
    uint32_t offset, len; /* in `encoded` */
};

/* The rows of one bucket that a snapshot is pushing. */
struct snapshot {
    struct buf encoded;
    struct snapshot_row *rows;
    size_t count, cap, next;
    struct ring_position after; /* where the tail begins */
};

struct subscription {
    struct subscription *next, *previous; /* of the instance; guarded by its lock */
    struct subscription *next_of_session;
    struct worker *worker;
    struct session *session;
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
    uint64_t conflated; /* since the last batch */
    uint64_t credit_events;
    int64_t credit_bytes; /* below 0 when the last event was larger than what was left */
    struct subscription_bucket *buckets;
    uint32_t bucket_count;
    struct snapshot snapshot;
    uint32_t snapshot_next;   /* where the search for the next one goes on */
    uint32_t snapshot_bucket; /* being pushed; bucket_count: none */
    bool wants_snapshot_end;  /* a snapshot was asked for or became necessary, and its end was not
                                 announced */
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
struct subscription *subscription_find(struct session *session, uint64_t id);
/* Answers the subscribe request: now, or when the instance is ready; `slot` is taken. Then pushes
 * what there is. */
void subscription_start(struct subscription *subscription, struct session_slot *slot,
                        bool answer_now);
void subscription_add_credit(struct subscription *subscription, uint64_t events, uint64_t bytes);
/* Detaches and frees it (later, if a task of it is on its way). */
void subscription_end(struct subscription *subscription);
/* The session goes: ends all of its subscriptions. */
void subscription_session_end(void *owner, struct session *session);

/* Any thread, with a bucket's lock or none: wakes the subscribers of an instance; `bucket` has
 * something new, UINT32_MAX: look at everything. */
void subscription_notify_all(struct cq_instance *instance, uint32_t bucket);

/* The connection has enough to send for now: pushes go on when it has taken it. */
void subscription_wait_for_room(struct subscription *subscription);

/* subscription_push.c: pushes as much as credit and the connection allow. The subscription may be
 * gone after it. */
void subscription_pump(struct subscription *subscription);
/* Frees what has ended, now or when its task has run. */
void subscription_dispose(struct subscription *subscription);
/* Frees what ended while its task was on its way; the loops have stopped. */
void subscription_free_reaped(struct worker *worker);
/* snapshot.c: cuts the snapshot of one bucket into subscription->snapshot. ERROR_BUSY: not all of
 * it is committed yet. */
enum error snapshot_cut(struct subscription *subscription, uint32_t bucket);
void snapshot_fini(struct snapshot *snapshot);

#endif
