#include "server/ahead.h"

#include "server/server.h"

/* The members of Message that are read ahead. */
enum { AHEAD_PUT = 2, AHEAD_GET = 4 };

/* The region of a reference that is its plain name. Most requests name the one before them. */
static struct region *find_region(struct worker *worker, struct slice reference)
{
    struct aheads *aheads = worker->aheads;
    struct region *region = aheads->region;
    if (aheads->catalog == worker->catalog && aheads->catalog != NULL &&
        reference.len == aheads->region_len &&
        memcmp(region->name, reference.data, reference.len) == 0)
        return atomic_load_explicit(&region->destroyed, memory_order_relaxed) ? NULL : region;
    if (worker->catalog == NULL || reference.len == 0 ||
        memchr(reference.data, '/', reference.len) != NULL)
        return NULL;
    region = catalog_region(worker->catalog, reference);
    if (region == NULL || atomic_load_explicit(&region->destroyed, memory_order_relaxed))
        return NULL;
    aheads->catalog = worker->catalog;
    aheads->region = region;
    aheads->region_len = reference.len;
    return region;
}

static void read_request(struct worker *worker, struct slice body, bool has_value,
                         struct ahead *ahead)
{
    struct codec_entry_request *request = &ahead->request;
    ahead->region = NULL;
    ahead->bucket = NULL;
    if (has_value) {
        ahead->error = codec_entry_request(body, request);
    } else {
        struct codec_key_request key_request;
        ahead->error = codec_key_request(body, &key_request);
        request->region = key_request.region;
        request->key = key_request.key;
    }
    if (ahead->error != OK)
        return;
    ahead->region = find_region(worker, request->region);
    /* Whatever has to be checked first is left to the operation. */
    if (ahead->region == NULL || request->key.type == VALUE_NOT_SET ||
        request->key.type >= VALUE_JSON || value_stored_size(&request->key) > AHEAD_KEY_BYTES)
        return;
    struct value identity = request->key;
    value_make_key(&identity);
    uint8_t *end = value_store(&identity, ahead->stored);
    ahead->key.stored = slice_of(ahead->stored, (size_t)(end - ahead->stored));
    ahead->key.hash = table_hash(ahead->key.stored, ahead->region->hash_seed);
    ahead->bucket = region_bucket(ahead->region, &identity);
}

void ahead_batch(void *arg, const struct session_request *requests, uint32_t count)
{
    struct worker *worker = arg;
    struct ahead *rows = worker->aheads->rows;
    for (uint32_t i = 0; i < count; i++) {
        rows[i].bucket = NULL;
        if (requests[i].number == AHEAD_PUT || requests[i].number == AHEAD_GET)
            read_request(worker, requests[i].body, requests[i].number == AHEAD_PUT, &rows[i]);
        if (rows[i].bucket != NULL)
            bucket_prefetch(rows[i].bucket, rows[i].key.hash);
    }
    for (uint32_t i = 0; i < count; i++)
        if (rows[i].bucket != NULL)
            bucket_prefetch_entry(rows[i].bucket, rows[i].key.hash);
}

struct ahead *ahead_take(struct session *session, struct slice body, bool has_value)
{
    struct worker *worker = session_owner(session);
    uint32_t index = session_batch_index(session);
    struct ahead *ahead = &worker->aheads->rows[index];
    if (index == SESSION_BATCH_REQUESTS)
        read_request(worker, body, has_value, ahead);
    return ahead;
}
