/* The queue of a bucket's calls.
 *
 *   while this server leads:  [APPLIED ... APPLIED][QUEUED ... QUEUED]
 *   while another one does:   [SENT ....... SENT  ][QUEUED ... QUEUED]
 *
 * Whatever is QUEUED is behind everything that is not: so no call passes an earlier one. */
#include "server/call.h"

#include "common/mem.h"
#include "common/plant.h"
#include "server/call_impl.h"

#define STREAM_MISSED_US 60000000u /* far behind the deadline of whatever its origin asked */

/* ---- Life ---- */

/* What a writer repeats must not be passed by what it wrote later, on the same connection and in
 * the same bucket: so such a call outlasts the writer's own patience, which gives the connection
 * up. */
static uint64_t patience_ms(enum call_kind kind)
{
    return call_is_write(kind) ? LIMIT_WRITE_CALL_MS : LIMIT_CALL_MS;
}

enum error call_new(const struct call_options *options, struct call **made)
{
    size_t key_len = options->key.len, value_len = options->value.len;
    struct call *call = mem_alloc(sizeof *call + key_len + value_len);
    if (call == NULL)
        return ERROR_MEMORY;
    memset(call, 0, sizeof *call);
    uint8_t *bytes = (uint8_t *)(call + 1);
    if (key_len > 0)
        memcpy(bytes, options->key.data, key_len);
    if (value_len > 0)
        memcpy(bytes + key_len, options->value.data, value_len);
    atomic_init(&call->refs, 1);
    call->kind = options->kind;
    call->bucket = options->bucket;
    call->region = region_ref(options->bucket->region);
    call->worker = options->worker;
    call->on_result = options->on_result;
    call->arg = options->arg;
    call->key = slice_of(bytes, key_len);
    call->value = slice_of(bytes + key_len, value_len);
    call->hash = options->hash;
    if (options->mark != NULL)
        call->mark = *options->mark;
    call->deadline_us = loop_clock_us(options->worker->loop) + patience_ms(call->kind) * 1000ull;
    buf_init(&call->result.content);
    *made = call;
    return OK;
}

struct call *call_ref(struct call *call)
{
    atomic_fetch_add_explicit(&call->refs, 1, memory_order_relaxed);
    return call;
}

void call_result_fini(struct call_result *result)
{
    entry_unref(result->entry);
    bucket_entries_free(result->entries, result->entries == NULL ? 0 : result->entry_count);
    buf_fini(&result->content);
    mem_free(result->failure);
    memset(result, 0, sizeof *result);
    buf_init(&result->content);
}

void call_unref(struct call *call)
{
    if (call == NULL || atomic_fetch_sub_explicit(&call->refs, 1, memory_order_acq_rel) != 1)
        return;
    PRE(call->mailbox == NULL);
    call_result_fini(&call->result);
    peer_conn_unref(call->from);
    region_unref(call->region);
    mem_free(call);
}

/* ---- The queue ---- */

static bool leads(const struct bucket *bucket)
{
    return bucket->replica.role == REPLICA_PRIMARY && bucket->replica.led != 0;
}

static bool is_destroyed(const struct bucket *bucket)
{
    return atomic_load_explicit(&bucket->region->destroyed, memory_order_relaxed);
}

static struct failure *failure_not_found(const struct region *region)
{
    struct failure *failure = mem_alloc(sizeof *failure);
    if (failure != NULL)
        failure_set(failure, FAILURE_SERVER_ERROR, FAILURE_REGION_NOT_FOUND,
                    SLICE_FMT(slice_text(region->name)));
    return failure;
}

void call_unlink_locked(struct call *call)
{
    struct bucket *bucket = call->bucket;
    if (call->prev != NULL)
        call->prev->next = call->next;
    else
        bucket->calls = call->next;
    if (call->next != NULL)
        call->next->prev = call->prev;
    else
        bucket->last_call = call->prev;
    call->next = call->prev = NULL;
    bucket->call_count--;
}

enum error call_enqueue_locked(struct call *call)
{
    struct bucket *bucket = call->bucket;
    if (bucket->call_count >= LIMIT_CALLS)
        return ERROR_BUSY;
    call->prev = bucket->last_call;
    if (call->prev != NULL)
        call->prev->next = call;
    else
        bucket->calls = call;
    bucket->last_call = call;
    bucket->call_count++;
    if (is_destroyed(bucket))
        call_fail_locked(call, ERROR_NOT_FOUND, failure_not_found(bucket->region));
    else
        call_pump_locked(bucket);
    return OK;
}

/* The first that is QUEUED; NULL if none is. */
static struct call *first_queued(const struct bucket *bucket)
{
    struct call *call = bucket->last_call;
    if (call == NULL || call->state != CALL_QUEUED)
        return NULL;
    while (call->prev != NULL && call->prev->state == CALL_QUEUED)
        call = call->prev;
    return call;
}

void call_requeue_locked(struct call *call)
{
    for (; call != NULL; call = call->next) {
        call_result_fini(&call->result);
        call_unpost_locked(call);
        call->state = CALL_QUEUED;
    }
}

static bool is_own_change(const struct call *call)
{
    return call->from == NULL && call->counter != 0;
}

/* Numbers a change, tells it what comes before it in the stream, and what of that was answered. A
 * read is told the same: it must not pass a change that was refused. */
static void stamp(struct call *call)
{
    struct bucket *bucket = call->bucket;
    const struct call *before = call->prev, *oldest = bucket->calls;
    if (call_changes(call->kind) && call->counter == 0)
        call->counter = ++bucket->next_counter;
    call->generation = bucket->generation;
    call->origin = bucket->region->server->incarnation;
    while (before != NULL && !is_own_change(before))
        before = before->prev;
    while (oldest != call && !is_own_change(oldest))
        oldest = oldest->next;
    call->after = before == NULL || PLANTED(PLANT_RETRY_DISORDER) ? 0 : before->counter;
    call->answered_through = oldest->counter == 0 ? bucket->next_counter : oldest->counter - 1;
}

/* Another server leads. */
static void send_queued(struct bucket *bucket, struct call *call)
{
    struct peer *peer = bucket->replica.primary_peer;
    bool is_up = peer != NULL && atomic_load(&peer->requests_up);
    while (call != NULL) {
        struct call *next = call->next;
        if (call->from != NULL) {
            call_refuse_locked(call);
        } else if (!call_changes(call->kind) && call == bucket->calls &&
                   call_execute_locked(call)) {
            /* Answered by this copy: no change of this server is on its way (R5). */
        } else if (is_up) {
            call->was_attempted = call->is_attempted;
            call->is_attempted = call->is_tried = call_changes(call->kind);
            stamp(call);
            call->sent_to = peer->incarnation;
            call->sent_id = ++bucket->next_call_id;
            call->state = CALL_SENT;
            call_post_locked(call, peer);
        }
        call = next;
    }
}

/* Planted: what is done again comes in the reverse order. */
static void reverse_queue(struct bucket *bucket)
{
    struct call *last = bucket->calls, *call = bucket->calls;
    while (call != NULL) {
        struct call *next = call->next;
        call->next = call->prev;
        call->prev = next;
        call = next;
    }
    bucket->calls = bucket->last_call;
    bucket->last_call = last;
}

void call_pump_locked(struct bucket *bucket)
{
    struct call *call = first_queued(bucket);
    if (call == NULL)
        return;
    if (bucket->calls_retry_us != 0 && !leads(bucket)) {
        if (loop_clock_us(call->worker->loop) < bucket->calls_retry_us)
            return;
        bucket->calls_retry_us = 0;
    }
    if (!leads(bucket)) {
        send_queued(bucket, call);
        return;
    }
    while (call != NULL) {
        struct call *next = call->next;
        if (call->from == NULL)
            stamp(call);
        if (!call_execute_locked(call))
            return;
        call = next;
    }
}

enum error call_start(const struct call_options *options)
{
    struct call *call;
    struct bucket *bucket = options->bucket;
    enum error error = call_new(options, &call);
    if (error != OK)
        return error;
    bucket_lock(bucket);
    bool is_late = call_is_write(call->kind) && atomic_load(&call->worker->calls->given_up) != 0;
    error = is_late ? ERROR_BUSY : call_enqueue_locked(call);
    bucket_unlock(bucket);
    if (error != OK)
        call_unref(call);
    return error;
}

/* ---- What happens to the bucket ---- */

/* Changes commit in order; a read that waits behind one that has not yet may as well. */
void call_on_commit_locked(struct bucket *bucket)
{
    struct call *call = bucket->calls;
    while (call != NULL && call->state == CALL_APPLIED) {
        struct call *next = call->next;
        if (bucket_has_committed(bucket, call->wait_seq))
            call_finish_locked(call);
        else if (call_changes(call->kind))
            return;
        call = next;
    }
}

void call_on_role_locked(struct bucket *bucket)
{
    bool is_leader = leads(bucket), is_again = false;
    bucket->calls_retry_us = 0;
    for (struct call *call = bucket->calls, *next; call != NULL; call = next) {
        next = call->next;
        if (!is_leader && call->from != NULL) {
            call_refuse_locked(call);
        } else if ((is_leader && call->state == CALL_SENT) ||
                   (!is_leader && call->state == CALL_APPLIED) ||
                   (call->state == CALL_SENT && call->sent_to != bucket->replica.primary)) {
            /* The state of one goes for all: they are before what is QUEUED. */
            call_requeue_locked(call);
            is_again = true;
        }
    }
    if (is_again && PLANTED(PLANT_RETRY_DISORDER))
        reverse_queue(bucket);
    call_pump_locked(bucket);
}

void call_on_generation_locked(struct bucket *bucket)
{
    bucket->next_counter = 0;
    bucket->calls_retry_us = 0;
    for (struct call *call = bucket->calls, *next; call != NULL; call = next) {
        next = call->next;
        if (call->from != NULL) {
            call_refuse_locked(call);
        } else if (call->is_attempted) {
            call_fail_in_doubt_locked(call);
        } else {
            call_result_fini(&call->result);
            call_unpost_locked(call);
            call->state = CALL_QUEUED;
            call->counter = 0;
        }
    }
}

void call_on_destroyed(struct region *region)
{
    for (uint32_t i = 0; i < region->bucket_count; i++) {
        struct bucket *bucket = &region->buckets[i];
        bucket_lock(bucket);
        while (bucket->calls != NULL)
            call_fail_locked(bucket->calls, ERROR_NOT_FOUND, failure_not_found(region));
        bucket_unlock(bucket);
    }
}

/* ---- Time ---- */

/* The link broke without a word, or this call was put behind it. */
static void look_after_sent(struct bucket *bucket)
{
    struct call *call = bucket->calls;
    if (call == NULL || call->state != CALL_SENT)
        return;
    struct peer *peer = peers_find(bucket->region->server, call->sent_to);
    if (peer == NULL || !atomic_load(&peer->requests_up))
        call_requeue_locked(call);
    peer_unref(peer);
}

struct origins {
    struct server *server;
    uint64_t drop; /* one that may be dropped; 0: none */
    bool is_missed, drops_missed;
};

static void look_at_origin(void *arg, uint64_t origin)
{
    struct origins *origins = arg;
    if (origin == origins->server->incarnation)
        return;
    struct peer *peer = peers_find(origins->server, origin);
    bool is_gone = peer != NULL && atomic_load(&peer->gone);
    if (is_gone || (peer == NULL && origins->drops_missed))
        origins->drop = origin;
    origins->is_missed |= peer == NULL;
    peer_unref(peer);
}

/* The stream of a server that is provably gone will never be asked for again. One that is in no map
 * any more asks nothing either, once the deadline of its last calls is long over. */
static void drop_streams(struct bucket *bucket, uint64_t now_us)
{
    struct server *server = bucket->region->server;
    struct origins origins = {.server = server};
    origins.drops_missed =
        bucket->stream_missed_us != 0 && now_us - bucket->stream_missed_us > STREAM_MISSED_US;
    streams_each(&bucket->streams, look_at_origin, &origins);
    if (!origins.is_missed)
        bucket->stream_missed_us = 0;
    else if (bucket->stream_missed_us == 0)
        bucket->stream_missed_us = now_us;
    if (origins.drop == 0 || !replica_may_write_locked(bucket))
        return;
    /* Without memory it is tried again. */
    struct record record = {.type = RECORD_STREAM_DROP, .origin = origins.drop};
    (void)bucket_append_locked(bucket, &record, loop_wall_ms(server->loop));
}

/* What a writer wrote later goes with it, so that nothing passes what it repeats. */
static void end_late(struct call *call)
{
    for (struct call *later = call->next, *next; later != NULL && call_is_write(call->kind);
         later = next) {
        next = later->next;
        if (later->from == NULL && call_is_write(later->kind) &&
            memcmp(later->mark.id, call->mark.id, sizeof call->mark.id) == 0)
            call_fail_unserved_locked(later);
    }
    call_fail_unserved_locked(call);
}

/* A read may be behind a write, which is more patient. */
static void look_at_deadlines(struct bucket *bucket, uint64_t now_us)
{
    struct call *call = bucket->calls;
    while (call != NULL) {
        struct call *before = call->prev;
        if (now_us >= call->deadline_us && call->from != NULL)
            call_refuse_locked(call);
        else if (now_us >= call->deadline_us)
            end_late(call);
        else
            before = call;
        call = before == NULL ? bucket->calls : before->next;
    }
}

static void tick_calls(struct bucket *bucket, uint64_t now_us)
{
    look_at_deadlines(bucket, now_us);
    look_after_sent(bucket);
    struct call *call = first_queued(bucket);
    if (call != NULL && !leads(bucket) && call_is_hopeless_locked(bucket, now_us)) {
        for (struct call *next; call != NULL; call = next) {
            next = call->next;
            if (call->from == NULL)
                call_fail_unserved_locked(call);
        }
    }
    call_pump_locked(bucket);
}

void call_tick_locked(struct bucket *bucket, uint64_t now_us)
{
    if (bucket->calls != NULL)
        tick_calls(bucket, now_us);
    if (bucket->streams.first != NULL && leads(bucket) && bucket->region->server != NULL)
        drop_streams(bucket, now_us);
}

void call_free_all(struct bucket *bucket)
{
    bucket_lock(bucket);
    while (bucket->calls != NULL)
        call_fail_locked(bucket->calls, ERROR_CLOSED, NULL);
    bucket_unlock(bucket);
}

void call_free_server(struct server *server)
{
    for (uint32_t i = 0; server->catalog != NULL && i < server->catalog->region_count; i++)
        for (uint32_t b = 0; b < server->catalog->regions[i]->bucket_count; b++)
            call_free_all(&server->catalog->regions[i]->buckets[b]);
}
