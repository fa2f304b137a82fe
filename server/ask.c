/* The server's own requests to a locator: any loop -> main loop -> link -> main loop -> back. */
#include "common/mem.h"
#include "server/server.h"

struct question {
    struct server *server;
    struct loop *loop; /* where the answer goes */
    link_answer_fn *on_answer;
    void *arg;
    uint32_t number;
    struct buf body; /* of the request, then of the answer */
    bool failed;
    struct failure failure;
    struct loop_task task;
};

static void on_loop(void *arg)
{
    struct question *question = arg;
    question->on_answer(question->arg, question->failed ? &question->failure : NULL,
                        question->number, buf_slice(&question->body));
    buf_fini(&question->body);
    mem_free(question);
}

static void send_back(struct question *question)
{
    question->task.on_run = on_loop;
    loop_post(question->loop, &question->task);
}

static void on_locator(void *arg, const struct failure *failure, uint32_t number, struct slice body)
{
    struct question *question = arg;
    question->failed = failure != NULL;
    question->number = number;
    buf_clear(&question->body);
    if (failure != NULL)
        question->failure = *failure;
    else
        buf_append_slice(&question->body, body);
    if (question->body.failed) {
        question->failed = true;
        failure_of_error(&question->failure, ERROR_MEMORY);
    }
    send_back(question);
}

static void on_main(void *arg)
{
    struct question *question = arg;
    struct link *link = question->server->link;
    enum error error = ERROR_UNREACHABLE;
    if (link != NULL)
        error = link_call(link, question->number, buf_slice(&question->body), on_locator, question);
    if (error == OK)
        return;
    question->failed = true;
    if (error == ERROR_UNREACHABLE)
        failure_set(&question->failure, FAILURE_SERVER_ERROR,
                    "UNREACHABLE: No locator is connected to this server.");
    else
        failure_of_error(&question->failure, error);
    send_back(question);
}

enum error server_ask_locator(struct server *server, struct worker *worker, uint32_t number,
                              struct slice body, link_answer_fn *on_answer, void *arg)
{
    struct question *question = mem_zalloc(sizeof *question);
    if (question == NULL)
        return ERROR_MEMORY;
    buf_init(&question->body);
    buf_append_slice(&question->body, body);
    if (question->body.failed) {
        buf_fini(&question->body);
        mem_free(question);
        return ERROR_MEMORY;
    }
    question->server = server;
    question->loop = worker == NULL ? server->loop : worker->loop;
    question->number = number;
    question->on_answer = on_answer;
    question->arg = arg;
    question->task = (struct loop_task){.on_run = on_main, .arg = question};
    loop_post(server->loop, &question->task);
    return OK;
}
