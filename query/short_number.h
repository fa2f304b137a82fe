/* The fast way for the numbers that most documents hold. */
#ifndef VUG_QUERY_SHORT_NUMBER_H
#define VUG_QUERY_SHORT_NUMBER_H

#include "common/slice.h"

/* Reads a decimal number whose digits and power of ten are both exact doubles, so that one division
 * or multiplication rounds correctly (W. D. Clinger, 1990). False: not that short, or no number;
 * ask number_parse_double(). */
bool short_number_read(struct slice text, double *number);

/* Reads all of an integer; false if it does not fit. */
bool short_number_read_long(struct slice text, int64_t *number);

/* At most 20 bytes; returns their number. */
size_t short_number_write_long(int64_t number, char *text);

#endif
