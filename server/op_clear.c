#include "server/ops.h"

/* Counting comes first, so that a clear that had to be done again still has its number. */
static void on_part(struct gather *gather, struct gather_part *part)
{
    if (part->result.error != OK)
        gather_fail(gather, &part->result);
    if (part->options.kind == CALL_COUNT)
        gather->total += part->result.count;
}

static void on_cleared(struct gather *gather)
{
    op_gather_reply(gather, 33);
}

static void on_region_cleared(struct gather *gather)
{
    Pb__RegionClearResponse response = PB__REGION_CLEAR_RESPONSE__INIT;
    response.entries = gather->total;
    if (gather->failed)
        session_slot_fail(gather->slot, &gather->failure);
    else
        session_slot_reply_message(gather->slot, 1031, &response.base);
    gather_free(gather);
}

enum error op_clear_add(struct gather *gather)
{
    enum error error = OK;
    for (uint32_t i = 0; i < gather->region->bucket_count && error == OK; i++) {
        struct call_options count = {.kind = CALL_COUNT, .bucket = &gather->region->buckets[i]};
        struct call_options clear = {.kind = CALL_CLEAR, .bucket = &gather->region->buckets[i]};
        error = gather_add(gather, &count);
        if (error == OK)
            error = gather_add(gather, &clear);
    }
    return error;
}

static enum error clear_buckets(struct session *session, struct region *region,
                                void (*on_end)(struct gather *gather))
{
    struct gather *gather = op_gather(session, region, OP_WINDOW_KEYS, on_part, on_end);
    return gather == NULL ? ERROR_MEMORY : op_gather_run(gather, op_clear_add(gather));
}

/* Geode's own ClearRequest{1 region}: refuses partitioned regions, as Geode does. */
enum error op_clear(struct session *session, struct slice body)
{
    ProtobufCMessage *message;
    struct failure failure;
    enum error error =
        message_unpack(&pb__clear_request__descriptor, session_arena(session), body, &message);
    if (error != OK)
        return error;
    struct region *region = op_region(
        session, message_slice(((const Pb__ClearRequest *)message)->region_name), &failure);
    if (region == NULL)
        return session_fail(session, &failure);
    if (region->is_partitioned)
        return session_failf(session, FAILURE_UNSUPPORTED_OPERATION, "Unsupported operation:null");
    return clear_buckets(session, region, on_cleared);
}

/* Vug's RegionClearRequest{1 name}: every type of region. */
enum error op_region_clear(struct session *session, struct slice body)
{
    ProtobufCMessage *message;
    struct failure failure;
    enum error error = message_unpack(&pb__region_clear_request__descriptor, session_arena(session),
                                      body, &message);
    if (error != OK)
        return error;
    struct region *region = op_region(
        session, message_slice(((const Pb__RegionClearRequest *)message)->name), &failure);
    if (region == NULL)
        return session_fail(session, &failure);
    return clear_buckets(session, region, on_region_cleared);
}
