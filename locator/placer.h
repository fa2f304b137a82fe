/* Sends orders to primaries until the map shows them done: lost redundancy is restored, servers
 * that leave are relieved, and a rebalance is carried out. */
#ifndef VUG_LOCATOR_PLACER_H
#define VUG_LOCATOR_PLACER_H

#include "locator/locator_impl.h"

#define PLACER_BUCKETS_MAX 8u     /* moved by one primary at a time */
#define PLACER_AGAIN_MS    1000u  /* an order is sent again that often */
#define PLACER_PATIENCE_MS 60000u /* a move without progress is planned anew */
#define PLACER_WAITERS_MAX 64u

struct placer;

enum error placer_new(struct locator *locator, struct placer **placer); /* ERROR_MEMORY */
void placer_free(struct placer *placer);                                /* NULL is allowed */

/* The map in force is a newer one. */
void placer_look(struct locator *locator);
void placer_tick(struct locator *locator, uint64_t now_us);

/* Whether servers do what this locator asks for, and not another one. Only then it plans. */
bool placer_is_followed(const struct locator *locator);

/* Begins a rebalance or joins the one that runs; the request is ended when all moves are done.
 * `dry_run`: now, with what would be moved. */
void placer_rebalance(struct locator *locator, struct request *request, bool dry_run);

/* Moves that are under way or wait; *rebalances: some of them were asked for. */
uint32_t placer_moves(const struct locator *locator, bool *rebalances);

#endif
