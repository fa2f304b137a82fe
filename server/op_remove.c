#include "server/ops.h"

enum error op_remove(struct session *session, struct slice body)
{
    struct codec_key_request request;
    struct failure failure;
    struct bucket *bucket;
    struct bucket_key key;
    enum error error = codec_key_request(body, &request);
    if (error != OK)
        return error;
    if (!op_check_value(&request.key, &failure))
        return session_fail(session, &failure);
    if (request.key.type == VALUE_NULL)
        return session_failf(session, FAILURE_INVALID_REQUEST,
                             "NULL is not a valid key for removal.");
    struct region *region = op_region(session, request.region, &failure);
    if (region == NULL || !op_check_key_constraint(region, &request.key, &failure))
        return session_fail(session, &failure);
    error = op_locate(session, region, &request.key, &bucket, &key);
    if (error == OK)
        error = bucket_remove(bucket, &key, loop_wall_ms(op_worker(session)->loop));
    if (error == ERROR_ELSEWHERE)
        return op_call(session, CALL_REMOVE, bucket, &key, slice_of(NULL, 0));
    if (error != OK) {
        op_failure_of_put(error, &failure);
        return session_fail(session, &failure);
    }
    return op_reply_empty(session, 11);
}
