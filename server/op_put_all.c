#include "server/ops.h"

/* PutAllResponse{1 repeated KeyedError{1 key, 2 Error{1 code, 2 message}}}. */
static void add_failed_key(struct buf *reply, const struct value *key, const struct failure *failure)
{
    Pb__Error error = PB__ERROR__INIT;
    error.error_code = (int32_t)failure->code;
    error.message = message_bytes(slice_text(failure->text));
    size_t key_len = value_encoded_size(key), error_len = protobuf_c_message_get_packed_size(&error.base);
    size_t len = codec_bytes_field_size(1, key_len) + codec_bytes_field_size(2, error_len);
    uint8_t *start = buf_reserve(reply, codec_bytes_field_size(1, len));
    if (start == NULL)
        return;
    uint8_t *at = codec_put_bytes_header(start, 1, len);
    at = value_encode(key, codec_put_bytes_header(at, 1, key_len));
    at = codec_put_bytes_header(at, 2, error_len);
    at += protobuf_c_message_pack(&error.base, at);
    reply->len += (size_t)(at - start);
}

static bool put_one(struct session *session, struct region *region, const struct value *key, const struct value *value,
                    struct failure *failure)
{
    struct bucket *bucket;
    struct bucket_key stored;
    struct session_wait wait;
    if (key->type == VALUE_NULL || value->type == VALUE_NULL) {
        failure_set(failure, FAILURE_SERVER_ERROR, "%s",
                    key->type == VALUE_NULL ? FAILURE_JAVA_NULL_KEY : FAILURE_JAVA_NULL_VALUE);
        return false;
    }
    if (!op_check_key_constraint(region, key, failure) || !op_check_value_constraint(region, value, failure))
        return false;
    struct slice value_stored = op_stored(session, value);
    enum error error = value_stored.data == NULL ? ERROR_MEMORY : op_locate(session, region, key, &bucket, &stored);
    if (error == OK)
        error = bucket_put(bucket, &stored, value_stored, loop_wall_ms(op_worker(session)->loop), &wait);
    if (error == OK)
        error = session_await(session, wait);
    if (error != OK)
        op_failure_of_put(error, failure);
    return error == OK;
}

/* An entry that is undecodable fails the whole request before anything is stored; one that cannot be put is reported. Of equal keys the
 * last one counts: they are put in order, which gives the same. */
enum error op_put_all(struct session *session, struct slice body)
{
    struct slice reference, walk = body;
    uint32_t count;
    struct value key, value;
    struct failure failure;
    enum error error = codec_entries_request(body, &reference, &count);
    if (error != OK)
        return error;
    while (codec_next_entry(&walk, &key, &value))
        if (!op_check_value(&value, &failure) || !op_check_value(&key, &failure))
            return session_fail(session, &failure, SESSION_NO_WAIT);
    struct region *region = op_region(session, reference, &failure);
    if (region == NULL)
        return session_fail(session, &failure, SESSION_NO_WAIT);
    struct buf reply;
    buf_init(&reply);
    walk = body;
    while (codec_next_entry(&walk, &key, &value)) {
        /* Checked above; a document is cut behind its closing brace again. */
        if (!op_check_value(&value, &failure) || !op_check_value(&key, &failure) ||
            !put_one(session, region, &key, &value, &failure))
            add_failed_key(&reply, &key, &failure);
    }
    uint8_t *at = reply.failed ? NULL : session_reply_begin(session, 7, reply.len);
    if (at != NULL) {
        if (reply.len > 0)
            memcpy(at, reply.data, reply.len);
        session_reply_end(session, SESSION_NO_WAIT);
    }
    buf_fini(&reply);
    return at == NULL ? ERROR_MEMORY : OK;
}
