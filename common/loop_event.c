/* The real loop, on libevent.
 *
 *   wait -> [callbacks of sockets, timers, signals] -> posted tasks -> deferred tasks -> last tasks
 * -> wait
 *
 * Each pass is one turn. The clock is read at the first use after the wait and kept for the turn; a
 * use before the wait does not survive it. Only loop_post() and loop_event_stop() are called from
 * other threads; they share a mutex and an eventfd with the loop and never touch libevent, whose
 * base therefore needs no locks. */
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/thread.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "common/loop_event.h"
#include "common/mem.h"

/* How far the CPU time of a turn may be overstated: the clock of a thread costs 0.7 us to read, too
 * much for each turn.
 */
enum { TURN_MEASURE_US = 100 };

struct task_list {
    struct loop_task *head;
    struct loop_task *tail;
};

struct event_watch {
    struct event *event;
    loop_fn *on_event;
    void *arg;
    struct loop_event *loop;
    struct event_watch *next;
};

struct loop_event {
    struct loop loop;
    struct event_base *base;
    struct event *wake;
    int wake_fd;
    uint64_t now_us;
    bool now_valid;
    uint64_t wall_ms;
    bool wall_valid;
    struct task_list deferred;
    struct task_list last;
    struct task_list running; /* what run_tasks() has not come to yet */
    struct event_watch *watches;
    uint64_t cpu_read_us; /* the thread's CPU time at its last reading, and when that was */
    uint64_t cpu_read_at_us;
    _Atomic uint64_t turn_max_us;
    atomic_bool is_running;
    atomic_bool stop;
    pthread_t thread;
    pthread_mutex_t mutex; /* posted, wake_sent */
    struct task_list posted;
    bool wake_sent; /* the loop will look at `posted` before it waits again */
};

struct event_timer {
    struct event event;
    struct loop_timer *timer;
    uint64_t due_us;
};

static struct loop_event *loop_event_of(struct loop *loop)
{
    return (struct loop_event *)loop;
}

static uint64_t clock_us(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void task_list_add(struct task_list *list, struct loop_task *task)
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

static uint64_t event_now_us(struct loop *loop)
{
    struct loop_event *self = loop_event_of(loop);

    if (!self->now_valid) {
        self->now_us = clock_us(CLOCK_BOOTTIME);
        self->now_valid = true;
    }
    return self->now_us;
}

static uint64_t event_clock_us(struct loop *loop)
{
    (void)loop;
    return clock_us(CLOCK_BOOTTIME);
}

static bool event_is_current(struct loop *loop)
{
    struct loop_event *self = loop_event_of(loop);

    /* A loop that does not run belongs to whoever builds or takes it down. */
    return !atomic_load_explicit(&self->is_running, memory_order_acquire) ||
           pthread_equal(self->thread, pthread_self());
}

static uint64_t event_wall_ms(struct loop *loop)
{
    struct loop_event *self = loop_event_of(loop);

    /* What the turn keeps is its thread's alone. */
    if (!event_is_current(loop))
        return clock_us(CLOCK_REALTIME) / 1000;
    if (!self->wall_valid) {
        self->wall_ms = clock_us(CLOCK_REALTIME) / 1000;
        self->wall_valid = true;
    }
    return self->wall_ms;
}

static void timer_arm(struct event_timer *impl, uint64_t delay_us)
{
    struct timeval delay = {.tv_sec = (time_t)(delay_us / 1000000),
                            .tv_usec = (suseconds_t)(delay_us % 1000000)};

    /* Only libevent's heap of pointers could need memory here, and event_timer_init() has seen to
     * that. */
    INVARIANT(event_add(&impl->event, &delay) == 0);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct event_timer *impl = arg;
    struct loop_timer *timer = impl->timer;
    uint64_t now_us = event_now_us(timer->loop);

    (void)fd;
    (void)what;
    /* libevent's clock is coarser than ours; a timer never fires early. */
    if (now_us < impl->due_us) {
        timer_arm(impl, impl->due_us - now_us);
        return;
    }
    timer->on_fire(timer->arg);
}

static enum error event_timer_init(struct loop_timer *timer)
{
    struct event_timer *impl = mem_zalloc(sizeof *impl);
    const struct timeval far = {.tv_sec = 1000000};

    if (impl == NULL)
        return ERROR_MEMORY;
    impl->timer = timer;
    evtimer_assign(&impl->event, loop_event_of(timer->loop)->base, on_timer, impl);
    if (event_add(&impl->event, &far) != 0) {
        mem_free(impl);
        return ERROR_MEMORY;
    }
    event_del(&impl->event);
    timer->impl = impl;
    return OK;
}

static void event_timer_set(struct loop_timer *timer, uint64_t delay_us)
{
    struct event_timer *impl = timer->impl;

    impl->due_us = event_now_us(timer->loop) + delay_us;
    timer_arm(impl, delay_us);
}

static void event_timer_clear(struct loop_timer *timer)
{
    struct event_timer *impl = timer->impl;

    event_del(&impl->event);
}

static void event_timer_fini(struct loop_timer *timer)
{
    event_timer_clear(timer);
    mem_free(timer->impl);
}

static void wake(struct loop_event *self)
{
    const uint64_t one = 1;

    /* A full counter cannot happen: the loop reads it away. */
    while (write(self->wake_fd, &one, sizeof one) < 0 && errno == EINTR)
        continue;
}

static void event_post(struct loop *loop, struct loop_task *task)
{
    struct loop_event *self = loop_event_of(loop);
    bool first;

    pthread_mutex_lock(&self->mutex);
    task_list_add(&self->posted, task);
    first = !self->wake_sent;
    self->wake_sent = true;
    pthread_mutex_unlock(&self->mutex);
    if (first)
        wake(self);
}

static void event_defer(struct loop *loop, struct loop_task *task)
{
    task_list_add(&loop_event_of(loop)->deferred, task);
}

static void event_random(struct loop *loop, void *data, size_t len)
{
    (void)loop;
    while (len > 0) {
        int part = len > 1 << 20 ? 1 << 20 : (int)len;

        /* Without randomness secrets could be guessed: there is no going on. */
        INVARIANT(RAND_bytes(data, part) == 1);
        data = (uint8_t *)data + part;
        len -= (size_t)part;
    }
}

static uint64_t event_turn_max_us(const struct loop *loop)
{
    return atomic_load_explicit(&((const struct loop_event *)loop)->turn_max_us,
                                memory_order_relaxed);
}

static uint64_t event_cpu_us(const struct loop *loop)
{
    (void)loop;
    return clock_us(CLOCK_THREAD_CPUTIME_ID);
}

static const struct loop_ops event_ops = {
    .now_us = event_now_us,
    .clock_us = event_clock_us,
    .wall_ms = event_wall_ms,
    .timer_init = event_timer_init,
    .timer_set = event_timer_set,
    .timer_clear = event_timer_clear,
    .timer_fini = event_timer_fini,
    .post = event_post,
    .defer = event_defer,
    .random = event_random,
    .is_current = event_is_current,
    .turn_max_us = event_turn_max_us,
    .cpu_us = event_cpu_us,
};

void loop_event_defer_last(struct loop *loop, struct loop_task *task)
{
    task_list_add(&loop_event_of(loop)->last, task);
}

void loop_event_forget_tasks(struct loop *loop)
{
    struct loop_event *self = loop_event_of(loop);

    pthread_mutex_lock(&self->mutex);
    self->posted = (struct task_list){0};
    pthread_mutex_unlock(&self->mutex);
    self->deferred = self->last = self->running = (struct task_list){0};
}

/* Runs what is in the list now; what is added meanwhile stays for the next turn. */
static void run_tasks(struct loop_event *self, struct task_list *list)
{
    self->running = *list;
    *list = (struct task_list){0};
    while (self->running.head != NULL) {
        struct loop_task *task = self->running.head;

        self->running.head = task->next;
        if (task->next == NULL)
            self->running.tail = NULL;
        task->next = NULL;
        task->queued = false;
        task->on_run(task->arg);
    }
}

static void run_posted(struct loop_event *self)
{
    struct task_list posted;

    pthread_mutex_lock(&self->mutex);
    posted = self->posted;
    self->posted = (struct task_list){0};
    self->wake_sent = false;
    pthread_mutex_unlock(&self->mutex);
    run_tasks(self, &posted);
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    struct loop_event *self = arg;
    uint64_t count;

    (void)what;
    (void)event_now_us(&self->loop);
    if (read(fd, &count, sizeof count) == (ssize_t)sizeof count)
        run_posted(self);
}

/* A turn cannot have used more CPU time than it lasted, nor more than was used since the last
 * reading. */
static void measure_turn(struct loop_event *self)
{
    uint64_t end_us = clock_us(CLOCK_BOOTTIME);
    uint64_t turn_us = self->now_valid ? end_us - self->now_us : 0;
    uint64_t cpu_us, used_us;

    if (end_us - self->cpu_read_at_us < TURN_MEASURE_US)
        return;
    cpu_us = clock_us(CLOCK_THREAD_CPUTIME_ID);
    used_us = cpu_us - self->cpu_read_us;
    self->cpu_read_us = cpu_us;
    self->cpu_read_at_us = end_us;
    if (used_us > turn_us)
        used_us = turn_us;
    if (used_us > atomic_load_explicit(&self->turn_max_us, memory_order_relaxed))
        atomic_store_explicit(&self->turn_max_us, used_us, memory_order_relaxed);
}

/* What libevent would print, its callers report. */
static void ignore_message(int severity, const char *message)
{
    (void)severity;
    (void)message;
}

enum error loop_event_new(struct loop **loop)
{
    struct event_config *config;
    struct loop_event *self = mem_zalloc(sizeof *self);
    enum error error = ERROR_MEMORY;

    if (self == NULL)
        return ERROR_MEMORY;
    /* For what libevent shares between bases, such as its random numbers. */
    event_set_log_callback(ignore_message);
    if (evthread_use_pthreads() != 0)
        goto err_after_self;
    config = event_config_new();
    if (config == NULL)
        goto err_after_self;
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    self->base = event_base_new_with_config(config);
    event_config_free(config);
    if (self->base == NULL)
        goto err_after_self;
    self->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (self->wake_fd < 0) {
        error = ERROR_IO;
        goto err_after_base;
    }
    self->wake = event_new(self->base, self->wake_fd, EV_READ | EV_PERSIST, on_wake, self);
    if (self->wake == NULL || event_add(self->wake, NULL) != 0)
        goto err_after_wake_fd;
    pthread_mutex_init(&self->mutex, NULL);
    self->loop.ops = &event_ops;
    *loop = &self->loop;
    return OK;

err_after_wake_fd:
    if (self->wake != NULL)
        event_free(self->wake);
    close(self->wake_fd);
err_after_base:
    event_base_free(self->base);
err_after_self:
    mem_free(self);
    return error;
}

void loop_event_run(struct loop *loop)
{
    struct loop_event *self = loop_event_of(loop);

    PRE(!atomic_load(&self->is_running));
    self->thread = pthread_self();
    atomic_store_explicit(&self->is_running, true, memory_order_release);
    self->cpu_read_us = clock_us(CLOCK_THREAD_CPUTIME_ID);
    self->cpu_read_at_us = clock_us(CLOCK_BOOTTIME);
    while (!atomic_load_explicit(&self->stop, memory_order_acquire)) {
        bool more = self->deferred.head != NULL || self->last.head != NULL;

        self->now_valid = false;
        self->wall_valid = false;
        event_base_loop(self->base, more ? EVLOOP_ONCE | EVLOOP_NONBLOCK : EVLOOP_ONCE);
        run_tasks(self, &self->deferred);
        run_tasks(self, &self->last);
        measure_turn(self);
    }
    atomic_store(&self->stop, false);
    self->now_valid = false;
    self->wall_valid = false;
    atomic_store_explicit(&self->is_running, false, memory_order_release);
}

void loop_event_stop(struct loop *loop)
{
    struct loop_event *self = loop_event_of(loop);

    atomic_store_explicit(&self->stop, true, memory_order_release);
    wake(self);
}

static void on_watched(evutil_socket_t number, short what, void *arg)
{
    struct event_watch *watch = arg;

    (void)number;
    (void)what;
    (void)event_now_us(&watch->loop->loop);
    watch->on_event(watch->arg);
}

static enum error watch(struct loop *loop, int number, short what, loop_fn *on_event, void *arg)
{
    struct loop_event *self = loop_event_of(loop);
    struct event_watch *watch = mem_zalloc(sizeof *watch);

    if (watch == NULL)
        return ERROR_MEMORY;
    *watch = (struct event_watch){.on_event = on_event, .arg = arg, .loop = self};
    watch->event = event_new(self->base, number, (short)(what | EV_PERSIST), on_watched, watch);
    if (watch->event == NULL || event_add(watch->event, NULL) != 0) {
        if (watch->event != NULL)
            event_free(watch->event);
        mem_free(watch);
        return ERROR_MEMORY;
    }
    watch->next = self->watches;
    self->watches = watch;
    return OK;
}

enum error loop_event_signal(struct loop *loop, int signal_number, loop_fn *on_signal, void *arg)
{
    return watch(loop, signal_number, EV_SIGNAL, on_signal, arg);
}

enum error loop_event_readable(struct loop *loop, int fd, loop_fn *on_readable, void *arg)
{
    return watch(loop, fd, EV_READ, on_readable, arg);
}

void loop_event_free(struct loop *loop)
{
    struct loop_event *self = loop_event_of(loop);

    if (loop == NULL)
        return;
    PRE(!atomic_load(&self->is_running));
    while (self->watches != NULL) {
        struct event_watch *watch = self->watches;

        self->watches = watch->next;
        event_free(watch->event);
        mem_free(watch);
    }
    event_free(self->wake);
    event_base_free(self->base);
    close(self->wake_fd);
    pthread_mutex_destroy(&self->mutex);
    mem_free(self);
}

struct event_base *loop_event_base(struct loop *loop)
{
    return loop_event_of(loop)->base;
}
