/* The simulation's disk: compare-and-swap, delays, planned failures. */
#include "tests/unit/locator/fixture.h"

struct asked {
    uint32_t answers;
    enum error error;
    uint64_t epoch;
    char bytes[32];
};

static void on_stored(void *arg, const struct map_problem *problem)
{
    struct asked *asked = arg;
    asked->answers++;
    asked->error = problem == NULL ? OK : problem->error;
}

static void on_loaded(void *arg, const struct map_problem *problem, uint64_t epoch,
                      struct slice bytes)
{
    struct asked *asked = arg;
    on_stored(arg, problem);
    asked->epoch = epoch;
    snprintf(asked->bytes, sizeof(asked->bytes), "%.*s", SLICE_FMT(bytes));
}

static void test_two_handles_of_one_disk_swap_and_conflict(void **state)
{
    struct fixture *fixture = *state;
    struct map_memory memory;
    struct map_store *a, *b;
    struct asked asked = {0};
    map_memory_init(&memory);
    memory.delay_us = SEC;
    assert_int_equal(map_store_memory_new(fixture->client_loop, &memory, &a), OK);
    assert_int_equal(map_store_memory_new(fixture->client_loop, &memory, &b), OK);
    assert_int_equal(map_store_store(a, 0, 1, slice_text("one"), on_stored, &asked), OK);
    run(fixture, SEC / 2);
    assert_int_equal(asked.answers, 0);
    assert_int_equal(memory.epoch, 0);
    run(fixture, SEC);
    assert_int_equal(asked.error, OK);
    assert_int_equal(map_store_store(b, 0, 1, slice_text("other"), on_stored, &asked), OK);
    run(fixture, 2 * SEC);
    assert_int_equal(asked.error, ERROR_CONFLICT);
    assert_int_equal(map_store_load(b, on_loaded, &asked), OK);
    run(fixture, 2 * SEC);
    assert_int_equal(asked.epoch, 1);
    assert_string_equal(asked.bytes, "one");
    memory.fail_with = ERROR_IO;
    memory.fail_count = 1;
    assert_int_equal(map_store_store(b, 1, 2, slice_text("two"), on_stored, &asked), OK);
    run(fixture, 2 * SEC);
    assert_int_equal(asked.error, ERROR_IO);
    assert_int_equal(memory.epoch, 1);
    asked.answers = 0;
    assert_int_equal(map_store_store(b, 1, 2, slice_text("two"), on_stored, &asked), OK);
    map_store_free(b);
    map_store_free(a);
    run(fixture, 2 * SEC);
    assert_int_equal(asked.answers, 0);
    map_memory_fini(&memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_two_handles_of_one_disk_swap_and_conflict),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
