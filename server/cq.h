/* Continuous queries inside the buckets.
 *
 * An instance is one plan at work over all buckets of a region; in each bucket it has operator
 * state and an output ring, which change only when a record is applied. Subscriptions
 * (subscription.h) read the rings.
 *
 *   RECORD_CQ_ADD ---> entries of the bucket, in arrival order --.
 *   RECORD_PUT ------> the row ----------------------------------+-> input queue -> state -> ring
 *   RECORD_PARTIAL --> a row from another bucket ----------------'       |             ->
 * subscribers
 *                                                                        `-> rows ring: its group
 *                                      lives in another bucket, whose primary pulls it (rows.h)
 *
 * All of it follows from the bucket's records alone, so every copy has the same state, rows and
 * outputs. While an instance still reads the entries that were there when it was added, its inputs
 * wait in the queue, in the order of their records; it is worked off in slices, which differ from
 * server to server: what comes out may not depend on them.
 *
 * Strict start: first every row that was there anywhere at the start, silently; then
 * RECORD_CQ_READY; then everything later, with events. Until then, and while rows that this server
 * has committed wait for their owners here, a row of the bucket's own group lies in its rows ring
 * too, and comes back as a PARTIAL record: so rows meet their groups in the order of their commits,
 * as far as one server leads the buckets of both. */
#ifndef VUG_SERVER_CQ_H
#define VUG_SERVER_CQ_H

#include "query/query.h"
#include "server/bucket.h"
#include "server/ring.h"

struct cq_initial;
struct subscription;
struct worker;
struct rows_puller;

enum cq_input_kind { CQ_INPUT_ENTRY, CQ_INPUT_PARTIAL, CQ_INPUT_READY };

struct cq_input {
    enum cq_input_kind kind;
    bool silent;         /* of what was there at the start: changes the state, gives no event */
    bool via_ring;       /* ENTRY: of the record */
    struct entry *entry; /* ENTRY: a reference */
    uint8_t *row;        /* PARTIAL: packed, of the input */
    size_t row_len;
    uint64_t seq, time_ms;
    uint32_t source_bucket, source_generation; /* PARTIAL */
    struct ring_position position;
};

/* How far the rows of another bucket have been applied. */
struct cq_applied {
    uint32_t bucket, generation;
    struct ring_position position;
};

struct cq_bucket {
    struct cq_bucket *next;
    struct cq_instance *instance;
    struct bucket *bucket;
    struct query_state *state; /* NULL for a plan without */
    struct ring ring;
    uint64_t added_seq;
    uint64_t begin_seq;            /* the last change of data before CQ_ADD */
    bool began_empty;              /* no entry was there at CQ_ADD */
    bool active;                   /* between CQ_ADD and CQ_DROP */
    bool ready;                    /* what was there at the start has all arrived */
    uint64_t ready_seq;            /* of the record that said so */
    struct ring rows;              /* rows whose group lives elsewhere: target, flags, packed row */
    struct ring_position own_last; /* newest row there whose group lives here */
    struct cq_applied *applied;    /* sorted by bucket */
    uint32_t applied_count, applied_cap;
    struct cq_initial *initial; /* entries that were there, ahead of all other inputs; or NULL */
    struct cq_input *inputs;
    size_t input_first, input_count, input_cap; /* input_count: those of the start included */
    uint64_t initial_left;                      /* of the start; while it is gathered, a guess */
    uint64_t outputs;                           /* hash over all events so far: copies compare it */

    /* Not part of the state. */
    bool armed;                         /* somebody wants to be told of the next event */
    bool counted_ready;                 /* in instance->building */
    uint64_t emitted_seq;               /* of the newest event */
    uint64_t announced_seq;             /* events up to here were told to those who were armed */
    uint32_t seen_led, seen_generation; /* rows.c: what it knows of this bucket's place */
    uint64_t old_seq;  /* rows up to here are from before this server led: taken in any order */
    uint64_t told_seq; /* those behind have had their turns (rows.h) up to here */
    bool told_initial;
    uint32_t crowded_ticks;      /* so long rows wait for their owners, too many and none less */
    struct cq_bucket *next_work; /* guarded by rows->lock */
    bool is_work;
};

/* A row in the rows ring. */
#define CQ_ROW_HEAD_BYTES 5u
struct cq_row {
    uint32_t target;
    bool silent;
    struct slice packed;
};
struct cq_row cq_row_read(struct slice encoded);
static inline bool cq_is_crowded_locked(const struct cq_bucket *cqb)
{
    return cqb->rows.bytes > LIMIT_ROWS_BYTES / 2;
}

/* Rows of records up to there may still come out of the input queue. What was there at the start
 * comes first, and is of any seq. */
static inline bool cq_is_queued_locked(const struct cq_bucket *cqb, uint64_t seq)
{
    if (cqb->initial_left > 0)
        return seq > 0;
    return cqb->input_count > 0 && cqb->inputs[cqb->input_first].seq <= seq;
}

enum cq_start { CQ_START_SNAPSHOT = 0, CQ_START_LATEST = 1 };

/* What the instances of a server share. */
struct cq_budget {
    uint64_t ring_bytes_max;
    _Atomic uint32_t instance_count;
};

/* The order in which a server's rows meet their groups here: each turn is what one bucket had
 * committed then. There are never more of them than rows and inputs that wait. */
struct rows_turns {
    struct rows_turn {
        uint32_t bucket;
        uint64_t seq;
    } * turns;
    size_t first, count, cap;
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
    _Atomic uint32_t building;     /* buckets that are not ready here */
    _Atomic uint32_t active_count; /* buckets here between CQ_ADD and CQ_DROP */
    _Atomic bool failed; /* out of memory: it has missed something and is ended (never silently) */
    struct loop_task build_task;
    uint64_t created_us;
    struct cq_instance *next;         /* in the registry */
    struct cq_instance *next_watched; /* rows.c; guarded by rows->lock, as is the flag */
    bool is_watched;
    _Atomic bool rows_check;            /* who leads its buckets may have changed */
    struct rows_puller *puller;         /* of the main loop */
    struct rows_turns turns;            /* guarded by rows->lock */
    _Atomic bool rows_wait;             /* there are some */
    struct cq_instance *next_of_region; /* guarded by region->instances_lock */
    bool is_own;                 /* made for a subscriber of this server; guarded by server->lock */
    _Atomic bool is_over;        /* the map does not have it any more */
    bool is_building, drop_sent; /* main loop */
    _Atomic bool drop_asked;     /* this server wants it to end: nobody attaches any more */

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

/* registry.c: the instance that the map has, or had until its CQ_DROP has come to every bucket
 * here. With a bucket of the region locked; borrowed, and valid for as long as that lock is held.
 * NULL if this server does not know it (yet). */
struct cq_instance *cq_instance_find(struct region *region, uint64_t query_id);
/* One that is not found will not come any more: the map had it and has it no longer. */
bool cq_instance_is_over(const struct region *region, uint64_t query_id);

/* Bucket's lock held, this server leads it: the instance begins or ends here, by a record.
 * ERROR_MEMORY, or what keeps the bucket from taking records: it did not begin. */
enum error cq_add_here_locked(struct bucket *bucket, struct cq_instance *instance,
                              uint64_t wall_ms);
void cq_drop_here_locked(struct bucket *bucket, uint64_t query_id, uint64_t wall_ms);
/* Works off input queues of this server's copies for about `budget_us`; false while there is more
 * to do at once. What waits for others is worked off when they have done their part (rows.h). */
bool cq_instance_build(struct cq_instance *instance, uint64_t budget_us);
static inline bool cq_instance_is_ready(const struct cq_instance *instance)
{
    return atomic_load(&instance->building) == 0;
}
/* Ends an instance that has missed something: its subscribers are told. With a bucket's lock or
 * none. */
void cq_instance_fail(struct cq_instance *instance);

/* reconcile.c: a bucket led here is brought in line with the map. Takes the bucket's lock. After
 * the adoption of a map, and after a promotion. Main loop. */
void cq_reconcile(struct bucket *bucket, uint64_t wall_ms);
void cq_reconcile_locked(struct bucket *bucket, uint64_t wall_ms);

/* Called by bucket_apply_locked() alone; record->instance is there. An instance that is not at work
 * in the bucket takes nothing. */
enum error cq_add_locked(struct bucket *bucket, const struct record *record);
void cq_drop_locked(struct bucket *bucket, const struct record *record);
void cq_on_put_locked(struct bucket *bucket, const struct record *record, struct entry *entry);
void cq_on_partial_locked(struct bucket *bucket, const struct record *record);
enum error cq_on_ready_locked(struct bucket *bucket, const struct record *record);
enum error cq_on_trim_locked(struct bucket *bucket, const struct record *record);

/* `committed` of the bucket moved: outputs may leave up to there. */
void cq_on_commit_locked(struct bucket *bucket);
/* What was there at the start is all in the state, and that is committed. */
bool cq_bucket_is_ready_locked(const struct cq_bucket *cqb);
/* All instances of the bucket go, without a record: its contents are gone. */
void cq_bucket_free_all(struct bucket *bucket);
/* One begins, its state made, or goes; for cq_image.c, too. */
void cq_bucket_begin_locked(struct cq_bucket *cqb);
void cq_bucket_fini_locked(struct cq_bucket *cqb);

/* Evaluates up to so many inputs that wait. It pauses by itself while too many rows for other
 * buckets lie there. */
enum cq_work { CQ_WORK_DONE, CQ_WORK_MORE, CQ_WORK_PAUSED };
enum cq_work cq_work_off_locked(struct cq_bucket *cqb, unsigned rows);
/* Before an entry is replaced or removed, and before all are: while bucket->starts is not 0. */
void cq_before_change_locked(struct bucket *bucket, struct entry *old);
void cq_before_clear_locked(struct bucket *bucket);
/* How far rows of that bucket have been applied; generation 0: none has. */
struct cq_applied cq_applied_locked(const struct cq_bucket *cqb, uint32_t bucket);

/* A change that is made now comes behind rows that wait for their groups. */
bool cq_rows_wait_locked(const struct bucket *bucket);

/* Changes may come: not too many rows lie here that other buckets have yet to take. When those do
 * not take any for LIMIT_CROWDED_TICKS they come all the same, until an instance fails of it. */
bool cq_takes_changes_locked(const struct bucket *bucket);

/* Drops outputs older than LIMIT_RING_RETENTION_MS by the record times of their bucket. */
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
