#include "tests/unit/common/net_event_fixture.h"

enum { LARGE = 9 * 1024 * 1024 + 11 };

static bool large_arrived(struct fixture *fixture)
{
    return fixture->client.received.len == LARGE;
}

static bool backlog_stands(struct fixture *fixture)
{
    return net_event_counters(fixture->net).writes > 0;
}

static void a_large_transfer_waits_for_the_reader_and_then_drains(void **state)
{
    struct fixture *fixture = *state;
    uint8_t *large = malloc(LARGE);

    for (size_t i = 0; i < LARGE; i++)
        large[i] = (uint8_t)(i * 31 >> 3);
    connect_client(fixture);
    run_until(fixture, is_connected);
    fixture->client.frame = LARGE;
    net_conn_pause(fixture->client.conn);
    for (size_t at = 0; at < LARGE; at += 70000) {
        size_t len = LARGE - at < 70000 ? LARGE - at : 70000;

        assert_int_equal(net_conn_write(fixture->server.conn, large + at, len), OK);
    }
    run_until(fixture, backlog_stands);
    assert_true(net_conn_unsent(fixture->server.conn) > 0);
    assert_int_equal(fixture->server.drains, 0);
    net_conn_resume(fixture->client.conn);
    run_until(fixture, large_arrived);
    assert_int_equal(net_conn_unsent(fixture->server.conn), 0);
    assert_int_equal(fixture->server.drains, 1);
    assert_memory_equal(fixture->client.received.data, large, LARGE);
    free(large);
}

static bool socket_is_full(struct fixture *fixture)
{
    uint64_t writes = net_event_counters(fixture->net).writes;
    bool same = writes == fixture->writes_seen;

    fixture->writes_seen = writes;
    fixture->still = same ? fixture->still + 1 : 0;
    return writes > 0 && fixture->still > 20;
}

static void a_full_socket_is_not_tried_again_before_it_is_writable(void **state)
{
    struct fixture *fixture = *state;
    static uint8_t large[8 * 1024 * 1024];
    int fd = raw_connect(fixture);
    uint64_t writes;
    size_t unsent;

    run_until(fixture, is_accepted);
    assert_int_equal(net_conn_write(fixture->server.conn, large, sizeof large), OK);
    run_until(fixture, socket_is_full);
    writes = net_event_counters(fixture->net).writes;
    unsent = net_conn_unsent(fixture->server.conn);
    assert_true(unsent > 0);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(net_conn_write(fixture->server.conn, "more", 4), OK);
        fixture->accepted = 0;
        run_until(fixture, ten_polls);
    }
    assert_int_equal(net_event_counters(fixture->net).writes, writes);
    assert_int_equal(net_conn_unsent(fixture->server.conn), unsent + 20);
    close(fd);
}

static bool reserved_gone(struct fixture *fixture)
{
    return ten_polls(fixture);
}

static void a_reservation_without_commit_does_not_stay(void **state)
{
    struct fixture *fixture = *state;
    int fd = raw_connect(fixture);
    uint8_t *room;
    long live;

    run_until(fixture, is_accepted);
    live = mem_fault_live();
    room = net_conn_reserve(fixture->server.conn, 100000);
    assert_non_null(room);
    memset(room, 0, 100000);
    assert_int_equal(mem_fault_live(), live + 1);
    run_until(fixture, reserved_gone);
    assert_int_equal(mem_fault_live(), live);
    assert_int_equal(net_event_counters(fixture->net).writes, 0);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        T(a_large_transfer_waits_for_the_reader_and_then_drains),
        T(a_full_socket_is_not_tried_again_before_it_is_writable),
        T(a_reservation_without_commit_does_not_stay),
#undef T
    };

    return cmocka_run_group_tests_name("net_event_write", tests, NULL, NULL);
}
