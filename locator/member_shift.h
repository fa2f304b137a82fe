/* Changes of the map about servers that are no trouble: those that end on purpose, those that are
 * silent and hold nothing, and buckets that wait for a server. */
#ifndef VUG_LOCATOR_MEMBER_SHIFT_H
#define VUG_LOCATOR_MEMBER_SHIFT_H

#include "locator/locator_impl.h"

enum member_shift_kind {
    MEMBER_SILENT,  /* for 5 s, or it has left: struck if it holds nothing */
    MEMBER_LEAVING, /* it said so: gets no new buckets, and is to hand over those that it has */
};

/* Without memory or room in the queue nothing happens: the next tick tries again. */
void member_shift_submit(struct locator *locator, enum member_shift_kind kind,
                         uint64_t incarnation);

/* Places buckets that have no copy, now that there is a server. */
void member_shift_place(struct locator *locator);

#endif
