/* The file store as a locator uses it: a thread of its own, answers on the loop. Under the real
 * loop. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <cmocka.h>

#include "locator/map_file.h"
#include "tests/lib/mem_fault.h"

struct fixture {
    char directory[64];
    struct loop *loop;
    struct map_store *store;
    uint32_t answers;
    bool inside; /* of the call that asks */
    enum error error;
    uint64_t epoch;
    char bytes[64];
    struct map_file_ops ops;
    int fail_sync_with;
};

static void stop_loop(void *arg)
{
    loop_event_stop(arg);
}

static void on_loaded(void *arg, const struct map_problem *problem, uint64_t epoch,
                      struct slice bytes)
{
    struct fixture *fixture = arg;
    assert_false(fixture->inside);
    assert_true(loop_is_current(fixture->loop));
    fixture->answers++;
    fixture->error = problem == NULL ? OK : problem->error;
    fixture->epoch = epoch;
    snprintf(fixture->bytes, sizeof(fixture->bytes), "%.*s", SLICE_FMT(bytes));
    loop_event_stop(fixture->loop);
}

static void on_stored(void *arg, const struct map_problem *problem)
{
    struct fixture *fixture = arg;
    assert_false(fixture->inside);
    assert_true(loop_is_current(fixture->loop));
    fixture->answers++;
    fixture->error = problem == NULL ? OK : problem->error;
    loop_event_stop(fixture->loop);
}

static int failing_sync(void *arg, int fd)
{
    struct fixture *fixture = arg;
    if (fixture->fail_sync_with == 0)
        return map_file_system.sync(NULL, fd);
    errno = fixture->fail_sync_with;
    return -1;
}

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    struct map_problem problem;
    mem_fault_fail_at(0);
    snprintf(fixture->directory, sizeof(fixture->directory), "/tmp/vug-map-store-XXXXXX");
    assert_non_null(mkdtemp(fixture->directory));
    assert_int_equal(loop_event_new(&fixture->loop), OK);
    fixture->ops = map_file_system;
    fixture->ops.sync = failing_sync;
    assert_int_equal(map_store_file_new_with(fixture->loop, fixture->directory, &fixture->ops,
                                             fixture, &fixture->store, &problem),
                     OK);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    static const char *const names[] = {"cluster-map", "cluster-map.new", "lock"};
    map_store_free(fixture->store);
    struct loop_task last = {.on_run = stop_loop, .arg = fixture->loop};
    loop_post(fixture->loop, &last);
    loop_event_run(fixture->loop);
    loop_event_free(fixture->loop);
    for (size_t i = 0; i < 3; i++) {
        char path[128];
        snprintf(path, sizeof(path), "%s/%s", fixture->directory, names[i]);
        unlink(path);
    }
    rmdir(fixture->directory);
    free(fixture);
    return mem_fault_live() == 0 ? 0 : -1;
}

static void load(struct fixture *fixture)
{
    fixture->inside = true;
    assert_int_equal(map_store_load(fixture->store, on_loaded, fixture), OK);
    fixture->inside = false;
    loop_event_run(fixture->loop);
}

static void store(struct fixture *fixture, uint64_t expected, const char *bytes)
{
    fixture->inside = true;
    assert_int_equal(map_store_store(fixture->store, expected, expected + 1, slice_text(bytes),
                                     on_stored, fixture),
                     OK);
    fixture->inside = false;
    loop_event_run(fixture->loop);
}

static void test_what_was_stored_is_loaded(void **state)
{
    struct fixture *fixture = *state;
    load(fixture);
    assert_int_equal(fixture->error, OK);
    assert_int_equal(fixture->epoch, 0);
    store(fixture, 0, "one");
    assert_int_equal(fixture->error, OK);
    store(fixture, 1, "two");
    load(fixture);
    assert_int_equal(fixture->epoch, 2);
    assert_string_equal(fixture->bytes, "two");
    assert_int_equal(fixture->answers, 4);
}

static void test_conflict_and_full_disk_are_told_and_change_nothing(void **state)
{
    struct fixture *fixture = *state;
    store(fixture, 0, "one");
    store(fixture, 5, "six");
    assert_int_equal(fixture->error, ERROR_CONFLICT);
    fixture->fail_sync_with = ENOSPC;
    store(fixture, 1, "two");
    assert_int_equal(fixture->error, ERROR_IO);
    fixture->fail_sync_with = 0;
    load(fixture);
    assert_int_equal(fixture->epoch, 1);
    assert_string_equal(fixture->bytes, "one");
    store(fixture, 1, "two");
    assert_int_equal(fixture->error, OK);
}

static void test_free_waits_for_the_store_and_answers_no_more(void **state)
{
    struct fixture *fixture = *state;
    struct map_problem problem;
    fixture->inside = true; /* any answer fails the test */
    assert_int_equal(map_store_store(fixture->store, 0, 1, slice_text("one"), on_stored, fixture),
                     OK);
    map_store_free(fixture->store);
    assert_int_equal(
        map_store_file_new(fixture->loop, fixture->directory, &fixture->store, &problem), OK);
    fixture->inside = false;
    load(fixture);
    assert_int_equal(fixture->epoch, 1);
    assert_int_equal(fixture->answers, 1);
}

static void test_second_store_of_a_directory_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct map_store *other;
    struct map_problem problem;
    assert_int_equal(map_store_file_new(fixture->loop, fixture->directory, &other, &problem),
                     ERROR_LOCKED);
    assert_non_null(strstr(problem.text, fixture->directory));
}

static void test_store_without_memory_asks_nothing(void **state)
{
    struct fixture *fixture = *state;
    mem_fault_fail_at(1);
    assert_int_equal(map_store_store(fixture->store, 0, 1, slice_text("one"), on_stored, fixture),
                     ERROR_MEMORY);
    mem_fault_fail_at(0);
    store(fixture, 0, "one");
    assert_int_equal(fixture->error, OK);
    assert_int_equal(fixture->answers, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_was_stored_is_loaded),
        TEST(test_conflict_and_full_disk_are_told_and_change_nothing),
        TEST(test_free_waits_for_the_store_and_answers_no_more),
        TEST(test_second_store_of_a_directory_is_refused),
        TEST(test_store_without_memory_asks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
