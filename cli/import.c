#include "cli/commands.h"
#include "cli/importer.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define BAD_ROWS_SHOWN 100u
#define PROGRESS_US    (200u * 1000)

struct import_options {
    const char *key;
    int64_t rate;
};

static const struct option_row rows[] = {
    {.name = "key",
     .kind = OPTION_STRING,
     .value_name = "COLUMN",
     .help = "the column whose text is the key of the row",
     .offset = offsetof(struct import_options, key)},
    {.name = "rate",
     .kind = OPTION_INT,
     .min = 0,
     .max = 100000000,
     .default_text = "0",
     .value_name = "N",
     .help = "rows a second; 0: as fast as possible",
     .offset = offsetof(struct import_options, rate)},
};

struct import {
    struct cli *cli;
    struct loop *loop;
    struct importer *importer;
    const char *name; /* of the file */
    uint64_t size;    /* of the file; 0: not known */
    uint64_t start_us;
    uint64_t bad_shown;
    struct loop_timer progress;
    bool progress_shown;
    struct vug_error error;
    bool interrupted;
};

static void show_progress(struct import *import)
{
    struct importer_counts counts = importer_counts(import->importer);
    uint64_t us = loop_now_us(import->loop) - import->start_us;
    char percent[16] = "";
    if (import->size > 0)
        snprintf(percent, sizeof percent, "  %u%%", (unsigned)(counts.bytes * 100 / import->size));
    cli_flush(import->cli);
    dprintf(import->cli->err_fd, "\r%llu rows  %llu rows/s%s ", (unsigned long long)counts.written,
            (unsigned long long)(us == 0 ? 0 : counts.written * 1000000 / us), percent);
    import->progress_shown = true;
}

static void on_progress(void *arg)
{
    struct import *import = arg;
    show_progress(import);
    loop_timer_set(&import->progress, PROGRESS_US);
}

static void on_row(void *arg, uint64_t line, const char *problem)
{
    struct import *import = arg;
    if (problem == NULL)
        return;
    import->bad_shown++;
    if (import->bad_shown <= BAD_ROWS_SHOWN)
        cli_note(import->cli, "%s%s:%llu: %s", import->progress_shown ? "\n" : "", import->name,
                 (unsigned long long)line, problem);
    else if (import->bad_shown == BAD_ROWS_SHOWN + 1)
        cli_note(import->cli, "... and more bad rows");
}

static void on_note(void *arg, const char *text)
{
    struct import *import = arg;
    cli_note(import->cli, "%s%s", import->progress_shown ? "\n" : "", text);
}

static void on_end(void *arg, const struct vug_error *error)
{
    struct import *import = arg;
    if (error != NULL)
        import->error = *error;
    loop_event_stop(import->loop);
}

static void on_interrupt(void *arg)
{
    struct import *import = arg;
    import->interrupted = true;
    loop_event_stop(import->loop);
}

static enum exit_status finish(struct import *import, const struct vug_target *target)
{
    struct cli *cli = import->cli;
    struct importer_counts counts = importer_counts(import->importer);
    uint64_t us = loop_now_us(import->loop) - import->start_us;
    const char *region = cli_argument(cli, 0);
    if (import->progress_shown)
        dprintf(cli->err_fd, "\r\033[K");
    enum exit_status status = EXIT_OK;
    if (import->error.error != OK) {
        struct vug_sync *sync = NULL;
        if (import->error.error == ERROR_NOT_FOUND)
            (void)vug_sync_new(target, VUG_TO_SERVER, &sync); /* only for a better hint */
        if (import->error.error == ERROR_INVALID && import->error.code == 0)
            status = cli_fail(cli, EXIT_FAILED, NULL, "%s", import->error.text);
        else
            status = cli_fail_vug(cli, &import->error, region, sync);
        if (sync != NULL)
            vug_sync_free(sync);
    } else if (import->interrupted) {
        status = (enum exit_status)(128 + SIGINT);
    } else if (counts.bad > 0) {
        status = EXIT_FAILED;
    }
    cli_note(cli, "%s %llu rows into %s in %llu.%02llu s (%llu rows/s), %llu bad",
             status == EXIT_OK || (status == EXIT_FAILED && import->error.error == OK)
                 ? "imported"
                 : "stopped after",
             (unsigned long long)counts.written, region, (unsigned long long)(us / 1000000),
             (unsigned long long)(us / 10000 % 100),
             (unsigned long long)(us == 0 ? 0 : counts.written * 1000000 / us),
             (unsigned long long)counts.bad);
    return status;
}

static enum exit_status run_loop(struct import *import, const struct vug_target *target,
                                 const struct importer_options *options)
{
    static const struct importer_events events = {
        .on_row = on_row, .on_note = on_note, .on_end = on_end};
    struct net *net = NULL;
    enum exit_status status = EXIT_INTERNAL;
    enum error error = loop_event_new(&import->loop);
    if (error != OK)
        return cli_fail_memory(import->cli);
    error = net_event_new(import->loop, &(struct net_event_options){0}, &net);
    if (error != OK)
        goto err_after_loop;
    error = loop_timer_init(&import->progress, import->loop, on_progress, import);
    if (error != OK)
        goto err_after_net;
    import->start_us = loop_now_us(import->loop);
    error = importer_new(import->loop, net, target, options, &events, import, &import->importer);
    if (error != OK)
        goto err_after_timer;
    error = loop_event_signal(import->loop, SIGINT, on_interrupt, import);
    if (error == OK) {
        if (import->cli->err_is_terminal)
            loop_timer_set(&import->progress, PROGRESS_US);
        loop_event_run(import->loop);
        status = finish(import, target);
    }
    importer_free(import->importer);
err_after_timer:
    loop_timer_fini(&import->progress);
err_after_net:
    net_event_free(net);
err_after_loop:
    loop_event_free(import->loop);
    if (error != OK)
        status = error == ERROR_MEMORY
                     ? cli_fail_memory(import->cli)
                     : cli_fail(import->cli, EXIT_INTERNAL, NULL, "%s", error_text(error));
    return status;
}

static enum exit_status run_import(struct cli *cli, const void *into)
{
    const struct import_options *options = into;
    const char *path = cli_argument(cli, 1);
    bool from_stdin = strcmp(path, "-") == 0;
    struct import import = {.cli = cli, .name = from_stdin ? "stdin" : path};
    struct vug_target target;
    struct stat stat;
    if (options->key == NULL)
        return cli_fail(cli, EXIT_USAGE, "for example: vug import my_region readings.csv --key id",
                        "`vug import` needs --key COLUMN: whose text is the key of a row");
    enum exit_status status = cli_target(cli, &target);
    if (status != EXIT_OK)
        return status;
    int fd = from_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return cli_fail(cli, EXIT_FAILED, "- reads from stdin", "cannot open %s: %s", path,
                        strerror(errno));
    bool known = fstat(fd, &stat) == 0;
    if (known && S_ISDIR(stat.st_mode)) {
        if (!from_stdin)
            close(fd);
        return cli_fail(cli, EXIT_FAILED, "import its files one by one, or `cat` them into -",
                        "%s is a directory, not a CSV file", path);
    }
    if (known && S_ISREG(stat.st_mode))
        import.size = (uint64_t)stat.st_size;
    status = run_loop(&import, &target,
                      &(struct importer_options){.region = cli_argument(cli, 0),
                                                 .name = import.name,
                                                 .fd = fd,
                                                 .key = options->key,
                                                 .rate = (uint64_t)options->rate});
    if (!from_stdin)
        close(fd);
    return status;
}

const struct command import_command = {
    .name = "import",
    .usage = "REGION FILE.csv --key COLUMN [--rate N]",
    .summary = "Writes the rows of a CSV file, each as a JSON document, each exactly once; - reads "
               "from stdin",
    .details =
        "The first row names the fields. A field that is a JSON number stays one, an empty "
        "one is null,\n"
        "anything else is a string. Every row is one write, in file order. Bad rows are "
        "named and counted;\n"
        "with any the exit status is 1. A server that is lost is waited for as long as "
        "--timeout. If it comes back\n"
        "restarted, and so without the rows that it had acknowledged, the import ends with 1; "
        "with --server\n"
        "nobody can tell.",
    .rows = rows,
    .row_count = sizeof rows / sizeof rows[0],
    .options_size = sizeof(struct import_options),
    .arguments_min = 2,
    .arguments_max = 2,
    .run = run_import,
};
