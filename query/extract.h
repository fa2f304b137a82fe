/* From a region's value to the columns that a plan reads. */
#ifndef VUG_QUERY_EXTRACT_H
#define VUG_QUERY_EXTRACT_H

#include "query/plan.h"

/* Fills one value for each slot of the plan. Strings point into the input, or into `arena` where
 * escapes had to be undone.
 *
 * A JSON document gives its fields: missing or null is NULL, the last of two fields of one name
 * counts. Any other value is a scalar: it shows as the column `value`, and the region key as the
 * column `key`, when the statement can mean that (the declared table has a column `value`, or a
 * schema-less region is read by these two names alone); else the row is an error. ERROR_INVALID: a
 * value that does not fit its declared type, NULL in a NOT NULL column, no document. ERROR_MEMORY.
 */
enum error extract_row(const struct query_plan *plan, const struct query_input *input,
                       struct arena *arena, struct query_value *values, struct query_error *error);

#endif
