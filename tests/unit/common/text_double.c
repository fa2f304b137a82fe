#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/text.h"

struct row {
    double number;
    const char *plain, *java;
};

static void numbers_have_the_layouts_of_json_and_java(void **state)
{
    static const struct row rows[] = {
        {0.0, "0", "0.0"},
        {-0.0, "-0", "-0.0"},
        {3.9, "3.9", "3.9"},
        {30, "30", "30.0"},
        {1.5, "1.5", "1.5"},
        {100, "100", "100.0"},
        {-12.25, "-12.25", "-12.25"},
        {0.1, "0.1", "0.1"},
        {0.001, "0.001", "0.001"},
        {0.0001, "0.0001", "1.0E-4"},
        {1e-7, "1e-7", "1.0E-7"},
        {0.000001234, "0.000001234", "1.234E-6"},
        {9999999, "9999999", "9999999.0"},
        {1e7, "10000000", "1.0E7"},
        {12345678.5, "12345678.5", "1.23456785E7"},
        {1e21, "1e+21", "1.0E21"},
        {1.5e20, "150000000000000000000", "1.5E20"},
        {1e23, "1e+23", "1.0E23"},
        {1e300, "1e+300", "1.0E300"},
        {DBL_MAX, "1.7976931348623157e+308", "1.7976931348623157E308"},
        {DBL_MIN, "2.2250738585072014e-308", "2.2250738585072014E-308"},
        {4.9e-324, "5e-324", "4.9E-324"},
        {1e-323, "1e-323", "9.9E-324"},
        {0.1 + 0.2, "0.30000000000000004", "0.30000000000000004"},
        {1.0 / 3, "0.3333333333333333", "0.3333333333333333"},
        {123456789012345680.0, "123456789012345680", "1.2345678901234568E17"},
        {5.684341886080802e-14, "5.684341886080802e-14", "5.684341886080802E-14"},
        {9007199254740993.0, "9007199254740992", "9.007199254740992E15"},
        {INFINITY, "Infinity", "Infinity"},
        {-INFINITY, "-Infinity", "-Infinity"},
        {NAN, "NaN", "NaN"},
    };
    char out[TEXT_DOUBLE_BYTES];

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t len = text_double(rows[i].number, out);

        assert_string_equal(out, rows[i].plain);
        assert_int_equal(len, strlen(out));
        len = text_double_java(rows[i].number, out);
        assert_string_equal(out, rows[i].java);
        assert_int_equal(len, strlen(out));
    }
}

static void any_double_reads_back_and_no_shorter_text_does(void **state)
{
    uint64_t bits = 1;

    (void)state;
    for (int i = 0; i < 200000; i++) {
        char out[TEXT_DOUBLE_BYTES], shorter[40];
        double number;
        int digits = 0;

        bits = bits * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        memcpy(&number, &bits, sizeof number);
        /* Every power of two in its turn: there the doubles are spaced unevenly. */
        if (i % 4 == 0)
            number = ldexp(1.0, (int)(bits >> 33) % 2098 - 1074);
        if (!isfinite(number) || number == 0)
            continue;
        text_double(number, out);
        assert_true(strtod(out, NULL) == number);
        for (const char *c = out; *c != '\0' && *c != 'e'; c++)
            digits += *c >= '0' && *c <= '9' && (digits > 0 || *c != '0');
        if (strchr(out, 'e') != NULL && digits > 1) {
            snprintf(shorter, sizeof shorter, "%.*e", digits - 2, number);
            assert_true(strtod(shorter, NULL) != number);
        }
        text_double_java(number, out);
        assert_true(strtod(out, NULL) == number);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_have_the_layouts_of_json_and_java),
        cmocka_unit_test(any_double_reads_back_and_no_shorter_text_does),
    };

    return cmocka_run_group_tests_name("text_double", tests, NULL, NULL);
}
