/* Changes: each makes a new epoch and leaves the old one alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>

#include "common/limits.h"
#include "protocol/cluster_map.h"
#include "tests/lib/mem_fault.h"

static const uint8_t id[CLUSTER_ID_BYTES] = {1};

static struct cluster_member server(const char *name)
{
    return (struct cluster_member){
        .name = slice_text(name), .host = slice_text("h"), .port = 1, .role = CLUSTER_SERVER};
}

static struct cluster_region partition(const char *name)
{
    return (struct cluster_region){
        .name = slice_text(name), .type = CLUSTER_PARTITION, .bucket_count = 3};
}

/* Three servers, two regions, bucket 0 of the first on servers 0 and 2. The errors of a failing
 * heap come back. */
static enum error build(struct cluster_map **result)
{
    static const char *const names[] = {"a", "b", "c"};
    static const uint32_t in_sync[] = {0, 2};
    struct cluster_bucket bucket = {.generation = 1,
                                    .term = 4,
                                    .set_version = 7,
                                    .primary = 2,
                                    .in_sync = in_sync,
                                    .in_sync_count = 2};
    struct cluster_table table = {slice_text("t"), slice_text("ddl"), slice_text("r")};
    struct cluster_query query = {
        .text = slice_text("q"), .name = slice_text("n"), .owner = slice_text("o")};
    struct cluster_map *map;
    uint32_t index, region_id = 0;
    uint64_t query_id;
    enum error error = cluster_map_new(id, &map);

    if (error != OK)
        return error;
    for (int i = 0; i < 3 && error == OK; i++) {
        struct cluster_member member = server(names[i]);

        error = cluster_map_add_member(map, &member, &index);
    }
    for (int i = 0; i < 2 && error == OK; i++) {
        struct cluster_region region = partition(i == 0 ? "s" : "r");

        error = cluster_map_add_region(map, &region, &region_id);
        if (i == 0 && error == OK)
            error = cluster_map_set_bucket(map, region_id, 0, &bucket);
    }
    if (error == OK)
        error = cluster_map_add_table(map, &table);
    if (error == OK)
        error = cluster_map_add_query(map, &query, &query_id);
    if (error == OK)
        error = cluster_map_seal(map);
    if (error == OK)
        *result = map;
    else
        cluster_map_unref(map);
    return error;
}

static void an_edit_leaves_the_old_map_alone_and_counts_the_epoch(void **state)
{
    static const uint32_t in_sync[] = {1};
    struct cluster_bucket bucket = {
        .generation = 2, .term = 5, .primary = 1, .in_sync = in_sync, .in_sync_count = 1};
    struct cluster_region region = partition("u");
    struct cluster_map *map, *copy;
    uint32_t region_id;

    (void)state;
    assert_int_equal(build(&map), OK);
    assert_int_equal(cluster_map_edit(map, &copy), OK);
    assert_int_equal(copy->epoch, map->epoch + 1);
    assert_int_equal(cluster_map_set_bucket(copy, map->regions[0].id, 0, &bucket), OK);
    assert_int_equal(cluster_map_add_region(copy, &region, &region_id), OK);
    assert_int_equal(cluster_map_seal(copy), OK);
    assert_int_equal(map->region_count, 2);
    assert_int_equal(map->regions[0].buckets[0].primary, 2);
    assert_int_equal(copy->region_count, 3);
    assert_int_equal(copy->regions[0].buckets[0].primary, 1);
    assert_int_equal(copy->regions[0].buckets[0].generation, 2);
    cluster_map_unref(map); /* the copy holds nothing of it */
    assert_true(slice_equal(copy->members[2].name, slice_text("c")));
    assert_non_null(cluster_map_region(copy, slice_text("u")));
    cluster_map_unref(copy);
}

static void region_ids_are_never_used_again(void **state)
{
    struct cluster_region region = partition("r");
    struct cluster_map *map, *copy;
    uint32_t region_id, old;

    (void)state;
    assert_int_equal(build(&map), OK);
    assert_int_equal(cluster_map_edit(map, &copy), OK);
    old = cluster_map_region(copy, slice_text("r"))->id;
    assert_int_equal(cluster_map_add_region(copy, &region, &region_id), ERROR_EXISTS);
    assert_int_equal(cluster_map_remove_region(copy, old), OK);
    assert_int_equal(cluster_map_remove_region(copy, old), ERROR_NOT_FOUND);
    assert_int_equal(cluster_map_add_region(copy, &region, &region_id), OK);
    assert_int_equal(region_id, old + 1);
    assert_int_equal(copy->regions[1].buckets[0].generation, 1);
    assert_int_equal(copy->regions[1].buckets[0].primary, CLUSTER_NONE);
    assert_int_equal(cluster_map_seal(copy), OK);
    cluster_map_unref(copy);
    cluster_map_unref(map);
}

static void a_member_goes_when_no_bucket_names_it_and_the_others_move_up(void **state)
{
    struct cluster_member again = server("a");
    struct cluster_map *map, *copy;
    uint32_t index;

    (void)state;
    assert_int_equal(build(&map), OK);
    assert_int_equal(cluster_map_edit(map, &copy), OK);
    assert_int_equal(cluster_map_remove_member(copy, 0), ERROR_BUSY);
    assert_int_equal(cluster_map_remove_member(copy, 1), OK);
    assert_int_equal(copy->member_count, 2);
    assert_int_equal(copy->regions[0].buckets[0].primary, 1);
    assert_int_equal(copy->regions[0].buckets[0].in_sync[0], 0);
    assert_int_equal(copy->regions[0].buckets[0].in_sync[1], 1);
    assert_int_equal(cluster_map_add_member(copy, &again, &index), ERROR_EXISTS);
    again.name = slice_text("");
    assert_int_equal(cluster_map_add_member(copy, &again, &index), ERROR_INVALID);
    assert_int_equal(cluster_map_seal(copy), OK);
    cluster_map_unref(copy);
    cluster_map_unref(map);
}

static void tables_and_queries_come_and_go(void **state)
{
    struct cluster_table table = {slice_text("t"), slice_text("ddl"), slice_text("r")};
    struct cluster_query query = {
        .text = slice_text("q"), .name = slice_text("n"), .owner = slice_text("o")};
    struct cluster_map *map, *copy;
    uint64_t query_id;

    (void)state;
    assert_int_equal(build(&map), OK);
    assert_int_equal(cluster_map_edit(map, &copy), OK);
    assert_int_equal(cluster_map_add_table(copy, &table), ERROR_EXISTS);
    assert_int_equal(cluster_map_remove_table(copy, slice_text("t")), OK);
    assert_int_equal(cluster_map_remove_table(copy, slice_text("t")), ERROR_NOT_FOUND);
    assert_int_equal(cluster_map_add_table(copy, &table), OK);
    assert_int_equal(cluster_map_add_query(copy, &query, &query_id), ERROR_EXISTS);
    query.owner = slice_text("other"); /* a name is unique for each owner */
    assert_int_equal(cluster_map_add_query(copy, &query, &query_id), OK);
    assert_int_equal(query_id, 2);
    assert_int_equal(cluster_map_remove_query(copy, 1), OK);
    assert_int_equal(cluster_map_remove_query(copy, 1), ERROR_NOT_FOUND);
    assert_int_equal(cluster_map_seal(copy), OK);
    cluster_map_unref(copy);
    cluster_map_unref(map);
}

static void limits_are_kept(void **state)
{
    struct cluster_region region = partition("x");
    struct cluster_map *map;
    uint32_t region_id, index;

    (void)state;
    assert_int_equal(cluster_map_new(id, &map), OK);
    region.bucket_count = LIMIT_BUCKETS + 1;
    assert_int_equal(cluster_map_add_region(map, &region, &region_id), ERROR_LIMIT);
    region.bucket_count = 0;
    assert_int_equal(cluster_map_add_region(map, &region, &region_id), ERROR_LIMIT);
    for (unsigned i = 0; i <= LIMIT_MEMBERS; i++) {
        char name[16];
        struct cluster_member member;

        snprintf(name, sizeof name, "m%u", i);
        member = server(name);
        assert_int_equal(cluster_map_add_member(map, &member, &index),
                         i < LIMIT_MEMBERS ? OK : ERROR_LIMIT);
    }
    cluster_map_unref(map);
}

static void failed_allocations_are_told_and_leak_nothing(void **state)
{
    enum error error = ERROR_MEMORY;
    long before = mem_fault_live();
    struct cluster_map *map = NULL, *copy;

    (void)state;
    for (unsigned long n = 1; error == ERROR_MEMORY; n++) {
        mem_fault_fail_at(n);
        error = build(&map);
        mem_fault_fail_at(0);
        assert_int_equal(error == OK ? before : mem_fault_live(), before);
        assert_true(n < 1000);
    }
    assert_int_equal(error, OK);
    for (unsigned long n = 1;; n++) {
        mem_fault_fail_at(n);
        error = cluster_map_edit(map, &copy);
        mem_fault_fail_at(0);
        if (error == OK)
            break;
        assert_int_equal(error, ERROR_MEMORY);
    }
    cluster_map_unref(copy);
    cluster_map_unref(map);
    assert_int_equal(mem_fault_live(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_edit_leaves_the_old_map_alone_and_counts_the_epoch),
        cmocka_unit_test(region_ids_are_never_used_again),
        cmocka_unit_test(a_member_goes_when_no_bucket_names_it_and_the_others_move_up),
        cmocka_unit_test(tables_and_queries_come_and_go),
        cmocka_unit_test(limits_are_kept),
        cmocka_unit_test(failed_allocations_are_told_and_leak_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
