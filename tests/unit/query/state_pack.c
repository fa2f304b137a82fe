/* A state that was packed and made again goes on as if nothing had been. */
#include "tests/unit/query/engine.h"

static struct engine engine;

static const char ddl[] =
    "CREATE TABLE t (id STRING, n INT, d DOUBLE, f FLOAT, m DECIMAL(5,2), s STRING) WITH "
    "('connector'='geode-region','region'='my_region')";

static const char *const QUERIES[] = {
    "SELECT id, n, AVG(d) OVER (PARTITION BY id) - d, s FROM t",
    "SELECT id, COUNT(*), SUM(d), AVG(f), SUM(m), AVG(n), MIN(s), MAX(d) FROM t GROUP BY id",
    "SELECT id, SUM(n) FROM t GROUP BY id HAVING SUM(n) > 20",
    "SELECT id, s, AVG(d) OVER w, SUM(m) OVER w, MAX(s) OVER w, MIN(n) OVER w, SUM(n) OVER w, "
    "COUNT(*) OVER w FROM t WINDOW w AS (PARTITION BY id ROWS 3 PRECEDING)",
    "SELECT COUNT(*) OVER (PARTITION BY id ROWS 2 PRECEDING) FROM t",
    "SELECT MAX(s), SUM(d) FROM t",
};
enum { QUERY_COUNT = sizeof QUERIES / sizeof *QUERIES, ROWS = 60 };

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

static uint64_t random_state;

static uint32_t below(uint32_t count)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33) % count;
}

/* Rows that follow from the seed alone; some values are missing, some doubles are far apart. */
static void feed(void)
{
    static const char *const doubles[] = {"1.5", "0.1", "-0.0", "1e300", "-1e300", "3e-300"};
    char document[300];
    int at = snprintf(document, sizeof document, "{\"id\":\"g%u\"", below(5));
    if (below(5) > 0)
        at += snprintf(document + at, sizeof document - (size_t)at, ",\"n\":%u", below(20));
    if (below(5) > 0)
        at += snprintf(document + at, sizeof document - (size_t)at, ",\"d\":%s", doubles[below(6)]);
    at += snprintf(document + at, sizeof document - (size_t)at,
                   ",\"f\":%u.25,\"m\":%u.%02u,\"s\":\"%.*s\"}", below(9), below(100), below(100),
                   (int)below(20), "abcdefghijklmnopqrstuvwxyz" + below(6));
    assert_int_equal(engine_feed(&engine, document), OK);
}

static void pack(struct buf *packed)
{
    buf_clear(packed);
    query_state_pack(engine.state, packed);
    assert_false(packed->failed);
}

/* Makes the state again from its bytes. */
static void replace(struct buf *packed)
{
    struct slice rest;
    struct query_state *made;
    pack(packed);
    buf_append_text(packed, "more");
    rest = buf_slice(packed);
    assert_int_equal(query_state_unpack(engine.plan, &rest, &made), OK);
    assert_true(slice_equal(rest, slice_text("more")));
    assert_true(query_state_hash(made) == query_state_hash(engine.state));
    query_state_free(engine.state);
    engine.state = made;
}

static void a_state_goes_on_after_any_cut(void **state)
{
    (void)state;
    struct buf packed, whole, last;
    buf_init(&packed);
    buf_init(&whole);
    buf_init(&last);
    for (int mode = QUERY_EXACT; mode <= QUERY_FLINK; mode++)
        for (size_t q = 0; q < QUERY_COUNT; q++)
            for (uint32_t cut = 0; cut <= ROWS; cut++) {
                bool first = cut == 0;
                random_state = 99 + q;
                assert_int_equal(engine_try(&engine, QUERIES[q], (enum query_numeric_mode)mode),
                                 OK);
                for (uint32_t i = 0; i < ROWS; i++) {
                    if (!first && i == cut - 1)
                        replace(&packed);
                    feed();
                }
                const char *results = engine_take(&engine);
                pack(&packed);
                if (first) {
                    buf_clear(&whole);
                    buf_append_text(&whole, results);
                    buf_clear(&last);
                    buf_append_slice(&last, buf_slice(&packed));
                }
                assert_true(slice_equal(buf_slice(&whole), slice_text(results)));
                assert_true(slice_equal(buf_slice(&last), buf_slice(&packed)));
            }
    buf_fini(&packed);
    buf_fini(&whole);
    buf_fini(&last);
}

/* Rows go on while the state is packed a group or two at a time: what comes out is the state of the
 * end, whatever was packed before. */
static void a_state_packed_ahead_is_that_of_the_end(void **state)
{
    (void)state;
    struct buf packed, whole;
    buf_init(&packed);
    buf_init(&whole);
    for (size_t q = 0; q < QUERY_COUNT; q++)
        for (uint32_t begin = 0; begin < ROWS; begin++) {
            random_state = 7 + q;
            engine_run(&engine, QUERIES[q]);
            for (uint32_t i = 0; i < begin; i++)
                feed();
            struct query_state_packing *packing = query_state_packing_new(engine.state);
            struct query_state_packing *other = query_state_packing_new(engine.state);
            assert_true(packing != NULL && other != NULL);
            assert_true(query_state_packing_is_of(packing, engine.state));
            for (uint32_t i = begin; i < ROWS; i++) {
                (void)query_state_packing_step(packing, 1 + i % 2);
                if (i == begin + 3) {
                    query_state_packing_free(other);
                    other = NULL;
                }
                feed();
            }
            query_state_packing_free(other);
            (void)engine_take(&engine);
            buf_clear(&packed);
            query_state_packing_end(packing, &packed);
            query_state_packing_free(packing);
            struct slice rest = buf_slice(&packed);
            struct query_state *made;
            assert_false(packed.failed);
            assert_int_equal(query_state_unpack(engine.plan, &rest, &made), OK);
            assert_int_equal(rest.len, 0);
            assert_true(query_state_hash(made) == query_state_hash(engine.state));
            assert_true(query_state_bytes(made) > 0);
            /* In the order in which the groups began, too. */
            pack(&packed);
            buf_clear(&whole);
            query_state_pack(made, &whole);
            assert_true(slice_equal(buf_slice(&whole), buf_slice(&packed)));
            query_state_free(made);
        }
    buf_fini(&packed);
    buf_fini(&whole);
}

static void packing_ends_with_the_state_or_the_memory(void **state)
{
    (void)state;
    struct buf packed;
    buf_init(&packed);
    random_state = 5;
    engine_run(&engine, QUERIES[0]);
    for (uint32_t i = 0; i < ROWS; i++)
        feed();
    (void)engine_take(&engine);
    long live = mem_fault_live();
    mem_fault_fail_at(1);
    assert_null(query_state_packing_new(engine.state));
    mem_fault_fail_at(0);
    struct query_state_packing *packing = query_state_packing_new(engine.state);
    mem_fault_fail_at(1);
    assert_true(query_state_packing_step(packing, 100)); /* there is no sense in going on */
    mem_fault_fail_at(0);
    query_state_packing_end(packing, &packed);
    assert_true(packed.failed);
    buf_fini(&packed);
    query_state_packing_free(packing);
    assert_int_equal(mem_fault_live(), live);
    pack(&packed);
    struct slice rest = buf_slice(&packed);
    struct query_state *made;
    assert_int_equal(query_state_unpack(engine.plan, &rest, &made), OK);
    buf_fini(&packed);
    packing = query_state_packing_new(made);
    (void)query_state_packing_step(packing, 1);
    while (query_state_free_some(made, 2))
        continue;
    query_state_free(made);
    assert_false(query_state_packing_is_of(packing, made));
    query_state_packing_free(packing);
    assert_int_equal(mem_fault_live(), live);
}

static void try_unpack(struct slice packed, bool must_fail)
{
    struct query_state *made;
    struct slice rest = packed;
    enum error error = query_state_unpack(engine.plan, &rest, &made);
    assert_true(error == OK || error == ERROR_MALFORMED);
    assert_true(error == OK || made == NULL);
    assert_true(error != OK || !must_fail);
    query_state_free(made);
}

static void malformed_bytes_leave_nothing(void **state)
{
    (void)state;
    struct buf packed;
    buf_init(&packed);
    for (size_t q = 0; q < QUERY_COUNT; q++) {
        random_state = q;
        engine_run(&engine, QUERIES[q]);
        for (uint32_t i = 0; i < 12; i++)
            feed();
        (void)engine_take(&engine);
        pack(&packed);
        long live = mem_fault_live();
        for (size_t len = 0; len < packed.len; len++)
            try_unpack(slice_of(packed.data, len), true);
        for (size_t i = 0; i < packed.len; i++)
            for (unsigned bit = 0; bit < 8; bit++) {
                packed.data[i] ^= (uint8_t)(1u << bit);
                try_unpack(buf_slice(&packed), false);
                packed.data[i] ^= (uint8_t)(1u << bit);
            }
        assert_int_equal(mem_fault_live(), live);
    }
    buf_fini(&packed);
}

static void a_state_without_memory_leaves_nothing(void **state)
{
    (void)state;
    struct buf packed;
    buf_init(&packed);
    for (size_t q = 0; q < QUERY_COUNT; q++) {
        random_state = q;
        engine_run(&engine, QUERIES[q]);
        for (uint32_t i = 0; i < 12; i++)
            feed();
        (void)engine_take(&engine);
        pack(&packed);
        long live = mem_fault_live();
        struct query_state *made = NULL;
        for (unsigned n = 1; made == NULL; n++) {
            struct slice rest = buf_slice(&packed);
            mem_fault_fail_at(n);
            enum error error = query_state_unpack(engine.plan, &rest, &made);
            mem_fault_fail_at(0);
            assert_int_equal(error, made == NULL ? ERROR_MEMORY : OK);
            assert_true(made != NULL || mem_fault_live() == live);
        }
        query_state_free(made);
    }
    buf_fini(&packed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_state_goes_on_after_any_cut),
        cmocka_unit_test(a_state_packed_ahead_is_that_of_the_end),
        cmocka_unit_test(packing_ends_with_the_state_or_the_memory),
        cmocka_unit_test(malformed_bytes_leave_nothing),
        cmocka_unit_test(a_state_without_memory_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
