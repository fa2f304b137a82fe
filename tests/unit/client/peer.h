/* A scripted member under the simulated network: it takes frames apart, keeps them, and answers as
 * the test says.
 *
 * Node "here" is the client's; each struct peer listens on a node of its own. */
#ifndef VUG_TESTS_UNIT_CLIENT_PEER_H
#define VUG_TESTS_UNIT_CLIENT_PEER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "client/vug.h"
#include "client/wire.h"
#include "tests/sim/sim_net.h"

struct peer_request {
    uint32_t number;
    struct buf body;
};

struct peer {
    struct sim_node *node;
    struct loop *loop;
    struct net *net;
    struct net_listener *listener;
    struct net_conn *conn; /* the newest */
    unsigned connections;
    bool version_done, silent;          /* silent: answers nothing at all */
    struct peer_request requests[2048]; /* without handshakes */
    unsigned request_count;
    void (*on_request)(struct peer *peer, uint32_t number,
                       struct slice body); /* NULL: the test answers */
    void *arg;
};

struct world {
    struct sim *sim;
    struct sim_node *node;
    struct loop *loop;
    struct net *net;
};

static inline void peer_frame(struct peer *peer, uint32_t number, struct slice body)
{
    struct buf frame;
    buf_init(&frame);
    vug_wire_frame(&frame, number, body);
    assert_int_equal(net_conn_write(peer->conn, frame.data, frame.len), OK);
    buf_fini(&frame);
}

static inline void peer_error(struct peer *peer, uint32_t code, const char *text)
{
    struct buf inner, body;
    buf_init(&inner);
    buf_init(&body);
    vug_wire_uint(&inner, 1, code);
    vug_wire_text(&inner, 2, text);
    vug_wire_bytes(&body, 1, buf_slice(&inner));
    peer_frame(peer, 1, buf_slice(&body));
    buf_fini(&body);
    buf_fini(&inner);
}

static inline void peer_drop(struct peer *peer)
{
    if (peer->conn != NULL)
        net_conn_abort(peer->conn);
    peer->conn = NULL;
}

static inline size_t peer_on_data(void *arg, const uint8_t *data, size_t len)
{
    struct peer *peer = arg;
    const uint8_t *at = data, *end = data + len;
    if (!peer->version_done) {
        if (len < 11)
            return 0;
        assert_memory_equal(data, "\x0a\x0d\x01\x00\x00\x00\x15\x01\x00\x00\x00", 11);
        at += 11;
        peer->version_done = true;
        if (!peer->silent)
            assert_int_equal(net_conn_write(peer->conn, "\x06\x08\x01\x10\x01\x18\x01", 7), OK);
    }
    while (at < end) {
        uint64_t frame_len = 0;
        const uint8_t *content = codec_get_varint(at, end, &frame_len);
        if (content == NULL || frame_len > (uint64_t)(end - content))
            break;
        uint32_t number = 0;
        struct slice body = {0};
        assert_int_equal(codec_message(slice_of(content, frame_len), &number, &body), OK);
        at = content + frame_len;
        if (peer->silent)
            continue;
        if (number == VUG_HANDSHAKE) {
            peer_frame(peer, VUG_HANDSHAKE + 1, (struct slice){0});
            continue;
        }
        assert_true(peer->request_count < sizeof peer->requests / sizeof peer->requests[0]);
        struct peer_request *request = &peer->requests[peer->request_count++];
        request->number = number;
        buf_init(&request->body);
        buf_append_slice(&request->body, body);
        struct net_conn *before = peer->conn;
        if (peer->on_request != NULL)
            peer->on_request(peer, number, buf_slice(&request->body));
        if (peer->conn != before) /* dropped */
            return 0;
    }
    return (size_t)(at - data);
}

static inline void peer_on_eof(void *arg, struct slice rest)
{
    (void)rest;
    peer_drop(arg);
}

static inline void peer_on_drain(void *arg)
{
    (void)arg;
}

static inline void peer_on_close(void *arg, enum error why)
{
    struct peer *peer = arg;
    (void)why;
    peer->conn = NULL;
}

static inline void peer_on_accept(void *arg, struct net_socket *socket)
{
    static const struct net_conn_events events = {.on_data = peer_on_data,
                                                  .on_eof = peer_on_eof,
                                                  .on_drain = peer_on_drain,
                                                  .on_close = peer_on_close};
    struct peer *peer = arg;
    peer_drop(peer);
    peer->version_done = false;
    peer->connections++;
    assert_int_equal(net_adopt(peer->net, socket, &events, peer, &peer->conn), OK);
}

static inline void world_begin(struct world *world, uint64_t seed)
{
    world->sim = sim_new(seed);
    world->node = sim_node_new(world->sim, "here");
    world->loop = sim_loop_new(world->sim, world->node);
    world->net = sim_net_new(world->sim, world->loop);
}

static inline void world_end(struct world *world)
{
    sim_net_free(world->net);
    sim_loop_free(world->loop);
    sim_free(world->sim);
}

static inline void peer_begin(struct peer *peer, struct world *world, const char *name,
                              uint16_t port)
{
    *peer = (struct peer){.node = sim_node_new(world->sim, name)};
    peer->loop = sim_loop_new(world->sim, peer->node);
    peer->net = sim_net_new(world->sim, peer->loop);
    assert_int_equal(net_listen(peer->net, sim_node_host(peer->node), port, peer_on_accept, peer,
                                &peer->listener),
                     OK);
}

static inline void peer_end(struct peer *peer)
{
    for (unsigned i = 0; i < peer->request_count; i++)
        buf_fini(&peer->requests[i].body);
    peer_drop(peer);
    net_listener_close(peer->listener);
    sim_net_free(peer->net);
    sim_loop_free(peer->loop);
}

/* Steps until the flag is set; false after `ms` of virtual time. */
static inline bool flag_is_set(void *arg)
{
    return *(bool *)arg;
}

static inline bool world_wait(struct world *world, bool *flag, uint64_t ms)
{
    return sim_run_until(world->sim, flag_is_set, flag, ms * 1000);
}

static inline void world_pass(struct world *world, uint64_t ms)
{
    (void)sim_run_until(world->sim, NULL, NULL, ms * 1000);
}

static inline struct vug_target target_straight(const char *host)
{
    struct vug_target target = {.straight = true};
    snprintf(target.server.host, sizeof target.server.host, "%s", host);
    target.server.port = VUG_SERVER_PORT;
    return target;
}

#endif
