/* Calls that are none, or cannot be read. */
#include "tests/unit/locator/fixture.h"

static void call(struct fake_server *server, uint32_t number, struct slice body)
{
    server->answered = false;
    assert_int_equal(link_call(server->link, number, body, server_on_answer, server), OK);
    assert_true(sim_run_until(server->fixture->sim, server_is_answered, server, 20 * SEC));
}

static void test_unknown_and_unreadable_calls_are_answered_with_their_reason(void **state)
{
    struct fixture *fixture = *state;
    struct fake_server *server = &fixture->servers[0];
    server_start(server, 11);
    assert_true(server_joins(server));
    static const uint32_t numbers[] = {0, 1, 12, 1013, 1021, 1036, 4000000000u};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        call(server, numbers[i], slice_of(NULL, 0));
        assert_int_equal(server->answer_code, 60);
        assert_memory_equal(server->answer_text, "UNSUPPORTED: ", 13);
    }
    call(server, 1020, slice_text("\xff\xff"));
    assert_int_equal(server->answer_code, 50);
    assert_memory_equal(server->answer_text, "INVALID: ", 9);
    call(server, 1024, slice_of(NULL, 0));
    assert_int_equal(server->answer_code, 0);
    assert_int_equal(server->answer_number, 1025);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_unknown_and_unreadable_calls_are_answered_with_their_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
