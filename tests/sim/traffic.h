/* Clients that put, get, remove and putIfAbsent on a few keys of a few regions, pipelined, through
 * any server, and remember each call and each answer for the linearizability check.
 *
 * An answer that never came, and one that says that it failed, leave an operation open: it may have
 * happened at any time since its call, or never. */
#ifndef VUG_TESTS_SIM_TRAFFIC_H
#define VUG_TESTS_SIM_TRAFFIC_H

#include "tests/sim/grid.h"
#include "tests/sim/linear.h"
#include "tests/sim/verdict.h"
#include "tests/sim/watch.h"

enum { TRAFFIC_CALLERS_MAX = 8, TRAFFIC_KEYS_MAX = 32, TRAFFIC_REGIONS_MAX = 3 };

struct traffic_options {
    unsigned callers, keys; /* of each region */
    unsigned readers;       /* the last of the callers, which do nothing else */
    unsigned ops_max;
    unsigned gap_us;      /* between the bursts of a caller, at most twice that */
    unsigned burst_max;   /* calls without waiting for an answer */
    unsigned pending_max; /* of a caller; 0: twice burst_max */
    unsigned percent_put, percent_get, percent_remove, percent_put_if_absent; /* the rest: size */
    unsigned timeout_ms;
    bool own_server; /* each caller stays with one server while that runs */
};

struct traffic_op {
    struct traffic *traffic;
    struct traffic_caller *caller;
    struct linear_op linear;
    unsigned region, key;
    uint32_t number; /* of the message */
    bool is_over;
    uint32_t code; /* of its failure */
    struct traffic_op *next_acknowledged;
};

struct traffic_caller {
    struct vug_client *client;
    unsigned node, server;
    uint32_t session;
    unsigned unanswered;
    uint64_t next_us;
    bool broken; /* its connection; found out in a callback */
};

struct traffic {
    struct grid *grid;
    struct watch *watch;
    struct verdict *verdict;
    struct traffic_options options;
    const char *regions[TRAFFIC_REGIONS_MAX];
    bool has_region[TRAFFIC_REGIONS_MAX]; /* it takes calls now */
    unsigned region_count;
    struct traffic_caller callers[TRAFFIC_CALLERS_MAX];
    struct traffic_op *ops;
    size_t op_count;
    struct traffic_op *acknowledged; /* in the present step */
    uint64_t clock;                  /* of calls and answers */
    uint32_t sessions;
    unsigned answered, failed;
    bool stopped; /* no further calls */
};

void traffic_start(struct traffic *traffic, struct grid *grid, struct watch *watch,
                   struct verdict *verdict, const struct traffic_options *options);
void traffic_fini(struct traffic *traffic);
void traffic_add_region(struct traffic *traffic, const char *name);

/* After each step: looks at new answers, and makes the calls that are due. */
void traffic_step(struct traffic *traffic);
bool traffic_is_over(const struct traffic *traffic); /* all calls are made, and none is under way */

/* Everything in the region was lost or destroyed between two readings of the clock. */
void traffic_lost(struct traffic *traffic, unsigned region, uint64_t since, uint64_t until);

/* Reads every key at the end, through each server that runs; traffic_is_over() tells when. */
void traffic_read_all(struct traffic *traffic);

/* The histories of all keys. */
void traffic_check(struct traffic *traffic);

void traffic_key(unsigned key, char text[16], struct value *value);

#endif
