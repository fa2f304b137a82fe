/* Functions and aggregates. */
#include "query/analyze.h"

#include <stdio.h>

#include "common/text.h"
#include "query/caret.h"
#include "query/lexer.h"

struct aggregate_word {
    const char *name;
    enum aggregate_function function;
};

static const struct aggregate_word aggregate_words[] = {
    {"AVG", AGGREGATE_AVG}, {"SUM", AGGREGATE_SUM}, {"COUNT", AGGREGATE_COUNT},
    {"MIN", AGGREGATE_MIN}, {"MAX", AGGREGATE_MAX},
};

enum result_rule { OF_COMMON_TYPE, OF_FIRST, OF_STRING, OF_INT };

struct function_word {
    const char *name;
    enum expr_kind kind;
    uint32_t arguments_min, arguments_max;
    enum result_rule result;
    const char *form;
};

static const struct function_word function_words[] = {
    {"COALESCE", EXPR_COALESCE, 1, LIMIT_IN_LIST, OF_COMMON_TYPE, "COALESCE(a, b, ...)"},
    {"NULLIF", EXPR_NULLIF, 2, 2, OF_FIRST, "NULLIF(a, b)"},
    {"ABS", EXPR_ABS, 1, 1, OF_FIRST, "ABS(number)"},
    {"UPPER", EXPR_UPPER, 1, 1, OF_STRING, "UPPER(text)"},
    {"LOWER", EXPR_LOWER, 1, 1, OF_STRING, "LOWER(text)"},
    {"CHAR_LENGTH", EXPR_CHAR_LENGTH, 1, 1, OF_INT, "CHAR_LENGTH(text)"},
    {"CHARACTER_LENGTH", EXPR_CHAR_LENGTH, 1, 1, OF_INT, "CHARACTER_LENGTH(text)"},
};

/* Known to SQL, not to us yet: not to be taken for a misspelt name. */
static const char *const unsupported_functions[] = {
    "ROW_NUMBER", "RANK",
    "DENSE_RANK", "LAG",
    "LEAD",       "FIRST_VALUE",
    "LAST_VALUE", "NTILE",
    "STDDEV_POP", "STDDEV_SAMP",
    "VAR_POP",    "VAR_SAMP",
    "LISTAGG",    "COLLECT",
    "ROUND",      "FLOOR",
    "CEIL",       "MOD",
    "POWER",      "SQRT",
    "SUBSTRING",  "TRIM",
    "REPLACE",    "CONCAT",
    "NOW",        "TO_TIMESTAMP",
    "EXTRACT",    "TUMBLE",
    "HOP",        "SESSION",
    "CUMULATE",   "EXISTS",
    "ROLLUP",     "CUBE",
    "IF",         "GREATEST",
    "LEAST",      "CURRENT_TIMESTAMP",
    "PROCTIME",   "TO_TIMESTAMP_LTZ",
};

static void fail_unknown(struct analysis *analysis, const struct ast_expr *ast)
{
    struct text_nearest nearest;
    char shown[64];
    text_nearest_init(&nearest, ast->name);
    caret_clip(ast->name, shown, sizeof shown);
    for (size_t i = 0; i < sizeof unsupported_functions / sizeof unsupported_functions[0]; i++)
        if (lexer_word_is(ast->name, unsupported_functions[i])) {
            analyze_fail(analysis, ast->at, "the function %s is not supported yet",
                         unsupported_functions[i]);
            return;
        }
    for (size_t i = 0; i < sizeof aggregate_words / sizeof aggregate_words[0]; i++)
        text_nearest_offer(&nearest, aggregate_words[i].name);
    for (size_t i = 0; i < sizeof function_words / sizeof function_words[0]; i++)
        text_nearest_offer(&nearest, function_words[i].name);
    const char *best = text_nearest_best(&nearest);
    if (best != NULL)
        analyze_fail(analysis, ast->at, "there is no function \"%s\"; did you mean %s?", shown,
                     best);
    else
        analyze_fail(analysis, ast->at,
                     "there is no function \"%s\"; there are AVG, SUM, COUNT, MIN, MAX, COALESCE, "
                     "NULLIF, ABS, UPPER, LOWER, "
                     "CHAR_LENGTH and CAST",
                     shown);
}

/* ---- Aggregates ---- */

static bool check_place(struct analysis *analysis, const struct ast_expr *ast, const char *name)
{
    static const char *const clauses[] = {[IN_WHERE] = "WHERE",
                                          [IN_GROUP_BY] = "GROUP BY",
                                          [IN_PARTITION_BY] = "PARTITION BY",
                                          [IN_HAVING] = "HAVING"};
    if (analysis->in_aggregate)
        analyze_fail(
            analysis, ast->at,
            "an aggregate of an aggregate is not supported: %s stands inside of another one", name);
    else if (ast->over != NULL && analysis->clause != IN_SELECT)
        analyze_fail(analysis, ast->at, "OVER can stand in the SELECT list alone, not in %s",
                     clauses[analysis->clause]);
    else if (analysis->clause == IN_WHERE)
        analyze_fail(analysis, ast->at,
                     "WHERE looks at single rows: a condition on %s belongs into HAVING", name);
    else if (analysis->clause == IN_GROUP_BY || analysis->clause == IN_PARTITION_BY)
        analyze_fail(analysis, ast->at, "an aggregate cannot stand in %s",
                     clauses[analysis->clause]);
    else if (ast->over == NULL && analysis->plan->kind == PLAN_OVER)
        analyze_fail(
            analysis, ast->at,
            "%s stands here without OVER beside aggregates with OVER: that is not supported yet",
            name);
    return analysis->status == OK;
}

/* The argument, as the aggregate wants it. */
static const struct expr *argument_of(struct analysis *analysis, const struct ast_expr *ast,
                                      enum aggregate_function function, const char *name)
{
    analysis->in_aggregate = true;
    const struct expr *argument = analyze_expr(analysis, ast->first);
    analysis->in_aggregate = false;
    if (argument != NULL && argument->is_dynamic && function != AGGREGATE_COUNT)
        argument = analyze_require(analysis, argument, QUERY_TYPE_DOUBLE, name);
    return argument;
}

/* The accumulator for this function of this argument; equal ones are shared. */
static uint32_t aggregate_index(struct analysis *analysis, const struct plan_aggregate *wanted)
{
    struct query_plan *plan = analysis->plan;
    for (uint32_t i = 0; i < plan->aggregate_count; i++) {
        const struct plan_aggregate *other = &plan->aggregates[i];
        if (other->spec.function == wanted->spec.function &&
            other->has_argument == wanted->has_argument && other->argument == wanted->argument)
            return i;
    }
    plan->aggregates = analyze_grow(analysis, plan->aggregates, plan->aggregate_count,
                                    &analysis->aggregate_room, sizeof *plan->aggregates);
    if (plan->aggregates == NULL)
        return 0;
    plan->aggregates[plan->aggregate_count] = *wanted;
    return plan->aggregate_count++;
}

static const struct expr *aggregate(struct analysis *analysis, const struct ast_expr *ast,
                                    const struct aggregate_word *word)
{
    struct query_plan *plan = analysis->plan;
    char type[32];
    if (!check_place(analysis, ast, word->name))
        return NULL;
    if (ast->count != 1) {
        analyze_fail(analysis, ast->at, "%s takes one argument, not %u", word->name, ast->count);
        return NULL;
    }
    bool star = ast->first->kind == AST_STAR;
    if (star && word->function != AGGREGATE_COUNT) {
        analyze_fail(analysis, ast->first->at,
                     "only COUNT takes *; %s takes a column or an expression", word->name);
        return NULL;
    }
    struct plan_aggregate wanted = {
        .spec = {.function = star ? AGGREGATE_COUNT_ROWS : word->function,
                 .mode = plan->mode,
                 .over = plan->kind == PLAN_OVER,
                 .retracting = plan->bounded},
        .has_argument = !star,
    };
    if (!star) {
        const struct expr *argument = argument_of(analysis, ast, word->function, word->name);
        if (argument == NULL)
            return NULL;
        wanted.spec.input = argument->type;
        wanted.argument = analyze_row_index(analysis, argument);
    }
    struct expr *expr = analyze_node(analysis, EXPR_AGGREGATE, 0, ast->at);
    if (expr == NULL)
        return NULL;
    if (aggregate_result_type(&wanted.spec, &expr->type) != OK) {
        analyze_fail(analysis, ast->at,
                     "%s is not defined for %s; CAST converts to a type that it takes", word->name,
                     analyze_type_name(wanted.spec.input, false, type));
        return NULL;
    }
    expr->index = aggregate_index(analysis, &wanted);
    return expr;
}

/* ---- Functions ---- */

static const struct expr *finish_function(struct analysis *analysis, struct expr *expr,
                                          const struct function_word *word)
{
    struct query_type type;
    bool is_dynamic;
    switch (word->result) {
    case OF_COMMON_TYPE:
        if (!analyze_unify(analysis, expr, 0, 1, "COALESCE mixes", &expr->type, &expr->is_dynamic))
            return NULL;
        break;
    case OF_FIRST:
        if (word->kind == EXPR_ABS && expr->args[0]->is_dynamic)
            expr->args[0] = analyze_require(analysis, expr->args[0], QUERY_TYPE_DOUBLE, word->name);
        if (analysis->status != OK)
            return NULL;
        expr->type = expr->args[0]->type;
        expr->is_dynamic = expr->args[0]->is_dynamic;
        if (word->kind == EXPR_ABS && !query_type_is_numeric(expr->type) &&
            expr->type.kind != QUERY_TYPE_NULL) {
            char name[32];
            analyze_fail(analysis, expr->at, "ABS takes a number, not %s %s",
                         query_type_article(expr->type.kind),
                         analyze_type_name(expr->type, false, name));
            return NULL;
        }
        if (word->kind == EXPR_NULLIF) {
            /* Both must be comparable; the result is the first as it is. */
            struct expr pair = {.args = (const struct expr *[]){expr->args[0], expr->args[1]},
                                .count = 2};
            if (!analyze_unify(analysis, &pair, 0, 1, "cannot compare", &type, &is_dynamic))
                return NULL;
        }
        break;
    case OF_STRING:
    case OF_INT:
        expr->args[0] = analyze_require(analysis, expr->args[0], QUERY_TYPE_STRING, word->name);
        expr->type.kind = word->result == OF_INT ? QUERY_TYPE_INT : QUERY_TYPE_STRING;
        break;
    }
    return analysis->status == OK ? analyze_fold(analysis, expr) : NULL;
}

static const struct expr *function(struct analysis *analysis, const struct ast_expr *ast,
                                   const struct function_word *word)
{
    if (ast->over != NULL) {
        analyze_fail(analysis, ast->over->at, "%s is no aggregate and takes no OVER", word->name);
        return NULL;
    }
    if (ast->count < word->arguments_min || ast->count > word->arguments_max) {
        analyze_fail(analysis, ast->at, "%s is called with %u argument%s; its form is %s",
                     word->name, ast->count, ast->count == 1 ? "" : "s", word->form);
        return NULL;
    }
    struct expr *expr = analyze_node(analysis, word->kind, ast->count, ast->at);
    uint32_t i = 0;
    for (const struct ast_expr *operand = ast->first; expr != NULL && operand != NULL;
         operand = operand->next)
        expr->args[i++] = analyze_expr(analysis, operand);
    return analysis->status == OK ? finish_function(analysis, expr, word) : NULL;
}

const struct expr *analyze_call(struct analysis *analysis, const struct ast_expr *ast)
{
    for (size_t i = 0; i < sizeof aggregate_words / sizeof aggregate_words[0]; i++)
        if (lexer_word_is(ast->name, aggregate_words[i].name))
            return aggregate(analysis, ast, &aggregate_words[i]);
    for (size_t i = 0; i < sizeof function_words / sizeof function_words[0]; i++)
        if (lexer_word_is(ast->name, function_words[i].name))
            return function(analysis, ast, &function_words[i]);
    fail_unknown(analysis, ast);
    return NULL;
}
