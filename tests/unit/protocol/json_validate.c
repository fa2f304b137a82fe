/* Which documents are accepted, and the whole text for those that are not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>

#include "common/limits.h"
#include "protocol/json.h"
#include "tests/lib/mem_fault.h"

static const struct {
    const char *document;
    size_t end; /* 0: all of it */
} accepted[] = {
    {"{}", 0},
    {" \t\r\n{ } ", 7},
    {"{\"a\":1} x", 7},
    {"{\"a\":1}{\"b\":2}", 7},
    {"{3 : 2}", 0},
    {"{a-b:1}", 0},
    {"{a_$@#*+-9:1}", 0},
    {"{\xc3\xa9t\xc3\xa9:1,\xd0\xb6:2}", 0},
    {"{\"\":1}", 0},
    {"{\"a\":-0,\"b\":-128,\"c\":99999999999999999999999999}", 0},
    {"{\"a\":1e2,\"b\":1E+400,\"c\":-0.5e-7}", 0},
    {"{\"a\":\"\\q\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud800\"}", 0},
    {"{\"a\":\"\xf0\x9f\x98\x80\x7f\"}", 0},
    {"{\"a\":[true,false,null,[],{},[1,[2]]],\"b\":{\"a\":{\"a\":1}}}", 0},
    {"{\"a\":[{},[]]}", 0},
    {"{\"a\":true\n,\"b\":null}", 0},
    {"{\"@type\":\"x\"}", 0},
    {"{\"a\":1,\"A\":2,\"a \":3}", 0},
    {"{\"a\":[{\"a\":1},{\"a\":2}],\"b\":[1 , 2]}", 0},
};

static void documents_end_at_the_brace_of_the_root(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof accepted / sizeof accepted[0]; i++) {
        struct json_error error;
        size_t end,
            expected = accepted[i].end != 0 ? accepted[i].end : strlen(accepted[i].document);

        buf_init(&error.text);
        if (json_validate(slice_text(accepted[i].document), &end, &error) != OK || end != expected)
            fail_msg("%s: end %zu, %.*s", accepted[i].document, end,
                     SLICE_FMT(buf_slice(&error.text)));
        buf_fini(&error.text);
    }
}

#define PARSE  "  Caused by: com.fasterxml.jackson.core.JsonParseException: "
#define EOF_   "  Caused by: com.fasterxml.jackson.core.io.JsonEOFException: "
#define VALUES "(JSON String, Number, Array, Object or token 'null', 'true' or 'false')"

/* Lexical errors: the class, the reason, and the column of line 1. */
static const struct {
    const char *document, *class_name, *reason;
    unsigned column;
} lexical[] = {
    {"{\"a\":1,}", PARSE,
     "Unexpected character ('}' (code 125)): was expecting either valid name character (for "
     "unquoted name) or "
     "double-quote (for quoted) to start field name",
     9},
    {"{\"a\":01}", PARSE, "Invalid numeric value: Leading zeroes not allowed", 7},
    {"{\"a\":00}", PARSE, "Invalid numeric value: Leading zeroes not allowed", 7},
    {"{\"a\":-01}", PARSE, "Invalid numeric value: Leading zeroes not allowed", 8},
    {"{\"a\":.5}", PARSE, "Unexpected character ('.' (code 46)): expected a valid value " VALUES,
     7},
    {"{\"a\":1.}", PARSE,
     "Unexpected character ('}' (code 125)) in numeric value: Decimal point not followed by a "
     "digit",
     8},
    {"{\"a\":0.}", PARSE,
     "Unexpected character ('}' (code 125)) in numeric value: Decimal point not followed by a "
     "digit",
     9},
    {"{\"a\":1e}", PARSE,
     "Unexpected character ('}' (code 125)) in numeric value: Exponent indicator not followed by a "
     "digit",
     8},
    {"{\"a\":1", EOF_,
     "Unexpected end-of-input: expected close marker for Object (start marker at [Source: "
     "(String)\"{\"a\":1\"; "
     "line: 1, column: 1])",
     7},
    {"{\"a\":1.", PARSE,
     "Unexpected character ('.' (code 46)) in numeric value: Decimal point not followed by a digit",
     8},
    {"{\"a\":1e", EOF_, "Unexpected end-of-inputexpected a digit for number exponent", 8},
    {"{\"a\":-", EOF_, "Unexpected end-of-inputNo digit following minus sign", 7},
    {"{\"a\":-x}", PARSE,
     "Unexpected character ('x' (code 120)) in numeric value: expected digit (0-9) to follow minus "
     "sign, for valid "
     "numeric value",
     8},
    {"{\"a\":+1}", PARSE,
     "Unexpected character ('1' (code 49)) in numeric value: expected digit (0-9) to follow minus "
     "sign, for valid "
     "numeric value",
     8},
    {"{\"a\":-Infinity}", PARSE,
     "Non-standard token '-Infinity': enable JsonParser.Feature.ALLOW_NON_NUMERIC_NUMBERS to allow",
     15},
    {"{\"a\":NaN}", PARSE,
     "Non-standard token 'NaN': enable JsonParser.Feature.ALLOW_NON_NUMERIC_NUMBERS to allow", 9},
    {"{\"a\":Infinity}", PARSE,
     "Non-standard token 'Infinity': enable JsonParser.Feature.ALLOW_NON_NUMERIC_NUMBERS to allow",
     14},
    {"{\"a\":tru}", PARSE, "Unrecognized token 'tru': was expecting " VALUES, 9},
    {"{\"a\":truex}", PARSE, "Unrecognized token 'truex': was expecting " VALUES, 11},
    {"{\"a\":nul", PARSE, "Unrecognized token 'nul': was expecting " VALUES, 9},
    {"{\"a\":abc}", PARSE, "Unrecognized token 'abc': was expecting " VALUES, 9},
    {"{a b:1}", PARSE,
     "Unexpected character ('b' (code 98)): was expecting a colon to separate field name and value",
     5},
    {"{a.b:1}", PARSE,
     "Unexpected character ('.' (code 46)): was expecting a colon to separate field name and value",
     4},
    {"{'a':1}", PARSE,
     "Unexpected character (''' (code 39)): was expecting either valid name character (for "
     "unquoted name) or "
     "double-quote (for quoted) to start field name",
     3},
    {"{\"a\":1 \"b\":2}", PARSE,
     "Unexpected character ('\"' (code 34)): was expecting comma to separate Object entries", 9},
    {"{\"a\":[1 2]}", PARSE,
     "Unexpected character ('2' (code 50)): was expecting comma to separate Array entries", 10},
    {"{\"a\":[1,]}", PARSE, "Unexpected character (']' (code 93)): expected a valid value " VALUES,
     10},
    {"{\"a\":}", PARSE, "Unexpected character ('}' (code 125)): expected a value", 7},
    {"{\"a\":\"x\ty\"}", PARSE,
     "Illegal unquoted character ((CTRL-CHAR, code 9)): has to be escaped using backslash to be "
     "included in string "
     "value",
     9},
    {"{\"a\nb\":1}", PARSE,
     "Illegal unquoted character ((CTRL-CHAR, code 10)): has to be escaped using backslash to be "
     "included in name",
     5},
    {"{\x01\"a\":1}", PARSE,
     "Illegal character ((CTRL-CHAR, code 1)): only regular white space (\\r, \\n, \\t) is allowed "
     "between tokens",
     3},
    {"{/**/}", PARSE,
     "Unexpected character ('/' (code 47)): maybe a (non-standard) comment? (not recognized as one "
     "since Feature "
     "'ALLOW_COMMENTS' not enabled for parser)",
     3},
    {"{\"a\":\"\\u12x4\"}", PARSE,
     "Unexpected character ('x' (code 120)): expected a hex-digit for character escape sequence",
     12},
    {"{\"a\":\"x", EOF_, "Unexpected end-of-input: was expecting closing quote for a string value",
     8},
    {"{\"a\":\"\\", EOF_, "Unexpected end-of-input in character escape sequence", 8},
    {"{\"a", EOF_, "Unexpected end-of-input in field name", 4},
    {"{\"a\"", EOF_, "Unexpected end-of-input within/between Object entries", 5},
    {"{\"a\":", EOF_, "Unexpected end-of-input within/between Object entries", 6},
    {"{\"a\":1,", PARSE, "Unexpected end-of-input within/between Object entries", 8},
    {"{\"name\":\"Johan\"]", PARSE,
     "Unexpected close marker ']': expected '}' (for Object starting at [Source: "
     "(String)\"{\"name\":\"Johan\"]\"; line: "
     "1, column: 1])",
     17},
    {"{\"a\":[}", PARSE,
     "Unexpected close marker '}': expected ']' (for Array starting at [Source: "
     "(String)\"{\"a\":[}\"; line: 1, column: "
     "6])",
     8},
    {"]", PARSE,
     "Unexpected close marker ']': expected '}' (for root starting at [Source: (String)\"]\"; "
     "line: 1, column: 0])",
     2},
    {"\xef\xbb\xbf{}", PARSE,
     "Unexpected character ('\xef\xbb\xbf' (code 65279 / 0xfeff)): expected a valid value " VALUES,
     2},
    {"{\"\xf0\x9f\x98\x80\":\xf0\x9f\x98\x80}", PARSE,
     "Unexpected character ('?' (code 55357 / 0xd83d)): expected a valid value " VALUES, 8},
    {"12x", PARSE,
     "Unexpected character ('x' (code 120)): Expected space separating root-level values", 4},
};

static void check_refusal(const char *document, const char *expected)
{
    struct json_error error;
    enum error result;
    size_t end;

    buf_init(&error.text);
    result = json_validate(slice_text(document), &end, &error);
    buf_append_byte(&error.text, 0);
    if (result != ERROR_INVALID || strcmp((char *)error.text.data, expected) != 0)
        fail_msg("%s: %d\n  gives    %s\n  expected %s", document, result, (char *)error.text.data,
                 expected);
    buf_fini(&error.text);
}

static void lexical_errors_have_jacksons_texts_and_places(void **state)
{
    char expected[1024];

    (void)state;
    for (size_t i = 0; i < sizeof lexical / sizeof lexical[0]; i++) {
        snprintf(expected, sizeof expected,
                 "%s%s\n at [Source: (String)\"%s\"; line: 1, column: %u]", lexical[i].class_name,
                 lexical[i].reason, lexical[i].document, lexical[i].column);
        check_refusal(lexical[i].document, expected);
    }
}

static const struct {
    const char *document;
    unsigned column;
    const char *cause;
} structural[] = {
    {"{\"a\":1,\"a\":2}", 13,
     "org.apache.geode.pdx.PdxFieldAlreadyExistsException: The field \"a\" already exists."},
    {"{\"a\":1,a:\"x\"}", 13,
     "org.apache.geode.pdx.PdxFieldAlreadyExistsException: The field \"a\" already exists."},
    {"{\"\\u0061\":{},\"a\":[1]}", 21,
     "org.apache.geode.pdx.PdxFieldAlreadyExistsException: The field \"a\" already exists."},
    {"{\"x\":{\"b\":1,\"b\":true}}", 21,
     "org.apache.geode.pdx.PdxFieldAlreadyExistsException: The field \"b\" already exists."},
    {"[1,2]", 2, "java.lang.IllegalStateException: Array start called when state is NONE"},
    {"\"x\"", 2, "java.lang.IllegalStateException: stringFound called when state is NONE"},
    {"1", 2, "java.lang.IllegalStateException: intFound called when state is NONE"},
    {"1.5 ", 4, "java.lang.IllegalStateException: doubleFound called when state is NONE"},
    {"true", 5, "java.lang.IllegalStateException: boolFound called when state is NONE"},
    {"null", 5, "java.lang.IllegalStateException: nullFound called when state is NONE"},
    {"", 1, "java.lang.NullPointerException"},
    {"  ", 3, "java.lang.NullPointerException"},
};

static void what_geode_refuses_itself_names_its_place_first(void **state)
{
    char expected[1024];

    (void)state;
    for (size_t i = 0; i < sizeof structural / sizeof structural[0]; i++) {
        snprintf(expected, sizeof expected,
                 ": [Source: (String)\"%s\"; line: 1, column: %u] Caused by: %s",
                 structural[i].document, structural[i].column, structural[i].cause);
        check_refusal(structural[i].document, expected);
    }
}

static void lines_and_columns_count_utf_16_units(void **state)
{
    (void)state;
    check_refusal(
        "{\n\"\xf0\x9f\x98\x80\":\r\n1,\r\"b\" x}", PARSE
        "Unexpected character ('x' (code 120)): was expecting a colon to separate field name and "
        "value\n "
        "at [Source: (String)\"{\n\"\xf0\x9f\x98\x80\":\r\n1,\r\"b\" x}\"; line: 4, column: 6]");
    check_refusal("{\"\xf0\x9f\x98\x80\" x}",
                  PARSE "Unexpected character ('x' (code 120)): was expecting a colon to separate "
                        "field name and value\n "
                        "at [Source: (String)\"{\"\xf0\x9f\x98\x80\" x}\"; line: 1, column: 8]");
}

/* {"k0":v,"k1":v,...,"kN":v} with one more field at the end. */
static void make_wide(struct buf *document, unsigned count, const char *last)
{
    buf_append_byte(document, '{');
    for (unsigned i = 0; i < count; i++)
        buf_printf(document, "\"k%u\":%u,", i, i);
    buf_printf(document, "\"%s\":0}", last);
}

static void a_wide_object_is_checked_without_squares_and_its_repeats_are_found(void **state)
{
    static const unsigned counts[] = {2, 15, 16, 17, 40, 200000};
    struct json_error error;
    size_t end;

    (void)state;
    buf_init(&error.text);
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        struct buf document;
        char name[64];

        buf_init(&document);
        make_wide(&document, counts[i], "last");
        assert_int_equal(json_validate(buf_slice(&document), &end, &error), OK);
        assert_int_equal(end, document.len);
        snprintf(name, sizeof name, "k%u", counts[i] / 2);
        buf_clear(&document);
        make_wide(&document, counts[i], name);
        assert_int_equal(json_validate(buf_slice(&document), &end, &error), ERROR_INVALID);
        snprintf(name, sizeof name, "The field \"k%u\" already exists.", counts[i] / 2);
        buf_append_byte(&error.text, 0);
        assert_non_null(strstr((char *)error.text.data, name));
        buf_clear(&error.text);
        buf_fini(&document);
    }
    buf_fini(&error.text);
}

static void depth_is_bounded(void **state)
{
    (void)state;
    for (unsigned depth = LIMIT_JSON_DEPTH - 1; depth <= LIMIT_JSON_DEPTH; depth++) {
        struct json_error error;
        struct buf document;
        size_t end;

        buf_init(&document);
        buf_init(&error.text);
        buf_append_text(&document, "{\"a\":");
        for (unsigned i = 0; i < depth; i++)
            buf_append_byte(&document, '[');
        for (unsigned i = 0; i < depth; i++)
            buf_append_byte(&document, ']');
        buf_append_byte(&document, '}');
        assert_int_equal(json_validate(buf_slice(&document), &end, &error),
                         depth < LIMIT_JSON_DEPTH ? OK : ERROR_INVALID);
        buf_fini(&error.text);
        buf_fini(&document);
    }
}

static void what_is_no_utf_8_is_refused(void **state)
{
    (void)state;
    check_refusal("{\"a\":\"\xff\"}",
                  PARSE "Invalid UTF-8\n at [Source: (String)\"{\"a\":\"\xff\"}\"; "
                        "line: 1, column: 1]");
}

static void failed_allocations_are_told_and_leak_nothing(void **state)
{
    static const char *const documents[] = {"{\"a\":1,\"a\":2}", "{\"a\":{\"b\":[1,{\"c\":1}]}}",
                                            "{\"a\":[}", "{\"a\":1"};

    (void)state;
    for (size_t i = 0; i < sizeof documents / sizeof documents[0]; i++) {
        long before = mem_fault_live();
        enum error result = ERROR_MEMORY;

        for (unsigned long n = 1; result == ERROR_MEMORY; n++) {
            struct json_error error;
            size_t end;

            buf_init(&error.text);
            mem_fault_fail_at(n);
            result = json_validate(slice_text(documents[i]), &end, &error);
            mem_fault_fail_at(0);
            buf_fini(&error.text);
            assert_int_equal(mem_fault_live(), before);
            assert_true(n < 50);
        }
        assert_int_equal(result, i == 1 ? OK : ERROR_INVALID);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents_end_at_the_brace_of_the_root),
        cmocka_unit_test(lexical_errors_have_jacksons_texts_and_places),
        cmocka_unit_test(what_geode_refuses_itself_names_its_place_first),
        cmocka_unit_test(lines_and_columns_count_utf_16_units),
        cmocka_unit_test(a_wide_object_is_checked_without_squares_and_its_repeats_are_found),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(what_is_no_utf_8_is_refused),
        cmocka_unit_test(failed_allocations_are_told_and_leak_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
