/* Changes of the map about one server that is, or is not, there any more. */
#ifndef VUG_LOCATOR_MEMBER_SHIFT_H
#define VUG_LOCATOR_MEMBER_SHIFT_H

#include "locator/locator_impl.h"

enum member_shift_kind {
    MEMBER_GONE,   /* provably: struck, or marked down if a bucket has no other copy */
    MEMBER_SILENT, /* for 5 s: struck if it holds nothing */
    MEMBER_UP,     /* it is back with its contents */
    MEMBER_FORGET, /* an operator says that it will not come back: struck, its buckets start empty
                    */
};

/* `request` is NULL, or is ended when it is done. Without memory or room in the queue nothing
 * happens: the next tick tries again, and a request fails. */
void member_shift_submit(struct locator *locator, enum member_shift_kind kind, uint64_t incarnation,
                         struct request *request);

#endif
