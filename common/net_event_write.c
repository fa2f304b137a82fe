/* The real network: what connections write, and the end of a turn.
 *
 *   reserve + commit, on_writable -> flush list -> end of the turn -> one sendmsg() for each
 * connection of the list
 *
 * Output waits in chunks. What the socket does not take stays, and the next turn in which the
 * socket is writable tries again, together with what was written since. */
#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "common/loop_event.h"
#include "common/mem.h"
#include "common/net_event_impl.h"

enum {
    NET_CHUNK_BYTES = 16 * 1024 - (int)sizeof(struct net_chunk),
    NET_POOL_CHUNKS = 64,
    NET_IOV = 64,
    NET_FINISH_DRAIN_MS = 1000,
    NET_FINISH_STALL_MS = 10000,
};

static void chunk_release(struct net_event *net, struct net_chunk *chunk)
{
    if (chunk->cap != NET_CHUNK_BYTES || net->pool_count == NET_POOL_CHUNKS) {
        mem_free(chunk);
        return;
    }
    chunk->next = net->pool;
    net->pool = chunk;
    net->pool_count++;
}

void net_event_schedule_flush(struct net_event_conn *conn)
{
    struct net_event *net = net_event_of(conn->conn.net);

    if (conn->flush_queued)
        return;
    conn->flush_queued = true;
    conn->flush_next = NULL;
    if (net->flush_head == NULL)
        net->flush_head = conn;
    else
        net->flush_tail->flush_next = conn;
    net->flush_tail = conn;
    if (!net->flush_task.queued)
        loop_event_defer_last(net->net.loop, &net->flush_task);
}

uint8_t *net_event_reserve(struct net_conn *base, size_t len)
{
    struct net_event_conn *conn = net_event_conn_of(base);
    struct net_event *net = net_event_of(base->net);
    struct net_chunk *chunk = conn->out_tail;
    size_t cap = NET_CHUNK_BYTES;

    PRE(conn->events != NULL);
    if (chunk != NULL && chunk->cap - chunk->end >= len)
        return chunk->data + chunk->end;
    if (len <= cap && net->pool != NULL) {
        chunk = net->pool;
        net->pool = chunk->next;
        net->pool_count--;
    } else {
        if (len > SIZE_MAX - sizeof *chunk)
            return NULL;
        if (len > cap)
            cap = len;
        chunk = mem_alloc(sizeof *chunk + cap);
        if (chunk == NULL)
            return NULL;
    }
    *chunk = (struct net_chunk){.cap = cap};
    if (conn->out_tail != NULL)
        conn->out_tail->next = chunk;
    else
        conn->out_head = chunk;
    conn->out_tail = chunk;
    /* The end of the turn takes the chunk back if nothing is committed. */
    net_event_schedule_flush(conn);
    return chunk->data;
}

void net_event_commit(struct net_conn *base, size_t len)
{
    struct net_event_conn *conn = net_event_conn_of(base);

    if (len == 0)
        return;
    PRE(conn->out_tail != NULL && conn->out_tail->cap - conn->out_tail->end >= len);
    conn->out_tail->end += len;
    conn->out_bytes += len;
    net_event_schedule_flush(conn);
}

size_t net_event_unsent(const struct net_conn *conn)
{
    return net_event_conn_of(conn)->out_bytes;
}

void net_event_drop_output(struct net_event_conn *conn)
{
    struct net_event *net = net_event_of(conn->conn.net);

    while (conn->out_head != NULL) {
        struct net_chunk *chunk = conn->out_head;

        conn->out_head = chunk->next;
        chunk_release(net, chunk);
    }
    conn->out_tail = NULL;
    conn->out_bytes = 0;
}

void net_event_free_pool(struct net_event *net)
{
    while (net->pool != NULL) {
        struct net_chunk *chunk = net->pool;

        net->pool = chunk->next;
        mem_free(chunk);
    }
}

/* Takes `sent` bytes off the front, and every chunk that is empty. */
static void output_consume(struct net_event_conn *conn, size_t sent)
{
    struct net_event *net = net_event_of(conn->conn.net);

    conn->out_bytes -= sent;
    while (conn->out_head != NULL) {
        struct net_chunk *chunk = conn->out_head;
        size_t len = chunk->end - chunk->start;

        if (len > sent) {
            chunk->start += sent;
            return;
        }
        sent -= len;
        conn->out_head = chunk->next;
        chunk_release(net, chunk);
    }
    conn->out_tail = NULL;
}

/* One system call. Returns false when the connection has failed (and is gone if nobody holds it).
 */
static bool send_output(struct net_event_conn *conn)
{
    struct net_event *net = net_event_of(conn->conn.net);
    struct iovec iov[NET_IOV] UNINITIALIZED; /* the first msg_iovlen are filled */
    struct msghdr message = {.msg_iov = iov};
    ssize_t sent;

    for (struct net_chunk *chunk = conn->out_head; chunk != NULL && message.msg_iovlen < NET_IOV;
         chunk = chunk->next) {
        if (chunk->end > chunk->start)
            iov[message.msg_iovlen++] = (struct iovec){.iov_base = chunk->data + chunk->start,
                                                       .iov_len = chunk->end - chunk->start};
    }
    do {
        if (message.msg_iovlen == 1)
            sent = send(conn->fd, iov[0].iov_base, iov[0].iov_len, MSG_NOSIGNAL | MSG_DONTWAIT);
        else
            sent = sendmsg(conn->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (sent < 0 && errno == EINTR);
    net->counters.writes++;
    if (sent < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != ENOBUFS) {
        net_event_conn_fail(conn, net_event_error(errno));
        return false;
    }
    if (sent > 0) {
        net->counters.written_bytes += (uint64_t)sent;
        output_consume(conn, (size_t)sent);
    }
    return true;
}

/* Everything was sent after net_conn_finish(): our end goes out, and the peer gets a moment for its
 * own. */
static void send_end(struct net_event_conn *conn)
{
    const struct timeval rest = {.tv_sec = NET_FINISH_DRAIN_MS / 1000};
    struct loop *loop = conn->conn.net->loop;

    if (shutdown(conn->fd, SHUT_WR) != 0 || conn->eof_seen) {
        net_event_conn_destroy(conn);
        return;
    }
    conn->end_sent = true;
    conn->close_due_us = loop_now_us(loop) + NET_FINISH_DRAIN_MS * UINT64_C(1000);
    if (event_add(&conn->read_event, &rest) != 0) {
        net_event_conn_destroy(conn);
        return;
    }
    conn->reading = true;
}

/* Waits until the socket takes more; a finished connection only for so long. */
bool net_event_wait_writable(struct net_event_conn *conn)
{
    const struct timeval stall = {.tv_sec = NET_FINISH_STALL_MS / 1000};

    if (event_add(&conn->write_event, conn->events == NULL ? &stall : NULL) != 0) {
        net_event_conn_fail(conn, ERROR_MEMORY);
        return false;
    }
    conn->writing = true;
    return true;
}

/* The end of a turn for one connection. Runs between enter and leave. */
static void conn_flush(struct net_event_conn *conn)
{
    if (conn->resumed && !conn->paused && conn->events != NULL) {
        if (!net_event_start_reading(conn)) {
            net_event_conn_fail(conn, ERROR_MEMORY);
            return;
        }
        /* What was left is given in the next turn, with what has arrived by then. */
        if (!conn->eof_told && (conn->in_len > 0 || conn->eof_seen))
            event_active(&conn->read_event, EV_READ, 0);
        else
            conn->resumed = false;
    }
    if (!conn->writing || conn->writable) {
        conn->writable = false;
        if (conn->out_bytes > 0) {
            if (!send_output(conn))
                return;
        } else {
            output_consume(conn, 0);
        }
    }
    if (conn->out_bytes > 0) {
        conn->drain_wanted = true;
        if (!conn->writing)
            net_event_wait_writable(conn);
        return;
    }
    if (conn->writing)
        event_del(&conn->write_event);
    conn->writing = false;
    if (conn->events == NULL) {
        if (!conn->end_sent)
            send_end(conn);
    } else if (conn->drain_wanted) {
        conn->drain_wanted = false;
        conn->events->on_drain(conn->arg);
    }
}

void net_event_on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct net_event_conn *conn = arg;

    (void)fd;
    (void)loop_now_us(conn->conn.net->loop);
    net_event_conn_enter(conn);
    if ((what & EV_WRITE) == 0) {
        net_event_conn_destroy(conn);
    } else {
        conn->writable = true;
        net_event_schedule_flush(conn);
    }
    net_event_conn_leave(conn);
}

void net_event_on_flush(void *arg)
{
    struct net_event *net = arg;
    struct net_event_conn *conn = net->flush_head;

    net->flush_head = NULL;
    net->flush_tail = NULL;
    while (conn != NULL) {
        struct net_event_conn *next = conn->flush_next;

        net_event_conn_enter(conn);
        conn->flush_queued = false;
        if (conn->state == NET_CONN_OPEN)
            conn_flush(conn);
        else if (conn->state == NET_CONN_CONNECTING && conn->out_bytes > 0)
            conn->drain_wanted = true;
        net_event_conn_leave(conn);
        conn = next;
    }
}
