#include "cli/csv.h"

#include "common/text.h"

void csv_init(struct csv *csv)
{
    *csv = (struct csv){.line = 1};
    buf_init(&csv->input);
    buf_init(&csv->content);
}

void csv_fini(struct csv *csv)
{
    buf_fini(&csv->input);
    buf_fini(&csv->content);
}

void csv_feed(struct csv *csv, struct slice chunk)
{
    if (csv->at > 0) {
        buf_consume(&csv->input, csv->at);
        csv->at = 0;
    }
    buf_append_slice(&csv->input, chunk);
}

void csv_end(struct csv *csv)
{
    csv->ended = true;
}

/* Where the row at `at` ends (behind its line end), and how many lines it has. 0: more is needed.
 */
static size_t find_end(const struct csv *csv, uint64_t *lines, bool *open_quote)
{
    const uint8_t *data = csv->input.data;
    bool quoted = false;
    *lines = 0;
    *open_quote = false;
    for (size_t i = csv->at; i < csv->input.len; i++) {
        if (data[i] == '"') {
            quoted = !quoted; /* a doubled quote closes and opens again */
        } else if (data[i] == '\n') {
            (*lines)++;
            if (!quoted)
                return i + 1;
        }
    }
    *open_quote = quoted;
    return csv->ended ? csv->input.len : 0;
}

/* One field from *at; false: it is not well formed. */
static bool read_field(struct csv *csv, const uint8_t *data, size_t end, size_t *at)
{
    if (csv->field_count == CSV_FIELDS_MAX) {
        csv->problem = "more than 1024 fields";
        return false;
    }
    struct csv_field *field = &csv->fields[csv->field_count++];
    field->at = csv->content.len;
    size_t i = *at;
    if (i < end && data[i] == '"') {
        for (i++;; i++) {
            size_t start = i;
            while (i < end && data[i] != '"')
                i++;
            buf_append(&csv->content, data + start, i - start);
            if (i == end) {
                csv->problem = "a quote is not closed";
                return false;
            }
            if (i + 1 < end && data[i + 1] == '"') {
                buf_append_byte(&csv->content, '"');
                i++;
                continue;
            }
            i++;
            break;
        }
        if (i < end && data[i] != ',') {
            csv->problem = "text behind a closing quote";
            return false;
        }
    } else {
        while (i < end && data[i] != ',' && data[i] != '"')
            i++;
        if (i < end && data[i] == '"') {
            csv->problem = "a quote inside a field that does not begin with one";
            return false;
        }
        buf_append(&csv->content, data + *at, i - *at);
    }
    field->len = csv->content.len - field->at;
    *at = i;
    return true;
}

static bool read_fields(struct csv *csv, const uint8_t *data, size_t end)
{
    size_t at = 0;
    for (;;) {
        if (!read_field(csv, data, end, &at))
            return false;
        if (at == end)
            break;
        at++; /* the comma */
    }
    if (!text_is_utf8(buf_slice(&csv->content))) {
        csv->problem = "not UTF-8";
        return false;
    }
    return true;
}

static void skip_byte_order_mark(struct csv *csv)
{
    if (csv->input.len >= 3 && memcmp(csv->input.data, "\xef\xbb\xbf", 3) == 0) {
        csv->at = 3;
        csv->bytes = 3;
    }
    csv->began = true;
}

/* Behind a row whose quotes do not match nothing is certain; the next line begins the next row. */
static size_t first_line_end(const struct csv *csv)
{
    const uint8_t *start = csv->input.data + csv->at;
    const uint8_t *end = memchr(start, '\n', csv->input.len - csv->at);
    return end == NULL ? csv->input.len : (size_t)(end - csv->input.data) + 1;
}

static void consume(struct csv *csv, size_t end, uint64_t lines)
{
    csv->bytes += end - csv->at;
    csv->at = end;
    csv->line += lines;
}

enum csv_result csv_next(struct csv *csv)
{
    if (csv->input.failed)
        return CSV_MEMORY;
    if (!csv->began) {
        if (csv->input.len < 3 && !csv->ended)
            return CSV_MORE;
        skip_byte_order_mark(csv);
    }
    for (;;) {
        uint64_t lines = 0;
        bool open_quote = false;
        if (csv->at == csv->input.len)
            return csv->ended ? CSV_END : CSV_MORE;
        size_t end = find_end(csv, &lines, &open_quote);
        size_t len = (end == 0 ? csv->input.len : end) - csv->at;
        csv->row_line = csv->line;
        csv->field_count = 0;
        buf_clear(&csv->content);
        if (len > CSV_ROW_BYTES_MAX) {
            csv->problem = "a row of more than 16 MiB (is a quote not closed?)";
            consume(csv, first_line_end(csv), 1);
            return CSV_BAD;
        }
        if (end == 0)
            return CSV_MORE;
        const uint8_t *data = csv->input.data + csv->at;
        if (data[len - 1] == '\n')
            len--;
        if (len > 0 && data[len - 1] == '\r')
            len--;
        if (len == 0 && !csv->empty_rows) {
            consume(csv, end, lines);
            continue;
        }
        bool good = read_fields(csv, data, len);
        if (csv->content.failed)
            return CSV_MEMORY;
        if (good) {
            consume(csv, end, lines);
            return CSV_ROW;
        }
        if (open_quote || lines > 1) /* quotes went wrong somewhere: only this line is given up */
            consume(csv, first_line_end(csv), 1);
        else
            consume(csv, end, lines);
        return CSV_BAD;
    }
}
