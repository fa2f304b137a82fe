/* The table of commands; each row stands in the file of its command. */
#ifndef VUG_CLI_COMMANDS_H
#define VUG_CLI_COMMANDS_H

#include "cli/cli.h"

extern const struct command demo_command;
extern const struct command locator_command, server_command;
extern const struct command region_create_command, region_destroy_command, region_list_command,
    region_describe_command, region_clear_command;
extern const struct command put_command, get_command, remove_command, keys_command, size_command;
extern const struct command import_command, sql_command, cq_command;
extern const struct command status_command, members_command, health_command, stop_command,
    version_command, member_forget_command, events_command, rebalance_command;

const struct command *commands_find(const char *first, const char *second, int *words);
void commands_help(const struct command *command, struct buf *out);

#endif
