#include "cli/grid.h"

#include "cli/row.h"
#include "common/mem.h"
#include "common/text.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void grid_init(struct grid *grid)
{
    *grid = (struct grid){0};
    buf_init(&grid->text);
    buf_init(&grid->names);
}

void grid_fini(struct grid *grid)
{
    buf_fini(&grid->text);
    buf_fini(&grid->names);
    mem_free(grid->cells);
}

void grid_column(struct grid *grid, struct slice name)
{
    if (grid->column_count == LIMIT_COLUMNS)
        return;
    grid->columns[grid->column_count++] = (struct csv_field){grid->names.len, name.len};
    buf_append_slice(&grid->names, name);
}

static void add_cell(struct grid *grid, size_t at, bool raw)
{
    if (grid->cell_count == grid->cell_cap) {
        size_t cap = grid->cell_cap == 0 ? 64 : grid->cell_cap * 2;
        struct grid_cell *cells = mem_realloc(grid->cells, cap * sizeof *cells);
        if (cells == NULL) {
            grid->failed = true;
            return;
        }
        grid->cells = cells;
        grid->cell_cap = cap;
    }
    grid->cells[grid->cell_count++] =
        (struct grid_cell){.at = at, .len = grid->text.len - at, .raw = raw};
}

void grid_text(struct grid *grid, struct slice text)
{
    size_t at = grid->text.len;
    buf_append_slice(&grid->text, text);
    add_cell(grid, at, false);
}

void grid_raw(struct grid *grid, const char *format, ...)
{
    size_t at = grid->text.len;
    va_list args;
    va_start(args, format);
    buf_vprintf(&grid->text, format, args);
    va_end(args);
    add_cell(grid, at, true);
}

static bool is_text_value(const struct value *value)
{
    switch (value->type) {
    case VALUE_STRING:
    case VALUE_BINARY:
    case VALUE_CUSTOM:
        return true;
    case VALUE_DOUBLE:
        return !isfinite(value->float64);
    case VALUE_FLOAT:
        return !isfinite(value->float32);
    default:
        return false;
    }
}

void grid_value(struct grid *grid, const struct value *value)
{
    size_t at = grid->text.len;
    grid_plain_value(&grid->text, value);
    add_cell(grid, at, !is_text_value(value));
}

static void append_float(struct buf *out, float number)
{
    char text[TEXT_DOUBLE_BYTES];
    int digits = 1;
    do
        snprintf(text, sizeof text, "%.*g", digits, (double)number);
    while (strtof(text, NULL) != number && ++digits <= 9);
    buf_append_text(out, text);
}

void grid_plain_value(struct buf *out, const struct value *value)
{
    char text[TEXT_DOUBLE_BYTES];
    switch (value->type) {
    case VALUE_NULL:
    case VALUE_NOT_SET:
        buf_append_text(out, "null");
        break;
    case VALUE_DOUBLE:
        buf_append(out, text, text_double(value->float64, text));
        break;
    case VALUE_FLOAT:
        if (isfinite(value->float32))
            append_float(out, value->float32);
        else
            buf_append(out, text, text_double((double)value->float32, text));
        break;
    default:
        value_text(value, out);
        break;
    }
}

void grid_json_value(struct buf *out, const struct value *value)
{
    if (!is_text_value(value)) {
        grid_plain_value(out, value);
        return;
    }
    if (value->type == VALUE_STRING) {
        row_json_string(out, value->bytes);
        return;
    }
    buf_append_byte(out, '"');
    grid_plain_value(out, value);
    buf_append_byte(out, '"');
}

void grid_csv_field(struct buf *out, struct slice text)
{
    bool quotes = false;
    for (size_t i = 0; i < text.len; i++)
        quotes = quotes || text.data[i] == '"' || text.data[i] == ',' || text.data[i] == '\n' ||
                 text.data[i] == '\r';
    if (!quotes) {
        buf_append_slice(out, text);
        return;
    }
    buf_append_byte(out, '"');
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == '"')
            buf_append_byte(out, '"');
        buf_append_byte(out, text.data[i]);
    }
    buf_append_byte(out, '"');
}

static struct slice column_name(const struct grid *grid, uint32_t column)
{
    return slice_of(grid->names.data + grid->columns[column].at, grid->columns[column].len);
}

static struct slice cell_text(const struct grid *grid, const struct grid_cell *cell)
{
    return slice_of(grid->text.data + cell->at, cell->len);
}

/* Characters, not bytes. */
static size_t width_of(struct slice text)
{
    size_t width = 0;
    for (size_t i = 0; i < text.len; i++)
        width += (text.data[i] & 0xc0) != 0x80;
    return width;
}

/* Control characters from a value must not steer the terminal. */
static void append_visible(struct buf *out, struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        buf_append_byte(out, text.data[i] < 0x20 || text.data[i] == 0x7f ? ' ' : text.data[i]);
}

static void append_padded(struct buf *out, struct slice text, size_t width, bool right, bool last)
{
    size_t own = width_of(text);
    for (size_t i = own; right && i < width; i++)
        buf_append_byte(out, ' ');
    append_visible(out, text);
    for (size_t i = own; !right && !last && i < width; i++)
        buf_append_byte(out, ' ');
    buf_append_text(out, last ? "\n" : "  ");
}

static void write_table(const struct grid *grid, struct buf *out)
{
    size_t width[LIMIT_COLUMNS];
    bool right[LIMIT_COLUMNS];
    uint32_t columns = grid->column_count;
    for (uint32_t c = 0; c < columns; c++) {
        width[c] = width_of(column_name(grid, c));
        right[c] = grid->cell_count >= columns && grid->cells[c].raw;
    }
    for (size_t i = 0; i < grid->cell_count; i++) {
        size_t own = width_of(cell_text(grid, &grid->cells[i]));
        if (own > width[i % columns])
            width[i % columns] = own;
    }
    for (uint32_t c = 0; c < columns; c++)
        append_padded(out, column_name(grid, c), width[c], right[c], c + 1 == columns);
    for (size_t i = 0; i < grid->cell_count; i++) {
        size_t c = i % columns;
        append_padded(out, cell_text(grid, &grid->cells[i]), width[c], right[c], c + 1 == columns);
    }
}

static void write_object(const struct grid *grid, size_t row, struct buf *out)
{
    for (uint32_t c = 0; c < grid->column_count; c++) {
        const struct grid_cell *cell = &grid->cells[row * grid->column_count + c];
        buf_append_byte(out, c == 0 ? '{' : ',');
        row_json_string(out, column_name(grid, c));
        buf_append_byte(out, ':');
        if (cell->raw)
            buf_append_slice(out, cell_text(grid, cell));
        else
            row_json_string(out, cell_text(grid, cell));
    }
    buf_append_byte(out, '}');
}

static void write_csv(const struct grid *grid, struct buf *out)
{
    for (uint32_t c = 0; c < grid->column_count; c++) {
        if (c > 0)
            buf_append_byte(out, ',');
        grid_csv_field(out, column_name(grid, c));
    }
    buf_append_byte(out, '\n');
    for (size_t i = 0; i < grid->cell_count; i++) {
        struct slice text = cell_text(grid, &grid->cells[i]);
        if (i % grid->column_count > 0)
            buf_append_byte(out, ',');
        if (!grid->cells[i].raw || !slice_equal(text, slice_text("null")))
            grid_csv_field(out, text);
        if ((i + 1) % grid->column_count == 0)
            buf_append_byte(out, '\n');
    }
}

enum error grid_write(const struct grid *grid, enum output output, struct buf *out)
{
    if (grid->failed || grid->text.failed || grid->names.failed)
        return ERROR_MEMORY;
    size_t rows = grid->column_count == 0 ? 0 : grid->cell_count / grid->column_count;
    switch (output) {
    case OUTPUT_TABLE:
        write_table(grid, out);
        break;
    case OUTPUT_CSV:
        write_csv(grid, out);
        break;
    case OUTPUT_JSON:
        buf_append_byte(out, '[');
        for (size_t row = 0; row < rows; row++) {
            if (row > 0)
                buf_append_text(out, ",\n ");
            write_object(grid, row, out);
        }
        buf_append_text(out, "]\n");
        break;
    case OUTPUT_NDJSON:
        for (size_t row = 0; row < rows; row++) {
            write_object(grid, row, out);
            buf_append_byte(out, '\n');
        }
        break;
    }
    return out->failed ? ERROR_MEMORY : OK;
}
