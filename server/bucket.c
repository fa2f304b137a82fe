#include "server/bucket.h"

#include <stdlib.h>

#include "common/mem.h"
#include "server/cq.h"
#include "server/rows.h"

enum error bucket_init(struct bucket *bucket, struct region *region, uint32_t id,
                       uint32_t generation, uint32_t term)
{
    memset(bucket, 0, sizeof *bucket);
    enum error error = table_init(&bucket->table);
    if (error != OK)
        return error;
    pthread_mutex_init(&bucket->lock, NULL);
    writers_init(&bucket->writers);
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
    cq_bucket_free_all(bucket);
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

static enum error apply_put(struct bucket *bucket, const struct record *record)
{
    struct entry *entry = entry_new(record->key, record->value, record->hash, record->seq);
    if (entry == NULL)
        return ERROR_MEMORY;
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

enum error bucket_apply_locked(struct bucket *bucket, const struct record *record)
{
    PRE(record->seq == bucket->last_seq + 1);
    enum error error = OK;
    bool repeated = false;
    if (record->writer != NULL)
        error = writers_check(&bucket->writers, record->writer, record->time_ms, &repeated);
    if (error != OK)
        return error;
    INVARIANT(!repeated);
    switch (record->type) {
    case RECORD_PUT:
        error = apply_put(bucket, record);
        break;
    case RECORD_REMOVE:
        entry_unref(table_remove(&bucket->table, record->key, record->hash));
        break;
    case RECORD_CLEAR:
        table_clear(&bucket->table);
        break;
    case RECORD_CQ_ADD:
        error = cq_add_locked(bucket, record);
        break;
    case RECORD_CQ_DROP:
        cq_drop_locked(bucket, record);
        break;
    case RECORD_PARTIAL:
        cq_on_partial_locked(bucket, record);
        break;
    case RECORD_CQ_READY:
        error = cq_on_ready_locked(bucket, record);
        break;
    case RECORD_CQ_TRIM:
        error = cq_on_trim_locked(bucket, record);
        break;
    case RECORD_NOTE:
    case RECORD_STREAM_DROP:
        break;
    }
    if (error != OK)
        return error;
    if (record->writer != NULL)
        writers_note(&bucket->writers, record->writer, record->time_ms);
    bucket->last_seq = record->seq;
    if (record->type != RECORD_CQ_ADD && record->type != RECORD_CQ_DROP)
        bucket->data_seq = record->seq;
    bucket->last_time_ms = record->time_ms;
    return OK;
}

enum error bucket_append_locked(struct bucket *bucket, struct record *record, uint64_t wall_ms)
{
    record->seq = bucket->last_seq + 1;
    record->time_ms = wall_ms > bucket->last_time_ms ? wall_ms : bucket->last_time_ms;
    enum error error = bucket_apply_locked(bucket, record);
    if (error != OK)
        return error;
    replica_send_locked(bucket, record);
    if (bucket->replica.copy_count > 0)
        return OK;
    /* The send set of rule R1 is empty: this server is the only copy, so what is applied is
     * committed. */
    atomic_store_explicit(&bucket->gate.committed, bucket->last_seq, memory_order_release);
    cq_on_commit_locked(bucket);
    rows_notify_locked(bucket);
    return OK;
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

/* The answer to a change waits for the change itself; one that depends on absence waits for all
 * there is. */
static struct session_wait wait_locked(struct bucket *bucket, uint64_t seq)
{
    return (struct session_wait){.gate = &bucket->gate, .seq = seq};
}

static enum error append_and_unlock(struct bucket *bucket, struct record *record, uint64_t wall_ms,
                                    struct session_wait *wait)
{
    enum error error = bucket_append_locked(bucket, record, wall_ms);
    *wait = wait_locked(bucket, bucket->last_seq);
    bucket_unlock(bucket);
    return error;
}

enum error bucket_put(struct bucket *bucket, const struct bucket_key *key, struct slice value,
                      uint64_t wall_ms, struct session_wait *wait)
{
    struct record record = {
        .type = RECORD_PUT, .key = key->stored, .value = value, .hash = key->hash};
    bucket_lock(bucket);
    return append_and_unlock(bucket, &record, wall_ms, wait);
}

enum error bucket_put_if_absent(struct bucket *bucket, const struct bucket_key *key,
                                struct slice value, uint64_t wall_ms, struct entry **present,
                                struct session_wait *wait)
{
    struct record record = {
        .type = RECORD_PUT, .key = key->stored, .value = value, .hash = key->hash};
    bucket_lock(bucket);
    struct entry *entry = table_find(&bucket->table, key->stored, key->hash);
    *present = entry == NULL ? NULL : entry_ref(entry);
    if (entry == NULL)
        return append_and_unlock(bucket, &record, wall_ms, wait);
    *wait = wait_locked(bucket, bucket->last_seq);
    bucket_unlock(bucket);
    return OK;
}

enum error bucket_remove(struct bucket *bucket, const struct bucket_key *key, uint64_t wall_ms,
                         struct session_wait *wait)
{
    struct record record = {.type = RECORD_REMOVE, .key = key->stored, .hash = key->hash};
    bucket_lock(bucket);
    if (table_find(&bucket->table, key->stored, key->hash) != NULL)
        return append_and_unlock(bucket, &record, wall_ms, wait);
    *wait = wait_locked(bucket, bucket->last_seq);
    bucket_unlock(bucket);
    return OK;
}

struct entry *bucket_get(struct bucket *bucket, const struct bucket_key *key,
                         struct session_wait *wait)
{
    bucket_lock(bucket);
    struct entry *entry = table_find(&bucket->table, key->stored, key->hash);
    if (entry != NULL)
        entry_ref(entry);
    *wait = wait_locked(bucket, entry != NULL ? entry->seq : bucket->last_seq);
    bucket_unlock(bucket);
    return entry;
}

enum error bucket_clear(struct bucket *bucket, uint64_t wall_ms, struct session_wait *wait)
{
    struct record record = {.type = RECORD_CLEAR};
    bucket_lock(bucket);
    return append_and_unlock(bucket, &record, wall_ms, wait);
}

enum error bucket_write(struct bucket *bucket, const struct bucket_key *key, bool remove,
                        struct slice value, const struct writer_mark *mark, uint64_t wall_ms,
                        bool *repeated, struct session_wait *wait)
{
    struct record record = {.type = remove ? RECORD_REMOVE : RECORD_PUT,
                            .key = key->stored,
                            .value = value,
                            .hash = key->hash,
                            .writer = mark};
    bucket_lock(bucket);
    uint64_t time_ms = wall_ms > bucket->last_time_ms ? wall_ms : bucket->last_time_ms;
    enum error error = writers_check(&bucket->writers, mark, time_ms, repeated);
    if (error == OK && !*repeated)
        return append_and_unlock(bucket, &record, wall_ms, wait);
    *wait = wait_locked(bucket, bucket->last_seq);
    bucket_unlock(bucket);
    return error;
}

uint64_t bucket_entry_count(struct bucket *bucket, uint64_t *bytes, struct session_wait *wait)
{
    bucket_lock(bucket);
    uint64_t count = bucket->table.entry_count;
    *bytes = bucket->table.bytes;
    *wait = wait_locked(bucket, bucket->last_seq);
    bucket_unlock(bucket);
    return count;
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
    collection.entries = mem_array(bucket->table.entry_count, sizeof *collection.entries);
    if (collection.entries == NULL)
        return ERROR_MEMORY;
    table_each(&bucket->table, collect, &collection);
    qsort(collection.entries, collection.count, sizeof *collection.entries, by_seq);
    *entries = collection.entries;
    *count = collection.count;
    return OK;
}

void bucket_entries_free(struct entry **entries, size_t count)
{
    for (size_t i = 0; i < count; i++)
        entry_unref(entries[i]);
    mem_free(entries);
}
