/* What every command shares: its row in the table of commands, the global options, where output
 * goes, how errors are told, the way to the cluster. Data goes to stdout, everything else to
 * stderr. */
#ifndef VUG_CLI_CLI_H
#define VUG_CLI_CLI_H

#include "cli/exit_status.h"
#include "client/sync.h"
#include "client/vug.h"
#include "common/options.h"

struct cli;

/* One command. --help, the list of commands and the suggestions for unknown words are made from
 * these rows. */
struct command {
    const char *name;  /* "put", "region create" */
    const char *usage; /* behind the name: "REGION KEY VALUE" */
    const char *summary;
    const char *details; /* paragraphs below the usage; NULL: none */
    const struct option_row *rows;
    size_t row_count;
    size_t options_size; /* of the struct that the rows fill; 0: no options */
    size_t arguments_min, arguments_max;
    unsigned formats; /* CLI_FORMAT() of each that -o may name; 0: -o means nothing here */
    enum exit_status (*run)(struct cli *cli, const void *options);
};

extern const struct command *const commands[];
extern const size_t command_count;

struct cli_globals {
    const char *locator, *server;
    const char *user, *password_file, *tls_ca, *tls_cert, *tls_key;
    uint64_t timeout_ms;
    const char *output;
    const char *config;
    bool help;
};
extern const struct option_row cli_global_rows[];
extern const size_t cli_global_row_count;

enum output { OUTPUT_TABLE, OUTPUT_JSON, OUTPUT_NDJSON, OUTPUT_CSV };

struct cli {
    const struct command *command;
    const char *executable; /* argv[0] */
    struct cli_globals globals;
    struct options *options;
    int out_fd, err_fd;
    bool out_is_terminal, err_is_terminal;
    struct buf out;  /* not yet written */
    bool out_closed; /* stdout takes nothing more: the command ends */
    int out_error;   /* why, an errno value; 0 when only nobody reads it, which is no failure */
    int stop_fd;     /* readable: nobody waits for a reader of stdout any more; -1: none */
};

/* Writes what waits in cli->out. False when stdout takes nothing more; what waits is dropped then,
 * and cli_main() tells why. */
bool cli_flush(struct cli *cli);

/* "error: ..." and, unless NULL, "  hint: ..." on stderr. Returns `status`. */
enum exit_status cli_fail(struct cli *cli, enum exit_status status, const char *hint,
                          const char *format, ...) __attribute__((format(printf, 4, 5)));
enum exit_status cli_fail_memory(struct cli *cli);
/* For an error of the cluster. `region`: the one that was asked for, or NULL. `sync`: asked for the
 * names that exist, to suggest one; NULL allowed. */
enum exit_status cli_fail_vug(struct cli *cli, const struct vug_error *error, const char *region,
                              struct vug_sync *sync);
/* A line on stderr. */
void cli_note(struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));

size_t cli_argument_count(const struct cli *cli);
const char *cli_argument(const struct cli *cli, size_t index);

/* Refuses a -o that the command does not know, whatever else is wrong. */
enum exit_status cli_check_output(struct cli *cli);
/* The format of -o, or what suits: a table on a terminal, `otherwise` else. EXIT_USAGE if the
 * command has no such. */
#define CLI_FORMAT(output) (1u << (output))
enum exit_status cli_output(struct cli *cli, unsigned formats, enum output otherwise,
                            enum output *output);

/* Where the global options say that the cluster is. */
enum exit_status cli_target(struct cli *cli, struct vug_target *target);
enum exit_status cli_connect(struct cli *cli, enum vug_client_role role, struct vug_sync **sync);
/* One request on a connection of its own, and its answer. `region`: as for cli_fail_vug(). */
enum exit_status cli_call(struct cli *cli, enum vug_client_role role, uint32_t number,
                          const struct buf *body, const char *region, struct vug_reply *reply);

/* Reads "NAME=VALUE" items of --param. VALUE is a JSON number, true, false or null, else a string.
 * The values point into the items; the names are copied into `names`, which must outlive the
 * parameters. */
enum exit_status cli_parameters(struct cli *cli, const struct option_list *items, struct buf *names,
                                struct vug_parameter parameters[LIMIT_PARAMETERS], uint32_t *count);

/* Parses and runs; the exit status. */
int cli_main(struct cli *cli, int argc, char **argv, char *const *env);

#endif
