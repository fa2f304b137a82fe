#include "server/writers.h"

#include <string.h>
#include <xxhash.h>

#include "common/limits.h"
#include "common/mem.h"

#define WINDOW_WORDS (LIMIT_WRITER_WINDOW / 64)

struct writer {
    uint8_t id[16];
    uint64_t completed_through;
    uint64_t seen_ms;
    /* Bit s mod window: sequence s, above completed_through, was applied. */
    uint64_t applied[WINDOW_WORDS];
};

void writers_init(struct writers *writers)
{
    memset(writers, 0, sizeof *writers);
}

void writers_fini(struct writers *writers)
{
    for (uint32_t i = 0; i < writers->slot_count; i++)
        mem_free(writers->slots[i]);
    mem_free(writers->slots);
    memset(writers, 0, sizeof *writers);
}

/* The id is random, so its first bytes serve as the hash. */
static uint32_t slot_of(const struct writers *writers, const uint8_t id[16])
{
    uint32_t hash;
    memcpy(&hash, id, sizeof hash);
    uint32_t slot = hash & (writers->slot_count - 1);
    while (writers->slots[slot] != NULL && memcmp(writers->slots[slot]->id, id, 16) != 0)
        slot = (slot + 1) & (writers->slot_count - 1);
    return slot;
}

static struct writer *find(const struct writers *writers, const uint8_t id[16])
{
    return writers->slot_count == 0 ? NULL : writers->slots[slot_of(writers, id)];
}

static enum error resize(struct writers *writers, uint32_t slot_count)
{
    struct writers bigger = {
        .slot_count = slot_count, .count = writers->count, .oldest_ms = writers->oldest_ms};
    bigger.slots = mem_array(slot_count, sizeof *bigger.slots);
    if (bigger.slots == NULL)
        return ERROR_MEMORY;
    for (uint32_t i = 0; i < writers->slot_count; i++)
        if (writers->slots[i] != NULL)
            bigger.slots[slot_of(&bigger, writers->slots[i]->id)] = writers->slots[i];
    mem_free(writers->slots);
    *writers = bigger;
    return OK;
}

/* Forgets who has been idle for LIMIT_WRITER_IDLE_MS of record time. Looks only when somebody can
 * be that old. */
static enum error expire(struct writers *writers, uint64_t time_ms)
{
    if (writers->count == 0 || time_ms < writers->oldest_ms + LIMIT_WRITER_IDLE_MS)
        return OK;
    uint64_t oldest_ms = time_ms;
    uint32_t kept = 0;
    struct writer **old = writers->slots;
    uint32_t old_count = writers->slot_count;
    struct writer **slots = mem_array(old_count, sizeof *slots);
    if (slots == NULL)
        return ERROR_MEMORY;
    writers->slots = slots;
    for (uint32_t i = 0; i < old_count; i++) {
        struct writer *writer = old[i];
        if (writer == NULL)
            continue;
        if (time_ms >= writer->seen_ms + LIMIT_WRITER_IDLE_MS) {
            mem_free(writer);
            continue;
        }
        if (writer->seen_ms < oldest_ms)
            oldest_ms = writer->seen_ms;
        slots[slot_of(writers, writer->id)] = writer;
        kept++;
    }
    mem_free(old);
    writers->count = kept;
    writers->oldest_ms = oldest_ms;
    return OK;
}

/* What is above the window that the bits stand for was never seen here: its bit still belongs to an
 * earlier sequence. */
static bool is_applied(const struct writer *writer, uint64_t sequence)
{
    uint64_t bit = sequence % LIMIT_WRITER_WINDOW;
    if (sequence - writer->completed_through > LIMIT_WRITER_WINDOW)
        return false;
    return (writer->applied[bit / 64] >> (bit % 64) & 1) != 0;
}

enum error writers_check(struct writers *writers, const struct writer_mark *mark, uint64_t time_ms,
                         bool *repeated)
{
    *repeated = false;
    enum error error = expire(writers, time_ms);
    if (error != OK)
        return error;
    struct writer *writer = find(writers, mark->id);
    uint64_t completed_through = mark->completed_through;
    if (writer != NULL && writer->completed_through > completed_through)
        completed_through = writer->completed_through;
    if (mark->sequence > completed_through &&
        mark->sequence - completed_through > LIMIT_WRITER_WINDOW)
        return ERROR_LIMIT;
    if (mark->sequence <= completed_through) {
        *repeated = true;
        return OK;
    }
    if (writer != NULL) {
        *repeated = is_applied(writer, mark->sequence);
        return OK;
    }
    if (writers->count >= LIMIT_WRITERS_PER_BUCKET)
        return ERROR_BUSY;
    if ((writers->count + 1) * 2 > writers->slot_count) {
        error = resize(writers, writers->slot_count == 0 ? 8 : writers->slot_count * 2);
        if (error != OK)
            return error;
    }
    writer = mem_zalloc(sizeof *writer);
    if (writer == NULL)
        return ERROR_MEMORY;
    memcpy(writer->id, mark->id, 16);
    writer->completed_through = mark->completed_through;
    writer->seen_ms = time_ms;
    if (writers->count == 0 || time_ms < writers->oldest_ms)
        writers->oldest_ms = time_ms;
    writers->slots[slot_of(writers, mark->id)] = writer;
    writers->count++;
    return OK;
}

void writers_note(struct writers *writers, const struct writer_mark *mark, uint64_t time_ms)
{
    struct writer *writer = find(writers, mark->id);
    INVARIANT(writer != NULL);
    uint64_t from = writer->completed_through;
    if (mark->completed_through > from) {
        /* The sequences that are now complete leave the window; their bits serve later ones. */
        uint64_t steps = mark->completed_through - from;
        if (steps >= LIMIT_WRITER_WINDOW)
            memset(writer->applied, 0, sizeof writer->applied);
        else
            for (uint64_t s = from + 1; s <= mark->completed_through; s++)
                writer->applied[s % LIMIT_WRITER_WINDOW / 64] &= ~(1ull << (s % 64));
        writer->completed_through = mark->completed_through;
    }
    uint64_t bit = mark->sequence % LIMIT_WRITER_WINDOW;
    writer->applied[bit / 64] |= 1ull << (bit % 64);
    writer->seen_ms = time_ms;
}

/* ---- Images ---- */

/* writers_check() makes a writer before its record is applied, which may fail. Once one operation
 * was applied, a bit is set for ever: that of the last one. */
static bool has_written(const struct writer *writer)
{
    uint64_t any = 0;
    for (uint32_t i = 0; i < WINDOW_WORDS; i++)
        any |= writer->applied[i];
    return any != 0;
}

static void put_fixed(struct buf *out, uint64_t value)
{
    uint8_t bytes[8];
    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(value >> (8 * i));
    buf_append(out, bytes, sizeof bytes);
}

static uint64_t get_fixed(const uint8_t *at)
{
    uint64_t value = 0;
    for (int i = 0; i < 8; i++)
        value |= (uint64_t)at[i] << (8 * i);
    return value;
}

/* count, then of each: id, completed_through, seen_ms, window; integers of 8 bytes, low first. */
enum { PACKED_BYTES = 16 + 8 + 8 + 8 * WINDOW_WORDS };

void writers_pack(const struct writers *writers, struct buf *out)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < writers->slot_count; i++)
        count += writers->slots[i] != NULL && has_written(writers->slots[i]);
    put_fixed(out, count);
    for (uint32_t i = 0; i < writers->slot_count; i++) {
        const struct writer *writer = writers->slots[i];
        if (writer == NULL || !has_written(writer))
            continue;
        buf_append(out, writer->id, sizeof writer->id);
        put_fixed(out, writer->completed_through);
        put_fixed(out, writer->seen_ms);
        for (uint32_t w = 0; w < WINDOW_WORDS; w++)
            put_fixed(out, writer->applied[w]);
    }
}

static enum error unpack_writer(const uint8_t *at, struct writers *writers)
{
    if (find(writers, at) != NULL)
        return ERROR_MALFORMED;
    struct writer *writer = mem_zalloc(sizeof *writer);
    if (writer == NULL)
        return ERROR_MEMORY;
    memcpy(writer->id, at, sizeof writer->id);
    writer->completed_through = get_fixed(at + 16);
    writer->seen_ms = get_fixed(at + 24);
    for (uint32_t w = 0; w < WINDOW_WORDS; w++)
        writer->applied[w] = get_fixed(at + 32 + (size_t)8 * w);
    if (writers->count == 0 || writer->seen_ms < writers->oldest_ms)
        writers->oldest_ms = writer->seen_ms;
    writers->slots[slot_of(writers, writer->id)] = writer;
    writers->count++;
    return OK;
}

enum error writers_unpack(struct slice *rest, struct writers *writers)
{
    PRE(writers->count == 0);
    if (rest->len < 8)
        return ERROR_MALFORMED;
    uint64_t count = get_fixed(rest->data);
    if (count > LIMIT_WRITERS_PER_BUCKET || count > (rest->len - 8) / PACKED_BYTES)
        return ERROR_MALFORMED;
    uint32_t slots = 8;
    while (slots < count * 2)
        slots *= 2;
    enum error error = count == 0 ? OK : resize(writers, slots);
    for (uint64_t i = 0; i < count && error == OK; i++)
        error = unpack_writer(rest->data + 8 + i * PACKED_BYTES, writers);
    if (error != OK) {
        writers_fini(writers);
        return error;
    }
    *rest = slice_of(rest->data + 8 + count * PACKED_BYTES, rest->len - 8 - count * PACKED_BYTES);
    return OK;
}

uint64_t writers_hash(const struct writers *writers, uint64_t time_ms)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < writers->slot_count; i++) {
        const struct writer *writer = writers->slots[i];
        if (writer == NULL || !has_written(writer) ||
            time_ms >= writer->seen_ms + LIMIT_WRITER_IDLE_MS)
            continue;
        uint64_t words[2] = {writer->completed_through, writer->seen_ms};
        uint64_t hash = XXH3_64bits(writer->id, sizeof writer->id);
        hash = XXH3_64bits_withSeed(words, sizeof words, hash);
        sum += XXH3_64bits_withSeed(writer->applied, sizeof writer->applied, hash);
    }
    return sum;
}
