/* Operations on one key whose answer comes later: a call, whose result is the reply. */
#include "server/ops.h"

void op_failure_of_call(const struct call_result *result, struct failure *failure)
{
    if (result->failure != NULL)
        *failure = *result->failure;
    else
        op_failure_of_put(result->error, failure);
}

/* GetResponse, PutIfAbsentResponse: {1 value}. */
static void reply_value(struct session_slot *slot, uint32_t number, const struct entry *entry)
{
    struct value value = {.type = VALUE_NULL};
    struct buf body;
    if (entry != NULL)
        value = value_load(entry_value(entry));
    size_t len = value_encoded_size(&value);
    buf_init(&body);
    uint8_t *at = buf_reserve(&body, codec_bytes_field_size(1, len));
    if (at != NULL) {
        uint8_t *end = value_encode(&value, codec_put_bytes_header(at, 1, len));
        session_slot_reply(slot, number, slice_of(at, (size_t)(end - at)));
    } else {
        session_slot_drop(slot);
    }
    buf_fini(&body);
}

static void on_result(struct call *call, void *arg)
{
    struct session_slot *slot = arg;
    struct failure failure;
    if (call->result.error != OK) {
        op_failure_of_call(&call->result, &failure);
        session_slot_fail(slot, &failure);
    } else if (call->kind == CALL_GET) {
        reply_value(slot, 5, call->result.entry);
    } else if (call->kind == CALL_PUT_IF_ABSENT) {
        reply_value(slot, 35, call->result.entry);
    } else {
        session_slot_reply(slot, call->kind == CALL_PUT ? 3 : 11, slice_of(NULL, 0));
    }
}

enum error op_call(struct session *session, enum call_kind kind, struct bucket *bucket,
                   const struct bucket_key *key, struct slice value)
{
    struct failure failure;
    struct session_slot *slot = session_slot_new(session);
    if (slot == NULL)
        return ERROR_MEMORY;
    struct call_options options = {.kind = kind,
                                   .bucket = bucket,
                                   .key = key->stored,
                                   .value = value,
                                   .hash = key->hash,
                                   .worker = op_worker(session),
                                   .on_result = on_result,
                                   .arg = slot};
    enum error error = call_start(&options);
    if (error != OK) {
        op_failure_of_put(error, &failure);
        session_slot_fail(slot, &failure);
    }
    return OK;
}

struct gather *op_gather(struct session *session, struct region *region, uint32_t window,
                         void (*on_part)(struct gather *gather, struct gather_part *part),
                         void (*on_end)(struct gather *gather))
{
    struct gather *gather = gather_new(op_worker(session), region, window, on_part, on_end);
    if (gather == NULL)
        return NULL;
    gather->slot = session_slot_new(session);
    if (gather->slot == NULL) {
        gather_free(gather);
        return NULL;
    }
    return gather;
}

void op_gather_reply(struct gather *gather, uint32_t number)
{
    if (!gather->failed && gather->reply.failed) {
        gather->failed = true;
        failure_of_error(&gather->failure, ERROR_MEMORY);
    }
    if (gather->failed)
        session_slot_fail(gather->slot, &gather->failure);
    else
        session_slot_reply(gather->slot, number, buf_slice(&gather->reply));
    gather_free(gather);
}

enum error op_gather_run(struct gather *gather, enum error error)
{
    struct failure failure;
    if (error == OK) {
        gather_run(gather);
        return OK;
    }
    failure_of_error(&failure, error);
    session_slot_fail(gather->slot, &failure);
    gather_free(gather);
    return OK;
}
