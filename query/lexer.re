/* The scanner: regular expressions to tokens. */
#include "query/lexer.h"

#include "query/parser.h"

#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wimplicit-fallthrough"

struct word {
    const char *capitals;
    int token;
};

/* In the order of the alphabet, for the search. Words that stand in the grammar, which says which
 * of them are still free to be names. RESERVED words begin what is not supported: they must not be
 * taken for an alias. */
static const struct word words[] = {
    {"AND", TOKEN_AND},
    {"AS", TOKEN_AS},
    {"ASC", TOKEN_ASC},
    {"BETWEEN", TOKEN_BETWEEN},
    {"BY", TOKEN_BY},
    {"CASE", TOKEN_CASE},
    {"CAST", TOKEN_CAST},
    {"CHANGELOG_MODE", TOKEN_CHANGELOG_MODE},
    {"CREATE", TOKEN_CREATE},
    {"CROSS", TOKEN_RESERVED},
    {"CURRENT", TOKEN_CURRENT},
    {"DESC", TOKEN_DESC},
    {"DESCRIBE", TOKEN_DESCRIBE},
    {"DISTINCT", TOKEN_DISTINCT},
    {"DROP", TOKEN_DROP},
    {"ELSE", TOKEN_ELSE},
    {"EMIT", TOKEN_RESERVED},
    {"END", TOKEN_END},
    {"ESCAPE", TOKEN_ESCAPE},
    {"EXCEPT", TOKEN_RESERVED},
    {"EXISTS", TOKEN_EXISTS},
    {"EXPLAIN", TOKEN_EXPLAIN},
    {"FALSE", TOKEN_FALSE},
    {"FETCH", TOKEN_RESERVED},
    {"FILTER", TOKEN_RESERVED},
    {"FOLLOWING", TOKEN_FOLLOWING},
    {"FOR", TOKEN_RESERVED},
    {"FROM", TOKEN_FROM},
    {"FULL", TOKEN_RESERVED},
    {"GROUP", TOKEN_GROUP},
    {"HAVING", TOKEN_HAVING},
    {"IF", TOKEN_IF},
    {"IN", TOKEN_IN},
    {"INNER", TOKEN_RESERVED},
    {"INTERSECT", TOKEN_RESERVED},
    {"IS", TOKEN_IS},
    {"JOIN", TOKEN_RESERVED},
    {"LEFT", TOKEN_RESERVED},
    {"LIKE", TOKEN_LIKE},
    {"LIMIT", TOKEN_RESERVED},
    {"NATURAL", TOKEN_RESERVED},
    {"NOT", TOKEN_NOT},
    {"NULL", TOKEN_NULL},
    {"OFFSET", TOKEN_RESERVED},
    {"OR", TOKEN_OR},
    {"ORDER", TOKEN_ORDER},
    {"OVER", TOKEN_OVER},
    {"PARTITION", TOKEN_PARTITION},
    {"PRECEDING", TOKEN_PRECEDING},
    {"PRECISION", TOKEN_PRECISION},
    {"PRIMARY", TOKEN_RESERVED},
    {"RANGE", TOKEN_RANGE},
    {"RIGHT", TOKEN_RESERVED},
    {"ROW", TOKEN_ROW},
    {"ROWS", TOKEN_ROWS},
    {"SELECT", TOKEN_SELECT},
    {"SHOW", TOKEN_SHOW},
    {"TABLE", TOKEN_TABLE},
    {"TABLES", TOKEN_TABLES},
    {"TEMPORARY", TOKEN_TEMPORARY},
    {"THEN", TOKEN_THEN},
    {"TRUE", TOKEN_TRUE},
    {"TRY_CAST", TOKEN_TRY_CAST},
    {"UNBOUNDED", TOKEN_UNBOUNDED},
    {"UNION", TOKEN_RESERVED},
    {"UNKNOWN", TOKEN_UNKNOWN},
    {"WHEN", TOKEN_WHEN},
    {"WHERE", TOKEN_WHERE},
    {"WINDOW", TOKEN_WINDOW},
    {"WITH", TOKEN_WITH},
};

static int capital(int byte)
{
    return byte >= 'a' && byte <= 'z' ? byte - 'a' + 'A' : byte;
}

/* Like strcmp of the word in capitals. */
static int compare_word(struct slice word, const char *capitals)
{
    for (size_t i = 0; i < word.len; i++) {
        int difference = capital(word.data[i]) - (unsigned char)capitals[i];
        if (difference != 0)
            return difference;
    }
    return capitals[word.len] == '\0' ? 0 : -1;
}

bool lexer_word_is(struct slice word, const char *capitals)
{
    return compare_word(word, capitals) == 0;
}

static int word_token(struct slice word)
{
    size_t low = 0, high = sizeof words / sizeof words[0];
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare_word(word, words[middle].capitals);
        if (order == 0)
            return words[middle].token;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return TOKEN_ID;
}

bool lexer_is_plain_name(struct slice word)
{
    if (word.len == 0 || (word.data[0] >= '0' && word.data[0] <= '9'))
        return false;
    for (size_t i = 0; i < word.len; i++) {
        uint8_t byte = word.data[i];
        bool letter = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || byte == '_';
        if (!letter && !(byte >= '0' && byte <= '9'))
            return false;
    }
    return word_token(word) == TOKEN_ID;
}

/* Takes the quotes off and undoes doubled ones. */
static enum error unquote(struct lexer *lexer, struct token *token)
{
    const uint8_t *in = lexer->text.data + token->at + 1;
    size_t len = token->len - 2;
    uint8_t quote = in[-1];
    token->text = slice_of(in, len);
    if (len == 0 || memchr(in, quote, len) == NULL)
        return OK;
    uint8_t *out = arena_alloc(lexer->arena, len);
    if (out == NULL)
        return ERROR_MEMORY;
    size_t used = 0;
    for (size_t i = 0; i < len; i++) {
        out[used++] = in[i];
        if (in[i] == quote)
            i++;
    }
    token->text = slice_of(out, used);
    return OK;
}

/* TIMESTAMP, DATE, TIME and INTERVAL begin a literal only if a string follows; otherwise they are
 * names like others. */
static bool string_follows(const uint8_t *at)
{
    while (*at == ' ' || *at == '\t' || *at == '\r' || *at == '\n')
        at++;
    return *at == '\'';
}

/* What is wrong about the token that begins here, by its first byte. */
static enum error refuse(struct lexer *lexer, struct token *token)
{
    uint8_t first = lexer->text.data[token->at];
    lexer->at = token->at + 1;
    token->len = 1;
    if (first == '\'')
        lexer->why = "a string begins here and does not end; a closing ' was expected";
    else if (first == '`')
        lexer->why = "a quoted name begins here and does not end; a closing ` was expected";
    else if (first == '"')
        lexer->why = "a quoted name begins here and does not end; a closing \" was expected";
    else if (first == '/')
        lexer->why = "a comment begins here and does not end; \"*/\" was expected";
    else if (first == '.' || (first >= '0' && first <= '9'))
        lexer->why = "a number runs into a word; a name that begins with a digit stands in "
                     "back-ticks";
    else
        lexer->why = "this character begins nothing in SQL";
    return ERROR_INVALID;
}

static int sign_token(uint8_t sign)
{
    static const int tokens[128] = {
        ['('] = TOKEN_LP,        [')'] = TOKEN_RP,   [','] = TOKEN_COMMA, ['.'] = TOKEN_DOT,
        [';'] = TOKEN_SEMICOLON, ['+'] = TOKEN_PLUS, ['-'] = TOKEN_MINUS, ['*'] = TOKEN_STAR,
        ['/'] = TOKEN_SLASH,     ['%'] = TOKEN_PERCENT, ['='] = TOKEN_EQ, ['<'] = TOKEN_LT,
        ['>'] = TOKEN_GT,
    };
    return tokens[sign];
}

/* Words that are tokens of their own only before a string. */
static int free_word_token(struct slice word)
{
    if (lexer_word_is(word, "TIMESTAMP"))
        return TOKEN_TIMESTAMP;
    bool literal = lexer_word_is(word, "DATE") || lexer_word_is(word, "TIME") ||
                   lexer_word_is(word, "INTERVAL");
    return literal ? TOKEN_RESERVED : TOKEN_ID;
}

/* Fills the token that ends at `end`. */
static enum error take(struct lexer *lexer, struct token *token, int type, const uint8_t *end)
{
    const uint8_t *start = lexer->text.data + token->at;
    token->type = type;
    token->len = (uint32_t)(end - start);
    token->text = slice_of(start, token->len);
    lexer->at = (size_t)(end - lexer->text.data);
    bool quoted_name = type == TOKEN_ID && (*start == '`' || *start == '"');
    if (type == TOKEN_PARAMETER)
        token->text = slice_of(start + 1, token->len - 1);
    if (type != TOKEN_STRING && !quoted_name)
        return OK;
    token->quoted = quoted_name;
    enum error status = unquote(lexer, token);
    if (status == OK && quoted_name && token->text.len == 0) {
        lexer->why = "a quoted name is empty";
        return ERROR_INVALID;
    }
    return status;
}

enum error lexer_next(struct lexer *lexer, struct token *token)
{
    const uint8_t *YYCURSOR = lexer->text.data + lexer->at;
    const uint8_t *YYLIMIT = lexer->text.data + lexer->text.len;
    const uint8_t *YYMARKER = YYCURSOR;
    const uint8_t *start;
    *token = (struct token){.type = 0};

next:
    start = YYCURSOR;
    token->at = (uint32_t)(start - lexer->text.data);
    /*!re2c
    re2c:define:YYCTYPE = uint8_t;
    re2c:yyfill:enable = 0;
    re2c:eof = 0;

    blank = [ \t\r\n\f\v];
    letter = [A-Za-z_\x80-\xff];
    digit = [0-9];
    word = letter (letter | digit | "$")*;
    decimal = digit+ "." digit* | "." digit+;
    exponent = [eE] [+-]? digit+;

    blank+                    { goto next; }
    "--" [^\n\x00]*           { goto next; }
    "/*" ([^*] | "*"+ [^*/])* "*"+ "/" { goto next; }
    $                         { lexer->at = token->at; return OK; }

    [xX] "'" [^'\x00]* "'"    { return take(lexer, token, TOKEN_BINARY, YYCURSOR); }
    word                      { goto word; }
    digit+                    { return take(lexer, token, TOKEN_INTEGER, YYCURSOR); }
    decimal                   { return take(lexer, token, TOKEN_DECIMAL, YYCURSOR); }
    (decimal | digit+) exponent { return take(lexer, token, TOKEN_APPROXIMATE, YYCURSOR); }
    (decimal | digit+) exponent? letter { return refuse(lexer, token); }
    "'" ([^'\x00] | "''")* "'" { return take(lexer, token, TOKEN_STRING, YYCURSOR); }
    "`" ([^`\x00] | "``")* "`" { return take(lexer, token, TOKEN_ID, YYCURSOR); }
    ["] ([^"\x00] | ["]["])* ["] { return take(lexer, token, TOKEN_ID, YYCURSOR); }
    ":" word                  { return take(lexer, token, TOKEN_PARAMETER, YYCURSOR); }

    "||"                      { return take(lexer, token, TOKEN_CONCAT, YYCURSOR); }
    "<>" | "!="               { return take(lexer, token, TOKEN_NE, YYCURSOR); }
    "<="                      { return take(lexer, token, TOKEN_LE, YYCURSOR); }
    ">="                      { return take(lexer, token, TOKEN_GE, YYCURSOR); }
    [(),.;+*/%=<>-]           { return take(lexer, token, sign_token(*start), YYCURSOR); }
    "/*"                      { return refuse(lexer, token); }
    *                         { return refuse(lexer, token); }
    */

word:;
    int type = word_token(slice_of(start, (size_t)(YYCURSOR - start)));
    if (type == TOKEN_ID && string_follows(YYCURSOR))
        type = free_word_token(slice_of(start, (size_t)(YYCURSOR - start)));
    return take(lexer, token, type, YYCURSOR);
}
