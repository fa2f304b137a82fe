/* The plan: what every thread reads and nobody changes. Private to query/.
 *
 *   document --slots--> source row --where--> --row exprs--> admitted row --aggregates-->
 * --select--> result
 *
 * A plan without state ends with the admitted row, whose expressions are then those of the SELECT
 * list. With state, the row begins with the group's columns; behind them stand the arguments of the
 * aggregates and, for OVER, the columns that the SELECT list shows beside them. */
#ifndef VUG_QUERY_PLAN_H
#define VUG_QUERY_PLAN_H

#include <stdatomic.h>

#include "query/aggregate.h"
#include "query/expr.h"

enum plan_kind { PLAN_STATELESS, PLAN_OVER, PLAN_GROUP };

enum plan_source {
    PLAN_FIELD, /* of the JSON document */
    PLAN_KEY,   /* the region key of a schema-less region */
    PLAN_VALUE, /* field `value` of a schema-less region, or the whole value if the document has
                   none */
    PLAN_WHOLE, /* the whole value: what `*` of a schema-less region shows */
};

struct plan_slot {
    struct slice name;
    enum plan_source source;
    bool is_dynamic;
    bool not_null;
    struct query_type type;
};

struct plan_aggregate {
    struct aggregate_spec spec;
    bool has_argument; /* COUNT(*) has none */
    uint32_t argument; /* index in the row */
    size_t offset;     /* of its accumulator in a group's block */
};

struct query_plan {
    atomic_uint references;
    struct arena arena; /* of everything below */
    enum plan_kind kind;
    enum query_numeric_mode mode;
    const char *region;
    const char *table;     /* NULL: the region itself */
    const char *alias;     /* of FROM, for EXPLAIN; NULL without */
    bool declared;         /* the columns have declared types */
    bool has_value_column; /* a declared column named `value`: a scalar shows there */
    struct plan_slot *slots;
    uint32_t slot_count;
    const struct expr *where; /* NULL without */
    const struct expr **row;
    uint32_t row_count;
    uint32_t group_count;
    struct plan_aggregate *aggregates;
    uint32_t aggregate_count;
    size_t accumulators_size;
    bool bounded; /* ROWS preceding PRECEDING */
    uint32_t preceding;
    bool is_ordered; /* ORDER BY a PROCTIME() column was written */
    const struct expr *
        *select; /* over the row and the aggregates; without state the same as `row` */
    const char **names;
    uint32_t select_count;
    const struct expr *having; /* NULL without */
    uint32_t *kept; /* row indexes behind the group's that `select` reads: what a partition
                       remembers of its latest row */
    uint32_t kept_count;
    uint32_t *frame; /* row indexes of the arguments that a bounded frame keeps, each once */
    uint32_t frame_count;
    uint8_t fingerprint[16];
};

/* Writes an expression; `slots` names the source's columns, `row` what the slots above an
 * aggregation stand for (NULL below). */
void plan_write_expr(const struct query_plan *plan, const struct expr *expr, bool above,
                     struct buf *text);

/* Sets the fingerprint. ERROR_MEMORY. */
enum error plan_set_fingerprint(struct query_plan *plan);

#endif
