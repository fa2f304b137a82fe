/* The snapshot of one bucket: the current results of a plan with state, or the current entries
 * through a plan without. */
#include <stdlib.h>

#include "common/mem.h"
#include "common/plant.h"
#include "server/subscription.h"

void snapshot_fini(struct snapshot *snapshot)
{
    buf_fini(&snapshot->encoded);
    mem_free(snapshot->rows);
    memset(snapshot, 0, sizeof *snapshot);
}

struct cut {
    struct snapshot *snapshot;
    struct cq_instance *instance;
    struct arena *arena;
    uint32_t bucket, generation;
    uint64_t time_ms;
    uint32_t sub; /* of every row: a changelog's row is the second event of its record */
    struct ring_position above, up_to; /* rows outside are not part of it */
    struct slice key;
};

static enum error add_row(struct cut *cut, uint64_t mark, uint8_t kind, const struct query_row *row,
                          const char *error)
{
    struct snapshot *snapshot = cut->snapshot;
    struct ring_position position = {mark, cut->sub};
    if (!ring_before(cut->above, position) || ring_before(cut->up_to, position))
        return OK;
    if (snapshot->count == snapshot->cap) {
        size_t cap = snapshot->cap == 0 ? 16 : snapshot->cap * 2;
        struct snapshot_row *bigger = mem_realloc(snapshot->rows, cap * sizeof *bigger);
        if (bigger == NULL)
            return ERROR_MEMORY;
        snapshot->rows = bigger;
        snapshot->cap = cap;
    }
    struct cq_event event = {.bucket = cut->bucket,
                             .generation = cut->generation,
                             .position = position,
                             .kind = kind,
                             .row = row,
                             .error = error,
                             .key = cut->key,
                             .time_ms = cut->time_ms};
    size_t offset = snapshot->encoded.len;
    enum error failed = cq_event_encode(&event, cut->arena, &snapshot->encoded);
    if (failed != OK)
        return failed;
    snapshot->rows[snapshot->count++] =
        (struct snapshot_row){.position = position,
                              .offset = (uint32_t)offset,
                              .len = (uint32_t)(snapshot->encoded.len - offset)};
    return OK;
}

static enum error on_result(void *arg, enum query_kind kind, const struct query_row *row)
{
    return add_row(arg, row->mark, (uint8_t)kind, row, NULL);
}

static enum error add_entry(struct cut *cut, const struct entry *entry)
{
    struct value key = value_load(entry_key(entry)), value = value_load(entry_value(entry));
    struct query_input input = {.key = &key, .value = &value, .time_ms = cut->time_ms};
    struct query_row row = {.mark = entry->seq};
    struct query_error why;
    bool admitted = false;
    if (value.type == VALUE_NULL)
        return OK; /* an entry without a value (putIfAbsent of null) is no row */
    arena_reset(cut->arena);
    cut->key = entry_key(entry);
    enum error error = query_admit(cut->instance->plan, &input, cut->arena, &admitted, &row, &why);
    if (error == ERROR_INVALID)
        return add_row(cut, entry->seq, QUERY_ROW_ERROR, NULL, why.message);
    if (error == OK && admitted)
        error = add_row(cut, entry->seq, QUERY_INSERT, &row, NULL);
    return error;
}

static int by_position(const void *a, const void *b)
{
    const struct snapshot_row *left = a, *right = b;
    return ring_before(left->position, right->position)
               ? -1
               : ring_before(right->position, left->position);
}

/* Where the snapshot ends and the ring goes on. The rows of an append-only query are those that
 * stood when the subscription began, and what changed since comes from the ring, event by event. A
 * changelog's reader must have a row before its changes, so its snapshot is of this moment, unless
 * there was nothing when it began. */
static struct ring_position cut_end(const struct cq_bucket *cqb, const struct token_position *from)
{
    struct ring_position end = ring_behind(cqb->bucket->data_seq), begin = ring_behind(from->begin);
    bool any = from->begin == BEGIN_ANY;
    bool covered = !any && !ring_before(begin, cqb->ring.floor);
    if (cqb->instance->append_only && !any)
        end = covered ? begin : cqb->ring.floor;
    else if (covered && cqb->began_empty && from->begin == cqb->begin_seq)
        end = begin;
    return ring_before(end, from->at) ? from->at : end;
}

/* The fault that PLANT_SEEDED_ORDER plants: the order of a table with a seed of its own. */
static void disorder(struct snapshot *snapshot, uint64_t seed)
{
    for (size_t i = 1; i < snapshot->count; i++) {
        size_t j = (size_t)(seed ^ snapshot->rows[i].position.seq) % (i + 1);
        struct snapshot_row row = snapshot->rows[i];
        snapshot->rows[i] = snapshot->rows[j];
        snapshot->rows[j] = row;
    }
}

enum error snapshot_cut(struct subscription *subscription, uint32_t index)
{
    struct cq_instance *instance = subscription->instance;
    struct cq_bucket *cqb = &instance->buckets[index];
    struct bucket *bucket = cqb->bucket;
    struct snapshot *snapshot = &subscription->snapshot;
    struct token_position *from = &subscription->buckets[index].position;
    struct entry **entries = NULL;
    size_t entry_count = 0;
    enum error error = OK;
    snapshot_fini(snapshot);
    buf_init(&snapshot->encoded);

    bucket_lock(bucket);
    struct ring_position end = cut_end(cqb, from);
    struct cut cut = {.snapshot = snapshot,
                      .instance = instance,
                      .arena = &bucket->scratch,
                      .bucket = index,
                      .generation = bucket->generation,
                      .time_ms = bucket->last_time_ms,
                      .sub = instance->append_only ? 0 : 1,
                      .above = from->at,
                      .up_to = end};
    if (!cq_bucket_is_ready_locked(cqb) || from->generation != bucket->generation) {
        error = ERROR_BUSY;
    } else if (instance->has_state) {
        arena_reset(cut.arena);
        error = query_state_each(cqb->state, cut.arena, on_result, &cut);
    } else {
        error = bucket_entries_locked(bucket, &entries, &entry_count);
    }
    snapshot->wait_seq = bucket->last_seq;
    snapshot->term = bucket->term;
    bucket_unlock(bucket);

    bucket_entries_sort(entries, entry_count);
    cut.arena = &subscription->worker->arena;
    for (size_t i = 0; i < entry_count && error == OK; i++)
        error = add_entry(&cut, entries[i]);
    bucket_entries_free(entries, entry_count);
    if (snapshot->count > 0 && PLANTED(PLANT_SEEDED_ORDER))
        disorder(snapshot, bucket->region->hash_seed);
    else if (snapshot->count > 0)
        qsort(snapshot->rows, snapshot->count, sizeof *snapshot->rows, by_position);
    snapshot->after = end;
    return error;
}
