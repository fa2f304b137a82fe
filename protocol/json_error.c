/* The texts of refused documents, as Jackson 2.12.1 and Geode 1.14.4 write them. */
#include "protocol/json_impl.h"

#include <stdio.h>

#include "common/text.h"

enum {
    JSON_SNIPPET_UNITS = 500, /* of the document that a text repeats */
    JSON_STRING_UNITS_MAX =
        0x8000, /* a longer document goes through a reader, which has no text to repeat */
};

uint32_t json_unit_at(struct slice document, size_t at, size_t *len)
{
    const uint8_t *byte = document.data + at;
    uint32_t point;

    *len = text_utf8_len(byte, document.len - at);
    switch (*len) {
    case 0:
        *len = 1;
        return *byte;
    case 1:
        return *byte;
    case 2:
        return (byte[0] & 0x1fu) << 6 | (byte[1] & 0x3fu);
    case 3:
        return (byte[0] & 0x0fu) << 12 | (byte[1] & 0x3fu) << 6 | (byte[2] & 0x3fu);
    default:
        point = (byte[0] & 0x07u) << 18 | (byte[1] & 0x3fu) << 12 | (byte[2] & 0x3fu) << 6 |
                (byte[3] & 0x3fu);
        return 0xd800 | (point - 0x10000) >> 10;
    }
}

static size_t json_units_of(size_t utf8_len)
{
    return utf8_len == 4 ? 2 : 1;
}

/* Lines end with \n, \r or both; the column counts UTF-16 units from 0. */
static void json_locate(struct slice document, size_t at, size_t *line, size_t *column)
{
    size_t i = 0, len;

    *line = 1;
    *column = 0;
    while (i < at && i < document.len) {
        uint32_t unit = json_unit_at(document, i, &len);

        i += len;
        *column += json_units_of(len);
        if (unit == '\r' && i < document.len && document.data[i] == '\n' && i < at)
            i++;
        if (unit == '\n' || unit == '\r') {
            ++*line;
            *column = 0;
        }
    }
}

static void json_append_source(struct buf *text, struct slice document)
{
    size_t units = 0, shown = 0, i = 0, len;
    bool halved = false;

    while (i < document.len) {
        json_unit_at(document, i, &len);
        units += json_units_of(len);
        i += len;
        if (units <= JSON_SNIPPET_UNITS)
            shown = i;
        else if (units == JSON_SNIPPET_UNITS + 1 && len == 4)
            halved = true;
    }
    if (units > JSON_STRING_UNITS_MAX) {
        buf_append_text(text, "[Source: (StringReader)");
        return;
    }
    buf_append_text(text, "[Source: (String)\"");
    buf_append(text, document.data, shown);
    if (halved)
        buf_append_byte(text, '?'); /* what is left of a character that was cut in two */
    buf_append_byte(text, '"');
    if (units > JSON_SNIPPET_UNITS)
        buf_printf(text, "[truncated %zu chars]", units - JSON_SNIPPET_UNITS);
}

static void json_append_place(struct buf *text, struct json_place place)
{
    size_t line, column;

    json_locate(place.document, place.at, &line, &column);
    json_append_source(text, place.document);
    buf_printf(text, "; line: %zu, column: %zu]", line, column + place.units + 1);
}

void json_append_start(struct buf *text, struct slice document, size_t at)
{
    size_t line, column;

    json_locate(document, at, &line, &column);
    json_append_source(text, document);
    buf_printf(text, "; line: %zu, column: %zu]", line, column);
}

enum error json_fail_lexical(struct json_error *error, const char *java_class,
                             struct json_place place, const char *format, ...)
{
    va_list args;

    buf_printf(&error->text, "  Caused by: %s: ", java_class);
    va_start(args, format);
    buf_vprintf(&error->text, format, args);
    va_end(args);
    buf_append_text(&error->text, "\n at ");
    json_append_place(&error->text, place);
    return error->text.failed ? ERROR_MEMORY : ERROR_INVALID;
}

enum error json_fail_structure(struct json_error *error, struct json_place place,
                               const char *format, ...)
{
    va_list args;

    buf_append_text(&error->text, ": ");
    json_append_place(&error->text, place);
    buf_append_text(&error->text, " Caused by: ");
    va_start(args, format);
    buf_vprintf(&error->text, format, args);
    va_end(args);
    return error->text.failed ? ERROR_MEMORY : ERROR_INVALID;
}

void json_name_unit(char name[JSON_UNIT_NAME_BYTES], uint32_t unit)
{
    char shown[4] = "?"; /* half of a character that has two units */

    if (unit < 0x20 || (unit >= 0x7f && unit <= 0x9f)) {
        snprintf(name, JSON_UNIT_NAME_BYTES, "(CTRL-CHAR, code %u)", unit);
        return;
    }
    if (unit < 0x80) {
        shown[0] = (char)unit;
    } else if (unit < 0x800) {
        shown[0] = (char)(0xc0 | unit >> 6);
        shown[1] = (char)(0x80 | (unit & 0x3f));
    } else if (unit < 0xd800 || unit > 0xdfff) {
        shown[0] = (char)(0xe0 | unit >> 12);
        shown[1] = (char)(0x80 | (unit >> 6 & 0x3f));
        shown[2] = (char)(0x80 | (unit & 0x3f));
    }
    if (unit > 255)
        snprintf(name, JSON_UNIT_NAME_BYTES, "'%s' (code %u / 0x%x)", shown, unit, unit);
    else
        snprintf(name, JSON_UNIT_NAME_BYTES, "'%s' (code %u)", shown, unit);
}
