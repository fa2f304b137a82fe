/* ClusterStatus, and Rebalance, which has nothing to do yet. */
#include "tests/unit/locator/fixture.h"

static Pb__ClusterStatusResponse *status_of(struct fixture *fixture)
{
    struct answer *answer = calloc(1, sizeof(*answer));
    Pb__ClusterStatusRequest request = PB__CLUSTER_STATUS_REQUEST__INIT;
    request.want_members = request.want_regions = request.want_tables = request.want_degraded =
        true;
    ask(fixture, 1024, &request.base, answer);
    assert_int_equal(answer->number, 1025);
    Pb__ClusterStatusResponse *response =
        pb__cluster_status_response__unpack(NULL, answer->len, answer->body);
    assert_non_null(response);
    free(answer);
    return response;
}

#define IS(field, text) assert_true(slice_equal(message_slice(field), slice_text(text)))

static void test_members_regions_and_tables_are_told(void **state)
{
    struct fixture *fixture = *state;
    struct fake_server *server = &fixture->servers[0];
    struct answer answer;
    struct link_region_load loads[] = {{1, 30, 3000}};
    snprintf(server->groups, sizeof(server->groups), " eu , hot");
    server_start(server, 11);
    assert_true(server_joins(server));
    create_region(fixture, "r", "REPLICATE", &answer);
    assert_int_equal(
        server_sql(server,
                   "CREATE TABLE t (id STRING) WITH ('connector'='geode-region','region'='r')"),
        0);
    server->load = (struct link_load){.entries = 30,
                                      .bytes = 3000,
                                      .clients = 2,
                                      .uptime_s = 5,
                                      .regions = loads,
                                      .region_count = 1};
    run(fixture, SEC);
    Pb__ClusterStatusResponse *status = status_of(fixture);
    assert_int_equal(status->n_member, 2);
    IS(status->answered_by, "locator1");
    IS(status->member[0]->name, "locator1");
    IS(status->member[0]->role, "locator");
    assert_int_equal(status->member[0]->port, 10334);
    IS(status->member[1]->name, "server1");
    IS(status->member[1]->role, "server");
    IS(status->member[1]->state, "serving");
    assert_int_equal(status->member[1]->n_groups, 2);
    IS(status->member[1]->groups[0], "eu");
    IS(status->member[1]->groups[1], "hot");
    assert_int_equal(status->member[1]->entries, 30);
    assert_int_equal(status->member[1]->clients, 2);
    assert_int_equal(status->member[1]->primaries, 7);
    assert_int_equal(status->member[1]->buckets, 7);
    assert_int_equal(status->member[1]->incarnation, 11);
    assert_int_equal(status->member[1]->epoch, status->epoch);
    assert_int_equal(status->n_region, 1);
    IS(status->region[0]->name, "r");
    IS(status->region[0]->type, "REPLICATE");
    assert_int_equal(status->region[0]->buckets, 7);
    assert_int_equal(status->region[0]->entries, 30);
    assert_int_equal(status->region[0]->degraded_buckets, 0);
    assert_int_equal(status->n_table, 1);
    IS(status->table[0]->name, "t");
    assert_int_equal(status->degraded_buckets, 0);
    pb__cluster_status_response__free_unpacked(status, NULL);
}

static void test_missing_copies_are_degraded_and_buckets_without_server_are_lost(void **state)
{
    struct fixture *fixture = *state;
    struct answer answer;
    create_region(fixture, "redundant", "PARTITION_REDUNDANT", &answer);
    create_region(fixture, "plain", "PARTITION", &answer);
    Pb__ClusterStatusResponse *status = status_of(fixture);
    assert_int_equal(status->lost_buckets, 14);
    assert_int_equal(status->degraded_buckets, 14);
    pb__cluster_status_response__free_unpacked(status, NULL);

    server_start(&fixture->servers[0], 11);
    assert_true(server_joins(&fixture->servers[0]));
    run(fixture, SEC);
    status = status_of(fixture);
    assert_int_equal(status->lost_buckets, 0);
    assert_int_equal(status->degraded_buckets, 7); /* one copy of two */
    assert_int_equal(status->n_degraded, 7);
    IS(status->degraded[0]->region, "redundant");
    assert_int_equal(status->degraded[0]->copies, 1);
    assert_int_equal(status->degraded[0]->wanted, 2);
    pb__cluster_status_response__free_unpacked(status, NULL);

    server_crash(&fixture->servers[0], SIM_CRASH_RESET);
    run(fixture, 2 * SEC);
    status = status_of(fixture);
    assert_int_equal(status->lost_buckets, 14);
    assert_int_equal(status->n_member, 1); /* its contents are lost, and nobody waits for it */
    assert_int_equal(status->degraded[0]->waits_for.len, 0);
    pb__cluster_status_response__free_unpacked(status, NULL);
}

static void assert_waits_for_server1(struct fixture *fixture, const char *state)
{
    Pb__ClusterStatusResponse *status = status_of(fixture);
    IS(status->member[1]->state, state);
    assert_int_equal(status->degraded_buckets, 7);
    assert_int_equal(status->lost_buckets, 7);
    assert_int_equal(status->n_degraded, 7);
    assert_int_equal(status->degraded[6]->copies, 0);
    IS(status->degraded[6]->waits_for, "server1");
    pb__cluster_status_response__free_unpacked(status, NULL);
}

/* The map calls it up still. */
static void test_buckets_whose_primary_does_not_serve_are_lost_at_once(void **state)
{
    struct fixture *fixture = *state;
    struct fake_server *server = &fixture->servers[0];
    struct answer answer;
    server_start(server, 11);
    assert_true(server_joins(server));
    create_region(fixture, "r", "PARTITION", &answer);
    link_leave(server->link);
    run(fixture, 10 * MS);
    Pb__ClusterStatusResponse *status = status_of(fixture);
    IS(status->member[1]->state, "leaving");
    assert_int_equal(status->lost_buckets, 0); /* it serves until it has handed them over */
    pb__cluster_status_response__free_unpacked(status, NULL);
    sim_partition(server->node, fixture->locator_node);
    run(fixture, 3 * SEC);
    assert_waits_for_server1(fixture, "leaving");
    sim_heal_all(fixture->sim);
    server_crash(server, SIM_CRASH_RESET);
    server_start(server, 12);
    assert_true(server_joins(server));
    run(fixture, SEC);
    status = status_of(fixture);
    assert_int_equal(status->degraded_buckets, 0);
    pb__cluster_status_response__free_unpacked(status, NULL);
    locator_end(fixture);
    locator_start(fixture);
    assert_waits_for_server1(fixture, "suspect");
    run(fixture, SEC);
    status = status_of(fixture);
    assert_int_equal(status->degraded_buckets, 0);
    pb__cluster_status_response__free_unpacked(status, NULL);
}

static void test_rebalance_of_one_server_moves_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct answer answer;
    Pb__RebalanceRequest request = PB__REBALANCE_REQUEST__INIT;
    server_start(&fixture->servers[0], 11);
    assert_true(server_joins(&fixture->servers[0]));
    ask(fixture, 1026, &request.base, &answer);
    assert_int_equal(answer.number, 1027);
    assert_int_equal(answer.len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_members_regions_and_tables_are_told),
        TEST(test_missing_copies_are_degraded_and_buckets_without_server_are_lost),
        TEST(test_buckets_whose_primary_does_not_serve_are_lost_at_once),
        TEST(test_rebalance_of_one_server_moves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
