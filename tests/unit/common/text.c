#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/text.h"

static struct slice bytes(const char *text)
{
    return slice_text(text);
}

static void utf8_is_judged_strictly(void **state)
{
    static const char *const good[] = {"",
                                       "plain ascii text, longer than eight",
                                       "\xc3\xa9",
                                       "12345678\xe2\x82\xac",
                                       "\xed\x9f\xbf",
                                       "\xee\x80\x80",
                                       "\xf0\x90\x80\x80",
                                       "\xf4\x8f\xbf\xbf",
                                       "\xc2\x80",
                                       "\xe0\xa0\x80"};
    static const char *const bad[] = {"\x80",
                                      "\xc0\x80",
                                      "\xc1\xbf",
                                      "\xc3",
                                      "\xe0\x9f\xbf",
                                      "\xed\xa0\x80",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80",
                                      "\xff",
                                      "12345678\xe2\x82",
                                      "1234567\xe2\x28\xa1",
                                      "\xe2\x82\x28",
                                      "ok\xf0\x9f\x98"};

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(text_is_utf8(bytes(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(text_is_utf8(bytes(bad[i])));
    assert_true(text_is_utf8(slice_of("a\0b", 3)));
}

static const char *nearest_of(const char *word)
{
    static const char *const names[] = {"server-port", "locators", "bind-address", "name",
                                        "data-dir"};
    struct text_nearest nearest;

    text_nearest_init(&nearest, bytes(word));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        text_nearest_offer(&nearest, names[i]);
    return text_nearest_best(&nearest);
}

static void the_nearest_name_is_found_and_nonsense_is_not(void **state)
{
    (void)state;
    assert_string_equal(nearest_of("servr-port"), "server-port");
    assert_string_equal(nearest_of("Server-Prot"), "server-port");
    assert_string_equal(nearest_of("locator"), "locators");
    assert_string_equal(nearest_of("nmae"), "name");
    assert_string_equal(nearest_of("bindaddress"), "bind-address");
    assert_null(nearest_of("colour"));
    assert_null(nearest_of("x"));
    assert_null(nearest_of(""));
}

static void numbers_are_read_whole_or_not_at_all(void **state)
{
    uint64_t u = 7;
    int64_t i = 7;

    (void)state;
    assert_true(text_parse_u64(bytes("18446744073709551615"), &u));
    assert_true(u == UINT64_MAX);
    assert_false(text_parse_u64(bytes("18446744073709551616"), &u));
    assert_false(text_parse_u64(bytes(""), &u));
    assert_false(text_parse_u64(bytes("1 "), &u));
    assert_false(text_parse_u64(bytes("-1"), &u));
    assert_true(text_parse_i64(bytes("-9223372036854775808"), &i));
    assert_true(i == INT64_MIN);
    assert_false(text_parse_i64(bytes("9223372036854775808"), &i));
    assert_false(text_parse_i64(bytes("-"), &i));
    assert_false(text_parse_i64(bytes("--1"), &i));
}

static void durations_need_their_unit(void **state)
{
    static const struct {
        const char *text;
        uint64_t ms;
    } good[] = {{"5s", 5000},    {"250ms", 250},       {"10min", 600000},
                {"1h", 3600000}, {" 2 d ", 172800000}, {"0s", 0}};
    static const char *const bad[] = {"", "5", "s", "5 m", "5S", "1.5s", "-1s", "5s5s", "5sec"};
    uint64_t ms;

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(text_parse_duration(bytes(good[i].text), &ms), OK);
        assert_int_equal(ms, good[i].ms);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(text_parse_duration(bytes(bad[i]), &ms), ERROR_INVALID);
    assert_int_equal(text_parse_duration(bytes("18446744073709551615s"), &ms), ERROR_LIMIT);
    assert_int_equal(text_parse_duration(bytes("99999999999999999999s"), &ms), ERROR_LIMIT);
}

static void hosts_are_read_in_every_form(void **state)
{
    static const struct {
        const char *text, *host;
        uint16_t port;
    } good[] = {{"locator1[10334]", "locator1", 10334},
                {"locator1:1", "locator1", 1},
                {"locator1", "locator1", 99},
                {"[::1]:40404", "::1", 40404},
                {"[::1]", "::1", 99},
                {"[fe80::1][5]", "fe80::1", 5},
                {"::1", "::1", 99},
                {"::1[5]", "::1", 5},
                {"127.0.0.1[0]", "127.0.0.1", 0},
                {" h:65535 ", "h", 65535}};
    static const char *const bad[] = {"",    " ",     ":5",     "[5]:", "h:",   "h:65536",
                                      "h[5", "h[]",   "h[x]",   "h:1x", "[::1", "[]:5",
                                      "h h", "h[5]6", "[::1]5", "h/x:1"};
    struct text_host_port result;

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(text_parse_host_port(bytes(good[i].text), 99, &result), OK);
        assert_string_equal(result.host, good[i].host);
        assert_int_equal(result.port, good[i].port);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (text_parse_host_port(bytes(bad[i]), 99, &result) != ERROR_INVALID)
            fail_msg("accepted: %s", bad[i]);
    }
}

static void lists_come_apart_without_their_spaces(void **state)
{
    struct slice list = bytes("a, b ,,c d"), part;
    static const char *const parts[] = {"a", "b", "", "c d"};
    size_t count = 0;

    (void)state;
    while (text_next_part(&list, ',', &part)) {
        assert_true(count < 4);
        assert_true(slice_equal(part, bytes(parts[count])));
        count++;
    }
    assert_int_equal(count, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(utf8_is_judged_strictly),
        cmocka_unit_test(the_nearest_name_is_found_and_nonsense_is_not),
        cmocka_unit_test(numbers_are_read_whole_or_not_at_all),
        cmocka_unit_test(durations_need_their_unit),
        cmocka_unit_test(hosts_are_read_in_every_form),
        cmocka_unit_test(lists_come_apart_without_their_spaces),
    };

    return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
