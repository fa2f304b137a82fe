/* Windows, GROUP BY, and what may stand beside aggregates. */
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

#define OVER(window) "SELECT AVG(temperature) OVER (" window ") FROM SensorReadings"

static const struct refusal refusals[] = {
    {"SELECT id FROM SensorReadings GROUP BY 1", 40, "not positions"},
    {"SELECT id, zone FROM SensorReadings GROUP BY id", 12, "neither in GROUP BY"},
    {"SELECT id, AVG(temperature) FROM SensorReadings", 8, "without GROUP BY"},
    {"SELECT id, AVG(temperature) OVER (PARTITION BY id) FROM SensorReadings GROUP BY id", 29,
     "OVER together with GROUP BY"},
    {"SELECT AVG(temperature) OVER (PARTITION BY id) FROM SensorReadings HAVING ok", 68,
     "needs GROUP BY"},
    {"SELECT id FROM SensorReadings GROUP BY id HAVING AVG(temperature) OVER (PARTITION BY id) > 1",
     67, "OVER"},
    {OVER("ORDER BY proc DESC"), 45, "The window can only be ordered in ASCENDING mode"},
    {OVER("ORDER BY timestamp"), 40, "The window can only be ordered by a single time column"},
    {OVER("ORDER BY proc, id"), 46, "The window can only be ordered by a single time column"},
    {OVER("ROWS BETWEEN CURRENT ROW AND 1 FOLLOWING"), 60,
     "OVER RANGE FOLLOWING windows are not supported yet"},
    {OVER("ROWS 1.5 PRECEDING"), 36, "ROWS value must be a non-negative integral constant"},
    {OVER("ROWS -1 PRECEDING"), 36, "ROWS value must be a non-negative integral constant"},
    {OVER("ROWS 10001 PRECEDING"), 36, "at most 10000"},
    {OVER("RANGE 5 PRECEDING"), 31, "RANGE is supported with UNBOUNDED PRECEDING alone"},
    {"SELECT AVG(temperature) OVER w FROM SensorReadings WINDOW v AS (PARTITION BY id)", 25,
     "no window \"w\""},
    {"SELECT AVG(temperature) OVER (ROWS 1 PRECEDING), SUM(temperature) OVER (ROWS 2 PRECEDING) "
     "FROM SensorReadings",
     67, "All aggregates must be computed on the same window"},
    {"SELECT AVG(temperature) OVER (PARTITION BY id), SUM(temperature) OVER (PARTITION BY zone) "
     "FROM SensorReadings",
     66, "All aggregates must be computed on the same window"},
};

static void every_refusal_has_its_place_and_says_why(void **state)
{
    (void)state;
    CHECK_REFUSALS(&engine, refusals);
}

static void windows_that_mean_the_same_are_one(void **state)
{
    (void)state;
    engine_run(
        &engine,
        "SELECT AVG(temperature) OVER (PARTITION BY id, zone), SUM(temperature) OVER w, COUNT(*) "
        "OVER (PARTITION BY zone, r.id "
        "ORDER BY proc RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) FROM SensorReadings r "
        "WINDOW w AS (PARTITION BY id, zone ROWS UNBOUNDED PRECEDING)");
    assert_true(query_plan_has_state(engine.plan));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_refusal_has_its_place_and_says_why),
        cmocka_unit_test(windows_that_mean_the_same_are_one),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
