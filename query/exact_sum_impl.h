/* Private to exact_sum*.c: the wide form, and how long numbers are. */
#ifndef VUG_QUERY_EXACT_SUM_IMPL_H
#define VUG_QUERY_EXACT_SUM_IMPL_H

#include "query/exact_sum.h"

typedef unsigned __int128 uint128;

enum {
    FIXED_BITS = 126, /* |fixed| stays below 2^126 */
    LOWEST_EXPONENT =
        -1074, /* of the lowest bit of any double: the weight of bit 0 of the wide form */
    SIGNIFICAND_BITS = 53,
    DIGIT_BITS = 32,
    DIGITS =
        69, /* 2098 bits of range, 63 of carries, and the digits that a 128-bit addend may touch */
};

/* Every addition changes a digit by less than 2^32, so after this many the words still hold their
 * digits. */
#define ADDITIONS_MAX (1u << 30)

struct exact_sum_wide {
    uint64_t nan_count, plus_infinities, minus_infinities;
    bool summing;       /* the digits hold the sum; else `fixed` still does */
    uint32_t additions; /* since the last carry */
    int64_t digits[DIGITS];
};

static inline int bit_length(uint64_t number)
{
    return number == 0 ? 0 : 64 - __builtin_clzll(number);
}

static inline int bit_length_128(uint128 number)
{
    uint64_t high = (uint64_t)(number >> 64);
    return high != 0 ? 64 + bit_length(high) : bit_length((uint64_t)number);
}

static inline uint128 magnitude_of(int128 number)
{
    return number < 0 ? -(uint128)number : (uint128)number;
}

/* Whether one term more, of `bits` bits in the units of the scale, keeps every subset of the terms
 * in reach. */
static inline bool fits(int bits, uint64_t count)
{
    return bits + bit_length(count) <= FIXED_BITS;
}

/* Made if the sum has none yet; NULL without memory. */
struct exact_sum_wide *exact_sum_wide_of(struct exact_sum *sum);

#endif
