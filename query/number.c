#include "query/number.h"

#include <math.h>
#include <stdlib.h>

#include "query/decimal.h"

/* ---- Integers ---- */

int64_t number_wrap(int64_t integer, enum query_type_kind kind)
{
    switch (kind) {
    case QUERY_TYPE_TINYINT:
        return (int8_t)integer;
    case QUERY_TYPE_SMALLINT:
        return (int16_t)integer;
    case QUERY_TYPE_INT:
        return (int32_t)integer;
    default:
        return integer;
    }
}

int64_t number_long_of_double(double number)
{
    if (isnan(number)) {
        return 0;
    }
    if (number >= 0x1p63) {
        return INT64_MAX;
    }
    return number <= -0x1p63 ? INT64_MIN : (int64_t)number;
}

int32_t number_int_of_double(double number)
{
    if (isnan(number)) {
        return 0;
    }
    if (number >= INT32_MAX) {
        return INT32_MAX;
    }
    return number <= INT32_MIN ? INT32_MIN : (int32_t)number;
}

double number_to_double(const struct query_value *value)
{
    switch (value->kind) {
    case QUERY_TYPE_FLOAT:
        return (double)value->float32;
    case QUERY_TYPE_DOUBLE:
        return value->float64;
    case QUERY_TYPE_DECIMAL:
        return decimal_to_double(value->decimal, value->scale);
    default:
        return (double)value->integer;
    }
}

/* Java turns a long into a float with one rounding, but a decimal by way of double. */
float number_to_float(const struct query_value *value)
{
    switch (value->kind) {
    case QUERY_TYPE_FLOAT:
        return value->float32;
    case QUERY_TYPE_DOUBLE:
    case QUERY_TYPE_DECIMAL:
        return (float)number_to_double(value);
    default:
        return (float)value->integer;
    }
}

/* ---- Arithmetic ---- */

static const char *const BY_ZERO = "division by zero";

static enum error arithmetic_integer(enum query_arithmetic op, int64_t a, int64_t b,
                                     enum query_type_kind kind, struct query_value *result,
                                     const char **why)
{
    uint64_t bits = 0;
    if ((op == QUERY_DIVIDE || op == QUERY_MODULO) && b == 0) {
        *why = BY_ZERO;
        return ERROR_INVALID;
    }
    switch (op) {
    case QUERY_ADD:
        bits = (uint64_t)a + (uint64_t)b;
        break;
    case QUERY_SUBTRACT:
        bits = (uint64_t)a - (uint64_t)b;
        break;
    case QUERY_MULTIPLY:
        bits = (uint64_t)a * (uint64_t)b;
        break;
    case QUERY_DIVIDE: /* by -1: the processor traps on the lowest number */
        bits = b == -1 ? -(uint64_t)a : (uint64_t)(a / b);
        break;
    case QUERY_MODULO:
        bits = b == -1 ? 0 : (uint64_t)(a % b);
        break;
    }
    *result = (struct query_value){.kind = kind, .integer = number_wrap((int64_t)bits, kind)};
    return OK;
}

static double arithmetic_double(enum query_arithmetic op, double a, double b)
{
    switch (op) {
    case QUERY_ADD:
        return a + b;
    case QUERY_SUBTRACT:
        return a - b;
    case QUERY_MULTIPLY:
        return a * b;
    case QUERY_DIVIDE:
        return a / b;
    case QUERY_MODULO:
        return fmod(a, b);
    }
    return 0;
}

static float arithmetic_float(enum query_arithmetic op, float a, float b)
{
    switch (op) {
    case QUERY_ADD:
        return a + b;
    case QUERY_SUBTRACT:
        return a - b;
    case QUERY_MULTIPLY:
        return a * b;
    case QUERY_DIVIDE:
        return a / b;
    case QUERY_MODULO:
        return fmodf(a, b);
    }
    return 0;
}

static enum error arithmetic_decimal(enum query_arithmetic op, const struct query_value *a,
                                     const struct query_value *b, struct query_type type,
                                     struct query_value *result, const char **why)
{
    int128 left = a->kind == QUERY_TYPE_DECIMAL ? a->decimal : a->integer;
    int128 right = b->kind == QUERY_TYPE_DECIMAL ? b->decimal : b->integer;
    unsigned left_scale = a->kind == QUERY_TYPE_DECIMAL ? a->scale : 0;
    unsigned right_scale = b->kind == QUERY_TYPE_DECIMAL ? b->scale : 0;
    int128 digits = 0;
    bool fits = false;
    if ((op == QUERY_DIVIDE || op == QUERY_MODULO) && right == 0) {
        *why = BY_ZERO;
        return ERROR_INVALID;
    }
    switch (op) {
    case QUERY_SUBTRACT:
        right = -right;
        /* fall through */
    case QUERY_ADD:
        fits = decimal_add_scaled(left, left_scale, right, right_scale, type.scale, &digits);
        break;
    case QUERY_MULTIPLY:
        fits = decimal_multiply(left, left_scale, right, right_scale, type.scale, &digits);
        break;
    case QUERY_DIVIDE:
        fits = decimal_divide(left, left_scale, right, right_scale, type.scale, &digits);
        break;
    case QUERY_MODULO:
        fits = decimal_modulo(left, left_scale, right, right_scale, type.scale, &digits);
        break;
    }
    *result = (struct query_value){.kind = QUERY_TYPE_NULL};
    if (fits && decimal_fits(digits, type.precision)) {
        *result = (struct query_value){
            .kind = QUERY_TYPE_DECIMAL, .scale = type.scale, .decimal = digits};
    }
    return OK;
}

enum error number_arithmetic(enum query_arithmetic op, const struct query_value *a,
                             const struct query_value *b, struct query_type type,
                             struct query_value *result, const char **why)
{
    if (a->kind == QUERY_TYPE_NULL || b->kind == QUERY_TYPE_NULL) {
        *result = (struct query_value){.kind = QUERY_TYPE_NULL};
        return OK;
    }
    switch (type.kind) {
    case QUERY_TYPE_DOUBLE:
        *result = (struct query_value){
            .kind = QUERY_TYPE_DOUBLE,
            .float64 = arithmetic_double(op, number_to_double(a), number_to_double(b))};
        return OK;
    case QUERY_TYPE_FLOAT:
        *result = (struct query_value){
            .kind = QUERY_TYPE_FLOAT,
            .float32 = arithmetic_float(op, number_to_float(a), number_to_float(b))};
        return OK;
    case QUERY_TYPE_DECIMAL:
        return arithmetic_decimal(op, a, b, type, result, why);
    default:
        return arithmetic_integer(op, a->integer, b->integer, type.kind, result, why);
    }
}

void number_negate(const struct query_value *a, struct query_value *result)
{
    *result = *a;
    switch (a->kind) {
    case QUERY_TYPE_FLOAT:
        result->float32 = -a->float32;
        break;
    case QUERY_TYPE_DOUBLE:
        result->float64 = -a->float64;
        break;
    case QUERY_TYPE_DECIMAL:
        result->decimal = -a->decimal;
        break;
    case QUERY_TYPE_NULL:
        break;
    default:
        result->integer = number_wrap((int64_t) - (uint64_t)a->integer, a->kind);
    }
}

/* ---- Reading ---- */

static bool is_digit(uint8_t byte)
{
    return byte >= '0' && byte <= '9';
}

bool number_parse_long(struct slice text, int64_t min, int64_t max, int64_t *number)
{
    size_t at = text.len > 0 && (text.data[0] == '-' || text.data[0] == '+');
    bool negative = at > 0 && text.data[0] == '-', any = false;
    int128 value = 0;
    for (; at < text.len && is_digit(text.data[at]); at++, any = true) {
        value = value * 10 + (text.data[at] - '0');
        if (value > (int128)INT64_MAX + 1) {
            return false;
        }
    }
    if (at < text.len && text.data[at] == '.') {
        for (at++; at < text.len && is_digit(text.data[at]); at++) {
            any = true;
        }
    }
    value = negative ? -value : value;
    if (!any || at < text.len || value < min || value > max) {
        return false;
    }
    *number = (int64_t)value;
    return true;
}

enum { NUMBER_TEXT_MAX = 1100 }; /* more digits than any double needs to be read exactly */

/* Copies the number part of a Java floating-point text, so that strtod() meets a 0 byte and nothing
 * but decimal notation. */
static bool copy_number(struct slice text, char copy[NUMBER_TEXT_MAX])
{
    size_t at = text.len > 0 && (text.data[0] == '-' || text.data[0] == '+'), digits = 0;
    if (text.len >= NUMBER_TEXT_MAX) {
        return false;
    }
    struct slice name = slice_of(text.data + at, text.len - at);
    bool named = slice_equal(name, slice_text("NaN")) || slice_equal(name, slice_text("Infinity"));
    if (!named) {
        for (bool point = false; at < text.len; at++) {
            if (is_digit(text.data[at])) {
                digits++;
            } else if (text.data[at] == '.' && !point) {
                point = true;
            } else {
                break;
            }
        }
        if (at < text.len && (text.data[at] | 0x20) == 'e') {
            at++;
            at += at < text.len && (text.data[at] == '-' || text.data[at] == '+');
            size_t first = at;
            while (at < text.len && is_digit(text.data[at])) {
                at++;
            }
            digits = at > first ? digits : 0;
        }
        size_t end = at;
        at += at < text.len && ((text.data[at] | 0x20) == 'd' || (text.data[at] | 0x20) == 'f');
        if (digits == 0 || at < text.len) {
            return false;
        }
        text.len = end;
    }
    memcpy(copy, text.data, text.len);
    copy[text.len] = 0;
    return true;
}

bool number_parse_double(struct slice text, double *number)
{
    char copy[NUMBER_TEXT_MAX];
    if (!copy_number(text, copy)) {
        return false;
    }
    *number = strtod(copy, NULL);
    return true;
}

bool number_parse_float(struct slice text, float *number)
{
    char copy[NUMBER_TEXT_MAX];
    if (!copy_number(text, copy)) {
        return false;
    }
    *number = strtof(copy, NULL);
    return true;
}
