/* The tree. */
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

static void operators_bind_as_in_sql(void **state)
{
    (void)state;
    const struct ast_expr *where =
        parse("SELECT a FROM t WHERE a OR b AND NOT c = d + e * -f").select->where;
    assert_int_equal(where->kind, AST_OR);
    assert_int_equal(where->last->kind, AST_AND);
    assert_int_equal(where->last->last->kind, AST_NOT);
    const struct ast_expr *compare = where->last->last->first;
    assert_int_equal(compare->kind, AST_COMPARE);
    assert_int_equal(compare->last->op, QUERY_ADD);
    assert_int_equal(compare->last->last->op, QUERY_MULTIPLY);
    assert_int_equal(compare->last->last->last->kind, AST_NEGATE);
    where = parse("SELECT a FROM t WHERE a BETWEEN 1 AND 2 AND b NOT IN (1, 2) AND c IS NOT NULL")
                .select->where;
    assert_int_equal(where->kind, AST_AND);
    assert_int_equal(where->count, 3);
    assert_int_equal(where->first->kind, AST_BETWEEN);
    assert_int_equal(where->first->next->kind, AST_IN);
    assert_true(where->first->next->negated);
    assert_true(where->last->negated);
}

static void long_chains_are_flat(void **state)
{
    (void)state;
    const struct ast_expr *where =
        parse(repeat("SELECT a FROM t WHERE a", " OR a", 8000, "")).select->where;
    assert_int_equal(where->count, 8001);
    assert_int_equal(where->depth, 2);
    where = parse(repeat("SELECT a FROM t WHERE a=1", " AND a=1", 5000, "")).select->where;
    assert_int_equal(where->count, 5001);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operators_bind_as_in_sql),
        cmocka_unit_test(long_chains_are_flat),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
