/* What the founding query must say about a file of readings, computed a second time by other code:
 * its own reading of the file, its own arithmetic. Nothing here comes from query/, cli/csv.c or the
 * importer.
 *
 * Sums are exact: a reading is a whole number of 10^-9 in 128 bits. The engine sums the doubles
 * nearest to the readings, each off by at most 2^-53 of its size, and rounds the average once; so
 * both agree within 2^-52 of the mean of |reading|, which is the bound used. */
#ifndef VUG_CLI_DEMO_CHECK_H
#define VUG_CLI_DEMO_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "common/slice.h"

struct demo_check;

/* Reads id, timestamp and temperature of every row; the rows from `start_time_ms` on count.
 * ERROR_INVALID, ERROR_IO and ERROR_LIMIT fill `problem`. ERROR_MEMORY. */
enum error demo_check_new(const char *path, int64_t start_time_ms, struct demo_check **check,
                          char problem[256]);
void demo_check_free(struct demo_check *check);

uint32_t demo_check_key_count(const struct demo_check *check);
struct slice demo_check_key(const struct demo_check *check, uint32_t index);
uint64_t demo_check_rows(const struct demo_check *check, uint32_t index);

/* Whether the last result of a key is right; `average` NULL: it was NULL. An unknown key is not. */
bool demo_check_matches(const struct demo_check *check, struct slice key, const double *average);

#endif
