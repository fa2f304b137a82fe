/* Shared by the files of json.h, for nobody else. */
#ifndef VUG_PROTOCOL_JSON_IMPL_H
#define VUG_PROTOCOL_JSON_IMPL_H

#include "protocol/json.h"

/* The UTF-16 unit at `at`: of a character beyond the basic plane the first of its two. *len is the
 * bytes of the character. Bytes that are no UTF-8 count as characters of their own. */
uint32_t json_unit_at(struct slice document, size_t at, size_t *len);

/* Reads one UTF-16 unit of the content of a string, escapes undone, and moves *at behind it. A
 * character beyond the basic plane that is written as itself comes as its code point. *at must be
 * inside. */
uint32_t json_next_unit(struct slice text, size_t *at);

static inline bool json_is_space(uint8_t byte)
{
    return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r';
}

/* Where in the document something is wrong: `units` UTF-16 units behind the byte `at`. */
struct json_place {
    struct slice document;
    size_t at;
    uint32_t units;
};

/* Both write the whole text and return ERROR_INVALID, or ERROR_MEMORY. `java_class` is Jackson's
 * exception; the reason is followed by its place. */
enum error json_fail_lexical(struct json_error *error, const char *java_class,
                             struct json_place place, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* What Geode itself refuses, after Jackson accepted it: the place comes first. */
enum error json_fail_structure(struct json_error *error, struct json_place place,
                               const char *format, ...) __attribute__((format(printf, 3, 4)));

/* "[Source: (String)"..."; line: 1, column: 1]"; `at` is the byte behind an opening bracket. */
void json_append_start(struct buf *text, struct slice document, size_t at);

/* How Jackson names a unit: 'x' (code 120). */
enum { JSON_UNIT_NAME_BYTES = 48 };
void json_name_unit(char name[JSON_UNIT_NAME_BYTES], uint32_t unit);

#define JSON_PARSE_EXCEPTION "com.fasterxml.jackson.core.JsonParseException"
#define JSON_EOF_EXCEPTION   "com.fasterxml.jackson.core.io.JsonEOFException"

/* The length of the run of bytes before a quote, a backslash or a control character, eight at a
 * time; `len` if there is none. A byte is one of them when, less what is looked for, it borrows;
 * bytes above 0x7f never do. */
static inline size_t json_plain_run(const uint8_t *data, size_t len)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), highs = UINT64_C(0x8080808080808080);
    size_t at = 0;

    for (; len - at >= 8; at += 8) {
        uint64_t eight, quote, backslash, found;

        memcpy(&eight, data + at, sizeof eight);
        quote = eight ^ ones * '"';
        backslash = eight ^ ones * '\\';
        found = (((quote - ones) & ~quote) | ((backslash - ones) & ~backslash) |
                 ((eight - ones * 0x20) & ~eight)) &
                highs;
        if (found != 0)
            return at + (size_t)__builtin_ctzll(found) / 8;
    }
    while (at < len && data[at] != '"' && data[at] != '\\' && data[at] >= ' ')
        at++;
    return at;
}

#endif
