/* Every bit of a sum, as bytes and back. */
#include <endian.h>

#include "query/exact_sum_impl.h"

enum { FIXED_FORM, SPECIAL_FORM, WIDE_FORM };

static bool take_bytes(struct slice *rest, void *data, size_t len)
{
    if (rest->len < len) {
        return false;
    }
    memcpy(data, rest->data, len);
    *rest = slice_of(rest->data + len, rest->len - len);
    return true;
}

static void pack_words(const uint64_t *words, size_t count, struct buf *out)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t word = htole64(words[i]);
        buf_append(out, &word, sizeof word);
    }
}

static bool take_words(struct slice *rest, uint64_t *words, size_t count)
{
    if (!take_bytes(rest, words, count * sizeof *words)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        words[i] = le64toh(words[i]);
    }
    return true;
}

enum { FACTS = 7, WIDE_FACTS = 4 };

void exact_sum_pack(const struct exact_sum *sum, struct buf *out)
{
    const struct exact_sum_wide *wide = sum->wide;
    uint64_t facts[FACTS] = {wide == NULL     ? FIXED_FORM
                             : !wide->summing ? SPECIAL_FORM
                                              : WIDE_FORM,
                             (uint64_t)sum->fixed,
                             (uint64_t)((uint128)sum->fixed >> 64),
                             sum->count,
                             sum->minus_zeros,
                             (uint64_t)(int64_t)sum->scale,
                             sum->term_bits};
    pack_words(facts, FACTS, out);
    if (wide == NULL) {
        return;
    }
    uint64_t more[WIDE_FACTS] = {wide->nan_count, wide->plus_infinities, wide->minus_infinities,
                                 wide->additions};
    pack_words(more, WIDE_FACTS, out);
    for (size_t i = 0; wide->summing && i < DIGITS; i++) {
        pack_words(&(uint64_t){(uint64_t)wide->digits[i]}, 1, out);
    }
}

/* What a sum of doubles can look like: the arithmetic relies on these bounds. */
static bool facts_are_sound(const struct exact_sum *sum, const uint64_t facts[FACTS])
{
    int64_t scale = (int64_t)facts[5];
    uint64_t bits = facts[6], count = facts[3];
    if (facts[0] > WIDE_FORM || scale < LOWEST_EXPONENT || bits > FIXED_BITS ||
        scale + (int64_t)bits > 1024 || facts[4] > count) {
        return false;
    }
    return facts[0] == WIDE_FORM
               ? sum->fixed == 0
               : fits((int)bits, count) &&
                     bit_length_128(magnitude_of(sum->fixed)) <= (int)bits + bit_length(count);
}

static enum error unpack_wide(struct slice *rest, bool summing, struct exact_sum *sum)
{
    uint64_t more[WIDE_FACTS], digit;
    if (!take_words(rest, more, WIDE_FACTS) || more[3] >= ADDITIONS_MAX) {
        return ERROR_MALFORMED;
    }
    struct exact_sum_wide *wide = exact_sum_wide_of(sum);
    if (wide == NULL) {
        return ERROR_MEMORY;
    }
    wide->nan_count = more[0];
    wide->plus_infinities = more[1];
    wide->minus_infinities = more[2];
    wide->additions = (uint32_t)more[3];
    wide->summing = summing;
    /* Every addition changes a digit by less than 2^32, from one that is below 2^32. */
    const int64_t digit_max = ((int64_t)ADDITIONS_MAX + 1) << DIGIT_BITS;
    for (size_t i = 0; summing && i < DIGITS; i++) {
        if (!take_words(rest, &digit, 1)) {
            return ERROR_MALFORMED;
        }
        wide->digits[i] = (int64_t)digit;
        if (wide->digits[i] > digit_max || wide->digits[i] < -digit_max) {
            return ERROR_MALFORMED;
        }
    }
    return OK;
}

enum error exact_sum_unpack(struct slice *rest, struct exact_sum *sum)
{
    uint64_t facts[FACTS];
    exact_sum_init(sum);
    if (!take_words(rest, facts, FACTS)) {
        return ERROR_MALFORMED;
    }
    sum->fixed = (int128)((uint128)facts[2] << 64 | facts[1]);
    if (!facts_are_sound(sum, facts)) {
        return ERROR_MALFORMED;
    }
    sum->count = facts[3];
    sum->minus_zeros = facts[4];
    sum->scale = (int16_t)(int64_t)facts[5];
    sum->term_bits = (uint8_t)facts[6];
    if (facts[0] == FIXED_FORM) {
        return OK;
    }
    enum error error = unpack_wide(rest, facts[0] == WIDE_FORM, sum);
    if (error != OK) {
        exact_sum_fini(sum);
    }
    return error;
}
