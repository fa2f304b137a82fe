#include "common/text.h"
#include "server/ops.h"

/* How many operations are located ahead, so that their waits for memory overlap. */
enum { BATCH_AHEAD = 16 };

struct batch {
    struct slice region, writer_id;
    uint64_t sequence, completed_through;
    uint32_t operations;
    bool is_staged;
};

/* WriteBatchRequest. The whole of it is checked before anything is applied. */
static enum error read_batch(struct slice body, struct batch *batch)
{
    struct slice rest = body;
    struct codec_field field;
    memset(batch, 0, sizeof *batch);
    while (rest.len > 0) {
        enum error error = codec_next_field(&rest, &field);
        if (error != OK)
            return error;
        bool is_bytes = field.wire_type == 2, is_varint = field.wire_type == 0;
        if (field.number == 1 && is_bytes)
            batch->writer_id = field.bytes;
        else if (field.number == 2 && is_varint)
            batch->sequence = field.integer;
        else if (field.number == 3 && is_bytes)
            batch->region = field.bytes;
        else if (field.number == 4 && is_bytes)
            batch->operations++;
        else if (field.number == 5 && is_bytes)
            batch->is_staged = field.bytes.len > 0;
        else if (field.number == 6 && is_varint)
            batch->completed_through = field.integer;
    }
    return OK;
}

struct operation_read {
    uint64_t type;
    struct value key, value;
    struct slice stored; /* the value, or empty for a removal */
    struct bucket *bucket;
    struct bucket_key located;
};

/* WriteOperation{1 type, 2 key, 3 value}. */
static enum error read_operation(struct slice body, struct operation_read *operation)
{
    struct codec_field field;
    enum error error = OK;
    memset(operation, 0, sizeof *operation);
    while (body.len > 0 && error == OK) {
        error = codec_next_field(&body, &field);
        if (error == OK && field.number == 1 && field.wire_type == 0)
            operation->type = field.integer;
        else if (error == OK && field.number == 2 && field.wire_type == 2)
            error = value_decode(field.bytes, &operation->key);
        else if (error == OK && field.number == 3 && field.wire_type == 2)
            error = value_decode(field.bytes, &operation->value);
    }
    return error;
}

static bool next_operation(struct slice *walk, struct slice *body)
{
    struct codec_field field;
    while (walk->len > 0 && codec_next_field(walk, &field) == OK) {
        if (field.number == 4 && field.wire_type == 2) {
            *body = field.bytes;
            return true;
        }
    }
    return false;
}

static bool check_operation(const struct region *region, struct operation_read *operation,
                            struct failure *failure)
{
    bool puts = operation->type == PB__WRITE_OPERATION__TYPE__PUT;
    if (!puts && operation->type != PB__WRITE_OPERATION__TYPE__REMOVE) {
        failure_set(failure, FAILURE_INVALID_REQUEST,
                    "An operation of a write batch is PUT (0) or REMOVE (1), not %llu.",
                    (unsigned long long)operation->type);
        return false;
    }
    if ((puts && !op_check_value(&operation->value, failure)) ||
        !op_check_value(&operation->key, failure))
        return false;
    if (operation->key.type == VALUE_NULL || (puts && operation->value.type == VALUE_NULL)) {
        failure_set(failure, FAILURE_SERVER_ERROR, "%s",
                    operation->key.type == VALUE_NULL ? FAILURE_JAVA_NULL_KEY
                                                      : FAILURE_JAVA_NULL_VALUE);
        return false;
    }
    return op_check_key_constraint(region, &operation->key, failure) &&
           (!puts || op_check_value_constraint(region, &operation->value, failure));
}

static bool check_batch(const struct batch *batch, struct failure *failure)
{
    if (batch->writer_id.len != 16)
        failure_set(failure, FAILURE_INVALID_REQUEST,
                    "writer_id has %zu bytes; it must be 16 random bytes.", batch->writer_id.len);
    else if (batch->is_staged)
        failure_set(failure, FAILURE_UNSUPPORTED_OPERATION,
                    "Unsupported operation:staged writes (transaction_id) come with a later "
                    "version; nothing was applied.");
    else if (batch->sequence == 0)
        failure_set(failure, FAILURE_INVALID_REQUEST,
                    "sequence is missing; the first operation of a writer has 1.");
    else if (batch->sequence > UINT64_MAX - LIMIT_WRITER_WINDOW)
        failure_set(failure, FAILURE_INVALID_REQUEST,
                    "Sequence %llu is too near to the end of the numbers. Begin a new writer.",
                    (unsigned long long)batch->sequence);
    else if (batch->operations > LIMIT_WRITER_WINDOW)
        failure_set(failure, FAILURE_INVALID_REQUEST, "A write batch has at most %u operations.",
                    LIMIT_WRITER_WINDOW);
    else if (batch->sequence + batch->operations > 1 + LIMIT_WRITER_WINDOW &&
             batch->sequence + batch->operations - 1 - LIMIT_WRITER_WINDOW >
                 batch->completed_through)
        failure_set(failure, FAILURE_INVALID_REQUEST,
                    "Operation %llu is more than %u above completed_through (%llu). Wait for "
                    "answers before writing on.",
                    (unsigned long long)(batch->sequence + batch->operations - 1),
                    LIMIT_WRITER_WINDOW, (unsigned long long)batch->completed_through);
    else
        return true;
    return false;
}

/* Pass one: where the operation goes, and what it needs from memory. */
static enum error locate(struct session *session, struct region *region,
                         struct operation_read *operation)
{
    operation->stored = slice_of("", 0);
    if (operation->type != PB__WRITE_OPERATION__TYPE__REMOVE)
        operation->stored = op_stored(session, &operation->value);
    if (operation->stored.data == NULL)
        return ERROR_MEMORY;
    enum error error =
        op_locate(session, region, &operation->key, &operation->bucket, &operation->located);
    if (error == OK)
        bucket_prefetch(operation->bucket, operation->located.hash);
    return error;
}

static void failure_of_write(enum error error, uint64_t sequence, struct failure *failure)
{
    if (error == ERROR_LIMIT)
        failure_set(failure, FAILURE_INVALID_REQUEST,
                    "Operation %llu is more than %u above what this writer has completed. Wait for "
                    "answers before writing on.",
                    (unsigned long long)sequence, LIMIT_WRITER_WINDOW);
    else if (error == ERROR_BUSY)
        failure_set(failure, FAILURE_SERVER_ERROR,
                    "This bucket keeps %u idempotent writers, its limit; a new one cannot begin "
                    "until one has been idle for "
                    "%u minutes. Reuse a writer.",
                    LIMIT_WRITERS_PER_BUCKET, LIMIT_WRITER_IDLE_MS / 60000);
    else
        op_failure_of_put(error, failure);
}

/* ---- Elsewhere ---- */

/* The batch will be repeated, and later ones of its connection must not be applied before that:
 * none of them is executed any more. */
static void end_session(struct gather *gather)
{
    struct session *session = session_slot_session(gather->slot);
    if (session != NULL)
        session_finish(session);
}

static bool is_undecided(const struct gather_part *part)
{
    enum error error = part->result.error;
    return error == ERROR_TIMEOUT || error == ERROR_IN_DOUBT ||
           (error == ERROR_BUSY && part->is_refused);
}

/* Nobody answered for it, or it could not be asked: the batch is over as soon as that is known,
 * whatever else of it is on its way. */
static void on_error(struct gather *gather, struct gather_part *part)
{
    const struct call_result *result = &part->result;
    if (result->failure != NULL)
        gather_fail(gather, result);
    else if (!is_undecided(part))
        return;
    else if (!gather->failed)
        failure_set(&gather->failure, FAILURE_SERVER_ERROR,
                    "BUSY: Operation %llu was not decided. Repeat the batch.",
                    (unsigned long long)part->mark.sequence);
    gather->failed = true;
    end_session(gather);
}

/* Operations of a batch go on side by side: one that failed is repeated with the rest, and what was
 * applied meanwhile is known. */
static void on_part(struct gather *gather, struct gather_part *part)
{
    Pb__WriteBatchResponse *response = gather->arg;
    const struct call_result *result = &part->result;
    if (result->error != OK) {
        gather->failed = true;
        failure_of_write(result->error, part->mark.sequence, &gather->failure);
    } else if (result->result == RESULT_REPEATED) {
        response->repeated_count++;
    } else {
        response->applied++;
    }
}

static void on_end(struct gather *gather)
{
    Pb__WriteBatchResponse *response = gather->arg;
    if (gather->failed)
        session_slot_fail(gather->slot, &gather->failure);
    else
        session_slot_reply_message(gather->slot, 1017, &response->base);
    gather_free(gather);
}

static enum error write_elsewhere(struct session *session, struct region *region,
                                  const struct operation_read *operation,
                                  const struct writer_mark *mark, struct gather **gather)
{
    struct call_options options = {.kind = CALL_WRITE_PUT,
                                   .bucket = operation->bucket,
                                   .key = operation->located.stored,
                                   .value = operation->stored,
                                   .hash = operation->located.hash,
                                   .mark = mark};
    if (operation->type == PB__WRITE_OPERATION__TYPE__REMOVE)
        options.kind = CALL_WRITE_REMOVE;
    if (*gather == NULL) {
        *gather = op_gather(session, region, LIMIT_WRITER_WINDOW, on_part, on_end);
        if (*gather == NULL)
            return ERROR_MEMORY;
        (*gather)->on_error = on_error;
        Pb__WriteBatchResponse *response = arena_alloc(&(*gather)->arena, sizeof *response);
        (*gather)->arg = response;
        if (response == NULL)
            return ERROR_MEMORY;
        *response = (Pb__WriteBatchResponse)PB__WRITE_BATCH_RESPONSE__INIT;
    }
    return gather_add(*gather, &options);
}

static enum error finish_elsewhere(struct gather *gather, enum error error, uint64_t sequence,
                                   const Pb__WriteBatchResponse *here)
{
    Pb__WriteBatchResponse *response = gather->arg;
    if (response != NULL) {
        response->applied += here->applied;
        response->repeated_count += here->repeated_count;
    }
    if (error != OK) {
        /* What was not started yet is not: the client repeats the batch. */
        gather->failed = true;
        failure_of_write(error, sequence, &gather->failure);
        end_session(gather);
    }
    gather_run(gather);
    return OK;
}

/* ---- Here ---- */

/* Applies `count` operations. Stops at the first that fails, whose sequence is then in the mark.
 * What has to wait is added to the gather. */
static enum error write_some(struct session *session, struct region *region,
                             struct operation_read *operations, uint32_t count,
                             struct writer_mark *mark, Pb__WriteBatchResponse *response,
                             struct gather **gather)
{
    uint64_t wall_ms = loop_wall_ms(op_worker(session)->loop);
    enum error error = OK;
    for (uint32_t i = 0; i < count && error == OK; i++)
        error = locate(session, region, &operations[i]);
    for (uint32_t i = 0; i < count && error == OK; i++)
        bucket_prefetch_entry(operations[i].bucket, operations[i].located.hash);
    for (uint32_t i = 0; i < count && error == OK; i++) {
        const struct operation_read *operation = &operations[i];
        bool repeated = false, removes = operation->type == PB__WRITE_OPERATION__TYPE__REMOVE;
        error = bucket_write(operation->bucket, &operation->located, removes, operation->stored,
                             mark, wall_ms, &repeated);
        if (error == OK) {
            response->repeated_count += repeated;
            response->applied += !repeated;
        } else if (error == ERROR_ELSEWHERE) {
            error = write_elsewhere(session, region, operation, mark, gather);
        }
        mark->sequence += error == OK;
    }
    return error;
}

/* Reads all operations into the arena; those of a batch that is too large are only checked. */
static enum error read_operations(struct session *session, struct slice body,
                                  const struct batch *batch, struct operation_read **operations)
{
    bool keeps = batch->operations <= LIMIT_WRITER_WINDOW;
    uint32_t room = keeps ? batch->operations + 1 : 1, next = 0;
    struct slice at;
    *operations = arena_alloc(session_arena(session), room * sizeof **operations);
    enum error error = *operations == NULL ? ERROR_MEMORY : OK;
    while (error == OK && next_operation(&body, &at)) {
        error = read_operation(at, &(*operations)[next]);
        next += keeps;
    }
    return error;
}

enum error op_write_batch(struct session *session, struct slice body)
{
    struct batch batch;
    struct operation_read *operations;
    struct failure failure UNINITIALIZED;
    enum error error = read_batch(body, &batch);
    if (error == OK)
        error = read_operations(session, body, &batch, &operations);
    if (error == OK && !text_is_utf8(batch.region))
        error = ERROR_MALFORMED;
    if (error != OK)
        return error;
    struct region *region = op_region(session, batch.region, &failure);
    if (region == NULL || !check_batch(&batch, &failure))
        return session_fail(session, &failure);
    for (uint32_t i = 0; i < batch.operations; i++)
        if (!check_operation(region, &operations[i], &failure))
            return session_fail(session, &failure);

    Pb__WriteBatchResponse response = PB__WRITE_BATCH_RESPONSE__INIT;
    struct writer_mark mark = {.sequence = batch.sequence,
                               .completed_through = batch.completed_through};
    memcpy(mark.id, batch.writer_id.data, sizeof mark.id);
    struct gather *gather = NULL;
    for (uint32_t i = 0; i < batch.operations && error == OK; i += BATCH_AHEAD) {
        uint32_t left = batch.operations - i;
        error = write_some(session, region, operations + i, left < BATCH_AHEAD ? left : BATCH_AHEAD,
                           &mark, &response, &gather);
    }
    if (gather != NULL)
        return finish_elsewhere(gather, error, mark.sequence, &response);
    if (error == OK)
        return session_reply_message(session, 1017, &response.base);
    failure_of_write(error, mark.sequence, &failure);
    return session_fail(session, &failure);
}
