#include "server/server.h"

#include "common/mem.h"
#include "server/subscription.h"

#define UPKEEP_US 1000000
#define DRAIN_US  2000000

/* ---- Catalogs ---- */

static void wake_instance(void *arg, struct cq_instance *instance)
{
    (void)arg;
    if (atomic_load(&instance->region->destroyed))
        subscription_notify_all(instance, UINT32_MAX);
}

/* A region that the newer catalog does not have is destroyed: its operations are refused and its
 * subscribers told. */
static void end_regions(struct server *server, const struct catalog *old, const struct catalog *now)
{
    bool ended = false;
    for (uint32_t i = 0; old != NULL && i < old->region_count; i++) {
        struct region *region = old->regions[i];
        if (catalog_region(now, slice_text(region->name)) == region)
            continue;
        atomic_store(&region->destroyed, true);
        ended = true;
    }
    if (ended)
        registry_each(server, wake_instance, NULL);
}

static void on_map(void *arg, struct cluster_map *map)
{
    struct server *server = arg;
    struct catalog *catalog;
    if (server->catalog != NULL && map->epoch <= server->catalog->map->epoch) {
        link_acknowledge(server->link, server->catalog->map->epoch);
        return;
    }
    enum error error = catalog_new(server->catalog, map, server, server->hash_seed, server->log, &catalog);
    if (error != OK) {
        log_line(server->log, LOG_ERROR, "server", "VG1403",
                 "the cluster map of epoch %llu could not be taken: %s; the server goes on with "
                 "the one before",
                 (unsigned long long)map->epoch, error_text(error));
        return;
    }
    struct catalog *old = server->catalog;
    server->catalog = catalog;
    registry_adopt(server, catalog);
    end_regions(server, old, catalog);
    registry_reconcile(server);
    catalog_unref(old);
    for (uint32_t i = 0; i < server->worker_count; i++)
        worker_give_catalog(&server->workers[i], catalog);
}

/* Every worker serves from this epoch on: the locator may tell its client that the region is there.
 */
static void on_taken(void *arg)
{
    struct server *server = arg;
    pthread_mutex_lock(&server->lock);
    server->taken_posted = false;
    pthread_mutex_unlock(&server->lock);
    uint64_t epoch = UINT64_MAX;
    for (uint32_t i = 0; i < server->worker_count; i++) {
        uint64_t own = atomic_load(&server->workers[i].epoch);
        if (own < epoch)
            epoch = own;
    }
    if (epoch == 0 || server->link == NULL)
        return;
    link_acknowledge(server->link, epoch);
}

/* ---- Events of the link ---- */

static void on_refused(void *arg, enum error why, const char *text)
{
    struct server *server = arg;
    server->events.on_refused(server->arg, why, text);
}

static void on_confirmed(void *arg)
{
    struct server *server = arg;
    if (server->is_ready || server->is_draining)
        return;
    server->is_ready = true;
    server->events.on_ready(server->arg);
}

static void on_stop(void *arg)
{
    struct server *server = arg;
    server->events.on_stop_requested(server->arg);
}

static void on_load(void *arg, struct link_load *load)
{
    server_load(arg, load);
}

/* ---- Clients ---- */

static void on_accept(void *arg, struct net_socket *socket)
{
    struct server *server = arg;
    if (server->is_draining) {
        net_refuse(server->net, socket);
        return;
    }
    worker_give_socket(&server->workers[server->next_worker], socket);
    server->next_worker = (server->next_worker + 1) % server->worker_count;
}

static void on_upkeep(void *arg)
{
    struct server *server = arg;
    if (server->is_draining) {
        bool ended = atomic_load(&server->draining_workers) == 0 &&
                     atomic_load(&server->connection_count) == 0;
        if (ended || loop_now_us(server->loop) >= server->drain_deadline_us) {
            server->on_drained(server->drained_arg);
            return;
        }
        loop_timer_set(&server->upkeep, 5000);
        return;
    }
    registry_upkeep(server);
    loop_timer_set(&server->upkeep, UPKEEP_US);
}

/* ---- Life ---- */

static enum error start_workers(struct server *server, const struct server_options *options,
                                const struct server_place *workers, uint32_t worker_count)
{
    server->workers = mem_array(worker_count, sizeof *server->workers);
    if (server->workers == NULL)
        return ERROR_MEMORY;
    for (uint32_t i = 0; i < worker_count; i++) {
        enum error error = worker_init(&server->workers[i], server, i, workers[i], options);
        server->worker_count++;
        if (error != OK)
            return error;
    }
    return OK;
}

static enum error start_link(struct server *server, const struct server_options *options)
{
    struct net_address address = server_address(server);
    struct link_options link = {
        .locators = options->locators,
        .locator_count = options->locator_count,
        .name = server->name,
        .incarnation = server->incarnation,
        .host =
            options->hostname_for_clients == NULL ? address.host : options->hostname_for_clients,
        .port = address.port,
        .http_port = options->http_port,
        .groups = options->groups == NULL ? "" : options->groups,
        .wait_ms = options->locator_wait_ms,
    };
    static const struct link_events events = {.on_map = on_map,
                                              .on_refused = on_refused,
                                              .on_confirmed = on_confirmed,
                                              .on_stop = on_stop,
                                              .load = on_load,
                                              .on_call = server_on_call};
    return link_new(server->loop, server->net, server->log, &link, &events, server, &server->link);
}

enum error server_new(const struct server_options *options, struct server_place main,
                      const struct server_place *workers, uint32_t worker_count, struct log *log,
                      const struct server_events *events, void *arg, struct server **server)
{
    PRE(worker_count > 0);
    struct server *made = mem_zalloc(sizeof *made);
    if (made == NULL)
        return ERROR_MEMORY;
    pthread_mutex_init(&made->lock, NULL);
    made->loop = main.loop;
    made->net = main.net;
    made->log = log;
    made->events = *events;
    made->arg = arg;
    made->started_us = loop_now_us(main.loop);
    made->budget.ring_bytes_max =
        options->ring_bytes_max == 0 ? LIMIT_RING_BYTES : options->ring_bytes_max;
    registry_init(made);
    made->taken_task = (struct loop_task){.on_run = on_taken, .arg = made};
    size_t name_len = strlen(options->name);
    memcpy(made->name, options->name, name_len < LIMIT_NAME_BYTES ? name_len : LIMIT_NAME_BYTES);
    loop_random(main.loop, &made->hash_seed, sizeof made->hash_seed);
    loop_random(main.loop, &made->incarnation, sizeof made->incarnation);

    enum error error = loop_timer_init(&made->upkeep, main.loop, on_upkeep, made);
    if (error == OK)
        error = start_workers(made, options, workers, worker_count);
    if (error == OK)
        error = net_listen(main.net, options->bind_address, options->port, on_accept, made,
                           &made->listener);
    if (error == OK)
        error = start_link(made, options);
    if (error != OK) {
        server_free(made);
        return error;
    }
    loop_timer_set(&made->upkeep, UPKEEP_US);
    *server = made;
    return OK;
}

struct net_address server_address(const struct server *server)
{
    return net_listener_address(server->listener);
}

void server_drain(struct server *server, void (*on_drained)(void *arg), void *arg)
{
    PRE(!server->is_draining);
    server->is_draining = true;
    server->on_drained = on_drained;
    server->drained_arg = arg;
    server->drain_deadline_us = loop_now_us(server->loop) + DRAIN_US;
    link_leave(server->link);
    for (uint32_t i = 0; i < server->worker_count; i++)
        worker_drain(&server->workers[i]);
    loop_timer_set(&server->upkeep, 1000);
}

void server_free(struct server *server)
{
    if (server == NULL)
        return;
    if (server->link != NULL)
        link_free(server->link);
    server->link = NULL;
    if (server->listener != NULL)
        net_listener_close(server->listener);
    loop_timer_fini(&server->upkeep);
    for (uint32_t i = 0; i < server->worker_count; i++)
        worker_fini(&server->workers[i]);
    registry_free(server);
    catalog_unref(server->catalog);
    server_load_free(server);
    mem_free(server->workers);
    pthread_mutex_destroy(&server->lock);
    mem_free(server);
}
