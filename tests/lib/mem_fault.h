/* The heap that can fail: implements common/mem.h for tests. Link it in place of common/mem.c.
 *
 * A sweep fails the first call, then the second, and so on, until the code under test passes
 * untouched:
 *
 *   for (unsigned n = 1; !done; n++) {
 *       mem_fault_fail_at(n);
 *       done = try_it() == OK;
 *       mem_fault_fail_at(0);
 *       assert_int_equal(mem_fault_live(), live_before);
 *   }
 *
 * All functions may be called from any thread. */
#ifndef VUG_TESTS_LIB_MEM_FAULT_H
#define VUG_TESTS_LIB_MEM_FAULT_H

#include "common/mem.h"

/* Fails only the nth allocation from now on (1 is the next); 0 fails none. */
void mem_fault_fail_at(unsigned long n);

/* Fails the nth allocation from now on and all after it; 0 fails none. */
void mem_fault_fail_from(unsigned long n);

/* Allocations that were asked for since the last mem_fault_fail_at() or mem_fault_fail_from(). */
unsigned long mem_fault_calls(void);

/* Blocks that are allocated and not freed. */
long mem_fault_live(void);

#endif
