#include "tests/sim/sim_cluster.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "protocol/message.h"

#define PATIENCE_US 60000000

void sim_process_start(struct sim_process *process, struct sim *sim, struct sim_node *node,
                       unsigned loop_count)
{
    process->node = node;
    process->loop_count = loop_count;
    for (unsigned i = 0; i < loop_count; i++) {
        process->loops[i] = sim_loop_new(sim, node);
        process->nets[i] = sim_net_new(sim, process->loops[i]);
    }
}

void sim_process_stop(struct sim_process *process)
{
    for (unsigned i = 0; i < process->loop_count; i++) {
        sim_net_free(process->nets[i]);
        sim_loop_free(process->loops[i]);
    }
    process->loop_count = 0;
}

/* ---- Locator and server ---- */

static void on_locator_ready(void *arg)
{
    ((struct sim_cluster *)arg)->locator_ready = true;
}

static void on_locator_failed(void *arg, enum error why, const char *text)
{
    (void)why;
    print_message("# locator: %s\n", text);
    ((struct sim_cluster *)arg)->failed = true;
}

void sim_locator_start(struct sim_cluster *cluster)
{
    struct sim_process *process = &cluster->locator_process;
    sim_process_start(process, cluster->sim, process->node, 1);
    struct map_store *store;
    assert_int_equal(map_store_memory_new(process->loops[0], &cluster->memory, &store), OK);
    struct locator_options options = {.name = "locator",
                                      .bind_host = cluster->locator_host,
                                      .port = 10334,
                                      .on_ready = on_locator_ready,
                                      .on_failed = on_locator_failed,
                                      .arg = cluster};
    cluster->locator_ready = false;
    assert_int_equal(locator_new(&options, process->loops[0], process->nets[0], cluster->log, store,
                                 &cluster->locator),
                     OK);
}

void sim_locator_crash(struct sim_cluster *cluster, enum sim_crash how)
{
    sim_node_crash(cluster->locator_process.node, how);
    locator_free(cluster->locator);
    cluster->locator = NULL;
    sim_process_stop(&cluster->locator_process);
    sim_node_restart(cluster->locator_process.node);
}

static void on_server_ready(void *arg)
{
    ((struct sim_cluster *)arg)->server_ready = true;
}

static void on_server_refused(void *arg, enum error why, const char *text)
{
    (void)why;
    print_message("# server: %s\n", text);
    ((struct sim_cluster *)arg)->failed = true;
}

static void on_stop_requested(void *arg)
{
    (void)arg;
}

void sim_server_start(struct sim_cluster *cluster)
{
    struct sim_process *process = &cluster->server_process;
    struct server_place workers[SIM_WORKERS];
    struct net_address locator = {.port = 10334};
    snprintf(locator.host, sizeof locator.host, "%s", cluster->locator_host);
    sim_process_start(process, cluster->sim, process->node, 1 + SIM_WORKERS);
    for (unsigned i = 0; i < SIM_WORKERS; i++)
        workers[i] = (struct server_place){process->loops[1 + i], process->nets[1 + i]};
    struct server_options options = {.name = "server1",
                                     .bind_address = sim_node_host(process->node),
                                     .port = 40404,
                                     .locators = &locator,
                                     .locator_count = 1,
                                     .locator_wait_ms = 60000,
                                     .ring_bytes_max = cluster->ring_bytes_max};
    static const struct server_events events = {on_server_ready, on_server_refused,
                                                on_stop_requested};
    cluster->server_ready = false;
    assert_int_equal(server_new(&options,
                                (struct server_place){process->loops[0], process->nets[0]}, workers,
                                SIM_WORKERS, cluster->log, &events, cluster, &cluster->server),
                     OK);
}

void sim_server_crash(struct sim_cluster *cluster, enum sim_crash how)
{
    sim_node_crash(cluster->server_process.node, how);
    server_free(cluster->server);
    cluster->server = NULL;
    sim_process_stop(&cluster->server_process);
    sim_node_restart(cluster->server_process.node);
}

static bool is_ready(void *arg)
{
    const struct sim_cluster *cluster = arg;
    return cluster->failed || (cluster->locator_ready && cluster->server_ready);
}

void sim_cluster_start(struct sim_cluster *cluster, struct sim *sim, const char *name)
{
    char node_name[64];
    uint64_t ring_bytes_max = cluster->ring_bytes_max;
    memset(cluster, 0, sizeof *cluster);
    cluster->ring_bytes_max = ring_bytes_max;
    cluster->sim = sim;
    map_memory_init(&cluster->memory);
    snprintf(node_name, sizeof node_name, "%s-locator", name);
    cluster->locator_process.node = sim_node_new(sim, node_name);
    snprintf(node_name, sizeof node_name, "%s-server", name);
    cluster->server_process.node = sim_node_new(sim, node_name);
    snprintf(node_name, sizeof node_name, "%s-client", name);
    sim_process_start(&cluster->client_process, sim, sim_node_new(sim, node_name), 1);
    snprintf(cluster->locator_host, sizeof cluster->locator_host, "%s",
             sim_node_host(cluster->locator_process.node));
    char locators[96];
    snprintf(locators, sizeof locators, "%s[10334]", cluster->locator_host);
    assert_int_equal(vug_target_locators(&cluster->target, locators), OK);
    sim_locator_start(cluster);
    sim_server_start(cluster);
    assert_true(sim_run_until(sim, is_ready, cluster, PATIENCE_US));
    assert_false(cluster->failed);
}

void sim_cluster_stop(struct sim_cluster *cluster)
{
    if (cluster->server != NULL) {
        server_free(cluster->server);
        for (unsigned i = 0; i < cluster->server_process.loop_count; i++)
            sim_loop_forget_tasks(cluster->server_process.loops[i]);
        sim_process_stop(&cluster->server_process);
    }
    if (cluster->locator != NULL) {
        locator_free(cluster->locator);
        sim_run_until(cluster->sim, NULL, NULL, 1000000);
        sim_process_stop(&cluster->locator_process);
    }
    sim_process_stop(&cluster->client_process);
    map_memory_fini(&cluster->memory);
}

/* ---- Requests ---- */

struct request {
    bool answered;
    uint32_t code;
    struct buf *reply;
};

static void on_reply(void *arg, const struct vug_error *error, struct slice body)
{
    struct request *request = arg;
    request->answered = true;
    if (error != NULL) {
        request->code = error->code == 0 ? UINT32_MAX : error->code;
        print_message("# answer: %s\n", error->text);
    } else if (request->reply != NULL) {
        buf_append_slice(request->reply, body);
    }
}

static bool is_answered(void *arg)
{
    return ((const struct request *)arg)->answered;
}

uint32_t sim_request(struct sim_cluster *cluster, enum vug_client_role role, uint32_t number,
                     const struct buf *body, struct buf *reply)
{
    struct vug_client *client;
    struct request request = {.reply = reply};
    struct sim_process *process = &cluster->client_process;
    assert_int_equal(
        vug_client_new(process->loops[0], process->nets[0], &cluster->target, role, &client), OK);
    assert_int_equal(vug_client_call(client, number, buf_slice(body), on_reply, &request), OK);
    assert_true(sim_run_until(cluster->sim, is_answered, &request, PATIENCE_US));
    vug_client_free(client);
    return request.code;
}

void sim_create_region(struct sim_cluster *cluster, const char *name, const char *type)
{
    Pb__RegionCreateRequest request = PB__REGION_CREATE_REQUEST__INIT;
    uint8_t packed[512];
    struct buf body;
    request.name = message_bytes(slice_text(name));
    request.type = message_bytes(slice_text(type));
    buf_init(&body);
    buf_append(&body, packed, protobuf_c_message_pack(&request.base, packed));
    assert_int_equal(sim_request(cluster, VUG_TO_LOCATOR, VUG_REGION_CREATE, &body, NULL), 0);
    buf_fini(&body);
}

void sim_sql(struct sim_cluster *cluster, const char *statement)
{
    struct buf body;
    buf_init(&body);
    vug_sql_request(&body, slice_text(statement), NULL, 0);
    assert_int_equal(sim_request(cluster, VUG_TO_SERVER, VUG_SQL_EXECUTE, &body, NULL), 0);
    buf_fini(&body);
}

/* ---- Readings ---- */

void sim_reading_random(struct sim *sim, struct sim_reading *reading, unsigned ids, uint64_t n,
                        bool key_is_id)
{
    snprintf(reading->id, sizeof reading->id, "s%u", (unsigned)sim_random_below(sim, ids));
    if (key_is_id)
        snprintf(reading->key, sizeof reading->key, "%s", reading->id);
    else
        snprintf(reading->key, sizeof reading->key, "r%llu", (unsigned long long)n);
    reading->timestamp = 1000 + n;
    reading->has_temperature = sim_random_below(sim, 20) != 0;
    reading->temperature = ((double)sim_random_below(sim, 6400) - 1600) / 64;
}

size_t sim_reading_document(const struct sim_reading *reading, char *out, size_t size)
{
    char temperature[32] = "null";
    if (reading->has_temperature)
        text_double(reading->temperature, temperature);
    int len = snprintf(out, size, "{\"id\":\"%s\",\"timestamp\":%llu,\"temperature\":%s}",
                       reading->id, (unsigned long long)reading->timestamp, temperature);
    assert_true(len > 0 && (size_t)len < size);
    return (size_t)len;
}

/* ---- The subscriber ---- */

static void on_event(void *arg, const struct vug_event *event)
{
    struct sim_subscriber *subscriber = arg;
    if (subscriber->count == subscriber->cap) {
        subscriber->cap = subscriber->cap == 0 ? 64 : subscriber->cap * 2;
        subscriber->seen = realloc(subscriber->seen, subscriber->cap * sizeof *subscriber->seen);
        assert_non_null(subscriber->seen);
    }
    assert_int_equal(event->kind, VUG_INSERT);
    assert_int_equal(event->value_count, 2);
    assert_int_equal(event->values[0].type, VALUE_STRING);
    struct sim_seen *seen = &subscriber->seen[subscriber->count++];
    *seen = (struct sim_seen){
        .is_null = event->values[1].type == VALUE_NULL,
        .average = event->values[1].type == VALUE_DOUBLE ? event->values[1].float64 : 0,
        .bucket = event->bucket,
        .seq = event->seq};
    snprintf(seen->id, sizeof seen->id, "%.*s", SLICE_FMT(event->values[0].bytes));
}

static void on_status(void *arg, const struct vug_status *status)
{
    struct sim_subscriber *subscriber = arg;
    switch (status->code) {
    case VUG_SUBSCRIBED:
        subscriber->subscribed++;
        subscriber->subscribed_once = true;
        break;
    case VUG_SNAPSHOT_ENDED:
        subscriber->snapshot_ends++;
        break;
    case VUG_GAP:
        subscriber->gaps++;
        break;
    case VUG_DATA_LOSS:
        subscriber->losses++;
        break;
    case VUG_RECONNECTING:
        subscriber->reconnects++;
        break;
    default:
        print_message("# status %s: %.*s\n", vug_status_text(status->code),
                      SLICE_FMT(status->detail));
    }
}

static void on_failed(void *arg, const struct vug_error *error)
{
    struct sim_subscriber *subscriber = arg;
    print_message("# subscription: %s\n", error->text);
    subscriber->failures++;
}

static bool is_subscribed(void *arg)
{
    const struct sim_subscriber *subscriber = arg;
    return subscriber->subscribed_once || subscriber->failures > 0;
}

void sim_subscriber_start(struct sim_subscriber *subscriber, struct sim_cluster *cluster,
                          const char *sql, const struct vug_subscription_options *options)
{
    static const struct vug_subscription_events events = {
        .on_event = on_event, .on_status = on_status, .on_failed = on_failed};
    struct sim_process *process = &cluster->client_process;
    struct vug_subscription_options own = {0};
    if (options != NULL)
        own = *options;
    own.sql = slice_text(sql);
    memset(subscriber, 0, sizeof *subscriber);
    assert_int_equal(vug_subscription_new(process->loops[0], process->nets[0], &cluster->target,
                                          &own, &events, subscriber, &subscriber->subscription),
                     OK);
    assert_true(sim_run_until(cluster->sim, is_subscribed, subscriber, PATIENCE_US));
    assert_int_equal(subscriber->failures, 0);
}

void sim_subscriber_stop(struct sim_subscriber *subscriber)
{
    vug_subscription_free(subscriber->subscription);
    free(subscriber->seen);
}

/* ---- The writer ---- */

static void write_on(struct sim_writer *writer)
{
    while (writer->next < writer->count) {
        const struct sim_reading *reading = &writer->readings[writer->next];
        char document[256];
        size_t len = sim_reading_document(reading, document, sizeof document);
        struct value key = {.type = VALUE_STRING, .bytes = slice_text(reading->key)};
        struct value value = {.type = VALUE_JSON, .bytes = slice_of(document, len)};
        enum error error = vug_writer_put(writer->writer, &key, &value, writer->next);
        if (error == ERROR_BUSY)
            return;
        assert_int_equal(error, OK);
        writer->next++;
    }
}

static void on_done(void *arg, uint64_t tag, const struct vug_error *error)
{
    struct sim_writer *writer = arg;
    assert_int_equal(tag, writer->done);
    writer->done++;
    if (error != NULL) {
        print_message("# write: %s\n", error->text);
        writer->failures++;
    }
}

static void on_room(void *arg)
{
    write_on(arg);
}

static void on_writer_failed(void *arg, const struct vug_error *error)
{
    print_message("# writer: %s\n", error->text);
    ((struct sim_writer *)arg)->failures++;
}

void sim_writer_start(struct sim_writer *writer, struct sim_cluster *cluster, const char *region,
                      struct sim_reading *readings, size_t count)
{
    static const struct vug_writer_events events = {
        .on_done = on_done, .on_room = on_room, .on_failed = on_writer_failed};
    struct sim_process *process = &cluster->client_process;
    struct vug_writer_options options = {.region = region, .batch_ops = 16, .window = 64};
    *writer = (struct sim_writer){.readings = readings, .count = count};
    assert_int_equal(vug_writer_new(process->loops[0], process->nets[0], &cluster->target, &options,
                                    &events, writer, &writer->writer),
                     OK);
    write_on(writer);
}

bool sim_writer_is_done(void *arg)
{
    const struct sim_writer *writer = arg;
    return writer->done == writer->count || writer->failures > 0;
}

void sim_writer_stop(struct sim_writer *writer)
{
    vug_writer_free(writer->writer);
}

/* ---- The check ---- */

static bool follows(const struct sim_seen *seen, double sum, uint64_t n)
{
    return seen->is_null == (n == 0) && (n == 0 || seen->average == sum / (double)n);
}

void sim_check_averages(const struct sim_reading *readings, size_t count,
                        const struct sim_subscriber *subscriber)
{
    size_t at_seen = 0;
    bool *used = calloc(subscriber->count + 1, sizeof *used);
    assert_non_null(used);
    for (size_t first = 0; first < count; first++) {
        bool known = false;
        for (size_t i = 0; i < first && !known; i++)
            known = strcmp(readings[i].id, readings[first].id) == 0;
        if (known)
            continue;
        double sum = 0;
        uint64_t n = 0;
        size_t next = 0;
        for (size_t i = first; i < count; i++) {
            if (strcmp(readings[i].id, readings[first].id) != 0)
                continue;
            if (readings[i].has_temperature) {
                sum += readings[i].temperature;
                n++;
            }
            while (next < subscriber->count &&
                   strcmp(subscriber->seen[next].id, readings[first].id) != 0)
                next++;
            if (next == subscriber->count)
                fail_msg("%s: reading %zu has no result", readings[first].id, i);
            const struct sim_seen *seen = &subscriber->seen[next];
            if (!follows(seen, sum, n))
                fail_msg("%s: reading %zu gave %g, not %g (bucket %u, seq %llu)",
                         readings[first].id, i, seen->average, sum / (double)n, seen->bucket,
                         (unsigned long long)seen->seq);
            used[next++] = true;
            at_seen++;
        }
    }
    for (size_t i = 0; i < subscriber->count; i++)
        if (!used[i])
            fail_msg("%s: a result too many, %g", subscriber->seen[i].id,
                     subscriber->seen[i].average);
    assert_int_equal(at_seen, count);
    free(used);
}
