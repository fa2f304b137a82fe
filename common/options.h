/* Options: one table of rows from which the command line, the environment, the options file and
 * --help are read and written.
 *
 *   defaults  <  file (--config F)  <  environment (VUG_SERVER_PORT)  <  flags (--server-port 1,
 * --server-port=1, -p 1)
 *
 * Options may stand before, between and after arguments; `--` ends them. A flag of kind OPTION_BOOL
 * takes a value only as `--x=false`. In the file an option is `server-port = 1`; sections group for
 * the eye and do not count, except that
 * `[region X]` is refused, since it would mean something. What is wrong is told in one sentence:
 * what, why, what to do.
 */
#ifndef VUG_COMMON_OPTIONS_H
#define VUG_COMMON_OPTIONS_H

#include "common/buf.h"
#include "common/error.h"

enum option_kind {
    OPTION_STRING,   /* const char *; NULL without a default */
    OPTION_INT,      /* int64_t, min to max */
    OPTION_BOOL,     /* bool */
    OPTION_DURATION, /* uint64_t, milliseconds, min to max; written with its unit */
    OPTION_SIZE,     /* uint64_t, bytes, min to max; written with its unit */
    OPTION_LIST,     /* struct option_list; may be repeated, and commas separate */
    OPTION_REPEATED, /* struct option_list; may be repeated, commas are part of the value */
};

struct option_list {
    const char **items;
    size_t count;
};

/* A row. `min` and `max` are both 0 when there is no bound. The row named "config" (a string) names
 * the options file.
 */
struct option_row {
    const char *name; /* "server-port" */
    char letter;      /* 'o' for -o, or 0 */
    enum option_kind kind;
    int64_t min, max;
    const char *default_text; /* read like any other value; NULL: zero, false, NULL, empty */
    const char *value_name;   /* what --help calls the value: "HOST[PORT]" */
    const char *help;         /* one sentence, without a full stop */
    size_t offset;            /* of the destination in the struct */
};

/* Rows and the struct they fill. A command has its own table and shares that of the global options.
 */
struct option_table {
    const struct option_row *rows;
    size_t count;
    void *into;
};

enum option_source { OPTION_DEFAULT, OPTION_FILE, OPTION_ENVIRONMENT, OPTION_FLAG };

struct options;

/* Reads everything into the structs of the tables. `argv` begins with the first argument after the
 * command's name and must live as long as the result, as must the tables; `env` may be NULL. On
 * ERROR_INVALID (a wrong option), ERROR_IO (the file) and ERROR_MEMORY `why` has the sentence,
 * without a line end, and the structs are undefined. Strings and lists in the structs belong to the
 * result. */
enum error options_read(const struct option_table *tables, size_t table_count, int argc,
                        char *const *argv, char *const *env, struct buf *why,
                        struct options **options);
void options_free(struct options *options);

/* What is no option, in order. */
size_t options_argument_count(const struct options *options);
const char *options_argument(const struct options *options, size_t index);

/* Where the value of an option comes from; it must be in one of the tables. */
enum option_source options_source(const struct options *options, const char *name);
const char *option_source_text(enum option_source source);

/* The index of the first argument that is no option and no option's value, or -1: finds the command
 * behind global options. Unknown options are skipped without a value. */
int options_first_argument(const struct option_table *tables, size_t table_count, int argc,
                           char *const *argv);

/* One line for each row, aligned, with default and range: the body of --help. */
void options_help(const struct option_row *rows, size_t count, struct buf *out);

#endif
