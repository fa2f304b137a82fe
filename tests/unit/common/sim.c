/* The simulation itself: what it promises to the tests that stand on it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "tests/lib/mem_fault.h"
#include "tests/sim/sim_loop.h"
#include "tests/sim/sim_net.h"

enum { PORT = 40404, SECOND_US = 1000000 };

struct peer {
    struct net_conn *conn;
    struct buf received;
    size_t data_calls, connects, eofs, drains, closes;
    enum error why;
    bool echo;
    bool finish_at_eof;
    size_t frame;
};

struct world {
    struct sim *sim;
    struct sim_node *node[2]; /* 0 connects, 1 listens */
    struct loop *loop[2];
    struct net *net[2];
    struct net_listener *listener;
    struct peer client, server;
    struct net_socket *held; /* an accepted socket that waits, when `hold` is set */
    bool hold;
    size_t wanted;
};

static size_t on_data(void *arg, const uint8_t *data, size_t len)
{
    struct peer *peer = arg;
    size_t used = peer->frame == 0 ? len : len - len % peer->frame;

    peer->data_calls++;
    buf_append(&peer->received, data, used);
    if (peer->echo && net_conn_write(peer->conn, data, used) != OK) {
        net_conn_abort(peer->conn);
        peer->conn = NULL;
    }
    return used;
}

static void on_eof(void *arg, struct slice rest)
{
    struct peer *peer = arg;

    (void)rest;
    peer->eofs++;
    if (peer->finish_at_eof) {
        net_conn_finish(peer->conn);
        peer->conn = NULL;
    }
}

static void on_drain(void *arg)
{
    ((struct peer *)arg)->drains++;
}

static void on_close(void *arg, enum error why)
{
    struct peer *peer = arg;

    peer->closes++;
    peer->why = why;
    peer->conn = NULL;
}

static void on_connect(void *arg)
{
    ((struct peer *)arg)->connects++;
}

static const struct net_conn_events events = {on_data, on_eof, on_drain, on_close, on_connect};

static void on_accept(void *arg, struct net_socket *socket)
{
    struct world *world = arg;

    if (world->hold)
        world->held = socket;
    else if (net_adopt(world->net[1], socket, &events, &world->server, &world->server.conn) != OK)
        world->server.conn = NULL;
}

static void listen_again(struct world *world)
{
    assert_int_equal(net_listen(world->net[1], "0.0.0.0", PORT, on_accept, world, &world->listener),
                     OK);
}

static void world_init(struct world *world, uint64_t seed)
{
    *world = (struct world){.sim = sim_new(seed)};
    for (int i = 0; i < 2; i++) {
        world->node[i] = sim_node_new(world->sim, i == 0 ? "client" : "server");
        world->loop[i] = sim_loop_new(world->sim, world->node[i]);
        world->net[i] = sim_net_new(world->sim, world->loop[i]);
    }
    listen_again(world);
}

static void world_fini(struct world *world)
{
    for (int i = 0; i < 2; i++) {
        sim_net_free(world->net[i]);
        sim_loop_free(world->loop[i]);
    }
    sim_free(world->sim);
    buf_fini(&world->client.received);
    buf_fini(&world->server.received);
}

static enum error world_connect(struct world *world)
{
    return net_connect(world->net[0], sim_node_host(world->node[1]), PORT, 5 * SECOND_US, &events,
                       &world->client, &world->client.conn);
}

static bool is_echoed(void *arg)
{
    struct world *world = arg;

    return world->client.received.len >= world->wanted || world->client.closes > 0;
}

static bool is_connected(void *arg)
{
    struct world *world = arg;

    return world->client.connects > 0 && world->server.conn != NULL;
}

static bool is_closed(void *arg)
{
    return ((struct world *)arg)->client.closes > 0;
}

static bool server_is_closed(void *arg)
{
    return ((struct world *)arg)->server.closes > 0;
}

static bool server_saw_eof(void *arg)
{
    return ((struct world *)arg)->server.eofs > 0;
}

/* Sends 3,000 bytes through a link with every fault but resets, and returns the hash of it. */
static uint64_t run_echo(uint64_t seed, size_t *reads)
{
    const struct sim_faults faults = {
        .latency_min_us = 10, .latency_max_us = 3000, .split_bytes = 40};
    struct world world;
    uint8_t bytes[3000];
    uint64_t hash;

    world_init(&world, seed);
    sim_set_faults(world.sim, &faults);
    world.server.echo = true;
    world.server.frame = 7;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 13);
    assert_int_equal(world_connect(&world), OK);
    assert_int_equal(net_conn_write(world.client.conn, bytes, sizeof bytes), OK);
    world.wanted = sizeof bytes - sizeof bytes % 7;
    assert_true(sim_run_until(world.sim, is_echoed, &world, 60 * SECOND_US));
    assert_int_equal(world.client.received.len, world.wanted);
    assert_memory_equal(world.client.received.data, bytes, world.wanted);
    *reads += world.server.data_calls;
    hash = sim_trace_hash(world.sim);
    world_fini(&world);
    return hash;
}

static void one_seed_is_one_history_and_another_seed_another(void **state)
{
    uint64_t last = 0;
    size_t reads = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        uint64_t hash = run_echo(seed, &reads);
        void *noise = malloc(seed * 100);

        /* Other addresses must not change anything. */
        assert_int_equal(run_echo(seed, &reads), hash);
        assert_int_not_equal(hash, last);
        last = hash;
        free(noise);
    }
    assert_true(reads > 500);
}

static void bytes_of_many_turns_keep_their_order(void **state)
{
    const struct sim_faults faults = {.latency_min_us = 10, .latency_max_us = 5000};
    struct world world;

    (void)state;
    world_init(&world, 2);
    sim_set_faults(world.sim, &faults);
    world_connect(&world);
    assert_true(sim_run_until(world.sim, is_connected, &world, SECOND_US));
    for (int i = 0; i < 200; i++) {
        uint8_t byte = (uint8_t)i;

        assert_int_equal(net_conn_write(world.client.conn, &byte, 1), OK);
        sim_run_until(world.sim, NULL, NULL, 100);
    }
    sim_run_until(world.sim, NULL, NULL, SECOND_US);
    assert_int_equal(world.server.received.len, 200);
    for (int i = 0; i < 200; i++)
        assert_int_equal(world.server.received.data[i], i);
    world_fini(&world);
}

static void a_cut_after_every_byte_gives_exactly_so_many(void **state)
{
    (void)state;
    for (uint64_t cut = 0; cut <= 20; cut++) {
        struct world world;

        world_init(&world, cut + 1);
        sim_cut_connection(world.node[0], world.node[1], 1, SIM_TO_ACCEPTOR, cut);
        assert_int_equal(world_connect(&world), OK);
        assert_int_equal(net_conn_write(world.client.conn, "0123456789abcdefghij", 20), OK);
        assert_true(sim_run_until(world.sim, is_closed, &world, 10 * SECOND_US));
        assert_int_equal(world.client.why, ERROR_RESET);
        assert_true(sim_run_until(world.sim, server_is_closed, &world, 10 * SECOND_US));
        assert_int_equal(world.server.why, ERROR_RESET);
        assert_int_equal(world.server.received.len, cut);
        world_fini(&world);
    }
}

static void a_cut_of_the_answer_leaves_the_first_part(void **state)
{
    (void)state;
    for (uint64_t cut = 0; cut <= 20; cut++) {
        struct world world;

        world_init(&world, cut + 100);
        world.server.echo = true;
        world_connect(&world);
        net_conn_write(world.client.conn, "x", 1);
        world.wanted = 1;
        assert_true(sim_run_until(world.sim, is_echoed, &world, 10 * SECOND_US));
        sim_conn_cut(world.server.conn, cut);
        net_conn_write(world.client.conn, "0123456789abcdefghij", 20);
        assert_true(sim_run_until(world.sim, is_closed, &world, 10 * SECOND_US));
        assert_true(world.client.received.len <= cut + 1);
        world_fini(&world);
    }
}

static void bytes_wait_behind_a_partition(void **state)
{
    struct world world;

    (void)state;
    world_init(&world, 3);
    world_connect(&world);
    assert_true(sim_run_until(world.sim, is_connected, &world, SECOND_US));
    sim_partition(world.node[0], world.node[1]);
    net_conn_write(world.client.conn, "late", 4);
    net_conn_write(world.server.conn, "other way", 9);
    sim_run_until(world.sim, NULL, NULL, 30 * SECOND_US);
    assert_int_equal(world.server.received.len, 0);
    assert_int_equal(world.client.received.len, 9);
    sim_heal(world.node[0], world.node[1]);
    sim_run_until(world.sim, NULL, NULL, SECOND_US);
    assert_int_equal(world.server.received.len, 4);
    world_fini(&world);
}

static void connects_through_a_partition_time_out(void **state)
{
    struct world world;

    (void)state;
    world_init(&world, 4);
    sim_partition(world.node[1], world.node[0]);
    world_connect(&world);
    assert_true(sim_run_until(world.sim, is_closed, &world, 6 * SECOND_US));
    assert_int_equal(world.client.why, ERROR_TIMEOUT);
    assert_true(sim_now_us(world.sim) >= 5 * SECOND_US);
    world_fini(&world);
}

static void connects_without_listener_are_refused_and_unknown_hosts_told(void **state)
{
    struct world world;

    (void)state;
    world_init(&world, 5);
    net_listener_close(world.listener);
    world_connect(&world);
    assert_int_equal(world.client.closes, 0);
    assert_true(sim_run_until(world.sim, is_closed, &world, SECOND_US));
    assert_int_equal(world.client.why, ERROR_REFUSED);
    world.client.closes = 0;
    assert_int_equal(net_connect(world.net[0], "nobody", PORT, SECOND_US, &events, &world.client,
                                 &world.client.conn),
                     OK);
    assert_true(sim_run_until(world.sim, is_closed, &world, SECOND_US));
    assert_int_equal(world.client.why, ERROR_NAME);
    world_fini(&world);
}

static void a_paused_reader_stops_the_writer_until_it_resumes(void **state)
{
    struct world world;
    static uint8_t large[300000];

    (void)state;
    world_init(&world, 6);
    world_connect(&world);
    assert_true(sim_run_until(world.sim, is_connected, &world, SECOND_US));
    net_conn_pause(world.server.conn);
    net_conn_write(world.client.conn, large, sizeof large);
    sim_run_until(world.sim, NULL, NULL, 5 * SECOND_US);
    assert_int_equal(net_conn_unsent(world.client.conn), sizeof large - SIM_WINDOW_BYTES);
    assert_int_equal(world.server.data_calls, 0);
    net_conn_resume(world.server.conn);
    assert_int_equal(world.server.data_calls, 0);
    sim_run_until(world.sim, NULL, NULL, 5 * SECOND_US);
    assert_int_equal(world.server.received.len, sizeof large);
    assert_int_equal(net_conn_unsent(world.client.conn), 0);
    assert_int_equal(world.client.drains, 1);
    world_fini(&world);
}

static void finish_sends_what_waits_and_then_the_end(void **state)
{
    struct world world;
    static uint8_t large[200000];

    (void)state;
    world_init(&world, 7);
    world.server.finish_at_eof = true;
    world_connect(&world);
    net_conn_write(world.client.conn, large, sizeof large);
    net_conn_finish(world.client.conn);
    assert_true(sim_run_until(world.sim, server_saw_eof, &world, 10 * SECOND_US));
    assert_int_equal(world.server.received.len, sizeof large);
    sim_run_until(world.sim, NULL, NULL, 20 * SECOND_US);
    assert_int_equal(world.client.closes + world.client.eofs + world.client.connects, 0);
    assert_int_equal(world.server.closes, 0);
    world_fini(&world);
}

static void an_abort_gives_the_peer_an_end_or_a_reset(void **state)
{
    struct world world;

    (void)state;
    world_init(&world, 8);
    world_connect(&world);
    assert_true(sim_run_until(world.sim, is_connected, &world, SECOND_US));
    net_conn_abort(world.client.conn);
    assert_true(sim_run_until(world.sim, server_saw_eof, &world, SECOND_US));
    /* Who goes on writing to it learns the rest. */
    net_conn_write(world.server.conn, "still there?", 12);
    assert_true(sim_run_until(world.sim, server_is_closed, &world, SECOND_US));
    assert_int_equal(world.server.why, ERROR_RESET);
    world_fini(&world);
}

static void restart_server(struct world *world)
{
    sim_net_free(world->net[1]);
    sim_loop_free(world->loop[1]);
    world->server.conn = NULL;
    sim_node_restart(world->node[1]);
    world->loop[1] = sim_loop_new(world->sim, world->node[1]);
    world->net[1] = sim_net_new(world->sim, world->loop[1]);
    listen_again(world);
}

static void count(void *arg)
{
    ++*(size_t *)arg;
}

static void a_crash_with_reset_ends_its_connections_timers_and_tasks(void **state)
{
    struct world world;
    struct loop_timer timer;
    struct loop_task task;
    size_t fired = 0;

    (void)state;
    world_init(&world, 9);
    task = (struct loop_task){.on_run = count, .arg = &fired};
    assert_int_equal(loop_timer_init(&timer, world.loop[1], count, &fired), OK);
    world_connect(&world);
    assert_true(sim_run_until(world.sim, is_connected, &world, SECOND_US));
    loop_timer_set(&timer, 1000);
    loop_post(world.loop[1], &task);
    sim_node_crash(world.node[1], SIM_CRASH_RESET);
    assert_true(sim_run_until(world.sim, is_closed, &world, SECOND_US));
    assert_int_equal(world.client.why, ERROR_RESET);
    sim_run_until(world.sim, NULL, NULL, SECOND_US);
    assert_int_equal(fired, 0);
    assert_int_equal(world.server.closes, 0);
    /* What the owner does while it is taken down has no effect. */
    loop_timer_set(&timer, 0);
    net_conn_write(world.server.conn, "x", 1);
    net_conn_finish(world.server.conn);
    net_listener_close(world.listener);
    loop_timer_fini(&timer);
    sim_run_until(world.sim, NULL, NULL, SECOND_US);
    assert_int_equal(fired, 0);
    restart_server(&world);
    world.client.connects = 0;
    world_connect(&world);
    assert_true(sim_run_until(world.sim, is_connected, &world, SECOND_US));
    world_fini(&world);
}

static void a_silent_crash_is_noticed_only_after_the_restart(void **state)
{
    struct world world;

    (void)state;
    world_init(&world, 10);
    world_connect(&world);
    assert_true(sim_run_until(world.sim, is_connected, &world, SECOND_US));
    sim_node_crash(world.node[1], SIM_CRASH_SILENT);
    net_conn_write(world.client.conn, "anybody?", 8);
    sim_run_until(world.sim, NULL, NULL, 5 * SECOND_US);
    assert_int_equal(world.client.closes, 0);
    restart_server(&world);
    assert_true(sim_run_until(world.sim, is_closed, &world, SECOND_US));
    assert_int_equal(world.client.why, ERROR_RESET);
    world_fini(&world);
}

static void a_socket_that_waits_for_its_worker_survives_the_crash(void **state)
{
    struct world world;

    (void)state;
    world_init(&world, 11);
    world.hold = true;
    world_connect(&world);
    sim_run_until(world.sim, NULL, NULL, SECOND_US);
    assert_non_null(world.held);
    sim_node_crash(world.node[1], SIM_CRASH_RESET);
    sim_run_until(world.sim, NULL, NULL, SECOND_US);
    net_refuse(world.net[1], world.held);
    assert_int_equal(world.client.why, ERROR_RESET);
    world_fini(&world);
}

static void a_paused_node_does_later_what_it_missed(void **state)
{
    struct world world;
    struct loop_timer timer;
    size_t fired = 0;

    (void)state;
    world_init(&world, 12);
    assert_int_equal(loop_timer_init(&timer, world.loop[1], count, &fired), OK);
    world_connect(&world);
    assert_true(sim_run_until(world.sim, is_connected, &world, SECOND_US));
    sim_node_pause(world.node[1]);
    loop_timer_set(&timer, 1000);
    net_conn_write(world.client.conn, "hello", 5);
    sim_run_until(world.sim, NULL, NULL, 5 * SECOND_US);
    assert_int_equal(fired, 0);
    assert_int_equal(world.server.received.len, 0);
    sim_node_resume(world.node[1]);
    sim_run_until(world.sim, NULL, NULL, SECOND_US);
    assert_int_equal(fired, 1);
    assert_int_equal(world.server.received.len, 5);
    loop_timer_fini(&timer);
    world_fini(&world);
}

static void a_fast_clock_runs_ahead_and_its_timers_never_fire_early(void **state)
{
    struct sim *sim = sim_new(13);
    struct sim_node *node = sim_node_new(sim, "fast");
    struct loop_timer timer;
    struct loop *loop;
    size_t fired = 0;
    uint64_t start_us;

    (void)state;
    sim_node_set_rate(node, 1234567);
    loop = sim_loop_new(sim, node);
    assert_int_equal(loop_timer_init(&timer, loop, count, &fired), OK);
    for (uint64_t delay_us = 0; delay_us < 20000; delay_us++) {
        fired = 0;
        start_us = loop_now_us(loop);
        loop_timer_set(&timer, delay_us);
        while (fired == 0)
            assert_true(sim_step(sim));
        assert_true(loop_now_us(loop) - start_us >= delay_us);
    }
    start_us = loop_now_us(loop);
    sim_run_until(sim, NULL, NULL, 100 * SECOND_US);
    assert_true(loop_now_us(loop) - start_us >= 123456700);
    assert_true(loop_now_us(loop) - start_us <= 123456701);
    loop_timer_fini(&timer);
    sim_loop_free(loop);
    sim_free(sim);
}

struct order {
    struct loop *loop;
    struct loop_task task[4];
    char text[16];
    size_t len;
};

struct clocks {
    struct loop *loop;
    uint64_t now_us, clock_us;
    bool is_called;
};

static void read_clocks(void *arg)
{
    struct clocks *clocks = arg;

    clocks->now_us = loop_now_us(clocks->loop);
    clocks->clock_us = loop_clock_us(clocks->loop);
    clocks->is_called = true;
}

static void a_turn_that_is_held_up_has_an_old_clock_and_what_came_meanwhile(void **state)
{
    struct world world;
    struct loop_timer timer;
    struct clocks clocks = {0};

    (void)state;
    world_init(&world, 3);
    clocks.loop = world.loop[1];
    assert_int_equal(loop_timer_init(&timer, world.loop[1], read_clocks, &clocks), OK);
    loop_timer_set(&timer, 1000);
    sim_run_until(world.sim, NULL, NULL, SECOND_US);
    assert_true(clocks.is_called);
    assert_int_equal(clocks.now_us, clocks.clock_us);
    world_connect(&world);
    assert_true(sim_run_until(world.sim, is_connected, &world, SECOND_US));
    sim_node_set_stalls(world.node[1], 1000000, SECOND_US);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(net_conn_write(world.client.conn, "abc", 3), OK);
        sim_run_until(world.sim, NULL, NULL, 2000);
    }
    clocks.is_called = false;
    loop_timer_set(&timer, 1000);
    sim_run_until(world.sim, NULL, NULL, 5 * SECOND_US);
    assert_true(clocks.is_called);
    assert_true(clocks.now_us < clocks.clock_us);
    assert_int_equal(world.server.received.len, 9);
    assert_int_equal(world.server.data_calls, 1);
    loop_timer_fini(&timer);
    world_fini(&world);
}

static void turns_of_a_slow_node_follow_each_other(void **state)
{
    struct world world;
    struct loop_timer timers[2];
    struct clocks clocks[2] = {0};

    (void)state;
    world_init(&world, 3);
    sim_node_set_turn_time(world.node[1], 50000, 60000);
    for (int i = 0; i < 2; i++) {
        clocks[i].loop = world.loop[1];
        assert_int_equal(loop_timer_init(&timers[i], world.loop[1], read_clocks, &clocks[i]), OK);
        loop_timer_set(&timers[i], 1000 + (uint64_t)i * 1000);
    }
    sim_run_until(world.sim, NULL, NULL, SECOND_US);
    assert_true(clocks[1].clock_us >= clocks[0].clock_us + 50000);
    assert_true(clocks[1].clock_us <= clocks[0].clock_us + 62000);
    for (int i = 0; i < 2; i++)
        loop_timer_fini(&timers[i]);
    world_fini(&world);
}

static void note_a(void *arg)
{
    struct order *order = arg;

    order->text[order->len++] = 'a';
    loop_defer(order->loop, &order->task[2]);
}

static void note_b(void *arg)
{
    struct order *order = arg;

    order->text[order->len++] = 'b';
}

static void note_c(void *arg)
{
    struct order *order = arg;

    order->text[order->len++] = 'c';
    if (order->len < 6)
        loop_defer(order->loop, &order->task[2]);
}

static void posted_tasks_keep_their_order_and_deferred_ones_follow(void **state)
{
    struct sim *sim = sim_new(14);
    struct order order = {.loop = sim_loop_new(sim, sim_node_new(sim, "n"))};

    (void)state;
    order.task[0] = (struct loop_task){.on_run = note_a, .arg = &order};
    order.task[1] = (struct loop_task){.on_run = note_b, .arg = &order};
    order.task[2] = (struct loop_task){.on_run = note_c, .arg = &order};
    loop_post(order.loop, &order.task[0]);
    loop_post(order.loop, &order.task[1]);
    sim_run_until(sim, NULL, NULL, SECOND_US);
    assert_string_equal(order.text, "abcccc");
    sim_loop_free(order.loop);
    sim_free(sim);
}

static void failed_allocations_leave_nothing_behind(void **state)
{
    long live = mem_fault_live();
    unsigned long n = 1;
    bool done = false;

    (void)state;
    for (; !done; n++) {
        struct world world;

        world_init(&world, n);
        world.server.echo = true;
        assert_non_null(buf_reserve(&world.client.received, 64));
        assert_non_null(buf_reserve(&world.server.received, 64));
        mem_fault_fail_at(n);
        if (world_connect(&world) == OK) {
            if (net_conn_write(world.client.conn, "0123456789", 10) != OK) {
                net_conn_abort(world.client.conn);
            } else {
                world.wanted = 10;
                sim_run_until(world.sim, is_echoed, &world, SECOND_US);
                done = world.client.received.len == 10 && mem_fault_calls() < n;
            }
        }
        mem_fault_fail_at(0);
        world_fini(&world);
        assert_int_equal(mem_fault_live(), live);
        assert_true(n < 50);
    }
    assert_true(n > 4);
}

static void random_resets_happen_and_end_both_sides(void **state)
{
    const struct sim_faults faults = {
        .latency_min_us = 10, .latency_max_us = 500, .split_bytes = 9, .reset_ppm = 200000};
    size_t resets = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct world world;

        world_init(&world, seed);
        sim_set_faults(world.sim, &faults);
        world.server.echo = true;
        world_connect(&world);
        net_conn_write(world.client.conn, "0123456789abcdefghij", 20);
        world.wanted = 20;
        sim_run_until(world.sim, is_echoed, &world, SECOND_US);
        sim_run_until(world.sim, NULL, NULL, SECOND_US);
        if (world.client.closes > 0) {
            resets++;
            assert_int_equal(world.client.why, ERROR_RESET);
            assert_int_equal(world.server.closes, 1);
        }
        world_fini(&world);
    }
    assert_true(resets > 10 && resets < 90);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_seed_is_one_history_and_another_seed_another),
        cmocka_unit_test(bytes_of_many_turns_keep_their_order),
        cmocka_unit_test(a_cut_after_every_byte_gives_exactly_so_many),
        cmocka_unit_test(a_cut_of_the_answer_leaves_the_first_part),
        cmocka_unit_test(bytes_wait_behind_a_partition),
        cmocka_unit_test(connects_through_a_partition_time_out),
        cmocka_unit_test(connects_without_listener_are_refused_and_unknown_hosts_told),
        cmocka_unit_test(a_paused_reader_stops_the_writer_until_it_resumes),
        cmocka_unit_test(finish_sends_what_waits_and_then_the_end),
        cmocka_unit_test(an_abort_gives_the_peer_an_end_or_a_reset),
        cmocka_unit_test(a_crash_with_reset_ends_its_connections_timers_and_tasks),
        cmocka_unit_test(a_silent_crash_is_noticed_only_after_the_restart),
        cmocka_unit_test(a_socket_that_waits_for_its_worker_survives_the_crash),
        cmocka_unit_test(a_paused_node_does_later_what_it_missed),
        cmocka_unit_test(a_fast_clock_runs_ahead_and_its_timers_never_fire_early),
        cmocka_unit_test(a_turn_that_is_held_up_has_an_old_clock_and_what_came_meanwhile),
        cmocka_unit_test(turns_of_a_slow_node_follow_each_other),
        cmocka_unit_test(posted_tasks_keep_their_order_and_deferred_ones_follow),
        cmocka_unit_test(failed_allocations_leave_nothing_behind),
        cmocka_unit_test(random_resets_happen_and_end_both_sides),
    };

    return cmocka_run_group_tests_name("sim", tests, NULL, NULL);
}
