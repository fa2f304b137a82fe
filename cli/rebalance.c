#include "cli/cluster_status.h"
#include "cli/commands.h"
#include "cli/row.h"
#include "client/wire.h"

#include <inttypes.h>
#include <stdio.h>

/* rebalance: 1026 RebalanceRequest (1 dry_run), answered when all moves are done: 1027
 * RebalanceResponse (1 buckets_moved, 2 primaries_moved, 3 bytes_moved). Meanwhile the status tells
 * how many moves are left, on another connection. */

#define LOOK_US    (500u * 1000)
#define AT_MOST_MS (24u * 60 * 60 * 1000)

struct rebalance_options {
    bool dry_run;
};

static const struct option_row rows[] = {
    {.name = "dry-run",
     .kind = OPTION_BOOL,
     .help = "only say what would move",
     .offset = offsetof(struct rebalance_options, dry_run)},
};

struct rebalance {
    struct cli *cli;
    const struct rebalance_options *options;
    struct loop *loop;
    struct net *net;
    struct vug_client *mover, *watcher;
    struct loop_timer look;
    enum output output;
    enum exit_status status;
    bool done, looking;
};

static uint64_t number_of(struct slice body, uint32_t wanted)
{
    struct codec_field field;
    uint64_t number = 0;
    while (body.len > 0 && codec_next_field(&body, &field) == OK)
        if (field.number == wanted && field.wire_type == 0)
            number = field.integer;
    return number;
}

static void on_done(void *arg, const struct vug_error *error, struct slice body)
{
    struct rebalance *op = arg;
    uint64_t buckets = number_of(body, 1), primaries = number_of(body, 2),
             bytes = number_of(body, 3);
    op->done = true;
    loop_event_stop(op->loop);
    if (error != NULL)
        op->status = cli_fail_vug(op->cli, error, NULL, NULL);
    else if (op->output == OUTPUT_JSON)
        buf_printf(&op->cli->out,
                   "{\"dry_run\":%s,\"buckets_moved\":%" PRIu64 ",\"primaries_moved\":%" PRIu64
                   ",\"bytes_moved\":%" PRIu64 "}\n",
                   op->options->dry_run ? "true" : "false", buckets, primaries, bytes);
    else
        buf_printf(&op->cli->out,
                   "%" PRIu64 " buckets %s, %" PRIu64 " of them change their primary, %" PRIu64
                   " bytes\n",
                   buckets, op->options->dry_run ? "would move" : "moved", primaries, bytes);
}

static void on_status(void *arg, const struct vug_error *error, struct slice body)
{
    struct rebalance *op = arg;
    op->looking = false;
    if (error == NULL && !op->done)
        cli_note(op->cli, "%" PRIu64 " moves left", number_of(body, CLUSTER_STATUS_MOVES_FIELD));
}

static void on_look(void *arg)
{
    struct rebalance *op = arg;
    if (!op->looking &&
        vug_client_call(op->watcher, VUG_CLUSTER_STATUS, (struct slice){0}, on_status, op) == OK)
        op->looking = true;
    loop_timer_set(&op->look, LOOK_US);
}

static enum error start(struct rebalance *op, const struct vug_target *target)
{
    struct vug_target patient = *target;
    struct buf body;
    patient.timeout_ms = AT_MOST_MS;
    buf_init(&body);
    vug_wire_uint(&body, 1, op->options->dry_run);
    enum error error = vug_client_new(op->loop, op->net, &patient, VUG_TO_LOCATOR, &op->mover);
    if (error == OK)
        error = vug_client_new(op->loop, op->net, target, VUG_TO_LOCATOR, &op->watcher);
    if (error == OK)
        error = body.failed
                    ? ERROR_MEMORY
                    : vug_client_call(op->mover, VUG_REBALANCE, buf_slice(&body), on_done, op);
    buf_fini(&body);
    return error;
}

static enum error move(struct rebalance *op, const struct vug_target *target)
{
    enum error error = loop_event_new(&op->loop);
    if (error != OK)
        return error;
    error = net_event_new(op->loop, &(struct net_event_options){0}, &op->net);
    if (error != OK)
        goto err_after_loop;
    error = loop_timer_init(&op->look, op->loop, on_look, op);
    if (error == OK)
        error = start(op, target);
    if (error == OK && op->cli->err_is_terminal)
        loop_timer_set(&op->look, LOOK_US);
    if (error == OK)
        loop_event_run(op->loop);
    if (op->watcher != NULL)
        vug_client_free(op->watcher);
    if (op->mover != NULL)
        vug_client_free(op->mover);
    loop_timer_fini(&op->look);
    net_event_free(op->net);
err_after_loop:
    loop_event_free(op->loop);
    return error;
}

static enum exit_status run_rebalance(struct cli *cli, const void *into)
{
    struct vug_target target;
    struct rebalance op = {.cli = cli, .options = into};
    enum exit_status status = cli_output(cli, cli->command->formats, OUTPUT_TABLE, &op.output);
    if (status == EXIT_OK)
        status = cli_target(cli, &target);
    if (status != EXIT_OK)
        return status;
    return move(&op, &target) == OK ? op.status : cli_fail_memory(cli);
}

const struct command rebalance_command = {
    .name = "rebalance",
    .formats = CLI_FORMAT(OUTPUT_TABLE) | CLI_FORMAT(OUTPUT_JSON),
    .usage = "[--dry-run] [-o table|json]",
    .summary = "Moves buckets until all servers hold and lead about as many; ends when all are "
               "moved",
    .details = "Clients notice nothing. Lost copies are made anew without being asked; this evens "
               "out what came of that,\n"
               "and what a server that joined has to take over.",
    .rows = rows,
    .row_count = sizeof rows / sizeof rows[0],
    .options_size = sizeof(struct rebalance_options),
    .run = run_rebalance,
};
