#include "locator/map_store.h"

#include <stdarg.h>
#include <stdio.h>

void map_problem_set(struct map_problem *problem, enum error error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    problem->error = error;
    vsnprintf(problem->text, sizeof(problem->text), format, args);
    va_end(args);
}
