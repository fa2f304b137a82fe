/* Calls at the server that does them: the primary; for reads of a REPLICATE region any copy that
 * may (R5). */
#include "common/mem.h"
#include "common/plant.h"
#include "protocol/codec.h"
#include "server/call.h"
#include "server/call_impl.h"
#include "server/cq.h"

/* It is done when all copies have what it depends on (R2). */
static bool finish_or_wait(struct call *call, uint64_t wait_seq)
{
    if (bucket_has_committed(call->bucket, wait_seq) || PLANTED(PLANT_ANSWER_EARLY)) {
        call_finish_locked(call);
        return true;
    }
    call->wait_seq = wait_seq;
    call->state = CALL_APPLIED;
    return true;
}

static bool fail(struct call *call, enum error error)
{
    call_fail_locked(call, error, NULL);
    return true;
}

/* ---- Reads ---- */

static void add_key(struct buf *keys, const struct entry *entry)
{
    struct value key = value_load(entry_key(entry));
    size_t len = value_encoded_size(&key);
    uint8_t *at = buf_reserve(keys, codec_bytes_field_size(1, len));
    if (at != NULL)
        keys->len += (size_t)(value_encode(&key, codec_put_bytes_header(at, 1, len)) - at);
}

static void add_entry(struct buf *content, const struct entry *entry)
{
    struct slice key = entry_key(entry), value = entry_value(entry);
    uint8_t *start = buf_reserve(content, 30 + key.len + value.len);
    if (start == NULL)
        return;
    uint8_t *at = codec_put_varint(start, entry->seq);
    at = codec_put_varint(at, key.len);
    memcpy(at, key.data, key.len);
    at = codec_put_varint(at + key.len, value.len);
    memcpy(at, value.data, value.len);
    content->len += (size_t)(at - start) + value.len;
}

void call_encode(struct call *call)
{
    struct call_result *result = &call->result;
    struct buf *content = &result->content;
    if (result->entries == NULL)
        return;
    if (call->kind == CALL_ENTRIES)
        bucket_entries_sort(result->entries, result->entry_count);
    for (size_t i = 0; i < result->entry_count && content->len <= LIMIT_MESSAGE_BYTES; i++) {
        if (call->kind == CALL_ENTRIES)
            add_entry(content, result->entries[i]);
        else
            add_key(content, result->entries[i]);
    }
    enum error error = content->failed ? ERROR_MEMORY : OK;
    if (content->len > LIMIT_MESSAGE_BYTES)
        error = ERROR_LIMIT;
    bucket_entries_free(result->entries, result->entry_count);
    result->entries = NULL;
    if (error == OK)
        return;
    call_result_fini(result);
    result->error = error;
}

static uint64_t read_clock(const struct call *call)
{
    struct loop *loop = call->worker->loop;
    return PLANTED(PLANT_CLOCK_BEFORE_READ) && loop_is_current(loop) ? loop_now_us(loop)
                                                                     : loop_clock_us(loop);
}

static bool execute_read(struct call *call)
{
    struct bucket *bucket = call->bucket;
    struct call_result *result = &call->result;
    if (!replica_is_alone(&bucket->replica) && !replica_may_read_locked(bucket, read_clock(call)))
        return false;
    struct entry *entry = NULL;
    if (call->kind == CALL_GET)
        entry = table_find(&bucket->table, call->key, call->hash);
    uint64_t wait_seq = bucket_wait_seq_locked(bucket, entry);
    if (entry == NULL && PLANTED(PLANT_READ_IGNORES_REMOVAL))
        wait_seq = 0;
    /* What is not committed a copy leaves to the primary. */
    if (bucket->replica.role == REPLICA_COPY && !bucket_has_committed(bucket, wait_seq)) {
        if (!PLANTED(PLANT_COPY_READS_UNCOMMITTED))
            return false;
        wait_seq = 0;
    }
    if (entry != NULL)
        result->entry = entry_ref(entry);
    result->result = call->kind == CALL_GET && entry == NULL ? RESULT_ABSENT : RESULT_DONE;
    result->count = bucket->table.entry_count;
    result->bytes = bucket->table.bytes;
    if ((call->kind == CALL_KEYS || call->kind == CALL_ENTRIES) &&
        bucket_entries_locked(bucket, &result->entries, &result->entry_count) != OK)
        return fail(call, ERROR_MEMORY);
    return finish_or_wait(call, wait_seq);
}

/* ---- Changes ---- */

/* What the change would do: a record of it, or a note if it has no effect. */
static enum error prepare(struct call *call, uint64_t wall_ms, struct record *record)
{
    struct bucket *bucket = call->bucket;
    struct call_result *result = &call->result;
    struct entry *entry = table_find(&bucket->table, call->key, call->hash);
    bool repeated = false;
    enum error error = OK;
    *record = (struct record){
        .type = RECORD_PUT, .key = call->key, .value = call->value, .hash = call->hash};
    result->result = RESULT_DONE;
    switch (call->kind) {
    case CALL_PUT_IF_ABSENT:
        if (entry != NULL) {
            result->result = RESULT_PRESENT;
            result->entry = entry_ref(entry);
        }
        break;
    case CALL_REMOVE:
        record->type = RECORD_REMOVE;
        if (entry == NULL)
            result->result = RESULT_ABSENT;
        break;
    case CALL_WRITE_PUT:
    case CALL_WRITE_REMOVE:
        record->type = call->kind == CALL_WRITE_PUT ? RECORD_PUT : RECORD_REMOVE;
        record->writer = &call->mark;
        /* By the time that the record would have: an idle writer is forgotten by that, and on all
         * copies alike. */
        error = writers_check(&bucket->writers, &call->mark,
                              bucket_record_time_locked(bucket, wall_ms), &repeated);
        if (repeated)
            result->result = RESULT_REPEATED;
        break;
    case CALL_CLEAR:
        record->type = RECORD_CLEAR;
        result->count = bucket->table.entry_count;
        break;
    default:
        break;
    }
    if (record->type != RECORD_PUT)
        record->value = slice_of(NULL, 0);
    if (result->result != RESULT_DONE) {
        record->type = RECORD_NOTE;
        record->writer = NULL;
        record->value = slice_of(NULL, 0);
        if (result->entry != NULL)
            record->value = entry_value(result->entry);
    }
    record->result = result->result;
    return error;
}

/* What an earlier attempt at it gave. */
static bool repeat(struct call *call, const struct stream_result *stored)
{
    call->result.result = stored->result;
    if (stored->result == RESULT_PRESENT) {
        call->result.entry = entry_new(call->key, stored->value, call->hash, stored->seq);
        if (call->result.entry == NULL)
            return fail(call, ERROR_MEMORY);
    }
    return finish_or_wait(call, PLANTED(PLANT_REPEAT_EARLY) ? 0 : stored->seq);
}

static bool refuse_disorder(struct call *call)
{
    call->is_disorder = true;
    call_refuse_locked(call);
    return true;
}

static bool execute_change(struct call *call)
{
    struct bucket *bucket = call->bucket;
    if (!replica_may_write_locked(bucket) || !cq_takes_changes_locked(bucket))
        return false;
    /* Alone there is nobody to be deposed by: what is answered now is never asked again. But what
     * was sent before may arrive yet, where somebody else leads by then. */
    bool is_noted = call->from != NULL || call->is_tried || !replica_is_alone(&bucket->replica);
    struct stream_result stored;
    if (call->from != NULL || call->is_tried) {
        switch (streams_check(&bucket->streams, call->origin, call->counter,
                              call->from != NULL ? call->after : 0, &stored)) {
        case STREAM_REPEATED:
            return repeat(call, &stored);
        case STREAM_DISORDER:
            return refuse_disorder(call);
        case STREAM_NEW:
            break;
        }
    }
    struct record record;
    uint64_t wall_ms = loop_wall_ms(call->worker->loop);
    enum error error = prepare(call, wall_ms, &record);
    if (error != OK)
        return fail(call, error);
    if (record.type == RECORD_NOTE && !is_noted)
        return finish_or_wait(call, 0);
    if (is_noted) {
        record.origin = call->origin;
        record.counter = call->counter;
        record.answered_through = call->answered_through;
    }
    error = bucket_append_locked(bucket, &record, wall_ms);
    if (error != OK)
        return fail(call, error);
    call->is_attempted = call->is_tried = true;
    if (record.type == RECORD_NOTE)
        bucket->note_seq = record.seq;
    bool is_repeat = record.result == RESULT_REPEATED && PLANTED(PLANT_REPEAT_EARLY);
    return finish_or_wait(call, is_repeat ? 0 : record.seq);
}

/* ---- Both ---- */

/* A change that the peer sent before this read has been applied here. */
static bool is_in_order(const struct call *call)
{
    struct stream_result stored;
    return call->after == 0 || streams_check(&call->bucket->streams, call->origin, call->after, 0,
                                             &stored) == STREAM_REPEATED;
}

bool call_execute_locked(struct call *call)
{
    PRE(call->state == CALL_QUEUED);
    if (call->from != NULL && call->generation != call->bucket->generation) {
        call_refuse_locked(call);
        return true;
    }
    if (call_changes(call->kind))
        return execute_change(call);
    if (call->from != NULL && !is_in_order(call))
        return refuse_disorder(call);
    return execute_read(call);
}
