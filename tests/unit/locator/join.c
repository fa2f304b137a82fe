/* Newcomers, and what becomes of the buckets of those they come after. */
#include "tests/unit/locator/fixture.h"

static void test_first_server_joins_and_has_the_map(void **state)
{
    struct fixture *fixture = *state;
    struct fake_server *server = &fixture->servers[0];
    struct locator_state now;
    server_start(server, 11);
    assert_true(server_joins(server));
    assert_int_equal(server->map->member_count, 1);
    assert_true(slice_equal(server->map->members[0].name, slice_text("server1")));
    assert_int_equal(server->map->members[0].incarnation, 11);
    run(fixture, SEC);
    locator_state(fixture->locator, &now);
    assert_int_equal(now.servers_up, 1);
    assert_int_equal(now.epoch, server->map->epoch);
    assert_memory_equal(now.cluster_id, server->map->cluster_id, CLUSTER_ID_BYTES);
    assert_true(logged(fixture, "VG1201"));
}

static void test_restarted_server_starts_empty_with_the_next_generation(void **state)
{
    struct fixture *fixture = *state;
    struct fake_server *server = &fixture->servers[0];
    struct answer answer;
    server_start(server, 11);
    assert_true(server_joins(server));
    create_region(fixture, "r", "PARTITION", &answer);
    server->load.entries = 4711;
    run(fixture, SEC);
    uint64_t epoch = server->map->epoch;
    server_crash(server, SIM_CRASH_RESET);
    server_start(server, 12);
    assert_true(server_joins(server));
    assert_int_equal(server->map->member_count, 1);
    assert_int_equal(server->map->members[0].incarnation, 12);
    assert_true(server->map->epoch > epoch);
    for (uint32_t i = 0; i < 7; i++) {
        const struct cluster_bucket *bucket = bucket_of(server->map, "r", i);
        assert_int_equal(bucket->generation, 2);
        assert_int_equal(bucket->term, 2);
        assert_int_equal(bucket->set_version, 3); /* out, and in again */
        assert_int_equal(bucket->primary, 0);
    }
    assert_true(logged(fixture, "VG1231"));
    assert_true(logged(fixture, "4711 entries"));
}

static void test_lost_buckets_begin_empty_on_another_server_at_once(void **state)
{
    struct fixture *fixture = *state;
    struct answer answer;
    server_start(&fixture->servers[0], 11);
    assert_true(server_joins(&fixture->servers[0]));
    create_region(fixture, "r", "PARTITION", &answer);
    server_start(&fixture->servers[1], 21);
    assert_true(server_joins(&fixture->servers[1]));
    run(fixture, SEC);
    assert_int_equal(fixture->servers[1].map->member_count, 2);
    server_crash(&fixture->servers[0], SIM_CRASH_RESET);
    run(fixture, SEC);
    assert_int_equal(fixture->servers[1].map->member_count, 1);
    for (uint32_t i = 0; i < 7; i++) {
        const struct cluster_bucket *bucket = bucket_of(fixture->servers[1].map, "r", i);
        assert_int_equal(bucket->generation, 2);
        assert_int_equal(bucket->term, 2);
        assert_int_equal(bucket->set_version, 2);
        assert_int_equal(bucket->primary, 0);
    }
    assert_true(logged(fixture, "VG1231"));
}

static void test_servers_join_in_any_number_and_order(void **state)
{
    struct fixture *fixture = *state;
    struct answer answer;
    for (uint32_t i = SERVERS; i > 0; i--)
        server_start(&fixture->servers[i - 1], 10 + i);
    for (uint32_t i = 0; i < SERVERS; i++)
        assert_true(server_joins(&fixture->servers[i]));
    create_region(fixture, "r", "PARTITION_REDUNDANT", &answer);
    assert_int_equal(answer.number, 1021);
    const struct cluster_map *map = fixture->servers[0].map;
    uint32_t copies[SERVERS] = {0}, primaries[SERVERS] = {0};
    assert_int_equal(map->member_count, SERVERS);
    for (uint32_t i = 0; i < 7; i++) {
        const struct cluster_bucket *bucket = bucket_of(map, "r", i);
        assert_int_equal(bucket->in_sync_count, 2);
        assert_int_equal(bucket->generation, 1);
        assert_int_equal(bucket->term, 1);
        assert_int_equal(bucket->set_version, 1);
        primaries[bucket->primary]++;
        copies[bucket->in_sync[0]]++;
        copies[bucket->in_sync[1]]++;
    }
    for (uint32_t i = 0; i < SERVERS; i++) {
        assert_true(copies[i] >= 4 && copies[i] <= 5);
        assert_true(primaries[i] >= 2 && primaries[i] <= 3);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_first_server_joins_and_has_the_map),
        TEST(test_restarted_server_starts_empty_with_the_next_generation),
        TEST(test_lost_buckets_begin_empty_on_another_server_at_once),
        TEST(test_servers_join_in_any_number_and_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
