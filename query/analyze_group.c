/* Windows of OVER, GROUP BY, and the row that stands between admission and aggregation. */
#include "query/analyze.h"

#include <stdio.h>

#include "common/text.h"
#include "query/caret.h"

/* Flink's sentences for what it refuses too. */
#define ONLY_ASCENDING "The window can only be ordered in ASCENDING mode"
#define ONLY_TIME      "The window can only be ordered by a single time column"
#define NO_FOLLOWING   "OVER RANGE FOLLOWING windows are not supported yet"
#define ONE_WINDOW                                                                                 \
    "Over Agg: Unsupported use of OVER windows. All aggregates must be computed on the same "      \
    "window. please re-check the over window statement"
#define ROWS_CONSTANT "ROWS value must be a non-negative integral constant"

uint32_t analyze_row_index(struct analysis *analysis, const struct expr *expr)
{
    struct query_plan *plan = analysis->plan;
    if (expr == NULL || analysis->status != OK)
        return 0;
    for (uint32_t i = 0; i < plan->row_count; i++)
        if (expr_equal(plan->row[i], expr))
            return i;
    if (plan->row_count == 2 * LIMIT_COLUMNS) {
        analyze_fail(analysis, expr->at, "the statement needs more than %u columns and arguments",
                     2 * LIMIT_COLUMNS);
        return 0;
    }
    plan->row =
        analyze_grow(analysis, plan->row, plan->row_count, &analysis->row_room, sizeof *plan->row);
    if (plan->row == NULL)
        return 0;
    plan->row[plan->row_count] = expr;
    return plan->row_count++;
}

/* ---- Windows ---- */

static const struct ast_window *resolve(struct analysis *analysis, const struct ast_window *over)
{
    if (over->name.len == 0)
        return over;
    struct text_nearest nearest;
    char shown[64], candidate[256];
    text_nearest_init(&nearest, over->name);
    for (const struct ast_window *window = analysis->select->windows; window != NULL;
         window = window->next)
        if (slice_equal(window->name, over->name))
            return window;
    for (const struct ast_window *window = analysis->select->windows; window != NULL;
         window = window->next) {
        text_nearest_offer(&nearest, caret_clip(window->name, candidate, sizeof candidate));
        if (text_nearest_best(&nearest) != NULL)
            break;
    }
    const char *best = text_nearest_best(&nearest);
    analyze_fail(analysis, over->at, "the WINDOW clause has no window \"%s\"%s%s%s",
                 caret_clip(over->name, shown, sizeof shown),
                 best == NULL ? "" : "; did you mean \"", best == NULL ? "" : best,
                 best == NULL ? "" : "\"?");
    return NULL;
}

static void check_order(struct analysis *analysis, const struct ast_window *window)
{
    if (window->order_count == 0)
        return;
    const struct ast_order *order = &window->order[0];
    char shown[64];
    if (window->order_count > 1)
        analyze_fail(analysis, window->order[1].expr->at, ONLY_TIME);
    else if (analyze_proctime(analysis, order->expr) == NULL)
        analyze_fail(analysis, order->expr->at,
                     ONLY_TIME ", and that must be a PROCTIME() column: ORDER BY %s is not "
                               "supported yet; without ORDER BY rows count in "
                               "the order of their arrival",
                     caret_clip(slice_of(analysis->text.data + order->expr->at,
                                         order->expr->end - order->expr->at),
                                shown, sizeof shown));
    else if (order->descending)
        analyze_fail(analysis, order->at, ONLY_ASCENDING);
    analysis->plan->is_ordered = true;
}

static void check_frame(struct analysis *analysis, const struct ast_frame *frame)
{
    struct query_plan *plan = analysis->plan;
    if (frame->unit == AST_FRAME_NONE)
        return;
    const struct ast_bound *start = &frame->start;
    if (frame->end.kind != AST_CURRENT_ROW)
        analyze_fail(analysis, frame->end.at, NO_FOLLOWING ": a frame ends with CURRENT ROW");
    else if (start->kind == AST_FOLLOWING)
        analyze_fail(analysis, start->at,
                     NO_FOLLOWING ": a frame begins with UNBOUNDED PRECEDING or ROWS n PRECEDING");
    if (analysis->status != OK || start->kind == AST_UNBOUNDED_PRECEDING)
        return;
    if (frame->unit == AST_FRAME_RANGE) {
        analyze_fail(
            analysis, frame->at,
            "RANGE is supported with UNBOUNDED PRECEDING alone yet; ROWS n PRECEDING counts rows");
        return;
    }
    plan->bounded = true;
    if (start->kind == AST_CURRENT_ROW)
        return;
    const struct ast_expr *offset = start->offset;
    if (offset->kind != AST_LITERAL ||
        (offset->type.kind != QUERY_TYPE_INT && offset->type.kind != QUERY_TYPE_BIGINT))
        analyze_fail(analysis, offset->at, ROWS_CONSTANT);
    else if (offset->literal.integer > LIMIT_FRAME_ROWS)
        analyze_fail(analysis, offset->at, "a frame has at most %u preceding rows",
                     LIMIT_FRAME_ROWS);
    else
        plan->preceding = (uint32_t)offset->literal.integer;
}

/* Adds the columns of PARTITION BY or GROUP BY to the row, each once. */
static void add_groups(struct analysis *analysis, const struct ast_list *list,
                       enum analyze_clause clause)
{
    analysis->clause = clause;
    for (const struct ast_expr *ast = list->first; ast != NULL && analysis->status == OK;
         ast = ast->next) {
        if (ast->kind == AST_LITERAL && query_type_is_integer(ast->type))
            analyze_fail(analysis, ast->at, "%s takes columns and expressions, not positions",
                         clause == IN_GROUP_BY ? "GROUP BY" : "PARTITION BY");
        (void)analyze_row_index(analysis, analyze_expr(analysis, ast));
        if (analysis->plan->row_count > LIMIT_COLUMNS)
            analyze_fail(analysis, ast->at, "a group has more than %u columns", LIMIT_COLUMNS);
    }
    analysis->plan->group_count = analysis->plan->row_count;
    analysis->clause = IN_SELECT;
}

/* Whether two partitions are by the same columns: the tree is compared after analysis, so `t.id` is
 * `id`. */
static bool same_partition(struct analysis *analysis, const struct ast_list *list)
{
    const struct query_plan *plan = analysis->plan;
    bool seen[LIMIT_COLUMNS] = {false};
    uint32_t count = 0;
    analysis->clause = IN_PARTITION_BY;
    for (const struct ast_expr *ast = list->first; ast != NULL; ast = ast->next) {
        const struct expr *expr = analyze_expr(analysis, ast);
        uint32_t i = 0;
        while (expr != NULL && i < plan->group_count && !expr_equal(plan->row[i], expr))
            i++;
        if (expr == NULL || i == plan->group_count)
            return false;
        count += !seen[i];
        seen[i] = true;
    }
    analysis->clause = IN_SELECT;
    return count == plan->group_count;
}

void analyze_windows(struct analysis *analysis)
{
    struct query_plan *plan = analysis->plan;
    const struct ast_window *over = analysis->select->overs;
    const struct ast_window *first = resolve(analysis, over);
    if (first == NULL)
        return;
    plan->kind = PLAN_OVER;
    check_order(analysis, first);
    check_frame(analysis, &first->frame);
    add_groups(analysis, &first->partition, IN_PARTITION_BY);
    bool bounded = plan->bounded;
    uint32_t preceding = plan->preceding;
    for (over = over->next_over; over != NULL && analysis->status == OK; over = over->next_over) {
        const struct ast_window *window = resolve(analysis, over);
        if (window == NULL || window == first)
            continue;
        plan->bounded = false;
        plan->preceding = 0;
        check_order(analysis, window);
        check_frame(analysis, &window->frame);
        if (analysis->status != OK)
            return;
        if (plan->bounded != bounded || plan->preceding != preceding ||
            !same_partition(analysis, &window->partition))
            analyze_fail(analysis, over->at, ONE_WINDOW);
    }
}

void analyze_group_by(struct analysis *analysis)
{
    analysis->plan->kind = PLAN_GROUP;
    add_groups(analysis, &analysis->select->groups, IN_GROUP_BY);
}

/* ---- From the source's columns to the row's ---- */

static const struct expr *row_slot(struct analysis *analysis, const struct expr *expr,
                                   uint32_t index)
{
    struct expr *slot = analyze_node(analysis, EXPR_SLOT, 0, expr->at);
    if (slot == NULL)
        return NULL;
    slot->index = index;
    slot->type = expr->type;
    slot->is_dynamic = expr->is_dynamic;
    return slot;
}

static void fail_not_grouped(struct analysis *analysis, const struct expr *expr)
{
    char shown[64];
    const struct plan_slot *slot = &analysis->plan->slots[expr->index];
    caret_clip(slot->name, shown, sizeof shown);
    if (analysis->select->has_group_by)
        analyze_fail(analysis, expr->at,
                     "\"%s\" stands neither in GROUP BY nor inside an aggregate: one row a group "
                     "has no single value of it",
                     shown);
    else
        analyze_fail(analysis, expr->at,
                     "\"%s\" stands beside an aggregate without GROUP BY: group by it, or give the "
                     "aggregates OVER (PARTITION BY ...)",
                     shown);
}

const struct expr *analyze_lower(struct analysis *analysis, const struct expr *expr)
{
    const struct query_plan *plan = analysis->plan;
    if (expr == NULL || analysis->status != OK)
        return NULL;
    if (expr->kind == EXPR_AGGREGATE || expr->kind == EXPR_CONSTANT)
        return expr;
    for (uint32_t i = 0; i < plan->group_count; i++)
        if (expr_equal(plan->row[i], expr))
            return row_slot(analysis, expr, i);
    if (expr->kind == EXPR_SLOT) {
        if (plan->kind == PLAN_GROUP) {
            fail_not_grouped(analysis, expr);
            return NULL;
        }
        return row_slot(analysis, expr, analyze_row_index(analysis, expr));
    }
    struct expr *copy = analyze_node(analysis, expr->kind, expr->count, expr->at);
    if (copy == NULL)
        return NULL;
    const struct expr **args = copy->args;
    *copy = *expr;
    copy->args = args;
    for (uint32_t i = 0; i < expr->count; i++)
        args[i] = analyze_lower(analysis, expr->args[i]);
    return analysis->status == OK ? copy : NULL;
}
