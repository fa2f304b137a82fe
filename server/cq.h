/* Continuous queries inside the buckets.
 *
 * An instance is one plan at work over all buckets of a region; in each bucket it has operator
 * state and an output ring, which change only when a record is applied. Subscriptions
 * (subscription.h) read the rings.
 *
 *   RECORD_CQ_ADD ---> entries of the bucket, in arrival order --\
 *   RECORD_PUT ------> the row ------------------------------------> input queue --> state --> ring
 * --> subscribers RECORD_PARTIAL --> a row from another bucket -----------------/
 *                       \--(its group lives in another bucket)--> outgoing --> RECORD_PARTIAL there
 *
 * While an instance still reads the entries that were there when it was added, its inputs wait in
 * the queue, which is worked off in slices; otherwise the queue is empty and a record is evaluated
 * as it is applied. */
#ifndef VUG_SERVER_CQ_H
#define VUG_SERVER_CQ_H

#include "query/query.h"
#include "server/bucket.h"
#include "server/ring.h"

struct subscription;
struct worker;

/* A row on its way to the bucket of its group. */
struct cq_partial {
    struct cq_partial *next;
    struct cq_instance *instance; /* a reference */
    uint32_t source_bucket, target_bucket;
    uint64_t source_seq;
    bool
        silent; /* of the entries that were there at the start: changes the state, gives no event */
    bool of_queue; /* came out of an input queue: the instance is not ready before this is there */
    size_t row_len;
    uint8_t row[];
};

struct cq_input { /* one of both */
    struct entry *entry;
    struct cq_partial *partial;
    uint64_t seq, time_ms;
    bool silent;
};

struct cq_bucket {
    struct cq_bucket *next;
    struct cq_instance *instance;
    struct bucket *bucket;
    struct query_state *state; /* NULL for a plan without */
    struct ring ring;
    uint64_t added_seq;
    uint64_t begin_seq; /* the last change of data before CQ_ADD */
    bool began_empty;   /* no entry was there at CQ_ADD */
    bool active;        /* between CQ_ADD and CQ_DROP */
    bool armed;         /* somebody wants to be told of the next event */
    struct cq_input *inputs;
    size_t input_first, input_count, input_cap;
};

enum cq_start { CQ_START_SNAPSHOT = 0, CQ_START_LATEST = 1 };

/* What the instances of a server share. */
struct cq_budget {
    uint64_t ring_bytes_max;
    _Atomic uint32_t instance_count;
};

struct cq_instance {
    _Atomic uint32_t refs;
    uint64_t id;         /* random; in resume tokens */
    uint8_t plan_id[16]; /* for CqSubscribeRequest.plan_id: the fingerprint of a plan without state,
                            else made of the id */
    uint8_t fingerprint[16];
    uint64_t life; /* of cluster and region: a token of another life is about other contents */
    char *name, *sql, *owner; /* name "" if none */
    struct query_plan *plan;
    bool has_state, append_only;
    enum cq_start start;
    struct region *region; /* a reference */
    struct cq_bucket *buckets;
    struct cq_budget *budget;
    _Atomic uint64_t ring_bytes;
    _Atomic uint64_t rows_in, events, errors;
    _Atomic uint32_t building; /* buckets whose CQ_ADD or input queue is not done, and rows of
                                  queues on their way */
    _Atomic bool failed; /* out of memory: it has missed something and is ended (never silently) */
    struct loop_task build_task;
    struct worker *builder; /* NULL, or who works off the input queues */
    uint32_t build_next;
    uint64_t created_us;
    struct cq_instance *next; /* in the registry */

    pthread_mutex_t lock; /* guards what follows; after a bucket's lock */
    struct subscription *subscriptions;
    uint32_t subscription_count;
    uint64_t unattached_since_us; /* of the main loop's clock; 0 while somebody is attached */
};

/* `region` gives a reference on success. */
struct cq_options {
    struct slice sql, name, owner;
    struct query_plan *plan; /* a reference is taken */
    enum cq_start start;
    uint64_t id, life;
    struct region *region;
    struct cq_budget *budget;
};
enum error cq_instance_new(const struct cq_options *options, struct cq_instance **instance);
struct cq_instance *cq_instance_ref(struct cq_instance *instance);
void cq_instance_unref(struct cq_instance *instance);

/* Puts CQ_ADD into the record of every bucket. On failure what was added is dropped again. */
enum error cq_instance_add(struct cq_instance *instance, uint64_t wall_ms);
/* Puts CQ_DROP into the record of every bucket. */
void cq_instance_drop(struct cq_instance *instance, uint64_t wall_ms);
/* Works off input queues for about `budget_us`; true when all are empty and their rows in place:
 * the instance is ready. */
bool cq_instance_build(struct cq_instance *instance, struct loop *loop, uint64_t budget_us);
static inline bool cq_instance_is_ready(const struct cq_instance *instance)
{
    return atomic_load(&instance->building) == 0;
}
/* Ends an instance that has missed something: its subscribers are told. With a bucket's lock or
 * none. */
void cq_instance_fail(struct cq_instance *instance);

/* Called by bucket_apply_locked() alone. */
enum error cq_add_locked(struct bucket *bucket, const struct record *record);
void cq_drop_locked(struct bucket *bucket, const struct record *record);
void cq_on_put_locked(struct bucket *bucket, const struct record *record, struct entry *entry);
void cq_on_partial_locked(struct bucket *bucket, const struct record *record);
void cq_bucket_free_all(struct bucket *bucket);

/* `committed` of the bucket moved: wakes subscribers. Bucket's lock held: only posts. */
void cq_on_commit_locked(struct bucket *bucket);

/* Drops what waits. */
void cq_clear_inputs_locked(struct cq_bucket *cqb);
/* Evaluates up to so many inputs that wait; true when none is left. */
bool cq_work_off_locked(struct cq_bucket *cqb, unsigned rows);

/* Carries the outgoing rows of a bucket to the buckets of their groups. Without any lock held. */
void cq_shuffle(struct bucket *bucket, uint64_t wall_ms);

/* Drops outputs older than LIMIT_RING_RETENTION_MS. */
void cq_instance_expire(struct cq_instance *instance, uint64_t wall_ms);

/* The encoded CqEvent of a result row; `kind` first, so that an encoding can replace it. Used for
 * rings and for snapshots. */
struct cq_event {
    uint32_t bucket, generation;
    struct ring_position position;
    uint8_t kind;
    const struct query_row *row; /* NULL for an error */
    const char *error;
    struct slice key; /* stored key or empty */
    uint64_t time_ms;
};
/* ERROR_MEMORY, or OK and the bytes at the end of `out`. */
enum error cq_event_encode(const struct cq_event *event, struct arena *arena, struct buf *out);
#define CQ_EVENT_KIND_OFFSET 1 /* of the byte that is the kind */
#define CQ_EVENT_KIND_BYTES  2

#endif
