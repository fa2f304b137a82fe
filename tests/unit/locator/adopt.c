/* `vug locator --adopt`: the servers' newest map instead of one that is lost. */
#include "locator/adopt.h"

#include "tests/unit/locator/fixture.h"

/* Servers, a region, and a locator that has lost everything. */
static uint64_t lose_the_map(struct fixture *fixture, uint32_t servers)
{
    struct answer answer;
    for (uint32_t i = 0; i < servers; i++) {
        server_start(&fixture->servers[i], 11 + i);
        assert_true(server_joins(&fixture->servers[i]));
    }
    create_region(fixture, "r", "PARTITION", &answer);
    assert_int_equal(answer.number, 1021);
    run(fixture, SEC);
    uint64_t epoch = fixture->locator->map->epoch;
    locator_end(fixture);
    map_memory_fini(&fixture->memory);
    fixture->adopts = true;
    return epoch;
}

static void test_the_map_of_the_servers_is_taken_when_all_have_come(void **state)
{
    struct fixture *fixture = *state;
    struct answer answer;
    uint8_t id[CLUSTER_ID_BYTES];
    memcpy(id, fixture->locator->map->cluster_id, sizeof(id));
    uint64_t epoch = lose_the_map(fixture, 2);
    locator_start(fixture);
    assert_true(sim_run_until(fixture->sim, fixture_is_started, fixture, 3 * SEC));
    assert_true(fixture->ready);
    assert_memory_equal(fixture->locator->map->cluster_id, id, sizeof(id));
    assert_int_equal(fixture->locator->map->epoch, epoch + ADOPT_EPOCHS);
    assert_int_equal(fixture->memory.epoch, epoch + ADOPT_EPOCHS);
    assert_non_null(cluster_map_region(fixture->locator->map, slice_text("r")));
    run(fixture, 2 * SEC);
    for (uint32_t i = 0; i < 2; i++) {
        assert_true(link_is_up(fixture->servers[i].link));
        assert_int_equal(fixture->servers[i].map->epoch, epoch + ADOPT_EPOCHS);
        assert_int_equal(fixture->servers[i].refused, OK);
    }
    create_region(fixture, "s", "PARTITION", &answer);
    assert_int_equal(answer.number, 1021);
    assert_true(logged(fixture, "VG1251"));
}

static void test_clients_hear_that_there_is_no_server_until_then(void **state)
{
    struct fixture *fixture = *state;
    struct answer answer;
    Pb__GetServerRequest request = PB__GET_SERVER_REQUEST__INIT;
    lose_the_map(fixture, 1);
    sim_partition(fixture->servers[0].node, fixture->locator_node);
    sim_partition(fixture->locator_node, fixture->servers[0].node);
    locator_start(fixture);
    run(fixture, SEC);
    ask(fixture, 12, &request.base, &answer);
    assert_int_equal(answer.code, 101);
    create_region(fixture, "s", "PARTITION", &answer);
    assert_int_equal(answer.code, 101);
    run(fixture, 120 * SEC);
    assert_false(fixture->ready); /* nobody came: there is nothing to adopt */
    sim_heal_all(fixture->sim);
    assert_true(sim_run_until(fixture->sim, fixture_is_started, fixture, 5 * SEC));
    assert_true(fixture->ready);
}

static void test_one_that_does_not_come_is_waited_for_30_s(void **state)
{
    struct fixture *fixture = *state;
    uint64_t epoch = lose_the_map(fixture, 2);
    server_crash(&fixture->servers[1], SIM_CRASH_SILENT);
    locator_start(fixture);
    run(fixture, 29 * SEC);
    assert_false(fixture->ready);
    assert_true(logged(fixture, "waits for server2"));
    run(fixture, 3 * SEC);
    assert_true(fixture->ready);
    assert_true(logged(fixture, "VG1252"));
    assert_int_equal(fixture->locator->map->member_count, 2);
    assert_true(fixture->memory.epoch >= epoch + ADOPT_EPOCHS);
}

static void test_the_newest_map_wins(void **state)
{
    struct fixture *fixture = *state;
    struct answer answer;
    for (uint32_t i = 0; i < 2; i++) {
        server_start(&fixture->servers[i], 11 + i);
        assert_true(server_joins(&fixture->servers[i]));
    }
    run(fixture, SEC);
    /* The first has not heard of the region. */
    sim_partition(fixture->locator_node, fixture->servers[0].node);
    create_region(fixture, "r", "PARTITION", &answer);
    uint64_t epoch = fixture->locator->map->epoch;
    locator_end(fixture);
    map_memory_fini(&fixture->memory);
    sim_heal_all(fixture->sim);
    assert_true(fixture->servers[0].map->epoch < fixture->servers[1].map->epoch);
    fixture->adopts = true;
    locator_start(fixture);
    assert_true(sim_run_until(fixture->sim, fixture_is_started, fixture, 5 * SEC));
    assert_true(fixture->ready);
    assert_true(fixture->locator->map->epoch >= epoch + ADOPT_EPOCHS);
    assert_non_null(cluster_map_region(fixture->locator->map, slice_text("r")));
}

static void test_a_map_with_nothing_in_it_is_replaced(void **state)
{
    struct fixture *fixture = *state;
    uint64_t epoch = lose_the_map(fixture, 1);
    fixture->adopts = false;
    locator_start(fixture); /* forgetting --adopt */
    run(fixture, 5 * SEC);
    assert_false(link_is_up(fixture->servers[0].link));
    locator_end(fixture);
    fixture->adopts = true;
    locator_start(fixture);
    assert_true(sim_run_until(fixture->sim, fixture_is_started, fixture, 5 * SEC));
    assert_true(fixture->ready);
    assert_int_equal(fixture->locator->map->epoch, epoch + ADOPT_EPOCHS);
}

static void test_a_map_with_something_in_it_is_kept(void **state)
{
    struct fixture *fixture = *state;
    struct answer answer;
    create_region(fixture, "r", "PARTITION", &answer);
    uint64_t epoch = fixture->locator->map->epoch;
    locator_end(fixture);
    fixture->adopts = true;
    locator_start(fixture);
    assert_true(sim_run_until(fixture->sim, fixture_is_started, fixture, SEC));
    assert_true(fixture->ready);
    assert_int_equal(fixture->locator->map->epoch, epoch);
    assert_true(logged(fixture, "VG1253"));
}

static void test_a_server_of_another_cluster_is_refused(void **state)
{
    struct fixture *fixture = *state;
    lose_the_map(fixture, 1);
    fixture->adopts = false;
    locator_start(fixture); /* another cluster */
    server_start(&fixture->servers[1], 12);
    assert_true(server_joins(&fixture->servers[1]));
    locator_end(fixture);
    map_memory_fini(&fixture->memory);
    server_crash(&fixture->servers[1], SIM_CRASH_RESET);
    server_start(&fixture->servers[1], 13); /* knows no cluster: it waits */
    fixture->adopts = true;
    locator_start(fixture);
    assert_true(sim_run_until(fixture->sim, fixture_is_started, fixture, 5 * SEC));
    assert_true(fixture->ready);
    assert_true(server_joins(&fixture->servers[1]));
    assert_int_equal(fixture->locator->map->member_count, 2);
}

static void test_a_map_that_cannot_be_stored_fails_the_start(void **state)
{
    struct fixture *fixture = *state;
    lose_the_map(fixture, 1);
    locator_start(fixture);
    run(fixture, 100 * MS);
    fixture->memory.fail_with = ERROR_IO;
    fixture->memory.fail_count = 1;
    assert_true(sim_run_until(fixture->sim, fixture_is_started, fixture, 5 * SEC));
    assert_int_equal(fixture->failed, ERROR_IO);
    run(fixture, 5 * SEC);
    assert_int_equal(fixture->memory.epoch, 0);
}

static void test_each_failing_allocation_fails_the_start_or_is_survived(void **state)
{
    struct fixture *fixture = *state;
    lose_the_map(fixture, 1);
    for (unsigned long n = 1; n < 120; n++) {
        locator_start(fixture);
        mem_fault_fail_at(n);
        sim_run_until(fixture->sim, fixture_is_started, fixture, 3 * SEC);
        mem_fault_fail_at(0);
        assert_true(sim_run_until(fixture->sim, fixture_is_started, fixture, 10 * SEC));
        assert_true(fixture->ready || fixture->failed == ERROR_MEMORY);
        run(fixture, SEC);
        locator_end(fixture);
        map_memory_fini(&fixture->memory);
    }
    fixture->adopts = false;
    locator_start(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_map_of_the_servers_is_taken_when_all_have_come),
        TEST(test_clients_hear_that_there_is_no_server_until_then),
        TEST(test_one_that_does_not_come_is_waited_for_30_s),
        TEST(test_the_newest_map_wins),
        TEST(test_a_map_with_nothing_in_it_is_replaced),
        TEST(test_a_map_with_something_in_it_is_kept),
        TEST(test_a_server_of_another_cluster_is_refused),
        TEST(test_a_map_that_cannot_be_stored_fails_the_start),
        TEST(test_each_failing_allocation_fails_the_start_or_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
