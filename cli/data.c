#include "cli/commands.h"
#include "cli/grid.h"
#include "cli/typed.h"

/* put, get, remove, keys, size. */

struct data_options {
    const char *type, *key_type;
};

#define KEY_TYPE_ROW                                                                               \
    {                                                                                              \
        .name = "key-type", .kind = OPTION_STRING, .default_text = "string", .value_name = "TYPE", \
        .help = "of KEY: " TYPED_WORDS, .offset = offsetof(struct data_options, key_type)          \
    }

static const struct option_row put_rows[] = {
    {.name = "type",
     .kind = OPTION_STRING,
     .value_name = "TYPE",
     .help = "of VALUE: " TYPED_WORDS,
     .offset = offsetof(struct data_options, type)},
    KEY_TYPE_ROW,
};
static const struct option_row key_rows[] = {KEY_TYPE_ROW};

static enum exit_status read_typed(struct cli *cli, const char *word, const char *text,
                                   struct buf *bytes, struct value *value)
{
    const char *problem = NULL;
    enum error error = typed_value(word, text, bytes, value, &problem);
    if (error == ERROR_NOT_FOUND)
        return cli_fail(cli, EXIT_USAGE, "types: " TYPED_WORDS, "there is no type \"%s\"", word);
    if (error == ERROR_INVALID)
        return cli_fail(cli, EXIT_USAGE, problem, "\"%s\" is no %s", text, word);
    return error == OK ? EXIT_OK : cli_fail_memory(cli);
}

/* One request about the region that the first argument names. */
static enum exit_status ask(struct cli *cli, uint32_t number, const struct buf *body,
                            struct vug_reply *reply)
{
    return cli_call(cli, VUG_TO_SERVER, number, body, cli_argument(cli, 0), reply);
}

static enum exit_status run_put(struct cli *cli, const void *into)
{
    const struct data_options *options = into;
    struct buf body, key_bytes, value_bytes;
    struct vug_reply reply;
    struct value key, value;
    bool almost = false;
    buf_init(&body);
    buf_init(&key_bytes);
    buf_init(&value_bytes);
    vug_reply_init(&reply);
    enum exit_status status =
        read_typed(cli, options->key_type, cli_argument(cli, 1), &key_bytes, &key);
    if (status != EXIT_OK)
        goto out;
    if (options->type == NULL)
        value = typed_guess(cli_argument(cli, 2), &almost);
    else
        status = read_typed(cli, options->type, cli_argument(cli, 2), &value_bytes, &value);
    if (status != EXIT_OK)
        goto out;
    if (almost)
        cli_note(cli, "note: the value begins like JSON but is none, so it is stored as a string");
    vug_entry_request(&body, cli_argument(cli, 0), &key, &value);
    status = ask(cli, VUG_PUT, &body, &reply);
out:
    vug_reply_fini(&reply);
    buf_fini(&value_bytes);
    buf_fini(&key_bytes);
    buf_fini(&body);
    return status;
}

/* "no key ..." with what else a key of that text could be, because types are part of a key. */
static enum exit_status fail_absent(struct cli *cli, const struct data_options *options)
{
    return cli_fail(
        cli, EXIT_ABSENT,
        strcmp(options->key_type, "string") == 0
            ? "keys have types: --key-type int asks for a number; `vug keys REGION` lists them"
            : "keys have types: without --key-type it is a string; `vug keys REGION` lists them",
        "no %s key \"%s\" in region \"%s\"", options->key_type, cli_argument(cli, 1),
        cli_argument(cli, 0));
}

static enum exit_status run_get(struct cli *cli, const void *into)
{
    const struct data_options *options = into;
    struct buf body, key_bytes;
    struct vug_reply reply;
    struct value key, value;
    enum output output = OUTPUT_TABLE;
    buf_init(&body);
    buf_init(&key_bytes);
    vug_reply_init(&reply);
    enum exit_status status =
        cli_output(cli, CLI_FORMAT(OUTPUT_TABLE) | CLI_FORMAT(OUTPUT_JSON), OUTPUT_TABLE, &output);
    if (status == EXIT_OK)
        status = read_typed(cli, options->key_type, cli_argument(cli, 1), &key_bytes, &key);
    if (status != EXIT_OK)
        goto out;
    vug_key_request(&body, cli_argument(cli, 0), &key);
    status = ask(cli, VUG_GET, &body, &reply);
    if (status != EXIT_OK)
        goto out;
    if (vug_value_reply(buf_slice(&reply.body), &value) != OK) {
        status = cli_fail(cli, EXIT_FAILED, NULL, "the server's answer cannot be read");
    } else if (value.type == VALUE_NULL) {
        status = fail_absent(cli, options);
    } else {
        if (output == OUTPUT_JSON)
            grid_json_value(&cli->out, &value);
        else
            value_text(&value, &cli->out);
        buf_append_byte(&cli->out, '\n');
    }
out:
    vug_reply_fini(&reply);
    buf_fini(&key_bytes);
    buf_fini(&body);
    return status;
}

static enum exit_status run_remove(struct cli *cli, const void *into)
{
    const struct data_options *options = into;
    struct buf body, key_bytes;
    struct vug_reply reply;
    struct value key;
    buf_init(&body);
    buf_init(&key_bytes);
    vug_reply_init(&reply);
    enum exit_status status =
        read_typed(cli, options->key_type, cli_argument(cli, 1), &key_bytes, &key);
    if (status == EXIT_OK) {
        vug_key_request(&body, cli_argument(cli, 0), &key);
        status = ask(cli, VUG_REMOVE, &body, &reply);
    }
    vug_reply_fini(&reply);
    buf_fini(&key_bytes);
    buf_fini(&body);
    return status;
}

static enum exit_status run_keys(struct cli *cli, const void *options)
{
    (void)options;
    struct buf body;
    struct vug_reply reply;
    enum output output = OUTPUT_TABLE;
    buf_init(&body);
    vug_reply_init(&reply);
    enum exit_status status = cli_output(
        cli, CLI_FORMAT(OUTPUT_TABLE) | CLI_FORMAT(OUTPUT_JSON) | CLI_FORMAT(OUTPUT_NDJSON),
        OUTPUT_TABLE, &output);
    if (status != EXIT_OK)
        goto out;
    vug_region_request(&body, cli_argument(cli, 0));
    status = ask(cli, VUG_KEY_SET, &body, &reply);
    if (status != EXIT_OK)
        goto out;
    struct slice walk = buf_slice(&reply.body);
    struct value key;
    if (output == OUTPUT_JSON)
        buf_append_byte(&cli->out, '[');
    for (bool first = true; vug_next_key(&walk, &key); first = false) {
        if (output == OUTPUT_TABLE) {
            value_text(&key, &cli->out);
        } else {
            if (output == OUTPUT_JSON && !first)
                buf_append_byte(&cli->out, ',');
            grid_json_value(&cli->out, &key);
        }
        if (output != OUTPUT_JSON)
            buf_append_byte(&cli->out, '\n');
    }
    if (output == OUTPUT_JSON)
        buf_append_text(&cli->out, "]\n");
out:
    vug_reply_fini(&reply);
    buf_fini(&body);
    return status;
}

static enum exit_status run_size(struct cli *cli, const void *options)
{
    (void)options;
    struct buf body;
    struct vug_reply reply;
    uint64_t size = 0;
    buf_init(&body);
    vug_reply_init(&reply);
    vug_region_request(&body, cli_argument(cli, 0));
    enum exit_status status = ask(cli, VUG_SIZE, &body, &reply);
    if (status == EXIT_OK && vug_size_reply(buf_slice(&reply.body), &size) != OK)
        status = cli_fail(cli, EXIT_FAILED, NULL, "the server's answer cannot be read");
    else if (status == EXIT_OK)
        buf_printf(&cli->out, "%llu\n", (unsigned long long)size);
    vug_reply_fini(&reply);
    buf_fini(&body);
    return status;
}

const struct command put_command = {
    .name = "put",
    .usage = "REGION KEY VALUE [--type TYPE] [--key-type TYPE]",
    .summary = "Stores one value",
    .details = "A VALUE that is a JSON object or array is stored as a JSON document, anything else "
               "as a string.",
    .rows = put_rows,
    .row_count = sizeof put_rows / sizeof put_rows[0],
    .options_size = sizeof(struct data_options),
    .arguments_min = 3,
    .arguments_max = 3,
    .run = run_put,
};

const struct command get_command = {
    .name = "get",
    .usage = "REGION KEY [--key-type TYPE] [-o json]",
    .formats = CLI_FORMAT(OUTPUT_TABLE) | CLI_FORMAT(OUTPUT_JSON),
    .summary = "Prints the value of a key; ends with 5 if there is none",
    .rows = key_rows,
    .row_count = sizeof key_rows / sizeof key_rows[0],
    .options_size = sizeof(struct data_options),
    .arguments_min = 2,
    .arguments_max = 2,
    .run = run_get,
};

const struct command remove_command = {
    .name = "remove",
    .usage = "REGION KEY [--key-type TYPE]",
    .summary = "Removes a key; that there was none is no error",
    .rows = key_rows,
    .row_count = sizeof key_rows / sizeof key_rows[0],
    .options_size = sizeof(struct data_options),
    .arguments_min = 2,
    .arguments_max = 2,
    .run = run_remove,
};

const struct command keys_command = {
    .name = "keys",
    .usage = "REGION [-o table|json|ndjson]",
    .formats = CLI_FORMAT(OUTPUT_TABLE) | CLI_FORMAT(OUTPUT_JSON) | CLI_FORMAT(OUTPUT_NDJSON),
    .summary = "Lists the keys of a region, in no particular order",
    .arguments_min = 1,
    .arguments_max = 1,
    .run = run_keys,
};

const struct command size_command = {
    .name = "size",
    .usage = "REGION [-o table|json]",
    .formats = CLI_FORMAT(OUTPUT_TABLE) | CLI_FORMAT(OUTPUT_JSON), /* a number is both */
    .summary = "Prints how many entries a region has",
    .arguments_min = 1,
    .arguments_max = 1,
    .run = run_size,
};
