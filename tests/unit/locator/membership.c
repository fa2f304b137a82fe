/* Joining, coming back, taking the place of the dead. */
#include "tests/unit/locator/fixture.h"

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

static uint32_t get_server(struct fixture *fixture)
{
    Pb__GetServerRequest request = PB__GET_SERVER_REQUEST__INIT;
    struct answer answer;
    ask(fixture, 12, &request.base, &answer);
    return answer.number;
}

static void test_server_that_ends_on_purpose_is_no_trouble(void **state)
{
    struct fixture *fixture = *state;
    struct fake_server *server = &fixture->servers[0];
    struct answer answer;
    server_start(server, 11);
    assert_true(server_joins(server));
    create_region(fixture, "r", "PARTITION", &answer);
    assert_int_equal(get_server(fixture), 13);
    link_leave(server->link);
    run(fixture, MS);
    assert_true(link_is_up(server->link));
    assert_int_equal(get_server(fixture), 1);
    assert_true(logged(fixture, "VG1204"));
    server_free_objects(server);
    run(fixture, 3 * SEC);
    assert_true(logged(fixture, "VG1205"));
    assert_true(logged(fixture, "VG1206"));
    assert_false(logged(fixture, "VG1210"));
    assert_false(logged(fixture, "VG1212"));
    assert_false(logged(fixture, "WARN"));
    server_start(server, 12);
    assert_true(server_joins(server));
    run(fixture, SEC);
    assert_int_equal(get_server(fixture), 13);
    server_crash(server, SIM_CRASH_RESET);
    run(fixture, 3 * SEC);
    assert_true(logged(fixture, "VG1210")); /* the purpose was the other one's */
}

/* The one that was confirmed is named; before, nothing is said. */
static void test_server_is_named_when_it_is_confirmed(void **state)
{
    struct fixture *fixture = *state;
    struct fake_server *server = &fixture->servers[0];
    server->acknowledges = false;
    server_start(server, 11);
    assert_true(server_joins(server));
    run(fixture, SEC);
    assert_int_equal(server->confirmations, 0);
    assert_int_equal(get_server(fixture), 1);
    link_acknowledge(server->link, server->map->epoch);
    run(fixture, MS); /* far less than a beacon's time */
    assert_int_equal(server->confirmations, 1);
    assert_int_equal(get_server(fixture), 13);
    run(fixture, SEC);
    assert_int_equal(server->confirmations, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_same_incarnation_comes_back_with_everything),
        TEST(test_name_of_a_living_server_is_refused),
        TEST(test_name_of_a_silent_server_is_refused),
        TEST(test_cut_off_server_keeps_its_name),
        TEST(test_server_of_another_cluster_is_refused_and_goes_on),
        TEST(test_older_map_than_the_servers_is_not_served),
        TEST(test_server_that_ends_on_purpose_is_no_trouble),
        TEST(test_server_is_named_when_it_is_confirmed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
