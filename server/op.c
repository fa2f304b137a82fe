#include "common/mem.h"
#include "protocol/json.h"
#include "server/ops.h"

#define DECODING_EXCEPTION                                                                         \
    "org.apache.geode.internal.protocol.protobuf.v1.serialization.exception.DecodingException: "
#define JSON_EXCEPTION                                                                             \
    DECODING_EXCEPTION "Could not decode JSON-encoded object  Caused by: "                         \
                       "org.apache.geode.pdx.JSONFormatterException: "                             \
                       "Could not parse JSON document"

struct region *op_region(struct session *session, struct slice reference, struct failure *failure)
{
    struct worker *worker = op_worker(session);
    if (worker->catalog == NULL) { /* it cannot know which regions there are */
        failure_set(failure, FAILURE_NO_AVAILABLE_SERVER,
                    "Server %s has not joined the cluster yet. Nothing was done; ask another one, "
                    "or try again soon.",
                    worker->server->name);
        return NULL;
    }
    return catalog_resolve(worker->catalog, reference, failure);
}

static bool check_json(struct value *value, struct failure *failure)
{
    struct json_error why;
    size_t end;
    buf_init(&why.text);
    enum error error = json_validate(value->bytes, &end, &why);
    if (error == OK)
        value->bytes.len = end;
    else if (error == ERROR_INVALID)
        failure_set(failure, FAILURE_SERVER_ERROR, JSON_EXCEPTION "%.*s",
                    SLICE_FMT(buf_slice(&why.text)));
    else
        failure_of_error(failure, error);
    buf_fini(&why.text);
    return error == OK;
}

bool op_check_other_value(struct value *value, struct failure *failure)
{
    switch (value->type) {
    case VALUE_NOT_SET:
        failure_set(failure, FAILURE_SERVER_ERROR, "%s", FAILURE_VALUE_NOT_SET);
        return false;
    case VALUE_CUSTOM:
        failure_set(failure, FAILURE_SERVER_ERROR,
                    "java.lang.IllegalStateException: Received a custom value, but did not set the "
                    "valueFormat in the "
                    "handshakeMessage");
        return false;
    case VALUE_JSON:
        return check_json(value, failure);
    default:
        return true;
    }
}

bool op_check_key_constraint(const struct region *region, const struct value *key,
                             struct failure *failure)
{
    if (region->key_constraint == VALUE_NOT_SET || region->key_constraint == key->type)
        return true;
    failure_set(failure, FAILURE_SERVER_ERROR,
                "java.lang.ClassCastException: key ( %s ) does not satisfy keyConstraint ( %s )",
                value_java_class(key->type), value_java_class(region->key_constraint));
    return false;
}

bool op_check_value_constraint(const struct region *region, const struct value *value,
                               struct failure *failure)
{
    /* A document passes every constraint: what Java would compare is a field that it need not have.
     */
    if (region->value_constraint == VALUE_NOT_SET || region->value_constraint == value->type ||
        value->type == VALUE_JSON)
        return true;
    failure_set(
        failure, FAILURE_SERVER_ERROR,
        "java.lang.ClassCastException: value ( %s ) does not satisfy valueConstraint ( %s )",
        value_java_class(value->type), value_java_class(region->value_constraint));
    return false;
}

struct slice op_stored(struct session *session, const struct value *value)
{
    size_t len = value_stored_size(value);
    uint8_t *stored = arena_alloc(session_arena(session), len);
    if (stored == NULL)
        return slice_of(NULL, 0);
    value_store(value, stored);
    return slice_of(stored, len);
}

enum error op_locate(struct session *session, struct region *region, const struct value *key,
                     struct bucket **bucket, struct bucket_key *stored)
{
    struct value identity = *key;
    value_make_key(&identity);
    if (value_stored_size(&identity) > LIMIT_KEY_BYTES + 1) /* and its type */
        return ERROR_LIMIT;
    stored->stored = op_stored(session, &identity);
    if (stored->stored.data == NULL)
        return ERROR_MEMORY;
    stored->hash = table_hash(stored->stored, region->hash_seed);
    *bucket = region_bucket(region, &identity);
    return OK;
}

enum error op_reply_empty(struct session *session, uint32_t number)
{
    if (session_reply_begin(session, number, 0) == NULL)
        return ERROR_MEMORY;
    session_reply_end(session);
    return OK;
}

void op_failure_of_put(enum error error, struct failure *failure)
{
    if (error == ERROR_MEMORY)
        failure_set(failure, FAILURE_SERVER_ERROR,
                    "org.apache.geode.cache.LowMemoryException: The server is out of memory; "
                    "nothing was changed. Remove entries or add memory, then try again.");
    else if (error == ERROR_LIMIT)
        failure_set(failure, FAILURE_INVALID_REQUEST,
                    "The key has more than %u bytes, the limit of a key.", LIMIT_KEY_BYTES);
    else if (error == ERROR_BUSY)
        failure_set(
            failure, FAILURE_SERVER_ERROR,
            "BUSY: %u operations wait for an answer in the bucket of this key, the limit; nothing "
            "was changed. Wait for answers, then try again.",
            LIMIT_CALLS);
    else
        failure_of_error(failure, error);
}

void op_add_keyed_error(struct buf *reply, uint32_t field, const struct value *key,
                        const struct failure *failure)
{
    Pb__Error error = PB__ERROR__INIT;
    error.error_code = (int32_t)failure->code;
    error.message = message_bytes(slice_text(failure->text));
    size_t key_len = value_encoded_size(key);
    size_t error_len = protobuf_c_message_get_packed_size(&error.base);
    size_t len = codec_bytes_field_size(1, key_len) + codec_bytes_field_size(2, error_len);
    uint8_t *start = buf_reserve(reply, codec_bytes_field_size(field, len));
    if (start == NULL)
        return;
    uint8_t *at = codec_put_bytes_header(start, field, len);
    at = value_encode(key, codec_put_bytes_header(at, 1, key_len));
    at = codec_put_bytes_header(at, 2, error_len);
    at += protobuf_c_message_pack(&error.base, at);
    reply->len += (size_t)(at - start);
}

/* ---- Requests that a locator answers ---- */

static void on_answer(void *arg, const struct failure *failure, uint32_t number, struct slice body)
{
    struct session_slot *slot = arg;
    if (failure != NULL)
        session_slot_fail(slot, failure);
    else
        session_slot_reply(slot, number, body);
}

enum error op_forward(struct session *session, uint32_t number, struct slice body)
{
    return server_call_locator(op_worker(session), session, number, body, on_answer);
}

enum error op_region_create(struct session *session, struct slice body)
{
    return op_forward(session, 1020, body);
}

enum error op_region_destroy(struct session *session, struct slice body)
{
    return op_forward(session, 1022, body);
}

enum error op_cluster_status(struct session *session, struct slice body)
{
    return op_forward(session, 1024, body);
}

enum error op_rebalance(struct session *session, struct slice body)
{
    return op_forward(session, 1026, body);
}

enum error op_member_stop(struct session *session, struct slice body)
{
    return op_forward(session, 1028, body);
}

enum error op_member_forget(struct session *session, struct slice body)
{
    return op_forward(session, 1032, body);
}

enum error op_events(struct session *session, struct slice body)
{
    return op_forward(session, 1034, body);
}
