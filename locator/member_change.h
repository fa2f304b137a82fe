/* The changes of the map that concern members: one join, the departures, with everything that
 * follows for buckets, in one swap. Pure: a map in, a changed map out. */
#ifndef VUG_LOCATOR_MEMBER_CHANGE_H
#define VUG_LOCATOR_MEMBER_CHANGE_H

#include "protocol/cluster_map.h"

#define BUCKET_COPIES_MAX CLUSTER_COPIES_MAX

/* What is seen of a server at the moment and no map tells; a set of these. */
enum member_sight {
    MEMBER_SEEN_GONE = 1,   /* provably: it will never acknowledge anything again */
    MEMBER_SEEN_LINKED = 2, /* another server reports a link to it */
    MEMBER_SEEN_AWAY = 4,   /* it cannot take buckets now */
};
typedef unsigned member_sight_fn(const void *arg, uint64_t incarnation);

/* Who looks. `look` NULL: everybody is well. */
struct member_eyes {
    member_sight_fn *look;
    const void *arg;
};
unsigned member_look(const struct member_eyes *eyes, uint64_t incarnation);

/* What departures did to the buckets of one member. */
struct member_loss {
    uint64_t incarnation;
    uint32_t dropped; /* other copies serve on */
    uint32_t lost;    /* that start empty */
    bool struck;      /* the map names it no more */
};

/* Puts `members` (indices, any order) into the set, rising. */
void member_sort(uint32_t *members, uint32_t count);

/* How many copies a bucket of the region gets on `available` servers. */
uint32_t member_copies(const struct cluster_region *region, uint32_t available);

/* Takes `member` in, and places what has no copy. ERROR_MEMORY, ERROR_LIMIT, ERROR_INVALID,
 * ERROR_EXISTS; the map is not fit for use then. */
enum error member_change_join(struct cluster_map *map, const struct cluster_member *member,
                              const struct member_eyes *eyes);

/* Takes those that are gone out of the sets. A bucket whose primary stays, stays with it. One that
 * has other copies but no primary is left alone: they have to seal first. One whose last copies are
 * gone, and that nobody reports a link to, starts empty, with the next generation, on servers that
 * can take it. Members in no set are struck, the others marked down. `losses` has one element for
 * each member of the map as it is; *changed tells whether anything was. ERROR_MEMORY. */
enum error member_change_depart(struct cluster_map *map, const struct member_eyes *eyes,
                                struct member_loss *losses, bool *changed);

/* Whether the above would change anything. */
bool member_change_can_depart(const struct cluster_map *map, const struct member_eyes *eyes);

/* Whether a gone server leads a bucket of which another copy is not gone. */
bool member_change_needs_failover(const struct cluster_map *map, const struct member_eyes *eyes,
                                  uint64_t incarnation);

/* Gives every bucket of the region that has no copy as many as it should have, as far as there are
 * servers that can take it: copies and primaries level. ERROR_MEMORY. */
enum error member_change_place(struct cluster_map *map, uint32_t region_id,
                               const struct member_eyes *eyes);
/* The same for all regions; *placed counts buckets. */
enum error member_change_place_all(struct cluster_map *map, const struct member_eyes *eyes,
                                   uint32_t *placed);
/* Whether there is something to place, and a server that takes it. */
bool member_change_can_place(const struct cluster_map *map, const struct member_eyes *eyes);

/* Whether a member (by index) is in the in-sync set of any bucket. */
bool member_change_holds_buckets(const struct cluster_map *map, uint32_t member);

#endif
