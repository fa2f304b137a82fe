#include "tests/bench/histogram.h"

#include <string.h>

enum { HISTOGRAM_SHIFT = 4 }; /* 2^4 steps for each power of two */

static uint32_t bucket_of(uint64_t value)
{
    uint32_t power;

    if (value < HISTOGRAM_STEPS)
        return (uint32_t)value;
    power = 63u - (uint32_t)__builtin_clzll(value);
    return (power - HISTOGRAM_SHIFT + 1) * HISTOGRAM_STEPS +
           (uint32_t)(value >> (power - HISTOGRAM_SHIFT)) % HISTOGRAM_STEPS;
}

/* The smallest value of a bucket and how many values share it. */
static void bucket_range(uint32_t bucket, uint64_t *first, uint64_t *width)
{
    uint32_t power = bucket / HISTOGRAM_STEPS;

    *width = power == 0 ? 1 : UINT64_C(1) << (power - 1);
    *first = power == 0 ? bucket : (HISTOGRAM_STEPS + bucket % HISTOGRAM_STEPS) * *width;
}

void histogram_clear(struct histogram *histogram)
{
    memset(histogram, 0, sizeof *histogram);
}

void histogram_add(struct histogram *histogram, uint64_t value, uint64_t times)
{
    histogram->counts[bucket_of(value)] += times;
    histogram->count += times;
    if (value > histogram->max)
        histogram->max = value;
}

double histogram_quantile(const struct histogram *histogram, double quantile)
{
    double rank = quantile * (double)histogram->count;
    uint64_t seen = 0;

    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS && histogram->count > 0; i++) {
        uint64_t first, width;

        seen += histogram->counts[i];
        if (histogram->counts[i] == 0 || (double)seen < rank)
            continue;
        bucket_range(i, &first, &width);
        return (double)first + (double)(width - 1) / 2;
    }
    return 0;
}
