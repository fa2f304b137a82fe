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

static void columns_are_named_as_written(void **state)
{
    (void)state;
    static const char *const names[] = {
        "id",          "AVG(temperature)",       "AVG(temperature) #2", "a",
        "temperature", "AVG( temperature ) - 1", "AVG(temperature) #3", "id #2"};
    engine_run(&engine, "SELECT r.id, AVG(temperature) OVER w, AVG(temperature) OVER (PARTITION BY "
                        "id) , MAX(temperature) OVER w a, `temperature`, "
                        "AVG( temperature\n)  OVER w /* x */ - 1, AVG(temperature) OVER w, id FROM "
                        "SensorReadings AS r WINDOW w AS (PARTITION BY id)");
    assert_int_equal(query_plan_column_count(engine.plan), sizeof names / sizeof names[0]);
    for (uint32_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_string_equal(query_plan_column_name(engine.plan, i), names[i]);
    engine_run(&engine, "SELECT *, timestamp AS ts FROM SensorReadings");
    assert_int_equal(query_plan_column_count(engine.plan), 6);
    assert_string_equal(query_plan_column_name(engine.plan, 5), "ts");
    assert_int_equal(query_plan_column_type(engine.plan, 1).kind, QUERY_TYPE_BIGINT);
}

static void no_two_columns_have_one_name(void **state)
{
    (void)state;
    static const char *const names[] = {"x", "x #3", "x #2", "x #4", "x #2 #2"};
    engine_run(&engine, "SELECT id AS x, timestamp AS x, temperature AS `x #2`, ok AS x, zone AS "
                        "`x #2` FROM SensorReadings");
    for (uint32_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_string_equal(query_plan_column_name(engine.plan, i), names[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_are_named_as_written),
        cmocka_unit_test(no_two_columns_have_one_name),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
