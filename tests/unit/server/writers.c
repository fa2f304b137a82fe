#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "common/limits.h"
#include "server/writers.h"
#include "tests/lib/mem_fault.h"

static struct writer_mark mark_of(uint32_t writer, uint64_t sequence, uint64_t completed_through)
{
    struct writer_mark mark = {.sequence = sequence, .completed_through = completed_through};
    memcpy(mark.id, &writer, sizeof writer);
    mark.id[15] = 1;
    return mark;
}

static enum error check(struct writers *writers, uint32_t writer, uint64_t sequence,
                        uint64_t completed, uint64_t time_ms, bool *repeated)
{
    struct writer_mark mark = mark_of(writer, sequence, completed);
    return writers_check(writers, &mark, time_ms, repeated);
}

/* What the bucket does with an operation: true if it is to be applied. */
static bool applies(struct writers *writers, uint32_t writer, uint64_t sequence, uint64_t completed,
                    uint64_t time_ms)
{
    struct writer_mark mark = mark_of(writer, sequence, completed);
    bool repeated;
    assert_int_equal(writers_check(writers, &mark, time_ms, &repeated), OK);
    if (!repeated)
        writers_note(writers, &mark, time_ms);
    return !repeated;
}

static void an_operation_is_applied_once(void **state)
{
    (void)state;
    struct writers writers;
    writers_init(&writers);
    assert_true(applies(&writers, 1, 1, 0, 1000));
    assert_false(applies(&writers, 1, 1, 0, 1000));
    assert_true(applies(&writers, 2, 1, 0, 1000));
    assert_true(applies(&writers, 1, 2, 1, 1001));
    assert_false(applies(&writers, 1, 2, 1, 1001));
    assert_false(applies(&writers, 1, 1, 1, 1001));
    writers_fini(&writers);
}

static void what_is_checked_but_not_noted_is_no_repeat(void **state)
{
    (void)state;
    struct writers writers;
    bool repeated = true;
    writers_init(&writers);
    assert_int_equal(check(&writers, 1, 5, 0, 1, &repeated), OK);
    assert_false(repeated);
    assert_int_equal(check(&writers, 1, 5, 0, 1, &repeated), OK);
    assert_false(repeated);
    writers_fini(&writers);
}

static void the_window_has_its_bound(void **state)
{
    (void)state;
    struct writers writers;
    bool repeated;
    writers_init(&writers);
    assert_int_equal(check(&writers, 1, 1023, 0, 1, &repeated), OK);
    assert_int_equal(check(&writers, 1, 1024, 0, 1, &repeated), OK);
    assert_int_equal(check(&writers, 1, 1025, 0, 1, &repeated), ERROR_LIMIT);
    assert_int_equal(check(&writers, 1, 1025, 1, 1, &repeated), OK);
    assert_int_equal(check(&writers, 1, 1026, 1, 1, &repeated), ERROR_LIMIT);
    assert_int_equal(check(&writers, 1, UINT64_MAX, 0, 1, &repeated), ERROR_LIMIT);
    assert_int_equal(check(&writers, 1, UINT64_MAX, UINT64_MAX - 1, 1, &repeated), OK);
    assert_false(repeated);
    writers_fini(&writers);
}

static void a_sequence_one_window_later_is_not_taken_for_a_repeat(void **state)
{
    (void)state;
    struct writers writers;
    writers_init(&writers);
    /* The same bit of the window stands for 1, 1025, 2049: this bucket sees only these of a busy
     * writer. */
    for (uint64_t sequence = 1; sequence < 100 * LIMIT_WRITER_WINDOW;
         sequence += LIMIT_WRITER_WINDOW) {
        assert_true(applies(&writers, 1, sequence, sequence - 1, 1000));
        assert_false(applies(&writers, 1, sequence, sequence - 1, 1000));
    }
    writers_fini(&writers);
}

static void a_moved_window_keeps_what_is_in_both(void **state)
{
    (void)state;
    struct writers writers;
    writers_init(&writers);
    for (uint64_t sequence = 1; sequence <= 1024; sequence += 3)
        assert_true(applies(&writers, 1, sequence, 0, 1));
    assert_true(applies(&writers, 1, 1524, 500, 1)); /* moves the window by 500 */
    for (uint64_t sequence = 1; sequence <= 1024; sequence++)
        assert_int_equal(applies(&writers, 1, sequence, 500, 1),
                         sequence > 500 && sequence % 3 != 1);
    for (uint64_t sequence = 1025; sequence <= 1523; sequence++)
        assert_true(applies(&writers, 1, sequence, 500, 1));
    assert_false(applies(&writers, 1, 1524, 500, 1));
    writers_fini(&writers);
}

static void a_repeat_with_an_older_mark_is_still_a_repeat(void **state)
{
    (void)state;
    struct writers writers;
    bool repeated;
    writers_init(&writers);
    assert_true(applies(&writers, 1, 10, 0, 1));
    assert_true(applies(&writers, 1, 700, 650, 1));
    /* The repeat of 10 was sent before 650 was known to be complete. */
    assert_int_equal(check(&writers, 1, 10, 0, 1, &repeated), OK);
    assert_true(repeated);
    /* Never seen here, but complete, since its writer says that it was answered. */
    assert_int_equal(check(&writers, 1, 11, 0, 1, &repeated), OK);
    assert_true(repeated);
    assert_int_equal(check(&writers, 1, 1674, 0, 1, &repeated), OK);
    assert_int_equal(check(&writers, 1, 1675, 0, 1, &repeated), ERROR_LIMIT);
    writers_fini(&writers);
}

static void retries_out_of_order_agree_with_a_set(void **state)
{
    (void)state;
    struct writers writers;
    static bool applied[40000];
    uint64_t completed = 0, random = 99;
    writers_init(&writers);
    memset(applied, 0, sizeof applied);
    for (int step = 0; step < 100000 && completed < 38000; step++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        uint64_t sequence = completed + 1 + (random >> 33) % 1024;
        /* What the writer knew when it sent this, which may be long ago. */
        uint64_t known = completed - (random >> 20) % 8;
        known = known > completed ? 0 : known;
        if (sequence - known > LIMIT_WRITER_WINDOW)
            known = completed;
        assert_int_equal(applies(&writers, 1, sequence, known, 5), !applied[sequence]);
        applied[sequence] = true;
        while (applied[completed + 1])
            completed++;
        if (step % 50 == 0)
            for (uint64_t s = completed + 1; s <= completed + 300; s++)
                if (!applied[s]) {
                    assert_true(applies(&writers, 1, s, completed, 5));
                    applied[s] = true;
                }
    }
    assert_true(completed > 20000);
    writers_fini(&writers);
}

static void an_idle_writer_is_forgotten_after_15_minutes_of_record_time(void **state)
{
    (void)state;
    struct writers writers;
    writers_init(&writers);
    assert_true(applies(&writers, 1, 1, 0, 5000));
    assert_true(applies(&writers, 2, 1, 0, 6000));
    assert_false(applies(&writers, 1, 1, 0, 5000 + LIMIT_WRITER_IDLE_MS - 1));
    assert_int_equal(writers.count, 2);
    /* A repeat applies nothing, so it does not keep the writer; at 15 minutes it is forgotten. */
    assert_true(applies(&writers, 1, 1, 0, 5000 + LIMIT_WRITER_IDLE_MS));
    assert_false(applies(&writers, 2, 1, 0, 5000 + LIMIT_WRITER_IDLE_MS));
    assert_true(applies(&writers, 2, 1, 0, 6000 + LIMIT_WRITER_IDLE_MS));
    assert_int_equal(writers.count, 2);
    writers_fini(&writers);
}

static void a_busy_writer_is_kept_beyond_15_minutes(void **state)
{
    (void)state;
    struct writers writers;
    uint64_t time_ms = 1000;
    writers_init(&writers);
    for (uint64_t sequence = 1; sequence <= 20; sequence++, time_ms += LIMIT_WRITER_IDLE_MS / 2) {
        assert_true(applies(&writers, 1, sequence, 0, time_ms));
        assert_false(applies(&writers, 1, 1, 0, time_ms));
    }
    writers_fini(&writers);
}

static void a_new_writer_beyond_the_limit_is_refused(void **state)
{
    (void)state;
    struct writers writers;
    bool repeated;
    writers_init(&writers);
    for (uint32_t i = 0; i < LIMIT_WRITERS_PER_BUCKET; i++)
        assert_true(applies(&writers, i * 2654435761u, 1, 0, 1000 + (i == 77)));
    assert_int_equal(check(&writers, 4242, 1, 0, 1000, &repeated), ERROR_BUSY);
    for (uint32_t i = 0; i < LIMIT_WRITERS_PER_BUCKET; i++) /* the known ones go on */
        assert_true(applies(&writers, i * 2654435761u, 2, 0, 1000 + (i == 77)));
    assert_true(applies(&writers, 4242, 1, 0, 1000 + LIMIT_WRITER_IDLE_MS));
    assert_int_equal(writers.count, 2); /* it, and the one that was seen 1 ms later */
    assert_false(applies(&writers, 77 * 2654435761u, 2, 0, 1000 + LIMIT_WRITER_IDLE_MS));
    writers_fini(&writers);
}

static void a_failed_allocation_forgets_nobody(void **state)
{
    (void)state;
    long live = mem_fault_live();
    struct writers writers;
    writers_init(&writers);
    for (uint32_t i = 0; i < 100; i++) {
        bool repeated, done = false;
        for (unsigned n = 1; !done; n++) {
            uint64_t time_ms = 1000 + i * (LIMIT_WRITER_IDLE_MS / 50);
            mem_fault_fail_at(n);
            enum error error = check(&writers, i, 1, 0, time_ms, &repeated);
            unsigned long calls = mem_fault_calls();
            mem_fault_fail_at(0);
            done = error == OK && calls < n;
            if (error == OK) {
                assert_false(repeated);
            } else {
                assert_int_equal(error, ERROR_MEMORY);
                if (i > 0) {
                    assert_int_equal(check(&writers, i - 1, 1, 0,
                                           time_ms - LIMIT_WRITER_IDLE_MS / 50, &repeated),
                                     OK);
                    assert_true(repeated);
                }
            }
        }
        struct writer_mark mark = mark_of(i, 1, 0);
        mem_fault_fail_from(1); /* what writers_check() has made room for cannot fail */
        writers_note(&writers, &mark, 1000 + i * (LIMIT_WRITER_IDLE_MS / 50));
        mem_fault_fail_from(0);
    }
    writers_fini(&writers);
    assert_int_equal(mem_fault_live(), live);
}

static void note_some(struct writers *writers)
{
    bool repeated;
    writers_init(writers);
    for (uint64_t i = 0; i < 200; i++) {
        struct writer_mark mark = {.sequence = 1 + i / 20 * 3, .completed_through = i / 20};
        mark.id[0] = (uint8_t)(i % 20);
        mark.id[15] = 9;
        assert_int_equal(writers_check(writers, &mark, 1000 + i, &repeated), OK);
        assert_false(repeated);
        writers_note(writers, &mark, 1000 + i);
    }
    struct writer_mark unused = {.id = "never noted", .sequence = 1};
    assert_int_equal(writers_check(writers, &unused, 1300, &repeated), OK);
}

static void a_packed_copy_knows_the_same(void **state)
{
    (void)state;
    long live = mem_fault_live();
    struct writers writers, copy;
    struct buf packed;
    bool left, right;
    note_some(&writers);
    buf_init(&packed);
    writers_pack(&writers, &packed);
    buf_append_text(&packed, "rest");
    struct slice rest = buf_slice(&packed);
    writers_init(&copy);
    assert_int_equal(writers_unpack(&rest, &copy), OK);
    assert_true(slice_equal(rest, slice_text("rest")));
    assert_int_equal(copy.count, 20); /* without the one of which nothing was applied */
    assert_int_equal(writers_hash(&writers, 1300), writers_hash(&copy, 1300));
    for (uint64_t i = 0; i < 20 * 60; i++) {
        struct writer_mark mark = {.sequence = 1 + i / 20, .completed_through = 0};
        mark.id[0] = (uint8_t)(i % 20);
        mark.id[15] = 9;
        assert_int_equal(writers_check(&writers, &mark, 1300, &left),
                         writers_check(&copy, &mark, 1300, &right));
        assert_int_equal(left, right);
    }
    struct writer_mark more = {.sequence = 50};
    more.id[15] = 9;
    writers_note(&copy, &more, 1300);
    assert_int_not_equal(writers_hash(&writers, 1300), writers_hash(&copy, 1300));
    assert_int_equal(writers_hash(&writers, 1300 + LIMIT_WRITER_IDLE_MS), 0);
    writers_fini(&copy);
    for (size_t len = 0; len + 4 < packed.len; len++) {
        rest = slice_of(packed.data, len);
        assert_int_equal(writers_unpack(&rest, &copy), ERROR_MALFORMED);
        assert_int_equal(copy.count, 0);
    }
    enum error error = ERROR_MEMORY;
    for (unsigned n = 1; error != OK; n++) {
        rest = buf_slice(&packed);
        mem_fault_fail_at(n);
        error = writers_unpack(&rest, &copy);
        mem_fault_fail_at(0);
        assert_true(error == OK || (error == ERROR_MEMORY && copy.count == 0));
    }
    writers_fini(&copy);
    writers_fini(&writers);
    buf_fini(&packed);
    assert_int_equal(mem_fault_live(), live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_operation_is_applied_once),
        cmocka_unit_test(what_is_checked_but_not_noted_is_no_repeat),
        cmocka_unit_test(the_window_has_its_bound),
        cmocka_unit_test(a_sequence_one_window_later_is_not_taken_for_a_repeat),
        cmocka_unit_test(a_moved_window_keeps_what_is_in_both),
        cmocka_unit_test(a_repeat_with_an_older_mark_is_still_a_repeat),
        cmocka_unit_test(retries_out_of_order_agree_with_a_set),
        cmocka_unit_test(an_idle_writer_is_forgotten_after_15_minutes_of_record_time),
        cmocka_unit_test(a_busy_writer_is_kept_beyond_15_minutes),
        cmocka_unit_test(a_new_writer_beyond_the_limit_is_refused),
        cmocka_unit_test(a_failed_allocation_forgets_nobody),
        cmocka_unit_test(a_packed_copy_knows_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
