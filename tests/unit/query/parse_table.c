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

static const struct refusal refusals[] = {
    {"CREATE TABLE t (a AS b + 1) WITH ('connector'='geode-region')", 22,
     "computed columns are not supported yet"},
    {"CREATE TABLE t (a STRNG) WITH ('connector'='geode-region')", 19, "did you mean STRING?"},
    {"CREATE TABLE t (a DATE) WITH ('connector'='geode-region')", 19, "not supported yet"},
    {"CREATE TABLE t (a TIMESTAMP(6)) WITH ('connector'='geode-region')", 29, "milliseconds"},
    {"CREATE TABLE t (a DECIMAL(39, 2)) WITH ('connector'='geode-region')", 27, "from 1 to 38"},
    {"CREATE TABLE t (a DECIMAL(5, 6)) WITH ('connector'='geode-region')", 30, "from 0 to 5"},
    {"CREATE TABLE t (a INT, a INT) WITH ('connector'='geode-region')", 24, "twice"},
    {"CREATE TABLE t (a INT) WITH ('connector'='kafka','region'='r')", 42, "geode-region"},
    {"CREATE TABLE t (a INT) WITH ('connector'='geode-region')", 14, "'region' is missing"},
    {"CREATE TABLE t (a INT) WITH ('region'='r')", 14, "'connector' is missing"},
    {"CREATE TABLE t (a INT) WITH ('connector'='geode-region','regoin'='r')", 57,
     "did you mean 'region'?"},
    {"CREATE TABLE t (a INT) WITH ('connector'='geode-region','region'='r','region'='s')", 70,
     "twice"},
    {"CREATE TABLE t (a INT) WITH ('connector'='geode-region','region'='r','numeric.mode'='fast')",
     85, "exact,flink"},
};

static void every_refusal_has_its_place_and_says_why(void **state)
{
    (void)state;
    CHECK_REFUSALS(&engine, refusals);
}

static struct query_statement declare(const char *text)
{
    struct query_statement statement;
    if (query_parse(slice_text(text), &engine.arena, &statement, &engine.error) != OK)
        fail_msg("%s: %s", text, engine.error.message);
    return statement;
}

static void types_have_their_arguments(void **state)
{
    (void)state;
    struct query_statement statement =
        declare("CREATE TABLE t (a VARCHAR(20), b CHAR(3), c DECIMAL, d NUMERIC(5), e DECIMAL(38, "
                "10), f DOUBLE PRECISION, "
                "g VARBINARY(10), h TIMESTAMP, i INTEGER, j BYTES) WITH "
                "('connector'='geode-region','region'='r')");
    const struct query_column *columns = statement.table.columns;
    assert_int_equal(columns[0].type.kind, QUERY_TYPE_STRING);
    assert_int_equal(columns[2].type.precision, 10);
    assert_int_equal(columns[3].type.precision, 5);
    assert_int_equal(columns[4].type.scale, 10);
    assert_int_equal(columns[5].type.kind, QUERY_TYPE_DOUBLE);
    assert_int_equal(columns[6].type.kind, QUERY_TYPE_BYTES);
    assert_int_equal(columns[7].type.precision, 3);
    assert_int_equal(columns[8].type.kind, QUERY_TYPE_INT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_refusal_has_its_place_and_says_why),
        cmocka_unit_test(types_have_their_arguments),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
