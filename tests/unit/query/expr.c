/* Expressions, evaluated as the SELECT list of one row. */
#include "tests/unit/query/engine.h"

static struct engine engine;

static int setup(void **state)
{
    (void)state;
    engine_init(&engine);
    engine_run(&engine, "CREATE TABLE t (i INT, b BIGINT, tiny TINYINT, d DOUBLE, e DOUBLE, f "
                        "FLOAT, s STRING, u STRING, ok BOOLEAN, "
                        "no BOOLEAN, dec DECIMAL(5, 2), ts TIMESTAMP(3), bytes BYTES) "
                        "WITH ('connector'='geode-region','region'='my_region')");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    engine_fini(&engine);
    return 0;
}

static const char row[] = "{\"i\":7,\"b\":9223372036854775807,\"tiny\":127,\"d\":1.5,\"e\":-0.0,"
                          "\"f\":0.5,\"s\":\"abc\",\"ok\":true,"
                          "\"dec\":1.25,\"ts\":1700000000000,\"bytes\":\"AAH/\"}";

struct expectation {
    const char *sql, *result;
};

static void check(const struct expectation *expectations, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char sql[512], line[1200];
        (void)snprintf(sql, sizeof sql, "SELECT %s FROM t", expectations[i].sql);
        engine_run(&engine, sql);
        enum error status = engine_feed(&engine, row);
        const char *results = engine_take(&engine);
        if (status != OK) {
            (void)snprintf(line, sizeof line, "error: %s", engine.error.message);
            assert_string_equal(line, expectations[i].result);
            continue;
        }
        (void)snprintf(line, sizeof line, "+I %s\n", expectations[i].result);
        if (strcmp(results, line) != 0)
            fail_msg("%s: %s instead of %s", expectations[i].sql, results, line);
    }
}

#define CHECK(expectations) check(expectations, sizeof(expectations) / sizeof((expectations)[0]))

static void arithmetic_has_flinks_types_and_overflows(void **state)
{
    (void)state;
    static const struct expectation expectations[] = {
        {"i + 1", "8"},
        {"i / 2", "3"},
        {"-i / 2", "-3"},
        {"i % 4", "3"},
        {"-i", "-7"},
        {"+i", "7"},
        {"b + 1", "-9223372036854775808"},
        {"tiny + tiny", "-2"},
        {"i + d", "8.5"},
        {"d / 0", "Infinity"},
        {"i / 0", "error: division by zero"},
        {"dec + dec", "2.50"},
        {"dec * dec", "1.5625"},
        {"f + f", "1.0"},
        {"i + NULL", "NULL"},
        {"1 + 2 * 3", "7"},
        {"(1 + 2) * 3", "9"},
        {"10 - 3 - 2", "5"},
        {"2147483647 + 1", "-2147483648"},
        {"2147483648 + 1", "2147483649"},
        {"1.5 + 1", "2.5"},
        {"1e0 / 3", "0.3333333333333333"},
    };
    CHECK(expectations);
}

static void comparisons_know_null_and_three_truths(void **state)
{
    (void)state;
    static const struct expectation expectations[] = {
        {"i = 7", "TRUE"},
        {"i <> 7", "FALSE"},
        {"i != 8", "TRUE"},
        {"i < 7.5", "TRUE"},
        {"i >= b", "FALSE"},
        {"u = 'a'", "NULL"},
        {"e = 0", "TRUE"},
        {"NULL = NULL", "NULL"},
        {"s < 'abd'", "TRUE"},
        {"dec = 1.250", "TRUE"},
        {"NOT no", "NULL"},
        {"no AND FALSE", "FALSE"},
        {"no AND ok", "NULL"},
        {"no OR ok", "TRUE"},
        {"no OR FALSE", "NULL"},
        {"u IS NULL", "TRUE"},
        {"s IS NOT NULL", "TRUE"},
        {"no IS TRUE", "FALSE"},
        {"no IS NOT TRUE", "TRUE"},
        {"no IS FALSE", "FALSE"},
        {"no IS UNKNOWN", "TRUE"},
        {"u IS DISTINCT FROM NULL", "FALSE"},
        {"u IS NOT DISTINCT FROM s", "FALSE"},
        {"i IS DISTINCT FROM 7", "FALSE"},
        {"FALSE AND i / 0 = 1", "FALSE"},
        {"ok OR i / 0 = 1", "TRUE"},
        {"ts > TIMESTAMP '2020-01-01 00:00:00'", "TRUE"},
        {"bytes = X'0001ff'", "TRUE"},
        {"b = 9223372036854775807", "TRUE"},
        {"b > 9223372036854775806.5", "TRUE"},
    };
    CHECK(expectations);
}

static void between_in_and_like(void **state)
{
    (void)state;
    static const struct expectation expectations[] = {
        {"i BETWEEN 7 AND 8", "TRUE"},
        {"i NOT BETWEEN 7 AND 8", "FALSE"},
        {"i BETWEEN 8 AND NULL", "FALSE"},
        {"i BETWEEN 7 AND NULL", "NULL"},
        {"i NOT BETWEEN NULL AND 6", "TRUE"},
        {"u BETWEEN 'a' AND 'b'", "NULL"},
        {"i IN (1, 7)", "TRUE"},
        {"i IN (1, NULL)", "NULL"},
        {"i NOT IN (1, 2)", "TRUE"},
        {"i NOT IN (7, NULL)", "FALSE"},
        {"u IN ('a')", "NULL"},
        {"i IN (6.5, 7.0)", "TRUE"},
        {"s IN ('x', 'abc')", "TRUE"},
        {"s LIKE 'a%'", "TRUE"},
        {"s NOT LIKE '_b'", "TRUE"},
        {"u LIKE '%'", "NULL"},
        {"'a%' LIKE 'a!%' ESCAPE '!'", "TRUE"},
    };
    CHECK(expectations);
}

static void case_and_functions(void **state)
{
    (void)state;
    static const struct expectation expectations[] = {
        {"CASE WHEN i > 5 THEN 'big' ELSE 'small' END", "big"},
        {"CASE WHEN no THEN 1 END", "NULL"},
        {"CASE i WHEN 1 THEN 'one' WHEN 7 THEN 'seven' END", "seven"},
        {"CASE u WHEN NULL THEN 1 ELSE 2 END", "2"},
        {"CASE WHEN FALSE THEN 1 ELSE 2.5 END", "2.5"},
        {"CASE WHEN ok THEN 1 ELSE 1 / 0 END", "1"},
        {"COALESCE(u, s)", "abc"},
        {"COALESCE(NULL, NULL)", "NULL"},
        {"COALESCE(u, 'x', CAST(1 / 0 AS STRING))", "x"},
        {"NULLIF(i, 7)", "NULL"},
        {"NULLIF(i, 7.5)", "7"},
        {"ABS(-i)", "7"},
        {"ABS(e)", "0.0"},
        {"ABS(-1.5)", "1.5"},
        {"UPPER(s)", "ABC"},
        {"LOWER('AbC')", "abc"},
        {"CHAR_LENGTH('gr\xC3\xBC\xC3\x9F')", "4"},
        {"s || '-' || s", "abc-abc"},
        {"s || u", "NULL"},
        {"CAST(i AS DOUBLE)", "7.0"},
        {"CAST(d AS INT)", "1"},
        {"CAST(s AS DOUBLE)", "error: cannot cast STRING to DOUBLE: the text is not a number"},
        {"TRY_CAST(s AS DOUBLE)", "NULL"},
        {"CAST('12' AS INT) + 1", "13"},
        {"CAST(NULL AS INT)", "NULL"},
    };
    CHECK(expectations);
}

static void constants_are_computed_once(void **state)
{
    (void)state;
    struct buf text;
    buf_init(&text);
    engine_run(&engine, "SELECT i + (1 + 2 * 3), UPPER('a') FROM t WHERE d > 1");
    query_plan_explain(engine.plan, &text);
    buf_append_byte(&text, 0);
    assert_contains((const char *)text.data, "(i + 7)");
    assert_contains((const char *)text.data, "'A'");
    assert_contains((const char *)text.data, "(d > 1.0)");
    buf_fini(&text);
}

static void fields_without_types_show_their_kind_in_each_row(void **state)
{
    (void)state;
    engine_run(&engine, "SELECT x > 5, x + 1 FROM my_region");
    assert_int_equal(engine_feed(&engine, "{\"x\":6}"), OK);
    assert_int_equal(engine_feed(&engine, "{}"), OK);
    assert_string_equal(engine_take(&engine), "+I TRUE 7.0\n+I NULL NULL\n");
    assert_int_equal(engine_feed(&engine, "{\"x\":\"6\"}"), ERROR_INVALID);
    assert_string_equal(engine.error.message, "cannot compare STRING with INT");
    engine_run(
        &engine,
        "SELECT UPPER(x), CASE WHEN y THEN x ELSE 'none' END, COALESCE(x, 0) FROM my_region");
    assert_int_equal(engine_feed(&engine, "{\"x\":\"a\",\"y\":true}"), OK);
    assert_string_equal(engine_take(&engine), "+I A a a\n");
    assert_int_equal(engine_feed(&engine, "{\"x\":1}"), ERROR_INVALID);
    assert_int_equal(engine_feed(&engine, "{\"y\":1}"), ERROR_INVALID);
}

/* Each level of BETWEEN, CASE and NULLIF evaluates its operand once: nested a hundred times they
 * end at once. */
static void nesting_does_not_multiply_the_work(void **state)
{
    (void)state;
    static char sql[32768];
    size_t used = (size_t)snprintf(sql, sizeof sql, "SELECT ");
    for (uint32_t i = 0; i < 60; i++)
        used += (size_t)snprintf(sql + used, sizeof sql - used, "NULLIF(CASE ");
    used += (size_t)snprintf(sql + used, sizeof sql - used, "i");
    for (uint32_t i = 0; i < 60; i++)
        used +=
            (size_t)snprintf(sql + used, sizeof sql - used, " WHEN 1 THEN 2 WHEN 7 THEN 7 END, 8)");
    (void)snprintf(sql + used, sizeof sql - used, " FROM t");
    engine_run(&engine, sql);
    assert_int_equal(engine_feed(&engine, row), OK);
    assert_string_equal(engine_take(&engine), "+I 7\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arithmetic_has_flinks_types_and_overflows),
        cmocka_unit_test(comparisons_know_null_and_three_truths),
        cmocka_unit_test(between_in_and_like),
        cmocka_unit_test(case_and_functions),
        cmocka_unit_test(constants_are_computed_once),
        cmocka_unit_test(fields_without_types_show_their_kind_in_each_row),
        cmocka_unit_test(nesting_does_not_multiply_the_work),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
