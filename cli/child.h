/* A member as a child process of the same executable: its banner is read from a pipe, and it never
 * outlives us. */
#ifndef VUG_CLI_CHILD_H
#define VUG_CLI_CHILD_H

#include "common/loop.h"
#include "common/text.h"

struct child;

struct child_events {
    void (*on_ready)(void *arg, struct child *child); /* it said "ready in" */
    void (*on_ended)(void *arg,
                     struct child *child); /* it closed its stderr, which is to say that it ended */
    /* A line that people should see: a warning, an error. From the child's reader thread. */
    void (*on_line)(void *arg, const char *line);
};

/* `argv` ends with NULL; argv[0] is for show. ERROR_MEMORY, ERROR_IO. */
enum error child_start(struct loop *loop, char *const *argv, const struct child_events *events,
                       void *arg, struct child **child);
/* SIGTERM, or SIGKILL. Harmless when it has ended. */
void child_signal(struct child *child, int signal_number);
bool child_has_ended(const struct child *child);
/* Waits for the end; after on_ended(), or after SIGKILL. Returns the exit status, 128 + n for
 * signal n. */
int child_free(struct child *child);

/* What the banner said of a port ("server"); false if nothing. After on_ready(). */
bool child_port(struct child *child, const char *name, struct text_host_port *address);

/* Reads "  NAME HOST:PORT ..." . Apart for its test. */
bool child_parse_port(const char *line, char name[16], struct text_host_port *address);

#endif
