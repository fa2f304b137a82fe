#include "server/ring.h"

#include "common/error.h"
#include "common/mem.h"

#define BLOCK_BYTES_MIN 1024u
#define BLOCK_BYTES_MAX (32u * 1024)

struct ring_header {
    uint64_t seq;
    uint32_t sub;
    uint32_t kind_and_len; /* kind in the top byte */
};
#define EVENT_BYTES_MAX ((1u << 24) - 1)

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
    PRE(ring_before(ring->last, position));
    size_t need = padded(len);
    if (len > EVENT_BYTES_MAX)
        return NULL;
    struct ring_block *block = ring->newest;
    if (block == NULL || block->cap - block->used < need)
        block = block_new(ring, need);
    if (block == NULL)
        return NULL;
    struct ring_header header = {position.seq, position.sub, (uint32_t)kind << 24 | (uint32_t)len};
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

uint64_t ring_raise_floor(struct ring *ring, struct ring_position position)
{
    uint64_t bytes = 0;
    while (ring->oldest != NULL && !ring_before(position, ring->oldest->last))
        bytes += ring_drop_oldest(ring);
    if (ring_before(ring->floor, position))
        ring->floor = position;
    if (ring_before(ring->last, position))
        ring->last = position;
    return bytes;
}

/* The block where the events after `after` begin, by the hint if its block is still there: a block
 * that was freed has a serial below the oldest one's. */
static const struct ring_block *block_of(const struct ring *ring, struct ring_position after,
                                         const struct ring_hint *hint)
{
    if (hint->block != NULL && ring->oldest != NULL && hint->serial >= ring->oldest->serial)
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
    uint32_t offset =
        block != NULL && hint->block != NULL && block->serial == hint->serial ? hint->offset : 0;
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
                *event = (struct ring_event){position, (uint8_t)(header.kind_and_len >> 24),
                                             slice_of(encoded, len)};
                *hint = (struct ring_hint){block, block->serial, offset + (uint32_t)padded(len)};
                return true;
            }
            offset += (uint32_t)padded(len);
        }
    }
    return false;
}
