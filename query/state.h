/* What a state is made of. Private to query/. */
#ifndef VUG_QUERY_STATE_H
#define VUG_QUERY_STATE_H

#include "query/change.h"

struct query_state {
    struct query_plan *plan;
    struct group_table table;
    struct change change; /* scratch of the row that is being applied */
};

#endif
