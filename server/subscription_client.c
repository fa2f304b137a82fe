/* The sink of a subscription that is a client: CqEventBatch and CqStatus on its session. */
#include "protocol/codec.h"
#include "server/subscription.h"

#define MEMBER_CQ_SUBSCRIBE_RESPONSE 1002
#define MEMBER_CQ_EVENT_BATCH        1003
#define MEMBER_CQ_STATUS             1007

/* Field numbers of CqEventBatch. */
enum {
    BATCH_SUBSCRIPTION = 1,
    BATCH_NO = 2,
    BATCH_PHASE = 3,
    BATCH_EVENT = 4,
    BATCH_TOKEN = 5,
    BATCH_CONFLATED = 7,
};

static bool may_push(struct subscription *subscription)
{
    if (subscription->ended || subscription->credit_events == 0 || subscription->credit_bytes <= 0)
        return false;
    if (session_unsent(subscription->session) < LIMIT_PUSH_UNSENT_BYTES)
        return true;
    subscription_wait_for_room(subscription);
    return false;
}

/* ---- Frames ---- */

static void put_token(const struct subscription *subscription, struct buf *token)
{
    struct token_position positions[64];
    const struct cq_instance *instance = subscription->instance;
    struct token_head head = {.instance = instance->id, .life = instance->life};
    struct buf all;
    memcpy(&head.plan, instance->fingerprint, sizeof head.plan);
    buf_init(&all);
    for (uint32_t i = 0; i < subscription->bucket_count; i += 64) {
        uint32_t n = subscription->bucket_count - i < 64 ? subscription->bucket_count - i : 64;
        for (uint32_t j = 0; j < n; j++)
            positions[j] = subscription->buckets[i + j].position;
        buf_append(&all, positions, n * sizeof *positions);
    }
    if (all.failed)
        token->failed = true;
    else
        token_encode(&head, (const struct token_position *)(const void *)all.data,
                     subscription->bucket_count, token);
    buf_fini(&all);
}

static void put_varint_field(struct buf *out, uint32_t number, uint64_t value)
{
    uint8_t bytes[20];
    uint8_t *end = codec_put_varint(codec_put_varint(bytes, (uint64_t)number << 3), value);
    buf_append(out, bytes, (size_t)(end - bytes));
}

/* The events lie in worker->batch, each as a field of the batch. False when the connection could
 * not take the frame; it is lost then, and the session may be gone. */
static bool push_batch(struct subscription *subscription, Pb__CqEventBatch__Phase phase,
                       bool with_token)
{
    struct buf head, token;
    struct buf *events = &subscription->worker->batch;
    buf_init(&head);
    buf_init(&token);
    put_varint_field(&head, BATCH_SUBSCRIPTION, subscription->id);
    put_varint_field(&head, BATCH_NO, ++subscription->batch_no);
    if (phase != PB__CQ_EVENT_BATCH__PHASE__TAIL)
        put_varint_field(&head, BATCH_PHASE, (uint64_t)phase);
    if (subscription->conflated > 0)
        put_varint_field(&head, BATCH_CONFLATED, subscription->conflated);
    subscription->conflated = 0;
    if (with_token)
        put_token(subscription, &token);
    size_t len =
        head.len + events->len + (with_token ? codec_bytes_field_size(BATCH_TOKEN, token.len) : 0);
    bool whole = !head.failed && !token.failed && !events->failed;
    uint8_t *at =
        whole ? session_push_begin(subscription->session, MEMBER_CQ_EVENT_BATCH, len) : NULL;
    if (at != NULL) {
        memcpy(at, head.data, head.len);
        at += head.len;
        if (events->len > 0)
            memcpy(at, events->data, events->len);
        at += events->len;
        if (with_token)
            memcpy(codec_put_bytes_header(at, BATCH_TOKEN, token.len), token.data, token.len);
        session_push_end(subscription->session);
        subscription->moved = !with_token;
    }
    buf_fini(&token);
    buf_fini(&head);
    buf_clear(events);
    return at != NULL;
}

static bool push_status(struct subscription *subscription, Pb__CqStatus__Code code, uint32_t bucket,
                        uint64_t from_seq, uint64_t to_seq, const char *detail)
{
    Pb__CqStatus status = PB__CQ_STATUS__INIT;
    status.subscription_id = subscription->id;
    status.code = code;
    status.bucket = bucket;
    status.from_seq = from_seq;
    status.to_seq = to_seq;
    status.detail = message_bytes(slice_text(detail));
    size_t len = protobuf_c_message_get_packed_size(&status.base);
    uint8_t *at = session_push_begin(subscription->session, MEMBER_CQ_STATUS, len);
    if (at == NULL)
        return false;
    protobuf_c_message_pack(&status.base, at);
    session_push_end(subscription->session);
    return true;
}

/* The connection lacks the memory for a frame: what it would have missed must not be missed in
 * silence, so it ends, and the client resumes. */
static void give_up(struct subscription *subscription)
{
    buf_clear(&subscription->worker->batch);
    subscription->credit_events =
        0; /* nothing more, even if the session waits for earlier replies */
    if (!subscription->ended)
        session_finish(subscription->session);
}

static void add_run(struct subscription *subscription, uint32_t count, uint32_t raw)
{
    subscription->conflated += raw - count;
}

/* Positions are the subscription's own; a client is told of them by tokens. */
static void add_position(struct subscription *subscription, uint32_t bucket)
{
    (void)subscription;
    (void)bucket;
}

static void fail(struct subscription *subscription, const struct failure *failure)
{
    struct session_slot *slot = subscription->slot;
    subscription->slot = NULL;
    session_slot_fail(slot, failure);
}

/* Adds an encoded event to the batch, in the subscription's encoding. */
static void add_event(struct subscription *subscription, uint32_t bucket,
                      const struct ring_event *event, bool loose)
{
    (void)bucket;
    (void)loose;
    uint8_t kind = event->kind;
    struct slice encoded = event->encoded;
    struct buf *batch = &subscription->worker->batch;
    if (subscription->encoding == PB__ENCODING__UPSERT && kind == QUERY_UPDATE_BEFORE)
        return;
    uint8_t *at = buf_reserve(batch, codec_bytes_field_size(BATCH_EVENT, encoded.len));
    if (at == NULL)
        return;
    uint8_t *content = codec_put_bytes_header(at, BATCH_EVENT, encoded.len);
    memcpy(content, encoded.data, encoded.len);
    if (subscription->encoding == PB__ENCODING__UPSERT && kind == QUERY_INSERT)
        content[CQ_EVENT_KIND_OFFSET] = QUERY_UPDATE_AFTER;
    batch->len += (size_t)(content - at) + encoded.len;
    subscription->credit_events--;
    /* As proto3 writes it, without the kind when that is 0. */
    bool has_kind = content[CQ_EVENT_KIND_OFFSET] != QUERY_INSERT;
    subscription->credit_bytes -= (int64_t)encoded.len - (has_kind ? 0 : CQ_EVENT_KIND_BYTES);
    atomic_fetch_add_explicit(&subscription->worker->events_pushed, 1, memory_order_relaxed);
}

/* ---- The answer to the subscribe request ---- */

static void answer(struct subscription *subscription)
{
    const struct query_plan *plan = subscription->plan;
    uint32_t count = query_plan_column_count(plan), keys[LIMIT_COLUMNS];
    ProtobufCBinaryData columns[LIMIT_COLUMNS], types[LIMIT_COLUMNS];
    struct buf names, text, token;
    size_t ends[LIMIT_COLUMNS];
    buf_init(&names);
    buf_init(&text);
    buf_init(&token);
    for (uint32_t i = 0; i < count; i++) {
        columns[i] = message_bytes(slice_text(query_plan_column_name(plan, i)));
        query_type_name(query_plan_column_type(plan, i), &names);
        ends[i] = names.len;
    }
    for (uint32_t i = 0; i < count; i++) {
        size_t start = i == 0 ? 0 : ends[i - 1];
        types[i] = message_bytes(slice_of(names.data + start, ends[i] - start));
    }
    query_plan_explain(plan, &text);
    put_token(subscription, &token);
    Pb__CqSubscribeResponse response = PB__CQ_SUBSCRIBE_RESPONSE__INIT;
    response.subscription_id = subscription->id;
    response.n_column = response.n_type = count;
    response.column = columns;
    response.type = types;
    response.n_key_column = query_plan_key_columns(plan, keys);
    response.key_column = keys;
    response.append_only = query_plan_is_append_only(plan);
    response.token = message_bytes(buf_slice(&token));
    if (subscription->is_durable)
        response.warning = message_bytes(
            slice_text("Without a subscriber the outputs are kept for 10 minutes; a longer durable "
                       "retention comes with a later version."));
    response.plan = message_bytes(buf_slice(&text));
    response.plan_id = message_bytes(
        slice_of(subscription->instance->plan_id, sizeof subscription->instance->plan_id));
    struct session_slot *slot = subscription->slot;
    subscription->slot = NULL;
    if (names.failed || text.failed || token.failed)
        session_slot_drop(slot);
    else
        session_slot_reply_message(slot, MEMBER_CQ_SUBSCRIBE_RESPONSE, &response.base);
    buf_fini(&token);
    buf_fini(&text);
    buf_fini(&names);
}

const struct subscription_sink subscription_client_sink = {
    .may_push = may_push,
    .add_event = add_event,
    .add_run = add_run,
    .push_batch = push_batch,
    .push_status = push_status,
    .add_position = add_position,
    .add_moved = add_position,
    .answer = answer,
    .fail = fail,
    .give_up = give_up,
    .end = subscription_leave_session,
};
