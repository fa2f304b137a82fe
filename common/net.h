/* The seam to the network: streams of bytes.
 *
 * net_event.c is the real side (libevent and sockets), tests/sim/sim_net.c the simulated one, which
 * delays, cuts, resets, splits and joins. A `struct net` belongs to one loop; all calls are made on
 * that loop's thread.
 *
 *   peer -> [kernel] -> one read a turn -> on_data() ... net_conn_write() -> one write at the end
 * of the turn
 *
 * Reading. One read for each turn, into a buffer that all connections of the loop share; only what
 * on_data() did not consume is copied into a buffer of the connection's own, which grows with the
 * bytes that have arrived (never with a length that was announced) and goes back when it is empty.
 * A connection at rest owns no buffer. Writing. Whatever is written during a turn leaves in one
 * system call at its end. What the socket does not take waits and is sent when it becomes writable.
 * Closing. net_conn_finish() and net_conn_abort() take the connection: no callback comes after
 * them. on_close() is the last callback of a connection that ended by itself; the connection is
 * gone when it returns. */
#ifndef VUG_COMMON_NET_H
#define VUG_COMMON_NET_H

#include "common/error.h"
#include "common/loop.h"
#include "common/slice.h"

struct net;
struct net_conn;
struct net_listener;
struct net_socket; /* accepted, of no loop yet */

struct net_address {
    char host[64]; /* numeric */
    uint16_t port;
};

/* A connection over which nothing comes, while the host of the peer does not answer probes either,
 * ends after about so long. */
enum { NET_SILENT_S = 11 };

struct net_conn_events {
    /* Bytes are there. Returns how many were consumed; the rest is given again, in front of what
     * follows. Not called with nothing new. May finish or abort the connection (its result is then
     * ignored). */
    size_t (*on_data)(void *arg, const uint8_t *data, size_t len);
    /* The peer ended its direction; `rest` is what on_data() had left. Writing is still possible:
     * the owner finishes the connection when it has answered. */
    void (*on_eof)(void *arg, struct slice rest);
    /* What waits to be sent fell to zero after it had been above zero at the end of a turn. */
    void (*on_drain)(void *arg);
    /* The connection ended (reset, connect failed, timed out). Last callback. */
    void (*on_close)(void *arg, enum error why);
    /* An outgoing connection is established; NULL if nobody asks. */
    void (*on_connect)(void *arg);
};

typedef void net_accept_fn(void *arg, struct net_socket *socket);

struct net_ops {
    enum error (*listen)(struct net *net, const char *host, uint16_t port, net_accept_fn *on_accept,
                         void *arg, struct net_listener **listener);
    struct net_address (*listener_address)(const struct net_listener *listener);
    void (*listener_close)(struct net_listener *listener);
    enum error (*adopt)(struct net *net, struct net_socket *socket,
                        const struct net_conn_events *events, void *arg, struct net_conn **conn);
    void (*refuse)(struct net *net, struct net_socket *socket);
    enum error (*connect)(struct net *net, const char *host, uint16_t port, uint64_t timeout_us,
                          const struct net_conn_events *events, void *arg, struct net_conn **conn);
    uint8_t *(*reserve)(struct net_conn *conn, size_t len);
    void (*commit)(struct net_conn *conn, size_t len);
    size_t (*unsent)(const struct net_conn *conn);
    void (*pause)(struct net_conn *conn);
    void (*resume)(struct net_conn *conn);
    void (*hand_over)(struct net_conn *conn, const struct net_conn_events *events, void *arg);
    void (*finish)(struct net_conn *conn);
    void (*abort)(struct net_conn *conn);
    struct net_address (*peer)(const struct net_conn *conn);
    struct net_address (*local)(const struct net_conn *conn);
};

struct net {
    const struct net_ops *ops;
    struct loop *loop;
};

struct net_conn {
    struct net *net;
};

struct net_listener {
    struct net *net;
};

/* Listens. `host` is numeric or a name; port 0 takes a free one, which net_listener_address()
 * tells. ERROR_ADDRESS_IN_USE, ERROR_NAME, ERROR_NO_ADDRESS, ERROR_IO. */
static inline enum error net_listen(struct net *net, const char *host, uint16_t port,
                                    net_accept_fn *on_accept, void *arg,
                                    struct net_listener **listener)
{
    return net->ops->listen(net, host, port, on_accept, arg, listener);
}

static inline struct net_address net_listener_address(const struct net_listener *listener)
{
    return listener->net->ops->listener_address(listener);
}

static inline void net_listener_close(struct net_listener *listener)
{
    listener->net->ops->listener_close(listener);
}

/* Makes an accepted socket a connection of this net, which may belong to another loop than the
 * listener's. The socket is taken in any case. */
static inline enum error net_adopt(struct net *net, struct net_socket *socket,
                                   const struct net_conn_events *events, void *arg,
                                   struct net_conn **conn)
{
    return net->ops->adopt(net, socket, events, arg, conn);
}

/* Closes an accepted socket without a word. */
static inline void net_refuse(struct net *net, struct net_socket *socket)
{
    net->ops->refuse(net, socket);
}

/* Starts to connect: on_connect() or on_close() follows, never from inside this call. Names are
 * looked up without blocking the loop. What is written before the connection stands is sent when it
 * does. */
static inline enum error net_connect(struct net *net, const char *host, uint16_t port,
                                     uint64_t timeout_us, const struct net_conn_events *events,
                                     void *arg, struct net_conn **conn)
{
    return net->ops->connect(net, host, port, timeout_us, events, arg, conn);
}

/* Room for `len` bytes at the end of what will be sent; NULL without memory. net_conn_commit() says
 * how many of them were used, before any other call on the connection. */
static inline uint8_t *net_conn_reserve(struct net_conn *conn, size_t len)
{
    return conn->net->ops->reserve(conn, len);
}

static inline void net_conn_commit(struct net_conn *conn, size_t len)
{
    conn->net->ops->commit(conn, len);
}

/* ERROR_MEMORY when the bytes could not be kept: nothing of them will be sent. */
enum error net_conn_write(struct net_conn *conn, const void *data, size_t len);

/* Bytes that were written and that the kernel has not taken yet. */
static inline size_t net_conn_unsent(const struct net_conn *conn)
{
    return conn->net->ops->unsent(conn);
}

/* Stops reading: no on_data() and no on_eof() until net_conn_resume(), after which bytes that are
 * already there are given in a later turn, never from inside the call. */
static inline void net_conn_pause(struct net_conn *conn)
{
    conn->net->ops->pause(conn);
}

static inline void net_conn_resume(struct net_conn *conn)
{
    conn->net->ops->resume(conn);
}

/* Gives the connection to another owner: from now on the callbacks are that one's. Called from
 * inside on_data(), whose caller then consumes nothing more: with net_conn_pause() and
 * net_conn_resume() behind it, what was not consumed is given to the new owner in a later turn. */
static inline void net_conn_hand_over(struct net_conn *conn, const struct net_conn_events *events,
                                      void *arg)
{
    conn->net->ops->hand_over(conn, events, arg);
}

/* Sends what waits, ends our direction, drops what the peer still sends for a bounded time and
 * amount (a close with unread input would be a reset that can destroy our last answer), then
 * closes. */
static inline void net_conn_finish(struct net_conn *conn)
{
    conn->net->ops->finish(conn);
}

/* Closes at once. */
static inline void net_conn_abort(struct net_conn *conn)
{
    conn->net->ops->abort(conn);
}

static inline struct net_address net_conn_peer(const struct net_conn *conn)
{
    return conn->net->ops->peer(conn);
}

static inline struct net_address net_conn_local(const struct net_conn *conn)
{
    return conn->net->ops->local(conn);
}

/* The real side. */
struct net_event_options {
    size_t read_bytes; /* of one read; 64 KiB if 0 */
    /* Descriptors or memory have run out, so that a listener rests: ERROR_LIMIT, ERROR_MEMORY.
     * NULL if nobody asks. */
    void (*on_accept_failed)(void *arg, enum error why);
    void *arg;
};
enum error net_event_new(struct loop *loop, const struct net_event_options *options,
                         struct net **net);
/* Aborts what is open. The loop runs no more: what is queued there is forgotten. */
void net_event_free(struct net *net);

/* What has happened since the start, for /metrics and for tests of the promise above: one read and
 * one write a turn. */
struct net_event_counters {
    uint64_t reads;
    uint64_t writes;
    uint64_t read_bytes;
    uint64_t written_bytes;
    uint64_t accepted;
    uint64_t accept_failures; /* out of descriptors or memory; listeners rest for a moment then */
    uint64_t connections;     /* open now, those that are ending included */
};
struct net_event_counters net_event_counters(const struct net *net);

#endif
