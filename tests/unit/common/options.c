#include "tests/unit/common/options_fixture.h"

static void write_file(char path[64], const char *text)
{
    int fd;

    snprintf(path, 64, "/tmp/vug-options-XXXXXX");
    fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static void defaults_stand_when_nothing_is_said(void **state)
{
    struct reading reading;

    (void)state;
    read_line(&reading, "", "");
    assert_int_equal(reading.error, OK);
    assert_null(reading.settings.name);
    assert_int_equal(reading.settings.server_port, 40404);
    assert_false(reading.settings.insecure);
    assert_int_equal(reading.settings.lease_ms, 2000);
    assert_int_equal(reading.settings.groups.count, 1);
    assert_string_equal(reading.settings.groups.items[0], "default");
    assert_string_equal(reading.global.output, "table");
    assert_int_equal(options_source(reading.options, "server-port"), OPTION_DEFAULT);
    end_reading(&reading);
}

static void both_spellings_of_flags_are_equal_and_stand_anywhere(void **state)
{
    struct reading reading;

    (void)state;
    read_line(&reading,
              "region --server-port 1 --name=a=b -o json create --insecure --groups x,y --groups=z "
              "--param a=1,2 --param=b -- --name -x",
              "");
    assert_int_equal(reading.error, OK);
    assert_int_equal(reading.settings.server_port, 1);
    assert_string_equal(reading.settings.name, "a=b");
    assert_string_equal(reading.global.output, "json");
    assert_true(reading.settings.insecure);
    assert_int_equal(reading.settings.groups.count, 3);
    assert_string_equal(reading.settings.groups.items[2], "z");
    assert_int_equal(reading.settings.params.count, 2);
    assert_string_equal(reading.settings.params.items[0], "a=1,2");
    assert_int_equal(options_argument_count(reading.options), 4);
    assert_string_equal(options_argument(reading.options, 0), "region");
    assert_string_equal(options_argument(reading.options, 1), "create");
    assert_string_equal(options_argument(reading.options, 2), "--name");
    assert_string_equal(options_argument(reading.options, 3), "-x");
    end_reading(&reading);
    read_line(&reading, "--insecure --insecure=false -p5 -ojson -", "");
    assert_int_equal(reading.error, OK);
    assert_false(reading.settings.insecure);
    assert_int_equal(reading.settings.server_port, 5);
    assert_string_equal(reading.global.output, "json");
    assert_string_equal(options_argument(reading.options, 0), "-");
    end_reading(&reading);
}

static void flags_win_over_environment_over_file_over_defaults(void **state)
{
    struct reading reading;
    char path[64], line[128], env[128];

    (void)state;
    write_file(path, "# a comment\nname = file\nserver-port = 1\n[network]\nlease = 5s ; inline\n"
                     "groups = a, b\n");
    snprintf(line, sizeof line, "--config %s --server-port 3", path);
    read_line(&reading, line, "VUG_SERVER_PORT=2 VUG_NAME=env VUG_UNKNOWN=1 OTHER=x");
    assert_int_equal(reading.error, OK);
    assert_int_equal(reading.settings.server_port, 3);
    assert_string_equal(reading.settings.name, "env");
    assert_int_equal(reading.settings.lease_ms, 5000);
    assert_int_equal(reading.settings.groups.count, 2);
    assert_string_equal(reading.settings.groups.items[1], "b");
    assert_int_equal(options_source(reading.options, "server-port"), OPTION_FLAG);
    assert_int_equal(options_source(reading.options, "name"), OPTION_ENVIRONMENT);
    assert_int_equal(options_source(reading.options, "lease"), OPTION_FILE);
    assert_int_equal(options_source(reading.options, "insecure"), OPTION_DEFAULT);
    assert_string_equal(option_source_text(OPTION_FILE), "file");
    end_reading(&reading);
    /* The environment can name the file too. */
    snprintf(env, sizeof env, "VUG_CONFIG=%s VUG_GROUPS=c", path);
    read_line(&reading, "", env);
    assert_int_equal(reading.error, OK);
    assert_int_equal(reading.settings.server_port, 1);
    assert_int_equal(reading.settings.groups.count, 1);
    assert_string_equal(reading.settings.groups.items[0], "c");
    end_reading(&reading);
    unlink(path);
}

static void mistakes_on_the_command_line_are_told_in_sentences(void **state)
{
    (void)state;
    expect_sentence("--servr-port 5", "",
                    "unknown option --servr-port; did you mean --server-port?");
    expect_sentence("--colour", "", "unknown option --colour; see --help for all options");
    expect_sentence("-z", "", "unknown option -z; see --help for all options");
    expect_sentence("--name", "", "option --name needs a value; write --name=NAME");
    expect_sentence("--name --insecure", "", "option --name needs a value; write --name=NAME");
    expect_sentence("--config /no/such/file", "",
                    "cannot read the options file /no/such/file: No such file or directory; check "
                    "--config");
}

static void expect_file_sentence(const char *text, const char *sentence)
{
    char path[64], line[128], full[512];

    write_file(path, text);
    snprintf(line, sizeof line, "--config=%s", path);
    snprintf(full, sizeof full, "%s %s", path, sentence);
    expect_sentence(line, "", full);
    unlink(path);
}

static void mistakes_in_the_file_are_told_with_their_line(void **state)
{
    char text[600] = "name = ";

    (void)state;
    expect_file_sentence("name = x\n\nserver-prot = 5\n",
                         "line 3: unknown option server-prot; did you mean server-port?");
    expect_file_sentence("colour = 1\n",
                         "line 1: unknown option colour; remove it, or see --help for all options");
    expect_file_sentence("[net]\nlease = 7\n",
                         "line 2: lease: 7 has no unit; write 7s for seconds or 7ms for "
                         "milliseconds");
    expect_file_sentence("name = a\nname = b\n",
                         "line 2: name stands on line 1 already; remove one of them");
    expect_file_sentence("[region sensors]\ntype = LOCAL\n",
                         "line 2: [region sensors] cannot stand in an options file, since regions "
                         "live in the cluster; remove it and use `vug region create`");
    expect_file_sentence("name = x\nwhat is this\n",
                         "line 2: neither a comment, a [section] nor name = value; correct it");
    memset(text + 7, 'x', 500);
    text[507] = '\n';
    expect_file_sentence(text, "line 1: longer than 198 bytes; shorten it, or give the option as a "
                               "flag");
}

static void the_first_argument_is_found_behind_options(void **state)
{
    struct global global;
    const struct option_table table = {global_rows, 1, &global};
    char *one[] = {"-o", "json", "--unknown", "status", "x"};
    char *two[] = {"-ojson", "--output=x"};
    char *three[] = {"--", "--odd"};

    (void)state;
    assert_int_equal(options_first_argument(&table, 1, 5, one), 3);
    assert_int_equal(options_first_argument(&table, 1, 2, two), -1);
    assert_int_equal(options_first_argument(&table, 1, 2, three), 1);
}

static void help_is_made_from_the_rows(void **state)
{
    struct buf out;

    (void)state;
    buf_init(&out);
    options_help(rows, 3, &out);
    buf_append_byte(&out, 0);
    assert_string_equal((const char *)out.data,
                        "      --name NAME                 name of the member\n"
                        "  -p, --server-port PORT          port for clients (default 40404)\n"
                        "      --insecure                  binds anywhere\n");
    buf_fini(&out);
}

static void every_failed_allocation_is_returned_and_leaves_nothing(void **state)
{
    long live = mem_fault_live();
    struct reading reading;
    char path[64], line[200];
    bool done = false;

    (void)state;
    write_file(path, "name = file\ngroups = a,b,c\n");
    snprintf(line, sizeof line, "cmd --config %s --param a --param b --param c --name y", path);
    for (unsigned long n = 1; !done; n++) {
        mem_fault_fail_at(n);
        read_line(&reading, line, "VUG_GROUPS=x,y");
        done = reading.error == OK && mem_fault_calls() < n;
        if (reading.error != OK)
            assert_int_equal(reading.error, ERROR_MEMORY);
        mem_fault_fail_at(0);
        end_reading(&reading);
        assert_int_equal(mem_fault_live(), live);
        assert_true(n < 200);
    }
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_stand_when_nothing_is_said),
        cmocka_unit_test(both_spellings_of_flags_are_equal_and_stand_anywhere),
        cmocka_unit_test(flags_win_over_environment_over_file_over_defaults),
        cmocka_unit_test(mistakes_on_the_command_line_are_told_in_sentences),
        cmocka_unit_test(mistakes_in_the_file_are_told_with_their_line),
        cmocka_unit_test(the_first_argument_is_found_behind_options),
        cmocka_unit_test(help_is_made_from_the_rows),
        cmocka_unit_test(every_failed_allocation_is_returned_and_leaves_nothing),
    };

    return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
