/* The server's own requests to a locator: any loop -> main loop -> link -> main loop -> back. */
#include "common/mem.h"
#include "server/server.h"

struct question {
    struct errand errand; /* body: of the request, then of the answer */
    struct server *server;
    struct loop *loop; /* where the answer goes */
    link_answer_fn *on_answer;
    void *arg;
    uint32_t number;
    struct loop_task task;
};

void errand_begin(struct server *server, struct errand *errand, struct slice body)
{
    buf_init(&errand->body);
    buf_append_slice(&errand->body, body);
    pthread_mutex_lock(&server->lock);
    errand->next = server->errands;
    errand->link = &server->errands;
    if (errand->next != NULL)
        errand->next->link = &errand->next;
    server->errands = errand;
    pthread_mutex_unlock(&server->lock);
}

void errand_end(struct server *server, struct errand *errand)
{
    pthread_mutex_lock(&server->lock);
    *errand->link = errand->next;
    if (errand->next != NULL)
        errand->next->link = errand->link;
    pthread_mutex_unlock(&server->lock);
    buf_fini(&errand->body);
    mem_free(errand);
}

void errand_fail_all(struct server *server)
{
    while (server->errands != NULL) {
        struct errand *errand = server->errands;
        errand->failed = true;
        failure_of_error(&errand->failure, ERROR_SHUTDOWN);
        errand->answer(errand);
    }
}

static void on_loop(void *arg)
{
    struct question *question = arg;
    question->on_answer(question->arg, question->errand.failed ? &question->errand.failure : NULL,
                        question->number, buf_slice(&question->errand.body));
    errand_end(question->server, &question->errand);
}

static void send_back(struct question *question)
{
    question->task.on_run = on_loop;
    loop_post(question->loop, &question->task);
}

static void on_locator(void *arg, const struct failure *failure, uint32_t number, struct slice body)
{
    struct question *question = arg;
    question->errand.failed = failure != NULL;
    question->number = number;
    buf_clear(&question->errand.body);
    if (failure != NULL)
        question->errand.failure = *failure;
    else
        buf_append_slice(&question->errand.body, body);
    if (question->errand.body.failed) {
        question->errand.failed = true;
        failure_of_error(&question->errand.failure, ERROR_MEMORY);
    }
    send_back(question);
}

static void on_main(void *arg)
{
    struct question *question = arg;
    struct link *link = question->server->link;
    struct slice body = buf_slice(&question->errand.body);
    enum error error = ERROR_UNREACHABLE;
    if (link != NULL && question->number == SERVER_ATTACHED)
        error = link_tell_all(link, question->number, body, on_locator, question);
    else if (link != NULL)
        error = link_call(link, question->number, body, on_locator, question);
    if (error == OK)
        return;
    question->errand.failed = true;
    if (error == ERROR_UNREACHABLE)
        failure_set(&question->errand.failure, FAILURE_SERVER_ERROR,
                    "UNREACHABLE: No locator is connected to this server.");
    else
        failure_of_error(&question->errand.failure, error);
    send_back(question);
}

enum error server_ask_locator(struct server *server, struct worker *worker, uint32_t number,
                              struct slice body, link_answer_fn *on_answer, void *arg)
{
    struct question *question = mem_zalloc(sizeof *question);
    if (question == NULL)
        return ERROR_MEMORY;
    errand_begin(server, &question->errand, body);
    if (question->errand.body.failed) {
        errand_end(server, &question->errand);
        return ERROR_MEMORY;
    }
    question->errand.answer = on_loop;
    question->server = server;
    question->loop = worker == NULL ? server->loop : worker->loop;
    question->number = number;
    question->on_answer = on_answer;
    question->arg = arg;
    question->task = (struct loop_task){.on_run = on_main, .arg = question};
    loop_post(server->loop, &question->task);
    return OK;
}
