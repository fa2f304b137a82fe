/* Characters of Java's identifiers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "protocol/java_identifier.h"

static void parts_are_letters_digits_marks_and_signs(void **state)
{
    static const uint32_t parts[] = {'a',    'Z',    '0',   '_',    '$',    0,      0x7f,
                                     0xa2,   0xad,   0xe9,  0x416,  0x4e2d, 0x0660, 0x203f,
                                     0x20ac, 0xfeff, 0x300, 0xac00, 0xffdc};
    static const uint32_t others[] = {' ',    '\t',   '.',    '-',    '"',    0xa0,
                                      0xa7,   0xd7,   0xf7,   0x2014, 0x3000, 0xd83d,
                                      0xde00, 0xe000, 0xffff, 0x1f600};

    (void)state;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (!java_is_identifier_part(parts[i]))
            fail_msg("U+%04X is no part", parts[i]);
    }
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        if (java_is_identifier_part(others[i]))
            fail_msg("U+%04X is a part", others[i]);
    }
}

static void starts_are_no_digits_and_nothing_invisible(void **state)
{
    (void)state;
    assert_true(java_is_identifier_start('a'));
    assert_true(java_is_identifier_start('_'));
    assert_true(java_is_identifier_start(0xe9));
    assert_false(java_is_identifier_start('0'));
    assert_false(java_is_identifier_start(0));
    assert_false(java_is_identifier_start(0xfeff));
    assert_false(java_is_identifier_start('.'));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_are_letters_digits_marks_and_signs),
        cmocka_unit_test(starts_are_no_digits_and_nothing_invisible),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
