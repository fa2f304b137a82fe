#include "server/server.h"

#include <stdio.h>

#include "common/mem.h"
#include "server/rows.h"
#include "server/subscription.h"

#define UPKEEP_US    1000000
#define DRAIN_US     2000000
#define HAND_OVER_US 10000000
#define LOCATOR_US   5000000 /* a server that ends waits so long for a locator */
#define TICK_US      50000

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
        region_destroy(region);
        call_on_destroyed(region);
        ended = true;
    }
    if (ended)
        registry_each(server, wake_instance, NULL);
}

static enum error take_map(struct server *server, struct cluster_map *map)
{
    struct catalog *catalog;
    /* A promise that is made from here on carries the new epoch. */
    atomic_store(&server->announced_epoch, map->epoch);
    enum error error = peers_adopt(server, map);
    if (error == OK)
        error = catalog_new(server->catalog, map, server, server->hash_seed, server->log, &catalog);
    if (error != OK)
        return error;
    struct catalog *old = server->catalog;
    registry_adopt(server, catalog);
    for (uint32_t i = 0; i < catalog->region_count; i++)
        region_adopt(catalog->regions[i], map);
    pthread_mutex_lock(&server->lock);
    server->catalog = catalog;
    pthread_mutex_unlock(&server->lock);
    atomic_store(&server->adopted_epoch, map->epoch);
    end_regions(server, old, catalog);
    registry_reconcile(server);
    catalog_unref(old);
    for (uint32_t i = 0; i < server->worker_count; i++)
        worker_give_catalog(&server->workers[i], catalog);
    return OK;
}

void server_adopt_map(struct server *server, struct cluster_map *map)
{
    if (server->catalog != NULL && map->epoch <= server->catalog->map->epoch) {
        if (server->link != NULL)
            link_acknowledge(server->link, server->catalog->map->epoch);
        return;
    }
    enum error error = take_map(server, map);
    struct cluster_map *waiting = error == OK ? NULL : cluster_map_ref(map);
    if (error != OK && server->map_waiting == NULL)
        log_line(server->log, LOG_ERROR, "server", "VG1403",
                 "the cluster map of epoch %llu could not be taken: %s; the server goes on with "
                 "the one before and tries again",
                 (unsigned long long)map->epoch, error_text(error));
    cluster_map_unref(server->map_waiting);
    server->map_waiting = waiting;
}

static void on_map(void *arg, struct cluster_map *map)
{
    server_adopt_map(arg, map);
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

static struct cluster_map *on_map_wanted(void *arg)
{
    const struct server *server = arg;
    return server->catalog == NULL ? NULL : server->catalog->map;
}

static void on_load(void *arg, struct link_load *load)
{
    server_load(arg, load);
}

/* ---- Clients ---- */

static void on_accept(void *arg, struct net_socket *socket)
{
    struct server *server = arg;
    if (server->drain_phase == DRAIN_SESSIONS) {
        net_refuse(server->net, socket);
        return;
    }
    worker_give_socket(&server->workers[server->next_worker], socket);
    server->next_worker = (server->next_worker + 1) % server->worker_count;
}

/* Nobody needs this server any more: no lease counts from here on, sessions end. */
static void drain_sessions(struct server *server)
{
    server->drain_phase = DRAIN_SESSIONS;
    server->drain_deadline_us = loop_now_us(server->loop) + DRAIN_US;
    atomic_store(&server->leases_dropped, true);
    for (uint32_t i = 0; i < server->worker_count; i++)
        worker_drain(&server->workers[i]);
    loop_timer_set(&server->upkeep, 1000);
}

/* Only a locator can give what is held here to others. Waiting costs nobody anything: the server
 * goes on serving. */
static void drain_without_locator(struct server *server, uint64_t now_us)
{
    if (server->locator_wait_us == 0) {
        server->locator_wait_us = now_us;
        log_line(server->log, LOG_WARN, "server", "VG1408",
                 "is to end, and no locator is connected, without which nothing can be handed over "
                 "to other servers; waits up to 5 s for one");
    } else if (now_us - server->locator_wait_us >= LOCATOR_US) {
        log_line(server->log, LOG_WARN, "server", "VG1409",
                 "no locator came within 5 s; ends without handing over: the other servers take "
                 "over what they have copies of when a locator is back");
        drain_sessions(server);
    }
}

/* Buckets move to others while the server goes on serving. */
static void drain_turn(struct server *server, uint64_t now_us)
{
    if (server_has_handed_over(server)) {
        drain_sessions(server);
    } else if (!link_is_up(server->link)) {
        drain_without_locator(server, now_us);
    } else if (now_us >= server->drain_deadline_us) {
        log_line(server->log, LOG_WARN, "server", "VG1404",
                 "not everything that this server holds could be moved to other servers within "
                 "10 s; it ends all the same");
        drain_sessions(server);
    } else {
        server_hand_over(server, now_us);
    }
}

static void on_upkeep(void *arg)
{
    struct server *server = arg;
    if (server->drain_phase == DRAIN_SESSIONS) {
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

/* A bounded number of buckets in each turn, so that the cost at rest does not grow with regions. */
static void tick_buckets(struct server *server, uint64_t now_us)
{
    const struct catalog *catalog = server->catalog;
    uint32_t left = LIMIT_TICK_BUCKETS;
    for (uint32_t r = 0; r < catalog->region_count && left > 0; r++) {
        if (server->tick_region >= catalog->region_count)
            server->tick_region = server->tick_bucket = 0;
        struct region *region = catalog->regions[server->tick_region];
        while (server->tick_bucket < region->bucket_count && left > 0) {
            struct bucket *bucket = &region->buckets[server->tick_bucket++];
            bucket_lock(bucket);
            replica_tick_locked(bucket, now_us);
            call_tick_locked(bucket, now_us);
            bucket_unlock(bucket);
            left--;
        }
        if (server->tick_bucket >= region->bucket_count) {
            server->tick_region++;
            server->tick_bucket = 0;
        }
    }
}

static void on_tick(void *arg)
{
    struct server *server = arg;
    uint64_t now_us = loop_clock_us(server->loop);
    if (server->tick_due_us != 0 && now_us > server->tick_due_us &&
        now_us - server->tick_due_us > atomic_load(&server->stall_us))
        atomic_store(&server->stall_us, now_us - server->tick_due_us);
    if (server->map_waiting != NULL) {
        struct cluster_map *map = cluster_map_ref(server->map_waiting);
        server_adopt_map(server, map);
        cluster_map_unref(map);
    }
    if (server->catalog != NULL) {
        tick_buckets(server, now_us);
        rows_tick(server, now_us);
    }
    if (server->drain_phase == DRAIN_HAND_OVER)
        drain_turn(server, now_us);
    server->tick_due_us = now_us + TICK_US;
    loop_timer_set(&server->tick, TICK_US);
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
    snprintf(server->host, sizeof server->host, "%s",
             options->hostname_for_clients == NULL ? address.host : options->hostname_for_clients);
    server->port = address.port;
    struct link_options link = {
        .locators = options->locators,
        .locator_count = options->locator_count,
        .name = server->name,
        .incarnation = server->incarnation,
        .host = server->host,
        .port = server->port,
        .http_port = options->http_port,
        .groups = options->groups == NULL ? "" : options->groups,
        .wait_ms = options->locator_wait_ms,
    };
    static const struct link_events events = {.on_map = on_map,
                                              .on_refused = on_refused,
                                              .on_confirmed = on_confirmed,
                                              .on_stop = on_stop,
                                              .load = on_load,
                                              .map = on_map_wanted,
                                              .on_call = server_on_call,
                                              .on_seal = server_on_seal,
                                              .on_place = server_on_place};
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
    rows_init(made);
    outbox_init(made);
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
        error = loop_timer_init(&made->tick, main.loop, on_tick, made);
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
    loop_timer_set(&made->tick, TICK_US);
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
    server->drain_deadline_us = loop_now_us(server->loop) + HAND_OVER_US;
    server->drain_phase = DRAIN_HAND_OVER;
    link_leave(server->link);
    drain_turn(server, loop_now_us(server->loop));
}

void server_free(struct server *server)
{
    if (server == NULL)
        return;
    if (server->link != NULL)
        link_free(server->link);
    server->link = NULL;
    errand_fail_all(server);
    if (server->listener != NULL)
        net_listener_close(server->listener);
    loop_timer_fini(&server->upkeep);
    loop_timer_fini(&server->tick);
    peers_free(server);
    call_free_server(server);
    server->workers_ended = true;
    for (uint32_t i = 0; i < server->worker_count; i++)
        worker_fini(&server->workers[i]);
    registry_free(server);
    rows_free(server);
    catalog_unref(server->catalog);
    cluster_map_unref(server->map_waiting);
    outbox_fini(server);
    server_load_free(server);
    mem_free(server->workers);
    pthread_mutex_destroy(&server->lock);
    mem_free(server);
}
