#include "query/plan.h"

#include "common/mem.h"
#include "query/analyze.h"
#include "query/plan_names.h"

enum { PLAN_BYTES_MAX = 64 * 1024 * 1024 };

/* ---- Making ---- */

/* The SELECT list before aggregation: expressions over the source, `*` written out. */
struct select_list {
    const struct expr **exprs;
    struct plan_name *names;
    uint32_t count, expr_room, name_room;
};

static void add_item(struct analysis *analysis, struct select_list *list, const struct expr *expr,
                     struct plan_name name)
{
    if (expr == NULL || analysis->status != OK)
        return;
    if (list->count == LIMIT_COLUMNS) {
        analyze_fail(analysis, expr->at, "the statement selects more than %u columns",
                     LIMIT_COLUMNS);
        return;
    }
    list->exprs =
        analyze_grow(analysis, list->exprs, list->count, &list->expr_room, sizeof *list->exprs);
    list->names =
        analyze_grow(analysis, list->names, list->count, &list->name_room, sizeof *list->names);
    if (analysis->status != OK)
        return;
    list->exprs[list->count] = expr;
    list->names[list->count++] = name;
}

/* A declared table's stored columns, or `key` and `value` of a region. */
static void add_star(struct analysis *analysis, struct select_list *list,
                     const struct ast_expr *star)
{
    const struct query_table *table = analysis->table;
    if (star->qualifier.len > 0 && !analyze_is_ours(analysis, star->qualifier)) {
        analyze_fail(analysis, star->at,
                     "what stands before .* names neither the table nor its alias in FROM");
        return;
    }
    if (table == NULL) {
        add_item(analysis, list, analyze_special(analysis, PLAN_KEY, "key", star->at),
                 (struct plan_name){.text = slice_text("key")});
        add_item(analysis, list, analyze_special(analysis, PLAN_WHOLE, "value", star->at),
                 (struct plan_name){.text = slice_text("value")});
        return;
    }
    for (uint32_t i = 0; i < table->column_count; i++)
        if (!table->columns[i].proctime)
            add_item(analysis, list, analyze_column(analysis, i, star->at),
                     (struct plan_name){.text = slice_text(table->columns[i].name)});
}

static void analyze_items(struct analysis *analysis, struct select_list *list)
{
    analysis->clause = IN_SELECT;
    for (const struct ast_item *item = analysis->select->items;
         item != NULL && analysis->status == OK; item = item->next) {
        if (item->expr->kind == AST_STAR)
            add_star(analysis, list, item->expr);
        else
            add_item(analysis, list, analyze_expr(analysis, item->expr),
                     (struct plan_name){.text = item->alias, .expr = item->expr});
    }
}

static bool calls_aggregate(const struct analysis *analysis)
{
    return analysis->plan->aggregate_count > 0;
}

/* Turns the list and HAVING into what stands above the aggregation. */
static void lower(struct analysis *analysis, struct select_list *list, const struct expr *having)
{
    struct query_plan *plan = analysis->plan;
    for (uint32_t i = 0; i < list->count && analysis->status == OK; i++)
        list->exprs[i] = analyze_lower(analysis, list->exprs[i]);
    plan->having = having == NULL ? NULL : analyze_lower(analysis, having);
}

/* Marks the row's slots that an expression reads. */
static void mark(const struct expr *expr, bool *read)
{
    if (expr->kind == EXPR_SLOT)
        read[expr->index] = true;
    for (uint32_t i = 0; i < expr->count; i++)
        mark(expr->args[i], read);
}

static uint32_t *indexes(struct analysis *analysis, const bool *marked, uint32_t from, uint32_t to,
                         uint32_t *count)
{
    uint32_t *list = analyze_alloc(analysis, (to + 1) * sizeof *list);
    *count = 0;
    for (uint32_t i = from; list != NULL && i < to; i++)
        if (marked[i])
            list[(*count)++] = i;
    return list;
}

/* What a group remembers of rows, and where its accumulators stand. */
static void lay_out(struct analysis *analysis)
{
    struct query_plan *plan = analysis->plan;
    bool *read = analyze_alloc(analysis, plan->row_count + 1);
    bool *framed = analyze_alloc(analysis, plan->row_count + 1);
    if (analysis->status != OK)
        return;
    for (uint32_t i = 0; i < plan->select_count; i++)
        mark(plan->select[i], read);
    plan->kept = indexes(analysis, read, plan->group_count, plan->row_count, &plan->kept_count);
    for (uint32_t i = 0; i < plan->aggregate_count; i++) {
        struct plan_aggregate *aggregate = &plan->aggregates[i];
        aggregate->offset = plan->accumulators_size;
        plan->accumulators_size += aggregate_size(&aggregate->spec);
        if (aggregate->has_argument && plan->bounded)
            framed[aggregate->argument] = true;
    }
    plan->frame = indexes(analysis, framed, 0, plan->row_count, &plan->frame_count);
}

static const struct expr *analyze_having(struct analysis *analysis)
{
    const struct query_select *select = analysis->select;
    if (select->having == NULL)
        return NULL;
    if (analysis->plan->kind == PLAN_OVER) {
        analyze_fail(analysis, select->having_at,
                     "HAVING is a condition on groups: it needs GROUP BY, not OVER");
        return NULL;
    }
    analysis->clause = IN_HAVING;
    return analyze_condition(analysis, select->having, "HAVING");
}

static void analyze(struct analysis *analysis)
{
    const struct query_select *select = analysis->select;
    struct query_plan *plan = analysis->plan;
    struct select_list list = {.count = 0};
    analyze_from(analysis);
    if (analysis->status != OK)
        return;
    if (select->where != NULL) {
        analysis->clause = IN_WHERE;
        plan->where = analyze_condition(analysis, select->where, "WHERE");
    }
    if (select->has_group_by && select->overs != NULL)
        analyze_fail(analysis, select->overs->at,
                     "OVER together with GROUP BY is not supported yet");
    if (analysis->status != OK)
        return;
    if (select->has_group_by)
        analyze_group_by(analysis);
    else if (select->overs != NULL)
        analyze_windows(analysis);
    if (analysis->status != OK)
        return;
    analyze_items(analysis, &list);
    const struct expr *having = analysis->status == OK ? analyze_having(analysis) : NULL;
    if (analysis->status != OK)
        return;
    if (plan->kind == PLAN_STATELESS && (calls_aggregate(analysis) || select->having != NULL))
        plan->kind = PLAN_GROUP; /* one group of all rows */
    if (plan->kind == PLAN_STATELESS) {
        plan->row = list.exprs;
        plan->row_count = list.count;
    } else {
        lower(analysis, &list, having);
    }
    if (analysis->status != OK)
        return;
    plan->select = list.exprs;
    plan->select_count = list.count;
    plan->names = plan_names(analysis, list.names, list.count);
    lay_out(analysis);
}

enum error query_plan_new(struct slice text, const struct query_select *select,
                          const struct query_catalog *catalog,
                          const struct query_parameter *parameters, uint32_t parameter_count,
                          enum query_numeric_mode mode, struct query_plan **plan,
                          struct query_error *error)
{
    *plan = NULL;
    *error = (struct query_error){.line = 0};
    struct query_plan *made = mem_zalloc(sizeof *made);
    if (made == NULL)
        return ERROR_MEMORY;
    atomic_init(&made->references, 1);
    arena_init(&made->arena, PLAN_BYTES_MAX);
    made->mode = mode;
    struct analysis analysis = {.text = text,
                                .select = select,
                                .catalog = catalog,
                                .parameters = parameters,
                                .parameter_count = parameter_count,
                                .plan = made,
                                .error = error};
    analyze(&analysis);
    enum error status = analysis.status == OK ? plan_set_fingerprint(made) : analysis.status;
    if (status == OK)
        *plan = made;
    else
        query_plan_unref(made);
    return status;
}

struct query_plan *query_plan_ref(struct query_plan *plan)
{
    atomic_fetch_add_explicit(&plan->references, 1, memory_order_relaxed);
    return plan;
}

void query_plan_unref(struct query_plan *plan)
{
    if (plan == NULL || atomic_fetch_sub_explicit(&plan->references, 1, memory_order_acq_rel) != 1)
        return;
    arena_fini(&plan->arena);
    mem_free(plan);
}

/* ---- Asking ---- */

const char *query_plan_region(const struct query_plan *plan)
{
    return plan->region;
}

uint32_t query_plan_column_count(const struct query_plan *plan)
{
    return plan->select_count;
}

const char *query_plan_column_name(const struct query_plan *plan, uint32_t column)
{
    PRE(column < plan->select_count);
    return plan->names[column];
}

struct query_type query_plan_column_type(const struct query_plan *plan, uint32_t column)
{
    PRE(column < plan->select_count);
    if (plan->select[column]->is_dynamic)
        return (struct query_type){.kind = QUERY_TYPE_VARIANT};
    return plan->select[column]->type;
}

uint32_t query_plan_key_columns(const struct query_plan *plan, uint32_t columns[LIMIT_COLUMNS])
{
    if (plan->kind == PLAN_STATELESS)
        return 0;
    for (uint32_t group = 0; group < plan->group_count; group++) {
        uint32_t column = 0;
        while (column < plan->select_count &&
               !(plan->select[column]->kind == EXPR_SLOT && plan->select[column]->index == group))
            column++;
        if (column == plan->select_count)
            return 0;
        columns[group] = column;
    }
    return plan->group_count;
}

bool query_plan_is_append_only(const struct query_plan *plan)
{
    return plan->kind != PLAN_GROUP;
}

bool query_plan_has_state(const struct query_plan *plan)
{
    return plan->kind != PLAN_STATELESS;
}

void query_plan_fingerprint(const struct query_plan *plan, uint8_t fingerprint[16])
{
    memcpy(fingerprint, plan->fingerprint, sizeof plan->fingerprint);
}
