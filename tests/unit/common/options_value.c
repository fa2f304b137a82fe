#include "tests/unit/common/options_fixture.h"

static void wrong_values_are_told_in_sentences(void **state)
{
    (void)state;
    expect_sentence(
        "--server-port abc", "",
        "option --server-port: \"abc\" is not a whole number; give one from 0 to 65535");
    expect_sentence("--server-port 65536", "",
                    "option --server-port: 65536 is out of range; give one from 0 to 65535");
    expect_sentence("--insecure=maybe", "",
                    "option --insecure: \"maybe\" is neither true nor false; give one of these");
    expect_sentence("--lease 5", "",
                    "option --lease: 5 has no unit; write 5s for seconds or 5ms for milliseconds");
    expect_sentence("--lease soon", "",
                    "option --lease: \"soon\" is not a duration; write a whole number and ms, s, "
                    "min, h or d, as in 250ms or 5s");
    expect_sentence("--lease 5ms", "",
                    "option --lease: 5ms is out of range; give one from 10ms to 60000ms");
    expect_sentence("--ring 5", "",
                    "option --ring: 5 has no unit; write 5MiB, or with B, KiB or GiB");
    expect_sentence("--ring 5MB", "",
                    "option --ring: \"5MB\" is not a size; write a whole number and B, KiB, MiB or "
                    "GiB, as in 48MiB");
    expect_sentence("--ring 5B", "",
                    "option --ring: 5B is out of range; give one from 1024B to 1073741824B");
    expect_sentence("", "VUG_SERVER_PORT=x",
                    "environment variable VUG_SERVER_PORT: \"x\" is not a whole number; give one "
                    "from 0 to 65535");
}

static void every_word_of_a_truth_is_understood(void **state)
{
    static const struct {
        const char *line;
        bool value;
    } lines[] = {{"--insecure=true", true}, {"--insecure=yes", true}, {"--insecure=on", true},
                 {"--insecure=1", true},    {"--insecure=no", false}, {"--insecure=off", false},
                 {"--insecure=0", false},   {"--insecure", true}};
    struct reading reading;

    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        read_line(&reading, lines[i].line, "");
        assert_int_equal(reading.error, OK);
        assert_int_equal(reading.settings.insecure, lines[i].value);
        end_reading(&reading);
    }
}

static void the_bounds_themselves_are_allowed(void **state)
{
    struct reading reading;

    (void)state;
    read_line(&reading, "--server-port 0 --lease 10ms", "");
    assert_int_equal(reading.error, OK);
    assert_int_equal(reading.settings.server_port, 0);
    end_reading(&reading);
    read_line(&reading, "--server-port 65535 --lease 1min", "");
    assert_int_equal(reading.error, OK);
    assert_int_equal(reading.settings.lease_ms, 60000);
    end_reading(&reading);
}

static void a_size_has_a_unit(void **state)
{
    static const struct {
        const char *line;
        uint64_t bytes;
    } lines[] = {{"", 1 << 20},
                 {"--ring 1024B", 1024},
                 {"--ring 3KiB", 3 * 1024},
                 {"--ring=48MiB", 48u << 20},
                 {"--ring 1GiB", 1u << 30}};
    struct reading reading;

    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        read_line(&reading, lines[i].line, "");
        assert_int_equal(reading.error, OK);
        assert_int_equal(reading.settings.ring_bytes, lines[i].bytes);
        end_reading(&reading);
    }
}

static void a_list_has_a_bound(void **state)
{
    static char *words[5000];
    char word[] = "--param=x";
    struct settings settings;
    const struct option_table table = {rows, ROWS, &settings};
    struct options *options = NULL;
    struct buf why;

    (void)state;
    for (size_t i = 0; i < 5000; i++)
        words[i] = word;
    buf_init(&why);
    assert_int_equal(options_read(&table, 1, 5000, words, NULL, &why, &options), ERROR_INVALID);
    assert_true(slice_equal(buf_slice(&why),
                            slice_text("option --param: more than 4096 values; give fewer")));
    buf_fini(&why);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_values_are_told_in_sentences),
        cmocka_unit_test(every_word_of_a_truth_is_understood),
        cmocka_unit_test(the_bounds_themselves_are_allowed),
        cmocka_unit_test(a_size_has_a_unit),
        cmocka_unit_test(a_list_has_a_bound),
    };

    return cmocka_run_group_tests_name("options_value", tests, NULL, NULL);
}
