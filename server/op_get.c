#include "server/ahead.h"
#include "server/ops.h"

/* GetResponse{1 result}. */
enum error op_get(struct session *session, struct slice body)
{
    struct failure failure UNINITIALIZED;
    struct ahead *ahead = ahead_take(session, body, false);
    struct value *key = &ahead->request.key;
    if (ahead->error != OK)
        return ahead->error;
    if (!op_check_value(key, &failure))
        return session_fail(session, &failure);
    if (key->type == VALUE_NULL)
        return session_failf(session, FAILURE_INVALID_REQUEST, "Performing a get on a NULL key.");
    struct region *region = ahead->region;
    if (region == NULL)
        region = op_region(session, ahead->request.region, &failure);
    if (region == NULL || !op_check_key_constraint(region, key, &failure))
        return session_fail(session, &failure);
    enum error error = OK;
    if (ahead->bucket == NULL)
        error = op_locate(session, region, key, &ahead->bucket, &ahead->key);
    struct entry *entry = NULL;
    if (error == OK)
        error = bucket_get(ahead->bucket, &ahead->key, op_worker(session)->loop, &entry);
    if (error == ERROR_ELSEWHERE)
        return op_call(session, CALL_GET, ahead->bucket, &ahead->key, slice_of(NULL, 0));
    if (error != OK) {
        op_failure_of_put(error, &failure);
        return session_fail(session, &failure);
    }
    struct value value = {.type = VALUE_NULL};
    if (entry != NULL)
        value = value_load(entry_value(entry));
    size_t len = value_encoded_size(&value);
    uint8_t *at = session_reply_begin(session, 5, codec_bytes_field_size(1, len));
    if (at != NULL) {
        value_encode(&value, codec_put_bytes_header(at, 1, len));
        session_reply_end(session);
    }
    entry_unref(entry);
    return at == NULL ? ERROR_MEMORY : OK;
}
