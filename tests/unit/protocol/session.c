/* Frames, ends of connections, when a connection is read, idle connections. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>

#include "protocol/codec.h"
#include "tests/lib/fake_session.h"
#include "tests/lib/mem_fault.h"

#define NAMES   "027200"
#define R_NAMES "067a040a022f52"
#define GET     "0a22080a015212034a016b"
#define R_GET   "072a050a034a0176"
#define SIZE    "068201030a0152"
#define KEYS    "06e201030a0152"
#define ACK     "03e23e00"
#define CONTEXT                                                                                    \
    "360a340a320832122e496e76616c696420657865637574696f6e20636f6e7465787420666f756e6420666f72206f" \
    "7065726174"                                                                                   \
    "696f6e2e"

struct row {
    const char *what, *input;
    bool half; /* the peer ends its direction afterwards */
    const char *answer;
    bool stays;
};

/* After a good version exchange. */
static const struct row frames[] = {
    {"a message of no bytes", "00", false, "", false},
    {"an unknown member", "039a0600", false, "", false},
    {"a response as request", "021a00", false, "", false},
    {"an error as request", "020a00", false, "", false},
    {"an unknown field inside a known request", "0472021801", false, R_NAMES, true},
    {"an unknown field that is cut", "0472020a05", false, "", false},
    {"two members, the last of which is a response", "0472001a00", false, "", false},
    {"get, then getRegionNames, in one message", "0422007200", false, R_NAMES, true},
    {"a malformed member that is replaced", "0522010a7200", false, "", false},
    {"a negative length", "ffffffff0f", false, "", false},
    {"an over-long length", "ffffffffffffffffffffff", false, "", false},
    {"a length that is written too long", "82808080807200", false, "", true},
    {"half a length", "ffffffff", false, "", true},
    {"more than the limit", "8180804000", false, "", false},
    {"tag 0", "0100", false, "", false},
    {"wire type 7", "0177", false, "", false},
    {"wire type 6", "0176", false, "", false},
    {"a group", "0273740a", false, "", false},
    {"a region that is no UTF-8", "0b22090a03fffefd12024a00", false, "", false},
    {"2 GiB announced, then the end", "ffffffff07", true, "", false},
    {"1 MiB announced, then the end", "808040", true, "", false},
    {"four bytes announced, two sent, then the end", "047200", true, R_NAMES, false},
    {"cut inside of a field", "0472", true, "", false},
    {"cut between the fields of a member", "0a22080a0152", true, R_GET, false},
    {"cut inside of a string of a member", "0a22080a05", true, "", false},
    {"cut between the fields of a key", "0a22080a01521205", true, R_GET, false},
    {"a length without its end", "82", true, "", false},
    {"the end between messages", NAMES, true, R_NAMES, false},
    {"the version message again", "0a0d010000001501000000", false, "", false},
    {"an operation that finds its body malformed", "024200", false, "", false},
    {"a push as request", "03da3e00", false, "", false},
};

static void check_row(const struct row *row, size_t split)
{
    struct fake_session fake;
    struct fake_conn *conn;
    char first[256];

    fake_session_init(&fake, SESSION_SERVER);
    conn = fake_session_hello(&fake);
    snprintf(first, sizeof first, "%.*s", (int)split * 2, row->input);
    fake_session_feed(conn, first);
    fake_session_feed(conn, row->input + split * 2);
    if (row->half)
        fake_conn_eof(conn);
    if (!fake_session_sent(conn, row->answer) || (fake_conn_state(conn) == FAKE_OPEN) != row->stays)
        fail_msg("%s, split at %zu: state %d", row->what, split, fake_conn_state(conn));
    fake_session_fini(&fake);
}

static void frames_are_read_as_geode_does_at_every_split(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof frames / sizeof frames[0]; i++) {
        for (size_t split = 0; split <= strlen(frames[i].input) / 2; split++)
            check_row(&frames[i], split);
    }
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    struct fake_session fake;
    struct fake_conn *conn;

    (void)state;
    fake_session_init(&fake, SESSION_SERVER);
    conn = fake_session_connect(&fake);
    fake_session_feed(conn, "0a0d010000001501000000"
                            "03b20100" NAMES GET NAMES "08f201050a03627965" NAMES);
    assert_true(fake_session_sent(conn, "06080110011801"
                                        "03ba0100" R_NAMES R_GET R_NAMES "03fa0100"));
    assert_int_equal(fake_conn_state(conn), FAKE_FINISHED);
    assert_int_equal(fake.executed, 3);
    assert_int_equal(fake.connection_count, 0);
    assert_int_equal(fake.ends, 1);
    fake_session_fini(&fake);
}

static void counters_count_messages_without_their_lengths(void **state)
{
    struct fake_session fake;
    struct fake_conn *conn;

    (void)state;
    fake_session_init(&fake, SESSION_SERVER);
    conn = fake_session_hello(&fake);
    fake_session_feed(conn, NAMES GET);
    assert_int_equal(fake.host.counters.messages_received, 3);
    assert_int_equal(fake.host.counters.messages_sent, 3);
    assert_int_equal(fake.host.counters.bytes_received, 10 + 2 + 10);
    assert_int_equal(fake.host.counters.bytes_sent, 6 + 6 + 7);
    assert_int_equal(fake.host.counters.connections, 1);
    assert_int_equal(fake.host.counters.connection_starts, 1);
    assert_int_equal(fake.host.counters.connection_ends, 0);
    fake_conn_reset(conn);
    assert_int_equal(fake.host.counters.connections, 0);
    assert_int_equal(fake.host.counters.connection_ends, 1);
    fake_session_fini(&fake);
}

static void an_operating_error_is_answered_by_its_text(void **state)
{
    struct fake_session fake;
    struct fake_conn *conn;

    (void)state;
    fake_session_init(&fake, SESSION_SERVER);
    conn = fake_session_hello(&fake);
    fake_session_feed(conn, "023200");
    assert_true(fake_session_sent_text(conn, "out of memory"));
    assert_int_equal(fake_conn_state(conn), FAKE_OPEN);
    fake_session_fini(&fake);
}

static void a_request_that_runs_alone_waits_for_earlier_ones_and_holds_later_ones(void **state)
{
    struct fake_session fake;
    struct fake_conn *conn;

    (void)state;
    fake_session_init(&fake, SESSION_SERVER);
    conn = fake_session_hello(&fake);
    fake_session_feed(conn, SIZE NAMES KEYS NAMES);
    assert_int_equal(fake.executed, 2); /* keySet waits for the slot of getSize */
    assert_true(fake_conn_is_paused(conn));
    assert_true(fake_session_sent(conn, ""));
    session_slot_reply(fake.slots[0], 17, slice_of(NULL, 0));
    fake_net_turn(fake.net);
    assert_true(fake_session_sent(conn, "038a0100" R_NAMES));
    assert_int_equal(fake.executed, 3); /* keySet runs, the names behind it do not */
    session_slot_reply(fake.slots[1], 29, slice_of(NULL, 0));
    fake_net_turn(fake.net);
    assert_true(fake_session_sent(conn, "03ea0100" R_NAMES));
    assert_false(fake_conn_is_paused(conn));
    fake_session_fini(&fake);
}

static void an_acknowledgement_passes_requests_in_service(void **state)
{
    struct fake_session fake;
    struct fake_conn *conn;

    (void)state;
    fake_session_init(&fake, SESSION_SERVER);
    conn = fake_session_hello(&fake);
    fake_session_feed(conn, KEYS ACK ACK NAMES);
    assert_int_equal(fake.acks, 2);
    assert_int_equal(fake.executed, 1);
    session_slot_drop(fake.slots[0]);
    fake_session_fini(&fake);
}

static void the_fifo_is_bounded(void **state)
{
    struct fake_session fake;
    struct fake_conn *conn;

    (void)state;
    fake_session_init(&fake, SESSION_SERVER);
    conn = fake_session_hello(&fake);
    for (unsigned i = 0; i < LIMIT_REQUESTS_IN_SERVICE + 10; i++)
        fake_session_feed(conn, SIZE);
    assert_int_equal(fake.executed, LIMIT_REQUESTS_IN_SERVICE);
    assert_true(fake_conn_is_paused(conn));
    for (unsigned i = 0; i < LIMIT_REQUESTS_IN_SERVICE; i++)
        session_slot_reply(fake.slots[i], 17, slice_of(NULL, 0));
    fake_net_turn(fake.net);
    assert_false(fake_conn_is_paused(conn));
    assert_int_equal(fake.executed, LIMIT_REQUESTS_IN_SERVICE + 10);
    for (unsigned i = 0; i < 10; i++)
        session_slot_reply(fake.slots[LIMIT_REQUESTS_IN_SERVICE + i], 17, slice_of(NULL, 0));
    fake_net_turn(fake.net);
    assert_int_equal(fake_session_frames(conn), LIMIT_REQUESTS_IN_SERVICE + 10);
    fake_session_fini(&fake);
}

static void unsent_replies_stop_execution_until_they_drain(void **state)
{
    struct fake_session fake;
    struct fake_conn *conn;

    (void)state;
    fake_session_init(&fake, SESSION_SERVER);
    conn = fake_session_hello(&fake);
    fake.big_reply = LIMIT_UNSENT_BYTES;
    fake_conn_block(conn, true);
    fake_session_feed(conn, GET GET GET);
    assert_int_equal(fake.executed, 1);
    assert_true(fake_conn_is_paused(conn));
    fake_net_advance(fake.net, 1000); /* asking again changes nothing */
    assert_int_equal(fake.executed, 1);
    fake_conn_block(conn, false);
    fake_net_turn(fake.net);
    fake_net_advance(fake.net, 1000);
    assert_int_equal(fake.executed, 3);
    assert_int_equal(fake_session_frames(conn), 3);
    fake_session_fini(&fake);
}

static void replies_that_leave_at_once_do_not_stop_the_connection_for_good(void **state)
{
    struct fake_session fake;
    struct fake_conn *conn;

    (void)state;
    fake_session_init(&fake, SESSION_SERVER);
    conn = fake_session_hello(&fake);
    fake.big_reply = LIMIT_UNSENT_BYTES;
    fake_session_feed(conn, GET GET GET GET);
    for (int i = 0; i < 4; i++)
        fake_net_advance(fake.net, 1000);
    assert_int_equal(fake.executed, 4);
    assert_false(fake_conn_is_paused(conn));
    fake_session_fini(&fake);
}

static void requests_before_the_end_are_answered_when_they_can_be(void **state)
{
    struct fake_session fake;
    struct fake_conn *conn;

    (void)state;
    fake_session_init(&fake, SESSION_SERVER);
    conn = fake_session_hello(&fake);
    fake_session_feed(conn, SIZE "047200");
    fake_conn_eof(conn);
    assert_int_equal(fake_conn_state(conn), FAKE_OPEN);
    assert_int_equal(fake.executed, 1);
    session_slot_reply(fake.slots[0], 17, slice_of(NULL, 0));
    assert_true(fake_session_sent(conn, "038a0100" R_NAMES));
    assert_int_equal(fake_conn_state(conn), FAKE_FINISHED);
    fake_session_fini(&fake);
}

static void silent_clients_are_closed_when_they_are_idle(void **state)
{
    struct fake_session fake;
    struct fake_conn *mute, *part, *idle, *busy, *subscribed;

    (void)state;
    fake_session_init(&fake, SESSION_SERVER);
    mute = fake_session_connect(&fake);
    part = fake_session_connect(&fake);
    fake_session_feed(part, "0a");
    idle = fake_session_hello(&fake);
    busy = fake_session_hello(&fake);
    subscribed = fake_session_hello(&fake);
    fake_session_feed(subscribed, "03ca3e00");
    for (int i = 0; i < 4; i++) {
        fake_net_advance(fake.net, 1000 * 1000);
        fake_session_feed(busy, NAMES);
        fake_session_feed(part, "0d"); /* bytes alone do not count */
    }
    assert_int_equal(fake_conn_state(mute), FAKE_OPEN);
    assert_int_equal(fake_conn_state(part), FAKE_FINISHED);
    assert_int_equal(fake_conn_state(idle), FAKE_FINISHED);
    assert_int_equal(fake_conn_state(busy), FAKE_OPEN);
    assert_int_equal(fake_conn_state(subscribed), FAKE_OPEN);
    assert_true(fake_session_sent(idle, ""));
    fake_session_fini(&fake);
}

static void a_locator_closes_who_says_nothing(void **state)
{
    struct fake_session fake;
    struct fake_conn *mute;

    (void)state;
    fake_session_init(&fake, SESSION_LOCATOR);
    mute = fake_session_connect(&fake);
    fake_net_advance(fake.net, 4000 * 1000);
    assert_int_equal(fake_conn_state(mute), FAKE_FINISHED);
    fake_session_fini(&fake);
}

static void a_request_that_takes_too_long_costs_the_connection(void **state)
{
    struct fake_session fake;
    struct fake_conn *conn;

    (void)state;
    fake_session_init(&fake, SESSION_SERVER);
    conn = fake_session_hello(&fake);
    fake_session_feed(conn, SIZE);
    fake_net_advance(fake.net, 4000 * 1000);
    assert_int_equal(fake_conn_state(conn), FAKE_FINISHED);
    assert_false(session_slot_alive(fake.slots[0]));
    session_slot_reply(fake.slots[0], 17, slice_of(NULL, 0));
    assert_true(fake_session_sent(conn, ""));
    fake_session_fini(&fake);
}

static int run_conversation(unsigned long fail_at)
{
    struct fake_session fake;
    struct fake_conn *conn;
    unsigned long calls;

    fake_session_init(&fake, SESSION_SERVER);
    conn = fake_net_accept(fake.net);
    mem_fault_fail_at(fail_at);
    if (session_accept(&fake.host, fake_net_net(fake.net), fake_conn_socket(conn)) == OK) {
        fake_session_feed(conn,
                          "0a0d010000001501000000"
                          "03b20100" NAMES GET NAMES SIZE NAMES GET KEYS "08f201050a03627965");
        for (uint32_t i = 0; i < fake.slot_count; i++) {
            session_slot_reply(fake.slots[i], 17, slice_of(NULL, 0));
            fake_net_turn(fake.net);
        }
    }
    calls = mem_fault_calls();
    mem_fault_fail_at(0);
    /* A request that found no memory was answered so; the connection may still serve then. */
    fake_session_feed(conn, "03f20100");
    assert_int_not_equal(fake_conn_state(conn), FAKE_OPEN);
    fake_session_fini(&fake);
    return fail_at <= calls;
}

static void every_failed_allocation_ends_the_connection_and_leaks_nothing(void **state)
{
    long before = mem_fault_live();
    unsigned long n = 1;

    (void)state;
    while (run_conversation(n)) {
        assert_int_equal(mem_fault_live(), before);
        n++;
    }
    assert_true(n > 5);
}

static void every_failed_reserve_ends_the_connection(void **state)
{
    (void)state;
    for (unsigned n = 1; n < 8; n++) {
        struct fake_session fake;
        struct fake_conn *conn;

        fake_session_init(&fake, SESSION_SERVER);
        conn = fake_session_connect(&fake);
        fake_net_fail_reserve(fake.net, n);
        fake_session_feed(conn, "0a0d010000001501000000"
                                "03b20100" NAMES GET SIZE NAMES);
        if (fake.slot_count > 0)
            session_slot_reply(fake.slots[0], 17, slice_of(NULL, 0));
        assert_int_equal(fake_conn_state(conn), n <= 6 ? FAKE_ABORTED : FAKE_OPEN);
        fake_session_fini(&fake);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_are_read_as_geode_does_at_every_split),
        cmocka_unit_test(pipelined_requests_are_answered_in_order),
        cmocka_unit_test(counters_count_messages_without_their_lengths),
        cmocka_unit_test(an_operating_error_is_answered_by_its_text),
        cmocka_unit_test(a_request_that_runs_alone_waits_for_earlier_ones_and_holds_later_ones),
        cmocka_unit_test(an_acknowledgement_passes_requests_in_service),
        cmocka_unit_test(the_fifo_is_bounded),
        cmocka_unit_test(unsent_replies_stop_execution_until_they_drain),
        cmocka_unit_test(replies_that_leave_at_once_do_not_stop_the_connection_for_good),
        cmocka_unit_test(requests_before_the_end_are_answered_when_they_can_be),
        cmocka_unit_test(silent_clients_are_closed_when_they_are_idle),
        cmocka_unit_test(a_locator_closes_who_says_nothing),
        cmocka_unit_test(a_request_that_takes_too_long_costs_the_connection),
        cmocka_unit_test(every_failed_allocation_ends_the_connection_and_leaks_nothing),
        cmocka_unit_test(every_failed_reserve_ends_the_connection),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
