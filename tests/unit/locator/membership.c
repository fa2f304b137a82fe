/* Joining, coming back, taking the place of the dead. */
#include "tests/unit/locator/fixture.h"

static void test_first_server_joins_and_has_the_map(void **state)
{
    struct fixture *fixture = *state;
    struct fake_server *server = &fixture->servers[0];
    struct locator_state now;
    server_start(server, 11);
    assert_true(server_joins(server));
    assert_int_equal(server->map->member_count, 1);
    assert_true(slice_equal(server->map->members[0].name, slice_text("server1")));
    assert_int_equal(server->map->members[0].incarnation, 11);
    run(fixture, SEC);
    locator_state(fixture->locator, &now);
    assert_int_equal(now.servers_up, 1);
    assert_int_equal(now.epoch, server->map->epoch);
    assert_memory_equal(now.cluster_id, server->map->cluster_id, CLUSTER_ID_BYTES);
    assert_true(logged(fixture, "VG1201"));
}

static void test_region_before_any_server_gets_its_owner_at_the_join(void **state)
{
    struct fixture *fixture = *state;
    struct fake_server *server = &fixture->servers[0];
    struct answer answer;
    create_region(fixture, "early", "PARTITION", &answer);
    assert_int_equal(answer.number, 1021);
    server_start(server, 11);
    assert_true(server_joins(server));
    for (uint32_t i = 0; i < 7; i++) {
        const struct cluster_bucket *bucket = bucket_of(server->map, "early", i);
        assert_int_equal(bucket->generation, 1);
        assert_int_equal(bucket->term, 1);
        assert_int_equal(bucket->set_version, 1);
        assert_int_equal(bucket->primary, 0);
        assert_int_equal(bucket->in_sync_count, 1);
    }
    assert_false(logged(fixture, "VG1231"));
}

static void test_same_incarnation_comes_back_with_everything(void **state)
{
    struct fixture *fixture = *state;
    struct fake_server *server = &fixture->servers[0];
    struct answer answer;
    server_start(server, 11);
    assert_true(server_joins(server));
    create_region(fixture, "r", "PARTITION", &answer);
    uint64_t epoch = server->map->epoch;
    sim_partition(server->node, fixture->locator_node);
    sim_partition(fixture->locator_node, server->node);
    run(fixture, 20 * SEC);
    assert_false(link_is_up(server->link));
    sim_heal_all(fixture->sim);
    run(fixture, 5 * SEC);
    assert_true(link_is_up(server->link));
    assert_int_equal(server->refused, OK);
    assert_int_equal(server->map->epoch, epoch);
    assert_int_equal(bucket_of(server->map, "r", 3)->generation, 1);
    assert_true(logged(fixture, "VG1210"));
}

static void test_restarted_server_starts_empty_with_the_next_generation(void **state)
{
    struct fixture *fixture = *state;
    struct fake_server *server = &fixture->servers[0];
    struct answer answer;
    server_start(server, 11);
    assert_true(server_joins(server));
    create_region(fixture, "r", "PARTITION", &answer);
    server->load.entries = 4711;
    run(fixture, SEC);
    uint64_t epoch = server->map->epoch;
    server_crash(server, SIM_CRASH_RESET);
    server_start(server, 12);
    assert_true(server_joins(server));
    assert_int_equal(server->map->member_count, 1);
    assert_int_equal(server->map->members[0].incarnation, 12);
    assert_true(server->map->epoch > epoch);
    for (uint32_t i = 0; i < 7; i++) {
        const struct cluster_bucket *bucket = bucket_of(server->map, "r", i);
        assert_int_equal(bucket->generation, 2);
        assert_int_equal(bucket->term, 2);
        assert_int_equal(bucket->set_version, 2);
        assert_int_equal(bucket->primary, 0);
    }
    assert_true(logged(fixture, "VG1231"));
    assert_true(logged(fixture, "4711 entries"));
}

static void test_other_server_takes_the_place_of_one_that_is_provably_gone(void **state)
{
    struct fixture *fixture = *state;
    struct answer answer;
    server_start(&fixture->servers[0], 11);
    assert_true(server_joins(&fixture->servers[0]));
    create_region(fixture, "r", "REPLICATE", &answer);
    server_crash(&fixture->servers[0], SIM_CRASH_RESET);
    server_start(&fixture->servers[1], 21);
    assert_true(server_joins(&fixture->servers[1]));
    assert_int_equal(fixture->servers[1].map->member_count, 1);
    assert_int_equal(bucket_of(fixture->servers[1].map, "r", 0)->generation, 2);
}

static void test_name_of_a_living_server_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct fake_server *second = &fixture->servers[1];
    server_start(&fixture->servers[0], 11);
    assert_true(server_joins(&fixture->servers[0]));
    snprintf(second->name, sizeof(second->name), "server1");
    server_start(second, 21);
    assert_true(server_is_refused(second));
    assert_int_equal(second->refused, ERROR_EXISTS);
    assert_non_null(strstr(second->refused_text, "vug member forget server1"));
    assert_true(link_is_up(fixture->servers[0].link));
    assert_true(logged(fixture, "VG1220"));
}

static void test_name_of_a_silent_server_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct fake_server *second = &fixture->servers[1];
    struct answer answer;
    server_start(&fixture->servers[0], 11);
    assert_true(server_joins(&fixture->servers[0]));
    create_region(fixture, "r", "PARTITION", &answer);
    server_crash(&fixture->servers[0], SIM_CRASH_SILENT);
    run(fixture, 10 * SEC);
    snprintf(second->name, sizeof(second->name), "server1");
    server_start(second, 21);
    assert_true(server_is_refused(second));
    assert_int_equal(second->refused, ERROR_EXISTS);
}

/* Its process lives and has only lost the locator: it must not be replaced, for it may go on
 * acknowledging. */
static void test_cut_off_server_keeps_its_name(void **state)
{
    struct fixture *fixture = *state;
    struct fake_server *second = &fixture->servers[1];
    struct answer answer;
    server_start(&fixture->servers[0], 11);
    assert_true(server_joins(&fixture->servers[0]));
    create_region(fixture, "r", "PARTITION", &answer);
    sim_partition(fixture->servers[0].node, fixture->locator_node);
    sim_partition(fixture->locator_node, fixture->servers[0].node);
    run(fixture, 7 * SEC);
    snprintf(second->name, sizeof(second->name), "server1");
    server_start(second, 21);
    assert_true(server_is_refused(second));
    assert_int_equal(second->refused, ERROR_EXISTS);
}

static void test_second_server_is_refused_with_a_sentence(void **state)
{
    struct fixture *fixture = *state;
    server_start(&fixture->servers[0], 11);
    assert_true(server_joins(&fixture->servers[0]));
    server_start(&fixture->servers[1], 21);
    assert_true(server_is_refused(&fixture->servers[1]));
    assert_int_equal(fixture->servers[1].refused, ERROR_UNSUPPORTED);
    assert_non_null(strstr(fixture->servers[1].refused_text, "one server"));
    assert_non_null(strstr(fixture->servers[1].refused_text, "server1"));
}

static void test_server_of_another_cluster_is_refused_and_goes_on(void **state)
{
    struct fixture *fixture = *state;
    struct fake_server *server = &fixture->servers[0];
    server_start(server, 11);
    assert_true(server_joins(server));
    locator_end(fixture);
    map_memory_fini(&fixture->memory);
    locator_start(fixture);
    run(fixture, 5 * SEC);
    assert_false(link_is_up(server->link));
    assert_int_equal(server->refused, OK);
    assert_true(logged(fixture, "VG1302"));
    assert_true(logged(fixture, "another cluster"));
}

static void
test_restarted_locator_knows_everything_and_servers_come_back_within_500_ms(void **state)
{
    struct fixture *fixture = *state;
    struct fake_server *server = &fixture->servers[0];
    struct answer answer;
    struct locator_state before, after;
    server_start(server, 11);
    assert_true(server_joins(server));
    create_region(fixture, "r", "PARTITION", &answer);
    assert_int_equal(
        server_sql(server,
                   "CREATE TABLE t (id STRING) WITH ('connector'='geode-region','region'='r')"),
        0);
    locator_state(fixture->locator, &before);
    locator_end(fixture);
    run(fixture, 10 * SEC);
    assert_false(link_is_up(server->link));
    locator_start(fixture);
    run(fixture, 600 * MS); /* 500 and the way there */
    assert_true(link_is_up(server->link));
    locator_state(fixture->locator, &after);
    assert_memory_equal(after.cluster_id, before.cluster_id, CLUSTER_ID_BYTES);
    assert_int_equal(after.epoch, before.epoch);
    assert_int_equal(after.regions, 1);
    assert_int_equal(after.tables, 1);
    assert_int_equal(after.servers_up, 1);
}

static void test_older_map_than_the_servers_is_not_served(void **state)
{
    struct fixture *fixture = *state;
    struct fake_server *server = &fixture->servers[0];
    struct answer answer;
    server_start(server, 11);
    assert_true(server_joins(server));
    struct map_memory old = fixture->memory;
    old.bytes = malloc(old.len);
    memcpy(old.bytes, fixture->memory.bytes, old.len);
    create_region(fixture, "r", "PARTITION", &answer);
    locator_end(fixture);
    fixture->memory.epoch = old.epoch;
    memcpy(fixture->memory.bytes, old.bytes, old.len);
    fixture->memory.len = old.len;
    free(old.bytes);
    locator_start(fixture);
    run(fixture, 3 * SEC);
    assert_false(link_is_up(server->link));
    assert_true(logged(fixture, "VG1232"));
    assert_non_null(cluster_map_region(server->map, slice_text("r")));
}

static void test_silent_server_without_buckets_is_struck(void **state)
{
    struct fixture *fixture = *state;
    struct locator_state now;
    server_start(&fixture->servers[0], 11);
    assert_true(server_joins(&fixture->servers[0]));
    server_crash(&fixture->servers[0], SIM_CRASH_SILENT);
    run(fixture, 4 * SEC);
    locator_state(fixture->locator, &now);
    assert_int_equal(now.servers, 1);
    run(fixture, 12 * SEC);
    locator_state(fixture->locator, &now);
    assert_int_equal(now.servers, 0);
    server_start(&fixture->servers[1], 21);
    assert_true(server_joins(&fixture->servers[1]));
}

static void forget(struct fixture *fixture, const char *name, struct answer *answer)
{
    Pb__MemberForgetRequest request = PB__MEMBER_FORGET_REQUEST__INIT;
    request.name = message_bytes(slice_text(name));
    ask(fixture, 1032, &request.base, answer);
}

static void test_forget_is_for_the_dead(void **state)
{
    struct fixture *fixture = *state;
    struct answer answer;
    server_start(&fixture->servers[0], 11);
    assert_true(server_joins(&fixture->servers[0]));
    create_region(fixture, "r", "PARTITION", &answer);
    forget(fixture, "server1", &answer);
    assert_int_equal(answer.code, 50);
    assert_memory_equal(answer.text, "EXISTS: ", 8);
    forget(fixture, "servr1", &answer);
    assert_int_equal(answer.code, 100);
    assert_non_null(strstr(answer.text, "did you mean server1?"));
    server_crash(&fixture->servers[0], SIM_CRASH_SILENT);
    run(fixture, 10 * SEC);
    forget(fixture, "server1", &answer);
    assert_int_equal(answer.number, 1033);
    assert_true(logged(fixture, "VG1231"));
    server_start(&fixture->servers[1], 21);
    assert_true(server_joins(&fixture->servers[1]));
    const struct cluster_bucket *bucket = bucket_of(fixture->servers[1].map, "r", 0);
    assert_int_equal(bucket->generation, 2);
    assert_int_equal(bucket->term, 2);
    assert_int_equal(bucket->set_version, 3); /* out, and in again */
}

static void test_gone_server_is_shown_and_no_region_waits_for_it(void **state)
{
    struct fixture *fixture = *state;
    struct answer answer;
    server_start(&fixture->servers[0], 11);
    assert_true(server_joins(&fixture->servers[0]));
    create_region(fixture, "r", "PARTITION", &answer);
    server_crash(&fixture->servers[0], SIM_CRASH_RESET);
    run(fixture, 2 * SEC);
    assert_true(logged(fixture, "VG1212"));
    uint64_t before_us = sim_now_us(fixture->sim);
    create_region(fixture, "s", "PARTITION", &answer);
    assert_int_equal(answer.number, 1021);
    assert_true(sim_now_us(fixture->sim) - before_us < SEC);
}

static void test_stop_reaches_the_member_that_is_named(void **state)
{
    struct fixture *fixture = *state;
    struct answer answer;
    Pb__MemberStopRequest request = PB__MEMBER_STOP_REQUEST__INIT;
    server_start(&fixture->servers[0], 11);
    assert_true(server_joins(&fixture->servers[0]));
    request.name = message_bytes(slice_text("server1"));
    ask(fixture, 1028, &request.base, &answer);
    assert_int_equal(answer.number, 1029);
    run(fixture, SEC);
    assert_int_equal(fixture->servers[0].stops, 1);
    request.name = message_bytes(slice_text("locator1"));
    ask(fixture, 1028, &request.base, &answer);
    assert_int_equal(fixture->stops, 1);
    request.name = message_bytes(slice_text("nobody"));
    ask(fixture, 1028, &request.base, &answer);
    assert_memory_equal(answer.text, "NOT_FOUND: ", 11);
}

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
        TEST(test_first_server_joins_and_has_the_map),
        TEST(test_region_before_any_server_gets_its_owner_at_the_join),
        TEST(test_same_incarnation_comes_back_with_everything),
        TEST(test_restarted_server_starts_empty_with_the_next_generation),
        TEST(test_other_server_takes_the_place_of_one_that_is_provably_gone),
        TEST(test_name_of_a_living_server_is_refused),
        TEST(test_name_of_a_silent_server_is_refused),
        TEST(test_cut_off_server_keeps_its_name),
        TEST(test_second_server_is_refused_with_a_sentence),
        TEST(test_server_of_another_cluster_is_refused_and_goes_on),
        TEST(test_restarted_locator_knows_everything_and_servers_come_back_within_500_ms),
        TEST(test_older_map_than_the_servers_is_not_served),
        TEST(test_silent_server_without_buckets_is_struck),
        TEST(test_forget_is_for_the_dead),
        TEST(test_gone_server_is_shown_and_no_region_waits_for_it),
        TEST(test_stop_reaches_the_member_that_is_named),
        TEST(test_bad_network_delays_and_does_not_confuse),
        TEST(test_hostile_peers_are_dropped),
        TEST(test_too_many_peers_are_turned_away_and_the_rest_served),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
