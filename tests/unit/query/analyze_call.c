/* Calls: functions and aggregates, and where they may stand. */
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
    {"SELECT UPPER(temperature) FROM SensorReadings", 14, "UPPER takes a STRING"},
    {"SELECT AVGG(temperature) FROM SensorReadings", 8, "did you mean AVG?"},
    {"SELECT ROW_NUMBER() OVER (PARTITION BY id) FROM SensorReadings", 8, "not supported yet"},
    {"SELECT SUM(id) FROM SensorReadings", 8, "SUM is not defined for STRING"},
    {"SELECT SUM(*) FROM SensorReadings", 12, "only COUNT takes *"},
    {"SELECT AVG(temperature, 1) FROM SensorReadings", 8, "one argument, not 2"},
    {"SELECT UPPER(id, id) FROM SensorReadings", 8, "UPPER(text)"},
    {"SELECT AVG(SUM(temperature)) FROM SensorReadings", 12, "aggregate of an aggregate"},
    {"SELECT id FROM SensorReadings WHERE AVG(temperature) > 1", 37, "belongs into HAVING"},
    {"SELECT id FROM SensorReadings GROUP BY AVG(temperature)", 40, "cannot stand in GROUP BY"},
    {"SELECT AVG(temperature) OVER (PARTITION BY id), SUM(temperature) FROM SensorReadings", 49,
     "without OVER"},
    {"SELECT UPPER(id) OVER (PARTITION BY id) FROM SensorReadings", 18, "takes no OVER"},
};

static void every_refusal_has_its_place_and_says_why(void **state)
{
    (void)state;
    CHECK_REFUSALS(&engine, refusals);
}

static void equal_aggregates_share_one_accumulator(void **state)
{
    (void)state;
    struct buf text;
    buf_init(&text);
    engine_run(&engine, "SELECT avg(temperature), AVG(SensorReadings.temperature) + 1, COUNT(*), "
                        "COUNT(id), COUNT(*) FROM SensorReadings");
    query_plan_explain(engine.plan, &text);
    buf_append_byte(&text, 0);
    assert_contains((const char *)text.data,
                    "GroupBy(one group of all rows; AVG(temperature), COUNT(*), COUNT(id))\n");
    buf_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_refusal_has_its_place_and_says_why),
        cmocka_unit_test(equal_aggregates_share_one_accumulator),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
