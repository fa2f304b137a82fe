/* What an accumulator holds. Private to query/. */
#ifndef VUG_QUERY_AGGREGATE_FORM_H
#define VUG_QUERY_AGGREGATE_FORM_H

#include "query/aggregate.h"
#include "query/exact_sum.h"
#include "query/multiset.h"

/* Every combination of function, type and mode is one of these. */
enum aggregate_form {
    FORM_NONE, /* the function does not take the type */
    FORM_COUNT,
    FORM_INTEGER,       /* SUM, AVG of integers */
    FORM_EXACT,         /* SUM, AVG of FLOAT and DOUBLE, exact mode */
    FORM_DOUBLE,        /* ... flink mode, added as doubles */
    FORM_FLOAT,         /* ... flink mode, added as floats */
    FORM_DECIMAL,       /* SUM, AVG of DECIMAL, exact mode */
    FORM_DECIMAL_FLINK, /* ... flink mode */
    FORM_EXTREME,       /* MIN, MAX: one value */
    FORM_EXTREMES,      /* MIN, MAX where values leave again: all values */
};

struct sum_integer {
    uint64_t sum; /* wraps */
    uint64_t count;
};

struct sum_double {
    double sum;
    uint64_t count;
    bool started;
};

struct sum_float {
    float sum;
    bool started;
    uint64_t count;
};

/* 192 bits hold any sum of 2^64 decimals, so that a sum that leaves the 38 digits and comes back is
 * known again. */
struct sum_decimal {
    unsigned __int128 low;
    int64_t high;
    uint64_t count;
    bool overflowed; /* for ever, if nothing is ever taken back */
};

struct sum_decimal_flink {
    int128 sum;
    uint64_t count;
    bool is_null;
};

struct extreme {
    struct query_value value; /* NULL kind before the first; a string's bytes are ours */
};

enum aggregate_form aggregate_form(const struct aggregate_spec *spec);

#endif
