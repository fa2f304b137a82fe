/* The limit: a server that does nothing but one read and one write for what is there, by epoll on
 * one thread.
 *
 *   echo    prints "port N" once it listens on a free port of 127.0.0.1, and serves until it is
 * ended */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ECHO_EVENTS = 256, ECHO_READ_BYTES = 64 * 1024, ECHO_BACKLOG = 1024 };

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static int listen_on_loopback(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&address, len) != 0 ||
        listen(fd, ECHO_BACKLOG) != 0 || getsockname(fd, (struct sockaddr *)&address, &len) != 0)
        fail("listen");
    printf("port %u\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

static void watch(int epoll, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data = {.fd = fd}};

    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
        fail("epoll_ctl");
}

static void accept_all(int epoll, int listener)
{
    const int one = 1;
    int fd;

    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        watch(epoll, fd);
    }
}

/* What is read is small enough for the socket to take at once; a peer that does not read is cut
 * off. */
static void echo(int fd, char *data)
{
    ssize_t len = recv(fd, data, ECHO_READ_BYTES, 0);

    if (len < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (len <= 0 || send(fd, data, (size_t)len, MSG_NOSIGNAL) != len)
        close(fd);
}

int main(void)
{
    struct epoll_event events[ECHO_EVENTS];
    char *data = malloc(ECHO_READ_BYTES);
    int listener = listen_on_loopback(), epoll = epoll_create1(0);

    if (data == NULL || epoll < 0)
        fail("echo");
    watch(epoll, listener);
    for (;;) {
        int count = epoll_wait(epoll, events, ECHO_EVENTS, -1);

        for (int i = 0; i < count; i++) {
            if (events[i].data.fd == listener)
                accept_all(epoll, listener);
            else
                echo(events[i].data.fd, data);
        }
    }
}
