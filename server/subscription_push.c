/* Pushing: from rings, snapshots and feeds into the sink. */
#include "server/conflate.h"
#include "server/subscription.h"

#define BATCH_BYTES (64u * 1024)

static void give_up(struct subscription *subscription)
{
    subscription->sink->give_up(subscription);
}

bool subscription_batch_has_room(const struct subscription *subscription, uint32_t events)
{
    return subscription->worker->batch.len < BATCH_BYTES &&
           events < subscription->batch_events_max && subscription->credit_events > 0 &&
           subscription->credit_bytes > 0;
}

static bool push_status(struct subscription *subscription, Pb__CqStatus__Code code, uint32_t bucket,
                        uint64_t from_seq, uint64_t to_seq, const char *detail)
{
    return subscription->sink->push_status(subscription, code, bucket, from_seq, to_seq, detail);
}

static bool push_batch(struct subscription *subscription, Pb__CqEventBatch__Phase phase,
                       bool with_token)
{
    return subscription->sink->push_batch(subscription, phase, with_token);
}

bool subscription_enter_phase(struct subscription *subscription, Pb__CqEventBatch__Phase phase)
{
    bool has_phases = subscription->sink != &feed_sink; /* a feed's items say what they are */
    bool pushed =
        !has_phases || subscription->batch_phase == phase ||
        !subscription_batch_waits(subscription) ||
        push_batch(subscription, subscription->batch_phase, subscription->token_every_batch);
    subscription->batch_phase = phase;
    return pushed;
}

/* ---- Snapshots ---- */

void subscription_start_over(struct subscription *subscription, uint32_t index, uint64_t begin)
{
    struct subscription_bucket *own = &subscription->buckets[index];
    own->position.in_snapshot = true;
    own->position.begin = begin;
    own->position.at = (struct ring_position){0, 0};
    own->hint = (struct ring_hint){0};
    subscription->state = SUBSCRIPTION_SNAPSHOT;
    subscription->wants_snapshot_end = true;
    subscription->sink->add_position(subscription, index);
}

static bool in_snapshot(const struct subscription *subscription, uint32_t index)
{
    const struct subscription_bucket *own = &subscription->buckets[index];
    return own->wanted && own->position.in_snapshot;
}

/* The next bucket of this server that is still in snapshot mode; bucket_count if there is none.
 * Looks once around, from where it was. */
static uint32_t next_snapshot_bucket(struct subscription *subscription)
{
    for (uint32_t step = 0; step < subscription->bucket_count; step++) {
        uint32_t i = subscription->snapshot_next;
        const struct subscription_bucket *own = &subscription->buckets[i];
        if (in_snapshot(subscription, i) && own->route == ROUTE_HERE && own->settled)
            return i;
        subscription->snapshot_next = (i + 1) % subscription->bucket_count;
    }
    return subscription->bucket_count;
}

static bool any_in_snapshot(const struct subscription *subscription)
{
    for (uint32_t i = 0; i < subscription->bucket_count; i++)
        if (in_snapshot(subscription, i))
            return true;
    return false;
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
    subscription->sink->add_position(subscription, subscription->snapshot_bucket);
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
    subscription->sink->add_position(subscription, index);
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
    if (!restart_interrupted(subscription, index))
        return ERROR_MEMORY;
    enum error error = snapshot_cut(subscription, index);
    if (error == OK)
        subscription->snapshot_bucket = index;
    return error;
}

/* What was cut is committed, so that it may leave. ERROR_BUSY: not yet, or it has to be cut again,
 * because another primary may have gone on from before it. */
static enum error check_snapshot(struct subscription *subscription)
{
    struct snapshot *snapshot = &subscription->snapshot;
    uint32_t index = subscription->snapshot_bucket;
    struct cq_bucket *cqb = &subscription->instance->buckets[index];
    struct bucket *bucket = cqb->bucket;
    if (snapshot->committed)
        return OK;
    bucket_lock(bucket);
    bool same = bucket->term == snapshot->term &&
                bucket->generation == subscription->buckets[index].position.generation;
    snapshot->committed = same && atomic_load(&bucket->committed) >= snapshot->wait_seq;
    cqb->armed |= !snapshot->committed;
    bucket_unlock(bucket);
    if (snapshot->committed)
        return OK;
    if (!same) {
        snapshot_fini(snapshot);
        subscription->snapshot_bucket = subscription->bucket_count;
        atomic_store(&subscription->reroute, true);
    }
    return ERROR_BUSY;
}

static bool end_snapshot(struct subscription *subscription)
{
    subscription->state = SUBSCRIPTION_TAIL;
    subscription->tails_go_on = true;
    if (!subscription->wants_snapshot_end)
        return true;
    subscription->wants_snapshot_end = false;
    if (push_batch(subscription, PB__CQ_EVENT_BATCH__PHASE__SNAPSHOT_END, true))
        return true;
    give_up(subscription);
    return false;
}

/* Rows of the buckets of this server. ERROR_BUSY: the next one is not ready to leave. */
static enum error push_rows(struct subscription *subscription, uint32_t *events)
{
    struct snapshot *snapshot = &subscription->snapshot;
    while (subscription_batch_has_room(subscription, *events)) {
        enum error error = begin_snapshot_bucket(subscription);
        if (error == OK && subscription->snapshot_bucket == subscription->bucket_count)
            return OK;
        if (error == OK)
            error = check_snapshot(subscription);
        if (error != OK)
            return error;
        if (!subscription_enter_phase(subscription, PB__CQ_EVENT_BATCH__PHASE__SNAPSHOT))
            return ERROR_MEMORY;
        uint32_t index = subscription->snapshot_bucket;
        while (snapshot->next < snapshot->count &&
               subscription_batch_has_room(subscription, *events)) {
            const struct snapshot_row *row = &snapshot->rows[snapshot->next++];
            const uint8_t *encoded = snapshot->encoded.data + row->offset;
            struct ring_event event = {.position = row->position,
                                       .kind = encoded[CQ_EVENT_KIND_OFFSET],
                                       .encoded = slice_of(encoded, row->len)};
            subscription->sink->add_event(subscription, index, &event, false);
            subscription->buckets[index].position.at = row->position;
            ++*events;
        }
        if (snapshot->next == snapshot->count)
            finish_snapshot_bucket(subscription);
    }
    return OK;
}

/* Pushes the next part of the snapshot; false if it has to wait or the connection is lost. Small
 * buckets share a batch. */
static bool push_snapshot(struct subscription *subscription, bool *ended)
{
    uint32_t events = 0;
    enum error error = push_rows(subscription, &events);
    if (error == ERROR_BUSY) {
        subscription_retry(subscription);
        error = OK;
    }
    if (error == OK && !subscription_feed_take(subscription, &events)) {
        *ended = true;
        return false;
    }
    if (error == OK && subscription_batch_waits(subscription) &&
        !push_batch(subscription, subscription->batch_phase, subscription->token_every_batch))
        error = ERROR_MEMORY;
    if (error != OK) {
        give_up(subscription);
        *ended = true;
        return false;
    }
    if (any_in_snapshot(subscription))
        return events > 0;
    *ended = !end_snapshot(subscription);
    return !*ended;
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
    if (!subscription_batch_has_room(subscription, *events))
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
    if (count > 0)
        subscription->sink->add_run(subscription, net_count, count);
    for (uint32_t i = 0; i < net_count; i++)
        subscription->sink->add_event(subscription, index, &net[i], true);
    if (count > 0) {
        own->position.at = run[count - 1].position;
        subscription->sink->add_position(subscription, index);
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
    uint64_t committed = atomic_load(&bucket->committed);
    bool is_here = cqb->active && bucket->generation == own->position.generation;
    if (!is_here) {
        atomic_store(&subscription->reroute, true);
        subscription_retry(subscription);
        tail = TAIL_END;
    } else if (ring_before(own->position.at, cqb->ring.floor)) {
        *missed_to = bucket->data_seq;
        tail = TAIL_GAP;
    }
    if (tail == TAIL_MORE && subscription->conflates)
        tail = read_conflated(subscription, index, committed, events);
    while (tail == TAIL_MORE && !subscription->conflates &&
           subscription_batch_has_room(subscription, *events)) {
        struct ring_event event;
        if (!ring_next(&cqb->ring, own->position.at, committed, &own->hint, &event)) {
            cqb->armed = true;
            tail = TAIL_END;
            break;
        }
        subscription->sink->add_event(subscription, index, &event, false);
        own->position.at = event.position;
        subscription->moved = true;
        ++*events;
    }
    struct ring_position end = ring_behind(bucket->data_seq);
    if (tail == TAIL_END && is_here && subscription->progress_due &&
        bucket->data_seq <= committed && ring_before(own->position.at, end)) {
        own->position.at = end;
        subscription->sink->add_position(subscription, index);
        subscription->moved = true;
    }
    bucket_unlock(bucket);
    return tail;
}

bool subscription_tell_gap(struct subscription *subscription, uint32_t index, uint64_t from,
                           uint64_t to)
{
    if (!subscription->disconnects_when_slow) {
        if (push_status(subscription, PB__CQ_STATUS__CODE__GAP, index, from, to,
                        "These results are no longer kept; a new snapshot of the bucket follows."))
            return true;
        give_up(subscription);
        return false;
    }
    /* What waits is of other buckets; the token of the client does not know of it. */
    buf_clear(&subscription->worker->batch);
    if (push_status(subscription, PB__CQ_STATUS__CODE__SLOW, index, from, to,
                    "The subscriber fell behind.") &&
        push_status(subscription, PB__CQ_STATUS__CODE__CLOSED, 0, 0, 0,
                    "The subscription asked to be ended when it falls behind. Resume with the "
                    "last token."))
        subscription_end(subscription);
    else
        give_up(subscription);
    return false;
}

/* False if the connection or the subscription ends. */
static bool on_gap(struct subscription *subscription, uint32_t index, uint64_t missed_to)
{
    /* A changelog may have stopped between two events of one record. */
    struct ring_position at = subscription->buckets[index].position.at;
    bool is_whole = subscription->instance->append_only || at.sub == UINT32_MAX;
    uint64_t from = is_whole || at.seq == 0 ? at.seq + 1 : at.seq;
    if (!subscription_tell_gap(subscription, index, from, missed_to))
        return false;
    subscription_start_over(subscription, index, missed_to);
    return true;
}

/* Pushes one batch of the tail. False if there is nothing, or if the subscription has ended:
 * *ended. */
static bool push_tail(struct subscription *subscription, bool *ended)
{
    uint32_t events = 0, words = (subscription->bucket_count + 63) / 64,
             first = subscription->scan_next;
    bool was_tail = subscription->state == SUBSCRIPTION_TAIL;
    subscription->batch_phase = PB__CQ_EVENT_BATCH__PHASE__TAIL;
    for (uint32_t step = 0; step < words && subscription_batch_has_room(subscription, events);
         step++) {
        uint32_t word = (first + step) % words;
        uint64_t bits = atomic_exchange(&subscription->dirty[word], 0);
        while (bits != 0) {
            uint32_t index = word * 64 + (uint32_t)__builtin_ctzll(bits);
            uint64_t bit = bits & -bits, missed_to = 0;
            enum tail tail = TAIL_MORE;
            bits &= bits - 1;
            if (index >= subscription->bucket_count || !subscription->buckets[index].wanted ||
                subscription->buckets[index].route != ROUTE_HERE ||
                !subscription->buckets[index].settled)
                continue;
            if (subscription_batch_has_room(subscription, events) &&
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
    if (subscription->state == SUBSCRIPTION_TAIL &&
        !subscription_feed_take(subscription, &events)) {
        *ended = true;
        return false;
    }
    bool progress = subscription->progress_due && subscription->moved;
    subscription->progress_due = false;
    if (events == 0 && !progress)
        return was_tail && subscription->state == SUBSCRIPTION_SNAPSHOT;
    if (!subscription_batch_waits(subscription) && !progress)
        return true; /* all of it is left out by the encoding */
    if (push_batch(subscription, subscription->batch_phase,
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
    bool destroyed = atomic_load(&subscription->instance->region->destroyed);
    if (!failed && !destroyed && !atomic_load(&subscription->instance->is_over))
        return false;
    if (subscription->slot != NULL) {
        struct failure failure;
        failure_set(&failure, FAILURE_SERVER_ERROR, "The query ended before it was ready: %s.",
                    failed      ? "the server is out of memory"
                    : destroyed ? "its region was destroyed"
                                : "nobody was attached to it any more");
        subscription->sink->fail(subscription, &failure);
    } else {
        const char *why = failed ? "The server ran out of memory for this query and has missed "
                                   "rows; subscribe again."
                                 : "The region was destroyed.";
        if (((failed || destroyed) && !push_status(subscription,
                                                   failed ? PB__CQ_STATUS__CODE__ERROR
                                                          : PB__CQ_STATUS__CODE__REGION_DESTROYED,
                                                   0, 0, 0, why)) ||
            !push_status(subscription, PB__CQ_STATUS__CODE__CLOSED, 0, 0, 0,
                         "The query has ended."))
            give_up(subscription);
    }
    if (!subscription->ended)
        subscription_end(subscription);
    return true;
}

/* False: the sink is lost. */
static bool tell_troubles(struct subscription *subscription)
{
    if (!subscription->has_trouble)
        return true;
    subscription->has_trouble = false;
    for (uint32_t i = 0; i < subscription->bucket_count; i++) {
        struct subscription_bucket *own = &subscription->buckets[i];
        if (own->trouble == TROUBLE_NONE || own->feed_tells || !own->wanted)
            continue;
        if (!own->settled)
            subscription->has_trouble = true; /* what it comes to is not known yet */
        else if (!tell_trouble(subscription, i))
            return false;
    }
    return true;
}

/* The query has to begin in every bucket first. True: it has. */
static bool may_begin(struct subscription *subscription, bool settled)
{
    struct failure failure;
    if (settled)
        return true;
    subscription_retry(subscription);
    if (subscription->slot == NULL ||
        loop_now_us(subscription->worker->loop) < subscription->deadline_us)
        return false;
    subscription_tell_unrouted(subscription, &failure);
    subscription->sink->fail(subscription, &failure);
    if (!subscription->ended)
        subscription_end(subscription);
    return false;
}

static void pump(struct subscription *subscription)
{
    uint32_t none = 0;
    bool ended = false;
    if (subscription->sink == &feed_sink && !feed_out_is_whole(subscription))
        return;
    if (end_if_over(subscription))
        return;
    if (subscription->state == SUBSCRIPTION_WAITING) {
        if (!subscription_feed_take(subscription, &none))
            return;
        if (!may_begin(subscription, subscription_route_all(subscription)))
            return;
        subscription->retry_us = 0;
        if (subscription->slot != NULL)
            subscription->sink->answer(subscription);
        if (subscription->ended)
            return;
        subscription->state = SUBSCRIPTION_SNAPSHOT;
    } else if (atomic_exchange(&subscription->reroute, false)) {
        if (!subscription_route_all(subscription))
            subscription_retry(subscription);
    }
    while (subscription->sink->may_push(subscription)) {
        if (!tell_troubles(subscription)) {
            give_up(subscription);
            return;
        }
        bool went_on =
            subscription->state == SUBSCRIPTION_SNAPSHOT && push_snapshot(subscription, &ended);
        if (!ended && (subscription->state == SUBSCRIPTION_TAIL || subscription->tails_go_on))
            went_on |= push_tail(subscription, &ended);
        if (ended || !went_on)
            return;
        subscription->retry_us = 0;
    }
}

void subscription_pump(struct subscription *subscription)
{
    if (subscription->ended || subscription->pumping)
        return;
    /* A lost connection ends the session, and with it this subscription, at once. */
    subscription->pumping = true;
    pump(subscription);
    if (!subscription->ended && subscription->sink == &feed_sink &&
        subscription_batch_waits(subscription) &&
        !push_batch(subscription, PB__CQ_EVENT_BATCH__PHASE__TAIL, false))
        give_up(subscription);
    subscription->pumping = false;
    if (subscription->ended)
        subscription_dispose(subscription);
}
