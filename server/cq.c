#include "server/cq.h"

#include "common/mem.h"
#include "server/region.h"
#include "server/subscription.h"

#define RING_SUB_MAX UINT32_MAX

/* ---- Outputs ---- */

struct output {
    struct cq_bucket *cqb;
    uint64_t seq, time_ms;
    uint32_t sub;
    bool silent;
    bool wake;
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
    if (cq_event_encode(&event, &bucket->scratch, encoded) == OK)
        place = ring_append(&cqb->ring, position, kind, encoded->len, output->time_ms);
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
    output->wake = true;
}

static enum error on_result(void *arg, enum query_kind kind, const struct query_row *row)
{
    emit(arg, (uint8_t)kind, row, NULL);
    return OK;
}

static void finish_output(struct output *output)
{
    struct cq_bucket *cqb = output->cqb;
    if (output->silent)
        skip_to(cqb, output->seq);
    if (output->wake && cqb->armed) {
        cqb->armed = false;
        subscription_notify_all(cqb->instance, cqb->bucket->id);
    }
}

/* ---- Inputs ---- */

/* The row goes to the group's own bucket, once this bucket's lock is given back. */
static enum error send_away(struct cq_bucket *cqb, const struct query_row *row, uint32_t target,
                            uint64_t seq, bool silent)
{
    struct bucket *bucket = cqb->bucket;
    struct buf packed;
    buf_init(&packed);
    query_row_pack(row, &packed);
    struct cq_partial *partial = packed.failed ? NULL : mem_alloc(sizeof *partial + packed.len);
    if (partial != NULL) {
        *partial = (struct cq_partial){.instance = cq_instance_ref(cqb->instance),
                                       .source_bucket = bucket->id,
                                       .target_bucket = target,
                                       .source_seq = seq,
                                       .silent = silent,
                                       .of_queue = cqb->input_count > 0,
                                       .row_len = packed.len};
        memcpy(partial->row, packed.data, packed.len);
        if (partial->of_queue)
            atomic_fetch_add(&cqb->instance->building, 1);
        *bucket->outgoing_end = partial;
        bucket->outgoing_end = &partial->next;
    }
    buf_fini(&packed);
    return partial == NULL ? ERROR_MEMORY : OK;
}

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
                       uint64_t time_ms, bool silent)
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
            if (error == OK && target == cqb->bucket->id)
                apply_row(&output, &row);
            else if (error != OK || send_away(cqb, &row, target, seq, silent) != OK)
                cq_instance_fail(instance);
        }
    }
    finish_output(&output);
}

static void feed_partial(struct cq_bucket *cqb, struct slice packed, uint64_t seq, uint64_t time_ms,
                         bool silent)
{
    struct output output = {.cqb = cqb, .seq = seq, .time_ms = time_ms, .silent = silent};
    struct query_row row;
    arena_reset(&cqb->bucket->scratch);
    if (query_row_unpack(packed, &cqb->bucket->scratch, &row) == OK) {
        row.mark = seq;
        apply_row(&output, &row);
    } else {
        cq_instance_fail(cqb->instance);
    }
    finish_output(&output);
}

/* ---- The input queue ---- */

static void input_free(struct cq_input *input)
{
    entry_unref(input->entry);
    if (input->partial != NULL) {
        cq_instance_unref(input->partial->instance);
        mem_free(input->partial);
    }
}

/* Takes the entry's or the partial's reference on success. */
static enum error enqueue(struct cq_bucket *cqb, struct cq_input input)
{
    if (cqb->input_first + cqb->input_count == cqb->input_cap && cqb->input_first > 0) {
        memmove(cqb->inputs, cqb->inputs + cqb->input_first,
                cqb->input_count * sizeof *cqb->inputs);
        cqb->input_first = 0;
    }
    if (cqb->input_count == cqb->input_cap) {
        size_t cap = cqb->input_cap == 0 ? 16 : cqb->input_cap * 2;
        struct cq_input *bigger = mem_realloc(cqb->inputs, cap * sizeof *bigger);
        if (bigger == NULL)
            return ERROR_MEMORY;
        cqb->inputs = bigger;
        cqb->input_cap = cap;
    }
    cqb->inputs[cqb->input_first + cqb->input_count++] = input;
    return OK;
}

void cq_clear_inputs_locked(struct cq_bucket *cqb)
{
    for (size_t i = 0; i < cqb->input_count; i++)
        input_free(&cqb->inputs[cqb->input_first + i]);
    mem_free(cqb->inputs);
    cqb->inputs = NULL;
    cqb->input_first = cqb->input_count = cqb->input_cap = 0;
}

static void building_done(struct cq_instance *instance)
{
    if (atomic_fetch_sub(&instance->building, 1) == 1)
        subscription_notify_all(instance, UINT32_MAX);
}

/* The queue of this bucket is empty for the first time, and from now on for good. */
static void finish_building(struct cq_bucket *cqb)
{
    cq_clear_inputs_locked(cqb);
    building_done(cqb->instance);
}

static void feed_next(struct cq_bucket *cqb)
{
    struct cq_input input = cqb->inputs[cqb->input_first];
    if (input.entry != NULL)
        feed_entry(cqb, input.entry, input.seq, input.time_ms, input.silent);
    else
        feed_partial(cqb, slice_of(input.partial->row, input.partial->row_len), input.seq,
                     input.time_ms, input.silent);
    cqb->input_first++;
    cqb->input_count--;
    input_free(&input);
    if (cqb->input_count == 0)
        finish_building(cqb);
}

bool cq_work_off_locked(struct cq_bucket *cqb, unsigned rows)
{
    for (; rows > 0 && cqb->input_count > 0; rows--)
        feed_next(cqb);
    return cqb->input_count == 0;
}

/* ---- Records ---- */

enum error cq_add_locked(struct bucket *bucket, const struct record *record)
{
    struct cq_instance *instance = record->instance;
    struct cq_bucket *cqb = &instance->buckets[bucket->id];
    struct entry **entries = NULL;
    struct cq_input *inputs = NULL;
    size_t count = 0,
           early = cqb->input_count; /* rows of other buckets that were faster than this record */
    enum error error = OK;
    PRE(!cqb->active);
    if (instance->has_state)
        error = query_state_new(instance->plan, &cqb->state);
    if (error == OK && instance->has_state && instance->start == CQ_START_SNAPSHOT)
        error = bucket_entries_locked(bucket, &entries, &count);
    if (error == OK && count + early > 0) {
        inputs = mem_array(count + early, sizeof *inputs);
        error = inputs == NULL ? ERROR_MEMORY : OK;
    }
    if (error != OK) {
        query_state_free(cqb->state);
        cqb->state = NULL;
        bucket_entries_free(entries, count);
        return error;
    }
    for (size_t i = 0; i < count; i++)
        inputs[i] = (struct cq_input){.entry = entries[i],
                                      .seq = entries[i]->seq,
                                      .time_ms = record->time_ms,
                                      .silent = true};
    if (early > 0)
        memcpy(inputs + count, cqb->inputs + cqb->input_first, early * sizeof *inputs);
    mem_free(cqb->inputs);
    cqb->inputs = inputs;
    cqb->input_first = 0;
    cqb->input_cap = cqb->input_count = count + early;
    mem_free(entries);
    ring_init(&cqb->ring, ring_behind(bucket->data_seq));
    cqb->added_seq = record->seq;
    cqb->begin_seq = bucket->data_seq;
    cqb->began_empty = bucket->table.entry_count == 0 || instance->start == CQ_START_LATEST;
    cqb->active = true;
    cq_instance_ref(instance);
    struct cq_bucket **end = &bucket->cqs;
    while (*end != NULL)
        end = &(*end)->next;
    *end = cqb;
    if (cqb->input_count == 0)
        finish_building(cqb);
    return OK;
}

static void deactivate(struct cq_bucket *cqb)
{
    struct cq_instance *instance = cqb->instance;
    if (cqb->input_count > 0)
        finish_building(cqb);
    atomic_fetch_sub(&instance->ring_bytes, cqb->ring.bytes);
    ring_fini(&cqb->ring);
    query_state_free(cqb->state);
    cqb->state = NULL;
    cqb->active = false;
    cqb->next = NULL;
    cq_instance_unref(instance);
}

void cq_drop_locked(struct bucket *bucket, const struct record *record)
{
    struct cq_bucket *cqb = &record->instance->buckets[bucket->id];
    PRE(cqb->active);
    struct cq_bucket **link = &bucket->cqs;
    while (*link != cqb)
        link = &(*link)->next;
    *link = cqb->next;
    deactivate(cqb);
}

/* The input waits behind what is in the queue, and works off two of it: so a queue never grows
 * beyond its first length. */
static void wait_in_queue(struct cq_bucket *cqb, struct cq_input input)
{
    if (enqueue(cqb, input) != OK) {
        input_free(&input);
        cq_instance_fail(cqb->instance);
    }
    cq_work_off_locked(cqb, 2);
}

void cq_on_put_locked(struct bucket *bucket, const struct record *record, struct entry *entry)
{
    for (struct cq_bucket *cqb = bucket->cqs; cqb != NULL; cqb = cqb->next) {
        if (atomic_load_explicit(&cqb->instance->failed, memory_order_relaxed))
            continue;
        if (cqb->input_count == 0) {
            feed_entry(cqb, entry, record->seq, record->time_ms, false);
            continue;
        }
        wait_in_queue(cqb, (struct cq_input){.entry = entry_ref(entry),
                                             .seq = record->seq,
                                             .time_ms = record->time_ms});
    }
}

static struct cq_partial *partial_copy(const struct record *record, bool silent)
{
    struct cq_partial *partial = mem_alloc(sizeof *partial + record->row.len);
    if (partial == NULL)
        return NULL;
    *partial = (struct cq_partial){.instance = cq_instance_ref(record->instance),
                                   .silent = silent,
                                   .row_len = record->row.len};
    memcpy(partial->row, record->row.data, record->row.len);
    return partial;
}

void cq_on_partial_locked(struct bucket *bucket, const struct record *record)
{
    struct cq_bucket *cqb = &record->instance->buckets[bucket->id];
    bool has_ended = !cqb->active && cqb->added_seq != 0;
    if (has_ended || atomic_load_explicit(&cqb->instance->failed, memory_order_relaxed))
        return;
    if (cqb->active && cqb->input_count == 0) {
        feed_partial(cqb, record->row, record->seq, record->time_ms, record->silent);
        return;
    }
    /* A row that is here before the instance is belongs to what was there at the start. */
    struct cq_input input = {
        .seq = record->seq, .time_ms = record->time_ms, .silent = record->silent || !cqb->active};
    input.partial = partial_copy(record, input.silent);
    if (input.partial == NULL) {
        cq_instance_fail(cqb->instance);
    } else if (cqb->active) {
        wait_in_queue(cqb, input);
    } else if (enqueue(cqb, input) != OK) {
        input_free(&input);
        cq_instance_fail(cqb->instance);
    }
}

void cq_bucket_free_all(struct bucket *bucket)
{
    while (bucket->cqs != NULL) {
        struct cq_bucket *cqb = bucket->cqs;
        bucket->cqs = cqb->next;
        deactivate(cqb);
    }
    while (bucket->outgoing != NULL) {
        struct cq_partial *partial = bucket->outgoing;
        bucket->outgoing = partial->next;
        cq_instance_unref(partial->instance);
        mem_free(partial);
    }
}

/* ---- Between buckets ---- */

void cq_shuffle(struct bucket *bucket, uint64_t wall_ms)
{
    /* The lock keeps the order of rows between the two steps; it is taken before any bucket's lock.
     */
    pthread_mutex_lock(&bucket->shuffle);
    for (;;) {
        bucket_lock(bucket);
        struct cq_partial *partial = bucket->outgoing;
        bucket->outgoing = NULL;
        bucket->outgoing_end = &bucket->outgoing;
        bucket_unlock(bucket);
        if (partial == NULL)
            break;
        while (partial != NULL) {
            struct cq_partial *next = partial->next;
            struct bucket *target = &bucket->region->buckets[partial->target_bucket];
            struct record record = {.type = RECORD_PARTIAL,
                                    .instance = partial->instance,
                                    .row = slice_of(partial->row, partial->row_len),
                                    .source_bucket = partial->source_bucket,
                                    .position_seq = partial->source_seq,
                                    .silent = partial->silent};
            bucket_lock(target);
            INVARIANT(bucket_append_locked(target, &record, wall_ms) == OK);
            bucket_unlock(target);
            if (partial->of_queue)
                building_done(partial->instance);
            cq_instance_unref(partial->instance);
            mem_free(partial);
            partial = next;
        }
    }
    pthread_mutex_unlock(&bucket->shuffle);
}
