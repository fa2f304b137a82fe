/* The results of a continuous query on stdout: NDJSON, CSV or a table. Online and offline print
 * through here. */
#ifndef VUG_CLI_CQ_PRINT_H
#define VUG_CLI_CQ_PRINT_H

#include "cli/cli.h"

struct cq_print {
    struct cli *cli;
    enum output output;
    struct buf columns; /* JSON keys with their colons: "\"id\":" */
    struct buf plain;   /* the names as they are */
    size_t column_end[LIMIT_COLUMNS], plain_end[LIMIT_COLUMNS];
    uint32_t column_count;
    uint64_t events; /* printed */
};

struct cq_print_event {
    enum vug_kind kind;
    const struct value *values;
    uint32_t value_count;
    uint32_t bucket, sub;
    uint64_t seq;
    struct slice error; /* of ERROR and LATE */
};

void cq_print_init(struct cq_print *print, struct cli *cli, enum output output);
void cq_print_fini(struct cq_print *print);
/* ERROR_MEMORY, ERROR_LIMIT. */
enum error cq_print_column(struct cq_print *print, struct slice name);

/* The SUBSCRIBED line; `types` is a JSON array. With `again` CSV and table do not repeat their
 * heading. */
void cq_print_subscribed(struct cq_print *print, struct slice types, struct slice token,
                         bool again);
void cq_print_event(struct cq_print *print, const struct cq_print_event *event);
/* Any other status; the token, detail and numbers are left out when empty. Table and CSV tell it on
 * stderr. */
void cq_print_status(struct cq_print *print, const struct vug_status *status, struct slice token);
void cq_print_end(struct cq_print *print, struct slice token);

#endif
