#include "locator/member_change.h"

#include "common/limits.h"
#include "common/mem.h"
#include "locator/rebalance.h"

unsigned member_look(const struct member_eyes *eyes, uint64_t incarnation)
{
    return eyes->look == NULL ? 0 : eyes->look(eyes->arg, incarnation);
}

void member_sort(uint32_t *members, uint32_t count)
{
    for (uint32_t i = 1; i < count; i++) {
        uint32_t member = members[i], j = i;
        for (; j > 0 && members[j - 1] > member; j--)
            members[j] = members[j - 1];
        members[j] = member;
    }
}

uint32_t member_copies(const struct cluster_region *region, uint32_t available)
{
    uint32_t wanted = region->type == CLUSTER_REPLICATE ? available : region->redundant_copies + 1;
    if (wanted > BUCKET_COPIES_MAX)
        wanted = BUCKET_COPIES_MAX;
    return wanted < available ? wanted : available;
}

/* ---- Placing ---- */

static bool takes_buckets(const struct cluster_member *member, const struct member_eyes *eyes)
{
    return member->role == CLUSTER_SERVER && member->state == CLUSTER_UP &&
           (member_look(eyes, member->incarnation) & (MEMBER_SEEN_GONE | MEMBER_SEEN_AWAY)) == 0;
}

/* The least loaded that is not in `set`; of equals the one with fewer primaries. */
static uint32_t least_loaded(const struct rebalance_load *loads, uint32_t count,
                             const uint32_t *set, uint32_t set_count)
{
    uint32_t best = CLUSTER_NONE;
    for (uint32_t i = 0; i < count; i++) {
        bool is_in = false;
        for (uint32_t j = 0; j < set_count; j++)
            is_in = is_in || set[j] == i;
        if (!loads[i].takes || is_in)
            continue;
        if (best == CLUSTER_NONE || loads[i].copies < loads[best].copies ||
            (loads[i].copies == loads[best].copies && loads[i].primaries < loads[best].primaries))
            best = i;
    }
    return best;
}

static enum error place_bucket(struct cluster_map *map, const struct cluster_region *region,
                               uint32_t id, struct rebalance_load *loads, uint32_t wanted)
{
    struct cluster_bucket bucket = region->buckets[id];
    uint32_t set[BUCKET_COPIES_MAX];
    for (uint32_t i = 0; i < wanted; i++) {
        set[i] = least_loaded(loads, map->member_count, set, i);
        INVARIANT(set[i] != CLUSTER_NONE);
    }
    bucket.primary = set[0];
    for (uint32_t i = 0; i < wanted; i++) {
        if (loads[set[i]].primaries < loads[bucket.primary].primaries)
            bucket.primary = set[i];
        loads[set[i]].copies++;
    }
    loads[bucket.primary].primaries++;
    member_sort(set, wanted);
    bucket.in_sync = set;
    bucket.in_sync_count = wanted;
    bucket.term++;
    bucket.set_version++;
    return cluster_map_set_bucket(map, region->id, id, &bucket);
}

static bool is_unplaced(const struct cluster_bucket *bucket)
{
    return bucket->in_sync_count == 0;
}

static enum error place_region(struct cluster_map *map, const struct cluster_region *region,
                               const struct member_eyes *eyes, uint32_t *placed)
{
    uint32_t available = 0, before = *placed;
    struct rebalance_load *loads = mem_array(map->member_count + 1, sizeof(*loads));
    if (loads == NULL)
        return ERROR_MEMORY;
    rebalance_look(map, region, eyes, loads);
    for (uint32_t i = 0; i < map->member_count; i++)
        available += loads[i].takes;
    uint32_t wanted = member_copies(region, available);
    enum error error = OK;
    for (uint32_t i = 0; i < region->bucket_count && wanted > 0 && error == OK; i++) {
        if (!is_unplaced(&region->buckets[i]))
            continue;
        error = place_bucket(map, region, i, loads, wanted);
        ++*placed;
    }
    /* Of a region that is new as a whole each choice is still free. */
    if (error == OK && *placed - before == region->bucket_count)
        error = rebalance_primaries(map, region, loads);
    mem_free(loads);
    return error;
}

enum error member_change_place(struct cluster_map *map, uint32_t region_id,
                               const struct member_eyes *eyes)
{
    const struct cluster_region *region = cluster_map_region_by_id(map, region_id);
    uint32_t placed = 0;
    return region->buckets == NULL ? OK : place_region(map, region, eyes, &placed);
}

enum error member_change_place_all(struct cluster_map *map, const struct member_eyes *eyes,
                                   uint32_t *placed)
{
    enum error error = OK;
    *placed = 0;
    for (uint32_t i = 0; i < map->region_count && error == OK; i++)
        if (map->regions[i].buckets != NULL)
            error = place_region(map, &map->regions[i], eyes, placed);
    return error;
}

bool member_change_can_place(const struct cluster_map *map, const struct member_eyes *eyes)
{
    bool has_server = false;
    for (uint32_t i = 0; i < map->member_count && !has_server; i++)
        has_server = takes_buckets(&map->members[i], eyes);
    if (!has_server)
        return false;
    for (uint32_t i = 0; i < map->region_count; i++)
        for (uint32_t j = 0; map->regions[i].buckets != NULL && j < map->regions[i].bucket_count;
             j++)
            if (is_unplaced(&map->regions[i].buckets[j]))
                return true;
    return false;
}

/* ---- Departing ---- */

static bool is_gone(const struct cluster_map *map, const struct member_eyes *eyes, uint32_t member)
{
    return (member_look(eyes, map->members[member].incarnation) & MEMBER_SEEN_GONE) != 0;
}

static bool is_linked(const struct cluster_map *map, const struct member_eyes *eyes,
                      const struct cluster_bucket *bucket)
{
    for (uint32_t i = 0; i < bucket->in_sync_count; i++)
        if (member_look(eyes, map->members[bucket->in_sync[i]].incarnation) & MEMBER_SEEN_LINKED)
            return true;
    return false;
}

/* Changes one bucket of the open map; false if it is to stay as it is. */
static bool depart_bucket(const struct cluster_map *map, const struct member_eyes *eyes,
                          struct member_loss *losses, struct cluster_bucket *bucket, uint32_t *rest)
{
    uint32_t count = 0;
    bool primary_gone = bucket->primary != CLUSTER_NONE && is_gone(map, eyes, bucket->primary);
    for (uint32_t i = 0; i < bucket->in_sync_count; i++)
        if (!is_gone(map, eyes, bucket->in_sync[i]))
            rest[count++] = bucket->in_sync[i];
    if (count == bucket->in_sync_count || (count > 0 && primary_gone) ||
        (count == 0 && is_linked(map, eyes, bucket)))
        return false;
    for (uint32_t i = 0; losses != NULL && i < bucket->in_sync_count && count > 0; i++)
        losses[bucket->in_sync[i]].dropped += is_gone(map, eyes, bucket->in_sync[i]);
    if (count == 0) {
        uint32_t last = bucket->primary != CLUSTER_NONE ? bucket->primary : bucket->in_sync[0];
        if (losses != NULL)
            losses[last].lost++;
        bucket->primary = CLUSTER_NONE;
        bucket->generation++;
    } else {
        bucket->set_version++;
    }
    bucket->in_sync = rest;
    bucket->in_sync_count = count;
    return true;
}

/* A bucket that starts empty counts its set version when it is placed, since one swap is one
 * change; without a server to place it on, here. */
static enum error count_unplaced(struct cluster_map *map, const uint8_t *is_emptied)
{
    uint32_t at = 0;
    for (uint32_t i = 0; i < map->region_count; i++) {
        const struct cluster_region *region = &map->regions[i];
        for (uint32_t j = 0; region->buckets != NULL && j < region->bucket_count; j++, at++) {
            struct cluster_bucket bucket = region->buckets[j];
            if (!is_emptied[at] || !is_unplaced(&bucket))
                continue;
            bucket.set_version++;
            enum error error = cluster_map_set_bucket(map, region->id, j, &bucket);
            if (error != OK)
                return error;
        }
    }
    return OK;
}

static size_t count_buckets(const struct cluster_map *map)
{
    size_t count = 0;
    for (uint32_t i = 0; i < map->region_count; i++)
        count += map->regions[i].buckets != NULL ? map->regions[i].bucket_count : 0;
    return count;
}

/* `is_emptied`: of all buckets, in the order of the map. */
static enum error depart_buckets(struct cluster_map *map, const struct member_eyes *eyes,
                                 struct member_loss *losses, uint8_t *is_emptied, bool *changed)
{
    uint32_t *rest = mem_array(map->member_count + 1, sizeof(*rest));
    enum error error = rest == NULL ? ERROR_MEMORY : OK;
    uint32_t at = 0;
    for (uint32_t i = 0; i < map->region_count && error == OK; i++) {
        const struct cluster_region *region = &map->regions[i];
        for (uint32_t j = 0; region->buckets != NULL && j < region->bucket_count && error == OK;
             j++, at++) {
            struct cluster_bucket bucket = region->buckets[j];
            if (!depart_bucket(map, eyes, losses, &bucket, rest))
                continue;
            *changed = true;
            is_emptied[at] = is_unplaced(&bucket);
            error = cluster_map_set_bucket(map, region->id, j, &bucket);
        }
    }
    mem_free(rest);
    return error;
}

static enum error strike_gone(struct cluster_map *map, const struct member_eyes *eyes,
                              struct member_loss *losses, bool *changed)
{
    enum error error = OK;
    for (uint32_t i = 0, original = 0; i < map->member_count && error == OK; original++) {
        bool strikes = map->members[i].role == CLUSTER_SERVER && is_gone(map, eyes, i) &&
                       !member_change_holds_buckets(map, i);
        losses[original].struck = strikes;
        *changed = *changed || strikes;
        if (strikes) {
            error = cluster_map_remove_member(map, i);
            continue;
        }
        if (is_gone(map, eyes, i) && map->members[i].state != CLUSTER_DOWN) {
            cluster_map_set_member_state(map, i, CLUSTER_DOWN);
            *changed = true;
        }
        i++;
    }
    return error;
}

/* Everything but placing what has become empty. */
static enum error take_out(struct cluster_map *map, const struct member_eyes *eyes,
                           struct member_loss *losses, uint8_t *is_emptied, bool *changed)
{
    *changed = false;
    for (uint32_t i = 0; i < map->member_count; i++)
        losses[i] = (struct member_loss){.incarnation = map->members[i].incarnation};
    enum error error = depart_buckets(map, eyes, losses, is_emptied, changed);
    return error == OK ? strike_gone(map, eyes, losses, changed) : error;
}

enum error member_change_depart(struct cluster_map *map, const struct member_eyes *eyes,
                                struct member_loss *losses, bool *changed)
{
    uint8_t *is_emptied = mem_zalloc(count_buckets(map) + 1);
    uint32_t placed;
    enum error error = is_emptied == NULL ? ERROR_MEMORY : OK;
    if (error == OK)
        error = take_out(map, eyes, losses, is_emptied, changed);
    if (error == OK && *changed)
        error = member_change_place_all(map, eyes, &placed);
    if (error == OK)
        error = count_unplaced(map, is_emptied);
    mem_free(is_emptied);
    return error;
}

bool member_change_can_depart(const struct cluster_map *map, const struct member_eyes *eyes)
{
    uint32_t rest[LIMIT_MEMBERS];
    bool has_gone = false;
    for (uint32_t i = 0; i < map->member_count; i++) {
        if (map->members[i].role != CLUSTER_SERVER || !is_gone(map, eyes, i))
            continue;
        if (map->members[i].state != CLUSTER_DOWN || !member_change_holds_buckets(map, i))
            return true;
        has_gone = true;
    }
    for (uint32_t i = 0; i < map->region_count && has_gone; i++) {
        const struct cluster_region *region = &map->regions[i];
        for (uint32_t j = 0; region->buckets != NULL && j < region->bucket_count; j++) {
            struct cluster_bucket bucket = region->buckets[j];
            if (depart_bucket(map, eyes, NULL, &bucket, rest))
                return true;
        }
    }
    return false;
}

bool member_change_needs_failover(const struct cluster_map *map, const struct member_eyes *eyes,
                                  uint64_t incarnation)
{
    uint32_t member = cluster_map_member_by_incarnation(map, incarnation);
    for (uint32_t i = 0; i < map->region_count; i++) {
        const struct cluster_region *region = &map->regions[i];
        for (uint32_t j = 0; region->buckets != NULL && j < region->bucket_count; j++) {
            const struct cluster_bucket *bucket = &region->buckets[j];
            for (uint32_t k = 0; bucket->primary == member && k < bucket->in_sync_count; k++)
                if (bucket->in_sync[k] != member && !is_gone(map, eyes, bucket->in_sync[k]))
                    return true;
        }
    }
    return false;
}

/* ---- Joining ---- */

enum error member_change_join(struct cluster_map *map, const struct cluster_member *member,
                              const struct member_eyes *eyes)
{
    uint32_t index, placed;
    enum error error = cluster_map_add_member(map, member, &index);
    return error == OK ? member_change_place_all(map, eyes, &placed) : error;
}

bool member_change_holds_buckets(const struct cluster_map *map, uint32_t member)
{
    for (uint32_t i = 0; i < map->region_count; i++)
        for (uint32_t j = 0; map->regions[i].buckets != NULL && j < map->regions[i].bucket_count;
             j++)
            if (cluster_bucket_has(&map->regions[i].buckets[j], member))
                return true;
    return false;
}
