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
    {"", 1, "SELECT"},
    {"SELCT a FROM t", 1, "did you mean SELECT?"},
    {"SELECT a FORM t", 15, "did you mean FROM instead of \"FORM\"?"},
    {"SELECT FROM t", 8, "found \"FROM\" where an expression"},
    {"SELECT a FROM t WHERE", 22, "the statement ends where an expression was expected"},
    {"SELECT a FROM t WHERE a >", 26, "the statement ends where an expression was expected"},
    {"SELECT a, FROM t", 11, "found \"FROM\""},
    {"SELECT a FROM t WHRE a > 1", 22, "did you mean WHERE instead of \"WHRE\"?"},
    {"SELECT AVG(a OVER (PARTITION BY id) FROM t", 14, "found \"OVER\" where"},
    {"SELECT a FROM t GROUP id", 23, "where BY was expected"},
    {"SELECT ((id FROM t", 13, "a \")\" is missing: found \"FROM\" where 2 \"(\" are still open"},
    {"SELECT id)) FROM t", 10, "this \")\" is one too many: no \"(\" is open before it"},
    {"SELECT (id)) FROM t", 12, "one too many"},
    {"SELECT a FROM t WHERE (a > 1", 29, "is missing: the statement ends where 1 \"(\" is still"},
    {"SELECT a FROM t WHERE a IN (1, 2;", 33, "is missing: found \";\" where 1 \"(\""},
    {"SELECT a FROM t GROPU BY a", 23, "did you mean GROUP instead of \"GROPU\"?"},
    {"SELECT a FROM t x GROPU BY a", 19, "did you mean GROUP?"},
    {"SELECT AVG(a) OVER (PARTITON BY b) FROM t", 21, "did you mean PARTITION?"},
    {"SELECT AVG(a) OVR (PARTITION BY b) FROM t", 19, "did you mean OVER instead of \"OVR\"?"},
    {"SELECT AVG(a) OVER (ROW 1 PRECEDING) FROM t", 21, "did you mean ROWS?"},
    {"SELECT a FROM t WHERE a > 1 ADN b > 2", 29, "did you mean AND?"},
    {"SELECT a FROM t WHERE a BETWEN 1 AND 2", 25, "did you mean BETWEEN?"},
    {"CREAT TABLE t (a INT) WITH ('connector'='x')", 1, "did you mean CREATE?"},
    {"SELECT a FROM t WHERE a BETWEEN 1", 34, "the statement ends where AND with the upper bound"},
    {"SELECT a FROM t WHERE (a BETWEEN 1) OR b", 35, "where AND with the upper bound of BETWEEN"},
    {"SELECT 'abc FROM t", 8, "does not end"},
    {"SELECT `abc FROM t", 8, "does not end"},
    {"SELECT a /* FROM t", 10, "comment"},
    {"SELECT 12abc FROM t", 8, "number runs into a word"},
    {"SELECT a FROM t WHERE a ? 1", 25, "begins nothing"},
    {"SELECT a FROM t WHERE a == 1", 26, "one ="},
    {"SELECT a FROM t; SELECT b FROM t", 18, "the end of the statement was expected"},
    {"SELECT a FROM t JOIN u ON a = b", 17, "joins are not supported yet"},
    {"SELECT a FROM t LEFT JOIN u ON a = b", 17, "joins are not supported yet"},
    {"SELECT a FROM t, u", 16, "joins are not supported yet"},
    {"SELECT a FROM (SELECT a FROM t)", 15, "subqueries in FROM are not supported yet"},
    {"SELECT a FROM t WHERE a IN (SELECT b FROM u)", 29, "subqueries are not supported yet"},
    {"SELECT a FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(x), INTERVAL '1' SECOND))", 15, "TUMBLE"},
    {"SELECT DISTINCT a FROM t", 8, "SELECT DISTINCT is not supported yet"},
    {"SELECT COUNT(DISTINCT a) FROM t", 14, "DISTINCT values are not supported yet"},
    {"SELECT a FROM t ORDER BY a", 17, "ORDER BY of the result is not supported yet"},
    {"SELECT a FROM t LIMIT 5", 17, "LIMIT is not supported yet"},
    {"SELECT a FROM t UNION ALL SELECT b FROM t", 17, "UNION is not supported yet"},
    {"SELECT AVG(a) FILTER (WHERE a > 1) FROM t", 15, "FILTER"},
    {"SELECT a FROM t WHERE a > INTERVAL '1' DAY", 27, "INTERVAL is not supported yet"},
    {"INSERT INTO t VALUES (1)", 1, "INSERT is not supported yet"},
    {"WITH x AS (SELECT 1 FROM t) SELECT * FROM x", 1, "WITH"},
    {"CREATE VIEW v AS SELECT a FROM t", 8, "CREATE VIEW is not supported yet"},
    {"CREATE TABLE t (window INT) WITH ('connector'='x')", 17, "only in back-ticks"},
    {"SHOW COLUMNS", 6, "where TABLES was expected"},
    {"CREATE TABLE t (a INT)", 23, "where WITH was expected"},
    {"CREATE TABLE t (a INT PRIMARY KEY NOT ENFORCED) WITH ('connector'='geode-region')", 23,
     "PRIMARY KEY is not supported yet"},
    {"CREATE TABLE t (a INT, PRIMARY KEY (a) NOT ENFORCED) WITH ('connector'='x')", 24,
     "PRIMARY KEY is not supported yet"},
    {"CREATE TABLE t (a TIMESTAMP(3), WATERMARK FOR a AS a) WITH ('connector'='x')", 33,
     "WATERMARK is not supported yet"},
    {"CREATE TABLE t (a INT METADATA) WITH ('connector'='geode-region')", 23,
     "METADATA columns are not supported yet"},
};

static void every_refusal_has_its_place_and_says_why(void **state)
{
    (void)state;
    CHECK_REFUSALS(&engine, refusals);
}

/* Names near a keyword are no reason to suggest one where the statement would still not go on. */
static void names_are_not_taken_for_keywords(void **state)
{
    (void)state;
    static const char *const texts[] = {"SELECT ((id FROM t", "SELECT id)) FROM t",
                                        "SELECT id FROM t WHERE (id", "SELECT id b c FROM t",
                                        "SELECT o FROM t WHERE fro > 1 fro"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_int_equal(engine_try(&engine, texts[i], QUERY_EXACT), ERROR_INVALID);
        if (strstr(engine.error.message, "did you mean") != NULL)
            fail_msg("%s: %s", texts[i], engine.error.message);
    }
}

static void failed_allocations_are_told_and_nothing_leaks(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i += 7) {
        long live = mem_fault_live();
        bool done = false;
        for (unsigned long n = 1; !done; n++) {
            struct arena arena;
            struct query_statement statement;
            struct query_error error;
            arena_init(&arena, 1u << 20);
            mem_fault_fail_at(n);
            enum error status =
                query_parse(slice_text(refusals[i].text), &arena, &statement, &error);
            done = mem_fault_calls() < n;
            mem_fault_fail_at(0);
            assert_int_equal(status, done ? ERROR_INVALID : ERROR_MEMORY);
            arena_fini(&arena);
            assert_int_equal(mem_fault_live(), live);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_refusal_has_its_place_and_says_why),
        cmocka_unit_test(names_are_not_taken_for_keywords),
        cmocka_unit_test(failed_allocations_are_told_and_nothing_leaks),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
