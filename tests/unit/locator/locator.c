/* Beginning, ending, and beginning again. */
#include "tests/unit/locator/fixture.h"

static void test_restarted_locator_knows_all_and_servers_return_in_500_ms(void **state)
{
    struct fixture *fixture = *state;
    struct fake_server *server = &fixture->servers[0];
    struct answer answer;
    struct locator_state before, after;
    server_start(server, 11);
    assert_true(server_joins(server));
    create_region(fixture, "r", "PARTITION", &answer);
    assert_int_equal(
        server_sql(server,
                   "CREATE TABLE t (id STRING) WITH ('connector'='geode-region','region'='r')"),
        0);
    locator_state(fixture->locator, &before);
    locator_end(fixture);
    run(fixture, 10 * SEC);
    assert_false(link_is_up(server->link));
    locator_start(fixture);
    run(fixture, 600 * MS); /* 500 and the way there */
    assert_true(link_is_up(server->link));
    locator_state(fixture->locator, &after);
    assert_memory_equal(after.cluster_id, before.cluster_id, CLUSTER_ID_BYTES);
    assert_int_equal(after.epoch, before.epoch);
    assert_int_equal(after.regions, 1);
    assert_int_equal(after.tables, 1);
    assert_int_equal(after.servers_up, 1);
}

static void test_locator_that_ends_during_a_store_answers_nobody_and_leaks_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct client *client = calloc(1, sizeof(*client));
    Pb__RegionCreateRequest request = PB__REGION_CREATE_REQUEST__INIT;
    fixture->memory.delay_us = SEC;
    request.name = message_bytes(slice_text("r"));
    request.type = message_bytes(slice_text("PARTITION"));
    client_open(fixture, client);
    client_send(client, 1020, &request.base);
    run(fixture, 100 * MS);
    locator_end(fixture);
    run(fixture, SEC);
    assert_true(client->closed);
    client_close(client);
    free(client);
}

static void test_map_that_cannot_be_read_stops_the_start(void **state)
{
    struct fixture *fixture = *state;
    locator_end(fixture);
    fixture->memory.fail_with = ERROR_DAMAGED;
    fixture->memory.fail_count = 1;
    locator_start(fixture);
    assert_int_equal(fixture->failed, ERROR_DAMAGED);
    locator_end(fixture);
    fixture->memory.bytes[0] ^= 0xff;
    locator_start(fixture);
    assert_int_equal(fixture->failed, ERROR_DAMAGED);
    assert_non_null(strstr(fixture->failed_text, "another version"));
}

static bool second_is_ready(void *arg)
{
    return ((const struct fixture *)arg)->second_ready;
}

static void test_two_that_begin_at_once_are_one_cluster(void **state)
{
    struct fixture *fixture = *state;
    struct locator_state first, second;
    locator_end(fixture);
    map_memory_fini(&fixture->memory);
    fixture->memory.delay_us = 50 * MS; /* both see that there is no map */
    second_start(fixture);
    locator_start(fixture);
    assert_true(sim_run_until(fixture->sim, second_is_ready, fixture, SEC));
    assert_true(fixture->ready);
    locator_state(fixture->locator, &first);
    locator_state(fixture->second, &second);
    assert_memory_equal(first.cluster_id, second.cluster_id, CLUSTER_ID_BYTES);
    assert_int_equal(first.epoch, 1);
    assert_int_equal(fixture->memory.stores, 1);
}

static void test_what_one_changes_the_other_knows_at_once(void **state)
{
    struct fixture *fixture = *state;
    struct answer answer;
    struct locator_state first, second;
    second_start(fixture);
    assert_true(sim_run_until(fixture->sim, second_is_ready, fixture, SEC));
    for (uint32_t i = 0; i < 2; i++) {
        server_start(&fixture->servers[i], 11 + i);
        assert_true(server_joins(&fixture->servers[i]));
    }
    run(fixture, SEC);
    create_region(fixture, "r", "PARTITION", &answer);
    run(fixture, 5 * MS);
    locator_state(fixture->locator, &first);
    locator_state(fixture->second, &second);
    assert_int_equal(second.epoch, first.epoch);
    assert_int_equal(second.regions, 1);
    assert_int_equal(second.servers_up, 2);
    uint64_t conflicts = first.changes_failed + second.changes_failed;
    /* And from the other: a change whose author had an older map is decided anew. */
    run(fixture, SEC);
    locator_end(fixture);
    run(fixture, SEC);
    assert_true(link_is_up(fixture->servers[0].link));
    assert_int_equal(server_sql(&fixture->servers[0], "CREATE TABLE t (id STRING) WITH "
                                                      "('connector'='geode-region','region'='r')"),
                     0);
    locator_start(fixture);
    run(fixture, SEC);
    locator_state(fixture->locator, &first);
    locator_state(fixture->second, &second);
    assert_int_equal(first.epoch, second.epoch);
    assert_int_equal(first.tables, 1);
    assert_int_equal(first.servers_up, 2);
    assert_int_equal(conflicts + second.changes_failed, 0);
}

static void test_server_that_one_locator_does_not_reach_stays_a_member(void **state)
{
    struct fixture *fixture = *state;
    static const uint64_t links[] = {12, 11};
    second_start(fixture);
    assert_true(sim_run_until(fixture->sim, second_is_ready, fixture, SEC));
    for (uint32_t i = 0; i < 2; i++) {
        server_start(&fixture->servers[i], 11 + i);
        assert_true(server_joins(&fixture->servers[i]));
        fixture->servers[i].load.linked = &links[i];
        fixture->servers[i].load.linked_count = 1;
    }
    run(fixture, SEC);
    uint64_t epoch = fixture->servers[0].map->epoch;
    sim_partition(fixture->second_node, fixture->servers[0].node);
    sim_partition(fixture->servers[0].node, fixture->second_node);
    run(fixture, 30 * SEC);
    assert_int_equal(fixture->servers[0].map->epoch, epoch);
    assert_int_equal(fixture->servers[0].map->member_count, 2);
    assert_false(logged(fixture, "VG1203"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_restarted_locator_knows_all_and_servers_return_in_500_ms),
        TEST(test_locator_that_ends_during_a_store_answers_nobody_and_leaks_nothing),
        TEST(test_map_that_cannot_be_read_stops_the_start),
        TEST(test_two_that_begin_at_once_are_one_cluster),
        TEST(test_what_one_changes_the_other_knows_at_once),
        TEST(test_server_that_one_locator_does_not_reach_stays_a_member),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
