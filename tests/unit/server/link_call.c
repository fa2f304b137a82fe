/* Requests in both directions: each ends exactly once. */
#include "tests/unit/server/link_fixture.h"

static void test_calls_end_by_answer_failure_break_and_time(void **state)
{
    struct fixture *fixture = *state;
    struct fake_locator *locator = &fixture->locators[0];
    struct slice body = slice_text("body");
    char text[] = "EXISTS: it does";
    locator_listen(locator);
    assert_int_equal(link_start(fixture, 1, 60000), OK);
    assert_int_equal(link_call(fixture->link, 1012, body, on_answer, fixture), ERROR_UNREACHABLE);
    run(fixture, SEC);
    Pb__PeerAnswer answer = PB__PEER_ANSWER__INIT;
    assert_int_equal(link_call(fixture->link, 1012, body, on_answer, fixture), OK);
    run(fixture, SEC);
    answer.id = locator->last_call;
    answer.number = 1013;
    assert_int_equal(PEER_SEND(locator->conn, ANSWER, answer, &answer), OK);
    assert_int_equal(PEER_SEND(locator->conn, ANSWER, answer, &answer), OK); /* twice */
    run(fixture, SEC);
    assert_int_equal(fixture->answers, 1);
    assert_int_equal(fixture->answer_code, 0);

    assert_int_equal(link_call(fixture->link, 1012, body, on_answer, fixture), OK);
    run(fixture, SEC);
    answer.id = locator->last_call;
    answer.code = 50;
    answer.text = text;
    assert_int_equal(PEER_SEND(locator->conn, ANSWER, answer, &answer), OK);
    run(fixture, SEC);
    assert_int_equal(fixture->answers, 2);
    assert_int_equal(fixture->answer_code, 50);
    assert_string_equal(fixture->answer_text, "EXISTS: it does");

    assert_int_equal(link_call(fixture->link, 1012, body, on_answer, fixture), OK);
    run(fixture, 9 * SEC);
    assert_int_equal(fixture->answers, 2);
    run(fixture, 2 * SEC);
    assert_int_equal(fixture->answers, 3);
    assert_memory_equal(fixture->answer_text, "TIMEOUT: ", 9);

    assert_int_equal(link_call(fixture->link, 1012, body, on_answer, fixture), OK);
    run(fixture, SEC);
    locator_cut(locator);
    run(fixture, SEC);
    assert_int_equal(fixture->answers, 4);
    assert_memory_equal(fixture->answer_text, "UNREACHABLE: ", 13);

    assert_int_equal(link_call(fixture->link, 1012, body, on_answer, fixture), OK);
    link_free(fixture->link);
    fixture->link = NULL;
    assert_int_equal(fixture->answers, 5);
}

static void test_calls_are_bounded(void **state)
{
    struct fixture *fixture = *state;
    locator_listen(&fixture->locators[0]);
    assert_int_equal(link_start(fixture, 1, 60000), OK);
    run(fixture, SEC);
    enum error error = OK;
    uint32_t count = 0;
    while (error == OK && count < 100000) {
        error = link_call(fixture->link, 1012, slice_text("x"), on_answer, fixture);
        count += error == OK;
    }
    assert_int_equal(error, ERROR_BUSY);
    run(fixture, 12 * SEC);
    assert_int_equal(fixture->answers, count);
}

static void test_stop_and_calls_of_the_locator_arrive(void **state)
{
    struct fixture *fixture = *state;
    struct fake_locator *locator = &fixture->locators[0];
    Pb__PeerStop stop = PB__PEER_STOP__INIT;
    Pb__PeerCall call = PB__PEER_CALL__INIT;
    locator_listen(locator);
    assert_int_equal(link_start(fixture, 1, 60000), OK);
    run(fixture, SEC);
    call.id = 3;
    call.number = 1030;
    assert_int_equal(PEER_SEND(locator->conn, STOP, stop, &stop), OK);
    assert_int_equal(PEER_SEND(locator->conn, CALL, call, &call), OK);
    run(fixture, SEC);
    assert_int_equal(fixture->stops, 1);
    assert_int_equal(fixture->calls, 1);
    assert_int_equal(locator->answers, 1);
}

static void test_calls_go_to_the_first_locator_that_gives_signs_of_life(void **state)
{
    struct fixture *fixture = *state;
    struct fake_locator *first = &fixture->locators[0], *second = &fixture->locators[1];
    locator_listen(first);
    locator_listen(second);
    assert_int_equal(link_start(fixture, 2, 60000), OK);
    run(fixture, SEC);
    push_map(first, 5, true);
    run(fixture, SEC);
    assert_int_equal(link_call(fixture->link, 1012, slice_text("x"), on_answer, fixture), OK);
    assert_int_equal(link_tell_all(fixture->link, 1074, slice_text("x"), on_answer, fixture), OK);
    run(fixture, SEC);
    assert_int_equal(first->calls, 2);
    assert_int_equal(second->calls, 1);
    for (uint32_t i = 0; i < 4; i++) { /* the first is silent, and its line not given up yet */
        sim_run_until(fixture->sim, NULL, NULL, 250 * MS);
        send_beacon(second);
    }
    assert_int_equal(link_call(fixture->link, 1012, slice_text("x"), on_answer, fixture), OK);
    run(fixture, SEC);
    assert_int_equal(first->calls, 2);
    assert_int_equal(second->calls, 2);
}

static void test_an_answer_goes_back_on_the_connection_that_asked(void **state)
{
    struct fixture *fixture = *state;
    struct fake_locator *first = &fixture->locators[0], *second = &fixture->locators[1];
    Pb__PeerCall call = PB__PEER_CALL__INIT;
    locator_listen(first);
    locator_listen(second);
    assert_int_equal(link_start(fixture, 2, 60000), OK);
    run(fixture, SEC);
    push_map(first, 5, true);
    run(fixture, SEC);
    fixture->keeps_calls = true;
    call.id = 3;
    call.number = 1030;
    assert_int_equal(PEER_SEND(second->conn, CALL, call, &call), OK);
    run(fixture, SEC);
    assert_int_equal(PEER_SEND(first->conn, CALL, call, &call), OK);
    run(fixture, SEC);
    uint64_t of_first = fixture->call_id;
    link_answer(fixture->link, of_first, NULL, 1031, slice_text("x"));
    run(fixture, SEC);
    assert_int_equal(first->answers, 1);
    assert_int_equal(second->answers, 0);
    assert_int_equal(first->last_answer, 3);
    locator_cut(first);
    run(fixture, SEC);
    assert_int_equal(first->hellos, 2);
    link_answer(fixture->link, of_first, NULL, 1031, slice_text("x"));
    run(fixture, SEC);
    assert_int_equal(first->answers, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_calls_end_by_answer_failure_break_and_time),
        TEST(test_calls_are_bounded),
        TEST(test_stop_and_calls_of_the_locator_arrive),
        TEST(test_calls_go_to_the_first_locator_that_gives_signs_of_life),
        TEST(test_an_answer_goes_back_on_the_connection_that_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
