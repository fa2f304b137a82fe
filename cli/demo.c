#include "cli/demo.h"

#include "cli/commands.h"
#include "cli/cq_print.h"
#include "cli/demo_check.h"
#include "cli/demo_show.h"
#include "cli/demo_tally.h"
#include "cli/grid.h"
#include "cli/importer.h"
#include "cli/row.h"
#include "client/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

/* A cluster on this machine, readings going in, averages coming out, and a count of whether any was
 * lost.
 *
 *   locator, server --> region, table --> subscription --> import --> last result --> comparison
 * with the file */

static const char demo_ddl[] =
    "CREATE TABLE SensorReadings (id STRING, timestamp BIGINT, temperature DOUBLE) "
    "WITH ('connector'='geode-region','region'='my_region')";
static const char demo_query[] =
    "SELECT id, AVG(temperature) OVER (PARTITION BY id) FROM SensorReadings "
    "WHERE timestamp >= start_time";

#define REDRAW_US   (100u * 1000)
#define PATIENCE_US (10u * 1000 * 1000) /* for results that have not come when all is written */

struct demo_options {
    int64_t servers, rate, start_time;
    const char *readings;
    bool kill;
};

static const struct option_row rows[] = {
    {.name = "servers",
     .kind = OPTION_INT,
     .min = 1,
     .max = DEMO_SERVERS_MAX,
     .default_text = "3",
     .value_name = "N",
     .help = "servers; with two or more each bucket has a redundant copy",
     .offset = offsetof(struct demo_options, servers)},
    {.name = "readings",
     .kind = OPTION_STRING,
     .value_name = "FILE.csv",
     .help = "with columns id, timestamp, temperature; the weather of 2013 if left out",
     .offset = offsetof(struct demo_options, readings)},
    {.name = "rate",
     .kind = OPTION_INT,
     .min = 0,
     .max = 100000000,
     .default_text = "0",
     .value_name = "N",
     .help = "readings a second; 0: as fast as possible",
     .offset = offsetof(struct demo_options, rate)},
    {.name = "start-time",
     .kind = OPTION_INT,
     .default_text = "0",
     .value_name = "MS",
     .help = "start_time of the query, milliseconds since 1970",
     .offset = offsetof(struct demo_options, start_time)},
    {.name = "kill",
     .kind = OPTION_BOOL,
     .help = "kill a server half way; the averages go on",
     .offset = offsetof(struct demo_options, kill)},
};

struct written { /* a row on its way to be acknowledged */
    uint64_t line;
    uint32_t key; /* index in the tally */
    bool admitted;
};

struct demo {
    struct cli *cli;
    const struct demo_options *options;
    enum output output;
    struct loop *loop;
    struct net *net;
    struct demo_cluster cluster;
    struct vug_target target;
    char path[4096];
    int fd;
    struct tally tally;
    struct cq_print print;
    struct vug_subscription *subscription;
    struct importer *importer;
    struct written window[LIMIT_WRITER_WINDOW]; /* first in, first out */
    uint32_t window_first, window_count;
    uint32_t id_column, timestamp_column;
    bool has_columns, imported, done, interrupted, lost_member;
    uint64_t acknowledged, admitted; /* rows; and those that the query takes */
    uint64_t errors;                 /* rows that were refused, results that are errors */
    uint64_t kill_at;                /* acknowledged rows; 0: not, or done */
    unsigned lines_drawn;
    struct loop_timer redraw, patience;
    enum exit_status status;
};

static void stop(struct demo *demo, enum exit_status status)
{
    if (demo->status == EXIT_OK)
        demo->status = status;
    loop_event_stop(demo->loop);
}

/* ---- Showing ---- */

static void on_redraw(void *arg)
{
    struct demo *demo = arg;
    demo_draw(demo->cli, &demo->tally, demo->acknowledged, &demo->lines_drawn);
    loop_timer_set(&demo->redraw, REDRAW_US);
}

/* ---- Results ---- */

static void check_done(struct demo *demo)
{
    if (demo->done || !demo->imported ||
        demo->tally.results - demo->tally.repeated < demo->admitted)
        return;
    demo->done = true;
    loop_event_stop(demo->loop);
}

static void on_event(void *arg, const struct vug_event *event)
{
    struct demo *demo = arg;
    bool has_average = event->value_count == 2 && event->values[1].type == VALUE_DOUBLE;
    if (demo->output == OUTPUT_NDJSON)
        cq_print_event(&demo->print, &(struct cq_print_event){.kind = event->kind,
                                                              .values = event->values,
                                                              .value_count = event->value_count,
                                                              .bucket = event->bucket,
                                                              .seq = event->seq,
                                                              .sub = event->sub,
                                                              .error = event->error});
    if (event->kind == VUG_ROW_ERROR || event->value_count != 2 ||
        event->values[0].type != VALUE_STRING) {
        demo->errors++;
        return;
    }
    if (tally_result(&demo->tally, event, event->values[0].bytes,
                     has_average ? &event->values[1].float64 : NULL) != OK)
        stop(demo, cli_fail_memory(demo->cli));
}

static void on_batch_end(void *arg, int64_t watermark_ms, uint64_t conflated)
{
    struct demo *demo = arg;
    (void)watermark_ms;
    (void)conflated;
    if (demo->output == OUTPUT_NDJSON && !cli_flush(demo->cli))
        stop(demo, EXIT_OK);
    if (demo->imported && !demo->done)
        loop_timer_set(&demo->patience, PATIENCE_US);
    check_done(demo);
}

static void on_subscription_failed(void *arg, const struct vug_error *error)
{
    struct demo *demo = arg;
    stop(demo, cli_fail_vug(demo->cli, error, NULL, NULL));
}

/* ---- Readings ---- */

static void kill_server(struct demo *demo)
{
    uint32_t victim = demo->cluster.server_count / 2;
    demo_cluster_kill(&demo->cluster, victim);
    cli_note(demo->cli, "killed server%u after %" PRIu64 " readings; the averages go on",
             victim + 1, demo->acknowledged);
}

static void on_row(void *arg, uint64_t line, const char *problem)
{
    struct demo *demo = arg;
    if (problem != NULL) {
        demo->errors++;
        cli_note(demo->cli, "%s:%" PRIu64 ": %s", demo->path, line, problem);
    }
    if (demo->window_count == 0 || demo->window[demo->window_first].line != line)
        return; /* a row that never was written */
    struct written written = demo->window[demo->window_first];
    demo->window_first = (demo->window_first + 1) % LIMIT_WRITER_WINDOW;
    demo->window_count--;
    if (problem != NULL)
        return;
    demo->acknowledged++;
    if (demo->acknowledged == demo->kill_at)
        kill_server(demo);
    if (written.admitted) {
        demo->admitted++;
        demo->tally.keys[written.key].acknowledged++;
    }
}

static void on_read(void *arg, const struct row_header *header, const struct csv *csv)
{
    struct demo *demo = arg;
    struct tally_key *key = NULL;
    int64_t timestamp = 0;
    if (!demo->has_columns &&
        (!row_header_find(header, slice_text("id"), &demo->id_column) ||
         !row_header_find(header, slice_text("timestamp"), &demo->timestamp_column))) {
        stop(demo, cli_fail(demo->cli, EXIT_FAILED, NULL,
                            "%s needs the columns id, timestamp and temperature", demo->path));
        return;
    }
    demo->has_columns = true;
    bool admitted = text_parse_i64(csv_field(csv, demo->timestamp_column), &timestamp) &&
                    timestamp >= demo->options->start_time;
    struct written written = {.line = csv->row_line, .admitted = admitted};
    if (admitted) { /* other rows make no key */
        if (tally_find(&demo->tally, csv_field(csv, demo->id_column), &key) != OK) {
            stop(demo, cli_fail_memory(demo->cli));
            return;
        }
        written.key = (uint32_t)(key - demo->tally.keys);
    }
    INVARIANT(demo->window_count < LIMIT_WRITER_WINDOW);
    demo->window[(demo->window_first + demo->window_count++) % LIMIT_WRITER_WINDOW] = written;
}

static void on_note(void *arg, const char *text)
{
    cli_note(((struct demo *)arg)->cli, "%s", text);
}

static void on_import_end(void *arg, const struct vug_error *error)
{
    struct demo *demo = arg;
    if (error != NULL) {
        stop(demo, cli_fail_vug(demo->cli, error, NULL, NULL));
        return;
    }
    demo->imported = true;
    loop_timer_set(&demo->patience, PATIENCE_US);
    check_done(demo);
}

static void start_import(struct demo *demo)
{
    static const struct importer_events events = {
        .on_row = on_row, .on_note = on_note, .on_read = on_read, .on_end = on_import_end};
    enum error error =
        importer_new(demo->loop, demo->net, &demo->target,
                     &(struct importer_options){.region = "my_region",
                                                .name = demo->path,
                                                .fd = demo->fd,
                                                .key = "id",
                                                .rate = (uint64_t)demo->options->rate},
                     &events, demo, &demo->importer);
    if (error != OK)
        stop(demo,
             cli_fail(demo->cli, EXIT_INTERNAL, NULL, "cannot import: %s", error_text(error)));
}

static void print_subscribed(struct demo *demo)
{
    struct buf types, token;
    buf_init(&types);
    buf_init(&token);
    for (uint32_t i = 0; i < vug_subscription_column_count(demo->subscription); i++) {
        buf_append_byte(&types, i == 0 ? '[' : ',');
        row_json_string(&types, slice_text(vug_subscription_type(demo->subscription, i)));
        if (cq_print_column(&demo->print,
                            slice_text(vug_subscription_column(demo->subscription, i))) != OK)
            types.failed = true;
    }
    buf_append_byte(&types, ']');
    vug_subscription_token(demo->subscription, &token);
    cq_print_subscribed(&demo->print, buf_slice(&types), buf_slice(&token), false);
    demo->cli->out.failed = demo->cli->out.failed || types.failed || token.failed;
    buf_fini(&types);
    buf_fini(&token);
}

static void on_status(void *arg, const struct vug_status *status)
{
    struct demo *demo = arg;
    if (status->code == VUG_SUBSCRIBED && demo->importer == NULL) {
        if (demo->output == OUTPUT_NDJSON)
            print_subscribed(demo);
        start_import(demo);
    } else if (status->code != VUG_SNAPSHOT_ENDED && status->code != VUG_CONNECTED) {
        cq_print_status(&demo->print, status, (struct slice){0});
    }
}

/* ---- The way through ---- */

static void on_patience(void *arg)
{
    struct demo *demo = arg;
    demo->done = true; /* what is missing is counted as lost */
    loop_event_stop(demo->loop);
}

static void on_interrupt(void *arg)
{
    struct demo *demo = arg;
    demo->interrupted = true;
    loop_event_stop(demo->loop);
}

static void on_lost(void *arg)
{
    struct demo *demo = arg;
    demo->lost_member = true;
    stop(demo, cli_fail(demo->cli, EXIT_FAILED, "the lines above say why",
                        "a member of the demo ended by itself"));
}

/* RegionCreateRequest: 1 name, 2 type. */
static enum exit_status make_region_and_table(struct demo *demo)
{
    struct vug_sync *locator = NULL, *server = NULL;
    struct vug_reply reply;
    struct buf body;
    enum exit_status status = EXIT_INTERNAL;
    buf_init(&body);
    vug_reply_init(&reply);
    if (vug_sync_new(&demo->target, VUG_TO_LOCATOR, &locator) != OK ||
        vug_sync_new(&demo->target, VUG_TO_SERVER, &server) != OK) {
        status = cli_fail_memory(demo->cli);
        goto out;
    }
    vug_wire_text(&body, 1, "my_region");
    vug_wire_text(&body, 2, demo_region_type(&demo->cluster));
    if (vug_sync_call(locator, VUG_REGION_CREATE, &body, &reply) != OK) {
        status = cli_fail_vug(demo->cli, &reply.error, NULL, NULL);
        goto out;
    }
    buf_clear(&body);
    vug_sql_request(&body, slice_text(demo_ddl), NULL, 0);
    if (vug_sync_call(server, VUG_SQL_EXECUTE, &body, &reply) != OK)
        status = cli_fail_vug(demo->cli, &reply.error, NULL, NULL);
    else
        status = EXIT_OK;
out:
    if (server != NULL)
        vug_sync_free(server);
    if (locator != NULL)
        vug_sync_free(locator);
    vug_reply_fini(&reply);
    buf_fini(&body);
    return status;
}

/* Half of the readings that the query takes. */
static enum exit_status find_half(struct demo *demo)
{
    struct demo_check *check = NULL;
    char problem[256];
    uint64_t readings = 0;
    enum error error = demo_check_new(demo->path, demo->options->start_time, &check, problem);
    if (error == ERROR_MEMORY)
        return cli_fail_memory(demo->cli);
    if (error != OK)
        return cli_fail(demo->cli, EXIT_FAILED, NULL, "%s: %s", demo->path, problem);
    for (uint32_t i = 0; i < demo_check_key_count(check); i++)
        readings += demo_check_rows(check, i);
    demo_check_free(check);
    demo->kill_at = readings / 2 + 1;
    return EXIT_OK;
}

static enum exit_status run_query(struct demo *demo)
{
    static const struct vug_subscription_events events = {.on_event = on_event,
                                                          .on_batch_end = on_batch_end,
                                                          .on_status = on_status,
                                                          .on_failed = on_subscription_failed};
    struct vug_parameter start_time = {
        .name = "start_time", .value = {.type = VALUE_LONG, .integer = demo->options->start_time}};
    enum error error =
        vug_subscription_new(demo->loop, demo->net, &demo->target,
                             &(struct vug_subscription_options){.sql = slice_text(demo_query),
                                                                .parameters = &start_time,
                                                                .parameter_count = 1,
                                                                .start = VUG_START_LATEST,
                                                                .progress = true},
                             &events, demo, &demo->subscription);
    if (error != OK)
        return cli_fail(demo->cli, EXIT_INTERNAL, NULL, "cannot subscribe: %s", error_text(error));
    if (demo->cli->out_is_terminal && demo->output == OUTPUT_TABLE)
        loop_timer_set(&demo->redraw, REDRAW_US);
    while (!demo->done && !demo->interrupted && demo->status == EXIT_OK && !demo->cli->out_closed)
        loop_event_run(demo->loop);
    loop_timer_clear(&demo->redraw);
    loop_timer_clear(&demo->patience);
    return demo->status;
}

static uint64_t count_mismatched(const struct demo *demo, const struct demo_check *check)
{
    uint64_t mismatched = 0;
    for (uint32_t i = 0; i < demo->tally.key_count; i++) {
        const struct tally_key *key = &demo->tally.keys[i];
        if (key->results > 0)
            mismatched +=
                !demo_check_matches(check, key->id, key->has_average ? &key->average : NULL);
    }
    for (uint32_t i = 0; i < demo_check_key_count(check); i++) { /* and those that never came */
        bool found = false;
        for (uint32_t k = 0; k < demo->tally.key_count && !found; k++)
            found = demo->tally.keys[k].results > 0 &&
                    slice_equal(demo->tally.keys[k].id, demo_check_key(check, i));
        mismatched += !found;
    }
    return mismatched;
}

static enum exit_status summarize(struct demo *demo)
{
    struct demo_check *check = NULL;
    char problem[256], line[256];
    enum error error = demo_check_new(demo->path, demo->options->start_time, &check, problem);
    if (error == ERROR_MEMORY)
        return cli_fail_memory(demo->cli);
    if (error != OK)
        return cli_fail(demo->cli, EXIT_FAILED, NULL, "%s: %s", demo->path, problem);
    uint64_t lost = tally_lost(&demo->tally), duplicated = tally_duplicated(&demo->tally);
    uint64_t mismatched = count_mismatched(demo, check), keys = 0;
    for (uint32_t i = 0; i < demo->tally.key_count; i++)
        keys += demo->tally.keys[i].results > 0;
    demo_check_free(check);
    snprintf(line, sizeof line,
             "demo: readings=%" PRIu64 " results=%" PRIu64 " keys=%" PRIu64 " lost=%" PRIu64
             " duplicated=%" PRIu64 " mismatched=%" PRIu64 "\n",
             demo->acknowledged, demo->tally.results, keys, lost, duplicated, mismatched);
    if (demo->output == OUTPUT_NDJSON) { /* stdout is for the events */
        struct buf token;
        buf_init(&token);
        vug_subscription_token(demo->subscription, &token);
        cq_print_end(&demo->print, buf_slice(&token));
        buf_fini(&token);
        cli_flush(demo->cli);
        line[strcspn(line, "\n")] = '\0';
        cli_note(demo->cli, "%s", line);
    } else {
        if (demo->cli->out_is_terminal)
            demo_draw(demo->cli, &demo->tally, demo->acknowledged, &demo->lines_drawn);
        else
            demo_print(demo->cli, &demo->tally);
        buf_append_text(&demo->cli->out, line);
        cli_flush(demo->cli);
    }
    return lost + duplicated + mismatched + demo->errors == 0 ? EXIT_OK : EXIT_FAILED;
}

/* On a terminal the cluster stays for whoever wants to try it. */
static void stay(struct demo *demo)
{
    demo_invite(demo->cli, &demo->cluster);
    while (!demo->interrupted && demo->status == EXIT_OK)
        loop_event_run(demo->loop);
}

static enum exit_status play(struct demo *demo)
{
    enum exit_status status = demo_cluster_start(&demo->cluster, demo->cli, demo->loop, demo->net,
                                                 (uint32_t)demo->options->servers, on_lost, demo);
    if (status == EXIT_OK && !demo->interrupted) {
        demo->target.locators[0] = demo->cluster.locator_address;
        demo->target.locator_count = 1;
        demo->target.timeout_ms = (uint32_t)demo->cli->globals.timeout_ms;
        demo_introduce(demo->cli, &demo->cluster, demo->path, demo_query);
        status = make_region_and_table(demo);
    }
    if (status == EXIT_OK && demo->options->kill)
        status = find_half(demo);
    if (status == EXIT_OK && !demo->interrupted)
        status = run_query(demo);
    if (status == EXIT_OK && demo->done)
        status = summarize(demo);
    if (demo->done && demo->cli->out_is_terminal && !demo->interrupted && !demo->lost_member)
        stay(demo);
    else if (status == EXIT_OK && demo->interrupted)
        status = (enum exit_status)(128 + SIGINT);
    if (demo->importer != NULL)
        importer_free(demo->importer);
    if (demo->subscription != NULL)
        vug_subscription_free(demo->subscription);
    demo_cluster_end(&demo->cluster);
    return status;
}

static enum exit_status run_loop(struct demo *demo)
{
    enum exit_status status = EXIT_INTERNAL;
    enum error error = loop_event_new(&demo->loop);
    if (error != OK)
        return cli_fail_memory(demo->cli);
    error = net_event_new(demo->loop, &(struct net_event_options){0}, &demo->net);
    if (error != OK)
        goto err_after_loop;
    error = loop_timer_init(&demo->redraw, demo->loop, on_redraw, demo);
    if (error == OK)
        error = loop_timer_init(&demo->patience, demo->loop, on_patience, demo);
    if (error == OK)
        error = loop_event_signal(demo->loop, SIGINT, on_interrupt, demo);
    if (error == OK)
        error = loop_event_signal(demo->loop, SIGTERM, on_interrupt, demo);
    if (error == OK)
        status = play(demo);
    loop_timer_fini(&demo->redraw);
    loop_timer_fini(&demo->patience);
    net_event_free(demo->net);
err_after_loop:
    loop_event_free(demo->loop);
    if (error != OK)
        status = cli_fail(demo->cli, EXIT_INTERNAL, NULL, "cannot start: %s", error_text(error));
    return status;
}

static enum exit_status run_demo(struct cli *cli, const void *into)
{
    const struct demo_options *options = into;
    enum output output = OUTPUT_TABLE;
    enum exit_status status = cli_output(cli, cli->command->formats, OUTPUT_TABLE, &output);
    if (status != EXIT_OK)
        return status;
    if (options->kill && options->servers < 2)
        return cli_fail(cli, EXIT_USAGE, "--servers 2 or more",
                        "--kill needs a second server: what a single one has in memory dies with "
                        "it");
    struct demo demo = {.cli = cli, .options = options, .output = output, .fd = -1};
    if (options->readings != NULL)
        snprintf(demo.path, sizeof demo.path, "%s", options->readings);
    else if (!demo_find_readings(demo.path, sizeof demo.path))
        return cli_fail(cli, EXIT_FAILED, "--readings FILE.csv names some",
                        "cannot find deploy/data/weather-2013.csv");
    demo.fd = open(demo.path, O_RDONLY | O_CLOEXEC);
    if (demo.fd < 0)
        return cli_fail(cli, EXIT_FAILED, NULL, "cannot open %s: %s", demo.path, strerror(errno));
    tally_init(&demo.tally);
    cq_print_init(&demo.print, cli, output);
    status = run_loop(&demo);
    cq_print_fini(&demo.print);
    tally_fini(&demo.tally);
    close(demo.fd);
    return status;
}

const struct command demo_command = {
    .name = "demo",
    .formats = CLI_FORMAT(OUTPUT_TABLE) | CLI_FORMAT(OUTPUT_NDJSON),
    .usage = "[--servers N] [--kill] [--readings FILE.csv] [--rate N] [--start-time MS] "
             "[-o table|ndjson]",
    .summary = "Starts a cluster on this machine, feeds it readings and shows their averages as "
               "they change",
    .details = "It counts every write and every result, and compares the averages with the file. "
               "The last line is\n"
               "    demo: readings=N results=N keys=N lost=0 duplicated=0 mismatched=0\n"
               "On a terminal the cluster stays until Ctrl-C.",
    .rows = rows,
    .row_count = sizeof rows / sizeof rows[0],
    .options_size = sizeof(struct demo_options),
    .run = run_demo,
};
