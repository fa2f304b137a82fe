/* Who is provably gone, and who is not. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <cmocka.h>

#include "locator/probe.h"
#include "protocol/cluster_map.h"
#include "protocol/message.h"
#include "protocol/peer.h"
#include "tests/lib/mem_fault.h"
#include "tests/sim/sim_net.h"

#define SEC UINT64_C(1000000)

enum behaviour {
    REFUSES,
    CLOSES,
    SAYS_NOTHING,
    SAYS_NONSENSE,
    IS_THE_SAME,
    IS_ANOTHER,
    DIED_SILENTLY
};

struct fixture {
    struct sim *sim;
    struct sim_node *asker, *target;
    struct loop *loop, *target_loop;
    struct net *net, *target_net;
    struct net_listener *listener;
    struct net_conn *conn;
    enum behaviour behaviour;
    uint32_t answers;
    bool gone;
    char why[256];
};

static size_t on_data(void *arg, const uint8_t *data, size_t len)
{
    struct fixture *fixture = arg;
    (void)data;
    if (fixture->behaviour == SAYS_NONSENSE) {
        (void)net_conn_write(fixture->conn, "HTTP/1.1 400 Bad Request\r\n\r\n", 28);
    } else if (fixture->behaviour == IS_THE_SAME || fixture->behaviour == IS_ANOTHER) {
        Pb__PeerWelcome welcome = PB__PEER_WELCOME__INIT;
        welcome.refusal = PB__PEER_WELCOME__REFUSAL__VERSION;
        welcome.incarnation = fixture->behaviour == IS_THE_SAME ? 11 : 12;
        (void)PEER_SEND(fixture->conn, WELCOME, welcome, &welcome); /* may be without memory */
    } else if (fixture->behaviour == CLOSES) {
        net_conn_finish(fixture->conn);
        fixture->conn = NULL;
    }
    return len;
}

static void on_eof(void *arg, struct slice rest)
{
    struct fixture *fixture = arg;
    (void)rest;
    net_conn_abort(fixture->conn);
    fixture->conn = NULL;
}

static void on_drain(void *arg)
{
    (void)arg;
}

static void on_close(void *arg, enum error why)
{
    (void)why;
    ((struct fixture *)arg)->conn = NULL;
}

static const struct net_conn_events events = {
    .on_data = on_data, .on_eof = on_eof, .on_drain = on_drain, .on_close = on_close};

static void on_accept(void *arg, struct net_socket *socket)
{
    struct fixture *fixture = arg;
    if (net_adopt(fixture->target_net, socket, &events, fixture, &fixture->conn) != OK)
        fixture->conn = NULL;
}

static void on_result(void *arg, bool gone, const char *why)
{
    struct fixture *fixture = arg;
    fixture->answers++;
    fixture->gone = gone;
    snprintf(fixture->why, sizeof(fixture->why), "%s", why);
}

static enum error start(struct fixture *fixture, struct probe **probe)
{
    static const uint8_t id[CLUSTER_ID_BYTES] = {1};
    struct probe_target target = {.host = sim_node_host(fixture->target),
                                  .port = 40404,
                                  .incarnation = 11,
                                  .cluster_id = id,
                                  .name = "locator1"};
    return probe_new(fixture->loop, fixture->net, &target, on_result, fixture, probe);
}

static void set_up(struct fixture *fixture, enum behaviour behaviour)
{
    *fixture = (struct fixture){.behaviour = behaviour, .sim = sim_new(1)};
    fixture->asker = sim_node_new(fixture->sim, "asker");
    fixture->target = sim_node_new(fixture->sim, "target");
    fixture->loop = sim_loop_new(fixture->sim, fixture->asker);
    fixture->net = sim_net_new(fixture->sim, fixture->loop);
    fixture->target_loop = sim_loop_new(fixture->sim, fixture->target);
    fixture->target_net = sim_net_new(fixture->sim, fixture->target_loop);
    if (behaviour != REFUSES)
        assert_int_equal(net_listen(fixture->target_net, sim_node_host(fixture->target), 40404,
                                    on_accept, fixture, &fixture->listener),
                         OK);
    if (behaviour == DIED_SILENTLY)
        sim_node_crash(fixture->target, SIM_CRASH_SILENT);
}

static void tear_down(struct fixture *fixture)
{
    if (fixture->listener != NULL)
        net_listener_close(fixture->listener);
    sim_net_free(fixture->target_net);
    sim_loop_free(fixture->target_loop);
    sim_net_free(fixture->net);
    sim_loop_free(fixture->loop);
    sim_free(fixture->sim);
}

static void test_each_behaviour_proves_what_it_proves(void **state)
{
    (void)state;
    static const struct {
        enum behaviour behaviour;
        bool gone;
    } cases[] = {{REFUSES, true},        {CLOSES, false},      {SAYS_NOTHING, false},
                 {SAYS_NONSENSE, false}, {IS_THE_SAME, false}, {IS_ANOTHER, true},
                 {DIED_SILENTLY, false}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture fixture;
        struct probe *probe;
        set_up(&fixture, cases[i].behaviour);
        assert_int_equal(start(&fixture, &probe), OK);
        sim_run_until(fixture.sim, NULL, NULL, 3 * SEC);
        assert_int_equal(fixture.answers, 1);
        if (fixture.gone != cases[i].gone)
            fail_msg("behaviour %d: %s", (int)cases[i].behaviour, fixture.why);
        assert_int_not_equal(fixture.why[0], '\0');
        tear_down(&fixture);
    }
}

static void test_freed_probe_does_not_answer(void **state)
{
    (void)state;
    for (uint64_t after_us = 0; after_us < 3000; after_us += 100) {
        struct fixture fixture;
        struct probe *probe;
        set_up(&fixture, SAYS_NOTHING);
        assert_int_equal(start(&fixture, &probe), OK);
        sim_run_until(fixture.sim, NULL, NULL, after_us);
        probe_free(probe);
        sim_run_until(fixture.sim, NULL, NULL, 3 * SEC);
        assert_int_equal(fixture.answers, 0);
        tear_down(&fixture);
    }
}

static void test_failing_allocations_prove_nothing(void **state)
{
    (void)state;
    long live = mem_fault_live();
    for (unsigned long n = 1; n < 12; n++) {
        struct fixture fixture;
        struct probe *probe;
        set_up(&fixture, IS_THE_SAME);
        mem_fault_fail_at(n);
        enum error error = start(&fixture, &probe);
        if (error == OK)
            sim_run_until(fixture.sim, NULL, NULL, 3 * SEC);
        mem_fault_fail_at(0);
        assert_false(fixture.gone);
        assert_int_equal(fixture.answers, error == OK ? 1 : 0);
        tear_down(&fixture);
        assert_int_equal(mem_fault_live(), live);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_behaviour_proves_what_it_proves),
        cmocka_unit_test(test_freed_probe_does_not_answer),
        cmocka_unit_test(test_failing_allocations_prove_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
