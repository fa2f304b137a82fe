/* Histories that need several faults one after the other, each at its moment: what single faults at
 * random come to once in thousands of runs. The moments are seen from inside of the servers. */
#ifndef VUG_TESTS_SIM_PLOTS_H
#define VUG_TESTS_SIM_PLOTS_H

#include <stdbool.h>
#include <stdint.h>

struct faults;

enum plot_kind {
    PLOT_NONE,
    PLOT_ISLAND,         /* two servers see each other, but no other member */
    PLOT_HELD_UP,        /* one is cut off, and its turns are held up */
    PLOT_JOIN_CUT_OFF,   /* one dies; a primary is cut off while it joins again */
    PLOT_SEAL_RETURN,    /* one is cut off until a copy has sealed; one peer sees it then */
    PLOT_SEAL_IN_VAIN,   /* ... all see it then, and the locators die */
    PLOT_REMOVED_RETURN, /* one is cut off until it is out of a set; servers, not locators, then */
    PLOT_LEFT_OUT,       /* one dies, and another one is cut off from all members */
};

struct plot {
    enum plot_kind kind;
    unsigned a, b;  /* servers */
    bool waits;     /* for its moment, which comes before `until_us` or never */
    bool has_come;  /* its moment has */
    uint64_t at_us; /* ... and this long after it something is done */
    uint64_t until_us;
};

/* Begins one about server `a`; false: it cannot now. One at a time. */
bool plot_begin(struct faults *faults, enum plot_kind kind, unsigned a, unsigned b);
void plot_step(struct faults *faults);
void plot_end(struct faults *faults); /* everything that it did */

#endif
