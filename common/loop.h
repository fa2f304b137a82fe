/* The seam to the clock and to scheduling.
 *
 * A loop runs callbacks of one thread, one after the other. This header and common/net.h are the
 * only ways to the clock and the network; loop_event.c is the real side (libevent),
 * tests/sim/sim_loop.c the simulated one. Everything here but loop_post() and loop_wall_ms() is for
 * the loop's own thread only. */
#ifndef VUG_COMMON_LOOP_H
#define VUG_COMMON_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

struct loop;
typedef void loop_fn(void *arg);

/* A timer, embedded in its owner. It fires once for each loop_timer_set(). */
struct loop_timer {
    struct loop *loop;
    loop_fn *on_fire;
    void *arg;
    void *impl; /* of the side */
};

/* A task, embedded in its owner, that waits for its turn. It must not be queued twice; `queued`
 * tells. */
struct loop_task {
    loop_fn *on_run;
    void *arg;
    struct loop_task *next;
    bool queued;
};

struct loop_ops {
    uint64_t (*now_us)(struct loop *loop);
    uint64_t (*clock_us)(struct loop *loop);
    uint64_t (*wall_ms)(struct loop *loop);
    enum error (*timer_init)(struct loop_timer *timer);
    void (*timer_set)(struct loop_timer *timer, uint64_t delay_us);
    void (*timer_clear)(struct loop_timer *timer);
    void (*timer_fini)(struct loop_timer *timer);
    void (*post)(struct loop *loop, struct loop_task *task);
    void (*defer)(struct loop *loop, struct loop_task *task);
    void (*random)(struct loop *loop, void *data, size_t len);
    bool (*is_current)(struct loop *loop);
    uint64_t (*turn_max_us)(const struct loop *loop); /* NULL: turns are not measured */
    uint64_t (*cpu_us)(const struct loop *loop);      /* NULL: nor is CPU time */
};

struct loop {
    const struct loop_ops *ops;
};

/* Microseconds of a clock that never goes back and counts suspended time (CLOCK_BOOTTIME), read
 * once for each turn of the loop, after the wait for input. */
static inline uint64_t loop_now_us(struct loop *loop)
{
    return loop->ops->now_us(loop);
}

/* The same clock, read now: for what must not be judged by the time before a socket was read
 * (leases). Any thread. */
static inline uint64_t loop_clock_us(struct loop *loop)
{
    return loop->ops->clock_us(loop);
}

/* Milliseconds since 1970, for record times and log lines only: never for a timeout. Any thread. */
static inline uint64_t loop_wall_ms(struct loop *loop)
{
    return loop->ops->wall_ms(loop);
}

/* A timer must be ended with loop_timer_fini() before its owner goes. ERROR_MEMORY is the only
 * failure. */
enum error loop_timer_init(struct loop_timer *timer, struct loop *loop, loop_fn *on_fire,
                           void *arg);
void loop_timer_set(struct loop_timer *timer, uint64_t delay_us); /* replaces an earlier time */
void loop_timer_clear(struct loop_timer *timer);
void loop_timer_fini(struct loop_timer *timer); /* safe on a zeroed timer */

/* Runs the task on the loop's thread, in the order of the calls; from any thread. The task must be
 * idle. Nothing is allocated, so it cannot fail. */
static inline void loop_post(struct loop *loop, struct loop_task *task)
{
    loop->ops->post(loop, task);
}

/* Runs the task at the end of this turn, before the loop waits again: what is written once for each
 * turn goes here. A task that is deferred while the end of the turn runs is run in the next turn,
 * which does not wait. */
static inline void loop_defer(struct loop *loop, struct loop_task *task)
{
    loop->ops->defer(loop, task);
}

/* Unpredictable bytes (OpenSSL); from the seed in the simulation. */
static inline void loop_random(struct loop *loop, void *data, size_t len)
{
    loop->ops->random(loop, data, len);
}

/* True on the loop's own thread: first line of whatever belongs to one worker. */
static inline bool loop_is_current(struct loop *loop)
{
    return loop->ops->is_current(loop);
}

/* The longest turn since the start: microseconds of its thread's CPU time, so that a busy machine
 * does not count. 0 where it is not measured. Any thread. */
static inline uint64_t loop_turn_max_us(const struct loop *loop)
{
    return loop->ops->turn_max_us == NULL ? 0 : loop->ops->turn_max_us(loop);
}

/* CPU time of the calling thread; 0 where it is not measured. Costs 0.7 us. */
static inline uint64_t loop_cpu_us(const struct loop *loop)
{
    return loop->ops->cpu_us == NULL ? 0 : loop->ops->cpu_us(loop);
}

/* The real side. loop_event_run() returns after loop_event_stop(), which any thread may call. The
 * signal handlers run as ordinary callbacks. */
struct event_base;
enum error loop_event_new(struct loop **loop);
void loop_event_run(struct loop *loop);
void loop_event_stop(struct loop *loop);
void loop_event_free(struct loop *loop);
enum error loop_event_signal(struct loop *loop, int signal_number, loop_fn *on_signal, void *arg);
/* Whenever a file descriptor, which outlives the loop, can be read. ERROR_MEMORY. */
enum error loop_event_readable(struct loop *loop, int fd, loop_fn *on_readable, void *arg);
struct event_base *loop_event_base(struct loop *loop); /* for net_event.c and http_event.c alone */

#endif
