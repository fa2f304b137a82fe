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

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_restarted_locator_knows_all_and_servers_return_in_500_ms),
        TEST(test_locator_that_ends_during_a_store_answers_nobody_and_leaks_nothing),
        TEST(test_map_that_cannot_be_read_stops_the_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
