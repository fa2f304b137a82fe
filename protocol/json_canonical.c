/* The form in which Geode returns a document. Geode writes what it stored as fields anew; Vug
 * brings the document into that form once, when it is put, so that a get stays a copy. */
#include "protocol/json_impl.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/text.h"

/* What is written stays the same as what is read for as long as possible: only from the first
 * difference on is there an `out`. */
struct json_writer {
    struct slice from;
    struct buf *out;
    bool started;
};

enum { JSON_NUMBER_BYTES = 512 };

/* `at` is where the difference begins. */
static struct buf *json_start(struct json_writer *writer, size_t at)
{
    if (!writer->started) {
        writer->started = true;
        buf_append(writer->out, writer->from.data, at);
    }
    return writer->out;
}

static void json_keep(struct json_writer *writer, size_t start, size_t end)
{
    if (writer->started)
        buf_append(writer->out, writer->from.data + start, end - start);
}

static void json_write_unit(struct buf *out, uint32_t unit)
{
    static const char letters[] = "btn\0fr"; /* of 8 to 13; 11 has none */

    if (unit == '"' || unit == '\\') {
        buf_append_byte(out, '\\');
        buf_append_byte(out, (uint8_t)unit);
    } else if (unit >= 8 && unit <= 13 && unit != 11) {
        buf_append_byte(out, '\\');
        buf_append_byte(out, (uint8_t)letters[unit - 8]);
    } else if (unit >= 0x10000) {
        buf_printf(out, "\\u%04X\\u%04X", 0xd800 | (unit - 0x10000) >> 10, 0xdc00 | (unit & 0x3ff));
    } else if (unit < ' ' || unit >= 0x80) {
        buf_printf(out, "\\u%04X", unit);
    } else {
        buf_append_byte(out, (uint8_t)unit);
    }
}

static void json_write_string(struct buf *out, struct slice text)
{
    size_t at = 0;

    buf_append_byte(out, '"');
    while (at < text.len)
        json_write_unit(out, json_next_unit(text, &at));
    buf_append_byte(out, '"');
}

/* From the opening quote at `start`; returns the place behind the closing one. */
static size_t json_copy_string(struct json_writer *writer, size_t start)
{
    struct slice from = writer->from;
    size_t at = start + 1;
    bool plain = true;

    while (at < from.len && from.data[at] != '"') {
        if (from.data[at] >= 0x80)
            plain = false;
        if (from.data[at] == '\\') {
            plain = false;
            at++;
        }
        at++;
    }
    if (at >= from.len)
        at = from.len;
    if (!plain)
        json_write_string(json_start(writer, start),
                          slice_of(from.data + start + 1, at - start - 1));
    at = at < from.len ? at + 1 : at;
    if (plain)
        json_keep(writer, start, at);
    return at;
}

/* The text of a number as the stored double prints; the length, or 0 without memory. */
static size_t json_print_double(struct slice text, char out[TEXT_DOUBLE_BYTES])
{
    char digits[JSON_NUMBER_BYTES];
    struct buf longer;
    double number;

    buf_init(&longer);
    if (text.len < sizeof digits) {
        memcpy(digits, text.data, text.len);
        digits[text.len] = '\0';
        number = strtod(digits, NULL);
    } else {
        buf_append_slice(&longer, text);
        buf_append_byte(&longer, 0);
        if (longer.failed)
            return 0;
        number = strtod((char *)longer.data, NULL);
        buf_fini(&longer);
    }
    if (isinf(number))
        return (size_t)snprintf(out, TEXT_DOUBLE_BYTES,
                                number > 0 ? "\"Infinity\"" : "\"-Infinity\"");
    return text_double_java(number, out);
}

static bool json_is_real(struct slice run)
{
    if (run.len == 0 || !(run.data[0] == '-' || (run.data[0] >= '0' && run.data[0] <= '9')))
        return false;
    return memchr(run.data, '.', run.len) != NULL || memchr(run.data, 'e', run.len) != NULL ||
           memchr(run.data, 'E', run.len) != NULL;
}

static bool json_ends_run(uint8_t byte)
{
    return json_is_space(byte) || byte == ',' || byte == '}' || byte == ']' || byte == ':';
}

/* A number, a word, or a name without quotes, which a colon follows. */
static size_t json_copy_run(struct json_writer *writer, size_t start)
{
    struct slice from = writer->from;
    char digits[TEXT_DOUBLE_BYTES];
    size_t at = start, next, len;

    while (at < from.len && !json_ends_run(from.data[at]))
        at++;
    struct slice run = slice_of(from.data + start, at - start);

    for (next = at; next < from.len && json_is_space(from.data[next]);)
        next++;
    if (next < from.len && from.data[next] == ':') {
        json_write_string(json_start(writer, start), run);
    } else if (json_is_real(run)) {
        len = json_print_double(run, digits);
        if (len == 0)
            writer->out->failed = true;
        if (slice_equal(run, slice_of(digits, len)))
            json_keep(writer, start, at);
        else
            buf_append(json_start(writer, start), digits, len);
    } else if (slice_equal(run, slice_text("-0"))) {
        buf_append_byte(json_start(writer, start), '0');
    } else {
        json_keep(writer, start, at);
    }
    return at;
}

enum error json_canonical(struct slice *document, struct buf *out)
{
    struct json_writer writer = {.from = *document, .out = out};
    size_t at = 0;

    while (at < writer.from.len && !out->failed) {
        uint8_t byte = writer.from.data[at];

        if (json_is_space(byte)) {
            json_start(&writer, at);
            at++;
        } else if (byte == '"') {
            at = json_copy_string(&writer, at);
        } else if (json_ends_run(byte) || byte == '{' || byte == '[') {
            json_keep(&writer, at, at + 1);
            at++;
        } else {
            at = json_copy_run(&writer, at);
        }
    }
    if (out->failed)
        return ERROR_MEMORY;
    if (writer.started)
        *document = buf_slice(out);
    return OK;
}
