/* Promotes copies of buckets whose primary is lost.
 *
 *   failover_start() --> SEAL to every other in-sync copy that has a link here, one message each
 *        SEALED <--------'   PROMISED: asked again when the promise has run out
 *                            REFUSED with a higher term: sealed anew for one above it
 *   all have answered, or those that have not had their time --> one swap for all such buckets,
 *   each conditional on the set version that its sealing started from --> the new map
 *
 * Of those that sealed the one with the highest seq becomes primary; with equal ones, which any
 * acknowledged record is in, the one that leads the fewest buckets. Copies that did not answer are
 * left out; of a REPLICATE region only after some server that sealed has no promise to them running
 * any more, since they may be reading. Any locator may try, and several at once: the map decides.
 */
#ifndef VUG_LOCATOR_FAILOVER_H
#define VUG_LOCATOR_FAILOVER_H

#include "locator/locator_impl.h"
#include "locator/member_change.h"
#include "protocol/peer.pb-c.h"

#define FAILOVER_AWAY_MS  300u  /* for a copy without a link, from the first that sealed */
#define FAILOVER_HERE_MS  1000u /* for one that is not known to be dead */
#define FAILOVER_AGAIN_MS 100u  /* until a copy that cannot seal is asked again */
#define FAILOVER_LOST_MS  500u  /* until one that does not answer is */
#define FAILOVER_HOLD_MS                                                                           \
    20u /* that a bucket which is ready waits for others, to share the swap                        \
         */

struct attempt;

struct failover {
    struct attempt *attempts;
    uint64_t last_id;
    struct loop_timer timer; /* of the next thing that is due */
};

enum error failover_new(struct locator *locator, struct failover **failover); /* ERROR_MEMORY */
void failover_free(struct failover *failover); /* NULL is allowed; before the changes are ended */

/* Begins to move the buckets that `suspect` leads to other copies, or goes on with it; with new
 * proof at once. False when there is nothing to move. */
bool failover_start(struct locator *locator, uint64_t suspect, bool gone);
void failover_stop(struct locator *locator, uint64_t suspect);

/* An attempt for it began less than a second ago. */
bool failover_is_young(const struct locator *locator, uint64_t suspect);
/* Attempts under way. */
uint32_t failover_count(const struct locator *locator);
/* A change of the map by an attempt waits or is under way. */
bool failover_swaps(const struct locator *locator);

/* What a copy answers. */
void failover_sealed(struct locator *locator, uint64_t from, const Pb__PeerSealed *message);
/* A server has a link here now: it may be asked. */
void failover_linked(struct locator *locator);
/* The map in force is a newer one. */
void failover_map_taken(struct locator *locator);

#endif
