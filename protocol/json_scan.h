/* Shared by json_validate.c and json_scan.c, for nobody else: the state of a check, and the readers
 * of single tokens. */
#ifndef VUG_PROTOCOL_JSON_SCAN_H
#define VUG_PROTOCOL_JSON_SCAN_H

#include "common/limits.h"
#include "protocol/json_impl.h"
#include "protocol/json_names.h"

#define JSON_VALUES "(JSON String, Number, Array, Object or token 'null', 'true' or 'false')"

enum { JSON_END = -1 };

struct json_level {
    size_t after_bracket; /* the byte behind the opening bracket */
    size_t names_base;
    bool is_object;
    bool has_entries;
};

struct json_check {
    struct slice document;
    size_t at;
    struct json_level levels[LIMIT_JSON_DEPTH];
    uint32_t depth;
    struct json_names names;
    struct json_error *error;
};

static inline struct json_place json_here(const struct json_check *check)
{
    return (struct json_place){check->document, check->at, 0};
}

/* Behind the first unit of the character at `at`, where the reference stands when it has read it.
 */
static inline struct json_place json_behind(const struct json_check *check, size_t at)
{
    return (struct json_place){check->document, at, 1};
}

/* "Unexpected character ('x' (code 120))", `in`, ": ", `why`: about the character at `at`. */
enum error json_fail_char(struct json_check *check, size_t at, struct json_place place,
                          const char *in, const char *why);
/* "Unexpected end-of-input" and `why`. */
enum error json_fail_end(struct json_check *check, const char *why);

/* Skips white space. *byte is the first byte behind it, which `at` still points to, or JSON_END. */
enum error json_skip_more_space(struct json_check *check, int *byte);
static inline enum error json_skip_space(struct json_check *check, int *byte)
{
    if (check->at < check->document.len && check->document.data[check->at] > ' ' &&
        check->document.data[check->at] != '/') {
        *byte = check->document.data[check->at];
        return OK;
    }
    return json_skip_more_space(check, byte);
}

/* `at` is behind the opening quote; afterwards behind the closing one. `what` is named when a
 * control character stands inside, `at_end` when the document ends. */
enum error json_check_string(struct json_check *check, const char *what, const char *at_end,
                             bool *escaped);

/* `at` is at the first byte of the token. */
enum error json_check_word(struct json_check *check, const char *word);
enum error json_check_number(struct json_check *check);

/* What begins no value. */
enum error json_fail_value(struct json_check *check);

#endif
