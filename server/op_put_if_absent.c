#include "server/ops.h"

/* PutIfAbsentResponse{1 oldValue}. A null value is legal: it makes an entry whose value is null,
 * that a later putIfAbsent finds and does not replace (captured from a real Geode). */
enum error op_put_if_absent(struct session *session, struct slice body)
{
    struct codec_entry_request request;
    struct failure failure;
    struct bucket *bucket;
    struct bucket_key key;
    struct entry *present = NULL;
    enum error error = codec_entry_request(body, &request);
    if (error != OK)
        return error;
    if (!op_check_value(&request.value, &failure) || !op_check_value(&request.key, &failure))
        return session_fail(session, &failure);
    struct region *region = op_region(session, request.region, &failure);
    if (region == NULL)
        return session_fail(session, &failure);
    if (request.key.type == VALUE_NULL)
        return session_failf(session, FAILURE_SERVER_ERROR, "%s", FAILURE_JAVA_NULL_KEY);
    if (!op_check_key_constraint(region, &request.key, &failure) ||
        (request.value.type != VALUE_NULL &&
         !op_check_value_constraint(region, &request.value, &failure)))
        return session_fail(session, &failure);

    struct slice value = op_stored(session, &request.value);
    error =
        value.data == NULL ? ERROR_MEMORY : op_locate(session, region, &request.key, &bucket, &key);
    if (error == OK)
        error = bucket_put_if_absent(bucket, &key, value, loop_wall_ms(op_worker(session)->loop),
                                     &present);
    if (error == ERROR_ELSEWHERE)
        return op_call(session, CALL_PUT_IF_ABSENT, bucket, &key, value);
    if (error != OK) {
        op_failure_of_put(error, &failure);
        return session_fail(session, &failure);
    }
    struct value old = {.type = VALUE_NULL};
    if (present != NULL)
        old = value_load(entry_value(present));
    size_t len = value_encoded_size(&old);
    uint8_t *at = session_reply_begin(session, 35, codec_bytes_field_size(1, len));
    if (at != NULL) {
        value_encode(&old, codec_put_bytes_header(at, 1, len));
        session_reply_end(session);
    }
    entry_unref(present);
    return at == NULL ? ERROR_MEMORY : OK;
}
