/* A record: one change of a bucket, as the primary makes it, as it lies in the backlog and as it
 * travels to the copies. The records of a bucket, in order of seq, are all that its contents and
 * the state of its continuous queries follow from. */
#ifndef VUG_PROTOCOL_RECORD_H
#define VUG_PROTOCOL_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/error.h"
#include "common/slice.h"

struct cq_instance;

enum record_type {
    RECORD_PUT = 1,
    RECORD_REMOVE = 2,
    RECORD_CLEAR = 3,
    RECORD_NOTE = 4,        /* a change without effect; its result is kept for its origin */
    RECORD_STREAM_DROP = 5, /* an origin is gone: its results are forgotten */
    RECORD_CHECK =
        6, /* what the primary's contents come to, in `value`: a copy that differs leaves */
    RECORD_CQ_ADD = 10,   /* a continuous query starts here */
    RECORD_CQ_DROP = 11,  /* and ends here */
    RECORD_CQ_READY = 12, /* what was there at its start has all arrived */
    RECORD_PARTIAL = 13,  /* a row whose group lives here, from another bucket */
    RECORD_CQ_TRIM = 14,  /* rows for other buckets up to a position have arrived there */
};

/* An operation of an idempotent writer. */
struct writer_mark {
    uint8_t id[16];
    uint64_t sequence;
    uint64_t completed_through;
};

/* What is answered to a repeat of the change. */
enum record_result {
    RESULT_DONE = 0,     /* it took effect */
    RESULT_REPEATED = 1, /* an idempotent write that had been applied before */
    RESULT_PRESENT = 2,  /* putIfAbsent lost; `value` of the record is what was there */
    RESULT_ABSENT = 3,   /* there was nothing to remove */
};

/* Everything it points to is valid during the call alone. */
struct record {
    enum record_type type;
    uint32_t term; /* in which it was written */
    uint64_t seq;
    uint64_t time_ms; /* never goes back */
    /* The origin stream of the change; origin 0: none. */
    uint64_t origin;
    uint64_t counter;
    uint64_t answered_through;
    enum record_result result;
    const struct writer_mark *writer; /* PUT, REMOVE of an idempotent writer, else NULL */
    struct slice key, value;          /* stored forms (protocol/value.h): PUT, REMOVE, NOTE */
    uint64_t hash;                    /* of the key, by this server's seed; not packed */
    /* Continuous queries. */
    bool via_ring; /* PUT: its row meets a group of its own bucket by way of the rows ring, behind
                      earlier ones from elsewhere; the primary decides */
    uint64_t query_id;
    struct cq_instance *instance; /* the server's own, found by query_id; not packed */
    struct slice row;             /* PARTIAL: packed (query/query.h) */
    bool silent;                  /* PARTIAL: of an entry that was there at the start: no event */
    uint32_t source_bucket, source_generation; /* PARTIAL: where the row was put */
    uint64_t position_seq;                     /* PARTIAL, CQ_TRIM: of the row in the rows ring */
    uint32_t position_sub;
};

/* Packed: everything but `hash`; its own length is not part of it. `mark` keeps the writer that
 * record->writer points to. */
size_t record_packed_size(const struct record *record);
uint8_t *record_pack(const struct record *record, uint8_t *out);
enum error record_unpack(struct slice packed, struct record *record,
                         struct writer_mark *mark); /* ERROR_MALFORMED */

#endif
