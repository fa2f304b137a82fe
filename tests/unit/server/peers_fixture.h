/* Some servers' peers modules under the simulated clock and network: real connections, leases and
 * mailboxes; buckets, calls, images and feeds are replaced by counters. */
#ifndef VUG_TESTS_UNIT_SERVER_PEERS_FIXTURE_H
#define VUG_TESTS_UNIT_SERVER_PEERS_FIXTURE_H

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <cmocka.h>

#include "protocol/message.h"
#include "server/feed.h"
#include "server/image.h"
#include "server/peers_impl.h"
#include "tests/lib/mem_fault.h"
#include "tests/sim/sim_net.h"

#define MS  UINT64_C(1000)
#define SEC UINT64_C(1000000)

enum { NODES = 3, WORKERS = 2, PORT = 40404 };

struct node {
    struct sim *sim;
    struct sim_node *machine;
    struct loop *loops[1 + WORKERS];
    struct net *nets[1 + WORKERS];
    struct net_listener *listener;
    struct server server;
    struct worker workers[WORKERS];
    struct catalog catalog;
    uint32_t connections, next_worker;
    bool is_running;
    /* What the rest of the server was told. */
    uint32_t records, acks, calls, answers, pieces, opens, events, exceptions_written;
    uint32_t replication_ups, replication_downs, request_ups, request_downs, gone_conns;
    uint32_t filled, calls_filled, maps, announces;
    uint64_t exception_lease_us; /* what the lease was when the last exception came */
    uint32_t exceptions;
    char last[64]; /* content of the last frame */
    char announced[64];
    bool ack_back;      /* a record is acknowledged */
    enum error verdict; /* of records */
    unsigned fail_exceptions;
    bool fill_nothing;
    uint64_t fill_left; /* frames that replica_fill_locked() has to write */
    struct {
        uint64_t incarnation, at_us;
        bool gone;
        char evidence[160];
    } reports[64];
    uint32_t report_count;
    uint64_t wanted_epoch;
    struct cluster_map *given; /* on its way to the main loop */
    struct loop_task give;
};

struct fixture {
    struct sim *sim;
    struct log *log;
    struct node nodes[NODES];
    struct cluster_map *map;
};

static const uint8_t cluster_id[CLUSTER_ID_BYTES] = {7, 7, 7};

static struct node *node_of(struct server *server)
{
    return server->arg;
}

/* ---- The rest of the server ---- */

static void keep(struct node *node, struct slice content)
{
    snprintf(node->last, sizeof node->last, "%.*s", SLICE_FMT(content));
}

enum error replica_on_records(struct peer_conn *from, struct slice content)
{
    struct node *node = node_of(from->worker->server);
    node->records++;
    keep(node, content);
    if (node->ack_back)
        buf_append(&from->acks, "+", 1);
    return node->verdict;
}

enum error replica_on_acks(struct peer_conn *from, struct slice content)
{
    node_of(from->worker->server)->acks += (uint32_t)content.len;
    return OK;
}

enum error replica_on_exceptions(struct peer_conn *from, struct slice content)
{
    struct node *node = node_of(from->worker->server);
    (void)content;
    node->exceptions++;
    node->exception_lease_us = atomic_load(&from->peer->lease_until_us);
    return OK;
}

enum error replica_on_announce(struct peer_conn *from, struct slice content)
{
    struct node *node = node_of(from->worker->server);
    size_t len = strlen(node->announced);
    node->announces++;
    snprintf(node->announced + len, sizeof node->announced - len, "%.*s ", SLICE_FMT(content));
    return OK;
}

enum error replica_on_announced(struct peer_conn *from, struct slice content)
{
    (void)from;
    (void)content;
    return OK;
}

void replica_on_link(struct peer *peer, bool up)
{
    struct node *node = node_of(peer->server);
    if (up)
        node->replication_ups++;
    else
        node->replication_downs++;
}

enum error replica_write_exceptions(struct peer_conn *to)
{
    struct node *node = node_of(to->worker->server);
    if (node->fail_exceptions > 0) {
        node->fail_exceptions--;
        return ERROR_MEMORY;
    }
    node->exceptions_written++;
    return peer_frame_send(to->conn, PEER_FRAME_EXCEPTIONS, slice_text("x"));
}

bool replica_fill_locked(struct replica_copy *copy, struct net_conn *conn)
{
    struct node *node = node_of(copy->peer->server);
    assert_int_equal(pthread_mutex_trylock(&copy->bucket->lock), EBUSY); /* its caller has it */
    node->filled++;
    if (node->fill_nothing)
        return true;
    if (node->fill_left > 0) {
        static const uint8_t block[64 * 1024];
        node->fill_left--;
        assert_int_equal(peer_frame_send(conn, PEER_FRAME_RECORDS, slice_of(block, sizeof block)),
                         OK);
    } else {
        assert_int_equal(peer_frame_send(conn, PEER_FRAME_RECORDS, slice_text("filled")), OK);
    }
    return node->fill_left > 0;
}

void replica_seal(struct bucket *bucket, uint32_t generation, uint32_t set_version, uint32_t term,
                  struct seal_answer *answer)
{
    (void)bucket;
    (void)generation;
    (void)set_version;
    *answer = (struct seal_answer){.verdict = SEAL_DONE, .current = term};
}

static struct {
    uint32_t count;
    enum place_action action;
    uint64_t member[16];
} placed;

void replica_place(struct bucket *bucket, uint32_t generation, enum place_action action,
                   struct peer *peer)
{
    (void)generation;
    placed.action = action;
    placed.member[bucket->id] = peer->incarnation;
    placed.count++;
}

struct region *region_ref(struct region *region)
{
    atomic_fetch_add(&region->refs, 1);
    return region;
}

void region_unref(struct region *region)
{
    if (region != NULL)
        atomic_fetch_sub(&region->refs, 1);
}

void bucket_lock(struct bucket *bucket)
{
    pthread_mutex_lock(&bucket->lock);
}

void bucket_unlock(struct bucket *bucket)
{
    pthread_mutex_unlock(&bucket->lock);
}

bool image_fill(struct peer *peer, struct net_conn *conn)
{
    (void)peer;
    (void)conn;
    return false;
}

enum error image_on_piece(struct peer_conn *from, struct slice content)
{
    (void)content;
    node_of(from->worker->server)->pieces++;
    return OK;
}

enum error image_on_ack(struct peer_conn *from, struct slice content)
{
    (void)from;
    (void)content;
    return OK;
}

void image_on_link(struct peer *peer, bool up)
{
    (void)peer;
    (void)up;
}

struct call *call_ref(struct call *call)
{
    atomic_fetch_add(&call->refs, 1);
    return call;
}

void call_unref(struct call *call)
{
    atomic_fetch_sub(&call->refs, 1);
}

void call_fill(struct peer *peer, struct net_conn *conn)
{
    pthread_mutex_lock(&peer->lock);
    struct call *call = peer->calls;
    peer->calls = NULL;
    peer->calls_end = &peer->calls;
    pthread_mutex_unlock(&peer->lock);
    while (call != NULL) {
        struct call *next = call->next_mail;
        node_of(peer->server)->calls_filled++;
        assert_int_equal(peer_frame_send(conn, PEER_FRAME_CALL, slice_text("call")), OK);
        call_unref(call);
        call = next;
    }
}

enum error call_on_request(struct peer_conn *from, struct slice content)
{
    struct node *node = node_of(from->worker->server);
    keep(node, content);
    node->calls++;
    return peer_frame_send(from->conn, PEER_FRAME_RESULT, slice_text("done"));
}

enum error call_on_answer(struct peer_conn *from, struct slice content)
{
    (void)content;
    node_of(from->worker->server)->answers++;
    return OK;
}

void call_on_link(struct peer *peer, bool up)
{
    struct node *node = node_of(peer->server);
    if (up)
        node->request_ups++;
    else
        node->request_downs++;
}

enum error feed_on_open(struct peer_conn *from, struct slice content)
{
    (void)content;
    node_of(from->worker->server)->opens++;
    return OK;
}

enum error feed_on_credit(struct peer_conn *from, struct slice content)
{
    (void)from;
    (void)content;
    return OK;
}

enum error feed_on_close(struct peer_conn *from, struct slice content)
{
    (void)from;
    (void)content;
    return OK;
}

enum error feed_on_events(struct peer_conn *from, struct slice content)
{
    (void)content;
    node_of(from->worker->server)->events++;
    return OK;
}

enum error feed_on_status(struct peer_conn *from, struct slice content)
{
    (void)from;
    (void)content;
    return OK;
}

void feed_on_conn_gone(struct peer_conn *conn)
{
    assert_null(conn->conn);
    node_of(conn->worker->server)->gone_conns++;
}

void feed_on_link(struct peer *peer, bool up)
{
    (void)peer;
    (void)up;
}

/* The main loop's part of a newer map, without regions. */
void server_adopt_map(struct server *server, struct cluster_map *map)
{
    struct node *node = node_of(server);
    if (server->catalog != NULL && map->epoch <= server->catalog->map->epoch)
        return;
    atomic_store(&server->announced_epoch, map->epoch);
    assert_int_equal(peers_adopt(server, map), OK);
    cluster_map_unref(node->catalog.map);
    node->catalog.map = cluster_map_ref(map);
    server->catalog = &node->catalog;
    atomic_store(&server->adopted_epoch, map->epoch);
    node->maps++;
    for (unsigned i = 0; i < WORKERS; i++)
        node->workers[i].catalog = &node->catalog;
}

#ifndef PEERS_FIXTURE_REAL_OUTBOX
void server_report(struct server *server, uint64_t incarnation, bool gone, uint32_t silent_ms,
                   const char *evidence)
{
    struct node *node = node_of(server);
    (void)silent_ms;
    if (node->report_count == sizeof node->reports / sizeof node->reports[0])
        return;
    node->reports[node->report_count].incarnation = incarnation;
    node->reports[node->report_count].gone = gone;
    node->reports[node->report_count].at_us = sim_now_us(node->sim);
    snprintf(node->reports[node->report_count].evidence,
             sizeof node->reports[node->report_count].evidence, "%s", evidence);
    node->report_count++;
}

void server_want_map(struct server *server, uint64_t epoch)
{
    node_of(server)->wanted_epoch = epoch;
}

void server_give_map(struct server *server, struct cluster_map *map)
{
    struct node *node = node_of(server);
    cluster_map_unref(node->given);
    node->given = cluster_map_ref(map);
    if (!node->give.queued)
        loop_post(server->loop, &node->give);
}
#endif

static void on_given(void *arg)
{
    struct node *node = arg;
    server_adopt_map(&node->server, node->given);
    cluster_map_unref(node->given);
    node->given = NULL;
}

/* ---- Maps ---- */

static uint64_t incarnation_of(unsigned index)
{
    return 100 + index * 3; /* on different workers */
}

/* Names the first `count` nodes, those of `without` (a bit mask) left out. */
static struct cluster_map *make_map(struct fixture *fixture, uint64_t epoch, unsigned count,
                                    unsigned without)
{
    struct cluster_map *map;
    assert_int_equal(cluster_map_new(cluster_id, &map), OK);
    map->epoch = epoch;
    for (unsigned i = 0; i < count; i++) {
        char name[24];
        snprintf(name, sizeof name, "server%u", i);
        struct cluster_member member = {.name = slice_text(name),
                                        .incarnation = incarnation_of(i),
                                        .host =
                                            slice_text(sim_node_host(fixture->nodes[i].machine)),
                                        .port = PORT,
                                        .role = CLUSTER_SERVER};
        uint32_t index;
        if ((without >> i & 1) == 0)
            assert_int_equal(cluster_map_add_member(map, &member, &index), OK);
    }
    assert_int_equal(cluster_map_seal(map), OK);
    return map;
}

static void give_map(struct fixture *fixture, unsigned index, uint64_t epoch, unsigned count,
                     unsigned without)
{
    struct cluster_map *map = make_map(fixture, epoch, count, without);
    server_adopt_map(&fixture->nodes[index].server, map);
    cluster_map_unref(map);
}

/* ---- Nodes ---- */

static void on_accept(void *arg, struct net_socket *socket)
{
    struct node *node = arg;
    struct worker *worker = &node->workers[node->next_worker++ % WORKERS];
    (void)session_accept(&worker->host, worker->net, socket);
}

static void node_start(struct fixture *fixture, unsigned index, uint64_t incarnation)
{
    static const struct operation none[] = {{0}};
    struct node *node = &fixture->nodes[index];
    struct server *server = &node->server;
    node->verdict = OK;
    node->give = (struct loop_task){.on_run = on_given, .arg = node};
    for (unsigned i = 0; i < 1 + WORKERS; i++) {
        node->loops[i] = sim_loop_new(fixture->sim, node->machine);
        node->nets[i] = sim_net_new(fixture->sim, node->loops[i]);
    }
    memset(server, 0, sizeof *server);
    memset(node->workers, 0, sizeof node->workers);
    pthread_mutex_init(&server->lock, NULL);
    server->arg = node;
    server->loop = node->loops[0];
    server->net = node->nets[0];
    server->incarnation = incarnation;
    snprintf(server->name, sizeof server->name, "server%u", index);
    snprintf(server->host, sizeof server->host, "%s", sim_node_host(node->machine));
    server->port = PORT;
    server->workers = node->workers;
    server->worker_count = WORKERS;
    for (unsigned i = 0; i < WORKERS; i++) {
        struct worker *worker = &node->workers[i];
        worker->server = server;
        worker->index = i;
        worker->loop = node->loops[1 + i];
        worker->net = node->nets[1 + i];
        worker->host =
            (struct session_host){.role = SESSION_SERVER,
                                  .loop = worker->loop,
                                  .operations = none,
                                  .owner = worker,
                                  .connections_max = 100,
                                  .connection_count = (_Atomic uint32_t *)&node->connections,
                                  .on_peer = peers_on_peer};
        assert_int_equal(peers_worker_init(worker), OK);
        assert_int_equal(session_host_init(&worker->host), OK);
    }
    assert_int_equal(net_listen(node->nets[0], sim_node_host(node->machine), PORT, on_accept, node,
                                &node->listener),
                     OK);
    node->is_running = true;
}

static void node_stop(struct node *node)
{
    if (!node->is_running)
        return;
    node->is_running = false;
    net_listener_close(node->listener);
    peers_free(&node->server);
    for (unsigned i = 0; i < WORKERS; i++) {
        session_host_fini(&node->workers[i].host);
        peers_worker_fini(&node->workers[i]);
    }
    cluster_map_unref(node->given);
    node->given = NULL;
    cluster_map_unref(node->catalog.map);
    node->catalog.map = NULL;
    pthread_mutex_destroy(&node->server.lock);
    for (unsigned i = 0; i < 1 + WORKERS; i++) {
        sim_net_free(node->nets[i]);
        sim_loop_free(node->loops[i]);
    }
}

static void node_crash(struct node *node, enum sim_crash how)
{
    sim_node_crash(node->machine, how);
    node_stop(node);
}

static void run(struct fixture *fixture, uint64_t us)
{
    sim_run_until(fixture->sim, NULL, NULL, us);
}

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    mem_fault_fail_at(0);
    memset(&placed, 0, sizeof placed);
    fixture->sim = sim_new(1);
    for (unsigned i = 0; i < NODES; i++) {
        char name[16];
        snprintf(name, sizeof name, "server%u", i);
        fixture->nodes[i].sim = fixture->sim;
        fixture->nodes[i].machine = sim_node_new(fixture->sim, name);
        node_start(fixture, i, incarnation_of(i));
    }
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    mem_fault_fail_at(0);
    for (unsigned i = 0; i < NODES; i++)
        node_stop(&fixture->nodes[i]);
    sim_free(fixture->sim);
    free(fixture);
    return mem_fault_live() == 0 ? 0 : -1;
}

/* ---- Questions ---- */

/* As `index` sees `other`; borrowed, NULL if its map does not name it. */
static struct peer *peer_of(struct fixture *fixture, unsigned index, unsigned other)
{
    struct peer *peer = peers_find(&fixture->nodes[index].server, incarnation_of(other));
    if (peer != NULL)
        peer_unref(peer);
    return peer;
}

static bool is_linked(struct fixture *fixture, unsigned index, unsigned other)
{
    struct peer *peer = peer_of(fixture, index, other);
    return peer != NULL && atomic_load(&peer->replication_up) && atomic_load(&peer->requests_up);
}

static bool has_lease(struct fixture *fixture, unsigned index, unsigned other)
{
    struct peer *peer = peer_of(fixture, index, other);
    return peer != NULL && peer_lease_holds(peer, loop_clock_us(fixture->nodes[index].loops[0]));
}

static bool has_promised(struct fixture *fixture, unsigned index, unsigned other)
{
    struct peer *peer = peer_of(fixture, index, other);
    return peer != NULL && peer_promise_runs(peer, loop_clock_us(fixture->nodes[index].loops[0]));
}

/* Everybody has the same map and is connected. */
static void link_all(struct fixture *fixture, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        give_map(fixture, i, 1, count, 0);
    run(fixture, 500 * MS);
    for (unsigned i = 0; i < count; i++)
        for (unsigned j = 0; j < count; j++)
            assert_true(i == j || is_linked(fixture, i, j));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
