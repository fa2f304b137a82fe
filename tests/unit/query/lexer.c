#include "tests/unit/query/engine.h"

#include "query/lexer.h"
#include "query/parser.h"

static struct arena arena;

static int setup(void **state)
{
    (void)state;
    arena_init(&arena, 1u << 20);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_fini(&arena);
    return 0;
}

static void assert_tokens(const char *text, const int *types, size_t count)
{
    struct lexer lexer = {.text = slice_text(text), .arena = &arena};
    struct token token;
    for (size_t i = 0; i <= count; i++) {
        assert_int_equal(lexer_next(&lexer, &token), OK);
        assert_int_equal(token.type, i == count ? 0 : types[i]);
    }
}

#define TOKENS(text, ...)                                                                          \
    assert_tokens(text, (const int[]){__VA_ARGS__},                                                \
                  sizeof((const int[]){__VA_ARGS__}) / sizeof(int))

static void words_numbers_and_signs(void **state)
{
    (void)state;
    TOKENS("SELECT sELect selected", TOKEN_SELECT, TOKEN_SELECT, TOKEN_ID);
    TOKENS("1 1.5 .5 1. 1e5 1.5E-3", TOKEN_INTEGER, TOKEN_DECIMAL, TOKEN_DECIMAL, TOKEN_DECIMAL,
           TOKEN_APPROXIMATE, TOKEN_APPROXIMATE);
    TOKENS("a<=b<>c!=d||e", TOKEN_ID, TOKEN_LE, TOKEN_ID, TOKEN_NE, TOKEN_ID, TOKEN_NE, TOKEN_ID,
           TOKEN_CONCAT, TOKEN_ID);
    TOKENS("a-- b\n-c/* d */*e", TOKEN_ID, TOKEN_MINUS, TOKEN_ID, TOKEN_STAR, TOKEN_ID);
    TOKENS("X'0a' x :x", TOKEN_BINARY, TOKEN_ID, TOKEN_PARAMETER);
    TOKENS("timestamp TIMESTAMP '2026'", TOKEN_ID, TOKEN_TIMESTAMP, TOKEN_STRING);
    TOKENS("Temperatur\xC3\xA4", TOKEN_ID);
    assert_tokens(" \t\r\n", NULL, 0);
}

static void quotes_are_undone(void **state)
{
    (void)state;
    static const char *const texts[] = {"'it''s'", "`a``b`", "\"a\"\"b\"", "''''", "''"};
    static const char *const plain[] = {"it's", "a`b", "a\"b", "'", ""};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct lexer lexer = {.text = slice_text(texts[i]), .arena = &arena};
        struct token token;
        assert_int_equal(lexer_next(&lexer, &token), OK);
        assert_true(slice_equal(token.text, slice_text(plain[i])));
        assert_int_equal(token.len, strlen(texts[i]));
    }
}

static void what_does_not_end_is_refused_at_its_begin(void **state)
{
    (void)state;
    static const char *const texts[] = {"  'abc", "  `abc", "  \"abc", "  /* abc *",
                                        "  ``",   "  12x",  "  $"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct lexer lexer = {.text = slice_text(texts[i]), .arena = &arena};
        struct token token;
        assert_int_equal(lexer_next(&lexer, &token), ERROR_INVALID);
        assert_int_equal(token.at, 2);
        assert_non_null(lexer.why);
    }
}

static void a_plain_name_needs_no_quotes(void **state)
{
    (void)state;
    assert_true(lexer_is_plain_name(slice_text("timestamp")));
    assert_true(lexer_is_plain_name(slice_text("_a1")));
    assert_false(lexer_is_plain_name(slice_text("")));
    assert_false(lexer_is_plain_name(slice_text("1a")));
    assert_false(lexer_is_plain_name(slice_text("a-b")));
    assert_false(lexer_is_plain_name(slice_text("Select")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_numbers_and_signs),
        cmocka_unit_test(quotes_are_undone),
        cmocka_unit_test(what_does_not_end_is_refused_at_its_begin),
        cmocka_unit_test(a_plain_name_needs_no_quotes),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
