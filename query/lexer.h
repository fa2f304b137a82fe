/* Words of a statement. The scanner itself is generated from lexer.re. */
#ifndef VUG_QUERY_LEXER_H
#define VUG_QUERY_LEXER_H

#include "common/arena.h"
#include "common/error.h"
#include "common/slice.h"

/* `type` is one of the parser's TOKEN_ numbers, 0 at the end of the text. */
struct token {
    int type;
    bool quoted;       /* an identifier in back-ticks or double quotes */
    uint32_t at, len;  /* bytes of the statement */
    struct slice text; /* of names and strings: without quotes, doubled quotes undone */
};

struct lexer {
    struct slice text; /* followed by a 0 byte, without one inside */
    size_t at;
    struct arena *arena; /* for names and strings with doubled quotes */
    const char
        *why; /* what is wrong when lexer_next() says ERROR_INVALID, about the token's place */
};

/* ERROR_INVALID: no token begins here, or it does not end; ERROR_MEMORY. */
enum error lexer_next(struct lexer *lexer, struct token *token);

/* Whether the word, whatever its case, is this one in capitals. */
bool lexer_word_is(struct slice word, const char *capitals);

/* Whether the word can stand without quotes wherever a name is expected. */
bool lexer_is_plain_name(struct slice word);

#endif
