#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "server/region.h"
#include "server/call.h"
#include "tests/lib/bucket_lead.h"
#include "tests/lib/mem_fault.h"

/* ---- What stands in for the copies ---- */

/* One more copy, which acknowledges when the test says so. */
static bool may_read = true;

bool replica_may_write_locked(const struct bucket *bucket)
{
    return bucket->replica.led != 0 && !bucket->replica.handing_over;
}
bool replica_may_read_locked(const struct bucket *bucket, uint64_t now_us)
{
    (void)bucket, (void)now_us;
    return may_read;
}
uint64_t replica_record_time_locked(const struct bucket *bucket, uint64_t wall_ms, uint64_t now_us)
{
    (void)now_us;
    return wall_ms > bucket->last_time_ms ? wall_ms : bucket->last_time_ms;
}
enum error replica_reserve_locked(struct bucket *bucket, const struct record *record)
{
    (void)bucket, (void)record;
    return OK;
}
void replica_send_locked(struct bucket *bucket, const struct record *record)
{
    if (replica_is_alone(&bucket->replica))
        atomic_store(&bucket->committed, record->seq);
}
void replica_init(struct replica *replica)
{
    memset(replica, 0, sizeof *replica);
}
void replica_fini(struct bucket *bucket)
{
    (void)bucket;
}

static uint64_t no_clock(struct loop *loop)
{
    (void)loop;
    return 1;
}

static struct loop *some_loop(void)
{
    static const struct loop_ops ops = {.clock_us = no_clock, .now_us = no_clock};
    static struct loop loop = {&ops};
    return &loop;
}

/* A bucket only asks whether it has a region, and for a server that this one has not. */
static struct region *some_region(void)
{
    static struct region region;
    return &region;
}

static struct bucket_key key_of(const char *text)
{
    return (struct bucket_key){slice_text(text), table_hash(slice_text(text), 3)};
}

static void bucket_new(struct bucket *bucket)
{
    assert_int_equal(bucket_init(bucket, some_region(), 4, 1, 1), OK);
    bucket_lead_alone_for_tests(bucket);
    may_read = true;
}

static void put(struct bucket *bucket, const char *key, const char *value, uint64_t wall_ms)
{
    struct bucket_key stored = key_of(key);
    assert_int_equal(bucket_put(bucket, &stored, slice_text(value), wall_ms), OK);
}

static void check_value(struct bucket *bucket, const char *key, const char *value)
{
    struct bucket_key stored = key_of(key);
    struct entry *entry;
    assert_int_equal(bucket_get(bucket, &stored, some_loop(), &entry), OK);
    assert_int_equal(entry == NULL, value == NULL);
    if (entry != NULL)
        assert_true(slice_equal(entry_value(entry), slice_text(value)));
    entry_unref(entry);
}

static enum error get(struct bucket *bucket, const char *key)
{
    struct bucket_key stored = key_of(key);
    struct entry *entry;
    enum error error = bucket_get(bucket, &stored, some_loop(), &entry);
    entry_unref(entry);
    return error;
}

static enum error count(struct bucket *bucket, uint64_t *entries)
{
    uint64_t bytes;
    return bucket_entry_count(bucket, some_loop(), entries, &bytes);
}

static void alone_every_operation_is_answered_at_once(void **state)
{
    (void)state;
    struct bucket bucket;
    struct entry *present;
    uint64_t entries;
    struct bucket_key a = key_of("a"), b = key_of("b"), c = key_of("c");
    bucket_new(&bucket);
    check_value(&bucket, "a", NULL);
    put(&bucket, "a", "1", 10);
    put(&bucket, "b", "2", 10);
    check_value(&bucket, "a", "1");
    assert_int_equal(bucket_remove(&bucket, &c, 10), OK);
    assert_int_equal(bucket.last_seq, 2); /* nothing was removed, which is no record */
    assert_int_equal(bucket_put_if_absent(&bucket, &a, slice_text("x"), 10, &present), OK);
    assert_non_null(present);
    assert_true(slice_equal(entry_value(present), slice_text("1")));
    entry_unref(present);
    assert_int_equal(bucket.last_seq, 2);
    assert_int_equal(bucket_put_if_absent(&bucket, &c, slice_text("3"), 10, &present), OK);
    assert_null(present);
    assert_int_equal(bucket_remove(&bucket, &b, 10), OK);
    assert_int_equal(bucket.last_seq, 4);
    assert_int_equal(count(&bucket, &entries), OK);
    assert_int_equal(entries, 2);
    check_value(&bucket, "b", NULL);
    check_value(&bucket, "c", "3");
    assert_int_equal(bucket_clear(&bucket, 10), OK);
    assert_int_equal(count(&bucket, &entries), OK);
    assert_int_equal(entries, 0);
    check_value(&bucket, "a", NULL);
    bucket_fini(&bucket);
}

/* Every change as a row, so that none is forgotten. */
static void check_no_change(struct bucket *bucket)
{
    struct bucket_key a = key_of("a");
    struct writer_mark mark = {.id = "x", .sequence = 1};
    struct entry *present;
    bool repeated;
    uint64_t seq = bucket->last_seq, count_before = bucket->table.entry_count;
    assert_int_equal(bucket_put(bucket, &a, slice_text("x"), 1), ERROR_ELSEWHERE);
    assert_int_equal(bucket_put_if_absent(bucket, &a, slice_text("x"), 1, &present),
                     ERROR_ELSEWHERE);
    assert_null(present);
    assert_int_equal(bucket_remove(bucket, &a, 1), ERROR_ELSEWHERE);
    assert_int_equal(bucket_clear(bucket, 1), ERROR_ELSEWHERE);
    assert_int_equal(bucket_write(bucket, &a, false, slice_text("x"), &mark, 1, &repeated),
                     ERROR_ELSEWHERE);
    assert_int_equal(bucket->last_seq, seq);
    assert_int_equal(bucket->table.entry_count, count_before);
    assert_int_equal(bucket->writers.count, 0);
}

static void what_has_to_wait_is_not_done_here(void **state)
{
    (void)state;
    struct bucket bucket;
    uint64_t entries;
    struct call waiting = {.state = CALL_QUEUED, .kind = CALL_PUT};
    bucket_new(&bucket);
    put(&bucket, "a", "1", 1);
    bucket.replica.role = REPLICA_COPY; /* another server leads */
    bucket.replica.led = 0;
    check_no_change(&bucket);
    bucket.replica.role = REPLICA_PRIMARY;
    bucket.replica.led = 1;
    bucket.calls = bucket.last_call = &waiting; /* an earlier one waits */
    check_no_change(&bucket);
    assert_int_equal(get(&bucket, "a"), ERROR_ELSEWHERE);
    waiting.state = CALL_APPLIED; /* which reads need not wait for */
    check_no_change(&bucket);
    assert_int_equal(get(&bucket, "a"), OK);
    bucket.calls = bucket.last_call = NULL;
    bucket.replica.copy_count = 1;
    check_no_change(&bucket);
    assert_int_equal(get(&bucket, "a"), OK);
    may_read = false;
    assert_int_equal(get(&bucket, "a"), ERROR_ELSEWHERE);
    assert_int_equal(count(&bucket, &entries), ERROR_ELSEWHERE);
    bucket.replica.copy_count = 0;
    bucket_fini(&bucket);
}

static void a_read_waits_for_what_it_depends_on(void **state)
{
    (void)state;
    struct bucket bucket;
    uint64_t entries;
    struct bucket_key b = key_of("b");
    bucket_new(&bucket);
    put(&bucket, "a", "1", 1);
    put(&bucket, "b", "2", 1);
    bucket.replica.copy_count = 1;
    struct record record = {.type = RECORD_REMOVE, .key = b.stored, .hash = b.hash};
    bucket_lock(&bucket);
    assert_int_equal(bucket_append_locked(&bucket, &record, 1), OK);
    bucket_unlock(&bucket);
    assert_int_equal(get(&bucket, "a"), OK);              /* a value: for its own record */
    assert_int_equal(get(&bucket, "b"), ERROR_ELSEWHERE); /* absence: for all there is */
    assert_int_equal(count(&bucket, &entries), ERROR_ELSEWHERE);
    atomic_store(&bucket.committed, 3);
    assert_int_equal(get(&bucket, "b"), OK);
    assert_int_equal(count(&bucket, &entries), OK);
    assert_int_equal(entries, 1);
    bucket.replica.copy_count = 0;
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
    bucket_entries_sort(left, left_count);
    bucket_entries_sort(right, right_count);
    assert_int_equal(left_count, right_count);
    assert_true(left_count > 10);
    for (size_t i = 0; i < left_count; i++) {
        assert_int_equal(left[i]->seq, right[i]->seq);
        assert_true(i == 0 || left[i - 1]->seq < left[i]->seq);
        assert_true(slice_equal(entry_key(left[i]), entry_key(right[i])));
        assert_true(slice_equal(entry_value(left[i]), entry_value(right[i])));
    }
    assert_int_equal(primary.last_time_ms, copy.last_time_ms);
    assert_int_equal(bucket_hash_locked(&primary), bucket_hash_locked(&copy));
    put(&primary, "k1", "different", 2000);
    assert_int_not_equal(bucket_hash_locked(&primary), bucket_hash_locked(&copy));
    bucket_entries_free(left, left_count);
    bucket_entries_free(right, right_count);
    bucket_fini(&primary);
    bucket_fini(&copy);
}

static enum error idempotent(struct bucket *bucket, const char *key, const char *value,
                             uint64_t sequence, uint64_t completed, bool *repeated)
{
    struct writer_mark mark = {
        .id = "0123456789abcde", .sequence = sequence, .completed_through = completed};
    struct bucket_key stored = key_of(key);
    return bucket_write(bucket, &stored, value == NULL, slice_text(value == NULL ? "" : value),
                        &mark, 100, repeated);
}

static void an_idempotent_write_is_applied_once(void **state)
{
    (void)state;
    struct bucket bucket;
    bool repeated;
    bucket_new(&bucket);
    assert_int_equal(idempotent(&bucket, "a", "1", 1, 0, &repeated), OK);
    assert_false(repeated);
    assert_int_equal(bucket.last_seq, 1);
    put(&bucket, "a", "plain", 100);
    assert_int_equal(idempotent(&bucket, "a", "1", 1, 0, &repeated), OK);
    assert_true(repeated);
    assert_int_equal(bucket.last_seq, 2);
    check_value(&bucket, "a", "plain");
    assert_int_equal(idempotent(&bucket, "a", NULL, 2, 1, &repeated), OK);
    assert_false(repeated);
    check_value(&bucket, "a", NULL);
    put(&bucket, "a", "again", 100);
    assert_int_equal(idempotent(&bucket, "a", NULL, 2, 1, &repeated), OK);
    assert_true(repeated);
    check_value(&bucket, "a", "again");
    /* Removing what is not there is a record all the same: it must be known as done. */
    assert_int_equal(idempotent(&bucket, "b", NULL, 3, 1, &repeated), OK);
    assert_int_equal(bucket.last_seq, 5);
    put(&bucket, "b", "later", 100);
    assert_int_equal(idempotent(&bucket, "b", NULL, 3, 1, &repeated), OK);
    assert_true(repeated);
    check_value(&bucket, "b", "later");
    assert_int_equal(idempotent(&bucket, "b", NULL, 2000, 1, &repeated), ERROR_LIMIT);
    assert_int_equal(bucket.last_seq, 6);
    bucket_fini(&bucket);
}

static void a_failed_allocation_changes_nothing_and_uses_no_number(void **state)
{
    (void)state;
    long live = mem_fault_live();
    struct bucket bucket;
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
                error = bucket_put(&bucket, &stored, slice_text("v"), 5);
            else if (i % 3 == 1)
                error = bucket_put_if_absent(&bucket, &stored, slice_text("v"), 5, &present);
            else
                error = idempotent(&bucket, key, "v", i + 1, i, &repeated);
            mem_fault_fail_at(0);
            if (error != OK) {
                assert_int_equal(error, ERROR_MEMORY);
                assert_int_equal(bucket.last_seq, seq);
                assert_int_equal(atomic_load(&bucket.committed), seq);
                check_value(&bucket, key, NULL);
            } else if (i % 3 == 2) {
                assert_false(repeated);
            }
        }
        assert_int_equal(bucket.last_seq, seq + 1);
        check_value(&bucket, key, "v");
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
        cmocka_unit_test(alone_every_operation_is_answered_at_once),
        cmocka_unit_test(what_has_to_wait_is_not_done_here),
        cmocka_unit_test(a_read_waits_for_what_it_depends_on),
        cmocka_unit_test(records_have_consecutive_numbers_and_times_that_never_go_back),
        cmocka_unit_test(a_copy_that_applies_the_records_has_the_same_entries),
        cmocka_unit_test(an_idempotent_write_is_applied_once),
        cmocka_unit_test(a_failed_allocation_changes_nothing_and_uses_no_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
