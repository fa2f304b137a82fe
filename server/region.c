#include "server/region.h"

#include <stdlib.h>

#include "common/mem.h"
#include "server/server.h"

struct region *region_ref(struct region *region)
{
    atomic_fetch_add_explicit(&region->refs, 1, memory_order_relaxed);
    return region;
}

void region_unref(struct region *region)
{
    if (region == NULL || atomic_fetch_sub_explicit(&region->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (uint32_t i = 0; i < region->bucket_count && region->buckets != NULL; i++) {
        if (region->buckets[i].region != NULL)
            replica_fini(&region->buckets[i]);
        bucket_fini(&region->buckets[i]);
    }
    mem_free(region->buckets);
    mem_free(region->name);
    mem_free(region);
}

/* What the map says of a bucket; of those of a LOCAL region it says nothing. */
static struct cluster_bucket place_of(const struct cluster_region *region, uint32_t bucket)
{
    return region->buckets == NULL ? (struct cluster_bucket){.generation = 1}
                                   : region->buckets[bucket];
}

static enum error region_new(const struct cluster_region *from, struct server *server,
                             uint64_t hash_seed, struct region **region)
{
    struct region *made = mem_zalloc(sizeof *made);
    if (made == NULL)
        return ERROR_MEMORY;
    atomic_init(&made->refs, 1);
    made->id = from->id;
    made->server = server;
    made->type = from->type;
    made->is_partitioned =
        from->type == CLUSTER_PARTITION || from->type == CLUSTER_PARTITION_REDUNDANT;
    made->key_constraint = from->key_constraint;
    made->value_constraint = from->value_constraint;
    made->hash_seed = hash_seed;
    made->name = mem_strndup((const char *)from->name.data, from->name.len);
    made->buckets = mem_array(from->bucket_count, sizeof *made->buckets);
    if (made->name == NULL || made->buckets == NULL)
        goto err;
    made->bucket_count = from->bucket_count;
    for (uint32_t i = 0; i < from->bucket_count; i++) {
        struct cluster_bucket place = place_of(from, i);
        if (bucket_init(&made->buckets[i], made, i, place.generation, place.term) != OK)
            goto err;
    }
    *region = made;
    return OK;

err:
    region_unref(made);
    return ERROR_MEMORY;
}

/* The region that `old` holds for this entry of the map. */
static struct region *carried_over(const struct catalog *old, const struct cluster_region *from)
{
    if (old == NULL)
        return NULL;
    struct region *region = catalog_region(old, from->name);
    return region == NULL || region->id != from->id || region->bucket_count != from->bucket_count
               ? NULL
               : region;
}

static int slice_order(struct slice a, struct slice b)
{
    int order = memcmp(a.data, b.data, a.len < b.len ? a.len : b.len);
    return order != 0 ? order : a.len < b.len ? -1 : a.len > b.len;
}

static int by_region_name(const void *a, const void *b)
{
    return strcmp((*(struct region *const *)a)->name, (*(struct region *const *)b)->name);
}

static int by_table_name(const void *a, const void *b)
{
    return strcmp((*(struct query_table *const *)a)->name, (*(struct query_table *const *)b)->name);
}

struct region *catalog_region(const struct catalog *catalog, struct slice name)
{
    uint32_t low = 0, high = catalog->region_count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        int order = slice_order(name, slice_text(catalog->regions[middle]->name));
        if (order == 0)
            return catalog->regions[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

struct region *catalog_region_by_id(const struct catalog *catalog, uint32_t id)
{
    const struct cluster_region *named = cluster_map_region_by_id(catalog->map, id);
    struct region *region = named == NULL ? NULL : catalog_region(catalog, named->name);
    return region == NULL || region->id != id ? NULL : region;
}

/* ---- Places ---- */

enum error region_bucket_place(const struct cluster_map *map, const struct cluster_region *region,
                               uint32_t bucket, struct region_place *place)
{
    const struct cluster_bucket *from = &region->buckets[bucket];
    if (from->in_sync_count > REPLICA_COPIES_MAX)
        return ERROR_LIMIT;
    for (uint32_t i = 0; i < from->in_sync_count; i++)
        place->in_sync[i] = map->members[from->in_sync[i]].incarnation;
    place->place = (struct replica_place){
        .generation = from->generation,
        .term = from->term,
        .set_version = from->set_version,
        .primary = from->primary == CLUSTER_NONE ? 0 : map->members[from->primary].incarnation,
        .in_sync = place->in_sync,
        .in_sync_count = from->in_sync_count};
    return OK;
}

static void adopt_bucket_locked(struct bucket *bucket, const struct cluster_map *map,
                                const struct cluster_region *named)
{
    struct region_place place;
    enum error error = region_bucket_place(map, named, bucket->id, &place);
    if (error == OK)
        error = replica_adopt_locked(bucket, &place.place);
    bucket->replica.is_stalled = error != OK;
}

void region_adopt(struct region *region, const struct cluster_map *map)
{
    const struct cluster_region *named = cluster_map_region_by_id(map, region->id);
    PRE(named != NULL && named->bucket_count == region->bucket_count);
    for (uint32_t i = 0; i < region->bucket_count; i++) {
        struct bucket *bucket = &region->buckets[i];
        bucket_lock(bucket);
        if (named->buckets == NULL)
            replica_lead_alone_locked(bucket);
        else
            adopt_bucket_locked(bucket, map, named);
        bucket_unlock(bucket);
    }
}

void region_adopt_again_locked(struct bucket *bucket)
{
    const struct catalog *catalog = bucket->region->server->catalog;
    const struct cluster_region *named =
        catalog == NULL ? NULL : cluster_map_region_by_id(catalog->map, bucket->region->id);
    if (named != NULL && named->buckets != NULL)
        adopt_bucket_locked(bucket, catalog->map, named);
}

void region_destroy(struct region *region)
{
    atomic_store(&region->destroyed, true);
    for (uint32_t i = 0; i < region->bucket_count; i++)
        replica_on_destroyed(&region->buckets[i]);
}

static const struct query_table *find_table(void *arg, struct slice name)
{
    const struct catalog *catalog = arg;
    for (uint32_t i = 0; i < catalog->table_count; i++)
        if (slice_equal(slice_text(catalog->tables[i]->name), name))
            return catalog->tables[i];
    return NULL;
}

static bool has_region(void *arg, struct slice name)
{
    return catalog_region(arg, name) != NULL;
}

static void each_name(void *arg, void (*visit)(void *visit_arg, const char *name), void *visit_arg)
{
    const struct catalog *catalog = arg;
    for (uint32_t i = 0; i < catalog->table_count; i++)
        visit(visit_arg, catalog->tables[i]->name);
    for (uint32_t i = 0; i < catalog->region_count; i++)
        visit(visit_arg, catalog->regions[i]->name);
}

static enum error load_table(struct slice ddl, struct query_table **table)
{
    struct arena arena;
    arena_init(&arena, LIMIT_ARENA_BYTES);
    struct query_statement statement;
    struct query_error why;
    enum error error = query_parse(ddl, &arena, &statement, &why);
    if (error == OK && statement.kind != QUERY_CREATE_TABLE)
        error = ERROR_MALFORMED;
    if (error == OK) {
        *table = query_table_copy(&statement.table);
        error = *table == NULL ? ERROR_MEMORY : OK;
    }
    arena_fini(&arena);
    return error == ERROR_INVALID ? ERROR_MALFORMED : error;
}

enum error catalog_new(struct catalog *old, struct cluster_map *map, struct server *server,
                       uint64_t hash_seed, struct log *log, struct catalog **catalog)
{
    enum error error = ERROR_MEMORY;
    struct catalog *made = mem_zalloc(sizeof *made);
    if (made == NULL)
        return ERROR_MEMORY;
    atomic_init(&made->refs, 1);
    made->map = cluster_map_ref(map);
    made->query = (struct query_catalog){find_table, has_region, each_name, made};
    made->regions = mem_array(map->region_count + 1, sizeof(struct region *));
    made->tables = mem_array(map->table_count + 1, sizeof(struct query_table *));
    if (made->regions == NULL || made->tables == NULL)
        goto err;
    for (uint32_t i = 0; i < map->region_count; i++) {
        struct region *region = carried_over(old, &map->regions[i]);
        if (region != NULL)
            region_ref(region);
        else if ((error = region_new(&map->regions[i], server, hash_seed, &region)) != OK)
            goto err;
        made->regions[made->region_count++] = region;
    }
    for (uint32_t i = 0; i < map->table_count; i++) {
        struct query_table *table = NULL;
        error = load_table(map->tables[i].ddl, &table);
        if (error == ERROR_MALFORMED) {
            log_line(log, LOG_ERROR, "catalog", "VG1401",
                     "table %.*s of the cluster map cannot be read; it is left out",
                     SLICE_FMT(map->tables[i].name));
            continue;
        }
        if (error != OK)
            goto err;
        made->tables[made->table_count++] = table;
    }
    qsort(made->regions, made->region_count, sizeof *made->regions, by_region_name);
    qsort(made->tables, made->table_count, sizeof *made->tables, by_table_name);
    *catalog = made;
    return OK;

err:
    catalog_unref(made);
    return error;
}

struct catalog *catalog_ref(struct catalog *catalog)
{
    atomic_fetch_add_explicit(&catalog->refs, 1, memory_order_relaxed);
    return catalog;
}

void catalog_unref(struct catalog *catalog)
{
    if (catalog == NULL || atomic_fetch_sub_explicit(&catalog->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (uint32_t i = 0; i < catalog->region_count; i++)
        region_unref(catalog->regions[i]);
    for (uint32_t i = 0; i < catalog->table_count; i++)
        query_table_free(catalog->tables[i]);
    mem_free(catalog->regions);
    mem_free(catalog->tables);
    cluster_map_unref(catalog->map);
    mem_free(catalog);
}

/* Strips one leading slash, then the name goes up to the next slash; there are no sub-regions here,
 * so all that may follow is one trailing slash (captured from a real Geode: "//R" is not found,
 * "R//" and "R//x" are malformed, "R/x" is not found). */
struct region *catalog_resolve(const struct catalog *catalog, struct slice reference,
                               struct failure *failure)
{
    if (reference.len == 0) {
        failure_set(failure, FAILURE_SERVER_ERROR,
                    "java.lang.IllegalArgumentException: path cannot be empty");
        return NULL;
    }
    if (reference.len == 1 && reference.data[0] == '/') {
        failure_set(failure, FAILURE_SERVER_ERROR,
                    "java.lang.IllegalArgumentException: path cannot be ' / '");
        return NULL;
    }
    struct slice name = reference;
    if (name.data[0] == '/')
        name = slice_of(name.data + 1, name.len - 1);
    const uint8_t *slash = memchr(name.data, '/', name.len);
    struct slice rest = slice_of(NULL, 0);
    if (slash != NULL) {
        rest = slice_of(slash + 1, name.len - (size_t)(slash - name.data) - 1);
        name.len = (size_t)(slash - name.data);
    }
    struct region *region = name.len == 0 ? NULL : catalog_region(catalog, name);
    if (region != NULL && rest.len == 0 &&
        !atomic_load_explicit(&region->destroyed, memory_order_relaxed))
        return region;
    if (region != NULL && rest.len > 0 && rest.data[0] == '/')
        failure_set(failure, FAILURE_SERVER_ERROR,
                    "java.lang.IllegalArgumentException: path should not start with a slash");
    else
        failure_set(failure, FAILURE_SERVER_ERROR, FAILURE_REGION_NOT_FOUND, SLICE_FMT(reference));
    return NULL;
}
