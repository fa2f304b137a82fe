#include "cli/commands.h"
#include "cli/grid.h"
#include "client/wire.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

/* events: 1034 EventsRequest (1 limit, 2 after, 3 member), 1035 EventsResponse (1 repeated
 * ClusterEvent, 2 dropped). */

struct events_options {
    int64_t limit;
    const char *member;
};

static const struct option_row rows[] = {
    {.name = "limit",
     .kind = OPTION_INT,
     .min = 1,
     .max = 1000,
     .default_text = "100",
     .value_name = "N",
     .help = "the newest so many",
     .offset = offsetof(struct events_options, limit)},
    {.name = "member",
     .kind = OPTION_STRING,
     .value_name = "NAME",
     .help = "only about this member",
     .offset = offsetof(struct events_options, member)},
};

struct event {
    struct slice member, kind, text, noticed_by, evidence;
    uint64_t time_ms, silent_ms, promoted, lost, moved, epoch;
};

/* ClusterEvent: 2 time_ms, 3 member, 4 kind, 5 text, 6 noticed_by, 7 evidence, 8 silent_ms, 9 to 11
 * buckets promoted, lost, moved, 12 epoch. */
static struct event read_event(struct slice message)
{
    struct event event = {0};
    struct codec_field field;
    struct slice *const texts[] = {
        [3] = &event.member,     [4] = &event.kind,     [5] = &event.text,
        [6] = &event.noticed_by, [7] = &event.evidence,
    };
    uint64_t *const numbers[] = {
        [2] = &event.time_ms, [8] = &event.silent_ms, [9] = &event.promoted,
        [10] = &event.lost,   [11] = &event.moved,    [12] = &event.epoch,
    };
    while (message.len > 0 && codec_next_field(&message, &field) == OK) {
        if (field.wire_type == 2 && field.number < sizeof texts / sizeof *texts &&
            texts[field.number] != NULL)
            *texts[field.number] = field.bytes;
        else if (field.wire_type == 0 && field.number < sizeof numbers / sizeof *numbers &&
                 numbers[field.number] != NULL)
            *numbers[field.number] = field.integer;
    }
    return event;
}

static void add_event(struct grid *grid, const struct event *event)
{
    char text[40];
    time_t seconds = (time_t)(event->time_ms / 1000);
    struct tm parts;
    gmtime_r(&seconds, &parts);
    size_t len = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(text + len, sizeof text - len, ".%03uZ", (unsigned)(event->time_ms % 1000));
    grid_text(grid, slice_text(text));
    grid_text(grid, event->member);
    grid_text(grid, event->kind);
    grid_text(grid, event->text);
    grid_text(grid, event->noticed_by);
    grid_text(grid, event->evidence);
    grid_raw(grid, "%" PRIu64, event->silent_ms);
    grid_raw(grid, "%" PRIu64, event->promoted);
    grid_raw(grid, "%" PRIu64, event->moved);
    grid_raw(grid, "%" PRIu64, event->lost);
    grid_raw(grid, "%" PRIu64, event->epoch);
}

static enum error write_events(struct slice body, enum output output, struct buf *out)
{
    static const char *const columns[] = {"time",       "member",   "kind",      "event",
                                          "noticed_by", "evidence", "silent_ms", "promoted",
                                          "moved",      "lost",     "epoch"};
    struct grid grid;
    struct slice message;
    grid_init(&grid);
    for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++)
        grid_column(&grid, slice_text(columns[i]));
    while (vug_wire_next(&body, 1, &message)) {
        struct event event = read_event(message);
        add_event(&grid, &event);
    }
    enum error error = grid_write(&grid, output, out);
    grid_fini(&grid);
    return error;
}

static enum exit_status run_events(struct cli *cli, const void *into)
{
    const struct events_options *options = into;
    struct vug_reply reply;
    struct buf body;
    enum output output = OUTPUT_TABLE;
    enum exit_status status = cli_output(cli, cli->command->formats, OUTPUT_TABLE, &output);
    buf_init(&body);
    vug_reply_init(&reply);
    if (status == EXIT_OK) {
        vug_wire_uint(&body, 1, (uint64_t)options->limit);
        if (options->member != NULL)
            vug_wire_text(&body, 3, options->member);
        status = cli_call(cli, VUG_TO_LOCATOR, VUG_EVENTS, &body, NULL, &reply);
    }
    if (status == EXIT_OK && write_events(buf_slice(&reply.body), output, &cli->out) != OK)
        status = cli_fail_memory(cli);
    vug_reply_fini(&reply);
    buf_fini(&body);
    return status;
}

const struct command events_command = {
    .name = "events",
    .formats = CLI_FORMAT(OUTPUT_TABLE) | CLI_FORMAT(OUTPUT_JSON) | CLI_FORMAT(OUTPUT_NDJSON),
    .usage = "[--limit N] [--member NAME] [-o table|json|ndjson]",
    .summary = "Says what happened to the members: who noticed, what became of their buckets, what "
               "was lost",
    .rows = rows,
    .row_count = sizeof rows / sizeof rows[0],
    .options_size = sizeof(struct events_options),
    .run = run_events,
};
