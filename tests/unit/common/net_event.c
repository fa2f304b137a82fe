/* The real network over loopback sockets. Peers are raw sockets where the test has to be sure of what is on the wire. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/net.h"
#include "tests/lib/mem_fault.h"

enum { DEADLINE_US = 20 * 1000000, POLL_US = 500 };

struct fixture;

/* One connection under test and everything that was told about it. */
struct side {
    struct fixture *fixture;
    struct net_conn *conn; /* NULL once it is gone */
    struct buf received;
    struct buf rest;
    size_t data_calls;
    size_t connects, eofs, drains, closes;
    enum error why;
    size_t frame; /* consumes whole frames of this size only; 0 takes everything */
    bool echo;
    bool finish_at_eof;
    enum { DO_NOTHING, DO_ABORT, DO_FINISH, DO_PAUSE } in_data;
};

struct fixture {
    struct loop *loop;
    struct net *net;
    struct net_listener *listener;
    struct loop_timer poll;
    bool (*until)(struct fixture *fixture);
    uint64_t deadline_us;
    bool timed_out;
    struct side server; /* the last accepted one */
    struct side client;
    size_t accepted;
    bool refuse;
    long live_before;
};

static size_t on_data(void *arg, const uint8_t *data, size_t len)
{
    struct side *side = arg;
    size_t used = side->frame == 0 ? len : len - len % side->frame;

    side->data_calls++;
    buf_append(&side->received, data, used);
    if (side->echo) {
        size_t step = side->frame == 0 ? used : side->frame;

        for (size_t at = 0; at < used; at += step)
            assert_int_equal(net_conn_write(side->conn, data + at, step), OK);
    }
    switch (side->in_data) {
    case DO_NOTHING:
        break;
    case DO_ABORT:
        net_conn_abort(side->conn);
        side->conn = NULL;
        break;
    case DO_FINISH:
        net_conn_finish(side->conn);
        side->conn = NULL;
        break;
    case DO_PAUSE:
        net_conn_pause(side->conn);
        break;
    }
    return used;
}

static void on_eof(void *arg, struct slice rest)
{
    struct side *side = arg;

    side->eofs++;
    buf_append_slice(&side->rest, rest);
    if (side->finish_at_eof) {
        net_conn_finish(side->conn);
        side->conn = NULL;
    }
}

static void on_drain(void *arg)
{
    struct side *side = arg;

    side->drains++;
}

static void on_close(void *arg, enum error why)
{
    struct side *side = arg;

    side->closes++;
    side->why = why;
    side->conn = NULL;
}

static void on_connect(void *arg)
{
    struct side *side = arg;

    side->connects++;
}

static const struct net_conn_events events = {on_data, on_eof, on_drain, on_close, on_connect};

static void on_accept(void *arg, struct net_socket *socket)
{
    struct fixture *fixture = arg;

    fixture->accepted++;
    if (fixture->refuse) {
        net_refuse(fixture->net, socket);
        return;
    }
    if (net_adopt(fixture->net, socket, &events, &fixture->server, &fixture->server.conn) != OK)
        fixture->server.conn = NULL;
}

static void on_poll(void *arg)
{
    struct fixture *fixture = arg;

    fixture->timed_out = loop_now_us(fixture->loop) >= fixture->deadline_us;
    if (fixture->timed_out || fixture->until(fixture))
        loop_event_stop(fixture->loop);
    else
        loop_timer_set(&fixture->poll, POLL_US);
}

static void run_until(struct fixture *fixture, bool (*until)(struct fixture *))
{
    fixture->until = until;
    fixture->deadline_us = loop_now_us(fixture->loop) + DEADLINE_US;
    loop_timer_set(&fixture->poll, 0);
    loop_event_run(fixture->loop);
    assert_false(fixture->timed_out);
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);

    fixture->live_before = mem_fault_live();
    assert_int_equal(loop_event_new(&fixture->loop), OK);
    assert_int_equal(net_event_new(fixture->loop, NULL, &fixture->net), OK);
    assert_int_equal(loop_timer_init(&fixture->poll, fixture->loop, on_poll, fixture), OK);
    assert_int_equal(
        net_listen(fixture->net, "127.0.0.1", 0, on_accept, fixture, &fixture->listener), OK);
    fixture->server.fixture = fixture;
    fixture->client.fixture = fixture;
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    mem_fault_fail_at(0);
    loop_timer_fini(&fixture->poll);
    net_event_free(fixture->net);
    loop_event_free(fixture->loop);
    buf_fini(&fixture->server.received);
    buf_fini(&fixture->client.received);
    buf_fini(&fixture->server.rest);
    buf_fini(&fixture->client.rest);
    assert_int_equal(mem_fault_live(), fixture->live_before);
    free(fixture);
    return 0;
}

static uint16_t port_of(struct fixture *fixture)
{
    return net_listener_address(fixture->listener).port;
}

/* A blocking socket that is connected to the listener (its backlog, at least). */
static int raw_connect(struct fixture *fixture)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(port_of(fixture)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static void raw_send(int fd, const void *data, size_t len)
{
    assert_int_equal(send(fd, data, len, 0), (ssize_t)len);
}

static bool is_accepted(struct fixture *fixture)
{
    return fixture->server.conn != NULL;
}

static bool is_connected(struct fixture *fixture)
{
    return fixture->server.conn != NULL && fixture->client.connects > 0;
}

static bool server_has_closed(struct fixture *fixture)
{
    return fixture->server.closes > 0;
}

static bool client_has_closed(struct fixture *fixture)
{
    return fixture->client.closes > 0;
}

static bool no_connections(struct fixture *fixture)
{
    return net_event_counters(fixture->net).connections == 0;
}

static void connect_client(struct fixture *fixture)
{
    assert_int_equal(net_connect(fixture->net, "127.0.0.1", port_of(fixture), 5000000, &events,
                                 &fixture->client, &fixture->client.conn),
                     OK);
    assert_int_equal(fixture->client.connects, 0);
}

/* ---- */

static bool all_frames_echoed(struct fixture *fixture)
{
    return fixture->server.received.len == 100 * 24 &&
           net_conn_unsent(fixture->server.conn) == 0 &&
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
    char answer[64];
    ssize_t len;

    fcntl(fd, F_SETFL, O_NONBLOCK);
    fixture->server.in_data = DO_FINISH;
    fixture->server.echo = true;
    fixture->server.frame = 5;
    assert_int_equal(send(fd, "error", 5, 0), 5);
    run_until(fixture, data_came);
    for (int i = 0; i < 10; i++)
        (void)!send(fd, flood, sizeof flood, MSG_NOSIGNAL);
    assert_true(shutdown(fd, SHUT_WR) == 0);
    run_until(fixture, no_connections);
    fcntl(fd, F_SETFL, 0);
    len = recv(fd, answer, sizeof answer, MSG_WAITALL);
    assert_int_equal(len, 5);
    assert_memory_equal(answer, "error", 5);
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

static bool ten_polls(struct fixture *fixture)
{
    return ++fixture->accepted > 10;
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

    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
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
    assert_int_equal(net_connect(fixture->net, "127.0.0.1", ntohs(address.sin_port), 50000,
                                 &events, &fixture->client, &fixture->client.conn),
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
    /* 200 polls of half a millisecond: a listener that spins would have failed at least as often. */
    assert_true(failures < 20);
    close(first);
    close(second);
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
    if (net_connect(fixture->net, "127.0.0.1", port_of(fixture), 5000000, &events,
                    &fixture->client, &fixture->client.conn) != OK)
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
    assert_int_equal(net_listen(fixture->net, "127.0.0.1", 0, on_accept_careful, fixture,
                                &fixture->listener),
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

static void an_address_in_use_is_an_error(void **state)
{
    struct fixture *fixture = *state;
    struct net_listener *second;

    assert_int_equal(
        net_listen(fixture->net, "127.0.0.1", port_of(fixture), on_accept, fixture, &second),
        ERROR_ADDRESS_IN_USE);
    assert_int_equal(net_listen(fixture->net, "no such host", 0, on_accept, fixture, &second),
                     ERROR_NAME);
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
        T(a_large_transfer_waits_for_the_reader_and_then_drains),
        T(a_refused_connect_is_told_later),
        T(a_name_of_the_hosts_file_is_connected),
        T(a_connect_that_nobody_answers_times_out),
        T(bytes_written_before_the_connection_stands_arrive),
        T(a_refused_socket_is_closed_without_a_word),
        T(out_of_descriptors_listeners_rest_and_recover),
        T(a_reservation_without_commit_does_not_stay),
        T(every_failed_allocation_leaves_nothing_behind),
        T(an_address_in_use_is_an_error),
#undef T
    };

    return cmocka_run_group_tests_name("net_event", tests, NULL, NULL);
}
