#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "protocol/record.h"

static const struct writer_mark mark = {{1, 2, 3}, 300, 7};

static const struct record records[] = {
    {.type = RECORD_CLEAR, .term = 1, .seq = 1},
    {.type = RECORD_PUT,
     .term = 3,
     .seq = UINT64_MAX,
     .via_ring = true,
     .time_ms = 1700000000000,
     .key = {(const uint8_t *)"key", 3},
     .value = {(const uint8_t *)"value", 5},
     .origin = 0x8877665544332211,
     .counter = 1000,
     .answered_through = 999,
     .result = RESULT_PRESENT,
     .writer = &mark},
    {.type = RECORD_PARTIAL,
     .term = UINT32_MAX,
     .seq = 9,
     .query_id = UINT64_MAX,
     .row = {(const uint8_t *)"row", 3},
     .silent = true,
     .source_bucket = 112,
     .source_generation = 2,
     .position_seq = 1u << 20,
     .position_sub = UINT32_MAX},
    {.type = RECORD_CQ_TRIM, .term = 1, .seq = 2, .query_id = 1, .position_seq = 4},
    {.type = RECORD_STREAM_DROP, .term = 1, .seq = 2, .origin = 5},
};

static struct slice packed_of(const struct record *record)
{
    size_t size = record_packed_size(record);
    uint8_t *out = malloc(size);
    assert_ptr_equal(record_pack(record, out), out + size);
    return slice_of(out, size);
}

static void test_a_record_is_unpacked_as_it_was(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof records / sizeof *records; i++) {
        const struct record *from = &records[i];
        struct slice packed = packed_of(from);
        struct record to;
        struct writer_mark room;
        assert_int_equal(record_unpack(packed, &to, &room), OK);
        assert_int_equal(to.type, from->type);
        assert_int_equal(to.term, from->term);
        assert_int_equal(to.seq, from->seq);
        assert_int_equal(to.time_ms, from->time_ms);
        assert_int_equal(to.origin, from->origin);
        assert_int_equal(to.counter, from->counter);
        assert_int_equal(to.answered_through, from->answered_through);
        assert_int_equal(to.result, from->result);
        assert_true(slice_equal(to.key, from->key));
        assert_true(slice_equal(to.value, from->value));
        assert_int_equal(to.query_id, from->query_id);
        assert_true(slice_equal(to.row, from->row));
        assert_int_equal(to.silent, from->silent);
        assert_int_equal(to.via_ring, from->via_ring);
        assert_int_equal(to.source_bucket, from->source_bucket);
        assert_int_equal(to.source_generation, from->source_generation);
        assert_int_equal(to.position_seq, from->position_seq);
        assert_int_equal(to.position_sub, from->position_sub);
        assert_int_equal(to.writer != NULL, from->writer != NULL);
        if (to.writer != NULL)
            assert_memory_equal(to.writer, from->writer, sizeof mark);
        free((void *)packed.data);
    }
}

static void test_a_cut_record_is_malformed(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof records / sizeof *records; i++) {
        struct slice packed = packed_of(&records[i]);
        for (size_t len = 0; len < packed.len; len++) {
            uint8_t *cut = malloc(len > 0 ? len : 1); /* the sanitizer sees its end */
            memcpy(cut, packed.data, len);
            struct record record;
            struct writer_mark room;
            assert_int_equal(record_unpack(slice_of(cut, len), &record, &room), ERROR_MALFORMED);
            free(cut);
        }
        free((void *)packed.data);
    }
}

static void test_flipped_bytes_are_read_within_bounds(void **state)
{
    (void)state;
    struct slice packed = packed_of(&records[1]);
    uint8_t *bytes = (uint8_t *)packed.data;
    for (size_t i = 0; i < packed.len; i++)
        for (int value = 0; value < 256; value++) {
            uint8_t kept = bytes[i];
            struct record record;
            struct writer_mark room;
            bytes[i] = (uint8_t)value;
            enum error error = record_unpack(packed, &record, &room);
            assert_true(error == OK || error == ERROR_MALFORMED);
            if (error == OK)
                assert_true(record.key.len + record.value.len + record.row.len <= packed.len);
            bytes[i] = kept;
        }
    free(bytes);
}

static void test_unknown_types_and_seq_zero_are_malformed(void **state)
{
    (void)state;
    struct record record, none = {.type = RECORD_CLEAR, .term = 1, .seq = 0};
    struct writer_mark room;
    struct slice packed = packed_of(&none);
    assert_int_equal(record_unpack(packed, &record, &room), ERROR_MALFORMED);
    free((void *)packed.data);
    packed = packed_of(&records[0]);
    ((uint8_t *)packed.data)[0] = 9;
    assert_int_equal(record_unpack(packed, &record, &room), ERROR_MALFORMED);
    free((void *)packed.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_record_is_unpacked_as_it_was),
        cmocka_unit_test(test_a_cut_record_is_malformed),
        cmocka_unit_test(test_flipped_bytes_are_read_within_bounds),
        cmocka_unit_test(test_unknown_types_and_seq_zero_are_malformed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
