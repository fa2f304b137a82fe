#include "locator/member_change.h"

#include "common/mem.h"

/* `server` is no copy of anything any more. Where it was the last one the contents are lost. Counts
 * set versions only if the caller does not go on to place the bucket, since one swap is one change.
 */
static enum error take_out_of_sets(struct cluster_map *map, uint32_t server, bool count_version,
                                   uint32_t *lost)
{
    uint32_t *rest = mem_array(map->member_count, sizeof(*rest));
    enum error error = rest == NULL ? ERROR_MEMORY : OK;
    for (uint32_t i = 0; i < map->region_count && error == OK; i++) {
        const struct cluster_region *region = &map->regions[i];
        for (uint32_t j = 0; region->buckets != NULL && j < region->bucket_count && error == OK;
             j++) {
            struct cluster_bucket bucket = region->buckets[j];
            if (!cluster_bucket_has(&bucket, server))
                continue;
            uint32_t count = 0;
            for (uint32_t k = 0; k < bucket.in_sync_count; k++)
                if (bucket.in_sync[k] != server)
                    rest[count++] = bucket.in_sync[k];
            /* A surviving copy may be promoted only after it has sealed: the failover's business.
             */
            if (bucket.primary == server && count > 0) {
                error = ERROR_UNSUPPORTED;
                break;
            }
            bucket.in_sync = rest;
            bucket.in_sync_count = count;
            if (count == 0) {
                bucket.primary = CLUSTER_NONE;
                bucket.generation++;
                ++*lost;
            }
            bucket.set_version += count_version || count > 0;
            error = cluster_map_set_bucket(map, region->id, j, &bucket);
        }
    }
    mem_free(rest);
    return error;
}

/* The server that is up and has the fewest primaries of the region; CLUSTER_NONE without servers.
 */
static uint32_t least_loaded(const struct cluster_map *map, const uint32_t *primaries)
{
    uint32_t best = CLUSTER_NONE;
    for (uint32_t i = 0; i < map->member_count; i++)
        if (map->members[i].role == CLUSTER_SERVER && map->members[i].state == CLUSTER_UP &&
            (best == CLUSTER_NONE || primaries[i] < primaries[best]))
            best = i;
    return best;
}

enum error member_change_place(struct cluster_map *map, uint32_t region_id)
{
    const struct cluster_region *region = cluster_map_region_by_id(map, region_id);
    uint32_t *primaries = mem_array(map->member_count + 1, sizeof(*primaries));
    enum error error = primaries == NULL ? ERROR_MEMORY : OK;
    for (uint32_t j = 0; error == OK && region->buckets != NULL && j < region->bucket_count; j++)
        if (region->buckets[j].primary != CLUSTER_NONE)
            primaries[region->buckets[j].primary]++;
    for (uint32_t j = 0; error == OK && region->buckets != NULL && j < region->bucket_count; j++) {
        struct cluster_bucket bucket = region->buckets[j];
        uint32_t server = least_loaded(map, primaries);
        if (bucket.in_sync_count > 0 || server == CLUSTER_NONE)
            continue;
        bucket.primary = server;
        bucket.in_sync = &server;
        bucket.in_sync_count = 1;
        bucket.term++;
        bucket.set_version++;
        primaries[server]++;
        error = cluster_map_set_bucket(map, region_id, j, &bucket);
    }
    mem_free(primaries);
    return error;
}

enum error member_change_join(struct cluster_map *map, const struct cluster_member *member,
                              uint64_t replaced, uint32_t *buckets_lost)
{
    *buckets_lost = 0;
    if (replaced != 0) {
        uint32_t old = cluster_map_member_by_incarnation(map, replaced);
        if (old == CLUSTER_NONE)
            return ERROR_NOT_FOUND;
        enum error error = take_out_of_sets(map, old, false, buckets_lost);
        if (error == OK)
            error = cluster_map_remove_member(map, old);
        if (error != OK)
            return error;
    }
    uint32_t index;
    enum error error = cluster_map_add_member(map, member, &index);
    for (uint32_t i = 0; i < map->region_count && error == OK; i++)
        error = member_change_place(map, map->regions[i].id);
    return error;
}

enum error member_change_leave(struct cluster_map *map, uint64_t incarnation,
                               uint32_t *buckets_lost)
{
    *buckets_lost = 0;
    uint32_t index = cluster_map_member_by_incarnation(map, incarnation);
    if (index == CLUSTER_NONE)
        return ERROR_NOT_FOUND;
    enum error error = take_out_of_sets(map, index, true, buckets_lost);
    return error == OK ? cluster_map_remove_member(map, index) : error;
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
