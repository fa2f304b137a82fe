#include "server/ops.h"

/* PutAllResponse{1 repeated KeyedError}. */
enum { REPLY_FAILED_KEY = 1 };

static void on_part(struct gather *gather, struct gather_part *part)
{
    struct value key = value_load(part->options.key);
    struct failure failure;
    if (part->result.error == OK)
        return;
    op_failure_of_call(&part->result, &failure);
    op_add_keyed_error(&gather->reply, REPLY_FAILED_KEY, &key, &failure);
}

static void on_end(struct gather *gather)
{
    op_gather_reply(gather, 7);
}

/* The entry will be stored by a call. */
static enum error put_elsewhere(struct session *session, struct region *region,
                                struct bucket *bucket, const struct bucket_key *key,
                                struct slice value, struct gather **gather)
{
    struct call_options options = {
        .kind = CALL_PUT, .bucket = bucket, .key = key->stored, .value = value, .hash = key->hash};
    if (*gather == NULL)
        *gather = op_gather(session, region, OP_WINDOW_KEYS, on_part, on_end);
    return *gather == NULL ? ERROR_MEMORY : gather_add(*gather, &options);
}

static bool put_one(struct session *session, struct region *region, const struct value *key,
                    const struct value *value, struct gather **gather, struct failure *failure)
{
    struct bucket *bucket;
    struct bucket_key stored;
    if (key->type == VALUE_NULL || value->type == VALUE_NULL) {
        failure_set(failure, FAILURE_SERVER_ERROR, "%s",
                    key->type == VALUE_NULL ? FAILURE_JAVA_NULL_KEY : FAILURE_JAVA_NULL_VALUE);
        return false;
    }
    if (!op_check_key_constraint(region, key, failure) ||
        !op_check_value_constraint(region, value, failure))
        return false;
    struct slice value_stored = op_stored(session, value);
    enum error error = value_stored.data == NULL
                           ? ERROR_MEMORY
                           : op_locate(session, region, key, &bucket, &stored);
    if (error == OK)
        error = bucket_put(bucket, &stored, value_stored, loop_wall_ms(op_worker(session)->loop));
    if (error == ERROR_ELSEWHERE)
        error = put_elsewhere(session, region, bucket, &stored, value_stored, gather);
    if (error != OK)
        op_failure_of_put(error, failure);
    return error == OK;
}

/* The entries of a request as a map has them: each key once, where it came first, with its last
 * value. */
struct put_all {
    struct entry_pair {
        struct value key, value;
        struct slice stored; /* the key's form that is compared */
    } * pairs;
    uint32_t count;
    uint32_t *index; /* number of the pair + 1; 0 is free */
    uint32_t index_mask;
};

static enum error put_all_init(struct put_all *all, struct arena *arena, uint32_t count)
{
    uint32_t slots = 8;
    while (slots < count * 2)
        slots *= 2;
    *all = (struct put_all){.index_mask = slots - 1};
    all->pairs = arena_alloc(arena, ((size_t)count + 1) * sizeof *all->pairs);
    all->index = arena_zalloc(arena, slots * sizeof *all->index);
    return all->pairs == NULL || all->index == NULL ? ERROR_MEMORY : OK;
}

static enum error put_all_add(struct put_all *all, struct session *session, const struct value *key,
                              const struct value *value)
{
    struct value identity = *key;
    value_make_key(&identity);
    struct slice stored = op_stored(session, &identity);
    if (stored.data == NULL)
        return ERROR_MEMORY;
    uint32_t slot = (uint32_t)table_hash(stored, 0) & all->index_mask;
    while (all->index[slot] != 0 && !slice_equal(all->pairs[all->index[slot] - 1].stored, stored))
        slot = (slot + 1) & all->index_mask;
    if (all->index[slot] == 0) {
        all->pairs[all->count] = (struct entry_pair){.key = *key, .stored = stored};
        all->index[slot] = ++all->count;
    }
    all->pairs[all->index[slot] - 1].value = *value;
    return OK;
}

/* Checks and collects; an entry that is undecodable fails the whole request before anything is
 * stored. */
static enum error read_entries(struct session *session, struct slice body, uint32_t count,
                               struct put_all *all, struct failure *failure)
{
    struct value key, value;
    enum error error = put_all_init(all, session_arena(session), count);
    while (error == OK && codec_next_entry(&body, &key, &value)) {
        if (!op_check_value(&value, failure) || !op_check_value(&key, failure))
            return ERROR_INVALID;
        error = put_all_add(all, session, &key, &value);
    }
    return error;
}

/* What cannot be put is reported by key; the others are stored (not atomic, as in Geode). */
enum error op_put_all(struct session *session, struct slice body)
{
    struct slice reference;
    uint32_t count;
    struct put_all all;
    struct failure failure;
    enum error error = codec_entries_request(body, &reference, &count);
    if (error == OK)
        error = read_entries(session, body, count, &all, &failure);
    if (error == ERROR_INVALID)
        return session_fail(session, &failure);
    if (error != OK)
        return error;
    struct region *region = op_region(session, reference, &failure);
    if (region == NULL)
        return session_fail(session, &failure);
    struct gather *gather = NULL;
    struct buf reply;
    buf_init(&reply);
    for (uint32_t i = 0; i < all.count; i++)
        if (!put_one(session, region, &all.pairs[i].key, &all.pairs[i].value, &gather, &failure))
            op_add_keyed_error(&reply, REPLY_FAILED_KEY, &all.pairs[i].key, &failure);
    if (gather != NULL) {
        gather->reply = reply;
        return op_gather_run(gather, OK);
    }
    uint8_t *at = reply.failed ? NULL : session_reply_begin(session, 7, reply.len);
    if (at != NULL) {
        if (reply.len > 0)
            memcpy(at, reply.data, reply.len);
        session_reply_end(session);
    }
    buf_fini(&reply);
    return at == NULL ? ERROR_MEMORY : OK;
}
