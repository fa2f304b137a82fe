/* Calls between servers, over REQUESTS links.
 *
 *   origin: SENT -> the peer's mailbox -> call_fill() -> CALL ...... RESULT -> call_on_answer()
 *   primary: call_on_request() -> a call like any other -> call_answer_peer()
 *
 * What was sent under a newer map than ours, for a bucket that we do not lead, is held back until
 * we have that map; so is all that follows it on its connection. */
#include "common/mem.h"
#include "server/call.h"
#include "server/call_impl.h"
#include "server/call_wire.h"

#define ANSWER_PART_BYTES (1024u * 1024) /* of a long content, in one frame */

struct call_held {
    struct call_held *next;
    struct peer_conn *from; /* a reference */
    size_t len;
    uint8_t content[];
};

/* ---- The way out ---- */

void call_post_locked(struct call *call, struct peer *peer)
{
    PRE(call->mailbox == NULL);
    call->mailbox = peer_ref(peer);
    peer_send_call(peer, call);
}

void call_unpost_locked(struct call *call)
{
    struct peer *peer = call->mailbox;
    if (peer == NULL)
        return;
    pthread_mutex_lock(&peer->lock);
    struct call **link = &peer->calls;
    while (*link != NULL && *link != call)
        link = &(*link)->next_mail;
    bool found = *link == call;
    if (found) {
        *link = call->next_mail;
        if (peer->calls_end == &call->next_mail)
            peer->calls_end = link;
    }
    pthread_mutex_unlock(&peer->lock);
    call->mailbox = NULL;
    peer_unref(peer);
    if (found)
        call_unref(call); /* the mailbox's; the queue has another one */
}

/* The oldest in the mailbox, with a reference; it stays there. */
static struct call *peek(struct peer *peer)
{
    pthread_mutex_lock(&peer->lock);
    struct call *call = peer->calls == NULL ? NULL : call_ref(peer->calls);
    pthread_mutex_unlock(&peer->lock);
    return call;
}

static struct call_request request_of(const struct call *call)
{
    const struct bucket *bucket = call->bucket;
    struct server *server = bucket->region->server;
    return (struct call_request){.epoch = atomic_load(&server->adopted_epoch),
                                 .region_id = bucket->region->id,
                                 .bucket = bucket->id,
                                 .generation = call->generation,
                                 .id = call->sent_id,
                                 .kind = call->kind,
                                 .origin = call->origin,
                                 .counter = call->counter,
                                 .after = call->after,
                                 .answered_through = call->answered_through,
                                 .mark = call->mark,
                                 .key = call->key,
                                 .value = call->value};
}

static bool write_request(struct net_conn *conn, const struct call_request *request)
{
    size_t max = call_request_size(request);
    uint8_t *content = peer_frame_begin(conn, PEER_FRAME_CALL, max);
    if (content == NULL)
        return false;
    uint8_t *end = call_request_pack(request, content);
    peer_frame_end(conn, content, PEER_FRAME_CALL, max, (size_t)(end - content));
    return true;
}

void call_fill(struct peer *peer, struct net_conn *conn)
{
    struct call *call;
    while ((call = peek(peer)) != NULL) {
        bucket_lock(call->bucket);
        bool is_here = call->mailbox == peer;
        if (is_here)
            call_unpost_locked(call);
        bool is_sent = is_here && call->state == CALL_SENT;
        struct call_request request = {0};
        if (is_sent)
            request = request_of(call);
        bucket_unlock(call->bucket);
        if (is_sent && !write_request(conn, &request)) {
            bucket_lock(call->bucket);
            if (call->state == CALL_SENT && call->sent_id == request.id)
                call_requeue_locked(call);
            call_retry_later_locked(peer->worker, call);
            bucket_unlock(call->bucket);
        }
        call_unref(call);
    }
}

/* ---- The answer, here ---- */

static struct region *find_region(struct worker *worker, uint32_t id)
{
    struct call_worker *calls = worker->calls;
    const struct catalog *catalog = worker->catalog;
    if (catalog == NULL)
        return NULL;
    if (calls->last_epoch == catalog->map->epoch && calls->last_region->id == id)
        return calls->last_region;
    for (uint32_t i = 0; i < catalog->region_count; i++) {
        if (catalog->regions[i]->id != id)
            continue;
        calls->last_epoch = catalog->map->epoch;
        calls->last_region = catalog->regions[i];
        return catalog->regions[i];
    }
    return NULL;
}

static enum error take_answer(struct call *call, const struct call_answer *answer)
{
    struct call_result *result = &call->result;
    buf_append_slice(&result->content, answer->content);
    if (result->content.failed)
        return ERROR_MEMORY;
    if (result->content.len > 2 * (size_t)LIMIT_MESSAGE_BYTES)
        return ERROR_LIMIT;
    if (answer->status == CALL_STATUS_MORE)
        return OK;
    result->error = answer->error;
    result->result = answer->result;
    result->count = answer->count;
    result->bytes = answer->bytes;
    if (answer->has_entry) {
        result->entry = entry_new(call->key, answer->value, call->hash, answer->entry_seq);
        if (result->entry == NULL)
            return ERROR_MEMORY;
    }
    if (answer->code != 0) {
        result->failure = mem_alloc(sizeof *result->failure);
        if (result->failure == NULL)
            return ERROR_MEMORY;
        failure_set(result->failure, answer->code, "%.*s", SLICE_FMT(answer->text));
    }
    return OK;
}

static void on_answer_locked(struct worker *worker, struct call *call,
                             const struct call_answer *answer)
{
    if (answer->status == CALL_STATUS_DONE || answer->status == CALL_STATUS_MORE) {
        enum error error = take_answer(call, answer);
        if (error != OK)
            call_fail_locked(call, error, NULL);
        else if (answer->status == CALL_STATUS_DONE)
            call_finish_locked(call);
        return;
    }
    /* Refused before it was applied, this attempt has changed nothing. What is behind it was sent
     * to be done after it. */
    if (answer->status != CALL_STATUS_DEPOSED)
        call->is_attempted = call->was_attempted;
    call_requeue_locked(call);
    call->bucket->calls_retry_us = loop_clock_us(worker->loop) + CALL_RETRY_US;
    call_retry_later_locked(worker, call);
}

enum error call_on_answer(struct peer_conn *from, struct slice content)
{
    struct call_answer answer;
    enum error error = call_answer_unpack(content, &answer);
    if (error != OK)
        return error;
    struct region *region = find_region(from->worker, answer.region_id);
    if (region == NULL || answer.bucket >= region->bucket_count)
        return OK; /* destroyed in the meantime */
    struct bucket *bucket = &region->buckets[answer.bucket];
    bucket_lock(bucket);
    struct call *call = bucket->calls;
    while (call != NULL && call->state == CALL_SENT && call->sent_id != answer.id)
        call = call->next;
    if (call != NULL && call->state == CALL_SENT && call->sent_to == from->peer->incarnation)
        on_answer_locked(from->worker, call, &answer);
    bucket_unlock(bucket);
    return OK;
}

/* Calls that wait for this peer: sent again when it is there, asked elsewhere when it is not. */
static void look_at_bucket(struct bucket *bucket, const struct peer *peer, bool up)
{
    bucket_lock(bucket);
    struct call *call = bucket->calls;
    if (!up && call != NULL && call->state == CALL_SENT && call->sent_to == peer->incarnation)
        call_requeue_locked(call);
    call_pump_locked(bucket);
    bucket_unlock(bucket);
}

void call_on_link(struct peer *peer, bool up)
{
    const struct catalog *catalog = peer->worker->catalog;
    for (uint32_t i = 0; catalog != NULL && i < catalog->region_count; i++)
        for (uint32_t b = 0; b < catalog->regions[i]->bucket_count; b++)
            look_at_bucket(&catalog->regions[i]->buckets[b], peer, up);
}

/* ---- The other side ---- */

static void write_answer(struct peer_conn *to, const struct call_answer *answer)
{
    if (to->conn == NULL)
        return;
    size_t max = call_answer_size(answer);
    uint8_t *content = peer_frame_begin(to->conn, PEER_FRAME_RESULT, max);
    /* Without memory the answer is lost; the origin's deadline ends the call. */
    if (content == NULL)
        return;
    uint8_t *end = call_answer_pack(answer, content);
    peer_frame_end(to->conn, content, PEER_FRAME_RESULT, max, (size_t)(end - content));
}

void call_answer_peer(struct call *call, void *arg)
{
    (void)arg;
    struct call_result *result = &call->result;
    struct call_answer answer = {.epoch = atomic_load(&call->region->server->adopted_epoch),
                                 .region_id = call->region->id,
                                 .bucket = call->bucket->id,
                                 .id = call->remote_id,
                                 .error = result->error,
                                 .result = result->result,
                                 .count = result->count,
                                 .bytes = result->bytes};
    if (call->is_refused)
        answer.status = call->is_disorder  ? CALL_STATUS_DISORDER
                        : call->is_deposed ? CALL_STATUS_DEPOSED
                                           : CALL_STATUS_MOVED;
    if (result->entry != NULL) {
        answer.has_entry = true;
        answer.entry_seq = result->entry->seq;
        answer.value = entry_value(result->entry);
    }
    if (result->failure != NULL) {
        answer.code = result->failure->code;
        answer.text = slice_text(result->failure->text);
    }
    struct slice rest = buf_slice(&result->content);
    for (; rest.len > ANSWER_PART_BYTES;
         rest = slice_of(rest.data + ANSWER_PART_BYTES, rest.len - ANSWER_PART_BYTES)) {
        struct call_answer part = {.epoch = answer.epoch,
                                   .region_id = answer.region_id,
                                   .bucket = answer.bucket,
                                   .id = answer.id,
                                   .status = CALL_STATUS_MORE,
                                   .content = slice_of(rest.data, ANSWER_PART_BYTES)};
        write_answer(call->from, &part);
    }
    answer.content = rest;
    write_answer(call->from, &answer);
}

static void refuse(struct peer_conn *from, const struct call_request *request,
                   enum call_status status)
{
    struct server *server = from->worker->server;
    struct call_answer answer = {.epoch = atomic_load(&server->adopted_epoch),
                                 .region_id = request->region_id,
                                 .bucket = request->bucket,
                                 .id = request->id,
                                 .status = status};
    write_answer(from, &answer);
}

static enum error make_call(struct peer_conn *from, const struct call_request *request,
                            struct region *region, struct call **call)
{
    struct call_options options = {.kind = request->kind,
                                   .bucket = &region->buckets[request->bucket],
                                   .key = request->key,
                                   .value = request->value,
                                   .mark = &request->mark,
                                   .worker = from->worker,
                                   .on_result = call_answer_peer};
    if (request->key.len > 0)
        options.hash = table_hash(request->key, region->hash_seed);
    enum error error = call_new(&options, call);
    if (error != OK)
        return error;
    struct call *made = *call;
    made->from = peer_conn_ref(from);
    made->remote_id = request->id;
    made->origin = request->origin;
    made->counter = request->counter;
    made->after = request->after;
    made->answered_through = request->answered_through;
    made->generation = request->generation;
    return OK;
}

/* False: it has to wait for a newer map. */
static bool accept_request(struct peer_conn *from, const struct call_request *request)
{
    struct worker *worker = from->worker;
    struct region *region = find_region(worker, request->region_id);
    if (region == NULL || request->bucket >= region->bucket_count) {
        if (worker->catalog == NULL || worker->catalog->map->epoch < request->epoch)
            return false;
        refuse(from, request, CALL_STATUS_MOVED);
        return true;
    }
    struct bucket *bucket = &region->buckets[request->bucket];
    struct call *call;
    if (make_call(from, request, region, &call) != OK) {
        refuse(from, request, CALL_STATUS_BUSY);
        return true;
    }
    bool is_behind = atomic_load(&worker->server->adopted_epoch) < request->epoch;
    bucket_lock(bucket);
    bool leads = bucket->replica.role == REPLICA_PRIMARY && bucket->replica.led != 0 &&
                 bucket->generation == request->generation;
    enum error error = leads ? call_enqueue_locked(call) : ERROR_ELSEWHERE;
    bucket_unlock(bucket);
    if (error == OK)
        return true;
    call_unref(call);
    if (error == ERROR_ELSEWHERE && is_behind)
        return false;
    refuse(from, request, error == ERROR_BUSY ? CALL_STATUS_BUSY : CALL_STATUS_MOVED);
    return true;
}

static bool is_holding(const struct call_worker *calls, const struct peer_conn *from)
{
    for (const struct call_held *held = calls->held; held != NULL; held = held->next)
        if (held->from == from)
            return true;
    return false;
}

static void hold(struct peer_conn *from, const struct call_request *request, struct slice content)
{
    struct call_worker *calls = from->worker->calls;
    struct call_held *held = NULL;
    if (calls->held_count < LIMIT_CALLS)
        held = mem_alloc(sizeof *held + content.len);
    if (held == NULL) {
        refuse(from, request, CALL_STATUS_BUSY);
        return;
    }
    *held = (struct call_held){.from = peer_conn_ref(from), .len = content.len};
    memcpy(held->content, content.data, content.len);
    *calls->held_end = held;
    calls->held_end = &held->next;
    if (calls->held_count++ == 0 && calls->retries == NULL)
        loop_timer_set(&calls->timer, CALL_RETRY_US);
}

enum error call_on_request(struct peer_conn *from, struct slice content)
{
    struct call_request request;
    enum error error = call_request_unpack(content, &request);
    if (error == OK && (is_holding(from->worker->calls, from) || !accept_request(from, &request)))
        hold(from, &request, content);
    return error;
}

static void held_free(struct call_held *held)
{
    peer_conn_unref(held->from);
    mem_free(held);
}

bool call_release_held(struct worker *worker)
{
    struct call_worker *calls = worker->calls;
    struct call_held *held = calls->held;
    calls->held = NULL;
    calls->held_end = &calls->held;
    calls->held_count = 0;
    while (held != NULL) {
        struct call_held *next = held->next;
        struct call_request request;
        bool is_gone = held->from->conn == NULL;
        held->next = NULL;
        INVARIANT(call_request_unpack(slice_of(held->content, held->len), &request) == OK);
        if (is_gone || (!is_holding(calls, held->from) && accept_request(held->from, &request))) {
            held_free(held);
        } else {
            *calls->held_end = held;
            calls->held_end = &held->next;
            calls->held_count++;
        }
        held = next;
    }
    return calls->held == NULL;
}

void call_drop_held(struct worker *worker)
{
    while (worker->calls->held != NULL) {
        struct call_held *held = worker->calls->held;
        worker->calls->held = held->next;
        held_free(held);
    }
}
