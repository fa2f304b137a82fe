/* The real network: established connections, their life and what they read; net_event_write.c has
 * what they write.
 *
 *   readable -> receive once -> on_data() ... on_writable / reserve+commit -> flush list
 *                                                    end of the turn -> one sendmsg for each
 * connection of the list
 *
 * Reads. A small rest of the last read is copied in front of the shared buffer, so that on_data()
 * sees it together with what follows and a connection with half a frame owns no more than that
 * half. A large rest stays in the connection's own buffer, and the socket is read right behind it;
 * that buffer doubles, but never beyond twice what has arrived, so an announced length alone makes
 * us allocate nothing.
 *
 * Life. A connection that ends is unlinked from everything at once and becomes NET_CONN_DEAD; its
 * memory goes when no callback of it is on the stack and the flush list does not hold it. */
#include "common/net_event_impl.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/loop_event.h"
#include "common/mem.h"

enum {
    NET_READ_BYTES = 64 * 1024,
    NET_READ_BYTES_MAX = 1024 * 1024, /* of one read of a large frame */
    NET_CARRY_BYTES = 4 * 1024,       /* a rest up to this is copied in front of the next read */
    NET_FINISH_DRAIN_BYTES = 1024 * 1024,
};

static void on_readable(evutil_socket_t fd, short what, void *arg);

/* ---- Addresses and errors ---- */

struct net_address net_event_address(const union net_sockaddr *address)
{
    struct net_address result = {0};

    if (address->any.sa_family == AF_INET) {
        inet_ntop(AF_INET, &address->v4.sin_addr, result.host, sizeof result.host);
        result.port = ntohs(address->v4.sin_port);
    } else if (address->any.sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &address->v6.sin6_addr, result.host, sizeof result.host);
        result.port = ntohs(address->v6.sin6_port);
    }
    return result;
}

enum error net_event_error(int error_number)
{
    switch (error_number) {
    case ECONNREFUSED:
        return ERROR_REFUSED;
    case ECONNRESET:
    case EPIPE:
    case ECONNABORTED:
        return ERROR_RESET;
    case ETIMEDOUT:
        return ERROR_TIMEOUT;
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ENETDOWN:
    case EHOSTDOWN:
        return ERROR_UNREACHABLE;
    case EADDRINUSE:
        return ERROR_ADDRESS_IN_USE;
    case ENOMEM:
    case ENOBUFS:
        return ERROR_MEMORY;
    case EMFILE:
    case ENFILE:
        return ERROR_LIMIT;
    default:
        return ERROR_IO;
    }
}

/* ---- Life ---- */

struct net_event_conn *net_event_conn_new(struct net_event *net,
                                          const struct net_conn_events *events, void *arg)
{
    struct net_event_conn *conn = mem_zalloc(sizeof *conn);

    if (conn == NULL)
        return NULL;
    conn->conn.net = &net->net;
    conn->events = events;
    conn->arg = arg;
    conn->fd = -1;
    conn->state = NET_CONN_CONNECTING;
    conn->next = net->conns;
    if (net->conns != NULL)
        net->conns->prev = conn;
    net->conns = conn;
    net->counters.connections++;
    return conn;
}

bool net_event_start_reading(struct net_event_conn *conn)
{
    if (!conn->reading && !conn->eof_seen) {
        if (event_add(&conn->read_event, NULL) != 0)
            return false;
        conn->reading = true;
    }
    return true;
}

static void stop_reading(struct net_event_conn *conn)
{
    if (conn->reading)
        event_del(&conn->read_event);
    conn->reading = false;
}

/* Small messages leave at once, and a host that has gone without a word is noticed by whoever only
 * listens to it (net.h). */
static void set_options(int fd)
{
    static const struct {
        int level, name, value;
    } rows[] = {{IPPROTO_TCP, TCP_NODELAY, 1},
                {IPPROTO_TCP, TCP_KEEPIDLE, NET_SILENT_S - 3 * 2},
                {IPPROTO_TCP, TCP_KEEPINTVL, 2},
                {IPPROTO_TCP, TCP_KEEPCNT, 3},
                {SOL_SOCKET, SO_KEEPALIVE, 1}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        setsockopt(fd, rows[i].level, rows[i].name, &rows[i].value, sizeof rows[i].value);
}

enum error net_event_conn_open(struct net_event_conn *conn, int fd)
{
    struct net_event *net = net_event_of(conn->conn.net);
    struct event_base *base = loop_event_base(net->net.loop);
    socklen_t len = sizeof conn->peer;

    event_assign(&conn->read_event, base, fd, EV_READ | EV_PERSIST, on_readable, conn);
    event_assign(&conn->write_event, base, fd, EV_WRITE | EV_PERSIST, net_event_on_writable, conn);
    if (!conn->paused && !net_event_start_reading(conn))
        return ERROR_MEMORY;
    set_options(fd);
    getpeername(fd, &conn->peer.any, &len);
    conn->fd = fd;
    conn->state = NET_CONN_OPEN;
    return OK;
}

static void release_input(struct net_event_conn *conn)
{
    mem_free(conn->in);
    conn->in = NULL;
    conn->in_len = 0;
    conn->in_cap = 0;
}

static void free_if_unused(struct net_event_conn *conn)
{
    if (conn->state == NET_CONN_DEAD && conn->depth == 0 && !conn->flush_queued)
        mem_free(conn);
}

static void conn_kill(struct net_event_conn *conn)
{
    struct net_event *net = net_event_of(conn->conn.net);

    PRE(conn->state != NET_CONN_DEAD);
    if (conn->connect != NULL)
        net_event_connect_free(conn);
    if (conn->state == NET_CONN_OPEN) {
        event_del(&conn->read_event);
        event_del(&conn->write_event);
        close(conn->fd);
    }
    conn->state = NET_CONN_DEAD;
    conn->events = NULL;
    net_event_drop_output(conn);
    if (conn->prev != NULL)
        conn->prev->next = conn->next;
    else
        net->conns = conn->next;
    if (conn->next != NULL)
        conn->next->prev = conn->prev;
    net->counters.connections--;
}

void net_event_conn_enter(struct net_event_conn *conn)
{
    conn->depth++;
}

void net_event_conn_leave(struct net_event_conn *conn)
{
    conn->depth--;
    /* The input buffer may be what on_data() was reading, so it goes only now. */
    if (conn->state == NET_CONN_DEAD && conn->depth == 0)
        release_input(conn);
    free_if_unused(conn);
}

void net_event_conn_destroy(struct net_event_conn *conn)
{
    net_event_conn_enter(conn);
    conn_kill(conn);
    net_event_conn_leave(conn);
}

void net_event_conn_fail(struct net_event_conn *conn, enum error why)
{
    const struct net_conn_events *events = conn->events;

    net_event_conn_enter(conn);
    /* Nothing may be called on it any more; the descriptor stays until on_close() returns, for
     * whoever asks who the peer was. */
    conn->events = NULL;
    if (events != NULL) {
        stop_reading(conn);
        events->on_close(conn->arg, why);
    }
    if (conn->state != NET_CONN_DEAD)
        conn_kill(conn);
    net_event_conn_leave(conn);
}

/* ---- Reading ---- */

/* Keeps what on_data() has left of `data`, which may lie in the shared buffer or in the
 * connection's own. */
static bool keep_rest(struct net_event_conn *conn, const uint8_t *data, size_t len)
{
    if (len == 0) {
        release_input(conn);
        return true;
    }
    if (data == conn->in) {
        conn->in_len = len;
        return true;
    }
    /* A small rest of a large buffer moves out of it: a resting connection holds only what it has
     * to. */
    if (conn->in_cap < len || (len <= NET_CARRY_BYTES && conn->in_cap > 2 * NET_CARRY_BYTES)) {
        size_t cap = len < 256 ? 256 : len;
        uint8_t *in = mem_alloc(cap);

        if (in != NULL) {
            memcpy(in, data, len);
            mem_free(conn->in);
            conn->in = in;
            conn->in_cap = cap;
            conn->in_len = len;
            return true;
        }
        if (conn->in_cap < len)
            return false;
    }
    memmove(conn->in, data, len);
    conn->in_len = len;
    return true;
}

/* Gives `data` to the owner, and the peer's end after it. Runs between enter and leave. */
static void deliver(struct net_event_conn *conn, const uint8_t *data, size_t len, bool fresh)
{
    conn->resumed = false;
    if (fresh) {
        size_t used = conn->events->on_data(conn->arg, data, len);

        if (conn->state == NET_CONN_DEAD)
            return;
        if (conn->events == NULL) {
            release_input(conn);
            return;
        }
        PRE(used <= len);
        data += used;
        len -= used;
    }
    if (!keep_rest(conn, data, len)) {
        net_event_conn_fail(conn, ERROR_MEMORY);
        return;
    }
    if (conn->eof_seen && !conn->eof_told && !conn->paused) {
        conn->eof_told = true;
        conn->events->on_eof(conn->arg, slice_of(conn->in, conn->in_len));
    }
}

/* Where the next read goes, and how large it may be; `start` is where the bytes begin that
 * on_data() will see. */
static bool read_target(struct net_event_conn *conn, uint8_t **start, size_t *room)
{
    struct net_event *net = net_event_of(conn->conn.net);

    if (conn->in_len <= NET_CARRY_BYTES) {
        if (conn->in_len > 0)
            memcpy(net->read_buf, conn->in, conn->in_len);
        *start = net->read_buf;
        *room = net->read_bytes;
        return true;
    }
    if (conn->in_cap - conn->in_len < conn->in_len / 2) {
        size_t cap = conn->in_len * 2;
        uint8_t *in = mem_realloc(conn->in, cap);

        if (in == NULL)
            return false;
        conn->in = in;
        conn->in_cap = cap;
    }
    *start = conn->in;
    *room = conn->in_cap - conn->in_len;
    if (*room > NET_READ_BYTES_MAX)
        *room = NET_READ_BYTES_MAX;
    return true;
}

/* Returns what recv() does, and counts. */
static ssize_t receive(struct net_event_conn *conn, uint8_t *to, size_t room)
{
    struct net_event *net = net_event_of(conn->conn.net);
    ssize_t len;

    do {
        len = recv(conn->fd, to, room, MSG_DONTWAIT);
    } while (len < 0 && errno == EINTR);
    net->counters.reads++;
    if (len > 0)
        net->counters.read_bytes += (uint64_t)len;
    return len;
}

/* After net_conn_finish(): what still comes is dropped, for a bounded time and amount. */
static void drain(struct net_event_conn *conn)
{
    struct net_event *net = net_event_of(conn->conn.net);
    ssize_t len = receive(conn, net->read_buf, net->read_bytes);

    if (len < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        if (conn->end_sent && loop_now_us(net->net.loop) >= conn->close_due_us)
            net_event_conn_destroy(conn);
        return;
    }
    if (len > 0)
        conn->drained_bytes += (uint64_t)len;
    if (len > 0 && conn->drained_bytes <= NET_FINISH_DRAIN_BYTES &&
        (!conn->end_sent || loop_now_us(net->net.loop) < conn->close_due_us))
        return;
    /* The peer's end, an error, or enough of it. What we have to send may still go out. */
    if (len < 0 || conn->end_sent) {
        net_event_conn_destroy(conn);
        return;
    }
    stop_reading(conn);
    conn->eof_seen = true;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct net_event_conn *conn = arg;
    uint8_t *start;
    size_t room;
    ssize_t len;

    (void)fd;
    (void)what;
    (void)loop_now_us(conn->conn.net->loop);
    net_event_conn_enter(conn);
    if (conn->events == NULL) {
        drain(conn);
        goto out;
    }
    if (conn->eof_seen) {
        deliver(conn, conn->in, conn->in_len, conn->resumed && conn->in_len > 0);
        goto out;
    }
    if (!read_target(conn, &start, &room)) {
        net_event_conn_fail(conn, ERROR_MEMORY);
        goto out;
    }
    len = receive(conn, start + conn->in_len, room);
    if (len > 0) {
        deliver(conn, start, conn->in_len + (size_t)len, true);
    } else if (len == 0) {
        conn->eof_seen = true;
        stop_reading(conn);
        deliver(conn, conn->in, conn->in_len, conn->resumed && conn->in_len > 0);
    } else if (errno != EAGAIN && errno != EWOULDBLOCK) {
        net_event_conn_fail(conn, net_event_error(errno));
    } else if (conn->resumed && conn->in_len > 0) {
        deliver(conn, conn->in, conn->in_len, true);
    }
out:
    net_event_conn_leave(conn);
}

static void event_pause(struct net_conn *base)
{
    struct net_event_conn *conn = net_event_conn_of(base);

    PRE(conn->events != NULL);
    conn->paused = true;
    conn->resumed = false;
    if (conn->state == NET_CONN_OPEN) {
        /* It may be active without being added, when an earlier resume was to take effect. */
        event_del(&conn->read_event);
        conn->reading = false;
    }
}

static void event_resume(struct net_conn *base)
{
    struct net_event_conn *conn = net_event_conn_of(base);

    PRE(conn->events != NULL);
    if (!conn->paused)
        return;
    conn->paused = false;
    if (conn->state != NET_CONN_OPEN)
        return;
    conn->resumed = true;
    net_event_schedule_flush(conn);
}

static void event_hand_over(struct net_conn *base, const struct net_conn_events *events, void *arg)
{
    struct net_event_conn *conn = net_event_conn_of(base);

    PRE(conn->events != NULL && conn->state == NET_CONN_OPEN);
    conn->events = events;
    conn->arg = arg;
}

/* ---- Closing ---- */

static void event_finish(struct net_conn *base)
{
    struct net_event_conn *conn = net_event_conn_of(base);

    PRE(conn->events != NULL);
    conn->events = NULL;
    conn->paused = false;
    conn->resumed = false;
    if (conn->state == NET_CONN_CONNECTING && conn->out_bytes == 0) {
        net_event_conn_destroy(conn);
        return;
    }
    if (conn->depth == 0)
        release_input(conn);
    if (conn->state == NET_CONN_CONNECTING)
        return;
    if (!net_event_start_reading(conn) || (conn->writing && !net_event_wait_writable(conn))) {
        net_event_conn_destroy(conn);
        return;
    }
    net_event_schedule_flush(conn);
}

static void event_abort(struct net_conn *base)
{
    struct net_event_conn *conn = net_event_conn_of(base);

    PRE(conn->events != NULL);
    net_event_conn_destroy(conn);
}

static struct net_address event_peer(const struct net_conn *conn)
{
    return net_event_address(&net_event_conn_of(conn)->peer);
}

static struct net_address event_local(const struct net_conn *base)
{
    const struct net_event_conn *conn = net_event_conn_of(base);
    union net_sockaddr address = {0};
    socklen_t len = sizeof address;

    if (conn->state != NET_CONN_OPEN || getsockname(conn->fd, &address.any, &len) != 0)
        return (struct net_address){0};
    return net_event_address(&address);
}

/* ---- The net ---- */

static const struct net_ops event_ops = {
    .listen = net_event_listen,
    .listener_address = net_event_listener_address,
    .listener_close = net_event_listener_close,
    .adopt = net_event_adopt,
    .refuse = net_event_refuse,
    .connect = net_event_connect_start,
    .reserve = net_event_reserve,
    .commit = net_event_commit,
    .unsent = net_event_unsent,
    .pause = event_pause,
    .resume = event_resume,
    .hand_over = event_hand_over,
    .finish = event_finish,
    .abort = event_abort,
    .peer = event_peer,
    .local = event_local,
};

enum error net_event_new(struct loop *loop, const struct net_event_options *options,
                         struct net **net)
{
    struct net_event *self = mem_zalloc(sizeof *self);

    if (self == NULL)
        return ERROR_MEMORY;
    self->net = (struct net){.ops = &event_ops, .loop = loop};
    self->read_bytes =
        options != NULL && options->read_bytes > 0 ? options->read_bytes : NET_READ_BYTES;
    if (options != NULL) {
        self->on_accept_failed = options->on_accept_failed;
        self->arg = options->arg;
    }
    self->read_buf = mem_alloc(NET_CARRY_BYTES + self->read_bytes);
    if (self->read_buf == NULL) {
        mem_free(self);
        return ERROR_MEMORY;
    }
    self->flush_task = (struct loop_task){.on_run = net_event_on_flush, .arg = self};
    *net = &self->net;
    return OK;
}

void net_event_free(struct net *net)
{
    struct net_event *self = net_event_of(net);

    if (net == NULL)
        return;
    while (self->flush_head != NULL) {
        struct net_event_conn *conn = self->flush_head;

        self->flush_head = conn->flush_next;
        conn->flush_queued = false;
        free_if_unused(conn);
    }
    loop_event_forget_tasks(net->loop);
    while (self->conns != NULL) {
        PRE(self->conns->depth == 0);
        net_event_conn_destroy(self->conns);
    }
    while (self->listeners != NULL)
        net_event_listener_close((struct net_listener *)self->listeners);
    net_event_dns_free(self);
    net_event_free_pool(self);
    mem_free(self->read_buf);
    mem_free(self);
}

struct net_event_counters net_event_counters(const struct net *net)
{
    return net_event_of(net)->counters;
}
