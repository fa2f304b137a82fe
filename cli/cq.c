#include "cli/commands.h"
#include "cli/cq_options.h"
#include "cli/row.h"

#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <unistd.h>

static const struct option_row rows[] = {
    {.name = "param",
     .kind = OPTION_REPEATED,
     .value_name = "NAME=VALUE",
     .help = "a value for a name in the query; may be repeated",
     .offset = offsetof(struct cq_options, parameters)},
    {.name = "start",
     .kind = OPTION_STRING,
     .default_text = "snapshot",
     .value_name = "WHERE",
     .help = "snapshot, latest or earliest-retained",
     .offset = offsetof(struct cq_options, start)},
    {.name = "encoding",
     .kind = OPTION_STRING,
     .value_name = "HOW",
     .help = "append, upsert or changelog; what suits the query if left out",
     .offset = offsetof(struct cq_options, encoding)},
    {.name = "numeric-mode",
     .kind = OPTION_STRING,
     .default_text = "exact",
     .value_name = "MODE",
     .help = "exact, or flink: sums and averages as Flink rounds them",
     .offset = offsetof(struct cq_options, numeric_mode)},
    {.name = "resume",
     .kind = OPTION_STRING,
     .value_name = "TOKEN",
     .help = "go on behind the token of an END line",
     .offset = offsetof(struct cq_options, resume)},
    {.name = "name",
     .kind = OPTION_STRING,
     .value_name = "NAME",
     .help = "share the query with others that give this name",
     .offset = offsetof(struct cq_options, name)},
    {.name = "limit",
     .kind = OPTION_INT,
     .min = 0,
     .max = INT64_MAX,
     .default_text = "0",
     .value_name = "N",
     .help = "end after N events; 0: never",
     .offset = offsetof(struct cq_options, limit)},
    {.name = "idle-exit",
     .kind = OPTION_DURATION,
     .value_name = "DURATION",
     .help = "end after that long without an event",
     .offset = offsetof(struct cq_options, idle_exit_ms)},
    {.name = "input",
     .kind = OPTION_STRING,
     .value_name = "FILE.csv",
     .help = "compute over a file, without a server; - is stdin",
     .offset = offsetof(struct cq_options, input)},
    {.name = "ddl",
     .kind = OPTION_STRING,
     .value_name = "FILE.sql",
     .help = "with --input: the CREATE TABLE of the file's rows",
     .offset = offsetof(struct cq_options, ddl)},
    {.name = "key",
     .kind = OPTION_STRING,
     .value_name = "COLUMN",
     .help = "with --input: the region key; the first column if left out",
     .offset = offsetof(struct cq_options, key)},
};

struct word_row {
    const char *word;
    uint32_t number;
};
static const struct word_row start_words[] = {{"snapshot", VUG_START_SNAPSHOT},
                                              {"latest", VUG_START_LATEST},
                                              {"earliest-retained", VUG_START_EARLIEST_RETAINED}};
static const struct word_row encoding_words[] = {{"append", VUG_ENCODING_APPEND},
                                                 {"upsert", VUG_ENCODING_UPSERT},
                                                 {"changelog", VUG_ENCODING_CHANGELOG}};

static const struct word_row numeric_words[] = {{"exact", false}, {"flink", true}};

static enum exit_status find_word(struct cli *cli, const char *option, const char *word,
                                  const struct word_row *words, size_t count, uint32_t *number)
{
    char hint[128] = "one of:";
    for (size_t i = 0; i < count; i++) {
        size_t len = strlen(hint);
        snprintf(hint + len, sizeof hint - len, " %s", words[i].word);
        if (strcmp(words[i].word, word) == 0) {
            *number = words[i].number;
            return EXIT_OK;
        }
    }
    return cli_fail(cli, EXIT_USAGE, hint, "--%s cannot be \"%s\"", option, word);
}

struct online {
    struct cli *cli;
    struct loop *loop;
    const struct cq_options *options;
    struct cq_print *print;
    struct vug_subscription *subscription;
    struct loop_timer idle;
    struct buf token; /* of the end */
    bool subscribed, over;
    struct vug_error error;
};

/* Takes the token of this moment and stops; called at most once. */
static void finish(struct online *online)
{
    if (online->over)
        return;
    online->over = true;
    vug_subscription_token(online->subscription, &online->token);
    vug_subscription_free(online->subscription);
    online->subscription = NULL;
    loop_event_stop(online->loop);
}

static void set_idle(struct online *online)
{
    if (online->options->idle_exit_ms > 0)
        loop_timer_set(&online->idle, online->options->idle_exit_ms * 1000);
}

static void on_event(void *arg, const struct vug_event *event)
{
    struct online *online = arg;
    cq_print_event(online->print, &(struct cq_print_event){.kind = event->kind,
                                                           .values = event->values,
                                                           .value_count = event->value_count,
                                                           .bucket = event->bucket,
                                                           .seq = event->seq,
                                                           .sub = event->sub,
                                                           .error = event->error});
    set_idle(online);
    if (online->options->limit > 0 && online->print->events >= (uint64_t)online->options->limit)
        finish(online);
}

static void on_batch_end(void *arg, int64_t watermark_ms, uint64_t conflated)
{
    struct online *online = arg;
    (void)watermark_ms;
    (void)conflated;
    if (!cli_flush(online->cli))
        finish(online); /* nobody reads any more */
}

static void print_subscribed(struct online *online)
{
    struct buf types, token;
    uint32_t count = vug_subscription_column_count(online->subscription);
    enum error error = OK;
    buf_init(&types);
    buf_init(&token);
    for (uint32_t i = 0; i < count && error == OK; i++) {
        buf_append_byte(&types, i == 0 ? '[' : ',');
        row_json_string(&types, slice_text(vug_subscription_type(online->subscription, i)));
        if (!online->subscribed)
            error = cq_print_column(online->print,
                                    slice_text(vug_subscription_column(online->subscription, i)));
    }
    buf_append_text(&types, count == 0 ? "[]" : "]");
    vug_subscription_token(online->subscription, &token);
    cq_print_subscribed(online->print, buf_slice(&types), buf_slice(&token), online->subscribed);
    online->cli->out.failed =
        online->cli->out.failed || error != OK || types.failed || token.failed;
    const char *warning = vug_subscription_warning(online->subscription);
    if (!online->subscribed && warning[0] != '\0')
        cli_note(online->cli, "note: %s", warning);
    online->subscribed = true;
    buf_fini(&types);
    buf_fini(&token);
}

static void on_status(void *arg, const struct vug_status *status)
{
    struct online *online = arg;
    struct buf token;
    buf_init(&token);
    if (status->code == VUG_SUBSCRIBED) {
        print_subscribed(online);
        set_idle(online);
    } else {
        if (status->code == VUG_SNAPSHOT_ENDED)
            vug_subscription_token(online->subscription, &token);
        cq_print_status(online->print, status, buf_slice(&token));
    }
    buf_fini(&token);
    if (!cli_flush(online->cli))
        finish(online);
}

static void on_failed(void *arg, const struct vug_error *error)
{
    struct online *online = arg;
    online->error = *error;
    finish(online);
}

static void on_stop(void *arg)
{
    finish(arg);
}

/* SIGINT and SIGTERM wait in a file descriptor, where also a write to a full pipe sees them. They
 * stay blocked: the command's end is the process's. */
static enum error watch_signals(struct online *online)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
        return ERROR_IO;
    online->cli->stop_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (online->cli->stop_fd < 0)
        return ERROR_IO;
    return loop_event_readable(online->loop, online->cli->stop_fd, on_stop, online);
}

static enum exit_status report_end(struct online *online)
{
    struct cli *cli = online->cli;
    if (online->subscribed)
        cq_print_end(online->print, buf_slice(&online->token));
    cli_flush(cli);
    if (cli->out_closed || online->error.error == OK)
        return EXIT_OK;
    return cli_fail_vug(cli, &online->error, NULL, NULL);
}

static enum exit_status follow(struct online *online, const struct vug_target *target,
                               const struct vug_subscription_options *options)
{
    static const struct vug_subscription_events events = {.on_event = on_event,
                                                          .on_batch_end = on_batch_end,
                                                          .on_status = on_status,
                                                          .on_failed = on_failed};
    struct net *net = NULL;
    enum exit_status status = EXIT_INTERNAL;
    enum error error = loop_event_new(&online->loop);
    if (error != OK)
        return cli_fail_memory(online->cli);
    error = net_event_new(online->loop, &(struct net_event_options){0}, &net);
    if (error != OK)
        goto err_after_loop;
    error = loop_timer_init(&online->idle, online->loop, on_stop, online);
    if (error != OK)
        goto err_after_net;
    error = watch_signals(online);
    if (error == OK)
        error = vug_subscription_new(online->loop, net, target, options, &events, online,
                                     &online->subscription);
    if (error != OK)
        goto err_after_timer;
    loop_event_run(online->loop);
    status = report_end(online);
err_after_timer:
    loop_timer_fini(&online->idle);
err_after_net:
    net_event_free(net);
err_after_loop:
    loop_event_free(online->loop);
    if (error == ERROR_INVALID)
        status =
            cli_fail(online->cli, EXIT_USAGE, "it is the \"token\" of an END or SNAPSHOT_END line",
                     "the token of --resume cannot be read");
    else if (error != OK)
        status = error == ERROR_MEMORY
                     ? cli_fail_memory(online->cli)
                     : cli_fail(online->cli, EXIT_INTERNAL, NULL, "%s", error_text(error));
    return status;
}

enum exit_status cq_online(struct cli *cli, const struct cq_options *options, struct cq_modes modes,
                           struct cq_print *print)
{
    struct vug_parameter parameters[LIMIT_PARAMETERS];
    struct online online = {.cli = cli, .options = options, .print = print};
    struct vug_target target;
    struct buf names;
    uint32_t count = 0, start = 0;
    buf_init(&names);
    buf_init(&online.token);
    enum exit_status status = find_word(cli, "start", options->start, start_words,
                                        sizeof start_words / sizeof start_words[0], &start);
    if (status == EXIT_OK)
        status = cli_parameters(cli, &options->parameters, &names, parameters, &count);
    if (status == EXIT_OK)
        status = cli_target(cli, &target);
    if (status == EXIT_OK) {
        struct vug_subscription_options subscription = {
            .name = options->name,
            .sql = slice_text(cli_argument(cli, 0)),
            .parameters = parameters,
            .parameter_count = count,
            .start = (enum vug_start)start,
            .encoding = modes.encoding,
            .numeric_mode = modes.flink,
            .progress = true,
            .token_every_batch = true, /* so that the END line can be resumed exactly */
            .resume = slice_text(options->resume == NULL ? "" : options->resume),
        };
        status = follow(&online, &target, &subscription);
    }
    buf_fini(&online.token);
    buf_fini(&names);
    return status;
}

static enum exit_status run_cq(struct cli *cli, const void *into)
{
    const struct cq_options *options = into;
    struct cq_print print;
    enum output output = OUTPUT_TABLE;
    uint32_t encoding = VUG_ENCODING_DEFAULT, flink = false;
    enum exit_status status = cli_output(
        cli, CLI_FORMAT(OUTPUT_TABLE) | CLI_FORMAT(OUTPUT_NDJSON) | CLI_FORMAT(OUTPUT_CSV),
        OUTPUT_NDJSON, &output);
    if (status == EXIT_OK && options->encoding != NULL)
        status = find_word(cli, "encoding", options->encoding, encoding_words,
                           sizeof encoding_words / sizeof encoding_words[0], &encoding);
    if (status == EXIT_OK)
        status = find_word(cli, "numeric-mode", options->numeric_mode, numeric_words,
                           sizeof numeric_words / sizeof numeric_words[0], &flink);
    if (status != EXIT_OK)
        return status;
    struct cq_modes modes = {(enum vug_encoding)encoding, flink != 0};
    if ((options->input == NULL) != (options->ddl == NULL))
        return cli_fail(
            cli, EXIT_USAGE, "vug cq --input FILE.csv --ddl FILE.sql QUERY",
            "--input and --ddl belong together: the rows, and the table that says what they are");
    cq_print_init(&print, cli, output);
    if (options->input != NULL)
        status = cq_offline(cli, options, modes, &print);
    else
        status = cq_online(cli, options, modes, &print);
    cq_print_fini(&print);
    return status;
}

const struct command cq_command = {
    .name = "cq",
    .formats = CLI_FORMAT(OUTPUT_TABLE) | CLI_FORMAT(OUTPUT_NDJSON) | CLI_FORMAT(OUTPUT_CSV),
    .usage = "QUERY [--param NAME=VALUE ...] [--start WHERE] [--limit N] [-o table|ndjson|csv]",
    .summary = "Prints the results of a continuous query as they change",
    .details =
        "It ends with Ctrl-C, --limit or --idle-exit; the token of the last line goes on exactly "
        "there.\n"
        "    vug cq 'SELECT id, AVG(temperature) OVER (PARTITION BY id) FROM SensorReadings'\n"
        "With --input and --ddl the same engine computes over a file, without a server:\n"
        "    vug cq --input readings.csv --ddl table.sql 'SELECT ...'",
    .rows = rows,
    .row_count = sizeof rows / sizeof rows[0],
    .options_size = sizeof(struct cq_options),
    .arguments_min = 1,
    .arguments_max = 1,
    .run = run_cq,
};
