#include <pthread.h>
#include <string.h>

#include "common/buf.h"
#include "common/mem.h"
#include "locator/map_file.h"
#include "locator/map_store.h"

/* One request at a time goes to the thread and comes back:
 *
 *   loop: store() -- request, signal --> thread: map_file_store() -- loop_post(done) --> loop:
 * on_stored()
 *
 * The thread is joined before the handle is given up, so only `done` can still be queued in the
 * loop then; it frees what is left. */
enum request { REQUEST_NONE, REQUEST_LOAD, REQUEST_STORE };

struct file_store {
    struct map_store base;
    struct loop *loop;
    struct map_file *file; /* the thread's while a request is under way */
    pthread_t thread;
    pthread_mutex_t mutex; /* guards `request` and `stop` alone */
    pthread_cond_t changed;
    enum request request;
    bool stop; /* once nothing is requested any more */

    /* Written by one side before it hands over to the other. */
    enum request answered;
    uint64_t expected_epoch, epoch;
    struct buf bytes;
    enum error error;
    struct map_problem problem;

    /* The loop's side. */
    struct loop_task done;
    bool under_way;
    bool closed;
    map_store_loaded_fn *on_loaded;
    map_store_stored_fn *on_stored;
    void *arg;
};

static void serve(struct file_store *store, enum request request)
{
    store->error = OK;
    if (request == REQUEST_LOAD) {
        buf_clear(&store->bytes);
        store->error = map_file_load(store->file, &store->bytes, &store->epoch, &store->problem);
    } else {
        store->error = map_file_store(store->file, store->expected_epoch, store->epoch,
                                      buf_slice(&store->bytes), &store->problem);
    }
    store->answered = request;
    loop_post(store->loop, &store->done);
}

static void *thread_main(void *arg)
{
    struct file_store *store = arg;
    for (;;) {
        pthread_mutex_lock(&store->mutex);
        while (store->request == REQUEST_NONE && !store->stop)
            pthread_cond_wait(&store->changed, &store->mutex);
        enum request request = store->request;
        store->request = REQUEST_NONE;
        pthread_mutex_unlock(&store->mutex);
        if (request == REQUEST_NONE)
            return NULL;
        serve(store, request);
    }
}

static void hand_over(struct file_store *store, enum request request)
{
    pthread_mutex_lock(&store->mutex);
    store->request = request;
    pthread_cond_signal(&store->changed);
    pthread_mutex_unlock(&store->mutex);
}

static void release(struct file_store *store)
{
    buf_fini(&store->bytes);
    pthread_cond_destroy(&store->changed);
    pthread_mutex_destroy(&store->mutex);
    mem_free(store);
}

static void on_done(void *arg)
{
    struct file_store *store = arg;
    store->under_way = false;
    if (store->closed) {
        release(store);
        return;
    }
    const struct map_problem *problem = store->error == OK ? NULL : &store->problem;
    if (store->answered == REQUEST_LOAD)
        store->on_loaded(store->arg, problem, store->epoch, buf_slice(&store->bytes));
    else
        store->on_stored(store->arg, problem);
}

static enum error file_store_load(struct map_store *base, map_store_loaded_fn *on_loaded, void *arg)
{
    struct file_store *store = (struct file_store *)base;
    PRE(!store->under_way && !store->closed);
    store->under_way = true;
    store->on_loaded = on_loaded;
    store->arg = arg;
    hand_over(store, REQUEST_LOAD);
    return OK;
}

static enum error file_store_store(struct map_store *base, uint64_t expected_epoch, uint64_t epoch,
                                   struct slice bytes, map_store_stored_fn *on_stored, void *arg)
{
    struct file_store *store = (struct file_store *)base;
    PRE(!store->under_way && !store->closed && epoch > expected_epoch &&
        bytes.len <= LIMIT_MAP_BYTES);
    buf_clear(&store->bytes);
    buf_append_slice(&store->bytes, bytes);
    if (store->bytes.failed)
        return ERROR_MEMORY;
    store->under_way = true;
    store->expected_epoch = expected_epoch;
    store->epoch = epoch;
    store->on_stored = on_stored;
    store->arg = arg;
    hand_over(store, REQUEST_STORE);
    return OK;
}

/* Waits for a request under way: the file must be whole and its lock free when this returns. */
static void file_store_free(struct map_store *base)
{
    struct file_store *store = (struct file_store *)base;
    pthread_mutex_lock(&store->mutex);
    store->stop = true;
    pthread_cond_signal(&store->changed);
    pthread_mutex_unlock(&store->mutex);
    pthread_join(store->thread, NULL);
    map_file_close(store->file);
    store->closed = true;
    if (!store->under_way)
        release(store);
}

static const struct map_store_ops file_store_ops = {
    .load = file_store_load,
    .store = file_store_store,
    .free = file_store_free,
};

enum error map_store_file_new_with(struct loop *loop, const char *directory,
                                   const struct map_file_ops *ops, void *ops_arg,
                                   struct map_store **out, struct map_problem *problem)
{
    enum error error = ERROR_MEMORY;
    struct file_store *store = mem_zalloc(sizeof(*store));
    if (store == NULL) {
        map_problem_set(problem, ERROR_MEMORY, "There is not enough memory for the map store.");
        return ERROR_MEMORY;
    }
    store->base.ops = &file_store_ops;
    store->loop = loop;
    store->done = (struct loop_task){.on_run = on_done, .arg = store};
    buf_init(&store->bytes);
    pthread_mutex_init(&store->mutex, NULL);
    pthread_cond_init(&store->changed, NULL);
    error = map_file_open(directory, ops, ops_arg, &store->file, problem);
    if (error != OK)
        goto err_after_store;
    if (pthread_create(&store->thread, NULL, thread_main, store) != 0) {
        error = ERROR_LIMIT;
        map_problem_set(problem, ERROR_LIMIT,
                        "No thread for the map store could be started: the limit of threads or of "
                        "memory is reached.");
        goto err_after_file;
    }
    *out = &store->base;
    return OK;

err_after_file:
    map_file_close(store->file);
err_after_store:
    release(store);
    return error;
}

enum error map_store_file_new(struct loop *loop, const char *directory, struct map_store **store,
                              struct map_problem *problem)
{
    return map_store_file_new_with(loop, directory, &map_file_system, NULL, store, problem);
}
