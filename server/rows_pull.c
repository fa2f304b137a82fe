/* A puller: carries rows to the groups' buckets that this server leads. Never two buckets' locks:
 * rows are copied out of their source, then appended to their owner. */
#include "common/mem.h"
#include "server/rows_impl.h"

#define TRIM_BYTES (64u * 1024)

struct rows_puller *rows_puller_new(struct server *server, struct cq_instance *instance)
{
    struct rows_puller *puller = mem_zalloc(sizeof *puller);
    if (puller == NULL)
        return NULL;
    puller->server = server;
    puller->instance = instance;
    puller->initial_missing = instance->region->bucket_count;
    puller->places = mem_array(instance->region->bucket_count, sizeof *puller->places);
    if (puller->places == NULL) {
        mem_free(puller);
        return NULL;
    }
    atomic_store(&instance->rows_check, true);
    return puller;
}

void rows_puller_free(struct rows_puller *puller)
{
    if (puller == NULL)
        return;
    rows_feeds_close(puller);
    buf_fini(&puller->rows);
    mem_free(puller->places);
    mem_free(puller);
}

static struct bucket *bucket_of(const struct rows_puller *puller, uint32_t bucket)
{
    return &puller->instance->region->buckets[bucket];
}

/* ---- Who leads ---- */

static bool look(struct rows_puller *puller, uint32_t b)
{
    struct rows_place *place = &puller->places[b];
    struct bucket *bucket = bucket_of(puller, b);
    bucket_lock(bucket);
    bool led = rows_is_led(bucket);
    uint32_t term = led ? bucket->replica.led : 0;
    uint64_t primary = led ? 0 : bucket->replica.primary;
    uint32_t generation = bucket->generation;
    struct cq_bucket *cqb = rows_cqb(puller->instance, b);
    led = led && cqb->active;
    /* What has had its turn comes before what has not. */
    if (led && place->led && generation == place->generation && cqb->old_seq < place->cursor.seq)
        cqb->old_seq = place->cursor.seq;
    place->old_seq = cqb->old_seq;
    bucket_unlock(bucket);
    bool moved = led != place->led || term != place->led_term || primary != place->primary ||
                 generation != place->generation;
    place->led = led;
    place->led_term = term;
    place->primary = primary;
    place->generation = generation;
    return moved;
}

/* Owners here may need rows that others have had: everything begins at the oldest row that is
 * there. What was applied before is not applied again. */
static void begin_anew(struct rows_puller *puller)
{
    uint32_t count = puller->instance->region->bucket_count;
    rows_feeds_close(puller);
    puller->has_barrier = puller->moved = false;
    puller->initial_missing = count;
    puller->owner_count = 0;
    puller->is_settled = false;
    for (uint32_t b = 0; b < count; b++) {
        struct rows_place *place = &puller->places[b];
        *place = (struct rows_place){.led = place->led,
                                     .led_term = place->led_term,
                                     .generation = place->generation,
                                     .old_seq = place->old_seq,
                                     .primary = place->primary};
        puller->owner_count += place->led;
        if (place->led)
            rows_wake(puller->server, rows_cqb(puller->instance, b));
    }
    if (rows_feeds_make(puller) != OK)
        atomic_store(&puller->instance->rows_check, true); /* the tick tries again */
}

void rows_puller_check(struct rows_puller *puller)
{
    bool moved = false;
    for (uint32_t b = 0; b < puller->instance->region->bucket_count; b++)
        moved |= look(puller, b);
    if (moved)
        begin_anew(puller);
}

/* ---- One row ---- */

static void skip(struct rows_place *source, struct ring_position before, bool silent)
{
    if (!source->has_skipped)
        source->skipped = before;
    source->has_skipped = true;
    source->skipped_silent |= silent;
}

/* True if the owner has it now, or had it before. */
static bool append(struct rows_puller *puller, uint32_t target, struct record *record)
{
    struct rows_place *owner = &puller->places[target];
    struct bucket *bucket = bucket_of(puller, target);
    struct cq_bucket *cqb = rows_cqb(puller->instance, target);
    struct ring_position position = {record->position_seq, record->position_sub};
    bool taken = false;
    bucket_lock(bucket);
    if (!rows_is_led(bucket) || !cqb->active || !replica_may_write_locked(bucket)) {
        owner->blocked = true;
    } else if (!record->silent && !cqb->ready) {
        owner->tail_blocked = true;
    } else {
        struct cq_applied applied = cq_applied_locked(cqb, record->source_bucket);
        bool known = applied.generation > record->source_generation ||
                     (applied.generation == record->source_generation &&
                      !ring_before(applied.position, position));
        taken =
            known || bucket_append_locked(bucket, record, loop_wall_ms(puller->server->loop)) == OK;
        owner->blocked |= !taken;
    }
    bucket_unlock(bucket);
    return taken;
}

/* False: its owner cannot take it now. */
static bool deliver(struct rows_puller *puller, uint32_t source, uint32_t generation,
                    struct ring_position position, struct cq_row row)
{
    if (row.target >= puller->instance->region->bucket_count || !puller->places[row.target].led)
        return true;
    struct rows_place *owner = &puller->places[row.target];
    struct record record = {.type = RECORD_PARTIAL,
                            .query_id = puller->instance->id,
                            .instance = puller->instance,
                            .row = row.packed,
                            .silent = row.silent,
                            .source_bucket = source,
                            .source_generation = generation,
                            .position_seq = position.seq,
                            .position_sub = position.sub};
    bool refused = owner->blocked || (owner->tail_blocked && !row.silent);
    if (refused || !append(puller, row.target, &record))
        return false;
    puller->moved = true;
    return true;
}

/* Once a row had to be left out, so have all that follow it to that owner, until the source begins
 * again in front of it. */
void rows_deliver(struct rows_puller *puller, uint32_t source, uint32_t generation,
                  struct ring_position position, struct slice encoded)
{
    struct rows_place *place = &puller->places[source];
    struct cq_row row = cq_row_read(encoded);
    struct ring_position before = place->cursor;
    if (!ring_before(before, position))
        return;
    place->cursor = position;
    if (!deliver(puller, source, generation, position, row))
        skip(place, before, row.silent);
}

void rows_initial(struct rows_puller *puller, uint32_t source)
{
    struct rows_place *place = &puller->places[source];
    if (place->initial || (place->has_skipped && place->skipped_silent))
        return;
    place->initial = true;
    puller->initial_missing--;
}

/* ---- Rows that lie here ---- */

/* Copies rows out of a bucket's ring. *start_over: no more rows of the start will come into it. */
static enum rows_pulled copy_rows(struct rows_puller *puller, uint32_t source, uint64_t seq,
                                  bool *start_over)
{
    struct rows_place *place = &puller->places[source];
    struct bucket *bucket = bucket_of(puller, source);
    struct cq_bucket *cqb = rows_cqb(puller->instance, source);
    struct ring_event event;
    bool more = false;
    *start_over = false;
    if (!rows_is_led(bucket) || !cqb->active)
        return ROWS_ALL;
    if (!place->led || bucket->replica.led != place->led_term ||
        bucket->generation != place->generation)
        return ROWS_WAIT; /* who leads is about to be looked at again */
    uint64_t committed = atomic_load(&bucket->committed);
    uint64_t limit = seq < committed ? seq : committed;
    struct ring_position at = place->cursor;
    if (ring_before(at, cqb->rows.floor))
        at = place->cursor = cqb->rows.floor; /* those have arrived everywhere */
    while (puller->rows.len < ROWS_BATCH_BYTES &&
           (more = ring_next(&cqb->rows, at, limit, &place->hint, &event))) {
        rows_put_position(&puller->rows, event.position);
        rows_put32(&puller->rows, (uint32_t)event.encoded.len);
        buf_append_slice(&puller->rows, event.encoded);
        at = event.position;
    }
    *start_over = cqb->initial_left == 0 && committed >= cqb->added_seq;
    return more ? ROWS_MORE : cq_is_queued_locked(cqb, seq) ? ROWS_WAIT : ROWS_ALL;
}

/* Stops in front of a row whose owner cannot take it. Rows of the start lie in front of all others,
 * so that those do not hold them up. */
static enum rows_pulled pull(struct rows_puller *puller, uint32_t source, uint64_t seq)
{
    struct rows_place *place = &puller->places[source];
    struct ring_position position;
    uint32_t len;
    bool start_over;
    if (place->is_stuck)
        return ROWS_WAIT; /* until its owner takes rows again */
    buf_clear(&puller->rows);
    bucket_lock(bucket_of(puller, source));
    enum rows_pulled pulled = copy_rows(puller, source, seq, &start_over);
    bucket_unlock(bucket_of(puller, source));
    struct slice rest = buf_slice(&puller->rows);
    if (puller->rows.failed) {
        buf_fini(&puller->rows);
        place->hint = (struct ring_hint){0};
        place->retry = true; /* by the tick */
        return ROWS_WAIT;
    }
    while (rows_take_position(&rest, &position) && rows_take32(&rest, &len)) {
        struct cq_row row = cq_row_read(slice_of(rest.data, len));
        if (!deliver(puller, source, place->generation, position, row)) {
            place->hint = (struct ring_hint){0};
            place->is_stuck = true;
            if (start_over && !row.silent)
                rows_initial(puller, source);
            return ROWS_WAIT;
        }
        place->cursor = position;
        rest = slice_of(rest.data + len, rest.len - len);
    }
    if (start_over && pulled != ROWS_MORE)
        rows_initial(puller, source);
    return pulled;
}

enum rows_pulled rows_puller_turn(struct rows_puller *puller, const struct rows_turn *turn)
{
    return pull(puller, turn->bucket, turn->seq);
}

/* ---- Owners ---- */

/* Sources whose rows were left out give them again. */
static void give_again(struct rows_puller *puller)
{
    for (uint32_t b = 0; b < puller->instance->region->bucket_count; b++) {
        struct rows_place *place = &puller->places[b];
        if (place->is_stuck)
            rows_wake(puller->server, rows_cqb(puller->instance, b));
        place->is_stuck = false;
        if (!place->has_skipped)
            continue;
        place->cursor = place->skipped;
        place->has_skipped = place->skipped_silent = false;
        if (place->feed != NULL)
            place->feed->reopen = true;
    }
}

/* Whether the owner takes rows again. */
static bool unblock(struct rows_puller *puller, uint32_t b)
{
    struct rows_place *owner = &puller->places[b];
    struct bucket *bucket = bucket_of(puller, b);
    if (!owner->blocked && !owner->tail_blocked)
        return false;
    bucket_lock(bucket);
    const struct cq_bucket *cqb = rows_cqb(puller->instance, b);
    bool takes = rows_is_led(bucket) && cqb->active && replica_may_write_locked(bucket);
    bool all = takes && cqb->ready;
    bucket_unlock(bucket);
    bool changed = (owner->blocked && takes) || (owner->tail_blocked && all);
    owner->blocked = owner->blocked && !takes;
    owner->tail_blocked = owner->tail_blocked && !all;
    return changed;
}

void rows_puller_work(struct rows_puller *puller, uint32_t bucket)
{
    if (unblock(puller, bucket))
        give_again(puller);
    if (puller->places[bucket].led &&
        pull(puller, bucket, puller->places[bucket].old_seq) == ROWS_MORE)
        rows_wake(puller->server, rows_cqb(puller->instance, bucket));
}

static void end_start(struct rows_puller *puller, uint32_t b)
{
    struct rows_place *owner = &puller->places[b];
    struct bucket *bucket = bucket_of(puller, b);
    struct cq_bucket *cqb = rows_cqb(puller->instance, b);
    struct record record = {
        .type = RECORD_CQ_READY, .query_id = puller->instance->id, .instance = puller->instance};
    bucket_lock(bucket);
    if (rows_is_led(bucket) && cqb->active && !cqb->ready &&
        owner->ready_term != bucket->replica.led &&
        bucket_append_locked(bucket, &record, loop_wall_ms(puller->server->loop)) == OK)
        owner->ready_term = bucket->replica.led;
    owner->ready = cqb->active && cqb->ready;
    bucket_unlock(bucket);
}

void rows_puller_settle(struct rows_puller *puller)
{
    for (struct rows_feed *feed = puller->feeds; feed != NULL; feed = feed->next)
        if (feed->reopen)
            rows_feed_open(feed);
    if (puller->initial_missing > 0 || puller->is_settled)
        return;
    puller->is_settled = true;
    for (uint32_t b = 0; b < puller->instance->region->bucket_count; b++) {
        if (puller->places[b].led && !puller->places[b].ready)
            end_start(puller, b);
        puller->is_settled &= !puller->places[b].led || puller->places[b].ready;
    }
}

/* ---- Acknowledgements and trims ---- */

/* What was delivered before the barrier is committed when the owners have committed what they had
 * then. */
static void end_barrier(struct rows_puller *puller)
{
    uint32_t count = puller->instance->region->bucket_count;
    for (uint32_t b = 0; b < count; b++)
        if (puller->places[b].led &&
            atomic_load(&bucket_of(puller, b)->committed) < puller->places[b].barrier_seq)
            return;
    puller->has_barrier = false;
    for (uint32_t b = 0; b < count; b++)
        if (ring_before(puller->places[b].acked, puller->places[b].barrier))
            puller->places[b].acked = puller->places[b].barrier;
    for (struct rows_feed *feed = puller->feeds; feed != NULL; feed = feed->next)
        rows_feed_acks(feed);
}

static void begin_barrier(struct rows_puller *puller)
{
    puller->has_barrier = true;
    puller->moved = false;
    for (uint32_t b = 0; b < puller->instance->region->bucket_count; b++) {
        struct rows_place *place = &puller->places[b];
        place->barrier = place->has_skipped ? place->skipped : place->cursor;
        if (!place->led)
            continue;
        bucket_lock(bucket_of(puller, b));
        place->barrier_seq = bucket_of(puller, b)->last_seq;
        bucket_unlock(bucket_of(puller, b));
    }
}

/* Up to where all rows have arrived, and how many bytes they are. */
static struct ring_position trim_end(const struct cq_bucket *cqb, const struct ring_position *acked,
                                     uint32_t bucket_count, size_t *bytes)
{
    struct ring_position end = cqb->rows.floor;
    struct ring_hint hint = {0};
    struct ring_event event;
    *bytes = 0;
    while (ring_next(&cqb->rows, end, atomic_load(&cqb->bucket->committed), &hint, &event)) {
        uint32_t target = cq_row_read(event.encoded).target;
        if (target >= bucket_count || ring_before(acked[target], event.position))
            break;
        end = event.position;
        *bytes += event.encoded.len;
    }
    return end;
}

static void trim(struct rows_puller *puller, uint32_t b, struct ring_position *acked)
{
    struct bucket *bucket = bucket_of(puller, b);
    struct cq_bucket *cqb = rows_cqb(puller->instance, b);
    uint32_t count = puller->instance->region->bucket_count;
    size_t bytes = 0;
    bucket_lock(bucket);
    bool worth = cqb->active && rows_is_led(bucket) && cqb->rows.bytes > TRIM_BYTES;
    cqb->crowded_ticks = cq_is_crowded_locked(cqb) ? cqb->crowded_ticks + 1 : 0;
    uint32_t generation = bucket->generation;
    bucket_unlock(bucket);
    if (!worth)
        return;
    for (uint32_t t = 0; t < count; t++)
        acked[t] = puller->places[t].led ? puller->places[b].acked : (struct ring_position){0};
    rows_outs_acked(&puller->server->rows, puller->instance, b, generation, acked);
    bucket_lock(bucket);
    if (cqb->active && rows_is_led(bucket) && bucket->generation == generation &&
        replica_may_write_locked(bucket)) {
        struct ring_position end = trim_end(cqb, acked, count, &bytes);
        struct record record = {.type = RECORD_CQ_TRIM,
                                .query_id = puller->instance->id,
                                .instance = puller->instance,
                                .position_seq = end.seq,
                                .position_sub = end.sub};
        /* Without memory: the next tick. */
        if (bytes >= TRIM_BYTES / 2 &&
            bucket_append_locked(bucket, &record, loop_wall_ms(puller->server->loop)) == OK) {
            cqb->crowded_ticks = 0;
            call_on_role_locked(bucket); /* changes may have waited for it */
        }
    }
    bucket_unlock(bucket);
}

void rows_puller_tick(struct rows_puller *puller)
{
    uint32_t count = puller->instance->region->bucket_count;
    bool changed = false;
    for (uint32_t b = 0; b < count; b++) {
        changed |= unblock(puller, b);
        if (puller->places[b].retry) {
            puller->places[b].retry = false;
            rows_wake(puller->server, rows_cqb(puller->instance, b));
        }
    }
    if (changed)
        give_again(puller);
    rows_puller_settle(puller);
    for (struct rows_feed *feed = puller->feeds; feed != NULL; feed = feed->next)
        if (feed->id == 0)
            rows_feed_open(feed);
    if (puller->has_barrier)
        end_barrier(puller);
    if (!puller->has_barrier && puller->moved)
        begin_barrier(puller);
    struct ring_position *acked = mem_array(count, sizeof *acked);
    for (uint32_t b = 0; acked != NULL && b < count; b++)
        if (puller->places[b].led)
            trim(puller, b, acked);
    mem_free(acked);
}
