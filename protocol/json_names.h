/* The field names of the objects that are open while a document is checked, and the search for one
 * that comes twice.
 *
 * A small object compares each name with those before it. A large one is sorted once, when it
 * closes, so that no document costs more than n log n. */
#ifndef VUG_PROTOCOL_JSON_NAMES_H
#define VUG_PROTOCOL_JSON_NAMES_H

#include "common/error.h"
#include "common/slice.h"

struct json_name {
    uint32_t start, len; /* in the document, without quotes */
    uint32_t value_end;  /* where its value ended */
    bool escaped;
};

struct json_names {
    struct slice document;
    struct json_name *names; /* a stack: those of the innermost object are on top */
    size_t count, cap;
};

void json_names_init(struct json_names *names, struct slice document);
void json_names_fini(struct json_names *names);

/* ERROR_MEMORY; ERROR_LIMIT beyond LIMIT_JSON_NAMES. */
enum error json_names_push(struct json_names *names, size_t start, size_t len, bool escaped);

/* The value of the topmost name ended at `end`. True if that name, of the object whose names begin
 * at `base`, came before; large objects answer false here. */
bool json_names_set(struct json_names *names, size_t base, size_t end);

/* The object closes: its names go. False if none came twice, else *twice is the first one that did.
 */
bool json_names_pop(struct json_names *names, size_t base, struct json_name *twice);

#endif
