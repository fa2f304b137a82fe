/* Geode's region shortcuts: all of them are known, three are served. */
#ifndef VUG_LOCATOR_REGION_TYPE_H
#define VUG_LOCATOR_REGION_TYPE_H

#include "common/slice.h"
#include "protocol/cluster_map.h"

struct region_type {
    const char *name;
    const char *nearest; /* the served one that does most of the same; NULL: this one is served */
    enum cluster_region_type type;
    uint32_t redundant_copies; /* unless the request says how many */
};

/* The row of a shortcut, in any case; NULL if there is none of that name. */
const struct region_type *region_type_find(struct slice word);

/* The known name that is nearest to a word, for "did you mean"; NULL if none is near. */
const char *region_type_nearest(struct slice word);

#endif
