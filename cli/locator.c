#include "cli/commands.h"
#include "cli/member.h"
#include "locator/client_address.h"
#include "locator/locator.h"

#include <inttypes.h>
#include <stdio.h>

struct locator_command_options {
    struct member_options common;
    const char *map_store;
    struct option_list etcd;
    const char *client_address;
    bool adopts;
};

static const struct option_row rows[] = {
    MEMBER_ROWS(struct locator_command_options, "locator1", "port", "10334", "7070"),
    {.name = "map-store",
     .kind = OPTION_STRING,
     .default_text = "file",
     .value_name = "KIND",
     .help = "where the cluster map is kept: file; etcd comes with a later version",
     .offset = offsetof(struct locator_command_options, map_store)},
    {.name = "etcd",
     .kind = OPTION_LIST,
     .value_name = "URL,...",
     .help = "comes with a later version: the map in etcd",
     .offset = offsetof(struct locator_command_options, etcd)},
    {.name = "client-address",
     .kind = OPTION_STRING,
     .value_name = "SOURCE=HOST,...",
     .help = "which host of a server clients are told, by where they ask from",
     .offset = offsetof(struct locator_command_options, client_address)},
    {.name = "adopt",
     .kind = OPTION_BOOL,
     .default_text = "false",
     .help = "the data directory is lost: take the newest cluster map that the servers hold",
     .offset = offsetof(struct locator_command_options, adopts)},
};

struct process {
    struct member member;
    struct locator *locator;
    struct client_address *client_address;
};

static int on_health(void *arg, struct buf *body)
{
    const struct process *process = arg;
    buf_append_text(body, process->member.ready ? "ready\n" : "not ready\n");
    return process->member.ready ? 200 : 503;
}

static void append_metric(struct buf *body, const char *name, const char *type, const char *help,
                          uint64_t value)
{
    buf_printf(body,
               "# HELP vug_locator_%s %s\n# TYPE vug_locator_%s %s\nvug_locator_%s %" PRIu64 "\n",
               name, help, name, type, name, value);
}

static int on_metrics(void *arg, struct buf *body)
{
    const struct process *process = arg;
    if (process->locator == NULL)
        return 503;
    struct locator_state state;
    locator_state(process->locator, &state);
    append_metric(body, "map_epoch", "gauge", "Epoch of the cluster map.", state.epoch);
    append_metric(body, "servers", "gauge", "Servers in the map.", state.servers);
    append_metric(body, "servers_up", "gauge", "Servers whose link is up.", state.servers_up);
    append_metric(body, "regions", "gauge", "Regions.", state.regions);
    append_metric(body, "tables", "gauge", "Tables.", state.tables);
    append_metric(body, "clients", "gauge", "Connections of clients.", state.clients);
    append_metric(body, "failovers", "gauge",
                  "Servers whose buckets are being given to others, or would be were they silent.",
                  state.failovers);
    append_metric(body, "map_changes_total", "counter", "Changes of the map that were stored.",
                  state.changes);
    append_metric(body, "map_changes_failed_total", "counter", "Changes that could not be stored.",
                  state.changes_failed);
    return 200;
}

static const struct http_route routes[] = {
    {"/health", "text/plain; charset=utf-8", on_health},
    {"/metrics", "text/plain; version=0.0.4; charset=utf-8", on_metrics},
};

static void on_ready(void *arg)
{
    struct process *process = arg;
    struct net_address address = locator_address(process->locator);
    member_tell_port(&process->member, "locator", &address,
                     "clients, servers and the command line");
    member_tell_ready(&process->member);
}

static void on_failed(void *arg, enum error why, const char *text)
{
    struct process *process = arg;
    enum exit_status status = why == ERROR_DAMAGED || why == ERROR_LOCKED || why == ERROR_IO
                                  ? EXIT_DATA_DIR
                              : why == ERROR_MEMORY ? EXIT_INTERNAL
                                                    : EXIT_FAILED;
    member_stop(&process->member, cli_fail(process->member.cli, status, NULL, "%s", text));
}

static void on_stop(void *arg)
{
    struct process *process = arg;
    member_end(&process->member);
}

/* A locator has nothing that others wait for: the map is stored before it is shown. */
static void on_end(void *arg)
{
    struct process *process = arg;
    member_stop(&process->member, EXIT_OK);
}

static void on_last_turn(void *arg)
{
    loop_event_stop(arg);
}

/* Runs what is posted by now: a map store that was freed while its answer was on its way goes away
 * with that. */
static void run_last_turn(struct loop *loop)
{
    struct loop_task last = {.on_run = on_last_turn, .arg = loop};
    loop_post(loop, &last);
    loop_event_run(loop);
}

static enum exit_status read_client_address(struct process *process, const char *rules)
{
    struct cli *cli = process->member.cli;
    char text[16384], gateway[16], problem[256];
    if (rules == NULL)
        return EXIT_OK;
    FILE *file = fopen("/proc/net/route", "re");
    size_t len = file == NULL ? 0 : fread(text, 1, sizeof text, file);
    if (file != NULL)
        fclose(file);
    bool has_gateway = client_address_gateway(slice_of((const uint8_t *)text, len), gateway);
    enum error error =
        client_address_new(rules, has_gateway ? gateway : NULL, &process->client_address, problem);
    if (error == ERROR_MEMORY)
        return cli_fail_memory(cli);
    if (error != OK)
        return cli_fail(cli, EXIT_CONFIG, "for example: --client-address 'gateway=localhost'",
                        "--client-address: %s", problem);
    cli_note(cli, "clients are told by where they ask from: %s (gateway: %s)", rules,
             has_gateway ? gateway : "none");
    return EXIT_OK;
}

static enum exit_status run_locator(struct cli *cli, const void *into)
{
    const struct locator_command_options *options = into;
    struct process process = {.locator = NULL};
    struct map_store *store = NULL;
    struct map_problem problem;
    char directory[LIMIT_NAME_BYTES + 16];
    if (strcmp(options->map_store, "file") != 0 || options->etcd.count > 0)
        return cli_fail(cli, EXIT_CONFIG, "--map-store file keeps the map in --data-dir",
                        "only the map store \"file\" is there; etcd comes with a later version");
    enum exit_status status =
        member_init(&process.member, cli, &options->common, "locator", on_end, &process);
    if (status != EXIT_OK)
        return status;
    snprintf(directory, sizeof directory, "vug-%s", options->common.name);
    const char *data_dir = options->common.data_dir != NULL ? options->common.data_dir : directory;
    if (map_store_file_new(process.member.loop, data_dir, &store, &problem) != OK) {
        status = cli_fail(cli, problem.error == ERROR_MEMORY ? EXIT_INTERNAL : EXIT_DATA_DIR, NULL,
                          "%s", problem.text);
        goto err_after_member;
    }
    if (options->adopts)
        cli_note(cli,
                 "--adopt: if no cluster map is in %s, the newest one of the servers is taken; "
                 "the locator is ready when all of them have come, or 30 s after the first",
                 data_dir);
    cli_note(cli, "vug " VUG_VERSION "  locator %s  data in %s  open files at most %llu",
             options->common.name, data_dir, (unsigned long long)member_file_limit());
    status = member_serve_http(&process.member, routes, sizeof routes / sizeof routes[0], &process);
    if (status == EXIT_OK)
        status = read_client_address(&process, options->client_address);
    if (status != EXIT_OK)
        goto err_after_store;
    enum error error = locator_new(
        &(struct locator_options){.name = options->common.name,
                                  .bind_host = options->common.bind_address,
                                  .port = (uint16_t)options->common.port,
                                  .hostname = options->common.hostname_for_clients,
                                  .http_port = member_http_port(&process.member),
                                  .connections_max = member_connections_max(&options->common),
                                  .client_address = process.client_address,
                                  .adopts = options->adopts,
                                  .on_ready = on_ready,
                                  .on_failed = on_failed,
                                  .on_stop = on_stop,
                                  .arg = &process},
        process.member.loop, process.member.net, process.member.log, store, &process.locator);
    if (error != OK) {
        status = cli_fail_memory(cli);
        goto err_after_store;
    }
    store = NULL; /* the locator's now */
    loop_event_run(process.member.loop);
    status = process.member.status;
    locator_free(process.locator);
    process.locator = NULL;
    run_last_turn(process.member.loop);
err_after_store:
    map_store_free(store);
    client_address_free(process.client_address);
err_after_member:
    member_fini(&process.member);
    return status;
}

const struct command locator_command = {
    .name = "locator",
    .usage = "[--name NAME] [--port PORT] [--data-dir DIRECTORY] [--bind-address ADDRESS]",
    .summary = "Runs a locator: it knows the members and sends clients to servers",
    .details = "It runs in the foreground and ends in good order with SIGTERM or Ctrl-C.\n"
               "Without --data-dir it keeps the cluster map in ./vug-NAME.\n"
               "When that directory is lost, servers refuse the locator's new cluster and go on\n"
               "serving; `vug locator --adopt` takes the newest map that they hold, once.",
    .rows = rows,
    .row_count = sizeof rows / sizeof rows[0],
    .options_size = sizeof(struct locator_command_options),
    .run = run_locator,
};
