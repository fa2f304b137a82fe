/* A worker: one loop, its connections, one mailbox for what the main loop gives it. */
#include "common/mem.h"
#include "server/ahead.h"
#include "server/ops.h"
#include "server/peers_impl.h"
#include "server/subscription.h"
#include "server/trash.h"

struct worker_socket {
    struct worker_socket *next;
    struct net_socket *socket;
};

static void on_adopt(void *arg)
{
    struct worker *worker = arg;
    struct server *server = worker->server;
    pthread_mutex_lock(&server->lock);
    struct worker_socket *socket = worker->sockets;
    worker->sockets = NULL;
    worker->sockets_end = &worker->sockets;
    worker->adopt_posted = false;
    pthread_mutex_unlock(&server->lock);
    while (socket != NULL) {
        struct worker_socket *next = socket->next;
        enum error error = session_accept(&worker->host, worker->net, socket->socket);
        if (error != OK)
            log_line(server->log, LOG_WARN, "server", "VG1402",
                     "a connection was closed at once: %s", error_text(error));
        mem_free(socket);
        socket = next;
    }
}

static void on_catalog(void *arg)
{
    struct worker *worker = arg;
    struct server *server = worker->server;
    pthread_mutex_lock(&server->lock);
    struct catalog *catalog = worker->catalog_next;
    worker->catalog_next = NULL;
    worker->catalog_posted = false;
    pthread_mutex_unlock(&server->lock);
    if (catalog == NULL)
        return;
    if (worker->catalog == NULL)
        peers_poke(worker); /* they wait to know the cluster */
    catalog_unref(worker->catalog);
    worker->catalog = catalog;
    worker->aheads->catalog = NULL;
    atomic_store(&worker->epoch, catalog->map->epoch);
    pthread_mutex_lock(&server->lock);
    bool post = !server->taken_posted;
    server->taken_posted = true;
    pthread_mutex_unlock(&server->lock);
    if (post)
        loop_post(server->loop, &server->taken_task);
}

static void on_drain(void *arg)
{
    struct worker *worker = arg;
    session_host_finish(&worker->host);
    atomic_fetch_sub(&worker->server->draining_workers, 1);
}

enum error worker_init(struct worker *worker, struct server *server, uint32_t index,
                       struct server_place place, const struct server_options *options)
{
    worker->server = server;
    worker->index = index;
    worker->loop = place.loop;
    worker->net = place.net;
    worker->sockets_end = &worker->sockets;
    worker->adopt_task = (struct loop_task){.on_run = on_adopt, .arg = worker};
    worker->catalog_task = (struct loop_task){.on_run = on_catalog, .arg = worker};
    worker->drain_task = (struct loop_task){.on_run = on_drain, .arg = worker};
    worker->host = (struct session_host){
        .role = SESSION_SERVER,
        .loop = place.loop,
        .log = server->log,
        .operations = server_operations,
        .owner = worker,
        .http_port = options->http_port,
        .connections_max =
            options->connections_max == 0 ? LIMIT_CONNECTIONS : options->connections_max,
        .idle_ms = options->idle_ms == 0 ? LIMIT_IDLE_MS : options->idle_ms,
        .connection_count = &server->connection_count,
        .on_peer = peers_on_peer,
        .on_batch = ahead_batch,
        .on_session_end = subscription_session_end,
    };
    worker->aheads = mem_zalloc(sizeof *worker->aheads);
    if (worker->aheads == NULL)
        return ERROR_MEMORY;
    arena_init(&worker->arena, LIMIT_ARENA_BYTES);
    buf_init(&worker->batch);
    enum error error = call_worker_init(worker);
    if (error == OK)
        error = peers_worker_init(worker);
    return error == OK ? session_host_init(&worker->host) : error;
}

void worker_fini(struct worker *worker)
{
    call_worker_fini(worker);
    trash_free(worker);
    session_host_fini(&worker->host);
    peers_worker_fini(worker);
    subscription_free_reaped(worker);
    while (worker->sockets != NULL) {
        struct worker_socket *socket = worker->sockets;
        worker->sockets = socket->next;
        net_refuse(worker->net, socket->socket);
        mem_free(socket);
    }
    catalog_unref(worker->catalog_next);
    catalog_unref(worker->catalog);
    arena_fini(&worker->arena);
    buf_fini(&worker->batch);
    mem_free(worker->aheads);
}

void worker_give_socket(struct worker *worker, struct net_socket *given)
{
    struct server *server = worker->server;
    struct worker_socket *socket = mem_alloc(sizeof *socket);
    if (socket == NULL) {
        net_refuse(server->net, given);
        return;
    }
    *socket = (struct worker_socket){.socket = given};
    pthread_mutex_lock(&server->lock);
    *worker->sockets_end = socket;
    worker->sockets_end = &socket->next;
    bool post = !worker->adopt_posted;
    worker->adopt_posted = true;
    pthread_mutex_unlock(&server->lock);
    if (post)
        loop_post(worker->loop, &worker->adopt_task);
}

void worker_give_catalog(struct worker *worker, struct catalog *catalog)
{
    struct server *server = worker->server;
    pthread_mutex_lock(&server->lock);
    struct catalog *skipped = worker->catalog_next;
    worker->catalog_next = catalog_ref(catalog);
    bool post = !worker->catalog_posted;
    worker->catalog_posted = true;
    pthread_mutex_unlock(&server->lock);
    catalog_unref(skipped);
    if (post)
        loop_post(worker->loop, &worker->catalog_task);
}

void worker_drain(struct worker *worker)
{
    atomic_fetch_add(&worker->server->draining_workers, 1);
    loop_post(worker->loop, &worker->drain_task);
}
