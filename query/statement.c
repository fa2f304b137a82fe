/* query_parse(): text to tree, and splitting a script. */
#include "query/parse.h"

#include "common/limits.h"
#include "common/mem.h"
#include "common/text.h"
#include "query/caret.h"
#include "query/parse_error.h"
#include "query/parser.h"

/* What nests without a limit of the tree's own: parentheses leave no node behind. */
struct nesting {
    uint32_t depth, prefixes;
};

static bool is_too_deep(struct nesting *nesting, const struct token *token)
{
    if (token->type == TOKEN_LP || token->type == TOKEN_CASE)
        nesting->depth++;
    else if ((token->type == TOKEN_RP || token->type == TOKEN_END) && nesting->depth > 0)
        nesting->depth--;
    bool prefix =
        token->type == TOKEN_NOT || token->type == TOKEN_MINUS || token->type == TOKEN_PLUS;
    nesting->prefixes = prefix ? nesting->prefixes + 1 : 0;
    return nesting->depth > LIMIT_EXPRESSION_DEPTH || nesting->prefixes > LIMIT_EXPRESSION_DEPTH;
}

static void feed(struct parse *parse, void *parser)
{
    struct lexer lexer = {.text = parse->text, .arena = parse->arena};
    struct nesting nesting = {0};
    for (;;) {
        struct token token;
        enum error status = lexer_next(&lexer, &token);
        if (status == ERROR_INVALID) {
            parse_fail(parse, status, token.at, "%s", lexer.why);
            return;
        }
        if (status != OK) {
            parse->status = status;
            return;
        }
        if (is_too_deep(&nesting, &token)) {
            parse_fail(parse, ERROR_LIMIT, token.at,
                       "the statement is nested too deeply: at most %u levels are allowed",
                       LIMIT_EXPRESSION_DEPTH);
            return;
        }
        sqlparse(parser, token.type, token);
        if (parse->status == OK && parse->syntax_failed)
            parse_error(parse);
        if (parse->status != OK || token.type == 0)
            return;
    }
}

/* The scanner wants a 0 byte behind the text and none inside. */
static enum error take_text(struct parse *parse, struct slice text)
{
    if (text.len > LIMIT_STATEMENT_BYTES) {
        caret_plain(parse->error, "the statement has %zu bytes; at most %u are allowed", text.len,
                    LIMIT_STATEMENT_BYTES);
        return ERROR_LIMIT;
    }
    char *copy = arena_strndup(parse->arena, (const char *)text.data, text.len);
    if (copy == NULL)
        return ERROR_MEMORY;
    parse->text = slice_of(copy, text.len);
    size_t at = 0;
    while (at < text.len && text.data[at] != 0) {
        size_t len = text_utf8_len(text.data + at, text.len - at);
        if (len == 0)
            break;
        at += len;
    }
    if (at < text.len) {
        caret_error(
            parse->error, slice_of(copy, at), at,
            "this byte (0x%02x) belongs to no text: a statement is UTF-8 without zero bytes",
            text.data[at]);
        return ERROR_INVALID;
    }
    return OK;
}

enum error query_parse(struct slice text, struct arena *arena, struct query_statement *statement,
                       struct query_error *error)
{
    struct parse parse = {.arena = arena, .statement = statement, .error = error};
    *statement = (struct query_statement){.kind = QUERY_SELECT};
    *error = (struct query_error){.line = 0};
    enum error status = take_text(&parse, text);
    if (status != OK)
        return status;
    parse.select = arena_zalloc(arena, sizeof *parse.select);
    void *parser = parse.select == NULL ? NULL : sqlparseAlloc(mem_alloc, &parse);
    if (parser == NULL)
        return ERROR_MEMORY;
    feed(&parse, parser);
    sqlparseFree(parser, mem_free);
    return parse.status;
}

/* The end of what begins at `at`: a string, a quoted name, a comment; or one byte. */
static size_t piece_end(struct slice text, size_t at)
{
    uint8_t byte = text.data[at], next = at + 1 < text.len ? text.data[at + 1] : 0;
    if (byte == '\'' || byte == '`' || byte == '"') {
        const uint8_t *end =
            at + 1 < text.len ? memchr(text.data + at + 1, byte, text.len - at - 1) : NULL;
        return end == NULL ? text.len : (size_t)(end - text.data) + 1;
    }
    if (byte == '-' && next == '-') {
        const uint8_t *end = memchr(text.data + at, '\n', text.len - at);
        return end == NULL ? text.len : (size_t)(end - text.data) + 1;
    }
    if (byte == '/' && next == '*') {
        const uint8_t *end = memmem(text.data + at + 2, text.len - at - 2, "*/", 2);
        return end == NULL ? text.len : (size_t)(end - text.data) + 2;
    }
    return at + 1;
}

static bool is_blank(uint8_t byte)
{
    return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

bool query_script_next(struct slice *rest, struct slice *statement)
{
    struct slice text = *rest;
    size_t begin = 0, at = 0;
    bool seen = false; /* something other than blanks and comments */
    while (at < text.len && !(seen && text.data[at] == ';')) {
        size_t end = piece_end(text, at);
        bool comment = end > at + 1 && (text.data[at] == '-' || text.data[at] == '/');
        if (!seen && (comment || is_blank(text.data[at]) || text.data[at] == ';'))
            begin = end;
        else
            seen = true;
        at = end;
    }
    if (!seen) {
        *rest = slice_of(text.data + text.len, 0);
        return false;
    }
    *statement = slice_of(text.data + begin, at - begin);
    at += at < text.len; /* the semicolon */
    *rest = slice_of(text.data + at, text.len - at);
    return true;
}
