/* The snapshot of one bucket: the current results of a plan with state, or the current entries
 * through a plan without. */
#include <stdlib.h>

#include "common/mem.h"
#include "common/plant.h"
#include "server/server.h"
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
    struct query_state_walk *walk; /* NULL: over entries */
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
    if (!ring_before(cut->above, position) ||
        (cut->walk == NULL && ring_before(cut->up_to, position)))
        return OK;
    if (snapshot->count == snapshot->cap) {
        size_t cap = snapshot->cap == 0 ? 16 : snapshot->cap * 2;
        struct snapshot_row *bigger = mem_realloc(snapshot->rows, cap * sizeof *bigger);
        if (bigger == NULL)
            return ERROR_MEMORY;
        snapshot->rows = bigger;
        snapshot->cap = cap;
    }
    struct snapshot_row added = {.position = position,
                                 .offset = (uint32_t)snapshot->encoded.len,
                                 .group =
                                     cut->walk == NULL ? 0 : query_state_walk_group(cut->walk)};
    struct cq_event event = {.bucket = cut->bucket,
                             .generation = cut->generation,
                             .position = position,
                             .kind = kind,
                             .row = row,
                             .error = error,
                             .key = cut->key,
                             .time_ms = cut->time_ms};
    enum error failed =
        kind == QUERY_DELETE ? OK : cq_event_encode(&event, cut->arena, &snapshot->encoded);
    if (failed != OK)
        return failed;
    added.len = (uint32_t)(snapshot->encoded.len - added.offset);
    snapshot->rows[snapshot->count++] = added;
    return OK;
}

/* A group that has no result any more leaves a row of no bytes. */
static enum error on_result(void *arg, enum query_kind kind, const struct query_row *row)
{
    return add_row(arg, row->mark, (uint8_t)kind, kind == QUERY_DELETE ? NULL : row, NULL);
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

/* ---- Plans with state ---- */

#define CUT_GROUPS 200u /* under one hold of the lock: less than LIMIT_SLICE_US */

/* Of the rows of one group the last one counts; what is behind the end comes from the ring. */
static enum error keep_last_rows(struct cut *cut, uint64_t groups)
{
    struct snapshot *snapshot = cut->snapshot;
    size_t kept = 0;
    uint32_t *last = mem_array((size_t)groups + 1, sizeof *last);
    if (last == NULL)
        return ERROR_MEMORY;
    for (size_t i = 0; i < snapshot->count; i++)
        last[snapshot->rows[i].group] = (uint32_t)i;
    for (size_t i = 0; i < snapshot->count; i++)
        if (last[snapshot->rows[i].group] == i && snapshot->rows[i].len > 0 &&
            !ring_before(cut->up_to, snapshot->rows[i].position))
            snapshot->rows[kept++] = snapshot->rows[i];
    snapshot->count = kept;
    mem_free(last);
    return OK;
}

static enum error begin_walk_locked(struct cut *cut, struct cq_bucket *cqb)
{
    if (cut->walk != NULL)
        return query_state_walk_is_of(cut->walk, cqb->state) ? OK : ERROR_BUSY;
    cut->walk = query_state_walk_new(cqb->state);
    return cut->walk == NULL ? ERROR_MEMORY : OK;
}

/* A slice of the groups; the last slice takes what is left, and is the moment of the snapshot. */
static enum error cut_groups_locked(struct cut *cut, struct cq_bucket *cqb, bool *done)
{
    enum error error = begin_walk_locked(cut, cqb);
    bool is_last = error == OK && query_state_walk_is_near(cut->walk, CUT_GROUPS);
    if (error == OK)
        error = query_state_walk_each(cut->walk, CUT_GROUPS, cut->arena, on_result, cut);
    *done = is_last || error != OK;
    return error;
}

/* ---- Both ---- */

static bool is_ready_locked(const struct cq_bucket *cqb, const struct token_position *from)
{
    return cq_bucket_is_ready_locked(cqb) && from->generation == cqb->bucket->generation;
}

static void note_moment_locked(struct cut *cut, struct cq_bucket *cqb,
                               const struct token_position *from)
{
    struct bucket *bucket = cqb->bucket;
    cut->up_to = cut_end(cqb, from);
    cut->generation = bucket->generation;
    cut->time_ms = bucket->last_time_ms;
    cut->snapshot->wait_seq = bucket->last_seq;
    cut->snapshot->term = bucket->term;
}

static enum error cut_state(struct cut *cut, struct cq_bucket *cqb,
                            const struct token_position *from)
{
    struct bucket *bucket = cqb->bucket;
    enum error error = OK;
    uint64_t groups = 0;
    for (bool done = false; !done && error == OK;) {
        bucket_lock(bucket);
        uint64_t began_us = server_hold_begin(bucket);
        error = is_ready_locked(cqb, from) ? OK : ERROR_BUSY;
        note_moment_locked(cut, cqb, from);
        if (error == OK)
            error = cut_groups_locked(cut, cqb, &done);
        if (done || error != OK) {
            groups = cqb->state == NULL ? 0 : query_state_group_count(cqb->state);
            query_state_walk_free(cut->walk);
            cut->walk = NULL;
        }
        server_hold_end(bucket, began_us);
        bucket_unlock(bucket);
    }
    return error == OK ? keep_last_rows(cut, groups) : error;
}

static enum error cut_entries(struct cut *cut, struct cq_bucket *cqb,
                              const struct token_position *from)
{
    struct entry **entries = NULL;
    size_t entry_count = 0;
    enum error error = ERROR_BUSY;
    bucket_lock(cqb->bucket);
    note_moment_locked(cut, cqb, from);
    if (is_ready_locked(cqb, from))
        error = bucket_entries_locked(cqb->bucket, &entries, &entry_count);
    bucket_unlock(cqb->bucket);

    bucket_entries_sort(entries, entry_count);
    for (size_t i = 0; i < entry_count && error == OK; i++)
        error = add_entry(cut, entries[i]);
    bucket_entries_free(entries, entry_count);
    return error;
}

enum error snapshot_cut(struct subscription *subscription, uint32_t index)
{
    struct cq_instance *instance = subscription->instance;
    struct cq_bucket *cqb = &instance->buckets[index];
    struct snapshot *snapshot = &subscription->snapshot;
    struct token_position *from = &subscription->buckets[index].position;
    struct cut cut = {.snapshot = snapshot,
                      .instance = instance,
                      .arena = &subscription->worker->arena,
                      .bucket = index,
                      .sub = instance->append_only ? 0 : 1,
                      .above = from->at};
    snapshot_fini(snapshot);
    buf_init(&snapshot->encoded);
    enum error error =
        instance->has_state ? cut_state(&cut, cqb, from) : cut_entries(&cut, cqb, from);
    if (snapshot->count > 0 && PLANTED(PLANT_SEEDED_ORDER))
        disorder(snapshot, cqb->bucket->region->hash_seed);
    else if (snapshot->count > 0)
        qsort(snapshot->rows, snapshot->count, sizeof *snapshot->rows, by_position);
    snapshot->after = cut.up_to;
    return error;
}
