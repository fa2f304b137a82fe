#include "protocol/session_impl.h"

#include "common/mem.h"
#include "protocol/codec.h"

enum {
    SESSION_SWEEP_US = 1000 * 1000,
    SESSION_LENGTH_BYTES_MAX =
        10, /* of a frame's length, which may be written longer than needed */
};

/* ---- Host ---- */

static void session_on_sweep(void *arg);
static void session_on_recheck(void *arg);

enum error session_host_init(struct session_host *host)
{
    enum error error;

    host->counters = (struct session_counters){0};
    host->batch_next = host->batch_count = 0;
    host->batch_index = SESSION_BATCH_REQUESTS;
    host->sessions = NULL;
    host->spare_slots = NULL;
    host->spare_slot_count = 0;
    memset(host->foreign_limits, 0, sizeof host->foreign_limits);
    memset(host->rows, 0, sizeof host->rows);
    for (const struct operation *row = host->operations; row->number != 0; row++) {
        if (row->number < SESSION_FAST_ROWS)
            host->rows[row->number] = row;
    }
    arena_init(&host->arena, LIMIT_ARENA_BYTES);
    error = loop_timer_init(&host->recheck, host->loop, session_on_recheck, host);
    if (error != OK)
        goto err_after_arena;
    error = loop_timer_init(&host->sweep, host->loop, session_on_sweep, host);
    if (error != OK)
        goto err_after_recheck;
    loop_timer_set(&host->sweep, SESSION_SWEEP_US);
    return OK;

err_after_recheck:
    loop_timer_fini(&host->recheck);
err_after_arena:
    arena_fini(&host->arena);
    return error;
}

void session_host_fini(struct session_host *host)
{
    while (host->sessions != NULL) {
        struct session *session = host->sessions;

        PRE(session->depth == 0);
        session_enter(session);
        session_lose(session);
        session_leave(session);
    }
    while (host->spare_slots != NULL) {
        struct session_slot *slot = host->spare_slots;

        host->spare_slots = slot->next;
        mem_free(slot);
    }
    loop_timer_fini(&host->sweep);
    loop_timer_fini(&host->recheck);
    arena_fini(&host->arena);
}

/* ---- Life ---- */

static size_t session_on_data(void *arg, const uint8_t *data, size_t len);
static void session_on_eof(void *arg, struct slice rest);
static void session_on_drain(void *arg);
static void session_on_close(void *arg, enum error why);

static const struct net_conn_events session_events = {
    .on_data = session_on_data,
    .on_eof = session_on_eof,
    .on_drain = session_on_drain,
    .on_close = session_on_close,
};

enum error session_accept(struct session_host *host, struct net *net, struct net_socket *socket)
{
    struct session *session = mem_zalloc(sizeof *session);
    enum error error;

    if (session == NULL) {
        net_refuse(net, socket);
        return ERROR_MEMORY;
    }
    session->host = host;
    session->last_message_us = loop_now_us(host->loop);
    buf_init(&session->eof_rest);
    error = net_adopt(net, socket, &session_events, session, &session->conn);
    if (error != OK) {
        mem_free(session);
        return error;
    }
    session->next = host->sessions;
    session->link = &host->sessions;
    if (session->next != NULL)
        session->next->link = &session->next;
    host->sessions = session;
    return OK;
}

void session_leave(struct session *session)
{
    struct session_host *host = session->host;

    if (--session->depth > 0 || session->conn != NULL)
        return;
    session->depth++; /* whoever is told now may still ask, but must not make it go twice */
    if (session->is_counted && host->on_session_end != NULL)
        host->on_session_end(host->owner, session);
    session_drop_slots(session);
    if (session->is_counted) {
        session_count(&host->counters.connections, UINT64_MAX); /* one less */
        session_count(&host->counters.connection_ends, 1);
        atomic_fetch_sub_explicit(host->connection_count, 1, memory_order_relaxed);
    }
    *session->link = session->next;
    if (session->next != NULL)
        session->next->link = session->link;
    buf_fini(&session->eof_rest);
    mem_free(session);
}

void session_close(struct session *session)
{
    struct net_conn *conn = session->conn;

    session->is_ending = true;
    session->conn = NULL;
    if (conn != NULL)
        net_conn_finish(conn);
}

void session_lose(struct session *session)
{
    struct net_conn *conn = session->conn;

    session->is_ending = true;
    session->conn = NULL;
    if (conn != NULL)
        net_conn_abort(conn);
}

static void session_on_close(void *arg, enum error why)
{
    struct session *session = arg;

    (void)why; /* a reset after a served request is how some clients end */
    session_enter(session);
    session->is_ending = true;
    session->conn = NULL;
    session_leave(session);
}

void session_finish(struct session *session)
{
    session_enter(session);
    session->is_ending = true;
    if (session->depth == 1)
        session_flush(session);
    session_leave(session);
}

/* Calls `act` for each session, which may end it and, through its owner, others: the next one is
 * held meanwhile. */
static void session_for_each(struct session_host *host, void (*act)(struct session *session))
{
    struct session *session = host->sessions;

    if (session != NULL)
        session_enter(session);
    while (session != NULL) {
        struct session *next;

        act(session);
        next = session->next;
        if (next != NULL)
            session_enter(next);
        session_leave(session);
        session = next;
    }
}

static void session_act_finish(struct session *session)
{
    session->is_ending = true;
    if (session->depth == 1 && session->conn != NULL)
        session_flush(session);
}

void session_host_finish(struct session_host *host)
{
    session_for_each(host, session_act_finish);
}

/* ---- Stop and go ---- */

static void session_stop(struct session *session)
{
    session->is_paused = true;
    net_conn_pause(session->conn);
    /* If the end of this turn sends everything, nobody will say that it drained. */
    if (net_conn_unsent(session->conn) > LIMIT_UNSENT_BYTES)
        loop_timer_set(&session->host->recheck, 0);
}

/* Goes on reading once half of what was in the way is gone. */
static void session_go_on(struct session *session)
{
    if (!session->is_paused || session->conn == NULL || session->is_ending)
        return;
    if (session->alone_count > 0 || (session->needs_empty_fifo && session->slot_count > 0) ||
        session->slot_count > LIMIT_REQUESTS_IN_SERVICE / 2 ||
        net_conn_unsent(session->conn) > LIMIT_UNSENT_BYTES)
        return;
    session->is_paused = false;
    session->needs_empty_fifo = false;
    net_conn_resume(session->conn);
}

static void session_act_recheck(struct session *session)
{
    if (session->depth == 1 && session->conn != NULL)
        session_after_flush(session);
}

static void session_on_recheck(void *arg)
{
    session_for_each(arg, session_act_recheck);
}

static void session_on_drain(void *arg)
{
    struct session *session = arg;

    session_enter(session);
    session_go_on(session);
    if (session->on_drain != NULL)
        session->on_drain(session->attachment);
    session_leave(session);
}

/* ---- Requests ---- */

enum session_length { SESSION_LENGTH_WHOLE, SESSION_LENGTH_PART, SESSION_LENGTH_BAD };

/* A frame's length: 32 bits of at most ten bytes, not negative, within the limit. */
static enum session_length session_frame_length(const struct session *session, struct slice data,
                                                size_t *header, size_t *len)
{
    uint32_t limit = session->state == SESSION_AUTHENTICATION ? LIMIT_MESSAGE_BYTES_UNAUTHENTICATED
                                                              : LIMIT_MESSAGE_BYTES;
    const uint8_t *at;
    uint64_t wide;

    at = codec_get_varint(data.data, data.data + data.len, &wide);
    if (at == NULL)
        return data.len < SESSION_LENGTH_BYTES_MAX ? SESSION_LENGTH_PART : SESSION_LENGTH_BAD;
    if ((uint32_t)wide > limit)
        return SESSION_LENGTH_BAD;
    *header = (size_t)(at - data.data);
    *len = (uint32_t)wide;
    return SESSION_LENGTH_WHOLE;
}

/* The next frame; returns what was consumed, 0 if there is no whole frame or it must wait. */
static size_t session_frame(struct session *session, struct slice data)
{
    size_t header, len;

    switch (session_frame_length(session, data, &header, &len)) {
    case SESSION_LENGTH_PART:
        return 0;
    case SESSION_LENGTH_BAD:
        session->is_ending = true;
        return 0;
    case SESSION_LENGTH_WHOLE:
        break;
    }
    if (data.len - header < len)
        return 0;
    if (!session_execute(session, slice_of(data.data + header, len), false)) {
        session_stop(session);
        return 0;
    }
    return header + len;
}

/* Pass one: decodes the frames that are there as far as their members, and lets the owner fetch
 * what they need. Stops before whatever is not in order: pass two comes to it in its turn. */
static void session_look_ahead(struct session *session, struct slice data)
{
    struct session_host *host = session->host;
    uint32_t count = 0;

    while (count < SESSION_BATCH_REQUESTS) {
        struct session_request *request = &host->batch[count];
        size_t header, len;

        if (session_frame_length(session, data, &header, &len) != SESSION_LENGTH_WHOLE ||
            data.len - header < len ||
            codec_message(slice_of(data.data + header, len), &request->number, &request->body) !=
                OK)
            break;
        request->header = (uint32_t)header;
        request->len = (uint32_t)len;
        data = slice_of(data.data + header + len, data.len - header - len);
        count++;
    }
    host->batch_next = 0;
    host->batch_count = count;
    if (count > 1)
        host->on_batch(host->owner, host->batch, count);
}

/* The next frame, if pass one has decoded it; the same result. */
static size_t session_batch_frame(struct session *session, struct slice data)
{
    struct session_host *host = session->host;
    const struct session_request *request;
    bool executed;

    if (host->batch_next == host->batch_count)
        session_look_ahead(session, data);
    if (host->batch_next == host->batch_count)
        return session_frame(session, data);
    request = &host->batch[host->batch_next];
    host->batch_index = host->batch_count > 1 ? host->batch_next : SESSION_BATCH_REQUESTS;
    host->batch_next++;
    executed =
        session_execute_request(session, request->number, request->body, request->len, false);
    host->batch_index = SESSION_BATCH_REQUESTS;
    if (executed)
        return request->header + request->len;
    session_stop(session);
    return 0;
}

static size_t session_step(struct session *session, struct slice data)
{
    switch (session->state) {
    case SESSION_FIRST_BYTE:
        return session_first_byte(session, data);
    case SESSION_VERSION:
        return session_version(session, data);
    case SESSION_AUTHENTICATION:
        return session_frame(session, data);
    case SESSION_READY:
        break;
    }
    return session->host->on_batch == NULL ? session_frame(session, data)
                                           : session_batch_frame(session, data);
}

static size_t session_on_data(void *arg, const uint8_t *data, size_t len)
{
    struct session *session = arg;
    size_t consumed = 0;

    session_enter(session);
    session->has_sent = true;
    session->host->batch_next = session->host->batch_count = 0;
    while (consumed < len && !session->is_ending && session->conn != NULL) {
        enum session_state before = session->state;
        size_t step = session_step(session, slice_of(data + consumed, len - consumed));

        consumed += step;
        if (step == 0 && session->state == before)
            break;
    }
    if (session->conn != NULL)
        session_flush(session);
    if (session->conn != NULL && session->is_ending)
        consumed = len; /* whatever follows is discarded */
    session_leave(session);
    return consumed;
}

/* ---- The peer's end ---- */

/* A frame that announced more than came: what came counts, if it ends at a boundary between fields.
 */
static void session_execute_cut(struct session *session, struct slice rest)
{
    struct buf whole;
    size_t header, len;

    if (session_frame_length(session, rest, &header, &len) != SESSION_LENGTH_WHOLE)
        return;
    buf_init(&whole);
    if (message_rewrite(&pb__message__descriptor, slice_of(rest.data + header, rest.len - header),
                        true, &whole) == OK)
        (void)session_execute(session, buf_slice(&whole), true);
    buf_fini(&whole);
}

void session_after_flush(struct session *session)
{
    if (session->conn == NULL)
        return;
    if (session->has_eof && session->slot_count == 0 && !session->is_ending) {
        struct buf rest = session->eof_rest;

        buf_init(&session->eof_rest);
        if (rest.len > 0)
            session_execute_cut(session, buf_slice(&rest));
        buf_fini(&rest);
        session->is_ending = true;
    }
    if (session->is_ending && session->slot_count == 0 && session->conn != NULL) {
        session_close(session);
        return;
    }
    session_go_on(session);
}

static void session_on_eof(void *arg, struct slice rest)
{
    struct session *session = arg;

    session_enter(session);
    if (session->is_ending)
        goto out;
    switch (session->state) {
    case SESSION_FIRST_BYTE:
        session_first_byte_cut(session, rest);
        break;
    case SESSION_VERSION:
        session_version_cut(session, rest);
        break;
    default:
        /* It is executed when the earlier requests are answered: it is the last one, so nothing is
         * lost by that. */
        buf_append_slice(&session->eof_rest, rest);
        session->has_eof = true;
        break;
    }
    if (session->conn != NULL)
        session_flush(session);
out:
    session_leave(session);
}

/* ---- Idle ---- */

static bool session_is_idle(const struct session *session, uint64_t now_us)
{
    const struct session_host *host = session->host;

    if (host->idle_ms == 0 || session->is_subscribed || session->conn == NULL)
        return false;
    if (!session->has_sent && host->role == SESSION_SERVER)
        return false; /* as the reference: who never said a word is not yet a client */
    return now_us - session->last_message_us > (uint64_t)host->idle_ms * 1000;
}

static void session_act_sweep(struct session *session)
{
    if (session_is_idle(session, loop_now_us(session->host->loop)))
        session_close(session);
}

static void session_on_sweep(void *arg)
{
    struct session_host *host = arg;

    session_for_each(host, session_act_sweep);
    loop_timer_set(&host->sweep, SESSION_SWEEP_US);
}

/* ---- For operations ---- */

struct session_host *session_host_of(struct session *session)
{
    return session->host;
}

struct arena *session_arena(struct session *session)
{
    return &session->host->arena;
}

struct net_conn *session_conn(struct session *session)
{
    return session->conn;
}

struct net_address session_peer(const struct session *session)
{
    return session->conn == NULL ? (struct net_address){{0}, 0} : net_conn_peer(session->conn);
}

void session_set_subscribed(struct session *session, bool subscribed)
{
    session->is_subscribed = subscribed;
}

size_t session_unsent(const struct session *session)
{
    return session->conn == NULL ? 0 : net_conn_unsent(session->conn);
}

void session_attach(struct session *session, void *attachment, void (*on_drain)(void *attachment))
{
    session->attachment = attachment;
    session->on_drain = on_drain;
}

void *session_attachment(struct session *session)
{
    return session->attachment;
}
