/* GetServer: who is named, who is not. Two servers are put into the map beforehand, since only
 * known ones come back. */
#include "tests/unit/locator/fixture.h"

/* The locator starts anew with a map that names servers 0 and 1, with these incarnations. */
static void put_servers_into_the_map(struct fixture *fixture)
{
    struct cluster_map *base, *map;
    struct buf packed;
    buf_init(&packed);
    assert_int_equal(
        cluster_map_unpack(slice_of(fixture->memory.bytes, fixture->memory.len), &base), OK);
    locator_end(fixture);
    assert_int_equal(cluster_map_edit(base, &map), OK);
    for (uint32_t i = 0; i < 2; i++) {
        struct fake_server *server = &fixture->servers[i];
        struct slice groups[] = {slice_text("both"), slice_text(i == 0 ? "one" : "two")};
        struct cluster_member member = {.name = slice_text(server->name),
                                        .incarnation = 11 + i,
                                        .host = slice_text(sim_node_host(server->node)),
                                        .port = server->port,
                                        .role = CLUSTER_SERVER,
                                        .groups = groups,
                                        .group_count = 2};
        uint32_t index;
        assert_int_equal(cluster_map_add_member(map, &member, &index), OK);
    }
    assert_int_equal(cluster_map_seal(map), OK);
    assert_int_equal(cluster_map_pack(map, &packed), OK);
    mem_free(fixture->memory.bytes);
    fixture->memory.bytes = mem_alloc(packed.len);
    memcpy(fixture->memory.bytes, packed.data, packed.len);
    fixture->memory.len = packed.len;
    fixture->memory.epoch = map->epoch;
    cluster_map_unref(map);
    cluster_map_unref(base);
    buf_fini(&packed);
    locator_start(fixture);
    for (uint32_t i = 0; i < 2; i++) {
        server_start(&fixture->servers[i], 11 + i);
        assert_true(server_joins(&fixture->servers[i]));
    }
    run(fixture, SEC);
}

/* Which server (1, 2), or 0 and the text. */
static uint32_t get_server(struct fixture *fixture, const char *group, const char *excluded_host,
                           uint16_t excluded_port, struct answer *answer)
{
    Pb__GetServerRequest request = PB__GET_SERVER_REQUEST__INIT;
    Pb__Server excluded = PB__SERVER__INIT;
    Pb__Server *list[] = {&excluded};
    request.server_group = message_bytes(slice_text(group));
    if (excluded_host != NULL) {
        excluded.hostname = message_bytes(slice_text(excluded_host));
        excluded.port = excluded_port;
        request.excluded_servers = list;
        request.n_excluded_servers = 1;
    }
    ask(fixture, 12, &request.base, answer);
    if (answer->number != 13)
        return 0;
    uint32_t found = 0;
    Pb__GetServerResponse *response =
        pb__get_server_response__unpack(NULL, answer->len, answer->body);
    for (uint32_t i = 0; i < 2; i++)
        if (slice_equal(message_slice(response->server->hostname),
                        slice_text(sim_node_host(fixture->servers[i].node))) &&
            response->server->port == fixture->servers[i].port)
            found = i + 1;
    pb__get_server_response__free_unpacked(response, NULL);
    return found;
}

static uint32_t any_server(struct fixture *fixture)
{
    struct answer answer;
    return get_server(fixture, "", NULL, 0, &answer);
}

static void test_without_servers_it_is_101(void **state)
{
    struct fixture *fixture = *state;
    struct answer answer;
    assert_int_equal(get_server(fixture, "", NULL, 0, &answer), 0);
    assert_int_equal(answer.code, 101);
    assert_string_equal(answer.text, "Unable to find a server");
    assert_int_equal(get_server(fixture, "g1", NULL, 0, &answer), 0);
    assert_int_equal(answer.code, 101);
    assert_string_equal(answer.text, "Unable to find a server in server group g1");
}

static void test_connection_is_closed_after_the_answer_and_the_rest_is_not_read(void **state)
{
    struct fixture *fixture = *state;
    struct client *client = calloc(1, sizeof(*client));
    Pb__GetServerRequest request = PB__GET_SERVER_REQUEST__INIT;
    struct slice body;
    client_open(fixture, client);
    client_send(client, 12, &request.base);
    client_send(client, 12, &request.base);
    assert_int_equal(client_reply(client, 1, SEC, &body), 1);
    assert_int_equal(client_reply(client, 2, SEC, &body), 0);
    assert_true(client->closed);
    client_close(client);
    free(client);
}

static void test_idle_servers_strictly_alternate(void **state)
{
    struct fixture *fixture = *state;
    put_servers_into_the_map(fixture);
    uint32_t last = any_server(fixture);
    assert_int_equal(last, 1); /* the lower address */
    for (uint32_t i = 0; i < 12; i++) {
        uint32_t next = any_server(fixture);
        assert_int_equal(next, 3 - last);
        last = next;
        run(fixture, 300 * MS); /* beacons that report the same load change nothing */
    }
}

static void test_less_loaded_server_is_named(void **state)
{
    struct fixture *fixture = *state;
    fixture->servers[0].load.clients = 3;
    put_servers_into_the_map(fixture);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(any_server(fixture), 2);
    assert_int_equal(any_server(fixture), 1); /* equal now */
    fixture->servers[1].load.clients = 9;
    run(fixture, SEC);
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(any_server(fixture), 1);
}

static void test_groups_are_exact(void **state)
{
    struct fixture *fixture = *state;
    struct answer answer;
    put_servers_into_the_map(fixture);
    assert_int_equal(get_server(fixture, "one", NULL, 0, &answer), 1);
    assert_int_equal(get_server(fixture, "two", NULL, 0, &answer), 2);
    assert_int_not_equal(get_server(fixture, "both", NULL, 0, &answer), 0);
    assert_int_equal(get_server(fixture, "one,two", NULL, 0, &answer), 0);
    assert_string_equal(answer.text, "Unable to find a server in server group one,two");
    assert_int_equal(get_server(fixture, "on", NULL, 0, &answer), 0);
}

static void test_exclusion_matches_the_advertised_text_and_port(void **state)
{
    struct fixture *fixture = *state;
    struct answer answer;
    put_servers_into_the_map(fixture);
    const char *host = sim_node_host(fixture->servers[0].node);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(get_server(fixture, "one", host, 40404, &answer), 0);
    assert_int_equal(answer.code, 101);
    assert_int_equal(get_server(fixture, "one", host, 40405, &answer), 1);
    assert_int_equal(get_server(fixture, "one", "server1", 40404, &answer),
                     1); /* another spelling */
}

static void test_dead_or_silent_server_is_not_named(void **state)
{
    struct fixture *fixture = *state;
    put_servers_into_the_map(fixture);
    server_crash(&fixture->servers[0], SIM_CRASH_RESET);
    run(fixture, 100 * MS);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(any_server(fixture), 2);
    sim_node_pause(fixture->servers[1].node);
    run(fixture, 1300 * MS); /* its link is up, its last beacon too old */
    assert_int_equal(any_server(fixture), 0);
    sim_node_resume(fixture->servers[1].node);
    run(fixture, 3 * SEC);
    assert_int_equal(any_server(fixture), 2);
}

static void test_server_with_an_older_map_is_not_named(void **state)
{
    struct fixture *fixture = *state;
    struct answer answer;
    put_servers_into_the_map(fixture);
    fixture->servers[0].acknowledges = false;
    create_region(fixture, "r", "PARTITION", &answer); /* times out: not acknowledged */
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(any_server(fixture), 2);
    link_acknowledge(fixture->servers[0].link, fixture->servers[0].map->epoch);
    run(fixture, SEC);
    assert_int_equal(any_server(fixture), 1);
}

static void test_others_are_told_to_who_asks_for_them(void **state)
{
    struct fixture *fixture = *state;
    Pb__GetServerRequest request = PB__GET_SERVER_REQUEST__INIT;
    struct answer answer;
    put_servers_into_the_map(fixture);
    for (int asks = 0; asks < 2; asks++) {
        request.with_others = asks;
        ask(fixture, 12, &request.base, &answer);
        assert_int_equal(answer.number, 13);
        Pb__GetServerResponse *response =
            pb__get_server_response__unpack(NULL, answer.len, answer.body);
        assert_int_equal(response->n_other, asks);
        for (size_t i = 0; i < response->n_other; i++)
            assert_false(slice_equal(message_slice(response->other[i]->hostname),
                                     message_slice(response->server->hostname)) &&
                         response->other[i]->port == response->server->port);
        pb__get_server_response__free_unpacked(response, NULL);
    }
}

/* Both servers of the map are there, and neither has the map in force. */
static void leave_no_server_with_the_map(struct fixture *fixture)
{
    struct answer answer;
    put_servers_into_the_map(fixture);
    for (uint32_t i = 0; i < 2; i++)
        fixture->servers[i].acknowledges = false;
    create_region(fixture, "r", "PARTITION", &answer); /* times out: not acknowledged */
    assert_int_equal(answer.code, 100);
}

static struct client *client_that_asks(struct fixture *fixture)
{
    struct client *client = calloc(1, sizeof(*client));
    Pb__GetServerRequest request = PB__GET_SERVER_REQUEST__INIT;
    struct slice body;
    assert_non_null(client);
    client_open(fixture, client);
    client_send(client, 12, &request.base);
    assert_int_equal(client_reply(client, 1, SEC, &body), 0);
    return client;
}

static void test_client_waits_for_a_server_that_takes_a_new_map(void **state)
{
    struct fixture *fixture = *state;
    struct slice body;
    leave_no_server_with_the_map(fixture);
    struct client *client = client_that_asks(fixture);
    struct client *impatient = client_that_asks(fixture);
    client_close(impatient);
    free(impatient);
    link_acknowledge(fixture->servers[1].link, fixture->servers[1].map->epoch);
    assert_int_equal(client_reply(client, 1, 100 * MS, &body), 13);
    Pb__GetServerResponse *response = pb__get_server_response__unpack(NULL, body.len, body.data);
    assert_int_equal(response->server->port, fixture->servers[1].port);
    pb__get_server_response__free_unpacked(response, NULL);
    run(fixture, SEC);
    assert_true(client->closed);
    client_close(client);
    free(client);
}

static void test_client_that_waited_in_vain_is_told_101(void **state)
{
    struct fixture *fixture = *state;
    struct slice body;
    char text[2048];
    leave_no_server_with_the_map(fixture);
    struct client *client = client_that_asks(fixture);
    assert_int_equal(client_reply(client, 1, 2 * SEC, &body), 1);
    assert_int_equal(error_of(body, text), 101);
    client_close(client);
    free(client);
}

static void test_client_that_waits_does_not_outlive_the_locator(void **state)
{
    struct fixture *fixture = *state;
    leave_no_server_with_the_map(fixture);
    struct client *client = client_that_asks(fixture);
    locator_end(fixture);
    run(fixture, SEC);
    assert_true(client->closed);
    locator_start(fixture);
    client_close(client);
    free(client);
}

static void test_without_memory_to_wait_the_client_is_told_101_or_nothing(void **state)
{
    struct fixture *fixture = *state;
    Pb__GetServerRequest request = PB__GET_SERVER_REQUEST__INIT;
    bool untouched = false;
    unsigned refused = 0, waited = 0;
    leave_no_server_with_the_map(fixture);
    for (unsigned long n = 1; !untouched; n++) {
        struct client *client = calloc(1, sizeof(*client));
        struct slice body;
        char text[2048];
        assert_non_null(client);
        client_open(fixture, client);
        client_send(client, 12, &request.base);
        mem_fault_fail_at(n);
        uint32_t number = client_reply(client, 1, 100 * MS, &body);
        untouched = mem_fault_calls() < n;
        mem_fault_fail_at(0);
        waited += number == 0 && !client->closed;
        refused += number == 1 && error_of(body, text) == 101;
        client_close(client);
        free(client);
    }
    assert_true(refused > 0 && waited > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_without_servers_it_is_101),
        TEST(test_connection_is_closed_after_the_answer_and_the_rest_is_not_read),
        TEST(test_idle_servers_strictly_alternate),
        TEST(test_less_loaded_server_is_named),
        TEST(test_groups_are_exact),
        TEST(test_exclusion_matches_the_advertised_text_and_port),
        TEST(test_dead_or_silent_server_is_not_named),
        TEST(test_server_with_an_older_map_is_not_named),
        TEST(test_others_are_told_to_who_asks_for_them),
        TEST(test_client_waits_for_a_server_that_takes_a_new_map),
        TEST(test_client_that_waited_in_vain_is_told_101),
        TEST(test_client_that_waits_does_not_outlive_the_locator),
        TEST(test_without_memory_to_wait_the_client_is_told_101_or_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
