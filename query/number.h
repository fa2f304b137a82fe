/* Arithmetic on SQL values, as Flink computes it: integers wrap, decimals round half up and
 * overflow to NULL, floating point is IEEE in the type of the result. */
#ifndef VUG_QUERY_NUMBER_H
#define VUG_QUERY_NUMBER_H

#include "query/value.h"

/* a op b in the type that query_type_arithmetic() gives for their types; the operands need not be
 * of that type. NULL if one of them is. `result` may be an operand. ERROR_INVALID: an integer or
 * DECIMAL divided by zero; *why is a static text. */
enum error number_arithmetic(enum query_arithmetic op, const struct query_value *a,
                             const struct query_value *b, struct query_type type,
                             struct query_value *result, const char **why);
/* -a: integers wrap. */
void number_negate(const struct query_value *a, struct query_value *result);

/* Keeps the low bits of an integer type, with the sign of the highest one kept. */
int64_t number_wrap(int64_t integer, enum query_type_kind kind);
/* Java's (long) and (int): cut off, stopped at the ends, NaN is 0. */
int64_t number_long_of_double(double number);
int32_t number_int_of_double(double number);

/* The nearest value of any numeric kind as a DOUBLE or FLOAT. */
double number_to_double(const struct query_value *value);
float number_to_float(const struct query_value *value);

/* Read all of `text` (no blanks around it). False: not a number, or, for integers, out of range. */
bool number_parse_long(struct slice text, int64_t min, int64_t max,
                       int64_t *number); /* a fraction is checked and cut off */
bool number_parse_double(struct slice text,
                         double *number); /* also NaN, Infinity, a final d or f */
bool number_parse_float(struct slice text, float *number);

#endif
