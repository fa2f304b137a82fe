#include "server/cq_image.h"

#include <endian.h>
#include <xxhash.h>

#include "common/mem.h"
#include "common/plant.h"
#include "server/cq.h"
#include "server/region.h"
#include "server/rows_impl.h"

bool cq_image_is_quiet_locked(const struct bucket *bucket)
{
    for (const struct cq_bucket *cqb = bucket->cqs; cqb != NULL; cqb = cqb->next)
        if (cqb->input_count > 0)
            return false;
    return true;
}

/* ---- Out ---- */

enum { FLAG_EMPTY = 1, FLAG_READY = 2, FLAG_STATE = 4, FLAG_FAILED = 8 };

static void pack_ring(const struct ring *ring, bool empty, struct buf *out)
{
    struct ring nothing;
    ring_init(&nothing, ring->last);
    ring_pack(empty ? &nothing : ring, out);
}

/* What lies above the floor: a trim may stand in the middle of a block. */
static void pack_rows(const struct ring *rows, struct buf *out)
{
    struct ring_hint hint = {0};
    struct ring_event event;
    struct ring_position at = rows->floor;
    rows_put_position(out, rows->floor);
    rows_put_position(out, rows->last);
    while (ring_next(rows, at, UINT64_MAX, &hint, &event)) {
        rows_put_position(out, event.position);
        rows_put32(out, (uint32_t)event.encoded.len);
        buf_append_slice(out, event.encoded);
        at = event.position;
    }
    rows_put_position(out, rows->floor); /* nothing follows */
}

static void pack_one(const struct cq_bucket *cqb, struct buf *out)
{
    bool failed = atomic_load(&cqb->instance->failed);
    rows_put64(out, cqb->instance->id);
    buf_append_byte(out,
                    (uint8_t)((cqb->began_empty ? FLAG_EMPTY : 0) | (cqb->ready ? FLAG_READY : 0) |
                              (cqb->state != NULL ? FLAG_STATE : 0) | (failed ? FLAG_FAILED : 0)));
    rows_put64(out, cqb->added_seq);
    rows_put64(out, cqb->begin_seq);
    rows_put64(out, cqb->emitted_seq);
    rows_put64(out, cqb->outputs);
    rows_put_position(out, cqb->own_last);
    rows_put32(out, cqb->applied_count);
    for (uint32_t i = 0; i < cqb->applied_count; i++) {
        rows_put32(out, cqb->applied[i].bucket);
        rows_put32(out, cqb->applied[i].generation);
        rows_put_position(out, cqb->applied[i].position);
    }
    pack_rows(&cqb->rows, out);
    pack_ring(&cqb->ring, PLANTED(PLANT_IMAGE_WITHOUT_RING), out);
    if (cqb->state != NULL)
        query_state_pack(cqb->state, out);
}

void cq_image_pack_locked(const struct bucket *bucket, struct buf *out)
{
    uint32_t count = 0;
    PRE(cq_image_is_quiet_locked(bucket));
    for (const struct cq_bucket *cqb = bucket->cqs; cqb != NULL; cqb = cqb->next)
        count++;
    rows_put32(out, count);
    for (const struct cq_bucket *cqb = bucket->cqs; cqb != NULL; cqb = cqb->next)
        pack_one(cqb, out);
}

/* ---- In ---- */

static bool take_applied(struct slice *rest, struct cq_applied *applied)
{
    return rows_take32(rest, &applied->bucket) && rows_take32(rest, &applied->generation) &&
           rows_take_position(rest, &applied->position);
}

enum { APPLIED_BYTES = 20 };

static enum error unpack_applied(struct slice *rest, struct cq_bucket *cqb)
{
    uint32_t count;
    if (!rows_take32(rest, &count) || count > rest->len / APPLIED_BYTES ||
        count > cqb->instance->region->bucket_count)
        return ERROR_MALFORMED;
    cqb->applied = count == 0 ? NULL : mem_array(count, sizeof *cqb->applied);
    if (count > 0 && cqb->applied == NULL)
        return ERROR_MEMORY;
    cqb->applied_count = cqb->applied_cap = count;
    for (uint32_t i = 0; i < count; i++)
        if (!take_applied(rest, &cqb->applied[i]) ||
            (i > 0 && cqb->applied[i - 1].bucket >= cqb->applied[i].bucket))
            return ERROR_MALFORMED;
    return OK;
}

static enum error unpack_rows(struct slice *rest, struct ring *rows)
{
    struct ring_position floor, last, position;
    uint32_t len;
    if (!rows_take_position(rest, &floor) || !rows_take_position(rest, &last) ||
        ring_before(last, floor))
        return ERROR_MALFORMED;
    ring_renew(rows, floor);
    for (;;) {
        if (!rows_take_position(rest, &position))
            return ERROR_MALFORMED;
        if (!ring_before(floor, position))
            break;
        if (!ring_before(rows->last, position) || !rows_take32(rest, &len) || len > rest->len ||
            len < CQ_ROW_HEAD_BYTES || len > LIMIT_ROWS_BYTES / 2)
            return ERROR_MALFORMED;
        uint8_t *at = ring_append(rows, position, 0, len, 0);
        if (at == NULL)
            return ERROR_MEMORY;
        memcpy(at, rest->data, len);
        *rest = slice_of(rest->data + len, rest->len - len);
    }
    if (ring_before(last, rows->last))
        return ERROR_MALFORMED;
    rows->last = last;
    return OK;
}

static enum error unpack_content(struct cq_bucket *cqb, struct slice *rest)
{
    uint8_t flags;
    if (!rows_take(rest, &flags, 1) || !rows_take64(rest, &cqb->added_seq) ||
        !rows_take64(rest, &cqb->begin_seq) || !rows_take64(rest, &cqb->emitted_seq) ||
        !rows_take64(rest, &cqb->outputs) || !rows_take_position(rest, &cqb->own_last) ||
        ((flags & FLAG_STATE) != 0) != cqb->instance->has_state)
        return ERROR_MALFORMED;
    cqb->began_empty = (flags & FLAG_EMPTY) != 0;
    cqb->ready = (flags & FLAG_READY) != 0;
    enum error error = unpack_applied(rest, cqb);
    if (error == OK)
        error = unpack_rows(rest, &cqb->rows);
    if (error == OK)
        error = ring_unpack(rest, &cqb->ring);
    if (error == OK) /* given back by cq_bucket_fini_locked() */
        atomic_fetch_add(&cqb->instance->ring_bytes, cqb->ring.bytes);
    if (error == OK && cqb->instance->has_state)
        error = query_state_unpack(cqb->instance->plan, rest, &cqb->state);
    if (error == OK && (flags & FLAG_FAILED) != 0)
        cq_instance_fail(cqb->instance);
    return error;
}

/* Begins one in the bucket when all of it is there. */
static enum error unpack_one(struct bucket *bucket, struct slice *rest)
{
    uint64_t query_id;
    if (!rows_take64(rest, &query_id))
        return ERROR_MALFORMED;
    struct cq_instance *instance = cq_instance_find(bucket->region, query_id);
    if (instance == NULL)
        return ERROR_BUSY;
    struct cq_bucket *cqb = &instance->buckets[bucket->id];
    if (cqb->active)
        return ERROR_MALFORMED;
    ring_renew(&cqb->ring, (struct ring_position){0});
    ring_renew(&cqb->rows, (struct ring_position){0});
    enum error error = unpack_content(cqb, rest);
    cqb->ready_seq = bucket->last_seq;
    if (error == OK)
        cq_bucket_begin_locked(cqb);
    else
        cq_bucket_fini_locked(cqb);
    return error;
}

enum error cq_image_unpack_locked(struct bucket *bucket, struct slice packed)
{
    uint32_t count;
    PRE(bucket->cqs == NULL);
    enum error error = rows_take32(&packed, &count) ? OK : ERROR_MALFORMED;
    for (uint32_t i = 0; error == OK && i < count; i++)
        error = unpack_one(bucket, &packed);
    if (error == OK && packed.len > 0)
        error = ERROR_MALFORMED;
    if (error != OK)
        cq_bucket_free_all(bucket);
    return error;
}

/* ---- Hash ---- */

static uint64_t hash_rows(const struct ring *rows, uint64_t hash)
{
    struct ring_hint hint = {0};
    struct ring_event event;
    struct ring_position at = rows->floor;
    while (ring_next(rows, at, UINT64_MAX, &hint, &event)) {
        uint64_t place[] = {htole64(event.position.seq), htole64(event.position.sub)};
        hash = XXH3_64bits_withSeed(place, sizeof place, hash);
        hash = XXH3_64bits_withSeed(event.encoded.data, event.encoded.len, hash);
        at = event.position;
    }
    return hash;
}

static uint64_t hash_one(const struct cq_bucket *cqb)
{
    uint64_t facts[] = {cqb->instance->id,
                        cqb->added_seq,
                        cqb->begin_seq,
                        cqb->began_empty,
                        cqb->ready,
                        cqb->own_last.seq,
                        cqb->rows.floor.seq,
                        cqb->rows.floor.sub,
                        cqb->ring.last.seq,
                        cqb->ring.last.sub,
                        cqb->state == NULL ? 0 : query_state_hash(cqb->state)};
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++)
        facts[i] = htole64(facts[i]);
    uint64_t hash = hash_rows(&cqb->rows, XXH3_64bits(facts, sizeof facts));
    for (uint32_t i = 0; i < cqb->applied_count; i++) {
        uint64_t applied[] = {htole64(cqb->applied[i].bucket), htole64(cqb->applied[i].generation),
                              htole64(cqb->applied[i].position.seq),
                              htole64(cqb->applied[i].position.sub)};
        hash = XXH3_64bits_withSeed(applied, sizeof applied, hash);
    }
    return hash;
}

uint64_t cq_image_summary_locked(const struct bucket *bucket)
{
    uint64_t sum = 0;
    for (const struct cq_bucket *cqb = bucket->cqs; cqb != NULL; cqb = cqb->next) {
        uint64_t facts[] = {htole64(cqb->instance->id),
                            htole64(cqb->outputs),
                            htole64(cqb->ready),
                            htole64(cqb->rows.last.seq),
                            htole64(cqb->rows.last.sub),
                            htole64(cqb->state == NULL ? 0 : query_state_group_count(cqb->state))};
        sum += XXH3_64bits(facts, sizeof facts);
    }
    return sum;
}

uint64_t cq_image_hash_locked(const struct bucket *bucket)
{
    uint64_t sum = 0;
    for (const struct cq_bucket *cqb = bucket->cqs; cqb != NULL; cqb = cqb->next)
        sum += hash_one(cqb);
    return sum;
}
