#include "cli/cluster_status.h"
#include "cli/commands.h"
#include "cli/grid.h"
#include "cli/row.h"
#include "client/wire.h"

#include <stdio.h>

/* status, members, health, stop, version. */

static const unsigned table_or_json = CLI_FORMAT(OUTPUT_TABLE) | CLI_FORMAT(OUTPUT_JSON);

static void add_member(struct grid *grid, const struct status_member *member, enum output output)
{
    struct slice walk = member->message, group;
    struct buf groups;
    bool first = true;
    buf_init(&groups);
    while (vug_wire_next(&walk, 6, &group)) {
        if (!first)
            buf_append_byte(&groups, ',');
        if (output == OUTPUT_TABLE)
            buf_append_slice(&groups, group);
        else
            row_json_string(&groups, group);
        first = false;
    }
    grid_text(grid, member->name);
    grid_text(grid, member->role);
    grid_text(grid, member->host);
    grid_raw(grid, "%u", member->port);
    grid_raw(grid, "%u", member->http_port);
    if (output == OUTPUT_TABLE)
        grid_text(grid, buf_slice(&groups));
    else
        grid_raw(grid, "[%.*s]", SLICE_FMT(buf_slice(&groups)));
    grid_text(grid, member->state);
    grid_raw(grid, "%llu", (unsigned long long)member->entries);
    grid_raw(grid, "%llu", (unsigned long long)member->bytes);
    grid_raw(grid, "%u", member->clients);
    grid_raw(grid, "%u", member->primaries);
    grid_raw(grid, "%u", member->buckets);
    grid_raw(grid, "%llu", (unsigned long long)member->uptime_s);
    grid->failed = grid->failed || groups.failed;
    buf_fini(&groups);
}

static enum error write_members(struct slice body, enum output output, struct buf *out)
{
    static const char *const columns[] = {"name",      "role",    "host",    "port",  "http_port",
                                          "groups",    "state",   "entries", "bytes", "clients",
                                          "primaries", "buckets", "uptime_s"};
    struct grid grid;
    struct status_member member;
    grid_init(&grid);
    for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++)
        grid_column(&grid, slice_text(columns[i]));
    while (cluster_status_next_member(&body, &member))
        add_member(&grid, &member, output);
    enum error error = grid_write(&grid, output, out);
    grid_fini(&grid);
    return error;
}

static enum exit_status run_members(struct cli *cli, const void *options)
{
    (void)options;
    struct vug_reply reply;
    enum output output = OUTPUT_TABLE;
    vug_reply_init(&reply);
    enum exit_status status =
        cli_output(cli, table_or_json | CLI_FORMAT(OUTPUT_NDJSON), OUTPUT_TABLE, &output);
    if (status == EXIT_OK)
        status = cluster_status_ask(cli, CLUSTER_STATUS_MEMBERS, &reply);
    if (status == EXIT_OK && write_members(buf_slice(&reply.body), output, &cli->out) != OK)
        status = cli_fail_memory(cli);
    vug_reply_fini(&reply);
    return status;
}

static void append_hex(struct buf *out, struct slice bytes)
{
    for (size_t i = 0; i < bytes.len; i++)
        buf_printf(out, "%02x", bytes.data[i]);
}

static void write_status_json(struct slice body, const struct status_totals *totals,
                              const char *health, struct buf *out)
{
    struct status_region region;
    struct slice walk = body;
    buf_printf(out, "{\"health\":\"%s\",\"cluster_id\":\"", health);
    append_hex(out, totals->cluster_id);
    buf_printf(out, "\",\"epoch\":%llu,\"degraded_buckets\":%u,\"lost_buckets\":%u,\"regions\":[",
               (unsigned long long)totals->epoch, totals->degraded_buckets, totals->lost_buckets);
    for (bool first = true; cluster_status_next_region(&walk, &region); first = false) {
        buf_append_text(out, first ? "{\"name\":" : ",{\"name\":");
        row_json_string(out, region.name);
        buf_append_text(out, ",\"type\":");
        row_json_string(out, region.type);
        buf_printf(out,
                   ",\"buckets\":%u,\"redundant_copies\":%u,\"entries\":%llu,\"bytes\":%llu,"
                   "\"degraded_buckets\":%u,\"lost_buckets\":%u}",
                   region.buckets, region.redundant_copies, (unsigned long long)region.entries,
                   (unsigned long long)region.bytes, region.degraded_buckets, region.lost_buckets);
    }
    buf_append_text(out, "],\"degraded\":[");
    struct status_degraded degraded;
    walk = body;
    for (bool first = true; cluster_status_next_degraded(&walk, &degraded); first = false) {
        buf_append_text(out, first ? "{\"region\":" : ",{\"region\":");
        row_json_string(out, degraded.region);
        buf_printf(out,
                   ",\"bucket\":%u,\"copies\":%u,\"wanted\":%u,\"waits_for\":", degraded.bucket,
                   degraded.copies, degraded.wanted);
        row_json_string(out, degraded.waits_for);
        buf_append_byte(out, '}');
    }
    buf_append_text(out, "],\"members\":");
    (void)write_members(body, OUTPUT_JSON, out); /* a failure stands in `out` */
    if (out->len > 0 && !out->failed)
        out->len--; /* its line end */
    buf_append_text(out, "}\n");
}

static void write_status_table(struct slice body, const struct status_totals *totals,
                               const char *health, struct buf *out)
{
    struct status_member member;
    struct status_degraded degraded;
    struct slice walk = body;
    unsigned members = 0;
    while (cluster_status_next_member(&walk, &member))
        members++;
    buf_printf(out, "CLUSTER  %s   map %llu   %u members\n", health,
               (unsigned long long)totals->epoch, members);
    if (totals->degraded_buckets > 0)
        buf_printf(out, "         %u buckets are not whole, %u have no copy that serves\n",
                   totals->degraded_buckets, totals->lost_buckets);
    walk = body;
    for (unsigned shown = 0; shown < 10 && cluster_status_next_degraded(&walk, &degraded);
         shown++) {
        buf_printf(out, "         %.*s bucket %u: %u of %u copies", SLICE_FMT(degraded.region),
                   degraded.bucket, degraded.copies, degraded.wanted);
        if (degraded.waits_for.len > 0)
            buf_printf(out, ", waits for %.*s", SLICE_FMT(degraded.waits_for));
        buf_append_byte(out, '\n');
    }
    buf_append_byte(out, '\n');
    (void)write_members(body, OUTPUT_TABLE, out); /* a failure stands in `out` */
}

static enum exit_status run_status(struct cli *cli, const void *options)
{
    (void)options;
    struct vug_reply reply;
    struct status_totals totals;
    enum output output = OUTPUT_TABLE;
    vug_reply_init(&reply);
    enum exit_status status = cli_output(cli, table_or_json, OUTPUT_TABLE, &output);
    if (status == EXIT_OK)
        status = cluster_status_ask(
            cli, CLUSTER_STATUS_MEMBERS | CLUSTER_STATUS_REGIONS | CLUSTER_STATUS_DEGRADED, &reply);
    if (status == EXIT_OK) {
        cluster_status_totals(buf_slice(&reply.body), &totals);
        bool whole = totals.degraded_buckets == 0 && totals.lost_buckets == 0;
        const char *health = whole                     ? "healthy"
                             : totals.lost_buckets > 0 ? "partly unavailable"
                                                       : "degraded";
        if (output == OUTPUT_JSON)
            write_status_json(buf_slice(&reply.body), &totals, health, &cli->out);
        else
            write_status_table(buf_slice(&reply.body), &totals, health, &cli->out);
        status = whole ? EXIT_OK : EXIT_DEGRADED;
    }
    vug_reply_fini(&reply);
    return status;
}

struct health_options {
    bool quiet;
};
static const struct option_row health_rows[] = {
    {.name = "quiet",
     .letter = 'q',
     .kind = OPTION_BOOL,
     .help = "no text, only the exit status",
     .offset = offsetof(struct health_options, quiet)},
};

/* "X is a locator, not a server", with the option that names such. */
static enum exit_status fail_other_role(struct cli *cli, bool asked_server, bool quiet,
                                        const struct text_host_port *peer)
{
    char hint[TEXT_HOST_BYTES + 64];
    if (quiet)
        return EXIT_FAILED;
    snprintf(hint, sizeof hint,
             asked_server ? "vug health --locator '%s[%u]'" : "vug health --server %s:%u",
             peer->host, (unsigned)peer->port);
    return cli_fail(cli, EXIT_FAILED, hint, "%s:%u is a %s, not a %s", peer->host,
                    (unsigned)peer->port, asked_server ? "locator" : "server",
                    asked_server ? "server" : "locator");
}

/* Whether the member that --server names, which has refused a server's work, answers as a locator.
 * A refusal can end a connection, so it is asked on another one. */
static bool is_locator(struct cli *cli)
{
    struct vug_sync *sync = NULL;
    struct vug_reply totals;
    if (cli_connect(cli, VUG_TO_SERVER, &sync) != EXIT_OK)
        return false;
    vug_reply_init(&totals);
    bool answers = vug_sync_call(sync, VUG_CLUSTER_STATUS, NULL, &totals) == OK;
    vug_reply_fini(&totals);
    vug_sync_free(sync);
    return answers;
}

/* Only servers have the names of regions. The status of the cluster is a locator's, and a server
 * passes the question on. */
static enum exit_status ask_health(struct cli *cli, struct vug_sync *sync, bool quiet)
{
    struct vug_reply names, totals;
    struct text_host_port peer = {.host = ""};
    const char *text = NULL;
    bool server = cli->globals.server != NULL;
    enum exit_status status = EXIT_OK;
    vug_reply_init(&names);
    vug_reply_init(&totals);
    bool has_totals = server || vug_sync_call(sync, VUG_CLUSTER_STATUS, NULL, &totals) == OK;
    bool has_names = has_totals && vug_sync_call(sync, VUG_REGION_NAMES, NULL, &names) == OK;
    const struct vug_error *error = has_totals ? &names.error : &totals.error;
    (void)vug_sync_peer(sync, &peer);
    if (server && !has_names && error->code != 0 && is_locator(cli))
        status = fail_other_role(cli, true, quiet, &peer);
    else if (!server && has_names)
        status = fail_other_role(cli, false, quiet, &peer);
    else if (server ? !has_names : !has_totals)
        status = quiet ? exit_status_of_vug(error, &text) : cli_fail_vug(cli, error, NULL, NULL);
    else if (!quiet)
        buf_printf(&cli->out, "ready: %s %s:%u\n", server ? "server" : "locator", peer.host,
                   (unsigned)peer.port);
    vug_reply_fini(&totals);
    vug_reply_fini(&names);
    return status;
}

static enum exit_status run_health(struct cli *cli, const void *into)
{
    const struct health_options *options = into;
    struct vug_sync *sync = NULL;
    enum exit_status status =
        cli_connect(cli, cli->globals.server != NULL ? VUG_TO_SERVER : VUG_TO_LOCATOR, &sync);
    if (status != EXIT_OK)
        return status;
    status = ask_health(cli, sync, options->quiet);
    vug_sync_free(sync);
    return status;
}

static enum exit_status run_stop(struct cli *cli, const void *options)
{
    (void)options;
    struct vug_reply reply;
    struct buf body;
    buf_init(&body);
    vug_reply_init(&reply);
    vug_wire_text(&body, 1, cli_argument(cli, 0));
    enum exit_status status = cli_call(cli, VUG_TO_LOCATOR, VUG_MEMBER_STOP, &body, NULL, &reply);
    if (status == EXIT_OK)
        cli_note(cli, "%s was told to stop", cli_argument(cli, 0));
    vug_reply_fini(&reply);
    buf_fini(&body);
    return status;
}

static enum exit_status run_version(struct cli *cli, const void *options)
{
    (void)options;
    enum output output = OUTPUT_TABLE;
    enum exit_status status = cli_output(cli, table_or_json, OUTPUT_TABLE, &output);
    if (status != EXIT_OK)
        return status;
    buf_append_text(&cli->out, output == OUTPUT_JSON ? "{\"version\":\"" VUG_VERSION
                                                       "\",\"protocol\":\"1.1\"}\n"
                                                     : "vug " VUG_VERSION "\n");
    return EXIT_OK;
}

const struct command status_command = {
    .name = "status",
    .formats = CLI_FORMAT(OUTPUT_TABLE) | CLI_FORMAT(OUTPUT_JSON),
    .usage = "[-o table|json]",
    .summary = "Shows the cluster; ends with 8 when buckets are not served or lack copies",
    .run = run_status,
};

const struct command members_command = {
    .name = "members",
    .formats = CLI_FORMAT(OUTPUT_TABLE) | CLI_FORMAT(OUTPUT_JSON) | CLI_FORMAT(OUTPUT_NDJSON),
    .usage = "[-o table|json|ndjson]",
    .summary = "Lists the living members",
    .run = run_members,
};

const struct command health_command = {
    .name = "health",
    .usage = "[--locator HOST[PORT] | --server HOST:PORT] [--quiet]",
    .summary = "Ends with 0 when the member that --server or --locator names serves",
    .rows = health_rows,
    .row_count = sizeof health_rows / sizeof health_rows[0],
    .options_size = sizeof(struct health_options),
    .run = run_health,
};

const struct command stop_command = {
    .name = "stop",
    .usage = "MEMBER",
    .summary = "Asks a member to finish its work and end",
    .arguments_min = 1,
    .arguments_max = 1,
    .run = run_stop,
};

const struct command version_command = {
    .name = "version",
    .formats = CLI_FORMAT(OUTPUT_TABLE) | CLI_FORMAT(OUTPUT_JSON),
    .usage = "[-o table|json]",
    .summary = "Prints the version",
    .run = run_version,
};
