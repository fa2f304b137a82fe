#include "tests/sim/sim_impl.h"

#include <stdlib.h>
#include <string.h>

#include "common/mem.h"

enum {
    POST_DELAY_US = 20,  /* at most, between a post and its turn */
    TIMER_LATE_US = 200, /* at most */
    JOIN_TURNS_PPM = 500000,
};

/* 2026-11-22, so that wall times look like some. */
#define WALL_START_MS UINT64_C(1795305600000)

struct sim_timer {
    struct sim_event event;
    struct loop_timer *timer;
};

/* ---- Turns ---- */

static void list_add(struct sim_task_list *list, struct loop_task *task)
{
    PRE(!task->queued);
    task->queued = true;
    task->next = NULL;
    if (list->tail != NULL)
        list->tail->next = task;
    else
        list->head = task;
    list->tail = task;
}

static bool list_remove(struct sim_task_list *list, struct loop_task *task)
{
    struct loop_task *before = NULL;

    for (struct loop_task *at = list->head; at != NULL; before = at, at = at->next) {
        if (at != task)
            continue;
        if (before != NULL)
            before->next = task->next;
        else
            list->head = task->next;
        if (list->tail == task)
            list->tail = before;
        task->queued = false;
        return true;
    }
    return false;
}

static void list_run(struct sim_task_list *list)
{
    struct loop_task *task = list->head;

    *list = (struct sim_task_list){0};
    while (task != NULL) {
        struct loop_task *next = task->next;

        task->next = NULL;
        task->queued = false;
        task->on_run(task->arg);
        task = next;
    }
}

static void on_turn(void *arg)
{
    /* The turn itself is what was wanted: posted and deferred tasks run at its end. */
    (void)arg;
}

static void end_turn(struct sim_loop *loop)
{
    list_run(&loop->posted);
    list_run(&loop->deferred);
    list_run(&loop->last);
    if (loop->deferred.head != NULL || loop->last.head != NULL)
        sim_event_set(loop->node->sim, &loop->turn, 1);
    else if (loop->posted.head == NULL)
        sim_event_clear(loop->node->sim, &loop->turn);
}

static void hold(struct sim_event *event)
{
    struct sim_node *node = event->loop->node;

    event->held = true;
    event->next_held = NULL;
    if (node->held_tail != NULL)
        node->held_tail->next_held = event;
    else
        node->held = event;
    node->held_tail = event;
}

/* The event has to wait, because its loop is at work or is held up in the turn that begins now.
 * Whoever waits is set again in the order of the queue, so the order stays. */
static bool has_to_wait(struct sim_event *event)
{
    struct sim_loop *loop = event->loop;
    struct sim_node *node = loop->node;
    struct sim *sim = node->sim;

    if (loop->busy_until_us > sim->now_us) {
        sim_event_set(sim, event, loop->busy_until_us - sim->now_us);
        return true;
    }
    if (loop->stalled == event)
        return false;
    loop->turn_clock_us = sim_node_now_us(node);
    if (!sim_chance(sim, node->stall_ppm))
        return false;
    loop->stalled = event;
    loop->busy_until_us = sim->now_us + 1 + sim_random_below(sim, node->stall_max_us);
    sim_trace(sim, "stall", node, loop->id, loop->busy_until_us);
    sim_event_set(sim, event, loop->busy_until_us - sim->now_us);
    return true;
}

bool sim_step(struct sim *sim)
{
    struct sim_event *event;
    struct sim_loop *loop;

    PRE(sim->current == NULL);
    if (sim->heap_len == 0)
        return false;
    event = sim->heap[0];
    sim_event_clear(sim, event);
    sim->now_us = event->at_us;
    sim->last = NULL;
    loop = event->loop;
    if (loop == NULL) {
        event->on_event(event->arg);
        return true;
    }
    if (loop->node->paused) {
        hold(event);
        return true;
    }
    if (has_to_wait(event))
        return true;
    loop->stalled = NULL;
    sim->current = loop;
    sim->last = loop->node;
    sim_trace(sim, "turn", loop->node, loop->id, 0);
    event->on_event(event->arg);
    /* A real loop often finds several things ready at once. */
    while (sim->heap_len > 0 && sim->heap[0]->loop == loop && sim->heap[0]->at_us <= sim->now_us &&
           sim_chance(sim, JOIN_TURNS_PPM)) {
        event = sim->heap[0];
        sim_event_clear(sim, event);
        event->on_event(event->arg);
    }
    end_turn(loop);
    sim->current = NULL;
    if (loop->node->turn_max_us > 0)
        loop->busy_until_us =
            sim->now_us + loop->node->turn_min_us +
            sim_random_below(sim, loop->node->turn_max_us - loop->node->turn_min_us + 1);
    return true;
}

struct sim_node *sim_last_node(const struct sim *sim)
{
    return sim->last;
}

bool sim_run_until(struct sim *sim, bool (*predicate)(void *arg), void *arg, uint64_t max_us)
{
    uint64_t end_us = sim->now_us + max_us;

    while (predicate == NULL || !predicate(arg)) {
        if (sim->heap_len == 0 || sim->heap[0]->at_us > end_us) {
            if (predicate == NULL)
                sim->now_us = end_us;
            return false;
        }
        sim_step(sim);
    }
    return true;
}

/* ---- The simulation and its nodes ---- */

struct sim *sim_new(uint64_t seed)
{
    struct sim *sim = sim_alloc(sizeof *sim);
    const struct sim_faults faults = {.latency_min_us = 50, .latency_max_us = 500};

    sim_prng_init(&sim->prng, seed);
    sim->hash = seed;
    sim->links = sim_alloc(SIM_NODES_MAX * SIM_NODES_MAX * sizeof *sim->links);
    sim_set_faults(sim, &faults);
    return sim;
}

void sim_free(struct sim *sim)
{
    PRE(sim->conns == NULL);
    for (size_t i = 0; i < sim->node_count; i++) {
        PRE(sim->nodes[i]->loops == NULL);
        free(sim->nodes[i]);
    }
    while (sim->cuts != NULL) {
        struct sim_cut *cut = sim->cuts;

        sim->cuts = cut->next;
        free(cut);
    }
    free(sim->links);
    free(sim->heap);
    free(sim);
}

struct sim_node *sim_node_new(struct sim *sim, const char *name)
{
    struct sim_node *node = sim_alloc(sizeof *node);

    PRE(sim->node_count < SIM_NODES_MAX);
    *node = (struct sim_node){.sim = sim,
                              .id = sim->node_count,
                              .rate_ppm = SIM_RATE_ONE,
                              .clock_start_us = sim_random_below(sim, UINT64_C(1000000000000)),
                              .next_port = 49152,
                              .alive = true};
    snprintf(node->name, sizeof node->name, "%s", name);
    snprintf(node->host, sizeof node->host, "10.0.0.%zu", node->id + 1);
    sim->nodes[sim->node_count++] = node;
    return node;
}

const char *sim_node_host(const struct sim_node *node)
{
    return node->host;
}

void sim_node_set_rate(struct sim_node *node, uint32_t rate_ppm)
{
    PRE(node->loops == NULL && rate_ppm >= 1000000 && rate_ppm <= 1250000);
    node->rate_ppm = rate_ppm;
}

void sim_node_set_wall_offset_ms(struct sim_node *node, int64_t offset_ms)
{
    node->wall_offset_ms = offset_ms;
}

uint64_t sim_node_now_us(const struct sim_node *node)
{
    return node->clock_start_us +
           (uint64_t)((unsigned __int128)node->sim->now_us * node->rate_ppm / SIM_RATE_ONE);
}

/* Virtual time in which the node's clock goes on by `delay_us` at least. */
uint64_t sim_node_delay_us(const struct sim_node *node, uint64_t delay_us)
{
    return (uint64_t)((unsigned __int128)delay_us * SIM_RATE_ONE / node->rate_ppm) +
           (node->rate_ppm == SIM_RATE_ONE ? 0 : 2);
}

void sim_node_set_stalls(struct sim_node *node, uint32_t ppm, uint32_t max_us)
{
    node->stall_ppm = ppm;
    node->stall_max_us = max_us;
}

void sim_node_set_turn_time(struct sim_node *node, uint32_t min_us, uint32_t max_us)
{
    PRE(min_us <= max_us);
    node->turn_min_us = min_us;
    node->turn_max_us = max_us;
}

void sim_node_pause(struct sim_node *node)
{
    PRE(node->sim->current == NULL);
    sim_trace(node->sim, "pause", node, 0, 0);
    node->paused = true;
}

void sim_node_resume(struct sim_node *node)
{
    PRE(node->sim->current == NULL);
    sim_trace(node->sim, "resume", node, 0, 0);
    node->paused = false;
    while (node->held != NULL)
        sim_event_set(node->sim, node->held, 0);
}

void sim_node_crash(struct sim_node *node, enum sim_crash how)
{
    struct sim *sim = node->sim;

    PRE(sim->current == NULL && node->alive);
    sim_trace(sim, "crash", node, how, 0);
    node->alive = false;
    node->silent = how == SIM_CRASH_SILENT;
    sim_net_crash(node, how);
    node->paused = false;
    while (node->held != NULL)
        sim_event_clear(sim, node->held);
    for (struct sim_loop *loop = node->loops; loop != NULL; loop = loop->next)
        loop->dead = true;
    /* Events of dead loops leave the heap one by one: clearing moves others, so the search begins
     * again. */
    for (size_t i = 0; i < sim->heap_len;) {
        if (sim->heap[i]->loop != NULL && sim->heap[i]->loop->dead) {
            sim_event_clear(sim, sim->heap[i]);
            i = 0;
        } else {
            i++;
        }
    }
}

void sim_node_restart(struct sim_node *node)
{
    PRE(node->sim->current == NULL && !node->alive);
    sim_trace(node->sim, "restart", node, 0, 0);
    node->alive = true;
    node->silent = false;
    sim_net_restart(node);
}

bool sim_node_is_alive(const struct sim_node *node)
{
    return node->alive;
}

/* ---- Loops ---- */

static struct sim_loop *sim_loop_of(struct loop *loop)
{
    return (struct sim_loop *)loop;
}

static uint64_t loop_now(struct loop *base)
{
    struct sim_loop *loop = sim_loop_of(base);

    return loop->node->sim->current == loop ? loop->turn_clock_us : sim_node_now_us(loop->node);
}

static uint64_t loop_clock(struct loop *loop)
{
    return sim_node_now_us(sim_loop_of(loop)->node);
}

static uint64_t loop_wall(struct loop *loop)
{
    struct sim_node *node = sim_loop_of(loop)->node;

    return WALL_START_MS + node->sim->now_us / 1000 + (uint64_t)node->wall_offset_ms;
}

static void on_timer(void *arg)
{
    struct sim_timer *impl = arg;

    impl->timer->on_fire(impl->timer->arg);
}

static enum error timer_init(struct loop_timer *timer)
{
    struct sim_timer *impl = mem_zalloc(sizeof *impl);

    if (impl == NULL)
        return ERROR_MEMORY;
    impl->timer = timer;
    sim_event_init(&impl->event, sim_loop_of(timer->loop), on_timer, impl);
    timer->impl = impl;
    return OK;
}

static void timer_set(struct loop_timer *timer, uint64_t delay_us)
{
    struct sim_loop *loop = sim_loop_of(timer->loop);
    struct sim_timer *impl = timer->impl;
    uint64_t late_us;

    if (loop->dead)
        return;
    late_us = sim_random_below(loop->node->sim, TIMER_LATE_US);
    sim_event_set(loop->node->sim, &impl->event, sim_node_delay_us(loop->node, delay_us) + late_us);
}

static void timer_clear(struct loop_timer *timer)
{
    struct sim_timer *impl = timer->impl;

    sim_event_clear(sim_loop_of(timer->loop)->node->sim, &impl->event);
}

static void timer_fini(struct loop_timer *timer)
{
    timer_clear(timer);
    mem_free(timer->impl);
}

static void loop_wake(struct sim_loop *loop, uint64_t delay_us)
{
    if (!sim_event_is_set(&loop->turn))
        sim_event_set(loop->node->sim, &loop->turn, delay_us);
}

static void post(struct loop *base, struct loop_task *task)
{
    struct sim_loop *loop = sim_loop_of(base);

    if (loop->dead)
        return;
    list_add(&loop->posted, task);
    loop_wake(loop, sim_random_below(loop->node->sim, POST_DELAY_US));
}

static void defer(struct loop *base, struct loop_task *task)
{
    struct sim_loop *loop = sim_loop_of(base);

    if (loop->dead)
        return;
    list_add(&loop->deferred, task);
    if (loop->node->sim->current != loop)
        loop_wake(loop, 0);
}

void sim_loop_defer_last(struct sim_loop *loop, struct loop_task *task)
{
    if (loop->dead)
        return;
    list_add(&loop->last, task);
    if (loop->node->sim->current != loop)
        loop_wake(loop, 0);
}

/* The owners of what is queued may be gone, so it is not looked at. */
void sim_loop_forget_tasks(struct loop *loop)
{
    struct sim_loop *self = sim_loop_of(loop);

    self->posted = self->deferred = self->last = (struct sim_task_list){NULL, NULL};
}

void sim_loop_cancel(struct sim_loop *loop, struct loop_task *task)
{
    (void)(list_remove(&loop->posted, task) || list_remove(&loop->deferred, task) ||
           list_remove(&loop->last, task));
}

static void loop_random_bytes(struct loop *base, void *data, size_t len)
{
    struct sim_loop *loop = sim_loop_of(base);
    uint8_t *at = data;

    while (len > 0) {
        uint64_t word = sim_prng_next(&loop->prng);
        size_t part = len < sizeof word ? len : sizeof word;

        memcpy(at, &word, part);
        at += part;
        len -= part;
    }
}

static bool loop_is_current_now(struct loop *base)
{
    struct sim_loop *loop = sim_loop_of(base);

    return loop->node->sim->current == NULL || loop->node->sim->current == loop;
}

static const struct loop_ops ops = {
    .now_us = loop_now,
    .clock_us = loop_clock,
    .wall_ms = loop_wall,
    .timer_init = timer_init,
    .timer_set = timer_set,
    .timer_clear = timer_clear,
    .timer_fini = timer_fini,
    .post = post,
    .defer = defer,
    .random = loop_random_bytes,
    .is_current = loop_is_current_now,
};

struct loop *sim_loop_new(struct sim *sim, struct sim_node *node)
{
    struct sim_loop *loop = sim_alloc(sizeof *loop);

    PRE(node->alive && node->sim == sim);
    loop->loop.ops = &ops;
    loop->node = node;
    loop->id = ++sim->loop_ids;
    sim_prng_init(&loop->prng, sim_random(sim));
    sim_event_init(&loop->turn, loop, on_turn, loop);
    loop->next = node->loops;
    node->loops = loop;
    return &loop->loop;
}

void sim_loop_free(struct loop *base)
{
    struct sim_loop *loop = sim_loop_of(base);
    struct sim_loop **link = &loop->node->loops;

    PRE(loop->node->sim->current == NULL);
    sim_event_clear(loop->node->sim, &loop->turn);
    while (*link != loop)
        link = &(*link)->next;
    *link = loop->next;
    free(loop);
}
