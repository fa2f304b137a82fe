#include "server/cq.h"

#include <xxhash.h>

#include <endian.h>

#include "common/mem.h"
#include "server/cq_initial.h"
#include "server/region.h"
#include "server/rows.h"
#include "server/subscription.h"
#include "server/trash.h"

#define RING_SUB_MAX UINT32_MAX

/* ---- Outputs ---- */

struct output {
    struct cq_bucket *cqb;
    uint64_t seq, time_ms;
    uint32_t sub;
    bool silent;
    struct slice key; /* of a row-level result */
};

/* Everything up to here can no longer be read: memory was short, or the change gives no event. */
static void skip_to(struct cq_bucket *cqb, uint64_t seq)
{
    struct ring_position position = {seq, RING_SUB_MAX};
    atomic_fetch_sub(&cqb->instance->ring_bytes, ring_raise_floor(&cqb->ring, position));
}

static void keep_in_budget(struct cq_bucket *cqb)
{
    struct cq_instance *instance = cqb->instance;
    uint32_t sharers =
        atomic_load_explicit(&instance->budget->instance_count, memory_order_relaxed);
    uint64_t share = instance->budget->ring_bytes_max / (sharers == 0 ? 1 : sharers);
    while (atomic_load_explicit(&instance->ring_bytes, memory_order_relaxed) > share &&
           cqb->ring.oldest != cqb->ring.newest)
        atomic_fetch_sub(&instance->ring_bytes, ring_drop_oldest(&cqb->ring));
}

static void emit(struct output *output, uint8_t kind, const struct query_row *row,
                 const char *error)
{
    struct cq_bucket *cqb = output->cqb;
    struct bucket *bucket = cqb->bucket;
    struct ring_position position = {output->seq, output->sub++};
    if (output->silent)
        return;
    struct cq_event event = {.bucket = bucket->id,
                             .generation = bucket->generation,
                             .position = position,
                             .kind = kind,
                             .row = row,
                             .error = error,
                             .key = output->key,
                             .time_ms = output->time_ms};
    struct buf *encoded = &bucket->encoded;
    buf_clear(encoded);
    uint64_t before = cqb->ring.bytes;
    uint8_t *place = NULL;
    if (cq_event_encode(&event, &bucket->scratch, encoded) == OK) {
        cqb->outputs = XXH3_64bits_withSeed(encoded->data, encoded->len, cqb->outputs);
        place = ring_append(&cqb->ring, position, kind, encoded->len, output->time_ms);
    }
    if (place != NULL) {
        memcpy(place, encoded->data, encoded->len);
        atomic_fetch_add_explicit(&cqb->instance->ring_bytes, cqb->ring.bytes - before,
                                  memory_order_relaxed);
        keep_in_budget(cqb);
    } else {
        skip_to(cqb, output->seq);
        output->silent = true; /* the rest of this record would stand below the floor */
    }
    atomic_fetch_add_explicit(&cqb->instance->events, 1, memory_order_relaxed);
    cqb->emitted_seq = output->seq;
}

static enum error on_result(void *arg, enum query_kind kind, const struct query_row *row)
{
    emit(arg, (uint8_t)kind, row, NULL);
    return OK;
}

/* Outputs leave when their records are committed, and not before. */
static void announce(struct cq_bucket *cqb)
{
    uint64_t committed = atomic_load(&cqb->bucket->committed);
    uint64_t newest = cqb->emitted_seq < committed ? cqb->emitted_seq : committed;
    if (newest <= cqb->announced_seq || !cqb->armed)
        return;
    cqb->armed = false;
    cqb->announced_seq = newest;
    subscription_notify_all(cqb->instance, cqb->bucket->id);
}

static void finish_output(struct output *output)
{
    if (output->silent)
        skip_to(output->cqb, output->seq);
    announce(output->cqb);
}

/* ---- Rows for other buckets ---- */

struct cq_row cq_row_read(struct slice encoded)
{
    struct cq_row row = {
        .silent = encoded.data[4] != 0,
        .packed = slice_of(encoded.data + CQ_ROW_HEAD_BYTES, encoded.len - CQ_ROW_HEAD_BYTES)};
    uint32_t target;
    memcpy(&target, encoded.data, sizeof target);
    row.target = le32toh(target);
    return row;
}

/* The row lies in the ring until its group's bucket has it. */
static enum error send_away(struct cq_bucket *cqb, const struct query_row *row, uint32_t target,
                            const struct output *output)
{
    struct ring_position position = {output->seq, 0};
    struct buf packed;
    uint32_t head = htole32(target);
    if (target == cqb->bucket->id)
        cqb->own_last = position;
    if (!ring_before(cqb->rows.last, position))
        return OK; /* trimmed before this copy came to it */
    buf_init(&packed);
    query_row_pack(row, &packed);
    size_t len = CQ_ROW_HEAD_BYTES + packed.len;
    uint8_t *at = packed.failed ? NULL : ring_append(&cqb->rows, position, 0, len, output->time_ms);
    if (at != NULL) {
        memcpy(at, &head, sizeof head);
        at[sizeof head] = output->silent;
        memcpy(at + CQ_ROW_HEAD_BYTES, packed.data, packed.len);
    }
    buf_fini(&packed);
    return at == NULL ? ERROR_MEMORY : cqb->rows.bytes > LIMIT_ROWS_BYTES ? ERROR_LIMIT : OK;
}

struct cq_applied cq_applied_locked(const struct cq_bucket *cqb, uint32_t bucket)
{
    uint32_t low = 0, high = cqb->applied_count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (cqb->applied[middle].bucket < bucket)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < cqb->applied_count && cqb->applied[low].bucket == bucket)
        return cqb->applied[low];
    return (struct cq_applied){.bucket = bucket};
}

/* False if the row has been applied before. ERROR_MEMORY fails the instance. */
static enum error note_applied(struct cq_bucket *cqb, const struct cq_applied *row, bool *is_new)
{
    uint32_t at = 0;
    while (at < cqb->applied_count && cqb->applied[at].bucket < row->bucket)
        at++;
    bool known = at < cqb->applied_count && cqb->applied[at].bucket == row->bucket;
    struct cq_applied old = known ? cqb->applied[at] : (struct cq_applied){0};
    *is_new = row->generation > old.generation ||
              (row->generation == old.generation && ring_before(old.position, row->position));
    if (!*is_new)
        return OK;
    if (!known && cqb->applied_count == cqb->applied_cap) {
        uint32_t cap = cqb->applied_cap == 0 ? 8 : cqb->applied_cap * 2;
        struct cq_applied *bigger = mem_realloc(cqb->applied, cap * sizeof *bigger);
        if (bigger == NULL)
            return ERROR_MEMORY;
        cqb->applied = bigger;
        cqb->applied_cap = cap;
    }
    if (!known) {
        memmove(cqb->applied + at + 1, cqb->applied + at,
                (cqb->applied_count - at) * sizeof *cqb->applied);
        cqb->applied_count++;
    }
    cqb->applied[at] = *row;
    return OK;
}

/* A row of this bucket's own may meet its group at once, unless earlier ones are still on the way
 * round through the rows ring. */
static bool is_direct(const struct cq_bucket *cqb, bool silent, bool via_ring)
{
    struct cq_applied own = cq_applied_locked(cqb, cqb->bucket->id);
    return silent || (cqb->ready && !via_ring && !ring_before(own.position, cqb->own_last));
}

/* ---- Inputs ---- */

/* An admitted row meets the state of its group, here. */
static void apply_row(struct output *output, const struct query_row *row)
{
    struct cq_bucket *cqb = output->cqb;
    struct query_error why UNINITIALIZED;
    enum error error =
        query_state_apply(cqb->state, row, &cqb->bucket->scratch, on_result, output, &why);
    if (error == ERROR_INVALID) {
        atomic_fetch_add_explicit(&cqb->instance->errors, 1, memory_order_relaxed);
        emit(output, QUERY_ROW_ERROR, NULL, why.message);
    } else if (error != OK) {
        cq_instance_fail(cqb->instance);
    }
}

static void feed_entry(struct cq_bucket *cqb, const struct entry *entry, uint64_t seq,
                       uint64_t time_ms, bool silent, bool via_ring)
{
    struct arena *scratch = &cqb->bucket->scratch;
    struct cq_instance *instance = cqb->instance;
    struct output output = {.cqb = cqb, .seq = seq, .time_ms = time_ms, .silent = silent};
    struct value key = value_load(entry_key(entry)), value = value_load(entry_value(entry));
    struct query_input input = {.key = &key, .value = &value, .time_ms = time_ms};
    struct query_row row = {.mark = seq};
    struct query_error why UNINITIALIZED;
    bool admitted = false;
    if (value.type == VALUE_NULL)
        return; /* an entry without a value (putIfAbsent of null) is no row */
    arena_reset(scratch);
    enum error error = query_admit(instance->plan, &input, scratch, &admitted, &row, &why);
    row.mark = seq;
    if (error == ERROR_INVALID) {
        output.key = entry_key(entry);
        atomic_fetch_add_explicit(&instance->errors, 1, memory_order_relaxed);
        emit(&output, QUERY_ROW_ERROR, NULL, why.message);
    } else if (error != OK) {
        cq_instance_fail(instance);
    } else if (admitted) {
        atomic_fetch_add_explicit(&instance->rows_in, 1, memory_order_relaxed);
        if (!instance->has_state) {
            output.key = entry_key(entry);
            emit(&output, QUERY_INSERT, &row, NULL);
        } else {
            struct value group;
            error = query_row_group(instance->plan, &row, scratch, &group);
            uint32_t target =
                error == OK ? value_bucket(&group, instance->region->bucket_count) : 0;
            if (error == OK && target == cqb->bucket->id && is_direct(cqb, silent, via_ring))
                apply_row(&output, &row);
            else if (error != OK || send_away(cqb, &row, target, &output) != OK)
                cq_instance_fail(instance);
        }
    }
    finish_output(&output);
}

static void feed_partial(struct cq_bucket *cqb, const struct cq_input *input)
{
    struct output output = {
        .cqb = cqb, .seq = input->seq, .time_ms = input->time_ms, .silent = input->silent};
    struct cq_applied from = {input->source_bucket, input->source_generation, input->position};
    struct query_row row;
    bool is_new = false;
    enum error error = note_applied(cqb, &from, &is_new);
    if (error == OK && !is_new)
        return;
    arena_reset(&cqb->bucket->scratch);
    if (error == OK)
        error = query_row_unpack(slice_of(input->row, input->row_len), &cqb->bucket->scratch, &row);
    if (error == OK) {
        row.mark = input->seq;
        apply_row(&output, &row);
    } else {
        cq_instance_fail(cqb->instance);
    }
    finish_output(&output);
}

bool cq_rows_wait_locked(const struct bucket *bucket)
{
    for (const struct cq_bucket *cqb = bucket->cqs; cqb != NULL; cqb = cqb->next)
        if (atomic_load(&cqb->instance->rows_wait))
            return true;
    return false;
}

bool cq_takes_changes_locked(const struct bucket *bucket)
{
    for (const struct cq_bucket *cqb = bucket->cqs; cqb != NULL; cqb = cqb->next)
        if (cq_is_crowded_locked(cqb) && cqb->crowded_ticks < LIMIT_CROWDED_TICKS &&
            !atomic_load_explicit(&cqb->instance->failed, memory_order_relaxed))
            return false;
    return true;
}

/* ---- The input queue ---- */

static void input_free(struct cq_input *input)
{
    entry_unref(input->entry);
    mem_free(input->row);
}

/* Takes the entry's reference and the row on success. */
static enum error enqueue(struct cq_bucket *cqb, struct cq_input input)
{
    size_t queued = cqb->input_count - cqb->initial_left;
    if (cqb->input_first + queued == cqb->input_cap && cqb->input_first > 0) {
        memmove(cqb->inputs, cqb->inputs + cqb->input_first, queued * sizeof *cqb->inputs);
        cqb->input_first = 0;
    }
    if (queued == cqb->input_cap) {
        size_t cap = cqb->input_cap == 0 ? 16 : cqb->input_cap * 2;
        struct cq_input *bigger = mem_realloc(cqb->inputs, cap * sizeof *bigger);
        if (bigger == NULL)
            return ERROR_MEMORY;
        cqb->inputs = bigger;
        cqb->input_cap = cap;
    }
    cqb->inputs[cqb->input_first + queued] = input;
    cqb->input_count++;
    return OK;
}

static void clear_inputs(struct cq_bucket *cqb)
{
    for (size_t i = 0; i < cqb->input_count - cqb->initial_left; i++)
        input_free(&cqb->inputs[cqb->input_first + i]);
    mem_free(cqb->inputs);
    cq_initial_free(cqb->bucket, cqb->initial);
    cqb->inputs = NULL;
    cqb->initial = NULL;
    cqb->input_first = cqb->input_count = cqb->input_cap = 0;
    cqb->initial_left = 0;
}

bool cq_bucket_is_ready_locked(const struct cq_bucket *cqb)
{
    return cqb->active && cqb->ready && cqb->input_count == 0 &&
           atomic_load(&cqb->bucket->committed) >= cqb->ready_seq;
}

static void count_ready(struct cq_bucket *cqb)
{
    if (cqb->counted_ready || !cq_bucket_is_ready_locked(cqb))
        return;
    cqb->counted_ready = true;
    bool all = atomic_fetch_sub(&cqb->instance->building, 1) == 1;
    subscription_notify_all(cqb->instance, all ? UINT32_MAX : cqb->bucket->id);
}

static void process(struct cq_bucket *cqb, const struct cq_input *input)
{
    switch (input->kind) {
    case CQ_INPUT_ENTRY:
        feed_entry(cqb, input->entry, input->seq, input->time_ms, input->silent, input->via_ring);
        break;
    case CQ_INPUT_PARTIAL:
        feed_partial(cqb, input);
        break;
    case CQ_INPUT_READY:
        cqb->ready_seq = input->seq;
        cqb->ready = true;
        rows_wake_locked(cqb); /* who waited for it may go on */
        break;
    }
}

/* Rows of the start wait while this much lies in the rows ring. */
#define ROWS_BYTES_PAUSE (8u * 1024 * 1024)

#define INITIAL_LINES 4u /* of the table, for each input: some twenty entries */

/* Goes on with gathering what was there; true when that is over. */
static bool gather_initial(struct cq_bucket *cqb, uint32_t lines)
{
    struct cq_initial *initial = cqb->initial;
    if (initial == NULL || initial->is_gathered)
        return true;
    cq_initial_gather(cqb->bucket, initial, lines);
    if (initial->failed)
        cq_instance_fail(cqb->instance);
    if (!initial->is_gathered)
        return false;
    cqb->input_count -= cqb->initial_left;
    cqb->initial_left = entry_list_count(&initial->entries);
    cqb->input_count += cqb->initial_left;
    return true;
}

static void work_off_one(struct cq_bucket *cqb)
{
    struct cq_input input;
    if (cqb->initial_left > 0) {
        struct entry *entry = entry_list_take(&cqb->initial->entries);
        input = (struct cq_input){.kind = CQ_INPUT_ENTRY,
                                  .entry = entry,
                                  .seq = entry->seq,
                                  .time_ms = cqb->initial->time_ms,
                                  .silent = true};
    } else {
        input = cqb->inputs[cqb->input_first];
    }
    process(cqb, &input);
    cqb->input_first += cqb->initial_left == 0;
    cqb->initial_left -= cqb->initial_left > 0;
    cqb->input_count--;
    input_free(&input);
}

enum cq_work cq_work_off_locked(struct cq_bucket *cqb, unsigned rows)
{
    if (!gather_initial(cqb, rows * INITIAL_LINES))
        return CQ_WORK_MORE;
    for (; rows > 0 && cqb->input_count > 0; rows--) {
        if (cqb->initial_left > 0 && cqb->rows.bytes > ROWS_BYTES_PAUSE)
            return CQ_WORK_PAUSED;
        work_off_one(cqb);
    }
    if (cqb->input_count > 0)
        return CQ_WORK_MORE;
    clear_inputs(cqb);
    count_ready(cqb);
    if (cqb->instance->has_state)
        rows_wake_locked(cqb); /* rows of later records may have waited for the last of these */
    return CQ_WORK_DONE;
}

void cq_before_change_locked(struct bucket *bucket, struct entry *old)
{
    for (struct cq_bucket *cqb = bucket->cqs; cqb != NULL; cqb = cqb->next)
        if (cqb->initial != NULL)
            cq_initial_before_change(bucket, cqb->initial, old);
}

void cq_before_clear_locked(struct bucket *bucket)
{
    for (struct cq_bucket *cqb = bucket->cqs; cqb != NULL; cqb = cqb->next)
        (void)gather_initial(cqb, UINT32_MAX);
}

/* An input of a record: evaluated at once, or behind those that wait; then two of them are worked
 * off, so that a queue never grows beyond its first length. Takes the entry and the row. */
static void take_input(struct cq_bucket *cqb, struct cq_input input)
{
    if (atomic_load_explicit(&cqb->instance->failed, memory_order_relaxed)) {
        input_free(&input);
    } else if (cqb->input_count == 0) {
        process(cqb, &input);
        input_free(&input);
    } else {
        if (enqueue(cqb, input) != OK) {
            input_free(&input);
            cq_instance_fail(cqb->instance);
        }
        (void)cq_work_off_locked(cqb, 2);
    }
}

/* ---- Records ---- */

static struct cq_bucket *at_work(const struct bucket *bucket, const struct record *record)
{
    struct cq_bucket *cqb = &record->instance->buckets[bucket->id];
    return cqb->active ? cqb : NULL;
}

enum error cq_add_locked(struct bucket *bucket, const struct record *record)
{
    struct cq_instance *instance = record->instance;
    struct cq_bucket *cqb = &instance->buckets[bucket->id];
    enum error error = OK;
    bool snapshot = instance->has_state && instance->start == CQ_START_SNAPSHOT;
    PRE(!cqb->active);
    if (instance->has_state)
        error = query_state_new(instance->plan, &cqb->state);
    if (error == OK && snapshot && bucket->table.entry_count > 0) {
        cqb->initial = cq_initial_new(bucket, record);
        error = cqb->initial == NULL ? ERROR_MEMORY : OK;
    }
    if (error != OK) {
        query_state_free(cqb->state);
        cqb->state = NULL;
        return error;
    }
    ring_renew(&cqb->ring, ring_behind(bucket->data_seq));
    ring_renew(&cqb->rows, (struct ring_position){0});
    cqb->added_seq = record->seq;
    cqb->begin_seq = bucket->data_seq;
    cqb->began_empty = bucket->table.entry_count == 0 || instance->start == CQ_START_LATEST;
    cqb->ready = !snapshot;
    cqb->ready_seq = record->seq;
    if (cqb->initial != NULL)
        cqb->initial_left = cqb->input_count = bucket->table.entry_count;
    cq_bucket_begin_locked(cqb);
    return OK;
}

void cq_bucket_begin_locked(struct cq_bucket *cqb)
{
    cqb->active = true;
    atomic_fetch_add(&cqb->instance->active_count, 1);
    cq_instance_ref(cqb->instance);
    struct cq_bucket **end = &cqb->bucket->cqs;
    while (*end != NULL)
        end = &(*end)->next;
    *end = cqb;
    if (cqb->instance->has_state)
        rows_watch_locked(cqb);
    count_ready(cqb);
}

void cq_bucket_fini_locked(struct cq_bucket *cqb)
{
    struct cq_instance *instance = cqb->instance;
    clear_inputs(cqb);
    atomic_fetch_sub(&instance->ring_bytes, cqb->ring.bytes);
    ring_fini(&cqb->ring);
    ring_fini(&cqb->rows);
    trash_state(trash_worker(cqb->bucket), cqb->state);
    mem_free(cqb->applied);
    cqb->state = NULL;
    cqb->applied = NULL;
    cqb->applied_count = cqb->applied_cap = 0;
    cqb->own_last = (struct ring_position){0};
    cqb->emitted_seq = cqb->announced_seq = cqb->old_seq = cqb->told_seq = 0;
    cqb->seen_led = cqb->seen_generation = cqb->crowded_ticks = 0;
    cqb->ready = cqb->told_initial = false;
    if (cqb->counted_ready)
        atomic_fetch_add(&instance->building, 1);
    cqb->counted_ready = false;
    cqb->next = NULL;
    if (!cqb->active)
        return;
    cqb->active = false;
    atomic_fetch_sub(&instance->active_count, 1);
    cq_instance_unref(instance);
}

void cq_drop_locked(struct bucket *bucket, const struct record *record)
{
    struct cq_bucket *cqb = at_work(bucket, record);
    if (cqb == NULL)
        return;
    struct cq_bucket **link = &bucket->cqs;
    while (*link != cqb)
        link = &(*link)->next;
    *link = cqb->next;
    cq_bucket_fini_locked(cqb);
}

void cq_on_put_locked(struct bucket *bucket, const struct record *record, struct entry *entry)
{
    for (struct cq_bucket *cqb = bucket->cqs; cqb != NULL; cqb = cqb->next) {
        if (cqb->input_count > 0)
            take_input(cqb, (struct cq_input){.kind = CQ_INPUT_ENTRY,
                                              .entry = entry_ref(entry),
                                              .via_ring = record->via_ring,
                                              .seq = record->seq,
                                              .time_ms = record->time_ms});
        else if (!atomic_load_explicit(&cqb->instance->failed, memory_order_relaxed))
            feed_entry(cqb, entry, record->seq, record->time_ms, false, record->via_ring);
    }
}

void cq_on_partial_locked(struct bucket *bucket, const struct record *record)
{
    struct cq_bucket *cqb = at_work(bucket, record);
    if (cqb == NULL || cqb->state == NULL)
        return;
    struct cq_input input = {.kind = CQ_INPUT_PARTIAL,
                             .silent = record->silent,
                             .row_len = record->row.len,
                             .seq = record->seq,
                             .time_ms = record->time_ms,
                             .source_bucket = record->source_bucket,
                             .source_generation = record->source_generation,
                             .position = {record->position_seq, record->position_sub}};
    if (cqb->input_count == 0) { /* the row is used before the record goes */
        input.row = (uint8_t *)(uintptr_t)record->row.data;
        if (!atomic_load_explicit(&cqb->instance->failed, memory_order_relaxed))
            process(cqb, &input);
        return;
    }
    input.row = mem_alloc(record->row.len + 1);
    if (input.row == NULL) {
        cq_instance_fail(cqb->instance);
        return;
    }
    memcpy(input.row, record->row.data, record->row.len);
    take_input(cqb, input);
}

enum error cq_on_ready_locked(struct bucket *bucket, const struct record *record)
{
    struct cq_bucket *cqb = at_work(bucket, record);
    if (cqb != NULL && !cqb->ready)
        take_input(cqb, (struct cq_input){.kind = CQ_INPUT_READY, .seq = record->seq});
    return OK;
}

/* At once, beside the queue: rows that this copy has not come to yet are not kept when it does. */
enum error cq_on_trim_locked(struct bucket *bucket, const struct record *record)
{
    struct cq_bucket *cqb = at_work(bucket, record);
    if (cqb != NULL) {
        ring_raise_floor(&cqb->rows,
                         (struct ring_position){record->position_seq, record->position_sub});
        if (cqb->input_count > 0)
            rows_wake_locked(cqb);
    }
    return OK;
}

void cq_on_commit_locked(struct bucket *bucket)
{
    for (struct cq_bucket *cqb = bucket->cqs; cqb != NULL; cqb = cqb->next) {
        announce(cqb);
        count_ready(cqb);
    }
}

void cq_bucket_free_all(struct bucket *bucket)
{
    while (bucket->cqs != NULL) {
        struct cq_bucket *cqb = bucket->cqs;
        bucket->cqs = cqb->next;
        cq_bucket_fini_locked(cqb);
    }
}
