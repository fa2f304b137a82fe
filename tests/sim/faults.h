/* What goes wrong in a run: a table of kinds of faults, each with how it is made and how it ends.
 * Which, when, whom and for how long is drawn from the simulation's random numbers. */
#ifndef VUG_TESTS_SIM_FAULTS_H
#define VUG_TESTS_SIM_FAULTS_H

#include "tests/sim/grid.h"
#include "tests/sim/plots.h"
#include "tests/sim/traffic.h"
#include "tests/sim/watch.h"

enum fault {
    FAULT_CRASH,        /* a server's process dies; it is started again later */
    FAULT_CRASH_SILENT, /* its machine, too */
    FAULT_PAUSE,        /* a stopped process */
    FAULT_CUT,          /* one direction between two servers */
    FAULT_CUT_BOTH,
    FAULT_CUT_CLIENT,  /* between a server and a client, both directions */
    FAULT_CUT_LOCATOR, /* between a server and a locator */
    FAULT_ISOLATE,     /* a server from all other servers */
    FAULT_DELAY,       /* one direction takes long */
    FAULT_RESETS,      /* connections between two servers are reset at random bytes */
    FAULT_SPLIT,       /* bytes arrive in small pieces */
    FAULT_STALLS,      /* turns are held up between the clock and the sockets */
    FAULT_SLOW,        /* each turn takes long */
    FAULT_JOIN,        /* a further server */
    FAULT_STOP,        /* SIGTERM to one, which comes back later */
    FAULT_REBALANCE,
    FAULT_REGION,        /* a region is destroyed and made again */
    FAULT_LOCATOR_CRASH, /* it is started again later */
    FAULT_LOCATOR_PAUSE,
    FAULT_LOCATOR_SLOW,  /* each turn takes long */
    FAULT_LOCATOR_ALONE, /* cut off from all servers, but not from the map */
    FAULT_MAP_SLOW,      /* the map store takes long */
    FAULT_MAP_FAILS,     /* and refuses some requests */
    FAULT_ISLAND,        /* plots.h */
    FAULT_HELD_UP,
    FAULT_JOIN_CUT_OFF,
    FAULT_SEAL_RETURN,
    FAULT_SEAL_IN_VAIN,
    FAULT_REMOVED_RETURN,
    FAULT_LEFT_OUT,
    FAULT_COUNT,
};

struct fault_end {
    uint64_t at_us;
    enum fault fault;
    unsigned a, b;
};

enum { FAULT_ENDS_MAX = 64 };

struct faults;

/* Administration, one request at a time, repeated until it is answered. */
struct faults_admin {
    struct faults *faults;
    struct vug_client *client;
    uint32_t number; /* under way; 0: none */
    uint32_t then;   /* and then */
    bool asked;      /* it has been sent, and not been answered */
    uint64_t again_us;
    uint64_t since; /* traffic's clock when the region began to go */
};

struct faults {
    struct grid *grid;
    struct watch *watch;
    struct traffic *traffic;
    const unsigned *weights; /* FAULT_COUNT of them */
    unsigned longest_us;     /* a fault lasts at most so long */
    unsigned servers_max;
    unsigned made, of_kind[FAULT_COUNT];
    bool may_lose; /* the last copy of a bucket may die */
    struct fault_end ends[FAULT_ENDS_MAX];
    unsigned end_count;
    struct plot plot; /* under way */
    struct faults_admin admin;
    const char *scrap;                           /* the region that comes and goes; NULL: none */
    const struct buf *scrap_body, *destroy_body; /* its RegionCreateRequest and -DestroyRequest */
};

void faults_init(struct faults *faults, struct grid *grid, struct watch *watch,
                 struct traffic *traffic, const unsigned *weights);
void faults_fini(struct faults *faults);

/* Makes one fault, if there is one that can be made now. */
void faults_make(struct faults *faults);
/* Ends those whose time has come, starts what has to be started, goes on with administration. */
void faults_step(struct faults *faults);
/* Ends all of them: the cluster is whole again as far as machines and network go. */
void faults_heal(struct faults *faults);
bool faults_is_quiet(const struct faults *faults); /* no administration is under way */

const char *fault_text(enum fault fault);

#endif
