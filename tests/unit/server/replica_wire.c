#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/limits.h"
#include "server/replica_wire.h"
#include "tests/lib/mem_fault.h"

static const struct wire_bucket of = {UINT32_MAX, UINT32_MAX, UINT32_MAX};

static void test_the_widest_header_fits_and_comes_back(void **state)
{
    (void)state;
    struct wire_records from = {of, UINT32_MAX, UINT64_MAX, UINT64_MAX, UINT32_MAX}, to;
    uint8_t out[WIRE_RECORDS_HEADER_MAX];
    uint8_t *end = wire_put_records(&from, out);
    assert_true(end <= out + sizeof out);
    struct slice rest = slice_of(out, (size_t)(end - out));
    assert_int_equal(wire_take_records(&rest, &to), OK);
    assert_memory_equal(&to.of, &of, sizeof of);
    assert_int_equal(to.term, UINT32_MAX);
    assert_int_equal(to.epoch, UINT64_MAX);
    assert_int_equal(to.committed, UINT64_MAX);
    assert_int_equal(to.flags, UINT32_MAX);
    assert_int_equal(rest.len, 0);
    for (size_t len = 0; len < (size_t)(end - out); len++) {
        rest = slice_of(out, len);
        assert_int_equal(wire_take_records(&rest, &to), ERROR_MALFORMED);
    }
}

static void test_a_record_longer_than_its_frame_is_malformed(void **state)
{
    (void)state;
    const uint8_t bytes[] = {3, 'a', 'b', 'c', 2, 'x'};
    struct slice rest = slice_of(bytes, sizeof bytes), packed;
    assert_int_equal(wire_take_record(&rest, &packed), OK);
    assert_true(slice_equal(packed, slice_text("abc")));
    assert_int_equal(wire_take_record(&rest, &packed), ERROR_MALFORMED);
    rest = slice_of(NULL, 0);
    assert_int_equal(wire_take_record(&rest, &packed), ERROR_MALFORMED);
}

static void test_a_piece_lies_within_its_record(void **state)
{
    (void)state;
    uint8_t frame[WIRE_PIECE_HEADER_MAX + 3];
    const struct {
        uint64_t whole, offset;
        size_t bytes;
        enum error error;
    } cases[] = {
        {100, 97, 3, OK},
        {3, 0, 3, OK},
        {100, 98, 3, ERROR_MALFORMED},
        {100, 101, 1, ERROR_MALFORMED},
        {100, 10, 0, ERROR_MALFORMED},
        {(uint64_t)LIMIT_PEER_FRAME_BYTES + 1, 0, 3, ERROR_MALFORMED},
        {UINT64_MAX, UINT64_MAX - 1, 1, ERROR_MALFORMED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t head = (size_t)(wire_put_piece(cases[i].whole, cases[i].offset, frame) - frame);
        assert_in_range(head, 2, WIRE_PIECE_HEADER_MAX);
        struct slice rest = slice_of(frame, head + cases[i].bytes);
        size_t whole = 0, offset = 0;
        assert_int_equal(wire_take_piece(&rest, &whole, &offset), cases[i].error);
        if (cases[i].error != OK)
            continue;
        assert_int_equal(whole, cases[i].whole);
        assert_int_equal(offset, cases[i].offset);
        assert_int_equal(rest.len, cases[i].bytes);
    }
    struct slice cut = slice_of(frame, 1);
    size_t whole, offset;
    assert_int_equal(wire_take_piece(&cut, &whole, &offset), ERROR_MALFORMED);
}

static void test_acknowledgements_and_exceptions_follow_each_other(void **state)
{
    (void)state;
    struct wire_ack first = {of, 1, UINT32_MAX, UINT64_MAX, ACK_FAILED}, ack;
    struct wire_exception said = {of, 77}, exception;
    struct buf out;
    buf_init(&out);
    wire_append_ack(&first, &out);
    first.term = 2;
    wire_append_ack(&first, &out);
    struct slice rest = buf_slice(&out);
    for (uint32_t term = 1; term <= 2; term++) {
        assert_int_equal(wire_take_ack(&rest, &ack), OK);
        assert_int_equal(ack.term, term);
        assert_int_equal(ack.current, UINT32_MAX);
        assert_int_equal(ack.last_seq, UINT64_MAX);
        assert_int_equal(ack.flags, ACK_FAILED);
    }
    assert_int_equal(rest.len, 0);
    buf_clear(&out);
    wire_append_exception(&said, &out);
    rest = buf_slice(&out);
    assert_int_equal(wire_take_exception(&rest, &exception), OK);
    assert_int_equal(exception.set_version, 77);
    assert_int_equal(wire_take_exception(&rest, &exception), ERROR_MALFORMED);
    buf_fini(&out);
}

static void test_without_memory_the_buffer_says_so(void **state)
{
    (void)state;
    struct wire_ack ack = {of, 1, 1, 1, 0};
    struct buf out;
    buf_init(&out);
    mem_fault_fail_at(1);
    wire_append_ack(&ack, &out);
    mem_fault_fail_at(0);
    assert_true(out.failed);
    assert_int_equal(out.len, 0);
    buf_fini(&out);
}

static void test_an_announcement_comes_back(void **state)
{
    (void)state;
    struct wire_announce from = {of, UINT32_MAX, 0x0102030405060708}, to;
    uint8_t out[WIRE_ANNOUNCE_MAX];
    size_t len = wire_put_announce(&from, out);
    assert_true(len <= sizeof out);
    assert_int_equal(wire_take_announce(slice_of(out, len), &to), OK);
    assert_int_equal(to.joining, from.joining);
    assert_int_equal(to.set_version, UINT32_MAX);
    assert_int_equal(wire_take_announce(slice_of(out, len - 1), &to), ERROR_MALFORMED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_widest_header_fits_and_comes_back),
        cmocka_unit_test(test_a_record_longer_than_its_frame_is_malformed),
        cmocka_unit_test(test_a_piece_lies_within_its_record),
        cmocka_unit_test(test_acknowledgements_and_exceptions_follow_each_other),
        cmocka_unit_test(test_without_memory_the_buffer_says_so),
        cmocka_unit_test(test_an_announcement_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
