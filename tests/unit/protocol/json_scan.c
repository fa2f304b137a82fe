/* Single tokens: where each ends. Their error texts are tested with the whole check. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "protocol/json_scan.h"

static struct json_check check_of(const char *document)
{
    return (struct json_check){.document = slice_text(document), .depth = 1};
}

static void numbers_end_where_they_cannot_go_on(void **state)
{
    static const struct {
        const char *document;
        size_t end;
    } rows[] = {{"0,", 1},      {"-0]", 2}, {"10.50}", 5}, {"1e5 ", 3}, {"1E-05,", 5},
                {"0.1e+2,", 6}, {"123", 3}, {"0", 1},      {"-1.5", 4}, {"12a", 2}};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct json_check check = check_of(rows[i].document);

        assert_int_equal(json_check_number(&check), OK);
        assert_int_equal(check.at, rows[i].end);
    }
}

static void words_end_where_a_letter_cannot_follow(void **state)
{
    static const char *const good[] = {"true",  "true,", "true}", "true]",
                                       "true ", "true$", "true:"};

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct json_check check = check_of(good[i]);

        /* The dollar is below the digits, so the reference does not look at it; what follows will
         * fail. */
        assert_int_equal(json_check_word(&check, "true"), OK);
        assert_int_equal(check.at, 4);
    }
}

static void strings_end_at_their_quote(void **state)
{
    static const struct {
        const char *document;
        size_t end;
        bool escaped;
    } rows[] = {{"\"", 1, false},
                {"a\"b\"", 2, false},
                {"\\\"\"", 3, true},
                {"\\\\\"\"", 3, true},
                {"\\u0022\"x", 7, true},
                {"\xc3\xa9\"", 3, false},
                {"\\\xf0\x9f\x98\x80\"", 6, true}};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct json_check check = check_of(rows[i].document);
        bool escaped;

        assert_int_equal(json_check_string(&check, "string value", "", &escaped), OK);
        assert_int_equal(check.at, rows[i].end);
        assert_int_equal(escaped, rows[i].escaped);
    }
}

static void white_space_is_skipped(void **state)
{
    struct json_check check = check_of(" \t\r\n x");
    int byte;

    (void)state;
    assert_int_equal(json_skip_space(&check, &byte), OK);
    assert_int_equal(byte, 'x');
    assert_int_equal(check.at, 5);
    check = check_of("  ");
    assert_int_equal(json_skip_space(&check, &byte), OK);
    assert_int_equal(byte, JSON_END);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_end_where_they_cannot_go_on),
        cmocka_unit_test(words_end_where_a_letter_cannot_follow),
        cmocka_unit_test(strings_end_at_their_quote),
        cmocka_unit_test(white_space_is_skipped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
