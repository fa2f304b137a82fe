#include "tests/unit/query/engine.h"

#include "query/like.h"

static bool like(const char *text, const char *pattern)
{
    bool matches = false;
    const char *why = NULL;
    assert_true(like_match(slice_text(text), slice_text(pattern), NULL, &matches, &why));
    return matches;
}

static bool like_escaped(const char *text, const char *pattern, const char *escape)
{
    bool matches = false;
    const char *why = NULL;
    struct slice slice = slice_text(escape);
    assert_true(like_match(slice_text(text), slice_text(pattern), &slice, &matches, &why));
    return matches;
}

static void wildcards_match_runs_and_characters(void **state)
{
    (void)state;
    assert_true(like("", ""));
    assert_true(like("", "%"));
    assert_false(like("", "_"));
    assert_true(like("abc", "abc"));
    assert_false(like("abc", "ab"));
    assert_false(like("abc", "ABC"));
    assert_true(like("abc", "a%"));
    assert_true(like("abc", "%c"));
    assert_true(like("abcbc", "a%bc"));
    assert_true(like("abc", "_b_"));
    assert_false(like("abc", "_b"));
    assert_true(like("mississippi", "%iss%ip%"));
    assert_false(like("mississippi", "%iss%is%is%"));
    assert_true(like("a%b", "a%%b"));
}

static void an_underscore_is_one_character_not_one_byte(void **state)
{
    (void)state;
    assert_true(like("gr\xC3\xB6\xC3\x9F"
                     "e",
                     "gr__e"));
    assert_false(like("gr\xC3\xB6\xC3\x9F"
                      "e",
                      "gr____e"));
}

static void an_escaped_wildcard_is_itself(void **state)
{
    (void)state;
    assert_true(like_escaped("50%", "50!%", "!"));
    assert_false(like_escaped("505", "50!%", "!"));
    assert_true(like_escaped("a_b!", "a!_b!!", "!"));
    assert_true(like_escaped("x50%y", "%50!%%", "!"));
}

static void a_pattern_that_escapes_nothing_is_refused(void **state)
{
    (void)state;
    bool matches;
    const char *why = NULL;
    struct slice escape = slice_text("!"), two = slice_text("ab");
    assert_false(like_match(slice_text("a"), slice_text("!a"), &escape, &matches, &why));
    assert_contains(why, "escape");
    assert_false(like_match(slice_text("a"), slice_text("a!"), &escape, &matches, &why));
    assert_false(like_match(slice_text("a"), slice_text("a"), &two, &matches, &why));
    assert_contains(why, "one character");
}

static void many_runs_take_no_exponential_time(void **state)
{
    (void)state;
    static char text[20001], pattern[401];
    memset(text, 'a', 20000);
    for (size_t i = 0; i < 400; i += 2)
        memcpy(pattern + i, "a%", 2);
    assert_true(like(text, pattern));
    pattern[399] = 'b';
    assert_false(like(text, pattern));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wildcards_match_runs_and_characters),
        cmocka_unit_test(an_underscore_is_one_character_not_one_byte),
        cmocka_unit_test(an_escaped_wildcard_is_itself),
        cmocka_unit_test(a_pattern_that_escapes_nothing_is_refused),
        cmocka_unit_test(many_runs_take_no_exponential_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
