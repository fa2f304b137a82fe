#include "server/table.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "common/mem.h"

#define LINE_SLOTS  7
#define LINE_TARGET 5 /* entries for each line, on average, at which the table grows */

struct table_line {
    uint8_t tags[LINE_SLOTS]; /* 0 marks a free slot */
    uint8_t overflow;         /* the last slot is a line */
    union {
        struct entry *entries[LINE_SLOTS];
        struct table_line *lines[LINE_SLOTS];
    };
};
_Static_assert(sizeof(struct table_line) == 64, "a line is a cache line");

struct entry *entry_new(struct slice key, struct slice value, uint64_t hash, uint64_t seq)
{
    struct entry *entry = mem_alloc(sizeof *entry + key.len + value.len);
    if (entry == NULL)
        return NULL;
    atomic_init(&entry->refs, 1);
    entry->hash = (uint32_t)hash;
    entry->key_len = (uint32_t)key.len;
    entry->value_len = (uint32_t)value.len;
    entry->seq = seq;
    memcpy(entry->data, key.data, key.len);
    memcpy(entry->data + key.len, value.data, value.len);
    return entry;
}

struct entry *entry_ref(struct entry *entry)
{
    atomic_fetch_add_explicit(&entry->refs, 1, memory_order_relaxed);
    return entry;
}

/* Who has the only reference is alone with it: nobody can take another one, so the last one goes
 * without a locked instruction. */
void entry_unref(struct entry *entry)
{
    if (entry != NULL && (atomic_load_explicit(&entry->refs, memory_order_acquire) == 1 ||
                          atomic_fetch_sub_explicit(&entry->refs, 1, memory_order_acq_rel) == 1))
        mem_free(entry);
}

uint64_t table_hash(struct slice key, uint64_t seed)
{
    return XXH3_64bits_withSeed(key.data, key.len, seed);
}

/* The tag comes from the high half, the line from the low half; 0 is kept for free slots. */
static uint8_t tag_of(uint32_t hash)
{
    uint8_t tag = (uint8_t)(hash * 0x9E3779B1u >> 24);
    return tag == 0 ? 1 : tag;
}

static uint32_t line_count(const struct table *table)
{
    return atomic_load_explicit(&table->line_count, memory_order_relaxed);
}

static uint32_t level(const struct table *table)
{
    return atomic_load_explicit(&table->level, memory_order_relaxed);
}

static struct table_line *segment_at(const struct table *table, uint32_t segment)
{
    return atomic_load_explicit(&table->segments[segment], memory_order_relaxed);
}

static uint32_t segment_of(uint32_t index)
{
    return index == 0 ? 0 : 32u - (uint32_t)__builtin_clz(index);
}

static struct table_line *line_at(const struct table *table, uint32_t index)
{
    uint32_t segment = segment_of(index);
    return segment_at(table, segment) + (segment == 0 ? 0 : index - (1u << (segment - 1)));
}

static uint32_t index_of(const struct table *table, uint32_t hash)
{
    uint32_t now = level(table), index = hash & ((2u << now) - 1);
    return index >= line_count(table) ? index & ((1u << now) - 1) : index;
}

static struct table_line *line_of(const struct table *table, uint32_t hash)
{
    return line_at(table, index_of(table, hash));
}

static struct table_line *next_line(const struct table_line *line)
{
    return line->overflow ? line->lines[LINE_SLOTS - 1] : NULL;
}

static unsigned slot_count(const struct table_line *line)
{
    return line->overflow ? LINE_SLOTS - 1 : LINE_SLOTS;
}

/* A bit for each slot whose tag is `tag`, at the top of its byte. A tag of 0 finds the free ones.
 */
static inline uint64_t slots_with(const struct table_line *line, uint8_t tag)
{
    const uint64_t low = UINT64_C(0x7f7f7f7f7f7f7f7f);
    uint64_t tags, others;

    memcpy(&tags, line->tags, sizeof tags); /* and `overflow`, which is masked below */
    others = tags ^ tag * UINT64_C(0x0101010101010101);
    others = ((others & low) + low) | others | low; /* all ones in a byte that is not 0 */
    return ~others & (line->overflow ? UINT64_C(0x0000ffffffffffff) : UINT64_C(0x00ffffffffffffff));
}

static inline unsigned slot_of(uint64_t slots)
{
    return (unsigned)__builtin_ctzll(slots) / 8;
}

/* Makes the lines of a segment, each on a cache line of its own: the heap aligns to 16 bytes only.
 */
static bool segment_make(struct table *table, uint32_t segment)
{
    const uintptr_t line = sizeof(struct table_line);
    uint32_t count = segment == 0 ? 1 : 1u << (segment - 1);
    void *block = mem_array((size_t)count + 1, sizeof(struct table_line));
    if (block == NULL)
        return false;
    table->blocks[segment] = block;
    table->segments[segment] = (struct table_line *)(((uintptr_t)block + line - 1) & ~(line - 1));
    return true;
}

enum error table_init(struct table *table)
{
    memset(table, 0, sizeof *table);
    if (!segment_make(table, 0))
        return ERROR_MEMORY;
    table->line_count = 1;
    return OK;
}

void table_fini(struct table *table)
{
    if (table->segments[0] == NULL)
        return;
    table_clear(table);
    for (unsigned i = 0; i < TABLE_SEGMENTS; i++)
        mem_free(table->blocks[i]);
    memset(table, 0, sizeof *table);
}

void table_prefetch(const struct table *table, uint64_t hash)
{
    uint32_t index = index_of(table, (uint32_t)hash);
    if (segment_at(table, segment_of(index)) != NULL)
        __builtin_prefetch(line_at(table, index));
}

void table_prefetch_entry(const struct table *table, uint64_t hash)
{
    const struct table_line *line = line_of(table, (uint32_t)hash);
    uint64_t slots = slots_with(line, tag_of((uint32_t)hash));
    for (; slots != 0; slots &= slots - 1) {
        const uint8_t *entry = (const uint8_t *)line->entries[slot_of(slots)];
        __builtin_prefetch(entry);
        __builtin_prefetch(entry + 64);
        __builtin_prefetch(entry + 128);
    }
}

/* The place of a key: its line and slot, or NULL. */
static struct table_line *find_slot(struct table_line *line, struct slice key, uint32_t hash,
                                    unsigned *slot)
{
    uint8_t tag = tag_of(hash);
    for (; line != NULL; line = next_line(line)) {
        for (uint64_t slots = slots_with(line, tag); slots != 0; slots &= slots - 1) {
            const struct entry *entry = line->entries[slot_of(slots)];
            if (entry->hash == hash && slice_equal(entry_key(entry), key)) {
                *slot = slot_of(slots);
                return line;
            }
        }
    }
    return NULL;
}

struct entry *table_find(const struct table *table, struct slice key, uint64_t hash)
{
    unsigned slot;
    struct table_line *line = find_slot(line_of(table, (uint32_t)hash), key, (uint32_t)hash, &slot);
    return line == NULL ? NULL : line->entries[slot];
}

/* Puts an entry into a free slot of the chain, which it lengthens if there is none. */
static enum error chain_add(struct table_line *line, struct entry *entry)
{
    for (;;) {
        uint64_t slots = slots_with(line, 0);
        if (slots != 0) {
            line->tags[slot_of(slots)] = tag_of(entry->hash);
            line->entries[slot_of(slots)] = entry;
            return OK;
        }
        if (!line->overflow) {
            struct table_line *more = mem_zalloc(sizeof *more);
            if (more == NULL)
                return ERROR_MEMORY;
            more->tags[0] = line->tags[LINE_SLOTS - 1];
            more->entries[0] = line->entries[LINE_SLOTS - 1];
            line->tags[LINE_SLOTS - 1] = 0;
            line->lines[LINE_SLOTS - 1] = more;
            line->overflow = 1;
        }
        line = next_line(line);
    }
}

/* Frees overflow lines that have become empty, from the end of the chain. */
static void chain_trim(struct table_line *line)
{
    while (line->overflow) {
        struct table_line *before = line;
        struct table_line *last = next_line(line);
        while (last->overflow) {
            before = last;
            last = next_line(last);
        }
        for (unsigned i = 0; i < LINE_SLOTS; i++)
            if (last->tags[i] != 0)
                return;
        mem_free(last);
        before->overflow = 0;
        before->entries[LINE_SLOTS - 1] = NULL;
    }
}

static bool segment_ready(struct table *table, uint32_t index)
{
    uint32_t segment = segment_of(index);
    if (segment >= TABLE_SEGMENTS)
        return false;
    return table->blocks[segment] != NULL || segment_make(table, segment);
}

/* Splits one line. Without memory nothing happens: chains grow longer, and the next insertion tries
 * again. */
static void table_grow(struct table *table)
{
    uint32_t fresh = table->line_count;
    if (!segment_ready(table, fresh))
        return;
    struct table_line *source = line_at(table, fresh - (1u << table->level));
    struct table_line *target = line_at(table, fresh);
    uint32_t bit = 1u << table->level;
    for (struct table_line *line = source; line != NULL; line = next_line(line)) {
        unsigned count = slot_count(line);
        for (unsigned i = 0; i < count; i++) {
            if (line->tags[i] == 0 || (line->entries[i]->hash & bit) == 0)
                continue;
            if (chain_add(target, line->entries[i]) != OK) {
                /* What has moved must not be lost: undo. The source has room for it, for it was
                 * there. */
                for (struct table_line *back = target; back != NULL; back = next_line(back))
                    for (unsigned j = 0; j < slot_count(back); j++)
                        if (back->tags[j] != 0) {
                            INVARIANT(chain_add(source, back->entries[j]) == OK);
                            back->tags[j] = 0;
                            back->entries[j] = NULL;
                        }
                chain_trim(target);
                return;
            }
            line->tags[i] = 0;
            line->entries[i] = NULL;
        }
    }
    chain_trim(source);
    table->line_count++;
    if (table->line_count == 2u << table->level)
        table->level++;
}

static uint64_t entry_bytes(const struct entry *entry)
{
    return sizeof *entry + entry->key_len + entry->value_len;
}

enum error table_put(struct table *table, struct entry *entry, struct entry **old)
{
    unsigned slot;
    struct table_line *first = line_of(table, entry->hash);
    struct table_line *line = find_slot(first, entry_key(entry), entry->hash, &slot);
    *old = NULL;
    if (line != NULL) {
        *old = line->entries[slot];
        table->bytes -= entry_bytes(*old);
        line->entries[slot] = entry;
    } else {
        enum error error = chain_add(first, entry);
        if (error != OK)
            return error;
        table->entry_count++;
        if (table->entry_count > (uint64_t)table->line_count * LINE_TARGET)
            table_grow(table);
    }
    table->bytes += entry_bytes(entry);
    return OK;
}

struct entry *table_remove(struct table *table, struct slice key, uint64_t hash)
{
    unsigned slot;
    struct table_line *first = line_of(table, (uint32_t)hash);
    struct table_line *line = find_slot(first, key, (uint32_t)hash, &slot);
    if (line == NULL)
        return NULL;
    struct entry *entry = line->entries[slot];
    line->tags[slot] = 0;
    line->entries[slot] = NULL;
    chain_trim(first);
    table->entry_count--;
    table->bytes -= entry_bytes(entry);
    return entry;
}

/* Visits the chain that begins with this line. */
static void chain_each(const struct table_line *line, void (*visit)(void *arg, struct entry *entry),
                       void *arg)
{
    for (; line != NULL; line = next_line(line))
        for (unsigned slot = 0; slot < slot_count(line); slot++)
            if (line->tags[slot] != 0)
                visit(arg, line->entries[slot]);
}

/* A walk waits for memory at each entry unless that was asked for a few lines before. */
#define LINES_AHEAD 4u

static void prefetch_ahead(const struct table *table, uint32_t index)
{
    if (index + LINES_AHEAD >= line_count(table))
        return;
    const struct table_line *line = line_at(table, index + LINES_AHEAD);
    for (unsigned slot = 0; slot < LINE_SLOTS; slot++)
        if (line->tags[slot] != 0)
            __builtin_prefetch(line->entries[slot]);
}

void table_each(const struct table *table, void (*visit)(void *arg, struct entry *entry), void *arg)
{
    for (uint32_t i = 0; i < line_count(table); i++) {
        prefetch_ahead(table, i);
        chain_each(line_at(table, i), visit, arg);
    }
}

bool table_cursor_step(const struct table *table, struct table_cursor *cursor,
                       void (*visit)(void *arg, struct entry *entry), void *arg)
{
    if (cursor->line >= line_count(table))
        return false;
    prefetch_ahead(table, cursor->line);
    chain_each(line_at(table, cursor->line++), visit, arg);
    return true;
}

bool table_cursor_passed(const struct table *table, const struct table_cursor *cursor,
                         uint64_t hash)
{
    return index_of(table, (uint32_t)hash) < cursor->line;
}

uint32_t table_cursor_left(const struct table *table, const struct table_cursor *cursor)
{
    uint32_t lines = line_count(table);
    return cursor->line < lines ? lines - cursor->line : 0;
}

static void chain_clear(struct table *table, struct table_line *first)
{
    for (struct table_line *line = first; line != NULL; line = next_line(line))
        for (unsigned slot = 0; slot < slot_count(line); slot++)
            if (line->tags[slot] != 0) {
                table->entry_count--;
                table->bytes -= entry_bytes(line->entries[slot]);
                entry_unref(line->entries[slot]);
                line->tags[slot] = 0;
                line->entries[slot] = NULL;
            }
    chain_trim(first);
}

bool table_clear_some(struct table *table, struct table_cursor *cursor, uint32_t lines)
{
    for (; lines > 0; lines--) {
        if (cursor->line >= line_count(table))
            return false;
        prefetch_ahead(table, cursor->line);
        chain_clear(table, line_at(table, cursor->line++));
    }
    return true;
}

void table_clear(struct table *table)
{
    struct table_cursor cursor = {0};
    (void)table_clear_some(table, &cursor, UINT32_MAX);
}

void table_swap(struct table *a, struct table *b)
{
    for (unsigned i = 0; i < TABLE_SEGMENTS; i++) {
        struct table_line *segment = segment_at(a, i);
        void *block = a->blocks[i];
        atomic_store_explicit(&a->segments[i], segment_at(b, i), memory_order_relaxed);
        atomic_store_explicit(&b->segments[i], segment, memory_order_relaxed);
        a->blocks[i] = b->blocks[i];
        b->blocks[i] = block;
    }
    uint32_t lines = line_count(a), levels = level(a);
    atomic_store_explicit(&a->line_count, line_count(b), memory_order_relaxed);
    atomic_store_explicit(&a->level, level(b), memory_order_relaxed);
    atomic_store_explicit(&b->line_count, lines, memory_order_relaxed);
    atomic_store_explicit(&b->level, levels, memory_order_relaxed);
    uint64_t entries = a->entry_count, bytes = a->bytes;
    a->entry_count = b->entry_count;
    a->bytes = b->bytes;
    b->entry_count = entries;
    b->bytes = bytes;
}
