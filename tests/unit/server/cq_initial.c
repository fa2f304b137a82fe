#include "server/cq_initial.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>

#include "server/region.h"
#include "tests/lib/mem_fault.h"

#define KEYS 3000u

static uint64_t random_state;

static uint32_t below(uint32_t count)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33) % count;
}

struct fixture {
    struct bucket bucket;
    struct cq_initial *initial; /* or NULL */
};

static struct slice key_of(uint32_t number, char text[16])
{
    return slice_of(text, (size_t)snprintf(text, 16, "%u", number));
}

static void put(struct fixture *fixture, uint32_t number)
{
    struct bucket *bucket = &fixture->bucket;
    char text[16];
    struct slice key = key_of(number, text);
    uint64_t hash = table_hash(key, 1);
    struct entry *old = table_find(&bucket->table, key, hash);
    if (old != NULL && fixture->initial != NULL)
        cq_initial_before_change(bucket, fixture->initial, old);
    struct entry *entry = entry_new(key, key, hash, ++bucket->last_seq);
    assert_non_null(entry);
    assert_int_equal(table_put(&bucket->table, entry, &old), OK);
    entry_unref(old);
}

static void take_away(struct fixture *fixture, uint32_t number)
{
    struct bucket *bucket = &fixture->bucket;
    char text[16];
    struct slice key = key_of(number, text);
    uint64_t hash = table_hash(key, 1);
    struct entry *old = table_find(&bucket->table, key, hash);
    if (old == NULL)
        return;
    bucket->last_seq++;
    if (fixture->initial != NULL)
        cq_initial_before_change(bucket, fixture->initial, old);
    entry_unref(table_remove(&bucket->table, key, hash));
}

static void begin(struct fixture *fixture, uint32_t puts)
{
    memset(fixture, 0, sizeof *fixture);
    assert_int_equal(table_init(&fixture->bucket.table), OK);
    for (uint32_t i = 0; i < puts; i++)
        put(fixture, below(KEYS));
}

static void end(struct fixture *fixture)
{
    cq_initial_free(&fixture->bucket, fixture->initial);
    assert_int_equal(fixture->bucket.starts, 0);
    table_fini(&fixture->bucket.table);
}

static enum error start(struct fixture *fixture)
{
    struct record record = {.seq = ++fixture->bucket.last_seq, .time_ms = 77};
    fixture->initial = cq_initial_new(&fixture->bucket, &record);
    return fixture->initial == NULL ? ERROR_MEMORY : OK;
}

static void what_was_there_is_gathered_in_order_whatever_changes_meanwhile(void **state)
{
    (void)state;
    long live = mem_fault_live();
    for (random_state = 1; random_state < 40; random_state += 3) {
        uint64_t seed = random_state;
        struct fixture fixture;
        begin(&fixture, 4000);
        struct entry **expected;
        size_t count, taken = 0;
        assert_int_equal(start(&fixture), OK);
        assert_int_equal(fixture.bucket.starts, 1);
        struct region region = {.server = NULL};
        fixture.bucket.region = &region;
        assert_int_equal(bucket_entries_locked(&fixture.bucket, &expected, &count), OK);
        bucket_entries_sort(expected, count);
        unsigned slices = 0;
        while (!fixture.initial->is_gathered) {
            cq_initial_gather(&fixture.bucket, fixture.initial, 8);
            slices++;
            /* New keys make the table split lines that the walk has passed. */
            for (uint32_t i = 0; i < 20; i++) {
                put(&fixture, below(2 * KEYS));
                take_away(&fixture, below(KEYS));
            }
        }
        assert_true(slices > 20);
        assert_int_equal(fixture.bucket.starts, 0);
        assert_int_equal(fixture.initial->time_ms, 77);
        assert_false(fixture.initial->failed);
        assert_int_equal(entry_list_count(&fixture.initial->entries), count);
        for (; taken < count; taken++) {
            struct entry *entry = entry_list_take(&fixture.initial->entries);
            assert_ptr_equal(entry, expected[taken]);
            entry_unref(entry);
        }
        bucket_entries_free(expected, count);
        end(&fixture);
        random_state = seed;
    }
    assert_int_equal(mem_fault_live(), live);
}

static void memory_may_run_out_anywhere(void **state)
{
    (void)state;
    long live = mem_fault_live();
    unsigned failures = 0;
    bool untouched = false;
    for (unsigned long n = 1; !untouched; n++) {
        struct fixture fixture;
        random_state = 5;
        begin(&fixture, 300);
        mem_fault_fail_at(n);
        enum error error = start(&fixture);
        for (int i = 0; i < 1000 && error == OK && !fixture.initial->is_gathered; i++)
            cq_initial_gather(&fixture.bucket, fixture.initial, 1);
        untouched = mem_fault_calls() < n;
        mem_fault_fail_at(0);
        assert_true(error != OK || fixture.initial->is_gathered);
        failures += error != OK || fixture.initial->failed;
        assert_true(!untouched || (error == OK && !fixture.initial->failed));
        end(&fixture);
        assert_int_equal(mem_fault_live(), live);
    }
    assert_true(failures > 1);
}

static void one_that_is_not_wanted_goes_at_any_time(void **state)
{
    (void)state;
    long live = mem_fault_live();
    for (uint32_t lines = 0; lines < 200; lines += 20) {
        struct fixture fixture;
        begin(&fixture, 900);
        assert_int_equal(start(&fixture), OK);
        cq_initial_gather(&fixture.bucket, fixture.initial, lines);
        end(&fixture);
        assert_int_equal(mem_fault_live(), live);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_there_is_gathered_in_order_whatever_changes_meanwhile),
        cmocka_unit_test(memory_may_run_out_anywhere),
        cmocka_unit_test(one_that_is_not_wanted_goes_at_any_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
