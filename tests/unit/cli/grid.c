/* The same rows as a table, JSON, NDJSON and CSV. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>

#include <cmocka.h>

#include "cli/grid.h"
#include "tests/lib/mem_fault.h"

static void fill(struct grid *grid)
{
    grid_init(grid);
    grid_column(grid, slice_text("name"));
    grid_column(grid, slice_text("entries"));
    grid_text(grid, slice_text("a,\"b\""));
    grid_raw(grid, "%d", 7);
    grid_text(grid, slice_text("Z\xc3\xbcrich"));
    grid_value(grid, &(struct value){.type = VALUE_NULL});
}

static void check(enum output output, const char *expected)
{
    struct grid grid;
    struct buf out;
    fill(&grid);
    buf_init(&out);
    assert_int_equal(grid_write(&grid, output, &out), OK);
    buf_append_byte(&out, '\0');
    assert_string_equal((const char *)out.data, expected);
    buf_fini(&out);
    grid_fini(&grid);
}

static void has_four_forms(void **state)
{
    (void)state;
    check(OUTPUT_TABLE, "name    entries\n"
                        "a,\"b\"         7\n"
                        "Z\xc3\xbcrich     null\n");
    check(OUTPUT_JSON, "[{\"name\":\"a,\\\"b\\\"\",\"entries\":7},\n"
                       " {\"name\":\"Z\xc3\xbcrich\",\"entries\":null}]\n");
    check(OUTPUT_NDJSON, "{\"name\":\"a,\\\"b\\\"\",\"entries\":7}\n"
                         "{\"name\":\"Z\xc3\xbcrich\",\"entries\":null}\n");
    check(OUTPUT_CSV, "name,entries\n\"a,\"\"b\"\"\",7\nZ\xc3\xbcrich,\n");
}

static void assert_json(struct value value, const char *expected)
{
    struct buf out;
    buf_init(&out);
    grid_json_value(&out, &value);
    buf_append_byte(&out, '\0');
    assert_string_equal((const char *)out.data, expected);
    buf_fini(&out);
}

static void values_are_json(void **state)
{
    (void)state;
    assert_json((struct value){.type = VALUE_DOUBLE, .float64 = 3.90}, "3.9");
    assert_json((struct value){.type = VALUE_DOUBLE, .float64 = 30}, "30");
    assert_json((struct value){.type = VALUE_DOUBLE, .float64 = NAN}, "\"NaN\"");
    assert_json((struct value){.type = VALUE_DOUBLE, .float64 = -INFINITY}, "\"-Infinity\"");
    assert_json((struct value){.type = VALUE_FLOAT, .float32 = 0.1f}, "0.1");
    assert_json((struct value){.type = VALUE_LONG, .integer = INT64_MIN}, "-9223372036854775808");
    assert_json((struct value){.type = VALUE_BOOLEAN, .integer = 1}, "true");
    assert_json((struct value){.type = VALUE_NULL}, "null");
    assert_json((struct value){.type = VALUE_STRING, .bytes = slice_text("a\"\n")}, "\"a\\\"\\n\"");
    assert_json((struct value){.type = VALUE_JSON, .bytes = slice_text("{\"a\":1}")}, "{\"a\":1}");
}

static void runs_out_of_memory_without_a_leak(void **state)
{
    (void)state;
    bool done = false;
    for (unsigned n = 1; !done; n++) {
        long live = mem_fault_live();
        struct grid grid;
        struct buf out;
        mem_fault_fail_at(n);
        fill(&grid);
        buf_init(&out);
        done = grid_write(&grid, OUTPUT_JSON, &out) == OK;
        mem_fault_fail_at(0);
        buf_fini(&out);
        grid_fini(&grid);
        assert_int_equal(mem_fault_live(), live);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(has_four_forms),
        cmocka_unit_test(values_are_json),
        cmocka_unit_test(runs_out_of_memory_without_a_leak),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
