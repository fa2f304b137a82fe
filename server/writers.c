#include "server/writers.h"

#include <string.h>

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
