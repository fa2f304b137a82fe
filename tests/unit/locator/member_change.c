/* Joins and departures as changes of a map, without anybody connected. */
#include <stdarg.h>
#include <stdio.h>
#include <setjmp.h>
#include <cmocka.h>

#include "locator/member_change.h"
#include "tests/lib/mem_fault.h"

static struct cluster_member server_named(const char *name, uint64_t incarnation)
{
    return (struct cluster_member){.name = slice_text(name),
                                   .incarnation = incarnation,
                                   .host = slice_text("10.0.0.1"),
                                   .port = 40404,
                                   .role = CLUSTER_SERVER};
}

/* Two regions of 5 and 3 buckets, and two servers: "a" has the primaries of both. "b", if
 * `with_copies`, a copy of the first region's buckets. */
static struct cluster_map *example(bool with_copies)
{
    static const uint8_t id[CLUSTER_ID_BYTES] = {1};
    struct cluster_map *map;
    struct cluster_member a = server_named("a", 1), b = server_named("b", 2);
    uint32_t index, region_id;
    assert_int_equal(cluster_map_new(id, &map), OK);
    assert_int_equal(cluster_map_add_member(map, &a, &index), OK);
    for (uint32_t i = 0; i < 2; i++) {
        struct cluster_region region = {.name = slice_text(i == 0 ? "r" : "s"),
                                        .type = CLUSTER_PARTITION,
                                        .bucket_count = i == 0 ? 5 : 3};
        assert_int_equal(cluster_map_add_region(map, &region, &region_id), OK);
        assert_int_equal(member_change_place(map, region_id), OK);
    }
    assert_int_equal(cluster_map_add_member(map, &b, &index), OK);
    for (uint32_t i = 0; with_copies && i < 5; i++) {
        static const uint32_t both[] = {0, 1};
        struct cluster_bucket bucket = map->regions[0].buckets[i];
        bucket.in_sync = both;
        bucket.in_sync_count = 2;
        bucket.set_version++;
        assert_int_equal(cluster_map_set_bucket(map, map->regions[0].id, i, &bucket), OK);
    }
    return map;
}

static void assert_bucket(const struct cluster_map *map, uint32_t region, uint32_t bucket,
                          uint32_t generation, uint32_t term, uint32_t set_version,
                          uint32_t primary)
{
    const struct cluster_bucket *found = &map->regions[region].buckets[bucket];
    assert_int_equal(found->generation, generation);
    assert_int_equal(found->term, term);
    assert_int_equal(found->set_version, set_version);
    assert_int_equal(found->primary, primary);
}

static void finish(struct cluster_map *map)
{
    assert_int_equal(cluster_map_seal(map), OK);
    cluster_map_unref(map);
}

static void test_replacing_the_only_copy_counts_everything_once(void **state)
{
    (void)state;
    struct cluster_map *map = example(false);
    struct cluster_member newcomer = server_named("a", 9);
    uint32_t lost;
    assert_int_equal(member_change_join(map, &newcomer, 1, &lost), OK);
    assert_int_equal(lost, 8);
    assert_int_equal(cluster_map_member_by_incarnation(map, 1), CLUSTER_NONE);
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(map->regions[0].buckets[i].generation, 2);
    assert_bucket(map, 1, 2, 2, 2, 2, map->regions[1].buckets[2].primary);
    finish(map);
}

static void test_empty_buckets_are_spread_over_the_servers_that_are_up(void **state)
{
    (void)state;
    struct cluster_map *map = example(false);
    struct cluster_member newcomer = server_named("c", 9);
    uint32_t lost, counts[2] = {0};
    assert_int_equal(member_change_join(map, &newcomer, 1, &lost), OK);
    for (uint32_t i = 0; i < 5; i++)
        counts[map->regions[0].buckets[i].primary]++;
    assert_true(counts[0] >= 2 && counts[1] >= 2);
    finish(map);
    map = example(false);
    cluster_map_set_member_state(map, 1, CLUSTER_DOWN);
    assert_int_equal(member_change_join(map, &newcomer, 1, &lost), OK);
    for (uint32_t i = 0; i < 5; i++)
        assert_bucket(map, 0, i, 2, 2, 2, 1);
    finish(map);
}

static void test_leaving_redundant_copy_keeps_the_contents(void **state)
{
    (void)state;
    struct cluster_map *map = example(true);
    uint32_t lost;
    assert_int_equal(member_change_leave(map, 2, &lost), OK);
    assert_int_equal(lost, 0);
    for (uint32_t i = 0; i < 5; i++)
        assert_bucket(map, 0, i, 1, 1, 3, 0);
    assert_bucket(map, 1, 0, 1, 1, 1, 0);
    assert_int_equal(map->member_count, 1);
    finish(map);
}

static void test_leaving_last_copy_ends_the_generation(void **state)
{
    (void)state;
    struct cluster_map *map = example(false);
    uint32_t lost;
    assert_int_equal(member_change_leave(map, 1, &lost), OK);
    assert_int_equal(lost, 8);
    assert_bucket(map, 0, 0, 2, 1, 2, CLUSTER_NONE);
    finish(map);
}

static void test_primary_with_copies_is_not_replaced_without_a_failover(void **state)
{
    (void)state;
    struct cluster_map *map = example(true);
    struct cluster_member newcomer = server_named("c", 9);
    uint32_t lost;
    assert_int_equal(member_change_join(map, &newcomer, 1, &lost), ERROR_UNSUPPORTED);
    cluster_map_unref(map);
    map = example(true);
    assert_int_equal(member_change_leave(map, 1, &lost), ERROR_UNSUPPORTED);
    cluster_map_unref(map);
}

static void test_unknown_incarnations_and_taken_names_are_errors(void **state)
{
    (void)state;
    struct cluster_map *map = example(false);
    struct cluster_member newcomer = server_named("b", 9);
    uint32_t lost;
    assert_int_equal(member_change_leave(map, 77, &lost), ERROR_NOT_FOUND);
    assert_int_equal(member_change_join(map, &newcomer, 77, &lost), ERROR_NOT_FOUND);
    assert_int_equal(member_change_join(map, &newcomer, 0, &lost), ERROR_EXISTS);
    assert_true(member_change_holds_buckets(map, 0));
    assert_false(member_change_holds_buckets(map, 1));
    cluster_map_unref(map);
}

static void test_each_failing_allocation_is_told(void **state)
{
    (void)state;
    long live = mem_fault_live();
    struct cluster_member newcomer = server_named("c", 9);
    enum error error = ERROR_MEMORY;
    for (unsigned long n = 1; error != OK; n++) {
        struct cluster_map *map = example(false);
        uint32_t lost;
        mem_fault_fail_at(n);
        error = member_change_join(map, &newcomer, 1, &lost);
        mem_fault_fail_at(0);
        assert_true(error == OK || error == ERROR_MEMORY);
        cluster_map_unref(map);
        assert_int_equal(mem_fault_live(), live);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replacing_the_only_copy_counts_everything_once),
        cmocka_unit_test(test_empty_buckets_are_spread_over_the_servers_that_are_up),
        cmocka_unit_test(test_leaving_redundant_copy_keeps_the_contents),
        cmocka_unit_test(test_leaving_last_copy_ends_the_generation),
        cmocka_unit_test(test_primary_with_copies_is_not_replaced_without_a_failover),
        cmocka_unit_test(test_unknown_incarnations_and_taken_names_are_errors),
        cmocka_unit_test(test_each_failing_allocation_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
