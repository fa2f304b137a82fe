/* The entries that are in a bucket when a query begins there, in the order of their arrival.
 *
 * They are gathered in slices, so that the bucket's lock is never held for all of them: a cursor
 * walks over the table, and an entry that changes before the cursor has come to it is taken as it
 * was. What was written later is none of them. Guarded by the bucket's lock. */
#ifndef VUG_SERVER_CQ_INITIAL_H
#define VUG_SERVER_CQ_INITIAL_H

#include "server/bucket.h"
#include "server/entry_list.h"

struct cq_initial {
    uint64_t seq, time_ms; /* of the record that begins the query */
    struct table_cursor cursor;
    bool is_gathered;
    bool failed; /* some are missing for want of memory */
    struct entry_list entries;
};

/* NULL without memory. Until it is gathered the bucket's `starts` counts it. */
struct cq_initial *cq_initial_new(struct bucket *bucket, const struct record *record);
void cq_initial_free(struct bucket *bucket, struct cq_initial *initial); /* NULL is allowed */

/* Walks over so many lines of the table, and puts the entries in order when that is over. */
void cq_initial_gather(struct bucket *bucket, struct cq_initial *initial, uint32_t lines);
/* `old` is about to be replaced or removed. */
void cq_initial_before_change(struct bucket *bucket, struct cq_initial *initial, struct entry *old);

#endif
