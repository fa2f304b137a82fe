/* What a locator executes of SQL, and what not. */
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

static void test_each_statement_is_executed_or_refused_with_its_reason(void **state)
{
    static const struct {
        const char *statement;
        uint32_t code;
        const char *begins, *says;
    } cases[] = {
        {"CREATE TABLE t (id STRING)" WITH_R ")", 0, "", ""},
        {"CREATE TABLE t (id STRING)" WITH_R ")", 50, "EXISTS: ", "table t exists already"},
        {"CREATE TABLE IF NOT EXISTS t (id BIGINT)" WITH_R ")", 0, "", ""},
        {"CREATE TABLE u (id STRING) WITH ('connector'='geode-region','region'='nowhere')", 100,
         "NOT_FOUND: ", "vug region create nowhere"},
        {"CREATE TABLE v (id STRING)" WITH_R ",'locators'='10.9.9.9[10334]')", 50,
         "INVALID: ", "10.9.9.9[10334]"},
        {"CREATE TABLE v (id STRING)" WITH_R ",'locators'='[')", 50, "INVALID: ", "cannot be read"},
        {"CREATE TABLE w (id STRING)" WITH_R ",'username'='me','password'='secret')", 0, "", ""},
        {"DROP TABLE nix", 100, "NOT_FOUND: ", "no table nix"},
        {"DROP TABLE tt", 100, "NOT_FOUND: ", "did you mean t?"},
        {"DROP TABLE IF EXISTS nix", 0, "", ""},
        {"DROP TABLE t", 0, "", ""},
        {"SHOW TABLES", 60, "UNSUPPORTED: ", "CREATE TABLE and DROP TABLE alone"},
        {"CREATE NONSENSE", 50, "", ""},
    };
    struct fixture *fixture = *state;
    struct fake_server *server = joined_server(fixture);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint32_t code = server_sql(server, cases[i].statement);
        if (code != cases[i].code ||
            strncmp(server->answer_text, cases[i].begins, strlen(cases[i].begins)) != 0 ||
            strstr(server->answer_text, cases[i].says) == NULL)
            fail_msg("%s: %u %s", cases[i].statement, code, server->answer_text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_each_statement_is_executed_or_refused_with_its_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
