#include "query/aggregate_form.h"

#include <math.h>

#include "common/mem.h"
#include "query/decimal.h"
#include "query/number.h"

static enum aggregate_form form_of_sum(const struct aggregate_spec *spec)
{
    bool flink = spec->mode == QUERY_FLINK;
    switch (spec->input.kind) {
    case QUERY_TYPE_TINYINT:
    case QUERY_TYPE_SMALLINT:
    case QUERY_TYPE_INT:
    case QUERY_TYPE_BIGINT:
        return FORM_INTEGER;
    case QUERY_TYPE_FLOAT:
        /* Only the AVG of GROUP BY has a wider accumulator. */
        return !flink                                           ? FORM_EXACT
               : spec->function == AGGREGATE_AVG && !spec->over ? FORM_DOUBLE
                                                                : FORM_FLOAT;
    case QUERY_TYPE_DOUBLE:
        return flink ? FORM_DOUBLE : FORM_EXACT;
    case QUERY_TYPE_DECIMAL:
        return flink ? FORM_DECIMAL_FLINK : FORM_DECIMAL;
    default:
        return FORM_NONE;
    }
}

enum aggregate_form aggregate_form(const struct aggregate_spec *spec)
{
    switch (spec->function) {
    case AGGREGATE_COUNT_ROWS:
    case AGGREGATE_COUNT:
        return FORM_COUNT;
    case AGGREGATE_SUM:
    case AGGREGATE_AVG:
        return form_of_sum(spec);
    case AGGREGATE_MIN:
    case AGGREGATE_MAX:
        break;
    }
    if (spec->input.kind == QUERY_TYPE_NULL || spec->input.kind == QUERY_TYPE_BYTES) {
        return FORM_NONE;
    }
    return spec->retracting ? FORM_EXTREMES : FORM_EXTREME;
}

enum error aggregate_result_type(const struct aggregate_spec *spec, struct query_type *result)
{
    enum aggregate_form form = aggregate_form(spec);
    if (form == FORM_NONE) {
        return ERROR_INVALID;
    }
    *result = spec->input;
    if (form == FORM_COUNT) {
        *result = (struct query_type){.kind = QUERY_TYPE_BIGINT};
    } else if (form == FORM_DECIMAL || form == FORM_DECIMAL_FLINK) {
        result->precision = DECIMAL_DIGITS;
        if (spec->function == AGGREGATE_AVG && result->scale < 6) {
            result->scale = 6;
        }
    }
    return OK;
}

size_t aggregate_size(const struct aggregate_spec *spec)
{
    static const size_t SIZES[] = {
        [FORM_COUNT] = sizeof(uint64_t),
        [FORM_INTEGER] = sizeof(struct sum_integer),
        [FORM_EXACT] = sizeof(struct exact_sum),
        [FORM_DOUBLE] = sizeof(struct sum_double),
        [FORM_FLOAT] = sizeof(struct sum_float),
        [FORM_DECIMAL] = sizeof(struct sum_decimal),
        [FORM_DECIMAL_FLINK] = sizeof(struct sum_decimal_flink),
        [FORM_EXTREME] = sizeof(struct extreme),
        [FORM_EXTREMES] = sizeof(struct multiset),
    };
    enum aggregate_form form = aggregate_form(spec);
    PRE(form != FORM_NONE);
    return (SIZES[form] + 15) / 16 * 16;
}

void aggregate_init(const struct aggregate_spec *spec, void *accumulator)
{
    memset(accumulator, 0, aggregate_size(spec));
    if (aggregate_form(spec) == FORM_DECIMAL_FLINK) {
        /* Only the SUM of GROUP BY starts as NULL, the others at zero. */
        struct sum_decimal_flink *sum = accumulator;
        sum->is_null = spec->function == AGGREGATE_SUM && !spec->over;
    }
}

void aggregate_fini(const struct aggregate_spec *spec, void *accumulator)
{
    switch (aggregate_form(spec)) {
    case FORM_EXACT:
        exact_sum_fini(accumulator);
        break;
    case FORM_EXTREME: {
        struct extreme *extreme = accumulator;
        if (extreme->value.kind == QUERY_TYPE_STRING) {
            mem_free((void *)(uintptr_t)extreme->value.text.data);
        }
        extreme->value = (struct query_value){.kind = QUERY_TYPE_NULL};
        break;
    }
    case FORM_EXTREMES:
        multiset_fini(accumulator);
        break;
    default:
        break;
    }
}

/* ---- Add ---- */

static uint64_t wrapped(const struct aggregate_spec *spec, uint64_t sum)
{
    /* AVG of GROUP BY adds in BIGINT, everything else in the input's own type. */
    bool wide = spec->function == AGGREGATE_AVG && !spec->over;
    return wide ? sum : (uint64_t)number_wrap((int64_t)sum, spec->input.kind);
}

static void add_double(const struct aggregate_spec *spec, struct sum_double *sum, double term)
{
    /* The SUM of GROUP BY is its first term, so that -0.0 stays; all others start from +0.0. */
    bool first = !sum->started && spec->function == AGGREGATE_SUM && !spec->over;
    sum->sum = first ? term : sum->sum + term;
    sum->started = true;
    sum->count++;
}

static void add_float(const struct aggregate_spec *spec, struct sum_float *sum, float term)
{
    bool first = !sum->started && spec->function == AGGREGATE_SUM && !spec->over;
    sum->sum = first ? term : sum->sum + term;
    sum->started = true;
    sum->count++;
}

static bool decimal_result(const struct sum_decimal *sum, int128 *digits)
{
    *digits = (int128)sum->low;
    return sum->high == (*digits < 0 ? -1 : 0) && decimal_fits(*digits, DECIMAL_DIGITS);
}

static void add_decimal(const struct aggregate_spec *spec, struct sum_decimal *sum, int128 term)
{
    int128 digits;
    unsigned __int128 low = sum->low + (unsigned __int128)term;
    sum->high += (low < sum->low) - (term < 0);
    sum->low = low;
    if (!spec->retracting && !decimal_result(sum, &digits)) {
        sum->overflowed = true;
    }
}

static void add_decimal_flink(const struct aggregate_spec *spec, struct sum_decimal_flink *sum,
                              int128 term)
{
    if (sum->is_null) {
        /* The SUM of GROUP BY cannot tell an overflow from "no value yet"; the others stay NULL. */
        if (spec->function == AGGREGATE_SUM && !spec->over) {
            sum->sum = term;
            sum->is_null = false;
        }
    } else {
        sum->is_null = !decimal_add(sum->sum, term, &sum->sum);
    }
}

/* Whether `input` takes the place of the extreme. In flink mode comparisons with NaN are false and
 * zeros are equal, so that the first of them stays; in exact mode the order is total, so that the
 * result does not depend on who came first. */
static bool is_more_extreme(const struct aggregate_spec *spec, const struct query_value *input,
                            const struct query_value *extreme)
{
    bool min = spec->function == AGGREGATE_MIN;
    if (spec->mode == QUERY_FLINK && input->kind == QUERY_TYPE_DOUBLE) {
        return min ? input->float64 < extreme->float64 : input->float64 > extreme->float64;
    }
    if (spec->mode == QUERY_FLINK && input->kind == QUERY_TYPE_FLOAT) {
        return min ? input->float32 < extreme->float32 : input->float32 > extreme->float32;
    }
    int order = query_value_compare_total(input, extreme);
    return min ? order < 0 : order > 0;
}

static enum error add_extreme(const struct aggregate_spec *spec, struct extreme *extreme,
                              const struct query_value *input)
{
    if (extreme->value.kind != QUERY_TYPE_NULL && !is_more_extreme(spec, input, &extreme->value)) {
        return OK;
    }
    struct query_value value = *input;
    if (value.kind == QUERY_TYPE_STRING) {
        const char *text = value.text.len == 0 ? "" : (const char *)value.text.data;
        char *copy = mem_strndup(text, value.text.len);
        if (copy == NULL) {
            return ERROR_MEMORY;
        }
        value.text = slice_of(copy, value.text.len);
    }
    aggregate_fini(spec, extreme);
    extreme->value = value;
    return OK;
}

enum error aggregate_add(const struct aggregate_spec *spec, void *accumulator,
                         const struct query_value *input)
{
    if (input->kind == QUERY_TYPE_NULL && spec->function != AGGREGATE_COUNT_ROWS) {
        return OK;
    }
    enum aggregate_form form = aggregate_form(spec);
    PRE(form == FORM_COUNT || input->kind == spec->input.kind);
    switch (form) {
    case FORM_COUNT:
        ++*(uint64_t *)accumulator;
        return OK;
    case FORM_INTEGER: {
        struct sum_integer *sum = accumulator;
        sum->sum = wrapped(spec, sum->sum + (uint64_t)input->integer);
        sum->count++;
        return OK;
    }
    case FORM_EXACT:
        return exact_sum_add(accumulator, number_to_double(input));
    case FORM_DOUBLE:
        add_double(spec, accumulator, number_to_double(input));
        return OK;
    case FORM_FLOAT:
        add_float(spec, accumulator, input->float32);
        return OK;
    case FORM_DECIMAL:
        PRE(input->scale == spec->input.scale);
        add_decimal(spec, accumulator, input->decimal);
        ((struct sum_decimal *)accumulator)->count++;
        return OK;
    case FORM_DECIMAL_FLINK:
        PRE(input->scale == spec->input.scale);
        add_decimal_flink(spec, accumulator, input->decimal);
        ((struct sum_decimal_flink *)accumulator)->count++;
        return OK;
    case FORM_EXTREME:
        return add_extreme(spec, accumulator, input);
    case FORM_EXTREMES:
        return multiset_add(accumulator, input);
    case FORM_NONE:
        break;
    }
    return ERROR_INVALID;
}

/* ---- Retract ---- */

void aggregate_retract(const struct aggregate_spec *spec, void *accumulator,
                       const struct query_value *input)
{
    enum aggregate_form form = aggregate_form(spec);
    PRE(spec->retracting && form != FORM_EXTREME && form != FORM_NONE);
    if (input->kind == QUERY_TYPE_NULL && spec->function != AGGREGATE_COUNT_ROWS) {
        return;
    }
    switch (form) {
    case FORM_COUNT: {
        uint64_t *count = accumulator;
        PRE(*count > 0);
        --*count;
        break;
    }
    case FORM_INTEGER: {
        struct sum_integer *sum = accumulator;
        PRE(sum->count > 0);
        sum->sum = wrapped(spec, sum->sum - (uint64_t)input->integer);
        sum->count--;
        break;
    }
    case FORM_EXACT:
        exact_sum_subtract(accumulator, number_to_double(input));
        break;
    case FORM_DOUBLE: {
        struct sum_double *sum = accumulator;
        PRE(sum->count > 0);
        sum->sum -= number_to_double(input);
        sum->count--;
        break;
    }
    case FORM_FLOAT: {
        struct sum_float *sum = accumulator;
        PRE(sum->count > 0);
        sum->sum -= input->float32;
        sum->count--;
        break;
    }
    case FORM_DECIMAL: {
        struct sum_decimal *sum = accumulator;
        PRE(sum->count > 0 && input->scale == spec->input.scale);
        add_decimal(spec, sum, -input->decimal);
        sum->count--;
        break;
    }
    case FORM_DECIMAL_FLINK: {
        struct sum_decimal_flink *sum = accumulator;
        PRE(sum->count > 0 && input->scale == spec->input.scale);
        add_decimal_flink(spec, sum, -input->decimal);
        sum->count--;
        break;
    }
    case FORM_EXTREMES:
        multiset_remove(accumulator, input);
        break;
    case FORM_EXTREME:
    case FORM_NONE:
        break;
    }
}

/* ---- Result ---- */

static void result_integer(const struct aggregate_spec *spec, const struct sum_integer *sum,
                           struct query_value *result)
{
    if (sum->count == 0) {
        return;
    }
    int64_t number = (int64_t)sum->sum;
    if (spec->function == AGGREGATE_AVG) {
        number = number_wrap(number / (int64_t)sum->count, spec->input.kind);
    }
    *result = (struct query_value){.kind = spec->input.kind, .integer = number};
}

/* All NaN are one value for us, but the processors make different ones. */
static void set_float(float number, struct query_value *result)
{
    *result = (struct query_value){.kind = QUERY_TYPE_FLOAT,
                                   .float32 = isnan(number) ? (float)NAN : number};
}

static void set_double(double number, struct query_value *result)
{
    *result = (struct query_value){.kind = QUERY_TYPE_DOUBLE,
                                   .float64 = isnan(number) ? (double)NAN : number};
}

/* OVER starts its sums from +0.0: adding that to the total turns -0.0 into 0.0 and changes nothing
 * else. */
static void result_exact(const struct aggregate_spec *spec, const struct exact_sum *sum,
                         struct query_value *result)
{
    bool average = spec->function == AGGREGATE_AVG, from_zero = spec->over && !average;
    if (sum->count == 0) {
        return;
    }
    if (spec->input.kind == QUERY_TYPE_FLOAT) {
        float number = average ? exact_sum_average_float(sum) : exact_sum_total_float(sum);
        set_float(from_zero ? number + 0.0f : number, result);
    } else {
        double number = average ? exact_sum_average(sum) : exact_sum_total(sum);
        set_double(from_zero ? number + 0.0 : number, result);
    }
}

static void result_double(const struct aggregate_spec *spec, const struct sum_double *sum,
                          struct query_value *result)
{
    if (sum->count == 0) {
        return;
    }
    bool average = spec->function == AGGREGATE_AVG;
    double number = average ? sum->sum / (double)sum->count : sum->sum;
    if (spec->input.kind == QUERY_TYPE_FLOAT) {
        set_float((float)number, result);
    } else {
        set_double(number, result);
    }
}

static void result_float(const struct aggregate_spec *spec, const struct sum_float *sum,
                         struct query_value *result)
{
    if (sum->count > 0) {
        bool average = spec->function == AGGREGATE_AVG;
        set_float(average ? sum->sum / (float)sum->count : sum->sum, result);
    }
}

static void result_decimal(const struct aggregate_spec *spec, int128 digits, uint64_t count,
                           struct query_value *result)
{
    struct query_value value = {
        .kind = QUERY_TYPE_DECIMAL, .scale = spec->input.scale, .decimal = digits};
    if (spec->function == AGGREGATE_AVG) {
        value.scale = value.scale < 6 ? 6 : value.scale;
        if (!decimal_divide(digits, spec->input.scale, (int128)count, 0, value.scale,
                            &value.decimal)) {
            return;
        }
    }
    *result = value;
}

void aggregate_result(const struct aggregate_spec *spec, const void *accumulator,
                      struct query_value *result)
{
    enum aggregate_form form = aggregate_form(spec);
    PRE(form != FORM_NONE);
    *result = (struct query_value){.kind = QUERY_TYPE_NULL};
    switch (form) {
    case FORM_COUNT:
        *result = (struct query_value){.kind = QUERY_TYPE_BIGINT,
                                       .integer = (int64_t) * (const uint64_t *)accumulator};
        break;
    case FORM_INTEGER:
        result_integer(spec, accumulator, result);
        break;
    case FORM_EXACT:
        result_exact(spec, accumulator, result);
        break;
    case FORM_DOUBLE:
        result_double(spec, accumulator, result);
        break;
    case FORM_FLOAT:
        result_float(spec, accumulator, result);
        break;
    case FORM_DECIMAL: {
        const struct sum_decimal *sum = accumulator;
        int128 digits;
        if (sum->count > 0 && !sum->overflowed && decimal_result(sum, &digits)) {
            result_decimal(spec, digits, sum->count, result);
        }
        break;
    }
    case FORM_DECIMAL_FLINK: {
        const struct sum_decimal_flink *sum = accumulator;
        if (sum->count > 0 && !sum->is_null) {
            result_decimal(spec, sum->sum, sum->count, result);
        }
        break;
    }
    case FORM_EXTREME:
        *result = ((const struct extreme *)accumulator)->value;
        break;
    case FORM_EXTREMES: {
        bool min = spec->function == AGGREGATE_MIN;
        const struct query_value *value =
            min ? multiset_min(accumulator) : multiset_max(accumulator);
        if (value != NULL) {
            *result = *value;
        }
        break;
    }
    case FORM_NONE:
        break;
    }
}

/* ---- Size and hash ---- */

size_t aggregate_heap_bytes(const struct aggregate_spec *spec, const void *accumulator)
{
    switch (aggregate_form(spec)) {
    case FORM_EXACT:
        return exact_sum_heap_bytes(accumulator);
    case FORM_EXTREME: {
        const struct extreme *extreme = accumulator;
        return extreme->value.kind == QUERY_TYPE_STRING ? extreme->value.text.len + 1 : 0;
    }
    case FORM_EXTREMES:
        return ((const struct multiset *)accumulator)->bytes;
    default:
        return 0;
    }
}

static uint64_t hash_word(uint64_t word, uint64_t seed)
{
    struct query_value value = {.kind = QUERY_TYPE_BIGINT, .integer = (int64_t)word};
    return query_value_hash(&value, seed);
}

static uint64_t hash_number(double number, uint64_t seed)
{
    struct query_value value = {.kind = QUERY_TYPE_DOUBLE, .float64 = number};
    return query_value_hash(&value, seed);
}

uint64_t aggregate_hash(const struct aggregate_spec *spec, const void *accumulator, uint64_t seed)
{
    switch (aggregate_form(spec)) {
    case FORM_COUNT:
        return hash_word(*(const uint64_t *)accumulator, seed);
    case FORM_INTEGER: {
        const struct sum_integer *sum = accumulator;
        return hash_word(sum->sum, hash_word(sum->count, seed));
    }
    case FORM_EXACT:
        return exact_sum_hash(accumulator, seed);
    case FORM_DOUBLE: {
        const struct sum_double *sum = accumulator;
        return hash_number(sum->sum, hash_word(sum->count, seed + sum->started));
    }
    case FORM_FLOAT: {
        const struct sum_float *sum = accumulator;
        return hash_number((double)sum->sum, hash_word(sum->count, seed + sum->started));
    }
    case FORM_DECIMAL: {
        const struct sum_decimal *sum = accumulator;
        seed = hash_word((uint64_t)sum->low, hash_word((uint64_t)(sum->low >> 64), seed));
        return hash_word((uint64_t)sum->high, hash_word(sum->count, seed + sum->overflowed));
    }
    case FORM_DECIMAL_FLINK: {
        const struct sum_decimal_flink *sum = accumulator;
        unsigned __int128 digits = sum->is_null ? 0 : (unsigned __int128)sum->sum;
        seed = hash_word((uint64_t)digits, hash_word((uint64_t)(digits >> 64), seed));
        return hash_word(sum->count, seed + sum->is_null);
    }
    case FORM_EXTREME:
        return query_value_hash(&((const struct extreme *)accumulator)->value, seed);
    case FORM_EXTREMES:
        return multiset_hash(accumulator, seed);
    case FORM_NONE:
        break;
    }
    return seed;
}
