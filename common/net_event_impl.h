/* What the three parts of the real network share: net_event.c (bytes of established connections),
 * net_event_connect.c (outgoing ones until they stand) and net_event_listen.c (incoming ones).
 * Nobody else includes this. */
#ifndef VUG_COMMON_NET_EVENT_IMPL_H
#define VUG_COMMON_NET_EVENT_IMPL_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <netinet/in.h>

#include "common/net.h"

struct evdns_base;

/* A piece of output. Standard ones come from the pool of the net. */
struct net_chunk {
    struct net_chunk *next;
    size_t start; /* what lies before it has been sent */
    size_t end;
    size_t cap;
    uint8_t data[];
};

union net_sockaddr {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

struct net_event_conn;

struct net_event {
    struct net net;
    uint8_t *read_buf; /* of read_bytes + NET_CARRY_BYTES, shared by all connections */
    size_t read_bytes;
    struct net_event_conn *conns;
    struct net_event_listener *listeners;
    struct net_event_conn
        *flush_head; /* connections that have something to do at the end of this turn */
    struct net_event_conn *flush_tail;
    struct loop_task flush_task;
    struct net_chunk *pool;
    size_t pool_count;
    struct evdns_base *dns; /* made at the first name */
    struct net_event_counters counters;
    void (*on_accept_failed)(void *arg, enum error why);
    void *arg;
};

enum net_conn_state {
    NET_CONN_CONNECTING,
    NET_CONN_OPEN,
    NET_CONN_DEAD, /* closed; waits until none of its callbacks runs and no list holds it */
};

struct net_event_conn {
    struct net_conn conn;
    const struct net_conn_events
        *events; /* NULL once the owner has finished it: no callbacks any more */
    void *arg;
    struct net_event_conn *prev, *next;
    struct net_event_conn *flush_next;
    struct net_event_connect *connect; /* while NET_CONN_CONNECTING */
    uint8_t *in;                       /* what on_data() has left */
    size_t in_len;
    size_t in_cap;
    struct net_chunk *out_head, *out_tail;
    size_t out_bytes;
    uint64_t drained_bytes; /* after the finish */
    uint64_t close_due_us;  /* after our end was sent */
    union net_sockaddr peer;
    int fd;
    unsigned depth; /* callbacks of this connection on the stack */
    enum net_conn_state state;
    bool paused : 1;
    bool resumed : 1;  /* what on_data() has left is given again without new bytes */
    bool reading : 1;  /* read_event is added */
    bool writing : 1;  /* write_event is added: the socket has not taken everything */
    bool writable : 1; /* and now it does */
    bool flush_queued : 1;
    bool drain_wanted : 1; /* something waited at the end of a turn */
    bool eof_seen : 1;     /* the peer's end was read, and on_eof() is due or done */
    bool eof_told : 1;
    bool end_sent : 1; /* our end was sent, after net_conn_finish() */
    struct event read_event;
    struct event write_event;
};

static inline struct net_event *net_event_of(const struct net *net)
{
    return (struct net_event *)net;
}

static inline struct net_event_conn *net_event_conn_of(const struct net_conn *conn)
{
    return (struct net_event_conn *)conn;
}

/* A connection without a socket, in the list of the net; NULL without memory. */
struct net_event_conn *net_event_conn_new(struct net_event *net,
                                          const struct net_conn_events *events, void *arg);

/* Gives it its socket and starts to read. On an error the descriptor stays the caller's. */
enum error net_event_conn_open(struct net_event_conn *conn, int fd);

/* Runs callbacks between these two; leave frees what has died meanwhile. */
void net_event_conn_enter(struct net_event_conn *conn);
void net_event_conn_leave(struct net_event_conn *conn);

/* Ends it and tells the owner, if it is still owned. */
void net_event_conn_fail(struct net_event_conn *conn, enum error why);

/* Ends it without a word. */
void net_event_conn_destroy(struct net_event_conn *conn);

/* False without memory. Does nothing once the peer's end was read. */
bool net_event_start_reading(struct net_event_conn *conn);

/* net_event_write.c */
uint8_t *net_event_reserve(struct net_conn *base, size_t len);
void net_event_commit(struct net_conn *base, size_t len);
size_t net_event_unsent(const struct net_conn *conn);
void net_event_drop_output(struct net_event_conn *conn);
void net_event_free_pool(struct net_event *net);

/* Puts the connection on the list of those that have something to do at the end of the turn. */
void net_event_schedule_flush(struct net_event_conn *conn);
void net_event_on_flush(void *arg);

/* Waits until the socket takes more; a finished connection only for so long. False when it failed.
 */
bool net_event_wait_writable(struct net_event_conn *conn);
void net_event_on_writable(evutil_socket_t fd, short what, void *arg);

/* net_event.c */

struct net_address net_event_address(const union net_sockaddr *address);
enum error net_event_error(int error_number);

/* net_event_connect.c */
enum error net_event_connect_start(struct net *net, const char *host, uint16_t port,
                                   uint64_t timeout_us, const struct net_conn_events *events,
                                   void *arg, struct net_conn **conn);
void net_event_connect_free(struct net_event_conn *conn);
void net_event_dns_free(struct net_event *net);

/* net_event_listen.c */

/* A listening socket at the first address of the host that works, or -1; also for http_event.c. */
int net_event_listen_socket(const char *host, uint16_t port, int backlog, enum error *error);
enum error net_event_listen(struct net *net, const char *host, uint16_t port,
                            net_accept_fn *on_accept, void *arg, struct net_listener **listener);
struct net_address net_event_listener_address(const struct net_listener *listener);
void net_event_listener_close(struct net_listener *listener);
enum error net_event_adopt(struct net *net, struct net_socket *socket,
                           const struct net_conn_events *events, void *arg, struct net_conn **conn);
void net_event_refuse(struct net *net, struct net_socket *socket);

#endif
