/* Pushing: from rings and snapshots into the connection. */
#include "protocol/codec.h"
#include "server/conflate.h"
#include "server/subscription.h"

#define MEMBER_CQ_SUBSCRIBE_RESPONSE 1002
#define MEMBER_CQ_EVENT_BATCH        1003
#define MEMBER_CQ_STATUS             1007
#define BATCH_BYTES                  (64u * 1024)

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

/* Something to push, or to give up for: an event that the batch had no memory for. */
static bool batch_waits(const struct subscription *subscription)
{
    return subscription->worker->batch.len > 0 || subscription->worker->batch.failed;
}

/* Adds an encoded event to the batch, in the subscription's encoding. */
static void add_event(struct subscription *subscription, uint8_t kind, struct slice encoded)
{
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

static bool batch_has_room(const struct subscription *subscription, uint32_t events)
{
    return subscription->worker->batch.len < BATCH_BYTES &&
           events < subscription->batch_events_max && subscription->credit_events > 0 &&
           subscription->credit_bytes > 0;
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
        session_slot_reply_message(slot, MEMBER_CQ_SUBSCRIBE_RESPONSE, &response.base,
                                   SESSION_NO_WAIT);
    buf_fini(&token);
    buf_fini(&text);
    buf_fini(&names);
}

/* ---- Snapshots ---- */

/* The bucket starts over: its reader has missed something, up to `begin`, and is told. */
static void start_over(struct subscription *subscription, uint32_t index, uint64_t begin)
{
    struct subscription_bucket *own = &subscription->buckets[index];
    own->position.in_snapshot = true;
    own->position.begin = begin;
    own->position.at = (struct ring_position){0, 0};
    own->hint = (struct ring_hint){0};
    subscription->state = SUBSCRIPTION_SNAPSHOT;
    subscription->wants_snapshot_end = true;
}

/* The next bucket that is still in snapshot mode; bucket_count if there is none. Looks once around,
 * from where it was. */
static uint32_t next_snapshot_bucket(struct subscription *subscription)
{
    for (uint32_t step = 0; step < subscription->bucket_count; step++) {
        uint32_t i = subscription->snapshot_next;
        if (subscription->buckets[i].wanted && subscription->buckets[i].position.in_snapshot)
            return i;
        subscription->snapshot_next = (i + 1) % subscription->bucket_count;
    }
    return subscription->bucket_count;
}

/* Tells the reader what its resume found out about this bucket. True if the subscription goes on.
 */
static bool tell_trouble(struct subscription *subscription, uint32_t index)
{
    struct subscription_bucket *own = &subscription->buckets[index];
    enum subscription_trouble trouble = own->trouble;
    own->trouble = TROUBLE_NONE;
    if (trouble == TROUBLE_NONE)
        return true;
    if (trouble == TROUBLE_LOST)
        return push_status(
            subscription, PB__CQ_STATUS__CODE__DATA_LOSS, index, own->troubled_from, 0,
            "The bucket lost its contents; its results begin again with a new snapshot.");
    if (own->position.begin >= own->troubled_from)
        return push_status(
            subscription, PB__CQ_STATUS__CODE__GAP, index, own->troubled_from, own->position.begin,
            "The query was ended in between and began anew; a new snapshot of the bucket follows.");
    return push_status(
        subscription, PB__CQ_STATUS__CODE__RESNAPSHOT, index, 0, 0,
        "The query was ended in between and began anew; drop what came of the bucket.");
}

static void finish_snapshot_bucket(struct subscription *subscription)
{
    struct subscription_bucket *own = &subscription->buckets[subscription->snapshot_bucket];
    own->position.in_snapshot = false;
    own->position.at = subscription->snapshot.after;
    subscription->moved = true;
    atomic_fetch_or(&subscription->dirty[subscription->snapshot_bucket / 64],
                    1ull << (subscription->snapshot_bucket % 64));
    subscription->snapshot_bucket = subscription->bucket_count;
    snapshot_fini(&subscription->snapshot);
}

/* Rows of a changelog's snapshot may have changed or gone since it was interrupted, so it is sent
 * again as a whole, and the reader is told to drop what it has. An append-only one goes on where it
 * was. True if the subscription goes on. */
static bool restart_interrupted(struct subscription *subscription, uint32_t index)
{
    struct token_position *position = &subscription->buckets[index].position;
    if (subscription->instance->append_only || position->at.seq == 0)
        return true;
    position->at = (struct ring_position){0, 0};
    return push_status(
        subscription, PB__CQ_STATUS__CODE__RESNAPSHOT, index, 0, 0,
        "The snapshot of the bucket was interrupted and is sent again; drop what came of it.");
}

/* Makes sure that a bucket is being pushed. OK and snapshot_bucket == bucket_count: none is left.
 */
static enum error begin_snapshot_bucket(struct subscription *subscription)
{
    if (subscription->snapshot_bucket < subscription->bucket_count)
        return OK;
    uint32_t index = next_snapshot_bucket(subscription);
    if (index == subscription->bucket_count)
        return OK;
    if (!tell_trouble(subscription, index) || !restart_interrupted(subscription, index))
        return ERROR_MEMORY;
    enum error error = snapshot_cut(subscription, index);
    if (error == OK)
        subscription->snapshot_bucket = index;
    return error;
}

static bool end_snapshot(struct subscription *subscription)
{
    subscription->state = SUBSCRIPTION_TAIL;
    if (!subscription->wants_snapshot_end)
        return true;
    subscription->wants_snapshot_end = false;
    if (push_batch(subscription, PB__CQ_EVENT_BATCH__PHASE__SNAPSHOT_END, true))
        return true;
    give_up(subscription);
    return false;
}

/* Pushes the next part of the snapshot; false if it has to wait or the connection is lost. Small
 * buckets share a batch. */
static bool push_snapshot(struct subscription *subscription)
{
    uint32_t events = 0;
    struct snapshot *snapshot = &subscription->snapshot;
    enum error error = OK;
    while (batch_has_room(subscription, events)) {
        error = begin_snapshot_bucket(subscription);
        if (error != OK || subscription->snapshot_bucket == subscription->bucket_count)
            break;
        while (snapshot->next < snapshot->count && batch_has_room(subscription, events)) {
            const struct snapshot_row *row = &snapshot->rows[snapshot->next++];
            const uint8_t *encoded = snapshot->encoded.data + row->offset;
            add_event(subscription, encoded[CQ_EVENT_KIND_OFFSET], slice_of(encoded, row->len));
            subscription->buckets[subscription->snapshot_bucket].position.at = row->position;
            events++;
        }
        if (snapshot->next == snapshot->count)
            finish_snapshot_bucket(subscription);
    }
    if (batch_waits(subscription) && !push_batch(subscription, PB__CQ_EVENT_BATCH__PHASE__SNAPSHOT,
                                                 subscription->token_every_batch))
        error = ERROR_MEMORY;
    if (error != OK && error != ERROR_BUSY)
        give_up(subscription);
    if (error != OK)
        return false;
    if (subscription->snapshot_bucket < subscription->bucket_count ||
        next_snapshot_bucket(subscription) < subscription->bucket_count)
        return true;
    return end_snapshot(subscription);
}

/* ---- The tail ---- */

enum tail { TAIL_MORE, TAIL_END, TAIL_GAP, TAIL_LOST };

/* The same with the net changes of a run of events alone. The run is no longer than what may be
 * sent, because half of its net changes would say something that never was; and it does not end
 * between the two halves of an update. */
static enum tail read_conflated(struct subscription *subscription, uint32_t index,
                                uint64_t committed, uint32_t *events)
{
    struct subscription_bucket *own = &subscription->buckets[index];
    struct cq_bucket *cqb = &subscription->instance->buckets[index];
    struct arena *arena = &subscription->worker->arena;
    uint32_t most = LIMIT_CONFLATED_EVENTS, count = 0, net_count;
    struct ring_position at = own->position.at;
    struct ring_event *net;
    if (!batch_has_room(subscription, *events))
        return TAIL_MORE;
    if (most > subscription->batch_events_max - *events)
        most = subscription->batch_events_max - *events;
    if (most > subscription->credit_events)
        most = (uint32_t)subscription->credit_events;
    arena_reset(arena);
    struct ring_event *run = arena_alloc(arena, (size_t)most * sizeof *run);
    while (run != NULL && count < most &&
           ring_next(&cqb->ring, at, committed, &own->hint, &run[count]))
        at = run[count++].position;
    bool is_end = run != NULL && count < most;
    if (count > 1 && run[count - 1].kind == QUERY_UPDATE_BEFORE) {
        count--;
        is_end = false;
        own->hint = (struct ring_hint){0};
    }
    net = run;
    net_count = count;
    if (run == NULL ||
        (count > 1 && conflate(run, count, subscription->keys, subscription->key_count, arena, &net,
                               &net_count) != OK))
        return TAIL_LOST;
    for (uint32_t i = 0; i < net_count; i++)
        add_event(subscription, net[i].kind, net[i].encoded);
    if (count > 0) {
        own->position.at = run[count - 1].position;
        subscription->conflated += count - net_count;
        subscription->moved = true;
        *events += count;
    }
    cqb->armed |= is_end;
    return is_end ? TAIL_END : TAIL_MORE;
}

/* Reads one bucket's ring into the batch. */
static enum tail read_bucket(struct subscription *subscription, uint32_t index, uint32_t *events,
                             uint64_t *missed_to)
{
    struct subscription_bucket *own = &subscription->buckets[index];
    struct cq_bucket *cqb = &subscription->instance->buckets[index];
    struct bucket *bucket = cqb->bucket;
    enum tail tail = TAIL_MORE;
    bucket_lock(bucket);
    uint64_t committed = atomic_load(&bucket->gate.committed);
    if (!cqb->active) {
        tail = TAIL_END;
    } else if (ring_before(own->position.at, cqb->ring.floor)) {
        *missed_to = bucket->data_seq;
        tail = TAIL_GAP;
    }
    if (tail == TAIL_MORE && subscription->conflates)
        tail = read_conflated(subscription, index, committed, events);
    while (tail == TAIL_MORE && !subscription->conflates && batch_has_room(subscription, *events)) {
        struct ring_event event;
        if (!ring_next(&cqb->ring, own->position.at, committed, &own->hint, &event)) {
            cqb->armed = true;
            tail = TAIL_END;
            break;
        }
        add_event(subscription, event.kind, event.encoded);
        own->position.at = event.position;
        subscription->moved = true;
        ++*events;
    }
    struct ring_position end = ring_behind(bucket->data_seq);
    if (tail == TAIL_END && subscription->progress_due && bucket->data_seq <= committed &&
        ring_before(own->position.at, end)) {
        own->position.at = end;
        subscription->moved = true;
    }
    bucket_unlock(bucket);
    return tail;
}

/* False if the connection or the subscription ends. */
static bool on_gap(struct subscription *subscription, uint32_t index, uint64_t missed_to)
{
    /* A changelog may have stopped between two events of one record. */
    struct ring_position at = subscription->buckets[index].position.at;
    bool is_whole = subscription->instance->append_only || at.sub == UINT32_MAX;
    uint64_t from = is_whole || at.seq == 0 ? at.seq + 1 : at.seq;
    if (subscription->disconnects_when_slow) {
        buf_clear(&subscription->worker
                       ->batch); /* of other buckets; the token of the client does not know of it */
        if (push_status(subscription, PB__CQ_STATUS__CODE__SLOW, index, from, missed_to,
                        "The subscriber fell behind.") &&
            push_status(subscription, PB__CQ_STATUS__CODE__CLOSED, 0, 0, 0,
                        "The subscription asked to be ended when it falls behind. Resume with the "
                        "last token."))
            subscription_end(subscription);
        else
            give_up(subscription);
        return false;
    }
    start_over(subscription, index, missed_to);
    if (push_status(subscription, PB__CQ_STATUS__CODE__GAP, index, from, missed_to,
                    "These results are no longer kept; a new snapshot of the bucket follows."))
        return true;
    give_up(subscription);
    return false;
}

/* Pushes one batch of the tail. False if there is nothing, or if the subscription has ended:
 * *ended. */
static bool push_tail(struct subscription *subscription, bool *ended)
{
    uint32_t events = 0, words = (subscription->bucket_count + 63) / 64,
             first = subscription->scan_next;
    for (uint32_t step = 0; step < words && batch_has_room(subscription, events); step++) {
        uint32_t word = (first + step) % words;
        uint64_t bits = atomic_exchange(&subscription->dirty[word], 0);
        while (bits != 0) {
            uint32_t index = word * 64 + (uint32_t)__builtin_ctzll(bits);
            uint64_t bit = bits & -bits, missed_to = 0;
            enum tail tail = TAIL_MORE;
            bits &= bits - 1;
            if (index >= subscription->bucket_count || !subscription->buckets[index].wanted)
                continue;
            if (!tell_trouble(subscription, index)) {
                give_up(subscription);
                *ended = true;
                return false;
            }
            if (batch_has_room(subscription, events) &&
                !subscription->buckets[index].position.in_snapshot)
                tail = read_bucket(subscription, index, &events, &missed_to);
            if (tail == TAIL_LOST) {
                give_up(subscription);
                *ended = true;
                return false;
            }
            if (tail == TAIL_MORE)
                atomic_fetch_or(&subscription->dirty[word], bit);
            else if (tail == TAIL_GAP && !on_gap(subscription, index, missed_to)) {
                *ended = true;
                return false;
            }
        }
        subscription->scan_next = (word + 1) % words;
    }
    bool progress = subscription->progress_due && subscription->moved;
    subscription->progress_due = false;
    if (events == 0 && !progress)
        return subscription->state == SUBSCRIPTION_SNAPSHOT;
    if (!batch_waits(subscription) && !progress)
        return true; /* all of it is left out by the encoding */
    if (push_batch(subscription, PB__CQ_EVENT_BATCH__PHASE__TAIL,
                   progress || subscription->token_every_batch))
        return events > 0;
    give_up(subscription);
    *ended = true;
    return false;
}

/* The instance or its region is gone: the client is told, and the subscription ends. */
static bool end_if_over(struct subscription *subscription)
{
    bool failed = atomic_load(&subscription->instance->failed);
    if (!failed && !atomic_load(&subscription->instance->region->destroyed))
        return false;
    if (subscription->slot != NULL) {
        struct failure failure;
        failure_set(&failure, FAILURE_SERVER_ERROR, "The query ended before it was ready: %s.",
                    failed ? "the server is out of memory" : "its region was destroyed");
        struct session_slot *slot = subscription->slot;
        subscription->slot = NULL;
        session_slot_fail(slot, &failure);
    } else {
        const char *why = failed ? "The server ran out of memory for this query and has missed "
                                   "rows; subscribe again."
                                 : "The region was destroyed.";
        if (!push_status(subscription,
                         failed ? PB__CQ_STATUS__CODE__ERROR
                                : PB__CQ_STATUS__CODE__REGION_DESTROYED,
                         0, 0, 0, why) ||
            !push_status(subscription, PB__CQ_STATUS__CODE__CLOSED, 0, 0, 0,
                         "The query has ended."))
            give_up(subscription);
    }
    if (!subscription->ended)
        subscription_end(subscription);
    return true;
}

static void pump(struct subscription *subscription)
{
    if (end_if_over(subscription))
        return;
    bool ready = cq_instance_is_ready(subscription->instance);
    if (subscription->state == SUBSCRIPTION_WAITING && !ready)
        return;
    if (subscription->slot != NULL)
        answer(subscription);
    if (!ready || subscription->ended)
        return;
    if (subscription->state == SUBSCRIPTION_WAITING)
        subscription->state = SUBSCRIPTION_SNAPSHOT;
    bool ended = false;
    while (may_push(subscription)) {
        bool went_on = subscription->state == SUBSCRIPTION_SNAPSHOT
                           ? push_snapshot(subscription)
                           : push_tail(subscription, &ended);
        if (ended || !went_on)
            return;
    }
}

void subscription_pump(struct subscription *subscription)
{
    if (subscription->ended || subscription->pumping)
        return;
    subscription->pumping =
        true; /* a lost connection ends the session, and with it this subscription, at once */
    pump(subscription);
    subscription->pumping = false;
    if (subscription->ended)
        subscription_dispose(subscription);
}
