/* Tests of server/peers.c: the set of peers and their mailboxes. */
#include "tests/unit/server/peers_fixture.h"

static void links_come_up_in_any_order(void **state)
{
    struct fixture *fixture = *state;
    give_map(fixture, 2, 1, 3, 0);
    run(fixture, 300 * MS); /* nobody else knows of it yet */
    assert_false(is_linked(fixture, 2, 0));
    give_map(fixture, 0, 1, 3, 0);
    run(fixture, SEC);
    assert_true(is_linked(fixture, 2, 0) && is_linked(fixture, 0, 2));
    give_map(fixture, 1, 1, 3, 0);
    run(fixture, SEC);
    for (unsigned i = 0; i < 3; i++)
        for (unsigned j = 0; j < 3; j++)
            assert_true(i == j || is_linked(fixture, i, j));
    assert_null(peer_of(fixture, 0, 0));
}

static void links_come_back_when_they_broke(void **state)
{
    struct fixture *fixture = *state;
    link_all(fixture, 2);
    for (unsigned round = 0; round < 5; round++) {
        uint32_t ups = fixture->nodes[0].replication_ups;
        struct peer *peer = peer_of(fixture, 0, 1);
        sim_conn_cut(peer->out->links[1].conn->conn, 1);
        run(fixture, SEC);
        assert_int_equal(fixture->nodes[0].replication_ups, ups + 1);
        assert_true(is_linked(fixture, 0, 1) && has_lease(fixture, 0, 1));
    }
    assert_int_equal(fixture->nodes[0].report_count, 0);
    assert_false(atomic_load(&peer_of(fixture, 0, 1)->gone));
}

static void who_is_not_in_the_map_any_more_is_let_go(void **state)
{
    struct fixture *fixture = *state;
    link_all(fixture, 3);
    struct peer *old = peers_find(&fixture->nodes[0].server, incarnation_of(2));
    give_map(fixture, 0, 2, 3, 1 << 2);
    give_map(fixture, 1, 2, 3, 1 << 2);
    run(fixture, SEC);
    assert_null(peer_of(fixture, 0, 2));
    assert_true(atomic_load(&old->out_of_map));
    assert_false(atomic_load(&old->replication_up));
    assert_int_equal(atomic_load(&old->conn_count), 0);
    peer_unref(old);
    assert_true(is_linked(fixture, 0, 1));
    give_map(fixture, 0, 3, 3, 0);
    give_map(fixture, 1, 3, 3, 0);
    give_map(fixture, 2, 3, 3, 0);
    run(fixture, 2 * SEC);
    assert_true(is_linked(fixture, 0, 2) && is_linked(fixture, 2, 0));
}

static void without_memory_the_set_is_as_it_was(void **state)
{
    struct fixture *fixture = *state;
    struct cluster_map *map = make_map(fixture, 1, 3, 0);
    struct server *server = &fixture->nodes[0].server;
    enum error error = ERROR_MEMORY;
    unsigned n;
    for (n = 1; error != OK; n++) {
        long live = mem_fault_live();
        mem_fault_fail_at(n);
        error = peers_adopt(server, map);
        mem_fault_fail_at(0);
        if (error != OK) {
            assert_int_equal(error, ERROR_MEMORY);
            assert_null(server->peers);
            assert_int_equal(mem_fault_live(), live);
        }
    }
    assert_true(n > 8);
    cluster_map_unref(map);
}

struct copies {
    struct region region;
    struct bucket buckets[2];
    struct replica_copy copies[2];
};

static void copies_init(struct copies *copies, struct peer *peer)
{
    memset(copies, 0, sizeof *copies);
    atomic_init(&copies->region.refs, 1);
    for (unsigned i = 0; i < 2; i++) {
        pthread_mutex_init(&copies->buckets[i].lock, NULL);
        copies->copies[i] = (struct replica_copy){
            .bucket = &copies->buckets[i], .region = &copies->region, .peer = peer};
    }
}

static void copies_fini(struct copies *copies)
{
    assert_int_equal(atomic_load(&copies->region.refs), 1);
    for (unsigned i = 0; i < 2; i++)
        pthread_mutex_destroy(&copies->buckets[i].lock);
}

static void dirty_copies_are_filled_once_with_their_buckets_lock(void **state)
{
    struct fixture *fixture = *state;
    struct copies copies;
    link_all(fixture, 2);
    struct peer *peer = peer_of(fixture, 0, 1);
    copies_init(&copies, peer);
    for (unsigned i = 0; i < 3; i++) {
        peer_mark_dirty(peer, &copies.copies[0]);
        peer_mark_dirty(peer, &copies.copies[1]);
    }
    run(fixture, 50 * MS);
    assert_int_equal(fixture->nodes[0].filled, 2);
    assert_int_equal(fixture->nodes[1].records, 2);
    assert_string_equal(fixture->nodes[1].last, "filled");
    assert_false(copies.copies[0].is_dirty);
    copies_fini(&copies);
}

static void a_copy_that_is_forgotten_is_not_filled(void **state)
{
    struct fixture *fixture = *state;
    struct copies copies;
    link_all(fixture, 2);
    struct peer *peer = peer_of(fixture, 0, 1);
    copies_init(&copies, peer);
    peer_mark_dirty(peer, &copies.copies[0]);
    peer_mark_dirty(peer, &copies.copies[1]);
    peer_forget_copy(peer, &copies.copies[1]);
    peer_forget_copy(peer, &copies.copies[1]);
    peer_mark_dirty(peer, &copies.copies[0]);
    run(fixture, 50 * MS);
    assert_int_equal(fixture->nodes[0].filled, 1);
    peer_mark_dirty(peer, &copies.copies[1]);
    run(fixture, 50 * MS);
    assert_int_equal(fixture->nodes[0].filled, 2);
    copies_fini(&copies);
}

static void copies_wait_while_the_link_is_down(void **state)
{
    struct fixture *fixture = *state;
    struct copies copies;
    give_map(fixture, 0, 1, 2, 0);
    struct peer *peer = peer_of(fixture, 0, 1);
    copies_init(&copies, peer);
    peer_mark_dirty(peer, &copies.copies[0]);
    run(fixture, 300 * MS);
    assert_int_equal(fixture->nodes[0].filled, 0);
    give_map(fixture, 1, 1, 2, 0);
    run(fixture, SEC);
    assert_int_equal(fixture->nodes[0].filled, 1);
    copies_fini(&copies);
}

static void a_copy_that_can_send_nothing_now_waits_for_its_next_mark(void **state)
{
    struct fixture *fixture = *state;
    struct copies copies;
    link_all(fixture, 2);
    struct peer *peer = peer_of(fixture, 0, 1);
    copies_init(&copies, peer);
    fixture->nodes[0].fill_nothing = true;
    peer_mark_dirty(peer, &copies.copies[0]);
    run(fixture, 50 * MS);
    assert_int_equal(fixture->nodes[0].filled, 1);
    fixture->nodes[0].fill_nothing = false;
    peer_mark_dirty(peer, &copies.copies[0]);
    run(fixture, 50 * MS);
    assert_int_equal(fixture->nodes[1].records, 1);
    copies_fini(&copies);
}

static void many_records_leave_in_bounded_portions(void **state)
{
    struct fixture *fixture = *state;
    struct copies copies;
    link_all(fixture, 2);
    struct peer *peer = peer_of(fixture, 0, 1);
    copies_init(&copies, peer);
    fixture->nodes[0].fill_left = 100; /* 6.4 MB */
    peer_mark_dirty(peer, &copies.copies[0]);
    for (unsigned i = 0; i < 30000 && fixture->nodes[1].records < 100; i++) {
        sim_step(fixture->sim);
        struct peer_conn *conn = peer->out->links[1].conn;
        assert_true(net_conn_unsent(conn->conn) < 1024 * 1024 + 2 * 64 * 1024);
    }
    assert_true(fixture->nodes[1].records >= 100);
    copies_fini(&copies);
}

static void frames_and_calls_go_in_order_and_end_with_the_link(void **state)
{
    struct fixture *fixture = *state;
    link_all(fixture, 2);
    struct peer *peer = peer_of(fixture, 0, 1);
    struct call call = {.kind = CALL_GET};
    atomic_init(&call.refs, 1);
    assert_int_equal(peer_send(peer, PEER_LINK_REPLICATION, PEER_FRAME_ANNOUNCE, slice_text("one")),
                     OK);
    assert_int_equal(peer_send(peer, PEER_LINK_REPLICATION, PEER_FRAME_ANNOUNCE, slice_text("two")),
                     OK);
    assert_int_equal(peer_send(peer, PEER_LINK_REQUESTS, PEER_FRAME_FEED_OPEN, slice_text("")), OK);
    peer_send_call(peer, &call);
    run(fixture, 50 * MS);
    assert_string_equal(fixture->nodes[1].announced, "one two ");
    assert_int_equal(fixture->nodes[1].opens, 1);
    assert_int_equal(fixture->nodes[1].calls, 1);
    assert_int_equal(fixture->nodes[0].answers, 1);
    assert_int_equal(atomic_load(&call.refs), 1);
    node_crash(&fixture->nodes[1], SIM_CRASH_RESET);
    run(fixture, 50 * MS);
    assert_int_equal(peer_send(peer, PEER_LINK_REPLICATION, PEER_FRAME_ANNOUNCE, slice_text("x")),
                     ERROR_UNREACHABLE);
    peer_send_call(peer, &call); /* waits, and is let go with the peer */
    give_map(fixture, 0, 2, 2, 1 << 1);
    run(fixture, 50 * MS);
    assert_int_equal(atomic_load(&call.refs), 1);
}

static void mail_to_a_peer_is_bounded(void **state)
{
    struct fixture *fixture = *state;
    link_all(fixture, 2);
    struct peer *peer = peer_of(fixture, 0, 1);
    struct slice block = {.data = calloc(1, 1 << 20), .len = 1 << 20};
    enum error error = OK;
    unsigned sent = 0;
    for (; error == OK && sent < 100; sent++)
        error = peer_send(peer, PEER_LINK_REPLICATION, PEER_FRAME_ANNOUNCE, block);
    assert_int_equal(error, ERROR_BUSY);
    assert_int_equal(sent, 17);
    run(fixture, 10 * SEC);
    assert_int_equal(fixture->nodes[1].announces, 16);
    assert_int_equal(peer->mail_bytes, 0);
    free((void *)(uintptr_t)block.data);
}

static void a_loop_that_stands_still_is_measured(void **state)
{
    struct fixture *fixture = *state;
    link_all(fixture, 2);
    assert_true(peers_stall_us(&fixture->nodes[0].server, true) < 10 * MS);
    sim_node_pause(fixture->nodes[0].machine);
    run(fixture, 700 * MS);
    sim_node_resume(fixture->nodes[0].machine);
    run(fixture, 100 * MS);
    uint64_t stall_us = peers_stall_us(&fixture->nodes[0].server, true);
    assert_true(stall_us > 400 * MS && stall_us < 800 * MS);
    assert_int_equal(peers_stall_us(&fixture->nodes[0].server, true), 0);
}

/* Allocations fail one after the other while two servers connect: in the end they are connected. */
static void links_come_up_although_memory_fails(void **state)
{
    struct fixture *fixture = *state;
    for (unsigned n = 1; n <= 40; n++) {
        uint64_t epoch = 2 * n;
        give_map(fixture, 0, epoch, 2, 0);
        give_map(fixture, 1, epoch, 2, 0);
        mem_fault_fail_at(n);
        run(fixture, 200 * MS);
        mem_fault_fail_at(0);
        run(fixture, 3 * SEC);
        assert_true(is_linked(fixture, 0, 1) && is_linked(fixture, 1, 0));
        give_map(fixture, 0, epoch + 1, 2, 1 << 1);
        give_map(fixture, 1, epoch + 1, 2, 1 << 0);
        run(fixture, 500 * MS);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(links_come_up_in_any_order),
        TEST(links_come_back_when_they_broke),
        TEST(who_is_not_in_the_map_any_more_is_let_go),
        TEST(without_memory_the_set_is_as_it_was),
        TEST(dirty_copies_are_filled_once_with_their_buckets_lock),
        TEST(a_copy_that_is_forgotten_is_not_filled),
        TEST(copies_wait_while_the_link_is_down),
        TEST(a_copy_that_can_send_nothing_now_waits_for_its_next_mark),
        TEST(many_records_leave_in_bounded_portions),
        TEST(frames_and_calls_go_in_order_and_end_with_the_link),
        TEST(mail_to_a_peer_is_bounded),
        TEST(a_loop_that_stands_still_is_measured),
        TEST(links_come_up_although_memory_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
