/* Expressions after analysis: typed, with names bound to places, and their evaluation.
 *
 * An expression reads a row (EXPR_SLOT) and, above an aggregation, the results of the aggregates
 * (EXPR_AGGREGATE). It is immutable and evaluated by any thread. A field of a schema-less region
 * has no static type: `is_dynamic`; each of its values shows its kind, and a kind that does not fit
 * fails the row, not the query. */
#ifndef VUG_QUERY_EXPR_H
#define VUG_QUERY_EXPR_H

#include "query/query.h"

enum expr_kind {
    EXPR_CONSTANT,
    EXPR_SLOT,
    EXPR_AGGREGATE,
    EXPR_NEGATE,
    EXPR_ARITHMETIC, /* op is an enum query_arithmetic */
    EXPR_CONCAT,
    EXPR_COMPARE,  /* op is an enum ast_comparison */
    EXPR_DISTINCT, /* IS DISTINCT FROM; negated: IS NOT DISTINCT FROM */
    EXPR_AND,
    EXPR_OR,
    EXPR_NOT,
    EXPR_IS, /* op is an enum ast_truth */
    EXPR_BETWEEN,
    EXPR_IN,
    EXPR_LIKE, /* the third operand is the escape character */
    EXPR_CASE, /* pairs of condition and result, then the result of ELSE; op 1: an operand first,
                  equal to which "condition" */
    EXPR_NULLIF,
    EXPR_COALESCE,
    EXPR_CAST,   /* op 1: TRY_CAST */
    EXPR_EXPECT, /* a dynamic value that must be of this type's kind */
    EXPR_ABS,
    EXPR_UPPER,
    EXPR_LOWER,
    EXPR_CHAR_LENGTH,
};

struct expr {
    enum expr_kind kind;
    uint8_t op;
    bool negated;
    bool is_dynamic;
    struct query_type type;
    uint32_t at;    /* place in the statement, for the planner's errors */
    uint32_t index; /* of the slot or the aggregate */
    uint32_t count;
    const struct expr **args;
    struct query_value constant;
};

struct expr_input {
    const struct query_value *row;
    const struct query_value *aggregates; /* NULL below an aggregation */
    struct arena *arena;
    struct query_error *error;
};

/* Strings of the result are constants, of the row, or in the arena. ERROR_INVALID: the row has no
 * result, `error` says why in a sentence without a place. ERROR_MEMORY. */
enum error expr_evaluate(const struct expr *expr, const struct expr_input *input,
                         struct query_value *result);

/* Evaluates a condition: *truth is false for NULL too. */
enum error expr_is_true(const struct expr *expr, const struct expr_input *input, bool *truth);

/* Same shape, same constants, same slots. */
bool expr_equal(const struct expr *a, const struct expr *b);

/* `=` of SQL for two values of one column, NULL equal to NULL: NaN differs from itself, -0.0 is
 * 0.0. */
bool expr_unchanged(const struct query_value *before, const struct query_value *after);

#endif
