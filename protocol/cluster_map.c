#include "protocol/cluster_map_impl.h"

#include "common/limits.h"
#include "common/mem.h"
#include "common/text.h"

struct cluster_map *cluster_map_empty(void)
{
    struct cluster_map *map = mem_zalloc(sizeof *map);

    if (map == NULL)
        return NULL;
    atomic_init(&map->refs, 1);
    arena_init(&map->arena, LIMIT_ARENA_BYTES);
    return map;
}

struct cluster_map *cluster_map_ref(struct cluster_map *map)
{
    atomic_fetch_add_explicit(&map->refs, 1, memory_order_relaxed);
    return map;
}

void cluster_map_unref(struct cluster_map *map)
{
    if (map == NULL || atomic_fetch_sub_explicit(&map->refs, 1, memory_order_acq_rel) != 1)
        return;
    arena_fini(&map->arena);
    mem_free(map);
}

void *cluster_map_array(struct cluster_map *map, size_t count, size_t size)
{
    if (size != 0 && count > LIMIT_ARENA_BYTES / size)
        return NULL;
    return arena_zalloc(&map->arena, count * size);
}

bool cluster_map_keep(struct cluster_map *map, struct slice from, struct slice *to)
{
    char *copy = arena_strndup(&map->arena, (const char *)from.data, from.len);

    *to = slice_of(copy, from.len);
    return copy != NULL;
}

bool cluster_map_keep_member(struct cluster_map *map, const struct cluster_member *from,
                             struct cluster_member *to)
{
    struct slice *groups = cluster_map_array(map, from->group_count, sizeof *groups);

    if (groups == NULL)
        return false;
    *to = *from;
    to->groups = groups;
    for (uint32_t i = 0; i < from->group_count; i++) {
        if (!cluster_map_keep(map, from->groups[i], &groups[i]))
            return false;
    }
    return cluster_map_keep(map, from->name, &to->name) &&
           cluster_map_keep(map, from->host, &to->host);
}

/* ---- Rules ---- */

bool cluster_map_is_valid_name(struct slice name)
{
    if (name.len == 0 || name.len > LIMIT_NAME_BYTES || !text_is_utf8(name))
        return false;
    for (size_t i = 0; i < name.len; i++) {
        if (name.data[i] < ' ' || name.data[i] == 0x7f)
            return false;
    }
    return name.data[0] != '/' && name.data[name.len - 1] != '/';
}

static bool cluster_map_check_member(const struct cluster_member *member)
{
    for (uint32_t i = 0; i < member->group_count; i++) {
        if (!cluster_map_is_valid_name(member->groups[i]))
            return false;
    }
    return cluster_map_is_valid_name(member->name) && cluster_map_is_valid_name(member->host) &&
           (member->role == CLUSTER_SERVER || member->role == CLUSTER_LOCATOR) &&
           member->state <= CLUSTER_DOWN && member->group_count <= LIMIT_GROUPS;
}

static bool cluster_map_check_bucket(const struct cluster_map *map,
                                     const struct cluster_bucket *bucket)
{
    if (bucket->generation == 0 || bucket->in_sync_count > CLUSTER_COPIES_MAX)
        return false;
    for (uint32_t i = 0; i < bucket->in_sync_count; i++) {
        if (bucket->in_sync[i] >= map->member_count ||
            map->members[bucket->in_sync[i]].role != CLUSTER_SERVER)
            return false;
        if (i > 0 && bucket->in_sync[i] <= bucket->in_sync[i - 1])
            return false;
    }
    return bucket->primary == CLUSTER_NONE || cluster_bucket_has(bucket, bucket->primary);
}

static bool cluster_map_check_region(const struct cluster_map *map,
                                     const struct cluster_region *region)
{
    if (region->id == 0 || region->id >= map->next_region_id ||
        !cluster_map_is_valid_name(region->name) || region->type < CLUSTER_PARTITION ||
        region->type > CLUSTER_LOCAL || region->redundant_copies > LIMIT_MEMBERS ||
        region->bucket_count == 0 || region->bucket_count > LIMIT_BUCKETS ||
        region->key_constraint > VALUE_CUSTOM || region->value_constraint > VALUE_CUSTOM)
        return false;
    if (region->type == CLUSTER_LOCAL)
        return region->buckets == NULL;
    for (uint32_t i = 0; i < region->bucket_count; i++) {
        if (!cluster_map_check_bucket(map, &region->buckets[i]))
            return false;
    }
    return true;
}

enum error cluster_map_check(const struct cluster_map *map)
{
    if (map->epoch == 0 || map->member_count > LIMIT_MEMBERS || map->region_count > LIMIT_REGIONS ||
        map->table_count > LIMIT_TABLES || map->query_count > LIMIT_INSTANCES)
        return ERROR_INVALID;
    for (uint32_t i = 0; i < map->member_count; i++) {
        if (!cluster_map_check_member(&map->members[i]))
            return ERROR_INVALID;
    }
    for (uint32_t i = 0; i < map->region_count; i++) {
        if (!cluster_map_check_region(map, &map->regions[i]) ||
            (i > 0 && map->regions[i].id <= map->regions[i - 1].id))
            return ERROR_INVALID;
    }
    for (uint32_t i = 0; i < map->table_count; i++) {
        if (!cluster_map_is_valid_name(map->tables[i].name) ||
            !cluster_map_is_valid_name(map->tables[i].region) ||
            !text_is_utf8(map->tables[i].ddl) || map->tables[i].ddl.len > LIMIT_STATEMENT_BYTES)
            return ERROR_INVALID;
    }
    for (uint32_t i = 0; i < map->query_count; i++) {
        const struct cluster_query *query = &map->queries[i];

        if (query->id == 0 || query->id >= map->next_query_id ||
            (i > 0 && query->id <= map->queries[i - 1].id) ||
            (query->name.len > 0 && !cluster_map_is_valid_name(query->name)) ||
            query->text.len > LIMIT_STATEMENT_BYTES || !text_is_utf8(query->text) ||
            query->ddl.len > LIMIT_STATEMENT_BYTES || !text_is_utf8(query->ddl) ||
            !text_is_utf8(query->owner))
            return ERROR_INVALID;
    }
    return OK;
}

/* ---- Orders by name ---- */

static int cluster_compare(struct slice a, struct slice b)
{
    size_t shorter = a.len < b.len ? a.len : b.len;
    int order = shorter == 0 ? 0 : memcmp(a.data, b.data, shorter);

    if (order != 0)
        return order;
    return a.len < b.len ? -1 : a.len > b.len;
}

/* The name of element i of an array whose elements have a slice `name` at `offset`. */
struct cluster_names {
    const char *first;
    size_t size, offset;
    uint32_t count;
};
#define CLUSTER_NAMES(array, number)                                                               \
    ((struct cluster_names){(const char *)(array), sizeof *(array),                                \
                            offsetof(__typeof__(*(array)), name), (number)})

static struct slice cluster_name(const struct cluster_names *names, uint32_t i)
{
    struct slice name;

    memcpy(&name, names->first + i * names->size + names->offset, sizeof name);
    return name;
}

/* The place of a name in an order, or where it would stand. */
static uint32_t cluster_place(const struct cluster_names *names, const uint32_t *order,
                              uint32_t count, struct slice name, bool *found)
{
    uint32_t low = 0, high = count;

    *found = false;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int compared = cluster_compare(name, cluster_name(names, order[middle]));

        if (compared == 0) {
            *found = true;
            return middle;
        }
        if (compared < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* ERROR_INVALID when a name comes twice. */
static enum error cluster_order(struct cluster_map *map, struct cluster_names names,
                                uint32_t **result)
{
    uint32_t *order = cluster_map_array(map, names.count, sizeof *order);

    if (order == NULL)
        return ERROR_MEMORY;
    for (uint32_t i = 0; i < names.count; i++) {
        bool found;
        uint32_t place = cluster_place(&names, order, i, cluster_name(&names, i), &found);

        if (found)
            return ERROR_INVALID;
        memmove(order + place + 1, order + place, (i - place) * sizeof *order);
        order[place] = i;
    }
    *result = order;
    return OK;
}

static uint32_t cluster_find(struct cluster_names names, const uint32_t *order, struct slice name)
{
    if (order != NULL) {
        bool found;
        uint32_t place = cluster_place(&names, order, names.count, name, &found);

        return found ? order[place] : CLUSTER_NONE;
    }
    for (uint32_t i = 0; i < names.count; i++) {
        if (slice_equal(cluster_name(&names, i), name))
            return i;
    }
    return CLUSTER_NONE;
}

enum error cluster_map_finish(struct cluster_map *map)
{
    enum error error = cluster_map_check(map);

    if (error == OK)
        error =
            cluster_order(map, CLUSTER_NAMES(map->members, map->member_count), &map->member_order);
    if (error == OK)
        error =
            cluster_order(map, CLUSTER_NAMES(map->regions, map->region_count), &map->region_order);
    if (error == OK)
        error = cluster_order(map, CLUSTER_NAMES(map->tables, map->table_count), &map->table_order);
    if (error == OK)
        map->is_sealed = true;
    else
        map->member_order = map->region_order = map->table_order = NULL;
    return error;
}

/* ---- Questions ---- */

const struct cluster_region *cluster_map_region(const struct cluster_map *map, struct slice name)
{
    uint32_t i =
        cluster_find(CLUSTER_NAMES(map->regions, map->region_count), map->region_order, name);

    return i == CLUSTER_NONE ? NULL : &map->regions[i];
}

const struct cluster_region *cluster_map_region_by_id(const struct cluster_map *map, uint32_t id)
{
    uint32_t low = 0, high = map->region_count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (map->regions[middle].id == id)
            return &map->regions[middle];
        if (map->regions[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

uint32_t cluster_map_member(const struct cluster_map *map, struct slice name)
{
    return cluster_find(CLUSTER_NAMES(map->members, map->member_count), map->member_order, name);
}

uint32_t cluster_map_member_by_incarnation(const struct cluster_map *map, uint64_t incarnation)
{
    for (uint32_t i = 0; i < map->member_count; i++) {
        if (map->members[i].incarnation == incarnation)
            return i;
    }
    return CLUSTER_NONE;
}

const struct cluster_table *cluster_map_table(const struct cluster_map *map, struct slice name)
{
    uint32_t i = cluster_find(CLUSTER_NAMES(map->tables, map->table_count), map->table_order, name);

    return i == CLUSTER_NONE ? NULL : &map->tables[i];
}

const struct cluster_query *cluster_map_query(const struct cluster_map *map, uint64_t id)
{
    for (uint32_t i = 0; i < map->query_count; i++) {
        if (map->queries[i].id == id)
            return &map->queries[i];
    }
    return NULL;
}

bool cluster_bucket_has(const struct cluster_bucket *bucket, uint32_t member)
{
    for (uint32_t i = 0; i < bucket->in_sync_count; i++) {
        if (bucket->in_sync[i] == member)
            return true;
    }
    return false;
}

uint32_t cluster_map_wanted_copies(const struct cluster_map *map,
                                   const struct cluster_region *region)
{
    uint32_t servers = 0;

    if (region->type != CLUSTER_REPLICATE)
        return region->type == CLUSTER_LOCAL ? 0 : region->redundant_copies + 1;
    for (uint32_t i = 0; i < map->member_count; i++)
        servers += map->members[i].role == CLUSTER_SERVER && map->members[i].state == CLUSTER_UP;
    if (servers > CLUSTER_COPIES_MAX)
        servers = CLUSTER_COPIES_MAX;
    return servers > 0 ? servers : 1;
}

uint32_t cluster_map_serving_copies(const struct cluster_bucket *bucket, const bool *serves)
{
    uint32_t copies = 0;

    for (uint32_t i = 0; i < bucket->in_sync_count; i++)
        copies += serves[bucket->in_sync[i]];
    return copies;
}

uint32_t cluster_map_degraded(const struct cluster_map *map, const struct cluster_region *region,
                              const bool *serves, uint32_t *lost)
{
    uint32_t wanted = cluster_map_wanted_copies(map, region), degraded = 0, none = 0;

    for (uint32_t i = 0; region->buckets != NULL && i < region->bucket_count; i++) {
        const struct cluster_bucket *bucket = &region->buckets[i];
        uint32_t serving = cluster_map_serving_copies(bucket, serves);

        degraded += serving < wanted || bucket->primary == CLUSTER_NONE || !serves[bucket->primary];
        none += serving == 0;
    }
    if (lost != NULL)
        *lost = none;
    return degraded;
}

/* ---- Words ---- */

static const char *const cluster_region_type_words[] = {
    [CLUSTER_PARTITION] = "PARTITION",
    [CLUSTER_PARTITION_REDUNDANT] = "PARTITION_REDUNDANT",
    [CLUSTER_REPLICATE] = "REPLICATE",
    [CLUSTER_LOCAL] = "LOCAL",
};

const char *cluster_region_type_word(enum cluster_region_type type)
{
    return cluster_region_type_words[type];
}

bool cluster_region_type_of_word(struct slice word, enum cluster_region_type *type)
{
    for (uint32_t i = CLUSTER_PARTITION; i <= CLUSTER_LOCAL; i++) {
        if (slice_equal(word, slice_text(cluster_region_type_words[i]))) {
            *type = (enum cluster_region_type)i;
            return true;
        }
    }
    return false;
}

const char *cluster_role_word(enum cluster_role role)
{
    return role == CLUSTER_LOCATOR ? "locator" : "server";
}

const char *cluster_state_word(enum cluster_state state)
{
    static const char *const words[] = {"up", "leaving", "down"};

    return words[state];
}
