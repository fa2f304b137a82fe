/* The table of commands: help that is complete, words that are nearly right, and statuses of wrong
 * use. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/commands.h"

struct run {
    int status;
    char out[32768], err[8192];
};

static void read_back(FILE *file, char *text, size_t size)
{
    rewind(file);
    text[fread(text, 1, size - 1, file)] = '\0';
    fclose(file);
}

/* Runs words as `vug` would, with stdout and stderr in files. */
static struct run *run(const char *first, ...)
{
    static struct run result;
    char words[8][128];
    char *argv[16] = {words[0]};
    int argc = 1;
    va_list args;
    FILE *out = tmpfile(), *err = tmpfile();
    struct cli cli = {.out_fd = fileno(out), .err_fd = fileno(err), .stop_fd = -1};
    snprintf(words[0], sizeof words[0], "vug");
    va_start(args, first);
    for (const char *word = first; word != NULL; word = va_arg(args, const char *)) {
        snprintf(words[argc], sizeof words[argc], "%s", word);
        argv[argc] = words[argc];
        argc++;
    }
    va_end(args);
    buf_init(&cli.out);
    result.status = cli_main(&cli, argc, argv, NULL);
    buf_fini(&cli.out);
    read_back(out, result.out, sizeof result.out);
    read_back(err, result.err, sizeof result.err);
    return &result;
}

static void help_mentions_every_option(void **state)
{
    (void)state;
    for (size_t i = 0; i < command_count; i++) {
        struct buf help;
        char option[64];
        buf_init(&help);
        commands_help(commands[i], &help);
        buf_append_byte(&help, '\0');
        assert_false(help.failed);
        assert_non_null(strstr((const char *)help.data, commands[i]->name));
        assert_non_null(strstr((const char *)help.data, commands[i]->summary));
        for (size_t r = 0; r < commands[i]->row_count + cli_global_row_count; r++) {
            const struct option_row *row = r < commands[i]->row_count
                                               ? &commands[i]->rows[r]
                                               : &cli_global_rows[r - commands[i]->row_count];
            snprintf(option, sizeof option, "--%s", row->name);
            assert_non_null(strstr((const char *)help.data, option));
        }
        buf_fini(&help);
    }
}

static void no_command_reuses_a_global_option(void **state)
{
    (void)state;
    for (size_t i = 0; i < command_count; i++)
        for (size_t r = 0; r < commands[i]->row_count; r++) {
            assert_true(commands[i]->options_size > commands[i]->rows[r].offset);
            for (size_t g = 0; g < cli_global_row_count; g++)
                assert_string_not_equal(commands[i]->rows[r].name, cli_global_rows[g].name);
        }
}

static void every_command_is_listed_and_found(void **state)
{
    (void)state;
    struct run *result = run("help", NULL);
    assert_int_equal(result->status, 0);
    for (size_t i = 0; i < command_count; i++) {
        char first[32], *space;
        int words = 0;
        assert_non_null(strstr(result->out, commands[i]->name));
        snprintf(first, sizeof first, "%s", commands[i]->name);
        space = strchr(first, ' ');
        if (space != NULL)
            *space++ = '\0';
        assert_ptr_equal(commands_find(first, space, &words), commands[i]);
        assert_int_equal(words, space == NULL ? 1 : 2);
    }
}

static void vug_alone_prints_ten_lines(void **state)
{
    (void)state;
    struct run *result = run(NULL);
    int lines = 0;
    for (const char *at = result->out; (at = strchr(at, '\n')) != NULL; at++)
        lines++;
    assert_int_equal(result->status, 0);
    assert_int_equal(lines, 10);
}

static void a_word_that_is_nearly_right_is_suggested(void **state)
{
    (void)state;
    struct run *result = run("impotr", NULL);
    assert_int_equal(result->status, 2);
    assert_non_null(strstr(result->err, "error: there is no command `vug impotr`"));
    assert_non_null(strstr(result->err, "  hint: did you mean `vug import`?"));
    result = run("region", "lits", NULL);
    assert_int_equal(result->status, 2);
    assert_non_null(strstr(result->err, "did you mean `vug region list`?"));
    result = run("region", NULL);
    assert_int_equal(result->status, 2);
    assert_non_null(strstr(result->err, "create"));
}

static void what_comes_later_says_so(void **state)
{
    (void)state;
    assert_int_equal(run("query", "select", NULL)->status, 1);
    assert_non_null(strstr(run("top", NULL)->err, "later version"));
    assert_int_equal(run("demo", "--kill", "--servers", "1", NULL)->status, 2);
}

static void wrong_use_ends_with_2(void **state)
{
    (void)state;
    struct run *result = run("put", "region", "key", NULL);
    assert_int_equal(result->status, 2);
    assert_non_null(strstr(result->err, "REGION KEY VALUE"));
    assert_int_equal(run("size", "a", "b", NULL)->status, 2);
    assert_int_equal(run("cq", "SELECT 1", "--encoding", "upsrt", NULL)->status, 2);
    assert_int_equal(run("cq", "SELECT 1", "--input", "x.csv", NULL)->status, 2);
    assert_int_equal(run("status", "-o", "csv", NULL)->status, 2);
    assert_int_equal(run("status", "--colour", "red", NULL)->status, 2);
    assert_int_equal(run("put", "r", "k", "v", "--type", "colour", NULL)->status, 2);
    assert_int_equal(run("import", "r", "x.csv", NULL)->status, 2);
    assert_int_equal(run("server", NULL)->status, 2);
}

static void globals_stand_before_or_after(void **state)
{
    (void)state;
    assert_string_equal(run("version", "-o", "json", NULL)->out,
                        "{\"version\":\"" VUG_VERSION "\",\"protocol\":\"1.1\"}\n");
    assert_string_equal(run("-o", "json", "version", NULL)->out,
                        "{\"version\":\"" VUG_VERSION "\",\"protocol\":\"1.1\"}\n");
    assert_string_equal(run("--output=json", "version", NULL)->out,
                        "{\"version\":\"" VUG_VERSION "\",\"protocol\":\"1.1\"}\n");
    assert_string_equal(run("version", NULL)->out, "vug " VUG_VERSION "\n");
}

static void beyond_loopback_needs_allow_insecure(void **state)
{
    (void)state;
    struct run *result = run("locator", "--bind-address", "0.0.0.0", NULL);
    assert_int_equal(result->status, 78);
    assert_non_null(strstr(result->err, "--security-file"));
    assert_non_null(strstr(result->err, "--tls-cert"));
    assert_non_null(strstr(result->err, "--allow-insecure"));
    assert_int_equal(run("locator", "--security-file", "x", NULL)->status, 78);
    assert_int_equal(run("locator", "--tls-cert", "x", NULL)->status, 78);
}

static void nobody_there_ends_with_3(void **state)
{
    (void)state;
    struct run *result = run("--server", "127.0.0.1:1", "size", "r", NULL);
    assert_int_equal(result->status, 3);
    assert_non_null(strstr(result->err, "error: cannot reach the cluster: 127.0.0.1:1"));
    assert_non_null(strstr(result->err, "  hint: "));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(help_mentions_every_option),
        cmocka_unit_test(no_command_reuses_a_global_option),
        cmocka_unit_test(every_command_is_listed_and_found),
        cmocka_unit_test(vug_alone_prints_ten_lines),
        cmocka_unit_test(a_word_that_is_nearly_right_is_suggested),
        cmocka_unit_test(what_comes_later_says_so),
        cmocka_unit_test(wrong_use_ends_with_2),
        cmocka_unit_test(globals_stand_before_or_after),
        cmocka_unit_test(beyond_loopback_needs_allow_insecure),
        cmocka_unit_test(nobody_there_ends_with_3),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
