/* Frames between members: whole ones, parts, and what is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "protocol/message.h"
#include "protocol/peer.h"
#include "tests/lib/mem_fault.h"

static void test_frames_come_one_by_one_and_parts_wait(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {2, 'a', 'b', 0, 1, 'c'};
    struct slice rest = slice_of(bytes, sizeof(bytes)), frame;
    assert_int_equal(peer_next_frame(&rest, 10, &frame), OK);
    assert_true(slice_equal(frame, slice_text("ab")));
    assert_int_equal(peer_next_frame(&rest, 10, &frame), OK);
    assert_non_null(frame.data);
    assert_int_equal(frame.len, 0);
    assert_int_equal(peer_next_frame(&rest, 10, &frame), OK);
    assert_true(slice_equal(frame, slice_text("c")));
    assert_int_equal(rest.len, 0);
    assert_int_equal(peer_next_frame(&rest, 10, &frame), OK);
    assert_null(frame.data);
    for (size_t len = 0; len < 3; len++) {
        rest = slice_of(bytes, len);
        assert_int_equal(peer_next_frame(&rest, 10, &frame), OK);
        assert_null(frame.data);
        assert_int_equal(rest.len, len);
    }
}

static void test_lengths_are_checked_before_they_are_believed(void **state)
{
    (void)state;
    static const uint8_t endless[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                      0xff, 0xff, 0xff, 0xff, 1};
    static const uint8_t eleven[] = {11};
    struct slice rest = slice_of(eleven, 1), frame;
    assert_int_equal(peer_next_frame(&rest, 10, &frame), ERROR_MALFORMED);
    assert_int_equal(peer_next_frame(&rest, 11, &frame), OK);
    for (size_t len = 1; len <= sizeof(endless); len++) {
        rest = slice_of(endless, len);
        enum error error = peer_next_frame(&rest, SIZE_MAX, &frame);
        assert_int_equal(error, len < 10 ? OK : ERROR_MALFORMED);
        assert_null(frame.data);
    }
}

static void test_message_is_unpacked_into_the_arena_or_refused(void **state)
{
    (void)state;
    static const uint8_t beacon[] = {0x32, 4, 8, 7, 0x28, 3};
    static const uint8_t unknown[] = {0xfa, 1, 0};
    struct arena arena;
    Pb__PeerMessage *message;
    arena_init(&arena, 65536);
    assert_int_equal(peer_unpack(slice_of(beacon, sizeof(beacon)), &arena, &message), OK);
    assert_int_equal(message->kind_case, PB__PEER_MESSAGE__KIND_BEACON);
    assert_int_equal(message->beacon->number, 7);
    assert_int_equal(message->beacon->bytes, 3);
    assert_int_equal(peer_unpack(slice_of(unknown, sizeof(unknown)), &arena, &message), OK);
    assert_int_equal(message->kind_case, PB__PEER_MESSAGE__KIND__NOT_SET);
    for (size_t len = 1; len < sizeof(beacon); len++)
        assert_int_equal(peer_unpack(slice_of(beacon, len), &arena, &message), ERROR_MALFORMED);
    arena_fini(&arena);
    arena_init(&arena, 65536);
    mem_fault_fail_at(1);
    assert_int_equal(peer_unpack(slice_of(beacon, sizeof(beacon)), &arena, &message), ERROR_MEMORY);
    mem_fault_fail_at(0);
    arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frames_come_one_by_one_and_parts_wait),
        cmocka_unit_test(test_lengths_are_checked_before_they_are_believed),
        cmocka_unit_test(test_message_is_unpacked_into_the_arena_or_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
