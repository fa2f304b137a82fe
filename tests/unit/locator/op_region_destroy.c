/* Regions that go. */
#include "tests/unit/locator/fixture.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_region_ids_are_never_used_again),
        TEST(test_destroy_of_a_region_that_a_table_reads_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
