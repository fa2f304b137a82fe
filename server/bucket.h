/* A bucket: the entries of a part of a region's keys, and everything that goes with them.
 *
 * Every change is a record with the bucket's next sequence number, applied by bucket_apply_locked()
 * and nothing else: a redundant copy applies the very same records in the same order.
 *
 *   bucket_put() -> lock -> record -> apply: writers, table, continuous queries -> unlock -> answer
 *
 * The operations here answer at once or not at all: ERROR_ELSEWHERE means that the answer has to
 * wait, for copies or for another server, and that nothing was changed; the caller then makes it a
 * call (call.h).
 *
 * Lock order, whole: bucket > the server's lists > instance of a query > one leaf (a mailbox, the
 * lists of rows, of proposals, of a region's instances). Never two buckets. Under a bucket's lock
 * no I/O, no log line, no callback into a session. */
#ifndef VUG_SERVER_BUCKET_H
#define VUG_SERVER_BUCKET_H

#include <pthread.h>

#include "protocol/record.h"
#include "protocol/session.h"
#include "protocol/value.h"
#include "server/replica.h"
#include "server/streams.h"
#include "server/table.h"
#include "server/writers.h"

struct region;
struct cq_bucket;
struct cq_instance;
struct call;
struct loop;

struct bucket {
    pthread_mutex_t lock;
    struct region *region;
    uint32_t id;
    uint32_t generation; /* +1 when the contents were lost */
    uint32_t term;       /* +1 at each change of primary */
    uint64_t last_seq;
    uint64_t
        data_seq; /* of the last record that changed data: not the beginning or end of a query */
    uint64_t last_time_ms;
    uint64_t note_seq; /* of the last change led here that had no effect; 0: none since it leads */
    _Atomic uint64_t committed; /* acknowledged by all copies */
    struct table table;
    struct writers writers;
    struct streams streams;
    struct replica replica;         /* whose it is, and what other copies have */
    struct call *calls, *last_call; /* the operations that wait, oldest first (call.h) */
    uint32_t call_count;
    uint64_t next_counter;     /* of this server's own stream of changes, in this generation */
    uint64_t next_call_id;     /* of attempts to have a call done elsewhere */
    uint64_t calls_retry_us;   /* what was refused is not asked again before; 0: at any time */
    uint64_t stream_missed_us; /* since when a stream's origin is in no map; 0: none is */
    struct image_out *images;  /* being cut (image.h) */
    struct cq_bucket *cqs;     /* the continuous queries here, oldest first */
    uint32_t starts;           /* of them that gather what was there (cq_initial.h) */
    struct buf encoded;        /* an event on its way to a ring */
    struct arena scratch;      /* for evaluation, under the lock */
};

enum error bucket_init(struct bucket *bucket, struct region *region, uint32_t id,
                       uint32_t generation, uint32_t term);
void bucket_fini(struct bucket *bucket);

void bucket_lock(struct bucket *bucket);
void bucket_unlock(struct bucket *bucket);

/* Gives the record its number, term and time, applies it and has it sent to the copies: all of it,
 * or nothing and an error (ERROR_MEMORY; those of writers_check()). This server leads. `wall_ms` is
 * the loop's. */
enum error bucket_append_locked(struct bucket *bucket, struct record *record, uint64_t wall_ms);
/* The time that a record would get now, which is not the wall clock's where others led before. */
uint64_t bucket_record_time_locked(struct bucket *bucket, uint64_t wall_ms);

/* Applies a record that has its number: on the primary from bucket_append_locked(), on a copy as it
 * arrives. ERROR_BUSY: a continuous query begins that this server does not know yet. */
enum error bucket_apply_locked(struct bucket *bucket, const struct record *record);

/* What an operation needs of the key: its stored form and its hash. */
struct bucket_key {
    struct slice stored;
    uint64_t hash;
};

/* Pass one of a batch: fetches the line of the table that a key is in, then the entry that it seems
 * to have there. */
void bucket_prefetch(struct bucket *bucket, uint64_t hash);
void bucket_prefetch_entry(struct bucket *bucket, uint64_t hash);

/* ---- The operations, where they can be answered at once: else ERROR_ELSEWHERE ---- */

/* Changes: this server leads, alone, and no call waits. */
enum error bucket_put(struct bucket *bucket, const struct bucket_key *key, struct slice value,
                      uint64_t wall_ms);
/* *present: the entry that was there (a reference for the caller) and nothing changed; NULL:
 * stored. */
enum error bucket_put_if_absent(struct bucket *bucket, const struct bucket_key *key,
                                struct slice value, uint64_t wall_ms, struct entry **present);
enum error bucket_remove(struct bucket *bucket, const struct bucket_key *key, uint64_t wall_ms);
enum error bucket_clear(struct bucket *bucket, uint64_t wall_ms);
/* One operation of an idempotent writer: `value` empty removes. *repeated: it was applied before.
 * Errors as writers_check(). */
enum error bucket_write(struct bucket *bucket, const struct bucket_key *key, bool remove,
                        struct slice value, const struct writer_mark *mark, uint64_t wall_ms,
                        bool *repeated);

/* Reads: rules R4 and R5 allow it, what they depend on is committed (R2), and no change waits that
 * has not been applied here. `loop` is for the clock. */
/* *entry: a reference for the caller, or NULL if absent. */
enum error bucket_get(struct bucket *bucket, const struct bucket_key *key, struct loop *loop,
                      struct entry **entry);
enum error bucket_entry_count(struct bucket *bucket, struct loop *loop, uint64_t *count,
                              uint64_t *bytes);

/* Rule R2: an answer that depends on the record `seq` may leave. */
static inline bool bucket_has_committed(struct bucket *bucket, uint64_t seq)
{
    return atomic_load_explicit(&bucket->committed, memory_order_relaxed) >= seq;
}

/* Rule R2: up to which record a read depends on the bucket when it found this entry, or none. A
 * change before it on its connection that had no effect is decided anew if this server is deposed
 * before all copies have its note; the read then has to be, too. */
static inline uint64_t bucket_wait_seq_locked(const struct bucket *bucket,
                                              const struct entry *entry)
{
    if (entry == NULL)
        return bucket->last_seq;
    return entry->seq > bucket->note_seq ? entry->seq : bucket->note_seq;
}

/* Equal for buckets of equal contents at equal seq: entries, writers, streams, queries. */
uint64_t bucket_hash_locked(struct bucket *bucket);

/* Removes all entries; what is large is freed later, in slices. */
void bucket_empty_locked(struct bucket *bucket);

/* References to all entries, in no particular order. The array is the caller's, entries and all
 * (bucket_entries_free()). ERROR_MEMORY. */
enum error bucket_entries_locked(struct bucket *bucket, struct entry ***entries, size_t *count);
/* Orders them by the seq of their record, which is the order of arrival. No lock is needed. */
void bucket_entries_sort(struct entry **entries, size_t count);
void bucket_entries_free(struct entry **entries, size_t count);

#endif
