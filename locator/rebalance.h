/* Levels the copies and the primaries of a region; shared with placement.c and placing new ones. */
#ifndef VUG_LOCATOR_REBALANCE_H
#define VUG_LOCATOR_REBALANCE_H

#include "locator/placement.h"

/* What a server has of one region. */
struct rebalance_load {
    uint32_t copies, primaries;
    bool takes; /* may be given more */
};

void rebalance_look(const struct cluster_map *map, const struct cluster_region *region,
                    const struct member_eyes *eyes, struct rebalance_load *loads);

/* Changes primaries of the open map, and nothing else, until they differ by at most one between
 * servers that take buckets, or cannot be brought nearer. ERROR_MEMORY. */
enum error rebalance_primaries(struct cluster_map *map, const struct cluster_region *region,
                               struct rebalance_load *loads);

#endif
