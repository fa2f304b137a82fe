#include "tests/sim/sim_wire.h"

#include <stdlib.h>
#include <string.h>

#include "common/mem.h"

enum { SIM_READ_BYTES = 64 * 1024 };

static struct sim_net *sim_net_of(struct net *net)
{
    return (struct sim_net *)net;
}

static struct sim_conn *sim_conn_of(const struct net_conn *conn)
{
    return (struct sim_conn *)conn;
}

/* ---- The owner's hold ---- */

static void enter(struct sim_conn *conn)
{
    conn->depth++;
}

static void leave(struct sim_conn *conn)
{
    conn->depth--;
    sim_wire_free_if_unused(conn);
}

/* No callback comes after this. */
static void let_go(struct sim_conn *conn)
{
    conn->events = NULL;
    mem_free(conn->handle);
    conn->handle = NULL;
    sim_event_clear(conn->sim, &conn->readable);
}

static void join_net(struct sim_conn *conn, struct sim_net *net, void *handle,
                     const struct net_conn_events *events, void *arg)
{
    conn->net = net;
    conn->conn.net = &net->net;
    conn->handle = handle;
    conn->events = events;
    conn->arg = arg;
    conn->next = net->conns;
    if (conn->next != NULL)
        conn->next->prev = conn;
    net->conns = conn;
}

void sim_conn_leave_net(struct sim_conn *conn)
{
    if (conn->net == NULL)
        return;
    if (conn->prev != NULL)
        conn->prev->next = conn->next;
    else
        conn->net->conns = conn->next;
    if (conn->next != NULL)
        conn->next->prev = conn->prev;
    conn->net = NULL;
}

/* The connection ended by itself. Runs between enter and leave. */
static void fail(struct sim_conn *conn, enum error why)
{
    const struct net_conn_events *events = conn->events;

    sim_trace(conn->sim, "on_close", conn->node, conn->id, why);
    conn->events = NULL;
    events->on_close(conn->arg, why);
    let_go(conn);
    sim_wire_close(conn);
}

/* ---- Reading ---- */

void sim_conn_schedule_read(struct sim_conn *conn, uint64_t delay_us)
{
    if (conn->state == SIM_CONN_OPEN && conn->events != NULL && !conn->paused &&
        !sim_event_is_set(&conn->readable))
        sim_event_set(conn->sim, &conn->readable, delay_us);
}

/* How much this read gives: everything, or a piece when the link splits. */
static size_t read_size(struct sim_conn *conn)
{
    struct sim *sim = conn->sim;
    uint32_t split = sim_link(conn->peer_node, conn->node)->faults.split_bytes;

    if (split == 0 || sim_chance(sim, 100000))
        return SIM_READ_BYTES;
    return sim_chance(sim, 300000) ? 1 : 1 + (size_t)sim_random_below(sim, split);
}

/* Gives what is there to the owner. Runs between enter and leave. */
static void deliver(struct sim_conn *conn)
{
    size_t used;

    sim_trace(conn->sim, "on_data", conn->node, conn->id, conn->in.len);
    sim_trace_bytes(conn->sim, conn->in.data, conn->in.len);
    used = conn->events->on_data(conn->arg, conn->in.data, conn->in.len);
    if (conn->events == NULL) {
        sim_bytes_consume(&conn->in, conn->in.len);
        return;
    }
    sim_bytes_consume(&conn->in, used);
}

static void on_readable(void *arg)
{
    struct sim_conn *conn = arg;
    size_t before = conn->in.len;
    bool again = conn->resumed && before > 0;

    enter(conn);
    conn->resumed = false;
    sim_wire_read(conn, read_size(conn));
    if (conn->in.len > before || again)
        deliver(conn);
    if (conn->events == NULL || conn->paused)
        goto out;
    if (conn->rx.len > 0) {
        sim_conn_schedule_read(conn, sim_random_below(conn->sim, 50));
    } else if (conn->reset_arrived) {
        fail(conn, ERROR_RESET);
    } else if (conn->end_arrived && conn->wire == NULL && !conn->eof_told) {
        conn->eof_told = true;
        sim_trace(conn->sim, "on_eof", conn->node, conn->id, conn->in.len);
        conn->events->on_eof(conn->arg, slice_of(conn->in.data, conn->in.len));
    }
out:
    leave(conn);
}

static void net_pause(struct net_conn *base)
{
    struct sim_conn *conn = sim_conn_of(base);

    PRE(conn->events != NULL);
    conn->paused = true;
    conn->resumed = false;
    sim_event_clear(conn->sim, &conn->readable);
}

static void net_resume(struct net_conn *base)
{
    struct sim_conn *conn = sim_conn_of(base);

    PRE(conn->events != NULL);
    if (!conn->paused)
        return;
    conn->paused = false;
    if (conn->eof_told)
        return;
    conn->resumed = conn->in.len > 0;
    if (conn->resumed || conn->rx.len > 0 || conn->end_arrived || conn->reset_arrived)
        sim_conn_schedule_read(conn, 1);
}

static void net_hand_over_to(struct net_conn *base, const struct net_conn_events *events, void *arg)
{
    struct sim_conn *conn = sim_conn_of(base);

    PRE(conn->events != NULL && conn->state == SIM_CONN_OPEN);
    conn->events = events;
    conn->arg = arg;
}

/* ---- Writing ---- */

static void schedule_flush(struct sim_conn *conn)
{
    struct sim_net *net = conn->net;

    if (conn->flush_queued || net->loop->dead)
        return;
    conn->flush_queued = true;
    conn->flush_next = NULL;
    if (net->flush_head == NULL)
        net->flush_head = conn;
    else
        net->flush_tail->flush_next = conn;
    net->flush_tail = conn;
    if (!net->flush_task.queued)
        sim_loop_defer_last(net->loop, &net->flush_task);
}

static uint8_t *net_reserve(struct net_conn *base, size_t len)
{
    struct sim_conn *conn = sim_conn_of(base);

    PRE(conn->events != NULL);
    if (conn->out == NULL || conn->out_cap - conn->out_len < len) {
        size_t cap = conn->out_cap == 0 ? 1024 : conn->out_cap * 2;
        uint8_t *out;

        if (len > SIZE_MAX / 2 - conn->out_len)
            return NULL;
        while (cap < conn->out_len + len)
            cap *= 2;
        out = mem_realloc(conn->out, cap);
        if (out == NULL)
            return NULL;
        conn->out = out;
        conn->out_cap = cap;
        schedule_flush(conn);
    }
    return conn->out + conn->out_len;
}

static void net_commit(struct net_conn *base, size_t len)
{
    struct sim_conn *conn = sim_conn_of(base);

    PRE(len <= conn->out_cap - conn->out_len);
    if (len == 0)
        return;
    conn->out_len += len;
    schedule_flush(conn);
}

static size_t net_unsent(const struct net_conn *conn)
{
    return sim_conn_of(conn)->out_len;
}

/* The end of a turn for one connection. Runs between enter and leave. */
static void flush(struct sim_conn *conn)
{
    if (conn->state == SIM_CONN_CONNECTING) {
        conn->drain_wanted = conn->drain_wanted || conn->out_len > 0;
        return;
    }
    if (conn->state != SIM_CONN_OPEN)
        return;
    if (conn->out_len == 0 && conn->out != NULL) {
        /* Reserved and not used. */
        mem_free(conn->out);
        conn->out = NULL;
        conn->out_cap = 0;
    }
    if (conn->out_len > 0 && conn->reset_arrived && conn->events != NULL) {
        fail(conn, ERROR_RESET);
        return;
    }
    sim_wire_send(conn);
    if (conn->out_len > 0) {
        conn->drain_wanted = true;
    } else if (conn->drain_wanted && conn->events != NULL) {
        conn->drain_wanted = false;
        conn->events->on_drain(conn->arg);
    }
}

static void on_flush(void *arg)
{
    struct sim_net *net = arg;
    struct sim_conn *conn = net->flush_head;

    net->flush_head = NULL;
    net->flush_tail = NULL;
    while (conn != NULL) {
        struct sim_conn *next = conn->flush_next;

        enter(conn);
        conn->flush_queued = false;
        flush(conn);
        leave(conn);
        conn = next;
    }
}

static void on_writable(void *arg)
{
    schedule_flush(arg);
}

/* ---- Connecting and accepting ---- */

static void on_timeout(void *arg)
{
    struct sim_conn *conn = arg;

    enter(conn);
    if (conn->events != NULL)
        fail(conn, ERROR_TIMEOUT);
    else
        sim_wire_close(conn);
    leave(conn);
}

static void on_established(void *arg)
{
    struct sim_conn *conn = arg;

    enter(conn);
    sim_event_clear(conn->sim, &conn->timeout);
    if (conn->connect_error != OK) {
        if (conn->events != NULL)
            fail(conn, conn->connect_error);
        else
            sim_wire_close(conn);
        goto out;
    }
    conn->state = SIM_CONN_OPEN;
    sim_trace(conn->sim, "on_connect", conn->node, conn->id, 0);
    schedule_flush(conn);
    if (conn->events != NULL && conn->events->on_connect != NULL)
        conn->events->on_connect(conn->arg);
    /* Something may have come before. */
    sim_conn_schedule_read(conn, 0);
out:
    leave(conn);
}

void sim_conn_use_loop(struct sim_conn *conn, struct sim_loop *loop)
{
    sim_event_init(&conn->readable, loop, on_readable, conn);
    sim_event_init(&conn->writable, loop, on_writable, conn);
    sim_event_init(&conn->timeout, loop, on_timeout, conn);
    sim_event_init(&conn->established, loop, on_established, conn);
}

static enum error net_connect_to(struct net *base, const char *host, uint16_t port,
                                 uint64_t timeout_us, const struct net_conn_events *events,
                                 void *arg, struct net_conn **result)
{
    struct sim_net *net = sim_net_of(base);
    struct sim_node *node = net->loop->node;
    void *handle = mem_alloc(1);
    struct sim_conn *conn;

    if (handle == NULL)
        return ERROR_MEMORY;
    conn = sim_wire_new(node->sim, node);
    conn->state = SIM_CONN_CONNECTING;
    sim_conn_use_loop(conn, net->loop);
    join_net(conn, net, handle, events, arg);
    if (net->loop->dead) {
        conn->state = SIM_CONN_CLOSED;
    } else {
        sim_wire_connect(conn, host, port);
        sim_event_set(node->sim, &conn->timeout, sim_node_delay_us(node, timeout_us));
    }
    *result = &conn->conn;
    return OK;
}

void sim_conn_on_accept(void *arg)
{
    struct sim_conn *conn = arg;

    conn->given = true;
    conn->listener->on_accept(conn->listener->arg, &conn->socket);
}

static void net_refuse_socket(struct net *net, struct net_socket *socket)
{
    struct sim_conn *conn = socket->conn;

    (void)net;
    conn->given = false;
    sim_wire_close(conn);
    sim_wire_free_if_unused(conn);
}

static enum error net_adopt_socket(struct net *base, struct net_socket *socket,
                                   const struct net_conn_events *events, void *arg,
                                   struct net_conn **result)
{
    struct sim_net *net = sim_net_of(base);
    struct sim_conn *conn = socket->conn;
    void *handle = mem_alloc(1);

    if (handle == NULL) {
        net_refuse_socket(base, socket);
        return ERROR_MEMORY;
    }
    conn->given = false;
    conn->listener = NULL;
    sim_conn_use_loop(conn, net->loop);
    join_net(conn, net, handle, events, arg);
    if (conn->state == SIM_CONN_PENDING)
        conn->state = SIM_CONN_OPEN;
    if (conn->rx.len > 0 || conn->end_arrived || conn->reset_arrived)
        sim_conn_schedule_read(conn, 0);
    *result = &conn->conn;
    return OK;
}

static struct sim_listener *listener_of(struct sim_node *node, uint16_t port)
{
    struct sim_listener *listener = node->listeners;

    while (listener != NULL && listener->address.port != port)
        listener = listener->next_in_node;
    return listener;
}

static enum error net_listen_at(struct net *base, const char *host, uint16_t port,
                                net_accept_fn *on_accept, void *arg, struct net_listener **result)
{
    struct sim_net *net = sim_net_of(base);
    struct sim_node *node = net->loop->node;
    struct sim_listener *listener;

    (void)host;
    if (port == 0) {
        do {
            port = node->next_port++;
        } while (listener_of(node, port) != NULL);
    } else if (listener_of(node, port) != NULL) {
        return ERROR_ADDRESS_IN_USE;
    }
    listener = mem_zalloc(sizeof *listener);
    if (listener == NULL)
        return ERROR_MEMORY;
    listener->listener.net = base;
    snprintf(listener->address.host, sizeof listener->address.host, "%s", node->host);
    listener->address.port = port;
    listener->on_accept = on_accept;
    listener->arg = arg;
    listener->next_in_net = net->listeners;
    net->listeners = listener;
    if (!net->loop->dead) {
        listener->next_in_node = node->listeners;
        node->listeners = listener;
    }
    *result = &listener->listener;
    return OK;
}

static struct net_address net_listener_at(const struct net_listener *listener)
{
    return ((const struct sim_listener *)listener)->address;
}

static void net_listener_end(struct net_listener *base)
{
    struct sim_listener *listener = (struct sim_listener *)base;
    struct sim_net *net = sim_net_of(base->net);
    struct sim_listener **link = &net->listeners;
    struct sim_conn *next;

    while (*link != listener)
        link = &(*link)->next_in_net;
    *link = listener->next_in_net;
    for (link = &net->loop->node->listeners; *link != NULL; link = &(*link)->next_in_node) {
        if (*link == listener) {
            *link = listener->next_in_node;
            break;
        }
    }
    /* Who waits in the queue is refused. */
    for (struct sim_conn *conn = net->loop->node->sim->conns; conn != NULL; conn = next) {
        next = conn->all_next;
        if (conn->state != SIM_CONN_PENDING || conn->listener != listener || conn->given)
            continue;
        sim_wire_refuse(conn);
        sim_wire_free_if_unused(conn);
    }
    mem_free(listener);
}

/* ---- Closing ---- */

static void net_abort(struct net_conn *base)
{
    struct sim_conn *conn = sim_conn_of(base);

    PRE(conn->events != NULL);
    enter(conn);
    sim_trace(conn->sim, "abort", conn->node, conn->id, 0);
    let_go(conn);
    sim_wire_close(conn);
    leave(conn);
}

static void net_finish(struct net_conn *base)
{
    struct sim_conn *conn = sim_conn_of(base);

    PRE(conn->events != NULL);
    if (conn->net->loop->dead || (conn->state == SIM_CONN_CONNECTING && conn->out_len == 0) ||
        conn->reset_arrived) {
        net_abort(base);
        return;
    }
    enter(conn);
    sim_trace(conn->sim, "finish", conn->node, conn->id, conn->out_len);
    let_go(conn);
    conn->finished = true;
    /* Nobody reads any more. */
    sim_wire_drop_input(conn);
    if (conn->depth == 1)
        sim_bytes_consume(&conn->in, conn->in.len);
    schedule_flush(conn);
    leave(conn);
}

static struct net_address net_peer(const struct net_conn *conn)
{
    return sim_conn_of(conn)->remote;
}

static struct net_address net_local(const struct net_conn *conn)
{
    return sim_conn_of(conn)->local;
}

/* ---- The net ---- */

static const struct net_ops ops = {
    .listen = net_listen_at,
    .listener_address = net_listener_at,
    .listener_close = net_listener_end,
    .adopt = net_adopt_socket,
    .refuse = net_refuse_socket,
    .connect = net_connect_to,
    .reserve = net_reserve,
    .commit = net_commit,
    .unsent = net_unsent,
    .pause = net_pause,
    .resume = net_resume,
    .hand_over = net_hand_over_to,
    .finish = net_finish,
    .abort = net_abort,
    .peer = net_peer,
    .local = net_local,
};

struct net *sim_net_new(struct sim *sim, struct loop *loop)
{
    struct sim_net *net = sim_alloc(sizeof *net);

    PRE(((struct sim_loop *)loop)->node->sim == sim);
    net->net = (struct net){.ops = &ops, .loop = loop};
    net->loop = (struct sim_loop *)loop;
    net->flush_task = (struct loop_task){.on_run = on_flush, .arg = net};
    return &net->net;
}

void sim_net_free(struct net *base)
{
    struct sim_net *net = sim_net_of(base);

    PRE(net->loop->node->sim->current == NULL);
    if (net->flush_task.queued)
        sim_loop_cancel(net->loop, &net->flush_task);
    while (net->flush_head != NULL) {
        struct sim_conn *conn = net->flush_head;

        net->flush_head = conn->flush_next;
        conn->flush_queued = false;
        sim_wire_free_if_unused(conn);
    }
    while (net->conns != NULL) {
        struct sim_conn *conn = net->conns;

        let_go(conn);
        sim_wire_close(conn);
        sim_wire_free_if_unused(conn);
    }
    while (net->listeners != NULL)
        net_listener_end(&net->listeners->listener);
    free(net);
}
