/* Plans as a whole: keys, sharing, memory. */
#include "tests/unit/query/engine.h"

static struct engine engine;

static int setup(void **state)
{
    (void)state;
    engine_init(&engine);
    engine_run(&engine, ENGINE_READINGS);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    engine_fini(&engine);
    return 0;
}

static void keys_are_the_selected_group_columns(void **state)
{
    (void)state;
    uint32_t columns[LIMIT_COLUMNS];
    engine_run(&engine, "SELECT AVG(temperature) OVER (PARTITION BY id), id FROM SensorReadings");
    assert_int_equal(query_plan_key_columns(engine.plan, columns), 1);
    assert_int_equal(columns[0], 1);
    assert_true(query_plan_is_append_only(engine.plan));
    assert_true(query_plan_has_state(engine.plan));
    engine_run(&engine, "SELECT id, COUNT(*) FROM SensorReadings GROUP BY id, zone");
    assert_int_equal(query_plan_key_columns(engine.plan, columns), 0);
    assert_false(query_plan_is_append_only(engine.plan));
    engine_run(&engine, "SELECT zone, COUNT(*), id FROM SensorReadings GROUP BY id, zone");
    assert_int_equal(query_plan_key_columns(engine.plan, columns), 2);
    assert_int_equal(columns[0], 2);
    engine_run(&engine, "SELECT id FROM SensorReadings WHERE temperature > 1");
    assert_int_equal(query_plan_key_columns(engine.plan, columns), 0);
    assert_false(query_plan_has_state(engine.plan));
}

static void the_tables_numeric_mode_counts(void **state)
{
    (void)state;
    struct engine flink;
    engine_init(&flink);
    engine_run(&flink, "CREATE TABLE t (d DOUBLE) WITH "
                       "('connector'='geode-region','region'='my_region','numeric.mode'='flink')");
    engine_run(&flink, "SELECT SUM(d) OVER () FROM t");
    assert_int_equal(engine_feed(&flink, "{\"d\":0.1}"), OK);
    assert_int_equal(engine_feed(&flink, "{\"d\":0.2}"), OK);
    assert_int_equal(engine_feed(&flink, "{\"d\":0.3}"), OK);
    assert_string_equal(engine_take(&flink),
                        "+I 0.1\n+I 0.30000000000000004\n+I 0.6000000000000001\n");
    engine_fini(&flink);
}

static void failed_allocations_are_told_and_nothing_leaks(void **state)
{
    (void)state;
    static const char *const statements[] = {
        "SELECT id, AVG(temperature) OVER (PARTITION BY id) - temperature AS x FROM SensorReadings "
        "WHERE timestamp >= from_option AND id LIKE 'a%'",
        "SELECT zone || '!', COUNT(*), MAX(id) FROM SensorReadings WHERE id IN ('a', 'b') GROUP BY "
        "zone || '!' HAVING MIN(temperature) > 5",
        "SELECT temprature FROM SensorReadings",
    };
    for (size_t i = 0; i < 3; i++) {
        engine_try(&engine, "SHOW TABLES", QUERY_EXACT);
        arena_fini(&engine.arena);
        long live = mem_fault_live();
        bool done = false;
        for (unsigned long n = 1; !done; n++) {
            mem_fault_fail_at(n);
            enum error status = engine_try(&engine, statements[i], QUERY_EXACT);
            done = mem_fault_calls() < n;
            mem_fault_fail_at(0);
            assert_int_equal(status, !done ? ERROR_MEMORY : i == 2 ? ERROR_INVALID : OK);
            engine_try(&engine, "SHOW TABLES", QUERY_EXACT);
            arena_fini(&engine.arena);
            assert_int_equal(mem_fault_live(), live);
        }
    }
}

static void a_plan_is_shared_by_reference(void **state)
{
    (void)state;
    engine_run(&engine, "SELECT id FROM SensorReadings");
    struct query_plan *plan = query_plan_ref(engine.plan);
    engine_run(&engine, "SELECT zone FROM SensorReadings");
    assert_string_equal(query_plan_column_name(plan, 0), "id");
    query_plan_unref(plan);
    query_plan_unref(NULL);
}

static void check_type(uint32_t column, const char *name)
{
    struct buf text;
    buf_init(&text);
    query_type_name(query_plan_column_type(engine.plan, column), &text);
    buf_append_byte(&text, 0);
    assert_string_equal((const char *)text.data, name);
    buf_fini(&text);
}

static void columns_without_a_declared_type_are_variant(void **state)
{
    (void)state;
    static const char *const types[] = {"VARIANT", "VARIANT", "DOUBLE",
                                        "INT",     "VARIANT", "BOOLEAN"};
    engine_run(&engine, "SELECT key, v, v + 1, CAST(v AS INT), COALESCE(v, 'none'), v = 1 FROM "
                        "my_region");
    for (uint32_t i = 0; i < sizeof types / sizeof types[0]; i++)
        check_type(i, types[i]);
    assert_int_equal(engine_feed(&engine, "{\"v\":2}"), OK);
    assert_string_equal(engine_take(&engine), "+I k 2.0 3.0 2 2.0 FALSE\n");
    static const char *const results[] = {"VARIANT", "DOUBLE", "DOUBLE",
                                          "BIGINT",  "DOUBLE", "DOUBLE"};
    engine_run(&engine, "SELECT id, AVG(v), SUM(v), COUNT(v), MIN(v), MAX(v) FROM my_region GROUP "
                        "BY id");
    for (uint32_t i = 0; i < sizeof results / sizeof results[0]; i++)
        check_type(i, results[i]);
    engine_run(&engine, "SELECT * FROM my_region");
    check_type(0, "VARIANT");
    check_type(1, "VARIANT");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_the_selected_group_columns),
        cmocka_unit_test(the_tables_numeric_mode_counts),
        cmocka_unit_test(failed_allocations_are_told_and_nothing_leaks),
        cmocka_unit_test(a_plan_is_shared_by_reference),
        cmocka_unit_test(columns_without_a_declared_type_are_variant),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
