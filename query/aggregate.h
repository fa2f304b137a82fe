/* Aggregate functions over one group: accumulators that add, retract and tell their result.
 *
 * In exact mode sums are exact (a 128-bit fixed point that is promoted to a full superaccumulator
 * when a term does not fit) and an average is rounded once, so results do not depend on order and a
 * retraction leaves no residue; MIN and MAX order totally. In flink mode the arithmetic is Flink's,
 * step by step: where rows leave a frame, they are retracted before the new row is added. Integer
 * and decimal arithmetic is Flink's in both, but for DECIMAL overflow: in exact mode it stays NULL,
 * or, where rows leave again, is NULL as long as the sum of the rows that are there does not
 * fit. */
#ifndef VUG_QUERY_AGGREGATE_H
#define VUG_QUERY_AGGREGATE_H

#include "query/query.h"

enum aggregate_function {
    AGGREGATE_COUNT_ROWS, /* COUNT(*) */
    AGGREGATE_COUNT,
    AGGREGATE_SUM,
    AGGREGATE_AVG,
    AGGREGATE_MIN,
    AGGREGATE_MAX,
};

struct aggregate_spec {
    enum aggregate_function function;
    struct query_type input;
    enum query_numeric_mode mode;
    bool over; /* OVER: Flink plans AVG as SUM0 / COUNT in the input's own type there, and starts
                * sums at +0.0 */
    bool retracting; /* rows leave again (bounded frame): MIN and MAX order totally and keep what
                      * they need */
};

/* The result's type; ERROR_INVALID if the function does not take the input (SUM of a STRING). */
enum error aggregate_result_type(const struct aggregate_spec *spec, struct query_type *result);

/* Inline size of an accumulator, a multiple of 16, as is its address; most need nothing else. */
size_t aggregate_size(const struct aggregate_spec *spec);
void aggregate_init(const struct aggregate_spec *spec,
                    void *accumulator); /* zeroed memory is not enough */
void aggregate_fini(const struct aggregate_spec *spec, void *accumulator);

/* The input is NULL or of the kind (and, for DECIMAL, the scale) of spec->input; COUNT takes any.
 * NULL inputs are skipped, but for COUNT(*). MIN and MAX of strings keep a copy. ERROR_MEMORY
 * leaves the accumulator as it was. */
enum error aggregate_add(const struct aggregate_spec *spec, void *accumulator,
                         const struct query_value *input);
/* Takes back a value that was added before. Never fails. Only with spec->retracting. */
void aggregate_retract(const struct aggregate_spec *spec, void *accumulator,
                       const struct query_value *input);

/* Strings point into the accumulator. */
void aggregate_result(const struct aggregate_spec *spec, const void *accumulator,
                      struct query_value *result);

/* Heap bytes beyond aggregate_size(), about; and a hash equal for equal contents on every machine.
 */
size_t aggregate_heap_bytes(const struct aggregate_spec *spec, const void *accumulator);
uint64_t aggregate_hash(const struct aggregate_spec *spec, const void *accumulator, uint64_t seed);

/* Everything an accumulator holds, and one made from it (in place of aggregate_init()).
 * ERROR_MALFORMED, ERROR_MEMORY: the accumulator is as new. */
void aggregate_pack(const struct aggregate_spec *spec, const void *accumulator, struct buf *out);
enum error aggregate_unpack(const struct aggregate_spec *spec, struct slice *rest,
                            void *accumulator);

#endif
