/* What the two parts of the options share: options.c (where values come from) and options_value.c
 * (what they are). Nobody else includes this. */
#ifndef VUG_COMMON_OPTIONS_IMPL_H
#define VUG_COMMON_OPTIONS_IMPL_H

#include "common/options.h"

enum {
    OPTION_NAME_BYTES = 64,
    OPTION_ITEMS_MAX = 4096, /* of one list, and of all arguments */
};

struct option_state {
    enum option_source source;
    unsigned line; /* of the file, where it was set */
};

struct options {
    const struct option_table *tables;
    size_t table_count;
    struct option_state *states; /* for each row of each table, in order */
    char **texts;                /* what the values point to */
    size_t text_count, text_cap;
    const char **arguments;
    size_t argument_count;
    struct buf *why;
};

/* A row, its table and its state. */
struct option_ref {
    const struct option_row *row;
    void *into;
    struct option_state *state;
};

/* Where a value stands, for the sentence when it is wrong. */
struct option_place {
    enum option_source source;
    const char *file;
    unsigned line;
};

static inline void *option_target(const struct option_ref *ref)
{
    return (char *)ref->into + ref->row->offset;
}

/* VUG_SERVER_PORT for server-port. */
void option_environment_name(const struct option_row *row, char out[OPTION_NAME_BYTES]);

/* What stands for the value in a sentence. */
const char *option_value_name(const struct option_row *row);

enum error option_say_memory(struct buf *why);

/* Sets one option from one place; writes the sentence when the value is wrong. */
enum error option_set(struct options *options, const struct option_ref *ref,
                      const struct option_place *place, struct slice text);

#endif
