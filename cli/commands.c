#include "cli/commands.h"

#include "common/mem.h"
#include "common/text.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

/* In the order in which people meet them. */
const struct command *const commands[] = {
    &demo_command,
    &locator_command,
    &server_command,
    &region_create_command,
    &region_destroy_command,
    &region_list_command,
    &region_describe_command,
    &region_clear_command,
    &put_command,
    &get_command,
    &remove_command,
    &keys_command,
    &size_command,
    &import_command,
    &sql_command,
    &cq_command,
    &status_command,
    &members_command,
    &member_forget_command,
    &events_command,
    &rebalance_command,
    &health_command,
    &stop_command,
    &version_command,
};
const size_t command_count = sizeof commands / sizeof commands[0];

/* Words that people will try, with what there is instead. */
static const struct {
    const char *word, *text, *hint;
} later_rows[] = {
    {"query", "OQL queries come with a later version",
     "`vug sql 'SELECT ...'` asks once, `vug cq` goes on asking"},
    {"user", "users come with a later version",
     "until then members listen on loopback unless told otherwise"},
    {"top", "`vug top` comes with a later version",
     "`vug members` shows the numbers once; /metrics has all of them"},
};

static void append_overview(struct buf *out)
{
    buf_append_text(
        out,
        "vug " VUG_VERSION ": a cache cluster that pushes the results of continuous queries\n"
        "\n"
        "  vug demo                          a cluster on this machine, with data: start here\n"
        "  vug locator, vug server           the two processes of a cluster\n"
        "  vug region create NAME --type T   ... list, describe, clear, destroy\n"
        "  vug put, get, remove, keys, size  the data; vug import reads CSV\n"
        "  vug sql STATEMENT                 tables over regions\n"
        "  vug cq QUERY                      results as they change; also on a file: --input\n"
        "  vug status, members, health, stop the cluster\n"
        "  vug help [COMMAND]                every command and every option\n");
}

static void append_all(struct buf *out)
{
    size_t width = 0;
    for (size_t i = 0; i < command_count; i++)
        width = strlen(commands[i]->name) > width ? strlen(commands[i]->name) : width;
    buf_append_text(out, "vug COMMAND [ARGUMENT ...] [--option VALUE ...]\n\n");
    for (size_t i = 0; i < command_count; i++)
        buf_printf(out, "  %-*s  %s\n", (int)width, commands[i]->name, commands[i]->summary);
    buf_append_text(out, "\nOptions of every command, before or after it:\n");
    options_help(cli_global_rows, cli_global_row_count, out);
    buf_append_text(
        out,
        "\nEvery option can stand in the environment (VUG_LOCATOR for --locator) and in a file "
        "(--config).\n\nExit status:\n");
#define X(name, number, meaning) buf_printf(out, "  %3d  %s\n", number, meaning);
    EXIT_LIST(X)
#undef X
}

void commands_help(const struct command *command, struct buf *out)
{
    buf_printf(out, "vug %s%s%s\n\n%s.\n", command->name, command->usage[0] == '\0' ? "" : " ",
               command->usage, command->summary);
    if (command->details != NULL)
        buf_printf(out, "\n%s\n", command->details);
    if (command->row_count > 0) {
        buf_append_text(out, "\nOptions:\n");
        options_help(command->rows, command->row_count, out);
    }
    buf_append_text(out, "\nOptions of every command:\n");
    options_help(cli_global_rows, cli_global_row_count, out);
}

/* The command that these words name; *words tells how many. */
const struct command *commands_find(const char *first, const char *second, int *words)
{
    size_t first_len = strlen(first);
    for (size_t i = 0; i < command_count; i++) {
        const char *name = commands[i]->name;
        if (strcmp(name, first) == 0) {
            *words = 1;
            return commands[i];
        }
        if (second != NULL && strncmp(name, first, first_len) == 0 && name[first_len] == ' ' &&
            strcmp(name + first_len + 1, second) == 0) {
            *words = 2;
            return commands[i];
        }
    }
    return NULL;
}

/* True if `word` begins commands of two words. */
static bool is_group(const char *word)
{
    size_t len = strlen(word);
    for (size_t i = 0; i < command_count; i++)
        if (strncmp(commands[i]->name, word, len) == 0 && commands[i]->name[len] == ' ')
            return true;
    return false;
}

static enum exit_status fail_group(struct cli *cli, const char *group, const char *second)
{
    struct text_nearest nearest;
    char hint[256] = "there is:";
    size_t len = strlen(group);
    text_nearest_init(&nearest, slice_text(second == NULL ? "" : second));
    for (size_t i = 0; i < command_count; i++) {
        const char *name = commands[i]->name;
        if (strncmp(name, group, len) != 0 || name[len] != ' ')
            continue;
        size_t used = strlen(hint);
        snprintf(hint + used, sizeof hint - used, " %s", name + len + 1);
        text_nearest_offer(&nearest, name + len + 1);
    }
    if (second == NULL)
        return cli_fail(cli, EXIT_USAGE, hint, "`vug %s` needs to know what to do", group);
    if (text_nearest_best(&nearest) != NULL)
        snprintf(hint, sizeof hint, "did you mean `vug %s %s`?", group,
                 text_nearest_best(&nearest));
    return cli_fail(cli, EXIT_USAGE, hint, "there is no command `vug %s %s`", group, second);
}

static enum exit_status fail_unknown(struct cli *cli, const char *first, const char *second)
{
    struct text_nearest nearest;
    char hint[128] = "`vug help` lists the commands";
    if (is_group(first))
        return fail_group(cli, first, second);
    for (size_t i = 0; i < sizeof later_rows / sizeof later_rows[0]; i++)
        if (strcmp(first, later_rows[i].word) == 0)
            return cli_fail(cli, EXIT_FAILED, later_rows[i].hint, "%s", later_rows[i].text);
    text_nearest_init(&nearest, slice_text(first));
    for (size_t i = 0; i < command_count; i++)
        text_nearest_offer(&nearest, commands[i]->name);
    text_nearest_offer(&nearest, "region");
    if (text_nearest_best(&nearest) != NULL)
        snprintf(hint, sizeof hint, "did you mean `vug %s`?", text_nearest_best(&nearest));
    return cli_fail(cli, EXIT_USAGE, hint, "there is no command `vug %s`", first);
}

/* Whether this sentence about options is about the environment or the options file, not about what
 * was typed: it begins with the file's name then. */
static bool is_about_configuration(struct slice why, int argc, char *const *argv, char *const *env)
{
    static const char variable[] = "environment variable ";
    const char *path = NULL;
    if (why.len >= sizeof variable - 1 && memcmp(why.data, variable, sizeof variable - 1) == 0)
        return true;
    for (char *const *entry = env; entry != NULL && *entry != NULL; entry++)
        if (strncmp(*entry, "VUG_CONFIG=", 11) == 0)
            path = *entry + 11;
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "--config=", 9) == 0)
            path = argv[i] + 9;
        else if (strcmp(argv[i], "--config") == 0 && i + 1 < argc)
            path = argv[i + 1];
    }
    return path != NULL && why.len > strlen(path) && memcmp(why.data, path, strlen(path)) == 0;
}

static enum exit_status run_command(struct cli *cli, int argc, char **argv, char *const *env)
{
    const struct command *command = cli->command;
    struct buf why;
    void *into = NULL;
    enum exit_status status = EXIT_INTERNAL;
    buf_init(&why);
    if (command->options_size > 0) {
        into = mem_zalloc(command->options_size);
        if (into == NULL)
            return cli_fail_memory(cli);
    }
    struct option_table tables[] = {{cli_global_rows, cli_global_row_count, &cli->globals},
                                    {command->rows, command->row_count, into}};
    enum error error =
        options_read(tables, command->row_count > 0 ? 2 : 1, argc, argv, env, &why, &cli->options);
    if (error == ERROR_MEMORY) {
        status = cli_fail_memory(cli);
        goto err_after_into;
    }
    if (error != OK) {
        bool configured =
            error == ERROR_IO || is_about_configuration(buf_slice(&why), argc, argv, env);
        status = cli_fail(cli, configured ? EXIT_CONFIG : EXIT_USAGE, NULL, "%.*s",
                          SLICE_FMT(buf_slice(&why)));
        goto err_after_into;
    }
    size_t count = cli_argument_count(cli);
    if (count < command->arguments_min || count > command->arguments_max) {
        char hint[512];
        snprintf(hint, sizeof hint, "vug %s %s", command->name, command->usage);
        status = cli_fail(cli, EXIT_USAGE, hint, "`vug %s` takes %s", command->name,
                          count < command->arguments_min ? "more arguments" : "fewer arguments");
    } else {
        status = cli_check_output(cli);
        if (status == EXIT_OK)
            status = command->run(cli, into);
    }
    options_free(cli->options);
    cli->options = NULL;
err_after_into:
    mem_free(into);
    buf_fini(&why);
    return status;
}

static bool asks_for_help(int argc, char *const *argv)
{
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    return false;
}

static enum exit_status show_help(struct cli *cli, const struct command *command)
{
    if (command != NULL)
        commands_help(command, &cli->out);
    else
        append_all(&cli->out);
    if (cli->out.failed)
        return cli_fail_memory(cli);
    cli_flush(cli);
    return EXIT_OK;
}

/* `vug region --help` */
static enum exit_status show_group(struct cli *cli, const char *group)
{
    size_t len = strlen(group);
    for (size_t i = 0; i < command_count; i++)
        if (strncmp(commands[i]->name, group, len) == 0 && commands[i]->name[len] == ' ')
            buf_printf(&cli->out, "vug %s %s\n    %s\n", commands[i]->name, commands[i]->usage,
                       commands[i]->summary);
    buf_printf(&cli->out, "\n`vug %s COMMAND --help` shows the options of one.\n", group);
    if (cli->out.failed)
        return cli_fail_memory(cli);
    cli_flush(cli);
    return EXIT_OK;
}

static enum exit_status run_words(struct cli *cli, int argc, char **argv, char *const *env)
{
    struct option_table globals = {cli_global_rows, cli_global_row_count, &cli->globals};
    int first = options_first_argument(&globals, 1, argc, argv), words = 0;
    bool help = asks_for_help(argc, argv);
    if (first >= 0 && strcmp(argv[first], "help") == 0) {
        help = true;
        memmove(argv + first, argv + first + 1, (size_t)(argc - first) * sizeof *argv);
        argc--;
        first = options_first_argument(&globals, 1, argc, argv);
    }
    if (first < 0 && help)
        return show_help(cli, NULL);
    if (first < 0) {
        if (argc > 0 && strcmp(argv[0], "--version") == 0) {
            cli->command = &version_command;
            return run_command(cli, argc - 1, argv + 1, env);
        }
        append_overview(&cli->out);
        cli_flush(cli);
        return argc == 0 ? EXIT_OK : EXIT_USAGE;
    }
    const char *second = first + 1 < argc ? argv[first + 1] : NULL;
    cli->command = commands_find(argv[first], second, &words);
    if (cli->command == NULL && help && is_group(argv[first]))
        return show_group(cli, argv[first]);
    if (cli->command == NULL)
        return fail_unknown(cli, argv[first], second);
    if (help)
        return show_help(cli, cli->command);
    memmove(argv + first, argv + first + words, (size_t)(argc - first - words + 1) * sizeof *argv);
    return run_command(cli, argc - words, argv, env);
}

/* Whoever relies on the output must learn that it is not all there. Some file systems tell only at
 * the close. */
static enum exit_status finish_output(struct cli *cli, enum exit_status status)
{
    int copy = cli->out_closed ? -1 : dup(cli->out_fd); /* the descriptor itself is the caller's */
    if (copy >= 0 && close(copy) != 0)
        cli->out_error = errno;
    if (cli->out_error == 0)
        return status;
    if (status == EXIT_OK || status == EXIT_DEGRADED)
        status = EXIT_FAILED;
    return cli_fail(cli, status, NULL, "cannot write the output: %s", strerror(cli->out_error));
}

int cli_main(struct cli *cli, int argc, char **argv, char *const *env)
{
    const char *slash = strrchr(argv[0], '/');
    const char *name = slash == NULL ? argv[0] : slash + 1;
    enum exit_status status;
    cli->executable = argv[0];
    if (strcmp(name, "vug-locator") == 0 || strcmp(name, "vug-server") == 0) {
        cli->command = strcmp(name, "vug-locator") == 0 ? &locator_command : &server_command;
        status = asks_for_help(argc - 1, argv + 1) ? show_help(cli, cli->command)
                                                   : run_command(cli, argc - 1, argv + 1, env);
    } else {
        status = run_words(cli, argc - 1, argv + 1, env);
    }
    if (cli->out.failed)
        status = cli_fail_memory(cli);
    cli_flush(cli);
    return (int)finish_output(cli, status);
}
