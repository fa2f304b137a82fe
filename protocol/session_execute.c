/* One request of a session: whose turn it is, which operation, what its end means. */
#include "protocol/session_impl.h"
#include "common/mem.h"
#include "protocol/codec.h"

/* May the next request start? CqAck may always: it has no reply, and credit must not wait for
 * replies. */
bool session_may_start(struct session *session, uint32_t flags)
{
    if ((flags & OPERATION_PASSES) != 0)
        return true;
    session->needs_empty_fifo = (flags & OPERATION_ALONE) != 0 && session->slot_count > 0;
    return !session->needs_empty_fifo && session->alone_count == 0 &&
           session->slot_count < LIMIT_REQUESTS_IN_SERVICE &&
           net_conn_unsent(session->conn) <= LIMIT_UNSENT_BYTES;
}

static const struct operation *session_operation(const struct session_host *host, uint32_t number)
{
    static const struct operation handshake = {22, "handshake", OPERATION_UNAUTHENTICATED, NULL,
                                               session_handshake};
    static const struct operation disconnect = {30, "disconnectClient", 0, NULL,
                                                session_disconnect};
    const struct operation *row = host->operations;

    if (number < SESSION_FAST_ROWS && host->rows[number] != NULL)
        return host->rows[number];
    while (row->number != 0 && row->number != number)
        row++;
    if (row->number != 0)
        return row;
    return number == handshake.number    ? &handshake
           : number == disconnect.number ? &disconnect
                                         : NULL;
}

/* Apart because a failure is large. */
static __attribute__((noinline)) void session_fail_with(struct session *session, enum error error)
{
    struct failure failure;

    failure_of_error(&failure, error);
    (void)session_fail(session, &failure);
}

static void session_answer(struct session *session, uint32_t number,
                           const struct operation *operation, struct slice body)
{
    struct session_host *host = session->host;
    enum error error;

    session->answers = 0;
    session->operation_flags = operation == NULL ? 0 : operation->flags;
    arena_reset(&host->arena);
    if (session->state == SESSION_AUTHENTICATION &&
        (operation == NULL || (operation->flags & OPERATION_UNAUTHENTICATED) == 0))
        error = session_refuse_unauthenticated(session, number, body);
    else if (operation == NULL)
        error = session_no_operation(session, number, body);
    else
        error = operation->execute(session, body);
    if (session->conn == NULL)
        return;
    if (error == ERROR_MALFORMED) {
        session->is_ending = true;
    } else if (error != OK) {
        INVARIANT(session->answers == 0);
        session_fail_with(session, error);
    } else if ((session->operation_flags & OPERATION_PASSES) != 0 || number == SESSION_CQ_ACK) {
        session->last_message_us = loop_now_us(host->loop);
    } else {
        INVARIANT(session->answers == 1 || session->is_ending);
    }
}

/* Executes one request; false if it is not its turn yet, which the last one of a connection does
 * not ask. */
bool session_execute_request(struct session *session, uint32_t number, struct slice body,
                             size_t frame_len, bool is_last)
{
    const struct operation *operation;

    /* Whatever has a row is a request. */
    operation = session_operation(session->host, number);
    if (operation == NULL && message_kind(number) != MESSAGE_REQUEST) {
        session->is_ending = true;
        return true;
    }
    if (!is_last && !session_may_start(session, operation == NULL ? 0 : operation->flags))
        return false;
    session_count(&session->host->counters.messages_received, 1);
    session_count(&session->host->counters.bytes_received, frame_len);
    session_answer(session, number, operation, body);
    return true;
}

bool session_execute(struct session *session, struct slice frame, bool is_last)
{
    uint32_t index = session->host->batch_index, number;
    struct slice body;
    bool executed;

    if (codec_message(frame, &number, &body) != OK) {
        session->is_ending = true;
        return true;
    }
    /* A batch may be on its way when another session ends. */
    session->host->batch_index = SESSION_BATCH_REQUESTS;
    executed = session_execute_request(session, number, body, frame.len, is_last);
    session->host->batch_index = index;
    return executed;
}
