/* The entries of one bucket: a hash table of cache lines that grows by one line at a time.
 *
 * Linear hashing: `line_count` lines, of which the next one to split is line_count - 2^level; an
 * insertion that makes the table too full splits one line, so no operation ever moves more than a
 * line's entries. A line is 64 bytes: seven one-byte tags, seven pointers; when it is full its last
 * pointer leads to an overflow line. Not thread-safe: the lock of the bucket guards it.
 *
 * An entry is immutable and reference-counted: a reader that holds a reference may use it without
 * the lock. */
#ifndef VUG_SERVER_TABLE_H
#define VUG_SERVER_TABLE_H

#include <stdatomic.h>

#include "common/error.h"
#include "common/slice.h"

struct entry {
    _Atomic uint32_t refs;
    uint32_t hash; /* low half of the table hash */
    uint32_t key_len, value_len;
    uint64_t seq;   /* of the record that wrote it */
    uint8_t data[]; /* stored key, then stored value (protocol/value.h) */
};

/* One reference, not in any table. NULL without memory. */
struct entry *entry_new(struct slice key, struct slice value, uint64_t hash, uint64_t seq);
struct entry *entry_ref(struct entry *entry);
void entry_unref(struct entry *entry); /* NULL is allowed */

static inline struct slice entry_key(const struct entry *entry)
{
    return slice_of(entry->data, entry->key_len);
}

static inline struct slice entry_value(const struct entry *entry)
{
    return slice_of(entry->data + entry->key_len, entry->value_len);
}

#define TABLE_SEGMENTS 26 /* 2^25 lines: 170 million entries of one bucket */

struct table_line;

struct table {
    /* Atomic because table_prefetch() reads them without the lock. */
    _Atomic(struct table_line *)
        segments[TABLE_SEGMENTS]; /* segment k > 0 holds lines 2^(k-1) to 2^k - 1 */
    void *blocks[TABLE_SEGMENTS]; /* of the heap, in which the segments lie */
    _Atomic uint32_t line_count;
    _Atomic uint32_t level;
    uint64_t entry_count;
    uint64_t bytes; /* of the entries, headers included */
};

enum error table_init(struct table *table);
void table_fini(struct table *table);

/* The key's hash in every table of the server: seeded, so that clients cannot aim at one line. */
uint64_t table_hash(struct slice key, uint64_t seed);
/* Pass one of a batch: fetches the line of a hash into the cache, then the entry that is likely
 * meant. The first needs no lock: what it reads may be stale, which makes the hint useless and
 * nothing else. */
void table_prefetch(const struct table *table, uint64_t hash);
void table_prefetch_entry(const struct table *table, uint64_t hash);

/* The entry or NULL; borrowed. */
struct entry *table_find(const struct table *table, struct slice key, uint64_t hash);

/* Takes the caller's reference of `entry`, whose key may be there already: *old is then the entry
 * it replaced, with a reference for the caller, else NULL. On ERROR_MEMORY the table is as it was
 * and the caller keeps `entry`. */
enum error table_put(struct table *table, struct entry *entry, struct entry **old);

/* Takes the entry out: its reference goes to the caller. NULL if there is none. */
struct entry *table_remove(struct table *table, struct slice key, uint64_t hash);

/* Visits all entries in no particular order; the table must not change meanwhile. */
void table_each(const struct table *table, void (*visit)(void *arg, struct entry *entry),
                void *arg);

/* Removes everything. */
void table_clear(struct table *table);

/* A walk over all entries in bounded steps, between which the table may change. Lines are visited
 * in the order of their index. A split moves entries to a higher index, and nothing ever moves them
 * to a lower one, so what was there at the start and stays is met at least once; what a split moves
 * ahead of the cursor is met again. Starts zeroed; does not survive table_clear() as a sign of what
 * was there before it. */
struct table_cursor {
    uint32_t line;
};
/* Visits the entries of the next line. False, and nothing visited, behind the last line. */
bool table_cursor_step(const struct table *table, struct table_cursor *cursor,
                       void (*visit)(void *arg, struct entry *entry), void *arg);
/* An entry of this hash that is in the table and was there at the start has been met. */
bool table_cursor_passed(const struct table *table, const struct table_cursor *cursor,
                         uint64_t hash);
/* Lines that the cursor has before it. */
uint32_t table_cursor_left(const struct table *table, const struct table_cursor *cursor);

/* Removes the entries of at most so many lines; false when none was left: the table is empty. */
bool table_clear_some(struct table *table, struct table_cursor *cursor, uint32_t lines);

/* Exchanges the contents. Both may be looked at by table_prefetch() meanwhile. */
void table_swap(struct table *a, struct table *b);

#endif
