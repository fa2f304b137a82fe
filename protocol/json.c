/* Reading documents that json_validate() has accepted: walking their fields, undoing escapes.
 * Nothing here reads outside of the document whatever it holds. */
#include "protocol/json_impl.h"

#include "common/text.h"
#include "protocol/java_identifier.h"

static int json_hex(uint8_t digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    digit |= 0x20;
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : 0;
}

/* The character at *at as it is written. */
static uint32_t json_next_plain(struct slice text, size_t *at)
{
    const uint8_t *data = text.data + *at;
    size_t len;
    uint32_t unit = json_unit_at(text, *at, &len);

    if (len == 4)
        unit = (data[0] & 0x07u) << 18 | (data[1] & 0x3fu) << 12 | (data[2] & 0x3fu) << 6 |
               (data[3] & 0x3fu);
    *at += len;
    return unit;
}

uint32_t json_next_unit(struct slice text, size_t *at)
{
    const uint8_t *data = text.data;
    uint32_t unit;

    if (data[*at] != '\\' || *at + 1 >= text.len)
        return json_next_plain(text, at);
    ++*at;
    switch (data[*at]) {
    case 'b':
        unit = '\b';
        break;
    case 'f':
        unit = '\f';
        break;
    case 'n':
        unit = '\n';
        break;
    case 'r':
        unit = '\r';
        break;
    case 't':
        unit = '\t';
        break;
    case 'u':
        unit = 0;
        for (int i = 0; i < 4 && *at + 1 < text.len; i++)
            unit = unit << 4 | (uint32_t)json_hex(data[++*at]);
        break;
    default:
        return json_next_plain(text, at); /* stands for itself */
    }
    ++*at;
    return unit;
}

static void json_append_point(struct buf *out, uint32_t point)
{
    if (point < 0x80) {
        buf_append_byte(out, (uint8_t)point);
    } else if (point < 0x800) {
        buf_append_byte(out, (uint8_t)(0xc0 | point >> 6));
        buf_append_byte(out, (uint8_t)(0x80 | (point & 0x3f)));
    } else if (point < 0x10000) {
        buf_append_byte(out, (uint8_t)(0xe0 | point >> 12));
        buf_append_byte(out, (uint8_t)(0x80 | (point >> 6 & 0x3f)));
        buf_append_byte(out, (uint8_t)(0x80 | (point & 0x3f)));
    } else {
        buf_append_byte(out, (uint8_t)(0xf0 | point >> 18));
        buf_append_byte(out, (uint8_t)(0x80 | (point >> 12 & 0x3f)));
        buf_append_byte(out, (uint8_t)(0x80 | (point >> 6 & 0x3f)));
        buf_append_byte(out, (uint8_t)(0x80 | (point & 0x3f)));
    }
}

void json_unescape(struct slice text, struct buf *out)
{
    size_t at = 0;

    while (at < text.len) {
        const uint8_t *backslash = memchr(text.data + at, '\\', text.len - at);
        size_t plain = backslash == NULL ? text.len : (size_t)(backslash - text.data);
        uint32_t unit;

        buf_append(out, text.data + at, plain - at);
        at = plain;
        if (at == text.len)
            return;
        unit = json_next_unit(text, &at);
        if (unit >= 0xd800 && unit <= 0xdbff && at < text.len && text.data[at] == '\\') {
            size_t after = at;
            uint32_t low = json_next_unit(text, &after);

            if (low >= 0xdc00 && low <= 0xdfff) {
                unit = 0x10000 + ((unit & 0x3ff) << 10 | (low & 0x3ff));
                at = after;
            }
        }
        json_append_point(out, unit >= 0xd800 && unit <= 0xdfff ? 0xfffd : unit);
    }
}

static void json_walk_space(struct slice document, size_t *at)
{
    while (*at < document.len && json_is_space(document.data[*at]))
        ++*at;
}

/* *at is behind the opening quote, afterwards behind the closing one. */
static struct slice json_walk_string(struct slice document, size_t *at, bool *escaped)
{
    size_t start = *at;

    *escaped = false;
    for (;;) {
        *at += json_plain_run(document.data + *at, document.len - *at);
        if (*at == document.len || document.data[*at] == '"')
            break;
        if (document.data[*at] == '\\') {
            *escaped = true;
            ++*at;
        }
        if (++*at >= document.len)
            break;
    }
    if (*at >= document.len) {
        *at = document.len;
        return slice_of(document.data + start, document.len - start);
    }
    ++*at;
    return slice_of(document.data + start, *at - 1 - start);
}

/* *at is at the opening bracket, afterwards behind the one that closes it. */
static void json_walk_nested(struct slice document, size_t *at)
{
    size_t depth = 0;
    bool escaped;

    while (*at < document.len) {
        uint8_t byte = document.data[(*at)++];

        if (byte == '"')
            json_walk_string(document, at, &escaped);
        else if (byte == '{' || byte == '[')
            depth++;
        else if ((byte == '}' || byte == ']') && --depth == 0)
            return;
    }
}

static bool json_ends_scalar(uint8_t byte)
{
    return json_is_space(byte) || byte == ',' || byte == '}' || byte == ']';
}

static void json_walk_value(struct slice document, size_t *at, struct json_token *value)
{
    size_t start = *at;

    value->escaped = false;
    switch (document.data[start]) {
    case '"':
        ++*at;
        value->type = JSON_STRING;
        value->text = json_walk_string(document, at, &value->escaped);
        return;
    case '{':
    case '[':
        value->type = document.data[start] == '{' ? JSON_OBJECT : JSON_ARRAY;
        json_walk_nested(document, at);
        break;
    case 't':
    case 'f':
    case 'n':
        value->type = document.data[start] == 't'   ? JSON_TRUE
                      : document.data[start] == 'f' ? JSON_FALSE
                                                    : JSON_NULL;
        while (*at < document.len && !json_ends_scalar(document.data[*at]))
            ++*at;
        break;
    default:
        value->type = JSON_INTEGER;
        while (*at < document.len && !json_ends_scalar(document.data[*at])) {
            uint8_t byte = document.data[(*at)++];

            if (byte == '.' || byte == 'e' || byte == 'E')
                value->type = JSON_REAL;
        }
        break;
    }
    value->text = slice_of(document.data + start, *at - start);
}

bool json_next_field(struct slice document, size_t *at, struct slice *name, bool *name_escaped,
                     struct json_token *value)
{
    json_walk_space(document, at);
    if (*at == document.len || (document.data[*at] != '{' && document.data[*at] != ','))
        return false;
    ++*at;
    json_walk_space(document, at);
    if (*at == document.len || document.data[*at] == '}')
        return false;
    if (document.data[*at] == '"') {
        ++*at;
        *name = json_walk_string(document, at, name_escaped);
    } else {
        size_t start = *at;

        while (*at < document.len && document.data[*at] != ':' &&
               !json_is_space(document.data[*at]))
            ++*at;
        *name = slice_of(document.data + start, *at - start);
        *name_escaped = false;
    }
    json_walk_space(document, at);
    if (*at == document.len || document.data[*at] != ':')
        return false;
    ++*at;
    json_walk_space(document, at);
    if (*at == document.len)
        return false;
    json_walk_value(document, at, value);
    return true;
}
