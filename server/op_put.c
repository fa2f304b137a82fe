#include "server/ahead.h"
#include "server/ops.h"

/* Order of checks as captured from a real Geode: value, key, region, nulls, constraints. */
enum error op_put(struct session *session, struct slice body)
{
    struct failure failure UNINITIALIZED;
    struct ahead *ahead = ahead_take(session, body, true);
    struct codec_entry_request *request = &ahead->request;
    enum error error = ahead->error;
    if (error != OK)
        return error;
    if (!op_check_value(&request->value, &failure) || !op_check_value(&request->key, &failure))
        return session_fail(session, &failure);
    struct region *region = ahead->region;
    if (region == NULL)
        region = op_region(session, request->region, &failure);
    if (region == NULL)
        return session_fail(session, &failure);
    if (request->key.type == VALUE_NULL)
        return session_failf(session, FAILURE_SERVER_ERROR, "%s", FAILURE_JAVA_NULL_KEY);
    if (request->value.type == VALUE_NULL)
        return session_failf(session, FAILURE_SERVER_ERROR, "%s", FAILURE_JAVA_NULL_VALUE);
    if (!op_check_key_constraint(region, &request->key, &failure) ||
        !op_check_value_constraint(region, &request->value, &failure))
        return session_fail(session, &failure);

    struct slice value = op_stored(session, &request->value);
    if (value.data == NULL)
        error = ERROR_MEMORY;
    else if (ahead->bucket == NULL)
        error = op_locate(session, region, &request->key, &ahead->bucket, &ahead->key);
    if (error == OK)
        error =
            bucket_put(ahead->bucket, &ahead->key, value, loop_wall_ms(op_worker(session)->loop));
    if (error == ERROR_ELSEWHERE)
        return op_call(session, CALL_PUT, ahead->bucket, &ahead->key, value);
    if (error != OK) {
        op_failure_of_put(error, &failure);
        return session_fail(session, &failure);
    }
    return op_reply_empty(session, 3);
}
