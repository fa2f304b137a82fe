/* Tests of server/peer_in.c: greetings of those who connect. */
#include "tests/unit/server/peers_fixture.h"

/* Somebody who connects to node 0 and says what the test wants. */
struct stranger {
    struct sim_process {
        struct sim_node *machine;
        struct loop *loop;
        struct net *net;
    } process;
    struct net_conn *conn;
    bool closed, welcomed;
    Pb__PeerWelcome__Refusal refusal;
    uint64_t incarnation;
    char text[256];
    uint32_t fetches, frames;
    struct arena arena;
};

static size_t stranger_on_data(void *arg, const uint8_t *data, size_t len)
{
    struct stranger *stranger = arg;
    struct slice rest = slice_of(data, len), frame;
    while (peer_next_frame(&rest, 1 << 20, &frame) == OK && frame.data != NULL) {
        Pb__PeerMessage *message;
        stranger->frames++;
        if (peer_unpack(frame, &stranger->arena, &message) != OK)
            continue;
        if (message->kind_case == PB__PEER_MESSAGE__KIND_MAP_FETCH)
            stranger->fetches++;
        if (message->kind_case != PB__PEER_MESSAGE__KIND_WELCOME)
            continue;
        stranger->welcomed = true;
        stranger->refusal = message->welcome->refusal;
        stranger->incarnation = message->welcome->incarnation;
        snprintf(stranger->text, sizeof stranger->text, "%s", message->welcome->text);
    }
    return len - rest.len;
}

static void stranger_on_eof(void *arg, struct slice rest)
{
    struct stranger *stranger = arg;
    (void)rest;
    net_conn_abort(stranger->conn);
    stranger->closed = true;
}

static void stranger_on_close(void *arg, enum error why)
{
    (void)why;
    ((struct stranger *)arg)->closed = true;
}

static void stranger_on_drain(void *arg)
{
    (void)arg;
}

static void connect_to_node(struct fixture *fixture, struct stranger *stranger)
{
    static const struct net_conn_events events = {.on_data = stranger_on_data,
                                                  .on_eof = stranger_on_eof,
                                                  .on_drain = stranger_on_drain,
                                                  .on_close = stranger_on_close};
    memset(stranger, 0, sizeof *stranger);
    arena_init(&stranger->arena, 1 << 20);
    stranger->process.machine = sim_node_new(fixture->sim, "stranger");
    stranger->process.loop = sim_loop_new(fixture->sim, stranger->process.machine);
    stranger->process.net = sim_net_new(fixture->sim, stranger->process.loop);
    assert_int_equal(net_connect(stranger->process.net, sim_node_host(fixture->nodes[0].machine),
                                 PORT, SEC, &events, stranger, &stranger->conn),
                     OK);
    static const uint8_t first = PEER_FIRST_BYTE;
    assert_int_equal(net_conn_write(stranger->conn, &first, 1), OK);
}

static void leave(struct stranger *stranger)
{
    if (!stranger->closed)
        net_conn_abort(stranger->conn);
    sim_net_free(stranger->process.net);
    sim_loop_free(stranger->process.loop);
    arena_fini(&stranger->arena);
}

static void say_hello(struct stranger *stranger, uint64_t incarnation, uint32_t role,
                      uint8_t cluster, uint64_t epoch)
{
    uint8_t id[CLUSTER_ID_BYTES] = {cluster, 7, 7};
    char name[] = "stranger";
    Pb__PeerHello hello = PB__PEER_HELLO__INIT;
    hello.cluster_id = message_bytes(slice_of(id, sizeof id));
    hello.name = name;
    hello.incarnation = incarnation;
    hello.role = role;
    hello.epoch = epoch;
    hello.link = PB__PEER_HELLO__LINK__REPLICATION;
    assert_int_equal(PEER_SEND(stranger->conn, HELLO, hello, &hello), OK);
}

static void a_probe_is_told_who_answers(void **state)
{
    struct fixture *fixture = *state;
    struct stranger stranger;
    give_map(fixture, 0, 1, 1, 0);
    connect_to_node(fixture, &stranger);
    say_hello(&stranger, 0, CLUSTER_LOCATOR, 7, 0);
    run(fixture, SEC);
    assert_true(stranger.welcomed && stranger.closed);
    assert_int_equal(stranger.incarnation, incarnation_of(0));
    leave(&stranger);
}

static void another_cluster_is_refused_with_a_sentence(void **state)
{
    struct fixture *fixture = *state;
    struct stranger stranger;
    give_map(fixture, 0, 1, 1, 0);
    connect_to_node(fixture, &stranger);
    say_hello(&stranger, 55, CLUSTER_SERVER, 8, 0);
    run(fixture, SEC);
    assert_true(stranger.welcomed && stranger.closed);
    assert_int_equal(stranger.refusal, PB__PEER_WELCOME__REFUSAL__OTHER_CLUSTER);
    assert_non_null(strstr(stranger.text, "another cluster"));
    leave(&stranger);
}

static void who_is_not_in_a_map_that_is_new_enough_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct stranger stranger;
    give_map(fixture, 0, 5, 1, 0);
    connect_to_node(fixture, &stranger);
    say_hello(&stranger, 55, CLUSTER_SERVER, 7, 5);
    run(fixture, SEC);
    assert_true(stranger.welcomed && stranger.closed);
    assert_int_equal(stranger.refusal, PB__PEER_WELCOME__REFUSAL__NOT_READY);
    leave(&stranger);
}

static void who_has_a_newer_map_is_asked_for_it_and_kept_for_five_seconds(void **state)
{
    struct fixture *fixture = *state;
    struct stranger stranger;
    give_map(fixture, 0, 5, 1, 0);
    connect_to_node(fixture, &stranger);
    say_hello(&stranger, 55, CLUSTER_SERVER, 7, 6);
    run(fixture, 30 * MS);
    assert_int_equal(fixture->nodes[0].wanted_epoch, 6); /* a locator is asked first */
    assert_int_equal(stranger.fetches, 0);
    run(fixture, 4 * SEC);
    assert_false(stranger.welcomed || stranger.closed);
    assert_true(stranger.fetches > 5);
    run(fixture, 2 * SEC);
    assert_true(stranger.welcomed && stranger.closed);
    assert_int_equal(stranger.refusal, PB__PEER_WELCOME__REFUSAL__NOT_READY);
    leave(&stranger);
}

static void a_server_that_is_ahead_brings_its_map(void **state)
{
    struct fixture *fixture = *state;
    give_map(fixture, 0, 1, 1, 0); /* knows itself alone */
    give_map(fixture, 1, 2, 2, 0);
    run(fixture, SEC);
    assert_int_equal(fixture->nodes[0].catalog.map->epoch, 2);
    assert_true(is_linked(fixture, 0, 1) && is_linked(fixture, 1, 0));
    assert_true(has_lease(fixture, 0, 1) && has_lease(fixture, 1, 0));
}

static void a_server_that_has_no_map_yet_waits_for_its_own(void **state)
{
    struct fixture *fixture = *state;
    give_map(fixture, 1, 2, 2, 0);
    run(fixture, 2 * SEC);
    assert_int_equal(fixture->nodes[0].maps, 0); /* of which cluster it is, a locator says */
    assert_false(is_linked(fixture, 1, 0));
    give_map(fixture, 0, 2, 2, 0);
    run(fixture, SEC);
    assert_true(is_linked(fixture, 1, 0));
}

static void greetings_without_sense_are_cut(void **state)
{
    struct fixture *fixture = *state;
    give_map(fixture, 0, 1, 1, 0);
    static const struct {
        const char *bytes;
        size_t len;
        uint64_t wait_us;
    } rows[] = {
        {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 11, 500000}, /* no length */
        {"\x80\x80\x02xxxx", 7, 500000}, /* longer than a hello may be */
        {"\x02\x1a\x00", 3, 500000},     /* not a hello */
        {"\x03\x0a\x02\x08", 4, 500000}, /* a hello that is cut short */
        {"\x20\x0a", 2, 6000000},        /* the rest never comes */
        {"", 0, 6000000},                /* nothing comes */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct stranger stranger;
        connect_to_node(fixture, &stranger);
        assert_int_equal(net_conn_write(stranger.conn, rows[i].bytes, rows[i].len), OK);
        run(fixture, rows[i].wait_us);
        assert_true(stranger.closed);
        assert_false(stranger.welcomed);
        leave(&stranger);
    }
    struct stranger stranger;
    connect_to_node(fixture, &stranger);
    say_hello(&stranger, incarnation_of(0), CLUSTER_SERVER, 7, 9); /* itself */
    run(fixture, SEC);
    assert_true(stranger.closed);
    leave(&stranger);
}

static void a_newer_connection_takes_the_place_of_an_older_one(void **state)
{
    struct fixture *fixture = *state;
    struct stranger first, second;
    give_map(fixture, 0, 1, 3, 1 << 1);
    connect_to_node(fixture, &first);
    say_hello(&first, incarnation_of(2), CLUSTER_SERVER, 7, 1);
    run(fixture, 100 * MS);
    assert_true(first.welcomed && !first.closed);
    connect_to_node(fixture, &second);
    say_hello(&second, incarnation_of(2), CLUSTER_SERVER, 7, 1);
    run(fixture, 100 * MS);
    assert_true(second.welcomed && !second.closed);
    assert_true(first.closed);
    assert_int_equal(atomic_load(&peer_of(fixture, 0, 2)->conn_count), 1);
    assert_int_equal(fixture->nodes[0].exceptions_written, 2); /* first thing on each */
    leave(&first);
    leave(&second);
    run(fixture, 100 * MS);
    assert_int_equal(atomic_load(&peer_of(fixture, 0, 2)->conn_count), 0);
}

static void without_memory_a_connection_is_dropped_and_nothing_leaks(void **state)
{
    struct fixture *fixture = *state;
    give_map(fixture, 0, 1, 3, 1 << 1);
    bool passed = false;
    for (unsigned n = 1; n < 60 && !passed; n++) {
        struct stranger stranger;
        connect_to_node(fixture, &stranger);
        say_hello(&stranger, incarnation_of(2), CLUSTER_SERVER, 7, 1);
        run(fixture, 1);
        mem_fault_fail_at(n);
        run(fixture, 100 * MS);
        passed = stranger.welcomed && mem_fault_calls() < n;
        mem_fault_fail_at(0);
        leave(&stranger);
        run(fixture, 100 * MS);
    }
    assert_true(passed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_probe_is_told_who_answers),
        TEST(another_cluster_is_refused_with_a_sentence),
        TEST(who_is_not_in_a_map_that_is_new_enough_is_refused),
        TEST(who_has_a_newer_map_is_asked_for_it_and_kept_for_five_seconds),
        TEST(a_server_that_is_ahead_brings_its_map),
        TEST(a_server_that_has_no_map_yet_waits_for_its_own),
        TEST(greetings_without_sense_are_cut),
        TEST(a_newer_connection_takes_the_place_of_an_older_one),
        TEST(without_memory_a_connection_is_dropped_and_nothing_leaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
