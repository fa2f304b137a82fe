/* The instances of continuous queries: those of the map, and those that it had until their CQ_DROP
 * has come to every bucket here.
 *
 *   subscriber -> registry_attach(): none -> QueryAdd to a locator -> the map -> registry_adopt()
 *   on every server -> buckets adopt the map -> registry_reconcile(): CQ_ADD where this server
 * leads
 *
 * And back: QueryDrop -> the map -> is_over -> CQ_DROP -> no bucket has it -> freed. */
#include "common/mem.h"
#include "protocol/message.h"
#include "server/server.h"
#include "server/subscription.h"

#define QUERY_DROP     1072
#define ATTACHMENTS_US 10000000u

/* ---- Finding ---- */

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

static bool lives(const struct cq_instance *instance)
{
    return !instance->is_over && !atomic_load(&instance->drop_asked) &&
           !atomic_load(&instance->failed) && !atomic_load(&instance->region->destroyed);
}

static struct cq_instance *find_locked(struct server *server,
                                       const struct registry_request *request)
{
    bool by_plan = request->plan_id.len == 0 && request->name.len == 0 && request->token_id == 0;
    for (struct cq_instance *i = server->instances; i != NULL; i = i->next)
        if (lives(i) && matches(i, request) && (!by_plan || same_plan(i, request->plan)))
            return i;
    return NULL;
}

static void post_locked(struct server *server)
{
    if (!server->registry_posted)
        loop_post(server->loop, &server->registry_task);
    server->registry_posted = true;
}

/* Counts as a subscriber until registry_attached(), so that nobody ends the instance in between. */
static struct cq_instance *reserved_locked(struct server *server, struct cq_instance *instance)
{
    pthread_mutex_lock(&instance->lock);
    if (instance->subscription_count++ == 0) {
        server->attachments_due = true;
        post_locked(server);
    }
    instance->unattached_since_us = 0;
    pthread_mutex_unlock(&instance->lock);
    return cq_instance_ref(instance);
}

void registry_attached(struct server *server, struct cq_instance *instance)
{
    pthread_mutex_lock(&instance->lock);
    if (--instance->subscription_count == 0)
        instance->unattached_since_us = loop_now_us(server->loop);
    pthread_mutex_unlock(&instance->lock);
}

enum error registry_attach(struct server *server, const struct registry_request *request,
                           struct cq_instance **instance)
{
    enum error error = OK;
    pthread_mutex_lock(&server->lock);
    struct cq_instance *found = find_locked(server, request);
    if (found == NULL && request->token_id != 0) {
        struct registry_request without_token = *request;
        without_token.token_id = 0;
        found = find_locked(server, &without_token);
    }
    bool shares = found != NULL && (request->token_id != 0 || request->plan_id.len > 0 ||
                                    request->name.len > 0 || !found->has_state);
    if (!shares)
        error = ERROR_NOT_FOUND;
    else if (!same_plan(found, request->plan))
        error = ERROR_CONFLICT;
    else
        *instance = reserved_locked(server, found);
    pthread_mutex_unlock(&server->lock);
    return error;
}

static struct cq_instance *find_id_locked(struct server *server, uint64_t id)
{
    struct cq_instance *found = server->instances;
    while (found != NULL && found->id != id)
        found = found->next;
    return found;
}

enum error registry_attach_id(struct server *server, uint64_t id, uint64_t epoch, bool made_here,
                              struct cq_wait *wait, struct cq_instance **instance)
{
    enum error error = OK;
    pthread_mutex_lock(&server->lock);
    struct cq_instance *found = find_id_locked(server, id);
    if (found != NULL && lives(found)) {
        found->is_own |= made_here;
        *instance = reserved_locked(server, found);
    } else if (found == NULL && server->queries_epoch < epoch) {
        wait->id = id;
        wait->epoch = epoch;
        wait->next = server->cq_waits;
        server->cq_waits = wait;
        error = ERROR_BUSY;
    } else {
        error = ERROR_NOT_FOUND;
    }
    pthread_mutex_unlock(&server->lock);
    return error;
}

bool registry_forget_wait(struct server *server, struct cq_wait *wait)
{
    bool found = false;
    pthread_mutex_lock(&server->lock);
    for (struct cq_wait **link = &server->cq_waits; *link != NULL; link = &(*link)->next) {
        if (*link != wait)
            continue;
        *link = wait->next;
        found = true;
        break;
    }
    pthread_mutex_unlock(&server->lock);
    return found;
}

struct cq_instance *registry_find(struct server *server, uint64_t id)
{
    pthread_mutex_lock(&server->lock);
    struct cq_instance *found = find_id_locked(server, id);
    if (found != NULL && (found->is_over || atomic_load(&found->failed)))
        found = NULL;
    if (found != NULL)
        cq_instance_ref(found);
    pthread_mutex_unlock(&server->lock);
    return found;
}

bool cq_instance_is_over(const struct region *region, uint64_t query_id)
{
    return query_id < atomic_load(&region->query_ids_below);
}

struct cq_instance *cq_instance_find(struct region *region, uint64_t query_id)
{
    pthread_mutex_lock(&region->instances_lock);
    struct cq_instance *found = region->instances;
    while (found != NULL && found->id != query_id)
        found = found->next_of_region;
    pthread_mutex_unlock(&region->instances_lock);
    return found;
}

/* ---- The map ---- */

static void link_to_region(struct cq_instance *instance)
{
    struct region *region = instance->region;
    pthread_mutex_lock(&region->instances_lock);
    instance->next_of_region = region->instances;
    region->instances = instance;
    pthread_mutex_unlock(&region->instances_lock);
}

/* Whoever found it under a bucket's lock has let go of it when every one was taken once. */
static void unlink_from_region(struct cq_instance *instance)
{
    struct region *region = instance->region;
    pthread_mutex_lock(&region->instances_lock);
    struct cq_instance **link = &region->instances;
    while (*link != instance)
        link = &(*link)->next_of_region;
    *link = instance->next_of_region;
    pthread_mutex_unlock(&region->instances_lock);
    for (uint32_t i = 0; i < region->bucket_count; i++) {
        bucket_lock(&region->buckets[i]);
        bucket_unlock(&region->buckets[i]);
    }
}

static enum error instance_of(struct server *server, const struct catalog *catalog,
                              const struct cluster_query *query, struct cq_instance **instance)
{
    struct query_plan *plan;
    enum error error = registry_plan(catalog, query, &plan, NULL);
    if (error != OK)
        return error;
    struct region *region = catalog_region(catalog, slice_text(query_plan_region(plan)));
    if (region == NULL || (query->region_id != 0 && region->id != query->region_id)) {
        query_plan_unref(plan);
        return ERROR_NOT_FOUND;
    }
    struct cq_options options = {.sql = query->text,
                                 .name = query->name,
                                 .owner = query->owner,
                                 .plan = plan,
                                 .start = query->start == PB__START__LATEST ? CQ_START_LATEST
                                                                            : CQ_START_SNAPSHOT,
                                 .id = query->id,
                                 .life = registry_life(catalog, region),
                                 .region = region,
                                 .budget = &server->budget};
    error = cq_instance_new(&options, instance);
    query_plan_unref(plan);
    if (error == OK)
        (*instance)->created_us = (*instance)->unattached_since_us = loop_now_us(server->loop);
    return error;
}

static bool make_instance(struct server *server, const struct catalog *catalog,
                          const struct cluster_query *query)
{
    struct cq_instance *instance;
    enum error error = instance_of(server, catalog, query, &instance);
    if (error == ERROR_NOT_FOUND)
        return true; /* its region is gone; it will follow */
    if (error != OK) {
        if (server->log != NULL)
            log_line(server->log, LOG_ERROR, "query", "VG1405",
                     "continuous query %llu of the cluster map cannot be taken: %s; tried again "
                     "with the next map",
                     (unsigned long long)query->id, error_text(error));
        return false;
    }
    link_to_region(instance);
    pthread_mutex_lock(&server->lock);
    instance->next = server->instances;
    server->instances = instance;
    pthread_mutex_unlock(&server->lock);
    return true;
}

/* Those that wait for an epoch that is here; their order does not matter. */
void registry_wake_waits(struct server *server, uint64_t epoch)
{
    pthread_mutex_lock(&server->lock);
    server->queries_epoch = epoch;
    struct cq_wait **link = &server->cq_waits;
    while (*link != NULL) {
        struct cq_wait *wait = *link;
        if (find_id_locked(server, wait->id) == NULL && wait->epoch > epoch) {
            link = &wait->next;
            continue;
        }
        *link = wait->next;
        loop_post(wait->worker->loop, &wait->on_map);
    }
    pthread_mutex_unlock(&server->lock);
}

void registry_adopt(struct server *server, struct catalog *catalog)
{
    const struct cluster_map *map = catalog->map;
    uint64_t below = map->next_query_id;
    pthread_mutex_lock(&server->lock);
    for (struct cq_instance *i = server->instances; i != NULL; i = i->next)
        if (cluster_map_query(map, i->id) == NULL)
            atomic_store(&i->is_over, true);
    pthread_mutex_unlock(&server->lock);
    for (uint32_t i = 0; i < map->query_count; i++) {
        pthread_mutex_lock(&server->lock);
        bool known = find_id_locked(server, map->queries[i].id) != NULL;
        pthread_mutex_unlock(&server->lock);
        if (!known && !make_instance(server, catalog, &map->queries[i]) &&
            map->queries[i].id < below)
            below = map->queries[i].id;
    }
    for (uint32_t i = 0; i < catalog->region_count; i++)
        atomic_store(&catalog->regions[i]->query_ids_below, below);
}

/* ---- Ending ---- */

static void on_dropped(void *arg, const struct failure *failure, uint32_t number, struct slice body)
{
    struct cq_instance *instance = arg;
    struct arena arena;
    ProtobufCMessage *message = NULL;
    arena_init(&arena, LIMIT_STATEMENT_BYTES);
    bool dropped = failure == NULL && number == QUERY_DROP + 1 &&
                   message_unpack(&pb__query_dropped__descriptor, &arena, body, &message) == OK &&
                   ((const Pb__QueryDropped *)message)->dropped;
    arena_fini(&arena);
    instance->drop_sent = false;
    if (!dropped && failure == NULL)
        atomic_store(&instance->drop_asked, false); /* others are attached to it */
    cq_instance_unref(instance);
}

static void ask_to_drop(struct server *server, struct cq_instance *instance)
{
    uint8_t packed[16];
    Pb__QueryDrop drop = PB__QUERY_DROP__INIT;
    drop.id = instance->id;
    drop.failed = atomic_load(&instance->failed);
    size_t len = protobuf_c_message_pack(&drop.base, packed);
    instance->drop_sent = true;
    if (server_ask_locator(server, NULL, QUERY_DROP, slice_of(packed, len), on_dropped,
                           cq_instance_ref(instance)) == OK)
        return;
    instance->drop_sent = false; /* the next upkeep tries again */
    cq_instance_unref(instance);
}

static void ask_if_wanted(void *arg, struct cq_instance *instance)
{
    if (atomic_load(&instance->drop_asked) && !instance->is_over && !instance->drop_sent)
        ask_to_drop(arg, instance);
}

static void on_told(void *arg, const struct failure *failure, uint32_t number, struct slice body)
{
    struct server *server = arg;
    (void)number;
    (void)body;
    server->attachments_told_us = failure == NULL ? loop_now_us(server->loop) : 0;
}

/* Tells the locator which instances subscribers of this server are attached to. Without memory the
 * next upkeep does. */
static void tell_attachments(struct server *server)
{
    struct buf packed;
    Pb__QueryAttached report = PB__QUERY_ATTACHED__INIT;
    report.id = mem_array(LIMIT_INSTANCES + 1, sizeof *report.id);
    buf_init(&packed);
    pthread_mutex_lock(&server->lock);
    for (struct cq_instance *i = server->instances;
         i != NULL && report.id != NULL && report.n_id < LIMIT_INSTANCES; i = i->next) {
        pthread_mutex_lock(&i->lock);
        if (i->subscription_count > 0)
            report.id[report.n_id++] = i->id;
        pthread_mutex_unlock(&i->lock);
    }
    server->attachments_due = false;
    pthread_mutex_unlock(&server->lock);
    size_t len = protobuf_c_message_get_packed_size(&report.base);
    uint8_t *at = report.id == NULL ? NULL : buf_reserve(&packed, len + 1);
    if (at != NULL) {
        packed.len = protobuf_c_message_pack(&report.base, at);
        server->attachments_told_us = loop_now_us(server->loop);
        if (server_ask_locator(server, NULL, SERVER_ATTACHED, buf_slice(&packed), on_told,
                               server) != OK)
            server->attachments_told_us = 0;
    }
    buf_fini(&packed);
    mem_free(report.id);
}

static void on_registry(void *arg)
{
    struct server *server = arg;
    pthread_mutex_lock(&server->lock);
    server->registry_posted = false;
    bool tell = server->attachments_due;
    pthread_mutex_unlock(&server->lock);
    if (tell)
        tell_attachments(server);
    registry_each(server, ask_if_wanted, server);
}

void registry_init(struct server *server)
{
    server->registry_task = (struct loop_task){.on_run = on_registry, .arg = server};
}

static void want_drop_locked(struct server *server, struct cq_instance *instance)
{
    atomic_store(&instance->drop_asked, true);
    post_locked(server);
}

void registry_release(struct server *server, struct cq_instance *instance)
{
    if (instance->name[0] != '\0')
        return;
    pthread_mutex_lock(&server->lock);
    pthread_mutex_lock(&instance->lock);
    bool used = instance->subscription_count > 0;
    pthread_mutex_unlock(&instance->lock);
    if (!used && !instance->is_over)
        want_drop_locked(server, instance);
    pthread_mutex_unlock(&server->lock);
}

/* The instance that was left first among the young ones with a name, or those without, if these
 * are more than `most`. */
static struct cq_instance *next_too_many_locked(struct server *server, bool named, uint32_t most)
{
    struct cq_instance *oldest = NULL;
    uint32_t count = 0;
    uint64_t oldest_us = UINT64_MAX;
    for (struct cq_instance *i = server->instances; i != NULL; i = i->next) {
        pthread_mutex_lock(&i->lock);
        bool is_young = i->unattached_since_us < i->created_us + LIMIT_YOUNG_MS * 1000ull;
        bool left = i->is_own && lives(i) && i->subscription_count == 0 && is_young &&
                    (i->name[0] != '\0') == named;
        if (left && i->unattached_since_us < oldest_us) {
            oldest_us = i->unattached_since_us;
            oldest = i;
        }
        count += left;
        pthread_mutex_unlock(&i->lock);
    }
    return count > most ? oldest : NULL;
}

void registry_trim(struct server *server)
{
    struct cq_instance *instance;
    pthread_mutex_lock(&server->lock);
    while ((instance = next_too_many_locked(server, false, LIMIT_UNATTACHED_INSTANCES)) != NULL ||
           (instance = next_too_many_locked(server, true, LIMIT_UNATTACHED_NAMED)) != NULL)
        want_drop_locked(server, instance);
    pthread_mutex_unlock(&server->lock);
}

static void look_after(void *arg, struct cq_instance *instance)
{
    struct server *server = arg;
    bool ended = atomic_load(&instance->failed) || atomic_load(&instance->region->destroyed);
    pthread_mutex_lock(&server->lock);
    if (ended && !atomic_load(&instance->is_over))
        want_drop_locked(server, instance);
    pthread_mutex_unlock(&server->lock);
    cq_instance_expire(instance, loop_wall_ms(server->loop));
}

static bool is_in_no_bucket(struct cq_instance *instance)
{
    bool active = false;
    for (uint32_t i = 0; i < instance->region->bucket_count && !active; i++) {
        struct bucket *bucket = &instance->region->buckets[i];
        bucket_lock(bucket);
        active = instance->buckets[i].active;
        bucket_unlock(bucket);
    }
    return !active;
}

/* A destroyed region gets no more records: what its buckets have of queries goes at once. */
static void empty_buckets(struct region *region)
{
    for (uint32_t i = 0; i < region->bucket_count; i++) {
        bucket_lock(&region->buckets[i]);
        cq_bucket_free_all(&region->buckets[i]);
        bucket_unlock(&region->buckets[i]);
    }
}

static void forget(struct server *server, struct cq_instance *instance)
{
    pthread_mutex_lock(&server->lock);
    struct cq_instance **link = &server->instances;
    while (*link != instance)
        link = &(*link)->next;
    *link = instance->next;
    instance->next = NULL;
    pthread_mutex_unlock(&server->lock);
    unlink_from_region(instance);
    cq_instance_unref(instance);
}

void registry_sweep(struct server *server)
{
    struct cq_instance *next;
    for (struct cq_instance *i = server->instances; i != NULL; i = next) {
        next = i->next; /* the list changes on this loop alone */
        pthread_mutex_lock(&i->lock);
        bool read = i->subscriptions != NULL || i->subscription_count > 0;
        pthread_mutex_unlock(&i->lock);
        if (!atomic_load(&i->is_over) || i->is_building || read)
            continue;
        if (atomic_load(&i->region->destroyed))
            empty_buckets(i->region);
        if (is_in_no_bucket(i))
            forget(server, i);
    }
}

void registry_upkeep(struct server *server)
{
    registry_each(server, look_after, server);
    registry_sweep(server);
    if (server->instances != NULL &&
        loop_now_us(server->loop) - server->attachments_told_us >= ATTACHMENTS_US)
        tell_attachments(server);
    registry_each(server, ask_if_wanted, server); /* again, where the locator was away */
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
        empty_buckets(instance->region);
        if (instance->is_building)
            cq_instance_unref(instance);
        forget(server, instance);
    }
}
