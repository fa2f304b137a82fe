/* The connection: joining, maps, losing the locator and finding it again. */
#include "tests/unit/server/link_fixture.h"

static void test_server_says_who_it_is_and_takes_the_map(void **state)
{
    struct fixture *fixture = *state;
    struct fake_locator *locator = &fixture->locators[0];
    locator_listen(locator);
    assert_int_equal(link_start(fixture, 1, 60000), OK);
    run(fixture, SEC);
    assert_int_equal(locator->hellos, 1);
    assert_string_equal(locator->hello_name, "server1");
    assert_string_equal(locator->hello_groups, "eu|hot");
    assert_false(locator->hello_has_cluster);
    assert_true(link_is_up(fixture->link));
    push_map(locator, 5, true);
    run(fixture, SEC);
    assert_int_equal(fixture->epoch, 5);
    assert_int_equal(locator->acknowledged, 5);
    assert_true(locator->beacons >= 6 && locator->beacons <= 9); /* in 2 s, every 250 ms */
    assert_int_equal(locator->beacon_entries, 42);
}

static void test_next_locator_is_tried_and_the_first_again(void **state)
{
    struct fixture *fixture = *state;
    locator_listen(&fixture->locators[1]);
    assert_int_equal(link_start(fixture, 2, 60000), OK);
    run(fixture, SEC);
    assert_int_equal(fixture->locators[1].hellos, 1);
    push_map(&fixture->locators[1], 5, true);
    run(fixture, SEC);
    net_listener_close(fixture->locators[1].listener);
    fixture->locators[1].listener = NULL;
    locator_cut(&fixture->locators[1]);
    locator_listen(&fixture->locators[0]);
    run(fixture, SEC);
    assert_int_equal(fixture->locators[0].hellos, 1);
    assert_true(fixture->locators[0].hello_has_cluster);
    assert_int_equal(fixture->locators[0].hello_epoch, 5);
    assert_true(link_is_up(fixture->link));
}

static void test_each_locator_is_linked_to_once_one_has_taken_the_server_in(void **state)
{
    struct fixture *fixture = *state;
    struct fake_locator *first = &fixture->locators[0], *second = &fixture->locators[1];
    locator_listen(first);
    locator_listen(second);
    assert_int_equal(link_start(fixture, 2, 60000), OK);
    run(fixture, SEC);
    assert_int_equal(second->hellos, 0); /* it might be of another cluster */
    push_map(first, 5, true);
    run(fixture, SEC);
    assert_int_equal(second->hellos, 1);
    assert_true(second->hello_has_cluster);
    assert_int_equal(second->hello_epoch, 5);
    push_map(second, 6, true);
    push_map(first, 6, true);
    run(fixture, SEC);
    assert_int_equal(fixture->maps, 2); /* whoever was second brought nothing new */
    assert_int_equal(first->acknowledged, 6);
    assert_int_equal(second->acknowledged, 6);
    uint32_t beacons = second->beacons;
    locator_cut(first);
    assert_true(link_is_up(fixture->link));
    run(fixture, 2 * SEC);
    assert_int_equal(first->hellos, 2);
    assert_true(second->beacons >= beacons + 7);
    assert_int_equal(second->hellos, 1);
}

static bool is_up(void *arg)
{
    return link_is_up(((struct fixture *)arg)->link);
}

static void test_reconnects_within_500_ms_however_long_it_was_away(void **state)
{
    struct fixture *fixture = *state;
    struct fake_locator *locator = &fixture->locators[0];
    locator_listen(locator);
    assert_int_equal(link_start(fixture, 1, 60000), OK);
    run(fixture, SEC);
    push_map(locator, 5, true);
    run(fixture, SEC);
    net_listener_close(locator->listener);
    locator->listener = NULL;
    locator_cut(locator);
    run(fixture, 3600 * SEC);
    assert_int_equal(fixture->refusals, 0);
    locator_listen(locator);
    assert_true(sim_run_until(fixture->sim, is_up, fixture, 510 * MS));
}

static void test_no_locator_within_the_wait_is_a_timeout_with_its_cause(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(link_start(fixture, 2, 3000), OK);
    run(fixture, 2900 * MS);
    assert_int_equal(fixture->refusals, 0);
    run(fixture, 200 * MS);
    assert_int_equal(fixture->refused, ERROR_TIMEOUT);
    assert_non_null(strstr(fixture->refused_text, error_text(ERROR_REFUSED)));
    assert_non_null(strstr(fixture->refused_text, "--locators"));
    locator_listen(&fixture->locators[0]);
    run(fixture, 5 * SEC);
    assert_int_equal(fixture->locators[0].hellos, 0);
    assert_int_equal(fixture->refusals, 1);
}

static void test_refusals_before_the_join_are_told_with_the_locators_text(void **state)
{
    static const struct {
        int refusal;
        enum error error;
    } cases[] = {
        {PB__PEER_WELCOME__REFUSAL__OTHER_CLUSTER, ERROR_CONFLICT},
        {PB__PEER_WELCOME__REFUSAL__NAME_TAKEN, ERROR_EXISTS},
        {PB__PEER_WELCOME__REFUSAL__UNAUTHORIZED, ERROR_UNAUTHORIZED},
        {PB__PEER_WELCOME__REFUSAL__VERSION, ERROR_UNSUPPORTED},
        {PB__PEER_WELCOME__REFUSAL__SECOND_SERVER, ERROR_UNSUPPORTED},
        {PB__PEER_WELCOME__REFUSAL__MALFORMED, ERROR_INVALID},
    };
    struct fixture *fixture = *state;
    locator_listen(&fixture->locators[0]);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        fixture->refused = OK;
        fixture->locators[0].refusal = cases[i].refusal;
        assert_int_equal(link_start(fixture, 1, 60000), OK);
        run(fixture, SEC);
        assert_int_equal(fixture->refused, cases[i].error);
        assert_string_equal(fixture->refused_text, "because the test says so");
        link_free(fixture->link);
        fixture->link = NULL;
    }
}

static void test_joined_server_ends_only_when_its_name_is_anothers(void **state)
{
    struct fixture *fixture = *state;
    struct fake_locator *locator = &fixture->locators[0];
    locator_listen(locator);
    assert_int_equal(link_start(fixture, 1, 60000), OK);
    run(fixture, SEC);
    push_map(locator, 5, true);
    run(fixture, SEC);
    locator->refusal = PB__PEER_WELCOME__REFUSAL__OTHER_CLUSTER;
    locator_cut(locator);
    run(fixture, 3 * SEC);
    assert_int_equal(fixture->refusals, 0);
    locator->refusal = PB__PEER_WELCOME__REFUSAL__NAME_TAKEN;
    run(fixture, 3 * SEC);
    assert_int_equal(fixture->refusals, 1);
    assert_int_equal(fixture->refused, ERROR_EXISTS);
}

static void test_server_that_leaves_says_so_to_each_locator_that_it_reaches(void **state)
{
    struct fixture *fixture = *state;
    struct fake_locator *locator = &fixture->locators[0];
    locator_listen(locator);
    assert_int_equal(link_start(fixture, 1, 60000), OK);
    run(fixture, SEC);
    link_leave(fixture->link);
    run(fixture, SEC);
    assert_int_equal(locator->leaves, 1);
    assert_true(link_is_up(fixture->link));
    assert_false(locator->hello_leaving);
    push_map(locator, 5, true);
    locator_cut(locator);
    run(fixture, SEC);
    assert_int_equal(locator->hellos, 2);
    assert_true(locator->hello_leaving);
    locator->refusal = PB__PEER_WELCOME__REFUSAL__NAME_TAKEN; /* it is named no more */
    locator_cut(locator);
    run(fixture, 5 * SEC);
    assert_int_equal(locator->hellos, 3);
    assert_false(link_is_up(fixture->link));
    assert_int_equal(fixture->refusals, 0);
}

static void test_server_that_leaves_before_it_has_joined_looks_no_further(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(link_start(fixture, 1, 3000), OK);
    run(fixture, SEC);
    link_leave(fixture->link);
    locator_listen(&fixture->locators[0]);
    run(fixture, 5 * SEC);
    assert_int_equal(fixture->locators[0].hellos, 0);
    assert_int_equal(fixture->refusals, 0);
}

static void test_each_failing_allocation_is_survived(void **state)
{
    struct fixture *fixture = *state;
    struct fake_locator *locator = &fixture->locators[0];
    locator_listen(locator);
    long live = mem_fault_live();
    for (unsigned long n = 1;; n++) {
        mem_fault_fail_at(n);
        enum error error = link_start(fixture, 1, 60000);
        mem_fault_fail_at(0);
        if (error == OK)
            break;
        assert_int_equal(error, ERROR_MEMORY);
        assert_int_equal(mem_fault_live(), live);
    }
    for (unsigned long n = 1; n < 60; n++) {
        run(fixture, SEC);
        assert_true(link_is_up(fixture->link));
        push_map(locator, n, true);
        mem_fault_fail_at(n);
        sim_run_until(fixture->sim, NULL, NULL, 300 * MS);
        mem_fault_fail_at(0);
        run(fixture, SEC);
        assert_true(link_is_up(fixture->link));
        push_map(locator, n, true);
        run(fixture, 250 * MS);
        assert_int_equal(fixture->epoch, n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_server_says_who_it_is_and_takes_the_map),
        TEST(test_next_locator_is_tried_and_the_first_again),
        TEST(test_each_locator_is_linked_to_once_one_has_taken_the_server_in),
        TEST(test_reconnects_within_500_ms_however_long_it_was_away),
        TEST(test_no_locator_within_the_wait_is_a_timeout_with_its_cause),
        TEST(test_refusals_before_the_join_are_told_with_the_locators_text),
        TEST(test_joined_server_ends_only_when_its_name_is_anothers),
        TEST(test_server_that_leaves_says_so_to_each_locator_that_it_reaches),
        TEST(test_server_that_leaves_before_it_has_joined_looks_no_further),
        TEST(test_each_failing_allocation_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
