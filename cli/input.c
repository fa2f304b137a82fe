#include "cli/input.h"

#include "common/mem.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

struct input {
    struct loop *loop;
    int fd;
    struct input_events events;
    void *arg;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool wanted, stop; /* guarded by `lock` */
    ssize_t got;
    int error_number;
    struct loop_task task;
    uint8_t data[64 * 1024];
};

static void on_read(void *arg)
{
    struct input *input = arg;
    if (input->got > 0)
        input->events.on_chunk(input->arg, slice_of(input->data, (size_t)input->got));
    else
        input->events.on_end(input->arg, input->error_number);
}

static void *read_chunks(void *arg)
{
    struct input *input = arg;
    int old = 0;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
    for (;;) {
        pthread_mutex_lock(&input->lock);
        while (!input->wanted && !input->stop)
            pthread_cond_wait(&input->changed, &input->lock);
        bool stop = input->stop;
        input->wanted = false;
        pthread_mutex_unlock(&input->lock);
        if (stop)
            return NULL;
        pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &old); /* nothing is held here */
        do
            input->got = read(input->fd, input->data, sizeof input->data);
        while (input->got < 0 && errno == EINTR);
        pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
        input->error_number = input->got < 0 ? errno : 0;
        loop_post(input->loop, &input->task);
        if (input->got <= 0)
            return NULL;
    }
}

enum error input_new(struct loop *loop, int fd, const struct input_events *events, void *arg,
                     struct input **out)
{
    struct input *input = mem_zalloc(sizeof *input);
    if (input == NULL)
        return ERROR_MEMORY;
    input->loop = loop;
    input->fd = fd;
    input->events = *events;
    input->arg = arg;
    input->task = (struct loop_task){.on_run = on_read, .arg = input};
    pthread_mutex_init(&input->lock, NULL);
    pthread_cond_init(&input->changed, NULL);
    if (pthread_create(&input->thread, NULL, read_chunks, input) != 0) {
        pthread_cond_destroy(&input->changed);
        pthread_mutex_destroy(&input->lock);
        mem_free(input);
        return ERROR_IO;
    }
    *out = input;
    return OK;
}

void input_free(struct input *input)
{
    pthread_mutex_lock(&input->lock);
    input->stop = true;
    pthread_cond_signal(&input->changed);
    pthread_mutex_unlock(&input->lock);
    pthread_cancel(input->thread);
    pthread_join(input->thread, NULL);
    pthread_cond_destroy(&input->changed);
    pthread_mutex_destroy(&input->lock);
    mem_free(input);
}

void input_next(struct input *input)
{
    pthread_mutex_lock(&input->lock);
    input->wanted = true;
    pthread_cond_signal(&input->changed);
    pthread_mutex_unlock(&input->lock);
}
