#include "query/decimal.h"

#include <math.h>

#include "common/text.h"
#include "query/number.h"

typedef unsigned __int128 uint128;

/* Two decimals of different scales meet in 256 bits: 10^38 * 10^38 < 2^253. */
struct uint256 {
    uint128 high, low;
};

/* ---- 256 bits ---- */

static uint128 uint128_power(unsigned exponent)
{
    static const uint64_t small[] = {1,
                                     10,
                                     100,
                                     1000,
                                     10000,
                                     100000,
                                     1000000,
                                     10000000,
                                     100000000,
                                     1000000000,
                                     10000000000,
                                     100000000000,
                                     1000000000000,
                                     10000000000000,
                                     100000000000000,
                                     1000000000000000,
                                     10000000000000000,
                                     100000000000000000,
                                     1000000000000000000,
                                     10000000000000000000u};
    PRE(exponent <= DECIMAL_DIGITS);
    return exponent < 20 ? small[exponent] : (uint128)small[19] * small[exponent - 19];
}

static struct uint256 multiply_128(uint128 a, uint128 b)
{
    uint64_t a_low = (uint64_t)a, a_high = (uint64_t)(a >> 64);
    uint64_t b_low = (uint64_t)b, b_high = (uint64_t)(b >> 64);
    uint128 low = (uint128)a_low * b_low;
    uint128 middle = (uint128)a_high * b_low + (low >> 64); /* cannot overflow */
    uint128 cross = (uint128)a_low * b_high + (uint64_t)middle;
    return (struct uint256){.high = (uint128)a_high * b_high + (middle >> 64) + (cross >> 64),
                            .low = cross << 64 | (uint64_t)low};
}

static int compare_256(struct uint256 a, struct uint256 b)
{
    if (a.high != b.high) {
        return a.high < b.high ? -1 : 1;
    }
    return a.low == b.low ? 0 : a.low < b.low ? -1 : 1;
}

static struct uint256 add_256(struct uint256 a, struct uint256 b)
{
    uint128 low = a.low + b.low;
    return (struct uint256){.high = a.high + b.high + (low < a.low), .low = low};
}

static struct uint256 subtract_256(struct uint256 a, struct uint256 b)
{
    return (struct uint256){.high = a.high - b.high - (a.low < b.low), .low = a.low - b.low};
}

/* The product is below 2^256. */
static struct uint256 multiply_power_256(struct uint256 a, unsigned exponent)
{
    struct uint256 product = multiply_128(a.low, uint128_power(exponent));
    product.high += a.high * uint128_power(exponent);
    return product;
}

/* Schoolbook division, one bit at a time; divisor below 2^255, not 0. */
static struct uint256 divide_256(struct uint256 a, struct uint256 divisor, struct uint256 *rest)
{
    if (a.high == 0 && divisor.high == 0) {
        *rest = (struct uint256){.low = a.low % divisor.low};
        return (struct uint256){.low = a.low / divisor.low};
    }
    struct uint256 quotient = {0};
    *rest = (struct uint256){0};
    for (int bit = 255; bit >= 0; bit--) {
        uint128 next = bit >= 128 ? a.high >> (bit - 128) : a.low >> bit;
        rest->high = rest->high << 1 | rest->low >> 127;
        rest->low = rest->low << 1 | (next & 1);
        quotient.high = quotient.high << 1 | quotient.low >> 127;
        quotient.low <<= 1;
        if (compare_256(*rest, divisor) >= 0) {
            *rest = subtract_256(*rest, divisor);
            quotient.low |= 1;
        }
    }
    return quotient;
}

/* ---- Sign and scale ---- */

static uint128 magnitude_of(int128 digits)
{
    return digits < 0 ? -(uint128)digits : (uint128)digits;
}

static unsigned digit_count(uint128 magnitude)
{
    unsigned count = 1;
    while (count <= DECIMAL_DIGITS && magnitude >= uint128_power(count)) {
        count++;
    }
    return count;
}

static bool signed_result(struct uint256 magnitude, bool negative, int128 *digits)
{
    if (magnitude.high != 0 || magnitude.low >= uint128_power(DECIMAL_DIGITS)) {
        return false;
    }
    *digits = negative ? -(int128)magnitude.low : (int128)magnitude.low;
    return true;
}

/* magnitude / 10^drop, half up. */
static struct uint256 drop_digits(struct uint256 magnitude, unsigned drop)
{
    struct uint256 rest;
    if (drop > DECIMAL_DIGITS) {
        /* What this cuts off is less than one unit of the digit that decides the rounding below. */
        unsigned first = drop - DECIMAL_DIGITS;
        if (first > DECIMAL_DIGITS) {
            return (struct uint256){0};
        }
        struct uint256 power = {.low = uint128_power(first)};
        magnitude = divide_256(magnitude, power, &rest);
        drop = DECIMAL_DIGITS;
    }
    struct uint256 divisor = {.low = uint128_power(drop)};
    struct uint256 quotient = divide_256(magnitude, divisor, &rest);
    if (rest.low >= divisor.low - rest.low) {
        quotient = add_256(quotient, (struct uint256){.low = 1});
    }
    return quotient;
}

/* From one scale, which may be any number, to another; half up. */
static bool to_scale(struct uint256 magnitude, bool negative, int from_scale, int scale,
                     int128 *digits)
{
    if (magnitude.high == 0 && magnitude.low == 0) {
        *digits = 0;
        return true;
    }
    if (from_scale > scale) {
        magnitude = drop_digits(magnitude, (unsigned)(from_scale - scale));
    } else if (from_scale < scale) {
        unsigned more = (unsigned)(scale - from_scale);
        if (magnitude.high != 0 || more >= DECIMAL_DIGITS ||
            digit_count(magnitude.low) + more > DECIMAL_DIGITS) {
            return false;
        }
        magnitude.low *= uint128_power(more);
    }
    return signed_result(magnitude, negative, digits);
}

int128 decimal_power(unsigned exponent)
{
    return (int128)uint128_power(exponent);
}

bool decimal_fits(int128 digits, unsigned precision)
{
    return magnitude_of(digits) < uint128_power(precision);
}

/* ---- Arithmetic ---- */

bool decimal_add(int128 a, int128 b, int128 *sum)
{
    int128 result;
    if (__builtin_add_overflow(a, b, &result) || !decimal_fits(result, DECIMAL_DIGITS)) {
        return false;
    }
    *sum = result;
    return true;
}

/* Both numbers in units of 10^-(the larger scale). */
static unsigned align(int128 a, unsigned a_scale, int128 b, unsigned b_scale,
                      struct uint256 *a_aligned, struct uint256 *b_aligned)
{
    unsigned scale = a_scale > b_scale ? a_scale : b_scale;
    *a_aligned = multiply_128(magnitude_of(a), uint128_power(scale - a_scale));
    *b_aligned = multiply_128(magnitude_of(b), uint128_power(scale - b_scale));
    return scale;
}

bool decimal_add_scaled(int128 a, unsigned a_scale, int128 b, unsigned b_scale, unsigned scale,
                        int128 *sum)
{
    struct uint256 left, right, result;
    unsigned aligned = align(a, a_scale, b, b_scale, &left, &right);
    bool negative = a < 0;
    if ((a < 0) == (b < 0)) {
        result = add_256(left, right);
    } else if (compare_256(left, right) >= 0) {
        result = subtract_256(left, right);
    } else {
        result = subtract_256(right, left);
        negative = b < 0;
    }
    return to_scale(result, negative, (int)aligned, (int)scale, sum);
}

bool decimal_multiply(int128 a, unsigned a_scale, int128 b, unsigned b_scale, unsigned scale,
                      int128 *product)
{
    struct uint256 result = multiply_128(magnitude_of(a), magnitude_of(b));
    return to_scale(result, (a < 0) != (b < 0), (int)(a_scale + b_scale), (int)scale, product);
}

bool decimal_divide(int128 a, unsigned a_scale, int128 b, unsigned b_scale, unsigned scale,
                    int128 *quotient)
{
    PRE(b != 0);
    if (a == 0) {
        *quotient = 0;
        return true;
    }
    uint128 numerator = magnitude_of(a);
    struct uint256 divisor = {.low = magnitude_of(b)}, rest, result;
    int shift = (int)scale + (int)b_scale - (int)a_scale;
    if (shift >= 0 && digit_count(numerator) + (unsigned)shift < DECIMAL_DIGITS) {
        /* The quotient is farther from the middle between two results, if not on it, than the
         * rounding to 38 digits could move it: once is enough. */
        numerator *= uint128_power((unsigned)shift);
        rest.low = numerator % divisor.low;
        result = (struct uint256){.low = numerator / divisor.low};
        result.low += rest.low >= divisor.low - rest.low;
        return signed_result(result, (a < 0) != (b < 0), quotient);
    }
    /* With this many zeros more the quotient has 37 or 38 digits; with 37 it takes one more. */
    unsigned zeros = DECIMAL_DIGITS - 1 + digit_count(divisor.low) - digit_count(numerator);
    for (;; zeros++) {
        unsigned first = zeros < DECIMAL_DIGITS ? zeros : DECIMAL_DIGITS;
        struct uint256 longer = multiply_128(numerator, uint128_power(first));
        longer = multiply_power_256(longer, zeros - first);
        result = divide_256(longer, divisor, &rest);
        if (result.low >= uint128_power(DECIMAL_DIGITS - 1)) {
            break;
        }
    }
    if (rest.low >= divisor.low - rest.low) {
        result.low++;
    }
    int from_scale = (int)zeros + (int)a_scale - (int)b_scale;
    return to_scale(result, (a < 0) != (b < 0), from_scale, (int)scale, quotient);
}

bool decimal_modulo(int128 a, unsigned a_scale, int128 b, unsigned b_scale, unsigned scale,
                    int128 *result)
{
    struct uint256 left, right, rest;
    PRE(b != 0);
    unsigned aligned = align(a, a_scale, b, b_scale, &left, &right);
    divide_256(left, right, &rest);
    return to_scale(rest, a < 0, (int)aligned, (int)scale, result);
}

bool decimal_rescale(int128 digits, unsigned from_scale, unsigned scale, int128 *rescaled)
{
    struct uint256 magnitude = {.low = magnitude_of(digits)};
    return to_scale(magnitude, digits < 0, (int)from_scale, (int)scale, rescaled);
}

int decimal_compare(int128 a, unsigned a_scale, int128 b, unsigned b_scale)
{
    struct uint256 left, right;
    if (a_scale == b_scale || (a < 0) != (b < 0)) {
        return a == b ? 0 : a < b ? -1 : 1;
    }
    align(a, a_scale, b, b_scale, &left, &right);
    return a < 0 ? compare_256(right, left) : compare_256(left, right);
}

/* ---- Text ---- */

/* The first 38 significant digits and the one after them: it alone decides whether the others are
 * rounded up, wherever the rounding takes place, because no result keeps more than 38. */
struct digits {
    uint128 value;
    unsigned count; /* significant digits collected in `value` */
    unsigned next;
    int scale; /* of `value` */
    bool any, has_next;
};

static void digits_take(struct digits *digits, unsigned digit, bool after_point)
{
    digits->any = true;
    if (digits->count < DECIMAL_DIGITS) {
        digits->value = digits->value * 10 + digit;
        digits->count += digits->value != 0;
        digits->scale += after_point;
        return;
    }
    if (!digits->has_next) {
        digits->has_next = true;
        digits->next = digit;
    }
    digits->scale -= !after_point;
}

static void digits_read(struct slice *text, struct digits *digits)
{
    bool after_point = false;
    while (text->len > 0) {
        uint8_t byte = text->data[0];
        if (byte >= '0' && byte <= '9') {
            digits_take(digits, (unsigned)(byte - '0'), after_point);
        } else if (byte == '.' && !after_point) {
            after_point = true;
        } else {
            break;
        }
        *text = slice_of(text->data + 1, text->len - 1);
    }
}

static bool sign_read(struct slice *text)
{
    bool negative = text->len > 0 && text->data[0] == '-';
    if (negative || (text->len > 0 && text->data[0] == '+')) {
        *text = slice_of(text->data + 1, text->len - 1);
    }
    return negative;
}

/* What follows the mantissa: nothing, or e and a number. Beyond a billion it no longer matters how
 * large it is. */
static bool exponent_read(struct slice text, int *exponent)
{
    *exponent = 0;
    if (text.len == 0) {
        return true;
    }
    if (text.data[0] != 'e' && text.data[0] != 'E') {
        return false;
    }
    text = slice_of(text.data + 1, text.len - 1);
    bool negative = sign_read(&text);
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return false;
        }
        if (*exponent < 100000000) {
            *exponent = *exponent * 10 + (text.data[i] - '0');
        }
    }
    *exponent = negative ? -*exponent : *exponent;
    return text.len > 0;
}

enum decimal_parsed decimal_parse(struct slice text, unsigned scale, int128 *result)
{
    struct digits digits = {0};
    int exponent;
    bool negative = sign_read(&text);
    digits_read(&text, &digits);
    if (!digits.any || !exponent_read(text, &exponent)) {
        return DECIMAL_NOT_A_NUMBER;
    }
    struct uint256 magnitude = multiply_128(digits.value, 10);
    magnitude = add_256(magnitude, (struct uint256){.low = digits.next});
    bool fits = to_scale(magnitude, negative, digits.scale + 1 - exponent, (int)scale, result);
    return fits ? DECIMAL_PARSED : DECIMAL_TOO_LARGE;
}

enum decimal_parsed decimal_parse_literal(struct slice text, int128 *result,
                                          struct query_type *type)
{
    struct digits digits = {0};
    bool negative = sign_read(&text);
    digits_read(&text, &digits);
    if (!digits.any || text.len > 0) {
        return DECIMAL_NOT_A_NUMBER;
    }
    if (digits.has_next || digits.scale > DECIMAL_DIGITS) {
        return DECIMAL_TOO_LARGE;
    }
    unsigned precision = digit_count(digits.value), scale = (unsigned)digits.scale;
    precision = precision > scale ? precision : scale;
    *result = negative ? -(int128)digits.value : (int128)digits.value;
    *type = (struct query_type){
        .kind = QUERY_TYPE_DECIMAL, .precision = (uint8_t)precision, .scale = (uint8_t)scale};
    return DECIMAL_PARSED;
}

size_t decimal_format(int128 digits, unsigned scale, char text[DECIMAL_TEXT_MAX])
{
    char reversed[DECIMAL_TEXT_MAX];
    size_t count = 0, len = 0;
    uint128 rest = magnitude_of(digits);
    PRE(scale <= DECIMAL_DIGITS && decimal_fits(digits, DECIMAL_DIGITS));
    while (rest != 0 || count <= scale) {
        reversed[count++] = (char)('0' + (int)(rest % 10));
        rest /= 10;
    }
    if (digits < 0) {
        text[len++] = '-';
    }
    while (count > 0) {
        text[len++] = reversed[--count];
        if (count == scale && scale > 0) {
            text[len++] = '.';
        }
    }
    text[len] = 0;
    return len;
}

double decimal_to_double(int128 digits, unsigned scale)
{
    char text[DECIMAL_TEXT_MAX];
    double number = 0;
    size_t len = decimal_format(digits, scale, text);
    bool read = number_parse_double(slice_of(text, len), &number);
    POST(read);
    return number;
}

enum decimal_parsed decimal_of_double(double number, unsigned scale, int128 *digits)
{
    char text[32];
    if (!isfinite(number)) {
        return DECIMAL_NOT_A_NUMBER;
    }
    text_double_java(number, text);
    return decimal_parse(slice_text(text), scale, digits);
}
