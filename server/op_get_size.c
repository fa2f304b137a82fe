#include "server/ops.h"

static enum error reply(struct session *session, uint64_t total)
{
    Pb__GetSizeResponse response = PB__GET_SIZE_RESPONSE__INIT;
    response.size = total > INT32_MAX ? INT32_MAX : (int32_t)total;
    return session_reply_message(session, 17, &response.base);
}

static void on_part(struct gather *gather, struct gather_part *part)
{
    if (part->result.error != OK)
        gather_fail(gather, &part->result);
    gather->total += part->result.count;
}

static void on_end(struct gather *gather)
{
    Pb__GetSizeResponse response = PB__GET_SIZE_RESPONSE__INIT;
    response.size = gather->total > INT32_MAX ? INT32_MAX : (int32_t)gather->total;
    if (gather->failed)
        session_slot_fail(gather->slot, &gather->failure);
    else
        session_slot_reply_message(gather->slot, 17, &response.base);
    gather_free(gather);
}

/* The buckets that cannot be counted at once are asked for. */
static enum error count_elsewhere(struct session *session, struct region *region, uint32_t first,
                                  uint64_t total)
{
    struct gather *gather = op_gather(session, region, OP_WINDOW_KEYS, on_part, on_end);
    enum error error = OK;
    if (gather == NULL)
        return ERROR_MEMORY;
    gather->total = total;
    for (uint32_t i = first; i < region->bucket_count && error == OK; i++) {
        struct call_options options = {.kind = CALL_COUNT, .bucket = &region->buckets[i]};
        error = gather_add(gather, &options);
    }
    return op_gather_run(gather, error);
}

/* GetSizeRequest{1 region}, GetSizeResponse{1 int32 size}. */
enum error op_get_size(struct session *session, struct slice body)
{
    ProtobufCMessage *message;
    struct failure failure;
    enum error error =
        message_unpack(&pb__get_size_request__descriptor, session_arena(session), body, &message);
    if (error != OK)
        return error;
    const Pb__GetSizeRequest *request = (const Pb__GetSizeRequest *)message;
    struct region *region = op_region(session, message_slice(request->region_name), &failure);
    if (region == NULL)
        return session_fail(session, &failure);
    uint64_t total = 0;
    for (uint32_t i = 0; i < region->bucket_count; i++) {
        uint64_t count, bytes;
        error = bucket_entry_count(&region->buckets[i], op_worker(session)->loop, &count, &bytes);
        if (error == ERROR_ELSEWHERE)
            return count_elsewhere(session, region, i, total);
        total += count;
    }
    return reply(session, total);
}
