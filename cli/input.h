/* A file or stdin, read by a thread of its own, given to a loop in chunks: a slow pipe must not
 * stop the loop.
 *
 * One chunk at a time: the next is read when input_next() asks for it. */
#ifndef VUG_CLI_INPUT_H
#define VUG_CLI_INPUT_H

#include "common/loop.h"
#include "common/slice.h"

struct input;

struct input_events {
    void (*on_chunk)(void *arg, struct slice chunk); /* valid during the call */
    void (*on_end)(void *arg,
                   int error_number); /* 0 at the end of the file, otherwise errno of the read */
};

/* `fd` stays the caller's. ERROR_MEMORY, ERROR_IO (no thread). */
enum error input_new(struct loop *loop, int fd, const struct input_events *events, void *arg,
                     struct input **input);
/* Also while a read is under way; not from inside a callback. */
void input_free(struct input *input);

void input_next(struct input *input);

#endif
