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

/* What can be answered at once. ERROR_ELSEWHERE: not all of it can. */
static enum error get_one(struct session *session, struct region *region, const struct value *key,
                          struct buf *reply)
{
    struct bucket *bucket;
    struct bucket_key stored;
    struct failure failure;
    struct entry *entry = NULL;
    enum error error = op_locate(session, region, key, &bucket, &stored);
    if (error == ERROR_LIMIT) {
        op_failure_of_put(error, &failure);
        add_failure(reply, key, &failure);
        return OK;
    }
    if (error == OK)
        error = bucket_get(bucket, &stored, op_worker(session)->loop, &entry);
    if (error != OK)
        return error;
    struct value value = {.type = VALUE_NULL};
    if (entry != NULL)
        value = value_load(entry_value(entry));
    add_entry(reply, key, &value);
    entry_unref(entry);
    return OK;
}

/* Why the key cannot be asked for at all. */
static bool check_key(const struct region *region, struct value *key, struct failure *failure)
{
    if (key->type == VALUE_NULL) {
        failure_set(failure, FAILURE_SERVER_ERROR, "%s", FAILURE_JAVA_NULL_KEY);
        return false;
    }
    return op_check_value(key, failure) && op_check_key_constraint(region, key, failure);
}

static void fail_too_large(struct failure *failure)
{
    failure_set(failure, FAILURE_INVALID_REQUEST,
                "The values of these keys are more than %u MiB together. Ask for fewer keys at "
                "once.",
                LIMIT_MESSAGE_BYTES >> 20);
}

/* ---- Elsewhere ---- */

static void on_part(struct gather *gather, struct gather_part *part)
{
    struct call_result *result = &part->result;
    if (part->options.bucket == NULL) {
        buf_append_slice(&gather->reply, buf_slice(&result->content));
    } else {
        struct value key = value_load(part->options.key), value = {.type = VALUE_NULL};
        if (result->entry != NULL)
            value = value_load(entry_value(result->entry));
        if (result->error != OK) {
            struct failure failure;
            op_failure_of_call(result, &failure);
            add_failure(&gather->reply, &key, &failure);
        } else {
            add_entry(&gather->reply, &key, &value);
        }
    }
    if (gather->reply.len > LIMIT_MESSAGE_BYTES) {
        gather->failed = true;
        fail_too_large(&gather->failure);
    }
}

static void on_end(struct gather *gather)
{
    op_gather_reply(gather, 9);
}

static enum error get_elsewhere(struct session *session, struct region *region, struct slice body)
{
    struct value key;
    struct failure failure;
    enum error error = OK;
    struct gather *gather = op_gather(session, region, OP_WINDOW_KEYS, on_part, on_end);
    if (gather == NULL)
        return ERROR_MEMORY;
    while (error == OK && codec_next_key(&body, &key)) {
        struct call_options options = {.kind = CALL_GET};
        struct bucket_key stored;
        struct buf *known;
        bool is_right = check_key(region, &key, &failure);
        if (is_right)
            error = op_locate(session, region, &key, &options.bucket, &stored);
        if (error == ERROR_LIMIT) {
            op_failure_of_put(error, &failure);
            is_right = false;
            error = OK;
        }
        if (!is_right) {
            error = gather_add_known(gather, &known);
            if (error == OK)
                add_failure(known, &key, &failure);
        } else if (error == OK) {
            options.key = stored.stored;
            options.hash = stored.hash;
            error = gather_add(gather, &options);
        }
    }
    return op_gather_run(gather, error);
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
            return session_fail(session, &failure);
    struct region *region = op_region(session, reference, &failure);
    if (region == NULL)
        return session_fail(session, &failure);
    struct buf reply;
    buf_init(&reply);
    walk = body;
    while (error == OK && reply.len <= LIMIT_MESSAGE_BYTES && codec_next_key(&walk, &key)) {
        if (check_key(region, &key, &failure))
            error = get_one(session, region, &key, &reply);
        else
            add_failure(&reply, &key, &failure);
    }
    if (error == OK && reply.len > LIMIT_MESSAGE_BYTES) {
        fail_too_large(&failure);
        error = session_fail(session, &failure);
    } else if (error == ERROR_ELSEWHERE) {
        error = get_elsewhere(session, region, body);
    } else {
        uint8_t *at =
            reply.failed || error != OK ? NULL : session_reply_begin(session, 9, reply.len);
        if (at != NULL) {
            if (reply.len > 0)
                memcpy(at, reply.data, reply.len);
            session_reply_end(session);
        }
        error = at == NULL ? ERROR_MEMORY : OK;
    }
    buf_fini(&reply);
    return error;
}
