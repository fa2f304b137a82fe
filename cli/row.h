/* A CSV row as a JSON document, and back: what `vug import` writes and `vug cq --input` reads. */
#ifndef VUG_CLI_ROW_H
#define VUG_CLI_ROW_H

#include "cli/csv.h"
#include "common/error.h"

/* The header: names of the columns, ready to be written ("\"id\":"). */
struct row_header {
    struct buf text; /* of all names, quoted, each with its colon */
    struct csv_field *names;
    struct csv_field *plain; /* the same names as they were read */
    uint32_t count;
};

void row_header_init(struct row_header *header);
void row_header_fini(struct row_header *header);
/* Takes the row that `csv` has just read as the header. ERROR_INVALID: an empty or repeated name;
 * *problem says which, in static words or as that name. ERROR_MEMORY. */
enum error row_header_take(struct row_header *header, const struct csv *csv, const char **problem,
                           struct slice *name);
struct slice row_header_name(const struct row_header *header, uint32_t column);
bool row_header_find(const struct row_header *header, struct slice name, uint32_t *column);

/* The document of the row: a field that is a JSON number stays as it is written, an empty one is
 * null, anything else a string. */
void row_document(const struct row_header *header, const struct csv *csv, struct buf *document);

/* Exactly the grammar of RFC 8259. */
bool row_is_json_number(struct slice text);
/* A string with its quotes. */
void row_json_string(struct buf *out, struct slice text);

#endif
