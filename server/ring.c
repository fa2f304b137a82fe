#include "server/ring.h"

#include <assert.h>

#include "common/error.h"
#include "common/limits.h"
#include "common/mem.h"
#include "protocol/codec.h"

#define BLOCK_BYTES_MIN 1024u
#define BLOCK_BYTES_MAX (32u * 1024)

struct ring_header {
    uint64_t seq;
    uint32_t sub;
    uint32_t kind_and_len; /* kind in the top four bits */
};
#define KIND_SHIFT      28
#define KIND_MAX        15u
#define EVENT_BYTES_MAX ((1u << KIND_SHIFT) - 1)
static_assert(EVENT_BYTES_MAX > LIMIT_PEER_FRAME_BYTES, "the largest record has room");

struct ring_block {
    struct ring_block *next;
    uint64_t serial;
    uint64_t last_time_ms;
    struct ring_position last;
    uint32_t used, cap;
    uint8_t data[];
};

void ring_init(struct ring *ring, struct ring_position floor)
{
    *ring = (struct ring){.floor = floor, .last = floor};
}

void ring_renew(struct ring *ring, struct ring_position floor)
{
    struct ring empty;
    ring_init(&empty, floor);
    ring_move(ring, &empty);
}

void ring_move(struct ring *ring, const struct ring *from)
{
    uint64_t life = ring->life + 1;
    PRE(ring->oldest == NULL);
    *ring = *from;
    ring->life = life;
}

void ring_fini(struct ring *ring)
{
    while (ring_drop_oldest(ring) > 0)
        continue;
}

static size_t padded(size_t len)
{
    return (sizeof(struct ring_header) + len + 7) & ~(size_t)7;
}

/* Blocks grow with the ring, so that a query with many quiet buckets stays small. */
static struct ring_block *block_new(struct ring *ring, size_t need)
{
    size_t cap = ring->bytes / 2;
    if (cap < BLOCK_BYTES_MIN)
        cap = BLOCK_BYTES_MIN;
    if (cap > BLOCK_BYTES_MAX)
        cap = BLOCK_BYTES_MAX;
    if (cap < need)
        cap = need;
    struct ring_block *block = mem_alloc(sizeof *block + cap);
    if (block == NULL)
        return NULL;
    *block = (struct ring_block){.cap = (uint32_t)cap, .serial = ++ring->next_serial};
    if (ring->newest == NULL)
        ring->oldest = block;
    else
        ring->newest->next = block;
    ring->newest = block;
    ring->bytes += sizeof *block + cap;
    return block;
}

uint8_t *ring_append(struct ring *ring, struct ring_position position, uint8_t kind, size_t len,
                     uint64_t time_ms)
{
    PRE(ring_before(ring->last, position) && kind <= KIND_MAX);
    size_t need = padded(len);
    if (len > EVENT_BYTES_MAX)
        return NULL;
    struct ring_block *block = ring->newest;
    if (block == NULL || block->cap - block->used < need)
        block = block_new(ring, need);
    if (block == NULL)
        return NULL;
    struct ring_header header = {position.seq, position.sub,
                                 (uint32_t)kind << KIND_SHIFT | (uint32_t)len};
    uint8_t *at = block->data + block->used;
    memcpy(at, &header, sizeof header);
    block->used += (uint32_t)need;
    block->last = position;
    block->last_time_ms = time_ms;
    ring->last = position;
    return at + sizeof header;
}

bool ring_reserve(struct ring *ring, size_t len)
{
    if (len > EVENT_BYTES_MAX)
        return false;
    const struct ring_block *block = ring->newest;
    return (block != NULL && block->cap - block->used >= padded(len)) ||
           block_new(ring, padded(len)) != NULL;
}

uint64_t ring_drop_oldest(struct ring *ring)
{
    struct ring_block *block = ring->oldest;
    if (block == NULL)
        return 0;
    uint64_t bytes = sizeof *block + block->cap;
    ring->oldest = block->next;
    if (ring->oldest == NULL)
        ring->newest = NULL;
    if (ring_before(ring->floor, block->last))
        ring->floor = block->last;
    ring->bytes -= bytes;
    mem_free(block);
    return bytes;
}

uint64_t ring_drop_before(struct ring *ring, uint64_t time_ms)
{
    uint64_t bytes = 0;
    while (ring->oldest != NULL && ring->oldest->last_time_ms < time_ms)
        bytes += ring_drop_oldest(ring);
    return bytes;
}

uint64_t ring_drop_through(struct ring *ring, struct ring_position position)
{
    uint64_t bytes = 0;
    while (ring->oldest != NULL && !ring_before(position, ring->oldest->last))
        bytes += ring_drop_oldest(ring);
    return bytes;
}

/* The block where the events after `after` begin, by the hint if its block is still there: a block
 * that was freed has a serial below the oldest one's. */
static const struct ring_block *block_of(const struct ring *ring, struct ring_position after,
                                         const struct ring_hint *hint)
{
    if (hint->block != NULL && hint->life == ring->life && ring->oldest != NULL &&
        hint->serial >= ring->oldest->serial)
        return hint->block;
    const struct ring_block *block = ring->oldest;
    while (block != NULL && !ring_before(after, block->last))
        block = block->next;
    return block;
}

bool ring_next(const struct ring *ring, struct ring_position after, uint64_t limit_seq,
               struct ring_hint *hint, struct ring_event *event)
{
    PRE(!ring_before(after, ring->floor));
    if (!ring_before(after, ring->last))
        return false;
    const struct ring_block *block = block_of(ring, after, hint);
    /* The serial and not the address tells: a new block may lie where a freed one was. */
    bool is_there = block != NULL && hint->block != NULL && hint->life == ring->life &&
                    block->serial == hint->serial;
    uint32_t offset = is_there ? hint->offset : 0;
    for (; block != NULL; block = block->next, offset = 0) {
        while (offset < block->used) {
            struct ring_header header;
            memcpy(&header, block->data + offset, sizeof header);
            struct ring_position position = {header.seq, header.sub};
            uint32_t len = header.kind_and_len & EVENT_BYTES_MAX;
            const uint8_t *encoded = block->data + offset + sizeof header;
            if (ring_before(after, position)) {
                if (position.seq > limit_seq)
                    return false;
                *event = (struct ring_event){position, (uint8_t)(header.kind_and_len >> KIND_SHIFT),
                                             slice_of(encoded, len)};
                *hint = (struct ring_hint){block, block->serial, offset + (uint32_t)padded(len),
                                           ring->life};
                return true;
            }
            offset += (uint32_t)padded(len);
        }
    }
    return false;
}

/* ---- Packed: varints; each event is {seq above the one before, sub, kind, len, bytes} ---- */

static void pack_varint(struct buf *out, uint64_t value)
{
    uint8_t *at = buf_reserve(out, 10);
    if (at != NULL)
        out->len += (size_t)(codec_put_varint(at, value) - at);
}

static bool unpack_varint(struct slice *rest, uint64_t max, uint64_t *value)
{
    const uint8_t *end = rest->data + rest->len;
    const uint8_t *at = codec_get_varint(rest->data, end, value);
    if (at == NULL || *value > max)
        return false;
    *rest = slice_of(at, (size_t)(end - at));
    return true;
}

static void pack_position(struct buf *out, struct ring_position position)
{
    pack_varint(out, position.seq);
    pack_varint(out, position.sub);
}

static bool unpack_position(struct slice *rest, struct ring_position *position)
{
    uint64_t sub = 0;
    bool good =
        unpack_varint(rest, UINT64_MAX, &position->seq) && unpack_varint(rest, UINT32_MAX, &sub);
    position->sub = (uint32_t)sub;
    return good;
}

static struct ring_header header_at(const struct ring_block *block, uint32_t offset)
{
    struct ring_header header;
    memcpy(&header, block->data + offset, sizeof header);
    return header;
}

static uint32_t behind(uint32_t offset, struct ring_header header)
{
    return offset + (uint32_t)padded(header.kind_and_len & EVENT_BYTES_MAX);
}

void ring_pack(const struct ring *ring, struct buf *out)
{
    uint64_t blocks = 0, before = 0;
    for (const struct ring_block *block = ring->oldest; block != NULL; block = block->next)
        blocks++;
    pack_position(out, ring->floor);
    pack_position(out, ring->last);
    pack_varint(out, blocks);
    for (const struct ring_block *block = ring->oldest; block != NULL; block = block->next) {
        uint64_t events = 0;
        struct ring_header header;
        for (uint32_t at = 0; at < block->used; at = behind(at, header_at(block, at)))
            events++;
        pack_varint(out, block->last_time_ms);
        pack_varint(out, events);
        for (uint32_t at = 0; at < block->used; at = behind(at, header)) {
            header = header_at(block, at);
            uint32_t len = header.kind_and_len & EVENT_BYTES_MAX;
            pack_varint(out, header.seq - before);
            pack_varint(out, header.sub);
            buf_append_byte(out, (uint8_t)(header.kind_and_len >> KIND_SHIFT));
            pack_varint(out, len);
            buf_append(out, block->data + at + sizeof header, len);
            before = header.seq;
        }
    }
}

/* The next event; *position is that of the one before it. */
static bool unpack_event(struct slice *rest, struct ring_position *position, uint8_t *kind,
                         struct slice *encoded)
{
    uint64_t rise, sub, len;
    struct ring_position before = *position;
    if (!unpack_varint(rest, UINT64_MAX - before.seq, &rise) ||
        !unpack_varint(rest, UINT32_MAX, &sub) || rest->len == 0)
        return false;
    *kind = rest->data[0];
    if (*kind > KIND_MAX)
        return false;
    *rest = slice_of(rest->data + 1, rest->len - 1);
    if (!unpack_varint(rest, EVENT_BYTES_MAX, &len) || len > rest->len)
        return false;
    *encoded = slice_of(rest->data, len);
    *rest = slice_of(rest->data + len, rest->len - len);
    *position = (struct ring_position){before.seq + rise, (uint32_t)sub};
    return true;
}

/* One block, made as large as its events. `before` has the seq that the first one counts from. */
static enum error unpack_block(struct slice *rest, struct ring *ring, struct ring_position *before)
{
    uint64_t time_ms, events, need = 0;
    uint8_t kind;
    struct slice encoded;
    if (!unpack_varint(rest, UINT64_MAX, &time_ms) || !unpack_varint(rest, rest->len, &events) ||
        events == 0)
        return ERROR_MALFORMED;
    struct slice walk = *rest;
    struct ring_position position = *before, last = ring->last;
    for (uint64_t i = 0; i < events; i++) {
        if (!unpack_event(&walk, &position, &kind, &encoded) || !ring_before(last, position))
            return ERROR_MALFORMED;
        last = position;
        need += padded(encoded.len);
    }
    if (need > UINT32_MAX / 2)
        return ERROR_MALFORMED;
    struct ring_block *block = mem_alloc(sizeof *block + need);
    if (block == NULL)
        return ERROR_MEMORY;
    *block = (struct ring_block){.cap = (uint32_t)need, .serial = ++ring->next_serial};
    if (ring->newest == NULL)
        ring->oldest = block;
    else
        ring->newest->next = block;
    ring->newest = block;
    ring->bytes += sizeof *block + need;
    for (uint64_t i = 0; i < events; i++) {
        INVARIANT(unpack_event(rest, before, &kind, &encoded));
        uint8_t *at = ring_append(ring, *before, kind, encoded.len, time_ms);
        INVARIANT(at != NULL && ring->newest == block);
        memcpy(at, encoded.data, encoded.len);
    }
    return OK;
}

enum error ring_unpack(struct slice *rest, struct ring *ring)
{
    struct ring_position floor, last, before = {0, 0};
    uint64_t blocks;
    enum error error = OK;
    ring_init(ring, before);
    if (!unpack_position(rest, &floor) || !unpack_position(rest, &last) ||
        ring_before(last, floor) || !unpack_varint(rest, rest->len, &blocks))
        return ERROR_MALFORMED;
    ring_init(ring, floor);
    for (uint64_t i = 0; i < blocks && error == OK; i++)
        error = unpack_block(rest, ring, &before);
    if (error == OK && ring_before(last, ring->last))
        error = ERROR_MALFORMED;
    if (error != OK) {
        ring_fini(ring);
        return error;
    }
    ring->last = last;
    return OK;
}
