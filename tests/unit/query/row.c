#include "tests/unit/query/engine.h"

static struct engine engine;

static int setup(void **state)
{
    (void)state;
    engine_init(&engine);
    engine_run(&engine, "CREATE TABLE t (id STRING, n BIGINT, t DOUBLE) WITH "
                        "('connector'='geode-region','region'='my_region')");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    engine_fini(&engine);
    return 0;
}

static bool admit(const char *document, struct query_row *row)
{
    struct value key = {.type = VALUE_STRING, .bytes = slice_text("k")};
    struct value value = {.type = VALUE_JSON, .bytes = slice_text(document)};
    struct query_input input = {.key = &key, .value = document == NULL ? NULL : &value};
    bool admitted = false;
    assert_int_equal(query_admit(engine.plan, &input, &engine.row, &admitted, row, &engine.error),
                     OK);
    return admitted;
}

static void only_rows_that_pass_where_are_admitted(void **state)
{
    (void)state;
    struct query_row row;
    engine_run(&engine, "SELECT id, t * 2 FROM t WHERE n >= 2000");
    assert_false(admit("{\"id\":\"a\",\"n\":1999,\"t\":1}", &row));
    assert_false(admit("{\"id\":\"a\",\"t\":1}", &row));
    assert_true(admit("{\"id\":\"a\",\"n\":2000,\"t\":1}", &row));
    assert_int_equal(row.count, 2);
    assert_true(row.values[1].float64 == 2);
}

static void a_removal_is_no_row(void **state)
{
    (void)state;
    struct query_row row;
    struct value key = {.type = VALUE_STRING, .bytes = slice_text("k")};
    struct query_input input = {.key = &key};
    bool admitted = true;
    engine_run(&engine, "SELECT id FROM t");
    assert_int_equal(query_admit(engine.plan, &input, &engine.row, &admitted, &row, &engine.error),
                     OK);
    assert_false(admitted);
}

static void a_group_is_placed_as_its_only_column_would_be_as_a_key(void **state)
{
    (void)state;
    struct query_row row;
    struct value group;
    engine_run(&engine, "SELECT id, COUNT(*) FROM t GROUP BY id");
    assert_true(admit("{\"id\":\"s1\"}", &row));
    assert_int_equal(query_row_group(engine.plan, &row, &engine.row, &group), OK);
    assert_int_equal(group.type, VALUE_STRING);
    assert_true(slice_equal(group.bytes, slice_text("s1")));
    assert_true(admit("{}", &row));
    assert_int_equal(query_row_group(engine.plan, &row, &engine.row, &group), OK);
    assert_true(group.type == VALUE_STRING && group.bytes.len == 0);
    engine_run(&engine, "SELECT COUNT(*) OVER (PARTITION BY n) FROM t");
    assert_true(admit("{\"n\":5}", &row));
    assert_int_equal(query_row_group(engine.plan, &row, &engine.row, &group), OK);
    assert_true(group.type == VALUE_LONG && group.integer == 5);
    engine_run(&engine, "SELECT COUNT(*) FROM t GROUP BY id, n");
    assert_true(admit("{\"id\":\"s1\",\"n\":5}", &row));
    assert_int_equal(query_row_group(engine.plan, &row, &engine.row, &group), OK);
    assert_true(slice_equal(group.bytes, slice_text("2:s11:5")));
    engine_run(&engine, "SELECT COUNT(*) FROM t");
    assert_true(admit("{}", &row));
    assert_int_equal(query_row_group(engine.plan, &row, &engine.row, &group), OK);
    assert_true(group.type == VALUE_STRING && group.bytes.len == 0);
}

static void a_row_survives_its_bytes(void **state)
{
    (void)state;
    struct query_row row, again;
    struct buf packed;
    buf_init(&packed);
    engine_run(&engine, "SELECT id, MAX(id || '!') OVER (PARTITION BY id), n, SUM(t) OVER "
                        "(PARTITION BY id) FROM t");
    assert_true(admit("{\"id\":\"s1\",\"n\":-5,\"t\":0.1}", &row));
    query_row_pack(&row, &packed);
    assert_false(packed.failed);
    assert_int_equal(query_row_unpack(buf_slice(&packed), &engine.row, &again), OK);
    assert_int_equal(again.count, row.count);
    for (uint32_t i = 0; i < row.count; i++)
        assert_true(query_value_identical(&row.values[i], &again.values[i]));
    for (size_t len = 0; len < packed.len; len++)
        assert_int_equal(query_row_unpack(slice_of(packed.data, len), &engine.row, &again),
                         ERROR_MALFORMED);
    buf_append_byte(&packed, 0);
    assert_int_equal(query_row_unpack(buf_slice(&packed), &engine.row, &again), ERROR_MALFORMED);
    uint8_t many[2000] = {0xFF, 0xFF};
    assert_int_equal(query_row_unpack(slice_of(many, sizeof many), &engine.row, &again),
                     ERROR_MALFORMED);
    buf_fini(&packed);
}

static void a_row_of_another_plan_is_malformed(void **state)
{
    (void)state;
    struct query_row row;
    engine_run(&engine, "SELECT id, SUM(t) FROM t GROUP BY id");
    struct query_value values[2] = {{.kind = QUERY_TYPE_STRING, .text = slice_text("a")},
                                    {.kind = QUERY_TYPE_INT, .integer = 1}};
    row = (struct query_row){.values = values, .count = 2};
    assert_int_equal(query_state_apply(engine.state, &row, &engine.row, engine_result,
                                       &engine.results, &engine.error),
                     ERROR_MALFORMED);
    row.count = 1;
    assert_int_equal(query_state_apply(engine.state, &row, &engine.row, engine_result,
                                       &engine.results, &engine.error),
                     ERROR_MALFORMED);
    assert_int_equal(query_state_group_count(engine.state), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_rows_that_pass_where_are_admitted),
        cmocka_unit_test(a_removal_is_no_row),
        cmocka_unit_test(a_group_is_placed_as_its_only_column_would_be_as_a_key),
        cmocka_unit_test(a_row_survives_its_bytes),
        cmocka_unit_test(a_row_of_another_plan_is_malformed),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
