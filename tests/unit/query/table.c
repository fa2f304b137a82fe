#include "tests/unit/query/engine.h"

static const char ddl[] =
    "CREATE TABLE `my table` (id STRING NOT NULL, timestamp BIGINT, `a``b` DECIMAL(5, 2), `select` "
    "TIMESTAMP(3), "
    "proc AS PROCTIME()) WITH ('connector' = 'geode-region', 'region' = '/r', 'param.x' = 'it''s')";

static void the_statement_makes_the_table_again(void **state)
{
    (void)state;
    struct arena arena;
    struct query_statement statement;
    struct query_error error;
    struct buf text;
    arena_init(&arena, 1u << 20);
    buf_init(&text);
    assert_int_equal(query_parse(slice_text(ddl), &arena, &statement, &error), OK);
    struct query_table *copy = query_table_copy(&statement.table);
    assert_non_null(copy);
    arena_fini(&arena);
    query_table_ddl(copy, &text);
    buf_append_byte(&text, 0);
    assert_string_equal((const char *)text.data, ddl);
    assert_string_equal(copy->region, "r");
    assert_true(copy->columns[4].proctime);
    query_table_free(copy);
    buf_fini(&text);
}

static void a_copy_without_memory_leaves_nothing(void **state)
{
    (void)state;
    struct arena arena;
    struct query_statement statement;
    struct query_error error;
    arena_init(&arena, 1u << 20);
    assert_int_equal(query_parse(slice_text(ddl), &arena, &statement, &error), OK);
    long live = mem_fault_live();
    struct query_table *copy = NULL;
    for (unsigned long n = 1; copy == NULL; n++) {
        mem_fault_fail_at(n);
        copy = query_table_copy(&statement.table);
        mem_fault_fail_at(0);
        assert_true(copy != NULL || mem_fault_live() == live);
        assert_true(n < 50);
    }
    query_table_free(copy);
    query_table_free(NULL);
    assert_int_equal(mem_fault_live(), live);
    arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_statement_makes_the_table_again),
        cmocka_unit_test(a_copy_without_memory_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
