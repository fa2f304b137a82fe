/* Questions to a map, and its rules. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "common/limits.h"
#include "protocol/cluster_map.h"

static const uint8_t id[CLUSTER_ID_BYTES] = "0123456789abcde";

static uint32_t add_member(struct cluster_map *map, const char *name, enum cluster_role role)
{
    struct slice group = slice_text("g1");
    struct cluster_member member = {
        .name = slice_text(name),
        .incarnation = 100u + map->member_count,
        .host = slice_text("127.0.0.1"),
        .port = (uint16_t)(40404 + map->member_count),
        .role = role,
        .groups = &group,
        .group_count = 1,
    };
    uint32_t index;

    assert_int_equal(cluster_map_add_member(map, &member, &index), OK);
    return index;
}

static uint32_t add_region(struct cluster_map *map, const char *name, enum cluster_region_type type,
                           uint32_t copies)
{
    struct cluster_region region = {
        .name = slice_text(name), .type = type, .redundant_copies = copies, .bucket_count = 4};
    uint32_t region_id;

    assert_int_equal(cluster_map_add_region(map, &region, &region_id), OK);
    return region_id;
}

static struct cluster_map *make_map(void)
{
    struct cluster_map *map;

    assert_int_equal(cluster_map_new(id, &map), OK);
    add_member(map, "locator1", CLUSTER_LOCATOR);
    add_member(map, "server2", CLUSTER_SERVER);
    add_member(map, "server1", CLUSTER_SERVER);
    return map;
}

static void names_and_numbers_are_found(void **state)
{
    struct cluster_map *map = make_map();
    struct cluster_table table = {slice_text("T"), slice_text("CREATE TABLE T"),
                                  slice_text("zebra")};
    struct cluster_query query = {.text = slice_text("SELECT 1")};
    uint32_t zebra = add_region(map, "zebra", CLUSTER_PARTITION, 0);
    uint32_t ant = add_region(map, "ant", CLUSTER_REPLICATE, 0);
    uint64_t query_id;

    (void)state;
    assert_int_equal(cluster_map_add_table(map, &table), OK);
    assert_int_equal(cluster_map_add_query(map, &query, &query_id), OK);
    for (int sealed = 0; sealed < 2; sealed++) {
        assert_int_equal(cluster_map_region(map, slice_text("zebra"))->id, zebra);
        assert_int_equal(cluster_map_region(map, slice_text("ant"))->id, ant);
        assert_null(cluster_map_region(map, slice_text("Ant")));
        assert_null(cluster_map_region(map, slice_text("")));
        assert_ptr_equal(cluster_map_region_by_id(map, ant),
                         cluster_map_region(map, slice_text("ant")));
        assert_null(cluster_map_region_by_id(map, 77));
        assert_int_equal(cluster_map_member(map, slice_text("server1")), 2);
        assert_int_equal(cluster_map_member(map, slice_text("server2")), 1);
        assert_int_equal(cluster_map_member(map, slice_text("server")), CLUSTER_NONE);
        assert_int_equal(cluster_map_member_by_incarnation(map, 101), 1);
        assert_int_equal(cluster_map_member_by_incarnation(map, 5), CLUSTER_NONE);
        assert_non_null(cluster_map_table(map, slice_text("T")));
        assert_null(cluster_map_table(map, slice_text("t")));
        assert_non_null(cluster_map_query(map, query_id));
        assert_null(cluster_map_query(map, query_id + 1));
        if (sealed == 0)
            assert_int_equal(cluster_map_seal(map), OK);
    }
    cluster_map_unref(cluster_map_ref(map));
    cluster_map_unref(map);
    cluster_map_unref(NULL);
}

static void set_bucket(struct cluster_map *map, uint32_t region, uint32_t bucket, uint32_t primary,
                       const uint32_t *in_sync, uint32_t count)
{
    struct cluster_bucket value = {.generation = 1,
                                   .term = 1,
                                   .set_version = 1,
                                   .primary = primary,
                                   .in_sync = in_sync,
                                   .in_sync_count = count};

    assert_int_equal(cluster_map_set_bucket(map, region, bucket, &value), OK);
}

static void buckets_with_too_few_serving_copies_are_degraded(void **state)
{
    static const uint32_t both[] = {1, 2};
    struct cluster_map *map = make_map();
    uint32_t redundant = add_region(map, "redundant", CLUSTER_PARTITION_REDUNDANT, 1);
    uint32_t replicate = add_region(map, "replicate", CLUSTER_REPLICATE, 0);
    uint32_t local = add_region(map, "local", CLUSTER_LOCAL, 0);
    bool serves[] = {false, true, true};
    uint32_t lost;

    (void)state;
    set_bucket(map, redundant, 0, 1, both, 2);
    set_bucket(map, redundant, 1, 1, both, 1);
    set_bucket(map, redundant, 2, CLUSTER_NONE, both + 1, 1);
    for (uint32_t i = 0; i < 4; i++)
        set_bucket(map, replicate, i, 2, both, 2);
    const struct cluster_region *region = cluster_map_region_by_id(map, redundant);
    assert_int_equal(cluster_map_wanted_copies(map, region), 2);
    assert_int_equal(cluster_map_degraded(map, region, serves, &lost), 3);
    assert_int_equal(lost, 1);
    assert_true(cluster_bucket_has(&region->buckets[0], 2));
    assert_false(cluster_bucket_has(&region->buckets[1], 2));
    assert_int_equal(cluster_map_wanted_copies(map, cluster_map_region_by_id(map, replicate)), 2);
    const struct cluster_region *copied = cluster_map_region_by_id(map, replicate);
    assert_int_equal(cluster_map_degraded(map, copied, serves, NULL), 0);
    assert_int_equal(cluster_map_degraded(map, cluster_map_region_by_id(map, local), serves, &lost),
                     0);
    cluster_map_set_member_state(map, 2, CLUSTER_DOWN);
    serves[2] = false;
    assert_int_equal(cluster_map_degraded(map, region, serves, &lost), 4);
    assert_int_equal(lost, 2);
    assert_int_equal(cluster_map_wanted_copies(map, cluster_map_region_by_id(map, replicate)), 1);
    assert_int_equal(cluster_map_degraded(map, copied, serves, &lost), 4); /* the primary is away */
    assert_int_equal(lost, 0);
    assert_int_equal(cluster_map_seal(map), OK);
    cluster_map_unref(map);
}

/* Each breaks one rule of an open map. */
static void break_primary(struct cluster_map *map)
{
    map->regions[0].buckets[0].primary = 2;
}
static void break_generation(struct cluster_map *map)
{
    map->regions[0].buckets[1].generation = 0;
}
static void break_order(struct cluster_map *map)
{
    static const uint32_t falling[] = {2, 1};

    map->regions[0].buckets[0].in_sync = falling;
    map->regions[0].buckets[0].in_sync_count = 2;
}
static void break_repeat(struct cluster_map *map)
{
    static const uint32_t twice[] = {1, 1};

    map->regions[0].buckets[0].in_sync = twice;
    map->regions[0].buckets[0].in_sync_count = 2;
}
static void break_member(struct cluster_map *map)
{
    static const uint32_t nobody[] = {9};

    map->regions[0].buckets[0].in_sync = nobody;
    map->regions[0].buckets[0].primary = CLUSTER_NONE;
}
static void break_locator(struct cluster_map *map)
{
    static const uint32_t locator[] = {0};

    map->regions[0].buckets[0].in_sync = locator;
    map->regions[0].buckets[0].primary = 0;
}
static void break_name(struct cluster_map *map)
{
    map->members[1].name = map->members[2].name;
}
static void break_region_name(struct cluster_map *map)
{
    map->regions[1].name = map->regions[0].name;
}
static void break_slash(struct cluster_map *map)
{
    map->regions[1].name = slice_text("/ant");
}
static void break_control(struct cluster_map *map)
{
    map->members[1].name = slice_text("a\nb");
}
static void break_id(struct cluster_map *map)
{
    map->regions[1].id = map->regions[0].id;
}
static void break_next_id(struct cluster_map *map)
{
    map->next_region_id = map->regions[1].id;
}
static void break_type(struct cluster_map *map)
{
    map->regions[0].type = (enum cluster_region_type)9;
}
static void break_role(struct cluster_map *map)
{
    map->members[0].role = (enum cluster_role)0;
}
static void break_epoch(struct cluster_map *map)
{
    map->epoch = 0;
}
static void break_constraint(struct cluster_map *map)
{
    map->regions[0].key_constraint = (enum value_type)40;
}

static void a_map_that_breaks_a_rule_is_not_sealed(void **state)
{
    static void (*const breaks[])(struct cluster_map *) = {
        break_primary, break_generation, break_order, break_repeat,
        break_member,  break_locator,    break_name,  break_region_name,
        break_slash,   break_control,    break_id,    break_next_id,
        break_type,    break_role,       break_epoch, break_constraint,
    };
    static const uint32_t one[] = {1};

    (void)state;
    for (size_t i = 0; i <= sizeof breaks / sizeof breaks[0]; i++) {
        struct cluster_map *map = make_map();
        bool broken = i < sizeof breaks / sizeof breaks[0];

        set_bucket(map, add_region(map, "zebra", CLUSTER_PARTITION, 0), 0, 1, one, 1);
        add_region(map, "ant", CLUSTER_PARTITION, 0);
        if (broken)
            breaks[i](map);
        if (cluster_map_seal(map) != (broken ? ERROR_INVALID : OK))
            fail_msg("break %zu", i);
        cluster_map_unref(map);
    }
}

static void words_are_those_of_the_command_line(void **state)
{
    enum cluster_region_type type;

    (void)state;
    for (int i = CLUSTER_PARTITION; i <= CLUSTER_LOCAL; i++) {
        assert_true(cluster_region_type_of_word(
            slice_text(cluster_region_type_word((enum cluster_region_type)i)), &type));
        assert_int_equal(type, i);
    }
    assert_false(cluster_region_type_of_word(slice_text("partition"), &type));
    assert_string_equal(cluster_region_type_word(CLUSTER_PARTITION_REDUNDANT),
                        "PARTITION_REDUNDANT");
    assert_string_equal(cluster_role_word(CLUSTER_LOCATOR), "locator");
    assert_string_equal(cluster_state_word(CLUSTER_DOWN), "down");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_numbers_are_found),
        cmocka_unit_test(buckets_with_too_few_serving_copies_are_degraded),
        cmocka_unit_test(a_map_that_breaks_a_rule_is_not_sealed),
        cmocka_unit_test(words_are_those_of_the_command_line),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
