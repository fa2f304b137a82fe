/* Fingerprints and EXPLAIN. */
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

static void fingerprint_of(const char *sql, enum query_numeric_mode mode, uint8_t fingerprint[16])
{
    if (engine_try(&engine, sql, mode) != OK)
        fail_msg("%s: %s", sql, engine.error.message);
    query_plan_fingerprint(engine.plan, fingerprint);
}

static void fingerprints_are_of_the_meaning(void **state)
{
    (void)state;
    uint8_t one[16], other[16];
    const char *sql = "SELECT id, AVG(temperature) OVER (PARTITION BY id) FROM SensorReadings "
                      "WHERE timestamp >= 2000";
    fingerprint_of(sql, QUERY_EXACT, one);
    fingerprint_of("select  r.id AS x,\n avg( r.temperature ) over w as y from SensorReadings as r "
                   "where (r.`timestamp`)>=2000 "
                   "window w as (partition by r.id);",
                   QUERY_EXACT, other);
    assert_memory_equal(one, other, 16);
    static const char *const different[] = {
        "SELECT id, AVG(temperature) OVER (PARTITION BY id) FROM SensorReadings WHERE timestamp >= "
        "2001",
        "SELECT id, AVG(temperature) OVER (PARTITION BY id) FROM SensorReadings WHERE timestamp > "
        "2000",
        "SELECT id, SUM(temperature) OVER (PARTITION BY id) FROM SensorReadings WHERE timestamp >= "
        "2000",
        "SELECT AVG(temperature) OVER (PARTITION BY id), id FROM SensorReadings WHERE timestamp >= "
        "2000",
        "SELECT id, AVG(temperature) OVER (PARTITION BY zone) FROM SensorReadings WHERE timestamp "
        ">= 2000",
        "SELECT id, AVG(temperature) OVER (PARTITION BY id ROWS 5 PRECEDING) FROM SensorReadings "
        "WHERE timestamp >= 2000",
        "SELECT id, AVG(temperature) FROM SensorReadings WHERE timestamp >= 2000 GROUP BY id",
        "SELECT id, AVG(temperature) OVER (PARTITION BY id) FROM my_region WHERE timestamp >= 2000",
    };
    for (size_t i = 0; i < sizeof different / sizeof different[0]; i++) {
        fingerprint_of(different[i], QUERY_EXACT, other);
        assert_memory_not_equal(one, other, 16);
    }
    fingerprint_of(sql, QUERY_FLINK, other);
    assert_memory_not_equal(one, other, 16);
}

static const char *explain(const char *sql)
{
    static char text[4096];
    struct buf buf;
    buf_init(&buf);
    engine_run(&engine, sql);
    query_plan_explain(engine.plan, &buf);
    (void)snprintf(text, sizeof text, "%.*s", (int)buf.len, (const char *)buf.data);
    buf_fini(&buf);
    return text;
}

static void explain_shows_the_operators_and_the_rewrite(void **state)
{
    (void)state;
    const char *text = explain("SELECT id, AVG(temperature) OVER (PARTITION BY id) FROM "
                               "SensorReadings WHERE timestamp >= from_option");
    assert_contains(text, "Source(region /my_region, table SensorReadings; columns timestamp "
                          "BIGINT, id STRING, temperature DOUBLE)\n");
    assert_contains(text, "Filter((timestamp >= 2000))\n");
    assert_contains(text, "no ORDER BY: arrival order, extension");
    assert_contains(text, "Project(id, AVG(temperature))\nChangelog(+I: append only)\nNumeric "
                          "mode: exact\nFingerprint: ");
    text = explain("SELECT id, AVG(temperature) OVER (PARTITION BY id ORDER BY proc ROWS 5 "
                   "PRECEDING) FROM SensorReadings");
    assert_contains(text, "ROWS BETWEEN 5 PRECEDING AND CURRENT ROW; ORDER BY PROCTIME()");
    assert_null(strstr(text, "extension"));
    text = explain("SELECT id, COUNT(*) AS n FROM SensorReadings GROUP BY id HAVING COUNT(*) > 1");
    assert_contains(text, "GroupBy(id; COUNT(*))\nHaving((COUNT(*) > 1))\nProject(id, COUNT(*) AS "
                          "\"n\")\nChangelog(+I, -U, +U, -D)\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fingerprints_are_of_the_meaning),
        cmocka_unit_test(explain_shows_the_operators_and_the_rewrite),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
