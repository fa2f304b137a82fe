/* Replies in the order of requests.
 *
 *   FIFO empty:  straight into the connection, no allocation
 *   otherwise:   a slot  ->  [slot][slot][slot]  ->  leaves from the front when it is done */
#include "protocol/session_impl.h"

#include <stdio.h>

#include "common/mem.h"
#include "protocol/codec.h"

/* ---- Slots ---- */

static struct session_slot *session_slot_get(struct session_host *host)
{
    struct session_slot *slot = host->spare_slots;

    if (slot == NULL)
        slot = mem_alloc(sizeof *slot);
    else {
        host->spare_slots = slot->next;
        host->spare_slot_count--;
    }
    if (slot != NULL) {
        slot->session = NULL;
        slot->next = NULL;
        slot->state = SESSION_SLOT_OPEN;
        slot->is_alone = false;
        slot->frame = NULL;
        slot->frame_len = 0;
    }
    return slot;
}

/* `host` is NULL when that may be gone. */
static void session_slot_put(struct session_host *host, struct session_slot *slot)
{
    if (slot->frame != slot->inline_frame)
        mem_free(slot->frame);
    if (host == NULL || host->spare_slot_count == SESSION_SPARE_SLOTS_MAX) {
        mem_free(slot);
        return;
    }
    slot->next = host->spare_slots;
    host->spare_slots = slot;
    host->spare_slot_count++;
}

static bool session_slot_room(struct session_slot *slot, size_t len)
{
    slot->frame = len <= sizeof slot->inline_frame ? slot->inline_frame : mem_alloc(len);
    slot->frame_len = len;
    return slot->frame != NULL;
}

static void session_slot_append(struct session *session, struct session_slot *slot)
{
    slot->session = session;
    slot->is_alone = (session->operation_flags & OPERATION_ALONE) != 0;
    if (session->last_slot == NULL)
        session->first_slot = slot;
    else
        session->last_slot->next = slot;
    session->last_slot = slot;
    session->slot_count++;
    session->alone_count += slot->is_alone;
}

static struct session_slot *session_slot_remove_first(struct session *session)
{
    struct session_slot *slot = session->first_slot;

    session->first_slot = slot->next;
    if (slot->next == NULL)
        session->last_slot = NULL;
    slot->next = NULL;
    session->slot_count--;
    session->alone_count -= slot->is_alone;
    return slot;
}

void session_drop_slots(struct session *session)
{
    while (session->first_slot != NULL) {
        struct session_slot *slot = session_slot_remove_first(session);

        if (slot->state == SESSION_SLOT_OPEN)
            slot->session = NULL;
        else
            session_slot_put(session->host, slot);
    }
}

/* ---- Frames ---- */

static size_t session_message_size(uint32_t number, size_t body_len)
{
    return codec_bytes_field_size(number, body_len);
}

static size_t session_frame_size(uint32_t number, size_t body_len)
{
    size_t message = session_message_size(number, body_len);

    return codec_varint_size(message) + message;
}

/* Writes what stands before the body; returns its place. */
static uint8_t *session_frame_header(uint8_t *frame, uint32_t number, size_t body_len)
{
    frame = codec_put_varint(frame, session_message_size(number, body_len));
    return codec_put_bytes_header(frame, number, body_len);
}

/* A frame goes to the connection; asked before it is committed, which takes the room away. */
static void session_count_frame(struct session *session, const uint8_t *frame, size_t frame_len)
{
    struct session_counters *counters = &session->host->counters;
    uint64_t len = 0;

    codec_get_varint(frame, frame + frame_len, &len);
    session_count(&counters->messages_sent, 1);
    session_count(&counters->bytes_sent, len);
    session->has_answered = true;
}

static bool session_send(struct session *session, const uint8_t *frame, size_t frame_len)
{
    uint8_t *room = net_conn_reserve(session->conn, frame_len);

    if (room == NULL)
        return false;
    memcpy(room, frame, frame_len);
    net_conn_commit(session->conn, frame_len);
    session_count_frame(session, frame, frame_len);
    return true;
}

/* What is done at the head of the FIFO goes into the connection. */
static void session_send_done(struct session *session)
{
    while (session->conn != NULL && session->first_slot != NULL) {
        struct session_slot *slot = session->first_slot;

        if (slot->state == SESSION_SLOT_OPEN)
            break;
        if (slot->state == SESSION_SLOT_DROPPED) {
            session_close(session);
            break;
        }
        if (slot->frame != NULL && !session_send(session, slot->frame, slot->frame_len)) {
            session_lose(session);
            break;
        }
        session_slot_put(session->host, session_slot_remove_first(session));
    }
}

void session_flush(struct session *session)
{
    session_send_done(session);
    if (session->has_answered) {
        session->has_answered = false;
        session->last_message_us = loop_now_us(session->host->loop);
    }
    session_after_flush(session);
}

/* ---- Replies that are known now ---- */

uint8_t *session_reply_begin(struct session *session, uint32_t number, size_t body_len)
{
    size_t frame_len = session_frame_size(number, body_len);
    struct session_slot *slot = NULL;
    uint8_t *frame;

    PRE(session->depth > 0 && session->reply.frame == NULL);
    if (session->conn == NULL)
        return NULL;
    if (session->first_slot == NULL) {
        frame = net_conn_reserve(session->conn, frame_len);
    } else {
        slot = session_slot_get(session->host);
        frame = slot != NULL && session_slot_room(slot, frame_len) ? slot->frame : NULL;
    }
    if (frame == NULL) {
        if (slot != NULL)
            session_slot_put(session->host, slot);
        session_lose(session);
        return NULL;
    }
    session->reply.slot = slot;
    session->reply.frame = frame;
    session->reply.frame_len = frame_len;
    return session_frame_header(frame, number, body_len);
}

void session_reply_end(struct session *session)
{
    struct session_slot *slot = session->reply.slot;
    uint8_t *frame = session->reply.frame;
    size_t frame_len = session->reply.frame_len;

    PRE(frame != NULL);
    session->reply.frame = NULL;
    session->reply.slot = NULL;
    session->answers++;
    if (slot == NULL) {
        session_count_frame(session, frame, frame_len);
        net_conn_commit(session->conn, frame_len);
        return;
    }
    slot->state = SESSION_SLOT_DONE;
    session_slot_append(session, slot);
}

enum error session_reply_message(struct session *session, uint32_t number,
                                 const ProtobufCMessage *body)
{
    size_t len = protobuf_c_message_get_packed_size(body);
    uint8_t *place = session_reply_begin(session, number, len);

    if (place == NULL)
        return ERROR_MEMORY;
    protobuf_c_message_pack(body, place);
    session_reply_end(session);
    return OK;
}

/* ErrorResponse: 1 Error: 1 code, 2 text. */
static size_t session_error_size(const struct failure *failure)
{
    return 1 + codec_varint_size(failure->code) + codec_bytes_field_size(2, strlen(failure->text));
}

static void session_error_write(const struct failure *failure, uint8_t *out)
{
    size_t len = strlen(failure->text);

    out = codec_put_bytes_header(out, 1, session_error_size(failure));
    *out++ = 1 << 3;
    out = codec_put_varint(out, failure->code);
    out = codec_put_bytes_header(out, 2, len);
    memcpy(out, failure->text, len);
}

enum error session_fail(struct session *session, const struct failure *failure)
{
    uint8_t *place =
        session_reply_begin(session, 1, codec_bytes_field_size(1, session_error_size(failure)));

    if (place == NULL)
        return ERROR_MEMORY;
    session_error_write(failure, place);
    session_reply_end(session);
    return OK;
}

enum error session_failf(struct session *session, uint32_t code, const char *format, ...)
{
    struct failure failure;
    va_list args;

    va_start(args, format);
    failure_vset(&failure, code, format, args);
    va_end(args);
    return session_fail(session, &failure);
}

/* ---- Replies that come later ---- */

struct session_slot *session_slot_new(struct session *session)
{
    struct session_slot *slot = session->conn == NULL ? NULL : session_slot_get(session->host);

    if (slot == NULL)
        return NULL;
    session->answers++;
    session_slot_append(session, slot);
    return slot;
}

bool session_slot_alive(const struct session_slot *slot)
{
    return slot->session != NULL && slot->session->conn != NULL;
}

struct session *session_slot_session(struct session_slot *slot)
{
    return session_slot_alive(slot) ? slot->session : NULL;
}

/* The room for a slot's frame; NULL when nobody will read it, which ends the slot. */
static uint8_t *session_slot_begin(struct session_slot *slot, uint32_t number, size_t body_len)
{
    struct session *session = slot->session;

    PRE(slot->state == SESSION_SLOT_OPEN);
    if (session == NULL) {
        session_slot_put(NULL, slot);
        return NULL;
    }
    if (!session_slot_room(slot, session_frame_size(number, body_len))) {
        slot->state = SESSION_SLOT_DROPPED;
        session_enter(session);
        session_lose(session);
        session_leave(session);
        return NULL;
    }
    return session_frame_header(slot->frame, number, body_len);
}

static void session_slot_end(struct session_slot *slot, enum session_slot_state state)
{
    struct session *session = slot->session;

    slot->state = state;
    session_enter(session);
    /* Inside of a request its end flushes. */
    if (session->depth == 1 && session->conn != NULL)
        session_flush(session);
    session_leave(session);
}

void session_slot_reply(struct session_slot *slot, uint32_t number, struct slice body)
{
    uint8_t *place = session_slot_begin(slot, number, body.len);

    if (place == NULL)
        return;
    if (body.len > 0)
        memcpy(place, body.data, body.len);
    session_slot_end(slot, SESSION_SLOT_DONE);
}

void session_slot_reply_message(struct session_slot *slot, uint32_t number,
                                const ProtobufCMessage *body)
{
    uint8_t *place = session_slot_begin(slot, number, protobuf_c_message_get_packed_size(body));

    if (place == NULL)
        return;
    protobuf_c_message_pack(body, place);
    session_slot_end(slot, SESSION_SLOT_DONE);
}

void session_slot_fail(struct session_slot *slot, const struct failure *failure)
{
    uint8_t *place =
        session_slot_begin(slot, 1, codec_bytes_field_size(1, session_error_size(failure)));

    if (place == NULL)
        return;
    session_error_write(failure, place);
    session_slot_end(slot, SESSION_SLOT_DONE);
}

void session_slot_drop(struct session_slot *slot)
{
    PRE(slot->state == SESSION_SLOT_OPEN);
    if (slot->session == NULL) {
        session_slot_put(NULL, slot);
        return;
    }
    slot->session->is_ending = true;
    session_slot_end(slot, SESSION_SLOT_DROPPED);
}

/* ---- Pushes ---- */

uint8_t *session_push_begin(struct session *session, uint32_t number, size_t body_len)
{
    size_t frame_len = session_frame_size(number, body_len);
    bool gone = session->conn == NULL;
    uint8_t *frame;

    PRE(session->push_len == 0);
    /* An answer that was given before the push, in this very request, goes first. */
    if (!gone && session->first_slot != NULL) {
        session_enter(session);
        session_send_done(session);
        gone = session->conn == NULL;
        session_leave(session);
    }
    if (gone)
        return NULL;
    frame = net_conn_reserve(session->conn, frame_len);
    if (frame == NULL) {
        session_enter(session);
        session_lose(session);
        session_leave(session);
        return NULL;
    }
    session->push_len = frame_len;
    session_count(&session->host->counters.messages_sent, 1);
    session_count(&session->host->counters.bytes_sent, session_message_size(number, body_len));
    return session_frame_header(frame, number, body_len);
}

void session_push_end(struct session *session)
{
    PRE(session->push_len > 0);
    net_conn_commit(session->conn, session->push_len);
    session->push_len = 0;
}
