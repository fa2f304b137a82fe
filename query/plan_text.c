/* EXPLAIN, and the canonical text whose hash is the fingerprint. */
#include "query/plan.h"

#include <xxhash.h>

#include "query/ast.h"

/* ---- Expressions ---- */

static const char *const comparison_signs[] = {"=", "<>", "<", "<=", ">", ">="};
static const char *const arithmetic_signs[] = {"+", "-", "*", "/", "%"};
static const char *const truth_words[] = {"NULL", "TRUE", "FALSE"};

static void write_constant(const struct query_value *value, struct buf *text)
{
    if (value->kind == QUERY_TYPE_STRING) {
        buf_append_byte(text, '\'');
        for (size_t i = 0; i < value->text.len; i++) {
            if (value->text.data[i] == '\'')
                buf_append_byte(text, '\'');
            buf_append_byte(text, value->text.data[i]);
        }
        buf_append_byte(text, '\'');
    } else if (value->kind == QUERY_TYPE_BYTES) {
        buf_append_text(text, "X'");
        query_value_text(value, text);
        buf_append_byte(text, '\'');
    } else {
        query_value_text(value, text);
    }
}

static void write_args(const struct query_plan *plan, const struct expr *expr, bool above,
                       const char *between, struct buf *text)
{
    for (uint32_t i = 0; i < expr->count; i++) {
        if (i > 0)
            buf_append_text(text, between);
        plan_write_expr(plan, expr->args[i], above, text);
    }
}

static void write_call(const struct query_plan *plan, const struct expr *expr, bool above,
                       const char *name, struct buf *text)
{
    buf_append_text(text, name);
    buf_append_byte(text, '(');
    write_args(plan, expr, above, ", ", text);
    buf_append_byte(text, ')');
}

/* Operators stand in parentheses always: nothing to get wrong about precedence. */
static void write_operator(const struct query_plan *plan, const struct expr *expr, bool above,
                           const char *sign, struct buf *text)
{
    buf_append_byte(text, '(');
    write_args(plan, expr, above, sign, text);
    buf_append_byte(text, ')');
}

static void write_infix(const struct query_plan *plan, const struct expr *expr, bool above,
                        const char *sign, struct buf *text)
{
    char padded[32];
    size_t len = strlen(sign);
    padded[0] = ' ';
    memcpy(padded + 1, sign, len);
    padded[len + 1] = ' ';
    padded[len + 2] = '\0';
    write_operator(plan, expr, above, padded, text);
}

static void write_case(const struct query_plan *plan, const struct expr *expr, bool above,
                       struct buf *text)
{
    buf_append_text(text, "CASE");
    uint32_t i = 0;
    if (expr->op == 1) {
        buf_append_byte(text, ' ');
        plan_write_expr(plan, expr->args[i++], above, text);
    }
    for (; i + 1 < expr->count; i += 2) {
        buf_append_text(text, " WHEN ");
        plan_write_expr(plan, expr->args[i], above, text);
        buf_append_text(text, " THEN ");
        plan_write_expr(plan, expr->args[i + 1], above, text);
    }
    buf_append_text(text, " ELSE ");
    plan_write_expr(plan, expr->args[i], above, text);
    buf_append_text(text, " END");
}

static void write_cast(const struct query_plan *plan, const struct expr *expr, bool above,
                       struct buf *text)
{
    buf_append_text(text, expr->op == 1 ? "TRY_CAST(" : "CAST(");
    plan_write_expr(plan, expr->args[0], above, text);
    buf_append_text(text, " AS ");
    query_type_name(expr->type, text);
    buf_append_byte(text, ')');
}

static void write_aggregate(const struct query_plan *plan, uint32_t index, struct buf *text)
{
    static const char *const names[] = {
        [AGGREGATE_COUNT_ROWS] = "COUNT", [AGGREGATE_COUNT] = "COUNT", [AGGREGATE_SUM] = "SUM",
        [AGGREGATE_AVG] = "AVG",          [AGGREGATE_MIN] = "MIN",     [AGGREGATE_MAX] = "MAX",
    };
    const struct plan_aggregate *aggregate = &plan->aggregates[index];
    buf_append_text(text, names[aggregate->spec.function]);
    buf_append_byte(text, '(');
    if (aggregate->has_argument)
        plan_write_expr(plan, plan->row[aggregate->argument], false, text);
    else
        buf_append_byte(text, '*');
    buf_append_byte(text, ')');
}

/* The sign between the operands; NULL if the expression is written otherwise. */
static const char *infix_sign(const struct expr *expr)
{
    switch (expr->kind) {
    case EXPR_COMPARE:
        return comparison_signs[expr->op];
    case EXPR_DISTINCT:
        return expr->negated ? "IS NOT DISTINCT FROM" : "IS DISTINCT FROM";
    case EXPR_AND:
        return "AND";
    case EXPR_OR:
        return "OR";
    case EXPR_ARITHMETIC:
        return arithmetic_signs[expr->op];
    case EXPR_CONCAT:
        return "||";
    default:
        return NULL;
    }
}

/* The word before operands in parentheses; NULL if the expression is written otherwise. */
static const char *call_word(const struct expr *expr)
{
    static const char *const words[] = {
        [EXPR_NOT] = "NOT ",
        [EXPR_NEGATE] = "-",
        [EXPR_BETWEEN] = "BETWEEN",
        [EXPR_IN] = "IN",
        [EXPR_LIKE] = "LIKE",
        [EXPR_COALESCE] = "COALESCE",
        [EXPR_NULLIF] = "NULLIF",
        [EXPR_ABS] = "ABS",
        [EXPR_UPPER] = "UPPER",
        [EXPR_LOWER] = "LOWER",
        [EXPR_CHAR_LENGTH] = "CHAR_LENGTH",
    };
    return words[expr->kind];
}

static void write_slot(const struct query_plan *plan, uint32_t index, bool above, struct buf *text)
{
    if (above)
        plan_write_expr(plan, plan->row[index], false, text);
    else
        buf_append_slice(text, plan->slots[index].name);
}

void plan_write_expr(const struct query_plan *plan, const struct expr *expr, bool above,
                     struct buf *text)
{
    const char *sign = infix_sign(expr);
    if (sign != NULL) {
        write_infix(plan, expr, above, sign, text);
        return;
    }
    switch (expr->kind) {
    case EXPR_CONSTANT:
        write_constant(&expr->constant, text);
        return;
    case EXPR_SLOT:
        write_slot(plan, expr->index, above, text);
        return;
    case EXPR_AGGREGATE:
        write_aggregate(plan, expr->index, text);
        return;
    case EXPR_IS:
        buf_append_byte(text, '(');
        plan_write_expr(plan, expr->args[0], above, text);
        buf_printf(text, " IS %s%s)", expr->negated ? "NOT " : "", truth_words[expr->op]);
        return;
    case EXPR_CASE:
        write_case(plan, expr, above, text);
        return;
    case EXPR_CAST:
        write_cast(plan, expr, above, text);
        return;
    case EXPR_EXPECT:
        plan_write_expr(plan, expr->args[0], above, text);
        return;
    default:
        if (expr->negated)
            buf_append_text(text, "NOT ");
        write_call(plan, expr, above, call_word(expr), text);
    }
}

/* ---- Operators ---- */

static void write_slots(const struct query_plan *plan, struct buf *text)
{
    for (uint32_t i = 0; i < plan->slot_count; i++) {
        const struct plan_slot *slot = &plan->slots[i];
        buf_append_text(text, i > 0 ? ", " : "");
        buf_append_slice(text, slot->name);
        if (slot->is_dynamic)
            continue;
        buf_append_byte(text, ' ');
        query_type_name(slot->type, text);
        if (slot->not_null)
            buf_append_text(text, " NOT NULL");
    }
}

static void write_groups(const struct query_plan *plan, struct buf *text)
{
    for (uint32_t i = 0; i < plan->group_count; i++) {
        buf_append_text(text, i > 0 ? ", " : "");
        plan_write_expr(plan, plan->row[i], false, text);
    }
}

static void write_aggregates(const struct query_plan *plan, struct buf *text)
{
    for (uint32_t i = 0; i < plan->aggregate_count; i++) {
        buf_append_text(text, i > 0 ? ", " : "");
        write_aggregate(plan, i, text);
    }
}

static void write_over(const struct query_plan *plan, struct buf *text)
{
    buf_append_text(text, "Over(");
    if (plan->group_count > 0) {
        buf_append_text(text, "partition by ");
        write_groups(plan, text);
        buf_append_text(text, "; ");
    }
    if (plan->bounded)
        buf_printf(text, "ROWS BETWEEN %u PRECEDING AND CURRENT ROW; ", plan->preceding);
    else
        buf_append_text(text, "ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW; ");
    buf_append_text(text, plan->is_ordered ? "ORDER BY PROCTIME(): arrival order; "
                                           : "no ORDER BY: arrival order, extension; ");
    write_aggregates(plan, text);
    buf_append_text(text, ")\n");
}

static void write_group(const struct query_plan *plan, struct buf *text)
{
    buf_append_text(text, "GroupBy(");
    if (plan->group_count == 0)
        buf_append_text(text, "one group of all rows");
    write_groups(plan, text);
    if (plan->aggregate_count > 0) {
        buf_append_text(text, "; ");
        write_aggregates(plan, text);
    }
    buf_append_text(text, ")\n");
    if (plan->having != NULL) {
        buf_append_text(text, "Having(");
        plan_write_expr(plan, plan->having, true, text);
        buf_append_text(text, ")\n");
    }
}

static void write_project(const struct query_plan *plan, struct buf *text)
{
    bool above = plan->kind != PLAN_STATELESS;
    buf_append_text(text, "Project(");
    for (uint32_t i = 0; i < plan->select_count; i++) {
        struct buf expr;
        buf_init(&expr);
        buf_append_text(text, i > 0 ? ", " : "");
        plan_write_expr(plan, plan->select[i], above, &expr);
        buf_append_slice(text, buf_slice(&expr));
        if (!slice_equal(buf_slice(&expr), slice_text(plan->names[i])))
            buf_printf(text, " AS \"%s\"", plan->names[i]);
        text->failed = text->failed || expr.failed;
        buf_fini(&expr);
    }
    buf_append_text(text, ")\n");
}

void query_plan_explain(const struct query_plan *plan, struct buf *text)
{
    buf_printf(text, "Source(region /%s", plan->region);
    if (plan->table != NULL)
        buf_printf(text, ", table %s", plan->table);
    buf_append_text(text, plan->declared ? "; columns " : "; fields ");
    write_slots(plan, text);
    buf_append_text(text, ")\n");
    if (plan->where != NULL) {
        buf_append_text(text, "Filter(");
        plan_write_expr(plan, plan->where, false, text);
        buf_append_text(text, ")\n");
    }
    if (plan->kind == PLAN_OVER)
        write_over(plan, text);
    else if (plan->kind == PLAN_GROUP)
        write_group(plan, text);
    write_project(plan, text);
    buf_append_text(text, plan->kind == PLAN_GROUP ? "Changelog(+I, -U, +U"
                                                   : "Changelog(+I: append only");
    buf_append_text(text, plan->kind == PLAN_GROUP && plan->having != NULL ? ", -D" : "");
    buf_printf(text,
               ")\nNumeric mode: %s\nFingerprint: ", plan->mode == QUERY_FLINK ? "flink" : "exact");
    for (size_t i = 0; i < sizeof plan->fingerprint; i++)
        buf_printf(text, "%02x", plan->fingerprint[i]);
    buf_append_byte(text, '\n');
}

/* ---- Fingerprint ---- */

/* Every expression as bytes: kinds, types, constants, operands. Nothing of the statement's text is
 * in it. */
static void pack_expr(const struct expr *expr, struct buf *bytes)
{
    buf_printf(bytes, "(%d %d %d %d %d.%d.%d %u", (int)expr->kind, expr->op, expr->negated,
               expr->is_dynamic, (int)expr->type.kind, expr->type.precision, expr->type.scale,
               expr->index);
    if (expr->kind == EXPR_CONSTANT)
        query_value_pack(&expr->constant, bytes);
    for (uint32_t i = 0; i < expr->count; i++)
        pack_expr(expr->args[i], bytes);
    buf_append_byte(bytes, ')');
}

static void pack_exprs(const struct expr *const *exprs, uint32_t count, struct buf *bytes)
{
    buf_printf(bytes, "[%u", count);
    for (uint32_t i = 0; i < count; i++)
        pack_expr(exprs[i], bytes);
}

enum error plan_set_fingerprint(struct query_plan *plan)
{
    struct buf bytes;
    buf_init(&bytes);
    buf_printf(&bytes, "v1 %d %d %zu:%s %d %d.%u", (int)plan->kind, (int)plan->mode,
               strlen(plan->region), plan->region, plan->declared, plan->bounded, plan->preceding);
    for (uint32_t i = 0; i < plan->slot_count; i++) {
        const struct plan_slot *slot = &plan->slots[i];
        buf_printf(&bytes, "|%zu:%.*s %d %d %d %d.%d.%d", slot->name.len, SLICE_FMT(slot->name),
                   (int)slot->source, slot->is_dynamic, slot->not_null, (int)slot->type.kind,
                   slot->type.precision, slot->type.scale);
    }
    if (plan->where != NULL)
        pack_exprs(&plan->where, 1, &bytes);
    pack_exprs(plan->row, plan->row_count, &bytes);
    buf_printf(&bytes, "groups %u", plan->group_count);
    for (uint32_t i = 0; i < plan->aggregate_count; i++) {
        const struct plan_aggregate *aggregate = &plan->aggregates[i];
        buf_printf(&bytes, "|%d %d %u", (int)aggregate->spec.function, aggregate->has_argument,
                   aggregate->argument);
    }
    pack_exprs(plan->select, plan->select_count, &bytes);
    if (plan->having != NULL)
        pack_exprs(&plan->having, 1, &bytes);
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes.data, bytes.len));
    memcpy(plan->fingerprint, canonical.digest, sizeof plan->fingerprint);
    enum error status = bytes.failed ? ERROR_MEMORY : OK;
    buf_fini(&bytes);
    return status;
}
