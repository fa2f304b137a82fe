/* Rows as documents: what stays a number, what becomes a string, null. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cli/row.h"

static struct csv *csv;
static struct row_header header;

static void begin(const char *text)
{
    csv = malloc(sizeof *csv);
    assert_non_null(csv);
    csv_init(csv);
    csv_feed(csv, slice_text(text));
    csv_end(csv);
    row_header_init(&header);
    assert_int_equal(csv_next(csv), CSV_ROW);
}

static void finish(void)
{
    row_header_fini(&header);
    csv_fini(csv);
    free(csv);
}

static enum error take_header(void)
{
    const char *problem = NULL;
    struct slice name;
    return row_header_take(&header, csv, &problem, &name);
}

static void assert_document(const char *expected)
{
    struct buf document;
    buf_init(&document);
    assert_int_equal(csv_next(csv), CSV_ROW);
    row_document(&header, csv, &document);
    buf_append_byte(&document, '\0');
    assert_string_equal((const char *)document.data, expected);
    buf_fini(&document);
}

static void numbers_stay_as_they_are_written(void **state)
{
    (void)state;
    begin("id,t\nEWR,3.90\nx,-1e5\ny,007\nz,\n\"5\",+1\n");
    assert_int_equal(take_header(), OK);
    assert_document("{\"id\":\"EWR\",\"t\":3.90}");
    assert_document("{\"id\":\"x\",\"t\":-1e5}");
    assert_document("{\"id\":\"y\",\"t\":\"007\"}");
    assert_document("{\"id\":\"z\",\"t\":null}");
    assert_document("{\"id\":5,\"t\":\"+1\"}");
    finish();
}

static void strings_are_escaped(void **state)
{
    (void)state;
    begin("\"a\"\"b\"\n\"x\"\"\\\n\ty\"\n\"\x01\"\n");
    assert_int_equal(take_header(), OK);
    assert_document("{\"a\\\"b\":\"x\\\"\\\\\\n\\ty\"}");
    assert_document("{\"a\\\"b\":\"\\u0001\"}");
    finish();
}

static void finds_columns_by_their_names(void **state)
{
    (void)state;
    uint32_t column = 9;
    begin("id,timestamp,temperature\n");
    assert_int_equal(take_header(), OK);
    assert_true(row_header_find(&header, slice_text("temperature"), &column));
    assert_int_equal(column, 2);
    assert_false(row_header_find(&header, slice_text("temp"), &column));
    finish();
}

static void a_column_twice_or_without_a_name_is_refused(void **state)
{
    (void)state;
    begin("a,a\n");
    assert_int_equal(take_header(), ERROR_INVALID);
    finish();
    begin("a,,b\n");
    assert_int_equal(take_header(), ERROR_INVALID);
    finish();
}

static void knows_what_a_json_number_is(void **state)
{
    (void)state;
    static const char *const yes[] = {"0", "-0", "12", "1.5", "-0.25", "1e9", "1E+9", "2.5e-3"};
    static const char *const no[] = {"",   "-",   "01", "1.",  ".5",       "1e",
                                     "+1", "0x1", "1 ", "NaN", "Infinity", "1.2.3"};
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++)
        assert_true(row_is_json_number(slice_text(yes[i])));
    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++)
        assert_false(row_is_json_number(slice_text(no[i])));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_stay_as_they_are_written),
        cmocka_unit_test(strings_are_escaped),
        cmocka_unit_test(finds_columns_by_their_names),
        cmocka_unit_test(a_column_twice_or_without_a_name_is_refused),
        cmocka_unit_test(knows_what_a_json_number_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
