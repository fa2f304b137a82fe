/* Where copies should be: properties of plans over seeded random maps. */
#include <stdarg.h>
#include <stdio.h>
#include <setjmp.h>
#include <cmocka.h>

#include "locator/placement.h"
#include "tests/lib/mem_fault.h"

enum { MEMBERS_MAX = 12 };

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static unsigned look(const void *arg, uint64_t incarnation)
{
    return ((const unsigned *)arg)[incarnation];
}

/* Some servers, of which some leave; one or two regions, placed before the last of them came. */
static struct cluster_map *random_map(uint64_t *seed, uint32_t servers)
{
    static const uint8_t id[CLUSTER_ID_BYTES] = {1};
    static const enum cluster_region_type types[] = {CLUSTER_PARTITION, CLUSTER_PARTITION_REDUNDANT,
                                                     CLUSTER_REPLICATE};
    struct member_eyes eyes = {0};
    struct cluster_map *map;
    uint32_t index, region_id, late = (uint32_t)(next_random(seed) % servers);
    assert_int_equal(cluster_map_new(id, &map), OK);
    for (uint32_t i = 0; i < servers; i++) {
        char name[24];
        snprintf(name, sizeof(name), "s%u", i);
        struct cluster_member member = {.name = slice_text(name),
                                        .incarnation = i + 1,
                                        .host = slice_text("h"),
                                        .port = 1,
                                        .role = CLUSTER_SERVER};
        assert_int_equal(cluster_map_add_member(map, &member, &index), OK);
        if (i != servers - 1 - late)
            continue;
        for (uint32_t j = 0; j < 2; j++) {
            enum cluster_region_type type = types[next_random(seed) % 3];
            struct cluster_region region = {
                .name = slice_text(j == 0 ? "r" : "s"),
                .type = type,
                .redundant_copies =
                    type == CLUSTER_PARTITION_REDUNDANT ? 1 + (uint32_t)(next_random(seed) % 4) : 0,
                .bucket_count = 1 + (uint32_t)(next_random(seed) % 40)};
            assert_int_equal(cluster_map_add_region(map, &region, &region_id), OK);
            assert_int_equal(member_change_place(map, region_id, &eyes), OK);
        }
    }
    for (uint32_t i = 1; i < servers; i++)
        if (next_random(seed) % 5 == 0)
            cluster_map_set_member_state(map, i, CLUSTER_LEAVING);
    return map;
}

/* Does what a primary would do about an order, and checks that it may. */
static void obey(struct cluster_map *map, const struct placement_move *move,
                 const struct placement_order *order)
{
    const struct cluster_region *region = cluster_map_region_by_id(map, move->region_id);
    struct cluster_bucket bucket = region->buckets[move->bucket];
    uint32_t set[BUCKET_COPIES_MAX + 1], count = 0;
    uint32_t member = cluster_map_member_by_incarnation(map, order->member);
    assert_int_equal(order->primary, map->members[bucket.primary].incarnation);
    for (uint32_t i = 0; i < bucket.in_sync_count; i++)
        if (order->action != PLACEMENT_DROP || bucket.in_sync[i] != member)
            set[count++] = bucket.in_sync[i];
    if (order->action == PLACEMENT_ADD) {
        assert_false(cluster_bucket_has(&bucket, member)); /* never two copies on one server */
        assert_int_equal(map->members[member].state, CLUSTER_UP);
        set[count++] = member;
    } else {
        assert_true(cluster_bucket_has(&bucket, member));
    }
    assert_true(count > 0 && count <= BUCKET_COPIES_MAX);
    if (order->action == PLACEMENT_DROP)
        assert_true(member != bucket.primary);
    if (order->action == PLACEMENT_HAND_OVER)
        bucket.primary = member;
    member_sort(set, count);
    bucket.in_sync = set;
    bucket.in_sync_count = count;
    bucket.set_version++;
    assert_int_equal(cluster_map_set_bucket(map, region->id, move->bucket, &bucket), OK);
}

static uint32_t copies_staying(const struct cluster_map *map, const struct cluster_bucket *bucket)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < bucket->in_sync_count; i++)
        count += map->members[bucket->in_sync[i]].state == CLUSTER_UP;
    return count;
}

/* Carries out all moves, each step by step, in the order of the list; redundancy on servers that
 * stay never falls below what is wanted of it, and never below what it was. */
static void carry_out(struct cluster_map *map, struct placement_list *list)
{
    for (uint32_t i = 0; i < list->count; i++) {
        struct placement_order order;
        const struct placement_move *move = &list->moves[i];
        const struct cluster_region *region = cluster_map_region_by_id(map, move->region_id);
        uint32_t steps = 0, wanted = cluster_map_wanted_copies(map, region);
        uint32_t before = copies_staying(map, &region->buckets[move->bucket]);
        enum placement_state state;
        while ((state = placement_next(map, move, &order)) == PLACEMENT_GOES_ON) {
            obey(map, move, &order);
            uint32_t now = copies_staying(map, &region->buckets[move->bucket]);
            assert_true(now >= before || now >= wanted);
            assert_true(++steps <= 3);
        }
        assert_int_equal(state, PLACEMENT_DONE);
    }
    placement_fini(list);
}

static void assert_whole(const struct cluster_map *map)
{
    uint32_t up = 0;
    for (uint32_t i = 0; i < map->member_count; i++)
        up += map->members[i].state == CLUSTER_UP;
    for (uint32_t i = 0; i < map->region_count; i++) {
        const struct cluster_region *region = &map->regions[i];
        uint32_t wanted = member_copies(region, up);
        for (uint32_t j = 0; j < region->bucket_count; j++) {
            assert_int_equal(region->buckets[j].in_sync_count, wanted);
            assert_int_equal(copies_staying(map, &region->buckets[j]), wanted);
        }
    }
}

static void test_plans_restore_redundancy_and_relieve_those_that_leave(void **state)
{
    (void)state;
    struct member_eyes eyes = {0};
    for (uint64_t trial = 1; trial <= 400; trial++) {
        uint64_t seed = trial * UINT64_C(0x9e3779b97f4a7c15);
        struct cluster_map *map = random_map(&seed, 1 + (uint32_t)(trial % MEMBERS_MAX));
        struct placement_list list = {0};
        for (uint32_t round = 0; round < 6; round++) {
            assert_int_equal(placement_plan(map, &eyes, &list), OK);
            uint32_t count = list.count;
            /* What has a move gets no second one. */
            assert_int_equal(placement_plan(map, &eyes, &list), OK);
            assert_int_equal(list.count, count);
            if (count == 0)
                break;
            carry_out(map, &list);
        }
        assert_int_equal(list.count, 0);
        assert_whole(map);
        placement_fini(&list);
        cluster_map_unref(map);
    }
}

static void test_servers_that_are_away_get_nothing(void **state)
{
    (void)state;
    for (uint64_t trial = 1; trial <= 100; trial++) {
        uint64_t seed = trial * UINT64_C(0x9e3779b97f4a7c15);
        unsigned sights[MEMBERS_MAX + 1] = {[2] = MEMBER_SEEN_AWAY, [4] = MEMBER_SEEN_GONE};
        struct member_eyes eyes = {look, sights};
        struct cluster_map *map = random_map(&seed, 6);
        struct placement_list list = {0};
        struct placement_order order;
        assert_int_equal(placement_plan(map, &eyes, &list), OK);
        for (uint32_t i = 0; i < list.count; i++)
            if (placement_next(map, &list.moves[i], &order) == PLACEMENT_GOES_ON &&
                order.action == PLACEMENT_ADD)
                assert_true(order.member != 2 && order.member != 4);
        placement_fini(&list);
        cluster_map_unref(map);
    }
}

static void test_moves_that_cannot_be_any_more_are_void(void **state)
{
    (void)state;
    uint64_t seed = 42;
    struct placement_order order;
    struct cluster_map *map = random_map(&seed, 3);
    struct placement_move move = {.region_id = 9, .kind = PLACEMENT_GROW, .to = 1};
    assert_int_equal(placement_next(map, &move, &order), PLACEMENT_VOID);
    move.region_id = 1;
    move.generation = 2;
    assert_int_equal(placement_next(map, &move, &order), PLACEMENT_VOID);
    move.generation = 1;
    move.to = 77;
    assert_int_equal(placement_next(map, &move, &order), PLACEMENT_VOID);
    cluster_map_unref(map);
}

static void test_each_failing_allocation_is_told(void **state)
{
    (void)state;
    struct member_eyes eyes = {0};
    long live = mem_fault_live();
    enum error error = ERROR_MEMORY;
    for (unsigned long n = 1; error != OK; n++) {
        uint64_t seed = 7;
        struct cluster_map *map = random_map(&seed, 9);
        struct placement_list list = {0};
        mem_fault_fail_at(n);
        error = placement_plan(map, &eyes, &list);
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
        cmocka_unit_test(test_plans_restore_redundancy_and_relieve_those_that_leave),
        cmocka_unit_test(test_servers_that_are_away_get_nothing),
        cmocka_unit_test(test_moves_that_cannot_be_any_more_are_void),
        cmocka_unit_test(test_each_failing_allocation_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
