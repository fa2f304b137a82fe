/* Walking a document's fields and undoing escapes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "protocol/json.h"

static void the_fields_of_the_root_come_in_order(void **state)
{
    static const struct {
        const char *name, *text;
        enum json_type type;
        bool escaped;
    } expected[] = {
        {"i", "-12", JSON_INTEGER, false},
        {"r", "1.5e3", JSON_REAL, false},
        {"s", "a\\\"}b", JSON_STRING, true},
        {"o", "{\"x\":\"}\",\"y\":[1]}", JSON_OBJECT, false},
        {"l", "[1,{\"a\":2},\"]\"]", JSON_ARRAY, false},
        {"t", "true", JSON_TRUE, false},
        {"f", "false", JSON_FALSE, false},
        {"n", "null", JSON_NULL, false},
        {"", "", JSON_STRING, false},
    };
    struct slice document =
        slice_text(" { \"i\" : -12 ,\"r\":1.5e3,s:\"a\\\"}b\",\"o\":{\"x\":\"}\",\"y\":[1]},"
                   "l : [1,{\"a\":2},\"]\"] ,\"t\":true,\"f\":false,\n\"n\":null,\"\":\"\"} x:1}");
    struct json_token value;
    struct slice name;
    size_t at = 0, i = 0;
    bool escaped;

    (void)state;
    while (json_next_field(document, &at, &name, &escaped, &value)) {
        assert_true(i < sizeof expected / sizeof expected[0]);
        assert_true(slice_equal(name, slice_text(expected[i].name)));
        assert_false(escaped);
        assert_int_equal(value.type, expected[i].type);
        if (!slice_equal(value.text, slice_text(expected[i].text)))
            fail_msg("%s: %.*s", expected[i].name, SLICE_FMT(value.text));
        assert_int_equal(value.escaped, expected[i].escaped);
        i++;
    }
    assert_int_equal(i, sizeof expected / sizeof expected[0]);
}

static void an_empty_document_has_no_fields(void **state)
{
    struct json_token value;
    struct slice name;
    size_t at = 0;
    bool escaped;

    (void)state;
    assert_false(json_next_field(slice_text(" { } "), &at, &name, &escaped, &value));
    at = 0;
    assert_true(json_next_field(slice_text("{\"\\u0061\":1}"), &at, &name, &escaped, &value));
    assert_true(escaped);
    assert_true(slice_equal(name, slice_text("\\u0061")));
}

static void a_walk_over_what_is_no_document_stays_inside(void **state)
{
    static const char *const broken[] = {
        "",           "{",         "{\"",          "{\"a",     "{\"a\"",
        "{\"a\":",    "{\"a\":\"", "{\"a\":\"\\",  "{\"a\":[", "{a",
        "{\"a\":{\"", "{,,",       "{\"a\":[\"\\", "]",        "{\"a\":]"};

    (void)state;
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        /* On the heap, so that the sanitizer sees a step too far. */
        struct buf document;
        struct json_token value;
        struct slice name;
        size_t at = 0, steps = 0;
        bool escaped;

        buf_init(&document);
        buf_append_text(&document, broken[i]);
        while (json_next_field(buf_slice(&document), &at, &name, &escaped, &value))
            assert_true(++steps < 10);
        assert_true(at <= document.len);
        buf_fini(&document);
    }
}

static void escapes_are_undone(void **state)
{
    static const struct {
        const char *from, *to;
    } rows[] = {
        {"plain", "plain"},
        {"\\\"\\\\\\/\\b\\f\\n\\r\\t", "\"\\/\b\f\n\r\t"},
        {"\\q\\x", "qx"},
        {"\\u0041\\u00e9\\u20AC", "A\xc3\xa9\xe2\x82\xac"},
        {"\\ud83d\\ude00!", "\xf0\x9f\x98\x80!"},
        {"\\ud83d", "\xef\xbf\xbd"},
        {"\\ude00\\ud83dx", "\xef\xbf\xbd\xef\xbf\xbdx"},
        {"\\ud83d\\u0041", "\xef\xbf\xbd"
                           "A"},
        {"\xf0\x9f\x98\x80\\n", "\xf0\x9f\x98\x80\n"},
        {"\\\xc3\xa9", "\xc3\xa9"},
        {"", ""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buf out;

        buf_init(&out);
        json_unescape(slice_text(rows[i].from), &out);
        if (!slice_equal(buf_slice(&out), slice_text(rows[i].to)))
            fail_msg("%s gives %.*s", rows[i].from, SLICE_FMT(buf_slice(&out)));
        buf_fini(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_fields_of_the_root_come_in_order),
        cmocka_unit_test(an_empty_document_has_no_fields),
        cmocka_unit_test(a_walk_over_what_is_no_document_stays_inside),
        cmocka_unit_test(escapes_are_undone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
