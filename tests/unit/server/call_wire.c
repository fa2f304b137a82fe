#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "server/call_wire.h"

static const uint8_t stored_key[] = {VALUE_STRING, 'k'};
static const uint8_t stored_value[] = {VALUE_INT, 1, 2, 3, 4};

static struct call_request request_of(enum call_kind kind)
{
    struct call_request request = {.epoch = 9,
                                   .region_id = 3,
                                   .bucket = 12,
                                   .generation = 2,
                                   .id = 77,
                                   .kind = kind,
                                   .origin = 0xfedcba9876543210u,
                                   .answered_through = 3};
    if (call_changes(kind)) {
        request.counter = 5;
        request.after = 4;
    }
    if (kind < CALL_CLEAR)
        request.key = slice_of(stored_key, sizeof stored_key);
    if (kind == CALL_PUT || kind == CALL_PUT_IF_ABSENT || kind == CALL_WRITE_PUT)
        request.value = slice_of(stored_value, sizeof stored_value);
    if (kind == CALL_WRITE_PUT || kind == CALL_WRITE_REMOVE)
        request.mark =
            (struct writer_mark){.id = "0123456789abcde", .sequence = 8, .completed_through = 6};
    return request;
}

static size_t pack_request(const struct call_request *request, uint8_t *out)
{
    size_t len = (size_t)(call_request_pack(request, out) - out);
    assert_true(len <= call_request_size(request));
    return len;
}

static void every_kind_of_request_comes_back(void **state)
{
    (void)state;
    uint8_t packed[512];
    for (enum call_kind kind = CALL_GET; kind <= CALL_ENTRIES; kind++) {
        struct call_request request = request_of(kind), back;
        size_t len = pack_request(&request, packed);
        assert_int_equal(call_request_unpack(slice_of(packed, len), &back), OK);
        assert_int_equal(back.epoch, 9);
        assert_int_equal(back.region_id, 3);
        assert_int_equal(back.bucket, 12);
        assert_int_equal(back.generation, 2);
        assert_int_equal(back.id, 77);
        assert_int_equal(back.kind, kind);
        assert_true(back.origin == request.origin);
        assert_int_equal(back.counter, request.counter);
        assert_int_equal(back.after, request.after);
        assert_int_equal(back.answered_through, 3);
        assert_true(slice_equal(back.key, request.key));
        assert_true(slice_equal(back.value, request.value));
        assert_int_equal(back.mark.sequence, request.mark.sequence);
        assert_int_equal(back.mark.completed_through, request.mark.completed_through);
        assert_memory_equal(back.mark.id, request.mark.id, sizeof back.mark.id);
        for (size_t cut = 0; cut < len; cut++)
            assert_int_equal(call_request_unpack(slice_of(packed, cut), &back), ERROR_MALFORMED);
        assert_int_equal(call_request_unpack(slice_of(packed, len + 1), &back), ERROR_MALFORMED);
    }
}

static void a_request_that_makes_no_sense_is_refused(void **state)
{
    (void)state;
    static const uint8_t bad_value[] = {VALUE_INT, 1, 2};
    uint8_t packed[512];
    for (int fault = 0; fault < 8; fault++) {
        struct call_request request = request_of(CALL_WRITE_PUT), back;
        if (fault == 0)
            request.counter = 0;
        else if (fault == 1)
            request.after = 5;
        else if (fault == 2)
            request.key = slice_of(NULL, 0);
        else if (fault == 3)
            request.value = slice_of(bad_value, sizeof bad_value);
        else if (fault == 4)
            request.origin = 0;
        else if (fault == 5)
            request.mark.sequence = 0;
        else if (fault == 6)
            request.mark.sequence = UINT64_MAX;
        else
            request.kind = (enum call_kind)(CALL_ENTRIES + 1);
        size_t len = pack_request(&request, packed);
        assert_int_equal(call_request_unpack(slice_of(packed, len), &back), ERROR_MALFORMED);
    }
}

static void answers_come_back(void **state)
{
    (void)state;
    uint8_t packed[512];
    struct call_answer answer = {.epoch = 4,
                                 .region_id = 3,
                                 .bucket = 1,
                                 .id = 9,
                                 .status = CALL_STATUS_DONE,
                                 .error = ERROR_LIMIT,
                                 .result = RESULT_PRESENT,
                                 .has_entry = true,
                                 .entry_seq = 44,
                                 .value = slice_of(stored_value, sizeof stored_value),
                                 .count = 5,
                                 .bytes = 600,
                                 .code = 100,
                                 .text = slice_text("why"),
                                 .content = slice_text("content")},
                       back;
    size_t len = (size_t)(call_answer_pack(&answer, packed) - packed);
    assert_true(len <= call_answer_size(&answer));
    assert_int_equal(call_answer_unpack(slice_of(packed, len), &back), OK);
    assert_int_equal(back.error, ERROR_LIMIT);
    assert_int_equal(back.result, RESULT_PRESENT);
    assert_int_equal(back.entry_seq, 44);
    assert_true(slice_equal(back.value, answer.value));
    assert_int_equal(back.count, 5);
    assert_int_equal(back.bytes, 600);
    assert_int_equal(back.code, 100);
    assert_true(slice_equal(back.text, answer.text));
    assert_true(slice_equal(back.content, answer.content));
    for (size_t cut = 0; cut < len; cut++)
        assert_int_equal(call_answer_unpack(slice_of(packed, cut), &back), ERROR_MALFORMED);
    for (size_t at = 0; at < len; at++) { /* whatever comes of it, no byte behind is read */
        uint8_t *copy = malloc(len);
        assert_non_null(copy);
        memcpy(copy, packed, len);
        copy[at] ^= 0xff;
        (void)call_answer_unpack(slice_of(copy, len), &back);
        free(copy);
    }
    answer.value = slice_of("", 0); /* an entry has one */
    len = (size_t)(call_answer_pack(&answer, packed) - packed);
    assert_int_equal(call_answer_unpack(slice_of(packed, len), &back), ERROR_MALFORMED);
}

static void only_whole_stored_forms_are_taken(void **state)
{
    (void)state;
    static const struct {
        uint8_t type;
        size_t len;
    } rows[] = {{VALUE_INT, 4},     {VALUE_LONG, 8},   {VALUE_SHORT, 2}, {VALUE_BYTE, 1},
                {VALUE_BOOLEAN, 1}, {VALUE_DOUBLE, 8}, {VALUE_FLOAT, 4}, {VALUE_NULL, 0}};
    uint8_t bytes[16] = {0};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bytes[0] = rows[i].type;
        for (size_t len = 0; len < 12; len++)
            assert_int_equal(call_wire_is_stored(slice_of(bytes, 1 + len)), len == rows[i].len);
    }
    bytes[0] = VALUE_STRING;
    assert_true(call_wire_is_stored(slice_of(bytes, 1)));
    assert_true(call_wire_is_stored(slice_of(bytes, 9)));
    bytes[0] = VALUE_CUSTOM;
    assert_false(call_wire_is_stored(slice_of(bytes, 9)));
    bytes[0] = VALUE_NOT_SET;
    assert_false(call_wire_is_stored(slice_of(bytes, 1)));
    assert_false(call_wire_is_stored(slice_of(bytes, 0)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_request_comes_back),
        cmocka_unit_test(a_request_that_makes_no_sense_is_refused),
        cmocka_unit_test(answers_come_back),
        cmocka_unit_test(only_whole_stored_forms_are_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
