/* Regions that are emptied by those who hold them. */
#include "tests/unit/locator/fixture.h"

static void clear(struct fixture *fixture, const char *name, struct answer *answer)
{
    Pb__RegionClearRequest request = PB__REGION_CLEAR_REQUEST__INIT;
    request.name = message_bytes(slice_text(name));
    ask(fixture, 1030, &request.base, answer);
}

static void test_clear_is_done_by_the_servers_that_hold_primaries(void **state)
{
    struct fixture *fixture = *state;
    struct fake_server *server = &fixture->servers[0];
    struct answer answer;
    server->cleared = 42;
    create_region(fixture, "r", "PARTITION", &answer);
    clear(fixture, "r", &answer);
    assert_int_equal(answer.number, 1031); /* nobody holds anything */
    clear(fixture, "q", &answer);
    assert_memory_equal(answer.text, "NOT_FOUND: ", 11);
    server_start(server, 11);
    assert_true(server_joins(server));
    clear(fixture, "r", &answer);
    assert_int_equal(answer.number, 1031);
    Pb__RegionClearResponse *response =
        pb__region_clear_response__unpack(NULL, answer.len, answer.body);
    assert_int_equal(response->entries, 42);
    pb__region_clear_response__free_unpacked(response, NULL);
    assert_int_equal(server->clears, 1);
    server->answers_calls = false;
    clear(fixture, "r", &answer);
    assert_memory_equal(answer.text, "TIMEOUT: ", 9);
    server_crash(server, SIM_CRASH_SILENT);
    run(fixture, 7 * SEC);
    clear(fixture, "r", &answer);
    assert_memory_equal(answer.text, "UNREACHABLE: ", 13);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_clear_is_done_by_the_servers_that_hold_primaries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
