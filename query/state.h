/* What a state is made of. Private to query/. */
#ifndef VUG_QUERY_STATE_H
#define VUG_QUERY_STATE_H

#include "query/change.h"

struct query_state {
    struct query_plan *plan;
    struct group_table table;
    struct change change; /* scratch of the row that is being applied */
    struct query_state_walk *walks;
};

/* Which groups were visited, and which of these have changed since. */
struct query_state_walk {
    struct query_state_walk *next; /* of the state */
    struct query_state *state;     /* NULL: it is gone */
    uint32_t reached;              /* groups below were visited once */
    uint32_t now;                  /* the one that is visited */
    bool is_again;                 /* it was before */
    uint32_t *changed;             /* their numbers, oldest first, from `first` */
    size_t first, count, cap;
    bool failed; /* no memory for what has changed */
};

/* The next group that has to be visited; NULL if none is left. */
struct group *query_state_walk_next(struct query_state_walk *walk);
#endif
