#include "query/exact_sum_impl.h"

#include <endian.h>
#include <xxhash.h>

#include "common/mem.h"

/* A double taken apart: (-1)^negative * significand * 2^exponent. */
struct term {
    uint64_t significand;
    int exponent;
    bool negative;
};

enum special { FINITE, IS_NAN, PLUS_INFINITY, MINUS_INFINITY };

static inline enum special take_apart(double number, struct term *term)
{
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    uint64_t fraction = bits & ((UINT64_C(1) << 52) - 1);
    int biased = (int)(bits >> 52 & 0x7ff);
    term->negative = bits >> 63 != 0;
    if (biased == 0x7ff) {
        return fraction != 0 ? IS_NAN : term->negative ? MINUS_INFINITY : PLUS_INFINITY;
    }
    term->significand = biased == 0 ? fraction : fraction | UINT64_C(1) << 52;
    term->exponent = biased == 0 ? LOWEST_EXPONENT : biased - 1075;
    return FINITE;
}

/* ---- The wide form ---- */

/* Moves what exceeds 32 bits of each digit to the next one; afterwards all but the last are in [0,
 * 2^32). */
static void carry(int64_t digits[DIGITS])
{
    int64_t over = 0;
    for (int i = 0; i < DIGITS - 1; i++) {
        int64_t digit = digits[i] + over;
        over = digit >> DIGIT_BITS;
        digits[i] = digit & UINT32_MAX;
    }
    digits[DIGITS - 1] += over;
}

static void wide_count_addition(struct exact_sum_wide *wide)
{
    if (++wide->additions == ADDITIONS_MAX) {
        carry(wide->digits);
        wide->additions = 1;
    }
}

static inline void wide_add_term(struct exact_sum_wide *wide, const struct term *term,
                                 bool negative)
{
    unsigned position = (unsigned)(term->exponent - LOWEST_EXPONENT);
    uint128 shifted = (uint128)term->significand << (position % DIGIT_BITS);
    int64_t *digit = wide->digits + position / DIGIT_BITS;
    int64_t low = (int64_t)(shifted & UINT32_MAX);
    int64_t middle = (int64_t)(shifted >> DIGIT_BITS & UINT32_MAX);
    int64_t high = (int64_t)(shifted >> (2 * DIGIT_BITS));
    wide_count_addition(wide);
    digit[0] += negative ? -low : low;
    digit[1] += negative ? -middle : middle;
    digit[2] += negative ? -high : high;
}

static void wide_add_fixed(struct exact_sum_wide *wide, int128 fixed, int scale)
{
    if (fixed == 0) {
        return;
    }
    unsigned position = (unsigned)(scale - LOWEST_EXPONENT);
    uint128 magnitude = magnitude_of(fixed);
    unsigned shift = position % DIGIT_BITS;
    int64_t *digit = wide->digits + position / DIGIT_BITS;
    wide_count_addition(wide);
    uint64_t first = (uint64_t)(magnitude << shift) & UINT32_MAX;
    uint128 rest = magnitude >> (DIGIT_BITS - shift);
    *digit += fixed < 0 ? -(int64_t)first : (int64_t)first;
    while (rest != 0) {
        int64_t part = (int64_t)(rest & UINT32_MAX);
        *++digit += fixed < 0 ? -part : part;
        rest >>= DIGIT_BITS;
    }
}

struct exact_sum_wide *exact_sum_wide_of(struct exact_sum *sum)
{
    if (sum->wide == NULL) {
        sum->wide = mem_zalloc(sizeof *sum->wide);
    }
    return sum->wide;
}

/* From here on the digits hold the sum, until there is no term left. */
static enum error promote(struct exact_sum *sum)
{
    struct exact_sum_wide *wide = exact_sum_wide_of(sum);
    if (wide == NULL) {
        return ERROR_MEMORY;
    }
    if (!wide->summing) {
        wide->summing = true;
        wide_add_fixed(wide, sum->fixed, sum->scale);
        sum->fixed = 0;
    }
    return OK;
}

static bool is_summing_wide(const struct exact_sum *sum)
{
    return sum->wide != NULL && sum->wide->summing;
}

static uint64_t *special_counter(struct exact_sum_wide *wide, enum special special)
{
    return special == IS_NAN          ? &wide->nan_count
           : special == PLUS_INFINITY ? &wide->plus_infinities
                                      : &wide->minus_infinities;
}

static bool has_specials(const struct exact_sum_wide *wide)
{
    return (wide->nan_count | wide->plus_infinities | wide->minus_infinities) != 0;
}

/* ---- Add, subtract, merge ---- */

void exact_sum_init(struct exact_sum *sum)
{
    *sum = (struct exact_sum){0};
}

void exact_sum_fini(struct exact_sum *sum)
{
    mem_free(sum->wide);
    exact_sum_init(sum);
}

static enum error add_special(struct exact_sum *sum, enum special special)
{
    struct exact_sum_wide *wide = exact_sum_wide_of(sum);
    if (wide == NULL) {
        return ERROR_MEMORY;
    }
    ++*special_counter(wide, special);
    sum->count++;
    return OK;
}

/* The term is finer than the scale, or reaches too high, or the digits sum already. */
static __attribute__((noinline)) enum error add_slowly(struct exact_sum *sum, struct term term)
{
    if (!is_summing_wide(sum)) {
        int zeros = term.significand == 0 ? 0 : __builtin_ctzll(term.significand);
        uint64_t odd = term.significand >> zeros;
        int lowest = term.exponent + zeros;
        bool first = sum->term_bits == 0;
        int scale = odd == 0 ? sum->scale : first || lowest < sum->scale ? lowest : sum->scale;
        int sink = first ? 0 : sum->scale - scale;
        int bits = odd == 0 ? 0 : bit_length(odd) + lowest - scale;
        bits = bits > sum->term_bits + sink ? bits : sum->term_bits + sink;
        if (fits(bits, sum->count + 1)) {
            int128 shifted = odd == 0 ? 0 : (int128)odd << (lowest - scale);
            sum->fixed =
                (int128)((uint128)sum->fixed << sink) + (term.negative ? -shifted : shifted);
            sum->scale = (int16_t)scale;
            sum->term_bits = (uint8_t)bits;
            sum->count++;
            return OK;
        }
        enum error error = promote(sum);
        if (error != OK) {
            return error;
        }
    }
    wide_add_term(sum->wide, &term, term.negative);
    sum->count++;
    return OK;
}

enum error exact_sum_add(struct exact_sum *sum, double number)
{
    struct term term;
    enum special special = take_apart(number, &term);
    if (special != FINITE) {
        return add_special(sum, special);
    }
    if (term.significand == 0 && term.negative) {
        enum error error = add_slowly(sum, term);
        sum->minus_zeros += error == OK;
        return error;
    }
    int shift = term.exponent - sum->scale;
    int bits = SIGNIFICAND_BITS + shift;
    bits = bits > sum->term_bits ? bits : sum->term_bits;
    if (shift < 0 || sum->term_bits == 0 || term.significand == 0 || is_summing_wide(sum) ||
        !fits(bits, sum->count + 1)) {
        return add_slowly(sum, term);
    }
    int128 shifted = (int128)term.significand << shift;
    sum->fixed += term.negative ? -shifted : shifted;
    sum->term_bits = (uint8_t)bits;
    sum->count++;
    return OK;
}

void exact_sum_subtract(struct exact_sum *sum, double number)
{
    struct term term;
    enum special special = take_apart(number, &term);
    PRE(sum->count > 0);
    sum->count--;
    if (special != FINITE) {
        PRE(sum->wide != NULL && *special_counter(sum->wide, special) > 0);
        --*special_counter(sum->wide, special);
        if (!sum->wide->summing && !has_specials(sum->wide)) {
            mem_free(sum->wide);
            sum->wide = NULL;
        }
    } else if (is_summing_wide(sum)) {
        wide_add_term(sum->wide, &term, !term.negative);
    } else if (term.significand != 0) {
        int zeros = term.exponent < sum->scale ? __builtin_ctzll(term.significand) : 0;
        int shift = term.exponent + zeros - sum->scale;
        PRE(shift >= 0 && shift + bit_length(term.significand >> zeros) <= sum->term_bits);
        int128 shifted = (int128)(term.significand >> zeros) << shift;
        sum->fixed -= term.negative ? -shifted : shifted;
    }
    if (special == FINITE && term.significand == 0 && term.negative) {
        PRE(sum->minus_zeros > 0);
        sum->minus_zeros--;
    }
    if (sum->count == 0) {
        INVARIANT(sum->fixed == 0 && sum->minus_zeros == 0);
        exact_sum_fini(sum);
    }
}

/* Merges two sums that are both in the fixed form, if the result is. */
static bool merge_fixed(struct exact_sum *sum, const struct exact_sum *from)
{
    bool sum_empty = sum->term_bits == 0, from_empty = from->term_bits == 0;
    int scale = from_empty                              ? sum->scale
                : sum_empty || from->scale < sum->scale ? from->scale
                                                        : sum->scale;
    int sink = sum_empty ? 0 : sum->scale - scale;
    int from_sink = from_empty ? 0 : from->scale - scale;
    int bits = sum->term_bits + sink;
    bits = bits > from->term_bits + from_sink ? bits : from->term_bits + from_sink;
    if (is_summing_wide(sum) || is_summing_wide(from) || !fits(bits, sum->count + from->count)) {
        return false;
    }
    sum->fixed =
        (int128)((uint128)sum->fixed << sink) + (int128)((uint128)from->fixed << from_sink);
    sum->scale = (int16_t)scale;
    sum->term_bits = (uint8_t)bits;
    return true;
}

enum error exact_sum_merge(struct exact_sum *sum, const struct exact_sum *from)
{
    if (from->wide != NULL && exact_sum_wide_of(sum) == NULL) {
        return ERROR_MEMORY;
    }
    if (!merge_fixed(sum, from)) {
        enum error error = promote(sum);
        if (error != OK) {
            return error;
        }
        wide_add_fixed(sum->wide, from->fixed, from->scale);
        if (is_summing_wide(from)) {
            /* Carried digits count as one addition each. */
            int64_t digits[DIGITS];
            memcpy(digits, from->wide->digits, sizeof digits);
            carry(digits);
            carry(sum->wide->digits);
            for (int i = 0; i < DIGITS; i++) {
                sum->wide->digits[i] += digits[i];
            }
            sum->wide->additions = 2;
        }
    }
    if (from->wide != NULL) {
        sum->wide->nan_count += from->wide->nan_count;
        sum->wide->plus_infinities += from->wide->plus_infinities;
        sum->wide->minus_infinities += from->wide->minus_infinities;
    }
    sum->count += from->count;
    sum->minus_zeros += from->minus_zeros;
    return OK;
}

/* ---- Results ---- */

/* The 128 highest bits of a sum that is not zero, the first of them set: (-1)^negative * (top +
 * something in [0,1)) * 2^exponent, the something being 0 unless `inexact`. */
struct leading {
    uint128 top;
    int exponent;
    bool negative, inexact;
};

/* Two's complement digits to their magnitude; true if they were negative. All digits are in [0,
 * 2^32) afterwards. */
static bool digits_to_magnitude(int64_t digits[DIGITS])
{
    carry(digits);
    bool negative = digits[DIGITS - 1] < 0;
    if (negative) {
        for (int i = 0; i < DIGITS; i++) {
            digits[i] = -digits[i];
        }
        carry(digits);
    }
    return negative;
}

/* False if the sum is zero. */
static bool leading_of_wide(const struct exact_sum_wide *wide, struct leading *leading)
{
    int64_t digits[DIGITS];
    memcpy(digits, wide->digits, sizeof digits);
    leading->negative = digits_to_magnitude(digits);
    int i = DIGITS - 1;
    while (i >= 0 && digits[i] == 0) {
        i--;
    }
    if (i < 0) {
        return false;
    }
    /* Five digits are at least 129 bits: four whole ones below the first. */
    uint128 top = 0;
    for (int taken = 0; taken < 4; taken++, i--) {
        top = top << DIGIT_BITS | (uint64_t)(i >= 0 ? digits[i] : 0);
    }
    int shift = 128 - bit_length_128(top);
    uint64_t below = i >= 0 ? (uint64_t)digits[i] : 0;
    leading->top = top << shift | (uint128)(below >> (DIGIT_BITS - shift));
    leading->exponent = LOWEST_EXPONENT + DIGIT_BITS * (i + 1) - shift;
    leading->inexact = (below << shift & UINT32_MAX) != 0;
    for (i--; i >= 0 && !leading->inexact; i--) {
        leading->inexact = digits[i] != 0;
    }
    return true;
}

static bool leading_of(const struct exact_sum *sum, struct leading *leading)
{
    if (is_summing_wide(sum)) {
        return leading_of_wide(sum->wide, leading);
    }
    if (sum->fixed == 0) {
        return false;
    }
    uint128 magnitude = magnitude_of(sum->fixed);
    int shift = 128 - bit_length_128(magnitude);
    *leading = (struct leading){
        .top = magnitude << shift, .exponent = sum->scale - shift, .negative = sum->fixed < 0};
    return true;
}

/* The quotient keeps 64 bits at least, and what is cut off only shows in `inexact`: enough to round
 * it once. */
static void divide(struct leading *leading, uint64_t divisor)
{
    uint128 quotient = leading->top / divisor;
    leading->inexact = leading->inexact || quotient * divisor != leading->top;
    leading->top = quotient;
}

struct format {
    int precision;       /* bits of the significand */
    int lowest_exponent; /* of the lowest bit of a subnormal */
    uint64_t infinity;   /* bits */
};

static const struct format DOUBLE_FORMAT = {53, -1074, UINT64_C(0x7ff0000000000000)};
static const struct format FLOAT_FORMAT = {24, -149, UINT64_C(0x7f800000)};

/* The bits of the nearest number of the format, ties to even, without the sign. */
static uint64_t round_leading(const struct leading *leading, const struct format *format)
{
    int lowest = leading->exponent + bit_length_128(leading->top) - format->precision;
    lowest = lowest > format->lowest_exponent ? lowest : format->lowest_exponent;
    int drop = lowest - leading->exponent; /* at least 64 - 53 */
    if (drop > 128) {
        return 0;
    }
    uint64_t kept = drop == 128 ? 0 : (uint64_t)(leading->top >> drop);
    bool half = (leading->top >> (drop - 1) & 1) != 0;
    bool more = leading->inexact || (leading->top & (((uint128)1 << (drop - 1)) - 1)) != 0;
    kept += half && (more || (kept & 1) != 0);
    /* The leading bit of a normal number adds one to its exponent field; so does a carry out of the
     * rounding. */
    uint64_t field = (uint64_t)(lowest - format->lowest_exponent);
    if (field > format->infinity >> (format->precision - 1)) {
        return format->infinity;
    }
    uint64_t bits = (field << (format->precision - 1)) + kept;
    return bits < format->infinity ? bits : format->infinity;
}

static uint64_t result_bits(const struct exact_sum *sum, const struct format *format, bool average)
{
    const struct exact_sum_wide *wide = sum->wide;
    uint64_t sign = format->infinity + (UINT64_C(1) << (format->precision - 1));
    if (wide != NULL && has_specials(wide)) {
        if (wide->nan_count > 0 || (wide->plus_infinities > 0 && wide->minus_infinities > 0)) {
            return format->infinity | UINT64_C(1) << (format->precision - 2);
        }
        return format->infinity | (wide->minus_infinities > 0 ? sign : 0);
    }
    struct leading leading;
    if (!leading_of(sum, &leading)) {
        bool minus = !average && sum->count > 0 && sum->minus_zeros == sum->count;
        return minus ? sign : 0;
    }
    if (average && sum->count > 1) {
        divide(&leading, sum->count);
    }
    return round_leading(&leading, format) | (leading.negative ? sign : 0);
}

static double double_of_bits(uint64_t bits)
{
    double number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

static float float_of_bits(uint64_t bits)
{
    uint32_t half = (uint32_t)bits;
    float number;
    memcpy(&number, &half, sizeof number);
    return number;
}

double exact_sum_total(const struct exact_sum *sum)
{
    return double_of_bits(result_bits(sum, &DOUBLE_FORMAT, false));
}

float exact_sum_total_float(const struct exact_sum *sum)
{
    return float_of_bits(result_bits(sum, &FLOAT_FORMAT, false));
}

double exact_sum_average(const struct exact_sum *sum)
{
    PRE(sum->count > 0);
    return double_of_bits(result_bits(sum, &DOUBLE_FORMAT, true));
}

float exact_sum_average_float(const struct exact_sum *sum)
{
    PRE(sum->count > 0);
    return float_of_bits(result_bits(sum, &FLOAT_FORMAT, true));
}

size_t exact_sum_heap_bytes(const struct exact_sum *sum)
{
    return sum->wide != NULL ? sizeof *sum->wide : 0;
}

uint64_t exact_sum_hash(const struct exact_sum *sum, uint64_t seed)
{
    /* Whichever form holds the sum, its digits in the wide form are the same. */
    struct exact_sum_wide wide = {0};
    if (sum->wide != NULL) {
        wide = *sum->wide;
    }
    if (!wide.summing) {
        wide_add_fixed(&wide, sum->fixed, sum->scale);
    }
    bool negative = digits_to_magnitude(wide.digits);
    uint64_t facts[] = {sum->count,           sum->minus_zeros,      wide.nan_count,
                        wide.plus_infinities, wide.minus_infinities, negative};
    uint8_t content[4 * DIGITS + sizeof facts];
    for (size_t i = 0; i < DIGITS; i++) {
        uint32_t digit = htole32((uint32_t)wide.digits[i]);
        memcpy(content + 4 * i, &digit, sizeof digit);
    }
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++) {
        uint64_t fact = htole64(facts[i]);
        memcpy(content + 4 * DIGITS + 8 * i, &fact, sizeof fact);
    }
    return XXH3_64bits_withSeed(content, sizeof content, seed);
}
