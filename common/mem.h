/* Memory: the only way to the heap.
 *
 * Every allocation of the product goes through these functions. common/mem.c is the real side; the
 * tests link tests/lib/mem_fault.c in its place, which fails the Nth call. NULL always means "no
 * memory": it is an operating error (ERROR_MEMORY) that a caller reports, never an abort. */
#ifndef VUG_COMMON_MEM_H
#define VUG_COMMON_MEM_H

#include <stddef.h>

void *mem_alloc(size_t size);
void *mem_zalloc(size_t size);                   /* zeroed */
void *mem_array(size_t count, size_t size);      /* zeroed; NULL too when the product overflows */
void *mem_realloc(void *old, size_t size);       /* on failure the old block stays */
char *mem_strndup(const char *text, size_t len); /* always terminated */
void mem_free(void *block);                      /* NULL is allowed */

#endif
