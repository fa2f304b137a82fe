/* The changes of the map that concern members: one join, one departure, with everything that
 * follows for buckets, in one swap. Pure: a map in, a changed map out. */
#ifndef VUG_LOCATOR_MEMBER_CHANGE_H
#define VUG_LOCATOR_MEMBER_CHANGE_H

#include "protocol/cluster_map.h"

/* Takes `member` in and, if `replaced` is not 0, the server of that incarnation out. Buckets that
 * lose their last copy start empty: generation, term and set version grow by one; *buckets_lost
 * counts those. Buckets without any copy get one on the server with the fewest primaries: term and
 * set version grow by one. ERROR_MEMORY, ERROR_LIMIT, ERROR_INVALID, ERROR_EXISTS, ERROR_NOT_FOUND,
 * ERROR_UNSUPPORTED (a bucket has other copies, of which one would have to be promoted); the map is
 * not fit for use then. */
enum error member_change_join(struct cluster_map *map, const struct cluster_member *member,
                              uint64_t replaced, uint32_t *buckets_lost);

/* Takes a server out. Its buckets without another copy lose their contents: next generation, no
 * primary until a server joins. ERROR_MEMORY, ERROR_NOT_FOUND, ERROR_UNSUPPORTED. */
enum error member_change_leave(struct cluster_map *map, uint64_t incarnation,
                               uint32_t *buckets_lost);

/* Gives every bucket of a region that has no copy to the server, of those that are up, with the
 * fewest primaries of the region. Nothing happens without servers. ERROR_MEMORY. */
enum error member_change_place(struct cluster_map *map, uint32_t region_id);

/* Whether a member (by index) is in the in-sync set of any bucket. */
bool member_change_holds_buckets(const struct cluster_map *map, uint32_t member);

#endif
