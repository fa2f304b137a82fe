/* Tests of server/lease.c. */
#include "tests/unit/server/peers_fixture.h"

static void leases_are_granted_while_links_are_up(void **state)
{
    struct fixture *fixture = *state;
    link_all(fixture, 3);
    for (unsigned i = 0; i < 3; i++)
        for (unsigned j = 0; j < 3; j++)
            assert_true(i == j || (has_lease(fixture, i, j) && has_promised(fixture, i, j)));
    run(fixture, 20 * SEC);
    assert_true(has_lease(fixture, 0, 1));
}

static void a_lease_ends_before_the_promise_when_a_direction_is_cut(void **state)
{
    struct fixture *fixture = *state;
    link_all(fixture, 2);
    sim_partition(fixture->nodes[0].machine, fixture->nodes[1].machine);
    bool lease = true, promise = true;
    uint64_t lease_end_us = 0, promise_end_us = 0;
    for (unsigned i = 0; i < 400 && (lease || promise); i++) {
        run(fixture, 10 * MS);
        if (lease && !has_lease(fixture, 0, 1)) {
            lease = false;
            lease_end_us = sim_now_us(fixture->sim);
        }
        if (promise && !has_promised(fixture, 1, 0)) {
            promise = false;
            promise_end_us = sim_now_us(fixture->sim);
        }
    }
    assert_false(lease);
    assert_false(promise);
    assert_true(lease_end_us < promise_end_us);
    /* The other way the beacons arrive, but their answers do not. */
    assert_false(has_lease(fixture, 1, 0));
    sim_heal_all(fixture->sim);
    run(fixture, 2 * SEC);
    assert_true(has_lease(fixture, 0, 1));
}

static void a_lease_does_not_count_under_an_older_map_than_its_granters(void **state)
{
    struct fixture *fixture = *state;
    link_all(fixture, 2);
    assert_true(has_lease(fixture, 0, 1));
    /* Node 1 announces a newer map; node 0 knows nothing of it, and cannot have it. */
    atomic_store(&fixture->nodes[1].server.announced_epoch, 9);
    run(fixture, 600 * MS);
    assert_false(has_lease(fixture, 0, 1));
    assert_true(has_lease(fixture, 1, 0));
    atomic_store(&fixture->nodes[0].server.announced_epoch, 9);
    atomic_store(&fixture->nodes[0].server.adopted_epoch, 9);
    assert_true(has_lease(fixture, 0, 1));
}

static void an_exception_arrives_before_the_lease_is_renewed(void **state)
{
    struct fixture *fixture = *state;
    link_all(fixture, 2);
    struct node *holder = &fixture->nodes[0], *granter = &fixture->nodes[1];
    struct peer *peer = peer_of(fixture, 1, 0);
    uint32_t before = holder->exceptions;
    uint64_t lease_us = atomic_load(&peer_of(fixture, 0, 1)->lease_until_us);
    uint64_t until_us = peer_except(peer, NULL);
    assert_true(until_us >= loop_clock_us(granter->loops[0]));
    while (holder->exceptions == before)
        run(fixture, MS);
    assert_int_equal(holder->exception_lease_us, lease_us);
    run(fixture, 100 * MS);
    assert_true(atomic_load(&peer_of(fixture, 0, 1)->lease_until_us) > lease_us);
    run(fixture, SEC);
    assert_int_equal(holder->exceptions, before + 1); /* told once */
}

static void an_exception_that_cannot_be_told_grants_nothing(void **state)
{
    struct fixture *fixture = *state;
    link_all(fixture, 2);
    struct node *holder = &fixture->nodes[0], *granter = &fixture->nodes[1];
    uint64_t lease_us = atomic_load(&peer_of(fixture, 0, 1)->lease_until_us);
    uint32_t ups = holder->replication_ups, told = holder->exceptions;
    granter->fail_exceptions = 1;
    peer_except(peer_of(fixture, 1, 0), NULL);
    while (holder->replication_ups == ups)
        run(fixture, MS); /* the connection was dropped, and the next one begins with all of them */
    while (holder->exceptions == told)
        run(fixture, MS);
    assert_int_equal(holder->exception_lease_us, lease_us);
}

static void a_seal_waits_for_the_promise(void **state)
{
    struct fixture *fixture = *state;
    link_all(fixture, 2);
    struct peer *peer = peer_of(fixture, 1, 0);
    struct loop *loop = fixture->nodes[1].loops[0];
    assert_false(peer_except_if_free(peer, NULL, loop_clock_us(loop)));
    sim_partition(fixture->nodes[0].machine, fixture->nodes[1].machine);
    run(fixture, 2600 * MS);
    assert_true(peer_except_if_free(peer, NULL, loop_clock_us(loop)));
    assert_true(peer->exceptions_due);
}

static void beacons_stop_while_a_worker_stands_still(void **state)
{
    struct fixture *fixture = *state;
    link_all(fixture, 2);
    struct worker *stuck = &fixture->nodes[0].workers[incarnation_of(1) % WORKERS == 0];
    loop_timer_clear(&stuck->peers_timer);
    run(fixture, 4 * SEC);
    assert_false(has_lease(fixture, 0, 1));
    assert_true(has_lease(fixture, 1, 0));
    loop_timer_set(&stuck->peers_timer, 0);
    run(fixture, SEC);
    assert_true(has_lease(fixture, 0, 1));
}

static void leases_that_were_dropped_on_purpose_do_not_count(void **state)
{
    struct fixture *fixture = *state;
    link_all(fixture, 2);
    atomic_store(&fixture->nodes[0].server.leases_dropped, true);
    assert_false(has_lease(fixture, 0, 1));
}

static void a_fast_clock_does_not_make_a_lease_outlive_its_promise(void **state)
{
    struct fixture *fixture = *state;
    for (unsigned i = 0; i < 2; i++)
        node_stop(&fixture->nodes[i]);
    fixture->nodes[1].machine = sim_node_new(fixture->sim, "fast");
    sim_node_set_rate(fixture->nodes[1].machine, 1200000);
    for (unsigned i = 0; i < 2; i++)
        node_start(fixture, i, incarnation_of(i));
    link_all(fixture, 2);
    sim_partition(fixture->nodes[0].machine, fixture->nodes[1].machine);
    for (unsigned i = 0; i < 300; i++) {
        run(fixture, 10 * MS);
        assert_true(!has_lease(fixture, 0, 1) || has_promised(fixture, 1, 0));
        assert_true(!has_lease(fixture, 1, 0) || has_promised(fixture, 0, 1));
    }
    assert_false(has_promised(fixture, 1, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(leases_are_granted_while_links_are_up),
        TEST(a_lease_ends_before_the_promise_when_a_direction_is_cut),
        TEST(a_lease_does_not_count_under_an_older_map_than_its_granters),
        TEST(an_exception_arrives_before_the_lease_is_renewed),
        TEST(an_exception_that_cannot_be_told_grants_nothing),
        TEST(a_seal_waits_for_the_promise),
        TEST(beacons_stop_while_a_worker_stands_still),
        TEST(leases_that_were_dropped_on_purpose_do_not_count),
        TEST(a_fast_clock_does_not_make_a_lease_outlive_its_promise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
