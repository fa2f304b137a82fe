/* Doubles as text: the fewest digits that read back.
 *
 * A decimal of up to 15 digits survives the way through a double, so for normal numbers "%.15e"
 * without its zeros is the shortest when it reads back; else 16 digits, else 17, which always do.
 * Subnormal numbers have less precision and start at one digit. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/text.h"

enum { DIGITS_MAX = 17 };

struct decimal {
    char digits[DIGITS_MAX + 1]; /* without zeros at the end; the point is behind the first */
    int count;
    int exponent;
};

/* Splits "d.ddde+xx", as written for a positive number. */
static void read_decimal(const char *text, struct decimal *decimal)
{
    int count = 0;

    for (; *text != 'e'; text++) {
        if (*text != '.')
            decimal->digits[count++] = *text;
    }
    while (count > 1 && decimal->digits[count - 1] == '0')
        count--;
    decimal->digits[count] = '\0';
    decimal->count = count;
    decimal->exponent = (int)strtol(text + 1, NULL, 10);
}

/* Below a power of two the doubles lie closer than above it, so that the nearest decimal of 16
 * digits may fall out of the interval while the next one up is still inside. */
static bool round_up_decimal(const char *text, double number, char out[TEXT_DOUBLE_BYTES])
{
    char *digit;

    snprintf(out, TEXT_DOUBLE_BYTES, "%s", text);
    digit = strchr(out, 'e') - 1;
    while (digit >= out && (*digit == '9' || *digit == '.')) {
        if (*digit == '9')
            *digit = '0';
        digit--;
    }
    if (digit < out)
        return false;
    (*digit)++;
    return strtod(out, NULL) == number;
}

/* `number` is finite and above zero. */
static void shortest(double number, struct decimal *decimal)
{
    int precision = number < DBL_MIN ? 0 : 14;
    char text[TEXT_DOUBLE_BYTES], up[TEXT_DOUBLE_BYTES];
    int exponent;

    for (; precision < DIGITS_MAX; precision++) {
        snprintf(text, sizeof text, "%.*e", precision, number);
        if (strtod(text, NULL) == number)
            break;
        if (precision == 15 && frexp(number, &exponent) == 0.5 &&
            round_up_decimal(text, number, up)) {
            read_decimal(up, decimal);
            return;
        }
    }
    read_decimal(text, decimal);
}

/* Writes what is no number, and the sign; true if that was all. */
static bool write_special(double number, char *out, size_t *len)
{
    const char *text = isnan(number) ? "NaN" : signbit(number) ? "-Infinity" : "Infinity";

    *len = 0;
    if (isfinite(number)) {
        if (signbit(number))
            out[(*len)++] = '-';
        out[*len] = '\0';
        return false;
    }
    *len = strlen(text);
    memcpy(out, text, *len + 1);
    return true;
}

/* Writes the digits with a plain point; -7 < exponent < 21. */
static size_t write_plain(const struct decimal *decimal, char *out)
{
    char *at = out;
    int i = 0;

    if (decimal->exponent < 0) {
        *at++ = '0';
        *at++ = '.';
        for (int zeros = -1; zeros > decimal->exponent; zeros--)
            *at++ = '0';
    } else {
        for (; i <= decimal->exponent; i++)
            *at++ = i < decimal->count ? decimal->digits[i] : '0';
        if (i < decimal->count)
            *at++ = '.';
    }
    for (; i < decimal->count; i++)
        *at++ = decimal->digits[i];
    *at = '\0';
    return (size_t)(at - out);
}

size_t text_double(double number, char out[TEXT_DOUBLE_BYTES])
{
    struct decimal decimal;
    size_t len;

    if (write_special(number, out, &len))
        return len;
    number = fabs(number);
    /* Whole numbers are common and need no search. */
    if (number < 1e15 && number == floor(number))
        return len + (size_t)snprintf(out + len, TEXT_DOUBLE_BYTES - len, "%.0f", number);
    shortest(number, &decimal);
    if (decimal.exponent > -7 && decimal.exponent < 21)
        return len + write_plain(&decimal, out + len);
    return len + (size_t)snprintf(out + len, TEXT_DOUBLE_BYTES - len, "%c%s%se%+d",
                                  decimal.digits[0], decimal.count > 1 ? "." : "",
                                  decimal.digits + 1, decimal.exponent);
}

size_t text_double_java(double number, char out[TEXT_DOUBLE_BYTES])
{
    struct decimal decimal = {.digits = "0", .count = 1};
    char text[TEXT_DOUBLE_BYTES];
    size_t len;

    if (write_special(number, out, &len))
        return len;
    number = fabs(number);
    if (number != 0)
        shortest(number, &decimal);
    /* Java writes two digits at least, and then takes the nearest such decimal: 4.9E-324, although
     * 5E-324 would read back too. */
    if (number != 0 && decimal.count == 1) {
        snprintf(text, sizeof text, "%.1e", number);
        if (strtod(text, NULL) == number)
            read_decimal(text, &decimal);
    }
    if (decimal.exponent >= -3 && decimal.exponent < 7) {
        len += write_plain(&decimal, out + len);
        if (decimal.count <= decimal.exponent + 1) {
            memcpy(out + len, ".0", 3);
            len += 2;
        }
        return len;
    }
    return len + (size_t)snprintf(out + len, TEXT_DOUBLE_BYTES - len, "%c.%sE%d", decimal.digits[0],
                                  decimal.count > 1 ? decimal.digits + 1 : "0", decimal.exponent);
}
