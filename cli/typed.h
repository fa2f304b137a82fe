/* Keys and values as they are typed on the command line. */
#ifndef VUG_CLI_TYPED_H
#define VUG_CLI_TYPED_H

#include "common/buf.h"
#include "protocol/value.h"

/* Reads `text` as the type that `word` names (string int long double boolean byte short float bytes
 * json); bytes are hex digits. `bytes` keeps what the value points to, if it is not the text
 * itself. ERROR_INVALID: *problem says what it should be. ERROR_NOT_FOUND: no such type.
 * ERROR_MEMORY. */
enum error typed_value(const char *word, const char *text, struct buf *bytes, struct value *value,
                       const char **problem);

/* A JSON object or array is a document, anything else a string. *almost: it begins like one and is
 * none. */
struct value typed_guess(const char *text, bool *almost);

#define TYPED_WORDS "string int long double boolean byte short float bytes json"

#endif
