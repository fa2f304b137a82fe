#include "query/parse.h"

#include "common/limits.h"
#include "common/text.h"
#include "query/caret.h"
#include "query/decimal.h"
#include "query/number.h"
#include "query/parser.h"

void parse_fail(struct parse *parse, enum error status, uint32_t at, const char *format, ...)
{
    if (parse->status != OK)
        return;
    va_list args;
    va_start(args, format);
    parse->status = status;
    caret_verror(parse->error, parse->text, at, format, args);
    va_end(args);
}

/* ---- Nodes ---- */

static struct ast_expr *node_new(struct parse *parse, enum ast_kind kind, uint32_t at, uint32_t end)
{
    if (parse->status != OK)
        return NULL;
    struct ast_expr *node = arena_zalloc(parse->arena, sizeof *node);
    if (node == NULL) {
        parse->status = ERROR_MEMORY;
        return NULL;
    }
    node->kind = kind;
    node->at = at;
    node->end = end;
    node->depth = 1;
    return node;
}

static uint32_t token_end(struct token token)
{
    return token.at + token.len;
}

/* Makes `child` the last operand. */
static void adopt(struct parse *parse, struct ast_expr *node, struct ast_expr *child)
{
    if (node->last == NULL)
        node->first = child;
    else
        node->last->next = child;
    node->last = child;
    node->count++;
    if (child->depth >= node->depth)
        node->depth = (uint16_t)(child->depth + 1);
    if (node->depth > LIMIT_EXPRESSION_DEPTH)
        parse_fail(parse, ERROR_LIMIT, node->at,
                   "the expression is nested too deeply: at most %u levels are allowed",
                   LIMIT_EXPRESSION_DEPTH);
}

static void adopt_list(struct parse *parse, struct ast_expr *node, struct ast_list list)
{
    struct ast_expr *next;
    for (struct ast_expr *child = list.first; child != NULL; child = next) {
        next = child->next;
        child->next = NULL;
        adopt(parse, node, child);
    }
}

struct ast_list parse_list_add(struct ast_list list, struct ast_expr *expr)
{
    if (expr == NULL)
        return list;
    if (list.last == NULL)
        list.first = expr;
    else
        list.last->next = expr;
    list.last = expr;
    list.count++;
    return list;
}

struct ast_expr *parse_node(struct parse *parse, enum ast_kind kind, uint8_t op, struct ast_expr *a,
                            struct ast_expr *b, struct ast_expr *c)
{
    if (parse->status != OK)
        return NULL;
    struct ast_expr *last = c != NULL ? c : b != NULL ? b : a;
    struct ast_expr *node = node_new(parse, kind, a->at, last->end);
    if (node == NULL)
        return NULL;
    node->op = op;
    adopt(parse, node, a);
    if (b != NULL)
        adopt(parse, node, b);
    if (c != NULL)
        adopt(parse, node, c);
    return node;
}

struct ast_expr *parse_chain(struct parse *parse, enum ast_kind kind, struct ast_expr *a,
                             struct ast_expr *b)
{
    if (parse->status != OK)
        return NULL;
    if (a->kind != kind)
        return parse_node(parse, kind, 0, a, b, NULL);
    a->end = b->end;
    adopt(parse, a, b);
    return a;
}

struct ast_expr *parse_prefix(struct parse *parse, enum ast_kind kind, struct token op,
                              struct ast_expr *a)
{
    struct ast_expr *node = parse_node(parse, kind, 0, a, NULL, NULL);
    if (node != NULL)
        node->at = op.at;
    return node;
}

struct ast_expr *parse_negated(struct ast_expr *expr, bool negated, struct token last)
{
    if (expr == NULL)
        return NULL;
    expr->negated = negated;
    if (last.len > 0)
        expr->end = token_end(last);
    return expr;
}

struct ast_expr *parse_parentheses(struct parse *parse, struct token open, struct ast_expr *expr,
                                   struct token close)
{
    if (parse->status != OK)
        return NULL;
    expr->at = open.at;
    expr->end = token_end(close);
    return expr;
}

/* ---- Leaves ---- */

static void literal_number(struct parse *parse, struct ast_expr *node, struct token token)
{
    if (token.type == TOKEN_INTEGER) {
        int64_t integer;
        if (number_parse_long(token.text, INT64_MIN, INT64_MAX, &integer)) {
            node->type.kind = integer <= INT32_MAX ? QUERY_TYPE_INT : QUERY_TYPE_BIGINT;
            node->literal = (struct query_value){.kind = node->type.kind, .integer = integer};
            return;
        }
    }
    if (token.type == TOKEN_APPROXIMATE) {
        node->type.kind = QUERY_TYPE_DOUBLE;
        node->literal.kind = QUERY_TYPE_DOUBLE;
        if (!number_parse_double(token.text, &node->literal.float64))
            parse_fail(parse, ERROR_INVALID, token.at, "this number cannot be read as a DOUBLE");
        return;
    }
    int128 digits;
    if (decimal_parse_literal(token.text, &digits, &node->type) != DECIMAL_PARSED) {
        parse_fail(
            parse, ERROR_INVALID, token.at,
            "this number has more than %d digits; write it as a DOUBLE with an exponent (1e0)",
            DECIMAL_DIGITS);
        return;
    }
    node->literal = (struct query_value){
        .kind = QUERY_TYPE_DECIMAL, .scale = node->type.scale, .decimal = digits};
}

static int hex_digit(uint8_t byte)
{
    if (byte >= '0' && byte <= '9')
        return byte - '0';
    byte |= 0x20;
    return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

static void literal_binary(struct parse *parse, struct ast_expr *node, struct token token)
{
    struct slice hex = slice_of(token.text.data + 2, token.text.len - 3);
    uint8_t *bytes = arena_alloc(parse->arena, hex.len / 2 + 1);
    if (bytes == NULL) {
        parse->status = ERROR_MEMORY;
        return;
    }
    bool valid = hex.len % 2 == 0;
    for (size_t i = 0; valid && i < hex.len / 2; i++) {
        int high = hex_digit(hex.data[2 * i]), low = hex_digit(hex.data[2 * i + 1]);
        valid = high >= 0 && low >= 0;
        bytes[i] = (uint8_t)(high * 16 + low);
    }
    if (!valid)
        parse_fail(parse, ERROR_INVALID, token.at,
                   "a BYTES literal holds pairs of hexadecimal digits, as in X'0aff'");
    node->type.kind = QUERY_TYPE_BYTES;
    node->literal =
        (struct query_value){.kind = QUERY_TYPE_BYTES, .text = slice_of(bytes, hex.len / 2)};
}

struct ast_expr *parse_literal(struct parse *parse, struct token token)
{
    struct ast_expr *node = node_new(parse, AST_LITERAL, token.at, token_end(token));
    if (node == NULL)
        return NULL;
    if (token.type == TOKEN_STRING) {
        node->type.kind = QUERY_TYPE_STRING;
        node->literal = (struct query_value){.kind = QUERY_TYPE_STRING, .text = token.text};
    } else if (token.type == TOKEN_BINARY) {
        literal_binary(parse, node, token);
    } else {
        literal_number(parse, node, token);
    }
    return node;
}

struct ast_expr *parse_word(struct parse *parse, struct token token)
{
    struct ast_expr *node = node_new(parse, AST_LITERAL, token.at, token_end(token));
    if (node != NULL && token.type != TOKEN_NULL) {
        node->type.kind = QUERY_TYPE_BOOLEAN;
        node->literal =
            (struct query_value){.kind = QUERY_TYPE_BOOLEAN, .boolean = token.type == TOKEN_TRUE};
    }
    return node;
}

struct ast_expr *parse_timestamp(struct parse *parse, struct token word, struct token text)
{
    struct ast_expr *node = node_new(parse, AST_LITERAL, word.at, token_end(text));
    if (node == NULL)
        return NULL;
    node->type = (struct query_type){.kind = QUERY_TYPE_TIMESTAMP, .precision = 3};
    struct query_value in = {.kind = QUERY_TYPE_STRING, .text = text.text};
    const char *why = "";
    enum error status = query_value_cast(&in, node->type, parse->arena, &node->literal, &why);
    if (status == ERROR_MEMORY)
        parse->status = ERROR_MEMORY;
    else if (status != OK)
        parse_fail(parse, ERROR_INVALID, text.at,
                   "this is no timestamp: %s; the form is TIMESTAMP '2026-01-31 08:00:00.250'",
                   why);
    return node;
}

struct ast_expr *parse_name(struct parse *parse, struct token qualifier, struct token name)
{
    struct ast_expr *node =
        node_new(parse, AST_NAME, qualifier.len > 0 ? qualifier.at : name.at, token_end(name));
    if (node != NULL) {
        node->qualifier = qualifier.text;
        node->name = name.text;
    }
    return node;
}

struct ast_expr *parse_parameter(struct parse *parse, struct token name)
{
    struct ast_expr *node = node_new(parse, AST_PARAMETER, name.at, token_end(name));
    if (node != NULL)
        node->name = name.text;
    return node;
}

struct ast_expr *parse_star(struct parse *parse, struct token qualifier, struct token star)
{
    struct ast_expr *node =
        node_new(parse, AST_STAR, qualifier.len > 0 ? qualifier.at : star.at, token_end(star));
    if (node != NULL)
        node->qualifier = qualifier.text;
    return node;
}

/* ---- Longer forms ---- */

struct ast_expr *parse_in(struct parse *parse, struct ast_expr *a, bool negated,
                          struct ast_list list, struct token close)
{
    struct ast_expr *node = parse_node(parse, AST_IN, 0, a, NULL, NULL);
    if (node == NULL)
        return NULL;
    if (list.count > LIMIT_IN_LIST) {
        parse_fail(parse, ERROR_LIMIT, list.first->at,
                   "the list of IN has %u values; at most %u are allowed", list.count,
                   LIMIT_IN_LIST);
        return NULL;
    }
    adopt_list(parse, node, list);
    return parse_negated(node, negated, close);
}

struct ast_expr *parse_case(struct parse *parse, struct token begin, struct ast_expr *operand,
                            struct ast_list branches, struct ast_expr *otherwise, struct token end)
{
    struct ast_expr *node = node_new(parse, AST_CASE, begin.at, token_end(end));
    if (node == NULL)
        return NULL;
    node->has_operand = operand != NULL;
    node->has_else = otherwise != NULL;
    if (operand != NULL)
        adopt(parse, node, operand);
    adopt_list(parse, node, branches);
    if (otherwise != NULL)
        adopt(parse, node, otherwise);
    return node;
}

struct ast_expr *parse_cast(struct parse *parse, struct token word, struct ast_expr *expr,
                            struct query_type type, struct token close)
{
    struct ast_expr *node =
        parse_node(parse, AST_CAST, word.type == TOKEN_TRY_CAST, expr, NULL, NULL);
    if (node == NULL)
        return NULL;
    node->at = word.at;
    node->end = token_end(close);
    node->type = type;
    return node;
}

struct ast_expr *parse_call(struct parse *parse, struct token name, struct ast_list arguments,
                            struct token close, struct ast_window *over)
{
    struct ast_expr *node =
        node_new(parse, AST_CALL, name.at, over != NULL ? over->end : token_end(close));
    if (node == NULL)
        return NULL;
    node->name = name.text;
    node->over = over;
    adopt_list(parse, node, arguments);
    return node;
}

/* ---- Windows ---- */

struct ast_window *parse_window(struct parse *parse, struct ast_list partition,
                                struct ast_order *orders, uint32_t order_count,
                                struct ast_frame frame)
{
    if (parse->status != OK)
        return NULL;
    struct ast_window *window = arena_zalloc(parse->arena, sizeof *window);
    if (window == NULL) {
        parse->status = ERROR_MEMORY;
        return NULL;
    }
    window->partition = partition;
    window->order_count = order_count;
    for (uint32_t i = 0; i < order_count; i++)
        window->order[i] = orders[i];
    window->frame = frame;
    return window;
}

struct ast_window *parse_over(struct parse *parse, struct token over, struct ast_window *window,
                              struct token name, struct token last)
{
    if (window == NULL)
        window = parse_window(parse, (struct ast_list){.count = 0}, NULL, 0,
                              (struct ast_frame){.unit = AST_FRAME_NONE});
    if (window == NULL)
        return NULL;
    window->name = name.text;
    window->at = over.at;
    window->end = token_end(last);
    struct query_select *select = parse->select;
    if (select->last_over == NULL)
        select->overs = window;
    else
        select->last_over->next_over = window;
    select->last_over = window;
    return window;
}

void parse_window_clause(struct parse *parse, struct token name, struct ast_window *window)
{
    if (parse->status != OK)
        return;
    window->name = name.text;
    window->at = name.at;
    struct query_select *select = parse->select;
    for (struct ast_window *other = select->windows; other != NULL; other = other->next)
        if (slice_equal(other->name, name.text)) {
            parse_fail(parse, ERROR_INVALID, name.at, "the WINDOW clause has this name twice");
            return;
        }
    if (select->last_window == NULL)
        select->windows = window;
    else
        select->last_window->next = window;
    select->last_window = window;
}

/* ---- SELECT ---- */

void parse_item(struct parse *parse, struct ast_expr *expr, struct token alias)
{
    if (parse->status != OK)
        return;
    struct ast_item *item = arena_zalloc(parse->arena, sizeof *item);
    if (item == NULL) {
        parse->status = ERROR_MEMORY;
        return;
    }
    item->expr = expr;
    item->alias = alias.text;
    struct query_select *select = parse->select;
    if (select->last_item == NULL)
        select->items = item;
    else
        select->last_item->next = item;
    select->last_item = item;
    if (++select->item_count > LIMIT_COLUMNS)
        parse_fail(parse, ERROR_LIMIT, expr->at, "the statement selects more than %u columns",
                   LIMIT_COLUMNS);
}

void parse_from(struct parse *parse, struct token first, struct token name, bool region,
                struct token alias)
{
    if (parse->status != OK)
        return;
    struct query_select *select = parse->select;
    select->from = name.text;
    select->from_at = first.at;
    select->from_region = region;
    select->alias = alias.text;
    if (name.text.len > 0 && name.text.data[0] == '/') {
        select->from = slice_of(name.text.data + 1, name.text.len - 1);
        select->from_region = true;
    }
}

void parse_statement(struct parse *parse, enum query_statement_kind kind, struct token name,
                     bool if_exists)
{
    if (parse->status != OK)
        return;
    parse->statement->kind = kind;
    parse->statement->name = name.text;
    parse->statement->if_exists = if_exists;
    if (kind == QUERY_SELECT || kind == QUERY_EXPLAIN)
        parse->statement->select = parse->select;
}
