#include "client/conn.h"
#include "client/route.h"
#include "client/wire.h"
#include "common/mem.h"

/* Exactly-once writes over connections that break (the rule is RIFL's: an id and a number for each
 * operation, and repeats until it is answered).
 *
 *   put -> open batch -> [full, or end of the turn] -> sent batches (at most `window` operations)
 * -> answered -> on_done
 *
 * The batches stand in one list in the order of their sequences: answered ones leave at its head,
 * the open one is its tail. A batch is encoded when it is closed and never changes after that, so a
 * repeat is the same bytes. */

#define BATCH_OPS_DEFAULT   256u
#define BATCH_BYTES_DEFAULT (64u * 1024)
#define GIVE_UP_MS_MAX      (10u * 60 * 1000)
#define RETRY_MIN_US        (50u * 1000)
#define RETRY_MAX_US        (1000u * 1000)

struct batch {
    struct batch *next;
    struct vug_writer *writer;
    uint64_t sequence; /* of its first operation */
    uint32_t count;
    bool closed;       /* `body` is what is sent */
    bool sent;         /* on the present connection */
    uint64_t since_us; /* its first operation was taken */
    struct buf operations;
    struct buf body;
    uint64_t tags[];
};

struct vug_writer {
    struct loop *loop;
    struct vug_route route;
    struct vug_conn *conn;
    char *region;
    struct vug_writer_options options;
    struct vug_writer_events events;
    void *arg;
    uint8_t id[16];
    uint64_t sequence; /* of the next operation */
    uint64_t completed_through;
    struct batch *first, *last;
    uint32_t unanswered;
    bool wants_room; /* somebody got ERROR_BUSY */
    bool held;       /* the present connection, until vug_writer_proceed() */
    bool failed, ended;
    unsigned in_calls;
    uint64_t reconnects;
    uint64_t retry_us;
    struct loop_timer retry; /* the pause before the next route */
    struct loop_timer flush; /* the end of the turn */
    struct loop_timer give_up;
};

static void batch_free(struct batch *batch)
{
    buf_fini(&batch->operations);
    buf_fini(&batch->body);
    mem_free(batch);
}

static void release(struct vug_writer *writer)
{
    while (writer->first != NULL) {
        struct batch *batch = writer->first;
        writer->first = batch->next;
        batch_free(batch);
    }
    mem_free(writer->region);
    mem_free(writer);
}

static void leave(struct vug_writer *writer)
{
    writer->in_calls--;
    if (writer->in_calls == 0 && writer->ended)
        release(writer);
}

static struct batch *take_first(struct vug_writer *writer)
{
    struct batch *batch = writer->first;
    writer->first = batch->next;
    if (writer->first == NULL)
        writer->last = NULL;
    return batch;
}

/* The clock of giving up is the oldest batch's. */
static void set_give_up(struct vug_writer *writer)
{
    const struct batch *oldest = writer->first;
    if (oldest == NULL || oldest->count == 0) {
        loop_timer_clear(&writer->give_up);
        return;
    }
    uint64_t now = loop_now_us(writer->loop);
    uint64_t end = oldest->since_us + writer->options.give_up_ms * 1000;
    loop_timer_set(&writer->give_up, end > now ? end - now : 0);
}

/* Tells the operations of a batch that has left the list. */
static void tell(struct vug_writer *writer, struct batch *batch, const struct vug_error *error)
{
    writer->completed_through = batch->sequence + batch->count - 1;
    for (uint32_t i = 0; i < batch->count && !writer->ended; i++) {
        writer->unanswered--;
        writer->events.on_done(writer->arg, batch->tags[i], error);
    }
    batch_free(batch);
}

static void fail(struct vug_writer *writer, const struct vug_error *error)
{
    writer->in_calls++;
    writer->failed = true;
    vug_route_stop(&writer->route);
    if (writer->conn != NULL)
        vug_conn_close(writer->conn);
    writer->conn = NULL;
    loop_timer_clear(&writer->retry);
    loop_timer_clear(&writer->flush);
    loop_timer_clear(&writer->give_up);
    while (!writer->ended && writer->first != NULL)
        tell(writer, take_first(writer), error);
    if (!writer->ended)
        writer->events.on_failed(writer->arg, error);
    leave(writer);
}

static void fail_memory(struct vug_writer *writer)
{
    struct vug_error error;
    vug_error_set(&error, ERROR_MEMORY, "%s", error_text(ERROR_MEMORY));
    fail(writer, &error);
}

static void on_answer(void *arg, const struct vug_error *error, struct slice body);

/* WriteBatchRequest: 1 writer_id, 2 sequence, 3 region, 4 operations, 6 completed_through. */
static enum error close_batch(struct vug_writer *writer, struct batch *batch)
{
    vug_wire_bytes(&batch->body, 1, slice_of(writer->id, sizeof writer->id));
    vug_wire_uint(&batch->body, 2, batch->sequence);
    vug_wire_text(&batch->body, 3, writer->region);
    buf_append_slice(&batch->body, buf_slice(&batch->operations));
    vug_wire_uint(&batch->body, 6, writer->completed_through);
    if (batch->body.failed) {
        buf_clear(&batch->body);
        return ERROR_MEMORY;
    }
    buf_fini(&batch->operations);
    buf_init(&batch->operations);
    batch->closed = true;
    return OK;
}

/* Sends what was not sent on this connection, in order. */
static void send_batches(struct vug_writer *writer)
{
    for (struct batch *batch = writer->first;
         batch != NULL && writer->conn != NULL && !writer->held; batch = batch->next) {
        if (batch->sent)
            continue;
        if (batch->count == 0)
            break;
        enum error error = batch->closed ? OK : close_batch(writer, batch);
        if (error == OK)
            error = vug_conn_send(writer->conn, VUG_WRITE_BATCH, buf_slice(&batch->body), on_answer,
                                  batch);
        if (error == ERROR_CLOSED || error == ERROR_LIMIT)
            return; /* on_closed() is about to come; an answer makes room */
        if (error != OK) {
            fail_memory(writer);
            return;
        }
        batch->sent = true;
    }
    set_give_up(writer);
}

static void retry_later(struct vug_writer *writer);

/* The server could not decide it: nobody led a bucket for too long, too much waited there, or it
 * has not joined yet. The batch, and all behind it, are repeated on another connection. */
static bool is_undecided(const struct vug_error *error)
{
    return error != NULL && (error->error == ERROR_TIMEOUT || error->error == ERROR_BUSY ||
                             error->error == ERROR_IN_DOUBT || error->error == ERROR_NO_SERVER);
}

static void start_over(struct vug_writer *writer)
{
    struct vug_conn *conn = writer->conn;
    writer->conn = NULL;
    writer->held = false;
    for (struct batch *batch = writer->first; batch != NULL; batch = batch->next)
        batch->sent = false;
    writer->reconnects++;
    vug_conn_close(conn);
    retry_later(writer);
}

static void on_answer(void *arg, const struct vug_error *error, struct slice body)
{
    struct batch *batch = arg;
    struct vug_writer *writer = batch->writer;
    (void)body; /* how many were repeats is the server's business */
    if (error != NULL && error->code == 0)
        return; /* the connection is lost: the batch is repeated on the next one */
    /* Replies come in the order of the requests, and requests in the order of the list. */
    INVARIANT(batch == writer->first);
    if (is_undecided(error)) {
        start_over(writer);
        return;
    }
    writer->in_calls++;
    writer->retry_us = RETRY_MIN_US;
    tell(writer, take_first(writer), error);
    if (!writer->ended && !writer->failed) {
        send_batches(writer);
        set_give_up(writer);
    }
    if (!writer->ended && !writer->failed && writer->wants_room &&
        writer->unanswered < writer->options.window) {
        writer->wants_room = false;
        if (writer->events.on_room != NULL)
            writer->events.on_room(writer->arg);
    }
    leave(writer);
}

static void retry_later(struct vug_writer *writer)
{
    uint32_t random = 0;
    loop_random(writer->loop, &random, sizeof random);
    loop_timer_set(&writer->retry, writer->retry_us / 2 + random % (writer->retry_us / 2 + 1));
    writer->retry_us = writer->retry_us * 2 > RETRY_MAX_US ? RETRY_MAX_US : writer->retry_us * 2;
}

static void on_conn_closed(void *arg, const struct vug_error *error)
{
    struct vug_writer *writer = arg;
    struct text_host_port server = *vug_conn_peer(writer->conn);
    writer->conn = NULL;
    writer->held = false;
    for (struct batch *batch = writer->first; batch != NULL; batch = batch->next)
        batch->sent = false;
    if (writer->first != NULL) {
        writer->reconnects++;
        retry_later(writer);
    }
    if (writer->events.on_disconnected != NULL)
        writer->events.on_disconnected(writer->arg, &server, error);
}

static void on_route_ready(void *arg, struct vug_conn *conn)
{
    static const struct vug_conn_events events = {.on_closed = on_conn_closed};
    struct vug_writer *writer = arg;
    vug_conn_adopt(conn, &events, writer);
    writer->conn = conn;
    if (writer->events.on_connected == NULL) {
        send_batches(writer);
        return;
    }
    writer->held = true;
    writer->events.on_connected(writer->arg, vug_conn_peer(conn));
}

static void on_route_failed(void *arg, const struct vug_error *error)
{
    struct vug_writer *writer = arg;
    bool hopeless = error->error == ERROR_UNAUTHORIZED || error->error == ERROR_UNSUPPORTED ||
                    error->error == ERROR_MEMORY;
    if (hopeless)
        fail(writer, error);
    else
        retry_later(writer);
}

static void on_retry(void *arg)
{
    struct vug_writer *writer = arg;
    if (writer->conn == NULL && !writer->route.running)
        vug_route_start(&writer->route);
}

static void on_flush(void *arg)
{
    struct vug_writer *writer = arg;
    if (writer->conn != NULL) {
        send_batches(writer);
    } else {
        set_give_up(writer);
        on_retry(writer);
    }
}

static void on_give_up(void *arg)
{
    struct vug_writer *writer = arg;
    struct vug_error error;
    vug_error_set(
        &error, ERROR_TIMEOUT,
        "no server answered for %llu s; whether the %u unanswered writes happened is not known%s%s",
        (unsigned long long)(writer->options.give_up_ms / 1000), writer->unanswered,
        writer->route.error.text[0] == '\0' ? "" : "; last: ", writer->route.error.text);
    fail(writer, &error);
}

static void set_options(struct vug_writer *writer, const struct vug_writer_options *options)
{
    struct vug_writer_options *own = &writer->options;
    *own = *options;
    if (own->window == 0 || own->window > LIMIT_WRITER_WINDOW)
        own->window = LIMIT_WRITER_WINDOW;
    if (own->batch_ops == 0)
        own->batch_ops = BATCH_OPS_DEFAULT;
    if (own->batch_ops > own->window)
        own->batch_ops = own->window;
    if (own->batch_bytes == 0)
        own->batch_bytes = BATCH_BYTES_DEFAULT;
    if (own->give_up_ms == 0 || own->give_up_ms > GIVE_UP_MS_MAX)
        own->give_up_ms = GIVE_UP_MS_MAX;
}

enum error vug_writer_new(struct loop *loop, struct net *net, const struct vug_target *target,
                          const struct vug_writer_options *options,
                          const struct vug_writer_events *events, void *arg,
                          struct vug_writer **out)
{
    static const struct vug_route_events route_events = {.on_ready = on_route_ready,
                                                         .on_failed = on_route_failed};
    struct vug_writer *writer = mem_zalloc(sizeof *writer);
    if (writer == NULL)
        return ERROR_MEMORY;
    writer->loop = loop;
    set_options(writer, options);
    writer->events = *events;
    writer->arg = arg;
    writer->sequence = 1;
    writer->retry_us = RETRY_MIN_US;
    loop_random(loop, writer->id, sizeof writer->id);
    enum error error = ERROR_MEMORY;
    writer->region = mem_strndup(options->region, strlen(options->region));
    if (writer->region == NULL)
        goto err_after_writer;
    error = vug_route_init(&writer->route, loop, net, target, VUG_TO_SERVER, &route_events, writer);
    if (error != OK)
        goto err_after_region;
    error = loop_timer_init(&writer->retry, loop, on_retry, writer);
    if (error == OK)
        error = loop_timer_init(&writer->flush, loop, on_flush, writer);
    if (error == OK)
        error = loop_timer_init(&writer->give_up, loop, on_give_up, writer);
    if (error != OK)
        goto err_after_route;
    *out = writer;
    return OK;

err_after_route:
    loop_timer_fini(&writer->give_up);
    loop_timer_fini(&writer->flush);
    loop_timer_fini(&writer->retry);
    vug_route_fini(&writer->route);
err_after_region:
    mem_free(writer->region);
err_after_writer:
    mem_free(writer);
    return error;
}

void vug_writer_free(struct vug_writer *writer)
{
    writer->ended = true;
    vug_route_fini(&writer->route);
    if (writer->conn != NULL)
        vug_conn_close(writer->conn);
    writer->conn = NULL;
    loop_timer_fini(&writer->retry);
    loop_timer_fini(&writer->flush);
    loop_timer_fini(&writer->give_up);
    if (writer->in_calls == 0)
        release(writer);
}

/* The open batch, or a new one behind the last. NULL without memory. */
static struct batch *open_batch(struct vug_writer *writer, size_t operation_bytes)
{
    struct batch *batch = writer->last;
    if (batch != NULL && !batch->closed && batch->count < writer->options.batch_ops &&
        (batch->count == 0 ||
         batch->operations.len + operation_bytes <= writer->options.batch_bytes))
        return batch;
    batch = mem_zalloc(sizeof *batch + writer->options.batch_ops * sizeof batch->tags[0]);
    if (batch == NULL)
        return NULL;
    batch->writer = writer;
    batch->sequence = writer->sequence;
    batch->since_us = loop_now_us(writer->loop);
    buf_init(&batch->operations);
    buf_init(&batch->body);
    if (writer->last != NULL)
        writer->last->next = batch;
    else
        writer->first = batch;
    writer->last = batch;
    return batch;
}

enum error vug_writer_put(struct vug_writer *writer, const struct value *key,
                          const struct value *value, uint64_t tag)
{
    if (writer->failed)
        return ERROR_SHUTDOWN;
    /* The second half of the bound is the server's: at most 1,024 above the completed_through that
     * a batch names. */
    if (writer->unanswered >= writer->options.window ||
        writer->sequence > writer->completed_through + LIMIT_WRITER_WINDOW) {
        writer->wants_room = true;
        return ERROR_BUSY;
    }
    size_t bytes = value_encoded_size(key) + (value == NULL ? 0 : value_encoded_size(value)) + 16;
    struct batch *batch = open_batch(writer, bytes);
    if (batch == NULL)
        return ERROR_MEMORY;
    size_t before = batch->operations.len;
    vug_wire_pair(&batch->operations, 4, 2, value == NULL ? 1 : 0, key, value);
    if (batch->operations.failed) { /* the batch stays as it was */
        batch->operations.failed = false;
        batch->operations.len = before;
        return ERROR_MEMORY;
    }
    batch->tags[batch->count++] = tag;
    writer->sequence++;
    writer->unanswered++;
    loop_timer_set(&writer->flush, 0);
    return OK;
}

void vug_writer_proceed(struct vug_writer *writer)
{
    writer->held = false;
    if (writer->conn != NULL)
        send_batches(writer);
}

uint32_t vug_writer_unanswered(const struct vug_writer *writer)
{
    return writer->unanswered;
}

uint64_t vug_writer_reconnects(const struct vug_writer *writer)
{
    return writer->reconnects;
}
