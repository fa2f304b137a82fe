#include "common/mem.h"
#include "server/server.h"
#include "server/subscription.h"

static bool matches(const struct cq_instance *instance, const struct registry_request *request)
{
    if (request->token_id != 0)
        return instance->id == request->token_id;
    if (request->plan_id.len > 0)
        return slice_equal(request->plan_id, slice_of(instance->plan_id, sizeof instance->plan_id));
    if (request->name.len > 0)
        return slice_equal(request->name, slice_text(instance->name));
    /* A plan without state is one instance for all, wherever each started. */
    return request->plan != NULL && !instance->has_state && instance->name[0] == '\0' &&
           instance->region == request->region;
}

static bool same_plan(const struct cq_instance *instance, const struct query_plan *plan)
{
    uint8_t fingerprint[16];
    if (plan == NULL)
        return true;
    query_plan_fingerprint(plan, fingerprint);
    return memcmp(fingerprint, instance->fingerprint, sizeof fingerprint) == 0;
}

static struct cq_instance *find_locked(struct server *server,
                                       const struct registry_request *request)
{
    for (struct cq_instance *i = server->instances; i != NULL; i = i->next) {
        if (atomic_load(&i->failed) || atomic_load(&i->region->destroyed))
            continue;
        bool by_plan =
            request->plan_id.len == 0 && request->name.len == 0 && request->token_id == 0;
        if (matches(i, request) && (!by_plan || same_plan(i, request->plan)))
            return i;
    }
    return NULL;
}

/* Counts as a subscriber until registry_attached(), so that nobody ends the instance in between. */
static struct cq_instance *reserved(struct cq_instance *instance)
{
    pthread_mutex_lock(&instance->lock);
    instance->subscription_count++;
    instance->unattached_since_us = 0;
    pthread_mutex_unlock(&instance->lock);
    return instance;
}

void registry_attached(struct cq_instance *instance)
{
    pthread_mutex_lock(&instance->lock);
    instance->subscription_count--;
    pthread_mutex_unlock(&instance->lock);
}

enum error registry_attach(struct server *server, const struct registry_request *request,
                           uint64_t new_id, struct cq_instance **instance, bool *created)
{
    enum error error = OK;
    *created = false;
    pthread_mutex_lock(&server->lock);
    struct cq_instance *found = find_locked(server, request);
    if (found == NULL && request->token_id != 0) {
        struct registry_request without_token = *request;
        without_token.token_id = 0;
        found = find_locked(server, &without_token);
    }
    bool shares = found != NULL && (request->token_id != 0 || request->plan_id.len > 0 ||
                                    request->name.len > 0 || !found->has_state);
    if (shares) {
        if (!same_plan(found, request->plan))
            error = ERROR_CONFLICT;
        else
            *instance = reserved(cq_instance_ref(found));
    } else if (request->plan == NULL) {
        error = ERROR_NOT_FOUND;
    } else if (atomic_load(&server->budget.instance_count) >= LIMIT_INSTANCES) {
        error = ERROR_LIMIT;
    } else {
        struct cq_options options = {.sql = request->sql,
                                     .name = request->name,
                                     .owner = slice_text(""),
                                     .plan = request->plan,
                                     .start = request->start,
                                     .id = new_id,
                                     .life = request->life,
                                     .region = request->region,
                                     .budget = &server->budget};
        error = cq_instance_new(&options, instance);
        if (error == OK) {
            (*instance)->created_us = request->now_us;
            reserved(cq_instance_ref(*instance));
            (*instance)->next = server->instances;
            server->instances = *instance;
            *created = true;
        }
    }
    pthread_mutex_unlock(&server->lock);
    return error;
}

/* Takes the instance out of the list: its reference goes to the caller. */
static bool unlink_locked(struct server *server, struct cq_instance *instance)
{
    for (struct cq_instance **link = &server->instances; *link != NULL; link = &(*link)->next) {
        if (*link == instance) {
            *link = instance->next;
            instance->next = NULL;
            return true;
        }
    }
    return false;
}

static void end_instance(struct cq_instance *instance, uint64_t wall_ms)
{
    cq_instance_drop(instance, wall_ms);
    cq_instance_unref(instance);
}

void registry_release(struct server *server, struct cq_instance *instance, uint64_t wall_ms)
{
    if (instance->name[0] != '\0')
        return;
    pthread_mutex_lock(&server->lock);
    pthread_mutex_lock(&instance->lock);
    bool used = instance->subscription_count > 0;
    pthread_mutex_unlock(&instance->lock);
    bool ends = !used && unlink_locked(server, instance);
    pthread_mutex_unlock(&server->lock);
    if (ends)
        end_instance(instance, wall_ms);
}

/* Takes an instance that has to end now out of the list; its reference goes to the caller. */
static struct cq_instance *next_to_end(struct server *server, uint64_t now_us)
{
    struct cq_instance *found = NULL;
    pthread_mutex_lock(&server->lock);
    for (struct cq_instance *i = server->instances; i != NULL && found == NULL; i = i->next) {
        pthread_mutex_lock(&i->lock);
        bool attached = i->subscription_count > 0;
        if (attached)
            i->unattached_since_us = 0;
        else if (i->unattached_since_us == 0)
            i->unattached_since_us = now_us;
        bool idle =
            !attached && now_us - i->unattached_since_us > LIMIT_RING_RETENTION_MS * 1000ull;
        pthread_mutex_unlock(&i->lock);
        if (idle || (!attached && (atomic_load(&i->failed) || atomic_load(&i->region->destroyed))))
            found = i;
    }
    if (found != NULL)
        unlink_locked(server, found);
    pthread_mutex_unlock(&server->lock);
    return found;
}

/* The instance that was left first among the young ones with a name, or those without, if these
 * are more than `most`: out of the list, its reference to the caller. */
static struct cq_instance *next_too_many(struct server *server, bool named, uint32_t most)
{
    struct cq_instance *oldest = NULL;
    uint32_t count = 0;
    uint64_t oldest_us = UINT64_MAX;
    pthread_mutex_lock(&server->lock);
    for (struct cq_instance *i = server->instances; i != NULL; i = i->next) {
        pthread_mutex_lock(&i->lock);
        bool is_young = i->unattached_since_us < i->created_us + LIMIT_YOUNG_MS * 1000ull;
        bool left = i->subscription_count == 0 && is_young && (i->name[0] != '\0') == named;
        if (left && i->unattached_since_us < oldest_us) {
            oldest_us = i->unattached_since_us;
            oldest = i;
        }
        count += left;
        pthread_mutex_unlock(&i->lock);
    }
    if (count > most)
        unlink_locked(server, oldest);
    pthread_mutex_unlock(&server->lock);
    return count > most ? oldest : NULL;
}

void registry_trim(struct server *server, uint64_t wall_ms)
{
    struct cq_instance *instance;
    while ((instance = next_too_many(server, false, LIMIT_UNATTACHED_INSTANCES)) != NULL ||
           (instance = next_too_many(server, true, LIMIT_UNATTACHED_NAMED)) != NULL)
        end_instance(instance, wall_ms);
}

static void expire_visit(void *arg, struct cq_instance *instance)
{
    cq_instance_expire(instance, *(uint64_t *)arg);
}

void registry_upkeep(struct server *server)
{
    uint64_t wall_ms = loop_wall_ms(server->loop);
    struct cq_instance *instance;
    while ((instance = next_to_end(server, loop_now_us(server->loop))) != NULL)
        end_instance(instance, wall_ms);
    registry_each(server, expire_visit, &wall_ms);
}

void registry_each(struct server *server, void (*visit)(void *arg, struct cq_instance *instance),
                   void *arg)
{
    /* The visitor takes bucket locks, so the list is walked by references. */
    pthread_mutex_lock(&server->lock);
    struct cq_instance *at = server->instances == NULL ? NULL : cq_instance_ref(server->instances);
    pthread_mutex_unlock(&server->lock);
    while (at != NULL) {
        visit(arg, at);
        pthread_mutex_lock(&server->lock);
        struct cq_instance *next = at->next == NULL ? NULL : cq_instance_ref(at->next);
        pthread_mutex_unlock(&server->lock);
        cq_instance_unref(at);
        at = next;
    }
}

void registry_free(struct server *server)
{
    while (server->instances != NULL) {
        struct cq_instance *instance = server->instances;
        server->instances = instance->next;
        end_instance(instance, loop_wall_ms(server->loop));
    }
}
