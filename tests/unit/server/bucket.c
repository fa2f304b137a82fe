#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "server/bucket.h"
#include "tests/lib/mem_fault.h"

/* A bucket only asks whether it has a region; nothing here needs more of one. */
static struct region *some_region(void)
{
    static int region;
    return (struct region *)(void *)&region;
}

static struct bucket_key key_of(const char *text)
{
    return (struct bucket_key){slice_text(text), table_hash(slice_text(text), 3)};
}

static void bucket_new(struct bucket *bucket)
{
    assert_int_equal(bucket_init(bucket, some_region(), 4, 1, 1), OK);
}

static struct session_wait put(struct bucket *bucket, const char *key, const char *value,
                               uint64_t wall_ms)
{
    struct session_wait wait;
    struct bucket_key stored = key_of(key);
    assert_int_equal(bucket_put(bucket, &stored, slice_text(value), wall_ms, &wait), OK);
    return wait;
}

static void check_wait(const struct bucket *bucket, struct session_wait wait, uint64_t seq)
{
    assert_ptr_equal(wait.gate, &bucket->gate);
    assert_int_equal(wait.seq, seq);
    assert_true(atomic_load(&wait.gate->committed) >= wait.seq);
}

static void check_value(struct bucket *bucket, const char *key, const char *value,
                        uint64_t wait_seq)
{
    struct session_wait wait;
    struct bucket_key stored = key_of(key);
    struct entry *entry = bucket_get(bucket, &stored, &wait);
    assert_int_equal(entry == NULL, value == NULL);
    if (entry != NULL)
        assert_true(slice_equal(entry_value(entry), slice_text(value)));
    check_wait(bucket, wait, wait_seq);
    entry_unref(entry);
}

static void each_answer_waits_for_what_it_depends_on(void **state)
{
    (void)state;
    struct bucket bucket;
    struct session_wait wait;
    struct entry *present;
    struct bucket_key a = key_of("a"), b = key_of("b"), c = key_of("c");
    bucket_new(&bucket);
    check_value(&bucket, "a", NULL, 0);
    check_wait(&bucket, put(&bucket, "a", "1", 10), 1); /* a change: for itself */
    check_wait(&bucket, put(&bucket, "b", "2", 10), 2);
    check_value(&bucket, "a", "1", 1);  /* a value: for the record that wrote it */
    check_value(&bucket, "c", NULL, 2); /* absence: for all there is */
    assert_int_equal(bucket_remove(&bucket, &c, 10, &wait), OK);
    check_wait(&bucket, wait, 2); /* nothing was removed, which is no record */
    assert_int_equal(bucket_put_if_absent(&bucket, &a, slice_text("x"), 10, &present, &wait), OK);
    assert_non_null(present);
    assert_true(slice_equal(entry_value(present), slice_text("1")));
    entry_unref(present);
    check_wait(&bucket, wait, 2); /* the one that lost: for all there is */
    assert_int_equal(bucket_put_if_absent(&bucket, &c, slice_text("3"), 10, &present, &wait), OK);
    assert_null(present);
    check_wait(&bucket, wait, 3);
    assert_int_equal(bucket_remove(&bucket, &b, 10, &wait), OK);
    check_wait(&bucket, wait, 4);
    uint64_t bytes;
    assert_int_equal(bucket_entry_count(&bucket, &bytes, &wait), 2);
    assert_true(bytes > 0);
    check_wait(&bucket, wait, 4);
    check_value(&bucket, "b", NULL, 4);
    check_value(&bucket, "c", "3", 3);
    assert_int_equal(bucket_clear(&bucket, 10, &wait), OK);
    check_wait(&bucket, wait, 5);
    assert_int_equal(bucket_entry_count(&bucket, &bytes, &wait), 0);
    assert_int_equal(bytes, 0);
    check_value(&bucket, "a", NULL, 5);
    bucket_fini(&bucket);
}

static void records_have_consecutive_numbers_and_times_that_never_go_back(void **state)
{
    (void)state;
    struct bucket bucket;
    static const uint64_t wall_ms[] = {1000, 1005, 900, 0, 1005, 1006, 1, 2000};
    static const uint64_t expected_ms[] = {1000, 1005, 1005, 1005, 1005, 1006, 1006, 2000};
    bucket_new(&bucket);
    for (uint64_t i = 0; i < 8; i++) {
        put(&bucket, i % 2 == 0 ? "a" : "b", "v", wall_ms[i]);
        assert_int_equal(bucket.last_seq, i + 1);
        assert_int_equal(bucket.last_time_ms, expected_ms[i]);
    }
    bucket_fini(&bucket);
}

static void a_copy_that_applies_the_records_has_the_same_entries(void **state)
{
    (void)state;
    struct bucket primary, copy;
    char key[8], value[8];
    uint64_t random = 3;
    bucket_new(&primary);
    bucket_new(&copy);
    for (uint64_t i = 0; i < 1900; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        snprintf(key, sizeof key, "k%u", (unsigned)(random >> 33) % 50);
        snprintf(value, sizeof value, "v%u", (unsigned)(i % 1000));
        struct bucket_key stored = key_of(key);
        struct record record = {.type = RECORD_PUT,
                                .key = stored.stored,
                                .value = slice_text(value),
                                .hash = stored.hash};
        if (random >> 60 == 0)
            record.type = RECORD_REMOVE;
        if (i % 500 == 499)
            record.type = RECORD_CLEAR;
        bucket_lock(&primary);
        assert_int_equal(bucket_append_locked(&primary, &record, i), OK);
        bucket_unlock(&primary);
        bucket_lock(&copy);
        assert_int_equal(bucket_apply_locked(&copy, &record), OK);
        bucket_unlock(&copy);
    }
    struct entry **left, **right;
    size_t left_count, right_count;
    assert_int_equal(bucket_entries_locked(&primary, &left, &left_count), OK);
    assert_int_equal(bucket_entries_locked(&copy, &right, &right_count), OK);
    assert_int_equal(left_count, right_count);
    assert_true(left_count > 10);
    for (size_t i = 0; i < left_count; i++) {
        assert_int_equal(left[i]->seq, right[i]->seq);
        assert_true(i == 0 || left[i - 1]->seq < left[i]->seq);
        assert_true(slice_equal(entry_key(left[i]), entry_key(right[i])));
        assert_true(slice_equal(entry_value(left[i]), entry_value(right[i])));
    }
    assert_int_equal(primary.last_time_ms, copy.last_time_ms);
    bucket_entries_free(left, left_count);
    bucket_entries_free(right, right_count);
    bucket_fini(&primary);
    bucket_fini(&copy);
}

static enum error idempotent(struct bucket *bucket, const char *key, const char *value,
                             uint64_t sequence, uint64_t completed, bool *repeated,
                             struct session_wait *wait)
{
    struct writer_mark mark = {
        .id = "0123456789abcde", .sequence = sequence, .completed_through = completed};
    struct bucket_key stored = key_of(key);
    return bucket_write(bucket, &stored, value == NULL, slice_text(value == NULL ? "" : value),
                        &mark, 100, repeated, wait);
}

static void an_idempotent_write_is_applied_once(void **state)
{
    (void)state;
    struct bucket bucket;
    struct session_wait wait;
    bool repeated;
    bucket_new(&bucket);
    assert_int_equal(idempotent(&bucket, "a", "1", 1, 0, &repeated, &wait), OK);
    assert_false(repeated);
    check_wait(&bucket, wait, 1);
    put(&bucket, "a", "plain", 100);
    assert_int_equal(idempotent(&bucket, "a", "1", 1, 0, &repeated, &wait), OK);
    assert_true(repeated);
    check_wait(&bucket, wait, 2); /* a repeat: for all there is */
    check_value(&bucket, "a", "plain", 2);
    assert_int_equal(idempotent(&bucket, "a", NULL, 2, 1, &repeated, &wait), OK);
    assert_false(repeated);
    check_value(&bucket, "a", NULL, 3);
    put(&bucket, "a", "again", 100);
    assert_int_equal(idempotent(&bucket, "a", NULL, 2, 1, &repeated, &wait), OK);
    assert_true(repeated);
    check_value(&bucket, "a", "again", 4);
    /* Removing what is not there is a record all the same: it must be known as done. */
    assert_int_equal(idempotent(&bucket, "b", NULL, 3, 1, &repeated, &wait), OK);
    check_wait(&bucket, wait, 5);
    put(&bucket, "b", "later", 100);
    assert_int_equal(idempotent(&bucket, "b", NULL, 3, 1, &repeated, &wait), OK);
    assert_true(repeated);
    check_value(&bucket, "b", "later", 6);
    assert_int_equal(idempotent(&bucket, "b", NULL, 2000, 1, &repeated, &wait), ERROR_LIMIT);
    assert_int_equal(bucket.last_seq, 6);
    bucket_fini(&bucket);
}

static void a_failed_allocation_changes_nothing_and_uses_no_number(void **state)
{
    (void)state;
    long live = mem_fault_live();
    struct bucket bucket;
    struct session_wait wait;
    struct entry *present;
    char key[16];
    bool repeated;
    bucket_new(&bucket);
    for (uint64_t i = 0; i < 120; i++) {
        snprintf(key, sizeof key, "k%u", (unsigned)i);
        struct bucket_key stored = key_of(key);
        enum error error = ERROR_MEMORY;
        uint64_t seq = bucket.last_seq;
        for (unsigned n = 1; error != OK; n++) {
            mem_fault_fail_at(n);
            if (i % 3 == 0)
                error = bucket_put(&bucket, &stored, slice_text("v"), 5, &wait);
            else if (i % 3 == 1)
                error = bucket_put_if_absent(&bucket, &stored, slice_text("v"), 5, &present, &wait);
            else
                error = idempotent(&bucket, key, "v", i + 1, i, &repeated, &wait);
            mem_fault_fail_at(0);
            if (error != OK) {
                assert_int_equal(error, ERROR_MEMORY);
                assert_int_equal(bucket.last_seq, seq);
                assert_int_equal(atomic_load(&bucket.gate.committed), seq);
                check_value(&bucket, key, NULL, seq);
            } else if (i % 3 == 2) {
                assert_false(repeated);
            }
        }
        assert_int_equal(bucket.last_seq, seq + 1);
        check_value(&bucket, key, "v", seq + 1);
    }
    assert_int_equal(bucket.table.entry_count, 120);
    bucket_fini(&bucket);
    assert_int_equal(mem_fault_live(), live);
    mem_fault_fail_at(1);
    assert_int_equal(bucket_init(&bucket, some_region(), 0, 1, 1), ERROR_MEMORY);
    mem_fault_fail_at(0);
    bucket_fini(&bucket);
    assert_int_equal(mem_fault_live(), live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_answer_waits_for_what_it_depends_on),
        cmocka_unit_test(records_have_consecutive_numbers_and_times_that_never_go_back),
        cmocka_unit_test(a_copy_that_applies_the_records_has_the_same_entries),
        cmocka_unit_test(an_idempotent_write_is_applied_once),
        cmocka_unit_test(a_failed_allocation_changes_nothing_and_uses_no_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
