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
void line_fail_all_calls(struct link_line *line, const char *text)
{
    struct link_pending *calls = line->calls;
    line->calls = NULL;
    line->call_count = 0;
    while (calls != NULL) {
        struct link_pending *call = calls;
        calls = call->next;
        fail_call(call, ADMIN_REASON_UNREACHABLE, text);
    }
}

void line_fail_late_calls(struct link_line *line, uint64_t now_us)
{
    struct link_pending *late = NULL;
    struct link_pending **end = &late;
    for (struct link_pending **at = &line->calls; *at != NULL;) {
        struct link_pending *call = *at;
        if (call->deadline_us > now_us) {
            at = &call->next;
            continue;
        }
        *at = call->next;
        call->next = NULL;
        *end = call;
        end = &call->next;
        line->call_count--;
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

static enum error call_on(struct link_line *line, uint32_t number, struct slice body,
                          link_answer_fn *on_answer, void *arg)
{
    if (line->call_count >= CALLS_MAX || net_conn_unsent(line->conn) > LINK_UNSENT_BYTES_MAX)
        return ERROR_BUSY;
    struct link_pending *call = mem_zalloc(sizeof(*call));
    if (call == NULL)
        return ERROR_MEMORY;
    Pb__PeerCall message = PB__PEER_CALL__INIT;
    message.id = call->id = ++line->next_call_id;
    message.number = number;
    message.body = message_bytes(body);
    enum error error = PEER_SEND(line->conn, CALL, call, &message);
    if (error != OK) {
        mem_free(call);
        return error;
    }
    call->deadline_us = loop_now_us(line->link->loop) + CALL_MS * UINT64_C(1000);
    call->on_answer = on_answer;
    call->arg = arg;
    call->next = line->calls;
    line->calls = call;
    line->call_count++;
    return OK;
}

enum error link_call(struct link *link, uint32_t number, struct slice body,
                     link_answer_fn *on_answer, void *arg)
{
    PRE(loop_is_current(link->loop));
    struct link_line *first = link_first(link);
    return first == NULL ? ERROR_UNREACHABLE : call_on(first, number, body, on_answer, arg);
}

/* Nobody waits for these answers: who tells says it again. */
static void on_told(void *arg, const struct failure *failure, uint32_t number, struct slice body)
{
    (void)arg;
    (void)failure;
    (void)number;
    (void)body;
}

enum error link_tell_all(struct link *link, uint32_t number, struct slice body,
                         link_answer_fn *on_answer, void *arg)
{
    PRE(loop_is_current(link->loop));
    struct link_line *first = link_first(link);
    enum error error =
        first == NULL ? ERROR_UNREACHABLE : call_on(first, number, body, on_answer, arg);
    for (uint32_t i = 0; i < link->line_count && error == OK; i++)
        if (link->lines[i].state == LINE_UP && &link->lines[i] != first)
            (void)call_on(&link->lines[i], number, body, on_told, NULL);
    return error;
}

void line_take_answer(struct link_line *line, const Pb__PeerAnswer *answer)
{
    struct link_pending **at = &line->calls;
    while (*at != NULL && (*at)->id != answer->id)
        at = &(*at)->next;
    struct link_pending *call = *at;
    if (call == NULL)
        return; /* it came too late */
    *at = call->next;
    line->call_count--;
    struct failure failure;
    if (answer->code != 0)
        failure_set(&failure, answer->code, "%s", answer->text);
    end_call(call, answer->code != 0 ? &failure : NULL, answer->number,
             slice_of(answer->body.data, answer->body.len));
}

/* What the owner is given as the id of a locator's call: it tells the line and the connection. */
static uint64_t id_of_call(const struct link_line *line, uint64_t id)
{
    return id << 16 | (uint64_t)line->serial << 8 | line->index;
}

void line_take_call(struct link_line *line, const Pb__PeerCall *call)
{
    struct link *link = line->link;
    uint64_t id = id_of_call(line, call->id);
    if (link->events.on_call != NULL) {
        link->events.on_call(link->arg, id, call->number,
                             slice_of(call->body.data, call->body.len));
        return;
    }
    struct failure failure;
    failure_set(&failure, FAILURE_UNSUPPORTED_OPERATION,
                "UNSUPPORTED: this server cannot do that.");
    link_answer(link, id, &failure, 0, slice_of(NULL, 0));
}

void link_answer(struct link *link, uint64_t id, const struct failure *failure, uint32_t number,
                 struct slice body)
{
    PRE(loop_is_current(link->loop));
    struct link_line *line = &link->lines[id & 0xff];
    if (line->state != LINE_UP || line->serial != (id >> 8 & 0xff))
        return;
    Pb__PeerAnswer answer = PB__PEER_ANSWER__INIT;
    answer.id = id >> 16;
    if (failure != NULL) {
        answer.code = failure->code;
        answer.text = (char *)(uintptr_t)failure->text;
    } else {
        answer.number = number;
        answer.body = message_bytes(body);
    }
    /* Without memory for it the locator's own deadline answers. */
    (void)PEER_SEND(line->conn, ANSWER, answer, &answer);
}
