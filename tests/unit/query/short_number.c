#include "tests/unit/query/engine.h"

#include <stdlib.h>

#include "query/short_number.h"

static void short_decimals_are_read_as_strtod_reads_them(void **state)
{
    (void)state;
    uint64_t seed = 42;
    for (uint32_t i = 0; i < 200000; i++) {
        char text[40];
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        uint64_t digits = (seed >> 20) % 1000000000000000u;
        (void)snprintf(text, sizeof text, "%s%llu.%0*llu", seed & 1 ? "-" : "",
                       (unsigned long long)(digits / 1000000), (int)(seed >> 8 & 3) + 3,
                       (unsigned long long)(digits % 1000));
        double ours, theirs = strtod(text, NULL);
        if (!short_number_read(slice_text(text), &ours))
            continue;
        assert_memory_equal(&ours, &theirs, sizeof ours);
    }
}

static void minus_zero_keeps_its_sign(void **state)
{
    (void)state;
    double number = 1;
    assert_true(short_number_read(slice_text("-0.0"), &number));
    assert_true(number == 0 && __builtin_signbit(number));
}

static void what_is_not_short_is_left_to_others(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "", "-", ".5", "1e5", "1.", "0.1234567890123456", "1234567890123456", "12x", "NaN"};
    double number;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (short_number_read(slice_text(texts[i]), &number))
            assert_true(strcmp(texts[i], "1.") == 0 && number == 1); /* no JSON writes this */
}

static void integers_are_read_to_their_ends(void **state)
{
    (void)state;
    int64_t number;
    char text[20];
    assert_true(short_number_read_long(slice_text("9223372036854775807"), &number));
    assert_true(number == INT64_MAX);
    assert_true(short_number_read_long(slice_text("-9223372036854775808"), &number));
    assert_true(number == INT64_MIN);
    assert_int_equal(short_number_write_long(INT64_MIN, text), 20);
    assert_memory_equal(text, "-9223372036854775808", 20);
    assert_int_equal(short_number_write_long(0, text), 1);
    assert_false(short_number_read_long(slice_text("9223372036854775808"), &number));
    assert_false(short_number_read_long(slice_text("-9223372036854775809"), &number));
    assert_false(short_number_read_long(slice_text("99999999999999999999999"), &number));
    assert_false(short_number_read_long(slice_text("1.0"), &number));
    assert_false(short_number_read_long(slice_text("-"), &number));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(short_decimals_are_read_as_strtod_reads_them),
        cmocka_unit_test(minus_zero_keeps_its_sign),
        cmocka_unit_test(what_is_not_short_is_left_to_others),
        cmocka_unit_test(integers_are_read_to_their_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
