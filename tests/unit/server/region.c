#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "server/region.h"
#include "server/server.h"
#include "tests/lib/bucket_lead.h"
#include "tests/lib/fake_net.h"
#include "tests/lib/mem_fault.h"

static const uint8_t cluster_id[CLUSTER_ID_BYTES] = {7};

static void add_region(struct cluster_map *map, const char *name, enum cluster_region_type type,
                       uint32_t bucket_count)
{
    uint32_t id;
    struct cluster_region region = {
        .name = slice_text(name), .type = type, .bucket_count = bucket_count};
    assert_int_equal(cluster_map_add_region(map, &region, &id), OK);
}

static struct cluster_map *sealed(struct cluster_map *map)
{
    assert_int_equal(cluster_map_seal(map), OK);
    return map;
}

static struct cluster_map *map_of(const char *const *names, size_t count)
{
    struct cluster_map *map;
    assert_int_equal(cluster_map_new(cluster_id, &map), OK);
    for (size_t i = 0; i < count; i++)
        add_region(map, names[i], CLUSTER_PARTITION, 3);
    return sealed(map);
}

static struct cluster_map *edited(const struct cluster_map *base)
{
    struct cluster_map *map;
    assert_int_equal(cluster_map_edit(base, &map), OK);
    return map;
}

static uint32_t add_server(struct cluster_map *map, const char *name, uint64_t incarnation)
{
    uint32_t index;
    struct cluster_member member = {.name = slice_text(name),
                                    .incarnation = incarnation,
                                    .host = slice_text("127.0.0.1"),
                                    .port = 1,
                                    .role = CLUSTER_SERVER};
    assert_int_equal(cluster_map_add_member(map, &member, &index), OK);
    return index;
}

static struct catalog *catalog_of(struct catalog *old, struct cluster_map *map)
{
    struct catalog *catalog;
    assert_int_equal(catalog_new(old, map, NULL, 42, NULL, &catalog), OK);
    return catalog;
}

static const struct {
    const char *given;
    const char *found; /* NULL: the failure is `text` */
    const char *text;
} references[] = {
    {"R", "R", NULL},
    {"/R", "R", NULL},
    {"R/", "R", NULL},
    {"/R/", "R", NULL},
    {"other", "other", NULL},
    {"", NULL, "java.lang.IllegalArgumentException: path cannot be empty"},
    {"/", NULL, "java.lang.IllegalArgumentException: path cannot be ' / '"},
    {"//", NULL, "org.apache.geode.cache.RegionDestroyedException: Region not found //"},
    {"//R", NULL, "org.apache.geode.cache.RegionDestroyedException: Region not found //R"},
    {"///R", NULL, "org.apache.geode.cache.RegionDestroyedException: Region not found ///R"},
    {"R//", NULL, "java.lang.IllegalArgumentException: path should not start with a slash"},
    {"/R//", NULL, "java.lang.IllegalArgumentException: path should not start with a slash"},
    {"R//child", NULL, "java.lang.IllegalArgumentException: path should not start with a slash"},
    {"R/child", NULL, "org.apache.geode.cache.RegionDestroyedException: Region not found R/child"},
    {"/R/child/", NULL,
     "org.apache.geode.cache.RegionDestroyedException: Region not found /R/child/"},
    {"nope", NULL, "org.apache.geode.cache.RegionDestroyedException: Region not found nope"},
    {"/nope", NULL, "org.apache.geode.cache.RegionDestroyedException: Region not found /nope"},
    {"nope//x", NULL, "org.apache.geode.cache.RegionDestroyedException: Region not found nope//x"},
    {"r", NULL, "org.apache.geode.cache.RegionDestroyedException: Region not found r"},
    {" R", NULL, "org.apache.geode.cache.RegionDestroyedException: Region not found  R"},
    {"R ", NULL, "org.apache.geode.cache.RegionDestroyedException: Region not found R "},
    {"Ro", NULL, "org.apache.geode.cache.RegionDestroyedException: Region not found Ro"},
};

static void a_reference_is_resolved_as_geode_resolves_it(void **state)
{
    (void)state;
    static const char *const names[] = {"other", "R", "a-region", "Z9"};
    struct cluster_map *map = map_of(names, 4);
    struct catalog *catalog = catalog_of(NULL, map);
    for (size_t i = 0; i < sizeof references / sizeof *references; i++) {
        struct failure failure = {0};
        struct region *region = catalog_resolve(catalog, slice_text(references[i].given), &failure);
        if (references[i].found != NULL) {
            assert_non_null(region);
            assert_string_equal(region->name, references[i].found);
        } else {
            assert_null(region);
            assert_int_equal(failure.code, FAILURE_SERVER_ERROR);
            assert_string_equal(failure.text, references[i].text);
        }
    }
    catalog_unref(catalog);
    cluster_map_unref(map);
}

static void a_destroyed_region_is_not_found(void **state)
{
    (void)state;
    static const char *const names[] = {"R"};
    struct failure failure;
    struct cluster_map *map = map_of(names, 1);
    struct catalog *catalog = catalog_of(NULL, map);
    atomic_store(&catalog_region(catalog, slice_text("R"))->destroyed, true);
    assert_null(catalog_resolve(catalog, slice_text("/R"), &failure));
    assert_string_equal(failure.text,
                        "org.apache.geode.cache.RegionDestroyedException: Region not found /R");
    catalog_unref(catalog);
    cluster_map_unref(map);
}

static void every_region_is_found_by_its_name(void **state)
{
    (void)state;
    struct cluster_map *map;
    char name[16];
    assert_int_equal(cluster_map_new(cluster_id, &map), OK);
    for (unsigned i = 0; i < 50; i++) {
        snprintf(name, sizeof name, "r%u", i * 7919 % 1000);
        add_region(map, name, i % 2 == 0 ? CLUSTER_PARTITION : CLUSTER_REPLICATE, 1 + i % 5);
    }
    struct catalog *catalog = catalog_of(NULL, sealed(map));
    for (unsigned i = 0; i < 50; i++) {
        snprintf(name, sizeof name, "r%u", i * 7919 % 1000);
        struct region *region = catalog_region(catalog, slice_text(name));
        assert_non_null(region);
        assert_string_equal(region->name, name);
        assert_int_equal(region->bucket_count, 1 + i % 5);
        assert_int_equal(region->is_partitioned, i % 2 == 0);
        assert_true(catalog->query.region(catalog->query.arg, slice_text(name)));
    }
    assert_null(catalog_region(catalog, slice_text("r")));
    assert_null(catalog_region(catalog, slice_text("")));
    catalog_unref(catalog);
    cluster_map_unref(map);
}

static void put(struct region *region, uint32_t bucket, const char *key)
{
    region_lead_alone_for_tests(region);
    struct bucket_key stored = {slice_text(key), table_hash(slice_text(key), region->hash_seed)};
    assert_int_equal(bucket_put(&region->buckets[bucket], &stored, slice_text("v"), 1), OK);
}

static void a_newer_catalog_keeps_what_regions_hold(void **state)
{
    (void)state;
    long live = mem_fault_live();
    static const char *const names[] = {"a", "b", "c"};
    struct cluster_map *first = map_of(names, 3);
    struct catalog *old = catalog_of(NULL, first);
    put(catalog_region(old, slice_text("a")), 1, "k");
    put(catalog_region(old, slice_text("b")), 2, "k");
    struct region *a = catalog_region(old, slice_text("a"));
    struct cluster_map *second = edited(first);
    assert_int_equal(
        cluster_map_remove_region(second, cluster_map_region(first, slice_text("b"))->id), OK);
    add_region(second, "d", CLUSTER_PARTITION, 2);
    struct catalog *now = catalog_of(old, sealed(second));
    assert_ptr_equal(catalog_region(now, slice_text("a")), a);
    assert_null(catalog_region(now, slice_text("b")));
    assert_non_null(catalog_region(now, slice_text("d")));
    catalog_unref(old); /* the others live on, b goes with it */
    assert_int_equal(a->buckets[1].table.entry_count, 1);
    /* A region of the same name that was made again is another one, and empty. */
    struct cluster_map *third = edited(second);
    assert_int_equal(cluster_map_remove_region(third, a->id), OK);
    add_region(third, "a", CLUSTER_PARTITION, 3);
    struct catalog *again = catalog_of(now, sealed(third));
    assert_ptr_not_equal(catalog_region(again, slice_text("a")), a);
    assert_int_equal(catalog_region(again, slice_text("a"))->buckets[1].table.entry_count, 0);
    catalog_unref(now);
    catalog_unref(again);
    cluster_map_unref(first);
    cluster_map_unref(second);
    cluster_map_unref(third);
    assert_int_equal(mem_fault_live(), live);
}

static void a_bucket_of_a_new_generation_begins_empty(void **state)
{
    (void)state;
    static const char *const names[] = {"a"};
    struct fake_net *net = fake_net_new();
    struct server server = {.incarnation = 5, .loop = fake_net_loop(net)};
    for (uint32_t lost = 0; lost < 3; lost++) {
        struct cluster_map *bare = map_of(names, 1), *first = edited(bare);
        uint32_t here = add_server(first, "here", server.incarnation);
        for (uint32_t i = 0; i < 3; i++) {
            struct cluster_bucket led = {1, 3, 4, here, 1, &here};
            assert_int_equal(cluster_map_set_bucket(first, bare->regions[0].id, i, &led), OK);
        }
        struct catalog *old = catalog_of(NULL, sealed(first));
        struct region *region = catalog_region(old, slice_text("a"));
        region->server = &server;
        region_adopt(region, first);
        for (uint32_t i = 0; i < 3; i++)
            put(region, i, "k");
        struct cluster_map *second = edited(first);
        struct cluster_bucket bucket = {2, 5, 9, here, 1, &here};
        assert_int_equal(cluster_map_set_bucket(second, region->id, lost, &bucket), OK);
        struct catalog *now = catalog_of(old, sealed(second));
        assert_ptr_equal(catalog_region(now, slice_text("a")), region);
        assert_ptr_equal(catalog_region_by_id(now, region->id), region);
        assert_null(catalog_region_by_id(now, region->id + 1));
        region_adopt(region, second);
        for (uint32_t i = 0; i < 3; i++) {
            assert_int_equal(region->buckets[i].generation, i == lost ? 2 : 1);
            assert_int_equal(region->buckets[i].table.entry_count, i == lost ? 0 : 1);
        }
        assert_int_equal(region->buckets[lost].term, 5);
        assert_int_equal(region->buckets[lost].replica.set_version, 9);
        catalog_unref(now);
        catalog_unref(old);
        cluster_map_unref(bare);
        cluster_map_unref(first);
        cluster_map_unref(second);
    }
    fake_net_free(net);
}

static void a_place_names_incarnations(void **state)
{
    (void)state;
    static const char *const names[] = {"a"};
    struct cluster_map *first = map_of(names, 1), *second = edited(first);
    uint32_t id = first->regions[0].id, members[2];
    for (uint32_t i = 0; i < 2; i++)
        members[i] = add_server(second, i == 0 ? "x" : "y", 70 + i);
    struct cluster_bucket bucket = {1, 3, 4, members[1], 2, members};
    assert_int_equal(cluster_map_set_bucket(second, id, 1, &bucket), OK);
    sealed(second);
    struct region_place place;
    const struct cluster_region *region = cluster_map_region_by_id(second, id);
    assert_int_equal(region_bucket_place(second, region, 1, &place), OK);
    assert_int_equal(place.place.primary, 71);
    assert_int_equal(place.place.term, 3);
    assert_int_equal(place.place.set_version, 4);
    assert_int_equal(place.place.in_sync_count, 2);
    assert_int_equal(place.place.in_sync[0], 70);
    assert_int_equal(place.place.in_sync[1], 71);
    assert_int_equal(region_bucket_place(second, region, 0, &place), OK);
    assert_int_equal(place.place.primary, 0);
    assert_int_equal(place.place.in_sync_count, 0);
    cluster_map_unref(first);
    cluster_map_unref(second);
}

static void every_server_leads_a_local_region_alone(void **state)
{
    (void)state;
    struct server server = {.incarnation = 5};
    struct cluster_map *map;
    assert_int_equal(cluster_map_new(cluster_id, &map), OK);
    add_region(map, "l", CLUSTER_LOCAL, 2);
    sealed(map);
    struct catalog *catalog = catalog_of(NULL, map);
    struct region *region = catalog_region(catalog, slice_text("l"));
    region->server = &server;
    region_adopt(region, map);
    region_adopt(region, map);
    for (uint32_t i = 0; i < 2; i++) {
        assert_true(replica_is_alone(&region->buckets[i].replica));
        assert_true(replica_may_write_locked(&region->buckets[i]));
        assert_true(replica_may_read_locked(&region->buckets[i], 0));
    }
    catalog_unref(catalog);
    cluster_map_unref(map);
}

static void a_local_region_has_buckets_of_its_own(void **state)
{
    (void)state;
    struct cluster_map *map;
    assert_int_equal(cluster_map_new(cluster_id, &map), OK);
    add_region(map, "here", CLUSTER_LOCAL, 4);
    struct catalog *first = catalog_of(NULL, sealed(map)), *second = catalog_of(first, map);
    struct region *region = catalog_region(first, slice_text("here"));
    assert_int_equal(region->bucket_count, 4);
    assert_int_equal(region->buckets[3].generation, 1);
    assert_ptr_equal(catalog_region(second, slice_text("here")), region);
    catalog_unref(first);
    catalog_unref(second);
    cluster_map_unref(map);
}

static void a_table_is_known_and_a_damaged_one_left_out(void **state)
{
    (void)state;
    struct cluster_map *map;
    assert_int_equal(cluster_map_new(cluster_id, &map), OK);
    add_region(map, "my_region", CLUSTER_PARTITION, 2);
    const char *good =
        "CREATE TABLE t (id STRING, temperature DOUBLE) WITH ('connector'='geode-region',"
        "'region'='my_region')";
    struct cluster_table tables[] = {
        {.name = slice_text("t"), .ddl = slice_text(good), .region = slice_text("my_region")},
        {.name = slice_text("bad"),
         .ddl = slice_text("CREATE TABLE ("),
         .region = slice_text("my_region")},
        {.name = slice_text("worse"),
         .ddl = slice_text("SHOW TABLES"),
         .region = slice_text("my_region")},
    };
    for (int i = 0; i < 3; i++)
        assert_int_equal(cluster_map_add_table(map, &tables[i]), OK);
    struct catalog *catalog = catalog_of(NULL, sealed(map));
    assert_int_equal(catalog->table_count, 1);
    const struct query_table *table = catalog->query.table(catalog->query.arg, slice_text("t"));
    assert_non_null(table);
    assert_int_equal(table->column_count, 2);
    assert_string_equal(table->region, "my_region");
    assert_null(catalog->query.table(catalog->query.arg, slice_text("bad")));
    catalog_unref(catalog);
    cluster_map_unref(map);
}

static void a_catalog_is_whole_or_not_made(void **state)
{
    (void)state;
    static const char *const names[] = {"a", "b"};
    struct cluster_map *first = map_of(names, 2);
    struct catalog *old = catalog_of(NULL, first), *catalog = NULL;
    struct cluster_map *second = edited(first);
    add_region(second, "c", CLUSTER_PARTITION, 5);
    struct cluster_table table = {
        .name = slice_text("t"),
        .ddl =
            slice_text("CREATE TABLE t (id STRING) WITH ('connector'='geode-region','region'='a')"),
        .region = slice_text("a")};
    assert_int_equal(cluster_map_add_table(second, &table), OK);
    sealed(second);
    long live = mem_fault_live();
    enum error error = ERROR_MEMORY;
    for (unsigned n = 1; error != OK; n++) {
        mem_fault_fail_at(n);
        error = catalog_new(old, second, NULL, 42, NULL, &catalog);
        mem_fault_fail_at(0);
        if (error != OK) {
            assert_int_equal(error, ERROR_MEMORY);
            assert_int_equal(mem_fault_live(), live);
        }
    }
    assert_int_equal(catalog->region_count, 3);
    assert_int_equal(catalog->table_count, 1);
    catalog_unref(catalog);
    catalog_unref(old);
    cluster_map_unref(first);
    cluster_map_unref(second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reference_is_resolved_as_geode_resolves_it),
        cmocka_unit_test(a_destroyed_region_is_not_found),
        cmocka_unit_test(every_region_is_found_by_its_name),
        cmocka_unit_test(a_newer_catalog_keeps_what_regions_hold),
        cmocka_unit_test(a_bucket_of_a_new_generation_begins_empty),
        cmocka_unit_test(a_place_names_incarnations),
        cmocka_unit_test(every_server_leads_a_local_region_alone),
        cmocka_unit_test(a_local_region_has_buckets_of_its_own),
        cmocka_unit_test(a_table_is_known_and_a_damaged_one_left_out),
        cmocka_unit_test(a_catalog_is_whole_or_not_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
