/* `vug locator --adopt`: the map directory is lost, and an operator says that the newest map which
 * the servers hold is to be taken instead. Once: a map store with a map in it is left alone.
 *
 *   a server greets with its cluster and the epoch of its map
 *     newer than what is here --fetch--> its map; else: not ready, it asks again
 *   every server that the newest map names has greeted, or ADOPT_WAIT_MS have passed since the
 * first
 *     --> stored, far enough above any epoch that only the lost directory may have had --> in force
 *
 * Until then clients are told that there is no server. Servers serve all the while. */
#ifndef VUG_LOCATOR_ADOPT_H
#define VUG_LOCATOR_ADOPT_H

#include "locator/locator_impl.h"

/* Epochs that are left out: a map that was stored and shown to servers that do not come must not be
 * taken for one that is made after this. */
#define ADOPT_EPOCHS  1000u
#define ADOPT_WAIT_MS 30000u

struct adopt;

/* Whether there is nothing in the map that could be lost. */
bool adopt_is_empty(const struct cluster_map *map);

/* Begins, over a store whose newest epoch is `stored_epoch` (0: none). on_done(): the locator's map
 * is the adopted one, stored; or `problem` says why not. Never from inside the call. ERROR_MEMORY.
 */
enum error adopt_new(struct locator *locator, uint64_t stored_epoch,
                     void (*on_done)(struct locator *locator, const struct map_problem *problem),
                     struct adopt **adopt);
void adopt_free(struct adopt *adopt); /* NULL is allowed */

/* A server has said who it is. After it the peer may be gone. */
void adopt_hello(struct peer *peer, const Pb__PeerHello *hello);
/* A server that was asked for its map says something. After it the peer may be gone. */
enum error adopt_message(struct peer *peer, const Pb__PeerMessage *message);

#endif
