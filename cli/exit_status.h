/* The exit statuses of every command: one table for the code, the documentation and the tests. */
#ifndef VUG_CLI_EXIT_STATUS_H
#define VUG_CLI_EXIT_STATUS_H

#include "client/vug.h"

/* name, number, meaning */
#define EXIT_LIST(X)                                                                               \
    X(EXIT_OK, 0, "success; health: ready")                                                        \
    X(EXIT_FAILED, 1, "the command failed")                                                        \
    X(EXIT_USAGE, 2, "usage error")                                                                \
    X(EXIT_CONNECT, 3, "cannot connect")                                                           \
    X(EXIT_DENIED, 4, "not authenticated or not allowed")                                          \
    X(EXIT_ABSENT, 5, "no such region, key or member")                                             \
    X(EXIT_EXISTS, 6, "exists already, or a condition was not met")                                \
    X(EXIT_TIMEOUT, 7, "timed out")                                                                \
    X(EXIT_DEGRADED, 8, "degraded: a bucket is not served, or lacks copies")                       \
    X(EXIT_NO_LOCATOR, 69, "no locator reachable within the wait")                                 \
    X(EXIT_INTERNAL, 70, "internal error, please report")                                          \
    X(EXIT_DATA_DIR, 73, "data directory in use or not writable")                                  \
    X(EXIT_CONFIG, 78, "configuration error: do not restart")

enum exit_status {
#define X(name, number, meaning) name = number,
    EXIT_LIST(X)
#undef X
};

enum exit_status exit_status_of(enum error error);

/* Of an error that a cluster or the way to it gave; *text is its text without the reason that may
 * stand in front. */
enum exit_status exit_status_of_vug(const struct vug_error *error, const char **text);

#endif
