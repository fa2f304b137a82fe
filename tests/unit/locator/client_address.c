#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "locator/client_address.h"
#include "tests/lib/mem_fault.h"

static struct client_address *rules_of(const char *text, const char *gateway)
{
    struct client_address *rules = NULL;
    char problem[256] = "";
    assert_int_equal(client_address_new(text, gateway, &rules, problem), OK);
    return rules;
}

static void assert_told(const struct client_address *rules, const char *from, const char *expected)
{
    struct slice told =
        client_address_of(rules, from, slice_text("server1"), slice_text("10.0.0.9"));
    assert_true(slice_equal(told, slice_text(expected)));
}

static void the_first_rule_whose_source_has_the_client_wins(void **state)
{
    (void)state;
    struct client_address *rules = rules_of(
        "gateway=localhost, 172.16.0.0/12=@name, 192.168.7.3=seven, fd00::/8=six", "172.18.0.1");
    assert_told(rules, "172.18.0.1", "localhost");
    assert_told(rules, "172.18.0.2", "server1");
    assert_told(rules, "172.31.255.255", "server1");
    assert_told(rules, "172.32.0.0", "10.0.0.9");
    assert_told(rules, "192.168.7.3", "seven");
    assert_told(rules, "192.168.7.4", "10.0.0.9");
    assert_told(rules, "::ffff:192.168.7.3", "seven");
    assert_told(rules, "fd12::1", "six");
    assert_told(rules, "fe00::1", "10.0.0.9");
    client_address_free(rules);
}

static void a_star_has_everybody_and_no_rules_nobody(void **state)
{
    (void)state;
    struct client_address *rules = rules_of("10.0.0.0/7=near,*=far", NULL);
    assert_told(rules, "11.255.0.1", "near");
    assert_told(rules, "12.0.0.1", "far");
    assert_told(rules, "::1", "far");
    client_address_free(rules);
    assert_told(NULL, "10.0.0.1", "10.0.0.9");
    rules = rules_of("", NULL);
    assert_told(rules, "10.0.0.1", "10.0.0.9");
    client_address_free(rules);
}

static void without_a_gateway_its_rule_matches_nobody(void **state)
{
    (void)state;
    struct client_address *rules = rules_of("gateway=localhost", NULL);
    assert_told(rules, "172.18.0.1", "10.0.0.9");
    assert_told(rules, "0.0.0.0", "10.0.0.9");
    client_address_free(rules);
}

static void what_is_no_rule_is_named(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "gateway",  "=x",        "10.0.0.0/33=x", "10.0.0.0/=x",  "10.0.0=x",
        "gateway=", "::1/129=x", "*=@host",       "10.0.0.1/-1=x"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct client_address *rules = NULL;
        char problem[256] = "";
        assert_int_equal(client_address_new(bad[i], NULL, &rules, problem), ERROR_INVALID);
        assert_non_null(strstr(problem, bad[i]));
        assert_null(rules);
    }
}

static void too_many_rules_and_no_memory_are_refused(void **state)
{
    (void)state;
    struct client_address *rules = NULL;
    char text[65 * 4 + 1] = "", problem[256] = "";
    for (int i = 0; i < 65; i++)
        memcpy(text + i * 4, "*=x,", 5);
    assert_int_equal(client_address_new(text, NULL, &rules, problem), ERROR_LIMIT);
    mem_fault_fail_at(1);
    assert_int_equal(client_address_new("*=x", NULL, &rules, problem), ERROR_MEMORY);
    mem_fault_fail_at(0);
}

static void the_gateway_is_that_of_the_default_route(void **state)
{
    (void)state;
    char gateway[16];
    const char *routes = "Iface\tDestination\tGateway \tFlags\n"
                         "eth0\t000012AC\t00000000\t0001\n"
                         "eth0\t00000000\t010012AC\t0003\n";
    assert_true(client_address_gateway(slice_text(routes), gateway));
    assert_string_equal(gateway, "172.18.0.1");
    assert_false(client_address_gateway(slice_text("Iface\tDestination\tGateway\n"), gateway));
    assert_false(client_address_gateway(slice_text(""), gateway));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_rule_whose_source_has_the_client_wins),
        cmocka_unit_test(a_star_has_everybody_and_no_rules_nobody),
        cmocka_unit_test(without_a_gateway_its_rule_matches_nobody),
        cmocka_unit_test(what_is_no_rule_is_named),
        cmocka_unit_test(too_many_rules_and_no_memory_are_refused),
        cmocka_unit_test(the_gateway_is_that_of_the_default_route),
    };
    return cmocka_run_group_tests_name("client_address", tests, NULL, NULL);
}
