/* The real network: outgoing connections until they stand.
 *
 *   numeric host ----------------------.
 *   name -> evdns (hosts file, DNS) ----> addresses, tried one after the other -> NET_CONN_OPEN,
 * on_connect() |  refused, unreachable, its share of the time is over: the next
 *                                           `-> none left: on_close() with the last reason */
#include <errno.h>
#include <event2/dns.h>
#include <event2/util.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/loop_event.h"
#include "common/mem.h"
#include "common/net_event_impl.h"

enum { CONNECT_ADDRESSES = 16 };

struct net_event_connect {
    struct net_event_conn *conn;
    struct evdns_getaddrinfo_request *request; /* under way */
    union net_sockaddr addresses[CONNECT_ADDRESSES];
    size_t count;
    size_t next; /* the address to try next */
    uint64_t deadline_us;
    enum error last; /* why the last address failed */
    int fd;
    bool fd_watched;
    uint16_t port;
    struct event writable;
    struct event
        step; /* the time of an attempt is over, or something waits to be done outside of a call */
};

static void close_attempt(struct net_event_connect *self)
{
    if (self->fd_watched)
        event_del(&self->writable);
    self->fd_watched = false;
    if (self->fd >= 0)
        close(self->fd);
    self->fd = -1;
}

void net_event_connect_free(struct net_event_conn *conn)
{
    struct net_event_connect *self = conn->connect;

    conn->connect = NULL;
    /* The lookup answers once more, with a cancellation that on_names() must not relate to us. */
    self->conn = NULL;
    close_attempt(self);
    event_del(&self->step);
    if (self->request != NULL)
        evdns_getaddrinfo_cancel(self->request);
    else
        mem_free(self);
}

static void established(struct net_event_connect *self)
{
    struct net_event_conn *conn = self->conn;
    int fd = self->fd;
    enum error error;

    event_del(&self->writable);
    self->fd_watched = false;
    error = net_event_conn_open(conn, fd);
    if (error != OK) {
        net_event_conn_fail(conn, error);
        return;
    }
    self->fd = -1;
    net_event_connect_free(conn);
    net_event_conn_enter(conn);
    /* Bytes and the end may wait since before. */
    net_event_schedule_flush(conn);
    if (conn->events != NULL && conn->events->on_connect != NULL)
        conn->events->on_connect(conn->arg);
    net_event_conn_leave(conn);
}

static void on_connectable(evutil_socket_t fd, short what, void *arg)
{
    struct net_event_connect *self = arg;
    int error_number = 0;
    socklen_t len = sizeof error_number;

    (void)what;
    (void)loop_now_us(self->conn->conn.net->loop);
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error_number, &len) != 0)
        error_number = errno;
    if (error_number == 0) {
        established(self);
        return;
    }
    self->last = net_event_error(error_number);
    close_attempt(self);
    event_active(&self->step, EV_TIMEOUT, 0);
}

/* Starts one attempt; false if it failed at once. */
static bool try_address(struct net_event_connect *self, const union net_sockaddr *address,
                        uint64_t share_us)
{
    struct event_base *base = loop_event_base(self->conn->conn.net->loop);
    const struct timeval share = {.tv_sec = (time_t)(share_us / 1000000),
                                  .tv_usec = (suseconds_t)(share_us % 1000000)};
    socklen_t len = address->any.sa_family == AF_INET ? sizeof address->v4 : sizeof address->v6;

    self->fd =
        socket(address->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
    if (self->fd < 0 || (connect(self->fd, &address->any, len) != 0 && errno != EINPROGRESS))
        goto failed;
    event_assign(&self->writable, base, self->fd, EV_WRITE, on_connectable, self);
    errno = ENOMEM;
    if (event_add(&self->writable, NULL) != 0)
        goto failed;
    self->fd_watched = true;
    if (event_add(&self->step, &share) != 0)
        goto failed;
    return true;

failed:
    self->last = net_event_error(errno);
    close_attempt(self);
    return false;
}

/* The next address, or the end. Runs from the loop only, so callbacks are allowed. */
static void on_step(evutil_socket_t fd, short what, void *arg)
{
    struct net_event_connect *self = arg;
    struct net_event_conn *conn = self->conn;
    uint64_t now_us = loop_now_us(conn->conn.net->loop);

    (void)fd;
    (void)what;
    if (self->fd >= 0) {
        self->last = ERROR_TIMEOUT;
        close_attempt(self);
    } else if (self->request != NULL) {
        self->last = ERROR_NAME; /* no name server has known it in time */
    }
    while (self->next < self->count && now_us < self->deadline_us) {
        uint64_t share_us = (self->deadline_us - now_us) / (self->count - self->next);

        if (try_address(self, &self->addresses[self->next++], share_us))
            return;
    }
    net_event_conn_fail(conn, self->last);
}

static void add_address(struct net_event_connect *self, const struct sockaddr *address)
{
    union net_sockaddr *to = &self->addresses[self->count];

    if (self->count == CONNECT_ADDRESSES)
        return;
    if (address->sa_family == AF_INET) {
        memcpy(&to->v4, address, sizeof to->v4);
        to->v4.sin_port = htons(self->port);
    } else if (address->sa_family == AF_INET6) {
        memcpy(&to->v6, address, sizeof to->v6);
        to->v6.sin6_port = htons(self->port);
    } else {
        return;
    }
    self->count++;
}

/* evdns may call this from inside evdns_getaddrinfo(), so the rest waits for on_step(). */
static void on_names(int result, struct evutil_addrinfo *addresses, void *arg)
{
    struct net_event_connect *self = arg;

    if (self->conn == NULL) {
        if (addresses != NULL)
            evutil_freeaddrinfo(addresses);
        mem_free(self);
        return;
    }
    self->request = NULL;
    self->last = result == EVUTIL_EAI_MEMORY ? ERROR_MEMORY : ERROR_NAME;
    for (struct evutil_addrinfo *at = addresses; at != NULL; at = at->ai_next)
        add_address(self, at->ai_addr);
    if (addresses != NULL)
        evutil_freeaddrinfo(addresses);
    event_active(&self->step, EV_TIMEOUT, 0);
}

/* Numeric hosts need no lookup. */
static bool add_numeric(struct net_event_connect *self, const char *host)
{
    const struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST};
    struct addrinfo *addresses = NULL;

    if (getaddrinfo(host, NULL, &hints, &addresses) != 0)
        return false;
    add_address(self, addresses->ai_addr);
    freeaddrinfo(addresses);
    return true;
}

static enum error dns_start(struct net_event *net)
{
    if (net->dns != NULL)
        return OK;
    net->dns = evdns_base_new(loop_event_base(net->net.loop), 0);
    if (net->dns == NULL)
        return ERROR_MEMORY;
    /* Name servers that are all silent are found out before most connects time out. */
    (void)evdns_base_set_option(net->dns, "timeout:", "2");
    (void)evdns_base_set_option(net->dns, "attempts:", "2");
    /* Without a configuration file libevent asks the local machine, and a hosts file works without
     * any server. */
    (void)evdns_base_resolv_conf_parse(net->dns, DNS_OPTIONS_ALL, "/etc/resolv.conf");
    return OK;
}

void net_event_dns_free(struct net_event *net)
{
    if (net->dns != NULL)
        evdns_base_free(net->dns, 1);
    net->dns = NULL;
}

enum error net_event_connect_start(struct net *net, const char *host, uint16_t port,
                                   uint64_t timeout_us, const struct net_conn_events *events,
                                   void *arg, struct net_conn **conn)
{
    struct net_event *owner = net_event_of(net);
    const struct timeval timeout = {.tv_sec = (time_t)(timeout_us / 1000000),
                                    .tv_usec = (suseconds_t)(timeout_us % 1000000)};
    const struct evutil_addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct net_event_connect *connect = mem_zalloc(sizeof *connect);
    struct net_event_conn *self;
    enum error error = ERROR_MEMORY;

    if (connect == NULL)
        return ERROR_MEMORY;
    self = net_event_conn_new(owner, events, arg);
    if (self == NULL) {
        mem_free(connect);
        return ERROR_MEMORY;
    }
    self->connect = connect;
    *connect = (struct net_event_connect){.conn = self,
                                          .fd = -1,
                                          .port = port,
                                          .last = ERROR_TIMEOUT,
                                          .deadline_us = loop_now_us(net->loop) + timeout_us};
    evtimer_assign(&connect->step, loop_event_base(net->loop), on_step, connect);
    if (add_numeric(connect, host)) {
        event_active(&connect->step, EV_TIMEOUT, 0);
    } else {
        error = dns_start(owner);
        if (error != OK)
            goto err_after_self;
        if (event_add(&connect->step, &timeout) != 0) {
            error = ERROR_MEMORY;
            goto err_after_self;
        }
        connect->request = evdns_getaddrinfo(owner->dns, host, NULL, &hints, on_names, connect);
    }
    *conn = &self->conn;
    return OK;

err_after_self:
    net_event_conn_destroy(self);
    return error;
}
