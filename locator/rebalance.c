/* placement_balance(): levels a copy of the map, and tells what is different then. */
#include "locator/rebalance.h"

#include "common/mem.h"

/* ---- Copies ---- */

static void find_extremes(const struct rebalance_load *loads, uint32_t count, bool by_primaries,
                          uint32_t *most, uint32_t *least)
{
    *most = *least = CLUSTER_NONE;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t load = by_primaries ? loads[i].primaries : loads[i].copies;
        if (!loads[i].takes)
            continue;
        if (*most == CLUSTER_NONE ||
            load > (by_primaries ? loads[*most].primaries : loads[*most].copies))
            *most = i;
        if (*least == CLUSTER_NONE ||
            load < (by_primaries ? loads[*least].primaries : loads[*least].copies))
            *least = i;
    }
}

/* A bucket that `from` has and `to` has not; if possible one whose primary moving helps too. */
static uint32_t find_bucket(const struct cluster_region *region, const struct rebalance_load *loads,
                            uint32_t from, uint32_t to)
{
    bool wants_primary = loads[from].primaries > loads[to].primaries;
    uint32_t found = CLUSTER_NONE;
    for (uint32_t i = 0; i < region->bucket_count; i++) {
        const struct cluster_bucket *bucket = &region->buckets[i];
        if (bucket->primary == CLUSTER_NONE || !cluster_bucket_has(bucket, from) ||
            cluster_bucket_has(bucket, to))
            continue;
        if (found == CLUSTER_NONE || (bucket->primary == from) == wants_primary)
            found = i;
        if ((bucket->primary == from) == wants_primary)
            break;
    }
    return found;
}

static enum error move_copy(struct cluster_map *map, const struct cluster_region *region,
                            uint32_t id, uint32_t from, uint32_t to, struct rebalance_load *loads)
{
    struct cluster_bucket bucket = region->buckets[id];
    uint32_t set[BUCKET_COPIES_MAX];
    if (bucket.in_sync_count > BUCKET_COPIES_MAX)
        return ERROR_LIMIT;
    for (uint32_t i = 0; i < bucket.in_sync_count; i++)
        set[i] = bucket.in_sync[i] == from ? to : bucket.in_sync[i];
    member_sort(set, bucket.in_sync_count);
    bucket.in_sync = set;
    loads[from].copies--;
    loads[to].copies++;
    if (bucket.primary == from) {
        bucket.primary = to;
        loads[from].primaries--;
        loads[to].primaries++;
    }
    return cluster_map_set_bucket(map, region->id, id, &bucket);
}

static enum error level_copies(struct cluster_map *map, const struct cluster_region *region,
                               struct rebalance_load *loads)
{
    enum error error = OK;
    while (error == OK && region->type != CLUSTER_REPLICATE) {
        uint32_t most, least;
        find_extremes(loads, map->member_count, false, &most, &least);
        if (most == CLUSTER_NONE || loads[most].copies - loads[least].copies <= 1)
            break;
        uint32_t bucket = find_bucket(region, loads, most, least);
        if (bucket == CLUSTER_NONE)
            break;
        error = move_copy(map, region, bucket, most, least, loads);
    }
    return error;
}

/* ---- Primaries ---- */

/* How one primary is reached from another: by handing over `bucket`, from `before`. */
struct step {
    uint32_t before, bucket;
    bool is_reached;
};

/* Breadth first from `from`, over hand-overs, to one that leads at least two fewer. */
static uint32_t find_path(const struct cluster_map *map, const struct cluster_region *region,
                          const struct rebalance_load *loads, uint32_t from, struct step *steps,
                          uint32_t *queue)
{
    uint32_t first = 0, end = 0;
    memset(steps, 0, map->member_count * sizeof(*steps));
    steps[from].is_reached = true;
    queue[end++] = from;
    while (first < end) {
        uint32_t at = queue[first++];
        if (loads[at].primaries + 1 < loads[from].primaries)
            return at;
        for (uint32_t i = 0; i < region->bucket_count; i++) {
            const struct cluster_bucket *bucket = &region->buckets[i];
            for (uint32_t j = 0; bucket->primary == at && j < bucket->in_sync_count; j++) {
                uint32_t next = bucket->in_sync[j];
                if (steps[next].is_reached || !loads[next].takes)
                    continue;
                steps[next] = (struct step){at, i, true};
                queue[end++] = next;
            }
        }
    }
    return CLUSTER_NONE;
}

static enum error hand_over(struct cluster_map *map, const struct cluster_region *region,
                            uint32_t id, uint32_t to)
{
    struct cluster_bucket bucket = region->buckets[id];
    bucket.primary = to;
    return cluster_map_set_bucket(map, region->id, id, &bucket);
}

enum error rebalance_primaries(struct cluster_map *map, const struct cluster_region *region,
                               struct rebalance_load *loads)
{
    struct step *steps = mem_array(map->member_count + 1, sizeof(*steps));
    uint32_t *queue = mem_array(map->member_count + 1, sizeof(*queue));
    enum error error = steps == NULL || queue == NULL ? ERROR_MEMORY : OK;
    while (error == OK) {
        uint32_t most, least;
        find_extremes(loads, map->member_count, true, &most, &least);
        if (most == CLUSTER_NONE || loads[most].primaries - loads[least].primaries <= 1)
            break;
        uint32_t at = find_path(map, region, loads, most, steps, queue);
        if (at == CLUSTER_NONE)
            break;
        loads[most].primaries--;
        loads[at].primaries++;
        for (; at != most && error == OK; at = steps[at].before)
            error = hand_over(map, region, steps[at].bucket, at);
    }
    mem_free(steps);
    mem_free(queue);
    return error;
}

static enum error rebalance_region(struct cluster_map *map, const struct cluster_region *region,
                                   struct rebalance_load *loads)
{
    enum error error = level_copies(map, region, loads);
    return error == OK ? rebalance_primaries(map, region, loads) : error;
}

/* ---- What is different ---- */

static enum error tell_bucket(const struct cluster_map *map, const struct cluster_region *region,
                              uint32_t id, const struct cluster_bucket *then,
                              struct placement_list *list)
{
    const struct cluster_bucket *now = &region->buckets[id];
    uint32_t primary = now->primary, j = 0;
    enum error error = OK;
    struct placement_move move = {.region_id = region->id,
                                  .bucket = id,
                                  .generation = now->generation,
                                  .kind = PLACEMENT_REPLACE,
                                  .is_asked = true};
    for (uint32_t i = 0; i < now->in_sync_count && error == OK; i++) {
        uint32_t from = now->in_sync[i];
        if (cluster_bucket_has(then, from))
            continue;
        while (cluster_bucket_has(now, then->in_sync[j]))
            j++;
        uint32_t to = then->in_sync[j++];
        if (primary == from)
            primary = to;
        move.from = map->members[from].incarnation;
        move.to = map->members[to].incarnation;
        error = placement_add(list, &move);
    }
    if (error != OK || primary == then->primary)
        return error;
    move.kind = PLACEMENT_PRIMARY;
    move.from = 0;
    move.to = map->members[then->primary].incarnation;
    return placement_add(list, &move);
}

enum error placement_balance(const struct cluster_map *map, const struct member_eyes *eyes,
                             struct placement_list *list)
{
    struct cluster_map *then;
    struct rebalance_load *loads = mem_array(map->member_count + 1, sizeof(*loads));
    enum error error = loads == NULL ? ERROR_MEMORY : cluster_map_edit(map, &then);
    if (error != OK) {
        mem_free(loads);
        return error;
    }
    for (uint32_t i = 0; i < map->region_count && error == OK; i++) {
        const struct cluster_region *region = &map->regions[i];
        if (region->buckets == NULL)
            continue;
        rebalance_look(map, region, eyes, loads);
        error = rebalance_region(then, &then->regions[i], loads);
        for (uint32_t j = 0; j < region->bucket_count && error == OK; j++)
            error = tell_bucket(map, region, j, &then->regions[i].buckets[j], list);
    }
    cluster_map_unref(then);
    mem_free(loads);
    return error;
}
