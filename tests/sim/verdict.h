/* What a run of the simulation found: its first failure, in words. */
#ifndef VUG_TESTS_SIM_VERDICT_H
#define VUG_TESTS_SIM_VERDICT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

struct verdict {
    bool failed;
    char text[1024];
};

/* Keeps the first. */
__attribute__((format(printf, 2, 3))) static inline void verdict_fail(struct verdict *verdict,
                                                                      const char *format, ...)
{
    va_list args;
    if (verdict->failed)
        return;
    verdict->failed = true;
    va_start(args, format);
    vsnprintf(verdict->text, sizeof verdict->text, format, args);
    va_end(args);
}

#endif
