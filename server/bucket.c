#include "server/bucket.h"

#include <endian.h>
#include <stdlib.h>
#include <xxhash.h>

#include "common/mem.h"
#include "common/plant.h"
#include "server/call.h"
#include "server/cq.h"
#include "server/cq_image.h"
#include "server/image.h"
#include "server/server.h"
#include "server/trash.h"

#define CHECK_RECORDS 4096 /* after so many the copies compare what they have */

enum error bucket_init(struct bucket *bucket, struct region *region, uint32_t id,
                       uint32_t generation, uint32_t term)
{
    memset(bucket, 0, sizeof *bucket);
    enum error error = table_init(&bucket->table);
    if (error != OK)
        return error;
    pthread_mutex_init(&bucket->lock, NULL);
    writers_init(&bucket->writers);
    streams_init(&bucket->streams);
    replica_init(&bucket->replica);
    arena_init(&bucket->scratch, LIMIT_ARENA_BYTES);
    bucket->region = region;
    bucket->id = id;
    bucket->generation = generation;
    bucket->term = term;
    return OK;
}

void bucket_fini(struct bucket *bucket)
{
    if (bucket->region == NULL)
        return;
    PRE(bucket->calls == NULL);
    cq_bucket_free_all(bucket);
    replica_fini(bucket);
    streams_fini(&bucket->streams);
    arena_fini(&bucket->scratch);
    buf_fini(&bucket->encoded);
    writers_fini(&bucket->writers);
    table_fini(&bucket->table);
    pthread_mutex_destroy(&bucket->lock);
    bucket->region = NULL;
}

void bucket_lock(struct bucket *bucket)
{
    pthread_mutex_lock(&bucket->lock);
}

void bucket_unlock(struct bucket *bucket)
{
    pthread_mutex_unlock(&bucket->lock);
}

/* ---- Records ---- */

/* Any worker may free what was there. */
void bucket_empty_locked(struct bucket *bucket)
{
    trash_table(trash_worker(bucket), &bucket->table);
}

/* An image that is being cut ships what it had not come to yet; a query that begins reads it. */
static bool is_walked(const struct bucket *bucket)
{
    return bucket->images != NULL || bucket->starts > 0;
}

static void keep_old(struct bucket *bucket, const struct record *record)
{
    struct entry *old = table_find(&bucket->table, record->key, record->hash);
    if (old == NULL)
        return;
    image_before_change_locked(bucket, old);
    cq_before_change_locked(bucket, old);
}

static enum error apply_put(struct bucket *bucket, const struct record *record)
{
    struct entry *entry = entry_new(record->key, record->value, record->hash, record->seq);
    if (entry == NULL)
        return ERROR_MEMORY;
    if (is_walked(bucket))
        keep_old(bucket, record);
    struct entry *old;
    enum error error = table_put(&bucket->table, entry, &old);
    if (error != OK) {
        entry_unref(entry);
        return error;
    }
    cq_on_put_locked(bucket, record, entry);
    entry_unref(old);
    return OK;
}

static enum error apply_to_queries(struct bucket *bucket, const struct record *record)
{
    if (record->instance == NULL) {
        struct record found = *record;
        found.instance = cq_instance_find(bucket->region, record->query_id);
        if (found.instance != NULL)
            return apply_to_queries(bucket, &found);
        /* A query that is gone leaves only the numbers of its records. */
        return record->type == RECORD_CQ_ADD &&
                       !cq_instance_is_over(bucket->region, record->query_id)
                   ? ERROR_BUSY
                   : OK;
    }
    uint64_t began_us;
    enum error error = OK;
    switch (record->type) {
    case RECORD_CQ_ADD:
    case RECORD_CQ_DROP:
        began_us = server_hold_begin(bucket);
        if (record->type == RECORD_CQ_ADD)
            error = cq_add_locked(bucket, record);
        else
            cq_drop_locked(bucket, record);
        server_hold_end(bucket, began_us);
        return error;
    case RECORD_PARTIAL:
        cq_on_partial_locked(bucket, record);
        return OK;
    case RECORD_CQ_READY:
        return cq_on_ready_locked(bucket, record);
    default:
        return cq_on_trim_locked(bucket, record);
    }
}

/* What copies compare now and then (CHECK): all of it is at hand, so it costs next to nothing. */
static void summarize(const struct bucket *bucket, uint8_t summary[8])
{
    uint64_t words[] = {htole64(bucket->last_seq), htole64(bucket->data_seq),
                        htole64(bucket->table.entry_count), htole64(bucket->table.bytes),
                        htole64(cq_image_summary_locked(bucket))};
    uint64_t hash = htole64(XXH3_64bits(words, sizeof words));
    memcpy(summary, &hash, sizeof hash);
}

/* What was there when a query began may still wait in this copy's queue, and not in the primary's:
 * then there is nothing to compare. */
static enum error check(const struct bucket *bucket, struct slice expected)
{
    uint8_t summary[8];
    if (!cq_image_is_quiet_locked(bucket))
        return OK;
    summarize(bucket, summary);
    return slice_equal(expected, slice_of(summary, sizeof summary)) ? OK : ERROR_DAMAGED;
}

static void clear(struct bucket *bucket)
{
    uint64_t began_us = server_hold_begin(bucket);
    if (bucket->images != NULL)
        image_before_clear_locked(bucket);
    if (bucket->starts > 0)
        cq_before_clear_locked(bucket);
    bucket_empty_locked(bucket);
    server_hold_end(bucket, began_us);
}

static enum error apply(struct bucket *bucket, const struct record *record)
{
    switch (record->type) {
    case RECORD_PUT:
        return apply_put(bucket, record);
    case RECORD_REMOVE:
        if (is_walked(bucket))
            keep_old(bucket, record);
        entry_unref(table_remove(&bucket->table, record->key, record->hash));
        return OK;
    case RECORD_CLEAR:
        clear(bucket);
        return OK;
    case RECORD_NOTE:
        return OK;
    case RECORD_CHECK:
        return check(bucket, record->value);
    case RECORD_STREAM_DROP:
        streams_drop(&bucket->streams, record->origin);
        return OK;
    case RECORD_CQ_ADD:
    case RECORD_CQ_DROP:
    case RECORD_CQ_READY:
    case RECORD_PARTIAL:
    case RECORD_CQ_TRIM:
        return apply_to_queries(bucket, record);
    }
    return ERROR_UNSUPPORTED;
}

static bool changes_data(enum record_type type)
{
    return type <= RECORD_CLEAR || type == RECORD_PARTIAL || type == RECORD_CQ_READY;
}

enum error bucket_apply_locked(struct bucket *bucket, const struct record *record)
{
    PRE(record->seq == bucket->last_seq + 1);
    bool is_of_stream = record->origin != 0 && record->type != RECORD_STREAM_DROP;
    enum error error = OK;
    bool repeated = false;
    if (record->writer != NULL)
        error = writers_check(&bucket->writers, record->writer, record->time_ms, &repeated);
    if (error == OK && is_of_stream)
        error = streams_reserve(&bucket->streams, record);
    if (error != OK)
        return error;
    INVARIANT(!repeated);
    error = apply(bucket, record);
    if (error != OK)
        return error;
    if (record->writer != NULL)
        writers_note(&bucket->writers, record->writer, record->time_ms);
    if (is_of_stream)
        streams_note(&bucket->streams, record);
    bucket->last_seq = record->seq;
    if (changes_data(record->type))
        bucket->data_seq = record->seq;
    bucket->last_time_ms = record->time_ms;
    return OK;
}

/* Where another server led before, its times go on with the time elapsed. In the first term there
 * was none, and the clock need not be read. */
uint64_t bucket_record_time_locked(struct bucket *bucket, uint64_t wall_ms)
{
    uint64_t now_us = 0;
    if (bucket->replica.led != 1 && bucket->region->server != NULL)
        now_us = loop_clock_us(bucket->region->server->loop);
    return replica_record_time_locked(bucket, wall_ms, now_us);
}

/* One that finds no memory is left out. */
static void append_check(struct bucket *bucket, uint64_t wall_ms)
{
    uint8_t summary[8];
    if (!cq_image_is_quiet_locked(bucket))
        return;
    summarize(bucket, summary);
    struct record record = {.type = RECORD_CHECK, .value = slice_of(summary, sizeof summary)};
    (void)bucket_append_locked(bucket, &record, wall_ms);
}

enum error bucket_append_locked(struct bucket *bucket, struct record *record, uint64_t wall_ms)
{
    PRE(bucket->replica.role == REPLICA_PRIMARY && bucket->replica.led != 0);
    record->seq = bucket->last_seq + 1;
    record->term = bucket->replica.led;
    record->time_ms = bucket_record_time_locked(bucket, wall_ms);
    if (record->instance != NULL)
        record->query_id = record->instance->id;
    if (record->type == RECORD_PUT && bucket->cqs != NULL)
        record->via_ring = cq_rows_wait_locked(bucket);
    enum error error = replica_reserve_locked(bucket, record);
    if (error == OK)
        error = bucket_apply_locked(bucket, record);
    if (error == OK)
        replica_send_locked(bucket, record);
    if (error == OK && bucket->last_seq % CHECK_RECORDS == 0 && bucket->replica.copy_count > 0)
        append_check(bucket, wall_ms);
    return error;
}

static void add_entry_hash(void *arg, struct entry *entry)
{
    uint64_t *sum = arg;
    uint64_t lengths[3] = {entry->seq, entry->key_len, entry->value_len};
    *sum += XXH3_64bits_withSeed(entry->data, (size_t)entry->key_len + entry->value_len,
                                 XXH3_64bits(lengths, sizeof lengths));
}

uint64_t bucket_hash_locked(struct bucket *bucket)
{
    uint64_t sum = 0;
    table_each(&bucket->table, add_entry_hash, &sum);
    uint64_t words[5] = {sum, writers_hash(&bucket->writers, bucket->last_time_ms),
                         streams_hash(&bucket->streams), cq_image_hash_locked(bucket),
                         bucket->last_seq};
    return XXH3_64bits(words, sizeof words);
}

void bucket_prefetch(struct bucket *bucket, uint64_t hash)
{
    table_prefetch(&bucket->table, hash);
}

void bucket_prefetch_entry(struct bucket *bucket, uint64_t hash)
{
    bucket_lock(bucket);
    table_prefetch_entry(&bucket->table, hash);
    bucket_unlock(bucket);
}

/* ---- Operations that are answered at once ---- */

/* Nothing would have to wait for the answer to a change: this server is alone. */
static bool may_change_locked(const struct bucket *bucket)
{
    return replica_is_alone(&bucket->replica) && bucket->calls == NULL &&
           replica_may_write_locked(bucket) && cq_takes_changes_locked(bucket);
}

/* Calls that were applied are in the table, and what they changed waits by itself. Others are ahead
 * of this read on its connection, perhaps. */
static bool may_read_locked(const struct bucket *bucket, struct loop *loop)
{
    if (bucket->calls != NULL && bucket->last_call->state != CALL_APPLIED)
        return false;
    if (replica_is_alone(&bucket->replica))
        return true;
    return replica_may_read_locked(bucket, PLANTED(PLANT_CLOCK_BEFORE_READ) ? loop_now_us(loop)
                                                                            : loop_clock_us(loop));
}

/* Rules R2 and R5. */
static bool is_settled_locked(struct bucket *bucket, const struct entry *entry)
{
    if (entry == NULL && PLANTED(PLANT_READ_IGNORES_REMOVAL))
        return true;
    if (bucket->replica.role == REPLICA_COPY && PLANTED(PLANT_COPY_READS_UNCOMMITTED))
        return true;
    return bucket_has_committed(bucket, bucket_wait_seq_locked(bucket, entry));
}

static enum error append_and_unlock(struct bucket *bucket, struct record *record, uint64_t wall_ms)
{
    enum error error = bucket_append_locked(bucket, record, wall_ms);
    bucket_unlock(bucket);
    return error;
}

static enum error unlock_with(struct bucket *bucket, enum error error)
{
    bucket_unlock(bucket);
    return error;
}

enum error bucket_put(struct bucket *bucket, const struct bucket_key *key, struct slice value,
                      uint64_t wall_ms)
{
    bucket_lock(bucket);
    if (!may_change_locked(bucket))
        return unlock_with(bucket, ERROR_ELSEWHERE);
    struct record record = {
        .type = RECORD_PUT, .key = key->stored, .value = value, .hash = key->hash};
    return append_and_unlock(bucket, &record, wall_ms);
}

enum error bucket_put_if_absent(struct bucket *bucket, const struct bucket_key *key,
                                struct slice value, uint64_t wall_ms, struct entry **present)
{
    *present = NULL;
    bucket_lock(bucket);
    if (!may_change_locked(bucket))
        return unlock_with(bucket, ERROR_ELSEWHERE);
    struct entry *entry = table_find(&bucket->table, key->stored, key->hash);
    if (entry != NULL) {
        *present = entry_ref(entry);
        return unlock_with(bucket, OK);
    }
    struct record record = {
        .type = RECORD_PUT, .key = key->stored, .value = value, .hash = key->hash};
    return append_and_unlock(bucket, &record, wall_ms);
}

enum error bucket_remove(struct bucket *bucket, const struct bucket_key *key, uint64_t wall_ms)
{
    bucket_lock(bucket);
    if (!may_change_locked(bucket))
        return unlock_with(bucket, ERROR_ELSEWHERE);
    if (table_find(&bucket->table, key->stored, key->hash) == NULL)
        return unlock_with(bucket, OK);
    struct record record = {.type = RECORD_REMOVE, .key = key->stored, .hash = key->hash};
    return append_and_unlock(bucket, &record, wall_ms);
}

enum error bucket_clear(struct bucket *bucket, uint64_t wall_ms)
{
    bucket_lock(bucket);
    if (!may_change_locked(bucket))
        return unlock_with(bucket, ERROR_ELSEWHERE);
    struct record record = {.type = RECORD_CLEAR};
    return append_and_unlock(bucket, &record, wall_ms);
}

enum error bucket_write(struct bucket *bucket, const struct bucket_key *key, bool remove,
                        struct slice value, const struct writer_mark *mark, uint64_t wall_ms,
                        bool *repeated)
{
    *repeated = false;
    bucket_lock(bucket);
    if (!may_change_locked(bucket))
        return unlock_with(bucket, ERROR_ELSEWHERE);
    enum error error =
        writers_check(&bucket->writers, mark, bucket_record_time_locked(bucket, wall_ms), repeated);
    if (error != OK || *repeated)
        return unlock_with(bucket, error);
    struct record record = {.type = remove ? RECORD_REMOVE : RECORD_PUT,
                            .key = key->stored,
                            .value = value,
                            .hash = key->hash,
                            .writer = mark};
    return append_and_unlock(bucket, &record, wall_ms);
}

enum error bucket_get(struct bucket *bucket, const struct bucket_key *key, struct loop *loop,
                      struct entry **entry)
{
    *entry = NULL;
    bucket_lock(bucket);
    if (!may_read_locked(bucket, loop))
        return unlock_with(bucket, ERROR_ELSEWHERE);
    struct entry *found = table_find(&bucket->table, key->stored, key->hash);
    if (!is_settled_locked(bucket, found))
        return unlock_with(bucket, ERROR_ELSEWHERE);
    if (found != NULL)
        *entry = entry_ref(found);
    return unlock_with(bucket, OK);
}

enum error bucket_entry_count(struct bucket *bucket, struct loop *loop, uint64_t *count,
                              uint64_t *bytes)
{
    *count = *bytes = 0;
    bucket_lock(bucket);
    if (!may_read_locked(bucket, loop) || !is_settled_locked(bucket, NULL))
        return unlock_with(bucket, ERROR_ELSEWHERE);
    *count = bucket->table.entry_count;
    *bytes = bucket->table.bytes;
    return unlock_with(bucket, OK);
}

struct collection {
    struct entry **entries;
    size_t count;
};

static void collect(void *arg, struct entry *entry)
{
    struct collection *collection = arg;
    collection->entries[collection->count++] = entry_ref(entry);
}

static int by_seq(const void *a, const void *b)
{
    uint64_t left = (*(struct entry *const *)a)->seq, right = (*(struct entry *const *)b)->seq;
    return left < right ? -1 : left > right;
}

enum error bucket_entries_locked(struct bucket *bucket, struct entry ***entries, size_t *count)
{
    struct collection collection = {NULL, 0};
    *entries = NULL;
    *count = 0;
    if (bucket->table.entry_count == 0)
        return OK;
    uint64_t began_us = server_hold_begin(bucket);
    collection.entries = mem_array(bucket->table.entry_count, sizeof *collection.entries);
    if (collection.entries == NULL)
        return ERROR_MEMORY;
    table_each(&bucket->table, collect, &collection);
    server_hold_end(bucket, began_us);
    *entries = collection.entries;
    *count = collection.count;
    return OK;
}

struct keyed {
    uint64_t seq;
    struct entry *entry;
};

#define SORT_BITS 11u
#define SORT_FEW  64u /* which are compared */

/* One pass of a radix sort: stable, by SORT_BITS of how far a seq is from the lowest. */
static void sort_by_digit(const struct keyed *from, struct keyed *to, size_t count, uint64_t lowest,
                          unsigned shift)
{
    const uint64_t mask = (1u << SORT_BITS) - 1;
    size_t at[1u << SORT_BITS] = {0}, next = 0;
    for (size_t i = 0; i < count; i++)
        at[(from[i].seq - lowest) >> shift & mask]++;
    for (size_t digit = 0; digit <= mask; digit++) {
        size_t length = at[digit];
        at[digit] = next;
        next += length;
    }
    for (size_t i = 0; i < count; i++)
        to[at[(from[i].seq - lowest) >> shift & mask]++] = from[i];
}

/* Under a bucket's lock comparing would take too long. False without memory. */
static bool sort_many(struct entry **entries, size_t count)
{
    struct keyed *from = mem_array(2 * count, sizeof *from), *to = from + count;
    uint64_t lowest = UINT64_MAX, highest = 0;
    if (from == NULL)
        return false;
    struct keyed *block = from;
    for (size_t i = 0; i < count; i++) {
        from[i] = (struct keyed){entries[i]->seq, entries[i]};
        lowest = from[i].seq < lowest ? from[i].seq : lowest;
        highest = from[i].seq > highest ? from[i].seq : highest;
    }
    for (unsigned shift = 0; shift < 64 && (highest - lowest) >> shift != 0; shift += SORT_BITS) {
        sort_by_digit(from, to, count, lowest, shift);
        struct keyed *sorted = to;
        to = from;
        from = sorted;
    }
    for (size_t i = 0; i < count; i++)
        entries[i] = from[i].entry;
    mem_free(block);
    return true;
}

void bucket_entries_sort(struct entry **entries, size_t count)
{
    if (count > SORT_FEW && sort_many(entries, count))
        return;
    if (count > 1)
        qsort(entries, count, sizeof *entries, by_seq);
}

void bucket_entries_free(struct entry **entries, size_t count)
{
    for (size_t i = 0; i < count; i++)
        entry_unref(entries[i]);
    mem_free(entries);
}
