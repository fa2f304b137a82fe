/* Changes of buckets' places that their primaries propose.
 *
 * What waits travels in one swap: all proposals that are here when the change's turn comes. Each
 * names the set version that it starts from and does nothing if that has moved; nobody is answered,
 * because the map tells. */
#ifndef VUG_LOCATOR_PROPOSALS_H
#define VUG_LOCATOR_PROPOSALS_H

#include "locator/changes.h"
#include "locator/member_change.h"
#include "protocol/peer.pb-c.h"

#define PROPOSALS_MAX 65536u /* waiting; those above are forgotten, their authors repeat them */

struct proposed_place {
    uint64_t author;
    uint32_t region_id, bucket, generation, set_version, term;
    uint64_t primary;
    uint64_t in_sync[BUCKET_COPIES_MAX];
    uint32_t in_sync_count;
};

struct proposals;

enum error proposals_new(struct locator *locator, struct proposals **proposals); /* ERROR_MEMORY */
void proposals_free(struct proposals *proposals); /* NULL is allowed; after the changes are ended */

/* Takes what a server proposes, from its link. */
void proposals_take(struct proposals *proposals, uint64_t author, const Pb__PeerPropose *message);

/* Applies one to the open map. ERROR_CONFLICT: the bucket is not any more what it starts from, or
 * is not the author's. ERROR_INVALID: the place cannot be: nobody, somebody who is no member, a
 * primary that is no copy. ERROR_MEMORY. The map is unchanged then. */
enum error proposal_apply(struct cluster_map *map, const struct proposed_place *place);

#endif
