#include "common/error.h"

#include <execinfo.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

const char *error_text(enum error error)
{
    switch (error) {
#define X(name, text)                                                                              \
    case name:                                                                                     \
        return text;
        ERROR_LIST(X)
#undef X
    }
    return "unknown error";
}

void invariant_broken(const char *kind, const char *condition, const char *file, int line)
{
    void *frames[32];

    fprintf(stderr, "%s broken: %s (%s:%d)\n", kind, condition, file, line);
    backtrace_symbols_fd(frames, backtrace(frames, 32), STDERR_FILENO);
    abort();
}
