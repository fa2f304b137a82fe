#include "cli/row.h"

#include "common/mem.h"

void row_header_init(struct row_header *header)
{
    *header = (struct row_header){0};
    buf_init(&header->text);
}

void row_header_fini(struct row_header *header)
{
    buf_fini(&header->text);
    mem_free(header->names);
    mem_free(header->plain);
}

struct slice row_header_name(const struct row_header *header, uint32_t column)
{
    return slice_of(header->text.data + header->plain[column].at, header->plain[column].len);
}

bool row_header_find(const struct row_header *header, struct slice name, uint32_t *column)
{
    for (uint32_t i = 0; i < header->count; i++)
        if (slice_equal(row_header_name(header, i), name)) {
            *column = i;
            return true;
        }
    return false;
}

enum error row_header_take(struct row_header *header, const struct csv *csv, const char **problem,
                           struct slice *name)
{
    uint32_t found = 0;
    header->names = mem_array(csv->field_count, sizeof *header->names);
    header->plain = mem_array(csv->field_count, sizeof *header->plain);
    if (header->names == NULL || header->plain == NULL)
        return ERROR_MEMORY;
    for (uint32_t i = 0; i < csv->field_count; i++) {
        struct slice text = csv_field(csv, i);
        *name = text;
        if (text.len == 0) {
            *problem = "a column without a name";
            return ERROR_INVALID;
        }
        if (row_header_find(header, text, &found)) {
            *problem = "a column twice";
            return ERROR_INVALID;
        }
        header->plain[i] = (struct csv_field){header->text.len, text.len};
        buf_append_slice(&header->text, text);
        header->names[i].at = header->text.len;
        row_json_string(&header->text, text);
        buf_append_byte(&header->text, ':');
        header->names[i].len = header->text.len - header->names[i].at;
        if (header->text.failed)
            return ERROR_MEMORY;
        header->count = i + 1;
    }
    return OK;
}

void row_document(const struct row_header *header, const struct csv *csv, struct buf *document)
{
    for (uint32_t i = 0; i < header->count; i++) {
        struct slice field = csv_field(csv, i);
        buf_append_byte(document, i == 0 ? '{' : ',');
        buf_append(document, header->text.data + header->names[i].at, header->names[i].len);
        if (field.len == 0)
            buf_append_text(document, "null");
        else if (row_is_json_number(field))
            buf_append_slice(document, field);
        else
            row_json_string(document, field);
    }
    buf_append_byte(document, '}');
}

static size_t digits(struct slice text, size_t at)
{
    size_t count = 0;
    while (at + count < text.len && text.data[at + count] >= '0' && text.data[at + count] <= '9')
        count++;
    return count;
}

bool row_is_json_number(struct slice text)
{
    size_t at = text.len > 0 && text.data[0] == '-' ? 1 : 0;
    size_t whole = digits(text, at);
    if (whole == 0 || (whole > 1 && text.data[at] == '0'))
        return false;
    at += whole;
    if (at < text.len && text.data[at] == '.') {
        size_t fraction = digits(text, at + 1);
        if (fraction == 0)
            return false;
        at += 1 + fraction;
    }
    if (at < text.len && (text.data[at] == 'e' || text.data[at] == 'E')) {
        at++;
        if (at < text.len && (text.data[at] == '+' || text.data[at] == '-'))
            at++;
        size_t exponent = digits(text, at);
        if (exponent == 0)
            return false;
        at += exponent;
    }
    return at == text.len;
}

void row_json_string(struct buf *out, struct slice text)
{
    size_t start = 0;
    buf_append_byte(out, '"');
    for (size_t i = 0; i < text.len; i++) {
        uint8_t byte = text.data[i];
        if (byte >= 0x20 && byte != '"' && byte != '\\')
            continue;
        buf_append(out, text.data + start, i - start);
        start = i + 1;
        switch (byte) {
        case '\n':
            buf_append_text(out, "\\n");
            break;
        case '\r':
            buf_append_text(out, "\\r");
            break;
        case '\t':
            buf_append_text(out, "\\t");
            break;
        case '"':
        case '\\':
            buf_append_byte(out, '\\');
            buf_append_byte(out, byte);
            break;
        default:
            buf_printf(out, "\\u%04X", byte);
            break;
        }
    }
    buf_append(out, text.data + start, text.len - start);
    buf_append_byte(out, '"');
}
