#include "server/link_impl.h"

#include "common/mem.h"
#include "protocol/admin_reason.h"
#include "protocol/message.h"

enum {
    CALL_MS = 10000,
    CALLS_MAX = 1024,
};

static void end_call(struct link_pending *call, const struct failure *failure, uint32_t number,
                     struct slice body)
{
    call->on_answer(call->arg, failure, number, body);
    mem_free(call);
}

static void fail_call(struct link_pending *call, enum admin_reason reason, const char *text)
{
    struct admin_reason_row row = admin_reason_row(reason);
    struct failure failure;
    failure_set(&failure, row.code, "%s: %s", row.word, text);
    end_call(call, &failure, 0, slice_of(NULL, 0));
}

/* The list is emptied first: a callback may call again. */
void link_fail_all_calls(struct link *link, const char *text)
{
    struct link_pending *calls = link->calls;
    link->calls = NULL;
    link->call_count = 0;
    while (calls != NULL) {
        struct link_pending *call = calls;
        calls = call->next;
        fail_call(call, ADMIN_REASON_UNREACHABLE, text);
    }
}

void link_fail_late_calls(struct link *link, uint64_t now_us)
{
    struct link_pending *late = NULL;
    struct link_pending **end = &late;
    for (struct link_pending **at = &link->calls; *at != NULL;) {
        struct link_pending *call = *at;
        if (call->deadline_us > now_us) {
            at = &call->next;
            continue;
        }
        *at = call->next;
        call->next = NULL;
        *end = call;
        end = &call->next;
        link->call_count--;
    }
    while (late != NULL) {
        struct link_pending *call = late;
        late = call->next;
        fail_call(call, ADMIN_REASON_TIMEOUT,
                  "the locator did not answer within 10 s; the change may or may not have been "
                  "made. Look with "
                  "`vug status` before trying again.");
    }
}

enum error link_call(struct link *link, uint32_t number, struct slice body,
                     link_answer_fn *on_answer, void *arg)
{
    PRE(loop_is_current(link->loop));
    if (link->state != LINK_UP)
        return ERROR_UNREACHABLE;
    if (link->call_count >= CALLS_MAX || net_conn_unsent(link->conn) > LINK_UNSENT_BYTES_MAX)
        return ERROR_BUSY;
    struct link_pending *call = mem_zalloc(sizeof(*call));
    if (call == NULL)
        return ERROR_MEMORY;
    Pb__PeerCall message = PB__PEER_CALL__INIT;
    message.id = call->id = ++link->next_call_id;
    message.number = number;
    message.body = message_bytes(body);
    enum error error = PEER_SEND(link->conn, CALL, call, &message);
    if (error != OK) {
        mem_free(call);
        return error;
    }
    call->deadline_us = loop_now_us(link->loop) + CALL_MS * UINT64_C(1000);
    call->on_answer = on_answer;
    call->arg = arg;
    call->next = link->calls;
    link->calls = call;
    link->call_count++;
    return OK;
}

void link_take_answer(struct link *link, const Pb__PeerAnswer *answer)
{
    struct link_pending **at = &link->calls;
    while (*at != NULL && (*at)->id != answer->id)
        at = &(*at)->next;
    struct link_pending *call = *at;
    if (call == NULL)
        return; /* it came too late */
    *at = call->next;
    link->call_count--;
    struct failure failure;
    if (answer->code != 0)
        failure_set(&failure, answer->code, "%s", answer->text);
    end_call(call, answer->code != 0 ? &failure : NULL, answer->number,
             slice_of(answer->body.data, answer->body.len));
}

void link_answer(struct link *link, uint64_t id, const struct failure *failure, uint32_t number,
                 struct slice body)
{
    PRE(loop_is_current(link->loop));
    if (link->state != LINK_UP)
        return;
    Pb__PeerAnswer answer = PB__PEER_ANSWER__INIT;
    answer.id = id;
    if (failure != NULL) {
        answer.code = failure->code;
        answer.text = (char *)(uintptr_t)failure->text;
    } else {
        answer.number = number;
        answer.body = message_bytes(body);
    }
    /* Without memory for it the locator's own deadline answers. */
    (void)PEER_SEND(link->conn, ANSWER, answer, &answer);
}
