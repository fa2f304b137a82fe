#include "query/expr.h"

#include "query/ast.h"
#include "query/caret.h"
#include "query/decimal.h"
#include "query/like.h"
#include "query/number.h"

static const struct query_value null_value = {.kind = QUERY_TYPE_NULL};

static bool is_null(const struct query_value *value)
{
    return value->kind == QUERY_TYPE_NULL;
}

static void set_boolean(struct query_value *result, bool truth)
{
    *result = (struct query_value){.kind = QUERY_TYPE_BOOLEAN, .boolean = truth};
}

static const char *kind_name(const struct query_value *value)
{
    static const char *const names[] = {
        [QUERY_TYPE_NULL] = "NULL",       [QUERY_TYPE_BOOLEAN] = "BOOLEAN",
        [QUERY_TYPE_TINYINT] = "TINYINT", [QUERY_TYPE_SMALLINT] = "SMALLINT",
        [QUERY_TYPE_INT] = "INT",         [QUERY_TYPE_BIGINT] = "BIGINT",
        [QUERY_TYPE_FLOAT] = "FLOAT",     [QUERY_TYPE_DOUBLE] = "DOUBLE",
        [QUERY_TYPE_DECIMAL] = "DECIMAL", [QUERY_TYPE_STRING] = "STRING",
        [QUERY_TYPE_BYTES] = "BYTES",     [QUERY_TYPE_TIMESTAMP] = "TIMESTAMP",
    };
    return names[value->kind];
}

static bool is_integer(enum query_type_kind kind)
{
    return kind >= QUERY_TYPE_TINYINT && kind <= QUERY_TYPE_BIGINT;
}

static bool is_number(enum query_type_kind kind)
{
    return kind >= QUERY_TYPE_TINYINT && kind <= QUERY_TYPE_DECIMAL;
}

/* ---- Comparison ---- */

enum order { LESS, EQUAL, GREATER, UNORDERED };

static enum order order_of(int comparison)
{
    return comparison < 0 ? LESS : comparison == 0 ? EQUAL : GREATER;
}

static enum order order_doubles(double a, double b)
{
    return a < b ? LESS : a > b ? GREATER : a == b ? EQUAL : UNORDERED;
}

static bool is_exact(enum query_type_kind kind)
{
    return is_integer(kind) || kind == QUERY_TYPE_DECIMAL;
}

static int128 digits_of(const struct query_value *value, unsigned *scale)
{
    *scale = value->kind == QUERY_TYPE_DECIMAL ? value->scale : 0;
    return value->kind == QUERY_TYPE_DECIMAL ? value->decimal : value->integer;
}

static enum order order_numbers(const struct query_value *a, const struct query_value *b)
{
    if (is_integer(a->kind) && is_integer(b->kind))
        return a->integer < b->integer ? LESS : a->integer > b->integer ? GREATER : EQUAL;
    if (is_exact(a->kind) && is_exact(b->kind)) {
        unsigned a_scale, b_scale;
        int128 a_digits = digits_of(a, &a_scale), b_digits = digits_of(b, &b_scale);
        return order_of(decimal_compare(a_digits, a_scale, b_digits, b_scale));
    }
    return order_doubles(number_to_double(a), number_to_double(b));
}

/* False if the kinds cannot be compared; neither value is NULL. */
static bool compare(const struct query_value *a, const struct query_value *b, enum order *order)
{
    if (a->kind == QUERY_TYPE_DOUBLE && b->kind == QUERY_TYPE_DOUBLE) {
        *order = order_doubles(a->float64, b->float64);
        return true;
    }
    if (is_number(a->kind) && is_number(b->kind)) {
        *order = order_numbers(a, b);
        return true;
    }
    if (a->kind != b->kind)
        return false;
    *order = order_of(query_value_compare_total(a, b));
    return true;
}

static enum error compare_or_fail(const struct query_value *a, const struct query_value *b,
                                  enum order *order, struct query_error *error)
{
    if (compare(a, b, order))
        return OK;
    caret_plain(error, "cannot compare %s with %s", kind_name(a), kind_name(b));
    return ERROR_INVALID;
}

bool expr_unchanged(const struct query_value *before, const struct query_value *after)
{
    enum order order;
    if (is_null(before) || is_null(after))
        return is_null(before) && is_null(after);
    return compare(before, after, &order) && order == EQUAL;
}

static bool holds(enum ast_comparison op, enum order order)
{
    switch (op) {
    case AST_EQUAL:
        return order == EQUAL;
    case AST_UNEQUAL:
        return order != EQUAL;
    case AST_LESS:
        return order == LESS;
    case AST_LESS_EQUAL:
        return order == LESS || order == EQUAL;
    case AST_GREATER:
        return order == GREATER;
    case AST_GREATER_EQUAL:
        return order == GREATER || order == EQUAL;
    }
    return false;
}

static enum error evaluate_compare(const struct expr *expr, const struct expr_input *input,
                                   struct query_value *result)
{
    struct query_value a, b;
    enum error status = expr_evaluate(expr->args[0], input, &a);
    if (status == OK)
        status = expr_evaluate(expr->args[1], input, &b);
    if (status != OK)
        return status;
    bool distinct = expr->kind == EXPR_DISTINCT;
    if (is_null(&a) || is_null(&b)) {
        if (distinct)
            set_boolean(result, (is_null(&a) != is_null(&b)) != expr->negated);
        else
            *result = null_value;
        return OK;
    }
    enum order order;
    status = compare_or_fail(&a, &b, &order, input->error);
    if (status != OK)
        return status;
    if (distinct)
        set_boolean(result, (order != EQUAL) != expr->negated);
    else
        set_boolean(result, holds(expr->op, order));
    return OK;
}

static enum error evaluate_in(const struct expr *expr, const struct expr_input *input,
                              struct query_value *result)
{
    struct query_value a, b;
    enum error status = expr_evaluate(expr->args[0], input, &a);
    if (status != OK)
        return status;
    *result = null_value;
    if (is_null(&a))
        return OK;
    bool unknown = false;
    for (uint32_t i = 1; i < expr->count; i++) {
        status = expr_evaluate(expr->args[i], input, &b);
        if (status != OK)
            return status;
        if (is_null(&b)) {
            unknown = true;
            continue;
        }
        enum order order;
        status = compare_or_fail(&a, &b, &order, input->error);
        if (status != OK)
            return status;
        if (order == EQUAL) {
            set_boolean(result, !expr->negated);
            return OK;
        }
    }
    if (!unknown)
        set_boolean(result, expr->negated);
    return OK;
}

/* Three-valued `a >= low AND a <= high`. */
static enum error evaluate_between(const struct expr *expr, const struct expr_input *input,
                                   struct query_value *result)
{
    struct query_value a, bound;
    enum error status = expr_evaluate(expr->args[0], input, &a);
    if (status != OK)
        return status;
    bool unknown = is_null(&a), outside = false;
    for (uint32_t i = 1; i <= 2 && !outside; i++) {
        status = expr_evaluate(expr->args[i], input, &bound);
        if (status != OK)
            return status;
        if (is_null(&a) || is_null(&bound)) {
            unknown = true;
            continue;
        }
        enum order order;
        status = compare_or_fail(&a, &bound, &order, input->error);
        if (status != OK)
            return status;
        outside = !holds(i == 1 ? AST_GREATER_EQUAL : AST_LESS_EQUAL, order);
    }
    if (outside || !unknown)
        set_boolean(result, outside == expr->negated);
    else
        *result = null_value;
    return OK;
}

static enum error evaluate_nullif(const struct expr *expr, const struct expr_input *input,
                                  struct query_value *result)
{
    struct query_value other;
    enum error status = expr_evaluate(expr->args[0], input, result);
    if (status == OK)
        status = expr_evaluate(expr->args[1], input, &other);
    if (status != OK || is_null(result) || is_null(&other))
        return status;
    enum order order;
    status = compare_or_fail(result, &other, &order, input->error);
    if (status == OK && order == EQUAL)
        *result = null_value;
    return status;
}

/* ---- Logic ---- */

/* AND stops at the first false, OR at the first true; what stands behind is not evaluated. */
static enum error evaluate_chain(const struct expr *expr, const struct expr_input *input,
                                 struct query_value *result)
{
    bool stop = expr->kind == EXPR_OR;
    bool unknown = false;
    for (uint32_t i = 0; i < expr->count; i++) {
        struct query_value value;
        enum error status = expr_evaluate(expr->args[i], input, &value);
        if (status != OK)
            return status;
        if (is_null(&value)) {
            unknown = true;
        } else if (value.boolean == stop) {
            set_boolean(result, stop);
            return OK;
        }
    }
    if (unknown)
        *result = null_value;
    else
        set_boolean(result, !stop);
    return OK;
}

static enum error evaluate_is(const struct expr *expr, const struct expr_input *input,
                              struct query_value *result)
{
    struct query_value value;
    enum error status = expr_evaluate(expr->args[0], input, &value);
    if (status != OK)
        return status;
    bool is = is_null(&value);
    if (expr->op == AST_IS_TRUE)
        is = !is && value.boolean;
    else if (expr->op == AST_IS_FALSE)
        is = !is && !value.boolean;
    set_boolean(result, is != expr->negated);
    return OK;
}

/* CASE x WHEN y: whether x = y. */
static enum error is_equal_to(const struct query_value *operand, const struct expr *when,
                              const struct expr_input *input, bool *truth)
{
    struct query_value value;
    enum error status = expr_evaluate(when, input, &value);
    *truth = false;
    if (status != OK || is_null(operand) || is_null(&value))
        return status;
    enum order order;
    status = compare_or_fail(operand, &value, &order, input->error);
    *truth = status == OK && order == EQUAL;
    return status;
}

static enum error evaluate_case(const struct expr *expr, const struct expr_input *input,
                                struct query_value *result)
{
    struct query_value operand = null_value;
    enum error status = expr->op == 1 ? expr_evaluate(expr->args[0], input, &operand) : OK;
    uint32_t i = expr->op == 1;
    for (; status == OK && i + 1 < expr->count; i += 2) {
        bool truth;
        if (expr->op == 1)
            status = is_equal_to(&operand, expr->args[i], input, &truth);
        else
            status = expr_is_true(expr->args[i], input, &truth);
        if (status == OK && truth)
            return expr_evaluate(expr->args[i + 1], input, result);
    }
    return status == OK ? expr_evaluate(expr->args[i], input, result) : status;
}

static enum error evaluate_coalesce(const struct expr *expr, const struct expr_input *input,
                                    struct query_value *result)
{
    enum error status = OK;
    *result = null_value;
    for (uint32_t i = 0; i < expr->count && status == OK && is_null(result); i++)
        status = expr_evaluate(expr->args[i], input, result);
    return status;
}

/* ---- Numbers and texts ---- */

static enum error evaluate_arithmetic(const struct expr *expr, const struct expr_input *input,
                                      struct query_value *result)
{
    struct query_value a, b;
    enum error status = expr_evaluate(expr->args[0], input, &a);
    if (status == OK)
        status = expr_evaluate(expr->args[1], input, &b);
    if (status != OK)
        return status;
    const char *why = "";
    status = number_arithmetic(expr->op, &a, &b, expr->type, result, &why);
    if (status == ERROR_INVALID)
        caret_plain(input->error, "%s", why);
    return status;
}

static enum error evaluate_cast(const struct expr *expr, const struct expr_input *input,
                                struct query_value *result)
{
    struct query_value value;
    enum error status = expr_evaluate(expr->args[0], input, &value);
    if (status != OK)
        return status;
    const char *why = "";
    status = query_value_cast(&value, expr->type, input->arena, result, &why);
    if (status != ERROR_INVALID)
        return status;
    if (expr->op == 1) {
        *result = null_value;
        return OK;
    }
    struct buf type;
    buf_init(&type);
    query_type_name(expr->type, &type);
    caret_plain(input->error, "cannot cast %s to %.*s: %s", kind_name(&value),
                type.failed ? 0 : (int)type.len, type.data == NULL ? "" : (const char *)type.data,
                why);
    buf_fini(&type);
    return ERROR_INVALID;
}

static enum error evaluate_expect(const struct expr *expr, const struct expr_input *input,
                                  struct query_value *result)
{
    enum error status = expr_evaluate(expr->args[0], input, result);
    if (status != OK || is_null(result) || result->kind == expr->type.kind)
        return status;
    caret_plain(input->error, "a field is %s %s where a %s was expected",
                query_type_article(result->kind), kind_name(result),
                expr->type.kind == QUERY_TYPE_DOUBLE
                    ? "number"
                    : kind_name(&(struct query_value){.kind = expr->type.kind}));
    return ERROR_INVALID;
}

static enum error evaluate_concat(const struct expr *expr, const struct expr_input *input,
                                  struct query_value *result)
{
    struct query_value *parts = arena_alloc(input->arena, expr->count * sizeof *parts);
    if (parts == NULL)
        return ERROR_MEMORY;
    size_t len = 0;
    for (uint32_t i = 0; i < expr->count; i++) {
        enum error status = expr_evaluate(expr->args[i], input, &parts[i]);
        if (status != OK)
            return status;
        if (is_null(&parts[i])) {
            *result = null_value;
            return OK;
        }
        len += parts[i].text.len;
    }
    uint8_t *text = arena_alloc(input->arena, len + 1);
    if (text == NULL)
        return ERROR_MEMORY;
    size_t used = 0;
    for (uint32_t i = 0; i < expr->count; i++) {
        if (parts[i].text.len > 0)
            memcpy(text + used, parts[i].text.data, parts[i].text.len);
        used += parts[i].text.len;
    }
    *result = (struct query_value){.kind = expr->type.kind, .text = slice_of(text, len)};
    return OK;
}

/* UPPER, LOWER: letters of ASCII; other characters stay as they are, on every machine the same. */
static enum error change_case(const struct expr *expr, const struct expr_input *input,
                              struct query_value *result)
{
    uint8_t first = expr->kind == EXPR_UPPER ? 'a' : 'A';
    uint8_t *text = arena_alloc(input->arena, result->text.len + 1);
    if (text == NULL)
        return ERROR_MEMORY;
    for (size_t i = 0; i < result->text.len; i++) {
        uint8_t byte = result->text.data[i];
        text[i] = byte >= first && byte < first + 26 ? byte ^ 0x20 : byte;
    }
    result->text.data = text;
    return OK;
}

static void absolute(struct query_value *value)
{
    bool negative = (value->kind == QUERY_TYPE_DECIMAL && value->decimal < 0) ||
                    (is_integer(value->kind) && value->integer < 0);
    if (value->kind == QUERY_TYPE_DOUBLE)
        value->float64 = __builtin_fabs(value->float64);
    else if (value->kind == QUERY_TYPE_FLOAT)
        value->float32 = __builtin_fabsf(value->float32);
    else if (negative)
        number_negate(value, value);
}

static void char_length(struct query_value *value)
{
    int64_t count = 0;
    for (size_t i = 0; i < value->text.len; i++)
        count += (value->text.data[i] & 0xC0) != 0x80;
    *value = (struct query_value){.kind = QUERY_TYPE_INT, .integer = count};
}

static enum error evaluate_function(const struct expr *expr, const struct expr_input *input,
                                    struct query_value *result)
{
    enum error status = expr_evaluate(expr->args[0], input, result);
    if (status != OK || is_null(result))
        return status;
    switch (expr->kind) {
    case EXPR_ABS:
        absolute(result);
        return OK;
    case EXPR_CHAR_LENGTH:
        char_length(result);
        return OK;
    case EXPR_NEGATE: {
        struct query_value value = *result;
        number_negate(&value, result);
        return OK;
    }
    case EXPR_NOT:
        result->boolean = !result->boolean;
        return OK;
    default:
        return change_case(expr, input, result);
    }
}

static enum error evaluate_like(const struct expr *expr, const struct expr_input *input,
                                struct query_value *result)
{
    struct query_value values[3];
    for (uint32_t i = 0; i < expr->count; i++) {
        enum error status = expr_evaluate(expr->args[i], input, &values[i]);
        if (status != OK)
            return status;
        if (is_null(&values[i])) {
            *result = null_value;
            return OK;
        }
    }
    const char *why = "";
    bool matches = false;
    struct slice escape = expr->count == 3 ? values[2].text : slice_of(NULL, 0);
    if (!like_match(values[0].text, values[1].text, expr->count == 3 ? &escape : NULL, &matches,
                    &why)) {
        caret_plain(input->error, "%s", why);
        return ERROR_INVALID;
    }
    set_boolean(result, matches != expr->negated);
    return OK;
}

/* ---- Evaluation ---- */

enum error expr_evaluate(const struct expr *expr, const struct expr_input *input,
                         struct query_value *result)
{
    switch (expr->kind) {
    case EXPR_CONSTANT:
        *result = expr->constant;
        return OK;
    case EXPR_SLOT:
        *result = input->row[expr->index];
        return OK;
    case EXPR_AGGREGATE:
        *result = input->aggregates[expr->index];
        return OK;
    case EXPR_COMPARE:
    case EXPR_DISTINCT:
        return evaluate_compare(expr, input, result);
    case EXPR_AND:
    case EXPR_OR:
        return evaluate_chain(expr, input, result);
    case EXPR_ARITHMETIC:
        return evaluate_arithmetic(expr, input, result);
    case EXPR_IS:
        return evaluate_is(expr, input, result);
    case EXPR_BETWEEN:
        return evaluate_between(expr, input, result);
    case EXPR_NULLIF:
        return evaluate_nullif(expr, input, result);
    case EXPR_IN:
        return evaluate_in(expr, input, result);
    case EXPR_LIKE:
        return evaluate_like(expr, input, result);
    case EXPR_CASE:
        return evaluate_case(expr, input, result);
    case EXPR_COALESCE:
        return evaluate_coalesce(expr, input, result);
    case EXPR_CAST:
        return evaluate_cast(expr, input, result);
    case EXPR_EXPECT:
        return evaluate_expect(expr, input, result);
    case EXPR_CONCAT:
        return evaluate_concat(expr, input, result);
    case EXPR_NEGATE:
    case EXPR_NOT:
    case EXPR_ABS:
    case EXPR_UPPER:
    case EXPR_LOWER:
    case EXPR_CHAR_LENGTH:
        return evaluate_function(expr, input, result);
    }
    INVARIANT(false);
    return ERROR_INVALID;
}

enum error expr_is_true(const struct expr *expr, const struct expr_input *input, bool *truth)
{
    struct query_value value;
    enum error status = expr_evaluate(expr, input, &value);
    *truth = status == OK && value.kind == QUERY_TYPE_BOOLEAN && value.boolean;
    return status;
}

bool expr_equal(const struct expr *a, const struct expr *b)
{
    if (a == b)
        return true;
    if (a->kind != b->kind || a->op != b->op || a->negated != b->negated || a->index != b->index ||
        a->count != b->count || a->is_dynamic != b->is_dynamic ||
        !query_type_equal(a->type, b->type))
        return false;
    if (a->kind == EXPR_CONSTANT && !query_value_identical(&a->constant, &b->constant))
        return false;
    for (uint32_t i = 0; i < a->count; i++)
        if (!expr_equal(a->args[i], b->args[i]))
            return false;
    return true;
}
