/* One line: the greeting, maps, beacons, silence, nonsense. */
#include "tests/unit/server/link_fixture.h"

static void test_newest_map_wins_and_repeats_change_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct fake_locator *locator = &fixture->locators[0];
    locator_listen(locator);
    assert_int_equal(link_start(fixture, 1, 60000), OK);
    run(fixture, SEC);
    push_map(locator, 5, true);
    push_map(locator, 5, true);
    push_map(locator, 4, true);
    run(fixture, SEC);
    assert_int_equal(fixture->maps, 1);
    assert_int_equal(locator->acknowledged, 5);
    push_map(locator, 9, false); /* only the news */
    run(fixture, SEC);
    assert_int_equal(fixture->maps, 1);
    assert_int_equal(locator->fetches, 1);
    push_map(locator, 9, true);
    run(fixture, SEC);
    assert_int_equal(fixture->epoch, 9);
}

static void test_silent_locator_is_left(void **state)
{
    struct fixture *fixture = *state;
    struct fake_locator *locator = &fixture->locators[0];
    locator_listen(locator);
    assert_int_equal(link_start(fixture, 1, 60000), OK);
    run(fixture, SEC);
    assert_true(link_is_up(fixture->link));
    sim_node_pause(locator->node);
    sim_run_until(fixture->sim, NULL, NULL, 2600 * MS);
    assert_false(link_is_up(fixture->link));
    locator->refusal = -1; /* takes the connection and says nothing */
    sim_node_resume(locator->node);
    run(fixture, 20 * SEC);
    assert_true(locator->hellos >= 3);
    locator->refusal = 0;
    run(fixture, 7 * SEC);
    assert_true(link_is_up(fixture->link));
}

static void test_nonsense_ends_the_connection_and_begins_anew(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
    } cases[] = {
        {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 11}, /* a length that never ends */
        {"\xff\xff\xff\xff\x7f", 5},                          /* more than a message may have */
        {"\x02\xff\xff", 3},                                  /* no message */
        {"\x04\x22\x02\x08\x05", 5},                          /* news of a map: legal, answered */
        {"\x07\x22\x05\x08\x09\x12\x01x", 8},                 /* a map that is none */
    };
    struct fixture *fixture = *state;
    struct fake_locator *locator = &fixture->locators[0];
    locator_listen(locator);
    assert_int_equal(link_start(fixture, 1, 60000), OK);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint32_t hellos = locator->hellos;
        run(fixture, SEC);
        hellos = locator->hellos;
        assert_int_equal(net_conn_write(locator->conn, cases[i].bytes, cases[i].len), OK);
        run(fixture, SEC);
        assert_true(link_is_up(fixture->link));
        assert_int_equal(locator->hellos, i == 3 ? hellos : hellos + 1);
    }
    assert_int_equal(fixture->maps, 0);
}

static void answer_beacon(struct fake_locator *locator, uint64_t received, uint64_t epoch)
{
    Pb__PeerBeacon beacon = PB__PEER_BEACON__INIT;
    beacon.number = ++locator->beacon_number;
    beacon.received = received;
    beacon.epoch = epoch;
    assert_int_equal(PEER_SEND(locator->conn, BEACON, beacon, &beacon), OK);
}

static void test_confirmed_when_the_locator_answers_behind_the_acknowledgement(void **state)
{
    struct fixture *fixture = *state;
    struct fake_locator *locator = &fixture->locators[0];
    locator_listen(locator);
    assert_int_equal(link_start(fixture, 1, 60000), OK);
    run(fixture, SEC);
    assert_int_equal(locator->wishes, 0); /* nothing is acknowledged yet */
    push_map(locator, 5, true);
    run(fixture, MS);
    assert_int_equal(locator->wishes, 1); /* at once */
    uint64_t of_epoch_5 = locator->wished_number;
    answer_beacon(locator, of_epoch_5 - 1, 5); /* sent before it came */
    run(fixture, MS);
    assert_int_equal(fixture->confirmations, 0);
    push_map(locator, 6, true);
    run(fixture, MS);
    answer_beacon(locator, of_epoch_5, 6); /* of the older map */
    answer_beacon(locator, locator->wished_number, 5);
    run(fixture, MS);
    assert_int_equal(fixture->confirmations, 0);
    answer_beacon(locator, locator->wished_number, 6);
    answer_beacon(locator, locator->wished_number, 6);
    run(fixture, MS);
    assert_int_equal(fixture->confirmations, 1);
    uint32_t wishes = locator->wishes;
    run(fixture, SEC);
    assert_int_equal(locator->wishes, wishes);
    locator_cut(locator);
    run(fixture, SEC);
    answer_beacon(locator, locator->wished_number, 6);
    run(fixture, MS);
    assert_int_equal(fixture->confirmations, 2); /* of the next connection */
}

static void test_locator_that_is_not_ready_is_asked_again(void **state)
{
    struct fixture *fixture = *state;
    struct fake_locator *locator = &fixture->locators[0];
    locator_listen(locator);
    locator->refusal = PB__PEER_WELCOME__REFUSAL__NOT_READY;
    assert_int_equal(link_start(fixture, 1, 60000), OK);
    run(fixture, 2 * SEC);
    assert_int_equal(fixture->refusals, 0);
    assert_true(locator->hellos > 2);
    locator->refusal = 0;
    run(fixture, SEC);
    assert_true(link_is_up(fixture->link));
}

static void test_a_locator_that_has_lost_its_map_is_given_ours(void **state)
{
    struct fixture *fixture = *state;
    struct fake_locator *locator = &fixture->locators[0];
    Pb__PeerMapFetch fetch = PB__PEER_MAP_FETCH__INIT;
    locator_listen(locator);
    assert_int_equal(link_start(fixture, 1, 60000), OK);
    run(fixture, SEC);
    assert_int_equal(PEER_SEND(locator->conn, MAP_FETCH, map_fetch, &fetch), OK);
    run(fixture, SEC);
    assert_int_equal(locator->given, 0); /* there is none yet */
    push_map(locator, 5, true);
    run(fixture, SEC);
    assert_int_equal(PEER_SEND(locator->conn, MAP_FETCH, map_fetch, &fetch), OK);
    run(fixture, SEC);
    assert_int_equal(locator->given, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_newest_map_wins_and_repeats_change_nothing),
        TEST(test_silent_locator_is_left),
        TEST(test_nonsense_ends_the_connection_and_begins_anew),
        TEST(test_confirmed_when_the_locator_answers_behind_the_acknowledgement),
        TEST(test_locator_that_is_not_ready_is_asked_again),
        TEST(test_a_locator_that_has_lost_its_map_is_given_ours),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
