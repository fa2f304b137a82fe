#include "query/analyze.h"

#include "query/caret.h"
#include "query/like.h"

/* ---- Making nodes ---- */

struct expr *analyze_node(struct analysis *analysis, enum expr_kind kind, uint32_t count,
                          uint32_t at)
{
    struct expr *expr = analyze_alloc(analysis, sizeof *expr);
    if (expr == NULL)
        return NULL;
    expr->kind = kind;
    expr->at = at;
    expr->count = count;
    if (count > 0) {
        expr->args = analyze_alloc(analysis, count * sizeof *expr->args);
        if (expr->args == NULL)
            return NULL;
    }
    return expr;
}

const struct expr *analyze_constant(struct analysis *analysis, const struct query_value *value,
                                    struct query_type type, uint32_t at)
{
    struct expr *expr = analyze_node(analysis, EXPR_CONSTANT, 0, at);
    if (expr == NULL)
        return NULL;
    expr->type = type;
    expr->constant = *value;
    if (value->kind == QUERY_TYPE_STRING || value->kind == QUERY_TYPE_BYTES) {
        expr->constant.text.data = (const uint8_t *)analyze_text(analysis, value->text);
        if (expr->constant.text.data == NULL)
            return NULL;
    }
    return expr;
}

const struct expr *analyze_fold(struct analysis *analysis, const struct expr *expr)
{
    if (analysis->status != OK || expr == NULL)
        return NULL;
    for (uint32_t i = 0; i < expr->count; i++)
        if (expr->args[i]->kind != EXPR_CONSTANT)
            return expr;
    struct query_error ignored;
    struct query_value value;
    struct expr_input input = {.arena = &analysis->plan->arena, .error = &ignored};
    enum error status = expr_evaluate(expr, &input, &value);
    if (status == ERROR_MEMORY) {
        analysis->status = ERROR_MEMORY;
        return NULL;
    }
    return status == OK ? analyze_constant(analysis, &value, expr->type, expr->at) : expr;
}

const struct expr *analyze_cast(struct analysis *analysis, const struct expr *expr,
                                struct query_type type)
{
    if (expr == NULL || expr->is_dynamic || query_type_equal(expr->type, type))
        return expr;
    struct expr *cast = analyze_node(analysis, EXPR_CAST, 1, expr->at);
    if (cast == NULL)
        return NULL;
    cast->args[0] = expr;
    cast->type = type;
    return analyze_fold(analysis, cast);
}

const struct expr *analyze_require(struct analysis *analysis, const struct expr *expr,
                                   enum query_type_kind kind, const char *what)
{
    if (expr == NULL || analysis->status != OK)
        return NULL;
    struct query_type type = {.kind = kind};
    char found[32], wanted[32];
    if (!expr->is_dynamic) {
        if (expr->type.kind == kind || expr->type.kind == QUERY_TYPE_NULL)
            return expr;
        analyze_fail(analysis, expr->at, "%s takes %s %s, not %s %s; CAST(... AS %s) converts it",
                     what, query_type_article(kind), analyze_type_name(type, false, wanted),
                     query_type_article(expr->type.kind),
                     analyze_type_name(expr->type, false, found), wanted);
        return NULL;
    }
    struct expr *expect = analyze_node(analysis, EXPR_EXPECT, 1, expr->at);
    if (expect == NULL)
        return NULL;
    expect->args[0] = expr;
    expect->type = type;
    return expect;
}

bool analyze_unify(struct analysis *analysis, struct expr *expr, uint32_t first, uint32_t step,
                   const char *what, struct query_type *type, bool *is_dynamic)
{
    char a[32], b[32];
    *type = (struct query_type){.kind = QUERY_TYPE_NULL};
    *is_dynamic = false;
    for (uint32_t i = first; i < expr->count; i += step) {
        *is_dynamic = *is_dynamic || expr->args[i]->is_dynamic;
        if (expr->args[i]->is_dynamic)
            continue;
        if (!query_type_common(*type, expr->args[i]->type, type)) {
            analyze_fail(analysis, expr->args[i]->at,
                         "%s %s with %s: CAST one of them, as in CAST(... AS %s)", what,
                         analyze_type_name(*type, false, a),
                         analyze_type_name(expr->args[i]->type, false, b), a);
            return false;
        }
    }
    for (uint32_t i = first; i < expr->count && !*is_dynamic; i += step)
        if (expr->args[i]->type.kind != QUERY_TYPE_NULL)
            expr->args[i] = analyze_cast(analysis, expr->args[i], *type);
    if (*is_dynamic)
        *type = (struct query_type){.kind = QUERY_TYPE_NULL};
    return analysis->status == OK;
}

/* ---- One kind of node after the other ---- */

/* The node over all operands of `ast`, analysed; NULL on failure. */
static struct expr *with_operands(struct analysis *analysis, const struct ast_expr *ast,
                                  enum expr_kind kind)
{
    struct expr *expr = analyze_node(analysis, kind, ast->count, ast->at);
    uint32_t i = 0;
    for (const struct ast_expr *operand = ast->first; expr != NULL && operand != NULL;
         operand = operand->next)
        expr->args[i++] = analyze_expr(analysis, operand);
    if (analysis->status != OK)
        return NULL;
    expr->negated = ast->negated;
    expr->type.kind = QUERY_TYPE_BOOLEAN;
    return expr;
}

static bool both_integers(const struct expr *expr)
{
    for (uint32_t i = 0; i < expr->count; i++)
        if (expr->args[i]->is_dynamic || !query_type_is_integer(expr->args[i]->type))
            return false;
    return true;
}

static const struct expr *boolean_constant(struct analysis *analysis, bool truth, uint32_t at)
{
    struct query_value value = {.kind = QUERY_TYPE_BOOLEAN, .boolean = truth};
    return analyze_constant(analysis, &value, (struct query_type){.kind = QUERY_TYPE_BOOLEAN}, at);
}

/* What Flink's planner makes of a column compared with itself, so that NaN equals itself there:
 * `d = d` is `d IS NOT NULL OR NULL`, `d <> d` is `d IS NULL AND NULL`. */
static const struct expr *compared_with_itself(struct analysis *analysis, const struct expr *expr)
{
    if (expr->kind == EXPR_DISTINCT)
        return boolean_constant(analysis, expr->negated, expr->at);
    bool holds =
        expr->op == AST_EQUAL || expr->op == AST_LESS_EQUAL || expr->op == AST_GREATER_EQUAL;
    struct query_value null = {.kind = QUERY_TYPE_NULL};
    struct query_type boolean = {.kind = QUERY_TYPE_BOOLEAN};
    struct expr *test = analyze_node(analysis, EXPR_IS, 1, expr->at);
    struct expr *chain = analyze_node(analysis, holds ? EXPR_OR : EXPR_AND, 2, expr->at);
    const struct expr *unknown =
        analyze_constant(analysis, &null, (struct query_type){.kind = QUERY_TYPE_NULL}, expr->at);
    if (analysis->status != OK)
        return NULL;
    test->op = AST_IS_NULL;
    test->negated = holds;
    test->type = boolean;
    test->args[0] = expr->args[0];
    chain->type = boolean;
    chain->args[0] = test;
    chain->args[1] = unknown;
    return chain;
}

static bool is_with_itself(const struct expr *expr)
{
    return (expr->kind == EXPR_COMPARE || expr->kind == EXPR_DISTINCT) && expr->count == 2 &&
           expr->args[0]->kind == EXPR_SLOT && expr->args[1]->kind == EXPR_SLOT &&
           expr->args[0]->index == expr->args[1]->index;
}

static const struct expr *comparison(struct analysis *analysis, const struct ast_expr *ast,
                                     enum expr_kind kind)
{
    struct expr *expr = with_operands(analysis, ast, kind);
    if (expr == NULL)
        return NULL;
    expr->op = ast->op;
    if (analysis->plan->mode == QUERY_FLINK && is_with_itself(expr))
        return compared_with_itself(analysis, expr);
    struct query_type type;
    bool is_dynamic;
    /* Integers of any width compare as they are. */
    if (!both_integers(expr) &&
        !analyze_unify(analysis, expr, 0, 1, "cannot compare", &type, &is_dynamic))
        return NULL;
    return analyze_fold(analysis, expr);
}

static const struct expr *logic(struct analysis *analysis, const struct ast_expr *ast,
                                enum expr_kind kind, const char *what)
{
    struct expr *expr = with_operands(analysis, ast, kind);
    for (uint32_t i = 0; expr != NULL && i < expr->count; i++)
        expr->args[i] = analyze_require(analysis, expr->args[i], QUERY_TYPE_BOOLEAN, what);
    if (expr != NULL)
        expr->negated = false;
    return analyze_fold(analysis, expr);
}

static const struct expr *is_test(struct analysis *analysis, const struct ast_expr *ast)
{
    struct expr *expr = with_operands(analysis, ast, EXPR_IS);
    if (expr == NULL)
        return NULL;
    expr->op = ast->op;
    if (ast->op != AST_IS_NULL)
        expr->args[0] = analyze_require(analysis, expr->args[0], QUERY_TYPE_BOOLEAN,
                                        ast->op == AST_IS_TRUE ? "IS TRUE" : "IS FALSE");
    return analyze_fold(analysis, expr);
}

/* Numbers of a region's fields are DOUBLE, so arithmetic has a static type again. */
static const struct expr *number_operand(struct analysis *analysis, const struct expr *expr)
{
    return expr != NULL && expr->is_dynamic
               ? analyze_require(analysis, expr, QUERY_TYPE_DOUBLE, "arithmetic")
               : expr;
}

static const struct expr *arithmetic(struct analysis *analysis, const struct ast_expr *ast)
{
    static const char *const signs[] = {"+", "-", "*", "/", "%"};
    struct expr *expr = with_operands(analysis, ast, EXPR_ARITHMETIC);
    char a[32], b[32];
    if (expr == NULL)
        return NULL;
    expr->op = ast->op;
    expr->args[0] = number_operand(analysis, expr->args[0]);
    expr->args[1] = number_operand(analysis, expr->args[1]);
    if (analysis->status != OK)
        return NULL;
    struct query_type left = expr->args[0]->type, right = expr->args[1]->type;
    if (!query_type_arithmetic(ast->op, left, right, &expr->type)) {
        bool texts = left.kind == QUERY_TYPE_STRING && right.kind == QUERY_TYPE_STRING &&
                     ast->op == QUERY_ADD;
        analyze_fail(analysis, ast->at, "%s is not defined for %s and %s%s", signs[ast->op],
                     analyze_type_name(left, false, a), analyze_type_name(right, false, b),
                     texts ? "; strings are joined with ||" : "; CAST converts to a number");
        return NULL;
    }
    return analyze_fold(analysis, expr);
}

static const struct expr *negation(struct analysis *analysis, const struct ast_expr *ast)
{
    struct expr *expr = with_operands(analysis, ast, EXPR_NEGATE);
    char name[32];
    if (expr == NULL)
        return NULL;
    expr->args[0] = number_operand(analysis, expr->args[0]);
    if (expr->args[0] == NULL)
        return NULL;
    expr->type = expr->args[0]->type;
    if (!query_type_is_numeric(expr->type) && expr->type.kind != QUERY_TYPE_NULL) {
        analyze_fail(analysis, ast->at, "- is not defined for %s",
                     analyze_type_name(expr->type, false, name));
        return NULL;
    }
    return analyze_fold(analysis, expr);
}

static const struct expr *texts(struct analysis *analysis, const struct ast_expr *ast,
                                enum expr_kind kind, const char *what)
{
    struct expr *expr = with_operands(analysis, ast, kind);
    for (uint32_t i = 0; expr != NULL && i < expr->count; i++)
        expr->args[i] = analyze_require(analysis, expr->args[i], QUERY_TYPE_STRING, what);
    if (expr != NULL && kind == EXPR_CONCAT)
        expr->type.kind = QUERY_TYPE_STRING;
    return analysis->status == OK ? analyze_fold(analysis, expr) : NULL;
}

/* A constant pattern that cannot be is an error of the statement, not of every row. */
static const struct expr *like(struct analysis *analysis, const struct ast_expr *ast)
{
    const struct expr *expr = texts(analysis, ast, EXPR_LIKE, "LIKE");
    if (expr == NULL || expr->kind != EXPR_LIKE || expr->count != 3)
        return expr;
    const struct expr *pattern = expr->args[1], *escape = expr->args[2];
    bool matches;
    const char *why;
    if (pattern->constant.kind == QUERY_TYPE_STRING && escape->constant.kind == QUERY_TYPE_STRING &&
        !like_match(slice_of(NULL, 0), pattern->constant.text, &escape->constant.text, &matches,
                    &why))
        analyze_fail(analysis, pattern->at, "%s", why);
    return expr;
}

static const struct expr *cast(struct analysis *analysis, const struct ast_expr *ast)
{
    struct expr *expr = with_operands(analysis, ast, EXPR_CAST);
    char from[32], to[32];
    if (expr == NULL)
        return NULL;
    expr->op = ast->op;
    expr->type = ast->type;
    const struct expr *operand = expr->args[0];
    if (!operand->is_dynamic && operand->type.kind != QUERY_TYPE_NULL &&
        !query_type_casts(operand->type, ast->type)) {
        analyze_fail(analysis, ast->at, "%s cannot be cast to %s",
                     analyze_type_name(operand->type, false, from),
                     analyze_type_name(ast->type, false, to));
        return NULL;
    }
    return analyze_fold(analysis, expr);
}

/* Without ELSE the last operand is NULL. */
static const struct expr *case_of(struct analysis *analysis, const struct ast_expr *ast)
{
    uint32_t count = ast->count + !ast->has_else, begin = ast->has_operand, i = 0;
    struct expr *expr = analyze_node(analysis, EXPR_CASE, count, ast->at);
    for (const struct ast_expr *operand = ast->first; expr != NULL && operand != NULL;
         operand = operand->next, i++) {
        bool condition = !ast->has_operand && i + 1 < count && i % 2 == 0;
        expr->args[i] = condition ? analyze_condition(analysis, operand, "WHEN")
                                  : analyze_expr(analysis, operand);
    }
    if (analysis->status != OK)
        return NULL;
    if (!ast->has_else) {
        struct query_value null = {.kind = QUERY_TYPE_NULL};
        expr->args[count - 1] = analyze_constant(
            analysis, &null, (struct query_type){.kind = QUERY_TYPE_NULL}, ast->at);
    }
    expr->op = ast->has_operand;
    if (ast->has_operand) {
        /* The operand and each WHEN must be comparable; they are compared by their own kinds. */
        for (uint32_t when = 1; when + 1 < count; when += 2) {
            struct query_type type;
            bool is_dynamic;
            struct expr pair = {.args = (const struct expr *[]){expr->args[0], expr->args[when]},
                                .count = 2};
            if (!analyze_unify(analysis, &pair, 0, 1, "cannot compare", &type, &is_dynamic))
                return NULL;
        }
    }
    /* Results stand at every second place, and ELSE behind the last of them. */
    struct expr results = {.count = (count - begin) / 2 + 1};
    results.args = analyze_alloc(analysis, results.count * sizeof *results.args);
    if (results.args == NULL)
        return NULL;
    for (uint32_t r = 0; r < results.count; r++)
        results.args[r] = expr->args[r + 1 == results.count ? count - 1 : begin + 2 * r + 1];
    if (!analyze_unify(analysis, &results, 0, 1, "the results of CASE mix", &expr->type,
                       &expr->is_dynamic))
        return NULL;
    for (uint32_t r = 0; r < results.count; r++)
        expr->args[r + 1 == results.count ? count - 1 : begin + 2 * r + 1] = results.args[r];
    return analyze_fold(analysis, expr);
}

static const struct expr *literal(struct analysis *analysis, const struct ast_expr *ast)
{
    return analyze_constant(analysis, &ast->literal, ast->type, ast->at);
}

const struct expr *analyze_expr(struct analysis *analysis, const struct ast_expr *ast)
{
    if (analysis->status != OK)
        return NULL;
    switch (ast->kind) {
    case AST_LITERAL:
        return literal(analysis, ast);
    case AST_NAME:
        return analyze_name(analysis, ast);
    case AST_PARAMETER:
        return analyze_parameter(analysis, ast);
    case AST_STAR:
        analyze_fail(analysis, ast->at,
                     "* can stand in COUNT(*) or for all columns of a SELECT list, not here");
        return NULL;
    case AST_NEGATE:
        return negation(analysis, ast);
    case AST_ARITHMETIC:
        return arithmetic(analysis, ast);
    case AST_CONCAT:
        return texts(analysis, ast, EXPR_CONCAT, "||");
    case AST_COMPARE:
        return comparison(analysis, ast, EXPR_COMPARE);
    case AST_DISTINCT:
        return comparison(analysis, ast, EXPR_DISTINCT);
    case AST_BETWEEN:
        return comparison(analysis, ast, EXPR_BETWEEN);
    case AST_IN:
        return comparison(analysis, ast, EXPR_IN);
    case AST_AND:
        return logic(analysis, ast, EXPR_AND, "AND");
    case AST_OR:
        return logic(analysis, ast, EXPR_OR, "OR");
    case AST_NOT:
        return logic(analysis, ast, EXPR_NOT, "NOT");
    case AST_IS:
        return is_test(analysis, ast);
    case AST_LIKE:
        return like(analysis, ast);
    case AST_CASE:
        return case_of(analysis, ast);
    case AST_CAST:
        return cast(analysis, ast);
    case AST_CALL:
        return analyze_call(analysis, ast);
    }
    INVARIANT(false);
    return NULL;
}

const struct expr *analyze_condition(struct analysis *analysis, const struct ast_expr *ast,
                                     const char *what)
{
    return analyze_require(analysis, analyze_expr(analysis, ast), QUERY_TYPE_BOOLEAN, what);
}
