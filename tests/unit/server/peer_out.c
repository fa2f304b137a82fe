/* Tests of server/peer_out.c: connections out, and proof that a server is gone. */
#include "tests/unit/server/peers_fixture.h"

static bool is_gone(struct fixture *fixture, unsigned index, unsigned other)
{
    return atomic_load(&peer_of(fixture, index, other)->gone);
}

static void a_killed_process_is_reported_within_milliseconds(void **state)
{
    struct fixture *fixture = *state;
    link_all(fixture, 3);
    struct node *node = &fixture->nodes[0];
    uint32_t downs = node->replication_downs;
    uint64_t killed_us = sim_now_us(fixture->sim);
    node_crash(&fixture->nodes[1], SIM_CRASH_RESET);
    run(fixture, 100 * MS);
    assert_true(is_gone(fixture, 0, 1) && is_gone(fixture, 2, 1));
    assert_int_equal(node->report_count, 1);
    assert_true(node->reports[0].gone);
    assert_int_equal(node->reports[0].incarnation, incarnation_of(1));
    assert_true(node->reports[0].at_us - killed_us < 20 * MS);
    assert_non_null(strstr(node->reports[0].evidence, "refuses"));
    assert_int_equal(node->replication_downs, downs + 2); /* broke; then for good */
    assert_false(has_promised(fixture, 0, 1));
    assert_int_equal(peer_except(peer_of(fixture, 0, 1), NULL), 0);
    run(fixture, 2500 * MS);
    assert_int_equal(node->report_count, 3); /* each second, until the map names it no more */
    give_map(fixture, 0, 2, 3, 1 << 1);
    run(fixture, 2 * SEC);
    assert_int_equal(node->report_count, 3);
}

static void a_gone_peer_is_not_connected_again(void **state)
{
    struct fixture *fixture = *state;
    link_all(fixture, 2);
    node_crash(&fixture->nodes[1], SIM_CRASH_RESET);
    run(fixture, 100 * MS);
    sim_node_restart(fixture->nodes[1].machine);
    node_start(fixture, 1, incarnation_of(1));
    give_map(fixture, 1, 1, 2, 0);
    run(fixture, 2 * SEC);
    assert_false(is_linked(fixture, 0, 1));
    assert_false(is_linked(fixture, 1, 0)); /* it is not taken in either */
}

static void silence_proves_nothing(void **state)
{
    struct fixture *fixture = *state;
    link_all(fixture, 2);
    struct node *node = &fixture->nodes[0];
    node_crash(&fixture->nodes[1], SIM_CRASH_SILENT);
    run(fixture, 10 * SEC);
    assert_false(is_gone(fixture, 0, 1));
    assert_true(node->report_count >= 8 && node->report_count <= 10);
    for (unsigned i = 0; i < node->report_count; i++)
        assert_false(node->reports[i].gone);
    assert_true(node->reports[0].at_us < 2 * SEC);
    assert_false(is_linked(fixture, 0, 1)); /* a link without any sign for 5 s is given up */
    assert_int_equal(atomic_load(&peer_of(fixture, 0, 1)->conn_count), 0);
    /* The machine comes back without the process. */
    sim_node_restart(fixture->nodes[1].machine);
    run(fixture, 2 * SEC);
    assert_true(is_gone(fixture, 0, 1));
    assert_true(node->reports[node->report_count - 1].gone);
}

static void a_paused_process_is_reported_and_comes_back(void **state)
{
    struct fixture *fixture = *state;
    link_all(fixture, 2);
    sim_node_pause(fixture->nodes[1].machine);
    run(fixture, 2500 * MS);
    assert_int_equal(fixture->nodes[0].report_count, 2);
    assert_false(has_lease(fixture, 0, 1));
    sim_node_resume(fixture->nodes[1].machine);
    run(fixture, SEC);
    assert_true(has_lease(fixture, 0, 1) && is_linked(fixture, 0, 1));
    assert_false(is_gone(fixture, 0, 1));
    assert_int_equal(fixture->nodes[0].report_count, 2);
}

static void another_incarnation_that_answers_is_proof(void **state)
{
    struct fixture *fixture = *state;
    link_all(fixture, 2);
    struct node *node = &fixture->nodes[0];
    /* Cut off meanwhile, so that the refusal is not seen. */
    sim_partition(node->machine, fixture->nodes[1].machine);
    sim_partition(fixture->nodes[1].machine, node->machine);
    node_crash(&fixture->nodes[1], SIM_CRASH_SILENT);
    run(fixture, 300 * MS);
    sim_node_restart(fixture->nodes[1].machine);
    node_start(fixture, 1, 4711);
    sim_heal_all(fixture->sim);
    run(fixture, 8 * SEC);
    assert_true(is_gone(fixture, 0, 1));
    assert_true(node->reports[node->report_count - 1].gone);
}

static void a_closed_listener_alone_proves_nothing(void **state)
{
    struct fixture *fixture = *state;
    link_all(fixture, 2);
    net_listener_close(fixture->nodes[1].listener);
    struct peer *peer = peer_of(fixture, 0, 1);
    for (unsigned i = 0; i < 2; i++)
        sim_conn_cut(peer->out->links[i].conn->conn, 1);
    assert_int_equal(peer_send(peer, PEER_LINK_REQUESTS, PEER_FRAME_FEED_OPEN, slice_text("x")),
                     OK);
    run(fixture, 3 * SEC);
    assert_false(is_linked(fixture, 0, 1));
    assert_true(is_linked(fixture, 1, 0)); /* its own links stand, so it lives */
    assert_false(is_gone(fixture, 0, 1));
    assert_int_equal(net_listen(fixture->nodes[1].nets[0], sim_node_host(fixture->nodes[1].machine),
                                PORT, on_accept, &fixture->nodes[1], &fixture->nodes[1].listener),
                     OK);
    run(fixture, 2 * SEC);
    assert_true(is_linked(fixture, 0, 1));
}

static void a_locators_word_that_it_is_gone_counts(void **state)
{
    struct fixture *fixture = *state;
    link_all(fixture, 2);
    node_crash(&fixture->nodes[1], SIM_CRASH_SILENT);
    run(fixture, 500 * MS);
    peers_declare_gone(&fixture->nodes[0].server, incarnation_of(1));
    peers_declare_gone(&fixture->nodes[0].server, 999); /* nobody */
    assert_false(has_promised(fixture, 0, 1));
    run(fixture, 50 * MS);
    assert_int_equal(fixture->nodes[0].report_count, 1);
    assert_true(fixture->nodes[0].reports[0].gone);
}

static void a_server_of_another_cluster_is_not_talked_to(void **state)
{
    struct fixture *fixture = *state;
    give_map(fixture, 0, 1, 2, 0);
    struct cluster_map *map = make_map(fixture, 1, 2, 0);
    map->cluster_id[0] = 8;
    server_adopt_map(&fixture->nodes[1].server, map);
    cluster_map_unref(map);
    run(fixture, 3 * SEC);
    assert_false(is_linked(fixture, 0, 1) || is_linked(fixture, 1, 0));
    assert_false(is_gone(fixture, 0, 1));
    assert_non_null(strstr(peer_of(fixture, 0, 1)->out->trouble, "another cluster"));
}

static void every_step_of_the_greeting_may_be_cut(void **state)
{
    struct fixture *fixture = *state;
    for (unsigned n = 0; n < 120; n += 3) {
        unsigned epoch = 2 + 2 * n;
        sim_cut_connection(fixture->nodes[0].machine, fixture->nodes[1].machine, 1, SIM_TO_ACCEPTOR,
                           n);
        sim_cut_connection(fixture->nodes[0].machine, fixture->nodes[1].machine, 2,
                           SIM_TO_CONNECTOR, n);
        give_map(fixture, 0, epoch, 2, 0);
        give_map(fixture, 1, epoch, 2, 0);
        run(fixture, 2 * SEC);
        assert_true(is_linked(fixture, 0, 1) && is_linked(fixture, 1, 0));
        give_map(fixture, 0, epoch + 1, 2, 1 << 1);
        give_map(fixture, 1, epoch + 1, 2, 1 << 0);
        run(fixture, 300 * MS);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_killed_process_is_reported_within_milliseconds),
        TEST(a_gone_peer_is_not_connected_again),
        TEST(silence_proves_nothing),
        TEST(a_paused_process_is_reported_and_comes_back),
        TEST(another_incarnation_that_answers_is_proof),
        TEST(a_closed_listener_alone_proves_nothing),
        TEST(a_locators_word_that_it_is_gone_counts),
        TEST(a_server_of_another_cluster_is_not_talked_to),
        TEST(every_step_of_the_greeting_may_be_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
