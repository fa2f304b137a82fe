#include "cli/cli.h"

#include "cli/row.h"
#include "common/text.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

const struct option_row cli_global_rows[] = {
    {.name = "locator",
     .kind = OPTION_STRING,
     .default_text = "localhost[10334]",
     .value_name = "HOST[PORT]",
     .help = "where to ask for a server; several with commas",
     .offset = offsetof(struct cli_globals, locator)},
    {.name = "server",
     .kind = OPTION_STRING,
     .value_name = "HOST:PORT",
     .help = "go straight to this server, without a locator",
     .offset = offsetof(struct cli_globals, server)},
    {.name = "timeout",
     .kind = OPTION_DURATION,
     .min = 1,
     .max = 3600000,
     .default_text = "10s",
     .value_name = "DURATION",
     .help = "for each attempt to connect and each answer",
     .offset = offsetof(struct cli_globals, timeout_ms)},
    {.name = "output",
     .letter = 'o',
     .kind = OPTION_STRING,
     .value_name = "FORMAT",
     .help = "table, json, ndjson or csv, where the command has it",
     .offset = offsetof(struct cli_globals, output)},
    {.name = "config",
     .kind = OPTION_STRING,
     .value_name = "FILE",
     .help = "a file with options, one `name = value` on a line",
     .offset = offsetof(struct cli_globals, config)},
    {.name = "user",
     .kind = OPTION_STRING,
     .value_name = "NAME",
     .help = "comes with a later version: users",
     .offset = offsetof(struct cli_globals, user)},
    {.name = "password-file",
     .kind = OPTION_STRING,
     .value_name = "FILE",
     .help = "comes with a later version: users",
     .offset = offsetof(struct cli_globals, password_file)},
    {.name = "tls-ca",
     .kind = OPTION_STRING,
     .value_name = "FILE",
     .help = "comes with a later version: TLS",
     .offset = offsetof(struct cli_globals, tls_ca)},
    {.name = "tls-cert",
     .kind = OPTION_STRING,
     .value_name = "FILE",
     .help = "comes with a later version: TLS",
     .offset = offsetof(struct cli_globals, tls_cert)},
    {.name = "tls-key",
     .kind = OPTION_STRING,
     .value_name = "FILE",
     .help = "comes with a later version: TLS",
     .offset = offsetof(struct cli_globals, tls_key)},
    {.name = "help",
     .letter = 'h',
     .kind = OPTION_BOOL,
     .help = "this text",
     .offset = offsetof(struct cli_globals, help)},
};
const size_t cli_global_row_count = sizeof cli_global_rows / sizeof cli_global_rows[0];

/* 0 when all of it is written, else why not: an errno value. */
static int write_all(int fd, const uint8_t *data, size_t len)
{
    while (len > 0) {
        ssize_t written = write(fd, data, len);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return errno;
        data += written;
        len -= (size_t)written;
    }
    return 0;
}

#define STOP_GRACE_MS 500 /* for a reader of stdout, once the command has to end */

/* The same for stdout, and EPIPE when the command has to end and nobody reads. A write of PIPE_BUF
 * does not block where poll() has found room. */
static int write_out(const struct cli *cli)
{
    for (size_t at = 0; at < cli->out.len;) {
        struct pollfd fds[2] = {{.fd = cli->out_fd, .events = POLLOUT},
                                {.fd = cli->stop_fd, .events = POLLIN}};
        if (poll(fds, 2, -1) > 0 && fds[0].revents == 0 && poll(fds, 1, STOP_GRACE_MS) == 0)
            return EPIPE;
        if (fds[0].revents == 0)
            continue;
        size_t rest = cli->out.len - at, len = rest < PIPE_BUF ? rest : PIPE_BUF;
        int error_number = write_all(cli->out_fd, cli->out.data + at, len);
        if (error_number != 0)
            return error_number;
        at += len;
    }
    return 0;
}

bool cli_flush(struct cli *cli)
{
    if (!cli->out_closed && cli->out.len > 0) {
        int error_number = cli->stop_fd >= 0 ? write_out(cli)
                                             : write_all(cli->out_fd, cli->out.data, cli->out.len);
        cli->out_closed = error_number != 0;
        cli->out_error = error_number == EPIPE ? 0 : error_number;
    }
    buf_clear(&cli->out);
    return !cli->out_closed;
}

void cli_note(struct cli *cli, const char *format, ...)
{
    struct buf line;
    va_list args;
    buf_init(&line);
    va_start(args, format);
    buf_vprintf(&line, format, args);
    va_end(args);
    buf_append_byte(&line, '\n');
    if (!line.failed)
        write_all(cli->err_fd, line.data, line.len);
    buf_fini(&line);
}

enum exit_status cli_fail(struct cli *cli, enum exit_status status, const char *hint,
                          const char *format, ...)
{
    struct buf line;
    va_list args;
    buf_init(&line);
    buf_append_text(&line, "error: ");
    va_start(args, format);
    buf_vprintf(&line, format, args);
    va_end(args);
    if (hint != NULL)
        buf_printf(&line, "\n  hint: %s", hint);
    buf_append_byte(&line, '\n');
    cli_flush(cli); /* what was found before the error comes before it on a terminal */
    if (!line.failed)
        write_all(cli->err_fd, line.data, line.len);
    buf_fini(&line);
    return status;
}

enum exit_status cli_fail_memory(struct cli *cli)
{
    static const char text[] = "error: out of memory\n";
    write_all(cli->err_fd, (const uint8_t *)text, sizeof text - 1);
    return EXIT_INTERNAL;
}

/* "no region X", with the nearest that exists. */
static enum exit_status fail_region(struct cli *cli, const char *region, struct vug_sync *sync)
{
    struct vug_reply reply;
    struct text_nearest nearest;
    struct slice walk, name;
    char names[64][LIMIT_NAME_BYTES + 1];
    uint32_t count = 0;
    char hint[LIMIT_NAME_BYTES + 64] = "`vug region list` shows what there is";
    vug_reply_init(&reply);
    while (*region == '/')
        region++;
    text_nearest_init(&nearest, slice_text(region));
    if (sync != NULL && vug_sync_call(sync, VUG_REGION_NAMES, NULL, &reply) == OK) {
        walk = buf_slice(&reply.body);
        while (count < 64 && vug_next_region(&walk, &name)) {
            while (name.len > 0 && name.data[0] == '/')
                name = slice_of(name.data + 1, name.len - 1);
            snprintf(names[count], sizeof names[count], "%.*s", SLICE_FMT(name));
            text_nearest_offer(&nearest, names[count++]);
        }
    }
    if (text_nearest_best(&nearest) != NULL)
        snprintf(hint, sizeof hint, "did you mean \"%s\"?  (vug region list)",
                 text_nearest_best(&nearest));
    vug_reply_fini(&reply);
    return cli_fail(cli, EXIT_ABSENT, hint, "no region \"%s\"", region);
}

enum exit_status cli_fail_vug(struct cli *cli, const struct vug_error *error, const char *region,
                              struct vug_sync *sync)
{
    const char *text = NULL, *hint = NULL;
    enum exit_status status = exit_status_of_vug(error, &text);
    if (error->error == ERROR_MEMORY)
        return cli_fail_memory(cli);
    if (status == EXIT_ABSENT && region != NULL && strstr(text, "egion") != NULL)
        return fail_region(cli, region, sync);
    if (error->code == 0 && status == EXIT_CONNECT) {
        hint =
            cli->globals.server != NULL
                ? "is the server running there? --server HOST:PORT names another"
                : "is a locator running there? --locator HOST[PORT] or VUG_LOCATOR names another, "
                  "--server HOST:PORT goes straight to a server";
        return cli_fail(cli, status, hint, "cannot reach the cluster: %s", text);
    }
    if (error->code == 101)
        hint = "the locator runs, but no server has joined it: start one with `vug server "
               "--locators ...`";
    else if (error->code == 0 && status == EXIT_TIMEOUT)
        hint = "--timeout allows more time; `vug status` shows whether all members answer";
    return cli_fail(cli, status, hint, "%s", text);
}

size_t cli_argument_count(const struct cli *cli)
{
    return options_argument_count(cli->options);
}

const char *cli_argument(const struct cli *cli, size_t index)
{
    return options_argument(cli->options, index);
}

static const char *const output_words[] = {[OUTPUT_TABLE] = "table",
                                           [OUTPUT_JSON] = "json",
                                           [OUTPUT_NDJSON] = "ndjson",
                                           [OUTPUT_CSV] = "csv"};

static bool is_output_word(const char *word)
{
    for (unsigned i = 0; i < sizeof output_words / sizeof output_words[0]; i++)
        if (strcmp(word, output_words[i]) == 0)
            return true;
    return false;
}

static enum exit_status fail_output(struct cli *cli, unsigned formats)
{
    char hint[128] = "it has:";
    for (unsigned i = 0; i < sizeof output_words / sizeof output_words[0]; i++)
        if ((formats & CLI_FORMAT(i)) != 0) {
            size_t len = strlen(hint);
            snprintf(hint + len, sizeof hint - len, " %s", output_words[i]);
        }
    return cli_fail(
        cli, EXIT_USAGE, formats != 0 ? hint : "it prints nothing that has a format: leave -o out",
        "`vug %s` has no output format \"%s\"", cli->command->name, cli->globals.output);
}

enum exit_status cli_output(struct cli *cli, unsigned formats, enum output otherwise,
                            enum output *output)
{
    if (cli->globals.output == NULL) {
        *output = cli->out_is_terminal ? OUTPUT_TABLE : otherwise;
        return EXIT_OK;
    }
    for (unsigned i = 0; i < sizeof output_words / sizeof output_words[0]; i++)
        if (strcmp(cli->globals.output, output_words[i]) == 0 && (formats & CLI_FORMAT(i)) != 0) {
            *output = (enum output)i;
            return EXIT_OK;
        }
    return fail_output(cli, formats);
}

enum exit_status cli_check_output(struct cli *cli)
{
    const char *word = cli->globals.output;
    enum output output = OUTPUT_TABLE;
    /* What stands in the environment is for many commands, so those without formats ignore it. */
    bool everywhere = options_source(cli->options, "output") != OPTION_FLAG;
    if (word == NULL || (cli->command->formats == 0 && everywhere && is_output_word(word)))
        return EXIT_OK;
    if (cli->command->formats != 0)
        return cli_output(cli, cli->command->formats, OUTPUT_TABLE, &output);
    return fail_output(cli, 0);
}

static enum exit_status refuse_later(struct cli *cli)
{
    const struct cli_globals *globals = &cli->globals;
    const char *option = globals->user != NULL            ? "user"
                         : globals->password_file != NULL ? "password-file"
                         : globals->tls_ca != NULL        ? "tls-ca"
                         : globals->tls_cert != NULL      ? "tls-cert"
                         : globals->tls_key != NULL       ? "tls-key"
                                                          : NULL;
    if (option == NULL)
        return EXIT_OK;
    return cli_fail(cli, EXIT_USAGE,
                    "leave it out; until then members listen on loopback unless told otherwise",
                    "--%s comes with a later version: this one has neither users nor TLS", option);
}

enum exit_status cli_target(struct cli *cli, struct vug_target *target)
{
    enum exit_status status = refuse_later(cli);
    if (status != EXIT_OK)
        return status;
    *target = (struct vug_target){.timeout_ms = (uint32_t)cli->globals.timeout_ms};
    if (cli->globals.server != NULL) {
        target->straight = true;
        if (text_parse_host_port(slice_text(cli->globals.server), VUG_SERVER_PORT,
                                 &target->server) == OK)
            return EXIT_OK;
        return cli_fail(cli, EXIT_USAGE,
                        "write --server HOST:PORT, for example --server localhost:40404",
                        "\"%s\" is not an address", cli->globals.server);
    }
    if (vug_target_locators(target, cli->globals.locator) == OK)
        return EXIT_OK;
    return cli_fail(cli, EXIT_USAGE, "write --locator HOST[PORT] or HOST:PORT, several with commas",
                    "\"%s\" is not an address of a locator", cli->globals.locator);
}

#define PATIENCE_MS 1500u

enum exit_status cli_connect(struct cli *cli, enum vug_client_role role, struct vug_sync **sync)
{
    struct vug_target target;
    enum exit_status status = cli_target(cli, &target);
    if (status != EXIT_OK)
        return status;
    enum error error = vug_sync_new(&target, role, sync);
    if (error == ERROR_MEMORY)
        return cli_fail_memory(cli);
    if (error != OK)
        return cli_fail(cli, EXIT_INTERNAL, NULL, "cannot start: %s", error_text(error));
    /* Commands in one script with the members that they need; `health` is about this moment. */
    if (strcmp(cli->command->name, "health") != 0)
        vug_sync_be_patient(*sync, PATIENCE_MS);
    return EXIT_OK;
}

enum exit_status cli_call(struct cli *cli, enum vug_client_role role, uint32_t number,
                          const struct buf *body, const char *region, struct vug_reply *reply)
{
    struct vug_sync *sync = NULL;
    enum exit_status status = cli_connect(cli, role, &sync);
    if (status != EXIT_OK)
        return status;
    if (vug_sync_call(sync, number, body, reply) != OK)
        status = cli_fail_vug(cli, &reply->error, region, region == NULL ? NULL : sync);
    vug_sync_free(sync);
    return status;
}

static struct value parameter_value(struct slice text)
{
    struct value value = {.type = VALUE_STRING, .bytes = text};
    int64_t integer = 0;
    if (slice_equal(text, slice_text("true")) || slice_equal(text, slice_text("false")))
        return (struct value){.type = VALUE_BOOLEAN, .integer = text.len == 4};
    if (slice_equal(text, slice_text("null")))
        return (struct value){.type = VALUE_NULL};
    if (!row_is_json_number(text))
        return value;
    if (text_parse_i64(text, &integer))
        return (struct value){.type = VALUE_LONG, .integer = integer};
    char copy[64];
    if (text.len >= sizeof copy)
        return value;
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    return (struct value){.type = VALUE_DOUBLE, .float64 = strtod(copy, NULL)};
}

enum exit_status cli_parameters(struct cli *cli, const struct option_list *items, struct buf *names,
                                struct vug_parameter parameters[LIMIT_PARAMETERS], uint32_t *count)
{
    if (items->count > LIMIT_PARAMETERS)
        return cli_fail(cli, EXIT_USAGE, NULL, "more than %u parameters", LIMIT_PARAMETERS);
    size_t bytes = 0;
    for (size_t i = 0; i < items->count; i++)
        bytes += strlen(items->items[i]) + 1;
    if (bytes > 0 && buf_reserve(names, bytes) == NULL) /* once, so that the names do not move */
        return cli_fail_memory(cli);
    for (size_t i = 0; i < items->count; i++) {
        const char *item = items->items[i], *equals = strchr(item, '=');
        if (equals == NULL || equals == item)
            return cli_fail(cli, EXIT_USAGE,
                            "write --param NAME=VALUE, for example --param start_time=0",
                            "\"%s\" is not a parameter", item);
        parameters[i].name = (const char *)names->data + names->len;
        buf_append(names, item, (size_t)(equals - item));
        buf_append_byte(names, '\0');
        parameters[i].value = parameter_value(slice_text(equals + 1));
    }
    *count = (uint32_t)items->count;
    return EXIT_OK;
}
