/* Names that come twice. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "common/limits.h"
#include "protocol/json_names.h"

/* The names of one object, separated by spaces, the last of which may be a repeat; returns the
 * place of the repeat, or -1. */
static int find_twice(const char *text)
{
    struct slice document = slice_text(text);
    struct json_name twice = {0};
    struct json_names names;
    int found = -1;

    json_names_init(&names, document);
    for (size_t at = 0; at < document.len && found < 0;) {
        size_t start = at;

        while (at < document.len && text[at] != ' ')
            at++;
        assert_int_equal(json_names_push(&names, start, at - start,
                                         memchr(text + start, '\\', at - start) != NULL),
                         OK);
        if (json_names_set(&names, 0, at))
            found = (int)start;
        at++;
    }
    if (found < 0 && json_names_pop(&names, 0, &twice))
        found = (int)twice.start;
    json_names_fini(&names);
    return found;
}

static void names_are_compared_by_their_characters(void **state)
{
    (void)state;
    assert_int_equal(find_twice("a b c"), -1);
    assert_int_equal(find_twice("a b a"), 4);
    assert_int_equal(find_twice("a \\u0061"), 2);
    assert_int_equal(find_twice("a ab A"), -1);
    assert_int_equal(find_twice("\\ud83d\\ude00 \xf0\x9f\x98\x80"), 13);
    assert_int_equal(find_twice("\\ud83d \\ude00 \\ud83d\\ude00"), -1);
    assert_int_equal(find_twice("\\n \\u000a"), 3);
    assert_int_equal(find_twice("x\\y xy"), 4);
}

static void of_many_names_the_first_repeat_is_found(void **state)
{
    (void)state;
    assert_int_equal(find_twice("a b c d e f g h i j k l m n o p q r s t u v w x y z"), -1);
    assert_int_equal(find_twice("a b c d e f g h i j k l m n o p q r s t u z v a w b"), 46);
    assert_int_equal(find_twice("a b c d e f g h i j k l m n o p q q q r"), 34);
}

static void names_of_an_inner_object_do_not_count_outside(void **state)
{
    struct json_names names;
    struct json_name twice;

    (void)state;
    json_names_init(&names, slice_text("aabb"));
    assert_int_equal(json_names_push(&names, 0, 1, false), OK);
    assert_int_equal(json_names_push(&names, 1, 1, false), OK); /* the inner object's */
    assert_false(json_names_set(&names, 1, 2));
    assert_false(json_names_pop(&names, 1, &twice));
    assert_false(json_names_set(&names, 0, 2));
    json_names_fini(&names);
}

static void their_number_is_bounded(void **state)
{
    struct json_names names;

    (void)state;
    json_names_init(&names, slice_text("a"));
    for (size_t i = 0; i < LIMIT_JSON_NAMES; i++)
        assert_int_equal(json_names_push(&names, 0, 1, false), OK);
    assert_int_equal(json_names_push(&names, 0, 1, false), ERROR_LIMIT);
    json_names_fini(&names);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_compared_by_their_characters),
        cmocka_unit_test(of_many_names_the_first_repeat_is_found),
        cmocka_unit_test(names_of_an_inner_object_do_not_count_outside),
        cmocka_unit_test(their_number_is_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
