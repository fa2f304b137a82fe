/* A one-shot SELECT: the current entries of a region, once. Each bucket is read at its own moment,
 * in their order, and few of them at a time. */
#include "common/mem.h"
#include "server/ops.h"

struct select {
    struct session_slot *slot;
    struct query_plan *plan; /* a reference */
    struct query_state *state;
    struct buf rows; /* the row fields of SqlExecuteResponse */
    struct arena arena;
    enum error error;
    struct query_error why;
};

#define FIELD_ROW 3 /* of SqlExecuteResponse; its values are field 1 of SqlRow */

static enum error add_row(struct select *op, const struct query_row *row)
{
    size_t len = 0;
    struct value *values = arena_alloc(&op->arena, (row->count + 1) * sizeof *values);
    if (values == NULL)
        return ERROR_MEMORY;
    for (uint32_t i = 0; i < row->count; i++) {
        enum error error = query_value_to_wire(&row->values[i], &op->arena, &values[i]);
        if (error != OK)
            return error;
        len += codec_bytes_field_size(1, value_encoded_size(&values[i]));
    }
    uint8_t *start = buf_reserve(&op->rows, codec_bytes_field_size(FIELD_ROW, len));
    if (start == NULL)
        return ERROR_MEMORY;
    uint8_t *at = codec_put_bytes_header(start, FIELD_ROW, len);
    for (uint32_t i = 0; i < row->count; i++)
        at =
            value_encode(&values[i], codec_put_bytes_header(at, 1, value_encoded_size(&values[i])));
    op->rows.len += (size_t)(at - start);
    return op->rows.len > LIMIT_MESSAGE_BYTES ? ERROR_LIMIT : OK;
}

static enum error on_result(void *arg, enum query_kind kind, const struct query_row *row)
{
    struct select *op = arg;
    /* An OVER query has one row for each of its input; a GROUP BY is read at the end. */
    return kind == QUERY_INSERT && query_plan_is_append_only(op->plan) ? add_row(op, row) : OK;
}

static enum error on_group(void *arg, enum query_kind kind, const struct query_row *row)
{
    (void)kind;
    return add_row(arg, row);
}

static enum error evaluate(struct select *op, uint64_t seq, struct value key, struct value value)
{
    struct query_input input = {.key = &key, .value = &value};
    struct query_row row = {0};
    bool admitted = false;
    if (value.type == VALUE_NULL)
        return OK;
    arena_reset(&op->arena);
    enum error error = query_admit(op->plan, &input, &op->arena, &admitted, &row, &op->why);
    if (error != OK || !admitted)
        return error;
    if (op->state == NULL)
        return add_row(op, &row);
    row.mark = seq;
    return query_state_apply(op->state, &row, &op->arena, on_result, op, &op->why);
}

/* The entries of a bucket, as CALL_ENTRIES gives them. */
static void on_part(struct gather *gather, struct gather_part *part)
{
    struct select *op = gather->arg;
    struct slice rest = buf_slice(&part->result.content), key, value;
    uint64_t seq;
    if (part->result.error != OK) {
        gather_fail(gather, &part->result);
        return;
    }
    while (op->error == OK && rest.len > 0) {
        op->error = call_next_entry(&rest, &seq, &key, &value);
        if (op->error == OK)
            op->error = evaluate(op, seq, value_load(key), value_load(value));
    }
    gather->failed = op->error != OK || !session_slot_alive(op->slot);
}

static void reply_rows(struct select *op)
{
    struct buf reply;
    buf_init(&reply);
    for (int field = 1; field <= 2; field++) {
        for (uint32_t i = 0; i < query_plan_column_count(op->plan); i++) {
            struct buf text;
            buf_init(&text);
            if (field == 1)
                buf_append_text(&text, query_plan_column_name(op->plan, i));
            else
                query_type_name(query_plan_column_type(op->plan, i), &text);
            uint8_t *at = buf_reserve(&reply, codec_bytes_field_size((uint32_t)field, text.len));
            if (at != NULL && !text.failed) {
                uint8_t *content = codec_put_bytes_header(at, (uint32_t)field, text.len);
                memcpy(content, text.data, text.len);
                reply.len += (size_t)(content - at) + text.len;
            }
            reply.failed |= text.failed;
            buf_fini(&text);
        }
    }
    buf_append_slice(&reply, buf_slice(&op->rows));
    if (reply.failed)
        session_slot_drop(op->slot);
    else
        session_slot_reply(op->slot, 1013, buf_slice(&reply));
    buf_fini(&reply);
}

static void failure_of_select(const struct select *op, struct failure *failure)
{
    if (op->error == ERROR_INVALID)
        failure_set(failure, FAILURE_INVALID_REQUEST, "%s", op->why.message);
    else if (op->error == ERROR_LIMIT)
        failure_set(failure, FAILURE_INVALID_REQUEST,
                    "The result is too large for one answer (%u MiB). Narrow it with WHERE, or "
                    "subscribe to it (vug cq).",
                    LIMIT_MESSAGE_BYTES >> 20);
    else
        failure_of_error(failure, op->error);
}

static void select_free(struct select *op)
{
    query_state_free(op->state);
    query_plan_unref(op->plan);
    arena_fini(&op->arena);
    buf_fini(&op->rows);
    mem_free(op);
}

static void on_end(struct gather *gather)
{
    struct select *op = gather->arg;
    if (!gather->failed && op->state != NULL && !query_plan_is_append_only(op->plan))
        op->error = query_state_each(op->state, &op->arena, on_group, op);
    if (op->error != OK)
        failure_of_select(op, &gather->failure);
    if (gather->failed || op->error != OK)
        session_slot_fail(op->slot, &gather->failure);
    else
        reply_rows(op);
    select_free(op);
    gather_free(gather);
}

enum error op_select(struct session *session, struct query_plan *plan, struct region *region)
{
    struct select *op = mem_zalloc(sizeof *op);
    if (op == NULL) {
        query_plan_unref(plan);
        return ERROR_MEMORY;
    }
    op->plan = plan;
    arena_init(&op->arena, LIMIT_ARENA_BYTES);
    buf_init(&op->rows);
    enum error error = query_plan_has_state(plan) ? query_state_new(plan, &op->state) : OK;
    struct gather *gather =
        gather_new(op_worker(session), region, OP_WINDOW_BUCKETS, on_part, on_end);
    if (error == OK)
        error = gather == NULL ? ERROR_MEMORY : gather_add_buckets(gather, CALL_ENTRIES);
    op->slot = error == OK ? session_slot_new(session) : NULL;
    if (op->slot == NULL) {
        if (gather != NULL)
            gather_free(gather);
        select_free(op);
        return ERROR_MEMORY;
    }
    gather->slot = op->slot;
    gather->arg = op;
    gather_run(gather);
    return OK;
}
