#include "server/trash.h"

#include "common/mem.h"
#include "server/server.h"

/* Freed at a time: less than LIMIT_SLICE_US. */
#define TRASH_LINES  128u
#define TRASH_GROUPS 500u
#define TRASH_BLOCKS 4u
#define TRASH_SMALL  500u /* entries, or groups, that are freed at once */

struct trash {
    struct trash *next;
    struct table table;
    struct table_cursor freed;
    struct query_state *state; /* or NULL */
    struct ring ring;
};

static void free_one(struct trash *trash)
{
    table_fini(&trash->table);
    query_state_free(trash->state);
    ring_fini(&trash->ring);
    mem_free(trash);
}

static bool free_some(struct trash *trash)
{
    if (trash->state != NULL)
        return query_state_free_some(trash->state, TRASH_GROUPS);
    if (trash->ring.oldest != NULL) {
        for (unsigned i = 0; i < TRASH_BLOCKS && trash->ring.oldest != NULL; i++)
            ring_drop_oldest(&trash->ring);
        return trash->ring.oldest != NULL;
    }
    return table_clear_some(&trash->table, &trash->freed, TRASH_LINES);
}

struct worker *trash_worker(const struct bucket *bucket)
{
    struct server *server = bucket->region->server;
    if (server == NULL || server->worker_count == 0 || server->workers_ended)
        return NULL;
    return &server->workers[bucket->id % server->worker_count];
}

static void empty_trash(void *arg)
{
    struct worker *worker = arg;
    pthread_mutex_lock(&worker->mail_lock);
    struct trash *trash = worker->trash;
    pthread_mutex_unlock(&worker->mail_lock);
    bool more = trash != NULL && free_some(trash);
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

static void add(struct worker *worker, struct trash *trash)
{
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

void trash_table(struct worker *worker, struct table *table)
{
    bool waits = worker != NULL && table->entry_count > TRASH_SMALL;
    struct trash *trash = waits ? trash_new() : NULL;
    if (trash == NULL) {
        table_clear(table);
        return;
    }
    table_swap(table, &trash->table);
    add(worker, trash);
}

void trash_state(struct worker *worker, struct query_state *state)
{
    bool waits = worker != NULL && state != NULL && query_state_group_count(state) > TRASH_SMALL;
    struct trash *trash = waits ? mem_zalloc(sizeof *trash) : NULL;
    if (trash == NULL) {
        query_state_free(state);
        return;
    }
    trash->state = state;
    add(worker, trash);
}

void trash_ring(struct worker *worker, struct ring *ring)
{
    bool waits = worker != NULL && ring->oldest != ring->newest;
    struct trash *trash = waits ? mem_zalloc(sizeof *trash) : NULL;
    if (trash == NULL) {
        ring_fini(ring);
        return;
    }
    trash->ring = *ring;
    ring->oldest = ring->newest = NULL;
    ring->bytes = 0;
    add(worker, trash);
}

void trash_free(struct worker *worker)
{
    while (worker->trash != NULL) {
        struct trash *trash = worker->trash;
        worker->trash = trash->next;
        free_one(trash);
    }
}
