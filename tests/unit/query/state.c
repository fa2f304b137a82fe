/* Operators with state: results, row by row. */
#include "tests/unit/query/engine.h"

static struct engine engine;

static const char ddl[] = "CREATE TABLE t (id STRING, n INT, d DOUBLE, s STRING) WITH "
                          "('connector'='geode-region','region'='my_region')";

static int setup(void **state)
{
    (void)state;
    engine_init(&engine);
    engine_run(&engine, ddl);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    engine_fini(&engine);
    return 0;
}

static void feed(const char *document, const char *results)
{
    if (engine_feed(&engine, document) != OK)
        fail_msg("%s: %s", document, engine.error.message);
    assert_string_equal(engine_take(&engine), results);
}

static const char *each(void)
{
    arena_reset(&engine.row);
    assert_int_equal(query_state_each(engine.state, &engine.row, engine_result, &engine.results),
                     OK);
    return engine_take(&engine);
}

static void over_gives_one_row_for_each_row(void **state)
{
    (void)state;
    engine_run(&engine, "SELECT id, n, AVG(d) OVER (PARTITION BY id) - d, s FROM t");
    feed("{\"id\":\"a\",\"n\":1,\"d\":1,\"s\":\"one\"}", "+I a 1 0.0 one\n");
    feed("{\"id\":\"b\",\"n\":2,\"d\":9,\"s\":\"a much longer text than before\"}",
         "+I b 2 0.0 a much longer text than before\n");
    feed("{\"id\":\"a\",\"n\":3,\"d\":3,\"s\":\"three, which is longer\"}",
         "+I a 3 -1.0 three, which is longer\n");
    feed("{\"id\":null,\"n\":4}", "+I NULL 4 NULL NULL\n");
    assert_int_equal(query_state_group_count(engine.state), 3);
    assert_string_equal(each(), "+I a 3 -1.0 three, which is longer\n+I b 2 0.0 a much longer text "
                                "than before\n+I NULL 4 NULL NULL\n");
}

static void group_by_gives_the_change_of_its_group(void **state)
{
    (void)state;
    engine_run(&engine, "SELECT id, COUNT(*), MAX(s) FROM t GROUP BY id");
    feed("{\"id\":\"a\",\"s\":\"x\"}", "+I a 1 x\n");
    feed("{\"id\":\"a\",\"s\":\"y\"}", "-U a 1 x\n+U a 2 y\n");
    feed("{\"id\":\"b\"}", "+I b 1 NULL\n");
    feed("{\"id\":\"a\",\"s\":\"a\"}", "-U a 2 y\n+U a 3 y\n");
    assert_string_equal(each(), "+I a 3 y\n+I b 1 NULL\n");
    engine_run(&engine, "SELECT MAX(n) FROM t");
    feed("{\"n\":5}", "+I 5\n");
    feed("{\"n\":4}", "");
    feed("{\"n\":6}", "-U 5\n+U 6\n");
    engine_run(&engine, "SELECT n % 2, id FROM t GROUP BY id, n % 2");
    feed("{\"id\":\"a\",\"n\":3}", "+I 1 a\n");
    feed("{\"id\":\"a\",\"n\":5}", "");
    feed("{\"id\":\"a\",\"n\":4}", "+I 0 a\n");
}

static void having_shows_what_enters_and_what_leaves(void **state)
{
    (void)state;
    engine_run(&engine, "SELECT id, AVG(d) FROM t GROUP BY id HAVING AVG(d) > 22");
    feed("{\"id\":\"s1\",\"d\":20}", "");
    feed("{\"id\":\"s1\",\"d\":30}", "+I s1 25.0\n");
    feed("{\"id\":\"s1\",\"d\":31}", "-U s1 25.0\n+U s1 27.0\n");
    feed("{\"id\":\"s1\",\"d\":-81}", "-D s1 27.0\n");
    feed("{\"id\":\"s2\",\"d\":50}", "+I s2 50.0\n");
    assert_string_equal(each(), "+I s2 50.0\n");
    assert_int_equal(query_state_group_count(engine.state), 2);
}

static void a_result_that_cannot_be_computed_takes_the_old_one_back(void **state)
{
    (void)state;
    engine_run(&engine, "SELECT id, 100 / (COUNT(*) - 2) FROM t GROUP BY id");
    feed("{\"id\":\"a\"}", "+I a -100\n");
    assert_int_equal(engine_feed(&engine, "{\"id\":\"a\"}"), ERROR_INVALID);
    assert_string_equal(engine.error.message, "division by zero");
    assert_string_equal(engine_take(&engine), "-D a -100\n");
    assert_string_equal(each(), "");
    feed("{\"id\":\"a\"}", "+I a 100\n");
}

static enum error refuse_result(void *arg, enum query_kind kind, const struct query_row *row)
{
    (void)kind;
    (void)row;
    ++*(uint32_t *)arg;
    return ERROR_BUSY;
}

static void what_the_receiver_returns_ends_the_row_but_not_the_state(void **state)
{
    (void)state;
    uint32_t calls = 0;
    struct query_value values[2] = {{.kind = QUERY_TYPE_STRING, .text = slice_text("a")},
                                    {.kind = QUERY_TYPE_INT, .integer = 5}};
    struct query_row row = {.values = values, .count = 2};
    engine_run(&engine, "SELECT id, SUM(n) FROM t GROUP BY id");
    feed("{\"id\":\"a\",\"n\":1}", "+I a 1\n");
    assert_int_equal(
        query_state_apply(engine.state, &row, &engine.row, refuse_result, &calls, &engine.error),
        ERROR_BUSY);
    assert_int_equal(calls, 1);
    assert_string_equal(each(), "+I a 6\n");
}

static void hashes_are_equal_for_equal_states(void **state)
{
    (void)state;
    static const char *const queries[] = {"SELECT id, AVG(d), MAX(s) FROM t GROUP BY id",
                                          "SELECT s, AVG(d) OVER w, MAX(s) OVER w FROM t WINDOW w "
                                          "AS (PARTITION BY id ROWS 1 PRECEDING)"};
    for (size_t q = 0; q < 2; q++) {
        engine_run(&engine, queries[q]);
        uint64_t empty = query_state_hash(engine.state);
        assert_int_equal(engine_feed(&engine, "{\"id\":\"a\",\"d\":1,\"s\":\"x\"}"), OK);
        assert_int_equal(engine_feed(&engine, "{\"id\":\"b\",\"d\":2,\"s\":\"y\"}"), OK);
        uint64_t hash = query_state_hash(engine.state);
        engine_run(&engine, queries[q]);
        assert_true(query_state_hash(engine.state) == empty);
        assert_int_equal(engine_feed(&engine, "{\"id\":\"b\",\"d\":2,\"s\":\"y\"}"), OK);
        assert_true(query_state_hash(engine.state) != hash);
        assert_int_equal(engine_feed(&engine, "{\"id\":\"a\",\"d\":1,\"s\":\"x\"}"), OK);
        assert_true(query_state_hash(engine.state) == hash);
        assert_int_equal(engine_feed(&engine, "{\"id\":\"a\",\"d\":1.5,\"s\":\"x\"}"), OK);
        assert_true(query_state_hash(engine.state) != hash);
    }
    (void)engine_take(&engine);
}

static void a_state_without_memory_leaves_nothing(void **state)
{
    (void)state;
    engine_run(&engine, "SELECT id, MAX(s) OVER (PARTITION BY id ROWS 5 PRECEDING) FROM t");
    long live = mem_fault_live();
    struct query_state *made = NULL;
    for (unsigned long n = 1; made == NULL; n++) {
        mem_fault_fail_at(n);
        enum error status = query_state_new(engine.plan, &made);
        mem_fault_fail_at(0);
        assert_true(status == (made == NULL ? ERROR_MEMORY : OK));
        assert_true(made != NULL || mem_fault_live() == live);
    }
    query_state_free(made);
    assert_int_equal(mem_fault_live(), live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(over_gives_one_row_for_each_row),
        cmocka_unit_test(group_by_gives_the_change_of_its_group),
        cmocka_unit_test(having_shows_what_enters_and_what_leaves),
        cmocka_unit_test(a_result_that_cannot_be_computed_takes_the_old_one_back),
        cmocka_unit_test(what_the_receiver_returns_ends_the_row_but_not_the_state),
        cmocka_unit_test(hashes_are_equal_for_equal_states),
        cmocka_unit_test(a_state_without_memory_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
