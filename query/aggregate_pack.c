/* Accumulators as bytes. */
#include <endian.h>

#include "common/mem.h"
#include "query/aggregate_form.h"

static void put_word(uint64_t word, struct buf *out)
{
    word = htole64(word);
    buf_append(out, &word, sizeof word);
}

static bool take_word(struct slice *rest, uint64_t *word)
{
    if (rest->len < sizeof *word)
        return false;
    memcpy(word, rest->data, sizeof *word);
    *word = le64toh(*word);
    *rest = slice_of(rest->data + sizeof *word, rest->len - sizeof *word);
    return true;
}

static uint64_t double_bits(double number)
{
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    return bits;
}

static double bits_double(uint64_t bits)
{
    double number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

static uint64_t float_bits(float number)
{
    uint32_t bits;
    memcpy(&bits, &number, sizeof bits);
    return bits;
}

static float bits_float(uint64_t bits)
{
    uint32_t half = (uint32_t)bits;
    float number;
    memcpy(&number, &half, sizeof number);
    return number;
}

/* The forms that are a few numbers, as words. */
enum { WORDS_MAX = 4 };

static uint32_t words_of(enum aggregate_form form, const void *accumulator,
                         uint64_t words[WORDS_MAX])
{
    switch (form) {
    case FORM_COUNT:
        words[0] = *(const uint64_t *)accumulator;
        return 1;
    case FORM_INTEGER: {
        const struct sum_integer *sum = accumulator;
        words[0] = sum->sum;
        words[1] = sum->count;
        return 2;
    }
    case FORM_DOUBLE: {
        const struct sum_double *sum = accumulator;
        words[0] = double_bits(sum->sum);
        words[1] = sum->count;
        words[2] = sum->started;
        return 3;
    }
    case FORM_FLOAT: {
        const struct sum_float *sum = accumulator;
        words[0] = float_bits(sum->sum);
        words[1] = sum->count;
        words[2] = sum->started;
        return 3;
    }
    case FORM_DECIMAL: {
        const struct sum_decimal *sum = accumulator;
        words[0] = (uint64_t)sum->low;
        words[1] = (uint64_t)(sum->low >> 64);
        words[2] = (uint64_t)sum->high;
        words[3] = sum->count << 1 | sum->overflowed;
        return 4;
    }
    case FORM_DECIMAL_FLINK: {
        const struct sum_decimal_flink *sum = accumulator;
        unsigned __int128 digits = sum->is_null ? 0 : (unsigned __int128)sum->sum;
        words[0] = (uint64_t)digits;
        words[1] = (uint64_t)(digits >> 64);
        words[2] = sum->count;
        words[3] = sum->is_null;
        return 4;
    }
    default:
        return 0;
    }
}

static void set_words(enum aggregate_form form, const uint64_t words[WORDS_MAX], void *accumulator)
{
    switch (form) {
    case FORM_COUNT:
        *(uint64_t *)accumulator = words[0];
        break;
    case FORM_INTEGER:
        *(struct sum_integer *)accumulator =
            (struct sum_integer){.sum = words[0], .count = words[1]};
        break;
    case FORM_DOUBLE:
        *(struct sum_double *)accumulator = (struct sum_double){
            .sum = bits_double(words[0]), .count = words[1], .started = words[2] != 0};
        break;
    case FORM_FLOAT:
        *(struct sum_float *)accumulator = (struct sum_float){
            .sum = bits_float(words[0]), .count = words[1], .started = words[2] != 0};
        break;
    case FORM_DECIMAL:
        *(struct sum_decimal *)accumulator =
            (struct sum_decimal){.low = (unsigned __int128)words[1] << 64 | words[0],
                                 .high = (int64_t)words[2],
                                 .count = words[3] >> 1,
                                 .overflowed = (words[3] & 1) != 0};
        break;
    case FORM_DECIMAL_FLINK:
        *(struct sum_decimal_flink *)accumulator = (struct sum_decimal_flink){
            .sum = (int128)((unsigned __int128)words[1] << 64 | words[0]),
            .count = words[2],
            .is_null = words[3] != 0};
        break;
    default:
        break;
    }
}

void aggregate_pack(const struct aggregate_spec *spec, const void *accumulator, struct buf *out)
{
    enum aggregate_form form = aggregate_form(spec);
    uint64_t words[WORDS_MAX];
    switch (form) {
    case FORM_EXACT:
        exact_sum_pack(accumulator, out);
        break;
    case FORM_EXTREME:
        query_value_pack(&((const struct extreme *)accumulator)->value, out);
        break;
    case FORM_EXTREMES:
        multiset_pack(accumulator, out);
        break;
    default:
        for (uint32_t i = 0, count = words_of(form, accumulator, words); i < count; i++)
            put_word(words[i], out);
    }
}

static bool is_of(const struct query_type *type, const struct query_value *value)
{
    return value->kind == type->kind &&
           (value->kind != QUERY_TYPE_DECIMAL || value->scale == type->scale);
}

static enum error unpack_extreme(const struct aggregate_spec *spec, struct slice *rest,
                                 struct extreme *extreme)
{
    struct query_value value;
    if (query_value_unpack(rest, &value) != OK ||
        (value.kind != QUERY_TYPE_NULL && !is_of(&spec->input, &value)))
        return ERROR_MALFORMED;
    if (value.kind == QUERY_TYPE_STRING) {
        const char *text = value.text.len == 0 ? "" : (const char *)value.text.data;
        char *copy = mem_strndup(text, value.text.len);
        if (copy == NULL)
            return ERROR_MEMORY;
        value.text = slice_of(copy, value.text.len);
    }
    extreme->value = value;
    return OK;
}

enum error aggregate_unpack(const struct aggregate_spec *spec, struct slice *rest,
                            void *accumulator)
{
    enum aggregate_form form = aggregate_form(spec);
    uint64_t words[WORDS_MAX];
    PRE(form != FORM_NONE);
    aggregate_init(spec, accumulator);
    switch (form) {
    case FORM_EXACT:
        return exact_sum_unpack(rest, accumulator);
    case FORM_EXTREME:
        return unpack_extreme(spec, rest, accumulator);
    case FORM_EXTREMES:
        return multiset_unpack(rest, spec->input.kind, accumulator);
    default:
        break;
    }
    uint32_t count = words_of(form, accumulator, words);
    for (uint32_t i = 0; i < count; i++)
        if (!take_word(rest, &words[i]))
            return ERROR_MALFORMED;
    set_words(form, words, accumulator);
    return OK;
}
