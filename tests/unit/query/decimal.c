#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "query/decimal.h"

/* A decimal as it is written: its digits and their scale. */
struct number {
    int128 digits;
    unsigned scale;
};

static struct number number(const char *text)
{
    struct query_type type;
    struct number number;
    assert_int_equal(decimal_parse_literal(slice_text(text), &number.digits, &type),
                     DECIMAL_PARSED);
    number.scale = type.scale;
    return number;
}

static void assert_result(bool fits, int128 digits, unsigned scale, const char *expected)
{
    char text[DECIMAL_TEXT_MAX];
    assert_int_equal(fits, expected != NULL);
    if (fits) {
        decimal_format(digits, scale, text);
        assert_string_equal(text, expected);
    }
}

#define LARGEST "99999999999999999999999999999999999999"

static void computes_to_the_asked_scale_and_rounds_half_up(void **state)
{
    (void)state;
    static const struct {
        char op;
        const char *a, *b;
        unsigned scale;
        const char *result; /* NULL: does not fit */
    } CASES[] = {
        {'+', "1.05", "2.005", 3, "3.055"},
        {'+', "1.05", "2.005", 2, "3.06"},
        {'+', "-1.05", "-2.005", 2, "-3.06"},
        {'+', "1.05", "-2.005", 2, "-0.96"},
        {'+', LARGEST, "1", 0, NULL},
        {'+', LARGEST, "-" LARGEST, 0, "0"},
        {'+', "-" LARGEST, "-" LARGEST, 0, NULL},
        {'+', LARGEST, "0.4", 0, LARGEST},
        {'+', LARGEST, "0.5", 0, NULL},
        {'*', "1.5", "-1.5", 2, "-2.25"},
        {'*', "1.5", "-1.5", 1, "-2.3"},
        {'*', "0.00000000000000000000000000000000000001", "0.5", 38,
         "0.00000000000000000000000000000000000001"},
        {'*', "0.00000000000000000000000000000000000001", "0.4", 38,
         "0.00000000000000000000000000000000000000"},
        {'*', LARGEST, "10", 0, NULL},
        {'*', LARGEST, "0.00000000000000000000000000000000000001", 0, "1"},
        {'/', "5", "3", 6, "1.666667"},
        {'/', "-5", "3", 6, "-1.666667"},
        {'/', "0.000001", "2", 6, "0.000001"},
        {'/', "-0.000001", "2", 6, "-0.000001"},
        {'/', "-0.000003", "2", 6, "-0.000002"},
        {'/', "1", LARGEST, 38, "0.00000000000000000000000000000000000001"},
        {'/', "1", "0.00000000000000000000000000000000000001", 0, NULL},
        {'/', LARGEST, "2", 0, "50000000000000000000000000000000000000"},
        {'/', LARGEST, "2", 1, NULL}, /* 39 digits */
        {'/', "0", "7", 6, "0.000000"},
        {'/', "1", "3", 38, "0.33333333333333333333333333333333333333"},
        {'/', "2", "3", 37, "0.6666666666666666666666666666666666667"},
        {'%', "7.5", "2", 1, "1.5"},
        {'%', "-7.5", "2", 1, "-1.5"},
        {'%', "7.5", "-2.25", 2, "0.75"},
        {'%', LARGEST, "0.00000000000000000000000000000000000007", 38,
         "0.00000000000000000000000000000000000002"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct number a = number(CASES[i].a), b = number(CASES[i].b);
        unsigned scale = CASES[i].scale;
        int128 result = 0;
        bool fits = false;
        switch (CASES[i].op) {
        case '+':
            fits = decimal_add_scaled(a.digits, a.scale, b.digits, b.scale, scale, &result);
            break;
        case '*':
            fits = decimal_multiply(a.digits, a.scale, b.digits, b.scale, scale, &result);
            break;
        case '/':
            fits = decimal_divide(a.digits, a.scale, b.digits, b.scale, scale, &result);
            break;
        default:
            fits = decimal_modulo(a.digits, a.scale, b.digits, b.scale, scale, &result);
        }
        assert_result(fits, result, scale, CASES[i].result);
    }
}

static void a_quotient_is_rounded_to_38_digits_first(void **state)
{
    (void)state;
    /* The quotient is 1.5 less 1 / (2 * divisor), and would be 1 if it were rounded once. Flink's
     * is 2. */
    int128 divisor = decimal_power(37) * 6 + 1, result;
    int128 dividend = divisor + (divisor - 1) / 2;
    assert_true(decimal_divide(dividend, 0, divisor, 0, 0, &result));
    assert_true(result == 2);
    assert_true(decimal_divide(dividend - 100, 0, divisor, 0, 0, &result));
    assert_true(result == 1);
}

static void adds_until_38_digits_are_full(void **state)
{
    (void)state;
    int128 largest = number(LARGEST).digits, sum = 5;
    assert_true(decimal_add(largest, -largest, &sum));
    assert_true(sum == 0);
    assert_false(decimal_add(largest, 1, &sum));
    assert_false(decimal_add(-largest, -1, &sum));
    assert_false(decimal_add(largest, largest, &sum)); /* more than 128 bits */
    assert_true(sum == 0);
    assert_true(decimal_add(largest - 1, 1, &sum));
    assert_true(sum == largest);
}

static void fits_means_fewer_than_precision_digits(void **state)
{
    (void)state;
    assert_true(decimal_fits(99999, 5));
    assert_false(decimal_fits(100000, 5));
    assert_false(decimal_fits(-100000, 5));
    assert_true(decimal_fits(0, 0));
    assert_false(decimal_fits(-1, 0));
}

static void compares_across_scales(void **state)
{
    (void)state;
    assert_int_equal(decimal_compare(150, 2, 15, 1), 0);
    assert_true(decimal_compare(151, 2, 15, 1) > 0);
    assert_true(decimal_compare(-151, 2, -15, 1) < 0);
    assert_true(decimal_compare(-1, 38, 1, 0) < 0);
    int128 largest = number(LARGEST).digits;
    assert_true(decimal_compare(largest, 0, largest, 38) > 0);
    assert_true(decimal_compare(-largest, 0, -largest, 38) < 0);
}

static void reads_what_java_reads(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        unsigned scale;
        enum decimal_parsed parsed;
        const char *result;
    } CASES[] = {
        {"12.345", 2, DECIMAL_PARSED, "12.35"},
        {"-12.345", 2, DECIMAL_PARSED, "-12.35"},
        {"+.5", 0, DECIMAL_PARSED, "1"},
        {"5.", 1, DECIMAL_PARSED, "5.0"},
        {"1.5E3", 0, DECIMAL_PARSED, "1500"},
        {"1.5e-3", 3, DECIMAL_PARSED, "0.002"},
        {"0.00000000000000000000000000000000000000000000000004", 2, DECIMAL_PARSED, "0.00"},
        {"1e-999999999999", 2, DECIMAL_PARSED, "0.00"},
        {"0e999999999999", 2, DECIMAL_PARSED, "0.00"},
        {"1e999999999999", 2, DECIMAL_TOO_LARGE, NULL},
        {"12345678901234567890123456789012345678.5", 0, DECIMAL_PARSED,
         "12345678901234567890123456789012345679"},
        {"12345678901234567890123456789012345678.49999", 0, DECIMAL_PARSED,
         "12345678901234567890123456789012345678"},
        {LARGEST ".5", 0, DECIMAL_TOO_LARGE, NULL},
        {"1" LARGEST, 0, DECIMAL_TOO_LARGE, NULL},
        {"1" LARGEST "e-38", 6, DECIMAL_PARSED, "2.000000"},
        {"", 0, DECIMAL_NOT_A_NUMBER, NULL},
        {"-", 0, DECIMAL_NOT_A_NUMBER, NULL},
        {".", 0, DECIMAL_NOT_A_NUMBER, NULL},
        {"1.2.3", 0, DECIMAL_NOT_A_NUMBER, NULL},
        {"1e", 0, DECIMAL_NOT_A_NUMBER, NULL},
        {"1e+", 0, DECIMAL_NOT_A_NUMBER, NULL},
        {"1x", 0, DECIMAL_NOT_A_NUMBER, NULL},
        {"--1", 0, DECIMAL_NOT_A_NUMBER, NULL},
        {"NaN", 0, DECIMAL_NOT_A_NUMBER, NULL},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        int128 digits = 0;
        enum decimal_parsed parsed =
            decimal_parse(slice_text(CASES[i].text), CASES[i].scale, &digits);
        assert_int_equal(parsed, CASES[i].parsed);
        assert_result(parsed == DECIMAL_PARSED, digits, CASES[i].scale, CASES[i].result);
    }
}

static void a_literal_has_the_digits_it_is_written_with(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        unsigned precision, scale;
    } CASES[] = {{"1.50", 3, 2}, {"0.001", 3, 3}, {"42", 2, 0}, {"007", 1, 0}, {"100.0", 4, 1}};
    struct query_type type;
    int128 digits;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        assert_int_equal(decimal_parse_literal(slice_text(CASES[i].text), &digits, &type),
                         DECIMAL_PARSED);
        assert_int_equal(type.kind, QUERY_TYPE_DECIMAL);
        assert_int_equal(type.precision, CASES[i].precision);
        assert_int_equal(type.scale, CASES[i].scale);
    }
    assert_int_equal(decimal_parse_literal(slice_text("1" LARGEST), &digits, &type),
                     DECIMAL_TOO_LARGE);
    assert_int_equal(decimal_parse_literal(slice_text("1e5"), &digits, &type),
                     DECIMAL_NOT_A_NUMBER);
}

static void becomes_the_nearest_double(void **state)
{
    (void)state;
    assert_true(decimal_to_double(1, 1) == 0.1);
    assert_true(decimal_to_double(-25, 2) == -0.25);
    assert_true(decimal_to_double(number(LARGEST).digits, 0) == 1e38);
    assert_true(decimal_to_double(9007199254740993, 0) == 9007199254740992.0);
    assert_true(decimal_to_double(1, 38) == 1e-38);
}

static void a_double_comes_as_its_shortest_text(void **state)
{
    (void)state;
    int128 digits = 0;
    assert_int_equal(decimal_of_double(0.15, 1, &digits), DECIMAL_PARSED);
    assert_true(digits == 2); /* though the double is a little less than 0.15 */
    assert_int_equal(decimal_of_double(-1e20, 2, &digits), DECIMAL_PARSED);
    assert_result(true, digits, 2, "-100000000000000000000.00");
    assert_int_equal(decimal_of_double(1e38, 0, &digits), DECIMAL_TOO_LARGE);
    assert_int_equal(decimal_of_double((double)NAN, 0, &digits), DECIMAL_NOT_A_NUMBER);
    assert_int_equal(decimal_of_double((double)INFINITY, 0, &digits), DECIMAL_NOT_A_NUMBER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(computes_to_the_asked_scale_and_rounds_half_up),
        cmocka_unit_test(a_quotient_is_rounded_to_38_digits_first),
        cmocka_unit_test(adds_until_38_digits_are_full),
        cmocka_unit_test(fits_means_fewer_than_precision_digits),
        cmocka_unit_test(compares_across_scales),
        cmocka_unit_test(reads_what_java_reads),
        cmocka_unit_test(a_literal_has_the_digits_it_is_written_with),
        cmocka_unit_test(becomes_the_nearest_double),
        cmocka_unit_test(a_double_comes_as_its_shortest_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
