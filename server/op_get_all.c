#include "server/ops.h"

enum { REPLY_ENTRY = 1, REPLY_FAILURE = 2 };

/* GetAllResponse{1 repeated Entry{1 key, 2 value}, 2 repeated KeyedError}: in request order,
 * duplicates kept. */
static void add_entry(struct buf *reply, const struct value *key, const struct value *value)
{
    size_t key_len = value_encoded_size(key), value_len = value_encoded_size(value);
    size_t len = codec_bytes_field_size(1, key_len) + codec_bytes_field_size(2, value_len);
    uint8_t *start = buf_reserve(reply, codec_bytes_field_size(REPLY_ENTRY, len));
    if (start == NULL)
        return;
    uint8_t *at = codec_put_bytes_header(start, REPLY_ENTRY, len);
    at = value_encode(key, codec_put_bytes_header(at, 1, key_len));
    at = value_encode(value, codec_put_bytes_header(at, 2, value_len));
    reply->len += (size_t)(at - start);
}

/* Its code is always SERVER_ERROR here (captured from a real Geode). */
static void add_failure(struct buf *reply, const struct value *key, struct failure *failure)
{
    failure->code = FAILURE_SERVER_ERROR;
    op_add_keyed_error(reply, REPLY_FAILURE, key, failure);
}

static enum error get_one(struct session *session, struct region *region, const struct value *key,
                          struct buf *reply)
{
    struct bucket *bucket;
    struct bucket_key stored;
    struct session_wait wait;
    struct failure failure;
    enum error error = op_locate(session, region, key, &bucket, &stored);
    if (error == ERROR_LIMIT) {
        op_failure_of_put(error, &failure);
        add_failure(reply, key, &failure);
        return OK;
    }
    if (error != OK)
        return error;
    struct entry *entry = bucket_get(bucket, &stored, &wait);
    struct value value = {.type = VALUE_NULL};
    if (entry != NULL)
        value = value_load(entry_value(entry));
    add_entry(reply, key, &value);
    entry_unref(entry);
    return session_await(session, wait);
}

enum error op_get_all(struct session *session, struct slice body)
{
    struct slice reference, walk = body;
    uint32_t count;
    struct value key;
    struct failure failure;
    enum error error = codec_keys_request(body, &reference, &count);
    if (error != OK)
        return error;
    while (codec_next_key(&walk, &key))
        if (!op_check_value(&key, &failure))
            return session_fail(session, &failure, SESSION_NO_WAIT);
    struct region *region = op_region(session, reference, &failure);
    if (region == NULL)
        return session_fail(session, &failure, SESSION_NO_WAIT);
    struct buf reply;
    buf_init(&reply);
    walk = body;
    while (error == OK && codec_next_key(&walk, &key)) {
        if (key.type == VALUE_NULL) {
            failure_set(&failure, FAILURE_SERVER_ERROR, "%s", FAILURE_JAVA_NULL_KEY);
            add_failure(&reply, &key, &failure);
        } else if (!op_check_value(&key, &failure) ||
                   !op_check_key_constraint(region, &key, &failure)) {
            add_failure(&reply, &key, &failure);
        } else {
            error = get_one(session, region, &key, &reply);
        }
        if (reply.len > LIMIT_MESSAGE_BYTES) {
            buf_fini(&reply);
            return session_failf(session, FAILURE_INVALID_REQUEST,
                                 "The values of these keys are more than %u MiB together. Ask for "
                                 "fewer keys at once.",
                                 LIMIT_MESSAGE_BYTES >> 20);
        }
    }
    uint8_t *at = reply.failed || error != OK ? NULL : session_reply_begin(session, 9, reply.len);
    if (at != NULL) {
        if (reply.len > 0)
            memcpy(at, reply.data, reply.len);
        session_reply_end(session, SESSION_NO_WAIT);
    }
    buf_fini(&reply);
    return at == NULL ? ERROR_MEMORY : OK;
}
