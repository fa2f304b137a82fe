#include "server/trash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>

#include "common/mem.h"
#include "server/server.h"
#include "tests/lib/fake_net.h"
#include "tests/lib/mem_fault.h"

/* What a query remembers, played. */
struct query_state {
    uint64_t groups;
};

uint64_t query_state_group_count(const struct query_state *state)
{
    return state->groups;
}

bool query_state_free_some(struct query_state *state, uint32_t groups)
{
    state->groups -= groups < state->groups ? groups : state->groups;
    return state->groups > 0;
}

void query_state_free(struct query_state *state)
{
    mem_free(state);
}

static struct query_state *state_of(uint64_t groups)
{
    struct query_state *state = mem_alloc(sizeof *state);
    assert_non_null(state);
    state->groups = groups;
    return state;
}

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

/* Each run of the loop's task looks how much the one before has freed. */
struct look {
    loop_fn *empty;
    const struct query_state *state;
    uint64_t left;
    unsigned runs;
};
static struct look look;

static void look_and_empty(void *worker)
{
    assert_true(look.left - look.state->groups <= 1000);
    look.left = look.state->groups;
    look.runs++;
    look.empty(worker);
}

static void test_a_large_state_is_freed_by_the_loop_in_slices(void **state)
{
    (void)state;
    long live = mem_fault_live();
    struct fixture fixture;
    begin(&fixture, 0);
    long before = mem_fault_live();
    struct query_state *large = state_of(5000);
    trash_state(&fixture.worker, NULL);
    trash_state(&fixture.worker, state_of(5)); /* goes at once */
    trash_state(NULL, state_of(5000));         /* likewise */
    assert_null(fixture.worker.trash);
    trash_state(&fixture.worker, large);
    assert_non_null(fixture.worker.trash);
    assert_int_equal(large->groups, 5000);
    look = (struct look){fixture.worker.trash_task.on_run, large, large->groups, 0};
    fixture.worker.trash_task.on_run = look_and_empty;
    fake_net_turn(fixture.net);
    assert_true(look.runs > 5);
    assert_null(fixture.worker.trash);
    assert_int_equal(mem_fault_live(), before);
    mem_fault_fail_at(2);
    trash_state(&fixture.worker, state_of(5000)); /* without memory for later: at once */
    mem_fault_fail_at(0);
    assert_int_equal(mem_fault_live(), before);
    trash_state(&fixture.worker, state_of(5000));
    end(&fixture);
    assert_int_equal(mem_fault_live(), live);
}

static void count_and_empty(void *worker)
{
    look.runs++;
    look.empty(worker);
}

static void test_a_ring_of_many_blocks_is_freed_by_the_loop_in_slices(void **state)
{
    (void)state;
    struct fixture fixture;
    begin(&fixture, 0);
    struct ring ring;
    ring_init(&ring, (struct ring_position){0, 0});
    for (uint64_t seq = 1; seq <= 10; seq++)
        assert_non_null(ring_append(&ring, (struct ring_position){seq, 0}, 0, 100000, 1));
    trash_ring(&fixture.worker, &ring);
    assert_null(ring.oldest);
    assert_int_equal(ring.bytes, 0);
    assert_non_null(fixture.worker.trash);
    look = (struct look){.empty = fixture.worker.trash_task.on_run};
    fixture.worker.trash_task.on_run = count_and_empty;
    fake_net_turn(fixture.net);
    assert_null(fixture.worker.trash);
    assert_int_equal(look.runs, 3); /* of four blocks */
    assert_non_null(ring_append(&ring, (struct ring_position){11, 0}, 0, 5, 1));
    trash_ring(&fixture.worker, &ring);
    assert_null(fixture.worker.trash); /* one block goes at once */
    end(&fixture);
}

static void test_a_bucket_without_workers_has_nobody_to_free_later(void **state)
{
    (void)state;
    struct worker workers[2] = {0};
    struct server server = {.workers = workers};
    struct region region = {.server = NULL};
    struct bucket bucket = {.region = &region, .id = 5};
    assert_null(trash_worker(&bucket));
    region.server = &server;
    assert_null(trash_worker(&bucket));
    server.worker_count = 2;
    assert_ptr_equal(trash_worker(&bucket), &workers[1]);
    server.workers_ended = true;
    assert_null(trash_worker(&bucket));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_large_table_is_empty_at_once_and_freed_by_the_loop),
        cmocka_unit_test(test_what_is_small_or_has_no_worker_goes_at_once),
        cmocka_unit_test(test_without_memory_it_goes_at_once),
        cmocka_unit_test(test_what_waits_is_freed_with_the_worker),
        cmocka_unit_test(test_a_large_state_is_freed_by_the_loop_in_slices),
        cmocka_unit_test(test_a_ring_of_many_blocks_is_freed_by_the_loop_in_slices),
        cmocka_unit_test(test_a_bucket_without_workers_has_nobody_to_free_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
