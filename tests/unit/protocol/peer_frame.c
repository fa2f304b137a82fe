/* Tests of protocol/peer_frame.c. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <cmocka.h>

#include "common/limits.h"
#include "protocol/peer.h"
#include "protocol/peer_frame.h"
#include "tests/lib/fake_net.h"

struct fixture {
    struct fake_net *fake;
    struct fake_conn *peer;
    struct net_conn *conn;
};

static size_t on_data(void *arg, const uint8_t *data, size_t len)
{
    (void)arg;
    (void)data;
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
    (void)arg;
    (void)why;
}

static int setup(void **state)
{
    static const struct net_conn_events events = {on_data, on_eof, on_drain, on_close, NULL};
    struct fixture *fixture = calloc(1, sizeof *fixture);
    fixture->fake = fake_net_new();
    fixture->peer = fake_net_accept(fixture->fake);
    assert_int_equal(net_adopt(fake_net_net(fixture->fake), fake_conn_socket(fixture->peer),
                               &events, fixture, &fixture->conn),
                     OK);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    net_conn_abort(fixture->conn);
    fake_net_free(fixture->fake);
    free(fixture);
    return 0;
}

/* Takes the next frame off what was sent. */
static void next(struct slice *rest, uint32_t *kind, struct slice *content)
{
    struct slice frame;
    assert_int_equal(peer_next_frame(rest, LIMIT_PEER_FRAME_BYTES, &frame), OK);
    assert_non_null(frame.data);
    assert_int_equal(peer_frame_open(frame, kind, content), OK);
}

static void a_frame_is_read_as_it_was_written(void **state)
{
    struct fixture *fixture = *state;
    static const size_t lens[] = {0, 1, 127, 128, 16383, 16384, 300000};
    uint8_t *block = calloc(1, 300000);
    for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++) {
        memset(block, (int)(i + 1), lens[i]);
        assert_int_equal(peer_frame_send(fixture->conn, PEER_FRAME_RECORDS + (unsigned)i,
                                         slice_of(block, lens[i])),
                         OK);
    }
    fake_net_turn(fixture->fake);
    struct slice rest = fake_conn_sent(fixture->peer);
    for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++) {
        uint32_t kind;
        struct slice content;
        next(&rest, &kind, &content);
        assert_int_equal(kind, PEER_FRAME_RECORDS + i);
        memset(block, (int)(i + 1), lens[i]);
        assert_true(slice_equal(content, slice_of(block, lens[i])));
    }
    assert_int_equal(rest.len, 0);
    free(block);
}

static void a_frame_may_become_shorter_than_its_room(void **state)
{
    struct fixture *fixture = *state;
    uint8_t *room = peer_frame_begin(fixture->conn, PEER_FRAME_FEED_STATUS, 70000);
    memcpy(room, "abc", 3);
    peer_frame_end(fixture->conn, room, PEER_FRAME_FEED_STATUS, 70000, 3);
    fake_net_turn(fixture->fake);
    struct slice rest = fake_conn_sent(fixture->peer), content;
    uint32_t kind;
    next(&rest, &kind, &content);
    assert_int_equal(kind, PEER_FRAME_FEED_STATUS);
    assert_true(slice_equal(content, slice_text("abc")));
    assert_int_equal(rest.len, 0);
}

static void without_memory_nothing_is_written(void **state)
{
    struct fixture *fixture = *state;
    fake_net_fail_reserve(fixture->fake, 1);
    assert_int_equal(peer_frame_send(fixture->conn, PEER_FRAME_ACKS, slice_text("x")),
                     ERROR_MEMORY);
    fake_net_turn(fixture->fake);
    assert_int_equal(fake_conn_sent(fixture->peer).len, 0);
}

static void messages_of_the_schema_are_told_apart(void **state)
{
    struct fixture *fixture = *state;
    Pb__PeerBeacon beacon = PB__PEER_BEACON__INIT;
    beacon.number = 7;
    assert_int_equal(PEER_SEND(fixture->conn, BEACON, beacon, &beacon), OK);
    fake_net_turn(fixture->fake);
    struct slice rest = fake_conn_sent(fixture->peer), content;
    uint32_t kind;
    next(&rest, &kind, &content);
    assert_int_equal(kind, 0);
    assert_int_equal(peer_frame_open(slice_of("", 0), &kind, &content), OK);
    assert_int_equal(kind, 0);
}

static void frames_that_make_no_sense_are_malformed(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
    } rows[] = {
        {"\x80", 1},             /* half a tag */
        {"\x82\x02", 2},         /* no length */
        {"\x82\x02\x05x", 4},    /* longer than the frame */
        {"\x82\x02\x01xy", 5},   /* shorter than the frame */
        {"\x80\x02\x01", 3},     /* no bytes */
        {"\x82\x02\x80\x80", 4}, /* half a length */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint32_t kind;
        struct slice content;
        assert_int_equal(peer_frame_open(slice_of(rows[i].bytes, rows[i].len), &kind, &content),
                         ERROR_MALFORMED);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_frame_is_read_as_it_was_written),
        TEST(a_frame_may_become_shorter_than_its_room),
        TEST(without_memory_nothing_is_written),
        TEST(messages_of_the_schema_are_told_apart),
        TEST(frames_that_make_no_sense_are_malformed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
