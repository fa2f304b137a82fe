#include "tests/bench/drive.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/readings.h"
#include "tests/bench/wire.h"

enum {
    DRIVE_EVENTS = 256,
    DRIVE_PATIENCE_MS = 10000,
    DRIVE_HEADER_BYTES = 512, /* room for the header of a write batch in front of its operations */
    PROBE_GAP_NS = 5000,      /* a longer pause between two looks at the clock is somebody else's */
};

struct conn {
    int fd;
    uint32_t index;
    uint32_t count;    /* requests of the batch on its way; 0: none */
    uint32_t answered; /* frames of replies, of those */
    uint8_t *out;      /* the batch, behind the room for a header */
    size_t *at;        /* where each request begins in `out` */
    uint32_t *lengths; /* which exchange each request is of */
    size_t out_len;
    uint8_t *unsent;
    size_t unsent_len;
    uint8_t *in; /* one byte longer than all replies: what is too much is seen */
    size_t in_len, in_cap;
    uint64_t sent_ns;
    uint8_t writer_id[16];
    uint64_t sequence;
};

struct drive {
    const struct drive_options *options;
    struct drive_result *result;
    int epoll;
    struct conn *conns;
    struct subscriber *subscribers;
    uint32_t *readings; /* made so far, of each sensor */
    uint64_t random;
    uint64_t issued, answered;
    uint32_t busy; /* connections with a batch on its way */
    bool is_measuring, is_ending;
    uint64_t begin_ns;
    double begin_cpu_s;
    uint64_t begin_answered;
};

/* ---- Clocks and chance ---- */

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static double cpu_s(const struct drive_options *options)
{
    double sum = 0;

    for (uint32_t i = 0; i < options->pid_count; i++) {
        struct timespec used;
        clockid_t clock;

        if (clock_getcpuclockid(options->pids[i], &clock) != 0 || clock_gettime(clock, &used) != 0)
            continue;
        sum += (double)used.tv_sec + (double)used.tv_nsec / 1e9;
    }
    return sum;
}

static uint64_t next_random(struct drive *drive)
{
    uint64_t x = drive->random;

    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    drive->random = x;
    return x * UINT64_C(0x2545F4914F6CDD1D);
}

/* Below `limit`, which has 32 bits. */
static uint64_t random_below(struct drive *drive, uint64_t limit)
{
    return (next_random(drive) >> 32) * limit >> 32;
}

double drive_probe(double seconds)
{
    uint64_t begin = now_ns(), last = begin, lost = 0;

    while ((double)(last - begin) < seconds * 1e9) {
        uint64_t now = now_ns();

        if (now - last > PROBE_GAP_NS)
            lost += now - last;
        last = now;
    }
    return (double)lost / (double)(last - begin);
}

__attribute__((format(printf, 2, 3))) static bool wrong(struct drive *drive, const char *format,
                                                        ...)
{
    va_list args;

    va_start(args, format);
    if (drive->result->wrong[0] == '\0')
        vsnprintf(drive->result->wrong, sizeof drive->result->wrong, format, args);
    va_end(args);
    return false;
}

/* ---- Connections ---- */

static int open_socket(struct drive *drive)
{
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_addr = {htonl(INADDR_LOOPBACK)},
                                        .sin_port = htons(drive->options->port)};
    const struct timeval patience = {.tv_sec = DRIVE_PATIENCE_MS / 1000};
    const int one = 1;
    uint8_t answer[sizeof wire_accepted];
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof address) != 0) {
        wrong(drive, "cannot connect to port %u: %s", drive->options->port, strerror(errno));
        return -1;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (!drive->options->exchanges->says_hello)
        return fd;
    if (send(fd, wire_hello, sizeof wire_hello, MSG_NOSIGNAL) != sizeof wire_hello ||
        recv(fd, answer, sizeof answer, MSG_WAITALL) != sizeof answer ||
        memcmp(answer, wire_accepted, sizeof answer) != 0) {
        wrong(drive, "the server did not accept the version");
        return -1;
    }
    return fd;
}

static bool watch(struct drive *drive, int operation, int fd, uint32_t index, uint32_t events)
{
    struct epoll_event event = {.events = events, .data = {.u32 = index}};

    return epoll_ctl(drive->epoll, operation, fd, &event) == 0 ||
           wrong(drive, "epoll_ctl: %s", strerror(errno));
}

static void *room(size_t count, size_t size)
{
    void *block = calloc(count, size);

    if (block == NULL)
        abort();
    return block;
}

static bool conn_open(struct drive *drive, uint32_t index)
{
    const struct drive_options *options = drive->options;
    struct conn *conn = &drive->conns[index];
    size_t request_len = 0, reply_len = 0;

    for (uint32_t i = 0; i < options->exchange_count; i++) {
        const struct exchange *exchange = &options->exchanges[i];

        request_len = exchange->request_len > request_len ? exchange->request_len : request_len;
        reply_len = exchange->reply_len > reply_len ? exchange->reply_len : reply_len;
    }
    conn->index = index;
    conn->out =
        (uint8_t *)room(DRIVE_HEADER_BYTES + options->depth * request_len, 1) + DRIVE_HEADER_BYTES;
    conn->at = room(options->depth, sizeof *conn->at);
    conn->lengths = room(options->depth, sizeof *conn->lengths);
    conn->in_cap = options->depth * reply_len + 1;
    conn->in = room(conn->in_cap, 1);
    conn->sequence = 1;
    if (getrandom(conn->writer_id, sizeof conn->writer_id, 0) != sizeof conn->writer_id)
        return wrong(drive, "getrandom: %s", strerror(errno));
    conn->fd = open_socket(drive);
    return conn->fd >= 0 && watch(drive, EPOLL_CTL_ADD, conn->fd, index, EPOLLIN);
}

static bool subscriber_open(struct drive *drive, uint32_t index)
{
    struct subscriber *subscriber = &drive->subscribers[index];
    int fd = open_socket(drive);

    if (fd < 0)
        return false;
    if (!subscriber_start(subscriber, fd, (uint32_t)drive->options->keys,
                          index == 0 ? NULL : drive->subscribers))
        return wrong(drive, "%s", subscriber->wrong);
    return watch(drive, EPOLL_CTL_ADD, fd, drive->options->connections + index, EPOLLIN);
}

/* ---- Requests ---- */

static uint64_t next_key(struct drive *drive, const struct conn *conn)
{
    const struct drive_options *options = drive->options;

    if (options->sequential)
        return drive->issued % options->keys;
    if (drive->readings != NULL) /* a sensor of this connection's own */
        return conn->index +
               options->connections * random_below(drive, options->keys / options->connections);
    return random_below(drive, options->keys);
}

static void write_request(struct drive *drive, struct conn *conn, uint32_t i)
{
    const struct drive_options *options = drive->options;
    uint32_t length =
        options->exchange_count == 1 ? 0 : (uint32_t)random_below(drive, options->exchange_count);
    const struct exchange *exchange = &options->exchanges[length];
    uint8_t *at = conn->out + conn->out_len;
    uint64_t key = next_key(drive, conn);

    exchange_write(exchange, key, at);
    if (exchange->temperature != EXCHANGE_NOWHERE)
        readings_write_temperature(key, drive->readings[key]++, at + exchange->temperature);
    conn->at[i] = conn->out_len;
    conn->lengths[i] = length;
    conn->out_len += exchange->request_len;
    drive->issued++;
}

/* Sends what is unsent; what the socket does not take waits until it is writable. */
static bool send_batch(struct drive *drive, struct conn *conn, bool was_waiting)
{
    ssize_t len = send(conn->fd, conn->unsent, conn->unsent_len, MSG_NOSIGNAL | MSG_DONTWAIT);

    if (len < 0 && errno != EAGAIN && errno != EINTR)
        return wrong(drive, "send: %s", strerror(errno));
    if (len > 0) {
        conn->unsent += len;
        conn->unsent_len -= (size_t)len;
    }
    if (conn->unsent_len > 0)
        return watch(drive, EPOLL_CTL_MOD, conn->fd, conn->index, EPOLLIN | EPOLLOUT);
    return !was_waiting || watch(drive, EPOLL_CTL_MOD, conn->fd, conn->index, EPOLLIN);
}

static bool issue(struct drive *drive, struct conn *conn, uint64_t now)
{
    const struct drive_options *options = drive->options;
    uint64_t left = options->requests == 0 ? options->depth : options->requests - drive->issued;

    if (drive->is_ending || left == 0)
        return true;
    conn->count = left < options->depth ? (uint32_t)left : options->depth;
    conn->answered = 0;
    conn->out_len = 0;
    conn->in_len = 0;
    for (uint32_t i = 0; i < conn->count; i++)
        write_request(drive, conn, i);
    conn->unsent = conn->out;
    if (options->exchanges->is_write_batch) {
        conn->unsent = exchange_put_batch_header(options->exchanges, conn->writer_id,
                                                 conn->sequence, conn->out, conn->out_len);
        conn->sequence += conn->count;
    }
    conn->unsent_len = (size_t)(conn->out + conn->out_len - conn->unsent);
    conn->sent_ns = now;
    drive->busy++;
    return send_batch(drive, conn, false);
}

/* ---- Replies ---- */

static bool wrong_reply(struct drive *drive, const struct conn *conn, size_t at)
{
    char shown[97];
    size_t len = conn->in_len - at < 32 ? conn->in_len - at : 32;

    shown[0] = '\0';
    for (size_t i = 0; i < len; i++)
        snprintf(shown + 3 * i, 4, "%02x ", conn->in[at + i]);
    return wrong(drive, "reply %u of connection %u is wrong; %zu bytes there, beginning with %s",
                 conn->answered, conn->index, conn->in_len - at, shown);
}

/* Checks the replies that are whole and not yet checked. */
static bool take_replies(struct drive *drive, struct conn *conn, size_t *checked, uint64_t now)
{
    const struct drive_options *options = drive->options;
    bool is_write_batch = options->exchanges->is_write_batch;
    uint32_t frames = is_write_batch ? 1 : conn->count, before = conn->answered;
    uint64_t answered;

    while (conn->answered < frames) {
        const struct exchange *exchange = &options->exchanges[conn->lengths[conn->answered]];

        if (conn->in_len - *checked < exchange->reply_len)
            break;
        if (!exchange_check(exchange, conn->out + conn->at[conn->answered], conn->in + *checked))
            return wrong_reply(drive, conn, *checked);
        *checked += exchange->reply_len;
        conn->answered++;
    }
    answered = is_write_batch ? conn->count * conn->answered : conn->answered - before;
    drive->answered += answered;
    if (drive->is_measuring && answered > 0)
        histogram_add(&drive->result->latency_ns, now - conn->sent_ns, answered);
    if (conn->answered < frames)
        return true;
    if (*checked < conn->in_len)
        return wrong_reply(drive, conn, *checked);
    conn->count = 0;
    drive->busy--;
    return issue(drive, conn, now);
}

static bool conn_read(struct drive *drive, struct conn *conn)
{
    size_t checked = 0;
    ssize_t len =
        recv(conn->fd, conn->in + conn->in_len, conn->in_cap - conn->in_len, MSG_DONTWAIT);
    const struct exchange *exchanges = drive->options->exchanges;

    if (len < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    if (len <= 0)
        return wrong(drive, "the server closed connection %u", conn->index);
    conn->in_len += (size_t)len;
    if (conn->count == 0)
        return wrong_reply(drive, conn, 0);
    for (uint32_t i = 0; i < conn->answered; i++)
        checked += exchanges[conn->lengths[i]].reply_len;
    return take_replies(drive, conn, &checked, now_ns());
}

/* ---- The run ---- */

static void begin_measuring(struct drive *drive)
{
    histogram_clear(&drive->result->latency_ns);
    drive->is_measuring = true;
    drive->begin_answered = drive->answered;
    drive->begin_cpu_s = cpu_s(drive->options);
    drive->begin_ns = now_ns();
}

static void end_measuring(struct drive *drive)
{
    struct drive_result *result = drive->result;

    drive->is_measuring = false;
    drive->is_ending = true;
    result->seconds = (double)(now_ns() - drive->begin_ns) / 1e9;
    result->server_cpu_s = cpu_s(drive->options) - drive->begin_cpu_s;
    result->requests = drive->answered - drive->begin_answered;
}

/* Every subscriber has heard of every reading. */
static bool all_heard(const struct drive *drive)
{
    for (uint32_t i = 0; i < drive->options->subscribers; i++) {
        if (drive->subscribers[i].events < drive->answered)
            return false;
    }
    return true;
}

static bool serve(struct drive *drive, const struct epoll_event *event)
{
    uint32_t index = event->data.u32;

    if (index >= drive->options->connections) {
        struct subscriber *subscriber = &drive->subscribers[index - drive->options->connections];

        return subscriber_read(subscriber) || wrong(drive, "%s", subscriber->wrong);
    }
    if ((event->events & EPOLLOUT) != 0 && !send_batch(drive, &drive->conns[index], true))
        return false;
    return (event->events & ~(uint32_t)EPOLLOUT) == 0 || conn_read(drive, &drive->conns[index]);
}

static bool run(struct drive *drive)
{
    const struct drive_options *options = drive->options;
    uint64_t start_ns = now_ns();
    struct epoll_event events[DRIVE_EVENTS];

    if (options->requests > 0)
        begin_measuring(drive);
    for (uint32_t i = 0; i < options->connections; i++) {
        if (!issue(drive, &drive->conns[i], now_ns()))
            return false;
    }
    while (drive->busy > 0 || !all_heard(drive)) {
        int count = epoll_wait(drive->epoll, events, DRIVE_EVENTS, DRIVE_PATIENCE_MS);
        double elapsed_s = (double)(now_ns() - start_ns) / 1e9;

        if (count == 0)
            return wrong(drive, "nothing came for %d s: %llu of %llu requests are answered",
                         DRIVE_PATIENCE_MS / 1000, (unsigned long long)drive->answered,
                         (unsigned long long)drive->issued);
        for (int i = 0; i < count; i++) {
            if (!serve(drive, &events[i]))
                return false;
        }
        if (options->requests > 0 || drive->is_ending)
            continue;
        if (!drive->is_measuring && elapsed_s >= options->warmup_s)
            begin_measuring(drive);
        else if (drive->is_measuring && elapsed_s >= options->warmup_s + options->seconds)
            end_measuring(drive);
    }
    if (options->requests > 0)
        end_measuring(drive);
    return true;
}

static bool finish_subscribers(struct drive *drive)
{
    for (uint32_t i = 0; i < drive->options->subscribers; i++) {
        struct subscriber *subscriber = &drive->subscribers[i];

        if (!subscriber_end(subscriber))
            return wrong(drive, "%s", subscriber->wrong);
        if (subscriber->events != drive->answered)
            return wrong(drive, "subscriber %u got %llu events of %llu readings", i,
                         (unsigned long long)subscriber->events,
                         (unsigned long long)drive->answered);
        drive->result->events += subscriber->events;
        drive->result->batches += subscriber->batches;
    }
    return true;
}

bool drive(const struct drive_options *options, struct drive_result *result)
{
    struct drive drive = {.options = options, .result = result, .random = options->seed | 1};

    memset(result, 0, sizeof *result);
    drive.epoll = epoll_create1(0);
    drive.conns = room(options->connections, sizeof *drive.conns);
    drive.subscribers = room(options->subscribers + 1, sizeof *drive.subscribers);
    if (options->exchanges->temperature != EXCHANGE_NOWHERE)
        drive.readings = room(options->keys, sizeof *drive.readings);
    for (uint32_t i = 0; i < options->subscribers; i++) {
        if (!subscriber_open(&drive, i))
            return false;
    }
    for (uint32_t i = 0; i < options->connections; i++) {
        if (!conn_open(&drive, i))
            return false;
    }
    return run(&drive) && finish_subscribers(&drive);
}
