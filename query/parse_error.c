#include "query/parse_error.h"

#include <stdio.h>

#include "common/mem.h"
#include "common/text.h"
#include "query/caret.h"
#include "query/parser.h"

/* ---- What SQL knows and we do not ---- */

enum where { ANYWHERE, AT_START, OUTERMOST, IN_FROM };

struct unsupported {
    const char *found, *previous; /* in capitals; previous NULL: any */
    enum where where;
    const char *sentence;
};

#define JOINS "joins are not supported yet: a query reads one table or region"
#define STATEMENTS                                                                                 \
    "supported are SELECT, CREATE TABLE, DROP TABLE, SHOW TABLES, DESCRIBE and EXPLAIN"
#define SORTED "a continuous query has no end at which its rows could be sorted or counted"

static const struct unsupported unsupported[] = {
    {"JOIN", NULL, ANYWHERE, JOINS},
    {"LEFT", NULL, ANYWHERE, JOINS},
    {"RIGHT", NULL, ANYWHERE, JOINS},
    {"FULL", NULL, ANYWHERE, JOINS},
    {"INNER", NULL, ANYWHERE, JOINS},
    {"CROSS", NULL, ANYWHERE, JOINS},
    {"NATURAL", NULL, ANYWHERE, JOINS},
    {",", NULL, IN_FROM, JOINS},
    {"(", "FROM", ANYWHERE, "subqueries in FROM are not supported yet"},
    {"TABLE", "FROM", ANYWHERE,
     "windows in FROM (TUMBLE, HOP, CUMULATE, SESSION) are not supported yet"},
    {"TABLE", "(", ANYWHERE,
     "windows in FROM (TUMBLE, HOP, CUMULATE, SESSION) are not supported yet"},
    {"(", NULL, IN_FROM,
     "functions in FROM (TUMBLE, HOP, CUMULATE, SESSION and others) are not supported yet"},
    {"SELECT", "(", ANYWHERE, "subqueries are not supported yet"},
    {"UNION", NULL, ANYWHERE, "UNION is not supported yet"},
    {"INTERSECT", NULL, ANYWHERE, "INTERSECT is not supported yet"},
    {"EXCEPT", NULL, ANYWHERE, "EXCEPT is not supported yet"},
    {"DISTINCT", "SELECT", ANYWHERE,
     "SELECT DISTINCT is not supported yet; GROUP BY the columns gives each combination once"},
    {"DISTINCT", "(", ANYWHERE, "aggregates of DISTINCT values are not supported yet"},
    {"ORDER", NULL, OUTERMOST, "ORDER BY of the result is not supported yet: " SORTED},
    {"LIMIT", NULL, ANYWHERE, "LIMIT is not supported yet: " SORTED},
    {"OFFSET", NULL, ANYWHERE, "OFFSET is not supported yet: " SORTED},
    {"FETCH", NULL, ANYWHERE, "FETCH is not supported yet: " SORTED},
    {"EMIT", NULL, ANYWHERE, "EMIT is not supported yet: results leave with each change"},
    {"FILTER", NULL, ANYWHERE,
     "FILTER (WHERE ...) is not supported yet; AGGREGATE(CASE WHEN ... THEN x END) does the same"},
    {"FOR", "WATERMARK", ANYWHERE,
     "WATERMARK is not supported yet: results are computed in the order of arrival"},
    {"FOR", NULL, ANYWHERE, "FOR SYSTEM_TIME is not supported yet"},
    {"PRIMARY", NULL, ANYWHERE,
     "PRIMARY KEY is not supported yet: every change of the region is one new row"},
    {"METADATA", NULL, ANYWHERE, "METADATA columns are not supported yet"},
    {"COMMENT", NULL, ANYWHERE, "COMMENT is not supported yet"},
    {"PARTITIONED", NULL, ANYWHERE,
     "PARTITIONED BY is not supported yet: the region's buckets are its partitions"},
    {"INTERVAL", NULL, ANYWHERE, "INTERVAL is not supported yet"},
    {"DATE", NULL, ANYWHERE,
     "DATE literals are not supported yet; TIMESTAMP '2026-01-31 00:00:00' is"},
    {"TIME", NULL, ANYWHERE, "TIME literals are not supported yet"},
    {"SETS", "GROUPING", ANYWHERE, "GROUPING SETS are not supported yet"},
    {"LATERAL", NULL, ANYWHERE, "LATERAL is not supported yet"},
    {"VIEW", "CREATE", ANYWHERE, "CREATE VIEW is not supported yet"},
    {"INSERT", NULL, AT_START, "INSERT is not supported yet; " STATEMENTS},
    {"UPDATE", NULL, AT_START,
     "UPDATE is not supported: the regions are written through the cache's own operations"},
    {"DELETE", NULL, AT_START,
     "DELETE is not supported: the regions are written through the cache's own operations"},
    {"SET", NULL, AT_START, "SET is not supported yet; " STATEMENTS},
    {"WITH", NULL, AT_START, "WITH (common table expressions) is not supported yet"},
    {"VALUES", NULL, AT_START, "VALUES is not supported yet; " STATEMENTS},
    {"ALTER", NULL, AT_START, "ALTER is not supported yet; " STATEMENTS},
    {"USE", NULL, AT_START, "USE is not supported: there is one catalog; " STATEMENTS},
    {"=", "=", ANYWHERE, "equality is written with one ="},
};

/* Where the token that does not fit stands. */
struct context {
    struct token found, previous;
    uint32_t parentheses;
    bool start, in_from;
    struct parse_shadow shadow; /* before the token */
};

static bool is_word(struct parse *parse, struct token token, const char *capitals)
{
    return token.len > 0 && !token.quoted &&
           lexer_word_is(slice_of(parse->text.data + token.at, token.len), capitals);
}

static bool is_there(const struct context *context, enum where where)
{
    switch (where) {
    case AT_START:
        return context->start;
    case OUTERMOST:
        return context->parentheses == 0;
    case IN_FROM:
        return context->in_from && context->parentheses == 0;
    case ANYWHERE:
        break;
    }
    return true;
}

static bool fail_unsupported(struct parse *parse, const struct context *context)
{
    for (size_t i = 0; i < sizeof unsupported / sizeof unsupported[0]; i++) {
        const struct unsupported *entry = &unsupported[i];
        if (!is_word(parse, context->found, entry->found) || !is_there(context, entry->where))
            continue;
        if (entry->previous != NULL && !is_word(parse, context->previous, entry->previous))
            continue;
        /* WATERMARK is a name until FOR follows. */
        bool about_previous =
            entry->previous != NULL && lexer_word_is(slice_text(entry->previous), "WATERMARK");
        parse_fail(parse, ERROR_INVALID, about_previous ? context->previous.at : context->found.at,
                   "%s", entry->sentence);
        return true;
    }
    return false;
}

/* ---- What could have stood there ---- */

enum group { ALONE, EXPRESSION, OPERATOR };

struct expectation {
    int token;
    enum group group;
    const char *text;
    bool word; /* a keyword that a misspelt word may have meant */
};

/* In the order in which they are told. The first of a group speaks for it. */
static const struct expectation expectations[] = {
    {TOKEN_CASE, EXPRESSION, "an expression", false},
    {TOKEN_CAST, EXPRESSION, "CAST", false},
    {TOKEN_INTEGER, EXPRESSION, "a number", false},
    {TOKEN_STRING, EXPRESSION, "a string in quotes", false},
    {TOKEN_TRUE, EXPRESSION, "TRUE", false},
    {TOKEN_FALSE, EXPRESSION, "FALSE", false},
    {TOKEN_NULL, EXPRESSION, "NULL", true},
    {TOKEN_ID, EXPRESSION, "a name", false},
    {TOKEN_SELECT, ALONE, "SELECT", true},
    {TOKEN_CREATE, ALONE, "CREATE TABLE", false},
    {TOKEN_DROP, ALONE, "DROP TABLE", false},
    {TOKEN_SHOW, ALONE, "SHOW TABLES", false},
    {TOKEN_DESCRIBE, ALONE, "DESCRIBE", true},
    {TOKEN_EXPLAIN, ALONE, "EXPLAIN", true},
    {TOKEN_TABLE, ALONE, "TABLE", true},
    {TOKEN_TABLES, ALONE, "TABLES", true},
    {TOKEN_IF, ALONE, "IF", false},
    {TOKEN_EXISTS, ALONE, "EXISTS", true},
    {TOKEN_FROM, ALONE, "FROM", true},
    {TOKEN_WHERE, ALONE, "WHERE", true},
    {TOKEN_GROUP, ALONE, "GROUP BY", false},
    {TOKEN_HAVING, ALONE, "HAVING", true},
    {TOKEN_WINDOW, ALONE, "WINDOW", true},
    {TOKEN_BY, ALONE, "BY", false},
    {TOKEN_AS, ALONE, "AS", false},
    {TOKEN_OVER, ALONE, "OVER", true},
    {TOKEN_PARTITION, ALONE, "PARTITION BY", false},
    {TOKEN_ORDER, ALONE, "ORDER BY", false},
    {TOKEN_ROWS, ALONE, "ROWS", true},
    {TOKEN_RANGE, ALONE, "RANGE", true},
    {TOKEN_UNBOUNDED, ALONE, "UNBOUNDED", true},
    {TOKEN_CURRENT, ALONE, "CURRENT ROW", false},
    {TOKEN_ROW, ALONE, "ROW", false},
    {TOKEN_PRECEDING, ALONE, "PRECEDING", true},
    {TOKEN_WHEN, ALONE, "WHEN", true},
    {TOKEN_THEN, ALONE, "THEN", true},
    {TOKEN_ELSE, ALONE, "ELSE", true},
    {TOKEN_END, ALONE, "END", true},
    {TOKEN_DISTINCT, ALONE, "DISTINCT FROM", false},
    {TOKEN_WITH, ALONE, "WITH", true},
    {TOKEN_COMMA, ALONE, "\",\"", false},
    {TOKEN_LP, ALONE, "\"(\"", false},
    {TOKEN_RP, ALONE, "\")\"", false},
    {TOKEN_CONCAT, OPERATOR, "an operator", false},
    {TOKEN_NOT, OPERATOR, "NOT", true},
    {TOKEN_EQ, OPERATOR, "\"=\"", false},
    {TOKEN_AND, OPERATOR, "AND", true},
    {TOKEN_OR, OPERATOR, "OR", true},
    {TOKEN_IS, OPERATOR, "IS", true},
    {TOKEN_IN, OPERATOR, "IN", true},
    {TOKEN_LIKE, OPERATOR, "LIKE", true},
    {TOKEN_BETWEEN, OPERATOR, "BETWEEN", true},
    {0, ALONE, "the end of the statement", false},
};

enum { EXPECTATIONS = sizeof expectations / sizeof expectations[0], TOLD_MAX = 8 };

static void find_expected(const struct parse_shadow *before, struct parse_shadow *scratch,
                          bool expected[EXPECTATIONS])
{
    bool is_name = false;
    for (size_t i = 0; i < EXPECTATIONS; i++) {
        scratch->depth = before->depth;
        memcpy(scratch->states, before->states, before->depth * sizeof before->states[0]);
        expected[i] = sqlparse_shadow_take(scratch, expectations[i].token);
        is_name = is_name || (expected[i] && expectations[i].token == TOKEN_ID);
    }
    /* Where a name can stand, words that are free to be names are no news. */
    for (size_t i = 0; i < EXPECTATIONS && is_name; i++)
        expected[i] = expected[i] && !sqlparse_is_fallback(expectations[i].token);
}

/* "A, B or C". */
static void tell_expected(const bool expected[EXPECTATIONS], char *out, size_t room)
{
    const char *told[TOLD_MAX];
    size_t count = 0;
    bool group_told[3] = {false, false, false};
    for (size_t i = 0; i < EXPECTATIONS && count < TOLD_MAX; i++) {
        enum group group = expectations[i].group;
        bool leads = expectations[i].token == TOKEN_CASE || expectations[i].token == TOKEN_CONCAT;
        if (!expected[i] || (group != ALONE && group_told[group]))
            continue;
        int token = expectations[i].token;
        if (group_told[EXPRESSION] && (token == TOKEN_LP || token == TOKEN_NOT))
            continue;
        if (leads)
            group_told[group] = true;
        told[count++] = expectations[i].text;
    }
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        const char *between = i == 0 ? "" : i + 1 == count ? " or " : ", ";
        int len = snprintf(out + used, room - used, "%s%s", between, told[i]);
        if (len < 0 || (size_t)len >= room - used)
            break;
        used += (size_t)len;
    }
}

/* A keyword that could stand in place of the word, or NULL. */
static const char *meant_keyword(struct parse *parse, struct token word,
                                 const bool expected[EXPECTATIONS])
{
    if (word.len == 0 || word.quoted || word.type != TOKEN_ID)
        return NULL;
    struct text_nearest nearest;
    text_nearest_init(&nearest, slice_of(parse->text.data + word.at, word.len));
    for (size_t i = 0; i < EXPECTATIONS; i++)
        if (expected[i] && expectations[i].word)
            text_nearest_offer(&nearest, expectations[i].text);
    return text_nearest_best(&nearest);
}

/* Whether a name must stand here, and the word is one that the grammar keeps for itself. */
static bool is_keyword_for_name(struct parse *parse, struct token word,
                                const bool expected[EXPECTATIONS])
{
    bool is_name = false, is_expression = false;
    for (size_t i = 0; i < EXPECTATIONS; i++) {
        is_name = is_name || (expected[i] && expectations[i].token == TOKEN_ID);
        is_expression = is_expression || (expected[i] && expectations[i].token == TOKEN_CASE);
    }
    uint8_t first = word.len == 0 ? 0 : parse->text.data[word.at] | 0x20;
    return is_name && !is_expression && word.type != TOKEN_ID && first >= 'a' && first <= 'z';
}

static void fail_expected(struct parse *parse, struct context *context,
                          struct parse_shadow *scratch)
{
    bool expected[EXPECTATIONS];
    char list[256], shown[48], hint[64] = "";
    find_expected(&context->shadow, scratch, expected);
    tell_expected(expected, list, sizeof list);
    struct token found = context->found;
    const char *meant = meant_keyword(parse, found, expected);
    if (is_keyword_for_name(parse, found, expected))
        (void)snprintf(hint, sizeof hint, "; a keyword is a name only in back-ticks");
    else if (meant != NULL)
        (void)snprintf(hint, sizeof hint, "; did you mean %s?", meant);
    else if ((meant = meant_keyword(parse, context->previous, expected)) != NULL)
        (void)snprintf(
            hint, sizeof hint, "; did you mean %s instead of \"%.20s\"?", meant,
            caret_clip(slice_of(parse->text.data + context->previous.at, context->previous.len),
                       shown, 20));
    if (found.type == 0)
        parse_fail(parse, ERROR_INVALID, found.at, "the statement ends where %s was expected%s",
                   list, hint);
    else
        parse_fail(
            parse, ERROR_INVALID, found.at, "found %s%s%s where %s was expected%s",
            found.type == TOKEN_STRING ? "" : "\"",
            caret_clip(slice_of(parse->text.data + found.at, found.len), shown, sizeof shown),
            found.type == TOKEN_STRING ? "" : "\"", list, hint);
}

/* Reads the statement again up to the token that does not fit, with the automaton alone. */
static enum error find_context(struct parse *parse, struct context *context)
{
    struct lexer lexer = {.text = parse->text, .arena = parse->arena};
    sqlparse_shadow_init(&context->shadow);
    context->start = true;
    for (;;) {
        struct token token;
        enum error status = lexer_next(&lexer, &token);
        if (status != OK)
            return status;
        context->found = token;
        if (token.at == parse->syntax_error.at || token.type == 0)
            return OK;
        (void)sqlparse_shadow_take(&context->shadow, token.type);
        context->start = false;
        context->previous = token;
        if (token.type == TOKEN_LP)
            context->parentheses++;
        else if (token.type == TOKEN_RP && context->parentheses > 0)
            context->parentheses--;
        else if (context->parentheses == 0 && token.type == TOKEN_FROM)
            context->in_from = true;
        else if (token.type == TOKEN_WHERE || token.type == TOKEN_GROUP ||
                 token.type == TOKEN_HAVING || token.type == TOKEN_WINDOW)
            context->in_from = false;
    }
}

void parse_error(struct parse *parse)
{
    struct context *context = mem_zalloc(sizeof *context);
    struct parse_shadow *scratch = mem_zalloc(sizeof *scratch);
    enum error status =
        context == NULL || scratch == NULL ? ERROR_MEMORY : find_context(parse, context);
    if (status != OK)
        parse->status = status;
    else if (!fail_unsupported(parse, context))
        fail_expected(parse, context, scratch);
    mem_free(scratch);
    mem_free(context);
}
