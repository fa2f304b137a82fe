#include "tests/lib/fake_net.h"

#include <stdlib.h>

struct fake_bytes {
    uint8_t *data;
    size_t len, cap;
};

struct fake_conn {
    struct net_conn conn; /* first */
    struct fake_net *fake;
    struct fake_conn *next;
    const struct net_conn_events *events;
    void *arg;
    enum fake_conn_state state;
    struct fake_bytes in, out, sent;
    uint8_t *reserved; /* memory of its own for each reserve, so that a write beyond it is seen */
    size_t reserved_len;
    bool paused, resumed, blocked, drain_wanted, eof, eof_told;
    int inside;
};

struct fake_timer {
    struct loop_timer *timer;
    uint64_t at_us;
    bool is_set;
    struct fake_timer *next;
};

struct fake_net {
    struct net net; /* first */
    struct loop loop;
    uint64_t now_us;
    struct fake_timer *timers;
    struct fake_conn *conns;
    struct loop_task *tasks, **tasks_end;
    unsigned fail_reserve;
    uint64_t seed;
};

struct net_socket {
    struct fake_conn conn;
};

static struct fake_net *fake_of_loop(struct loop *loop)
{
    return (struct fake_net *)((char *)loop - offsetof(struct fake_net, loop));
}

static struct fake_conn *fake_of_conn(struct net_conn *conn)
{
    return (struct fake_conn *)conn;
}

static void fake_append(struct fake_bytes *bytes, const void *data, size_t len)
{
    if (bytes->cap - bytes->len < len) {
        bytes->cap = (bytes->len + len) * 2;
        bytes->data = realloc(bytes->data, bytes->cap);
        if (bytes->data == NULL)
            abort();
    }
    if (len > 0)
        memcpy(bytes->data + bytes->len, data, len);
    bytes->len += len;
}

/* ---- Loop ---- */

static uint64_t fake_now(struct loop *loop)
{
    return fake_of_loop(loop)->now_us;
}

static uint64_t fake_wall(struct loop *loop)
{
    return 1700000000000u + fake_of_loop(loop)->now_us / 1000;
}

static enum error fake_timer_init(struct loop_timer *timer)
{
    struct fake_net *fake = fake_of_loop(timer->loop);
    struct fake_timer *added = calloc(1, sizeof *added);

    if (added == NULL)
        return ERROR_MEMORY;
    added->timer = timer;
    added->next = fake->timers;
    fake->timers = added;
    timer->impl = added;
    return OK;
}

static void fake_timer_set(struct loop_timer *timer, uint64_t delay_us)
{
    struct fake_timer *set = timer->impl;

    set->at_us = fake_of_loop(timer->loop)->now_us + delay_us;
    set->is_set = true;
}

static void fake_timer_clear(struct loop_timer *timer)
{
    ((struct fake_timer *)timer->impl)->is_set = false;
}

static void fake_timer_fini(struct loop_timer *timer)
{
    struct fake_timer **at = &fake_of_loop(timer->loop)->timers;

    while (*at != timer->impl)
        at = &(*at)->next;
    *at = ((struct fake_timer *)timer->impl)->next;
    free(timer->impl);
}

static void fake_post(struct loop *loop, struct loop_task *task)
{
    struct fake_net *fake = fake_of_loop(loop);

    PRE(!task->queued);
    task->queued = true;
    task->next = NULL;
    *fake->tasks_end = task;
    fake->tasks_end = &task->next;
}

static void fake_random(struct loop *loop, void *data, size_t len)
{
    struct fake_net *fake = fake_of_loop(loop);
    uint8_t *byte = data;

    for (size_t i = 0; i < len; i++) {
        fake->seed = fake->seed * 6364136223846793005u + 1442695040888963407u;
        byte[i] = (uint8_t)(fake->seed >> 56);
    }
}

static bool fake_is_current(struct loop *loop)
{
    (void)loop;
    return true;
}

static const struct loop_ops fake_loop_ops = {
    .now_us = fake_now,
    .clock_us = fake_now,
    .wall_ms = fake_wall,
    .timer_init = fake_timer_init,
    .timer_set = fake_timer_set,
    .timer_clear = fake_timer_clear,
    .timer_fini = fake_timer_fini,
    .post = fake_post,
    .defer = fake_post,
    .random = fake_random,
    .is_current = fake_is_current,
};

/* ---- Connections ---- */

static enum error fake_adopt(struct net *net, struct net_socket *socket,
                             const struct net_conn_events *events, void *arg,
                             struct net_conn **result)
{
    struct fake_conn *conn = &socket->conn;

    (void)net;
    PRE(conn->state == FAKE_WAITING);
    conn->state = FAKE_OPEN;
    conn->events = events;
    conn->arg = arg;
    *result = &conn->conn;
    return OK;
}

static void fake_refuse(struct net *net, struct net_socket *socket)
{
    (void)net;
    socket->conn.state = FAKE_REFUSED;
}

static uint8_t *fake_reserve(struct net_conn *base, size_t len)
{
    struct fake_conn *conn = fake_of_conn(base);

    PRE(conn->state == FAKE_OPEN);
    if (conn->fake->fail_reserve > 0 && --conn->fake->fail_reserve == 0)
        return NULL;
    free(conn->reserved);
    conn->reserved = malloc(len > 0 ? len : 1);
    if (conn->reserved == NULL)
        abort();
    conn->reserved_len = len;
    return conn->reserved;
}

static void fake_commit(struct net_conn *base, size_t len)
{
    struct fake_conn *conn = fake_of_conn(base);

    PRE(conn->state == FAKE_OPEN && len <= conn->reserved_len);
    fake_append(&conn->out, conn->reserved, len);
    free(conn->reserved);
    conn->reserved = NULL;
    conn->reserved_len = 0;
}

static size_t fake_unsent(const struct net_conn *base)
{
    return ((const struct fake_conn *)base)->out.len;
}

static void fake_pause(struct net_conn *base)
{
    PRE(fake_of_conn(base)->state == FAKE_OPEN);
    fake_of_conn(base)->paused = true;
    fake_of_conn(base)->resumed = false;
}

static void fake_resume(struct net_conn *base)
{
    struct fake_conn *conn = fake_of_conn(base);

    PRE(conn->state == FAKE_OPEN);
    if (!conn->paused)
        return;
    conn->paused = false;
    conn->resumed = true;
}

static void fake_hand_over(struct net_conn *base, const struct net_conn_events *events, void *arg)
{
    PRE(fake_of_conn(base)->state == FAKE_OPEN);
    fake_of_conn(base)->events = events;
    fake_of_conn(base)->arg = arg;
}

static void fake_finish(struct net_conn *base)
{
    struct fake_conn *conn = fake_of_conn(base);

    PRE(conn->state == FAKE_OPEN);
    fake_append(&conn->sent, conn->out.data, conn->out.len);
    conn->out.len = 0;
    conn->state = FAKE_FINISHED;
}

static void fake_abort(struct net_conn *base)
{
    PRE(fake_of_conn(base)->state == FAKE_OPEN);
    fake_of_conn(base)->state = FAKE_ABORTED;
}

static struct net_address fake_peer(const struct net_conn *base)
{
    (void)base;
    return (struct net_address){"192.0.2.7", 4711};
}

static struct net_address fake_local(const struct net_conn *base)
{
    (void)base;
    return (struct net_address){"192.0.2.1", 40404};
}

static const struct net_ops fake_net_ops = {
    .adopt = fake_adopt,
    .refuse = fake_refuse,
    .reserve = fake_reserve,
    .commit = fake_commit,
    .unsent = fake_unsent,
    .pause = fake_pause,
    .resume = fake_resume,
    .hand_over = fake_hand_over,
    .finish = fake_finish,
    .abort = fake_abort,
    .peer = fake_peer,
    .local = fake_local,
};

struct fake_net *fake_net_new(void)
{
    struct fake_net *fake = calloc(1, sizeof *fake);

    if (fake == NULL)
        abort();
    fake->net.ops = &fake_net_ops;
    fake->net.loop = &fake->loop;
    fake->loop.ops = &fake_loop_ops;
    fake->now_us = 1000000;
    fake->tasks_end = &fake->tasks;
    return fake;
}

void fake_net_free(struct fake_net *fake)
{
    PRE(fake->timers == NULL);
    while (fake->conns != NULL) {
        struct fake_conn *conn = fake->conns;

        PRE(conn->state != FAKE_OPEN);
        fake->conns = conn->next;
        free(conn->in.data);
        free(conn->out.data);
        free(conn->sent.data);
        free(conn->reserved);
        free(conn);
    }
    free(fake);
}

struct net *fake_net_net(struct fake_net *fake)
{
    return &fake->net;
}

struct loop *fake_net_loop(struct fake_net *fake)
{
    return &fake->loop;
}

struct fake_conn *fake_net_accept(struct fake_net *fake)
{
    struct fake_conn *conn = calloc(1, sizeof *conn);

    if (conn == NULL)
        abort();
    conn->conn.net = &fake->net;
    conn->fake = fake;
    conn->next = fake->conns;
    fake->conns = conn;
    return conn;
}

struct net_socket *fake_conn_socket(struct fake_conn *conn)
{
    return (struct net_socket *)conn;
}

/* ---- Turns ---- */

/* Gives what is there to the owner; the input is a copy of its own, so that a read beyond it or
 * after its end is seen. */
static void fake_deliver(struct fake_conn *conn)
{
    size_t len = conn->in.len, consumed;
    uint8_t *copy;

    if (conn->state != FAKE_OPEN || conn->paused)
        return;
    if (len > 0) {
        copy = malloc(len);
        if (copy == NULL)
            abort();
        memcpy(copy, conn->in.data, len);
        conn->inside++;
        consumed = conn->events->on_data(conn->arg, copy, len);
        conn->inside--;
        free(copy);
        if (conn->state != FAKE_OPEN)
            return;
        PRE(consumed <= len);
        conn->in.len -= consumed;
        memmove(conn->in.data, conn->in.data + consumed, conn->in.len);
    }
    if (conn->eof && !conn->eof_told && !conn->paused) {
        conn->eof_told = true;
        conn->events->on_eof(conn->arg, slice_of(conn->in.data, conn->in.len));
    }
}

static void fake_flush(struct fake_conn *conn)
{
    if (conn->state != FAKE_OPEN)
        return;
    if (conn->blocked) {
        conn->drain_wanted = conn->out.len > 0;
        return;
    }
    fake_append(&conn->sent, conn->out.data, conn->out.len);
    conn->out.len = 0;
    if (conn->drain_wanted) {
        conn->drain_wanted = false;
        conn->events->on_drain(conn->arg);
    }
}

void fake_net_turn(struct fake_net *fake)
{
    bool again = true;

    while (again) {
        again = false;
        while (fake->tasks != NULL) {
            struct loop_task *task = fake->tasks;

            fake->tasks = task->next;
            if (fake->tasks == NULL)
                fake->tasks_end = &fake->tasks;
            task->queued = false;
            task->on_run(task->arg);
        }
        for (struct fake_conn *conn = fake->conns; conn != NULL; conn = conn->next)
            fake_flush(conn);
        for (struct fake_conn *conn = fake->conns; conn != NULL; conn = conn->next) {
            if (conn->state == FAKE_OPEN && conn->resumed && !conn->paused) {
                conn->resumed = false;
                again = true;
                fake_deliver(conn);
            }
        }
    }
}

void fake_net_advance(struct fake_net *fake, uint64_t us)
{
    uint64_t until_us = fake->now_us + us;

    for (;;) {
        struct fake_timer *first = NULL;

        for (struct fake_timer *timer = fake->timers; timer != NULL; timer = timer->next) {
            if (timer->is_set && timer->at_us <= until_us &&
                (first == NULL || timer->at_us < first->at_us))
                first = timer;
        }
        if (first == NULL)
            break;
        if (first->at_us > fake->now_us)
            fake->now_us = first->at_us;
        first->is_set = false;
        first->timer->on_fire(first->timer->arg);
        fake_net_turn(fake);
    }
    fake->now_us = until_us;
}

void fake_net_fail_reserve(struct fake_net *fake, unsigned n)
{
    fake->fail_reserve = n;
}

void fake_conn_feed(struct fake_conn *conn, const void *data, size_t len)
{
    if (conn->state != FAKE_OPEN)
        return;
    fake_append(&conn->in, data, len);
    fake_deliver(conn);
    fake_net_turn(conn->fake);
}

void fake_conn_eof(struct fake_conn *conn)
{
    if (conn->state != FAKE_OPEN)
        return;
    conn->eof = true;
    if (!conn->paused && !conn->eof_told) {
        conn->eof_told = true;
        conn->events->on_eof(conn->arg, slice_of(conn->in.data, conn->in.len));
    }
    fake_net_turn(conn->fake);
}

void fake_conn_reset(struct fake_conn *conn)
{
    if (conn->state != FAKE_OPEN)
        return;
    conn->state = FAKE_LOST;
    conn->events->on_close(conn->arg, ERROR_RESET);
    fake_net_turn(conn->fake);
}

void fake_conn_block(struct fake_conn *conn, bool blocked)
{
    conn->blocked = blocked;
}

struct slice fake_conn_sent(const struct fake_conn *conn)
{
    return slice_of(conn->sent.data, conn->sent.len);
}

void fake_conn_take(struct fake_conn *conn)
{
    conn->sent.len = 0;
}

enum fake_conn_state fake_conn_state(const struct fake_conn *conn)
{
    return conn->state;
}

bool fake_conn_is_paused(const struct fake_conn *conn)
{
    return conn->paused;
}
