/* What the server tells of itself: in beacons, to /metrics; and the call of a locator that it
 * executes. */
#include <inttypes.h>

#include "common/mem.h"
#include "protocol/message.h"
#include "server/ops.h"

#define LOAD_FRESH_US 200000

enum { REBALANCE = 1026 };

struct server_load {
    uint64_t made_us;
    struct link_load total;
    struct link_region_load *regions;
    uint64_t *linked;
};

/* The servers that our replication links go to. */
static void measure_links(struct server *server, struct server_load *load)
{
    uint32_t count = 0, at = 0;
    for (struct peer *peer = server->peers; peer != NULL; peer = peer->next)
        count++; /* this loop alone changes the list */
    uint64_t *linked = mem_realloc(load->linked, (count + 1) * sizeof *linked);
    if (linked == NULL)
        return;
    load->linked = linked;
    for (struct peer *peer = server->peers; peer != NULL; peer = peer->next)
        if (atomic_load(&peer->replication_up))
            linked[at++] = peer->incarnation;
    load->total.linked = linked;
    load->total.linked_count = at;
}

/* A region's load is that of the buckets led here; the server's own is all that it holds. */
static void measure_bucket(struct bucket *bucket, struct link_load *total,
                           struct link_region_load *region)
{
    bucket_lock(bucket);
    bool leads = bucket->replica.role == REPLICA_PRIMARY;
    bool holds = bucket->replica.role != REPLICA_NONE;
    uint64_t moving = 0;
    for (uint32_t i = 0; i < bucket->replica.copy_count; i++)
        moving += bucket->replica.copies[i]->state != COPY_IN_SYNC;
    uint64_t entries = bucket->table.entry_count, bytes = bucket->table.bytes;
    bucket_unlock(bucket);
    region->entries += leads ? entries : 0;
    region->bytes += leads ? bytes : 0;
    total->entries += entries;
    total->bytes += bytes;
    total->primaries += leads;
    total->buckets += holds;
    total->moving += moving;
}

static void measure(struct server *server, struct server_load *load)
{
    const struct catalog *catalog = server->catalog;
    load->total =
        (struct link_load){.clients = atomic_load(&server->connection_count),
                           .uptime_s = (loop_now_us(server->loop) - server->started_us) / 1000000};
    load->total.loop_stall_us = peers_stall_us(server, true);
    if (load->total.loop_stall_us > server->stall_max_us)
        server->stall_max_us = load->total.loop_stall_us;
    measure_links(server, load);
    if (catalog == NULL)
        return;
    struct link_region_load *regions =
        mem_realloc(load->regions, (catalog->region_count + 1) * sizeof *regions);
    if (regions == NULL)
        return;
    load->regions = regions;
    for (uint32_t i = 0; i < catalog->region_count; i++) {
        struct region *region = catalog->regions[i];
        regions[i] = (struct link_region_load){.region_id = region->id};
        for (uint32_t b = 0; b < region->bucket_count; b++)
            measure_bucket(&region->buckets[b], &load->total, &regions[i]);
    }
    load->total.regions = regions;
    load->total.region_count = catalog->region_count;
}

void server_load(struct server *server, struct link_load *load)
{
    uint64_t now_us = loop_now_us(server->loop);
    if (server->load == NULL)
        server->load = mem_zalloc(sizeof *server->load);
    *load = (struct link_load){.clients = atomic_load(&server->connection_count)};
    if (server->load == NULL)
        return;
    if (server->load->made_us == 0 || now_us - server->load->made_us >= LOAD_FRESH_US) {
        measure(server, server->load);
        server->load->made_us = now_us;
    }
    *load = server->load->total;
    load->clients = atomic_load(&server->connection_count);
}

void server_load_free(struct server *server)
{
    if (server->load != NULL) {
        mem_free(server->load->regions);
        mem_free(server->load->linked);
    }
    mem_free(server->load);
    server->load = NULL;
}

/* ---- A region is cleared for a locator ---- */

/* main loop -> worker: a gather over all buckets -> main loop: the answer */
struct clear_job {
    struct server *server;
    struct region *region; /* a reference */
    uint64_t id, entries;
    bool failed;
    struct failure failure;
    struct loop_task task;
};

static void on_clear_done(void *arg)
{
    struct clear_job *job = arg;
    Pb__RegionClearResponse response = PB__REGION_CLEAR_RESPONSE__INIT;
    uint8_t packed[16];
    response.entries = job->entries;
    size_t len = protobuf_c_message_pack(&response.base, packed);
    if (job->server->link != NULL)
        link_answer(job->server->link, job->id, job->failed ? &job->failure : NULL, 1031,
                    slice_of(packed, job->failed ? 0 : len));
    region_unref(job->region);
    mem_free(job);
}

static void end_clear(struct clear_job *job, const struct failure *failure)
{
    job->failed = failure != NULL;
    if (failure != NULL)
        job->failure = *failure;
    job->task.on_run = on_clear_done;
    loop_post(job->server->loop, &job->task);
}

static void on_part(struct gather *gather, struct gather_part *part)
{
    if (part->result.error != OK)
        gather_fail(gather, &part->result);
    if (part->options.kind == CALL_COUNT)
        gather->total += part->result.count;
}

static void on_end(struct gather *gather)
{
    struct clear_job *job = gather->arg;
    job->entries = gather->total;
    end_clear(job, gather->failed ? &gather->failure : NULL);
    gather_free(gather);
}

static void on_clear_start(void *arg)
{
    struct clear_job *job = arg;
    struct failure failure;
    struct gather *gather =
        gather_new(&job->server->workers[0], job->region, OP_WINDOW_KEYS, on_part, on_end);
    enum error error = gather == NULL ? ERROR_MEMORY : op_clear_add(gather);
    if (error == OK) {
        gather->arg = job;
        gather_run(gather);
        return;
    }
    if (gather != NULL)
        gather_free(gather);
    failure_of_error(&failure, error);
    end_clear(job, &failure);
}

/* A rebalance for a locator that this server does not follow: the one that it follows does it. */
struct relay {
    struct server *server;
    uint64_t id;
};

static void on_relayed(void *arg, const struct failure *failure, uint32_t number, struct slice body)
{
    struct relay *relay = arg;
    link_answer(relay->server->link, relay->id, failure, number, body);
    mem_free(relay);
}

static void relay_rebalance(struct server *server, uint64_t id, struct slice body)
{
    struct failure failure;
    struct relay *relay = mem_zalloc(sizeof *relay);
    enum error error = ERROR_MEMORY;
    if (relay != NULL) {
        *relay = (struct relay){.server = server, .id = id};
        error = link_call(server->link, REBALANCE, body, on_relayed, relay);
    }
    if (error == OK)
        return;
    mem_free(relay);
    failure_of_error(&failure, error);
    link_answer(server->link, id, &failure, REBALANCE + 1, slice_of(NULL, 0));
}

void server_on_call(void *arg, uint64_t id, uint32_t number, struct slice body)
{
    struct server *server = arg;
    if (number == REBALANCE) {
        relay_rebalance(server, id, body);
        return;
    }
    struct arena arena;
    ProtobufCMessage *message;
    struct failure failure;
    arena_init(&arena, LIMIT_PEER_MESSAGE_BYTES);
    struct region *region = NULL;
    enum error error = number == 1030 ? message_unpack(&pb__region_clear_request__descriptor,
                                                       &arena, body, &message)
                                      : ERROR_UNSUPPORTED;
    if (error == OK) {
        struct slice name = message_slice(((const Pb__RegionClearRequest *)message)->name);
        failure_of_error(&failure, ERROR_NO_SERVER);
        region = server->catalog == NULL ? NULL : catalog_resolve(server->catalog, name, &failure);
    } else {
        failure_of_error(&failure, error);
    }
    struct clear_job *job = region == NULL ? NULL : mem_zalloc(sizeof *job);
    if (region != NULL && job == NULL)
        failure_of_error(&failure, ERROR_MEMORY);
    if (job == NULL) {
        link_answer(server->link, id, &failure, 1031, slice_of(NULL, 0));
    } else {
        *job = (struct clear_job){.server = server, .region = region_ref(region), .id = id};
        job->task = (struct loop_task){.on_run = on_clear_start, .arg = job};
        loop_post(server->workers[0].loop, &job->task);
    }
    arena_fini(&arena);
}

struct instance_totals {
    uint64_t count, ring_bytes;
};

static void count_instance(void *arg, struct cq_instance *instance)
{
    struct instance_totals *totals = arg;
    totals->count++;
    totals->ring_bytes += atomic_load(&instance->ring_bytes);
}

void server_stats(struct server *server, struct server_stats *stats)
{
    struct link_load load;
    struct instance_totals totals = {0};
    server_load(server, &load);
    registry_each(server, count_instance, &totals);
    *stats = (struct server_stats){.regions = load.region_count,
                                   .entries = load.entries,
                                   .bytes = load.bytes,
                                   .connections = atomic_load(&server->connection_count),
                                   .subscriptions = atomic_load(&server->subscription_count),
                                   .instances = totals.count,
                                   .ring_bytes = totals.ring_bytes};
    for (uint32_t i = 0; i < server->worker_count; i++) {
        const struct session_counters *counters = &server->workers[i].host.counters;
        stats->connections_total += counters->connection_starts;
        stats->messages_received += counters->messages_received;
        stats->messages_sent += counters->messages_sent;
        stats->bytes_received += counters->bytes_received;
        stats->bytes_sent += counters->bytes_sent;
        stats->events_pushed += atomic_load(&server->workers[i].events_pushed);
    }
}

struct peer_totals {
    uint64_t up, leases, gone, silent_us;
};

static struct peer_totals count_peers(struct server *server)
{
    struct peer_totals totals = {0};
    uint64_t now_us = loop_clock_us(server->loop);
    for (struct peer *peer = server->peers; peer != NULL; peer = peer->next) {
        totals.up += atomic_load(&peer->replication_up) && atomic_load(&peer->requests_up);
        totals.leases += peer_lease_holds(peer, now_us);
        totals.gone += atomic_load(&peer->gone);
        uint64_t heard_us = atomic_load(&peer->heard_us);
        if (!atomic_load(&peer->gone) && heard_us != 0 && now_us > heard_us + totals.silent_us)
            totals.silent_us = now_us - heard_us;
    }
    return totals;
}

/* Its copies or its primary are about to be others, as far as this server had to do with it. */
static bool is_changing(struct bucket *bucket)
{
    const struct replica *replica = &bucket->replica;
    bucket_lock(bucket);
    bool changes = replica->is_sealed || replica->handing_over;
    for (uint32_t i = 0; i < replica->copy_count; i++)
        changes |= replica->copies[i]->state != COPY_IN_SYNC || replica->copies[i]->removing;
    bucket_unlock(bucket);
    return changes;
}

static uint64_t count_changing(const struct server *server)
{
    uint64_t count = 0;
    for (uint32_t i = 0; server->catalog != NULL && i < server->catalog->region_count; i++) {
        const struct region *region = server->catalog->regions[i];
        for (uint32_t b = 0; b < region->bucket_count; b++)
            count += is_changing(&region->buckets[b]);
    }
    return count;
}

static uint64_t turn_max_us(const struct server *server)
{
    uint64_t most = loop_turn_max_us(server->loop);
    for (uint32_t i = 0; i < server->worker_count; i++) {
        uint64_t own = loop_turn_max_us(server->workers[i].loop);
        most = own > most ? own : most;
    }
    return most;
}

void server_metrics(struct server *server, struct buf *text)
{
    struct server_stats stats;
    server_stats(server, &stats);
    struct peer_totals peers = count_peers(server);
    const struct {
        const char *name, *type, *help;
        uint64_t value;
    } rows[] = {
        {"vug_regions", "gauge", "Regions of the cluster.", stats.regions},
        {"vug_entries", "gauge", "Entries that this server holds.", stats.entries},
        {"vug_entry_bytes", "gauge", "Bytes of these entries, keys and headers included.",
         stats.bytes},
        {"vug_client_connections", "gauge", "Open client connections.", stats.connections},
        {"vug_client_connections_total", "counter", "Client connections since the start.",
         stats.connections_total},
        {"vug_subscriptions", "gauge", "Subscriptions to continuous queries.", stats.subscriptions},
        {"vug_continuous_queries", "gauge", "Continuous queries at work.", stats.instances},
        {"vug_output_ring_bytes", "gauge", "Bytes of recent outputs that are kept for readers.",
         stats.ring_bytes},
        {"vug_events_pushed_total", "counter", "Events pushed to subscribers.",
         stats.events_pushed},
        {"vug_messages_received_total", "counter", "Requests received.", stats.messages_received},
        {"vug_messages_sent_total", "counter", "Replies and pushes sent.", stats.messages_sent},
        {"vug_received_bytes_total", "counter", "Bytes of requests.", stats.bytes_received},
        {"vug_sent_bytes_total", "counter", "Bytes of replies and pushes.", stats.bytes_sent},
        {"vug_peers_up", "gauge", "Other servers that this one is connected to.", peers.up},
        {"vug_leases_held", "gauge", "Other servers that grant this one a lease.", peers.leases},
        {"vug_peers_gone", "gauge", "Other servers that are proved gone.", peers.gone},
        {"vug_peer_silent_us", "gauge", "Time since another server was heard, of the quietest one.",
         peers.silent_us},
        {"vug_buckets_changing", "gauge",
         "Buckets whose copies are about to change: sealed, handed over, or with a copy that joins "
         "or is to leave.",
         count_changing(server)},
        {"vug_loop_stall_us", "gauge", "Longest delay of a loop's timer in the last moments.",
         server->load == NULL ? 0 : server->load->total.loop_stall_us},
        {"vug_loop_stall_us_max", "gauge", "Longest delay of a loop's timer since the start.",
         server->stall_max_us},
        {"vug_loop_turn_us_max", "gauge",
         "Most CPU time that a loop spent on one turn since the start.", turn_max_us(server)},
        {"vug_lock_us_max", "gauge",
         "Most CPU time that work over many entries held a bucket's lock since the start.",
         atomic_load(&server->hold_max_us)},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        buf_printf(text, "# HELP %s %s\n# TYPE %s %s\n%s %" PRIu64 "\n", rows[i].name, rows[i].help,
                   rows[i].name, rows[i].type, rows[i].name, rows[i].value);
}
