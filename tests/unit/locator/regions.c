/* Regions: what can be one, when a create is answered, what is refused and how. */
#include "tests/unit/locator/fixture.h"

struct region_case {
    const char *name, *type;
    uint32_t copies, buckets;
    const char *key, *value;
    const char *failure; /* begins so; NULL: it is created */
    const char *says;
};

static void test_every_request_is_created_or_refused_with_its_reason(void **state)
{
    static const char long_name[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                                    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                                    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                                    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                                    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    static const struct region_case cases[] = {
        {"a", "PARTITION", 0, 0, "", "", NULL, NULL},
        {"/b", "partition", 0, 1, "string", "json", NULL, NULL},
        {"c_-9", "REPLICATE", 0, 16384, "", "", NULL, NULL},
        {"d", "PARTITION_REDUNDANT", 0, 0, "", "", NULL, NULL},
        {"e", "PARTITION", 3, 0, "", "", NULL, NULL},
        {"_f", "REPLICATE", 0, 0, "", "", NULL, NULL},
        {"a", "PARTITION", 0, 0, "", "", "EXISTS: ", "same attributes"},
        {"a", "REPLICATE", 0, 0, "", "", "EXISTS: ", "exists already, as PARTITION"},
        {"", "PARTITION", 0, 0, "", "", "INVALID: ", "needs a name"},
        {"__x", "PARTITION", 0, 0, "", "", "INVALID: ", "the system's"},
        {"a/b", "PARTITION", 0, 0, "", "", "INVALID: ", "Regions inside of regions"},
        {"a b", "PARTITION", 0, 0, "", "", "INVALID: ", "character 2"},
        {long_name, "PARTITION", 0, 0, "", "", "INVALID: ", "at most 255"},
        {"g", "", 0, 0, "", "", "INVALID: ", "needs a type"},
        {"g", "PARTITIN", 0, 0, "", "", "INVALID: ", "did you mean PARTITION?"},
        {"g", "xyzzy", 0, 0, "", "", "INVALID: ", "there are PARTITION"},
        {"g", "REPLICATE_PERSISTENT", 0, 0, "", "",
         "UNSUPPORTED: ", "the nearest that is supported is REPLICATE."},
        {"g", "PARTITION_REDUNDANT_HEAP_LRU", 0, 0, "", "",
         "UNSUPPORTED: ", "supported is PARTITION_REDUNDANT."},
        {"g", "LOCAL", 0, 0, "", "", "UNSUPPORTED: ", "supported is PARTITION."},
        {"g", "CACHING_PROXY", 0, 0, "", "", "UNSUPPORTED: ", "supported is PARTITION."},
        {"g", "PARTITION", 4, 0, "", "", "INVALID: ", "0 to 3 redundant copies, not 4"},
        {"g", "REPLICATE", 1, 0, "", "", "INVALID: ", "copy on every server"},
        {"g", "PARTITION", 0, 16385, "", "", "INVALID: ", "1 to 16384 buckets"},
        {"g", "PARTITION", 0, 0, "text", "", "INVALID: ", "key constraint text"},
        {"g", "PARTITION", 0, 0, "", "a-word-that-is-much-longer-than-any",
         "INVALID: ", "value constraint"},
    };
    struct fixture *fixture = *state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct region_case *row = &cases[i];
        struct answer answer;
        Pb__RegionCreateRequest request = PB__REGION_CREATE_REQUEST__INIT;
        request.name = message_bytes(slice_text(row->name));
        request.type = message_bytes(slice_text(row->type));
        request.redundant_copies = row->copies;
        request.bucket_count = row->buckets;
        request.key_constraint = message_bytes(slice_text(row->key));
        request.value_constraint = message_bytes(slice_text(row->value));
        ask(fixture, 1020, &request.base, &answer);
        if (row->failure == NULL) {
            assert_int_equal(answer.number, 1021);
            continue;
        }
        assert_int_equal(answer.number, 1);
        if (strncmp(answer.text, row->failure, strlen(row->failure)) != 0 ||
            strstr(answer.text, row->says) == NULL)
            fail_msg("%s %s: %s", row->name, row->type, answer.text);
    }
    struct locator_state now;
    locator_state(fixture->locator, &now);
    assert_int_equal(now.regions, 6);
    assert_int_equal(now.epoch, 7);
}

static void test_every_shortcut_of_geode_is_known(void **state)
{
    static const char *const words[] = {
        "REPLICATE",
        "REPLICATE_PERSISTENT",
        "REPLICATE_OVERFLOW",
        "REPLICATE_PERSISTENT_OVERFLOW",
        "REPLICATE_HEAP_LRU",
        "REPLICATE_PROXY",
        "PARTITION",
        "PARTITION_REDUNDANT",
        "PARTITION_PERSISTENT",
        "PARTITION_REDUNDANT_PERSISTENT",
        "PARTITION_OVERFLOW",
        "PARTITION_REDUNDANT_OVERFLOW",
        "PARTITION_PERSISTENT_OVERFLOW",
        "PARTITION_REDUNDANT_PERSISTENT_OVERFLOW",
        "PARTITION_HEAP_LRU",
        "PARTITION_REDUNDANT_HEAP_LRU",
        "PARTITION_PROXY",
        "PARTITION_PROXY_REDUNDANT",
        "LOCAL",
        "LOCAL_PERSISTENT",
        "LOCAL_HEAP_LRU",
        "LOCAL_OVERFLOW",
        "LOCAL_PERSISTENT_OVERFLOW",
        "PROXY",
        "CACHING_PROXY",
        "CACHING_PROXY_HEAP_LRU",
        "CACHING_PROXY_OVERFLOW",
    };
    struct fixture *fixture = *state;
    uint32_t created = 0;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        struct answer answer;
        char name[16];
        snprintf(name, sizeof(name), "r%zu", i);
        create_region(fixture, name, words[i], &answer);
        created += answer.number == 1021;
        if (answer.number != 1021 && strncmp(answer.text, "UNSUPPORTED: ", 13) != 0)
            fail_msg("%s: %s", words[i], answer.text);
    }
    assert_int_equal(created, 3);
}

static void test_if_not_exists_and_if_exists_are_success(void **state)
{
    struct fixture *fixture = *state;
    struct answer answer;
    Pb__RegionCreateRequest create = PB__REGION_CREATE_REQUEST__INIT;
    Pb__RegionDestroyRequest destroy = PB__REGION_DESTROY_REQUEST__INIT;
    create.name = destroy.name = message_bytes(slice_text("r"));
    create.type = message_bytes(slice_text("PARTITION"));
    create.if_not_exists = true;
    ask(fixture, 1020, &create.base, &answer);
    assert_int_equal(answer.number, 1021);
    ask(fixture, 1020, &create.base, &answer);
    assert_int_equal(answer.number, 1021);
    create.type = message_bytes(slice_text("REPLICATE"));
    ask(fixture, 1020, &create.base, &answer);
    assert_memory_equal(answer.text, "EXISTS: ", 8);
    ask(fixture, 1022, &destroy.base, &answer);
    assert_int_equal(answer.number, 1023);
    ask(fixture, 1022, &destroy.base, &answer);
    assert_memory_equal(answer.text, "NOT_FOUND: ", 11);
    destroy.if_exists = true;
    ask(fixture, 1022, &destroy.base, &answer);
    assert_int_equal(answer.number, 1023);
}

static void test_region_ids_are_never_used_again(void **state)
{
    struct fixture *fixture = *state;
    struct fake_server *server = &fixture->servers[0];
    struct answer answer;
    Pb__RegionDestroyRequest destroy = PB__REGION_DESTROY_REQUEST__INIT;
    destroy.name = message_bytes(slice_text("r"));
    server_start(server, 11);
    assert_true(server_joins(server));
    create_region(fixture, "r", "PARTITION", &answer);
    uint32_t first = cluster_map_region(server->map, slice_text("r"))->id;
    ask(fixture, 1022, &destroy.base, &answer);
    assert_null(cluster_map_region(server->map, slice_text("r")));
    create_region(fixture, "r", "PARTITION", &answer);
    assert_true(cluster_map_region(server->map, slice_text("r"))->id > first);
}

static bool has_map_with_region(void *arg)
{
    const struct fake_server *server = arg;
    return server->map != NULL && cluster_map_region(server->map, slice_text("r")) != NULL;
}

static void send_create(struct fixture *fixture, struct client *client)
{
    Pb__RegionCreateRequest request = PB__REGION_CREATE_REQUEST__INIT;
    request.name = message_bytes(slice_text("r"));
    request.type = message_bytes(slice_text("PARTITION"));
    client_open(fixture, client);
    client_send(client, 1020, &request.base);
}

static void test_create_is_answered_when_every_server_has_acknowledged(void **state)
{
    struct fixture *fixture = *state;
    struct fake_server *server = &fixture->servers[0];
    struct client *client = calloc(1, sizeof(*client));
    struct slice body;
    server_start(server, 11);
    assert_true(server_joins(server));
    server->acknowledges = false;
    send_create(fixture, client);
    assert_true(sim_run_until(fixture->sim, has_map_with_region, server, SEC));
    assert_int_equal(client_reply(client, 1, 3 * SEC, &body), 0);
    link_acknowledge(server->link, server->map->epoch);
    assert_int_equal(client_reply(client, 1, SEC, &body), 1021);
    client_close(client);
    free(client);
}

static void test_create_that_is_not_acknowledged_says_so_after_5_s(void **state)
{
    struct fixture *fixture = *state;
    struct fake_server *server = &fixture->servers[0];
    struct client *client = calloc(1, sizeof(*client));
    struct slice body;
    char text[2048];
    server_start(server, 11);
    assert_true(server_joins(server));
    server->acknowledges = false;
    send_create(fixture, client);
    assert_int_equal(client_reply(client, 1, 7 * SEC, &body), 1);
    assert_int_equal(error_of(body, text), 100);
    assert_memory_equal(text, "TIMEOUT: region r was created", 29);
    assert_non_null(strstr(text, "server1"));
    assert_true(has_map_with_region(server));
    client_close(client);
    free(client);
}

static void test_destroy_of_a_region_that_a_table_reads_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct fake_server *server = &fixture->servers[0];
    struct answer answer;
    Pb__RegionDestroyRequest destroy = PB__REGION_DESTROY_REQUEST__INIT;
    destroy.name = message_bytes(slice_text("/r"));
    server_start(server, 11);
    assert_true(server_joins(server));
    create_region(fixture, "r", "PARTITION", &answer);
    assert_int_equal(
        server_sql(server,
                   "CREATE TABLE t (id STRING) WITH ('connector'='geode-region','region'='r')"),
        0);
    ask(fixture, 1022, &destroy.base, &answer);
    assert_memory_equal(answer.text, "EXISTS: table t reads region r.", 31);
    assert_int_equal(server_sql(server, "DROP TABLE t"), 0);
    ask(fixture, 1022, &destroy.base, &answer);
    assert_int_equal(answer.number, 1023);
}

static void clear(struct fixture *fixture, const char *name, struct answer *answer)
{
    Pb__RegionClearRequest request = PB__REGION_CLEAR_REQUEST__INIT;
    request.name = message_bytes(slice_text(name));
    ask(fixture, 1030, &request.base, answer);
}

static void test_clear_is_done_by_the_servers_that_hold_primaries(void **state)
{
    struct fixture *fixture = *state;
    struct fake_server *server = &fixture->servers[0];
    struct answer answer;
    server->cleared = 42;
    create_region(fixture, "r", "PARTITION", &answer);
    clear(fixture, "r", &answer);
    assert_int_equal(answer.number, 1031); /* nobody holds anything */
    clear(fixture, "q", &answer);
    assert_memory_equal(answer.text, "NOT_FOUND: ", 11);
    server_start(server, 11);
    assert_true(server_joins(server));
    clear(fixture, "r", &answer);
    assert_int_equal(answer.number, 1031);
    Pb__RegionClearResponse *response =
        pb__region_clear_response__unpack(NULL, answer.len, answer.body);
    assert_int_equal(response->entries, 42);
    pb__region_clear_response__free_unpacked(response, NULL);
    assert_int_equal(server->clears, 1);
    server->answers_calls = false;
    clear(fixture, "r", &answer);
    assert_memory_equal(answer.text, "TIMEOUT: ", 9);
    server_crash(server, SIM_CRASH_RESET);
    run(fixture, SEC);
    clear(fixture, "r", &answer);
    assert_memory_equal(answer.text, "UNREACHABLE: ", 13);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_every_request_is_created_or_refused_with_its_reason),
        TEST(test_every_shortcut_of_geode_is_known),
        TEST(test_if_not_exists_and_if_exists_are_success),
        TEST(test_region_ids_are_never_used_again),
        TEST(test_create_is_answered_when_every_server_has_acknowledged),
        TEST(test_create_that_is_not_acknowledged_says_so_after_5_s),
        TEST(test_destroy_of_a_region_that_a_table_reads_is_refused),
        TEST(test_clear_is_done_by_the_servers_that_hold_primaries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
