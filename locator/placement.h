/* Where copies should be, and which step brings them there. Pure: a map and what is seen of the
 * servers in, moves and orders out.
 *
 * A move is about one bucket and takes one to three orders to its primary; which is next can be
 * read from the map alone, so nothing is lost when a locator is: another one plans again. */
#ifndef VUG_LOCATOR_PLACEMENT_H
#define VUG_LOCATOR_PLACEMENT_H

#include "locator/member_change.h"

#define PLACEMENT_MOVES_MAX 65536u /* planned at a time; the rest follows when these are done */

enum placement_kind {
    PLACEMENT_GROW = 1, /* `to` becomes a copy */
    PLACEMENT_REPLACE,  /* `to` becomes a copy if it is none, and the primary if `from` is; `from`
                           is none any more */
    PLACEMENT_PRIMARY,  /* `to`, a copy, becomes the primary */
};

struct placement_move {
    uint32_t region_id, bucket, generation;
    enum placement_kind kind;
    uint64_t from, to; /* incarnations; `from` only of REPLACE */
    bool is_asked;     /* for, by a rebalance */
    /* Of who carries it out: */
    uint32_t sent_action;
    uint64_t sent_us, begun_us;
};

struct placement_list {
    struct placement_move *moves;
    uint32_t count, capacity;
};
enum error placement_add(struct placement_list *list, const struct placement_move *move);
void placement_fini(struct placement_list *list);

/* As in the message to a primary. */
enum placement_action { PLACEMENT_ADD = 1, PLACEMENT_DROP = 2, PLACEMENT_HAND_OVER = 3 };

struct placement_order {
    uint64_t primary; /* who does it */
    enum placement_action action;
    uint64_t member;
};

enum placement_state {
    PLACEMENT_GOES_ON, /* with `order` */
    PLACEMENT_DONE,
    PLACEMENT_VOID, /* it cannot be any more: plan again */
};
enum placement_state placement_next(const struct cluster_map *map,
                                    const struct placement_move *move,
                                    struct placement_order *order);

/* Adds moves for every bucket that has too few copies, too many, or one on a server that leaves,
 * and that has no move in the list yet: on servers that can take buckets, level. A copy elsewhere
 * comes before one goes. ERROR_MEMORY; what was added stays. */
enum error placement_plan(const struct cluster_map *map, const struct member_eyes *eyes,
                          struct placement_list *list);

/* Adds moves (is_asked) after which the copies of each region, and then its primaries, differ by at
 * most one between servers that can take buckets. ERROR_MEMORY. */
enum error placement_balance(const struct cluster_map *map, const struct member_eyes *eyes,
                             struct placement_list *list);

#endif
