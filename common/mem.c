#include "common/mem.h"

#include <stdlib.h>
#include <string.h>

void *mem_alloc(size_t size)
{
    return malloc(size);
}

void *mem_zalloc(size_t size)
{
    return calloc(1, size);
}

void *mem_array(size_t count, size_t size)
{
    return calloc(count, size);
}

void *mem_realloc(void *old, size_t size)
{
    return realloc(old, size);
}

char *mem_strndup(const char *text, size_t len)
{
    char *copy = malloc(len + 1);
    if (copy == NULL)
        return NULL;
    if (len > 0)
        memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

void mem_free(void *block)
{
    free(block);
}
