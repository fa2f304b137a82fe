/* Tests of server/peer_conn.c: frames between servers that are connected. */
#include "tests/unit/server/peers_fixture.h"

static struct net_conn *link_of(struct fixture *fixture, unsigned index, unsigned other,
                                enum peer_link_kind kind)
{
    return peer_of(fixture, index, other)->out->links[peer_link_index(kind)].conn->conn;
}

static void records_are_acknowledged_in_one_frame_for_each_read(void **state)
{
    struct fixture *fixture = *state;
    link_all(fixture, 2);
    fixture->nodes[1].ack_back = true;
    struct net_conn *conn = link_of(fixture, 0, 1, PEER_LINK_REPLICATION);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(peer_frame_send(conn, PEER_FRAME_RECORDS, slice_text("r")), OK);
    assert_int_equal(peer_frame_send(conn, 63, slice_text("of a newer version")), OK);
    run(fixture, 50 * MS);
    assert_int_equal(fixture->nodes[1].records, 3);
    assert_int_equal(fixture->nodes[0].acks, 3);
    assert_int_equal(fixture->nodes[0].replication_downs, 0);
}

/* What no server sends ends the connection, which comes back. */
static void what_makes_no_sense_ends_the_connection(void **state)
{
    struct fixture *fixture = *state;
    link_all(fixture, 2);
    static const struct {
        enum peer_link_kind link;
        const char *bytes;
        size_t len;
    } rows[] = {
        {PEER_LINK_REPLICATION, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 11},
        {PEER_LINK_REPLICATION, "\xff\xff\xff\xff\x7f", 5}, /* too long */
        {PEER_LINK_REPLICATION, "\x04\x82\x02\x05x", 5},    /* content longer than its frame */
        {PEER_LINK_REPLICATION, "\x05\x82\x02\x01xx", 6},   /* and shorter */
        {PEER_LINK_REPLICATION, "\x03\x80\x02\x01", 4},     /* of another wire type */
        {PEER_LINK_REPLICATION, "\x03\x8a\x02\x00", 4},     /* acknowledgements the wrong way */
        {PEER_LINK_REQUESTS, "\x03\x82\x02\x00", 4},        /* records on the wrong link */
        {PEER_LINK_REQUESTS, "\x04\x32\x02\x08\x01", 5},    /* a beacon there */
        {PEER_LINK_REPLICATION, "\x04\x32\x05\x08\x01", 5}, /* a beacon that is cut short */
        {PEER_LINK_REPLICATION, "\x08\x22\x06\x08\x09\x12\x02zz", 9}, /* a map that is none */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct node *node = &fixture->nodes[0];
        uint32_t downs = node->replication_downs + node->request_downs;
        struct net_conn *conn = link_of(fixture, 0, 1, rows[i].link);
        assert_int_equal(net_conn_write(conn, rows[i].bytes, rows[i].len), OK);
        run(fixture, SEC);
        assert_int_equal(node->replication_downs + node->request_downs, downs + 1);
        assert_true(is_linked(fixture, 0, 1));
    }
}

static void a_frame_that_is_refused_ends_the_connection(void **state)
{
    struct fixture *fixture = *state;
    link_all(fixture, 2);
    struct node *node = &fixture->nodes[1];
    static const enum error errors[] = {ERROR_MALFORMED, ERROR_MEMORY};
    for (size_t i = 0; i < 2; i++) {
        uint32_t ups = fixture->nodes[0].replication_ups;
        node->verdict = errors[i];
        assert_int_equal(peer_frame_send(link_of(fixture, 0, 1, PEER_LINK_REPLICATION),
                                         PEER_FRAME_RECORDS, slice_text("r")),
                         OK);
        run(fixture, 50 * MS);
        node->verdict = OK;
        run(fixture, SEC);
        assert_int_equal(fixture->nodes[0].replication_ups, ups + 1);
    }
}

static void a_newer_map_travels_between_servers(void **state)
{
    struct fixture *fixture = *state;
    link_all(fixture, 3);
    give_map(fixture, 2, 7, 3, 0);
    run(fixture, SEC);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(fixture->nodes[i].wanted_epoch, 7);
        assert_int_equal(fixture->nodes[i].catalog.map->epoch, 7);
        assert_int_equal(atomic_load(&peer_of(fixture, i, 2)->epoch), 7);
    }
    assert_true(has_lease(fixture, 0, 2));
}

static void a_map_of_another_cluster_is_not_taken(void **state)
{
    struct fixture *fixture = *state;
    link_all(fixture, 2);
    struct cluster_map *map = make_map(fixture, 9, 2, 0);
    struct buf packed;
    map->cluster_id[0] = 8;
    buf_init(&packed);
    assert_int_equal(cluster_map_pack(map, &packed), OK);
    Pb__PeerMapPush push = PB__PEER_MAP_PUSH__INIT;
    push.epoch = 9;
    push.map = message_bytes(buf_slice(&packed));
    assert_int_equal(
        PEER_SEND(link_of(fixture, 0, 1, PEER_LINK_REPLICATION), MAP_PUSH, map_push, &push), OK);
    run(fixture, 100 * MS);
    assert_int_equal(fixture->nodes[1].catalog.map->epoch, 1);
    assert_int_equal(fixture->nodes[0].replication_downs, 1);
    cluster_map_unref(map);
    buf_fini(&packed);
}

static void frames_arrive_whole_however_they_are_split(void **state)
{
    struct fixture *fixture = *state;
    sim_set_faults(
        fixture->sim,
        &(struct sim_faults){.latency_min_us = 50, .latency_max_us = 300, .split_bytes = 3});
    for (unsigned i = 0; i < 2; i++)
        give_map(fixture, i, 1, 2, 0);
    run(fixture, 2 * SEC);
    assert_true(is_linked(fixture, 0, 1) && has_lease(fixture, 0, 1));
    fixture->nodes[1].ack_back = true;
    for (unsigned i = 0; i < 200; i++)
        assert_int_equal(peer_frame_send(link_of(fixture, 0, 1, PEER_LINK_REPLICATION),
                                         PEER_FRAME_RECORDS, slice_text("0123456789")),
                         OK);
    run(fixture, 5 * SEC);
    assert_int_equal(fixture->nodes[1].records, 200);
    assert_int_equal(fixture->nodes[0].acks, 200);
    assert_string_equal(fixture->nodes[1].last, "0123456789");
}

/* Resets at random bytes for a while: whatever happens, both sides are connected in the end. */
static void links_survive_resets_at_any_byte(void **state)
{
    struct fixture *fixture = *state;
    sim_set_faults(fixture->sim, &(struct sim_faults){.latency_min_us = 50,
                                                      .latency_max_us = 3000,
                                                      .split_bytes = 9,
                                                      .reset_ppm = 50000});
    for (unsigned i = 0; i < 3; i++)
        give_map(fixture, i, 1, 3, 0);
    run(fixture, 60 * SEC);
    assert_true(fixture->nodes[0].replication_downs > 10);
    sim_set_faults(fixture->sim, &(struct sim_faults){.latency_min_us = 50, .latency_max_us = 300});
    run(fixture, 3 * SEC);
    for (unsigned i = 0; i < 3; i++)
        for (unsigned j = 0; j < 3; j++)
            assert_true(i == j || (is_linked(fixture, i, j) && has_lease(fixture, i, j)));
    for (unsigned i = 0; i < 3; i++)
        for (unsigned r = 0; r < fixture->nodes[i].report_count; r++)
            assert_false(fixture->nodes[i].reports[r].gone);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(records_are_acknowledged_in_one_frame_for_each_read),
        TEST(what_makes_no_sense_ends_the_connection),
        TEST(a_frame_that_is_refused_ends_the_connection),
        TEST(a_newer_map_travels_between_servers),
        TEST(a_map_of_another_cluster_is_not_taken),
        TEST(frames_arrive_whole_however_they_are_split),
        TEST(links_survive_resets_at_any_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
