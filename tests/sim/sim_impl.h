/* What sim_loop.c and sim_net.c share. The simulation's own memory comes from malloc() and never
 * fails: only what the product could see failing goes through common/mem.h. */
#ifndef VUG_TESTS_SIM_SIM_IMPL_H
#define VUG_TESTS_SIM_SIM_IMPL_H

#include "tests/sim/sim_loop.h"
#include "tests/sim/sim_net.h"

struct sim_loop;
struct sim_conn;
struct sim_listener;

/* Something that will happen; embedded in its owner. With a loop it is a turn of that loop, without
 * one it happens in the network. */
struct sim_event {
    uint64_t at_us;
    uint64_t seq;
    size_t index; /* in the heap, counted from 1; 0 when idle */
    bool held;    /* its node is paused */
    struct sim_event *next_held;
    struct sim_loop *loop;
    loop_fn *on_event;
    void *arg;
};

struct sim_prng {
    uint64_t words[4];
};

struct sim_link {
    struct sim_faults faults;
    bool blocked;
};

struct sim_cut {
    const struct sim_node *from, *to;
    unsigned nth; /* connections still to be made before it is this one's turn */
    enum sim_direction direction;
    uint64_t bytes;
    struct sim_cut *next;
};

struct sim {
    struct sim_prng prng;
    uint64_t now_us;
    uint64_t seq;
    uint64_t hash;
    FILE *trace;
    struct sim_event **heap;
    size_t heap_len, heap_cap;
    struct sim_node *nodes[SIM_NODES_MAX];
    size_t node_count;
    struct sim_link *links; /* SIM_NODES_MAX * SIM_NODES_MAX */
    struct sim_cut *cuts;
    struct sim_conn *conns, *conns_tail; /* every endpoint, in order of creation */
    uint64_t conn_ids;
    uint64_t loop_ids;
    struct sim_loop *current; /* whose turn it is */
    struct sim_node *last;    /* whose turn the last step was; NULL: the network's */
};

struct sim_node {
    struct sim *sim;
    size_t id;
    char name[64];
    char host[64];
    uint32_t rate_ppm;
    uint64_t clock_start_us; /* the node's clock when the simulation began */
    int64_t wall_offset_ms;
    uint16_t next_port;
    bool alive;
    bool silent; /* crashed, and the machine with it */
    bool paused;
    uint32_t stall_ppm, stall_max_us; /* see sim_node_set_stalls() */
    uint32_t turn_min_us, turn_max_us;
    struct sim_event *held, *held_tail;
    struct sim_loop *loops;
    struct sim_listener *listeners;
};

struct sim_task_list {
    struct loop_task *head, *tail;
};

struct sim_loop {
    struct loop loop;
    struct sim_node *node;
    struct sim_loop *next;
    uint64_t id;
    bool dead;
    uint64_t turn_clock_us;    /* the node's clock as this turn read it */
    uint64_t busy_until_us;    /* virtual time: nothing of this loop runs before */
    struct sim_event *stalled; /* its turn has begun, the clock is read, and it goes on later */
    struct sim_prng prng;      /* of its own, so that one node's draws do not move another's */
    struct sim_task_list posted, deferred, last;
    struct sim_event turn;
};

void sim_prng_init(struct sim_prng *prng, uint64_t seed);
uint64_t sim_prng_next(struct sim_prng *prng);

void *sim_alloc(size_t size); /* zeroed */
void *sim_realloc(void *old, size_t size);

void sim_event_init(struct sim_event *event, struct sim_loop *loop, loop_fn *on_event, void *arg);
void sim_event_set(struct sim *sim, struct sim_event *event, uint64_t delay_us); /* replaces */
void sim_event_clear(struct sim *sim, struct sim_event *event);
bool sim_event_is_set(const struct sim_event *event);

/* Folds into the hash, and writes a line of the trace: `node` may be NULL. */
void sim_trace(struct sim *sim, const char *what, const struct sim_node *node, uint64_t a,
               uint64_t b);
void sim_trace_bytes(struct sim *sim, const uint8_t *data, size_t len);

uint64_t sim_node_now_us(const struct sim_node *node);
uint64_t sim_node_delay_us(const struct sim_node *node, uint64_t delay_us);

/* Runs after everything that was deferred in a turn. */
void sim_loop_defer_last(struct sim_loop *loop, struct loop_task *task);
void sim_loop_cancel(struct sim_loop *loop, struct loop_task *task);

/* sim_net.c: what a crash and a restart do to the sockets of a node. */
void sim_net_crash(struct sim_node *node, enum sim_crash how);
void sim_net_restart(struct sim_node *node);

#endif
