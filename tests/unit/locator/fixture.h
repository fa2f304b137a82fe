/* A locator, servers that are nothing but a link, and clients that write bytes, under the simulated
 * clock and network. */
#ifndef VUG_TESTS_UNIT_LOCATOR_FIXTURE_H
#define VUG_TESTS_UNIT_LOCATOR_FIXTURE_H

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <cmocka.h>

#include "locator/locator.h"
#include "protocol/codec.h"
#include "protocol/message.h"
#include "protocol/peer.h"
#include "server/link.h"
#include "tests/lib/mem_fault.h"
#include "tests/sim/sim_net.h"

#define MS  UINT64_C(1000)
#define SEC UINT64_C(1000000)

enum { SERVERS = 3, REPLY_BYTES = 65536 };

struct fixture;

/* What a server is to a locator: a link and a port. */
struct fake_server {
    struct fixture *fixture;
    struct sim_node *node;
    struct loop *loop;
    struct net *net;
    struct net_listener *listener;
    struct link *link;
    char name[64], groups[64];
    uint64_t incarnation;
    uint16_t port;
    struct cluster_map *map; /* newest */
    uint32_t maps;
    bool acknowledges;
    enum error refused;
    char refused_text[1024];
    uint32_t stops, confirmations;
    struct link_load load;
    uint64_t cleared; /* what it says that it removed */
    uint32_t clears, relayed;
    bool answers_calls;
    /* Of the last call. */
    bool answered;
    uint32_t answer_code, answer_number;
    char answer_text[2048];
};

struct fixture {
    struct sim *sim;
    struct log *log;
    char lines[65536];
    struct map_memory memory;
    struct sim_node *locator_node, *client_node;
    struct loop *locator_loop, *client_loop;
    struct net *locator_net, *client_net;
    struct locator *locator;
    /* Another one over the same map; NULL unless the test starts it. */
    struct sim_node *second_node;
    struct loop *second_loop;
    struct net *second_net;
    struct locator *second;
    bool asks_second; /* clients go there */
    bool adopts;      /* the locator that is started next; it is not waited for */
    bool ready, second_ready;
    enum error failed;
    char failed_text[1024];
    uint32_t stops;
    struct fake_server servers[SERVERS];
};

static void fixture_log(void *arg, enum log_level level, const char *line)
{
    struct fixture *fixture = arg;
    (void)level;
    size_t len = strlen(fixture->lines);
    snprintf(fixture->lines + len, sizeof(fixture->lines) - len, "%s\n", line);
}

static bool logged(const struct fixture *fixture, const char *what)
{
    return strstr(fixture->lines, what) != NULL;
}

/* ---- The locator ---- */

static void fixture_on_ready(void *arg)
{
    ((struct fixture *)arg)->ready = true;
}

static void fixture_on_failed(void *arg, enum error why, const char *text)
{
    struct fixture *fixture = arg;
    fixture->failed = why;
    snprintf(fixture->failed_text, sizeof(fixture->failed_text), "%s", text);
}

static void fixture_on_stop(void *arg)
{
    ((struct fixture *)arg)->stops++;
}

static void fixture_on_second_ready(void *arg)
{
    ((struct fixture *)arg)->second_ready = true;
}

static bool fixture_is_started(void *arg)
{
    const struct fixture *fixture = arg;
    return fixture->ready || fixture->failed != OK;
}

static void locator_start(struct fixture *fixture)
{
    struct map_store *store;
    fixture->locator_loop = sim_loop_new(fixture->sim, fixture->locator_node);
    fixture->locator_net = sim_net_new(fixture->sim, fixture->locator_loop);
    assert_int_equal(map_store_memory_new(fixture->locator_loop, &fixture->memory, &store), OK);
    struct locator_options options = {.name = "locator1",
                                      .bind_host = sim_node_host(fixture->locator_node),
                                      .port = 10334,
                                      .on_ready = fixture_on_ready,
                                      .on_failed = fixture_on_failed,
                                      .on_stop = fixture_on_stop,
                                      .adopts = fixture->adopts,
                                      .arg = fixture};
    fixture->ready = false;
    fixture->failed = OK;
    assert_int_equal(locator_new(&options, fixture->locator_loop, fixture->locator_net,
                                 fixture->log, store, &fixture->locator),
                     OK);
    if (!fixture->adopts)
        assert_true(sim_run_until(fixture->sim, fixture_is_started, fixture, 10 * SEC));
}

/* Does not wait until it is ready. */
static void second_start(struct fixture *fixture)
{
    struct map_store *store;
    fixture->second_node = sim_node_new(fixture->sim, "locator2");
    fixture->second_loop = sim_loop_new(fixture->sim, fixture->second_node);
    fixture->second_net = sim_net_new(fixture->sim, fixture->second_loop);
    assert_int_equal(map_store_memory_new(fixture->second_loop, &fixture->memory, &store), OK);
    struct locator_options options = {.name = "locator2",
                                      .bind_host = sim_node_host(fixture->second_node),
                                      .port = 10334,
                                      .on_ready = fixture_on_second_ready,
                                      .on_failed = fixture_on_failed,
                                      .on_stop = fixture_on_stop,
                                      .arg = fixture};
    assert_int_equal(locator_new(&options, fixture->second_loop, fixture->second_net, fixture->log,
                                 store, &fixture->second),
                     OK);
}

static void second_end(struct fixture *fixture)
{
    locator_free(fixture->second);
    fixture->second = NULL;
    sim_net_free(fixture->second_net);
    sim_loop_free(fixture->second_loop);
}

static void locator_end(struct fixture *fixture)
{
    locator_free(fixture->locator);
    fixture->locator = NULL;
    sim_net_free(fixture->locator_net);
    sim_loop_free(fixture->locator_loop);
}

/* ---- Servers ---- */

static void server_on_map(void *arg, struct cluster_map *map)
{
    struct fake_server *server = arg;
    cluster_map_unref(server->map);
    server->map = cluster_map_ref(map);
    server->maps++;
    if (server->acknowledges)
        link_acknowledge(server->link, map->epoch);
}

static void server_on_refused(void *arg, enum error why, const char *text)
{
    struct fake_server *server = arg;
    server->refused = why;
    snprintf(server->refused_text, sizeof(server->refused_text), "%s", text);
}

static void server_on_confirmed(void *arg)
{
    ((struct fake_server *)arg)->confirmations++;
}

static void server_on_stop(void *arg)
{
    ((struct fake_server *)arg)->stops++;
}

static struct cluster_map *server_map(void *arg)
{
    return ((struct fake_server *)arg)->map;
}

static void server_load(void *arg, struct link_load *load)
{
    *load = ((struct fake_server *)arg)->load;
}

static void server_on_call(void *arg, uint64_t id, uint32_t number, struct slice body)
{
    struct fake_server *server = arg;
    (void)body;
    if (number == 1026) {
        server->relayed++;
        link_answer(server->link, id, NULL, 1027, slice_of(NULL, 0));
    }
    if (number != 1030 || !server->answers_calls)
        return;
    Pb__RegionClearResponse response = PB__REGION_CLEAR_RESPONSE__INIT;
    uint8_t packed[32];
    response.entries = server->cleared;
    server->clears++;
    link_answer(server->link, id, NULL, 1031,
                slice_of(packed, pb__region_clear_response__pack(&response, packed)));
}

static void server_on_accept(void *arg, struct net_socket *socket)
{
    struct fake_server *server = arg;
    net_refuse(server->net, socket);
}

/* The process begins: its port is open, and it looks for the locator. */
static void server_start(struct fake_server *server, uint64_t incarnation)
{
    static const struct link_events events = {.on_map = server_on_map,
                                              .on_refused = server_on_refused,
                                              .on_confirmed = server_on_confirmed,
                                              .on_stop = server_on_stop,
                                              .load = server_load,
                                              .map = server_map,
                                              .on_call = server_on_call};
    struct fixture *fixture = server->fixture;
    struct net_address locators[2] = {{.port = 10334}, {.port = 10334}};
    snprintf(locators[0].host, sizeof(locators[0].host), "%s",
             sim_node_host(fixture->locator_node));
    if (fixture->second != NULL)
        snprintf(locators[1].host, sizeof(locators[1].host), "%s",
                 sim_node_host(fixture->second_node));
    server->loop = sim_loop_new(fixture->sim, server->node);
    server->net = sim_net_new(fixture->sim, server->loop);
    assert_int_equal(net_listen(server->net, sim_node_host(server->node), server->port,
                                server_on_accept, server, &server->listener),
                     OK);
    server->incarnation = incarnation;
    server->refused = OK;
    server->maps = 0;
    struct link_options options = {.locators = locators,
                                   .locator_count = fixture->second == NULL ? 1 : 2,
                                   .name = server->name,
                                   .incarnation = incarnation,
                                   .host = sim_node_host(server->node),
                                   .port = server->port,
                                   .http_port = 7071,
                                   .groups = server->groups,
                                   .wait_ms = 60000};
    assert_int_equal(
        link_new(server->loop, server->net, fixture->log, &options, &events, server, &server->link),
        OK);
}

static void server_free_objects(struct fake_server *server)
{
    link_free(server->link);
    server->link = NULL;
    net_listener_close(server->listener);
    cluster_map_unref(server->map);
    server->map = NULL;
    sim_net_free(server->net);
    sim_loop_free(server->loop);
}

static void server_crash(struct fake_server *server, enum sim_crash how)
{
    sim_node_crash(server->node, how);
    server_free_objects(server);
    if (how == SIM_CRASH_RESET)
        sim_node_restart(server->node);
}

static bool server_is_settled(void *arg)
{
    const struct fake_server *server = arg;
    return server->refused != OK || (server->maps > 0 && link_is_up(server->link));
}

static bool server_joins(struct fake_server *server)
{
    return sim_run_until(server->fixture->sim, server_is_settled, server, 20 * SEC) &&
           server->refused == OK;
}

static bool server_is_refused(struct fake_server *server)
{
    return sim_run_until(server->fixture->sim, server_is_settled, server, 20 * SEC) &&
           server->refused != OK;
}

static void run(struct fixture *fixture, uint64_t us)
{
    sim_run_until(fixture->sim, NULL, NULL, us);
}

static const struct cluster_bucket *bucket_of(const struct cluster_map *map, const char *region,
                                              uint32_t bucket)
{
    const struct cluster_region *found = cluster_map_region(map, slice_text(region));
    assert_non_null(found);
    assert_true(bucket < found->bucket_count);
    return &found->buckets[bucket];
}

/* A server forwards a request of its client. */
static void server_on_answer(void *arg, const struct failure *failure, uint32_t number,
                             struct slice body)
{
    struct fake_server *server = arg;
    (void)body;
    server->answered = true;
    server->answer_code = failure == NULL ? 0 : failure->code;
    server->answer_number = number;
    snprintf(server->answer_text, sizeof(server->answer_text), "%s",
             failure == NULL ? "" : failure->text);
}

static bool server_is_answered(void *arg)
{
    return ((const struct fake_server *)arg)->answered;
}

static uint32_t server_sql(struct fake_server *server, const char *statement)
{
    Pb__SqlExecuteRequest request = PB__SQL_EXECUTE_REQUEST__INIT;
    uint8_t packed[4096];
    request.statement = message_bytes(slice_text(statement));
    size_t len = pb__sql_execute_request__pack(&request, packed);
    server->answered = false;
    assert_int_equal(link_call(server->link, 1012, slice_of(packed, len), server_on_answer, server),
                     OK);
    assert_true(sim_run_until(server->fixture->sim, server_is_answered, server, 20 * SEC));
    return server->answer_code;
}

/* ---- Clients ---- */

struct client {
    struct fixture *fixture;
    struct net_conn *conn;
    uint8_t bytes[REPLY_BYTES];
    size_t len;
    bool closed;
    uint32_t frames_wanted;
};

static size_t client_on_data(void *arg, const uint8_t *data, size_t len)
{
    struct client *client = arg;
    assert_true(client->len + len <= sizeof(client->bytes));
    memcpy(client->bytes + client->len, data, len);
    client->len += len;
    return len;
}

static void client_on_eof(void *arg, struct slice rest)
{
    struct client *client = arg;
    (void)rest;
    client->closed = true;
}

static void client_on_close(void *arg, enum error why)
{
    struct client *client = arg;
    (void)why;
    client->closed = true;
    client->conn = NULL;
}

static void client_on_drain(void *arg)
{
    (void)arg;
}

static const struct net_conn_events client_events = {.on_data = client_on_data,
                                                     .on_eof = client_on_eof,
                                                     .on_drain = client_on_drain,
                                                     .on_close = client_on_close};

/* The nth frame that came; false if it is not there whole. */
static bool client_frame(const struct client *client, uint32_t n, struct slice *frame)
{
    struct slice rest = slice_of(client->bytes, client->len);
    for (uint32_t i = 0; i <= n; i++)
        if (peer_next_frame(&rest, REPLY_BYTES, frame) != OK || frame->data == NULL)
            return false;
    return true;
}

static bool client_has_frames(void *arg)
{
    struct client *client = arg;
    struct slice frame;
    return client->closed || client_frame(client, client->frames_wanted, &frame);
}

static void client_open(struct fixture *fixture, struct client *client)
{
    static const uint8_t version[] = {10, 0x0d, 1, 0, 0, 0, 0x15, 1, 0, 0, 0};
    const char *host =
        sim_node_host(fixture->asks_second ? fixture->second_node : fixture->locator_node);
    *client = (struct client){.fixture = fixture};
    assert_int_equal(
        net_connect(fixture->client_net, host, 10334, SEC, &client_events, client, &client->conn),
        OK);
    assert_int_equal(net_conn_write(client->conn, version, sizeof(version)), OK);
}

static void client_send(struct client *client, uint32_t number, const ProtobufCMessage *body)
{
    uint8_t frame[8192];
    size_t len = protobuf_c_message_get_packed_size(body);
    size_t field = codec_bytes_field_size(number, len);
    uint8_t *end = codec_put_varint(frame, field);
    end = codec_put_bytes_header(end, number, len);
    end += protobuf_c_message_pack(body, end);
    assert_int_equal(net_conn_write(client->conn, frame, (size_t)(end - frame)), OK);
}

static void client_close(struct client *client)
{
    if (client->conn != NULL)
        net_conn_abort(client->conn);
    client->conn = NULL;
}

/* One reply: its number, and its body in `body` (which points into the client). 0 when there was
 * none. */
static uint32_t client_reply(struct client *client, uint32_t n, uint64_t max_us, struct slice *body)
{
    struct slice frame;
    uint32_t number = 0;
    client->frames_wanted = n;
    sim_run_until(client->fixture->sim, client_has_frames, client, max_us);
    if (!client_frame(client, n, &frame))
        return 0;
    assert_int_equal(codec_message(frame, &number, body), OK);
    return number;
}

/* The text of an ErrorResponse, "" for any other reply. */
static uint32_t error_of(struct slice body, char text[2048])
{
    struct arena arena;
    ProtobufCMessage *message;
    arena_init(&arena, REPLY_BYTES);
    assert_int_equal(message_unpack(message_descriptor(1), &arena, body, &message), OK);
    const Pb__ErrorResponse *response = (const Pb__ErrorResponse *)message;
    uint32_t code = (uint32_t)response->error->error_code;
    snprintf(text, 2048, "%.*s", SLICE_FMT(message_slice(response->error->message)));
    arena_fini(&arena);
    return code;
}

/* One request on a connection of its own. Returns 0 and the number of the reply, or the failure's
 * code and text. */
struct answer {
    uint32_t number, code;
    char text[2048];
    uint8_t body[REPLY_BYTES];
    size_t len;
};

static void ask(struct fixture *fixture, uint32_t number, const ProtobufCMessage *body,
                struct answer *answer)
{
    struct client *client = calloc(1, sizeof(*client));
    struct slice reply = slice_of(NULL, 0);
    assert_non_null(client);
    memset(answer, 0, sizeof(*answer));
    client_open(fixture, client);
    client_send(client, number, body);
    answer->number = client_reply(client, 1, 30 * SEC, &reply);
    if (answer->number == 1)
        answer->code = error_of(reply, answer->text);
    if (reply.len > 0)
        memcpy(answer->body, reply.data, reply.len);
    answer->len = reply.len;
    client_close(client);
    free(client);
}

static void create_region(struct fixture *fixture, const char *name, const char *type,
                          struct answer *answer)
{
    Pb__RegionCreateRequest request = PB__REGION_CREATE_REQUEST__INIT;
    request.name = message_bytes(slice_text(name));
    request.type = message_bytes(slice_text(type));
    request.bucket_count = 7;
    ask(fixture, 1020, &request.base, answer);
}

/* ---- Life ---- */

static int fixture_setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    assert_non_null(fixture);
    mem_fault_fail_at(0);
    fixture->sim = sim_new(1);
    fixture->log = log_new(LOG_DEBUG, fixture_log, fixture, NULL);
    map_memory_init(&fixture->memory);
    fixture->locator_node = sim_node_new(fixture->sim, "locator");
    fixture->client_node = sim_node_new(fixture->sim, "client");
    fixture->client_loop = sim_loop_new(fixture->sim, fixture->client_node);
    fixture->client_net = sim_net_new(fixture->sim, fixture->client_loop);
    for (uint32_t i = 0; i < SERVERS; i++) {
        struct fake_server *server = &fixture->servers[i];
        server->fixture = fixture;
        snprintf(server->name, sizeof(server->name), "server%u", i + 1);
        server->node = sim_node_new(fixture->sim, server->name);
        server->port = 40404;
        server->acknowledges = true;
        server->answers_calls = true;
    }
    locator_start(fixture);
    assert_true(fixture->ready);
    *state = fixture;
    return 0;
}

static int fixture_teardown(void **state)
{
    struct fixture *fixture = *state;
    mem_fault_fail_at(0);
    for (uint32_t i = 0; i < SERVERS; i++)
        if (fixture->servers[i].link != NULL)
            server_free_objects(&fixture->servers[i]);
    if (fixture->locator != NULL)
        locator_end(fixture);
    if (fixture->second != NULL)
        second_end(fixture);
    sim_net_free(fixture->client_net);
    sim_loop_free(fixture->client_loop);
    map_memory_fini(&fixture->memory);
    log_free(fixture->log);
    sim_free(fixture->sim);
    free(fixture);
    return mem_fault_live() == 0 ? 0 : -1;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

#endif
