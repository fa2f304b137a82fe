/* Requests that a locator answers: worker -> main loop -> link -> main loop -> worker. */
#include "common/mem.h"
#include "server/server.h"

struct forward {
    struct errand errand; /* body: of the request, then of the answer */
    struct worker *worker;
    struct session_slot *slot;
    link_answer_fn *on_answer;
    uint32_t number;
    struct loop_task task;
};

static void on_worker(void *arg)
{
    struct forward *forward = arg;
    forward->on_answer(forward->slot, forward->errand.failed ? &forward->errand.failure : NULL,
                       forward->number, buf_slice(&forward->errand.body));
    errand_end(forward->worker->server, &forward->errand);
}

static void send_back(struct forward *forward)
{
    forward->task.on_run = on_worker;
    loop_post(forward->worker->loop, &forward->task);
}

static void on_locator(void *arg, const struct failure *failure, uint32_t number, struct slice body)
{
    struct forward *forward = arg;
    forward->errand.failed = failure != NULL;
    forward->number = number;
    buf_clear(&forward->errand.body);
    if (failure != NULL)
        forward->errand.failure = *failure;
    else
        buf_append_slice(&forward->errand.body, body);
    if (forward->errand.body.failed) {
        forward->errand.failed = true;
        failure_of_error(&forward->errand.failure, ERROR_MEMORY);
    }
    send_back(forward);
}

static void on_main(void *arg)
{
    struct forward *forward = arg;
    struct link *link = forward->worker->server->link;
    enum error error = ERROR_UNREACHABLE;
    if (link != NULL)
        error =
            link_call(link, forward->number, buf_slice(&forward->errand.body), on_locator, forward);
    if (error == OK)
        return;
    forward->errand.failed = true;
    if (error == ERROR_UNREACHABLE)
        failure_set(&forward->errand.failure, FAILURE_SERVER_ERROR,
                    "UNREACHABLE: No locator is connected to this server, and only a locator can "
                    "do this. Data is served all "
                    "the same; start the locator and try again.");
    else
        failure_of_error(&forward->errand.failure, error);
    send_back(forward);
}

enum error server_call_locator(struct worker *worker, struct session *session, uint32_t number,
                               struct slice body, link_answer_fn *on_answer)
{
    struct forward *forward = mem_zalloc(sizeof *forward);
    if (forward == NULL)
        return ERROR_MEMORY;
    errand_begin(worker->server, &forward->errand, body);
    forward->slot = forward->errand.body.failed ? NULL : session_slot_new(session);
    if (forward->slot == NULL) {
        errand_end(worker->server, &forward->errand);
        return ERROR_MEMORY;
    }
    forward->errand.answer = on_worker;
    forward->worker = worker;
    forward->number = number;
    forward->on_answer = on_answer;
    forward->task = (struct loop_task){.on_run = on_main, .arg = forward};
    loop_post(worker->server->loop, &forward->task);
    return OK;
}
