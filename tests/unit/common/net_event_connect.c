#include "tests/unit/common/net_event_fixture.h"

static void a_refused_connect_is_told_later(void **state)
{
    struct fixture *fixture = *state;
    uint16_t port = port_of(fixture);

    net_listener_close(fixture->listener);
    assert_int_equal(net_connect(fixture->net, "127.0.0.1", port, 5000000, &events,
                                 &fixture->client, &fixture->client.conn),
                     OK);
    assert_int_equal(fixture->client.closes, 0);
    run_until(fixture, client_has_closed);
    assert_int_equal(fixture->client.why, ERROR_REFUSED);
    assert_int_equal(fixture->client.connects, 0);
}

static void a_name_of_the_hosts_file_is_connected(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(net_connect(fixture->net, "localhost", port_of(fixture), 5000000, &events,
                                 &fixture->client, &fixture->client.conn),
                     OK);
    run_until(fixture, is_connected);
    assert_string_equal(net_conn_peer(fixture->client.conn).host, "127.0.0.1");
    assert_int_equal(net_conn_peer(fixture->client.conn).port, port_of(fixture));
    assert_int_equal(net_conn_local(fixture->client.conn).port,
                     net_conn_peer(fixture->server.conn).port);
}

static void a_connect_that_nobody_answers_times_out(void **state)
{
    struct fixture *fixture = *state;

    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int full = socket(AF_INET, SOCK_STREAM, 0), fillers[4];

    /* Nobody accepts here, and once the queue is full the system answers no further connection. */
    assert_int_equal(bind(full, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(full, 0), 0);
    assert_int_equal(getsockname(full, (struct sockaddr *)&address, &len), 0);
    for (int i = 0; i < 4; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)connect(fillers[i], (struct sockaddr *)&address, sizeof address);
    }
    assert_int_equal(net_connect(fixture->net, "127.0.0.1", ntohs(address.sin_port), 50000, &events,
                                 &fixture->client, &fixture->client.conn),
                     OK);
    run_until(fixture, client_has_closed);
    assert_int_equal(fixture->client.why, ERROR_TIMEOUT);
    for (int i = 0; i < 4; i++)
        close(fillers[i]);
    close(full);
}

static bool server_got_early(struct fixture *fixture)
{
    return fixture->server.received.len == 5 && fixture->server.eofs == 1;
}

static void bytes_written_before_the_connection_stands_arrive(void **state)
{
    struct fixture *fixture = *state;

    connect_client(fixture);
    assert_int_equal(net_conn_write(fixture->client.conn, "early", 5), OK);
    net_conn_finish(fixture->client.conn);
    run_until(fixture, server_got_early);
    net_conn_abort(fixture->server.conn);
    run_until(fixture, no_connections);
    assert_int_equal(fixture->client.connects, 0);
    assert_int_equal(fixture->client.closes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        T(a_refused_connect_is_told_later),
        T(a_name_of_the_hosts_file_is_connected),
        T(a_connect_that_nobody_answers_times_out),
        T(bytes_written_before_the_connection_stands_arrive),
#undef T
    };

    return cmocka_run_group_tests_name("net_event_connect", tests, NULL, NULL);
}
