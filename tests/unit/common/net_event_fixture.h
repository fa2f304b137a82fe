/* What the tests of the real network share: a loop, a net that listens on the loopback, and both
 * sides of a connection with everything that was told about them. Peers are raw sockets where a
 * test has to be sure of what is on the wire. */
#ifndef VUG_TESTS_UNIT_COMMON_NET_EVENT_FIXTURE_H
#define VUG_TESTS_UNIT_COMMON_NET_EVENT_FIXTURE_H

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
    uint64_t writes_seen;
    unsigned still;
    long live_before;
};

static inline size_t on_data(void *arg, const uint8_t *data, size_t len)
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

static inline void on_eof(void *arg, struct slice rest)
{
    struct side *side = arg;

    side->eofs++;
    buf_append_slice(&side->rest, rest);
    if (side->finish_at_eof) {
        net_conn_finish(side->conn);
        side->conn = NULL;
    }
}

static inline void on_drain(void *arg)
{
    struct side *side = arg;

    side->drains++;
}

static inline void on_close(void *arg, enum error why)
{
    struct side *side = arg;

    side->closes++;
    side->why = why;
    side->conn = NULL;
}

static inline void on_connect(void *arg)
{
    struct side *side = arg;

    side->connects++;
}

static const struct net_conn_events events = {on_data, on_eof, on_drain, on_close, on_connect};

static inline void on_accept(void *arg, struct net_socket *socket)
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

static inline void on_poll(void *arg)
{
    struct fixture *fixture = arg;

    fixture->timed_out = loop_now_us(fixture->loop) >= fixture->deadline_us;
    if (fixture->timed_out || fixture->until(fixture))
        loop_event_stop(fixture->loop);
    else
        loop_timer_set(&fixture->poll, POLL_US);
}

static inline void run_until(struct fixture *fixture, bool (*until)(struct fixture *))
{
    fixture->until = until;
    fixture->deadline_us = loop_now_us(fixture->loop) + DEADLINE_US;
    loop_timer_set(&fixture->poll, 0);
    loop_event_run(fixture->loop);
    assert_false(fixture->timed_out);
}

static inline int set_up(void **state)
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

static inline int tear_down(void **state)
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

static inline uint16_t port_of(struct fixture *fixture)
{
    return net_listener_address(fixture->listener).port;
}

/* A blocking socket that is connected to the listener (its backlog, at least). */
static inline int raw_connect(struct fixture *fixture)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(port_of(fixture)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static inline void raw_send(int fd, const void *data, size_t len)
{
    assert_int_equal(send(fd, data, len, 0), (ssize_t)len);
}

static inline bool is_accepted(struct fixture *fixture)
{
    return fixture->server.conn != NULL;
}

static inline bool is_connected(struct fixture *fixture)
{
    return fixture->server.conn != NULL && fixture->client.connects > 0;
}

static inline bool server_has_closed(struct fixture *fixture)
{
    return fixture->server.closes > 0;
}

static inline bool client_has_closed(struct fixture *fixture)
{
    return fixture->client.closes > 0;
}

static inline bool no_connections(struct fixture *fixture)
{
    return net_event_counters(fixture->net).connections == 0;
}

static inline void connect_client(struct fixture *fixture)
{
    assert_int_equal(net_connect(fixture->net, "127.0.0.1", port_of(fixture), 5000000, &events,
                                 &fixture->client, &fixture->client.conn),
                     OK);
    assert_int_equal(fixture->client.connects, 0);
}

static inline bool ten_polls(struct fixture *fixture)
{
    return ++fixture->accepted > 10;
}

#endif
