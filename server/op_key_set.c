#include "server/ops.h"

/* KeySetResponse{1 repeated EncodedValue keys}. Each bucket is read at its own moment, and few of
 * them at a time, so that a large region does not hold up the loop. */
static void on_part(struct gather *gather, struct gather_part *part)
{
    if (part->result.error != OK && part->result.error != ERROR_LIMIT)
        gather_fail(gather, &part->result);
    buf_append_slice(&gather->reply, buf_slice(&part->result.content));
    if (gather->reply.len <= LIMIT_MESSAGE_BYTES && part->result.error != ERROR_LIMIT)
        return;
    gather->failed = true;
    failure_set(&gather->failure, FAILURE_INVALID_REQUEST,
                "The keys of this region are more than %u MiB together, too much for one answer.",
                LIMIT_MESSAGE_BYTES >> 20);
}

static void on_end(struct gather *gather)
{
    op_gather_reply(gather, 29);
}

enum error op_key_set(struct session *session, struct slice body)
{
    ProtobufCMessage *message;
    struct failure failure;
    enum error error =
        message_unpack(&pb__key_set_request__descriptor, session_arena(session), body, &message);
    if (error != OK)
        return error;
    struct region *region = op_region(
        session, message_slice(((const Pb__KeySetRequest *)message)->region_name), &failure);
    if (region == NULL)
        return session_fail(session, &failure);
    struct gather *gather = op_gather(session, region, OP_WINDOW_BUCKETS, on_part, on_end);
    return gather == NULL ? ERROR_MEMORY
                          : op_gather_run(gather, gather_add_buckets(gather, CALL_KEYS));
}
