#include "cli/commands.h"
#include "client/wire.h"

/* member forget: 1032 MemberForgetRequest (1 name), 1033 MemberForgetResponse (1 epoch, 2
 * buckets_lost). */

static uint64_t buckets_lost(struct slice body)
{
    struct codec_field field;
    uint64_t lost = 0;
    while (body.len > 0 && codec_next_field(&body, &field) == OK)
        if (field.number == 2)
            lost = field.integer;
    return lost;
}

static enum exit_status run_forget(struct cli *cli, const void *options)
{
    (void)options;
    struct vug_reply reply;
    struct buf body;
    buf_init(&body);
    vug_reply_init(&reply);
    vug_wire_text(&body, 1, cli_argument(cli, 0));
    enum exit_status status = cli_call(cli, VUG_TO_LOCATOR, VUG_MEMBER_FORGET, &body, NULL, &reply);
    if (status == EXIT_OK)
        cli_note(cli, "%s is forgotten; %llu buckets start empty", cli_argument(cli, 0),
                 (unsigned long long)buckets_lost(buf_slice(&reply.body)));
    vug_reply_fini(&reply);
    buf_fini(&body);
    return status;
}

const struct command member_forget_command = {
    .name = "member forget",
    .usage = "MEMBER",
    .summary = "Gives a dead member up, with contents that only it has",
    .details = "For a server whose process or disk is gone for good: it leaves the cluster's map, "
               "and buckets that\n"
               "no other server has start empty. A server that runs is ended with `vug stop`.",
    .arguments_min = 1,
    .arguments_max = 1,
    .run = run_forget,
};
