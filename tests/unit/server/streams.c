#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/limits.h"
#include "server/streams.h"
#include "tests/lib/mem_fault.h"

static struct record record_of(uint64_t origin, uint64_t counter, uint64_t answered_through,
                               const char *present)
{
    return (struct record){.type = present == NULL ? RECORD_PUT : RECORD_NOTE,
                           .seq = 100 + counter,
                           .origin = origin,
                           .counter = counter,
                           .answered_through = answered_through,
                           .result = present == NULL ? RESULT_DONE : RESULT_PRESENT,
                           .value = present == NULL ? slice_of(NULL, 0) : slice_text(present)};
}

static void apply(struct streams *streams, uint64_t origin, uint64_t counter,
                  uint64_t answered_through, const char *present)
{
    struct record record = record_of(origin, counter, answered_through, present);
    assert_int_equal(streams_reserve(streams, &record), OK);
    streams_note(streams, &record);
}

static void a_change_is_new_once_and_then_repeated(void **state)
{
    (void)state;
    struct streams streams;
    struct stream_result result;
    streams_init(&streams);
    assert_int_equal(streams_check(&streams, 7, 1, 0, &result), STREAM_NEW);
    apply(&streams, 7, 1, 0, NULL);
    apply(&streams, 7, 2, 0, "there");
    assert_int_equal(streams_check(&streams, 7, 1, 0, &result), STREAM_REPEATED);
    assert_int_equal(result.result, RESULT_DONE);
    assert_int_equal(result.seq, 101);
    assert_int_equal(streams_check(&streams, 7, 2, 1, &result), STREAM_REPEATED);
    assert_int_equal(result.result, RESULT_PRESENT);
    assert_true(slice_equal(result.value, slice_text("there")));
    assert_int_equal(streams_check(&streams, 7, 3, 2, &result), STREAM_NEW);
    assert_int_equal(streams_check(&streams, 8, 1, 0, &result), STREAM_NEW); /* of its own */
    streams_fini(&streams);
}

static void one_that_is_missing_before_it_is_disorder(void **state)
{
    (void)state;
    struct streams streams;
    struct stream_result result;
    streams_init(&streams);
    assert_int_equal(streams_check(&streams, 7, 2, 1, &result), STREAM_DISORDER);
    apply(&streams, 7, 1, 0, NULL);
    assert_int_equal(streams_check(&streams, 7, 2, 1, &result), STREAM_NEW);
    assert_int_equal(streams_check(&streams, 7, 4, 3, &result), STREAM_DISORDER);
    /* 2 and 3 were given up: the next says that nothing is missing before it. */
    assert_int_equal(streams_check(&streams, 7, 4, 0, &result), STREAM_NEW);
    apply(&streams, 7, 4, 0, NULL);
    /* What was given up is not applied any more. */
    assert_int_equal(streams_check(&streams, 7, 3, 0, &result), STREAM_REPEATED);
    streams_fini(&streams);
}

static void results_are_kept_until_they_were_answered(void **state)
{
    (void)state;
    long live = mem_fault_live();
    struct streams streams;
    struct stream_result result;
    streams_init(&streams);
    for (uint64_t i = 1; i <= 5; i++)
        apply(&streams, 7, i, 0, "v");
    apply(&streams, 7, 6, 4, "v");
    assert_int_equal(streams_check(&streams, 7, 4, 0, &result), STREAM_REPEATED);
    assert_int_equal(result.seq, 0); /* forgotten, and yet not applied again */
    assert_int_equal(streams_check(&streams, 7, 5, 0, &result), STREAM_REPEATED);
    assert_int_equal(result.seq, 105);
    for (uint64_t i = 7; i <= LIMIT_CALLS + 100; i++)
        apply(&streams, 7, i, 0, NULL);
    assert_int_equal(streams_check(&streams, 7, 50, 0, &result), STREAM_REPEATED);
    assert_int_equal(result.seq, 0); /* no more than can wait */
    assert_int_equal(streams_check(&streams, 7, 101, 0, &result), STREAM_REPEATED);
    assert_int_equal(result.seq, 201);
    streams_drop(&streams, 7);
    assert_int_equal(streams.count, 0);
    assert_int_equal(mem_fault_live(), live);
    streams_fini(&streams);
}

static void add_origin(void *arg, uint64_t origin)
{
    *(uint64_t *)arg += origin;
}

static void fill(struct streams *streams)
{
    streams_init(streams);
    for (uint64_t i = 1; i <= 40; i++)
        apply(streams, 3 + i % 3, i, i > 10 ? i - 10 : 0, i % 4 == 0 ? "what was there" : NULL);
}

static void a_packed_copy_is_the_same(void **state)
{
    (void)state;
    struct streams streams, copy;
    struct stream_result left, right;
    struct buf packed;
    fill(&streams);
    struct record reserved = record_of(99, 1, 0, NULL);
    assert_int_equal(streams_reserve(&streams, &reserved), OK); /* no part of the state */
    buf_init(&packed);
    streams_pack(&streams, &packed);
    buf_append_text(&packed, "rest");
    struct slice rest = buf_slice(&packed);
    streams_init(&copy);
    assert_int_equal(streams_unpack(&rest, &copy), OK);
    assert_true(slice_equal(rest, slice_text("rest")));
    assert_int_equal(streams_hash(&streams), streams_hash(&copy));
    uint64_t origins = 0;
    streams_each(&copy, add_origin, &origins);
    assert_int_equal(origins, 3 + 4 + 5);
    for (uint64_t origin = 3; origin <= 5; origin++) {
        for (uint64_t i = 1; i <= 45; i++) {
            assert_int_equal(streams_check(&streams, origin, i, i - 1, &left),
                             streams_check(&copy, origin, i, i - 1, &right));
            assert_int_equal(left.seq, right.seq);
            assert_int_equal(left.result, right.result);
            assert_true(slice_equal(left.value, right.value));
        }
    }
    apply(&copy, 4, 50, 0, NULL);
    assert_int_not_equal(streams_hash(&streams), streams_hash(&copy));
    streams_fini(&copy);
    streams_fini(&streams);
    buf_fini(&packed);
}

static void cut_or_changed_bytes_leave_nothing_behind(void **state)
{
    (void)state;
    struct streams streams, copy;
    struct buf packed;
    fill(&streams);
    buf_init(&packed);
    streams_pack(&streams, &packed);
    streams_fini(&streams);
    long live = mem_fault_live();
    for (size_t len = 0; len < packed.len; len++) {
        struct slice rest = slice_of(packed.data, len);
        streams_init(&copy);
        assert_int_equal(streams_unpack(&rest, &copy), ERROR_MALFORMED);
        assert_null(copy.first);
    }
    for (size_t at = 0; at < packed.len; at++) {
        struct slice rest = buf_slice(&packed);
        packed.data[at] ^= 0xff;
        streams_init(&copy);
        (void)streams_unpack(&rest, &copy);
        streams_fini(&copy);
        packed.data[at] ^= 0xff;
    }
    assert_int_equal(mem_fault_live(), live);
    buf_fini(&packed);
}

static void without_memory_nothing_changes(void **state)
{
    (void)state;
    long live = mem_fault_live();
    struct streams streams;
    struct stream_result result;
    streams_init(&streams);
    for (uint64_t i = 1; i <= 30; i++) {
        struct record record = record_of(7, i, 0, "v");
        enum error error = ERROR_MEMORY;
        for (unsigned n = 1; error != OK; n++) {
            mem_fault_fail_at(n);
            error = streams_reserve(&streams, &record);
            mem_fault_fail_at(0);
            assert_int_equal(streams_check(&streams, 7, i, i - 1, &result), STREAM_NEW);
        }
        mem_fault_fail_at(1);
        streams_note(&streams, &record);
        mem_fault_fail_at(0);
        assert_int_equal(streams_check(&streams, 7, i, i - 1, &result), STREAM_REPEATED);
    }
    struct buf packed;
    buf_init(&packed);
    streams_pack(&streams, &packed);
    enum error error = ERROR_MEMORY;
    for (unsigned n = 1; error != OK; n++) {
        struct streams copy;
        struct slice rest = buf_slice(&packed);
        streams_init(&copy);
        mem_fault_fail_at(n);
        error = streams_unpack(&rest, &copy);
        mem_fault_fail_at(0);
        assert_true(error == OK || error == ERROR_MEMORY);
        assert_true(error == OK || copy.first == NULL);
        streams_fini(&copy);
    }
    buf_fini(&packed);
    streams_fini(&streams);
    assert_int_equal(mem_fault_live(), live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_change_is_new_once_and_then_repeated),
        cmocka_unit_test(one_that_is_missing_before_it_is_disorder),
        cmocka_unit_test(results_are_kept_until_they_were_answered),
        cmocka_unit_test(a_packed_copy_is_the_same),
        cmocka_unit_test(cut_or_changed_bytes_leave_nothing_behind),
        cmocka_unit_test(without_memory_nothing_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
