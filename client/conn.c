#include "client/conn.h"
#include "client/wire.h"
#include "common/mem.h"

#define CONNECT_MS_MAX 3000u

struct request {
    struct request *next;
    uint32_t number;
    uint64_t deadline_us;
    vug_reply_fn *on_reply;
    void *arg;
};

struct vug_conn {
    struct loop *loop;
    struct net_conn *net_conn; /* NULL once it is gone */
    struct text_host_port peer;
    uint32_t timeout_ms;
    struct vug_conn_events events;
    void *arg;
    struct request *first, *last;
    uint32_t request_count;
    struct loop_timer deadline;
    bool version_accepted;
    bool connected;
    bool closed;       /* by its owner: no more callbacks */
    unsigned in_calls; /* callbacks of ours on the stack; memory stays until they are back */
};

/* Sent as it stands: the first byte is both the length and what tells this protocol from others. */
static const uint8_t version_message[] = {0x0a, 0x0d, 1, 0, 0, 0, 0x15, 1, 0, 0, 0};

static void release(struct vug_conn *conn)
{
    while (conn->first != NULL) {
        struct request *request = conn->first;
        conn->first = request->next;
        mem_free(request);
    }
    loop_timer_fini(&conn->deadline);
    mem_free(conn);
}

static void enter(struct vug_conn *conn)
{
    conn->in_calls++;
}

static void leave(struct vug_conn *conn)
{
    conn->in_calls--;
    if (conn->in_calls == 0 && conn->closed)
        release(conn);
}

static void set_deadline(struct vug_conn *conn)
{
    if (conn->first == NULL) {
        loop_timer_clear(&conn->deadline);
        return;
    }
    uint64_t now = loop_now_us(conn->loop);
    loop_timer_set(&conn->deadline,
                   conn->first->deadline_us > now ? conn->first->deadline_us - now : 0);
}

static struct request *take_first(struct vug_conn *conn)
{
    struct request *request = conn->first;
    conn->first = request->next;
    if (conn->first == NULL)
        conn->last = NULL;
    conn->request_count--;
    return request;
}

/* Tells every request and then the owner; the net connection is gone or ended here. */
static void fail(struct vug_conn *conn, const struct vug_error *error)
{
    if (conn->closed)
        return;
    enter(conn);
    if (conn->net_conn != NULL) {
        net_conn_abort(conn->net_conn);
        conn->net_conn = NULL;
    }
    loop_timer_clear(&conn->deadline);
    while (!conn->closed && conn->first != NULL) {
        struct request *request = take_first(conn);
        vug_reply_fn *on_reply = request->on_reply;
        void *arg = request->arg;
        mem_free(request);
        on_reply(arg, error, (struct slice){0});
    }
    if (!conn->closed) {
        void (*on_closed)(void *, const struct vug_error *) = conn->events.on_closed;
        conn->closed = true;
        on_closed(conn->arg, error);
    }
    leave(conn);
}

static void fail_text(struct vug_conn *conn, enum error kind, const char *why)
{
    struct vug_error error;
    vug_error_set(&error, kind, "%s:%u: %s", conn->peer.host, (unsigned)conn->peer.port, why);
    fail(conn, &error);
}

static void on_deadline(void *arg)
{
    struct vug_conn *conn = arg;
    fail_text(conn, ERROR_TIMEOUT,
              conn->version_accepted ? "no answer in time" : "connected, but no answer in time");
}

/* One frame. False: the connection is gone. */
static bool take_frame(struct vug_conn *conn, struct slice frame)
{
    uint32_t number = 0;
    struct slice body = {0};
    if (codec_message(frame, &number, &body) != OK) {
        fail_text(conn, ERROR_MALFORMED, "sent a message that cannot be read");
        return false;
    }
    if ((number == VUG_EVENT_BATCH || number == VUG_CQ_STATUS) && conn->events.on_push != NULL) {
        conn->events.on_push(conn->arg, number, body);
        return !conn->closed;
    }
    if (conn->first == NULL ||
        (number != VUG_ERROR_RESPONSE && number != conn->first->number + 1)) {
        fail_text(conn, ERROR_MALFORMED, "sent an answer to another request");
        return false;
    }
    struct request *request = take_first(conn);
    vug_reply_fn *on_reply = request->on_reply;
    void *arg = request->arg;
    mem_free(request);
    set_deadline(conn);
    if (number == VUG_ERROR_RESPONSE) {
        struct vug_error error;
        vug_error_of_response(&error, body);
        on_reply(arg, &error, (struct slice){0});
    } else {
        on_reply(arg, NULL, body);
    }
    return !conn->closed;
}

/* VersionAcknowledgement: 3 is `accepted`. */
static bool take_version(struct vug_conn *conn, struct slice message)
{
    struct codec_field field;
    while (message.len > 0 && codec_next_field(&message, &field) == OK)
        if (field.number == 3 && field.wire_type == 0 && field.integer != 0)
            conn->version_accepted = true;
    if (!conn->version_accepted)
        fail_text(conn, ERROR_UNSUPPORTED, "does not speak version 1.1 of the protocol");
    return conn->version_accepted;
}

static size_t on_data(void *arg, const uint8_t *data, size_t len)
{
    struct vug_conn *conn = arg;
    const uint8_t *at = data, *end = data + len;
    size_t consumed = len;
    enter(conn);
    while (at < end) {
        uint64_t message_len = 0;
        const uint8_t *content = codec_get_varint(at, end, &message_len);
        if (content == NULL) {
            if (end - at >= 10) {
                fail_text(conn, ERROR_MALFORMED, "sent a bad length");
                goto out;
            }
            break;
        }
        if (message_len > LIMIT_MESSAGE_BYTES) {
            fail_text(conn, ERROR_LIMIT, "sent a message that is too long");
            goto out;
        }
        if (message_len > (uint64_t)(end - content))
            break;
        struct slice message = slice_of(content, (size_t)message_len);
        at = content + message_len;
        bool go_on =
            conn->version_accepted ? take_frame(conn, message) : take_version(conn, message);
        if (!go_on)
            goto out;
    }
    consumed = (size_t)(at - data);
out:
    leave(conn);
    return consumed;
}

static void on_eof(void *arg, struct slice rest)
{
    (void)rest;
    fail_text(arg, ERROR_CLOSED, "the connection was closed by the other side");
}

static void on_drain(void *arg)
{
    (void)arg;
}

static void on_close(void *arg, enum error why)
{
    struct vug_conn *conn = arg;
    conn->net_conn = NULL;
    fail_text(conn, why, error_text(why));
}

static void on_connect(void *arg)
{
    struct vug_conn *conn = arg;
    conn->connected = true;
}

static void on_handshake(void *arg, const struct vug_error *error, struct slice body)
{
    struct vug_conn *conn = arg;
    (void)body; /* `authenticated` is false where nobody has to be */
    if (error != NULL) {
        if (conn->net_conn != NULL)
            fail(conn, error);
        return;
    }
    if (conn->events.on_ready != NULL)
        conn->events.on_ready(conn->arg);
}

enum error vug_conn_open(struct loop *loop, struct net *net, const struct text_host_port *peer,
                         uint32_t timeout_ms, const struct vug_conn_events *events, void *arg,
                         struct vug_conn **out)
{
    static const struct net_conn_events net_events = {.on_data = on_data,
                                                      .on_eof = on_eof,
                                                      .on_drain = on_drain,
                                                      .on_close = on_close,
                                                      .on_connect = on_connect};
    struct vug_conn *conn = mem_zalloc(sizeof *conn);
    if (conn == NULL)
        return ERROR_MEMORY;
    conn->loop = loop;
    conn->peer = *peer;
    conn->timeout_ms = timeout_ms == 0 ? VUG_TIMEOUT_MS : timeout_ms;
    conn->events = *events;
    conn->arg = arg;
    enum error error = loop_timer_init(&conn->deadline, loop, on_deadline, conn);
    if (error != OK)
        goto err_after_conn;
    /* Whoever does not take a connection within a few seconds is not there: another one may be. */
    uint32_t connect_ms = conn->timeout_ms < CONNECT_MS_MAX ? conn->timeout_ms : CONNECT_MS_MAX;
    error = net_connect(net, peer->host, peer->port, connect_ms * UINT64_C(1000), &net_events, conn,
                        &conn->net_conn);
    if (error != OK)
        goto err_after_timer;
    error = net_conn_write(conn->net_conn, version_message, sizeof version_message);
    if (error == OK)
        error = vug_conn_send(conn, VUG_HANDSHAKE, (struct slice){0}, on_handshake, conn);
    if (error != OK)
        goto err_after_connect;
    *out = conn;
    return OK;

err_after_connect:
    net_conn_abort(conn->net_conn);
err_after_timer:
    loop_timer_fini(&conn->deadline);
err_after_conn:
    mem_free(conn);
    return error;
}

void vug_conn_close(struct vug_conn *conn)
{
    if (conn->closed) /* on_closed() runs above us on the stack, which releases it */
        return;
    conn->closed = true;
    if (conn->net_conn != NULL) {
        if (conn->connected)
            net_conn_finish(conn->net_conn);
        else
            net_conn_abort(conn->net_conn);
        conn->net_conn = NULL;
    }
    loop_timer_clear(&conn->deadline);
    if (conn->in_calls == 0)
        release(conn);
}

void vug_conn_adopt(struct vug_conn *conn, const struct vug_conn_events *events, void *arg)
{
    conn->events = *events;
    conn->arg = arg;
}

enum error vug_conn_tell(struct vug_conn *conn, uint32_t number, struct slice body)
{
    if (conn->net_conn == NULL)
        return ERROR_CLOSED;
    uint64_t frame_len = codec_bytes_field_size(number, body.len);
    size_t room = 10 + 10 + 10 + body.len;
    uint8_t *start = net_conn_reserve(conn->net_conn, room);
    if (start == NULL)
        return ERROR_MEMORY;
    uint8_t *at = codec_put_varint(start, frame_len);
    at = codec_put_bytes_header(at, number, body.len);
    if (body.len > 0)
        memcpy(at, body.data, body.len);
    net_conn_commit(conn->net_conn, (size_t)(at - start) + body.len);
    return OK;
}

enum error vug_conn_send(struct vug_conn *conn, uint32_t number, struct slice body,
                         vug_reply_fn *on_reply, void *arg)
{
    if (conn->net_conn == NULL)
        return ERROR_CLOSED;
    if (conn->request_count >= LIMIT_REQUESTS_IN_SERVICE)
        return ERROR_LIMIT;
    struct request *request = mem_zalloc(sizeof *request);
    if (request == NULL)
        return ERROR_MEMORY;
    enum error error = vug_conn_tell(conn, number, body);
    if (error != OK) {
        mem_free(request);
        return error;
    }
    request->number = number;
    request->deadline_us = loop_now_us(conn->loop) + (uint64_t)conn->timeout_ms * 1000;
    request->on_reply = on_reply;
    request->arg = arg;
    if (conn->last != NULL)
        conn->last->next = request;
    else
        conn->first = request;
    conn->last = request;
    conn->request_count++;
    if (conn->first == request)
        set_deadline(conn);
    return OK;
}

const struct text_host_port *vug_conn_peer(const struct vug_conn *conn)
{
    return &conn->peer;
}

size_t vug_conn_unsent(const struct vug_conn *conn)
{
    return conn->net_conn == NULL ? 0 : net_conn_unsent(conn->net_conn);
}
