/* CSV as RFC 4180 has it, read from chunks: quotes, doubled quotes, line ends inside of quotes,
 * CRLF or LF, a byte order mark.
 *
 *   csv_feed(chunk) ... csv_next() until CSV_MORE ... csv_feed(chunk) ... csv_end() ... csv_next()
 * until CSV_END
 *
 * A bad row is told with its line and skipped; the rows after it are read as if nothing had been.
 * Empty lines are no rows, unless the reader of a file of one column asks for them. */
#ifndef VUG_CLI_CSV_H
#define VUG_CLI_CSV_H

#include "common/buf.h"
#include "common/slice.h"

#define CSV_FIELDS_MAX    1024u
#define CSV_ROW_BYTES_MAX (16u * 1024 * 1024)

enum csv_result { CSV_ROW, CSV_MORE, CSV_END, CSV_BAD, CSV_MEMORY };

struct csv_field {
    size_t at, len; /* in `content` */
};

struct csv {
    struct buf input;   /* fed and not yet consumed */
    size_t at;          /* consumed of it */
    bool ended;         /* nothing more will be fed */
    bool began;         /* the byte order mark was looked for */
    bool empty_rows;    /* an empty line is a row of one empty field; the caller's to set */
    uint64_t line;      /* of the next byte, from 1 */
    uint64_t row_line;  /* where the row that was given began */
    uint64_t bytes;     /* consumed altogether */
    struct buf content; /* of the row's fields, quotes undone */
    struct csv_field fields[CSV_FIELDS_MAX];
    uint32_t field_count;
    const char *problem; /* of a bad row */
};

void csv_init(struct csv *csv);
void csv_fini(struct csv *csv);

void csv_feed(struct csv *csv, struct slice chunk); /* out of memory shows as CSV_MEMORY */
void csv_end(struct csv *csv);

/* The next row. CSV_ROW: its fields are valid until the next call. CSV_BAD: `problem`, `row_line`.
 */
enum csv_result csv_next(struct csv *csv);

static inline struct slice csv_field(const struct csv *csv, uint32_t field)
{
    return slice_of(csv->content.data + csv->fields[field].at, csv->fields[field].len);
}

#endif
