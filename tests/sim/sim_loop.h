/* The simulated side of common/loop.h: many nodes in one thread, under one virtual clock and one
 * seed.
 *
 * A `struct sim` runs events in the order of (virtual time, sequence). A node is a machine: it has
 * a host name, loops, nets and listeners (sim_net.h), a clock that may run fast, and it can be
 * paused, crashed and started again. Whatever happens goes into the trace hash: two runs of one
 * seed give the same hash, or something depends on an address, on the real clock or on hash order.
 *
 *   sim_step -> pops one event -> a turn of one loop: callback [, more that are due], posted,
 * deferred, output flushed
 *
 * Everything here is called from outside of callbacks, except sim_now_us(), the random numbers and
 * sim_note(). */
#ifndef VUG_TESTS_SIM_SIM_LOOP_H
#define VUG_TESTS_SIM_SIM_LOOP_H

#include <stdio.h>

#include "common/loop.h"

enum { SIM_NODES_MAX = 64 };
enum { SIM_RATE_ONE = 1000000 };

struct sim;
struct sim_node;

struct sim *sim_new(uint64_t seed);
void sim_free(struct sim *sim); /* its loops and nets must be gone */

/* Writes a line for everything that happens; NULL ends it. */
void sim_set_trace(struct sim *sim, FILE *trace);
uint64_t sim_trace_hash(const struct sim *sim);

/* Puts something of the test's own into the trace and its hash. */
void sim_note(struct sim *sim, const char *what, uint64_t a, uint64_t b);

uint64_t sim_now_us(const struct sim *sim);
uint64_t sim_random(struct sim *sim);
uint64_t sim_random_below(struct sim *sim, uint64_t bound); /* 0 for bound 0 */
bool sim_chance(struct sim *sim, uint32_t ppm);

/* Runs the next event; false if there is none. */
bool sim_step(struct sim *sim);

/* The node whose turn the last step was; NULL if it was the network's. */
struct sim_node *sim_last_node(const struct sim *sim);

/* Steps until the predicate holds (true), or nothing happens any more or so much virtual time has
 * passed (false). The predicate is asked before the first step and after each. NULL runs for the
 * whole time, which then has passed. */
bool sim_run_until(struct sim *sim, bool (*predicate)(void *arg), void *arg, uint64_t max_us);

/* ---- Nodes ---- */

/* The host is invented ("10.0.0.1"); connects find the node by it or by `name`. The node lives as
 * long as the sim. */
struct sim_node *sim_node_new(struct sim *sim, const char *name);
const char *sim_node_host(const struct sim_node *node);

/* The rate of the node's clock in millionths, 1,000,000 to 1,250,000; before its first loop. */
void sim_node_set_rate(struct sim_node *node, uint32_t rate_ppm);

/* Sets the node's wall clock apart from that of the others. */
void sim_node_set_wall_offset_ms(struct sim_node *node, int64_t offset_ms);

/* No code of the node runs until it is resumed; its clock goes on, and its sockets receive. */
void sim_node_pause(struct sim_node *node);
void sim_node_resume(struct sim_node *node);

/* Each turn of the node's loops is held up with this chance between its reading of the clock and
 * its callbacks, for up to `max_us` of virtual time in which data goes on to arrive: what is judged
 * by loop_now_us() is then judged by an old clock. */
void sim_node_set_stalls(struct sim_node *node, uint32_t ppm, uint32_t max_us);

/* A slow machine: each turn takes so much virtual time, and the next one of that loop waits for its
 * end. 0, 0: none. */
void sim_node_set_turn_time(struct sim_node *node, uint32_t min_us, uint32_t max_us);

/* The process dies: no timer, task or callback of it ever runs again. With SIM_CRASH_RESET the
 * peers see resets and further connects are refused; with SIM_CRASH_SILENT the machine is gone,
 * nothing answers. Afterwards the test frees the product's objects through their own functions,
 * which may call everything of loop.h and net.h without effect, then the node's nets and loops. */
enum sim_crash { SIM_CRASH_RESET, SIM_CRASH_SILENT };
void sim_node_crash(struct sim_node *node, enum sim_crash how);

/* The machine is up again, with nothing on it; new loops and nets may be made. */
void sim_node_restart(struct sim_node *node);
bool sim_node_is_alive(const struct sim_node *node);

/* ---- Loops ---- */

struct loop *sim_loop_new(struct sim *sim, struct sim_node *node);
/* What is queued will never run: its owners are freed. */
void sim_loop_forget_tasks(struct loop *loop);
void sim_loop_free(struct loop *loop); /* after its timers and its net */

#endif
