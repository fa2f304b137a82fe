#include "cli/commands.h"
#include "cli/grid.h"

struct sql_options {
    struct option_list parameters;
};

static const struct option_row rows[] = {
    {.name = "param",
     .kind = OPTION_REPEATED,
     .value_name = "NAME=VALUE",
     .help = "a value for a name in the statement; may be repeated",
     .offset = offsetof(struct sql_options, parameters)},
};

static enum exit_status print_reply(struct cli *cli, struct slice body, enum output output)
{
    struct vug_sql_reply reply;
    if (vug_sql_reply(body, &reply) != OK || reply.column_count > LIMIT_COLUMNS)
        return cli_fail(cli, EXIT_FAILED, NULL, "the server's answer cannot be read");
    if (reply.message.len > 0) /* talk, not data */
        cli_note(cli, "%.*s", SLICE_FMT(reply.message));
    if (reply.column_count == 0)
        return EXIT_OK;
    struct grid grid;
    struct slice walk = body, text, row;
    struct value value;
    grid_init(&grid);
    while (vug_sql_next_column(&walk, &text))
        grid_column(&grid, text);
    /* One column of text, as EXPLAIN has it, needs no heading on a terminal. */
    bool plain = output == OUTPUT_TABLE && reply.column_count == 1;
    for (walk = body; vug_sql_next_row(&walk, &row);)
        for (uint32_t i = 0; i < reply.column_count && vug_sql_next_value(&row, &value); i++) {
            if (!plain) {
                grid_value(&grid, &value);
                continue;
            }
            grid_plain_value(&cli->out, &value);
            buf_append_byte(&cli->out, '\n');
        }
    enum error error = plain ? OK : grid_write(&grid, output, &cli->out);
    grid_fini(&grid);
    return error == OK ? EXIT_OK : cli_fail_memory(cli);
}

static enum exit_status run_sql(struct cli *cli, const void *into)
{
    const struct sql_options *options = into;
    struct vug_parameter parameters[LIMIT_PARAMETERS];
    uint32_t count = 0;
    struct vug_reply reply;
    struct buf names, body;
    enum output output = OUTPUT_TABLE;
    buf_init(&names);
    buf_init(&body);
    vug_reply_init(&reply);
    enum exit_status status = cli_output(cli,
                                         CLI_FORMAT(OUTPUT_TABLE) | CLI_FORMAT(OUTPUT_JSON) |
                                             CLI_FORMAT(OUTPUT_NDJSON) | CLI_FORMAT(OUTPUT_CSV),
                                         OUTPUT_TABLE, &output);
    if (status == EXIT_OK)
        status = cli_parameters(cli, &options->parameters, &names, parameters, &count);
    if (status == EXIT_OK) {
        vug_sql_request(&body, slice_text(cli_argument(cli, 0)), parameters, count);
        status = cli_call(cli, VUG_TO_SERVER, VUG_SQL_EXECUTE, &body, NULL, &reply);
    }
    if (status == EXIT_OK)
        status = print_reply(cli, buf_slice(&reply.body), output);
    vug_reply_fini(&reply);
    buf_fini(&body);
    buf_fini(&names);
    return status;
}

const struct command sql_command = {
    .name = "sql",
    .usage = "STATEMENT [--param NAME=VALUE ...] [-o table|json|ndjson|csv]",
    .formats = CLI_FORMAT(OUTPUT_TABLE) | CLI_FORMAT(OUTPUT_JSON) | CLI_FORMAT(OUTPUT_NDJSON) |
               CLI_FORMAT(OUTPUT_CSV),
    .summary =
        "Runs one statement: CREATE TABLE, DROP TABLE, SHOW TABLES, DESCRIBE, EXPLAIN, SELECT",
    .details = "A parameter's VALUE that is a JSON number, true, false or null is that, anything "
               "else a string.",
    .rows = rows,
    .row_count = sizeof rows / sizeof rows[0],
    .options_size = sizeof(struct sql_options),
    .arguments_min = 1,
    .arguments_max = 1,
    .run = run_sql,
};
