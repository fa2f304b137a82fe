#include "locator/placement.h"

#include "common/limits.h"
#include "common/mem.h"
#include "locator/rebalance.h"

/* ---- The list ---- */

enum error placement_add(struct placement_list *list, const struct placement_move *move)
{
    if (list->count == list->capacity) {
        uint32_t capacity = list->capacity == 0 ? 64 : list->capacity * 2;
        struct placement_move *moves = mem_realloc(list->moves, capacity * sizeof(*moves));
        if (moves == NULL)
            return ERROR_MEMORY;
        list->moves = moves;
        list->capacity = capacity;
    }
    list->moves[list->count++] = *move;
    return OK;
}

void placement_fini(struct placement_list *list)
{
    mem_free(list->moves);
    *list = (struct placement_list){0};
}

/* ---- The next step ---- */

enum placement_state placement_next(const struct cluster_map *map,
                                    const struct placement_move *move,
                                    struct placement_order *order)
{
    const struct cluster_region *region = cluster_map_region_by_id(map, move->region_id);
    if (region == NULL || region->buckets == NULL || move->bucket >= region->bucket_count)
        return PLACEMENT_VOID;
    const struct cluster_bucket *bucket = &region->buckets[move->bucket];
    uint32_t to = cluster_map_member_by_incarnation(map, move->to);
    uint32_t from = cluster_map_member_by_incarnation(map, move->from);
    if (bucket->generation != move->generation || bucket->primary == CLUSTER_NONE ||
        to == CLUSTER_NONE || map->members[to].state != CLUSTER_UP)
        return PLACEMENT_VOID;
    *order = (struct placement_order){.primary = map->members[bucket->primary].incarnation,
                                      .action = PLACEMENT_ADD,
                                      .member = move->to};
    bool is_copy = cluster_bucket_has(bucket, to);
    if (move->kind == PLACEMENT_PRIMARY && (!is_copy || bucket->primary == to))
        return is_copy ? PLACEMENT_DONE : PLACEMENT_VOID;
    if (move->kind == PLACEMENT_PRIMARY) {
        order->action = PLACEMENT_HAND_OVER;
        return PLACEMENT_GOES_ON;
    }
    if (!is_copy)
        return bucket->in_sync_count < BUCKET_COPIES_MAX ? PLACEMENT_GOES_ON : PLACEMENT_VOID;
    if (move->kind == PLACEMENT_GROW || from == CLUSTER_NONE || !cluster_bucket_has(bucket, from))
        return PLACEMENT_DONE;
    if (bucket->primary == from) {
        order->action = PLACEMENT_HAND_OVER;
    } else {
        order->action = PLACEMENT_DROP;
        order->member = move->from;
    }
    return PLACEMENT_GOES_ON;
}

/* ---- What is there ---- */

static bool is_here(const struct cluster_map *map, const struct member_eyes *eyes, uint32_t member)
{
    return map->members[member].role == CLUSTER_SERVER &&
           map->members[member].state == CLUSTER_UP &&
           (member_look(eyes, map->members[member].incarnation) & MEMBER_SEEN_GONE) == 0;
}

void rebalance_look(const struct cluster_map *map, const struct cluster_region *region,
                    const struct member_eyes *eyes, struct rebalance_load *loads)
{
    memset(loads, 0, map->member_count * sizeof(*loads));
    for (uint32_t i = 0; i < map->member_count; i++)
        loads[i].takes = is_here(map, eyes, i) &&
                         (member_look(eyes, map->members[i].incarnation) & MEMBER_SEEN_AWAY) == 0;
    for (uint32_t i = 0; i < region->bucket_count; i++) {
        const struct cluster_bucket *bucket = &region->buckets[i];
        for (uint32_t j = 0; j < bucket->in_sync_count; j++)
            loads[bucket->in_sync[j]].copies++;
        if (bucket->primary != CLUSTER_NONE)
            loads[bucket->primary].primaries++;
    }
}

/* ---- Redundancy ---- */

struct plan {
    const struct cluster_map *map;
    const struct member_eyes *eyes;
    const struct cluster_region *region;
    struct rebalance_load *loads;
    uint8_t *has_move; /* of each bucket of the region */
    struct placement_list *list;
};

/* What the moves that there are will have done. */
static void count_moves(struct plan *plan)
{
    for (uint32_t i = 0; i < plan->list->count; i++) {
        const struct placement_move *move = &plan->list->moves[i];
        if (move->region_id != plan->region->id || move->bucket >= plan->region->bucket_count)
            continue;
        const struct cluster_bucket *bucket = &plan->region->buckets[move->bucket];
        uint32_t to = cluster_map_member_by_incarnation(plan->map, move->to);
        uint32_t from = cluster_map_member_by_incarnation(plan->map, move->from);
        plan->has_move[move->bucket] = 1;
        if (to != CLUSTER_NONE && !cluster_bucket_has(bucket, to))
            plan->loads[to].copies++;
        if (from != CLUSTER_NONE && cluster_bucket_has(bucket, from))
            plan->loads[from].copies--;
    }
}

static enum error add_move(struct plan *plan, uint32_t bucket, enum placement_kind kind,
                           uint32_t from, uint32_t to)
{
    const struct cluster_map *map = plan->map;
    struct placement_move move = {.region_id = plan->region->id,
                                  .bucket = bucket,
                                  .generation = plan->region->buckets[bucket].generation,
                                  .kind = kind,
                                  .from = from == CLUSTER_NONE ? 0 : map->members[from].incarnation,
                                  .to = map->members[to].incarnation};
    if (!cluster_bucket_has(&plan->region->buckets[bucket], to))
        plan->loads[to].copies++;
    if (from != CLUSTER_NONE)
        plan->loads[from].copies--;
    return placement_add(plan->list, &move);
}

static uint32_t find_target(const struct plan *plan, const struct cluster_bucket *bucket)
{
    uint32_t best = CLUSTER_NONE;
    for (uint32_t i = 0; i < plan->map->member_count; i++)
        if (plan->loads[i].takes && !cluster_bucket_has(bucket, i) &&
            (best == CLUSTER_NONE || plan->loads[i].copies < plan->loads[best].copies))
            best = i;
    return best;
}

/* Of a REPLICATE region: everybody who is not a copy becomes one. */
static enum error plan_everywhere(struct plan *plan, uint32_t id)
{
    const struct cluster_bucket *bucket = &plan->region->buckets[id];
    uint32_t count = bucket->in_sync_count;
    enum error error = OK;
    for (uint32_t i = 0; i < plan->map->member_count && count < BUCKET_COPIES_MAX && error == OK;
         i++) {
        if (!plan->loads[i].takes || cluster_bucket_has(bucket, i))
            continue;
        error = add_move(plan, id, PLACEMENT_GROW, CLUSTER_NONE, i);
        count++;
    }
    return error;
}

/* The copies of a bucket as far as they matter here. */
struct holders {
    uint32_t staying;                 /* how many stay */
    uint32_t leaving, heir, heaviest; /* members, or CLUSTER_NONE */
};

static struct holders look_at_holders(const struct plan *plan, const struct cluster_bucket *bucket)
{
    struct holders holders = {0, CLUSTER_NONE, CLUSTER_NONE, CLUSTER_NONE};
    for (uint32_t i = 0; i < bucket->in_sync_count; i++) {
        uint32_t member = bucket->in_sync[i];
        const struct rebalance_load *load = &plan->loads[member];
        if (plan->map->members[member].state == CLUSTER_LEAVING)
            holders.leaving = member;
        if (!is_here(plan->map, plan->eyes, member))
            continue;
        holders.staying++;
        if (holders.heir == CLUSTER_NONE || load->primaries < plan->loads[holders.heir].primaries)
            holders.heir = member;
        if (member != bucket->primary && (holders.heaviest == CLUSTER_NONE ||
                                          load->copies > plan->loads[holders.heaviest].copies))
            holders.heaviest = member;
    }
    return holders;
}

static enum error plan_bucket(struct plan *plan, uint32_t id)
{
    const struct cluster_bucket *bucket = &plan->region->buckets[id];
    struct holders holders = look_at_holders(plan, bucket);
    bool is_everywhere = plan->region->type == CLUSTER_REPLICATE;
    uint32_t wanted = plan->region->redundant_copies + 1;
    uint32_t target = holders.staying < wanted ? find_target(plan, bucket) : CLUSTER_NONE;
    if (is_everywhere) {
        enum error error = plan_everywhere(plan, id);
        if (error != OK || holders.leaving == CLUSTER_NONE || holders.staying == 0)
            return error;
        return add_move(plan, id, PLACEMENT_REPLACE, holders.leaving, holders.heir);
    }
    if (target != CLUSTER_NONE)
        return add_move(plan, id,
                        holders.leaving == CLUSTER_NONE ? PLACEMENT_GROW : PLACEMENT_REPLACE,
                        holders.leaving, target);
    if (holders.leaving != CLUSTER_NONE && holders.staying > 0) {
        plan->loads[holders.heir].primaries += bucket->primary == holders.leaving;
        return add_move(plan, id, PLACEMENT_REPLACE, holders.leaving, holders.heir);
    }
    if (holders.staying > wanted && bucket->primary != CLUSTER_NONE &&
        is_here(plan->map, plan->eyes, bucket->primary))
        return add_move(plan, id, PLACEMENT_REPLACE, holders.heaviest, bucket->primary);
    return OK;
}

static enum error plan_region(struct plan *plan)
{
    enum error error = OK;
    rebalance_look(plan->map, plan->region, plan->eyes, plan->loads);
    count_moves(plan);
    for (uint32_t i = 0; i < plan->region->bucket_count && error == OK; i++)
        if (!plan->has_move[i] && plan->region->buckets[i].primary != CLUSTER_NONE &&
            plan->list->count < PLACEMENT_MOVES_MAX)
            error = plan_bucket(plan, i);
    return error;
}

static uint32_t most_buckets(const struct cluster_map *map)
{
    uint32_t most = 0;
    for (uint32_t i = 0; i < map->region_count; i++)
        if (map->regions[i].bucket_count > most)
            most = map->regions[i].bucket_count;
    return most;
}

enum error placement_plan(const struct cluster_map *map, const struct member_eyes *eyes,
                          struct placement_list *list)
{
    struct rebalance_load *loads = mem_array(map->member_count + 1, sizeof(*loads));
    uint8_t *has_move = mem_zalloc(most_buckets(map) + 1);
    enum error error = loads == NULL || has_move == NULL ? ERROR_MEMORY : OK;
    for (uint32_t i = 0; i < map->region_count && error == OK; i++) {
        struct plan plan = {map, eyes, &map->regions[i], loads, has_move, list};
        if (plan.region->buckets == NULL)
            continue;
        memset(has_move, 0, plan.region->bucket_count);
        error = plan_region(&plan);
    }
    mem_free(has_move);
    mem_free(loads);
    return error;
}
