#include "server/ops.h"

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
        return session_fail(session, &failure, SESSION_NO_WAIT);
    uint64_t total = 0;
    for (uint32_t i = 0; i < region->bucket_count && error == OK; i++) {
        uint64_t bytes;
        struct session_wait wait;
        total += bucket_entry_count(&region->buckets[i], &bytes, &wait);
        error = session_await(session, wait);
    }
    if (error != OK)
        return error;
    Pb__GetSizeResponse response = PB__GET_SIZE_RESPONSE__INIT;
    response.size = total > INT32_MAX ? INT32_MAX : (int32_t)total;
    return session_reply_message(session, 17, &response.base, SESSION_NO_WAIT);
}
