/* Names: tables, columns, parameters. */
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
    {"SELECT temprature FROM SensorReadings", 8, "did you mean the column \"temperature\"?"},
    {"SELECT id FROM SensorReadings WHERE timestamp >= start_time", 50, "--param start_time=VALUE"},
    {"SELECT id FROM SensorReadings WHERE timestamp >= start_time", 50, "subscribe message"},
    {"SELECT id FROM SensorReadings WHERE timestamp >= :start_time", 50, "'param.start_time'"},
    {"SELECT x.id FROM SensorReadings r", 8, "\"x\" names neither"},
    {"SELECT r.idd FROM SensorReadings r", 8, "did you mean \"id\"?"},
    {"SELECT proc FROM SensorReadings", 8, "PROCTIME()"},
};

static void every_refusal_has_its_place_and_says_why(void **state)
{
    (void)state;
    CHECK_REFUSALS(&engine, refusals);
}

static void an_unknown_table_is_not_found(void **state)
{
    (void)state;
    assert_int_equal(engine_try(&engine, "SELECT id FROM SensorReading", QUERY_EXACT),
                     ERROR_NOT_FOUND);
    assert_contains(engine.error.message, "did you mean \"SensorReadings\"?");
    assert_int_equal(engine.error.column, 16);
    assert_int_equal(engine_try(&engine, "SELECT id FROM /SensorReadings", QUERY_EXACT),
                     ERROR_NOT_FOUND);
    assert_contains(engine.error.message, "no region named");
    engine_run(&engine, "SELECT id FROM `/my-region`");
    assert_string_equal(query_plan_region(engine.plan), "my-region");
}

static void parameters_come_from_the_list_then_from_the_table(void **state)
{
    (void)state;
    engine_run(&engine, "SELECT id FROM SensorReadings WHERE timestamp >= from_option");
    assert_int_equal(engine_feed(&engine, "{\"id\":\"a\",\"timestamp\":1999}"), OK);
    assert_int_equal(engine_feed(&engine, "{\"id\":\"b\",\"timestamp\":2000}"), OK);
    assert_string_equal(engine_take(&engine), "+I b\n");
    engine.parameters[0] = (struct query_parameter){slice_text("from_option"),
                                                    {.kind = QUERY_TYPE_DOUBLE, .float64 = 1998.5}};
    engine.parameters[1] =
        (struct query_parameter){slice_text("temperature"), {.kind = QUERY_TYPE_INT, .integer = 1}};
    engine.parameter_count = 2;
    engine_run(&engine,
               "SELECT id, temperature FROM SensorReadings WHERE timestamp >= :from_option");
    assert_int_equal(engine_feed(&engine, "{\"id\":\"a\",\"timestamp\":1999,\"temperature\":5}"),
                     OK);
    assert_string_equal(engine_take(&engine), "+I a 5.0\n"); /* a column goes before a parameter */
    engine_run(&engine, "SELECT id, temperature FROM my_region");
    assert_int_equal(engine_feed(&engine, "{\"id\":\"a\",\"temperature\":5}"), OK);
    assert_string_equal(engine_take(&engine),
                        "+I a 1\n"); /* without declared columns the given parameter does */
    engine.parameter_count = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_refusal_has_its_place_and_says_why),
        cmocka_unit_test(an_unknown_table_is_not_found),
        cmocka_unit_test(parameters_come_from_the_list_then_from_the_table),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
