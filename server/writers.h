/* Idempotent writers of one bucket: which of a writer's operations have been applied here.
 *
 * The rule is RIFL's (SOSP 2015): for each writer, everything up to `completed_through` and a
 * window of LIMIT_WRITER_WINDOW sequences above it. It is bucket state: changed by records alone,
 * guarded by the bucket's lock. */
#ifndef VUG_SERVER_WRITERS_H
#define VUG_SERVER_WRITERS_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/record.h"

struct writers {
    struct writer **slots; /* open addressing by id */
    uint32_t slot_count, count;
    uint64_t oldest_ms; /* no writer was last seen before this record time */
};

void writers_init(struct writers *writers);
void writers_fini(struct writers *writers);

/* Whether the operation was applied here before. ERROR_LIMIT: its sequence is above
 * completed_through + window. ERROR_BUSY: a new writer at LIMIT_WRITERS_PER_BUCKET. ERROR_MEMORY.
 * OK makes room, so that the writers_note() that follows cannot fail. */
enum error writers_check(struct writers *writers, const struct writer_mark *mark, uint64_t time_ms,
                         bool *repeated);

/* The record with this mark was applied at `time_ms`. */
void writers_note(struct writers *writers, const struct writer_mark *mark, uint64_t time_ms);

void writers_pack(const struct writers *writers, struct buf *out);
enum error writers_unpack(struct slice *rest, struct writers *writers);

#endif
