/* How often each latency was seen: buckets that are 1/16 of their value wide, so any quantile is
 * right to 6 %.
 *
 * Values below 16 have a bucket each; above, each power of two is cut into 16. The unit is the
 * caller's. */
#ifndef VUG_TESTS_BENCH_HISTOGRAM_H
#define VUG_TESTS_BENCH_HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_STEPS = 16, HISTOGRAM_BUCKETS = HISTOGRAM_STEPS * 61 };

struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS];
    uint64_t count;
    uint64_t max;
};

void histogram_clear(struct histogram *histogram);
void histogram_add(struct histogram *histogram, uint64_t value, uint64_t times);

/* The middle of the bucket in which the quantile (0 to 1) lies; 0 if nothing was added. */
double histogram_quantile(const struct histogram *histogram, double quantile);

#endif
