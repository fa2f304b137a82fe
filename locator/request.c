#include "locator/request.h"

#include <stdio.h>

#include "common/mem.h"
#include "locator/locator_impl.h"
#include "locator/peer_link.h"

static struct request *request_new(struct locator *locator)
{
    struct request *request = mem_zalloc(sizeof(*request));
    if (request == NULL)
        return NULL;
    request->locator = locator;
    request->next = locator->requests;
    locator->requests = request;
    return request;
}

static void request_free(struct request *request)
{
    struct request **at = &request->locator->requests;
    while (*at != request)
        at = &(*at)->next;
    *at = request->next;
    mem_free(request);
}

struct request *request_of_session(struct locator *locator, struct session *session)
{
    struct request *request = request_new(locator);
    if (request == NULL)
        return NULL;
    request->slot = session_slot_new(session);
    if (request->slot == NULL) {
        request_free(request);
        return NULL;
    }
    return request;
}

struct request *request_of_peer(struct locator *locator, struct peer *peer, uint64_t call_id)
{
    struct request *request = request_new(locator);
    if (request == NULL)
        return NULL;
    request->peer = peer;
    request->call_id = call_id;
    return request;
}

void request_reply_packed(struct request *request, uint32_t number, struct slice body)
{
    if (request->slot != NULL)
        session_slot_reply(request->slot, number, body);
    else if (request->peer != NULL)
        peer_answer(request->peer, request->call_id, NULL, number, body);
    request_free(request);
}

void request_reply(struct request *request, uint32_t number, const ProtobufCMessage *body)
{
    struct buf packed;
    buf_init(&packed);
    uint8_t *out = buf_reserve(&packed, protobuf_c_message_get_packed_size(body));
    if (out != NULL) {
        packed.len = protobuf_c_message_pack(body, out);
        request_reply_packed(request, number, buf_slice(&packed));
    } else {
        request_fail(request, ADMIN_REASON_MEMORY,
                     "it was done, but the locator has not enough memory for the answer.");
    }
    buf_fini(&packed);
}

void request_fail_with(struct request *request, const struct failure *failure)
{
    if (request->slot != NULL)
        session_slot_fail(request->slot, failure);
    else if (request->peer != NULL)
        peer_answer(request->peer, request->call_id, failure, 0, slice_of(NULL, 0));
    request_free(request);
}

static void set_failure(struct failure *failure, enum admin_reason reason, const char *format,
                        va_list args)
{
    struct admin_reason_row row = admin_reason_row(reason);
    char text[sizeof(failure->text)];
    vsnprintf(text, sizeof(text), format, args);
    failure_set(failure, row.code, "%s: %s", row.word, text);
}

void request_failure(struct failure *failure, enum admin_reason reason, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    set_failure(failure, reason, format, args);
    va_end(args);
}

void request_fail(struct request *request, enum admin_reason reason, const char *format, ...)
{
    struct failure failure;
    va_list args;
    va_start(args, format);
    set_failure(&failure, reason, format, args);
    va_end(args);
    request_fail_with(request, &failure);
}

void request_forget_peer(struct locator *locator, const struct peer *peer)
{
    for (struct request *request = locator->requests; request != NULL; request = request->next)
        if (request->peer == peer)
            request->peer = NULL;
}

void request_drop_all(struct locator *locator)
{
    while (locator->requests != NULL) {
        struct request *request = locator->requests;
        if (request->slot != NULL)
            session_slot_drop(request->slot);
        request_free(request);
    }
}
