/* Old contents of buckets, which a worker's loop frees a few at a time: freeing all of them at once
 * would take longer than a bucket's lock may be held, or a loop may be kept. */
#ifndef VUG_SERVER_TRASH_H
#define VUG_SERVER_TRASH_H

#include "server/ring.h"
#include "server/table.h"

struct bucket;
struct query_state;
struct worker;

/* Whose loop frees what a bucket has; NULL where there is none, or it has ended. */
struct worker *trash_worker(const struct bucket *bucket);

/* Empties the table, any thread; a bucket's lock may be held. What is small, or comes without a
 * worker or memory, is freed here. */
void trash_table(struct worker *worker, struct table *table);
/* Likewise of what a query remembers. NULL is allowed. */
void trash_state(struct worker *worker, struct query_state *state);
/* Likewise of the blocks of a ring, which the caller makes anew with ring_init(). */
void trash_ring(struct worker *worker, struct ring *ring);

/* The worker ends: what its loop was still freeing is freed. */
void trash_free(struct worker *worker);

#endif
