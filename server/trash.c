#include "server/trash.h"

#include "common/mem.h"
#include "server/server.h"

#define TRASH_LINES 128u /* freed at a time: less than LIMIT_SLICE_US */
#define TRASH_SMALL 500u /* entries that are freed at once */

struct trash {
    struct trash *next;
    struct table table;
    struct table_cursor freed;
};

static void free_one(struct trash *trash)
{
    table_fini(&trash->table);
    mem_free(trash);
}

static void empty_trash(void *arg)
{
    struct worker *worker = arg;
    pthread_mutex_lock(&worker->mail_lock);
    struct trash *trash = worker->trash;
    pthread_mutex_unlock(&worker->mail_lock);
    bool more = trash != NULL && table_clear_some(&trash->table, &trash->freed, TRASH_LINES);
    pthread_mutex_lock(&worker->mail_lock);
    if (trash != NULL && !more) {
        /* New ones come in at the front. */
        struct trash **at = &worker->trash;
        while (*at != trash)
            at = &(*at)->next;
        *at = trash->next;
    }
    worker->trash_posted = worker->trash != NULL;
    if (worker->trash_posted)
        loop_post(worker->loop, &worker->trash_task);
    pthread_mutex_unlock(&worker->mail_lock);
    if (trash != NULL && !more)
        free_one(trash);
}

static struct trash *trash_new(void)
{
    struct trash *trash = mem_zalloc(sizeof *trash);
    if (trash != NULL && table_init(&trash->table) != OK) {
        mem_free(trash);
        trash = NULL;
    }
    return trash;
}

void trash_table(struct worker *worker, struct table *table)
{
    bool waits = worker != NULL && table->entry_count > TRASH_SMALL;
    struct trash *trash = waits ? trash_new() : NULL;
    if (trash == NULL) {
        table_clear(table);
        return;
    }
    table_swap(table, &trash->table);
    pthread_mutex_lock(&worker->mail_lock);
    trash->next = worker->trash;
    worker->trash = trash;
    if (!worker->trash_posted) {
        worker->trash_posted = true;
        worker->trash_task.on_run = empty_trash;
        worker->trash_task.arg = worker;
        loop_post(worker->loop, &worker->trash_task);
    }
    pthread_mutex_unlock(&worker->mail_lock);
}

void trash_free(struct worker *worker)
{
    while (worker->trash != NULL) {
        struct trash *trash = worker->trash;
        worker->trash = trash->next;
        free_one(trash);
    }
}
