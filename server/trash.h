/* Old contents of buckets whose entries are freed a few at a time by a worker's loop: freeing all
 * of them at once would take longer than a bucket's lock may be held, or a loop may be kept. */
#ifndef VUG_SERVER_TRASH_H
#define VUG_SERVER_TRASH_H

#include "server/table.h"

struct worker;

/* Empties the table, any thread; a bucket's lock may be held. What is small, or comes without a
 * worker or memory, is freed here. */
void trash_table(struct worker *worker, struct table *table);

/* The worker ends: what its loop was still freeing is freed. */
void trash_free(struct worker *worker);

#endif
