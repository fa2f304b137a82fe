/* The banner of a member, as its parent reads it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/child.h"

static void reads_name_and_address(void **state)
{
    (void)state;
    char name[16];
    struct text_host_port address;
    assert_true(child_parse_port("  server   127.0.0.1:40404        clients", name, &address));
    assert_string_equal(name, "server");
    assert_string_equal(address.host, "127.0.0.1");
    assert_int_equal(address.port, 40404);
    assert_true(child_parse_port("  http     [::1]:7070             /health", name, &address));
    assert_string_equal(address.host, "::1");
}

static void other_lines_are_no_ports(void **state)
{
    (void)state;
    char name[16];
    struct text_host_port address;
    assert_false(
        child_parse_port("vug 0.1.0  server server1  locators 127.0.0.1:10334", name, &address));
    assert_false(child_parse_port("2026-11-22T09:14:03.512Z INFO  main x:1", name, &address));
    assert_false(child_parse_port("  hint: did you mean this", name, &address));
    assert_false(child_parse_port("", name, &address));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_name_and_address),
        cmocka_unit_test(other_lines_are_no_ports),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
