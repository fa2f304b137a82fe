/* Requests whose asker goes away before the answer. */
#include "tests/unit/locator/fixture.h"

static void send_sql(struct fake_server *server, const char *statement)
{
    Pb__SqlExecuteRequest request = PB__SQL_EXECUTE_REQUEST__INIT;
    uint8_t packed[1024];
    request.statement = message_bytes(slice_text(statement));
    size_t len = pb__sql_execute_request__pack(&request, packed);
    assert_int_equal(link_call(server->link, 1012, slice_of(packed, len), server_on_answer, server),
                     OK);
}

static void test_change_is_made_although_its_server_died(void **state)
{
    struct fixture *fixture = *state;
    struct fake_server *server = &fixture->servers[0];
    struct locator_state now;
    struct answer answer;
    server_start(server, 11);
    assert_true(server_joins(server));
    create_region(fixture, "r", "PARTITION", &answer);
    fixture->memory.delay_us = SEC;
    send_sql(server, "CREATE TABLE t (id STRING) WITH ('connector'='geode-region','region'='r')");
    run(fixture, 100 * MS);
    server_crash(server, SIM_CRASH_RESET);
    run(fixture, 5 * SEC);
    locator_state(fixture->locator, &now);
    assert_int_equal(now.tables, 1);
}

static void test_change_is_made_although_its_client_went(void **state)
{
    struct fixture *fixture = *state;
    struct client *client = calloc(1, sizeof(*client));
    struct locator_state now;
    Pb__RegionCreateRequest request = PB__REGION_CREATE_REQUEST__INIT;
    request.name = message_bytes(slice_text("r"));
    request.type = message_bytes(slice_text("PARTITION"));
    fixture->memory.delay_us = SEC;
    client_open(fixture, client);
    client_send(client, 1020, &request.base);
    run(fixture, 100 * MS);
    client_close(client);
    free(client);
    run(fixture, 5 * SEC);
    locator_state(fixture->locator, &now);
    assert_int_equal(now.regions, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_change_is_made_although_its_server_died),
        TEST(test_change_is_made_although_its_client_went),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
