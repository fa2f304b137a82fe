#include "tests/lib/mem_fault.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/error.h"

/* Test equipment of the whole process, hence static; the product has nothing like it. */
static atomic_ulong calls;
static atomic_ulong fail_at;
static atomic_ulong fail_from;
static atomic_long live;

void mem_fault_fail_at(unsigned long n)
{
    atomic_store(&fail_from, 0);
    atomic_store(&fail_at, n);
    atomic_store(&calls, 0);
}

void mem_fault_fail_from(unsigned long n)
{
    atomic_store(&fail_at, 0);
    atomic_store(&fail_from, n);
    atomic_store(&calls, 0);
}

unsigned long mem_fault_calls(void)
{
    return atomic_load(&calls);
}

long mem_fault_live(void)
{
    return atomic_load(&live);
}

static bool fails_now(void)
{
    unsigned long call = atomic_fetch_add(&calls, 1) + 1;
    unsigned long from = atomic_load(&fail_from);

    return call == atomic_load(&fail_at) || (from != 0 && call >= from);
}

static void *counted(void *block)
{
    if (block != NULL)
        atomic_fetch_add(&live, 1);
    return block;
}

void *mem_alloc(size_t size)
{
    return fails_now() ? NULL : counted(malloc(size == 0 ? 1 : size));
}

void *mem_zalloc(size_t size)
{
    return fails_now() ? NULL : counted(calloc(1, size == 0 ? 1 : size));
}

void *mem_array(size_t count, size_t size)
{
    if (fails_now() || (size != 0 && count > SIZE_MAX / size))
        return NULL;
    return counted(calloc(count == 0 ? 1 : count, size == 0 ? 1 : size));
}

void *mem_realloc(void *old, size_t size)
{
    PRE(size > 0);
    if (fails_now())
        return NULL;
    return old == NULL ? counted(malloc(size)) : realloc(old, size);
}

char *mem_strndup(const char *text, size_t len)
{
    char *copy = mem_alloc(len + 1);

    if (copy == NULL)
        return NULL;
    if (len > 0)
        memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

void mem_free(void *block)
{
    if (block == NULL)
        return;
    atomic_fetch_sub(&live, 1);
    free(block);
}
