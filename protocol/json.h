/* JSON documents as Geode reads them.
 *
 * The grammar is Geode's (Jackson with unquoted field names and any escaped character), which no
 * JSON library here accepts; so documents of clients are scanned by our own code, and jansson stays
 * for configuration and tools. */
#ifndef VUG_PROTOCOL_JSON_H
#define VUG_PROTOCOL_JSON_H

#include "common/buf.h"
#include "common/error.h"
#include "common/slice.h"

/* Why a document was refused: the text that follows "Could not parse JSON document" in Geode's
 * answer, which starts with "  Caused by: com.fasterxml.jackson.core.JsonParseException: ..." or ":
 * [Source: ...". */
struct json_error {
    struct buf text;
};

/* Checks one document: the root must be an object, parsing stops at its closing brace (*end is just
 * behind it; what follows is ignored). Depth at most LIMIT_JSON_DEPTH. ERROR_INVALID fills
 * error->text (initialised by the caller); ERROR_MEMORY. */
enum error json_validate(struct slice document, size_t *end, struct json_error *error);

enum json_type {
    JSON_NULL,
    JSON_TRUE,
    JSON_FALSE,
    JSON_INTEGER,
    JSON_REAL,
    JSON_STRING,
    JSON_OBJECT,
    JSON_ARRAY
};

struct json_token {
    enum json_type type;
    struct slice
        text;     /* of the value as written; a string without its quotes, escapes not undone */
    bool escaped; /* a string that holds a backslash */
};

/* Walks the fields of the root object of a valid document. Start with *at = 0; false at the end.
 * `name` is as written, without quotes; name_escaped as in json_token. */
bool json_next_field(struct slice document, size_t *at, struct slice *name, bool *name_escaped,
                     struct json_token *value);

/* Undoes the escapes of a string token; a lone surrogate becomes U+FFFD. */
void json_unescape(struct slice text, struct buf *out);

/* The form in which Geode returns a valid document: no white space, quoted names, doubles as Java
 * prints them, everything beyond ASCII escaped by UTF-16 unit. A document that has this form
 * already stays as it is; else *document becomes the form, which is written to `out` (initialised
 * by the caller). ERROR_MEMORY. */
enum error json_canonical(struct slice *document, struct buf *out);

#endif
