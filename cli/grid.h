/* Rows and columns for people and for programs: a table with aligned columns, JSON, NDJSON or CSV.
 */
#ifndef VUG_CLI_GRID_H
#define VUG_CLI_GRID_H

#include "cli/cli.h"
#include "cli/csv.h"

struct grid_cell {
    size_t at, len; /* in `text` */
    bool raw;       /* JSON as it stands: a number, true, null, an array; otherwise a text */
};

struct grid {
    struct buf text;
    struct buf names;
    struct csv_field columns[LIMIT_COLUMNS];
    uint32_t column_count;
    struct grid_cell *cells;
    size_t cell_count, cell_cap;
    bool failed; /* out of memory: nothing is written */
};

void grid_init(struct grid *grid);
void grid_fini(struct grid *grid);
void grid_column(struct grid *grid, struct slice name);
/* Cells come row by row. */
void grid_text(struct grid *grid, struct slice text);
void grid_raw(struct grid *grid, const char *format, ...) __attribute__((format(printf, 2, 3)));
void grid_value(struct grid *grid, const struct value *value);
/* ERROR_MEMORY. */
enum error grid_write(const struct grid *grid, enum output output, struct buf *out);

/* A value as JSON: a double with the fewest digits that read back; NaN and infinities, strings and
 * bytes (in hex) as strings. */
void grid_json_value(struct buf *out, const struct value *value);
/* For a table or CSV: the same without quotes. */
void grid_plain_value(struct buf *out, const struct value *value);
/* A field of CSV, quoted if it must be. */
void grid_csv_field(struct buf *out, struct slice text);

#endif
