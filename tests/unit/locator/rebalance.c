/* Levelling copies and primaries. */
#include <stdarg.h>
#include <stdio.h>
#include <setjmp.h>
#include <cmocka.h>

#include "locator/rebalance.h"
#include "tests/lib/mem_fault.h"

/* `before` servers have the region's buckets, `after` more are empty. */
static struct cluster_map *grown(uint32_t before, uint32_t after, uint32_t redundant,
                                 uint32_t buckets)
{
    static const uint8_t id[CLUSTER_ID_BYTES] = {1};
    struct member_eyes eyes = {0};
    struct cluster_map *map;
    uint32_t index, region_id;
    assert_int_equal(cluster_map_new(id, &map), OK);
    for (uint32_t i = 0; i < before + after; i++) {
        char name[24];
        snprintf(name, sizeof(name), "s%u", i);
        struct cluster_member member = {.name = slice_text(name),
                                        .incarnation = i + 1,
                                        .host = slice_text("h"),
                                        .port = 1,
                                        .role = CLUSTER_SERVER};
        assert_int_equal(cluster_map_add_member(map, &member, &index), OK);
        if (i + 1 != before)
            continue;
        struct cluster_region region = {.name = slice_text("r"),
                                        .type = CLUSTER_PARTITION_REDUNDANT,
                                        .redundant_copies = redundant,
                                        .bucket_count = buckets};
        assert_int_equal(cluster_map_add_region(map, &region, &region_id), OK);
        assert_int_equal(member_change_place(map, region_id, &eyes), OK);
    }
    assert_int_equal(cluster_map_seal(map), OK);
    return map;
}

static void carry_out(struct cluster_map *map, const struct placement_list *list)
{
    for (uint32_t i = 0; i < list->count; i++) {
        const struct placement_move *move = &list->moves[i];
        struct placement_order order;
        while (placement_next(map, move, &order) == PLACEMENT_GOES_ON) {
            struct cluster_bucket bucket = map->regions[0].buckets[move->bucket];
            uint32_t set[BUCKET_COPIES_MAX], count = 0;
            uint32_t member = cluster_map_member_by_incarnation(map, order.member);
            for (uint32_t j = 0; j < bucket.in_sync_count; j++)
                if (order.action != PLACEMENT_DROP || bucket.in_sync[j] != member)
                    set[count++] = bucket.in_sync[j];
            if (order.action == PLACEMENT_ADD)
                set[count++] = member;
            if (order.action == PLACEMENT_HAND_OVER)
                bucket.primary = member;
            member_sort(set, count);
            bucket.in_sync = set;
            bucket.in_sync_count = count;
            assert_int_equal(cluster_map_set_bucket(map, 1, move->bucket, &bucket), OK);
        }
        assert_int_equal(placement_next(map, move, &order), PLACEMENT_DONE);
    }
}

static void test_moves_make_copies_and_primaries_level(void **state)
{
    (void)state;
    struct member_eyes eyes = {0};
    for (uint32_t before = 1; before <= 4; before++) {
        for (uint32_t redundant = 0; redundant < 3; redundant++) {
            struct cluster_map *map = grown(before, 3, redundant, 113), *open;
            struct placement_list list = {0};
            struct rebalance_load loads[8] = {{0}};
            assert_int_equal(placement_balance(map, &eyes, &list), OK);
            assert_true(list.count > 0);
            assert_int_equal(cluster_map_edit(map, &open), OK);
            carry_out(open, &list);
            rebalance_look(open, &open->regions[0], &eyes, loads);
            uint32_t copies = open->regions[0].buckets[0].in_sync_count * 113;
            for (uint32_t i = 0; i < before + 3; i++) {
                assert_in_range(loads[i].copies, copies / (before + 3), copies / (before + 3) + 1);
                assert_in_range(loads[i].primaries, 113 / (before + 3), 113 / (before + 3) + 1);
            }
            placement_fini(&list);
            cluster_map_unref(map);
            assert_int_equal(cluster_map_seal(open), OK);
            assert_int_equal(placement_balance(open, &eyes, &list), OK);
            assert_int_equal(list.count, 0); /* what is level stays */
            placement_fini(&list);
            cluster_map_unref(open);
        }
    }
}

static void test_each_failing_allocation_is_told(void **state)
{
    (void)state;
    struct member_eyes eyes = {0};
    long live = mem_fault_live();
    enum error error = ERROR_MEMORY;
    for (unsigned long n = 1; error != OK; n++) {
        struct cluster_map *map = grown(2, 2, 1, 16);
        struct placement_list list = {0};
        mem_fault_fail_at(n);
        error = placement_balance(map, &eyes, &list);
        mem_fault_fail_at(0);
        assert_true(error == OK || error == ERROR_MEMORY);
        placement_fini(&list);
        cluster_map_unref(map);
        assert_int_equal(mem_fault_live(), live);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_moves_make_copies_and_primaries_level),
        cmocka_unit_test(test_each_failing_allocation_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
