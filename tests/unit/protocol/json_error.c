/* The places that texts name, and how much of a document they repeat. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "protocol/json_impl.h"
#include "tests/lib/mem_fault.h"

static void fill(struct buf *document, const char *unit, size_t count)
{
    buf_init(document);
    for (size_t i = 0; i < count; i++)
        buf_append_text(document, unit);
}

static void check_text(struct slice document, const char *start, const char *end)
{
    struct json_error error;
    struct json_place place = {document, document.len, 0};

    buf_init(&error.text);
    assert_int_equal(json_fail_structure(&error, place, "%s", "X"), ERROR_INVALID);
    assert_true(error.text.len >= strlen(start) + strlen(end));
    assert_memory_equal(error.text.data, start, strlen(start));
    assert_memory_equal(error.text.data + error.text.len - strlen(end), end, strlen(end));
    buf_fini(&error.text);
}

static void five_hundred_units_are_repeated(void **state)
{
    struct buf document;

    (void)state;
    fill(&document, "x", 500);
    check_text(buf_slice(&document), ": [Source: (String)\"xxxx",
               "x\"; line: 1, column: 501] Caused by: X");
    buf_append_text(&document, "yz");
    check_text(buf_slice(&document), ": [Source: (String)\"xxxx",
               "x\"[truncated 2 chars]; line: 1, column: 503] Caused by: X");
    buf_fini(&document);
    fill(&document, "\xf0\x9f\x98\x80", 250);
    check_text(buf_slice(&document), ": [Source: (String)\"\xf0\x9f",
               "\x98\x80\"; line: 1, column: 501] Caused by: X");
    buf_fini(&document);
    fill(&document, "x", 499);
    buf_append_text(&document, "\xf0\x9f\x98\x80");
    check_text(buf_slice(&document), ": [Source: (String)\"xxxx",
               "x?\"[truncated 1 chars]; line: 1, column: 502] Caused by: X");
    buf_fini(&document);
}

static void a_document_beyond_32768_units_is_not_repeated(void **state)
{
    struct buf document;

    (void)state;
    fill(&document, "x", 0x8001);
    check_text(buf_slice(&document), ": [Source: (StringReader); line: 1, column: 32770]",
               " Caused by: X");
    buf_fini(&document);
}

static void units_are_named_as_jackson_does(void **state)
{
    static const struct {
        uint32_t unit;
        const char *name;
    } rows[] = {
        {'}', "'}' (code 125)"},
        {9, "(CTRL-CHAR, code 9)"},
        {0x7f, "(CTRL-CHAR, code 127)"},
        {0x85, "(CTRL-CHAR, code 133)"},
        {0xe9, "'\xc3\xa9' (code 233)"},
        {0x20ac, "'\xe2\x82\xac' (code 8364 / 0x20ac)"},
        {0xd83d, "'?' (code 55357 / 0xd83d)"},
    };
    char name[JSON_UNIT_NAME_BYTES];

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        json_name_unit(name, rows[i].unit);
        assert_string_equal(name, rows[i].name);
    }
}

static void without_memory_the_text_is_an_error_of_its_own(void **state)
{
    struct json_error error;
    struct json_place place = {slice_text("{"), 1, 0};

    (void)state;
    buf_init(&error.text);
    mem_fault_fail_at(1);
    assert_int_equal(json_fail_lexical(&error, JSON_PARSE_EXCEPTION, place, "x"), ERROR_MEMORY);
    mem_fault_fail_at(0);
    buf_fini(&error.text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(five_hundred_units_are_repeated),
        cmocka_unit_test(a_document_beyond_32768_units_is_not_repeated),
        cmocka_unit_test(units_are_named_as_jackson_does),
        cmocka_unit_test(without_memory_the_text_is_an_error_of_its_own),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
