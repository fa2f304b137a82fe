#include "tests/sim/sim_wire.h"

#include <stdlib.h>
#include <string.h>

#include "common/mem.h"

enum {
    REQUEST_AGAIN_US = 200000, /* a connection request that got lost is repeated */
    LINGER_US = 1000000,       /* after the end was sent */
    STALL_US = 10000000,       /* before, without progress */
};

/* ---- Links ---- */

struct sim_link *sim_link(const struct sim_node *from, const struct sim_node *to)
{
    return &from->sim->links[from->id * SIM_NODES_MAX + to->id];
}

static uint64_t latency_us(const struct sim_node *from, const struct sim_node *to)
{
    const struct sim_faults *faults = &sim_link(from, to)->faults;

    return faults->latency_min_us +
           sim_random_below(from->sim, faults->latency_max_us - faults->latency_min_us + 1);
}

void sim_set_faults(struct sim *sim, const struct sim_faults *faults)
{
    PRE(faults->latency_min_us <= faults->latency_max_us);
    for (size_t i = 0; i < SIM_NODES_MAX * SIM_NODES_MAX; i++)
        sim->links[i].faults = *faults;
}

void sim_link_set_faults(struct sim_node *from, struct sim_node *to,
                         const struct sim_faults *faults)
{
    PRE(faults->latency_min_us <= faults->latency_max_us);
    sim_link(from, to)->faults = *faults;
}

void sim_partition(struct sim_node *from, struct sim_node *to)
{
    sim_trace(from->sim, "partition", from, to->id, 0);
    sim_link(from, to)->blocked = true;
}

static void schedule_arrival(struct sim_conn *conn)
{
    struct sim *sim = conn->sim;

    if (conn->wire != NULL && !sim_event_is_set(&conn->arrival))
        sim_event_set(sim, &conn->arrival,
                      conn->wire->at_us > sim->now_us ? conn->wire->at_us - sim->now_us : 0);
}

void sim_heal(struct sim_node *from, struct sim_node *to)
{
    struct sim *sim = from->sim;

    if (!sim_link(from, to)->blocked)
        return;
    sim_trace(sim, "heal", from, to->id, 0);
    sim_link(from, to)->blocked = false;
    for (struct sim_conn *conn = sim->conns; conn != NULL; conn = conn->all_next) {
        if (conn->node == to && conn->peer_node == from)
            schedule_arrival(conn);
    }
}

void sim_heal_all(struct sim *sim)
{
    for (size_t i = 0; i < sim->node_count; i++) {
        for (size_t j = 0; j < sim->node_count; j++)
            sim_heal(sim->nodes[i], sim->nodes[j]);
    }
}

/* ---- Bytes ---- */

void sim_bytes_append(struct sim_bytes *bytes, const uint8_t *data, size_t len)
{
    if (bytes->cap - bytes->len < len) {
        while (bytes->cap - bytes->len < len)
            bytes->cap = bytes->cap == 0 ? 256 : bytes->cap * 2;
        bytes->data = sim_realloc(bytes->data, bytes->cap);
    }
    if (len > 0)
        memcpy(bytes->data + bytes->len, data, len);
    bytes->len += len;
}

void sim_bytes_consume(struct sim_bytes *bytes, size_t len)
{
    PRE(len <= bytes->len);
    bytes->len -= len;
    if (len > 0)
        memmove(bytes->data, bytes->data + len, bytes->len);
    if (bytes->len == 0) {
        free(bytes->data);
        *bytes = (struct sim_bytes){0};
    }
}

/* ---- Life of an end ---- */

static void on_arrival(void *arg);
static void on_request(void *arg);
static void on_reset(void *arg);
static void on_linger(void *arg);

struct sim_conn *sim_wire_new(struct sim *sim, struct sim_node *node)
{
    struct sim_conn *conn = sim_alloc(sizeof *conn);

    conn->sim = sim;
    conn->id = ++sim->conn_ids;
    conn->node = node;
    conn->socket.conn = conn;
    conn->cut_at = UINT64_MAX;
    sim_event_init(&conn->arrival, NULL, on_arrival, conn);
    sim_event_init(&conn->request, NULL, on_request, conn);
    sim_event_init(&conn->reset, NULL, on_reset, conn);
    sim_event_init(&conn->linger, NULL, on_linger, conn);
    conn->all_prev = sim->conns_tail;
    if (sim->conns_tail != NULL)
        sim->conns_tail->all_next = conn;
    else
        sim->conns = conn;
    sim->conns_tail = conn;
    return conn;
}

static void clear_events(struct sim_conn *conn)
{
    struct sim_event *events[] = {&conn->readable,    &conn->writable, &conn->timeout,
                                  &conn->established, &conn->accept,   &conn->arrival,
                                  &conn->request,     &conn->reset,    &conn->linger};

    for (size_t i = 0; i < sizeof events / sizeof *events; i++)
        sim_event_clear(conn->sim, events[i]);
}

static bool drop_wire(struct sim_conn *conn)
{
    bool had_data = false;

    while (conn->wire != NULL) {
        struct sim_segment *segment = conn->wire;

        had_data = had_data || segment->kind == SIM_SEGMENT_DATA;
        conn->wire = segment->next;
        free(segment);
    }
    conn->wire_tail = NULL;
    conn->wire_bytes = 0;
    return had_data;
}

void sim_wire_free_if_unused(struct sim_conn *conn)
{
    struct sim *sim = conn->sim;

    if (conn->state != SIM_CONN_CLOSED || conn->events != NULL || conn->handle != NULL ||
        conn->depth > 0 || conn->flush_queued || conn->given)
        return;
    clear_events(conn);
    sim_conn_leave_net(conn);
    if (conn->all_prev != NULL)
        conn->all_prev->all_next = conn->all_next;
    else
        sim->conns = conn->all_next;
    if (conn->all_next != NULL)
        conn->all_next->all_prev = conn->all_prev;
    else
        sim->conns_tail = conn->all_prev;
    sim_bytes_consume(&conn->in, conn->in.len);
    mem_free(conn->out);
    free(conn);
}

/* ---- Segments ---- */

static void put_on_wire(struct sim_conn *to, enum sim_segment_kind kind, const uint8_t *data,
                        size_t len)
{
    struct sim *sim = to->sim;
    struct sim_segment *segment = sim_alloc(sizeof *segment + len);

    segment->kind = kind;
    segment->len = len;
    if (len > 0)
        memcpy(segment->data, data, len);
    segment->at_us = sim->now_us + latency_us(to->peer_node, to->node);
    if (to->wire_tail != NULL)
        to->wire_tail->next = segment;
    else
        to->wire = segment;
    to->wire_tail = segment;
    to->wire_bytes += len;
    schedule_arrival(to);
}

/* A reset that overtakes what is on the wire. */
static void send_reset(struct sim_conn *to)
{
    if (to->probed)
        sim_event_clear(to->sim, &to->reset);
    to->probed = false;
    if (to->state == SIM_CONN_CLOSED || to->reset_arrived || sim_event_is_set(&to->reset))
        return;
    sim_event_set(to->sim, &to->reset, latency_us(to->peer_node, to->node));
}

static void separate(struct sim_conn *conn)
{
    if (conn->peer != NULL)
        conn->peer->peer = NULL;
    conn->peer = NULL;
}

/* The system's socket goes: with an end in order, or, when something was not read, with a reset. */
void sim_wire_close(struct sim_conn *conn)
{
    struct sim_conn *peer = conn->peer;
    bool unread = conn->rx.len > 0;

    if (conn->state == SIM_CONN_CLOSED)
        return;
    sim_trace(conn->sim, "close", conn->node, conn->id, unread);
    clear_events(conn);
    unread = drop_wire(conn) || unread;
    sim_bytes_consume(&conn->rx, conn->rx.len);
    separate(conn);
    conn->state = SIM_CONN_CLOSED;
    if (peer == NULL)
        return;
    if (unread)
        send_reset(peer);
    else if (!conn->end_sent)
        put_on_wire(peer, SIM_SEGMENT_END, NULL, 0);
}

void sim_wire_refuse(struct sim_conn *conn)
{
    struct sim_conn *peer = conn->peer;

    conn->end_sent = true;
    sim_wire_close(conn);
    if (peer != NULL)
        send_reset(peer);
}

/* Both ends learn of the reset: the peer after everything that is on its way, this end out of
 * order. */
static void cut(struct sim_conn *conn)
{
    struct sim_conn *peer = conn->peer;

    sim_trace(conn->sim, "cut", conn->node, conn->id, conn->sent);
    conn->cut_at = UINT64_MAX;
    if (peer != NULL) {
        put_on_wire(peer, SIM_SEGMENT_RESET, NULL, 0);
        separate(conn);
    }
    send_reset(conn);
}

static void consume_out(struct sim_conn *conn, size_t len)
{
    conn->out_len -= len;
    if (conn->out_len > 0) {
        memmove(conn->out, conn->out + len, conn->out_len);
        return;
    }
    mem_free(conn->out);
    conn->out = NULL;
    conn->out_cap = 0;
}

static size_t window_left(const struct sim_conn *conn)
{
    size_t used = conn->hole_bytes;

    if (conn->peer != NULL)
        used += conn->peer->wire_bytes + conn->peer->rx.len;
    return used < SIM_WINDOW_BYTES ? SIM_WINDOW_BYTES - used : 0;
}

static void send_data(struct sim_conn *conn)
{
    struct sim *sim = conn->sim;
    size_t len = window_left(conn);
    bool resets = sim_chance(sim, sim_link(conn->node, conn->peer_node)->faults.reset_ppm);

    if (len > conn->out_len)
        len = conn->out_len;
    if (len == 0)
        return;
    if (resets)
        len = (size_t)sim_random_below(sim, len);
    if (conn->cut_at - conn->sent < len)
        len = (size_t)(conn->cut_at - conn->sent);
    sim_trace(sim, "send", conn->node, conn->id, len);
    sim_trace_bytes(sim, conn->out, len);
    if (conn->peer != NULL) {
        if (len > 0)
            put_on_wire(conn->peer, SIM_SEGMENT_DATA, conn->out, len);
    } else if (conn->hole) {
        conn->hole_bytes += len;
    } else {
        send_reset(conn);
    }
    conn->sent += len;
    consume_out(conn, len);
    if (resets || conn->sent >= conn->cut_at)
        cut(conn);
    if (conn->finished)
        sim_event_set(sim, &conn->linger, STALL_US);
}

void sim_wire_send(struct sim_conn *conn)
{
    if (conn->out_len > 0)
        send_data(conn);
    if (!conn->finished || conn->out_len > 0 || conn->end_sent)
        return;
    conn->end_sent = true;
    if (conn->peer != NULL)
        put_on_wire(conn->peer, SIM_SEGMENT_END, NULL, 0);
    if (conn->end_arrived || (conn->peer == NULL && !conn->hole))
        sim_wire_close(conn);
    else
        sim_event_set(conn->sim, &conn->linger, LINGER_US);
}

/* The window towards this end has opened: the peer may go on. */
static void open_window(struct sim_conn *conn)
{
    struct sim_conn *peer = conn->peer;

    if (peer != NULL && peer->out_len > 0 && peer->writable.loop != NULL &&
        !sim_event_is_set(&peer->writable))
        sim_event_set(conn->sim, &peer->writable, latency_us(conn->node, peer->node));
}

void sim_wire_read(struct sim_conn *conn, size_t max)
{
    size_t len = conn->rx.len < max ? conn->rx.len : max;

    sim_bytes_append(&conn->in, conn->rx.data, len);
    sim_bytes_consume(&conn->rx, len);
    open_window(conn);
}

void sim_wire_drop_input(struct sim_conn *conn)
{
    sim_bytes_consume(&conn->rx, conn->rx.len);
    open_window(conn);
}

static void on_arrival(void *arg)
{
    struct sim_conn *conn = arg;
    struct sim_segment *segment = conn->wire;

    /* Nothing comes through a partition; its end schedules this again. */
    if (sim_link(conn->peer_node, conn->node)->blocked)
        return;
    conn->wire = segment->next;
    if (conn->wire == NULL)
        conn->wire_tail = NULL;
    conn->wire_bytes -= segment->len;
    sim_trace(conn->sim, "arrive", conn->node, conn->id, segment->len + segment->kind);
    switch (segment->kind) {
    case SIM_SEGMENT_DATA:
        /* Nobody reads after the finish: the bytes are dropped. */
        if (conn->finished)
            open_window(conn);
        else
            sim_bytes_append(&conn->rx, segment->data, segment->len);
        break;
    case SIM_SEGMENT_END:
        conn->end_arrived = true;
        break;
    case SIM_SEGMENT_RESET:
        conn->reset_arrived = true;
        break;
    }
    free(segment);
    schedule_arrival(conn);
    if (!conn->finished) {
        sim_conn_schedule_read(conn, 0);
    } else if (conn->reset_arrived || (conn->end_arrived && conn->end_sent)) {
        sim_wire_close(conn);
        sim_wire_free_if_unused(conn);
    }
}

/* The system of this end asks a silent peer from time to time whether it is there. */
static void probe_later(struct sim_conn *conn, unsigned seconds)
{
    sim_event_clear(conn->sim, &conn->reset);
    sim_event_set(conn->sim, &conn->reset, seconds * UINT64_C(1000000));
    conn->probed = true;
}

static void on_reset(void *arg)
{
    struct sim_conn *conn = arg;

    if (sim_link(conn->peer_node, conn->node)->blocked) {
        sim_event_set(conn->sim, &conn->reset, REQUEST_AGAIN_US);
        return;
    }
    sim_trace(conn->sim, "reset", conn->node, conn->id, 0);
    conn->reset_arrived = true;
    separate(conn);
    /* What was received and not read yet may go with it. */
    if (sim_chance(conn->sim, 500000)) {
        drop_wire(conn);
        sim_event_clear(conn->sim, &conn->arrival);
        sim_bytes_consume(&conn->rx, conn->rx.len);
    }
    if (conn->finished) {
        sim_wire_close(conn);
        sim_wire_free_if_unused(conn);
        return;
    }
    sim_conn_schedule_read(conn, 0);
}

static void on_linger(void *arg)
{
    struct sim_conn *conn = arg;

    sim_wire_close(conn);
    sim_wire_free_if_unused(conn);
}

/* ---- Connection requests ---- */

void sim_wire_connect(struct sim_conn *conn, const char *host, uint16_t port)
{
    struct sim *sim = conn->sim;

    snprintf(conn->remote.host, sizeof conn->remote.host, "%s", host);
    conn->remote.port = port;
    for (size_t i = 0; i < sim->node_count; i++) {
        if (strcmp(sim->nodes[i]->host, host) == 0 || strcmp(sim->nodes[i]->name, host) == 0 ||
            (sim->nodes[i] == conn->node && strcmp(host, "localhost") == 0))
            conn->peer_node = sim->nodes[i];
    }
    conn->local.port = conn->node->next_port++;
    snprintf(conn->local.host, sizeof conn->local.host, "%s", conn->node->host);
    sim_trace(sim, "connect", conn->node, conn->id, port);
    if (conn->peer_node == NULL) {
        conn->connect_error = ERROR_NAME;
        sim_event_set(sim, &conn->established, 1);
        return;
    }
    snprintf(conn->remote.host, sizeof conn->remote.host, "%s", conn->peer_node->host);
    sim_event_set(sim, &conn->request, latency_us(conn->node, conn->peer_node));
}

static struct sim_listener *listener_at(const struct sim_node *node, uint16_t port)
{
    struct sim_listener *listener = node->listeners;

    while (listener != NULL && listener->address.port != port)
        listener = listener->next_in_node;
    return listener;
}

void sim_wire_take_cuts(struct sim_conn *connector, struct sim_conn *acceptor)
{
    struct sim_cut **link = &connector->sim->cuts;

    while (*link != NULL) {
        struct sim_cut *entry = *link;

        if (entry->from != connector->node || entry->to != acceptor->node || --entry->nth > 0) {
            link = &entry->next;
            continue;
        }
        if (entry->direction == SIM_TO_ACCEPTOR)
            connector->cut_at = entry->bytes;
        else
            acceptor->cut_at = entry->bytes;
        *link = entry->next;
        free(entry);
    }
}

static void on_request(void *arg)
{
    struct sim_conn *conn = arg;
    struct sim *sim = conn->sim;
    struct sim_node *to = conn->peer_node;
    struct sim_listener *listener = listener_at(to, conn->remote.port);
    struct sim_conn *acceptor;

    if (sim_link(conn->node, to)->blocked || sim_link(to, conn->node)->blocked || to->silent) {
        sim_event_set(sim, &conn->request, REQUEST_AGAIN_US);
        return;
    }
    if (!to->alive || listener == NULL) {
        conn->connect_error = ERROR_REFUSED;
        sim_event_set(sim, &conn->established, latency_us(to, conn->node));
        return;
    }
    acceptor = sim_wire_new(sim, to);
    acceptor->state = SIM_CONN_PENDING;
    acceptor->peer_node = conn->node;
    acceptor->peer = conn;
    acceptor->local = listener->address;
    acceptor->remote = conn->local;
    acceptor->listener = listener;
    conn->peer = acceptor;
    sim_wire_take_cuts(conn, acceptor);
    sim_trace(sim, "accept", to, acceptor->id, conn->id);
    sim_event_init(&acceptor->accept, ((struct sim_net *)listener->listener.net)->loop,
                   sim_conn_on_accept, acceptor);
    sim_event_set(sim, &acceptor->accept, 0);
    sim_event_set(sim, &conn->established, latency_us(to, conn->node));
    if (acceptor->cut_at == 0)
        cut(acceptor);
    else if (conn->cut_at == 0)
        cut(conn);
}

void sim_cut_connection(struct sim_node *from, struct sim_node *to, unsigned nth,
                        enum sim_direction direction, uint64_t bytes)
{
    struct sim_cut *entry = sim_alloc(sizeof *entry);

    PRE(nth > 0);
    *entry = (struct sim_cut){.from = from,
                              .to = to,
                              .nth = nth,
                              .direction = direction,
                              .bytes = bytes,
                              .next = from->sim->cuts};
    from->sim->cuts = entry;
}

void sim_conn_cut(struct net_conn *base, uint64_t bytes)
{
    struct sim_conn *conn = (struct sim_conn *)base;

    conn->cut_at = conn->sent + bytes;
    if (bytes == 0 && conn->state == SIM_CONN_OPEN)
        cut(conn);
}

/* ---- Crashes ---- */

void sim_net_crash(struct sim_node *node, enum sim_crash how)
{
    struct sim_conn *next;

    for (struct sim_conn *conn = node->sim->conns; conn != NULL; conn = next) {
        struct sim_conn *peer = conn->peer;

        next = conn->all_next;
        if (conn->node != node || conn->state == SIM_CONN_CLOSED)
            continue;
        clear_events(conn);
        drop_wire(conn);
        sim_bytes_consume(&conn->rx, conn->rx.len);
        separate(conn);
        conn->state = SIM_CONN_CLOSED;
        if (peer != NULL) {
            /* A reset does not come through a partition either, and is not repeated: what is left
             * are the probes of the peer's system. */
            peer->hole = how == SIM_CRASH_SILENT || sim_link(node, peer->node)->blocked;
            if (!peer->hole)
                send_reset(peer);
            else
                probe_later(peer, NET_SILENT_S);
        }
        sim_wire_free_if_unused(conn);
    }
    node->listeners = NULL;
}

void sim_net_restart(struct sim_node *node)
{
    for (struct sim_conn *conn = node->sim->conns; conn != NULL; conn = conn->all_next) {
        if (conn->peer_node != node || !conn->hole)
            continue;
        /* The new system knows nothing of this connection: what is sent again, or next, is answered
         * by a reset, and that is a probe at the latest. */
        conn->hole = false;
        if (conn->hole_bytes > 0 || conn->out_len > 0)
            send_reset(conn);
        else
            probe_later(conn, NET_SILENT_S / 2);
    }
}
