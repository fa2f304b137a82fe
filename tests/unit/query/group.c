/* Groups and partitions. */
#include "tests/unit/query/engine.h"

static struct engine engine;

static const char ddl[] = "CREATE TABLE t (id STRING, n INT, d DOUBLE, s STRING) WITH "
                          "('connector'='geode-region','region'='my_region')";

static int setup(void **state)
{
    (void)state;
    engine_init(&engine);
    engine_run(&engine, ddl);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    engine_fini(&engine);
    return 0;
}

static const char *each(void)
{
    arena_reset(&engine.row);
    assert_int_equal(query_state_each(engine.state, &engine.row, engine_result, &engine.results),
                     OK);
    return engine_take(&engine);
}

static void many_groups_are_found_again(void **state)
{
    (void)state;
    engine_run(&engine, "SELECT id, COUNT(*) FROM t GROUP BY id");
    for (uint32_t round = 1; round <= 2; round++)
        for (uint32_t i = 0; i < 5000; i++) {
            char document[64];
            (void)snprintf(document, sizeof document, "{\"id\":\"%u\"}", i);
            assert_int_equal(engine_feed(&engine, document), OK);
        }
    assert_int_equal(query_state_group_count(engine.state), 5000);
    (void)engine_take(&engine);
    const char *results = each();
    assert_memory_equal(results, "+I 0 2\n+I 1 2\n+I 2 2\n", 21);
    assert_true(query_state_bytes(engine.state) > 5000 * 64);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_groups_are_found_again),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
