#include "server/trash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>

#include "server/server.h"
#include "tests/lib/fake_net.h"
#include "tests/lib/mem_fault.h"

static void fill(struct table *table, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        char text[16];
        int len = snprintf(text, sizeof text, "%u", i);
        struct slice key = slice_of(text, (size_t)len);
        struct entry *old;
        struct entry *entry = entry_new(key, key, table_hash(key, 1), i + 1);
        assert_non_null(entry);
        assert_int_equal(table_put(table, entry, &old), OK);
        assert_null(old);
    }
}

struct fixture {
    struct fake_net *net;
    struct worker worker;
    struct table table;
};

static void begin(struct fixture *fixture, uint32_t count)
{
    memset(fixture, 0, sizeof *fixture);
    fixture->net = fake_net_new();
    fixture->worker.loop = fake_net_loop(fixture->net);
    pthread_mutex_init(&fixture->worker.mail_lock, NULL);
    assert_int_equal(table_init(&fixture->table), OK);
    fill(&fixture->table, count);
}

static void end(struct fixture *fixture)
{
    trash_free(&fixture->worker);
    assert_null(fixture->worker.trash);
    table_fini(&fixture->table);
    pthread_mutex_destroy(&fixture->worker.mail_lock);
    fake_net_free(fixture->net);
}

static void test_a_large_table_is_empty_at_once_and_freed_by_the_loop(void **state)
{
    (void)state;
    long live = mem_fault_live();
    struct fixture fixture;
    begin(&fixture, 5000);
    trash_table(&fixture.worker, &fixture.table);
    assert_int_equal(fixture.table.entry_count, 0);
    assert_int_equal(fixture.table.bytes, 0);
    assert_true(mem_fault_live() - live > 5000);
    assert_true(fixture.worker.trash_task.queued);
    fill(&fixture.table, 10); /* of use again while the old ones go */
    fake_net_turn(fixture.net);
    assert_null(fixture.worker.trash);
    assert_int_equal(fixture.table.entry_count, 10);
    assert_true(mem_fault_live() - live < 100);
    end(&fixture);
    assert_int_equal(mem_fault_live(), live);
}

static void test_what_is_small_or_has_no_worker_goes_at_once(void **state)
{
    (void)state;
    struct fixture fixture;
    begin(&fixture, 100);
    trash_table(&fixture.worker, &fixture.table);
    assert_int_equal(fixture.table.entry_count, 0);
    assert_null(fixture.worker.trash);
    fill(&fixture.table, 5000);
    long full = mem_fault_live();
    trash_table(NULL, &fixture.table);
    assert_int_equal(fixture.table.entry_count, 0);
    assert_true(full - mem_fault_live() >= 5000);
    end(&fixture);
}

static void test_without_memory_it_goes_at_once(void **state)
{
    (void)state;
    for (unsigned long nth = 1; nth <= 2; nth++) {
        struct fixture fixture;
        begin(&fixture, 5000);
        mem_fault_fail_at(nth);
        trash_table(&fixture.worker, &fixture.table);
        mem_fault_fail_at(0);
        assert_int_equal(fixture.table.entry_count, 0);
        assert_null(fixture.worker.trash);
        end(&fixture);
    }
}

static void test_what_waits_is_freed_with_the_worker(void **state)
{
    (void)state;
    long live = mem_fault_live();
    struct fixture fixture;
    begin(&fixture, 2000);
    trash_table(&fixture.worker, &fixture.table);
    fill(&fixture.table, 3000);
    trash_table(&fixture.worker, &fixture.table);
    assert_non_null(fixture.worker.trash);
    end(&fixture);
    assert_int_equal(mem_fault_live(), live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_large_table_is_empty_at_once_and_freed_by_the_loop),
        cmocka_unit_test(test_what_is_small_or_has_no_worker_goes_at_once),
        cmocka_unit_test(test_without_memory_it_goes_at_once),
        cmocka_unit_test(test_what_waits_is_freed_with_the_worker),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
