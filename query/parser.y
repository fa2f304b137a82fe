// The grammar of what is supported. What is not supported has no rules: parse_error.c recognises it
// at the token that does not fit.

%name sqlparse
%token_prefix TOKEN_
%token_type {struct token}
%default_type {struct ast_expr *}
%extra_context {struct parse *parse}
%stack_size 4000

%include {
#include "query/parse.h"

#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wunused-variable"
#pragma GCC diagnostic ignored "-Wsign-compare"
#pragma GCC diagnostic ignored "-Wmissing-prototypes"

#define NDEBUG 1 /* The template's own assertions; ours are in common/error.h. */
#define NONE ((struct token){.type = 0})

struct orders {
    struct ast_order order[2];
    uint32_t count;
};
}

%syntax_error {
    if (parse->status == OK && !parse->syntax_failed) {
        parse->syntax_failed = true;
        parse->syntax_error = TOKEN;
    }
}
%stack_overflow {
    parse_fail(parse, ERROR_LIMIT, 0,
               "the statement is nested too deeply: at most %u levels are allowed",
               LIMIT_EXPRESSION_DEPTH);
}

%left OR.
%left AND.
%right NOT.
%left IS BETWEEN IN LIKE EQ NE LT LE GT GE.
%right ESCAPE.
%left PLUS MINUS.
%left STAR SLASH PERCENT CONCAT.
%right SIGN.

%fallback ID
    ASC CHANGELOG_MODE CURRENT DESC DESCRIBE DROP ESCAPE EXISTS EXPLAIN FOLLOWING IF PARTITION
    PRECEDING PRECISION
    RANGE ROW ROWS SHOW TABLES TEMPORARY TRY_CAST UNBOUNDED UNKNOWN.
%token RESERVED.

// ---- Statements ----

input ::= statement.
input ::= statement SEMICOLON.

statement ::= select. { parse_statement(parse, QUERY_SELECT, NONE, false); }
statement ::= EXPLAIN select. { parse_statement(parse, QUERY_EXPLAIN, NONE, false); }
statement ::= EXPLAIN CHANGELOG_MODE select. { parse_statement(parse, QUERY_EXPLAIN, NONE, false); }
statement ::= SHOW TABLES. { parse_statement(parse, QUERY_SHOW_TABLES, NONE, false); }
statement ::= DESCRIBE name(A). { parse_statement(parse, QUERY_DESCRIBE, A, false); }
statement ::= DESC name(A). { parse_statement(parse, QUERY_DESCRIBE, A, false); }
statement ::= DROP TABLE name(A). { parse_statement(parse, QUERY_DROP_TABLE, A, false); }
statement ::= DROP TABLE IF EXISTS name(A). { parse_statement(parse, QUERY_DROP_TABLE, A, true); }
statement ::= CREATE temporary TABLE name(A) LP columns RP WITH LP options RP. {
    parse_create(parse, A, false);
}
statement ::= CREATE temporary TABLE IF NOT EXISTS name(A) LP columns RP WITH LP options RP. {
    parse_create(parse, A, true);
}

temporary ::= .
temporary ::= TEMPORARY.

columns ::= column.
columns ::= columns COMMA column.
column ::= name(A) type(T) not_null(N). { parse_column(parse, A, T, N); }
column ::= name(A) AS expr(E). { parse_computed_column(parse, A, E); }

%type not_null {bool}
not_null(R) ::= . { R = false; }
not_null(R) ::= NULL. { R = false; }
not_null(R) ::= NOT NULL. { R = true; }

%type type {struct query_type}
type(R) ::= ID(A). { R = parse_type(parse, A, false, NONE, NONE); }
type(R) ::= ID(A) PRECISION. { R = parse_type(parse, A, true, NONE, NONE); }
type(R) ::= ID(A) LP INTEGER(P) RP. { R = parse_type(parse, A, false, P, NONE); }
type(R) ::= ID(A) LP INTEGER(P) COMMA INTEGER(S) RP. { R = parse_type(parse, A, false, P, S); }

options ::= option.
options ::= options COMMA option.
option ::= STRING(A) EQ STRING(B). { parse_option(parse, A, B); }

%type name {struct token}
name(R) ::= ID(A). { R = A; }

// ---- SELECT ----

select ::= SELECT items FROM from where group_by having windows.

items ::= item.
items ::= items COMMA item.
item ::= STAR(A). { parse_item(parse, parse_star(parse, NONE, A), NONE); }
item ::= name(Q) DOT STAR(A). { parse_item(parse, parse_star(parse, Q, A), NONE); }
item ::= expr(E) alias(A). { parse_item(parse, E, A); }

%type alias {struct token}
alias(R) ::= . { R = NONE; }
alias(R) ::= AS name(A). { R = A; }
alias(R) ::= ID(A). { R = A; }

from ::= name(A) alias(B). { parse_from(parse, A, A, false, B); }
from ::= SLASH(S) name(A) alias(B). { parse_from(parse, S, A, true, B); }

where ::= .
where ::= WHERE expr(E). { if (parse->select != NULL) parse->select->where = E; }

group_by ::= .
group_by ::= GROUP BY exprs(L). {
    if (parse->select != NULL) {
        parse->select->groups = L;
        parse->select->has_group_by = true;
    }
}

having ::= .
having ::= HAVING(H) expr(E). {
    if (parse->select != NULL) {
        parse->select->having = E;
        parse->select->having_at = H.at;
    }
}

windows ::= .
windows ::= WINDOW window_list.
window_list ::= window_entry.
window_list ::= window_list COMMA window_entry.
window_entry ::= name(A) AS LP window(W) RP. { parse_window_clause(parse, A, W); }

// ---- Windows of OVER ----

%type over {struct ast_window *}
over(R) ::= . { R = NULL; }
over(R) ::= OVER(O) name(A). { R = parse_over(parse, O, NULL, A, A); }
over(R) ::= OVER(O) LP window(W) RP(C). { R = parse_over(parse, O, W, NONE, C); }

%type window {struct ast_window *}
window(R) ::= partition(P) order(O) frame(F). { R = parse_window(parse, P, O.order, O.count, F); }

%type partition {struct ast_list}
partition(R) ::= . { R = (struct ast_list){.count = 0}; }
partition(R) ::= PARTITION BY exprs(L). { R = L; }

%type order {struct orders}
%type orderings {struct orders}
order(R) ::= . { R = (struct orders){.count = 0}; }
order(R) ::= ORDER BY orderings(L). { R = L; }
orderings(R) ::= ordering(O). { R = (struct orders){.order = {O}, .count = 1}; }
orderings(R) ::= orderings(L) COMMA ordering(O). { R = L; R.order[1] = O; R.count = 2; }
%type ordering {struct ast_order}
ordering(R) ::= expr(E). { R = (struct ast_order){.expr = E}; }
ordering(R) ::= expr(E) ASC. { R = (struct ast_order){.expr = E}; }
ordering(R) ::= expr(E) DESC(D). {
    R = (struct ast_order){.expr = E, .descending = true, .at = D.at};
}

%type frame {struct ast_frame}
%type unit {struct ast_frame}
%type bound {struct ast_bound}
frame(R) ::= . { R = (struct ast_frame){.unit = AST_FRAME_NONE}; }
frame(R) ::= unit(U) bound(B). {
    R = U; R.start = B; R.end = (struct ast_bound){.kind = AST_CURRENT_ROW, .at = B.at};
}
frame(R) ::= unit(U) BETWEEN bound(B) AND bound(E). { R = U; R.start = B; R.end = E; }
unit(R) ::= ROWS(A). { R = (struct ast_frame){.unit = AST_FRAME_ROWS, .at = A.at}; }
unit(R) ::= RANGE(A). { R = (struct ast_frame){.unit = AST_FRAME_RANGE, .at = A.at}; }
bound(R) ::= UNBOUNDED(A) PRECEDING. {
    R = (struct ast_bound){.kind = AST_UNBOUNDED_PRECEDING, .at = A.at};
}
bound(R) ::= UNBOUNDED(A) FOLLOWING. { R = (struct ast_bound){.kind = AST_FOLLOWING, .at = A.at}; }
bound(R) ::= CURRENT(A) ROW. { R = (struct ast_bound){.kind = AST_CURRENT_ROW, .at = A.at}; }
bound(R) ::= number(E) PRECEDING. {
    R = (struct ast_bound){.kind = AST_PRECEDING, .offset = E, .at = E == NULL ? 0 : E->at};
}
bound(R) ::= number(E) FOLLOWING. {
    R = (struct ast_bound){.kind = AST_FOLLOWING, .offset = E, .at = E == NULL ? 0 : E->at};
}
number(R) ::= INTEGER(A). { R = parse_literal(parse, A); }
number(R) ::= DECIMAL(A). { R = parse_literal(parse, A); }
number(R) ::= APPROXIMATE(A). { R = parse_literal(parse, A); }
number(R) ::= MINUS(M) INTEGER(A). {
    R = parse_prefix(parse, AST_NEGATE, M, parse_literal(parse, A));
}

// ---- Expressions ----

%type exprs {struct ast_list}
exprs(R) ::= expr(E). { R = parse_list_add((struct ast_list){.count = 0}, E); }
exprs(R) ::= exprs(L) COMMA expr(E). { R = parse_list_add(L, E); }

expr(R) ::= INTEGER(A). { R = parse_literal(parse, A); }
expr(R) ::= DECIMAL(A). { R = parse_literal(parse, A); }
expr(R) ::= APPROXIMATE(A). { R = parse_literal(parse, A); }
expr(R) ::= STRING(A). { R = parse_literal(parse, A); }
expr(R) ::= BINARY(A). { R = parse_literal(parse, A); }
expr(R) ::= TRUE(A). { R = parse_word(parse, A); }
expr(R) ::= FALSE(A). { R = parse_word(parse, A); }
expr(R) ::= NULL(A). { R = parse_word(parse, A); }
expr(R) ::= TIMESTAMP(A) STRING(B). { R = parse_timestamp(parse, A, B); }
expr(R) ::= PARAMETER(A). { R = parse_parameter(parse, A); }
expr(R) ::= name(A). { R = parse_name(parse, NONE, A); }
expr(R) ::= name(Q) DOT name(A). { R = parse_name(parse, Q, A); }
expr(R) ::= LP(A) expr(E) RP(B). { R = parse_parentheses(parse, A, E, B); }

expr(R) ::= expr(A) OR expr(B). { R = parse_chain(parse, AST_OR, A, B); }
expr(R) ::= expr(A) AND expr(B). { R = parse_chain(parse, AST_AND, A, B); }
expr(R) ::= expr(A) CONCAT expr(B). { R = parse_chain(parse, AST_CONCAT, A, B); }
expr(R) ::= NOT(N) expr(A). { R = parse_prefix(parse, AST_NOT, N, A); }
expr(R) ::= MINUS(N) expr(A). [SIGN] { R = parse_prefix(parse, AST_NEGATE, N, A); }
expr(R) ::= PLUS expr(A). [SIGN] { R = A; }
expr(R) ::= expr(A) PLUS expr(B). { R = parse_node(parse, AST_ARITHMETIC, QUERY_ADD, A, B, NULL); }
expr(R) ::= expr(A) MINUS expr(B). {
    R = parse_node(parse, AST_ARITHMETIC, QUERY_SUBTRACT, A, B, NULL);
}
expr(R) ::= expr(A) STAR expr(B). {
    R = parse_node(parse, AST_ARITHMETIC, QUERY_MULTIPLY, A, B, NULL);
}
expr(R) ::= expr(A) SLASH expr(B). {
    R = parse_node(parse, AST_ARITHMETIC, QUERY_DIVIDE, A, B, NULL);
}
expr(R) ::= expr(A) PERCENT expr(B). {
    R = parse_node(parse, AST_ARITHMETIC, QUERY_MODULO, A, B, NULL);
}
expr(R) ::= expr(A) EQ expr(B). { R = parse_node(parse, AST_COMPARE, AST_EQUAL, A, B, NULL); }
expr(R) ::= expr(A) NE expr(B). { R = parse_node(parse, AST_COMPARE, AST_UNEQUAL, A, B, NULL); }
expr(R) ::= expr(A) LT expr(B). { R = parse_node(parse, AST_COMPARE, AST_LESS, A, B, NULL); }
expr(R) ::= expr(A) LE expr(B). { R = parse_node(parse, AST_COMPARE, AST_LESS_EQUAL, A, B, NULL); }
expr(R) ::= expr(A) GT expr(B). { R = parse_node(parse, AST_COMPARE, AST_GREATER, A, B, NULL); }
expr(R) ::= expr(A) GE expr(B). {
    R = parse_node(parse, AST_COMPARE, AST_GREATER_EQUAL, A, B, NULL);
}

%type is_not {bool}
is_not(R) ::= IS. { R = false; }
is_not(R) ::= IS NOT. { R = true; }
expr(R) ::= expr(A) is_not(N) NULL(T). [IS] {
    R = parse_negated(parse_node(parse, AST_IS, AST_IS_NULL, A, NULL, NULL), N, T);
}
expr(R) ::= expr(A) is_not(N) UNKNOWN(T). [IS] {
    R = parse_negated(parse_node(parse, AST_IS, AST_IS_NULL, A, NULL, NULL), N, T);
}
expr(R) ::= expr(A) is_not(N) TRUE(T). [IS] {
    R = parse_negated(parse_node(parse, AST_IS, AST_IS_TRUE, A, NULL, NULL), N, T);
}
expr(R) ::= expr(A) is_not(N) FALSE(T). [IS] {
    R = parse_negated(parse_node(parse, AST_IS, AST_IS_FALSE, A, NULL, NULL), N, T);
}
expr(R) ::= expr(A) is_not(N) DISTINCT FROM expr(B). [IS] {
    R = parse_negated(parse_node(parse, AST_DISTINCT, 0, A, B, NULL), N, NONE);
}

%type between {bool}
between(R) ::= BETWEEN. { R = false; }
between(R) ::= NOT BETWEEN. { R = true; }
expr(R) ::= expr(A) between(N) expr(B) AND expr(C). [BETWEEN] {
    R = parse_negated(parse_node(parse, AST_BETWEEN, 0, A, B, C), N, NONE);
}

%type in {bool}
in(R) ::= IN. { R = false; }
in(R) ::= NOT IN. { R = true; }
expr(R) ::= expr(A) in(N) LP exprs(L) RP(C). [IN] { R = parse_in(parse, A, N, L, C); }

%type like {bool}
like(R) ::= LIKE. { R = false; }
like(R) ::= NOT LIKE. { R = true; }
expr(R) ::= expr(A) like(N) expr(B). [LIKE] {
    R = parse_negated(parse_node(parse, AST_LIKE, 0, A, B, NULL), N, NONE);
}
expr(R) ::= expr(A) like(N) expr(B) ESCAPE expr(C). [LIKE] {
    R = parse_negated(parse_node(parse, AST_LIKE, 0, A, B, C), N, NONE);
}

expr(R) ::= CASE(A) case_operand(O) branches(L) otherwise(E) END(B). {
    R = parse_case(parse, A, O, L, E, B);
}
case_operand(R) ::= . { R = NULL; }
case_operand(R) ::= expr(E). { R = E; }
%type branches {struct ast_list}
branches(R) ::= WHEN expr(A) THEN expr(B). {
    R = parse_list_add(parse_list_add((struct ast_list){.count = 0}, A), B);
}
branches(R) ::= branches(L) WHEN expr(A) THEN expr(B). {
    R = parse_list_add(parse_list_add(L, A), B);
}
otherwise(R) ::= . { R = NULL; }
otherwise(R) ::= ELSE expr(E). { R = E; }

expr(R) ::= CAST(A) LP expr(E) AS type(T) RP(B). { R = parse_cast(parse, A, E, T, B); }
expr(R) ::= TRY_CAST(A) LP expr(E) AS type(T) RP(B). { R = parse_cast(parse, A, E, T, B); }

expr(R) ::= ID(A) LP RP(B) over(W). {
    R = parse_call(parse, A, (struct ast_list){.count = 0}, B, W);
}
expr(R) ::= ID(A) LP STAR(S) RP(B) over(W). {
    struct ast_list star = {.count = 0};
    R = parse_call(parse, A, parse_list_add(star, parse_star(parse, NONE, S)), B, W);
}
expr(R) ::= ID(A) LP exprs(L) RP(B) over(W). { R = parse_call(parse, A, L, B, W); }

%code {
/* The automaton alone, for the question what could have followed. Its loop is that of the
 * template's driver, without values. */
void sqlparse_shadow_init(struct parse_shadow *shadow)
{
    shadow->depth = 1;
    shadow->states[0] = 0;
}

bool sqlparse_shadow_take(struct parse_shadow *shadow, int token)
{
    YYACTIONTYPE action = shadow->states[shadow->depth - 1];
    for (;;) {
        if (shadow->depth == PARSE_STATES)
            return false;
        action = yy_find_shift_action((YYCODETYPE)token, action);
        if (action >= YY_MIN_REDUCE) {
            uint32_t rule = action - YY_MIN_REDUCE;
            shadow->depth -= (uint32_t)-yyRuleInfoNRhs[rule];
            action = yy_find_reduce_action(shadow->states[shadow->depth - 1], yyRuleInfoLhs[rule]);
            shadow->states[shadow->depth++] = action;
            continue;
        }
        if (action > YY_MAX_SHIFTREDUCE)
            return action == YY_ACCEPT_ACTION;
        if (action > YY_MAX_SHIFT)
            action += YY_MIN_REDUCE - YY_MIN_SHIFTREDUCE;
        shadow->states[shadow->depth++] = action;
        return true;
    }
}

bool sqlparse_is_fallback(int token)
{
    return sqlparseFallback(token) != 0;
}
}
