/* Answers that wait for every server. */
#include "tests/unit/locator/fixture.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_create_is_answered_when_every_server_has_acknowledged),
        TEST(test_create_that_is_not_acknowledged_says_so_after_5_s),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
