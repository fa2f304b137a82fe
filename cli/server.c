#include "server/server.h"

#include "cli/commands.h"
#include "cli/member.h"
#include "common/mem.h"

#include <pthread.h>
#include <unistd.h>

#define WORKERS_MAX 64

struct server_command_options {
    struct member_options common;
    const char *locators, *groups;
    uint64_t locator_wait_ms, cq_ring_bytes;
    int64_t workers;
};

static const struct option_row rows[] = {
    MEMBER_ROWS(struct server_command_options, "server1", "server-port", "40404", "7071"),
    {.name = "locators",
     .kind = OPTION_STRING,
     .value_name = "HOST[PORT],...",
     .help = "the locators of the cluster",
     .offset = offsetof(struct server_command_options, locators)},
    {.name = "locator-wait-time",
     .kind = OPTION_DURATION,
     .min = 1,
     .max = 86400000,
     .default_text = "60s",
     .value_name = "DURATION",
     .help = "how long to wait for a locator",
     .offset = offsetof(struct server_command_options, locator_wait_ms)},
    {.name = "groups",
     .kind = OPTION_STRING,
     .value_name = "NAME,...",
     .help = "groups that clients can ask for",
     .offset = offsetof(struct server_command_options, groups)},
    {.name = "workers",
     .kind = OPTION_INT,
     .min = 0,
     .max = WORKERS_MAX,
     .default_text = "0",
     .value_name = "N",
     .help = "threads that serve connections; 0: what suits the processors",
     .offset = offsetof(struct server_command_options, workers)},
    {.name = "cq-ring-bytes",
     .kind = OPTION_SIZE,
     .min = 64 * 1024,
     .max = INT64_MAX,
     .default_text = "48MiB",
     .value_name = "SIZE",
     .help = "recent outputs kept for resuming readers, all queries together",
     .offset = offsetof(struct server_command_options, cq_ring_bytes)},
};

struct process {
    struct member member;
    struct server *server;
    struct server_place places[WORKERS_MAX];
    pthread_t threads[WORKERS_MAX];
    uint32_t place_count, thread_count;
};

static int on_health(void *arg, struct buf *body)
{
    const struct process *process = arg;
    buf_append_text(body, process->member.ready ? "ready\n" : "not ready\n");
    return process->member.ready ? 200 : 503;
}

static int on_metrics(void *arg, struct buf *body)
{
    const struct process *process = arg;
    if (process->server == NULL)
        return 503;
    server_metrics(process->server, body);
    return 200;
}

static const struct http_route routes[] = {
    {"/health", "text/plain; charset=utf-8", on_health},
    {"/metrics", "text/plain; version=0.0.4; charset=utf-8", on_metrics},
};

static void on_ready(void *arg)
{
    struct process *process = arg;
    struct net_address address = server_address(process->server);
    member_tell_port(&process->member, "server", &address, "clients");
    member_tell_ready(&process->member);
}

static void on_refused(void *arg, enum error why, const char *text)
{
    struct process *process = arg;
    enum exit_status status = why == ERROR_TIMEOUT ? EXIT_NO_LOCATOR : exit_status_of(why);
    member_stop(&process->member, cli_fail(process->member.cli, status, NULL, "%s", text));
}

static void on_stop_requested(void *arg)
{
    struct process *process = arg;
    member_end(&process->member);
}

static void on_drained(void *arg)
{
    struct process *process = arg;
    member_stop(&process->member, EXIT_OK);
}

static void on_end(void *arg)
{
    struct process *process = arg;
    server_drain(process->server, on_drained, process);
}

static void *run_worker(void *arg)
{
    loop_event_run(arg);
    return NULL;
}

/* One on up to two processors, else one less than there are: the main loop needs little. */
static uint32_t worker_count(int64_t asked)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    if (asked > 0)
        return (uint32_t)asked;
    if (processors <= 2)
        return 1;
    return processors - 1 > WORKERS_MAX ? WORKERS_MAX : (uint32_t)(processors - 1);
}

static enum error make_places(struct process *process, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct server_place *place = &process->places[i];
        enum error error = loop_event_new(&place->loop);
        if (error != OK)
            return error;
        error = net_event_new(place->loop, &(struct net_event_options){0}, &place->net);
        if (error != OK) {
            loop_event_free(place->loop);
            return error;
        }
        process->place_count++;
    }
    return OK;
}

static void free_places(struct process *process)
{
    for (uint32_t i = 0; i < process->place_count; i++) {
        net_event_free(process->places[i].net);
        loop_event_free(process->places[i].loop);
    }
}

static void stop_threads(struct process *process)
{
    for (uint32_t i = 0; i < process->thread_count; i++)
        loop_event_stop(process->places[i].loop);
    for (uint32_t i = 0; i < process->thread_count; i++)
        pthread_join(process->threads[i], NULL);
    process->thread_count = 0;
}

/* Runs until the main loop is stopped. */
static enum exit_status serve(struct process *process)
{
    for (uint32_t i = 0; i < process->place_count; i++) {
        if (pthread_create(&process->threads[i], NULL, run_worker, process->places[i].loop) != 0) {
            stop_threads(process);
            return cli_fail(process->member.cli, EXIT_INTERNAL, "--workers allows fewer",
                            "cannot start a thread for worker %u", i);
        }
        process->thread_count++;
    }
    loop_event_run(process->member.loop);
    stop_threads(process);
    return process->member.status;
}

static enum exit_status read_locators(struct cli *cli, const char *text,
                                      struct net_address *locators, uint32_t *count)
{
    struct vug_target target = {0};
    if (text == NULL)
        return cli_fail(cli, EXIT_USAGE, "for example: vug server --locators 'localhost[10334]'",
                        "`vug server` needs --locators HOST[PORT],...");
    if (vug_target_locators(&target, text) != OK)
        return cli_fail(cli, EXIT_USAGE, "write HOST[PORT] or HOST:PORT, several with commas",
                        "--locators \"%s\" cannot be read", text);
    for (uint32_t i = 0; i < target.locator_count; i++) {
        size_t len = strlen(target.locators[i].host);
        if (len >= sizeof locators[i].host)
            return cli_fail(cli, EXIT_CONFIG, "use its address", "the host name %s is too long",
                            target.locators[i].host);
        memcpy(locators[i].host, target.locators[i].host, len + 1);
        locators[i].port = target.locators[i].port;
    }
    *count = target.locator_count;
    return EXIT_OK;
}

static enum exit_status fail_listen(struct cli *cli, const struct member_options *options,
                                    enum error error)
{
    if (error == ERROR_MEMORY)
        return cli_fail_memory(cli);
    return cli_fail(cli, EXIT_FAILED, "--server-port 0 takes a free one",
                    "cannot listen on %s:%lld: %s", options->bind_address, (long long)options->port,
                    error_text(error));
}

static enum exit_status start_and_serve(struct process *process,
                                        const struct server_command_options *options,
                                        const struct net_address *locators, uint32_t locator_count)
{
    static const struct server_events events = {
        .on_ready = on_ready, .on_refused = on_refused, .on_stop_requested = on_stop_requested};
    const struct member_options *common = &options->common;
    struct cli *cli = process->member.cli;
    char own_name[64] = "";
    const char *hostname = common->hostname_for_clients;
    bool is_wildcard =
        strcmp(common->bind_address, "0.0.0.0") == 0 || strcmp(common->bind_address, "::") == 0;
    if (hostname == NULL && is_wildcard && gethostname(own_name, sizeof own_name - 1) == 0) {
        hostname = own_name; /* nobody can connect to 0.0.0.0 */
        cli_note(
            cli,
            "note: clients are told to connect to \"%s\"; --hostname-for-clients names another",
            own_name);
    }
    enum error error = make_places(process, worker_count(options->workers));
    if (error != OK)
        return fail_listen(cli, common, error);
    error = server_new(
        &(struct server_options){.name = common->name,
                                 .bind_address = common->bind_address,
                                 .port = (uint16_t)common->port,
                                 .hostname_for_clients = hostname,
                                 .groups = options->groups,
                                 .http_port = member_http_port(&process->member),
                                 .locators = locators,
                                 .locator_count = locator_count,
                                 .locator_wait_ms = (uint32_t)options->locator_wait_ms,
                                 .ring_bytes_max = options->cq_ring_bytes,
                                 .connections_max = member_connections_max(common)},
        (struct server_place){process->member.loop, process->member.net}, process->places,
        process->place_count, process->member.log, &events, process, &process->server);
    if (error != OK)
        return fail_listen(cli, common, error);
    enum exit_status status = serve(process);
    struct server *server = process->server;
    process->server = NULL;
    server_free(server);
    return status;
}

static enum exit_status run_server(struct cli *cli, const void *into)
{
    const struct server_command_options *options = into;
    struct net_address locators[VUG_LOCATORS_MAX];
    uint32_t locator_count = 0;
    enum exit_status status = read_locators(cli, options->locators, locators, &locator_count);
    if (status != EXIT_OK)
        return status;
    struct process *process = mem_zalloc(sizeof *process);
    if (process == NULL)
        return cli_fail_memory(cli);
    status = member_init(&process->member, cli, &options->common, "server", on_end, process);
    if (status != EXIT_OK)
        goto err_after_process;
    cli_note(cli, "vug " VUG_VERSION "  server %s  in memory  locators %s  open files at most %llu",
             options->common.name, options->locators, (unsigned long long)member_file_limit());
    status = member_serve_http(&process->member, routes, sizeof routes / sizeof routes[0], process);
    if (status == EXIT_OK)
        status = start_and_serve(process, options, locators, locator_count);
    free_places(process);
    member_fini(&process->member);
err_after_process:
    mem_free(process);
    return status;
}

const struct command server_command = {
    .name = "server",
    .usage =
        "--locators HOST[PORT],... [--name NAME] [--server-port PORT] [--bind-address ADDRESS]",
    .summary = "Runs a server: it holds the data and computes the continuous queries",
    .details = "It runs in the foreground and ends in good order with SIGTERM or Ctrl-C.",
    .rows = rows,
    .row_count = sizeof rows / sizeof rows[0],
    .options_size = sizeof(struct server_command_options),
    .run = run_server,
};
