/* Connections of members, well and badly meant. */
#include "tests/unit/locator/fixture.h"

/* Pieces, delays, resets: joins and changes come through, in every seed. */
static void test_bad_network_delays_and_does_not_confuse(void **state)
{
    struct fixture *fixture = *state;
    struct fake_server *server = &fixture->servers[0];
    struct sim_faults faults = {
        .latency_min_us = 50, .latency_max_us = 20000, .split_bytes = 7, .reset_ppm = 30000};
    sim_set_faults(fixture->sim, &faults);
    server_start(server, 11);
    for (uint32_t i = 0; i < 30; i++) {
        char name[16];
        struct answer answer;
        Pb__RegionCreateRequest request = PB__REGION_CREATE_REQUEST__INIT;
        snprintf(name, sizeof(name), "r%u", i);
        request.name = message_bytes(slice_text(name));
        request.type = message_bytes(slice_text("PARTITION"));
        request.if_not_exists = true;
        uint32_t attempts = 0;
        do
            ask(fixture, 1020, &request.base, &answer);
        while (answer.number != 1021 && ++attempts < 50);
        assert_int_equal(answer.number, 1021);
    }
    sim_set_faults(fixture->sim, &(struct sim_faults){.latency_min_us = 50, .latency_max_us = 100});
    run(fixture, 10 * SEC);
    assert_int_equal(server->refused, OK);
    assert_true(link_is_up(server->link));
    assert_int_equal(server->map->region_count, 30);
    assert_int_equal(server->map->members[0].incarnation, 11);
    for (uint32_t i = 0; i < 30; i++)
        assert_int_equal(server->map->regions[i].buckets[0].generation, 1);
}

static void test_hostile_peers_are_dropped(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
    } cases[] = {
        {"V", 1}, /* and nothing more, for 5 s */
        {"V\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12},
        {"V\x81\x80\x01", 4},         /* a hello of 16,385 bytes */
        {"V\x02\xff\xff", 4},         /* no message */
        {"V\x00", 2},                 /* a message of no kind */
        {"V\x04\x32\x02\x08\x01", 6}, /* a beacon of who has not said hello */
        {"V\x02\x0a\x00", 4},         /* a hello that says nothing: refused with a text */
        {"VV", 2},
    };
    struct fixture *fixture = *state;
    struct locator_state now;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct client *client = calloc(1, sizeof(*client));
        *client = (struct client){.fixture = fixture};
        assert_int_equal(net_connect(fixture->client_net, sim_node_host(fixture->locator_node),
                                     10334, SEC, &client_events, client, &client->conn),
                         OK);
        assert_int_equal(net_conn_write(client->conn, cases[i].bytes, cases[i].len), OK);
        run(fixture, 7 * SEC);
        assert_true(client->closed);
        client_close(client);
        free(client);
    }
    locator_state(fixture->locator, &now);
    assert_int_equal(now.servers, 0);
    assert_int_equal(now.epoch, 1);
}

static void test_too_many_peers_are_turned_away_and_the_rest_served(void **state)
{
    enum { MANY = 300 };
    struct fixture *fixture = *state;
    struct client *clients = calloc(MANY, sizeof(*clients));
    uint32_t closed = 0;
    for (uint32_t i = 0; i < MANY; i++) {
        clients[i] = (struct client){.fixture = fixture};
        assert_int_equal(net_connect(fixture->client_net, sim_node_host(fixture->locator_node),
                                     10334, SEC, &client_events, &clients[i], &clients[i].conn),
                         OK);
        assert_int_equal(net_conn_write(clients[i].conn, "V", 1), OK);
    }
    run(fixture, SEC);
    for (uint32_t i = 0; i < MANY; i++)
        closed += clients[i].closed;
    assert_int_equal(closed, MANY - 256);
    for (uint32_t i = 0; i < MANY; i++)
        client_close(&clients[i]);
    free(clients);
    server_start(&fixture->servers[0], 11);
    assert_true(server_joins(&fixture->servers[0]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_bad_network_delays_and_does_not_confuse),
        TEST(test_hostile_peers_are_dropped),
        TEST(test_too_many_peers_are_turned_away_and_the_rest_served),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
