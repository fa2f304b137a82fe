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

static char *repeat(const char *begin, const char *piece, uint32_t times, const char *end)
{
    static char text[512 * 1024];
    size_t used = strlen(begin), len = strlen(piece);
    memcpy(text, begin, used);
    for (uint32_t i = 0; i < times; i++, used += len)
        memcpy(text + used, piece, len);
    memcpy(text + used, end, strlen(end) + 1);
    return text;
}

static void assert_limit(const char *text)
{
    struct query_statement statement;
    arena_reset(&arena);
    assert_int_equal(query_parse(slice_text(text), &arena, &statement, &error), ERROR_LIMIT);
    assert_true(error.message[0] != '\0');
}

static void comments_and_blanks_do_not_count(void **state)
{
    (void)state;
    struct query_statement statement =
        parse("-- what\nSELECT/* a ** b */a -- c\n FROM t /**/ ;  -- end");
    assert_int_equal(statement.select->item_count, 1);
    assert_true(slice_equal(statement.select->from, slice_text("t")));
}

static void depth_is_bounded_without_recursion(void **state)
{
    (void)state;
    assert_limit(repeat("SELECT ", "(", 50000, "1"));
    assert_limit(repeat("SELECT ", "NOT ", 12000, "TRUE"));
    assert_limit(repeat("SELECT ", "- ", 20000, "1"));
    assert_limit(repeat("SELECT ", "CASE WHEN ", 5000, "1"));
    assert_limit(repeat("SELECT ", "f(", 20000, "1"));
    assert_limit(repeat("SELECT 1", " + 1", 10000, " FROM t"));
    assert_limit(repeat("SELECT a FROM t WHERE ", "a IN (", 5000, "1"));
    assert_limit(repeat("SELECT '", "x", 100000, "' FROM t"));
    assert_contains(error.message, "100");
    assert_limit(repeat("SELECT a FROM t WHERE a IN (0", ",1", 5000, ")"));
}

static void bytes_that_are_no_text_are_refused(void **state)
{
    (void)state;
    struct query_statement statement;
    assert_int_equal(query_parse(slice_of("SELECT \0 FROM t", 15), &arena, &statement, &error),
                     ERROR_INVALID);
    assert_int_equal(error.column, 8);
    assert_int_equal(query_parse(slice_of("SELECT '\xFF' FROM t", 17), &arena, &statement, &error),
                     ERROR_INVALID);
    assert_contains(error.message, "0xff");
    assert_int_equal(query_parse(slice_of("", 0), &arena, &statement, &error), ERROR_INVALID);
}

static void a_script_is_split_at_its_semicolons(void **state)
{
    (void)state;
    struct slice rest = slice_text(" -- a; b\n SELECT ';' FROM `t;`;\n;/* ; */DROP TABLE \"x;y\" "
                                   "-- ;\n ; SHOW TABLES ; -- end;");
    struct slice statement;
    assert_true(query_script_next(&rest, &statement));
    assert_true(slice_equal(statement, slice_text("SELECT ';' FROM `t;`")));
    assert_true(query_script_next(&rest, &statement));
    assert_memory_equal(statement.data, "DROP TABLE \"x;y\"", 16);
    assert_true(query_script_next(&rest, &statement));
    assert_memory_equal(statement.data, "SHOW TABLES", 11);
    assert_false(query_script_next(&rest, &statement));
    assert_false(query_script_next(&rest, &statement));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comments_and_blanks_do_not_count),
        cmocka_unit_test(depth_is_bounded_without_recursion),
        cmocka_unit_test(bytes_that_are_no_text_are_refused),
        cmocka_unit_test(a_script_is_split_at_its_semicolons),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
