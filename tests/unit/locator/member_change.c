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
        assert_int_equal(member_change_place(map, region_id, &(struct member_eyes){0}), OK);
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

/* Who is seen how, by incarnation 1 to 9. */
static unsigned look(const void *arg, uint64_t incarnation)
{
    const unsigned *sights = arg;
    return incarnation < 10 ? sights[incarnation] : 0;
}

static enum error depart(struct cluster_map *map, const unsigned *sights,
                         struct member_loss losses[10], bool *changed)
{
    struct member_eyes eyes = {look, sights};
    assert_true(map->member_count < 10);
    bool can = member_change_can_depart(map, &eyes);
    enum error error = member_change_depart(map, &eyes, losses, changed);
    assert_true(error != OK || can == *changed);
    return error;
}

static void test_last_copy_gone_starts_empty_elsewhere_in_one_change(void **state)
{
    (void)state;
    struct cluster_map *map = example(false);
    unsigned sights[10] = {[1] = MEMBER_SEEN_GONE};
    struct member_loss losses[10];
    bool changed;
    assert_int_equal(depart(map, sights, losses, &changed), OK);
    assert_true(changed);
    assert_true(losses[0].struck);
    assert_int_equal(losses[0].lost, 8);
    assert_int_equal(map->member_count, 1);
    for (uint32_t i = 0; i < 5; i++)
        assert_bucket(map, 0, i, 2, 2, 2, 0);
    finish(map);
}

static void test_nobody_there_leaves_the_bucket_without_a_primary(void **state)
{
    (void)state;
    struct cluster_map *map = example(false);
    unsigned sights[10] = {[1] = MEMBER_SEEN_GONE, [2] = MEMBER_SEEN_AWAY};
    struct member_loss losses[10];
    struct member_eyes well = {0};
    bool changed;
    uint32_t placed;
    assert_int_equal(depart(map, sights, losses, &changed), OK);
    assert_bucket(map, 0, 0, 2, 1, 2, CLUSTER_NONE);
    assert_true(member_change_can_place(map, &well));
    assert_int_equal(member_change_place_all(map, &well, &placed), OK);
    assert_int_equal(placed, 8);
    assert_bucket(map, 0, 0, 2, 2, 3, 0);
    assert_false(member_change_can_place(map, &well));
    finish(map);
}

static void test_nothing_is_lost_while_somebody_reports_a_link(void **state)
{
    (void)state;
    struct cluster_map *map = example(false);
    unsigned sights[10] = {[1] = MEMBER_SEEN_GONE | MEMBER_SEEN_LINKED};
    struct member_loss losses[10];
    bool changed;
    assert_int_equal(depart(map, sights, losses, &changed), OK);
    assert_bucket(map, 0, 0, 1, 1, 1, 0);
    assert_int_equal(map->members[0].state, CLUSTER_DOWN); /* and nothing else */
    assert_int_equal(losses[0].lost, 0);
    assert_int_equal(depart(map, sights, losses, &changed), OK);
    assert_false(changed);
    finish(map);
}

static void test_gone_redundant_copy_leaves_the_set(void **state)
{
    (void)state;
    struct cluster_map *map = example(true);
    unsigned sights[10] = {[2] = MEMBER_SEEN_GONE};
    struct member_loss losses[10];
    bool changed;
    assert_int_equal(depart(map, sights, losses, &changed), OK);
    assert_int_equal(losses[1].dropped, 5);
    assert_int_equal(losses[1].lost, 0);
    for (uint32_t i = 0; i < 5; i++)
        assert_bucket(map, 0, i, 1, 1, 3, 0);
    assert_bucket(map, 1, 0, 1, 1, 1, 0);
    assert_int_equal(map->member_count, 1);
    finish(map);
}

static void test_primary_with_copies_waits_for_them_to_seal(void **state)
{
    (void)state;
    struct cluster_map *map = example(true);
    unsigned sights[10] = {[1] = MEMBER_SEEN_GONE};
    struct member_eyes eyes = {look, sights};
    struct member_loss losses[10];
    bool changed;
    assert_true(member_change_needs_failover(map, &eyes, 1));
    assert_false(member_change_needs_failover(map, &eyes, 2));
    assert_int_equal(depart(map, sights, losses, &changed), OK);
    for (uint32_t i = 0; i < 5; i++)
        assert_bucket(map, 0, i, 1, 1, 2, 0);
    assert_bucket(map, 1, 0, 2, 2, 2, 1); /* no other copy: lost */
    assert_int_equal(map->member_count, 2);
    finish(map);
}

static void test_all_copies_gone_lose_the_contents_together(void **state)
{
    (void)state;
    struct cluster_map *map = example(true);
    struct cluster_member c = server_named("c", 3);
    unsigned sights[10] = {[1] = MEMBER_SEEN_GONE, [2] = MEMBER_SEEN_GONE};
    struct member_loss losses[10];
    bool changed;
    uint32_t index;
    assert_int_equal(cluster_map_add_member(map, &c, &index), OK);
    assert_int_equal(depart(map, sights, losses, &changed), OK);
    assert_int_equal(map->member_count, 1);
    assert_bucket(map, 0, 0, 2, 2, 3, 0);
    assert_int_equal(losses[0].lost, 8);
    assert_true(losses[0].struck && losses[1].struck && !losses[2].struck);
    finish(map);
}

static void test_joining_places_what_waits_and_refuses_taken_names(void **state)
{
    (void)state;
    struct member_eyes eyes = {0};
    struct cluster_map *map = example(false);
    struct cluster_member newcomer = server_named("b", 9);
    assert_int_equal(member_change_join(map, &newcomer, &eyes), ERROR_EXISTS);
    assert_true(member_change_holds_buckets(map, 0));
    assert_false(member_change_holds_buckets(map, 1));
    cluster_map_unref(map);
}

/* Copies and primaries level, a bucket's copies apart, whatever was there before. */
static void test_new_regions_are_spread_evenly(void **state)
{
    (void)state;
    static const uint8_t id[CLUSTER_ID_BYTES] = {1};
    struct member_eyes eyes = {0};
    for (uint32_t servers = 1; servers <= 12; servers++) {
        for (uint32_t redundant = 0; redundant < 5; redundant++) {
            struct cluster_map *map;
            uint32_t index, region_id, copies[12] = {0}, primaries[12] = {0};
            struct cluster_region region = {.name = slice_text("r"),
                                            .type = CLUSTER_PARTITION_REDUNDANT,
                                            .redundant_copies = redundant,
                                            .bucket_count = 113};
            assert_int_equal(cluster_map_new(id, &map), OK);
            for (uint32_t i = 0; i < servers; i++) {
                char name[8];
                snprintf(name, sizeof(name), "s%u", i);
                struct cluster_member member = server_named(name, i + 1);
                assert_int_equal(cluster_map_add_member(map, &member, &index), OK);
            }
            assert_int_equal(cluster_map_add_region(map, &region, &region_id), OK);
            assert_int_equal(member_change_place(map, region_id, &eyes), OK);
            uint32_t wanted = redundant + 1 < servers ? redundant + 1 : servers;
            for (uint32_t i = 0; i < 113; i++) {
                const struct cluster_bucket *bucket = &map->regions[0].buckets[i];
                assert_int_equal(bucket->in_sync_count, wanted);
                primaries[bucket->primary]++;
                for (uint32_t j = 0; j < wanted; j++)
                    copies[bucket->in_sync[j]]++;
            }
            for (uint32_t i = 0; i < servers; i++) {
                assert_in_range(copies[i], 113 * wanted / servers,
                                (113 * wanted + servers - 1) / servers);
                assert_in_range(primaries[i], 113 / servers, (113 + servers - 1) / servers);
            }
            finish(map);
        }
    }
}

static void test_each_failing_allocation_is_told(void **state)
{
    (void)state;
    long live = mem_fault_live();
    unsigned sights[10] = {[1] = MEMBER_SEEN_GONE};
    enum error error = ERROR_MEMORY;
    for (unsigned long n = 1; error != OK; n++) {
        struct cluster_map *map = example(false);
        struct member_loss losses[10];
        bool changed;
        mem_fault_fail_at(n);
        error = depart(map, sights, losses, &changed);
        mem_fault_fail_at(0);
        assert_true(error == OK || error == ERROR_MEMORY);
        cluster_map_unref(map);
        assert_int_equal(mem_fault_live(), live);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_last_copy_gone_starts_empty_elsewhere_in_one_change),
        cmocka_unit_test(test_nobody_there_leaves_the_bucket_without_a_primary),
        cmocka_unit_test(test_nothing_is_lost_while_somebody_reports_a_link),
        cmocka_unit_test(test_gone_redundant_copy_leaves_the_set),
        cmocka_unit_test(test_primary_with_copies_waits_for_them_to_seal),
        cmocka_unit_test(test_all_copies_gone_lose_the_contents_together),
        cmocka_unit_test(test_joining_places_what_waits_and_refuses_taken_names),
        cmocka_unit_test(test_new_regions_are_spread_evenly),
        cmocka_unit_test(test_each_failing_allocation_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
