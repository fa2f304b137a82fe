/* The grammar. */
#include "tests/unit/query/engine.h"

#include "query/ast.h"

static struct arena arena;
static struct query_error error;

static struct query_statement parse(const char *text)
{
    struct query_statement statement;
    if (query_parse(slice_text(text), &arena, &statement, &error) != OK)
        fail_msg("%s: %s", text, error.message);
    return statement;
}

static int setup(void **state)
{
    (void)state;
    arena_init(&arena, 32u * 1024 * 1024);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_fini(&arena);
    return 0;
}

static void every_kind_of_statement_is_known(void **state)
{
    (void)state;
    assert_int_equal(parse("select 1 from t").kind, QUERY_SELECT);
    assert_int_equal(parse("SHOW TABLES;").kind, QUERY_SHOW_TABLES);
    assert_int_equal(parse("EXPLAIN SELECT a FROM t").kind, QUERY_EXPLAIN);
    assert_non_null(parse("EXPLAIN CHANGELOG_MODE SELECT a FROM t").select);
    struct query_statement statement = parse("drop table if exists `my table`");
    assert_int_equal(statement.kind, QUERY_DROP_TABLE);
    assert_true(statement.if_exists);
    assert_true(slice_equal(statement.name, slice_text("my table")));
    assert_false(parse("DROP TABLE t").if_exists);
    statement = parse("DESCRIBE t");
    assert_int_equal(statement.kind, QUERY_DESCRIBE);
    assert_true(slice_equal(statement.name, slice_text("t")));
}

static void the_founding_statements_are_read_verbatim(void **state)
{
    (void)state;
    struct query_statement statement =
        parse("CREATE TABLE SensorReadings (id STRING, timestamp BIGINT, temperature DOUBLE)\n"
              "WITH ('connector'='geode-region','region'='my_region',\n"
              "'locators'='localhost:10334','username'='u','password'='p');");
    assert_int_equal(statement.kind, QUERY_CREATE_TABLE);
    assert_string_equal(statement.table.name, "SensorReadings");
    assert_string_equal(statement.table.region, "my_region");
    assert_int_equal(statement.table.column_count, 3);
    assert_string_equal(statement.table.columns[1].name, "timestamp");
    assert_int_equal(statement.table.columns[1].type.kind, QUERY_TYPE_BIGINT);
    assert_int_equal(statement.table.option_count, 5);
    statement = parse("SELECT id, AVG(temperature) OVER (PARTITION BY id) FROM SensorReadings "
                      "WHERE timestamp >= start_time");
    assert_int_equal(statement.select->item_count, 2);
    assert_non_null(statement.select->items->next->expr->over);
    assert_int_equal(statement.select->where->kind, AST_COMPARE);
}

static void words_are_free_to_be_names(void **state)
{
    (void)state;
    struct query_statement statement =
        parse("CREATE TEMPORARY TABLE IF NOT EXISTS `t` (date INT, time INT, value INT, key STRING "
              "NOT NULL, row INT, rows INT, "
              "\"select\" INT, first INT, metadata INT, \"a \"\"b\" INT, timestamp TIMESTAMP(3), "
              "proc AS PROCTIME()) "
              "WITH ('connector'='geode-region','region'='/r')");
    assert_true(statement.if_not_exists);
    assert_int_equal(statement.table.column_count, 12);
    assert_string_equal(statement.table.columns[9].name, "a \"b");
    assert_true(statement.table.columns[3].not_null);
    assert_true(statement.table.columns[11].proctime);
    assert_string_equal(statement.table.region, "r");
    statement = parse("SELECT timestamp, date FROM t WHERE timestamp > 5 AND ts = TIMESTAMP "
                      "'2026-01-31 08:00:00'");
    assert_int_equal(statement.select->items->expr->kind, AST_NAME);
    assert_int_equal(statement.select->where->last->last->literal.kind, QUERY_TYPE_TIMESTAMP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_statement_is_known),
        cmocka_unit_test(the_founding_statements_are_read_verbatim),
        cmocka_unit_test(words_are_free_to_be_names),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
