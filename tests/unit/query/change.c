/* One row: what a bounded frame forgets, and what is left when memory ends in between. */
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

/* Applies every document, with every allocation failing once: a failed row changes nothing and,
 * given again, gives what it would have given. */
static void sweep(const char *sql, enum query_numeric_mode mode, const char *const *documents,
                  size_t count)
{
    struct engine reference;
    engine_init(&reference);
    engine_run(&reference, ddl);
    assert_int_equal(engine_try(&reference, sql, mode), OK);
    assert_int_equal(engine_try(&engine, sql, mode), OK);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(engine_feed(&reference, documents[i]), OK);
        const char *expected = engine_take(&reference);
        for (unsigned long n = 1;; n++) {
            uint64_t hash = query_state_hash(engine.state),
                     groups = query_state_group_count(engine.state);
            arena_fini(&engine.row);
            buf_fini(&engine.results);
            buf_init(&engine.results);
            (void)buf_reserve(&engine.results, 4096);
            mem_fault_fail_at(n);
            enum error status = engine_feed(&engine, documents[i]);
            bool untouched = mem_fault_calls() < n;
            mem_fault_fail_at(0);
            if (untouched) {
                assert_int_equal(status, OK);
                break;
            }
            assert_int_equal(status, ERROR_MEMORY);
            assert_int_equal(engine.results.len, 0);
            assert_int_equal(query_state_group_count(engine.state), groups);
            assert_true(query_state_hash(engine.state) == hash);
        }
        assert_string_equal(engine_take(&engine), expected);
        assert_true(query_state_hash(engine.state) == query_state_hash(reference.state));
    }
    engine_fini(&reference);
}

static void a_bounded_frame_forgets_the_oldest_row(void **state)
{
    (void)state;
    engine_run(&engine, "SELECT SUM(n) OVER w, MIN(s) OVER w, MAX(s) OVER w, COUNT(*) OVER w FROM "
                        "t WINDOW w AS (PARTITION BY id ROWS 2 PRECEDING)");
    feed("{\"id\":\"a\",\"n\":1,\"s\":\"b\"}", "+I 1 b b 1\n");
    feed("{\"id\":\"a\",\"n\":2,\"s\":\"a\"}", "+I 3 a b 2\n");
    feed("{\"id\":\"a\",\"n\":3,\"s\":\"c\"}", "+I 6 a c 3\n");
    feed("{\"id\":\"a\",\"n\":4,\"s\":\"c\"}", "+I 9 a c 3\n");
    feed("{\"id\":\"a\",\"n\":5}", "+I 12 c c 3\n");
    feed("{\"id\":\"a\"}", "+I 9 c c 3\n");
    feed("{\"id\":\"a\"}", "+I 5 NULL NULL 3\n");
    feed("{\"id\":\"a\"}", "+I NULL NULL NULL 3\n");
    assert_string_equal(each(), "+I NULL NULL NULL 3\n");
    engine_run(&engine,
               "SELECT COUNT(*) OVER (ROWS CURRENT ROW), SUM(n) OVER (ROWS 0 PRECEDING) FROM t");
    feed("{\"n\":1}", "+I 1 1\n");
    feed("{\"n\":2}", "+I 1 2\n");
    engine_run(&engine, "SELECT COUNT(*) OVER (ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t");
    feed("{}", "+I 1\n");
    feed("{}", "+I 2\n");
    feed("{}", "+I 2\n");
}

static void a_row_is_taken_as_a_whole_or_not_at_all(void **state)
{
    (void)state;
    static const char *const documents[] = {
        "{\"id\":\"a\",\"n\":1,\"d\":0.1,\"s\":\"m\"}",
        "{\"id\":\"a\",\"n\":2,\"d\":1e300,\"s\":\"b\"}",
        "{\"id\":\"a\",\"n\":3,\"d\":1e-300,\"s\":\"zz\"}",
        "{\"id\":\"b\",\"n\":4,\"d\":\"NaN\",\"s\":\"a longer text\"}",
        "{\"id\":\"a\",\"n\":5,\"d\":5,\"s\":\"a\"}",
        "{\"id\":\"a\",\"n\":6,\"d\":6,\"s\":\"zzz\"}",
        "{\"id\":\"a\",\"n\":7,\"d\":7,\"s\":\"b\"}",
        "{\"id\":\"b\",\"n\":8,\"d\":8,\"s\":\"an even longer text than that\"}",
    };
    static const char *const queries[] = {
        "SELECT id, s, AVG(d) OVER w, MIN(s) OVER w, MAX(s) OVER w || '!' FROM t WINDOW w AS "
        "(PARTITION BY id)",
        "SELECT id, s, SUM(d) OVER w, MIN(s) OVER w, MAX(s) OVER w || '!', COUNT(*) OVER w FROM t "
        "WINDOW w AS (PARTITION BY id ROWS 2 PRECEDING)",
        "SELECT id, UPPER(MIN(s)), MAX(s), SUM(d), COUNT(n) FROM t GROUP BY id HAVING COUNT(*) <> "
        "2",
    };
    for (size_t q = 0; q < sizeof queries / sizeof queries[0]; q++)
        for (int mode = QUERY_EXACT; mode <= QUERY_FLINK; mode++)
            sweep(queries[q], (enum query_numeric_mode)mode, documents,
                  sizeof documents / sizeof documents[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bounded_frame_forgets_the_oldest_row),
        cmocka_unit_test(a_row_is_taken_as_a_whole_or_not_at_all),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
