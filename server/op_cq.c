/* The small operations of continuous queries: credit, unsubscribe, list. */
#include "common/mem.h"
#include "server/ops.h"
#include "server/subscription.h"

/* CqAck has no reply; one for a subscription that is gone is ignored, since it may have crossed its
 * end. */
enum error op_cq_ack(struct session *session, struct slice body)
{
    ProtobufCMessage *message;
    enum error error =
        message_unpack(&pb__cq_ack__descriptor, session_arena(session), body, &message);
    if (error != OK)
        return error;
    const Pb__CqAck *ack = (const Pb__CqAck *)message;
    struct subscription *subscription = subscription_find(session, ack->subscription_id);
    if (subscription != NULL)
        subscription_add_credit(subscription, ack->credit_events, ack->credit_bytes);
    return OK;
}

enum error op_cq_unsubscribe(struct session *session, struct slice body)
{
    ProtobufCMessage *message;
    enum error error = message_unpack(&pb__cq_unsubscribe_request__descriptor,
                                      session_arena(session), body, &message);
    if (error != OK)
        return error;
    uint64_t id = ((const Pb__CqUnsubscribeRequest *)message)->subscription_id;
    struct subscription *subscription = subscription_find(session, id);
    if (subscription == NULL)
        return session_failf(session, FAILURE_INVALID_REQUEST,
                             "This connection has no subscription %llu.", (unsigned long long)id);
    struct worker *worker = op_worker(session);
    struct cq_instance *instance = cq_instance_ref(subscription->instance);
    subscription_end(subscription);
    registry_release(worker->server, instance);
    cq_instance_unref(instance);
    return op_reply_empty(session, 1006);
}

struct listing {
    struct arena *arena;
    Pb__CqInfo **infos;
    size_t count, cap;
    bool failed;
};

static ProtobufCBinaryData copied(struct listing *listing, const char *text)
{
    char *copy = arena_strndup(listing->arena, text, strlen(text));
    if (copy == NULL)
        listing->failed = true;
    return message_bytes(slice_text(copy == NULL ? "" : copy));
}

static void list_one(void *arg, struct cq_instance *instance)
{
    struct listing *listing = arg;
    Pb__CqInfo *info =
        listing->count < listing->cap ? arena_zalloc(listing->arena, sizeof *info) : NULL;
    uint8_t *plan_id = arena_alloc(listing->arena, sizeof instance->plan_id);
    if (info == NULL || plan_id == NULL) {
        listing->failed = true;
        return;
    }
    pb__cq_info__init(info);
    memcpy(plan_id, instance->plan_id, sizeof instance->plan_id);
    info->plan_id = message_bytes(slice_of(plan_id, sizeof instance->plan_id));
    info->name = copied(listing, instance->name);
    info->sql = copied(listing, instance->sql);
    info->owner = copied(listing, instance->owner);
    pthread_mutex_lock(&instance->lock);
    info->subscribers = instance->subscription_count;
    pthread_mutex_unlock(&instance->lock);
    info->rows_in = atomic_load(&instance->rows_in);
    info->events = atomic_load(&instance->events);
    info->errors = atomic_load(&instance->errors);
    listing->infos[listing->count++] = info;
}

enum error op_cq_list(struct session *session, struct slice body)
{
    enum error error = message_check_member(1010, body);
    if (error != OK)
        return error;
    struct listing listing = {.arena = session_arena(session), .cap = LIMIT_INSTANCES + 64};
    listing.infos = arena_alloc(listing.arena, listing.cap * sizeof *listing.infos);
    if (listing.infos == NULL)
        return ERROR_MEMORY;
    registry_each(op_worker(session)->server, list_one, &listing);
    if (listing.failed)
        return ERROR_MEMORY;
    Pb__CqListResponse response = PB__CQ_LIST_RESPONSE__INIT;
    response.n_cq = listing.count;
    response.cq = listing.infos;
    return session_reply_message(session, 1011, &response.base);
}
