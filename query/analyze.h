/* From the syntax tree to a plan: names become places, expressions get types, aggregates get
 * accumulators. Private to query/.
 *
 * Everything is made in the plan's arena. Functions return NULL once analysis->status is not OK;
 * arguments may be NULL then. */
#ifndef VUG_QUERY_ANALYZE_H
#define VUG_QUERY_ANALYZE_H

#include "query/ast.h"
#include "query/plan.h"

enum analyze_clause { IN_SELECT, IN_WHERE, IN_GROUP_BY, IN_HAVING, IN_PARTITION_BY };

struct analysis {
    struct slice text;
    const struct query_select *select;
    const struct query_catalog *catalog;
    const struct query_parameter *parameters;
    uint32_t parameter_count;
    struct query_plan *plan;
    const struct query_table *table; /* NULL: a schema-less region */
    struct query_error *error;
    enum error status;
    enum analyze_clause clause;
    bool in_aggregate;
    uint32_t slot_room, row_room, aggregate_room;
};

void analyze_fail(struct analysis *analysis, uint32_t at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void *analyze_alloc(struct analysis *analysis, size_t size); /* zeroed */
/* A larger array, in the arena too, when there is no room for one more element. */
void *analyze_grow(struct analysis *analysis, void *array, uint32_t count, uint32_t *room,
                   size_t size);
const char *analyze_text(struct analysis *analysis,
                         struct slice text); /* a copy that ends with a 0 byte */
/* "STRING", "DECIMAL(5, 2)" into `out`. */
const char *analyze_type_name(struct query_type type, bool is_dynamic, char out[32]);

/* ---- Names (analyze_names.c) ---- */

/* Finds the table or region. ERROR_NOT_FOUND ends in analysis->status. */
void analyze_from(struct analysis *analysis);
/* A column or a parameter. */
const struct expr *analyze_name(struct analysis *analysis, const struct ast_expr *name);
const struct expr *analyze_parameter(struct analysis *analysis, const struct ast_expr *name);
/* The expression of a column that is stored; made on first use. */
const struct expr *analyze_column(struct analysis *analysis, uint32_t column, uint32_t at);
const struct expr *analyze_special(struct analysis *analysis, enum plan_source source,
                                   const char *name, uint32_t at);
/* The proctime column that the expression names, or NULL. */
const struct query_column *analyze_proctime(const struct analysis *analysis,
                                            const struct ast_expr *expr);
bool analyze_is_ours(const struct analysis *analysis, struct slice qualifier);

/* ---- Expressions (analyze_expr.c, analyze_call.c) ---- */

const struct expr *analyze_expr(struct analysis *analysis, const struct ast_expr *ast);
/* The same, and it must be a BOOLEAN; `what` is the clause for the sentence. */
const struct expr *analyze_condition(struct analysis *analysis, const struct ast_expr *ast,
                                     const char *what);
const struct expr *analyze_call(struct analysis *analysis, const struct ast_expr *ast);

const struct expr *analyze_constant(struct analysis *analysis, const struct query_value *value,
                                    struct query_type type, uint32_t at);
/* A node with room for `count` operands. */
struct expr *analyze_node(struct analysis *analysis, enum expr_kind kind, uint32_t count,
                          uint32_t at);
/* Replaces a node over constants by its value. A failing one stays: its failure belongs to the
 * rows. */
const struct expr *analyze_fold(struct analysis *analysis, const struct expr *expr);
const struct expr *analyze_cast(struct analysis *analysis, const struct expr *expr,
                                struct query_type type);
/* A dynamic operand checks itself for the kind at run time; a static one must have it. */
const struct expr *analyze_require(struct analysis *analysis, const struct expr *expr,
                                   enum query_type_kind kind, const char *what);
/* One type for the operands from `first` on in steps of `step`, with casts where they differ;
 * *is_dynamic if one is. */
bool analyze_unify(struct analysis *analysis, struct expr *expr, uint32_t first, uint32_t step,
                   const char *what, struct query_type *type, bool *is_dynamic);

/* ---- Aggregation (analyze_group.c) ---- */

/* The window that all OVER of the statement share; makes the plan's row begin with PARTITION BY's
 * columns. */
void analyze_windows(struct analysis *analysis);
void analyze_group_by(struct analysis *analysis);
/* Index in the plan's row of an expression over the source; added when it is new. */
uint32_t analyze_row_index(struct analysis *analysis, const struct expr *expr);
/* Rewrites an expression over the source and aggregates to one over the row and aggregates. */
const struct expr *analyze_lower(struct analysis *analysis, const struct expr *expr);

#endif
