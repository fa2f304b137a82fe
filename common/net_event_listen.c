/* The real network: listening, and what becomes of accepted sockets. */
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/mem.h"
#include "common/net_event_impl.h"

enum {
    LISTEN_BACKLOG = 1280, /* Geode's */
    LISTEN_ACCEPTS = 64,   /* in one turn; the others wait for the next */
    LISTEN_REST_MS = 100,  /* when descriptors or memory have run out */
};

struct net_event_listener {
    struct net_listener listener;
    struct net_event_listener *prev, *next;
    net_accept_fn *on_accept;
    void *arg;
    int fd;
    bool accepting; /* on_accept() is on the stack */
    bool closed;
    struct event readable;
    struct event rested;
};

struct net_socket {
    int fd;
};

static struct net_event_listener *listener_of(const struct net_listener *listener)
{
    return (struct net_event_listener *)listener;
}

static void on_acceptable(evutil_socket_t fd, short what, void *arg)
{
    struct net_event_listener *listener = arg;
    struct net_event *net = net_event_of(listener->listener.net);
    const struct timeval rest = {.tv_usec = LISTEN_REST_MS * 1000};

    (void)what;
    (void)loop_now_us(net->net.loop);
    listener->accepting = true;
    for (int i = 0; i < LISTEN_ACCEPTS && !listener->closed; i++) {
        int peer_fd = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        struct net_socket *socket;

        if (peer_fd < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
                /* The peer stays in the backlog; asking again at once would only spin. */
                enum error why = net_event_error(errno);

                net->counters.accept_failures++;
                event_del(&listener->readable);
                event_add(&listener->rested, &rest);
                if (net->on_accept_failed != NULL)
                    net->on_accept_failed(net->arg, why);
                break;
            }
            if (errno == EAGAIN || errno == EWOULDBLOCK)
                break;
            continue;
        }
        socket = mem_alloc(sizeof *socket);
        if (socket == NULL) {
            net->counters.accept_failures++;
            close(peer_fd);
            continue;
        }
        socket->fd = peer_fd;
        net->counters.accepted++;
        listener->on_accept(listener->arg, socket);
    }
    listener->accepting = false;
    if (listener->closed)
        mem_free(listener);
}

static void on_rested(evutil_socket_t fd, short what, void *arg)
{
    struct net_event_listener *listener = arg;
    const struct timeval rest = {.tv_usec = LISTEN_REST_MS * 1000};

    (void)fd;
    (void)what;
    if (event_add(&listener->readable, NULL) != 0)
        event_add(&listener->rested, &rest);
}

/* A listening socket at one address, or -1 with errno. */
static int listen_at(const struct addrinfo *address, int backlog)
{
    const int one = 1;
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int error_number;

    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, address->ai_addr, address->ai_addrlen) == 0 && listen(fd, backlog) == 0)
        return fd;
    error_number = errno;
    close(fd);
    errno = error_number;
    return -1;
}

int net_event_listen_socket(const char *host, uint16_t port, int backlog, enum error *error)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC,
                                   .ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *addresses = NULL;
    char port_text[8];
    int fd = -1;

    *error = ERROR_NAME;
    snprintf(port_text, sizeof port_text, "%u", port);
    /* Start-up may wait for a name; nothing is served yet. */
    if (getaddrinfo(host, port_text, &hints, &addresses) != 0)
        return -1;
    for (struct addrinfo *at = addresses; at != NULL && fd < 0; at = at->ai_next) {
        fd = listen_at(at, backlog);
        if (fd < 0)
            *error = errno == EADDRNOTAVAIL ? ERROR_NO_ADDRESS : net_event_error(errno);
    }
    freeaddrinfo(addresses);
    return fd;
}

enum error net_event_listen(struct net *net, const char *host, uint16_t port,
                            net_accept_fn *on_accept, void *arg, struct net_listener **listener)
{
    struct net_event *owner = net_event_of(net);
    struct event_base *base = loop_event_base(net->loop);
    struct net_event_listener *self;
    enum error error;
    int fd;

    self = mem_zalloc(sizeof *self);
    if (self == NULL)
        return ERROR_MEMORY;
    fd = net_event_listen_socket(host, port, LISTEN_BACKLOG, &error);
    if (fd < 0)
        goto err_after_self;
    *self = (struct net_event_listener){
        .listener = {.net = net}, .on_accept = on_accept, .arg = arg, .fd = fd};
    event_assign(&self->readable, base, fd, EV_READ | EV_PERSIST, on_acceptable, self);
    evtimer_assign(&self->rested, base, on_rested, self);
    if (event_add(&self->readable, NULL) != 0) {
        error = ERROR_MEMORY;
        goto err_after_fd;
    }
    self->next = owner->listeners;
    if (self->next != NULL)
        self->next->prev = self;
    owner->listeners = self;
    *listener = &self->listener;
    return OK;

err_after_fd:
    close(fd);
err_after_self:
    mem_free(self);
    return error;
}

struct net_address net_event_listener_address(const struct net_listener *listener)
{
    union net_sockaddr address = {0};
    socklen_t len = sizeof address;

    if (getsockname(listener_of(listener)->fd, &address.any, &len) != 0)
        return (struct net_address){0};
    return net_event_address(&address);
}

void net_event_listener_close(struct net_listener *listener)
{
    struct net_event_listener *self = listener_of(listener);
    struct net_event *net = net_event_of(listener->net);

    PRE(!self->closed);
    event_del(&self->readable);
    event_del(&self->rested);
    close(self->fd);
    if (self->prev != NULL)
        self->prev->next = self->next;
    else
        net->listeners = self->next;
    if (self->next != NULL)
        self->next->prev = self->prev;
    self->closed = true;
    if (!self->accepting)
        mem_free(self);
}

enum error net_event_adopt(struct net *net, struct net_socket *socket,
                           const struct net_conn_events *events, void *arg, struct net_conn **conn)
{
    struct net_event_conn *self = net_event_conn_new(net_event_of(net), events, arg);
    enum error error = ERROR_MEMORY;

    if (self == NULL)
        goto err_after_socket;
    error = net_event_conn_open(self, socket->fd);
    if (error != OK) {
        net_event_conn_destroy(self);
        goto err_after_socket;
    }
    mem_free(socket);
    *conn = &self->conn;
    return OK;

err_after_socket:
    net_event_refuse(net, socket);
    return error;
}

void net_event_refuse(struct net *net, struct net_socket *socket)
{
    (void)net;
    close(socket->fd);
    mem_free(socket);
}
