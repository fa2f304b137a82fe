#include "cli/commands.h"
#include "cli/cluster_status.h"
#include "cli/grid.h"
#include "cli/typed.h"
#include "client/wire.h"
#include "locator/region_type.h"
#include "locator/regions.h"
#include "protocol/admin_reason.h"

#include <stdio.h>

#define REGION_FORMATS                                                                             \
    (CLI_FORMAT(OUTPUT_TABLE) | CLI_FORMAT(OUTPUT_JSON) | CLI_FORMAT(OUTPUT_NDJSON) |              \
     CLI_FORMAT(OUTPUT_CSV))

struct create_options {
    const char *type;
    int64_t redundant_copies, buckets;
    const char *key_constraint, *value_constraint;
    bool if_not_exists;
};

static const struct option_row create_rows[] = {
    {.name = "type",
     .kind = OPTION_STRING,
     .default_text = "PARTITION",
     .value_name = "TYPE",
     .help = "Geode's shortcut: PARTITION, PARTITION_REDUNDANT, REPLICATE, LOCAL",
     .offset = offsetof(struct create_options, type)},
    {.name = "redundant-copies",
     .kind = OPTION_INT,
     .min = 0,
     .max = 3,
     .default_text = "0",
     .value_name = "N",
     .help = "copies beside the primary; 0: what the type says",
     .offset = offsetof(struct create_options, redundant_copies)},
    {.name = "total-num-buckets",
     .kind = OPTION_INT,
     .min = 1,
     .max = LIMIT_BUCKETS,
     .default_text = "113",
     .value_name = "N",
     .help = "parts that the keys are divided into",
     .offset = offsetof(struct create_options, buckets)},
    {.name = "key-constraint",
     .kind = OPTION_STRING,
     .value_name = "KIND",
     .help = "only keys of this kind, such as string or int",
     .offset = offsetof(struct create_options, key_constraint)},
    {.name = "value-constraint",
     .kind = OPTION_STRING,
     .value_name = "KIND",
     .help = "only values of this kind, such as json",
     .offset = offsetof(struct create_options, value_constraint)},
    {.name = "if-not-exists",
     .kind = OPTION_BOOL,
     .help = "a region of that name and kind is success",
     .offset = offsetof(struct create_options, if_not_exists)},
};

struct destroy_options {
    bool if_exists;
};
static const struct option_row destroy_rows[] = {
    {.name = "if-exists",
     .kind = OPTION_BOOL,
     .help = "that there is none is success",
     .offset = offsetof(struct destroy_options, if_exists)},
};

static enum exit_status check_constraint(struct cli *cli, const char *option, const char *word)
{
    if (word == NULL || value_type_of_word(word) != VALUE_NOT_SET)
        return EXIT_OK;
    return cli_fail(cli, EXIT_USAGE, "kinds: " TYPED_WORDS, "--%s: there is no kind \"%s\"", option,
                    word);
}

/* What no locator could accept is wrong use, and needs none to say so. */
static enum exit_status check_words(struct cli *cli, const struct create_options *options)
{
    struct failure failure;
    enum exit_status status = check_constraint(cli, "key-constraint", options->key_constraint);
    if (status == EXIT_OK)
        status = check_constraint(cli, "value-constraint", options->value_constraint);
    if (status != EXIT_OK ||
        region_check_name(region_name(slice_text(cli_argument(cli, 0))), &failure))
        return status;
    const char *text = failure.text;
    (void)admin_reason_exit_status(failure.text, &text);
    return cli_fail(cli, EXIT_USAGE, NULL, "%s", text);
}

/* RegionCreateRequest: 1 name, 2 type, 3 redundant_copies, 4 bucket_count, 5 key_constraint, 6
 * value_constraint, 7 if_not_exists. */
static enum exit_status run_create(struct cli *cli, const void *into)
{
    const struct create_options *options = into;
    struct buf body;
    struct slice type = slice_text(options->type);
    if (region_type_find(type) ==
        NULL) { /* others are known, and the locator says which it serves */
        char hint[128] = "for example PARTITION or REPLICATE";
        if (region_type_nearest(type) != NULL)
            snprintf(hint, sizeof hint, "did you mean %s?", region_type_nearest(type));
        return cli_fail(cli, EXIT_USAGE, hint, "there is no region type \"%s\"", options->type);
    }
    enum exit_status status = check_words(cli, options);
    if (status != EXIT_OK)
        return status;
    struct vug_reply reply;
    buf_init(&body);
    vug_reply_init(&reply);
    vug_wire_text(&body, 1, cli_argument(cli, 0));
    vug_wire_text(&body, 2, options->type);
    vug_wire_uint(&body, 3, (uint64_t)options->redundant_copies);
    vug_wire_uint(&body, 4, (uint64_t)options->buckets);
    vug_wire_text(&body, 5, options->key_constraint);
    vug_wire_text(&body, 6, options->value_constraint);
    vug_wire_uint(&body, 7, options->if_not_exists);
    status = cli_call(cli, VUG_TO_LOCATOR, VUG_REGION_CREATE, &body, NULL, &reply);
    if (status == EXIT_OK)
        cli_note(cli, "region %s is there", cli_argument(cli, 0));
    vug_reply_fini(&reply);
    buf_fini(&body);
    return status;
}

static enum exit_status run_destroy(struct cli *cli, const void *into)
{
    const struct destroy_options *options = into;
    struct buf body;
    struct vug_reply reply;
    buf_init(&body);
    vug_reply_init(&reply);
    vug_wire_text(&body, 1, cli_argument(cli, 0));
    vug_wire_uint(&body, 2, options->if_exists);
    enum exit_status status =
        cli_call(cli, VUG_TO_LOCATOR, VUG_REGION_DESTROY, &body, NULL, &reply);
    if (status == EXIT_OK)
        cli_note(cli, "region %s is gone", cli_argument(cli, 0));
    vug_reply_fini(&reply);
    buf_fini(&body);
    return status;
}

static enum exit_status run_clear(struct cli *cli, const void *into)
{
    (void)into;
    struct buf body;
    struct vug_reply reply;
    uint64_t entries = 0;
    buf_init(&body);
    vug_reply_init(&reply);
    vug_wire_text(&body, 1, cli_argument(cli, 0));
    enum exit_status status = cli_call(cli, VUG_TO_LOCATOR, VUG_REGION_CLEAR, &body, NULL, &reply);
    if (status == EXIT_OK && vug_size_reply(buf_slice(&reply.body), &entries) == OK) /* 1 entries */
        cli_note(cli, "region %s is empty; %llu entries were removed", cli_argument(cli, 0),
                 (unsigned long long)entries);
    vug_reply_fini(&reply);
    buf_fini(&body);
    return status;
}

static void add_region(struct grid *grid, const struct status_region *region)
{
    grid_text(grid, region->name);
    grid_text(grid, region->type);
    grid_raw(grid, "%u", region->redundant_copies);
    grid_raw(grid, "%u", region->buckets);
    grid_raw(grid, "%llu", (unsigned long long)region->entries);
    grid_raw(grid, "%llu", (unsigned long long)region->bytes);
    grid_text(grid, region->key_constraint);
    grid_text(grid, region->value_constraint);
}

/* One region or, with `name` NULL, all. */
static enum exit_status show_regions(struct cli *cli, const char *name)
{
    static const char *const columns[] = {
        "name",    "type",  "redundant_copies", "buckets",
        "entries", "bytes", "key_constraint",   "value_constraint"};
    struct vug_reply reply;
    struct grid grid;
    struct text_nearest nearest;
    enum output output = OUTPUT_TABLE;
    bool found = false;
    vug_reply_init(&reply);
    grid_init(&grid);
    enum exit_status status = cli_output(cli, REGION_FORMATS, OUTPUT_TABLE, &output);
    if (status == EXIT_OK)
        status = cluster_status_ask(cli, CLUSTER_STATUS_REGIONS, &reply);
    if (status != EXIT_OK)
        goto out;
    while (name != NULL && *name == '/')
        name++;
    text_nearest_init(&nearest, slice_text(name == NULL ? "" : name));
    for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++)
        grid_column(&grid, slice_text(columns[i]));
    char near[LIMIT_NAME_BYTES + 1] = "";
    struct status_region region;
    struct slice walk = buf_slice(&reply.body);
    while (cluster_status_next_region(&walk, &region)) {
        char copy[LIMIT_NAME_BYTES + 1];
        snprintf(copy, sizeof copy, "%.*s", SLICE_FMT(region.name));
        nearest.best = NULL; /* the copy does not live on: the nearest is kept in `near` */
        text_nearest_offer(&nearest, copy);
        if (text_nearest_best(&nearest) != NULL)
            snprintf(near, sizeof near, "%s", copy);
        if (name != NULL && strcmp(copy, name) != 0)
            continue;
        found = true;
        add_region(&grid, &region);
    }
    if (name != NULL && !found) {
        char hint[LIMIT_NAME_BYTES + 64];
        snprintf(hint, sizeof hint, "did you mean \"%s\"?  (vug region list)", near);
        status = cli_fail(cli, EXIT_ABSENT,
                          near[0] == '\0' ? "`vug region list` shows what there is" : hint,
                          "no region \"%s\"", name);
    } else if (grid_write(&grid, output, &cli->out) != OK) {
        status = cli_fail_memory(cli);
    }
out:
    grid_fini(&grid);
    vug_reply_fini(&reply);
    return status;
}

static enum exit_status run_list(struct cli *cli, const void *into)
{
    (void)into;
    return show_regions(cli, NULL);
}

static enum exit_status run_describe(struct cli *cli, const void *into)
{
    (void)into;
    return show_regions(cli, cli_argument(cli, 0));
}

const struct command region_create_command = {
    .name = "region create",
    .usage = "NAME --type TYPE [--redundant-copies N] [--total-num-buckets N]",
    .summary = "Makes a region; returns when every member has it",
    .rows = create_rows,
    .row_count = sizeof create_rows / sizeof create_rows[0],
    .options_size = sizeof(struct create_options),
    .arguments_min = 1,
    .arguments_max = 1,
    .run = run_create,
};

const struct command region_destroy_command = {
    .name = "region destroy",
    .usage = "NAME [--if-exists]",
    .summary = "Removes a region with all of its entries",
    .rows = destroy_rows,
    .row_count = sizeof destroy_rows / sizeof destroy_rows[0],
    .options_size = sizeof(struct destroy_options),
    .arguments_min = 1,
    .arguments_max = 1,
    .run = run_destroy,
};

const struct command region_list_command = {
    .name = "region list",
    .usage = "[-o table|json|ndjson|csv]",
    .summary = "Lists the regions",
    .formats = REGION_FORMATS,
    .run = run_list,
};

const struct command region_describe_command = {
    .name = "region describe",
    .usage = "NAME [-o table|json|ndjson|csv]",
    .summary = "Shows one region",
    .formats = REGION_FORMATS,
    .arguments_min = 1,
    .arguments_max = 1,
    .run = run_describe,
};

const struct command region_clear_command = {
    .name = "region clear",
    .usage = "NAME",
    .summary = "Removes all entries of a region",
    .arguments_min = 1,
    .arguments_max = 1,
    .run = run_clear,
};
