/* Changes of a map that is still open. Arrays are made anew for each change: a map changes a few
 * times a second at most, and the arena that holds it goes as a whole. */
#include "protocol/cluster_map_impl.h"

#include "common/limits.h"

enum error cluster_map_new(const uint8_t cluster_id[CLUSTER_ID_BYTES], struct cluster_map **map)
{
    *map = cluster_map_empty();
    if (*map == NULL)
        return ERROR_MEMORY;
    memcpy((*map)->cluster_id, cluster_id, CLUSTER_ID_BYTES);
    (*map)->epoch = 1;
    (*map)->next_region_id = 1;
    (*map)->next_query_id = 1;
    return OK;
}

enum error cluster_map_seal(struct cluster_map *map)
{
    PRE(!map->is_sealed);
    return cluster_map_finish(map);
}

/* An array of `count` + 1 elements that starts with the old ones; NULL without memory. */
static void *cluster_map_grow(struct cluster_map *map, const void *old, uint32_t count, size_t size)
{
    char *grown = cluster_map_array(map, (size_t)count + 1, size);

    if (grown != NULL && count > 0)
        memcpy(grown, old, count * size);
    return grown;
}

static bool cluster_map_keep_buckets(struct cluster_map *map, const struct cluster_bucket *from,
                                     uint32_t count, struct cluster_bucket **to)
{
    struct cluster_bucket *buckets = cluster_map_array(map, count, sizeof *buckets);
    size_t in_sync_count = 0;
    uint32_t *in_sync;

    for (uint32_t i = 0; i < count; i++)
        in_sync_count += from[i].in_sync_count;
    in_sync = cluster_map_array(map, in_sync_count, sizeof *in_sync);
    if (buckets == NULL || in_sync == NULL)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        buckets[i] = from[i];
        buckets[i].in_sync = in_sync;
        if (from[i].in_sync_count > 0)
            memcpy(in_sync, from[i].in_sync, from[i].in_sync_count * sizeof *in_sync);
        in_sync += from[i].in_sync_count;
    }
    *to = buckets;
    return true;
}

static bool cluster_map_keep_table(struct cluster_map *map, const struct cluster_table *from,
                                   struct cluster_table *to)
{
    return cluster_map_keep(map, from->name, &to->name) &&
           cluster_map_keep(map, from->ddl, &to->ddl) &&
           cluster_map_keep(map, from->region, &to->region);
}

static bool cluster_map_keep_query(struct cluster_map *map, const struct cluster_query *from,
                                   struct cluster_query *to)
{
    *to = *from;
    return cluster_map_keep(map, from->name, &to->name) &&
           cluster_map_keep(map, from->text, &to->text) &&
           cluster_map_keep(map, from->parameters, &to->parameters) &&
           cluster_map_keep(map, from->ddl, &to->ddl) &&
           cluster_map_keep(map, from->owner, &to->owner);
}

static bool cluster_map_copy(const struct cluster_map *base, struct cluster_map *map)
{
    map->members = cluster_map_array(map, base->member_count, sizeof *map->members);
    map->regions = cluster_map_array(map, base->region_count, sizeof *map->regions);
    map->tables = cluster_map_array(map, base->table_count, sizeof *map->tables);
    map->queries = cluster_map_array(map, base->query_count, sizeof *map->queries);
    if (map->members == NULL || map->regions == NULL || map->tables == NULL || map->queries == NULL)
        return false;
    for (uint32_t i = 0; i < base->member_count; i++) {
        if (!cluster_map_keep_member(map, &base->members[i], &map->members[i]))
            return false;
    }
    for (uint32_t i = 0; i < base->region_count; i++) {
        const struct cluster_region *from = &base->regions[i];

        map->regions[i] = *from;
        if (!cluster_map_keep(map, from->name, &map->regions[i].name))
            return false;
        if (from->buckets != NULL &&
            !cluster_map_keep_buckets(map, from->buckets, from->bucket_count,
                                      &map->regions[i].buckets))
            return false;
    }
    for (uint32_t i = 0; i < base->table_count; i++) {
        if (!cluster_map_keep_table(map, &base->tables[i], &map->tables[i]))
            return false;
    }
    for (uint32_t i = 0; i < base->query_count; i++) {
        if (!cluster_map_keep_query(map, &base->queries[i], &map->queries[i]))
            return false;
    }
    map->member_count = base->member_count;
    map->region_count = base->region_count;
    map->table_count = base->table_count;
    map->query_count = base->query_count;
    return true;
}

enum error cluster_map_edit(const struct cluster_map *base, struct cluster_map **copy)
{
    struct cluster_map *map = cluster_map_empty();

    PRE(base->is_sealed);
    if (map == NULL)
        return ERROR_MEMORY;
    memcpy(map->cluster_id, base->cluster_id, CLUSTER_ID_BYTES);
    map->epoch = base->epoch + 1;
    map->next_region_id = base->next_region_id;
    map->next_query_id = base->next_query_id;
    if (!cluster_map_copy(base, map)) {
        cluster_map_unref(map);
        return ERROR_MEMORY;
    }
    *copy = map;
    return OK;
}

enum error cluster_map_add_member(struct cluster_map *map, const struct cluster_member *member,
                                  uint32_t *index)
{
    struct cluster_member *grown;

    PRE(!map->is_sealed);
    if (!cluster_map_is_valid_name(member->name) || !cluster_map_is_valid_name(member->host))
        return ERROR_INVALID;
    if (cluster_map_member(map, member->name) != CLUSTER_NONE)
        return ERROR_EXISTS;
    if (map->member_count == LIMIT_MEMBERS || member->group_count > LIMIT_GROUPS)
        return ERROR_LIMIT;
    grown = cluster_map_grow(map, map->members, map->member_count, sizeof *grown);
    if (grown == NULL || !cluster_map_keep_member(map, member, &grown[map->member_count]))
        return ERROR_MEMORY;
    map->members = grown;
    *index = map->member_count++;
    return OK;
}

void cluster_map_set_member_state(struct cluster_map *map, uint32_t index, enum cluster_state state)
{
    PRE(!map->is_sealed && index < map->member_count);
    map->members[index].state = state;
}

static bool cluster_region_names(const struct cluster_region *region, uint32_t member)
{
    for (uint32_t i = 0; region->buckets != NULL && i < region->bucket_count; i++) {
        if (cluster_bucket_has(&region->buckets[i], member))
            return true;
    }
    return false;
}

static void cluster_bucket_renumber(struct cluster_bucket *bucket, uint32_t removed)
{
    uint32_t *in_sync = (uint32_t *)(uintptr_t)bucket->in_sync; /* ours: the map is open */

    if (bucket->primary != CLUSTER_NONE && bucket->primary > removed)
        bucket->primary--;
    for (uint32_t i = 0; i < bucket->in_sync_count; i++) {
        if (in_sync[i] > removed)
            in_sync[i]--;
    }
}

enum error cluster_map_remove_member(struct cluster_map *map, uint32_t index)
{
    PRE(!map->is_sealed && index < map->member_count);
    for (uint32_t i = 0; i < map->region_count; i++) {
        if (cluster_region_names(&map->regions[i], index))
            return ERROR_BUSY;
    }
    for (uint32_t i = 0; i < map->region_count; i++) {
        struct cluster_region *region = &map->regions[i];

        for (uint32_t j = 0; region->buckets != NULL && j < region->bucket_count; j++)
            cluster_bucket_renumber(&region->buckets[j], index);
    }
    map->member_count--;
    memmove(map->members + index, map->members + index + 1,
            (map->member_count - index) * sizeof *map->members);
    return OK;
}

static uint32_t cluster_map_region_index(const struct cluster_map *map, uint32_t id)
{
    const struct cluster_region *region = cluster_map_region_by_id(map, id);

    return region == NULL ? CLUSTER_NONE : (uint32_t)(region - map->regions);
}

enum error cluster_map_add_region(struct cluster_map *map, const struct cluster_region *region,
                                  uint32_t *id)
{
    struct cluster_region *grown, *added;

    PRE(!map->is_sealed);
    if (!cluster_map_is_valid_name(region->name))
        return ERROR_INVALID;
    if (cluster_map_region(map, region->name) != NULL)
        return ERROR_EXISTS;
    if (map->region_count == LIMIT_REGIONS || map->next_region_id == UINT32_MAX ||
        region->bucket_count == 0 || region->bucket_count > LIMIT_BUCKETS ||
        region->redundant_copies > LIMIT_MEMBERS)
        return ERROR_LIMIT;
    grown = cluster_map_grow(map, map->regions, map->region_count, sizeof *grown);
    if (grown == NULL)
        return ERROR_MEMORY;
    added = &grown[map->region_count];
    *added = *region;
    added->id = map->next_region_id;
    added->buckets = NULL;
    if (!cluster_map_keep(map, region->name, &added->name))
        return ERROR_MEMORY;
    if (region->type != CLUSTER_LOCAL) {
        added->buckets = cluster_map_array(map, region->bucket_count, sizeof *added->buckets);
        if (added->buckets == NULL)
            return ERROR_MEMORY;
        for (uint32_t i = 0; i < region->bucket_count; i++)
            added->buckets[i] = (struct cluster_bucket){.generation = 1, .primary = CLUSTER_NONE};
    }
    map->regions = grown;
    map->region_count++;
    *id = map->next_region_id++;
    return OK;
}

enum error cluster_map_remove_region(struct cluster_map *map, uint32_t id)
{
    uint32_t index = cluster_map_region_index(map, id);

    PRE(!map->is_sealed);
    if (index == CLUSTER_NONE)
        return ERROR_NOT_FOUND;
    map->region_count--;
    memmove(map->regions + index, map->regions + index + 1,
            (map->region_count - index) * sizeof *map->regions);
    return OK;
}

enum error cluster_map_set_bucket(struct cluster_map *map, uint32_t region_id, uint32_t bucket,
                                  const struct cluster_bucket *value)
{
    uint32_t index = cluster_map_region_index(map, region_id);
    uint32_t *in_sync;

    PRE(!map->is_sealed);
    if (index == CLUSTER_NONE)
        return ERROR_NOT_FOUND;
    PRE(map->regions[index].buckets != NULL && bucket < map->regions[index].bucket_count);
    in_sync = cluster_map_array(map, value->in_sync_count, sizeof *in_sync);
    if (in_sync == NULL)
        return ERROR_MEMORY;
    if (value->in_sync_count > 0)
        memcpy(in_sync, value->in_sync, value->in_sync_count * sizeof *in_sync);
    map->regions[index].buckets[bucket] = *value;
    map->regions[index].buckets[bucket].in_sync = in_sync;
    return OK;
}

enum error cluster_map_add_table(struct cluster_map *map, const struct cluster_table *table)
{
    struct cluster_table *grown;

    PRE(!map->is_sealed);
    if (!cluster_map_is_valid_name(table->name) || !cluster_map_is_valid_name(table->region))
        return ERROR_INVALID;
    if (cluster_map_table(map, table->name) != NULL)
        return ERROR_EXISTS;
    if (map->table_count == LIMIT_TABLES || table->ddl.len > LIMIT_STATEMENT_BYTES)
        return ERROR_LIMIT;
    grown = cluster_map_grow(map, map->tables, map->table_count, sizeof *grown);
    if (grown == NULL || !cluster_map_keep_table(map, table, &grown[map->table_count]))
        return ERROR_MEMORY;
    map->tables = grown;
    map->table_count++;
    return OK;
}

enum error cluster_map_remove_table(struct cluster_map *map, struct slice name)
{
    const struct cluster_table *table = cluster_map_table(map, name);

    PRE(!map->is_sealed);
    if (table == NULL)
        return ERROR_NOT_FOUND;
    uint32_t index = (uint32_t)(table - map->tables);

    map->table_count--;
    memmove(map->tables + index, map->tables + index + 1,
            (map->table_count - index) * sizeof *map->tables);
    return OK;
}

enum error cluster_map_add_query(struct cluster_map *map, const struct cluster_query *query,
                                 uint64_t *id)
{
    struct cluster_query *grown;

    PRE(!map->is_sealed);
    if (query->name.len > 0 && !cluster_map_is_valid_name(query->name))
        return ERROR_INVALID;
    for (uint32_t i = 0; i < map->query_count; i++) {
        if (query->name.len > 0 && slice_equal(map->queries[i].name, query->name) &&
            slice_equal(map->queries[i].owner, query->owner))
            return ERROR_EXISTS;
    }
    if (map->query_count == LIMIT_INSTANCES || query->text.len > LIMIT_STATEMENT_BYTES)
        return ERROR_LIMIT;
    grown = cluster_map_grow(map, map->queries, map->query_count, sizeof *grown);
    if (grown == NULL || !cluster_map_keep_query(map, query, &grown[map->query_count]))
        return ERROR_MEMORY;
    grown[map->query_count].id = map->next_query_id;
    map->queries = grown;
    map->query_count++;
    *id = map->next_query_id++;
    return OK;
}

enum error cluster_map_remove_query(struct cluster_map *map, uint64_t id)
{
    const struct cluster_query *query = cluster_map_query(map, id);

    PRE(!map->is_sealed);
    if (query == NULL)
        return ERROR_NOT_FOUND;
    uint32_t index = (uint32_t)(query - map->queries);

    map->query_count--;
    memmove(map->queries + index, map->queries + index + 1,
            (map->query_count - index) * sizeof *map->queries);
    return OK;
}
