#include "tests/unit/query/engine.h"

static struct engine engine;

static int setup(void **state)
{
    (void)state;
    engine_init(&engine);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    engine_fini(&engine);
    return 0;
}

static void declare(const char *columns)
{
    char ddl[512];
    (void)snprintf(ddl, sizeof ddl,
                   "CREATE TABLE t (%s) WITH ('connector'='geode-region','region'='my_region')",
                   columns);
    engine_run(&engine, ddl);
    engine_run(&engine, "SELECT * FROM t");
}

static void fits(const char *document, const char *result)
{
    if (engine_feed(&engine, document) != OK)
        fail_msg("%s: %s", document, engine.error.message);
    assert_string_equal(engine_take(&engine), result);
}

static void refused(const char *document, const char *part)
{
    assert_int_equal(engine_feed(&engine, document), ERROR_INVALID);
    assert_contains(engine.error.message, part);
    assert_int_equal(engine.error.line, 0);
}

static void missing_and_null_fields_are_null(void **state)
{
    (void)state;
    declare("id STRING, t DOUBLE");
    fits("{}", "+I NULL NULL\n");
    fits("{\"id\":null,\"t\":null,\"other\":{\"t\":5}}", "+I NULL NULL\n");
    fits("{\"t\":1,\"x\":[1,{\"id\":\"no\"}],\"id\":\"a\",\"t\":2}", "+I a 2.0\n");
}

static void any_scalar_fits_a_string(void **state)
{
    (void)state;
    declare("s STRING");
    fits("{\"s\":\"a\\u00e9\\n\\\"\"}", "+I a\xC3\xA9\n\"\n");
    fits("{\"s\":1.50}", "+I 1.50\n");
    fits("{\"s\":true}", "+I true\n");
    fits("{\"\\u0073\":\"escaped name\"}", "+I escaped name\n");
    refused("{\"s\":{}}", "column \"s\" is STRING, and the value {} does not fit");
    refused("{\"s\":[1]}", "does not fit");
}

static void numbers_fit_their_columns_or_are_refused(void **state)
{
    (void)state;
    declare("tiny TINYINT, i INT, b BIGINT, d DOUBLE, f FLOAT, p DECIMAL(5, 2)");
    fits("{\"tiny\":-128,\"i\":2147483647,\"b\":-9223372036854775808,\"d\":5,\"f\":1e10,\"p\":1."
         "005}",
         "+I -128 2147483647 -9223372036854775808 5.0 1.0E10 1.01\n");
    fits("{\"i\":5.0,\"b\":1e3,\"d\":123456789012345678,\"f\":0.1}",
         "+I NULL 5 1000 1.2345678901234568E17 0.1 NULL\n");
    fits("{\"d\":2.2250738585072011e-308}", "+I NULL NULL NULL 2.225073858507201E-308 NULL NULL\n");
    fits("{\"d\":\"NaN\",\"f\":\"-Infinity\"}", "+I NULL NULL NULL NaN -Infinity NULL\n");
    refused("{\"tiny\":128}", "column \"tiny\" is TINYINT, and the value 128 does not fit");
    refused("{\"i\":5.5}", "the value 5.5");
    refused("{\"i\":\"5\"}", "the value \"5\"");
    refused("{\"b\":9223372036854775808}", "BIGINT");
    refused("{\"d\":true}", "the value true");
    refused("{\"i\":1e400}", "INT");
    refused("{\"p\":1000}", "DECIMAL(5, 2)");
}

static void numbers_beyond_the_range_are_infinite(void **state)
{
    (void)state;
    declare("d DOUBLE, f FLOAT, s STRING");
    fits("{\"d\":1e400,\"f\":1e39,\"s\":1e400}", "+I Infinity Infinity 1e400\n");
    fits("{\"d\":-1e400,\"f\":-1e400}", "+I -Infinity -Infinity NULL\n");
    fits("{\"d\":1e39,\"f\":1e-400}", "+I 1.0E39 0.0 NULL\n");
    engine_run(&engine, "SELECT d FROM my_region");
    fits("{\"d\":1e400}", "+I Infinity\n");
}

static void other_types(void **state)
{
    (void)state;
    declare("ok BOOLEAN, bytes BYTES, ts TIMESTAMP(3)");
    fits("{\"ok\":false,\"bytes\":\"AAH/\",\"ts\":1700000000123}",
         "+I FALSE 0001ff 2023-11-14 22:13:20.123\n");
    fits("{\"bytes\":\"AA==\",\"ts\":\"2023-11-14 22:13:20\"}",
         "+I NULL 00 2023-11-14 22:13:20.000\n");
    refused("{\"ok\":1}", "BOOLEAN");
    refused("{\"bytes\":\"A\"}", "BYTES");
    refused("{\"bytes\":\"A?==\"}", "BYTES");
    refused("{\"ts\":\"yesterday\"}", "TIMESTAMP(3)");
    refused("{\"ts\":1.5}", "TIMESTAMP(3)");
}

static void not_null_columns_refuse_null(void **state)
{
    (void)state;
    declare("id STRING NOT NULL, t DOUBLE");
    refused("{\"t\":1}", "\"id\" is NOT NULL");
    refused("{\"id\":null}", "\"id\" is NOT NULL");
    engine_run(&engine, "SELECT t FROM t");
    fits("{\"t\":1}", "+I 1.0\n"); /* what a query does not read is not looked at */
}

static enum error feed_scalar(struct value value)
{
    struct value key = {.type = VALUE_LONG, .integer = 42};
    return engine_feed_value(&engine, &key, &value);
}

static void a_scalar_shows_as_the_column_value(void **state)
{
    (void)state;
    declare("key BIGINT, value DOUBLE, other STRING");
    assert_int_equal(feed_scalar((struct value){.type = VALUE_INT, .integer = 5}), OK);
    assert_int_equal(feed_scalar((struct value){.type = VALUE_DOUBLE, .float64 = 2.5}), OK);
    assert_string_equal(engine_take(&engine), "+I 42 5.0 NULL\n+I 42 2.5 NULL\n");
    assert_int_equal(feed_scalar((struct value){.type = VALUE_STRING, .bytes = slice_text("x")}),
                     ERROR_INVALID);
    declare("id STRING");
    assert_int_equal(feed_scalar((struct value){.type = VALUE_INT, .integer = 5}), ERROR_INVALID);
    assert_contains(engine.error.message, "not a JSON document");
}

static void a_region_without_columns_shows_fields_key_and_value(void **state)
{
    (void)state;
    engine_run(&engine, "SELECT key, value, a, b FROM my_region");
    fits("{\"a\":1,\"b\":{\"c\":[1, 2]}}",
         "+I k {\"a\":1,\"b\":{\"c\":[1, 2]}} 1.0 {\"c\":[1, 2]}\n");
    fits("{\"a\":true,\"b\":\"x\",\"value\":7}", "+I k 7.0 TRUE x\n");
    engine_run(&engine, "SELECT key, value FROM my_region");
    assert_int_equal(
        feed_scalar((struct value){.type = VALUE_STRING, .bytes = slice_text("plain")}), OK);
    assert_string_equal(engine_take(&engine), "+I 42 plain\n");
    engine_run(&engine, "SELECT a FROM my_region");
    assert_int_equal(feed_scalar((struct value){.type = VALUE_INT, .integer = 5}), ERROR_INVALID);
    engine_run(&engine, "SELECT * FROM my_region");
    fits("{\"value\":1}", "+I k {\"value\":1}\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(missing_and_null_fields_are_null),
        cmocka_unit_test(any_scalar_fits_a_string),
        cmocka_unit_test(numbers_fit_their_columns_or_are_refused),
        cmocka_unit_test(numbers_beyond_the_range_are_infinite),
        cmocka_unit_test(other_types),
        cmocka_unit_test(not_null_columns_refuse_null),
        cmocka_unit_test(a_scalar_shows_as_the_column_value),
        cmocka_unit_test(a_region_without_columns_shows_fields_key_and_value),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
