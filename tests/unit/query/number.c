#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "query/number.h"

static struct query_value integer(enum query_type_kind kind, int64_t number)
{
    return (struct query_value){.kind = kind, .integer = number};
}

static int64_t integer_result(enum query_arithmetic op, enum query_type_kind kind, int64_t a,
                              int64_t b)
{
    struct query_value left = integer(kind, a), right = integer(kind, b), result;
    const char *why = NULL;
    assert_int_equal(
        number_arithmetic(op, &left, &right, (struct query_type){.kind = kind}, &result, &why), OK);
    assert_int_equal(result.kind, kind);
    return result.integer;
}

static void integers_wrap_in_their_type(void **state)
{
    (void)state;
    assert_int_equal(integer_result(QUERY_ADD, QUERY_TYPE_TINYINT, 127, 1), -128);
    assert_int_equal(integer_result(QUERY_SUBTRACT, QUERY_TYPE_SMALLINT, -32768, 1), 32767);
    assert_int_equal(integer_result(QUERY_ADD, QUERY_TYPE_INT, INT32_MAX, 1), INT32_MIN);
    assert_int_equal(integer_result(QUERY_MULTIPLY, QUERY_TYPE_INT, 65536, 65536), 0);
    assert_true(integer_result(QUERY_ADD, QUERY_TYPE_BIGINT, INT64_MAX, 1) == INT64_MIN);
    assert_true(integer_result(QUERY_MULTIPLY, QUERY_TYPE_BIGINT, INT64_MIN, -1) == INT64_MIN);
}

static void integer_division_truncates_toward_zero(void **state)
{
    (void)state;
    assert_int_equal(integer_result(QUERY_DIVIDE, QUERY_TYPE_INT, 7, 2), 3);
    assert_int_equal(integer_result(QUERY_DIVIDE, QUERY_TYPE_INT, -7, 2), -3);
    assert_int_equal(integer_result(QUERY_MODULO, QUERY_TYPE_INT, -7, 2), -1);
    assert_int_equal(integer_result(QUERY_MODULO, QUERY_TYPE_INT, 7, -2), 1);
    assert_int_equal(integer_result(QUERY_DIVIDE, QUERY_TYPE_INT, INT32_MIN, -1), INT32_MIN);
    assert_true(integer_result(QUERY_DIVIDE, QUERY_TYPE_BIGINT, INT64_MIN, -1) == INT64_MIN);
    assert_int_equal(integer_result(QUERY_MODULO, QUERY_TYPE_BIGINT, INT64_MIN, -1), 0);
}

static void exact_division_by_zero_is_an_error(void **state)
{
    (void)state;
    struct query_value one = integer(QUERY_TYPE_INT, 1), zero = integer(QUERY_TYPE_INT, 0), result;
    struct query_value none = {.kind = QUERY_TYPE_DECIMAL, .scale = 2};
    struct query_type type = {.kind = QUERY_TYPE_INT};
    const enum query_arithmetic ops[] = {QUERY_DIVIDE, QUERY_MODULO};
    for (int i = 0; i < 2; i++) {
        const char *why = NULL;
        assert_int_equal(number_arithmetic(ops[i], &one, &zero, type, &result, &why),
                         ERROR_INVALID);
        assert_string_equal(why, "division by zero");
        struct query_type decimal = {.kind = QUERY_TYPE_DECIMAL, .precision = 38, .scale = 6};
        why = NULL;
        assert_int_equal(number_arithmetic(ops[i], &one, &none, decimal, &result, &why),
                         ERROR_INVALID);
        assert_non_null(why);
    }
}

static void floating_point_follows_ieee_in_the_result_type(void **state)
{
    (void)state;
    const char *why = NULL;
    struct query_value one = integer(QUERY_TYPE_INT, 1), result;
    struct query_value zero = {.kind = QUERY_TYPE_DOUBLE, .float64 = 0};
    struct query_type type = {.kind = QUERY_TYPE_DOUBLE};
    assert_int_equal(number_arithmetic(QUERY_DIVIDE, &one, &zero, type, &result, &why), OK);
    assert_true(result.float64 == INFINITY);
    assert_int_equal(number_arithmetic(QUERY_MODULO, &one, &zero, type, &result, &why), OK);
    assert_true(isnan(result.float64));
    struct query_value large = {.kind = QUERY_TYPE_FLOAT, .float32 = 16777216.0f};
    type.kind = QUERY_TYPE_FLOAT;
    assert_int_equal(number_arithmetic(QUERY_ADD, &large, &one, type, &result, &why), OK);
    assert_int_equal(result.kind, QUERY_TYPE_FLOAT);
    assert_true(result.float32 == 16777216.0f);
    struct query_value decimal = {.kind = QUERY_TYPE_DECIMAL, .scale = 1, .decimal = 25};
    struct query_value half = {.kind = QUERY_TYPE_DOUBLE, .float64 = 0.5};
    type.kind = QUERY_TYPE_DOUBLE;
    assert_int_equal(number_arithmetic(QUERY_SUBTRACT, &decimal, &half, type, &result, &why), OK);
    assert_true(result.float64 == 2.0);
}

static void decimal_overflow_is_null(void **state)
{
    (void)state;
    const char *why = NULL;
    struct query_type type = {.kind = QUERY_TYPE_DECIMAL, .precision = 5, .scale = 2};
    struct query_value a = {.kind = QUERY_TYPE_DECIMAL, .scale = 2, .decimal = 99999}, result;
    struct query_value cent = {.kind = QUERY_TYPE_DECIMAL, .scale = 2, .decimal = 1};
    assert_int_equal(number_arithmetic(QUERY_ADD, &a, &cent, type, &result, &why), OK);
    assert_int_equal(result.kind, QUERY_TYPE_NULL);
    assert_int_equal(number_arithmetic(QUERY_SUBTRACT, &a, &cent, type, &result, &why), OK);
    assert_true(result.decimal == 99998 && result.scale == 2);
}

static void null_makes_null(void **state)
{
    (void)state;
    const char *why = NULL;
    struct query_value null = {.kind = QUERY_TYPE_NULL}, zero = integer(QUERY_TYPE_INT, 0);
    struct query_type type = {.kind = QUERY_TYPE_INT};
    assert_int_equal(number_arithmetic(QUERY_DIVIDE, &null, &zero, type, &zero, &why), OK);
    assert_int_equal(zero.kind, QUERY_TYPE_NULL);
}

static void negation_wraps_and_keeps_zero_signs(void **state)
{
    (void)state;
    struct query_value value = integer(QUERY_TYPE_TINYINT, -128);
    number_negate(&value, &value);
    assert_int_equal(value.integer, -128);
    value = integer(QUERY_TYPE_BIGINT, INT64_MIN);
    number_negate(&value, &value);
    assert_true(value.integer == INT64_MIN);
    value = (struct query_value){.kind = QUERY_TYPE_DOUBLE, .float64 = 0.0};
    number_negate(&value, &value);
    assert_true(signbit(value.float64));
}

static void doubles_become_integers_as_in_java(void **state)
{
    (void)state;
    assert_int_equal(number_int_of_double(-1.9), -1);
    assert_int_equal(number_int_of_double(1e10), INT32_MAX);
    assert_int_equal(number_int_of_double(-1e10), INT32_MIN);
    assert_int_equal(number_int_of_double((double)NAN), 0);
    assert_true(number_long_of_double(0x1p63) == INT64_MAX);
    assert_true(number_long_of_double(-(double)INFINITY) == INT64_MIN);
    assert_true(number_long_of_double(-0x1p63) == INT64_MIN);
    assert_int_equal(number_long_of_double((double)NAN), 0);
}

static void reads_integers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool read;
        int64_t number;
    } CASES[] = {
        {"0", true, 0},          {"-32768", true, -32768},
        {"+32767", true, 32767}, {"12.9", true, 12},
        {"-0.5", true, 0},       {"7.", true, 7},
        {".5", true, 0},         {"32768", false, 0},
        {"-32769", false, 0},    {"", false, 0},
        {"-", false, 0},         {".", false, 0},
        {"1e3", false, 0},       {"1 ", false, 0},
        {"1.2.3", false, 0},     {"99999999999999999999999999999999999999999999", false, 0},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        int64_t number = 0;
        bool read = number_parse_long(slice_text(CASES[i].text), INT16_MIN, INT16_MAX, &number);
        assert_int_equal(read, CASES[i].read);
        assert_int_equal(number, CASES[i].number);
    }
    int64_t number;
    assert_true(
        number_parse_long(slice_text("-9223372036854775808"), INT64_MIN, INT64_MAX, &number));
    assert_true(number == INT64_MIN);
    assert_false(
        number_parse_long(slice_text("9223372036854775808"), INT64_MIN, INT64_MAX, &number));
}

static void reads_floating_point(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool read;
        double number;
    } CASES[] = {
        {"1.5", true, 1.5},
        {"-.5e1", true, -5},
        {"1E400", true, (double)INFINITY},
        {"3d", true, 3},
        {"3.5F", true, 3.5},
        {"-Infinity", true, -(double)INFINITY},
        {"inf", false, 0},
        {"nan", false, 0},
        {"0x10", false, 0},
        {"", false, 0},
        {".", false, 0},
        {"1e", false, 0},
        {"1e+", false, 0},
        {"1.5.", false, 0},
        {"1,5", false, 0},
        {"5e-324", true, 0x1p-1074},
    };
    double number;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        number = 0;
        assert_int_equal(number_parse_double(slice_text(CASES[i].text), &number), CASES[i].read);
        assert_true(number == CASES[i].number);
    }
    assert_true(number_parse_double(slice_text("NaN"), &number));
    assert_true(isnan(number));
    float single;
    assert_true(number_parse_float(slice_text("0.1"), &single));
    assert_true(single == 0.1f);
    /* Between two floats, just above the middle: by way of double it would be rounded twice. */
    assert_true(number_parse_float(slice_text("1.00000005960464477540"), &single));
    assert_true(single == 1.00000011920928955078125f);
    char longest[2000];
    memset(longest, '1', sizeof longest);
    assert_false(number_parse_double(slice_of(longest, sizeof longest), &number));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_wrap_in_their_type),
        cmocka_unit_test(integer_division_truncates_toward_zero),
        cmocka_unit_test(exact_division_by_zero_is_an_error),
        cmocka_unit_test(floating_point_follows_ieee_in_the_result_type),
        cmocka_unit_test(decimal_overflow_is_null),
        cmocka_unit_test(null_makes_null),
        cmocka_unit_test(negation_wraps_and_keeps_zero_signs),
        cmocka_unit_test(doubles_become_integers_as_in_java),
        cmocka_unit_test(reads_integers),
        cmocka_unit_test(reads_floating_point),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
