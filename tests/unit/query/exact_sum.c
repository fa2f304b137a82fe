#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>

#include "query/exact_sum.h"
#include "tests/lib/mem_fault.h"

/* ---- A slow reference: all of a double's range as one two's complement integer, rounded bit by
 * bit ---- */

enum { WORDS = 36, BITS = 64 * WORDS, LOWEST = -1074 };

struct big {
    uint64_t word[WORDS];
};

static void big_add_bit(struct big *big, unsigned bit, bool negative)
{
    unsigned word = bit / 64;
    uint64_t amount = UINT64_C(1) << (bit % 64);
    while (word < WORDS) {
        uint64_t before = big->word[word];
        big->word[word] = negative ? before - amount : before + amount;
        if (negative ? before >= amount : big->word[word] >= amount) {
            return;
        }
        amount = 1;
        word++;
    }
}

static void big_add(struct big *big, double term, bool subtract)
{
    int exponent;
    double fraction = frexp(fabs(term), &exponent);
    uint64_t significand = (uint64_t)ldexp(fraction, 53);
    exponent -= 53;
    while (exponent < LOWEST) {
        assert_int_equal(significand & 1, 0);
        significand >>= 1;
        exponent++;
    }
    for (unsigned bit = 0; bit < 53; bit++) {
        if (significand >> bit & 1) {
            big_add_bit(big, (unsigned)(exponent - LOWEST) + bit, (term < 0) != subtract);
        }
    }
}

static bool big_bit(const struct big *big, int bit)
{
    return bit >= 0 && (big->word[bit / 64] >> (bit % 64) & 1) != 0;
}

/* Divides by schoolbook, with `extra` bits after the point, and rounds; the sign is put back at the
 * end. */
static double big_round(const struct big *sum, uint64_t divisor)
{
    enum { EXTRA = 130 };
    static uint8_t quotient[BITS + EXTRA];
    struct big big = *sum;
    bool negative = big_bit(&big, BITS - 1);
    if (negative) {
        for (int i = 0; i < WORDS; i++) {
            big.word[i] = ~big.word[i];
        }
        big_add_bit(&big, 0, false);
    }
    unsigned __int128 rest = 0;
    int highest = -1;
    for (int bit = BITS + EXTRA - 1; bit >= 0; bit--) {
        rest = rest << 1 | big_bit(&big, bit - EXTRA);
        quotient[bit] = rest >= divisor;
        rest -= quotient[bit] ? divisor : 0;
        highest = highest < 0 && quotient[bit] ? bit : highest;
    }
    if (highest < 0) {
        return 0;
    }
    int lowest = highest - 52 > EXTRA ? highest - 52 : EXTRA;
    uint64_t significand = 0;
    for (int bit = highest; bit >= lowest; bit--) {
        significand = significand << 1 | quotient[bit];
    }
    bool more = rest != 0;
    for (int bit = lowest - 2; bit >= 0; bit--) {
        more = more || quotient[bit];
    }
    significand += quotient[lowest - 1] && (more || (significand & 1));
    double result = ldexp((double)significand, lowest - EXTRA + LOWEST);
    return negative ? -result : result;
}

static uint64_t bits_of(double number)
{
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    return bits;
}

static double double_of(uint64_t bits)
{
    double number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

#define assert_double(actual, expected) assert_int_equal(bits_of(actual), bits_of(expected))

static double total_of(const double *terms, size_t count)
{
    struct exact_sum sum;
    exact_sum_init(&sum);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(exact_sum_add(&sum, terms[i]), OK);
    }
    double total = exact_sum_total(&sum);
    exact_sum_fini(&sum);
    return total;
}

static double average_of(const double *terms, size_t count)
{
    struct exact_sum sum;
    exact_sum_init(&sum);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(exact_sum_add(&sum, terms[i]), OK);
    }
    double average = exact_sum_average(&sum);
    exact_sum_fini(&sum);
    return average;
}

#define TOTAL(...)                                                                                 \
    total_of((const double[]){__VA_ARGS__}, sizeof((const double[]){__VA_ARGS__}) / sizeof(double))
#define AVERAGE(...)                                                                               \
    average_of((const double[]){__VA_ARGS__},                                                      \
               sizeof((const double[]){__VA_ARGS__}) / sizeof(double))

/* ---- Random numbers that are the same in every run ---- */

static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* Finite numbers that are hard to add: of like and of wildly different size, ties, subnormals, huge
 * ones, zeros. */
static double hard_number(uint64_t *state, unsigned style)
{
    uint64_t bits = next_random(state);
    double sign = bits >> 63 != 0 ? -1.0 : 1.0;
    switch (style) {
    case 0:
        return sign * (double)(bits % 1000000) / 100;
    case 1: /* any finite double */
        return double_of((bits & ~(UINT64_C(0x7ff) << 52)) | (next_random(state) % 0x7ff) << 52);
    case 2: /* subnormal */
        return double_of(bits & ~(UINT64_C(0x7ff) << 52));
    case 3: /* a power of two */
        return sign * ldexp(1, (int)(next_random(state) % 2098) - 1074);
    case 4: /* near the upper end */
        return sign * ldexp((double)(bits >> 12), (int)(next_random(state) % 10) + 962);
    case 5:
        return sign * 0.0;
    case 6: /* half a unit in the last place next to units */
        return sign * ldexp(1, -53 * (int)(bits & 1)) + (double)(bits >> 1 & 1);
    default:
        return sign * ldexp((double)(bits >> 11), (int)(next_random(state) % 120) - 60);
    }
}

/* ---- Tests ---- */

static void rounds_a_total_once(void **state)
{
    (void)state;
    assert_double(TOTAL(0.1, 0.2, 0.3), 0.6);
    assert_double(TOTAL(1e16, 1, -1e16), 1.0);
    assert_double(TOTAL(1e300, 1, -1e300), 1.0);
    assert_double(TOTAL(1, 0x1p-53), 1.0); /* a tie goes to even */
    assert_double(TOTAL(1, 0x1p-53, 0x1p-1074), 1 + 0x1p-52);
    assert_double(TOTAL(1 + 0x1p-52, 0x1p-53), 1 + 0x1p-51);
    assert_double(TOTAL(-1, -0x1p-53, -0x1p-1074), -1 - 0x1p-52);
}

static void rounds_an_average_once(void **state)
{
    (void)state;
    assert_double(AVERAGE(0.1, 0.2, 0.3), 0.2);
    assert_double(AVERAGE(1, 0, 0), 1.0 / 3);
    assert_double(AVERAGE(1.7976931348623157e308, 1.7976931348623157e308), 1.7976931348623157e308);
    assert_double(AVERAGE(1e308, 1e308, 1e308, 1e308, -1), 8e307);
}

static void reaches_subnormal_numbers(void **state)
{
    (void)state;
    assert_double(TOTAL(0x1p-1074, 0x1p-1074), 0x1p-1073);
    assert_double(AVERAGE(0x1p-1074, 0), 0.0); /* half the smallest: even is zero */
    assert_double(AVERAGE(0x3p-1074, 0), 0x1p-1073);
    assert_double(AVERAGE(0x1p-1074, 0x1p-1074, 0), 0x1p-1074);
    assert_double(AVERAGE(-0x1p-1074, 0, 0), -0.0);
    assert_double(TOTAL(0x1p-1022, -0x1p-1074), 0x0.fffffffffffffp-1022);
}

static void overflows_to_infinity_and_comes_back(void **state)
{
    (void)state;
    const double huge = 1.7976931348623157e308;
    struct exact_sum sum;
    exact_sum_init(&sum);
    exact_sum_add(&sum, huge);
    exact_sum_add(&sum, 0x1p969); /* less than half a unit more */
    assert_double(exact_sum_total(&sum), huge);
    exact_sum_add(&sum, 0x1p969);
    assert_double(exact_sum_total(&sum), INFINITY);
    exact_sum_add(&sum, huge);
    assert_double(exact_sum_total(&sum), INFINITY);
    exact_sum_subtract(&sum, huge);
    exact_sum_subtract(&sum, 0x1p969);
    assert_double(exact_sum_total(&sum), huge);
    exact_sum_fini(&sum);
    assert_double(TOTAL(-huge, -huge), -INFINITY);
}

static void nan_and_infinities_leave_again(void **state)
{
    (void)state;
    struct exact_sum sum;
    exact_sum_init(&sum);
    exact_sum_add(&sum, 1.5);
    exact_sum_add(&sum, INFINITY);
    assert_double(exact_sum_total(&sum), INFINITY);
    exact_sum_add(&sum, -INFINITY);
    assert_true(isnan(exact_sum_average(&sum)));
    exact_sum_subtract(&sum, INFINITY);
    assert_double(exact_sum_average(&sum), -INFINITY);
    exact_sum_add(&sum, (double)NAN);
    assert_true(isnan(exact_sum_total(&sum)));
    exact_sum_subtract(&sum, -INFINITY);
    exact_sum_subtract(&sum, -(double)NAN); /* whichever NaN */
    assert_double(exact_sum_total(&sum), 1.5);
    assert_int_equal(exact_sum_heap_bytes(&sum), 0);
    exact_sum_add(&sum, 1e300);
    exact_sum_add(&sum, (double)NAN);
    exact_sum_subtract(&sum, (double)NAN);
    exact_sum_subtract(&sum, 1e300);
    assert_double(exact_sum_total(&sum), 1.5);
    exact_sum_fini(&sum);
}

static void minus_zero_is_the_sum_of_minus_zeros_alone(void **state)
{
    (void)state;
    struct exact_sum sum;
    exact_sum_init(&sum);
    assert_double(exact_sum_total(&sum), 0.0);
    exact_sum_add(&sum, -0.0);
    exact_sum_add(&sum, -0.0);
    assert_double(exact_sum_total(&sum), -0.0);
    assert_double(exact_sum_average(&sum), 0.0);
    exact_sum_add(&sum, 0.0);
    assert_double(exact_sum_total(&sum), 0.0);
    exact_sum_subtract(&sum, 0.0);
    assert_double(exact_sum_total(&sum), -0.0);
    exact_sum_add(&sum, 1e300);
    exact_sum_add(&sum, 1e-300);
    exact_sum_subtract(&sum, 1e-300);
    exact_sum_subtract(&sum, 1e300);
    assert_double(exact_sum_total(&sum), -0.0);
    exact_sum_fini(&sum);
    assert_double(TOTAL(1, -1), 0.0);
}

static void floats_are_rounded_from_the_exact_sum(void **state)
{
    (void)state;
    struct exact_sum sum;
    exact_sum_init(&sum);
    exact_sum_add(&sum, 16777216);
    exact_sum_add(&sum, 1);
    assert_true(exact_sum_total_float(&sum) == 16777216.0f);
    exact_sum_add(&sum, 0x1p-60); /* a double would round to the tie first */
    assert_true(exact_sum_total_float(&sum) == 16777218.0f);
    exact_sum_add(&sum, 3.4e38);
    exact_sum_add(&sum, 3.4e38);
    assert_true(exact_sum_total_float(&sum) == INFINITY);
    assert_true(isfinite(exact_sum_average_float(&sum)));
    exact_sum_fini(&sum);
}

static void equals_the_reference_on_hard_numbers(void **state)
{
    enum { TERMS = 24 };
    (void)state;
    for (uint64_t seed = 0; seed < 12000; seed++) {
        uint64_t random = seed;
        double terms[TERMS];
        size_t count = 0;
        struct exact_sum sum;
        struct big big = {0};
        exact_sum_init(&sum);
        unsigned styles[2] = {(unsigned)(next_random(&random) % 8),
                              (unsigned)(next_random(&random) % 8)};
        for (int step = 0; step < TERMS; step++) {
            uint64_t choice = next_random(&random);
            if (choice % 3 == 0 && count > 0) {
                size_t at = choice / 3 % count;
                exact_sum_subtract(&sum, terms[at]);
                big_add(&big, terms[at], true);
                terms[at] = terms[--count];
            } else {
                double term = hard_number(&random, styles[choice / 8 % 2]);
                term = choice % 5 == 0 && count > 0 ? -terms[0] : term;
                assert_int_equal(exact_sum_add(&sum, term), OK);
                big_add(&big, term, false);
                terms[count++] = term;
            }
        }
        double total = big_round(&big, 1);
        bool minus = count > 0 && total == 0;
        for (size_t i = 0; i < count; i++) {
            minus = minus && terms[i] == 0 && signbit(terms[i]);
        }
        if (total != 0 || !minus) {
            assert_double(exact_sum_total(&sum), total);
        } else {
            assert_double(exact_sum_total(&sum), -0.0);
        }
        if (count > 0) {
            assert_double(exact_sum_average(&sum), big_round(&big, count));
        }
        while (count > 0) {
            exact_sum_subtract(&sum, terms[--count]);
        }
        struct exact_sum fresh;
        exact_sum_init(&fresh);
        assert_memory_equal(&sum, &fresh, sizeof sum);
    }
}

static void does_not_depend_on_the_order(void **state)
{
    enum { TERMS = 40 };
    (void)state;
    uint64_t random = 7;
    for (int round = 0; round < 300; round++) {
        double terms[TERMS], total = 0, average = 0;
        uint64_t hash = 0;
        for (int i = 0; i < TERMS; i++) {
            terms[i] = hard_number(&random, round % 3 == 0 ? 0 : (unsigned)(i % 8));
        }
        for (int permutation = 0; permutation < 10; permutation++) {
            struct exact_sum sum;
            exact_sum_init(&sum);
            for (int i = 0; i < TERMS; i++) {
                exact_sum_add(&sum, terms[i]);
            }
            if (permutation > 0) {
                assert_double(exact_sum_total(&sum), total);
                assert_double(exact_sum_average(&sum), average);
                assert_int_equal(exact_sum_hash(&sum, 1), hash);
            }
            total = exact_sum_total(&sum);
            average = exact_sum_average(&sum);
            hash = exact_sum_hash(&sum, 1);
            exact_sum_fini(&sum);
            for (size_t i = TERMS - 1; i > 0; i--) {
                size_t other = next_random(&random) % (i + 1);
                double swapped = terms[i];
                terms[i] = terms[other];
                terms[other] = swapped;
            }
        }
    }
}

static void merging_equals_adding_every_term(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 3000; seed++) {
        uint64_t random = seed;
        struct exact_sum all, parts[2];
        exact_sum_init(&all);
        exact_sum_init(&parts[0]);
        exact_sum_init(&parts[1]);
        for (int i = (int)(next_random(&random) % 30); i > 0; i--) {
            double term = hard_number(&random, seed % 2 == 0 ? 0 : (unsigned)(i % 8));
            term = next_random(&random) % 200 == 0 ? INFINITY : term;
            exact_sum_add(&all, term);
            exact_sum_add(&parts[next_random(&random) % 2], term);
        }
        assert_int_equal(exact_sum_merge(&parts[0], &parts[1]), OK);
        assert_double(exact_sum_total(&parts[0]), exact_sum_total(&all));
        assert_int_equal(exact_sum_hash(&parts[0], 3), exact_sum_hash(&all, 3));
        exact_sum_fini(&all);
        exact_sum_fini(&parts[0]);
        exact_sum_fini(&parts[1]);
    }
}

/* 2^61 terms by doubling: counts of 62 bits, more carries than any stream will bring. */
static void counts_beyond_all_streams(void **state)
{
    (void)state;
    const double first[] = {0.1, 1e300};
    for (int which = 0; which < 2; which++) {
        struct exact_sum sum;
        exact_sum_init(&sum);
        exact_sum_add(&sum, first[which]);
        for (int i = 0; i < 61; i++) {
            struct exact_sum same = sum;
            assert_int_equal(exact_sum_merge(&sum, &same), OK);
        }
        assert_true(sum.count == UINT64_C(1) << 61);
        assert_double(exact_sum_average(&sum), first[which]);
        assert_double(exact_sum_total(&sum), first[which] * 0x1p61);
        exact_sum_fini(&sum);
    }
}

/* 3 * 2^60 terms whose average is a hair above the middle between 1 and the next double: the hair
 * is lost in the 66 bits of the quotient, but not in its remainder. */
static void the_remainder_of_a_quotient_decides_ties(void **state)
{
    (void)state;
    struct exact_sum sum;
    exact_sum_init(&sum);
    for (int i = 0; i < 3; i++) {
        exact_sum_add(&sum, 1);
    }
    for (int i = 0; i < 60; i++) {
        struct exact_sum same = sum;
        assert_int_equal(exact_sum_merge(&sum, &same), OK);
    }
    exact_sum_subtract(&sum, 1);
    exact_sum_add(&sum, 385);
    assert_double(exact_sum_average(&sum), 1.0);
    exact_sum_subtract(&sum, 385);
    exact_sum_add(&sum, 385 + 0x1p-10);
    assert_double(exact_sum_average(&sum), 1 + 0x1p-52);
    assert_int_equal(exact_sum_heap_bytes(&sum), 0);
    exact_sum_fini(&sum);
}

/* Each term fits, and so do all sums on the way, but not what is left when the negative terms are
 * taken back. */
static void taking_back_cannot_overflow(void **state)
{
    (void)state;
    const double large = 0x1p71;
    struct exact_sum sum;
    exact_sum_init(&sum);
    exact_sum_add(&sum, 0x1p-52);
    for (int i = 0; i < 64; i++) {
        exact_sum_add(&sum, large);
        exact_sum_add(&sum, -large);
    }
    for (int i = 0; i < 64; i++) {
        exact_sum_subtract(&sum, -large);
    }
    assert_double(exact_sum_total(&sum), 0x1p77);
    for (int i = 0; i < 64; i++) {
        exact_sum_subtract(&sum, large);
    }
    assert_double(exact_sum_total(&sum), 0x1p-52);
    exact_sum_fini(&sum);
}

static void ordinary_readings_need_no_heap(void **state)
{
    (void)state;
    struct exact_sum sum;
    exact_sum_init(&sum);
    for (int i = 0; i < 1000000; i++) {
        exact_sum_add(&sum, (double)(i % 100000) / 100 - 273.15);
    }
    assert_int_equal(exact_sum_heap_bytes(&sum), 0);
    assert_true(sizeof sum <= 48);
    exact_sum_fini(&sum);
    /* Nor do readings that are all large or all small. */
    for (int i = 0; i < 100; i++) {
        exact_sum_add(&sum, 1e300 / (i + 1));
    }
    assert_int_equal(exact_sum_heap_bytes(&sum), 0);
    exact_sum_fini(&sum);
    for (int i = 0; i < 100; i++) {
        exact_sum_add(&sum, 1e-300 / (i + 1));
    }
    assert_int_equal(exact_sum_heap_bytes(&sum), 0);
    exact_sum_fini(&sum);
}

static void without_memory_nothing_changes(void **state)
{
    (void)state;
    static const double refused[] = {1e300, (double)NAN, INFINITY, -INFINITY};
    struct exact_sum sum, other;
    exact_sum_init(&sum);
    exact_sum_init(&other);
    exact_sum_add(&sum, 0.25);
    exact_sum_add(&other, 1e300);
    exact_sum_add(&other, (double)NAN);
    long live = mem_fault_live();
    struct exact_sum before = sum;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        mem_fault_fail_at(1);
        assert_int_equal(exact_sum_add(&sum, refused[i]), ERROR_MEMORY);
        mem_fault_fail_at(0);
        assert_memory_equal(&sum, &before, sizeof sum);
    }
    mem_fault_fail_at(1);
    assert_int_equal(exact_sum_merge(&sum, &other), ERROR_MEMORY);
    assert_memory_equal(&sum, &before, sizeof sum);
    mem_fault_fail_at(0);
    assert_int_equal(mem_fault_live(), live);
    assert_int_equal(exact_sum_add(&sum, 1e300), OK);
    mem_fault_fail_from(1); /* taking back asks for nothing */
    exact_sum_subtract(&sum, 0.25);
    assert_double(exact_sum_total(&sum), 1e300);
    exact_sum_subtract(&sum, 1e300);
    mem_fault_fail_at(0);
    exact_sum_fini(&other);
    assert_int_equal(exact_sum_heap_bytes(&sum), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rounds_a_total_once),
        cmocka_unit_test(rounds_an_average_once),
        cmocka_unit_test(reaches_subnormal_numbers),
        cmocka_unit_test(overflows_to_infinity_and_comes_back),
        cmocka_unit_test(nan_and_infinities_leave_again),
        cmocka_unit_test(minus_zero_is_the_sum_of_minus_zeros_alone),
        cmocka_unit_test(floats_are_rounded_from_the_exact_sum),
        cmocka_unit_test(equals_the_reference_on_hard_numbers),
        cmocka_unit_test(does_not_depend_on_the_order),
        cmocka_unit_test(merging_equals_adding_every_term),
        cmocka_unit_test(counts_beyond_all_streams),
        cmocka_unit_test(the_remainder_of_a_quotient_decides_ties),
        cmocka_unit_test(taking_back_cannot_overflow),
        cmocka_unit_test(ordinary_readings_need_no_heap),
        cmocka_unit_test(without_memory_nothing_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
