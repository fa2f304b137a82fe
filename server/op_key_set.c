#include "common/mem.h"
#include "server/ops.h"

/* KeySetResponse{1 repeated EncodedValue keys}. One bucket for each step, so that a large region
 * does not hold up the loop; each bucket is read at its own moment. */
struct key_set {
    struct session_slot *slot;
    struct worker *worker;
    struct region *region; /* a reference */
    uint32_t next;
    struct buf keys;
    struct loop_task task;
};

static void add_key(void *arg, struct entry *entry)
{
    struct buf *keys = arg;
    struct value key = value_load(entry_key(entry));
    size_t len = value_encoded_size(&key);
    uint8_t *at = buf_reserve(keys, codec_bytes_field_size(1, len));
    if (at != NULL)
        keys->len += (size_t)(value_encode(&key, codec_put_bytes_header(at, 1, len)) - at);
}

static void finish(struct key_set *op)
{
    struct failure failure;
    if (op->keys.failed) {
        failure_of_error(&failure, ERROR_MEMORY);
        session_slot_fail(op->slot, &failure);
    } else if (op->keys.len > LIMIT_MESSAGE_BYTES) {
        failure_set(
            &failure, FAILURE_INVALID_REQUEST,
            "The keys of this region are more than %u MiB together, too much for one answer.",
            LIMIT_MESSAGE_BYTES >> 20);
        session_slot_fail(op->slot, &failure);
    } else {
        session_slot_reply(op->slot, 29, buf_slice(&op->keys), SESSION_NO_WAIT);
    }
    region_unref(op->region);
    buf_fini(&op->keys);
    mem_free(op);
}

static void on_step(void *arg)
{
    struct key_set *op = arg;
    uint64_t entries = 0;
    /* About 200 us at the most: some thousand keys, or all of many small buckets. */
    while (op->next < op->region->bucket_count && entries < 2000 &&
           op->keys.len <= LIMIT_MESSAGE_BYTES) {
        struct bucket *bucket = &op->region->buckets[op->next++];
        bucket_lock(bucket);
        table_each(&bucket->table, add_key, &op->keys);
        entries += bucket->table.entry_count;
        bucket_unlock(bucket);
    }
    bool done = op->next == op->region->bucket_count || op->keys.failed ||
                op->keys.len > LIMIT_MESSAGE_BYTES;
    if (done || !session_slot_alive(op->slot))
        finish(op);
    else
        loop_defer(op->worker->loop, &op->task);
}

enum error op_key_set(struct session *session, struct slice body)
{
    ProtobufCMessage *message;
    struct failure failure;
    enum error error =
        message_unpack(&pb__key_set_request__descriptor, session_arena(session), body, &message);
    if (error != OK)
        return error;
    struct region *region = op_region(
        session, message_slice(((const Pb__KeySetRequest *)message)->region_name), &failure);
    if (region == NULL)
        return session_fail(session, &failure, SESSION_NO_WAIT);
    struct key_set *op = mem_zalloc(sizeof *op);
    struct session_slot *slot = op == NULL ? NULL : session_slot_new(session);
    if (slot == NULL) {
        mem_free(op);
        return ERROR_MEMORY;
    }
    op->slot = slot;
    op->worker = op_worker(session);
    op->region = region_ref(region);
    op->task = (struct loop_task){.on_run = on_step, .arg = op};
    buf_init(&op->keys);
    on_step(op);
    return OK;
}
