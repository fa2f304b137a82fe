/* A whole cluster under the simulation: locators over one map in memory, servers, and nodes for
 * clients, each a machine of its own that may die, stop, be slow or be cut off at any event.
 *
 *   locator1..3 -- struct map_memory      server1..8, each: main loop, 1 or 2 workers client1..
 *
 * The clock rates of the machines differ, and their wall clocks too. Nothing here draws random
 * numbers of its own; whoever drives it decides. */
#ifndef VUG_TESTS_SIM_GRID_H
#define VUG_TESTS_SIM_GRID_H

#include "tests/sim/sim_cluster.h"

enum { GRID_LOCATORS_MAX = 3, GRID_SERVERS_MAX = 8, GRID_CLIENTS_MAX = 4 };

struct grid;

/* A locator or a server: a machine, and what runs on it now. */
struct grid_member {
    struct grid *grid;
    struct sim_process process;
    char name[24];
    struct locator *locator;
    struct server *server;
    bool exists;  /* it was started at least once */
    bool running; /* its process lives; it may be paused or cut off */
    bool ready;   /* it said so */
    bool refused; /* the cluster does not take it: the embedder ends it and tries again */
    bool paused;
    bool draining, drained; /* told to stop; has handed over and may go */
    unsigned starts;
    uint64_t incarnation; /* of the running server */
    char why[256];        /* it was refused */
};

struct grid_options {
    unsigned locators, servers, clients, workers;
    uint32_t rate_ppm[GRID_SERVERS_MAX]; /* 0: SIM_RATE_ONE */
    uint64_t map_delay_us;
    uint64_t ring_bytes_max; /* of each server; 0: the product's */
};

struct grid {
    struct sim *sim;
    struct log *log; /* NULL unless traced */
    struct map_memory memory;
    struct grid_options options;
    struct grid_member locators[GRID_LOCATORS_MAX];
    struct grid_member servers[GRID_SERVERS_MAX];
    struct sim_process clients[GRID_CLIENTS_MAX];
    struct vug_target target; /* all locators */
};

/* Makes the machines, all GRID_SERVERS_MAX of them, and starts the locators and the first
 * options->servers servers. Returns false if they are not ready after a minute. */
bool grid_start(struct grid *grid, struct sim *sim, const struct grid_options *options,
                struct log *log);
/* Ends everything, whatever state it is in. */
void grid_stop(struct grid *grid);

/* Starts the process of a member that does not run; its machine is up. */
void grid_member_start(struct grid_member *member);
/* The process dies between two events, paused or not; its memory is freed. With SIM_CRASH_SILENT
 * the machine stays away until grid_member_start(). */
void grid_member_crash(struct grid_member *member, enum sim_crash how);
void grid_member_pause(struct grid_member *member);
void grid_member_resume(struct grid_member *member);
/* SIGTERM to a server: it hands over, and grid_reap() ends it when that is done. */
void grid_server_drain(struct grid_member *member);
/* Ends servers that have drained or were refused. */
void grid_reap(struct grid *grid);

unsigned grid_running(const struct grid *grid); /* servers that are neither paused nor leaving */
bool grid_is_ready(void *grid);                 /* all locators and servers that run are ready */

/* The target of one server, past the locators. */
struct vug_target grid_straight(const struct grid *grid, unsigned server, uint32_t timeout_ms);
struct grid_member *grid_server_of(struct grid *grid, uint64_t incarnation); /* NULL: none runs */
struct grid_member *grid_server_on(struct grid *grid, const struct sim_node *node);

#endif
