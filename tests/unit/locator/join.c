/* Newcomers, in the place of the dead or in none. */
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
        assert_int_equal(bucket->set_version, 2);
        assert_int_equal(bucket->primary, 0);
    }
    assert_true(logged(fixture, "VG1231"));
    assert_true(logged(fixture, "4711 entries"));
}

static void test_other_server_takes_the_place_of_one_that_is_provably_gone(void **state)
{
    struct fixture *fixture = *state;
    struct answer answer;
    server_start(&fixture->servers[0], 11);
    assert_true(server_joins(&fixture->servers[0]));
    create_region(fixture, "r", "REPLICATE", &answer);
    server_crash(&fixture->servers[0], SIM_CRASH_RESET);
    server_start(&fixture->servers[1], 21);
    assert_true(server_joins(&fixture->servers[1]));
    assert_int_equal(fixture->servers[1].map->member_count, 1);
    assert_int_equal(bucket_of(fixture->servers[1].map, "r", 0)->generation, 2);
}

static void test_second_server_is_refused_with_a_sentence(void **state)
{
    struct fixture *fixture = *state;
    server_start(&fixture->servers[0], 11);
    assert_true(server_joins(&fixture->servers[0]));
    server_start(&fixture->servers[1], 21);
    assert_true(server_is_refused(&fixture->servers[1]));
    assert_int_equal(fixture->servers[1].refused, ERROR_UNSUPPORTED);
    assert_non_null(strstr(fixture->servers[1].refused_text, "one server"));
    assert_non_null(strstr(fixture->servers[1].refused_text, "server1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_first_server_joins_and_has_the_map),
        TEST(test_restarted_server_starts_empty_with_the_next_generation),
        TEST(test_other_server_takes_the_place_of_one_that_is_provably_gone),
        TEST(test_second_server_is_refused_with_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
