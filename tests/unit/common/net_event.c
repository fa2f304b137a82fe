#include "tests/unit/common/net_event_fixture.h"

static bool all_frames_echoed(struct fixture *fixture)
{
    return fixture->server.received.len == 100 * 24 && net_conn_unsent(fixture->server.conn) == 0 &&
           net_event_counters(fixture->net).writes > 0;
}

static void pipelined_frames_cost_one_read_and_one_write(void **state)
{
    struct fixture *fixture = *state;
    int fd = raw_connect(fixture);
    struct net_event_counters before, after;
    uint8_t frames[100 * 24], echoed[100 * 24];

    fixture->server.echo = true;
    fixture->server.frame = 24;
    run_until(fixture, is_accepted);
    for (size_t i = 0; i < sizeof frames; i++)
        frames[i] = (uint8_t)(i * 7);
    raw_send(fd, frames, sizeof frames);
    before = net_event_counters(fixture->net);
    run_until(fixture, all_frames_echoed);
    after = net_event_counters(fixture->net);
    assert_int_equal(after.reads - before.reads, 1);
    assert_int_equal(after.writes - before.writes, 1);
    assert_int_equal(after.read_bytes - before.read_bytes, sizeof frames);
    assert_int_equal(fixture->server.data_calls, 1);
    assert_int_equal(recv(fd, echoed, sizeof echoed, MSG_WAITALL), sizeof echoed);
    assert_memory_equal(frames, echoed, sizeof frames);
    close(fd);
}

static bool first_part_read(struct fixture *fixture)
{
    return fixture->server.data_calls == 1;
}

static bool second_part_read(struct fixture *fixture)
{
    return fixture->server.data_calls == 2;
}

static void a_partial_frame_is_given_again_with_what_follows(void **state)
{
    struct fixture *fixture = *state;
    int fd = raw_connect(fixture);

    fixture->server.frame = 10;
    raw_send(fd, "0123456789abc", 13);
    run_until(fixture, first_part_read);
    assert_int_equal(fixture->server.received.len, 10);
    raw_send(fd, "defghij", 7);
    run_until(fixture, second_part_read);
    assert_int_equal(fixture->server.received.len, 20);
    assert_memory_equal(fixture->server.received.data, "0123456789abcdefghij", 20);
    close(fd);
}

static bool server_saw_eof(struct fixture *fixture)
{
    return fixture->server.eofs > 0;
}

static void half_close_gives_the_rest_and_still_allows_an_answer(void **state)
{
    struct fixture *fixture = *state;
    int fd = raw_connect(fixture);
    char answer[8];

    fixture->server.frame = 4;
    raw_send(fd, "whole?", 6);
    shutdown(fd, SHUT_WR);
    run_until(fixture, server_saw_eof);
    assert_int_equal(fixture->server.rest.len, 2);
    assert_memory_equal(fixture->server.rest.data, "e?", 2);
    assert_int_equal(net_conn_write(fixture->server.conn, "answer", 6), OK);
    net_conn_finish(fixture->server.conn);
    run_until(fixture, no_connections);
    assert_int_equal(recv(fd, answer, sizeof answer, MSG_WAITALL), 6);
    assert_memory_equal(answer, "answer", 6);
    assert_int_equal(fixture->server.closes, 0);
    close(fd);
}

static void a_reset_is_told_as_the_last_callback(void **state)
{
    struct fixture *fixture = *state;
    int fd = raw_connect(fixture);
    struct linger hard = {.l_onoff = 1, .l_linger = 0};

    run_until(fixture, is_accepted);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(fd);
    run_until(fixture, server_has_closed);
    assert_int_equal(fixture->server.why, ERROR_RESET);
    assert_int_equal(fixture->server.closes, 1);
    assert_int_equal(fixture->server.eofs, 0);
}

static bool data_came(struct fixture *fixture)
{
    return fixture->server.data_calls > 0;
}

static void finish_with_unread_input_delivers_the_last_answer(void **state)
{
    struct fixture *fixture = *state;
    int fd = raw_connect(fixture);
    static const char flood[600 * 1024];
    int error_number = 0;
    socklen_t size = sizeof error_number;
    char answer[64];
    ssize_t len;

    fcntl(fd, F_SETFL, O_NONBLOCK);
    fixture->server.in_data = DO_FINISH;
    fixture->server.echo = true;
    fixture->server.frame = 5;
    assert_int_equal(send(fd, "error", 5, 0), 5);
    run_until(fixture, data_came);
    assert_true(send(fd, flood, sizeof flood, MSG_NOSIGNAL) > 0);
    assert_true(shutdown(fd, SHUT_WR) == 0);
    run_until(fixture, no_connections);
    fcntl(fd, F_SETFL, 0);
    len = recv(fd, answer, sizeof answer, MSG_WAITALL);
    assert_int_equal(len, 5);
    assert_memory_equal(answer, "error", 5);
    /* An orderly end: what was sent afterwards was taken, and no reset came for it. */
    assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error_number, &size), 0);
    assert_int_equal(error_number, 0);
    assert_int_equal(recv(fd, answer, sizeof answer, 0), 0);
    assert_int_equal(fixture->server.closes, 0);
    close(fd);
}

static void finish_ends_although_the_peer_never_closes(void **state)
{
    struct fixture *fixture = *state;
    int fd = raw_connect(fixture);
    char answer[8];

    run_until(fixture, is_accepted);
    net_conn_write(fixture->server.conn, "bye", 3);
    net_conn_finish(fixture->server.conn);
    run_until(fixture, no_connections);
    assert_int_equal(recv(fd, answer, sizeof answer, MSG_WAITALL), 3);
    close(fd);
}

static void an_abort_inside_on_data_is_the_end(void **state)
{
    struct fixture *fixture = *state;
    int fd = raw_connect(fixture);
    char byte;

    fixture->server.in_data = DO_ABORT;
    fixture->server.echo = true;
    raw_send(fd, "x", 1);
    run_until(fixture, data_came);
    assert_int_equal(net_event_counters(fixture->net).connections, 0);
    assert_int_equal(recv(fd, &byte, 1, 0), 0);
    assert_int_equal(fixture->server.closes, 0);
    close(fd);
}

static void finish_inside_on_eof_closes_quietly(void **state)
{
    struct fixture *fixture = *state;
    int fd = raw_connect(fixture);
    char byte;

    fixture->server.finish_at_eof = true;
    shutdown(fd, SHUT_WR);
    run_until(fixture, server_saw_eof);
    run_until(fixture, no_connections);
    assert_int_equal(recv(fd, &byte, 1, 0), 0);
    assert_int_equal(fixture->server.closes, 0);
    close(fd);
}

static void a_paused_connection_is_silent_until_resumed(void **state)
{
    struct fixture *fixture = *state;
    int fd = raw_connect(fixture);

    fixture->server.frame = 4;
    fixture->server.in_data = DO_PAUSE;
    raw_send(fd, "abcdef", 6);
    run_until(fixture, data_came);
    raw_send(fd, "gh", 2);
    shutdown(fd, SHUT_WR);
    run_until(fixture, ten_polls);
    assert_int_equal(fixture->server.data_calls, 1);
    assert_int_equal(fixture->server.eofs, 0);
    fixture->server.in_data = DO_NOTHING;
    net_conn_resume(fixture->server.conn);
    assert_int_equal(fixture->server.data_calls, 1);
    run_until(fixture, server_saw_eof);
    assert_int_equal(fixture->server.received.len, 8);
    assert_memory_equal(fixture->server.received.data, "abcdefgh", 8);
    close(fd);
}

static void resume_gives_what_was_left_without_new_bytes(void **state)
{
    struct fixture *fixture = *state;
    int fd = raw_connect(fixture);

    fixture->server.frame = 7;
    fixture->server.in_data = DO_PAUSE;
    raw_send(fd, "abcdef", 6);
    run_until(fixture, data_came);
    fixture->server.frame = 6;
    fixture->server.in_data = DO_NOTHING;
    net_conn_resume(fixture->server.conn);
    run_until(fixture, second_part_read);
    assert_int_equal(fixture->server.received.len, 6);
    close(fd);
}

static bool exchange_over(struct fixture *fixture)
{
    return fixture->client.received.len == 30 || fixture->client.closes > 0 ||
           fixture->client.eofs > 0;
}

/* Connects, echoes 30 bytes in frames of 20 and 10, and closes. True if nothing failed. */

static bool exchange(struct fixture *fixture)
{
    static const uint8_t bytes[30] = "0123456789abcdefghijABCDEFGHIJ";

    buf_clear(&fixture->client.received);
    buf_clear(&fixture->server.received);
    fixture->client.closes = fixture->client.eofs = fixture->client.connects = 0;
    fixture->server.conn = fixture->client.conn = NULL;
    fixture->server.echo = true;
    if (net_connect(fixture->net, "127.0.0.1", port_of(fixture), 5000000, &events, &fixture->client,
                    &fixture->client.conn) != OK)
        return false;
    if (net_conn_write(fixture->client.conn, bytes, sizeof bytes) != OK) {
        net_conn_abort(fixture->client.conn);
        return false;
    }
    run_until(fixture, exchange_over);
    if (fixture->client.conn != NULL)
        net_conn_abort(fixture->client.conn);
    if (fixture->server.conn != NULL)
        net_conn_abort(fixture->server.conn);
    return fixture->client.received.len == 30;
}

static size_t echo_or_abort(void *arg, const uint8_t *data, size_t len)
{
    struct side *side = arg;

    buf_append(&side->received, data, len);
    if (side->echo && net_conn_write(side->conn, data, len) != OK) {
        net_conn_abort(side->conn);
        side->conn = NULL;
    }
    return len;
}

static const struct net_conn_events careful = {echo_or_abort, on_eof, on_drain, on_close, NULL};

static void on_accept_careful(void *arg, struct net_socket *socket)
{
    struct fixture *fixture = arg;

    if (net_adopt(fixture->net, socket, &careful, &fixture->server, &fixture->server.conn) != OK)
        fixture->server.conn = NULL;
}

static void every_failed_allocation_leaves_nothing_behind(void **state)
{
    struct fixture *fixture = *state;
    unsigned long n = 1;

    net_listener_close(fixture->listener);
    assert_int_equal(
        net_listen(fixture->net, "127.0.0.1", 0, on_accept_careful, fixture, &fixture->listener),
        OK);
    /* The buffers of the test itself must not be what fails. */
    assert_non_null(buf_reserve(&fixture->client.received, 64));
    assert_non_null(buf_reserve(&fixture->server.received, 64));
    for (;; n++) {
        mem_fault_fail_at(n);
        if (exchange(fixture) && mem_fault_calls() < n)
            break;
        assert_true(n < 100);
        mem_fault_fail_at(0);
        assert_int_equal(net_event_counters(fixture->net).connections, 0);
    }
    assert_true(n > 4);
    mem_fault_fail_at(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        T(pipelined_frames_cost_one_read_and_one_write),
        T(a_partial_frame_is_given_again_with_what_follows),
        T(half_close_gives_the_rest_and_still_allows_an_answer),
        T(a_reset_is_told_as_the_last_callback),
        T(finish_with_unread_input_delivers_the_last_answer),
        T(finish_ends_although_the_peer_never_closes),
        T(an_abort_inside_on_data_is_the_end),
        T(finish_inside_on_eof_closes_quietly),
        T(a_paused_connection_is_silent_until_resumed),
        T(resume_gives_what_was_left_without_new_bytes),
        T(every_failed_allocation_leaves_nothing_behind),
#undef T
    };

    return cmocka_run_group_tests_name("net_event", tests, NULL, NULL);
}
