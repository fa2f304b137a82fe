#include "query/caret.h"

#include <stdio.h>

/* Columns of a statement's line that are shown at most; what is cut is marked with three dots. */
enum { COLUMNS_SHOWN = 100, COLUMNS_BEFORE = 60, SENTENCE_MAX = 560 };

static bool is_continuation(uint8_t byte)
{
    return (byte & 0xC0) == 0x80;
}

static uint8_t shown(uint8_t byte)
{
    return byte < 0x20 || byte == 0x7F ? ' ' : byte;
}

const char *caret_clip(struct slice text, char *out, size_t room)
{
    PRE(room >= 4);
    size_t len = text.len;
    bool cut = len > room - 1;
    if (cut) {
        len = room - 4;
        while (len > 0 && is_continuation(text.data[len]))
            len--;
    }
    for (size_t i = 0; i < len; i++)
        out[i] = (char)shown(text.data[i]);
    if (cut)
        memcpy(out + len, "...", 3);
    out[cut ? len + 3 : len] = '\0';
    return out;
}

/* The end of `text` after at most `columns` characters from `from`. */
static size_t forward(struct slice text, size_t from, size_t end, size_t columns)
{
    while (from < end && columns > 0) {
        from++;
        while (from < end && is_continuation(text.data[from]))
            from++;
        columns--;
    }
    return from;
}

static size_t columns_between(struct slice text, size_t from, size_t to)
{
    size_t columns = 0;
    for (size_t i = from; i < to; i++)
        if (!is_continuation(text.data[i]))
            columns++;
    return columns;
}

/* Appends the line [begin, end) and the caret line for `at`. */
static void append_line(struct query_error *error, size_t used, struct slice text, size_t begin,
                        size_t end, size_t at)
{
    size_t before = columns_between(text, begin, at);
    size_t from =
        before > COLUMNS_BEFORE ? forward(text, begin, at, before - COLUMNS_BEFORE) : begin;
    size_t to = forward(text, from, end, COLUMNS_SHOWN);
    char *out = error->message + used;
    /* Room for the line in bytes, the dots, the caret's line and the final 0. */
    size_t room = sizeof error->message - used - COLUMNS_BEFORE - 16;
    while (to - from > room) {
        to--;
        while (to > at && is_continuation(text.data[to]))
            to--;
    }
    *out++ = '\n';
    if (from > begin) {
        memcpy(out, "...", 3);
        out += 3;
    }
    for (size_t i = from; i < to; i++)
        *out++ = (char)shown(text.data[i]);
    if (to < end) {
        memcpy(out, "...", 3);
        out += 3;
    }
    *out++ = '\n';
    size_t blanks = columns_between(text, from, at) + (from > begin ? 3 : 0);
    memset(out, ' ', blanks);
    out[blanks] = '^';
    out[blanks + 1] = '\0';
}

void caret_verror(struct query_error *error, struct slice text, size_t at, const char *format,
                  va_list args)
{
    PRE(at <= text.len);
    size_t begin = 0;
    error->line = 1;
    for (size_t i = 0; i < at; i++)
        if (text.data[i] == '\n') {
            error->line++;
            begin = i + 1;
        }
    size_t end = at;
    while (end < text.len && text.data[end] != '\n' && text.data[end] != '\r')
        end++;
    error->column = (uint32_t)columns_between(text, begin, at) + 1;
    (void)vsnprintf(error->message, SENTENCE_MAX, format, args);
    size_t used = strlen(error->message);
    while (used > 0 && used == SENTENCE_MAX - 1 &&
           is_continuation((uint8_t)error->message[used - 1]))
        used--; /* the cut may have split a character */
    append_line(error, used, text, begin, end, at);
}

void caret_error(struct query_error *error, struct slice text, size_t at, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    caret_verror(error, text, at, format, args);
    va_end(args);
}

void caret_plain(struct query_error *error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    error->line = error->column = 0;
    (void)vsnprintf(error->message, sizeof error->message, format, args);
    va_end(args);
}
