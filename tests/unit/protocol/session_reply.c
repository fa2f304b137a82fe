/* The order of replies: slots, pushes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "protocol/codec.h"
#include "protocol/message.h"
#include "tests/lib/fake_session.h"
#include "tests/lib/mem_fault.h"

#define NAMES   "027200"
#define R_NAMES "067a040a022f52"
#define GET     "0a22080a015212034a016b"
#define R_GET   "072a050a034a0176"
#define SIZE    "068201030a0152"
#define R_SIZE  "038a0100"

static struct fake_session fake;
static struct fake_conn *conn;

static int setup(void **state)
{
    (void)state;
    fake_session_init(&fake, SESSION_SERVER);
    conn = fake_session_hello(&fake);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_session_fini(&fake);
    return 0;
}

static void reply_size(uint32_t slot)
{
    session_slot_reply(fake.slots[slot], 17, slice_of(NULL, 0));
    fake_net_turn(fake.net);
}

static void slots_that_are_filled_out_of_order_leave_in_order(void **state)
{
    (void)state;
    fake_session_feed(conn, SIZE NAMES SIZE SIZE NAMES);
    reply_size(2);
    reply_size(1);
    assert_true(fake_session_sent(conn, ""));
    reply_size(0);
    assert_true(fake_session_sent(conn, R_SIZE R_NAMES R_SIZE R_SIZE R_NAMES));
}

static void a_dropped_slot_ends_the_connection_after_the_answers_before_it(void **state)
{
    (void)state;
    fake_session_feed(conn, SIZE NAMES SIZE NAMES);
    session_slot_drop(fake.slots[1]);
    assert_int_equal(fake_conn_state(conn), FAKE_OPEN);
    fake_session_feed(conn, NAMES); /* no longer executed */
    assert_int_equal(fake.executed, 4);
    reply_size(0);
    assert_true(fake_session_sent(conn, R_SIZE R_NAMES));
    assert_int_equal(fake_conn_state(conn), FAKE_FINISHED);
}

static void slots_outlive_their_session(void **state)
{
    Pb__GetSizeResponse response = PB__GET_SIZE_RESPONSE__INIT;
    struct failure failure;

    (void)state;
    failure_set(&failure, 100, "late");
    fake_session_feed(conn, SIZE SIZE SIZE SIZE NAMES);
    assert_true(session_slot_alive(fake.slots[0]));
    assert_ptr_equal(session_slot_session(fake.slots[0]), fake.last);
    fake_conn_reset(conn);
    assert_false(session_slot_alive(fake.slots[0]));
    assert_null(session_slot_session(fake.slots[1]));
    reply_size(0);
    session_slot_fail(fake.slots[1], &failure);
    session_slot_drop(fake.slots[2]);
    session_slot_reply_message(fake.slots[3], 17, &response.base);
    assert_null(fake.host.sessions);
}

static void a_failure_in_a_slot_is_an_error_response(void **state)
{
    struct failure failure;
    Pb__GetSizeResponse response = PB__GET_SIZE_RESPONSE__INIT;

    (void)state;
    fake_session_feed(conn, SIZE SIZE);
    failure_set(&failure, 100, "why");
    session_slot_fail(fake.slots[0], &failure);
    response.size = 3;
    session_slot_reply_message(fake.slots[1], 17, &response.base);
    fake_net_turn(fake.net);
    assert_true(fake_session_sent(conn, "0b0a090a0708641203776879"
                                        "058a01020803"));
}

static void finish_leaves_after_the_answers_that_are_due(void **state)
{
    (void)state;
    fake_session_feed(conn, SIZE NAMES);
    session_finish(fake.last);
    assert_int_equal(fake_conn_state(conn), FAKE_OPEN);
    fake_session_feed(conn, NAMES);
    reply_size(0);
    assert_true(fake_session_sent(conn, R_SIZE R_NAMES));
    assert_int_equal(fake_conn_state(conn), FAKE_FINISHED);
}

static void pushes_pass_answers_that_wait(void **state)
{
    uint8_t *place;

    (void)state;
    fake_session_feed(conn, SIZE NAMES);
    place = session_push_begin(fake.last, 1003, 2);
    place[0] = 0x08;
    place[1] = 0x07;
    session_push_end(fake.last);
    fake_net_turn(fake.net);
    assert_true(fake_session_sent(conn, "05da3e020807"));
    reply_size(0);
    assert_true(fake_session_sent(conn, R_SIZE R_NAMES));
}

static void a_push_goes_behind_the_answer_of_its_request(void **state)
{
    (void)state;
    fake_session_feed(conn, "03ca3e00" NAMES);
    assert_true(fake_session_sent(conn, "03d23e00"
                                        "03da3e00" R_NAMES));
}

static void all_sessions_of_a_host_finish(void **state)
{
    struct fake_conn *other = fake_session_hello(&fake);

    (void)state;
    fake_session_feed(conn, SIZE);
    session_host_finish(&fake.host);
    assert_int_equal(fake_conn_state(other), FAKE_FINISHED);
    assert_int_equal(fake_conn_state(conn), FAKE_OPEN);
    reply_size(0);
    assert_true(fake_session_sent(conn, R_SIZE));
    assert_int_equal(fake_conn_state(conn), FAKE_FINISHED);
}

static void a_push_without_memory_loses_the_connection_and_nothing_else(void **state)
{
    struct session *session;

    (void)state;
    fake_session_feed(conn, SIZE);
    session = fake.last;
    fake_net_fail_reserve(fake.net, 1);
    assert_null(session_push_begin(session, 1003, 2));
    assert_int_equal(fake_conn_state(conn), FAKE_ABORTED);
    assert_int_equal(fake.ends, 1);
    session_slot_drop(fake.slots[0]);
}

static void a_slot_without_memory_loses_the_connection(void **state)
{
    uint8_t big[4096] = {0};

    (void)state;
    fake_session_feed(conn, SIZE);
    mem_fault_fail_at(1);
    session_slot_reply(fake.slots[0], 17, slice_of(big, sizeof big));
    mem_fault_fail_at(0);
    assert_int_equal(fake_conn_state(conn), FAKE_ABORTED);
    assert_null(fake.host.sessions);
}

static int drains;

static void on_drain(void *attachment)
{
    assert_ptr_equal(attachment, &drains);
    drains++;
}

static void the_owner_is_told_when_sends_have_drained(void **state)
{
    (void)state;
    fake_session_feed(conn, NAMES);
    session_attach(fake.last, &drains, on_drain);
    assert_ptr_equal(session_attachment(fake.last), &drains);
    fake_conn_block(conn, true);
    fake_session_feed(conn, NAMES);
    assert_int_equal(session_unsent(fake.last), 7);
    assert_int_equal(drains, 0);
    fake_conn_block(conn, false);
    fake_net_turn(fake.net);
    assert_int_equal(drains, 1);
}

/* Replies on many connections, slots ended in a random order, connections lost in between: nothing
 * is lost or mixed up. */
static void a_random_storm_keeps_every_connection_in_order(void **state)
{
    struct fake_conn *conns[8];
    uint32_t done = 0, seed = 12345;

    (void)state;
    for (int i = 0; i < 8; i++)
        conns[i] = fake_session_hello(&fake);
    for (int step = 0; step < 4000 && fake.slot_count < FAKE_SLOTS_MAX - 1; step++) {
        seed = seed * 1103515245 + 12345;
        uint32_t pick = seed >> 16;

        switch (pick % 4) {
        case 0:
            fake_session_feed(conns[pick / 8 % 8], GET);
            break;
        case 1:
            fake_session_feed(conns[pick / 8 % 8], SIZE NAMES);
            break;
        case 2:
            if (done < fake.slot_count) {
                uint32_t other = done + (pick / 8) % (fake.slot_count - done);
                struct session_slot *slot = fake.slots[other];

                fake.slots[other] = fake.slots[done];
                fake.slots[done] = slot;
                reply_size(done++);
            }
            break;
        default:
            if (pick % 97 == 0) {
                fake_conn_reset(conns[pick / 8 % 8]);
                conns[pick / 8 % 8] = fake_session_hello(&fake);
            }
            break;
        }
    }
    while (done < fake.slot_count)
        reply_size(done++);
    for (int i = 0; i < 8; i++) {
        struct slice sent = fake_conn_sent(conns[i]);
        bool after_size = false;

        /* Every R_SIZE is followed by R_NAMES at once. */
        while (sent.len > 0) {
            size_t len = (size_t)sent.data[0] + 1;

            assert_true(!after_size || (len == 7 && sent.data[1] == 0x7a));
            after_size = len == 4;
            sent = slice_of(sent.data + len, sent.len - len);
        }
        assert_false(after_size);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(slots_that_are_filled_out_of_order_leave_in_order, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            a_dropped_slot_ends_the_connection_after_the_answers_before_it, setup, teardown),
        cmocka_unit_test_setup_teardown(slots_outlive_their_session, setup, teardown),
        cmocka_unit_test_setup_teardown(a_failure_in_a_slot_is_an_error_response, setup, teardown),
        cmocka_unit_test_setup_teardown(finish_leaves_after_the_answers_that_are_due, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(pushes_pass_answers_that_wait, setup, teardown),
        cmocka_unit_test_setup_teardown(a_push_goes_behind_the_answer_of_its_request, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(all_sessions_of_a_host_finish, setup, teardown),
        cmocka_unit_test_setup_teardown(a_push_without_memory_loses_the_connection_and_nothing_else,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_slot_without_memory_loses_the_connection, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_owner_is_told_when_sends_have_drained, setup, teardown),
        cmocka_unit_test_setup_teardown(a_random_storm_keeps_every_connection_in_order, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
