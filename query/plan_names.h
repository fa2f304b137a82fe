/* Names of the result's columns. */
#ifndef VUG_QUERY_PLAN_NAMES_H
#define VUG_QUERY_PLAN_NAMES_H

#include "query/analyze.h"

/* An alias or a column of `*`; or, when the text is empty, the expression to be named as it was
 * written. */
struct plan_name {
    struct slice text;
    const struct ast_expr *expr;
};

/* The alias; else the column's name; else the expression as written, without OVER clauses. A name
 * that stood before gets " #2", or the next number with which no other column is called. NULL on
 * failure: analysis->status says which. */
const char **plan_names(struct analysis *analysis, const struct plan_name *names, uint32_t count);

#endif
