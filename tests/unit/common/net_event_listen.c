#include "tests/unit/common/net_event_fixture.h"

static bool client_saw_end(struct fixture *fixture)
{
    return fixture->client.eofs > 0 || fixture->client.closes > 0;
}

static void a_refused_socket_is_closed_without_a_word(void **state)
{
    struct fixture *fixture = *state;

    fixture->refuse = true;
    connect_client(fixture);
    run_until(fixture, client_saw_end);
    assert_int_equal(fixture->client.received.len, 0);
    assert_int_equal(fixture->accepted, 1);
}

static bool two_accepted(struct fixture *fixture)
{
    return fixture->accepted >= 2;
}

static bool an_accept_failed(struct fixture *fixture)
{
    return net_event_counters(fixture->net).accept_failures > 0;
}

static void out_of_descriptors_listeners_rest_and_recover(void **state)
{
    struct fixture *fixture = *state;
    struct rlimit old, low;
    uint64_t failures;
    int first = raw_connect(fixture), second;

    run_until(fixture, is_accepted);
    second = raw_connect(fixture);
    getrlimit(RLIMIT_NOFILE, &old);
    low = old;
    low.rlim_cur = (rlim_t)second + 1;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    fixture->refuse = true;
    run_until(fixture, an_accept_failed);
    for (int i = 0; i < 20; i++) {
        fixture->accepted = 0;
        run_until(fixture, ten_polls);
    }
    failures = net_event_counters(fixture->net).accept_failures;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    fixture->accepted = 1;
    run_until(fixture, two_accepted);
    /* 200 polls of half a millisecond: a listener that spins would have failed at least as often.
     */
    assert_true(failures < 20);
    close(first);
    close(second);
}

static void an_address_in_use_is_an_error(void **state)
{
    struct fixture *fixture = *state;
    struct net_listener *second;

    assert_int_equal(
        net_listen(fixture->net, "127.0.0.1", port_of(fixture), on_accept, fixture, &second),
        ERROR_ADDRESS_IN_USE);
    assert_int_equal(net_listen(fixture->net, "no such host", 0, on_accept, fixture, &second),
                     ERROR_NAME);
    assert_int_equal(net_listen(fixture->net, "192.0.2.1", 0, on_accept, fixture, &second),
                     ERROR_NO_ADDRESS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        T(a_refused_socket_is_closed_without_a_word),
        T(out_of_descriptors_listeners_rest_and_recover),
        T(an_address_in_use_is_an_error),
#undef T
    };

    return cmocka_run_group_tests_name("net_event_listen", tests, NULL, NULL);
}
