#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>

#include "query/exact_sum.h"
#include "tests/lib/mem_fault.h"

enum { TERMS = 4 };

static const struct {
    double terms[TERMS];
    double more; /* is added, after the way through bytes, to the original and to its twin */
} sums[] = {
    {{1, 2.5, -0.125, 1e10}, 3},
    {{-0.0, -0.0, 0.0, -0.0}, -0.0},
    {{5e-324, 1.5, -1.5, 5e-324}, 1e300}, /* the digits of the wide form */
    {{1.7976931348623157e308, 1.7976931348623157e308, -1, 2}, -1e308},
    {{1, INFINITY, 2, INFINITY}, -1},
    {{1e300, NAN, 1e-300, -INFINITY}, 2},
};
enum { SUMS = sizeof sums / sizeof sums[0] };

static void fill(struct exact_sum *sum, size_t i)
{
    exact_sum_init(sum);
    for (size_t term = 0; term < TERMS; term++)
        assert_int_equal(exact_sum_add(sum, sums[i].terms[term]), OK);
}

static void a_sum_goes_on_after_the_way_through_bytes(void **state)
{
    (void)state;
    long live = mem_fault_live();
    for (size_t i = 0; i < SUMS; i++) {
        struct exact_sum sum, twin;
        struct buf packed;
        buf_init(&packed);
        fill(&sum, i);
        exact_sum_pack(&sum, &packed);
        buf_append_text(&packed, "rest");
        struct slice rest = buf_slice(&packed);
        assert_int_equal(exact_sum_unpack(&rest, &twin), OK);
        assert_true(slice_equal(rest, slice_text("rest")));
        assert_int_equal(exact_sum_hash(&sum, 7), exact_sum_hash(&twin, 7));
        assert_int_equal(exact_sum_heap_bytes(&sum), exact_sum_heap_bytes(&twin));
        assert_int_equal(exact_sum_add(&sum, sums[i].more), OK);
        assert_int_equal(exact_sum_add(&twin, sums[i].more), OK);
        exact_sum_subtract(&sum, sums[i].terms[1]);
        exact_sum_subtract(&twin, sums[i].terms[1]);
        double total = exact_sum_total(&sum), same = exact_sum_total(&twin);
        assert_memory_equal(&total, &same, sizeof total);
        assert_int_equal(exact_sum_hash(&sum, 7), exact_sum_hash(&twin, 7));
        exact_sum_fini(&sum);
        exact_sum_fini(&twin);
        buf_fini(&packed);
    }
    assert_int_equal(mem_fault_live(), live);
}

static void cut_bytes_and_failing_memory_leave_nothing(void **state)
{
    (void)state;
    long live = mem_fault_live();
    for (size_t i = 0; i < SUMS; i++) {
        struct exact_sum sum, twin;
        struct buf packed;
        buf_init(&packed);
        fill(&sum, i);
        exact_sum_pack(&sum, &packed);
        bool is_wide = exact_sum_heap_bytes(&sum) > 0;
        exact_sum_fini(&sum);
        long before = mem_fault_live();
        for (size_t len = 0; len < packed.len; len++) {
            struct slice rest = slice_of(packed.data, len);
            assert_int_equal(exact_sum_unpack(&rest, &twin), ERROR_MALFORMED);
            assert_int_equal(mem_fault_live(), before);
        }
        struct slice rest = buf_slice(&packed);
        mem_fault_fail_at(1);
        enum error error = exact_sum_unpack(&rest, &twin);
        mem_fault_fail_at(0);
        assert_int_equal(error, is_wide ? ERROR_MEMORY : OK);
        exact_sum_fini(&twin);
        buf_fini(&packed);
    }
    assert_int_equal(mem_fault_live(), live);
}

/* Words: form, fixed low, fixed high, count, minus zeros, scale, bits of a term. */
static void facts_that_no_sum_has_are_refused(void **state)
{
    (void)state;
    static const struct {
        size_t word;
        uint64_t value;
    } damages[] = {{0, 3},
                   {1, UINT64_MAX},
                   {2, INT64_MAX},
                   {3, 0},
                   {4, 99},
                   {5, 2000},
                   {5, (uint64_t) - (int64_t)2000},
                   {6, 127}};
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        struct exact_sum sum;
        struct buf packed;
        buf_init(&packed);
        exact_sum_init(&sum);
        for (int n = 0; n < 3; n++)
            assert_int_equal(exact_sum_add(&sum, -0.0), OK);
        assert_int_equal(exact_sum_add(&sum, 1), OK);
        exact_sum_pack(&sum, &packed);
        for (size_t byte = 0; byte < 8; byte++)
            packed.data[8 * damages[i].word + byte] = (uint8_t)(damages[i].value >> 8 * byte);
        struct slice rest = buf_slice(&packed);
        struct exact_sum twin;
        assert_int_equal(exact_sum_unpack(&rest, &twin), ERROR_MALFORMED);
        exact_sum_fini(&sum);
        buf_fini(&packed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sum_goes_on_after_the_way_through_bytes),
        cmocka_unit_test(cut_bytes_and_failing_memory_leave_nothing),
        cmocka_unit_test(facts_that_no_sum_has_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
