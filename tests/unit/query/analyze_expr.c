/* Types of expressions. */
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

static const struct refusal refusals[] = {
    {"SELECT id FROM SensorReadings WHERE id > 5", 42, "cannot compare STRING with INT"},
    {"SELECT id FROM SensorReadings WHERE temperature", 37, "WHERE takes a BOOLEAN, not a DOUBLE"},
    {"SELECT id + 1 FROM SensorReadings", 8, "+ is not defined for STRING and INT"},
    {"SELECT id + zone FROM SensorReadings", 8, "strings are joined with ||"},
    {"SELECT id || 5 FROM SensorReadings", 14, "|| takes a STRING, not an INT; CAST"},
    {"SELECT id FROM SensorReadings WHERE ok AND 1", 44, "AND takes a BOOLEAN"},
    {"SELECT CASE WHEN ok THEN 1 ELSE 'x' END FROM SensorReadings", 33, "the results of CASE mix"},
    {"SELECT CAST(ok AS TIMESTAMP(3)) FROM SensorReadings", 8, "cannot be cast"},
    {"SELECT id FROM SensorReadings WHERE id LIKE 'a%' ESCAPE 'xy'", 45, "one character"},
    {"SELECT * + 1 FROM SensorReadings", 10, "found \"+\""},
    {"SELECT AVG(temperature) FROM SensorReadings WHERE (*) = 1", 52, "found \"*\""},
};

static void every_refusal_has_its_place_and_says_why(void **state)
{
    (void)state;
    CHECK_REFUSALS(&engine, refusals);
}

static void columns_have_the_types_of_their_expressions(void **state)
{
    (void)state;
    static const char *const types[] = {"BIGINT", "DOUBLE",        "BOOLEAN",      "STRING",
                                        "INT",    "DECIMAL(2, 1)", "TIMESTAMP(3)", "DECIMAL(5, 2)"};
    engine_run(
        &engine,
        "SELECT timestamp + 1, timestamp * temperature, id LIKE 'a', COALESCE(zone, 'x'), "
        "CHAR_LENGTH(id), 1.5, "
        "TIMESTAMP '2026-01-31 08:00:00', CAST(temperature AS DECIMAL(5, 2)) FROM SensorReadings");
    for (uint32_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        struct buf name;
        buf_init(&name);
        query_type_name(query_plan_column_type(engine.plan, i), &name);
        assert_true(slice_equal(buf_slice(&name), slice_text(types[i])));
        buf_fini(&name);
    }
}

/* The planner's fold, not the comparison: other expressions with NaN are as ever. */
static void flink_mode_folds_a_column_compared_with_itself(void **state)
{
    (void)state;
    const char *sql =
        "SELECT d = d, r.d >= d, d <= d, d <> d, d < d, d > d, d IS DISTINCT FROM d, d "
        "IS NOT DISTINCT FROM d, d = d + 0, d = e FROM t r";
    engine_run(&engine, "CREATE TABLE t (d DOUBLE, e DOUBLE) WITH "
                        "('connector'='geode-region','region'='my_region')");
    assert_int_equal(engine_try(&engine, sql, QUERY_FLINK), OK);
    assert_int_equal(engine_feed(&engine, "{\"d\":\"NaN\",\"e\":\"NaN\"}"), OK);
    assert_string_equal(engine_take(&engine),
                        "+I TRUE TRUE TRUE FALSE FALSE FALSE FALSE TRUE FALSE FALSE\n");
    assert_int_equal(engine_feed(&engine, "{}"), OK);
    assert_string_equal(engine_take(&engine),
                        "+I NULL NULL NULL NULL NULL NULL FALSE TRUE NULL NULL\n");
    assert_int_equal(engine_try(&engine, sql, QUERY_EXACT), OK);
    assert_int_equal(engine_feed(&engine, "{\"d\":\"NaN\",\"e\":\"NaN\"}"), OK);
    assert_string_equal(engine_take(&engine),
                        "+I FALSE FALSE FALSE TRUE FALSE FALSE TRUE FALSE FALSE FALSE\n");
    assert_int_equal(engine_try(&engine, "SELECT d FROM t GROUP BY d HAVING d = d", QUERY_FLINK),
                     OK);
    assert_int_equal(engine_feed(&engine, "{\"d\":\"NaN\"}"), OK);
    assert_string_equal(engine_take(&engine), "+I NaN\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_refusal_has_its_place_and_says_why),
        cmocka_unit_test(columns_have_the_types_of_their_expressions),
        cmocka_unit_test(flink_mode_folds_a_column_compared_with_itself),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
