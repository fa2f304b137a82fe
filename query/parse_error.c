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
    struct token found, previous, next;
    uint32_t parentheses;
    bool start, in_from;
    bool has_next; /* false: nothing follows that is a token */
    struct parse_shadow before_previous, before_found;
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
    const char *keyword; /* that a misspelt word may have meant; NULL: none */
};

/* In the order in which they are told. The first of a group speaks for it. */
static const struct expectation expectations[] = {
    {TOKEN_CASE, EXPRESSION, "an expression", "CASE"},
    {TOKEN_CAST, EXPRESSION, "CAST", "CAST"},
    {TOKEN_INTEGER, EXPRESSION, "a number", NULL},
    {TOKEN_STRING, EXPRESSION, "a string in quotes", NULL},
    {TOKEN_TRUE, EXPRESSION, "TRUE", "TRUE"},
    {TOKEN_FALSE, EXPRESSION, "FALSE", "FALSE"},
    {TOKEN_NULL, EXPRESSION, "NULL", "NULL"},
    {TOKEN_ID, EXPRESSION, "a name", NULL},
    {TOKEN_SELECT, ALONE, "SELECT", "SELECT"},
    {TOKEN_CREATE, ALONE, "CREATE TABLE", "CREATE"},
    {TOKEN_DROP, ALONE, "DROP TABLE", "DROP"},
    {TOKEN_SHOW, ALONE, "SHOW TABLES", "SHOW"},
    {TOKEN_DESCRIBE, ALONE, "DESCRIBE", "DESCRIBE"},
    {TOKEN_EXPLAIN, ALONE, "EXPLAIN", "EXPLAIN"},
    {TOKEN_TABLE, ALONE, "TABLE", "TABLE"},
    {TOKEN_TABLES, ALONE, "TABLES", "TABLES"},
    {TOKEN_IF, ALONE, "IF", NULL},
    {TOKEN_EXISTS, ALONE, "EXISTS", "EXISTS"},
    {TOKEN_FROM, ALONE, "FROM", "FROM"},
    {TOKEN_WHERE, ALONE, "WHERE", "WHERE"},
    {TOKEN_GROUP, ALONE, "GROUP BY", "GROUP"},
    {TOKEN_HAVING, ALONE, "HAVING", "HAVING"},
    {TOKEN_WINDOW, ALONE, "WINDOW", "WINDOW"},
    {TOKEN_BY, ALONE, "BY", "BY"},
    {TOKEN_AS, ALONE, "AS", "AS"},
    {TOKEN_OVER, ALONE, "OVER", "OVER"},
    {TOKEN_PARTITION, ALONE, "PARTITION BY", "PARTITION"},
    {TOKEN_ORDER, ALONE, "ORDER BY", "ORDER"},
    {TOKEN_ROWS, ALONE, "ROWS", "ROWS"},
    {TOKEN_RANGE, ALONE, "RANGE", "RANGE"},
    {TOKEN_UNBOUNDED, ALONE, "UNBOUNDED", "UNBOUNDED"},
    {TOKEN_CURRENT, ALONE, "CURRENT ROW", "CURRENT"},
    {TOKEN_ROW, ALONE, "ROW", "ROW"},
    {TOKEN_PRECEDING, ALONE, "PRECEDING", "PRECEDING"},
    {TOKEN_WHEN, ALONE, "WHEN", "WHEN"},
    {TOKEN_THEN, ALONE, "THEN", "THEN"},
    {TOKEN_ELSE, ALONE, "ELSE", "ELSE"},
    {TOKEN_END, ALONE, "END", "END"},
    {TOKEN_DISTINCT, ALONE, "DISTINCT FROM", "DISTINCT"},
    {TOKEN_WITH, ALONE, "WITH", "WITH"},
    {TOKEN_COMMA, ALONE, "\",\"", NULL},
    {TOKEN_LP, ALONE, "\"(\"", NULL},
    {TOKEN_RP, ALONE, "\")\"", NULL},
    {TOKEN_CONCAT, OPERATOR, "an operator", NULL},
    {TOKEN_NOT, OPERATOR, "NOT", "NOT"},
    {TOKEN_EQ, OPERATOR, "\"=\"", NULL},
    {TOKEN_AND, OPERATOR, "AND", "AND"},
    {TOKEN_OR, OPERATOR, "OR", "OR"},
    {TOKEN_IS, OPERATOR, "IS", "IS"},
    {TOKEN_IN, OPERATOR, "IN", "IN"},
    {TOKEN_LIKE, OPERATOR, "LIKE", "LIKE"},
    {TOKEN_BETWEEN, OPERATOR, "BETWEEN", "BETWEEN"},
    {0, ALONE, "the end of the statement", NULL},
};

enum { EXPECTATIONS = sizeof expectations / sizeof expectations[0], TOLD_MAX = 8 };

static void shadow_copy(struct parse_shadow *to, const struct parse_shadow *from)
{
    to->depth = from->depth;
    memcpy(to->states, from->states, from->depth * sizeof from->states[0]);
}

static void find_expected(const struct parse_shadow *before, struct parse_shadow *scratch,
                          bool expected[EXPECTATIONS])
{
    bool is_name = false;
    for (size_t i = 0; i < EXPECTATIONS; i++) {
        shadow_copy(scratch, before);
        expected[i] = sqlparse_shadow_take(scratch, expectations[i].token);
        is_name = is_name || (expected[i] && expectations[i].token == TOKEN_ID);
    }
    /* Where a name can stand, words that are free to be names are no news. */
    for (size_t i = 0; i < EXPECTATIONS && is_name; i++)
        expected[i] = expected[i] && !sqlparse_is_fallback(expectations[i].token);
}

static bool expects(const bool expected[EXPECTATIONS], int token)
{
    size_t i = 0;
    while (i < EXPECTATIONS && expectations[i].token != token)
        i++;
    return i < EXPECTATIONS && expected[i];
}

/* Where an expression may go on but nothing that ends one can follow, the AND of BETWEEN is
 * outstanding. */
static bool is_open_between(const bool expected[EXPECTATIONS])
{
    for (size_t i = 0; i < EXPECTATIONS; i++)
        if (expected[i] && expectations[i].group == ALONE)
            return false;
    return expects(expected, TOKEN_AND) && expects(expected, TOKEN_CONCAT);
}

/* "A, B or C". */
static void tell_expected(const bool expected[EXPECTATIONS], char *out, size_t room)
{
    const char *told[TOLD_MAX];
    size_t count = 0;
    bool group_told[3] = {false, false, false};
    bool between = is_open_between(expected);
    if (between)
        told[count++] = "AND with the upper bound of BETWEEN";
    for (size_t i = 0; i < EXPECTATIONS && count < TOLD_MAX; i++) {
        enum group group = expectations[i].group;
        bool leads = expectations[i].token == TOKEN_CASE || expectations[i].token == TOKEN_CONCAT;
        if (!expected[i] || (group != ALONE && group_told[group]))
            continue;
        int token = expectations[i].token;
        if ((group_told[EXPRESSION] && (token == TOKEN_LP || token == TOKEN_NOT)) ||
            (between && token == TOKEN_AND))
            continue;
        if (leads)
            group_told[group] = true;
        told[count++] = expectations[i].text;
    }
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        const char *between_words = i == 0 ? "" : i + 1 == count ? " or " : ", ";
        int len = snprintf(out + used, room - used, "%s%s", between_words, told[i]);
        if (len < 0 || (size_t)len >= room - used)
            break;
        used += (size_t)len;
    }
}

/* A keyword like the word, in whose place the statement goes on with what follows the word; or
 * NULL. */
static const char *meant_keyword(struct parse *parse, struct token word,
                                 const struct parse_shadow *before, const struct token *after,
                                 struct parse_shadow *scratch)
{
    uint8_t first = word.len == 0 ? 0 : parse->text.data[word.at] | 0x20;
    if (word.quoted || first < 'a' || first > 'z')
        return NULL;
    struct text_nearest nearest;
    text_nearest_init(&nearest, slice_of(parse->text.data + word.at, word.len));
    for (size_t i = 0; i < EXPECTATIONS; i++) {
        if (expectations[i].keyword == NULL)
            continue;
        shadow_copy(scratch, before);
        if (sqlparse_shadow_take(scratch, expectations[i].token) &&
            (after == NULL || sqlparse_shadow_take(scratch, after->type)))
            text_nearest_offer(&nearest, expectations[i].keyword);
    }
    return text_nearest_best(&nearest);
}

/* Whether a name must stand here, and the word is one that the grammar keeps for itself. */
static bool is_keyword_for_name(struct parse *parse, struct token word,
                                const bool expected[EXPECTATIONS])
{
    uint8_t first = word.len == 0 ? 0 : parse->text.data[word.at] | 0x20;
    return expects(expected, TOKEN_ID) && !expects(expected, TOKEN_CASE) && word.type != TOKEN_ID &&
           first >= 'a' && first <= 'z';
}

/* Words that end a list of expressions, so that brackets must be closed before them. */
static bool ends_expressions(int token)
{
    static const int ends[] = {0,           TOKEN_SEMICOLON, TOKEN_FROM,  TOKEN_WHERE,
                               TOKEN_GROUP, TOKEN_HAVING,    TOKEN_WINDOW};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
        if (ends[i] == token)
            return true;
    return false;
}

static bool fail_brackets(struct parse *parse, const struct context *context,
                          const bool expected[EXPECTATIONS])
{
    struct token found = context->found;
    char shown[48], where[64] = "the statement ends";
    if (found.type == TOKEN_RP && context->parentheses == 0) {
        parse_fail(parse, ERROR_INVALID, found.at,
                   "this \")\" is one too many: no \"(\" is open before it");
        return true;
    }
    if (context->parentheses == 0 || !expects(expected, TOKEN_RP) || !ends_expressions(found.type))
        return false;
    if (found.type != 0)
        (void)snprintf(
            where, sizeof where, "found \"%s\"",
            caret_clip(slice_of(parse->text.data + found.at, found.len), shown, sizeof shown));
    parse_fail(parse, ERROR_INVALID, found.at,
               "a \")\" is missing: %s where %u \"(\" %s still open", where, context->parentheses,
               context->parentheses == 1 ? "is" : "are");
    return true;
}

static void find_hint(struct parse *parse, const struct context *context,
                      const bool expected[EXPECTATIONS], struct parse_shadow *scratch, char *hint,
                      size_t room)
{
    struct token previous = context->previous;
    char shown[20];
    hint[0] = '\0';
    if (is_keyword_for_name(parse, context->found, expected)) {
        (void)snprintf(hint, room, "; a keyword is a name only in back-ticks");
        return;
    }
    const char *meant = meant_keyword(parse, context->found, &context->before_found,
                                      context->has_next ? &context->next : NULL, scratch);
    if (meant != NULL) {
        (void)snprintf(hint, room, "; did you mean %s?", meant);
        return;
    }
    meant = meant_keyword(parse, previous, &context->before_previous, &context->found, scratch);
    if (meant != NULL)
        (void)snprintf(hint, room, "; did you mean %s instead of \"%s\"?", meant,
                       caret_clip(slice_of(parse->text.data + previous.at, previous.len), shown,
                                  sizeof shown));
}

static void fail_expected(struct parse *parse, struct context *context,
                          struct parse_shadow *scratch)
{
    bool expected[EXPECTATIONS];
    char list[256], shown[48], hint[72];
    struct token found = context->found;
    find_expected(&context->before_found, scratch, expected);
    if (fail_brackets(parse, context, expected))
        return;
    tell_expected(expected, list, sizeof list);
    find_hint(parse, context, expected, scratch, hint, sizeof hint);
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

/* What stands behind the token; text that is no token counts as nothing. */
static enum error find_next(struct lexer *lexer, struct context *context)
{
    enum error status =
        context->found.type == 0 ? ERROR_INVALID : lexer_next(lexer, &context->next);
    context->has_next = status == OK;
    return status == ERROR_MEMORY ? ERROR_MEMORY : OK;
}

/* Reads the statement again up to the token that does not fit, with the automaton alone. */
static enum error find_context(struct parse *parse, struct context *context)
{
    struct lexer lexer = {.text = parse->text, .arena = parse->arena};
    sqlparse_shadow_init(&context->before_found);
    context->start = true;
    for (;;) {
        struct token token;
        enum error status = lexer_next(&lexer, &token);
        if (status != OK)
            return status;
        context->found = token;
        if (token.at == parse->syntax_error.at || token.type == 0)
            return find_next(&lexer, context);
        shadow_copy(&context->before_previous, &context->before_found);
        (void)sqlparse_shadow_take(&context->before_found, token.type);
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
