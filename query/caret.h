/* Errors with a place: a sentence, the line of the statement, and a caret under what the sentence
 * is about. */
#ifndef VUG_QUERY_CARET_H
#define VUG_QUERY_CARET_H

#include "query/query.h"

/* Fills `error` for the byte at offset `at` of `text`. Columns count characters, not bytes;
 * the caret stands behind wide characters where a terminal shows them. A long
 * line is clipped around the caret; control characters are shown as blanks. */
void caret_error(struct query_error *error, struct slice text, size_t at, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void caret_verror(struct query_error *error, struct slice text, size_t at, const char *format,
                  va_list args) __attribute__((format(printf, 4, 0)));

/* An error without a place. */
void caret_plain(struct query_error *error, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* A piece of the user's text for a sentence: clipped to `room` - 1 bytes at a character's border,
 * control characters replaced. Returns `out`. */
const char *caret_clip(struct slice text, char *out, size_t room);

#endif
