/* What to say about a token that fits nowhere. */
#ifndef VUG_QUERY_PARSE_ERROR_H
#define VUG_QUERY_PARSE_ERROR_H

#include "query/parse.h"

/* Fails the parse about parse->syntax_error: a sentence of its own for what SQL knows and Vug does
 * not support yet, else what was found and what could have stood there. */
void parse_error(struct parse *parse);

#endif
