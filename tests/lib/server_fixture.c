#include "tests/lib/server_fixture.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/mem.h"
#include "protocol/codec.h"
#include "server/ops.h"
#include "tests/lib/bucket_lead.h"

enum { ARENA_BYTES = 256 * 1024 * 1024 };

/* ---- The server ---- */

/* One server leads everything, alone. */
static void lead_all(struct server_fixture *fixture, struct catalog *catalog)
{
    for (uint32_t i = 0; i < catalog->region_count; i++) {
        for (uint32_t j = 0; j < catalog->regions[i]->bucket_count; j++) {
            struct replica *replica = &catalog->regions[i]->buckets[j].replica;
            if (replica->role != REPLICA_NONE || fixture->leads_nothing)
                continue;
            replica->role = REPLICA_PRIMARY;
            replica->led = replica->current = 1;
            replica->primary = fixture->server.incarnation;
        }
    }
}

/* As the server does with a newer map. The map is taken on success. */
static enum error adopt(struct server_fixture *fixture, struct cluster_map *map)
{
    struct catalog *catalog;
    struct server *server = &fixture->server;
    enum error error = catalog_new(server->catalog, map, server, server->hash_seed, NULL, &catalog);
    if (error != OK)
        return error;
    cluster_map_unref(fixture->map);
    fixture->map = map;
    catalog_unref(server->catalog);
    catalog_unref(fixture->worker->catalog);
    server->catalog = catalog;
    fixture->worker->catalog = catalog_ref(catalog);
    registry_adopt(server, catalog);
    lead_all(fixture, catalog);
    if (fixture->on_map != NULL)
        fixture->on_map(fixture->on_map_arg, map);
    registry_reconcile(server);
    return OK;
}

void server_fixture_adopt(struct server_fixture *fixture, struct cluster_map *map)
{
    INVARIANT(adopt(fixture, cluster_map_ref(map)) == OK);
}

static void take_map(struct server_fixture *fixture, struct cluster_map *map)
{
    INVARIANT(cluster_map_seal(map) == OK);
    INVARIANT(adopt(fixture, map) == OK);
}

/* ---- The locator: answers at once ---- */

static bool is_same_query(const struct cluster_query *query, const Pb__QueryAdd *add)
{
    if (add->name.len > 0)
        return slice_equal(query->name, message_slice(add->name));
    return add->shared && query->name.len == 0 &&
           slice_equal(query->text, message_slice(add->text));
}

static enum error add_query(struct server_fixture *fixture, const Pb__QueryAdd *add,
                            Pb__QueryAdded *added)
{
    struct cluster_map *map;
    for (uint32_t i = 0; i < fixture->map->query_count; i++) {
        if (!is_same_query(&fixture->map->queries[i], add))
            continue;
        added->id = fixture->map->queries[i].id;
        added->epoch = fixture->map->epoch;
        return OK;
    }
    struct cluster_query query = {.name = message_slice(add->name),
                                  .text = message_slice(add->text),
                                  .parameters = message_slice(add->parameters),
                                  .numeric_mode = add->numeric_mode,
                                  .start = add->start,
                                  .region_id = add->region_id,
                                  .ddl = message_slice(add->ddl)};
    enum error error = cluster_map_edit(fixture->map, &map);
    if (error != OK)
        return error;
    error = cluster_map_add_query(map, &query, &added->id);
    if (error == OK)
        error = cluster_map_seal(map);
    added->created = true;
    added->epoch = map->epoch;
    if (error == OK)
        error = adopt(fixture, map);
    if (error != OK)
        cluster_map_unref(map);
    return error;
}

static enum error drop_query(struct server_fixture *fixture, uint64_t id)
{
    struct cluster_map *map;
    if (cluster_map_query(fixture->map, id) == NULL)
        return OK;
    enum error error = cluster_map_edit(fixture->map, &map);
    if (error != OK)
        return error;
    error = cluster_map_remove_query(map, id);
    if (error == OK)
        error = cluster_map_seal(map);
    if (error == OK)
        error = adopt(fixture, map);
    if (error != OK)
        cluster_map_unref(map);
    return error;
}

static enum error execute(struct server_fixture *fixture, uint32_t number,
                          const ProtobufCMessage *message, uint8_t *answer, size_t *len)
{
    Pb__QueryAdded added = PB__QUERY_ADDED__INIT;
    Pb__QueryDropped dropped = PB__QUERY_DROPPED__INIT;
    enum error error = OK;
    if (number == 1070) {
        error = add_query(fixture, (const Pb__QueryAdd *)message, &added);
        *len = protobuf_c_message_pack(&added.base, answer);
    } else if (number == 1072) {
        dropped.dropped = !fixture->keeps_queries;
        if (dropped.dropped)
            error = drop_query(fixture, ((const Pb__QueryDrop *)message)->id);
        *len = protobuf_c_message_pack(&dropped.base, answer);
    } else {
        fixture->attachments = (uint32_t)((const Pb__QueryAttached *)message)->n_id;
    }
    return error;
}

/* Takes the place of the product's own. */
enum error server_ask_locator(struct server *server, struct worker *worker, uint32_t number,
                              struct slice body, link_answer_fn *on_answer, void *arg)
{
    struct server_fixture *fixture =
        (struct server_fixture *)((char *)server - offsetof(struct server_fixture, server));
    const ProtobufCMessageDescriptor *descriptor = number == 1070 ? &pb__query_add__descriptor
                                                   : number == 1072
                                                       ? &pb__query_drop__descriptor
                                                       : &pb__query_attached__descriptor;
    struct arena arena;
    struct failure failure;
    ProtobufCMessage *message;
    uint8_t answer[64];
    size_t len = 0;
    (void)worker;
    if (fixture->no_locator) {
        failure_set(&failure, FAILURE_SERVER_ERROR, "UNREACHABLE: No locator is connected.");
        on_answer(arg, &failure, 0, slice_of(NULL, 0));
        return OK;
    }
    arena_init(&arena, ARENA_BYTES);
    enum error error = message_unpack(descriptor, &arena, body, &message);
    if (error == OK)
        error = execute(fixture, number, message, answer, &len);
    arena_fini(&arena);
    if (error != OK)
        failure_of_error(&failure, error);
    on_answer(arg, error != OK ? &failure : NULL, number + 1, slice_of(answer, len));
    return OK;
}

static struct cluster_map *edited(struct server_fixture *fixture)
{
    struct cluster_map *map;
    INVARIANT(cluster_map_edit(fixture->map, &map) == OK);
    return map;
}

void server_fixture_init(struct server_fixture *fixture)
{
    static const uint8_t cluster_id[CLUSTER_ID_BYTES] = {1};
    struct server *server = &fixture->server;
    struct cluster_map *map;
    memset(fixture, 0, sizeof *fixture);
    fixture->net = fake_net_new();
    pthread_mutex_init(&server->lock, NULL);
    server->loop = fake_net_loop(fixture->net);
    rows_init(server);
    server->net = fake_net_net(fixture->net);
    server->budget.ring_bytes_max = LIMIT_RING_BYTES;
    server->hash_seed = 77;
    server->incarnation = 1001;
    registry_init(server);
    server->workers = mem_array(1, sizeof *server->workers);
    INVARIANT(server->workers != NULL);
    server->worker_count = 1;
    fixture->worker = &server->workers[0];
    struct server_options options = {.name = "s1"};
    struct server_place place = {server->loop, server->net};
    INVARIANT(worker_init(fixture->worker, server, 0, place, &options) == OK);
    INVARIANT(cluster_map_new(cluster_id, &map) == OK);
    take_map(fixture, map);
}

void server_fixture_fini(struct server_fixture *fixture)
{
    struct server *server = &fixture->server;
    fake_net_turn(fixture->net);
    call_free_server(server);
    worker_fini(fixture->worker);
    registry_free(server);
    rows_free(server);
    catalog_unref(server->catalog);
    server_load_free(server);
    cluster_map_unref(fixture->map);
    mem_free(server->workers);
    pthread_mutex_destroy(&server->lock);
    fake_net_free(fixture->net);
}

struct region *server_fixture_region(struct server_fixture *fixture,
                                     const struct cluster_region *region)
{
    struct cluster_map *map = edited(fixture);
    uint32_t id;
    INVARIANT(cluster_map_add_region(map, region, &id) == OK);
    take_map(fixture, map);
    return catalog_region(fixture->worker->catalog, region->name);
}

struct region *server_fixture_partition(struct server_fixture *fixture, const char *name,
                                        uint32_t bucket_count)
{
    struct cluster_region region = {
        .name = slice_text(name), .type = CLUSTER_PARTITION, .bucket_count = bucket_count};
    return server_fixture_region(fixture, &region);
}

static void wake(void *arg, struct cq_instance *instance)
{
    (void)arg;
    subscription_notify_all(instance, UINT32_MAX);
}

void server_fixture_remove_region(struct server_fixture *fixture, const char *name)
{
    struct region *region = region_ref(catalog_region(fixture->worker->catalog, slice_text(name)));
    struct cluster_map *map = edited(fixture);
    INVARIANT(cluster_map_remove_region(map, region->id) == OK);
    take_map(fixture, map);
    atomic_store(&region->destroyed, true);
    registry_each(&fixture->server, wake, NULL);
    region_unref(region);
    fake_net_turn(fixture->net);
}

void server_fixture_table(struct server_fixture *fixture, const char *name, const char *region,
                          const char *ddl)
{
    struct cluster_map *map = edited(fixture);
    struct cluster_table table = {
        .name = slice_text(name), .ddl = slice_text(ddl), .region = slice_text(region)};
    INVARIANT(cluster_map_add_table(map, &table) == OK);
    take_map(fixture, map);
}

static void count(void *arg, struct cq_instance *instance)
{
    (void)instance;
    ++*(uint32_t *)arg;
}

uint32_t server_fixture_instances(struct server_fixture *fixture)
{
    uint32_t instances = 0;
    registry_each(&fixture->server, count, &instances);
    return instances;
}

struct query_plan *server_fixture_plan(struct server_fixture *fixture, const char *sql)
{
    struct arena arena;
    struct query_statement statement;
    struct query_error why;
    struct query_plan *plan;
    arena_init(&arena, ARENA_BYTES);
    enum error error = query_parse(slice_text(sql), &arena, &statement, &why);
    if (error == OK)
        error = query_plan_new(slice_text(sql), statement.select, &fixture->worker->catalog->query,
                               NULL, 0, QUERY_EXACT, &plan, &why);
    if (error != OK)
        fprintf(stderr, "%s: %s\n", sql, why.message);
    INVARIANT(error == OK);
    arena_fini(&arena);
    return plan;
}

/* ---- Clients ---- */

void fixture_client_init(struct fixture_client *client, struct server_fixture *fixture)
{
    static const uint8_t hello[] = {10, 0x0d, 1, 0, 0, 0, 0x15, 1, 0, 0, 0};
    *client = (struct fixture_client){.fixture = fixture, .conn = fake_net_accept(fixture->net)};
    arena_init(&client->arena, ARENA_BYTES);
    INVARIANT(session_accept(&fixture->worker->host, fake_net_net(fixture->net),
                             fake_conn_socket(client->conn)) == OK);
    fake_conn_feed(client->conn, hello, sizeof hello);
    struct slice sent = fake_conn_sent(client->conn);
    INVARIANT(sent.len == 7 && sent.data[0] == 6);
    client->read = sent.len;
}

void fixture_client_fini(struct fixture_client *client)
{
    fake_conn_reset(client->conn);
    arena_fini(&client->arena);
}

void fixture_client_send(struct fixture_client *client, uint32_t number,
                         const ProtobufCMessage *body)
{
    size_t len = protobuf_c_message_get_packed_size(body),
           message = codec_bytes_field_size(number, len);
    uint8_t *frame = malloc(10 + message);
    INVARIANT(frame != NULL);
    uint8_t *at = codec_put_bytes_header(codec_put_varint(frame, message), number, len);
    at += protobuf_c_message_pack(body, at);
    fake_conn_feed(client->conn, frame, (size_t)(at - frame));
    free(frame);
}

uint32_t fixture_client_receive(struct fixture_client *client, ProtobufCMessage **body)
{
    struct slice sent = fake_conn_sent(client->conn), content;
    uint32_t number;
    uint64_t len;
    if (client->read == sent.len)
        return 0;
    const uint8_t *at = codec_get_varint(sent.data + client->read, sent.data + sent.len, &len);
    INVARIANT(at != NULL && len <= (size_t)(sent.data + sent.len - at));
    INVARIANT(codec_message(slice_of(at, len), &number, &content) == OK && number != 0);
    client->read = (size_t)(at - sent.data) + len;
    INVARIANT(message_unpack(message_descriptor(number), &client->arena, content, body) == OK);
    return number;
}

ProtobufCMessage *fixture_client_ask(struct fixture_client *client, uint32_t number,
                                     const ProtobufCMessage *body, uint32_t answer)
{
    ProtobufCMessage *received = NULL;
    fixture_client_send(client, number, body);
    uint32_t got = fixture_client_receive(client, &received);
    if (got == 1 && answer != 1)
        fprintf(stderr, "request %u failed: %.*s\n", number,
                SLICE_FMT(message_slice(((Pb__ErrorResponse *)received)->error->message)));
    if (got != answer)
        fprintf(stderr, "request %u was answered by %u, not %u\n", number, got, answer);
    INVARIANT(got == answer);
    return received;
}

const Pb__Error *fixture_client_fail(struct fixture_client *client, uint32_t number,
                                     const ProtobufCMessage *body)
{
    return ((Pb__ErrorResponse *)fixture_client_ask(client, number, body, 1))->error;
}

void fixture_client_put(struct fixture_client *client, const char *region, const char *key,
                        const char *json)
{
    Pb__EncodedValue encoded_key = fixture_string(key), value = fixture_json(json);
    Pb__Entry entry = PB__ENTRY__INIT;
    Pb__PutRequest request = PB__PUT_REQUEST__INIT;
    entry.key = &encoded_key;
    entry.value = &value;
    request.region_name = message_bytes(slice_text(region));
    request.entry = &entry;
    fixture_client_send(client, 2, &request.base);
}

Pb__EncodedValue fixture_string(const char *text)
{
    Pb__EncodedValue value = PB__ENCODED_VALUE__INIT;
    value.value_case = PB__ENCODED_VALUE__VALUE_STRING_RESULT;
    value.string_result = message_bytes(slice_text(text));
    return value;
}

Pb__EncodedValue fixture_json(const char *text)
{
    Pb__EncodedValue value = fixture_string(text);
    value.value_case = PB__ENCODED_VALUE__VALUE_JSON_OBJECT_RESULT;
    return value;
}

Pb__EncodedValue fixture_int(int32_t number)
{
    Pb__EncodedValue value = PB__ENCODED_VALUE__INIT;
    value.value_case = PB__ENCODED_VALUE__VALUE_INT_RESULT;
    value.int_result = number;
    return value;
}

Pb__EncodedValue fixture_null(void)
{
    Pb__EncodedValue value = PB__ENCODED_VALUE__INIT;
    value.value_case = PB__ENCODED_VALUE__VALUE_NULL_RESULT;
    return value;
}
