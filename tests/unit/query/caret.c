#include "tests/unit/query/engine.h"

#include "query/caret.h"

static void the_caret_stands_under_the_place(void **state)
{
    (void)state;
    struct query_error error;
    caret_error(&error, slice_text("SELECT a\nFROM  t\nWHERE x"), 15, "no table %s", "t");
    assert_int_equal(error.line, 2);
    assert_int_equal(error.column, 7);
    assert_string_equal(error.message, "no table t\nFROM  t\n      ^");
}

static void columns_count_characters_and_control_characters_are_blanks(void **state)
{
    (void)state;
    struct query_error error;
    caret_error(&error,
                slice_text("\tgr\xC3\xB6\xC3\x9F"
                           "e \xE2\x82\xAC x"),
                13, "here");
    assert_int_equal(error.column, 10);
    assert_string_equal(error.message, "here\n gr\xC3\xB6\xC3\x9F"
                                       "e \xE2\x82\xAC x\n         ^");
}

static void wide_characters_move_the_caret_by_two(void **state)
{
    (void)state;
    struct query_error error;
    caret_error(&error,
                slice_text("a \xE6\xB8\xA9\xE5\xBA\xA6"
                           " \xF0\x9F\x98\x80 x"),
                14, "here");
    assert_int_equal(error.column, 8);
    assert_string_equal(error.message, "here\na \xE6\xB8\xA9\xE5\xBA\xA6"
                                       " \xF0\x9F\x98\x80 x\n          ^");
}

static void a_long_line_is_clipped_around_the_caret(void **state)
{
    (void)state;
    static char text[5000];
    struct query_error error;
    memset(text, 'a', sizeof text);
    text[2500] = '?';
    caret_error(&error, slice_of(text, sizeof text), 2500, "here");
    assert_int_equal(error.column, 2501);
    char *line = strchr(error.message, '\n') + 1, *caret = strchr(line, '\n') + 1;
    assert_memory_equal(line, "...aaa", 6);
    assert_int_equal(strcspn(line, "?"), strcspn(caret, "^"));
    assert_int_equal(caret - line, 107);
}

static void nothing_is_too_long_for_the_message(void **state)
{
    (void)state;
    static char text[4000], sentence[4000];
    struct query_error error;
    for (size_t at = 0; at + 4 <= sizeof text; at += 4)
        memcpy(text + at, "\xF0\x9F\x98\x80", 4);
    memset(sentence, 'x', sizeof sentence - 1);
    for (size_t at = 0; at <= sizeof text; at += 404) {
        caret_error(&error, slice_of(text, sizeof text), at, "%s", sentence);
        assert_true(strlen(error.message) < sizeof error.message);
        assert_int_equal(error.message[strlen(error.message) - 1], '^');
        assert_int_equal(error.column, at / 4 + 1);
    }
}

static void a_piece_of_text_is_clipped_at_a_character(void **state)
{
    (void)state;
    char out[8];
    assert_string_equal(caret_clip(slice_text("short"), out, sizeof out), "short");
    assert_string_equal(caret_clip(slice_text("abc\xC3\xB6\xC3\xB6\xC3\xB6"), out, sizeof out),
                        "abc...");
    assert_string_equal(caret_clip(slice_text("a\nb"), out, sizeof out), "a b");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_caret_stands_under_the_place),
        cmocka_unit_test(columns_count_characters_and_control_characters_are_blanks),
        cmocka_unit_test(wide_characters_move_the_caret_by_two),
        cmocka_unit_test(a_long_line_is_clipped_around_the_caret),
        cmocka_unit_test(nothing_is_too_long_for_the_message),
        cmocka_unit_test(a_piece_of_text_is_clipped_at_a_character),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
