#include "server/cq_image.h"

#include <endian.h>
#include <xxhash.h>

#include "common/mem.h"
#include "common/plant.h"
#include "server/cq.h"
#include "server/region.h"
#include "server/rows_impl.h"
#include "server/trash.h"

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

/* ---- Ahead of the cut ---- */

#define PACK_GROUPS 400u /* at a time: less than LIMIT_SLICE_US */

struct cq_packing {
    struct cq_packing *next;
    const struct cq_bucket *cqb;
    struct query_state_packing *state;
};

static struct cq_packing *find_packing(const struct cq_packing *packings,
                                       const struct cq_bucket *cqb)
{
    while (packings != NULL && packings->cqb != cqb)
        packings = packings->next;
    return (struct cq_packing *)(uintptr_t)packings;
}

static struct cq_packing *packing_new(struct cq_packing **packings, const struct cq_bucket *cqb)
{
    struct cq_packing *packing = mem_zalloc(sizeof *packing);
    if (packing == NULL)
        return NULL;
    packing->cqb = cqb;
    packing->next = *packings;
    *packings = packing;
    return packing;
}

enum error cq_packing_step_locked(struct bucket *bucket, struct cq_packing **packings, bool *done)
{
    *done = true;
    for (struct cq_bucket *cqb = bucket->cqs; cqb != NULL && *done; cqb = cqb->next) {
        if (cqb->state == NULL)
            continue;
        struct cq_packing *packing = find_packing(*packings, cqb);
        if (packing == NULL)
            packing = packing_new(packings, cqb);
        if (packing == NULL)
            return ERROR_MEMORY;
        if (packing->state == NULL || !query_state_packing_is_of(packing->state, cqb->state)) {
            query_state_packing_free(packing->state);
            packing->state = query_state_packing_new(cqb->state);
        }
        if (packing->state == NULL)
            return ERROR_MEMORY;
        *done = query_state_packing_step(packing->state, PACK_GROUPS);
    }
    return OK;
}

void cq_packing_free_locked(struct cq_packing **packings)
{
    while (*packings != NULL) {
        struct cq_packing *packing = *packings;
        *packings = packing->next;
        query_state_packing_free(packing->state);
        mem_free(packing);
    }
}

static void pack_state(const struct cq_bucket *cqb, const struct cq_packing *packings,
                       struct buf *out)
{
    const struct cq_packing *packing = find_packing(packings, cqb);
    if (packing != NULL && packing->state != NULL &&
        query_state_packing_is_of(packing->state, cqb->state))
        query_state_packing_end(packing->state, out);
    else
        query_state_pack(cqb->state, out);
}

/* ---- The cut ---- */

static void pack_one(const struct cq_bucket *cqb, const struct cq_packing *packings,
                     struct buf *out)
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
        pack_state(cqb, packings, out);
}

void cq_image_pack_locked(const struct bucket *bucket, const struct cq_packing *packings,
                          struct buf *out)
{
    uint32_t count = 0;
    PRE(cq_image_is_quiet_locked(bucket));
    for (const struct cq_bucket *cqb = bucket->cqs; cqb != NULL; cqb = cqb->next)
        count++;
    rows_put32(out, count);
    for (const struct cq_bucket *cqb = bucket->cqs; cqb != NULL; cqb = cqb->next)
        pack_one(cqb, packings, out);
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
    ring_init(rows, floor);
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

struct cq_image {
    struct cq_image *next;
    struct bucket *bucket;
    struct cq_instance *instance; /* a reference */
    struct cq_bucket content;     /* what cq_image_install_locked() takes of it */
    bool failed;
};

void cq_image_free(struct cq_image *image)
{
    while (image != NULL) {
        struct cq_image *next = image->next;
        ring_fini(&image->content.ring);
        ring_fini(&image->content.rows);
        trash_state(trash_worker(image->bucket), image->content.state);
        mem_free(image->content.applied);
        cq_instance_unref(image->instance);
        mem_free(image);
        image = next;
    }
}

static struct cq_image *image_new(struct bucket *bucket, struct cq_instance *instance)
{
    struct cq_image *image = mem_zalloc(sizeof *image);
    if (image == NULL)
        return NULL;
    image->bucket = bucket;
    image->instance = cq_instance_ref(instance);
    image->content.instance = instance;
    ring_init(&image->content.ring, (struct ring_position){0});
    ring_init(&image->content.rows, (struct ring_position){0});
    return image;
}

static enum error unpack_content(struct cq_image *image, struct slice *rest)
{
    struct cq_bucket *cqb = &image->content;
    uint8_t flags;
    if (!rows_take(rest, &flags, 1) || !rows_take64(rest, &cqb->added_seq) ||
        !rows_take64(rest, &cqb->begin_seq) || !rows_take64(rest, &cqb->emitted_seq) ||
        !rows_take64(rest, &cqb->outputs) || !rows_take_position(rest, &cqb->own_last) ||
        ((flags & FLAG_STATE) != 0) != cqb->instance->has_state)
        return ERROR_MALFORMED;
    cqb->began_empty = (flags & FLAG_EMPTY) != 0;
    cqb->ready = (flags & FLAG_READY) != 0;
    image->failed = (flags & FLAG_FAILED) != 0;
    enum error error = unpack_applied(rest, cqb);
    if (error == OK)
        error = unpack_rows(rest, &cqb->rows);
    if (error == OK)
        error = ring_unpack(rest, &cqb->ring);
    if (error == OK && cqb->instance->has_state)
        error = query_state_unpack(cqb->instance->plan, rest, &cqb->state);
    return error;
}

static bool has_instance(const struct cq_image *image, const struct cq_instance *instance)
{
    while (image != NULL && image->instance != instance)
        image = image->next;
    return image != NULL;
}

/* Only under a bucket's lock one that was found is sure to be there still. */
static enum error find_instance(struct bucket *bucket, uint64_t query_id, struct cq_image **made)
{
    bucket_lock(bucket);
    struct cq_instance *instance = cq_instance_find(bucket->region, query_id);
    *made = instance == NULL ? NULL : image_new(bucket, instance);
    bucket_unlock(bucket);
    return instance == NULL ? ERROR_BUSY : *made == NULL ? ERROR_MEMORY : OK;
}

static enum error unpack_one(struct bucket *bucket, struct slice *rest, struct cq_image **first)
{
    struct cq_image *made, **end = first;
    uint64_t query_id;
    if (!rows_take64(rest, &query_id))
        return ERROR_MALFORMED;
    enum error error = find_instance(bucket, query_id, &made);
    if (error != OK)
        return error;
    bool is_again = has_instance(*first, made->instance);
    while (*end != NULL)
        end = &(*end)->next;
    *end = made;
    return is_again ? ERROR_MALFORMED : unpack_content(made, rest);
}

enum error cq_image_unpack(struct bucket *bucket, struct slice packed, struct cq_image **image)
{
    uint32_t count;
    *image = NULL;
    enum error error = rows_take32(&packed, &count) ? OK : ERROR_MALFORMED;
    for (uint32_t i = 0; error == OK && i < count; i++)
        error = unpack_one(bucket, &packed, image);
    if (error == OK && packed.len > 0)
        error = ERROR_MALFORMED;
    if (error != OK) {
        cq_image_free(*image);
        *image = NULL;
    }
    return error;
}

bool cq_image_is_known_locked(const struct bucket *bucket, const struct cq_image *image)
{
    while (image != NULL &&
           cq_instance_find(bucket->region, image->instance->id) == image->instance)
        image = image->next;
    return image == NULL;
}

static void install_one(struct bucket *bucket, struct cq_image *image)
{
    const struct cq_bucket *from = &image->content;
    struct cq_bucket *cqb = &image->instance->buckets[bucket->id];
    PRE(!cqb->active);
    cqb->added_seq = from->added_seq;
    cqb->begin_seq = from->begin_seq;
    cqb->emitted_seq = from->emitted_seq;
    cqb->outputs = from->outputs;
    cqb->own_last = from->own_last;
    cqb->began_empty = from->began_empty;
    cqb->ready = from->ready;
    cqb->ready_seq = bucket->last_seq;
    cqb->applied = from->applied;
    cqb->applied_count = from->applied_count;
    cqb->applied_cap = from->applied_cap;
    ring_move(&cqb->rows, &from->rows);
    ring_move(&cqb->ring, &from->ring);
    cqb->state = from->state;
    /* Given back by cq_bucket_fini_locked(). */
    atomic_fetch_add(&image->instance->ring_bytes, cqb->ring.bytes);
    if (image->failed)
        cq_instance_fail(image->instance);
    cq_bucket_begin_locked(cqb);
    cq_instance_unref(image->instance);
    mem_free(image);
}

void cq_image_install_locked(struct bucket *bucket, struct cq_image *image)
{
    PRE(bucket->cqs == NULL);
    while (image != NULL) {
        struct cq_image *next = image->next;
        install_one(bucket, image);
        image = next;
    }
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
