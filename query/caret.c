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

/* Characters that terminals show two columns wide: East Asian wide and full-width ones. */
static bool is_wide(uint32_t character)
{
    static const uint32_t wide[][2] = {
        {0x1100, 0x115F},   {0x2E80, 0x303E},   {0x3041, 0x33FF},   {0x3400, 0x4DBF},
        {0x4E00, 0x9FFF},   {0xA000, 0xA4CF},   {0xA960, 0xA97C},   {0xAC00, 0xD7A3},
        {0xF900, 0xFAFF},   {0xFE30, 0xFE6F},   {0xFF01, 0xFF60},   {0xFFE0, 0xFFE6},
        {0x1F300, 0x1F64F}, {0x1F680, 0x1F6FF}, {0x1F900, 0x1FAFF}, {0x20000, 0x3FFFD},
    };
    for (size_t i = 0; i < sizeof wide / sizeof wide[0]; i++)
        if (character >= wide[i][0] && character <= wide[i][1])
            return true;
    return false;
}

/* How many columns of a terminal [from, to) fills; the text is UTF-8. */
static size_t width_between(struct slice text, size_t from, size_t to)
{
    size_t width = 0;
    while (from < to) {
        uint8_t byte = text.data[from++];
        uint32_t character = byte < 0x80   ? byte
                             : byte < 0xE0 ? byte & 0x1Fu
                             : byte < 0xF0 ? byte & 0x0Fu
                                           : byte & 0x07u;
        for (; from < to && is_continuation(text.data[from]); from++)
            character = character << 6 | (text.data[from] & 0x3Fu);
        width += is_wide(character) ? 2 : 1;
    }
    return width;
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
    size_t room = sizeof error->message - used - 2 * COLUMNS_BEFORE - 16;
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
    size_t blanks = width_between(text, from, at) + (from > begin ? 3 : 0);
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
