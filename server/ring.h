/* The recent outputs of one continuous query in one bucket, encoded once for all who read them.
 *
 * Events lie in blocks, oldest first. What does not fit the budget is dropped from the front;
 * `floor` is the identity of the last event that was dropped (or was never kept), so a reader whose
 * position is below it has missed something and is told (GAP). Guarded by the bucket's lock. */
#ifndef VUG_SERVER_RING_H
#define VUG_SERVER_RING_H

#include "common/buf.h"
#include "common/error.h"

struct ring_position { /* of an event; events of one bucket are ordered by it */
    uint64_t seq;
    uint32_t sub;
};

static inline bool ring_before(struct ring_position a, struct ring_position b)
{
    return a.seq != b.seq ? a.seq < b.seq : a.sub < b.sub;
}

/* Behind every event of the records up to `seq`. */
static inline struct ring_position ring_behind(uint64_t seq)
{
    return (struct ring_position){seq, seq == 0 ? 0 : UINT32_MAX};
}

struct ring_block;

struct ring {
    struct ring_block *oldest, *newest;
    uint64_t bytes;
    uint64_t next_serial; /* of a block; never used twice, so that a stale hint is known */
    uint64_t life;        /* ... but in another life of the ring */
    struct ring_position floor;
    struct ring_position last; /* of the newest event, or the floor */
};

void ring_init(struct ring *ring, struct ring_position floor);
void ring_fini(struct ring *ring);
/* The same as ring_init() for one that is zeroed or has ended: another life begins, so that whoever
 * still has a hint into the former one does not look there. */
void ring_renew(struct ring *ring, struct ring_position floor);
/* Another life of `ring`, zeroed or ended, begins with what is in `from`, which is no ring then. */
void ring_move(struct ring *ring, const struct ring *from);

/* Room for one event of `len` encoded bytes; its kind (at most 15) is given apart, because
 * encodings differ by it. NULL without memory: the caller then raises the floor. */
uint8_t *ring_append(struct ring *ring, struct ring_position position, uint8_t kind, size_t len,
                     uint64_t time_ms);

/* Makes room, so that the next ring_append() of up to `len` bytes cannot fail. False without
 * memory, or if it is too long. */
bool ring_reserve(struct ring *ring, size_t len);

/* Drops the oldest block. Returns the bytes that it held; 0 if there is none. */
uint64_t ring_drop_oldest(struct ring *ring);
/* Drops whole blocks that ended before `time_ms`; returns their bytes. */
uint64_t ring_drop_before(struct ring *ring, uint64_t time_ms);
/* Forgets everything up to and including `position`, kept or not; returns the bytes dropped. */
uint64_t ring_drop_through(struct ring *ring,
                           struct ring_position position); /* only what is kept */
static inline uint64_t ring_raise_floor(struct ring *ring, struct ring_position position)
{
    uint64_t bytes = ring->oldest == NULL ? 0 : ring_drop_through(ring, position);
    if (ring_before(ring->floor, position))
        ring->floor = position;
    if (ring_before(ring->last, position))
        ring->last = position;
    return bytes;
}

/* The next event after `after`, not above `limit_seq`; false if there is none. Must not be below
 * the floor. `hint` starts zeroed and makes the next call cheap. */
struct ring_event {
    struct ring_position position;
    uint8_t kind;
    struct slice encoded;
};
struct ring_hint {
    const struct ring_block *block;
    uint64_t serial;
    uint32_t offset;
    uint64_t life;
};
bool ring_next(const struct ring *ring, struct ring_position after, uint64_t limit_seq,
               struct ring_hint *hint, struct ring_event *event);

/* The whole ring, for an image: floor, last and all events, in the blocks by which they are
 * dropped. out->failed without memory. */
void ring_pack(const struct ring *ring, struct buf *out);
/* Takes a packed ring off `rest` and makes an equal one of it; whatever `ring` was is overwritten.
 * ERROR_MALFORMED, ERROR_MEMORY: the ring is empty, with nothing to free. */
enum error ring_unpack(struct slice *rest, struct ring *ring);

#endif
