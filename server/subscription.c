#include "server/subscription.h"

#include "common/mem.h"

/* What hangs on a session that has subscriptions. */
struct session_subscriptions {
    struct session *session;
    struct subscription *first;
    uint32_t count;
    struct loop_timer
        room; /* looks after the end of the turn whether the connection has taken what was pushed */
    uint64_t room_delay_us;
    bool room_is_awaited, looking;
    bool ended; /* meanwhile; the session is gone */
};

static void on_task(void *arg);

static void mark_all(struct subscription *subscription)
{
    for (uint32_t i = 0; i < subscription->bucket_count; i++)
        atomic_fetch_or(&subscription->dirty[i / 64], 1ull << (i % 64));
}

static void on_progress(void *arg)
{
    struct subscription *subscription = arg;
    loop_timer_set(&subscription->progress_timer, 1000000);
    mark_all(subscription);
    subscription->progress_due = true;
    subscription_pump(subscription);
}

static void pump_all(struct session_subscriptions *subscriptions)
{
    struct subscription *next;
    for (struct subscription *s = subscriptions->first; s != NULL && !subscriptions->ended;
         s = next) {
        next = s->next_of_session;
        subscription_pump(s);
    }
}

static void on_session_drain(void *attachment)
{
    struct session_subscriptions *subscriptions = attachment;
    subscriptions->room_is_awaited = false; /* what is pushed now is looked after anew, at once */
    pump_all(subscriptions);
}

/* A connection that takes all at the end of the turn never says that it drained. One that does not
 * will say so; it is looked at ever more seldom meanwhile. */
static void on_room(void *arg)
{
    const uint64_t delay_us_min = 1000, delay_us_max = 100000;
    struct session_subscriptions *subscriptions = arg;
    bool was_full = session_unsent(subscriptions->session) >= LIMIT_PUSH_UNSENT_BYTES;
    uint64_t delay_us = subscriptions->room_delay_us * 2;
    subscriptions->looking = true;
    pump_all(subscriptions);
    subscriptions->looking = subscriptions->room_is_awaited = false;
    if (subscriptions->ended) {
        loop_timer_fini(&subscriptions->room);
        mem_free(subscriptions);
    } else if (session_unsent(subscriptions->session) >= LIMIT_PUSH_UNSENT_BYTES) {
        delay_us = delay_us < delay_us_min   ? delay_us_min
                   : delay_us > delay_us_max ? delay_us_max
                                             : delay_us;
        subscriptions->room_delay_us = was_full ? delay_us : 0;
        subscriptions->room_is_awaited = true;
        loop_timer_set(&subscriptions->room, subscriptions->room_delay_us);
    }
}

void subscription_wait_for_room(struct subscription *subscription)
{
    struct session_subscriptions *subscriptions = session_attachment(subscription->session);
    if (subscriptions->looking || subscriptions->room_is_awaited)
        return;
    subscriptions->room_is_awaited = true;
    subscriptions->room_delay_us = 0;
    loop_timer_set(&subscriptions->room, 0);
}

static void on_retry(void *arg)
{
    struct subscription *subscription = arg;
    subscription->retry_set = false;
    atomic_store(&subscription->reroute, true);
    mark_all(subscription);
    subscription_pump(subscription);
}

void subscription_retry(struct subscription *subscription)
{
    const uint64_t delay_us_min = 500, delay_us_max = 50000;
    uint64_t delay_us = subscription->retry_us * 2;
    if (subscription->retry_set || subscription->ended)
        return;
    delay_us = delay_us < delay_us_min ? delay_us_min : delay_us;
    subscription->retry_us = delay_us > delay_us_max ? delay_us_max : delay_us;
    subscription->retry_set = true;
    loop_timer_set(&subscription->retry, subscription->retry_us);
}

/* ---- Attaching ---- */

/* A position of another life, or of an instance that is gone, is about something else: its reader
 * starts anew, and will be told if there was anything before. */
static void resume_position(struct subscription *subscription, uint32_t index,
                            struct token_position position, const struct token_head *head)
{
    struct subscription_bucket *own = &subscription->buckets[index];
    struct cq_instance *instance = subscription->instance;
    bool lost = head->life != instance->life;
    bool restarted = instance->has_state && head->instance != instance->id;
    if (!lost && !restarted) {
        own->position = position;
        return;
    }
    if (position.at.seq == 0)
        return;
    own->trouble = lost ? TROUBLE_LOST : TROUBLE_RESTARTED;
    own->troubled_from = position.at.seq + 1;
    subscription->has_trouble = true;
}

static enum error take_given_positions(const struct subscription *subscription,
                                       const Pb__CqSubscribeRequest *request,
                                       struct token_position *positions, struct failure *failure)
{
    for (size_t i = 0; i < request->n_position; i++) {
        const Pb__CqPosition *given = request->position[i];
        if (given->bucket >= subscription->bucket_count) {
            failure_set(failure, FAILURE_INVALID_REQUEST,
                        "A position names bucket %u, but the region has buckets 0 to %u.",
                        given->bucket, subscription->bucket_count - 1);
            return ERROR_INVALID;
        }
        positions[given->bucket].generation = given->generation == 0 ? 1 : given->generation;
        positions[given->bucket].at = (struct ring_position){given->seq, given->sub};
    }
    return OK;
}

static enum error resume_positions(struct subscription *subscription,
                                   const struct subscription_options *options,
                                   struct failure *failure)
{
    const Pb__CqSubscribeRequest *request = options->request;
    struct token_head head = {0};
    struct token_position *positions = mem_array(subscription->bucket_count, sizeof *positions);
    if (positions == NULL)
        return ERROR_MEMORY;
    enum error error = token_decode(message_slice(request->resume_token), &head, positions,
                                    subscription->bucket_count);
    if (error == ERROR_CONFLICT && head.life != subscription->instance->life) {
        /* Another life of the region, with another number of buckets: that is said once. */
        positions[0] = (struct token_position){.at = {1, 0}};
        error = OK;
    } else if (error == OK) {
        error = take_given_positions(subscription, request, positions, failure);
    } else {
        failure_set(failure, FAILURE_INVALID_REQUEST,
                    "The resume token is damaged or belongs to another query. Subscribe without it "
                    "for a new start.");
    }
    for (uint32_t i = 0; i < subscription->bucket_count && error == OK; i++)
        resume_position(subscription, i, positions[i], &head);
    mem_free(positions);
    return error == OK || error == ERROR_MEMORY ? error : ERROR_INVALID;
}

static enum error choose_buckets(struct subscription *subscription,
                                 const Pb__CqSubscribeRequest *request, struct failure *failure)
{
    for (uint32_t i = 0; i < subscription->bucket_count; i++)
        subscription->buckets[i].wanted = request->n_bucket == 0;
    for (size_t i = 0; i < request->n_bucket; i++) {
        if (request->bucket[i] >= subscription->bucket_count) {
            failure_set(failure, FAILURE_INVALID_REQUEST,
                        "There is no bucket %u: the region has buckets 0 to %u.",
                        request->bucket[i], subscription->bucket_count - 1);
            return ERROR_INVALID;
        }
        subscription->buckets[request->bucket[i]].wanted = true;
    }
    return OK;
}

static enum error attach_to_session(struct subscription *subscription)
{
    struct session *session = subscription->session;
    struct session_subscriptions *subscriptions = session_attachment(session);
    if (subscriptions == NULL) {
        subscriptions = mem_zalloc(sizeof *subscriptions);
        if (subscriptions == NULL)
            return ERROR_MEMORY;
        subscriptions->session = session;
        if (loop_timer_init(&subscriptions->room, subscription->worker->loop, on_room,
                            subscriptions) != OK) {
            mem_free(subscriptions);
            return ERROR_MEMORY;
        }
        session_attach(session, subscriptions, on_session_drain);
    }
    if (subscriptions->count >= LIMIT_SUBSCRIPTIONS_PER_CONNECTION)
        return ERROR_LIMIT;
    subscription->next_of_session = subscriptions->first;
    subscriptions->first = subscription;
    subscriptions->count++;
    session_set_subscribed(session, true);
    return OK;
}

static void attach_to_instance(struct subscription *subscription)
{
    struct cq_instance *instance = subscription->instance;
    pthread_mutex_lock(&instance->lock);
    subscription->next = instance->subscriptions;
    if (subscription->next != NULL)
        subscription->next->previous = subscription;
    instance->subscriptions = subscription;
    if (subscription->session != NULL) /* who reads through a feed counts where its client is */
        instance->subscription_count++;
    pthread_mutex_unlock(&instance->lock);
}

static void free_now(struct subscription *subscription)
{
    snapshot_fini(&subscription->snapshot);
    subscription_feeds_free(subscription);
    loop_timer_fini(&subscription->progress_timer);
    loop_timer_fini(&subscription->retry);
    query_plan_unref(subscription->plan);
    cq_instance_unref(subscription->instance);
    if (subscription->sink == &subscription_client_sink)
        atomic_fetch_sub(&subscription->worker->server->subscription_count, 1);
    mem_free(subscription->buckets);
    mem_free(subscription);
}

static void add_credit(struct subscription *subscription, uint64_t events, uint64_t bytes)
{
    /* Far above what anybody reads, and far from wrapping. */
    const uint64_t most = 1ull << 48;
    events = events > most ? most : events;
    bytes = bytes > most ? most : bytes;
    subscription->credit_events =
        subscription->credit_events > most - events ? most : subscription->credit_events + events;
    subscription->credit_bytes += (int64_t)bytes;
    if (subscription->credit_bytes > (int64_t)most)
        subscription->credit_bytes = (int64_t)most;
}

static void set_options(struct subscription *subscription,
                        const struct subscription_options *options)
{
    const Pb__CqSubscribeRequest *request = options->request;
    subscription->encoding = options->encoding;
    subscription->is_durable = request->durable;
    subscription->conflates = request->slow_policy == PB__SLOW_POLICY__CONFLATE;
    subscription->disconnects_when_slow = request->slow_policy == PB__SLOW_POLICY__DISCONNECT;
    subscription->token_every_batch = request->token_every_batch;
    subscription->progress = request->progress;
    subscription->batch_events_max =
        request->max_batch_events == 0 ? UINT32_MAX : request->max_batch_events;
    add_credit(subscription,
               request->initial_credit_events == 0 ? LIMIT_CREDIT_EVENTS_DEFAULT
                                                   : request->initial_credit_events,
               request->initial_credit_bytes == 0 ? LIMIT_CREDIT_BYTES_DEFAULT
                                                  : request->initial_credit_bytes);
    subscription->run_events_max = subscription->credit_events > UINT32_MAX
                                       ? UINT32_MAX
                                       : (uint32_t)subscription->credit_events;
}

static enum error make(struct worker *worker, struct cq_instance *instance, struct query_plan *plan,
                       const struct subscription_sink *sink, struct subscription **subscription)
{
    uint32_t bucket_count = instance->region->bucket_count, words = (bucket_count + 63) / 64;
    struct subscription *made = mem_zalloc(sizeof *made + words * sizeof(uint64_t));
    if (made == NULL)
        return ERROR_MEMORY;
    made->worker = worker;
    made->sink = sink;
    made->instance = cq_instance_ref(instance);
    made->plan = query_plan_ref(plan);
    made->bucket_count = made->snapshot_bucket = bucket_count;
    made->task = (struct loop_task){.on_run = on_task, .arg = made};
    made->buckets = mem_array(bucket_count, sizeof *made->buckets);
    enum error error = made->buckets == NULL ? ERROR_MEMORY : OK;
    if (error == OK)
        error = loop_timer_init(&made->retry, worker->loop, on_retry, made);
    uint32_t keys[LIMIT_COLUMNS];
    made->key_count = query_plan_key_columns(instance->plan, keys);
    if (made->key_count <= LIMIT_KEY_COLUMNS)
        memcpy(made->keys, keys, made->key_count * sizeof *keys);
    *subscription = made;
    return error;
}

enum error subscription_new(struct worker *worker, struct session *session,
                            const struct subscription_options *options,
                            struct subscription **subscription, struct failure *failure)
{
    struct subscription *made = NULL;
    if (atomic_fetch_add(&worker->server->subscription_count, 1) >= LIMIT_SUBSCRIPTIONS) {
        atomic_fetch_sub(&worker->server->subscription_count, 1);
        return ERROR_LIMIT;
    }
    enum error error = make(worker, options->instance,
                            options->plan != NULL ? options->plan : options->instance->plan,
                            &subscription_client_sink, &made);
    if (made == NULL) {
        atomic_fetch_sub(&worker->server->subscription_count, 1);
        return error;
    }
    made->session = session;
    made->id = atomic_fetch_add(&worker->server->next_subscription_id, 1) + 1;
    made->latest = options->request->start == PB__START__LATEST;
    made->created = options->created;
    set_options(made, options);
    if (error == OK)
        error = choose_buckets(made, options->request, failure);
    if (error == OK && options->request->resume_token.len > 0) {
        made->latest = false;
        error = resume_positions(made, options, failure);
    }
    if (error == OK && made->progress)
        error = loop_timer_init(&made->progress_timer, worker->loop, on_progress, made);
    if (error == OK)
        error = attach_to_session(made);
    if (error != OK) {
        free_now(made);
        return error;
    }
    attach_to_instance(made);
    *subscription = made;
    return OK;
}

enum error subscription_new_of_feed(struct worker *worker, struct cq_instance *instance,
                                    struct feed_out *feed, bool progress,
                                    struct subscription **subscription)
{
    struct subscription *made = NULL;
    enum error error = make(worker, instance, instance->plan, &feed_sink, &made);
    if (error == OK && progress)
        error = loop_timer_init(&made->progress_timer, worker->loop, on_progress, made);
    if (error != OK) {
        if (made != NULL)
            free_now(made);
        return error;
    }
    made->feed_out = feed;
    made->progress = progress;
    made->batch_events_max = UINT32_MAX;
    add_credit(made, UINT64_MAX, 0);
    attach_to_instance(made);
    *subscription = made;
    return OK;
}

struct subscription *subscription_find(struct session *session, uint64_t id)
{
    struct session_subscriptions *subscriptions = session_attachment(session);
    struct subscription *found = subscriptions == NULL ? NULL : subscriptions->first;
    while (found != NULL && found->id != id)
        found = found->next_of_session;
    return found;
}

void subscription_start(struct subscription *subscription, struct session_slot *slot)
{
    subscription->slot = slot;
    subscription->state = SUBSCRIPTION_WAITING;
    subscription->deadline_us = loop_now_us(subscription->worker->loop) + LIMIT_SUBSCRIBE_US;
    atomic_store(&subscription->reroute, true);
    mark_all(subscription);
    if (subscription->progress)
        loop_timer_set(&subscription->progress_timer, 1000000);
    subscription_pump(subscription);
}

void subscription_add_credit(struct subscription *subscription, uint64_t events, uint64_t bytes)
{
    add_credit(subscription, events, bytes);
    subscription_pump(subscription);
}

/* ---- Ending ---- */

static void detach_from_instance(struct subscription *subscription)
{
    struct cq_instance *instance = subscription->instance;
    pthread_mutex_lock(&instance->lock);
    if (subscription->previous != NULL)
        subscription->previous->next = subscription->next;
    else
        instance->subscriptions = subscription->next;
    if (subscription->next != NULL)
        subscription->next->previous = subscription->previous;
    if (subscription->session != NULL && --instance->subscription_count == 0)
        instance->unattached_since_us = loop_now_us(subscription->worker->loop);
    pthread_mutex_unlock(&instance->lock);
}

void subscription_dispose(struct subscription *subscription)
{
    if (!atomic_exchange(&subscription->posted, true)) {
        free_now(subscription);
        return;
    }
    subscription->next_of_session = subscription->worker->reaped;
    subscription->worker->reaped = subscription;
}

/* After this nobody else knows the subscription; but its task may be on its way through the
 * mailbox, which then frees it, or its pump may be what ended the session. */
static void release(struct subscription *subscription)
{
    struct session_slot *slot = subscription->slot;
    detach_from_instance(subscription);
    subscription->ended = true;
    subscription->slot = NULL;
    if (subscription->progress_timer.loop != NULL)
        loop_timer_clear(&subscription->progress_timer);
    loop_timer_clear(&subscription->retry);
    subscription_feeds_free(subscription);
    if (!subscription->pumping)
        subscription_dispose(subscription);
    if (slot != NULL)
        session_slot_drop(slot);
}

static void free_reaped(struct subscription *subscription)
{
    struct subscription **link = &subscription->worker->reaped;
    while (*link != subscription)
        link = &(*link)->next_of_session;
    *link = subscription->next_of_session;
    free_now(subscription);
}

void subscription_free_reaped(struct worker *worker)
{
    while (worker->reaped != NULL)
        free_reaped(worker->reaped);
}

void subscription_end(struct subscription *subscription)
{
    subscription->sink->end(subscription);
    release(subscription);
}

void subscription_leave_session(struct subscription *subscription)
{
    struct session_subscriptions *subscriptions = session_attachment(subscription->session);
    struct subscription **link = &subscriptions->first;
    while (*link != subscription)
        link = &(*link)->next_of_session;
    *link = subscription->next_of_session;
    subscriptions->count--;
    if (subscriptions->count == 0)
        session_set_subscribed(subscription->session, false);
}

void subscription_session_end(void *owner, struct session *session)
{
    (void)owner;
    struct session_subscriptions *subscriptions = session_attachment(session);
    if (subscriptions == NULL)
        return;
    while (subscriptions->first != NULL) {
        struct subscription *subscription = subscriptions->first;
        subscriptions->first = subscription->next_of_session;
        release(subscription);
    }
    session_attach(session, NULL, NULL);
    subscriptions->ended = true;
    if (subscriptions->looking)
        return;
    loop_timer_fini(&subscriptions->room);
    mem_free(subscriptions);
}

/* ---- Waking ---- */

static void on_task(void *arg)
{
    struct subscription *subscription = arg;
    if (subscription->ended) {
        free_reaped(subscription);
        return;
    }
    atomic_store(&subscription->posted, false);
    subscription_pump(subscription);
}

void subscription_reroute_all(struct cq_instance *instance)
{
    pthread_mutex_lock(&instance->lock);
    for (struct subscription *s = instance->subscriptions; s != NULL; s = s->next) {
        atomic_store(&s->reroute, true);
        if (!atomic_exchange(&s->posted, true))
            loop_post(s->worker->loop, &s->task);
    }
    pthread_mutex_unlock(&instance->lock);
}

void subscription_notify_all(struct cq_instance *instance, uint32_t bucket)
{
    pthread_mutex_lock(&instance->lock);
    for (struct subscription *s = instance->subscriptions; s != NULL; s = s->next) {
        if (bucket != UINT32_MAX)
            atomic_fetch_or(&s->dirty[bucket / 64], 1ull << (bucket % 64));
        if (!atomic_exchange(&s->posted, true))
            loop_post(s->worker->loop, &s->task);
    }
    pthread_mutex_unlock(&instance->lock);
}
