/* Frames: whatever bytes arrive, in whatever pieces, a session answers or closes; it never waits
 * for ever, never keeps more than has arrived, and after the client's end nothing of it is left.
 * The first byte picks the role and how reads are split. */
#include <stdio.h>
#include <stdlib.h>

#include "protocol/session.h"
#include "tests/sim/sim_loop.h"
#include "tests/sim/sim_net.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct world {
    struct session_host host;
    struct net *net;
    size_t received;
    bool client_open;
};

static void check(bool holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "does not hold: %s\n", what);
        abort();
    }
}

/* Two operations: one that answers at once, and one that ends the connection. */
static enum error answer(struct session *session, struct slice body)
{
    size_t len = body.len < 64 ? body.len : 64;
    uint8_t *out = session_reply_begin(session, 15, len);
    if (out == NULL)
        return ERROR_MEMORY;
    if (len > 0)
        memcpy(out, body.data, len);
    session_reply_end(session);
    return OK;
}

static enum error finish(struct session *session, struct slice body)
{
    enum error status = answer(session, body);
    session_finish(session);
    return status;
}

static const struct operation operations[] = {
    {.number = 14, .name = "answer", .execute = answer},
    {.number = 30, .name = "finish", .execute = finish},
    {.number = 0},
};

static void on_accept(void *arg, struct net_socket *socket)
{
    struct world *world = arg;
    (void)session_accept(&world->host, world->net, socket);
}

static size_t on_data(void *arg, const uint8_t *data, size_t len)
{
    struct world *world = arg;
    (void)data;
    world->received += len;
    return len;
}

static void on_eof(void *arg, struct slice rest)
{
    (void)arg;
    (void)rest;
}

static void on_drain(void *arg)
{
    (void)arg;
}

static void on_close(void *arg, enum error why)
{
    struct world *world = arg;
    (void)why;
    world->client_open = false;
}

static const struct net_conn_events client_events = {
    .on_data = on_data, .on_eof = on_eof, .on_drain = on_drain, .on_close = on_close};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    _Atomic uint32_t connections = 0;
    struct world world = {.client_open = true};
    struct sim *sim = sim_new(data[0]);
    struct sim_node *member = sim_node_new(sim, "member"), *client = sim_node_new(sim, "client");
    struct loop *loop = sim_loop_new(sim, member), *client_loop = sim_loop_new(sim, client);
    struct net *net = sim_net_new(sim, loop), *client_net = sim_net_new(sim, client_loop);
    struct sim_faults faults = {
        .latency_min_us = 1, .latency_max_us = 20, .split_bytes = (data[0] >> 1) % 8};
    sim_set_faults(sim, &faults);
    world.net = net;
    world.host = (struct session_host){.role = data[0] & 1 ? SESSION_LOCATOR : SESSION_SERVER,
                                       .loop = loop,
                                       .operations = operations,
                                       .owner = &world,
                                       .connections_max = 4,
                                       .idle_ms = LIMIT_IDLE_MS,
                                       .connection_count = &connections};
    check(session_host_init(&world.host) == OK, "the host stands");

    struct net_listener *listener;
    struct net_conn *conn;
    check(net_listen(net, sim_node_host(member), 0, on_accept, &world, &listener) == OK,
          "it listens");
    check(net_connect(client_net, sim_node_host(member), net_listener_address(listener).port,
                      1000000, &client_events, &world, &conn) == OK,
          "the client connects");
    if (net_conn_write(conn, data + 1, size - 1) == OK) {
        sim_run_until(sim, NULL, NULL, 100000);
        if (world.client_open)
            net_conn_finish(conn);
    }
    sim_run_until(sim, NULL, NULL, 70 * 1000000);
    check(atomic_load(&connections) == 0, "nothing is left of the session");
    check(world.received <= size * 80 + 4096, "answers are in proportion to what was asked");

    net_listener_close(listener);
    session_host_fini(&world.host);
    sim_net_free(client_net);
    sim_net_free(net);
    sim_loop_free(client_loop);
    sim_loop_free(loop);
    sim_free(sim);
    return 0;
}
