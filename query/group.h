/* Groups of one operator: found by their columns, kept in the order in which they began. Private to
 * query/.
 *
 *   index (open addressing)        groups (in order)          one block for each group
 *   +---+---+---+---+---+---+      +---+---+---+ +--------+--------------+--------+------+-------+
 *   |   | 2 |   | 0 | 1 |   | ---> | 0 | 1 | 2 | -----------> | header | accumulators | values |
 * kept | texts |
 *   +---+---+---+---+---+---+      +---+---+---+ +--------+--------------+--------+------+-------+
 */
#ifndef VUG_QUERY_GROUP_H
#define VUG_QUERY_GROUP_H

#include "query/plan.h"

struct group {
    uint64_t hash;
    uint32_t number;            /* in the order of the table */
    struct query_value *values; /* the group's columns */
    struct query_value
        *kept; /* of the latest row: what the SELECT list shows beside the group's columns */
    uint8_t *kept_text; /* the strings among them */
    size_t kept_room;
    /* Bounded frames: a ring of the rows in the frame, frame_count values each; its strings are on
     * the heap. */
    struct query_value *frame;
    uint32_t frame_room, frame_first, frame_used;
    uint64_t mark; /* of the row that changed the result last */
    bool stale;    /* accumulators that can be told from the frame must be, before they are used */
    _Alignas(16) uint8_t accumulators[];
};

struct group_table {
    const struct query_plan *plan;
    struct group **groups;
    uint32_t count, room;
    uint32_t *index; /* number of the group + 1; 0 is free */
    uint32_t index_mask;
    uint64_t bytes;
};

enum error group_table_init(struct group_table *table, const struct query_plan *plan);
void group_table_fini(struct group_table *table);

uint64_t group_hash(const struct query_plan *plan, const struct query_value *values);
/* NULL if there is none. */
struct group *group_find(const struct group_table *table, const struct query_value *values,
                         uint64_t hash);
/* A group of its own, not in the table yet; strings are copied. NULL without memory. */
struct group *group_new(const struct query_plan *plan, const struct query_value *values,
                        uint64_t hash);
void group_free(const struct query_plan *plan, struct group *group);
/* Room for one more group, so that group_insert() cannot fail. ERROR_MEMORY, ERROR_LIMIT. */
enum error group_reserve(struct group_table *table);
void group_insert(struct group_table *table, struct group *group);
/* Takes the place of `old`, which has the same columns and is freed. */
void group_replace(struct group_table *table, struct group *old, struct group *group);

static inline void *group_accumulator(struct group *group, const struct plan_aggregate *aggregate)
{
    return group->accumulators + aggregate->offset;
}

size_t group_bytes(const struct query_plan *plan, const struct group *group);

/* The frame's row `i`, counted from the oldest. */
static inline struct query_value *group_frame_row(const struct query_plan *plan,
                                                  const struct group *group, uint32_t i)
{
    return group->frame +
           (size_t)((group->frame_first + i) % group->frame_room) * plan->frame_count;
}

#endif
