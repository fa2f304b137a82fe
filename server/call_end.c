/* How calls end: the way to their worker, and the texts for those that nobody answers. */
#include <stdio.h>

#include "common/mem.h"
#include "server/call.h"
#include "server/call_impl.h"

/* ---- The worker's mailbox ---- */

static bool run_mail(struct worker *worker)
{
    pthread_mutex_lock(&worker->mail_lock);
    struct call *call = worker->mail;
    worker->mail = NULL;
    worker->mail_end = &worker->mail;
    worker->mail_posted = false;
    pthread_mutex_unlock(&worker->mail_lock);
    bool any = call != NULL;
    while (call != NULL) {
        struct call *next = call->next_done;
        call_encode(call);
        call->on_result(call, call->arg);
        if (call->is_given_up)
            atomic_fetch_sub(&worker->calls->given_up, 1);
        call_unref(call);
        call = next;
    }
    return any;
}

static void on_mail(void *arg)
{
    run_mail(arg);
}

static void run_retries(struct worker *worker)
{
    struct call *call = worker->calls->retries;
    worker->calls->retries = NULL;
    while (call != NULL) {
        struct call *next = call->next_retry;
        bucket_lock(call->bucket);
        call->is_retried = false;
        call_pump_locked(call->bucket);
        bucket_unlock(call->bucket);
        call_unref(call);
        call = next;
    }
}

static void on_retry(void *arg)
{
    struct worker *worker = arg;
    run_retries(worker);
    if (!call_release_held(worker) || worker->calls->retries != NULL)
        loop_timer_set(&worker->calls->timer, CALL_RETRY_US);
}

void call_retry_later_locked(struct worker *worker, struct call *call)
{
    /* Sent again and refused again before its time came: once is enough, whichever worker has it.
     */
    if (call->is_retried)
        return;
    call->is_retried = true;
    bool is_set = worker->calls->retries != NULL || worker->calls->held_count > 0;
    call->next_retry = worker->calls->retries;
    worker->calls->retries = call_ref(call);
    if (!is_set)
        loop_timer_set(&worker->calls->timer, CALL_RETRY_US);
}

enum error call_worker_init(struct worker *worker)
{
    pthread_mutex_init(&worker->mail_lock, NULL);
    worker->mail_end = &worker->mail;
    worker->mail_task = (struct loop_task){.on_run = on_mail, .arg = worker};
    worker->calls = mem_zalloc(sizeof *worker->calls);
    if (worker->calls == NULL)
        return ERROR_MEMORY;
    worker->calls->held_end = &worker->calls->held;
    return loop_timer_init(&worker->calls->timer, worker->loop, on_retry, worker);
}

void call_worker_fini(struct worker *worker)
{
    if (worker->mail_end == NULL)
        return;
    while (run_mail(worker))
        ;
    if (worker->calls != NULL) {
        for (struct call *call = worker->calls->retries, *next; call != NULL; call = next) {
            next = call->next_retry;
            call_unref(call);
        }
        call_drop_held(worker);
        loop_timer_fini(&worker->calls->timer);
        mem_free(worker->calls);
        worker->calls = NULL;
    }
    pthread_mutex_destroy(&worker->mail_lock);
}

void call_finish_locked(struct call *call)
{
    struct worker *worker = call->worker;
    PRE(call->state != CALL_DONE);
    call_unpost_locked(call);
    call_unlink_locked(call);
    call->state = CALL_DONE;
    pthread_mutex_lock(&worker->mail_lock);
    call->next_done = NULL;
    *worker->mail_end = call;
    worker->mail_end = &call->next_done;
    bool post = !worker->mail_posted;
    worker->mail_posted = true;
    if (post && loop_is_current(worker->loop))
        loop_defer(worker->loop, &worker->mail_task);
    else if (post)
        loop_post(worker->loop, &worker->mail_task);
    pthread_mutex_unlock(&worker->mail_lock);
}

void call_fail_locked(struct call *call, enum error error, struct failure *failure)
{
    call_result_fini(&call->result);
    call->result.error = error;
    call->result.failure = failure;
    call_finish_locked(call);
}

void call_refuse_locked(struct call *call)
{
    PRE(call->from != NULL);
    call->is_refused = true;
    call->is_deposed = call->state == CALL_APPLIED;
    call_result_fini(&call->result);
    call_finish_locked(call);
}

/* ---- Texts ---- */

static bool is_in_doubt(const struct call *call)
{
    return call_changes(call->kind) && call->is_attempted;
}

/* First in the text, for programs: a writer repeats what was not decided (client/request.c). */
static const char *kind_of(const struct call *call)
{
    return is_in_doubt(call) ? "IN_DOUBT" : "TIMEOUT";
}

static const char *advice(const struct call *call)
{
    if (is_in_doubt(call))
        return "Whether this change took effect is not known: read the key before you repeat it.";
    return call_changes(call->kind) ? "Nothing was changed; try again later." : "Try again later.";
}

/* The only copy that the map knows, if it is not here. 0: there are others, or none. */
static uint64_t last_copy(const struct bucket *bucket)
{
    const struct replica *replica = &bucket->replica;
    bool is_elsewhere =
        replica->in_sync_count == 1 && replica->in_sync[0] != bucket->region->server->incarnation;
    return is_elsewhere ? replica->in_sync[0] : 0;
}

static bool is_reachable(const struct peer *peer, uint64_t now_us)
{
    if (peer == NULL || atomic_load(&peer->gone))
        return false;
    uint64_t heard_us = atomic_load(&peer->heard_us);
    return atomic_load(&peer->requests_up) || heard_us == 0 || now_us < heard_us + PEER_LOST_US;
}

bool call_is_hopeless_locked(struct bucket *bucket, uint64_t now_us)
{
    uint64_t incarnation = last_copy(bucket);
    if (incarnation == 0)
        return false;
    struct peer *peer = peers_find(bucket->region->server, incarnation);
    bool is_hopeless = !is_reachable(peer, now_us);
    peer_unref(peer);
    return is_hopeless;
}

static void name_server(const struct peer *peer, uint64_t incarnation, char *text, size_t len)
{
    if (peer != NULL)
        snprintf(text, len, "%s (%s:%u)", peer->name, peer->host, peer->port);
    else
        snprintf(text, len, "of incarnation %016llx", (unsigned long long)incarnation);
}

static void tell_unserved(const struct call *call, struct failure *failure)
{
    const struct bucket *bucket = call->bucket;
    const struct replica *replica = &bucket->replica;
    struct server *server = bucket->region->server;
    const char *region = bucket->region->name;
    char name[512];
    uint64_t now_us = loop_clock_us(call->worker->loop);
    uint64_t last = last_copy(bucket), asked = last != 0 ? last : replica->primary;
    struct peer *peer = asked == 0 ? NULL : peers_find(server, asked);
    name_server(peer, asked, name, sizeof name);
    if (replica->role == REPLICA_PRIMARY)
        failure_set(
            failure, FAILURE_SERVER_ERROR,
            "%s: Bucket %u of region /%s was not answered for within %u s: server %s leads it, "
            "but not all copies of the bucket acknowledge. %s",
            kind_of(call), bucket->id, region, LIMIT_CALL_MS / 1000, server->name, advice(call));
    else if (last != 0 && !is_reachable(peer, now_us))
        failure_set(
            failure, FAILURE_SERVER_ERROR,
            "%s: Bucket %u of region /%s has no copy that answers: its last one is server %s, "
            "which does not. Start that server again, or wait until the cluster has given it up. "
            "%s",
            kind_of(call), bucket->id, region, name, advice(call));
    else if (asked == 0)
        failure_set(
            failure, FAILURE_SERVER_ERROR,
            "%s: Bucket %u of region /%s has no primary: no server was found for it. Start a "
            "server, or see vug status. %s",
            kind_of(call), bucket->id, region, advice(call));
    else
        failure_set(failure, FAILURE_SERVER_ERROR,
                    "%s: Bucket %u of region /%s was not answered for within %u s: its primary is "
                    "server %s, which did not answer. %s",
                    kind_of(call), bucket->id, region, LIMIT_CALL_MS / 1000, name, advice(call));
    peer_unref(peer);
}

/* Before the lock is given back: call_start() looks at it under the same. */
static void give_up(struct call *call)
{
    call->is_given_up = call->from == NULL && call_is_write(call->kind);
    if (call->is_given_up)
        atomic_fetch_add(&call->worker->calls->given_up, 1);
}

void call_fail_unserved_locked(struct call *call)
{
    give_up(call);
    struct failure *failure = mem_alloc(sizeof *failure);
    if (failure != NULL)
        tell_unserved(call, failure);
    call_fail_locked(call, is_in_doubt(call) ? ERROR_IN_DOUBT : ERROR_TIMEOUT, failure);
}

void call_fail_in_doubt_locked(struct call *call)
{
    give_up(call);
    struct failure *failure = mem_alloc(sizeof *failure);
    if (failure != NULL)
        failure_set(failure, FAILURE_SERVER_ERROR,
                    "IN_DOUBT: Bucket %u of region /%s has lost its contents, because no server is "
                    "left that had them, while this change was on its way. %s",
                    call->bucket->id, call->bucket->region->name, advice(call));
    call_fail_locked(call, ERROR_IN_DOUBT, failure);
}
