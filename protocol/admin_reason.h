/* Why an administration request failed, as the first word of the failure's text: "EXISTS: region
 * sensors exists already. ...".
 *
 * Geode's ErrorResponse has a code and a text, and a failure passes through servers on its way, so
 * the reason that a script tests for travels in the text. The command line cuts the word off and
 * ends with the row's exit status. */
#ifndef VUG_PROTOCOL_ADMIN_REASON_H
#define VUG_PROTOCOL_ADMIN_REASON_H

#include <string.h>

/* word, Geode's code, exit status of the command line */
#define ADMIN_REASON_LIST(X)                                                                       \
    X(EXISTS, 50, 6) /* a region, table or member of that name is there, or in use by something */ \
    X(NOT_FOUND, 100, 5)   /* no such region, table, member */                                     \
    X(INVALID, 50, 1)      /* a name, type or number that cannot be */                             \
    X(UNSUPPORTED, 60, 1)  /* understood, but not in this version */                               \
    X(TIMEOUT, 100, 7)     /* done, but not acknowledged by every member in time */                \
    X(STORE, 100, 1)       /* the cluster map could not be stored; nothing was changed */          \
    X(BUSY, 100, 1)        /* too many changes wait */                                             \
    X(UNREACHABLE, 101, 3) /* the member that should do it is not connected */                     \
    X(MEMORY, 100, 70)

enum admin_reason {
#define X(word, code, exit_status) ADMIN_REASON_##word,
    ADMIN_REASON_LIST(X)
#undef X
        ADMIN_REASON_COUNT
};

struct admin_reason_row {
    const char *word;
    unsigned code;
    int exit_status;
};

static inline struct admin_reason_row admin_reason_row(enum admin_reason reason)
{
    static const struct admin_reason_row rows[] = {
#define X(word, code, exit_status) {#word, code, exit_status},
        ADMIN_REASON_LIST(X)
#undef X
    };
    return rows[reason];
}

/* The exit status for a failure's text, and in *rest the text without its reason; 1 and the whole
 * text if it has none. */
static inline int admin_reason_exit_status(const char *text, const char **rest)
{
    for (int i = 0; i < ADMIN_REASON_COUNT; i++) {
        struct admin_reason_row row = admin_reason_row((enum admin_reason)i);
        size_t len = strlen(row.word);
        if (strncmp(text, row.word, len) == 0 && text[len] == ':' && text[len + 1] == ' ') {
            *rest = text + len + 2;
            return row.exit_status;
        }
    }
    *rest = text;
    return 1;
}

#endif
