/* The silent and the gone. */
#include "tests/unit/locator/fixture.h"

static void test_silent_server_without_buckets_is_struck(void **state)
{
    struct fixture *fixture = *state;
    struct locator_state now;
    server_start(&fixture->servers[0], 11);
    assert_true(server_joins(&fixture->servers[0]));
    server_crash(&fixture->servers[0], SIM_CRASH_SILENT);
    run(fixture, 4 * SEC);
    locator_state(fixture->locator, &now);
    assert_int_equal(now.servers, 1);
    run(fixture, 12 * SEC);
    locator_state(fixture->locator, &now);
    assert_int_equal(now.servers, 0);
    server_start(&fixture->servers[1], 21);
    assert_true(server_joins(&fixture->servers[1]));
}

static void test_gone_server_is_shown_and_no_region_waits_for_it(void **state)
{
    struct fixture *fixture = *state;
    struct answer answer;
    server_start(&fixture->servers[0], 11);
    assert_true(server_joins(&fixture->servers[0]));
    create_region(fixture, "r", "PARTITION", &answer);
    server_crash(&fixture->servers[0], SIM_CRASH_RESET);
    run(fixture, 2 * SEC);
    assert_true(logged(fixture, "VG1212"));
    uint64_t before_us = sim_now_us(fixture->sim);
    create_region(fixture, "s", "PARTITION", &answer);
    assert_int_equal(answer.number, 1021);
    assert_true(sim_now_us(fixture->sim) - before_us < SEC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_silent_server_without_buckets_is_struck),
        TEST(test_gone_server_is_shown_and_no_region_waits_for_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
