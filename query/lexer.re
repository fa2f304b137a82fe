/* The scanner: regular expressions to tokens. */
#include "query/lexer.h"

#include "query/parser.h"

#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wimplicit-fallthrough"

struct word {
    const char *capitals;
    int token;
};

/* In the order of the alphabet, for the search. Words that stand in the grammar; the grammar says which of them are still free to
 * be names. RESERVED are words that begin what is not supported: they must not be taken for an alias. */
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

/* A word is TIMESTAMP, DATE, TIME or INTERVAL of a literal only if a string follows; otherwise it is a name like any other. */
static bool string_follows(const uint8_t *at)
{
    while (*at == ' ' || *at == '\t' || *at == '\r' || *at == '\n')
        at++;
    return *at == '\'';
}

static enum error refuse(struct lexer *lexer, struct token *token, const char *why)
{
    token->len = (uint32_t)(lexer->at - token->at);
    lexer->why = why;
    return ERROR_INVALID;
}

enum error lexer_next(struct lexer *lexer, struct token *token)
{
    const uint8_t *YYCURSOR = lexer->text.data + lexer->at;
    const uint8_t *YYLIMIT = lexer->text.data + lexer->text.len;
    const uint8_t *YYMARKER = YYCURSOR;
    const uint8_t *start;
    *token = (struct token){.type = 0};

#define TAKE(number)                                                                               \
    do {                                                                                           \
        token->type = (number);                                                                    \
        goto taken;                                                                                \
    } while (0)

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
    exponent = [eE] [+-]? digit+;

    blank+                    { goto next; }
    "--" [^\n\x00]*           { goto next; }
    "/*" ([^*] | "*"+ [^*/])* "*"+ "/" { goto next; }
    "/*"                      { lexer->at = token->at + 2; return refuse(lexer, token, "a comment begins here and does not end; \"*/\" was expected"); }
    $                         { lexer->at = token->at; token->type = 0; return OK; }

    [xX] "'" [^'\x00]* "'"    { TAKE(TOKEN_BINARY); }
    word                      { goto word; }
    digit+                    { TAKE(TOKEN_INTEGER); }
    digit+ "." digit* | "." digit+ { TAKE(TOKEN_DECIMAL); }
    (digit+ "." digit* | "." digit+ | digit+) exponent { TAKE(TOKEN_APPROXIMATE); }
    (digit+ "." digit* | "." digit+ | digit+) exponent? letter {
        lexer->at = (size_t)(YYCURSOR - lexer->text.data);
        return refuse(lexer, token, "a number runs into a word; a name that begins with a digit stands in back-ticks");
    }
    "'" ([^'\x00] | "''")* "'"      { TAKE(TOKEN_STRING); }
    "'"                       { lexer->at = token->at + 1; return refuse(lexer, token, "a string begins here and does not end; a closing ' was expected"); }
    "`" ([^`\x00] | "``")* "`"      { TAKE(TOKEN_ID); }
    "`"                       { lexer->at = token->at + 1; return refuse(lexer, token, "a quoted name begins here and does not end; a closing ` was expected"); }
    ["] ([^"\x00] | ["]["])* ["]    { TAKE(TOKEN_ID); }
    ["]                       { lexer->at = token->at + 1; return refuse(lexer, token, "a quoted name begins here and does not end; a closing \" was expected"); }
    ":" word                  { TAKE(TOKEN_PARAMETER); }

    "("   { TAKE(TOKEN_LP); }
    ")"   { TAKE(TOKEN_RP); }
    ","   { TAKE(TOKEN_COMMA); }
    "."   { TAKE(TOKEN_DOT); }
    ";"   { TAKE(TOKEN_SEMICOLON); }
    "+"   { TAKE(TOKEN_PLUS); }
    "-"   { TAKE(TOKEN_MINUS); }
    "*"   { TAKE(TOKEN_STAR); }
    "/"   { TAKE(TOKEN_SLASH); }
    "%"   { TAKE(TOKEN_PERCENT); }
    "||"  { TAKE(TOKEN_CONCAT); }
    "="   { TAKE(TOKEN_EQ); }
    "<>" | "!=" { TAKE(TOKEN_NE); }
    "<"   { TAKE(TOKEN_LT); }
    "<="  { TAKE(TOKEN_LE); }
    ">"   { TAKE(TOKEN_GT); }
    ">="  { TAKE(TOKEN_GE); }
    *     { lexer->at = token->at + 1; return refuse(lexer, token, "this character begins nothing in SQL"); }
    */

word:
    token->text = slice_of(start, (size_t)(YYCURSOR - start));
    token->type = word_token(token->text);
    if (token->type == TOKEN_ID && string_follows(YYCURSOR)) {
        if (lexer_word_is(token->text, "TIMESTAMP"))
            token->type = TOKEN_TIMESTAMP;
        else if (lexer_word_is(token->text, "DATE") || lexer_word_is(token->text, "TIME") ||
                 lexer_word_is(token->text, "INTERVAL"))
            token->type = TOKEN_RESERVED;
    }
taken:
    lexer->at = (size_t)(YYCURSOR - lexer->text.data);
    token->len = (uint32_t)(YYCURSOR - start);
    if (token->type == TOKEN_STRING)
        return unquote(lexer, token);
    if (token->type == TOKEN_ID && token->text.data == NULL) {
        token->quoted = true;
        enum error status = unquote(lexer, token);
        if (status == OK && token->text.len == 0)
            return refuse(lexer, token, "a quoted name is empty");
        return status;
    }
    if (token->type == TOKEN_PARAMETER)
        token->text = slice_of(start + 1, token->len - 1);
    else if (token->text.data == NULL)
        token->text = slice_of(start, token->len);
    return OK;
}
