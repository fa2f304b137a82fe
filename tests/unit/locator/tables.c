/* CREATE TABLE and DROP TABLE, as a server forwards them. */
#include "locator/tables.h"
#include "tests/unit/locator/fixture.h"

#define WITH_R " WITH ('connector'='geode-region','region'='r'"

static struct fake_server *joined_server(struct fixture *fixture)
{
    struct answer answer;
    struct fake_server *server = &fixture->servers[0];
    server_start(server, 11);
    assert_true(server_joins(server));
    create_region(fixture, "r", "PARTITION", &answer);
    assert_int_equal(answer.number, 1021);
    return server;
}

static void test_table_is_in_the_map_of_every_server_when_it_is_answered(void **state)
{
    struct fixture *fixture = *state;
    struct fake_server *server = joined_server(fixture);
    assert_int_equal(
        server_sql(server,
                   "CREATE TABLE SensorReadings (id STRING, ts BIGINT, t DOUBLE)" WITH_R ")"),
        0);
    assert_int_equal(server->answer_number, 1013);
    const struct cluster_table *table =
        cluster_map_table(server->map, slice_text("SensorReadings"));
    assert_non_null(table);
    assert_true(slice_equal(table->region, slice_text("r")));
    struct arena arena;
    struct query_statement statement;
    struct query_error wrong;
    arena_init(&arena, 1024 * 1024);
    assert_int_equal(query_parse(table->ddl, &arena, &statement, &wrong), OK);
    assert_int_equal(statement.kind, QUERY_CREATE_TABLE);
    assert_int_equal(statement.table.column_count, 3);
    assert_string_equal(statement.table.name, "SensorReadings");
    arena_fini(&arena);
    assert_int_equal(server_sql(server, "DROP TABLE SensorReadings"), 0);
    assert_null(cluster_map_table(server->map, slice_text("SensorReadings")));
}

static void test_passwords_do_not_enter_the_map(void **state)
{
    struct fixture *fixture = *state;
    struct fake_server *server = joined_server(fixture);
    char statement[512];
    snprintf(statement, sizeof(statement),
             "CREATE TABLE t (id STRING)" WITH_R
             ",'locators'='%s[10334]','username'='me','password'='hush')",
             sim_node_host(fixture->locator_node));
    assert_int_equal(server_sql(server, statement), 0);
    const struct cluster_table *table = cluster_map_table(server->map, slice_text("t"));
    assert_non_null(table);
    assert_null(memmem(table->ddl.data, table->ddl.len, "hush", 4));
    assert_null(memmem(table->ddl.data, table->ddl.len, "username", 8));
    assert_null(memmem(fixture->memory.bytes, fixture->memory.len, "hush", 4));
}

static void test_locators_option_must_name_this_cluster(void **state)
{
    (void)state;
    static const struct {
        const char *bind_host, *hostname, *list;
        bool is_ours;
    } cases[] = {
        {"127.0.0.1", "127.0.0.1", "localhost[10334]", true},
        {"127.0.0.1", "127.0.0.1", "LOCALHOST:10334", true},
        {"127.0.0.1", "127.0.0.1", "127.0.0.1", true},
        {"localhost", "localhost", "127.0.0.1[10334], localhost[10334]", true},
        {"0.0.0.0", "locator1", "locator1[10334]", true},
        {"0.0.0.0", "locator1", "localhost[10334]", true},
        {"10.0.0.1", "locator1", "10.0.0.1[10334]", true},
        {"10.0.0.1", "locator1", "localhost[10334]", false},
        {"127.0.0.1", "127.0.0.1", "localhost[10335]", false},
        {"127.0.0.1", "127.0.0.1", "localhost[10334],other[10334]", false},
        {"127.0.0.1", "127.0.0.1", "other", false},
        {"127.0.0.1", "127.0.0.1", "", false},
        {"127.0.0.1", "127.0.0.1", "localhost[99999]", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tables_address address = {cases[i].bind_host, cases[i].hostname, 10334};
        struct failure failure;
        if (tables_check_locators(cases[i].list, &address, &failure) != cases[i].is_ours)
            fail_msg("%s at %s", cases[i].list, cases[i].bind_host);
        if (!cases[i].is_ours)
            assert_memory_equal(failure.text, "INVALID: ", 9);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_table_is_in_the_map_of_every_server_when_it_is_answered),
        TEST(test_passwords_do_not_enter_the_map),
        cmocka_unit_test(test_locators_option_must_name_this_cluster),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
