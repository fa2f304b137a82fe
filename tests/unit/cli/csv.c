/* CSV in whole files and in single bytes: rows, line numbers, and what is no row. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cli/csv.h"
#include "tests/lib/mem_fault.h"

/* Everything that comes out of `text`, one line for each: "1:a|b", "3!problem". Fed `step` bytes at
 * a time. */
static void read_all(const char *text, size_t step, bool empty_rows, struct buf *out)
{
    struct csv *csv = malloc(sizeof *csv);
    size_t len = strlen(text), at = 0;
    assert_non_null(csv);
    csv_init(csv);
    csv->empty_rows = empty_rows;
    for (;;) {
        enum csv_result result = csv_next(csv);
        if (result == CSV_END)
            break;
        if (result == CSV_MEMORY) {
            buf_append_text(out, "memory");
            break;
        }
        if (result == CSV_MORE) {
            size_t part = len - at < step ? len - at : step;
            if (part == 0)
                csv_end(csv);
            else
                csv_feed(csv, slice_of(text + at, part));
            at += part;
            continue;
        }
        buf_printf(out, "%llu", (unsigned long long)csv->row_line);
        if (result == CSV_BAD)
            buf_printf(out, "!%s", csv->problem);
        for (uint32_t i = 0; result == CSV_ROW && i < csv->field_count; i++) {
            buf_append_byte(out, i == 0 ? ':' : '|');
            buf_append_slice(out, csv_field(csv, i));
        }
        buf_append_byte(out, '\n');
    }
    csv_fini(csv);
    free(csv);
}

static void check_rows(const char *text, bool empty_rows, const char *expected)
{
    for (size_t step = 1; step <= 64; step = step * 2 + 1) {
        struct buf out;
        buf_init(&out);
        read_all(text, step, empty_rows, &out);
        buf_append_byte(&out, '\0');
        assert_string_equal((const char *)out.data, expected);
        buf_fini(&out);
    }
}

static void check(const char *text, const char *expected)
{
    check_rows(text, false, expected);
}

static void reads_plain_rows(void **state)
{
    (void)state;
    check("id,t\na,1\nb,\n", "1:id|t\n2:a|1\n3:b|\n");
    check("a,b", "1:a|b\n");
    check("", "");
    check(",\n", "1:|\n");
}

static void takes_crlf_and_the_byte_order_mark(void **state)
{
    (void)state;
    check("\xef\xbb\xbfid,t\r\na,1\r\n", "1:id|t\n2:a|1\n");
}

static void undoes_quotes(void **state)
{
    (void)state;
    check("\"a,b\",\"say \"\"hi\"\"\"\n\"\",x\n", "1:a,b|say \"hi\"\n2:|x\n");
}

static void counts_lines_inside_of_quotes(void **state)
{
    (void)state;
    check("\"two\nlines\",1\nnext,2\n", "1:two\nlines|1\n3:next|2\n");
    check("\"two\r\nlines\",1\r\nnext,2\r\n", "1:two\r\nlines|1\n3:next|2\n");
}

static void leaves_out_empty_lines(void **state)
{
    (void)state;
    check("a\n\n\r\nb\n", "1:a\n4:b\n");
}

static void gives_empty_lines_as_rows_where_asked(void **state)
{
    (void)state;
    check_rows("a\n\n\r\nb\n\n", true, "1:a\n2:\n3:\n4:b\n5:\n");
    check_rows("a\n\nb", true, "1:a\n2:\n3:b\n");
    check_rows("", true, "");
}

static void names_a_bad_row_and_goes_on(void **state)
{
    (void)state;
    check("a,b\nx\"y,1\"\nc,d\n",
          "1:a|b\n2!a quote inside a field that does not begin with one\n3:c|d\n");
    check("\"a\"b,1\nc,d\n", "1!text behind a closing quote\n2:c|d\n");
    check("\xff,1\nc,d\n", "1!not UTF-8\n2:c|d\n");
}

static void a_quote_that_is_never_closed_costs_one_line(void **state)
{
    (void)state;
    check("a,b\n\"open,1\nc,d\n", "1:a|b\n2!a quote is not closed\n3:c|d\n");
}

static void runs_out_of_memory_without_a_leak(void **state)
{
    (void)state;
    bool done = false;
    for (unsigned n = 1; !done; n++) {
        long live = mem_fault_live();
        struct csv *csv = malloc(sizeof *csv);
        mem_fault_fail_at(n);
        csv_init(csv);
        csv_feed(csv, slice_text("a,b\n\"c\",d\n"));
        csv_end(csv);
        enum csv_result result;
        unsigned rows = 0;
        while ((result = csv_next(csv)) == CSV_ROW)
            rows++;
        mem_fault_fail_at(0);
        done = result == CSV_END;
        assert_true(done ? rows == 2 : result == CSV_MEMORY);
        csv_fini(csv);
        free(csv);
        assert_int_equal(mem_fault_live(), live);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_plain_rows),
        cmocka_unit_test(takes_crlf_and_the_byte_order_mark),
        cmocka_unit_test(undoes_quotes),
        cmocka_unit_test(counts_lines_inside_of_quotes),
        cmocka_unit_test(leaves_out_empty_lines),
        cmocka_unit_test(gives_empty_lines_as_rows_where_asked),
        cmocka_unit_test(names_a_bad_row_and_goes_on),
        cmocka_unit_test(a_quote_that_is_never_closed_costs_one_line),
        cmocka_unit_test(runs_out_of_memory_without_a_leak),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
