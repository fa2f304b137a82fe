/* Exact sums of doubles: add, subtract and merge lose nothing, and the total or the average is
 * rounded once at the end. So the result does not depend on the order of the terms, a term that is
 * taken back leaves no trace, and every machine gets the same bits (all arithmetic is on integers).
 *
 *   inline (most sums for ever)                 on the heap, when a term does not fit
 *   +---------------------------+   promote    +-----------------------------------------------+
 *   | 128-bit integer x 2^scale | -----------> | 69 digits of 32 bits in 64-bit words: all of  |
 *   +---------------------------+              | 2^-1074 ... 2^1024, carries put off           |
 *                                              | counters of NaN, +Infinity, -Infinity         |
 *                                              +-----------------------------------------------+
 *
 * The scale is the lowest bit of any term and sinks when a finer one comes. `term_bits` bounds the
 * length of every term in units of that scale; while term_bits
 * + (length of the count) <= 126 holds, the sum of any subset of the terms fits too. That is why a
 * subtraction can neither overflow nor need the heap. The wide form follows R. M. Neal, "Fast exact
 * summation using small and large superaccumulators" (2015). */
#ifndef VUG_QUERY_EXACT_SUM_H
#define VUG_QUERY_EXACT_SUM_H

#include "query/value.h"

struct exact_sum_wide;

struct exact_sum {
    int128 fixed;                /* in units of 2^scale; 0 once `wide` sums */
    struct exact_sum_wide *wide; /* NULL while no term was infinite, NaN or out of reach */
    uint64_t count;              /* of terms of any kind */
    uint64_t minus_zeros;        /* terms that are -0.0 */
    int16_t scale;
    uint8_t term_bits; /* 0: no term but zeros so far */
};

void exact_sum_init(struct exact_sum *sum);
void exact_sum_fini(struct exact_sum *sum);

/* ERROR_MEMORY leaves the sum as it was. */
enum error exact_sum_add(struct exact_sum *sum, double term);
/* Takes back a term that was added before. Never fails. Without terms the sum is as new. */
void exact_sum_subtract(struct exact_sum *sum, double term);
/* As if every term of `from` were added. ERROR_MEMORY leaves the sum as it was. */
enum error exact_sum_merge(struct exact_sum *sum, const struct exact_sum *from);

/* Correctly rounded, ties to even; beyond the largest double an infinity. Zero is -0.0 only if
 * there are terms and all are -0.0. */
double exact_sum_total(const struct exact_sum *sum);
float exact_sum_total_float(const struct exact_sum *sum);
/* The total divided by the number of terms, rounded once; a zero is +0.0. There are terms. */
double exact_sum_average(const struct exact_sum *sum);
float exact_sum_average_float(const struct exact_sum *sum);

size_t exact_sum_heap_bytes(const struct exact_sum *sum);
/* Equal for equal exact values and counts, whatever the form they are held in. */
uint64_t exact_sum_hash(const struct exact_sum *sum, uint64_t seed);

/* Every bit of it. ERROR_MALFORMED, ERROR_MEMORY: nothing is held. */
void exact_sum_pack(const struct exact_sum *sum, struct buf *out);
enum error exact_sum_unpack(struct slice *rest, struct exact_sum *sum);

#endif
