/* LIKE: % is any run of characters, _ is one character; the escape character takes both, and
 * itself, literally. */
#ifndef VUG_QUERY_LIKE_H
#define VUG_QUERY_LIKE_H

#include "common/slice.h"

/* `escape` NULL: no character escapes. False: the pattern is not valid; *why is a static text. */
bool like_match(struct slice text, struct slice pattern, const struct slice *escape, bool *matches,
                const char **why);

#endif
