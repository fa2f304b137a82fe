/* What the grammar's rules call to build the tree. Private to the parser.
 *
 * Every function takes NULL for what an earlier failure left out and returns NULL once
 * parse->status is not OK, so the rules need no checks. */
#ifndef VUG_QUERY_PARSE_H
#define VUG_QUERY_PARSE_H

#include "query/ast.h"
#include "query/lexer.h"

struct parse {
    struct slice text;
    struct arena *arena;
    struct query_statement *statement;
    struct query_error *error;
    enum error status;
    struct token syntax_error; /* the token that fits nowhere, when syntax_failed */
    bool syntax_failed;
    struct query_select *select;
    struct query_column *columns; /* CREATE TABLE: grown by doubling, in the arena */
    uint32_t column_room;
    struct query_option *options;
    uint32_t option_room;
};

void parse_fail(struct parse *parse, enum error status, uint32_t at, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* ---- Expressions ---- */

struct ast_expr *parse_literal(struct parse *parse, struct token token);
struct ast_expr *parse_word(struct parse *parse, struct token token); /* TRUE FALSE NULL */
struct ast_expr *parse_timestamp(struct parse *parse, struct token word, struct token text);
struct ast_expr *parse_name(struct parse *parse, struct token qualifier, struct token name);
struct ast_expr *parse_parameter(struct parse *parse, struct token name);
struct ast_expr *parse_star(struct parse *parse, struct token qualifier, struct token star);
struct ast_expr *parse_parentheses(struct parse *parse, struct token open, struct ast_expr *expr,
                                   struct token close);

/* A node over operands that follow each other in the text; NULL ones are left out. */
struct ast_expr *parse_node(struct parse *parse, enum ast_kind kind, uint8_t op, struct ast_expr *a,
                            struct ast_expr *b, struct ast_expr *c);
/* Like parse_node() of two, but chains become one node. */
struct ast_expr *parse_chain(struct parse *parse, enum ast_kind kind, struct ast_expr *a,
                             struct ast_expr *b);
struct ast_expr *parse_prefix(struct parse *parse, enum ast_kind kind, struct token op,
                              struct ast_expr *a);
struct ast_expr *parse_negated(struct ast_expr *expr, bool negated, struct token last);
struct ast_expr *parse_in(struct parse *parse, struct ast_expr *a, bool negated,
                          struct ast_list list, struct token close);
struct ast_expr *parse_case(struct parse *parse, struct token begin, struct ast_expr *operand,
                            struct ast_list branches, struct ast_expr *otherwise, struct token end);
struct ast_expr *parse_cast(struct parse *parse, struct token word, struct ast_expr *expr,
                            struct query_type type, struct token close);
struct ast_expr *parse_call(struct parse *parse, struct token name, struct ast_list arguments,
                            struct token close, struct ast_window *over);
struct ast_list parse_list_add(struct ast_list list, struct ast_expr *expr);
struct query_type parse_type(struct parse *parse, struct token name, bool precise,
                             struct token first, struct token second);

/* ---- Windows ---- */

struct ast_window *parse_window(struct parse *parse, struct ast_list partition,
                                struct ast_order *orders, uint32_t order_count,
                                struct ast_frame frame);
struct ast_window *parse_over(struct parse *parse, struct token over, struct ast_window *window,
                              struct token name, struct token last);
void parse_window_clause(struct parse *parse, struct token name, struct ast_window *window);

/* ---- Statements ---- */

void parse_item(struct parse *parse, struct ast_expr *expr, struct token alias);
void parse_from(struct parse *parse, struct token first, struct token name, bool region,
                struct token alias);
void parse_column(struct parse *parse, struct token name, struct query_type type, bool not_null);
void parse_computed_column(struct parse *parse, struct token name, struct ast_expr *expr);
void parse_option(struct parse *parse, struct token name, struct token value);
void parse_create(struct parse *parse, struct token name, bool if_not_exists);
void parse_statement(struct parse *parse, enum query_statement_kind kind, struct token name,
                     bool if_exists);

/* ---- From the generated parser (parser.y) ---- */

/* The parser: its life, and one token. */
void *sqlparseAlloc(void *(*alloc)(size_t), struct parse *parse);
void sqlparse(void *parser, int token, struct token value);
void sqlparseFree(void *parser, void (*release)(void *));

/* Which tokens could follow: the automaton without its actions. `states` has room for PARSE_STATES;
 * depth is 1 at the start. True: the token is taken, and states and depth have moved on. */
enum { PARSE_STATES = 4096 };
struct parse_shadow {
    uint16_t states[PARSE_STATES];
    uint32_t depth;
};
void sqlparse_shadow_init(struct parse_shadow *shadow);
bool sqlparse_shadow_take(struct parse_shadow *shadow, int token);
/* True if the token stands for an identifier where no rule names it. */
bool sqlparse_is_fallback(int token);

#endif
