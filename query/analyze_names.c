#include "query/analyze.h"

#include <stdio.h>

#include "common/text.h"
#include "query/caret.h"
#include "query/number.h"

void analyze_fail(struct analysis *analysis, uint32_t at, const char *format, ...)
{
    if (analysis->status != OK)
        return;
    va_list args;
    va_start(args, format);
    analysis->status = ERROR_INVALID;
    caret_verror(analysis->error, analysis->text, at, format, args);
    va_end(args);
}

void *analyze_alloc(struct analysis *analysis, size_t size)
{
    if (analysis->status != OK)
        return NULL;
    void *block = arena_zalloc(&analysis->plan->arena, size);
    if (block == NULL)
        analysis->status = ERROR_MEMORY;
    return block;
}

void *analyze_grow(struct analysis *analysis, void *array, uint32_t count, uint32_t *room,
                   size_t size)
{
    if (count < *room)
        return array;
    uint32_t larger = *room == 0 ? 8 : *room * 2;
    void *grown = analyze_alloc(analysis, larger * size);
    if (grown == NULL)
        return NULL;
    if (count > 0)
        memcpy(grown, array, count * size);
    *room = larger;
    return grown;
}

const char *analyze_text(struct analysis *analysis, struct slice text)
{
    char *copy = analyze_alloc(analysis, text.len + 1);
    if (copy != NULL && text.len > 0)
        memcpy(copy, text.data, text.len);
    return copy;
}

const char *analyze_type_name(struct query_type type, bool is_dynamic, char out[32])
{
    struct buf name;
    buf_init(&name);
    if (!is_dynamic)
        query_type_name(type, &name);
    (void)snprintf(out, 32, "%.*s", is_dynamic || name.failed ? 5 : (int)name.len,
                   is_dynamic || name.failed ? "field" : (const char *)name.data);
    buf_fini(&name);
    return out;
}

/* ---- FROM ---- */

static void offer_name(void *nearest, const char *name)
{
    text_nearest_offer(nearest, name);
}

static void fail_not_found(struct analysis *analysis)
{
    const struct query_select *select = analysis->select;
    const struct query_catalog *catalog = analysis->catalog;
    struct text_nearest nearest;
    char shown[64], hint[320] = "";
    text_nearest_init(&nearest, select->from);
    if (catalog->name_each != NULL)
        catalog->name_each(catalog->arg, offer_name, &nearest);
    const char *best = text_nearest_best(&nearest);
    if (best != NULL)
        (void)snprintf(hint, sizeof hint, "; did you mean \"%s\"?", best);
    analyze_fail(analysis, select->from_at, "there is no %s named \"%s\"%s",
                 select->from_region ? "region" : "table or region",
                 caret_clip(select->from, shown, sizeof shown), hint);
    analysis->status = ERROR_NOT_FOUND;
}

static const char *table_option(const struct query_table *table, const char *prefix,
                                struct slice name)
{
    size_t len = strlen(prefix);
    for (uint32_t i = 0; table != NULL && i < table->option_count; i++) {
        struct slice option = slice_text(table->options[i].name);
        if (option.len == len + name.len && memcmp(option.data, prefix, len) == 0 &&
            (name.len == 0 || memcmp(option.data + len, name.data, name.len) == 0))
            return table->options[i].value;
    }
    return NULL;
}

void analyze_from(struct analysis *analysis)
{
    const struct query_select *select = analysis->select;
    const struct query_catalog *catalog = analysis->catalog;
    struct query_plan *plan = analysis->plan;
    if (!select->from_region && catalog->table != NULL)
        analysis->table = catalog->table(catalog->arg, select->from);
    if (select->alias.len > 0)
        plan->alias = analyze_text(analysis, select->alias);
    const struct query_table *table = analysis->table;
    if (table != NULL) {
        plan->region = analyze_text(analysis, slice_text(table->region));
        plan->table = analyze_text(analysis, slice_text(table->name));
        plan->declared = true;
        for (uint32_t i = 0; i < table->column_count; i++)
            plan->has_value_column =
                plan->has_value_column || strcmp(table->columns[i].name, "value") == 0;
        const char *mode = table_option(table, "numeric.mode", slice_of(NULL, 0));
        if (mode != NULL && strcmp(mode, "flink") == 0)
            plan->mode = QUERY_FLINK;
    } else if (catalog->region != NULL && catalog->region(catalog->arg, select->from)) {
        plan->region = analyze_text(analysis, select->from);
    } else {
        fail_not_found(analysis);
    }
}

bool analyze_is_ours(const struct analysis *analysis, struct slice qualifier)
{
    return slice_equal(qualifier, analysis->select->alias) ||
           slice_equal(qualifier, analysis->select->from);
}

/* ---- Columns ---- */

static const struct expr *slot(struct analysis *analysis, struct plan_slot slot, uint32_t at)
{
    struct query_plan *plan = analysis->plan;
    uint32_t index = 0;
    while (index < plan->slot_count && !(plan->slots[index].source == slot.source &&
                                         slice_equal(plan->slots[index].name, slot.name)))
        index++;
    if (index == plan->slot_count) {
        if (index == LIMIT_COLUMNS) {
            analyze_fail(analysis, at, "the statement reads more than %u columns", LIMIT_COLUMNS);
            return NULL;
        }
        plan->slots = analyze_grow(analysis, plan->slots, plan->slot_count, &analysis->slot_room,
                                   sizeof *plan->slots);
        const char *name = analyze_text(analysis, slot.name);
        if (plan->slots == NULL || name == NULL)
            return NULL;
        slot.name.data = (const uint8_t *)name;
        plan->slots[plan->slot_count++] = slot;
    }
    struct expr *expr = analyze_node(analysis, EXPR_SLOT, 0, at);
    if (expr == NULL)
        return NULL;
    expr->index = index;
    expr->type = slot.type;
    expr->is_dynamic = slot.is_dynamic;
    return expr;
}

const struct expr *analyze_column(struct analysis *analysis, uint32_t column, uint32_t at)
{
    const struct query_column *from = &analysis->table->columns[column];
    if (from->proctime) {
        analyze_fail(analysis, at,
                     "\"%s\" is PROCTIME(): it can stand in ORDER BY of OVER and nowhere else yet",
                     from->name);
        return NULL;
    }
    return slot(analysis,
                (struct plan_slot){.name = slice_text(from->name),
                                   .source = PLAN_FIELD,
                                   .not_null = from->not_null,
                                   .type = from->type},
                at);
}

const struct expr *analyze_special(struct analysis *analysis, enum plan_source source,
                                   const char *name, uint32_t at)
{
    return slot(analysis,
                (struct plan_slot){.name = slice_text(name), .source = source, .is_dynamic = true},
                at);
}

const struct query_column *analyze_proctime(const struct analysis *analysis,
                                            const struct ast_expr *expr)
{
    const struct query_table *table = analysis->table;
    if (table == NULL || expr->kind != AST_NAME ||
        (expr->qualifier.len > 0 && !analyze_is_ours(analysis, expr->qualifier)))
        return NULL;
    for (uint32_t i = 0; i < table->column_count; i++)
        if (table->columns[i].proctime &&
            slice_equal(slice_text(table->columns[i].name), expr->name))
            return &table->columns[i];
    return NULL;
}

/* ---- Parameters ---- */

/* The text of an option: a number, true, false and null are that; all else is a string. */
static struct query_value option_parameter(const char *text)
{
    struct slice slice = slice_text(text);
    struct query_value value = {.kind = QUERY_TYPE_BIGINT};
    if (text_parse_i64(slice, &value.integer))
        return value;
    bool like_number = (text[0] >= '0' && text[0] <= '9') || text[0] == '-';
    value = (struct query_value){.kind = QUERY_TYPE_DOUBLE};
    if (like_number && number_parse_double(slice, &value.float64))
        return value;
    if (strcmp(text, "null") == 0)
        return (struct query_value){.kind = QUERY_TYPE_NULL};
    if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0)
        return (struct query_value){.kind = QUERY_TYPE_BOOLEAN, .boolean = text[0] == 't'};
    return (struct query_value){.kind = QUERY_TYPE_STRING, .text = slice};
}

/* NULL if nobody supplied it; the error is the caller's. */
static const struct expr *find_parameter(struct analysis *analysis, struct slice name, uint32_t at)
{
    for (uint32_t i = 0; i < analysis->parameter_count; i++)
        if (slice_equal(analysis->parameters[i].name, name)) {
            const struct query_value *value = &analysis->parameters[i].value;
            return analyze_constant(analysis, value, query_value_type(value), at);
        }
    const char *option = table_option(analysis->table, "param.", name);
    if (option == NULL)
        return NULL;
    struct query_value value = option_parameter(option);
    return analyze_constant(analysis, &value, query_value_type(&value), at);
}

static const char *nearest_name(const struct analysis *analysis, struct slice name)
{
    struct text_nearest nearest;
    text_nearest_init(&nearest, name);
    for (uint32_t i = 0; analysis->table != NULL && i < analysis->table->column_count; i++)
        text_nearest_offer(&nearest, analysis->table->columns[i].name);
    return text_nearest_best(&nearest);
}

static void fail_unknown(struct analysis *analysis, const struct ast_expr *name)
{
    char shown[64], column[300] = "";
    const char *best = name->kind == AST_NAME ? nearest_name(analysis, name->name) : NULL;
    caret_clip(name->name, shown, sizeof shown);
    if (best != NULL)
        (void)snprintf(column, sizeof column, "; did you mean the column \"%.*s\"? Otherwise", 128,
                       best);
    analyze_fail(
        analysis, name->at,
        "\"%s\" is no column of %s%s and no parameter with a value%s give it a value with --param "
        "%s=VALUE on the command "
        "line, among the parameters of the subscribe message, or as the table option 'param.%s'",
        shown, analysis->table != NULL ? "the table " : "the region ",
        analysis->table != NULL ? analysis->table->name : analysis->plan->region,
        best != NULL ? column : ";", shown, shown);
}

const struct expr *analyze_parameter(struct analysis *analysis, const struct ast_expr *name)
{
    const struct expr *expr = find_parameter(analysis, name->name, name->at);
    if (expr == NULL && analysis->status == OK)
        fail_unknown(analysis, name);
    return expr;
}

/* ---- Names ---- */

/* In a region without declared columns every name could be a field, so a parameter that was given
 * goes before it. */
static const struct expr *region_name(struct analysis *analysis, const struct ast_expr *name)
{
    const struct expr *expr =
        name->qualifier.len > 0 ? NULL : find_parameter(analysis, name->name, name->at);
    if (expr != NULL || analysis->status != OK)
        return expr;
    if (slice_equal(name->name, slice_text("key")))
        return analyze_special(analysis, PLAN_KEY, "key", name->at);
    if (slice_equal(name->name, slice_text("value")))
        return analyze_special(analysis, PLAN_VALUE, "value", name->at);
    return slot(analysis,
                (struct plan_slot){.name = name->name, .source = PLAN_FIELD, .is_dynamic = true},
                name->at);
}

const struct expr *analyze_name(struct analysis *analysis, const struct ast_expr *name)
{
    char shown[64];
    if (name->qualifier.len > 0 && !analyze_is_ours(analysis, name->qualifier)) {
        analyze_fail(analysis, name->at, "\"%s\" names neither the table nor its alias in FROM",
                     caret_clip(name->qualifier, shown, sizeof shown));
        return NULL;
    }
    const struct query_table *table = analysis->table;
    if (table == NULL)
        return region_name(analysis, name);
    for (uint32_t i = 0; i < table->column_count; i++)
        if (slice_equal(slice_text(table->columns[i].name), name->name))
            return analyze_column(analysis, i, name->at);
    if (name->qualifier.len > 0) {
        const char *best = nearest_name(analysis, name->name);
        analyze_fail(analysis, name->at, "the table %s has no column \"%s\"%s%s%s", table->name,
                     caret_clip(name->name, shown, sizeof shown),
                     best == NULL ? "" : "; did you mean \"", best == NULL ? "" : best,
                     best == NULL ? "" : "\"?");
        return NULL;
    }
    const struct expr *expr = find_parameter(analysis, name->name, name->at);
    if (expr == NULL && analysis->status == OK)
        fail_unknown(analysis, name);
    return expr;
}
