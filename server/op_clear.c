#include "server/ops.h"

static enum error clear_buckets(struct session *session, struct region *region, uint64_t *entries)
{
    enum error error = OK;
    *entries = 0;
    for (uint32_t i = 0; i < region->bucket_count && error == OK; i++) {
        uint64_t bytes;
        struct session_wait wait;
        *entries += bucket_entry_count(&region->buckets[i], &bytes, &wait);
        error = bucket_clear(&region->buckets[i], loop_wall_ms(op_worker(session)->loop), &wait);
        if (error == OK)
            error = session_await(session, wait);
    }
    return error;
}

/* Geode's own ClearRequest{1 region}: refuses partitioned regions, as Geode does. */
enum error op_clear(struct session *session, struct slice body)
{
    ProtobufCMessage *message;
    struct failure failure;
    uint64_t entries;
    enum error error =
        message_unpack(&pb__clear_request__descriptor, session_arena(session), body, &message);
    if (error != OK)
        return error;
    struct region *region = op_region(
        session, message_slice(((const Pb__ClearRequest *)message)->region_name), &failure);
    if (region == NULL)
        return session_fail(session, &failure, SESSION_NO_WAIT);
    if (region->is_partitioned)
        return session_failf(session, FAILURE_UNSUPPORTED_OPERATION, "Unsupported operation:null");
    error = clear_buckets(session, region, &entries);
    return error != OK ? error : op_reply_empty(session, 33, SESSION_NO_WAIT);
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
        return session_fail(session, &failure, SESSION_NO_WAIT);
    Pb__RegionClearResponse response = PB__REGION_CLEAR_RESPONSE__INIT;
    error = clear_buckets(session, region, &response.entries);
    return error != OK ? error
                       : session_reply_message(session, 1031, &response.base, SESSION_NO_WAIT);
}
