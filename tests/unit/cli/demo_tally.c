/* What the demo calls lost and duplicated. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "cli/demo_tally.h"
#include "tests/lib/mem_fault.h"

static enum error result(struct tally *tally, const char *id, uint32_t bucket, uint64_t seq,
                         double average)
{
    struct vug_event event = {.bucket = bucket, .generation = 1, .seq = seq};
    return tally_result(tally, &event, slice_text(id), &average);
}

static void acknowledge(struct tally *tally, const char *id, uint64_t count)
{
    struct tally_key *key = NULL;
    assert_int_equal(tally_find(tally, slice_text(id), &key), OK);
    key->acknowledged += count;
}

static void equal_counts_are_neither(void **state)
{
    (void)state;
    struct tally tally;
    tally_init(&tally);
    acknowledge(&tally, "a", 2);
    assert_int_equal(result(&tally, "a", 1, 1, 20), OK);
    assert_int_equal(result(&tally, "a", 1, 2, 21), OK);
    assert_int_equal(tally_lost(&tally), 0);
    assert_int_equal(tally_duplicated(&tally), 0);
    assert_true(tally.keys[0].average == 21);
    tally_fini(&tally);
}

static void a_missing_result_is_lost_even_if_another_key_has_one_too_many(void **state)
{
    (void)state;
    struct tally tally;
    tally_init(&tally);
    acknowledge(&tally, "a", 2);
    acknowledge(&tally, "b", 1);
    result(&tally, "a", 1, 1, 20);
    result(&tally, "b", 2, 1, 20);
    result(&tally, "b", 2, 2, 20);
    assert_int_equal(tally_lost(&tally), 1);
    assert_int_equal(tally_duplicated(&tally), 1);
    tally_fini(&tally);
}

static void the_same_event_twice_is_duplicated_and_changes_no_average(void **state)
{
    (void)state;
    struct tally tally;
    tally_init(&tally);
    acknowledge(&tally, "a", 2);
    result(&tally, "a", 1, 1, 20);
    result(&tally, "a", 1, 2, 21);
    result(&tally, "a", 1, 1, 20);
    assert_int_equal(tally_duplicated(&tally), 1);
    assert_int_equal(tally_lost(&tally), 0);
    assert_true(tally.keys[0].average == 21);
    tally_fini(&tally);
}

static void many_keys_and_events_are_told_apart(void **state)
{
    (void)state;
    struct tally tally;
    tally_init(&tally);
    for (uint32_t i = 0; i < 20000; i++) {
        char id[16];
        snprintf(id, sizeof id, "k%u", i % 500);
        acknowledge(&tally, id, 1);
        assert_int_equal(result(&tally, id, i % 113, i / 113 + 1, 1), OK);
    }
    assert_int_equal(tally.key_count, 500);
    assert_int_equal(tally.results, 20000);
    assert_int_equal(tally_lost(&tally) + tally_duplicated(&tally), 0);
    tally_fini(&tally);
}

static void runs_out_of_memory_without_a_leak(void **state)
{
    (void)state;
    bool done = false;
    for (unsigned n = 1; !done; n++) {
        long live = mem_fault_live();
        struct tally tally;
        mem_fault_fail_at(n);
        tally_init(&tally);
        done = result(&tally, "a", 1, 1, 20) == OK;
        mem_fault_fail_at(0);
        if (!done) /* and works when there is memory again */
            assert_int_equal(result(&tally, "a", 1, 1, 20), OK);
        assert_int_equal(tally.results, 1);
        tally_fini(&tally);
        assert_int_equal(mem_fault_live(), live);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_counts_are_neither),
        cmocka_unit_test(a_missing_result_is_lost_even_if_another_key_has_one_too_many),
        cmocka_unit_test(the_same_event_twice_is_duplicated_and_changes_no_average),
        cmocka_unit_test(many_keys_and_events_are_told_apart),
        cmocka_unit_test(runs_out_of_memory_without_a_leak),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
