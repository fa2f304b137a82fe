/* The syntax tree of a statement: what was written, with places, before names and types mean
 * anything.
 *
 * All of it lives in the arena of the parse. Operands of a node are a list from `first` along
 * `next`. Chains of AND and of OR are one flat node each, so a thousand conditions are not a
 * thousand levels. */
#ifndef VUG_QUERY_AST_H
#define VUG_QUERY_AST_H

#include "query/query.h"

enum ast_kind {
    AST_LITERAL,
    AST_NAME,       /* [qualifier.]name: a column, or a parameter */
    AST_PARAMETER,  /* :name */
    AST_STAR,       /* `*`, `t.*`, and the argument of COUNT(*) */
    AST_NEGATE,     /* -a */
    AST_ARITHMETIC, /* op is an enum query_arithmetic */
    AST_CONCAT,
    AST_COMPARE,  /* op is an enum ast_comparison */
    AST_DISTINCT, /* a IS [NOT] DISTINCT FROM b */
    AST_AND,
    AST_OR,
    AST_NOT,
    AST_IS, /* op is an enum ast_truth */
    AST_BETWEEN,
    AST_IN,   /* first operand, then the list */
    AST_LIKE, /* text, pattern, [escape] */
    AST_CASE, /* [operand], then pairs of WHEN and THEN, then [ELSE] */
    AST_CAST, /* to `type`; op 1: TRY_CAST */
    AST_CALL,
};

enum ast_comparison {
    AST_EQUAL,
    AST_UNEQUAL,
    AST_LESS,
    AST_LESS_EQUAL,
    AST_GREATER,
    AST_GREATER_EQUAL
};
enum ast_truth { AST_IS_NULL, AST_IS_TRUE, AST_IS_FALSE };

struct ast_window;

struct ast_expr {
    enum ast_kind kind;
    uint8_t op;
    bool negated;               /* IS NOT, NOT IN, NOT LIKE, NOT BETWEEN */
    bool has_operand, has_else; /* CASE */
    uint16_t depth;
    uint32_t at, end; /* bytes of the statement */
    struct slice qualifier, name;
    struct query_type type; /* of a literal, of a CAST */
    struct query_value literal;
    struct ast_window *over; /* of a call; NULL without */
    struct ast_expr *first, *last, *next;
    uint32_t count;
};

struct ast_list {
    struct ast_expr *first, *last;
    uint32_t count;
};

enum ast_bound_kind { AST_UNBOUNDED_PRECEDING, AST_PRECEDING, AST_CURRENT_ROW, AST_FOLLOWING };

struct ast_bound {
    enum ast_bound_kind kind;
    struct ast_expr *offset; /* PRECEDING, FOLLOWING with a number */
    uint32_t at;
};

enum ast_frame_unit { AST_FRAME_NONE, AST_FRAME_ROWS, AST_FRAME_RANGE };

struct ast_frame {
    enum ast_frame_unit unit;
    struct ast_bound start, end;
    uint32_t at;
};

struct ast_order {
    struct ast_expr *expr;
    bool descending;
    uint32_t at; /* of ASC or DESC */
};

/* `OVER (...)`, `OVER name`, or an entry of the WINDOW clause. */
struct ast_window {
    uint32_t at, end;  /* from OVER to its end: what a column's name leaves out */
    struct slice name; /* OVER name; WINDOW name AS */
    struct ast_list partition;
    struct ast_order order[2];
    uint32_t order_count; /* two means two or more */
    struct ast_frame frame;
    struct ast_window *next;      /* WINDOW clause */
    struct ast_window *next_over; /* every OVER of the statement, in the order of the text */
};

struct ast_item {
    struct ast_expr *expr;
    struct slice alias; /* empty without */
    struct ast_item *next;
};

struct query_select {
    struct ast_item *items, *last_item;
    uint32_t item_count;
    struct slice from; /* table or region */
    bool from_region;  /* written with a leading slash */
    uint32_t from_at;
    struct slice alias; /* empty without */
    struct ast_expr *where, *having;
    uint32_t having_at;
    struct ast_list groups;
    bool has_group_by;
    struct ast_window *windows, *last_window;
    struct ast_window *overs, *last_over;
};

#endif
