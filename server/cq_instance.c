/* The life of an instance: made, begun in every bucket, worked up, ended. */
#include "common/mem.h"
#include "server/cq.h"
#include "server/region.h"
#include "server/rows.h"
#include "server/server.h"
#include "server/subscription.h"

#define BUILD_ROWS 64 /* of one bucket, before its lock is given back */

static char *copied(struct slice text)
{
    return mem_strndup(text.len == 0 ? "" : (const char *)text.data, text.len);
}

enum error cq_instance_new(const struct cq_options *options, struct cq_instance **instance)
{
    struct cq_instance *made = mem_zalloc(sizeof *made);
    if (made == NULL)
        return ERROR_MEMORY;
    atomic_init(&made->refs, 1);
    pthread_mutex_init(&made->lock, NULL);
    made->id = options->id;
    made->life = options->life;
    made->plan = query_plan_ref(options->plan);
    made->has_state = query_plan_has_state(options->plan);
    made->append_only = query_plan_is_append_only(options->plan);
    made->start = options->start;
    made->budget = options->budget;
    made->region = region_ref(options->region);
    atomic_fetch_add(&made->budget->instance_count, 1);
    query_plan_fingerprint(options->plan, made->fingerprint);
    memcpy(made->plan_id, made->fingerprint, sizeof made->plan_id);
    if (made->has_state) {
        memcpy(made->plan_id, &made->id, sizeof made->id);
        memcpy(made->plan_id + sizeof made->id, &made->life, sizeof made->life);
    }
    made->sql = copied(options->sql);
    made->name = copied(options->name);
    made->owner = copied(options->owner);
    made->buckets = mem_array(options->region->bucket_count, sizeof *made->buckets);
    if (made->sql == NULL || made->name == NULL || made->owner == NULL || made->buckets == NULL) {
        cq_instance_unref(made);
        return ERROR_MEMORY;
    }
    for (uint32_t i = 0; i < options->region->bucket_count; i++) {
        made->buckets[i].instance = made;
        made->buckets[i].bucket = &options->region->buckets[i];
    }
    atomic_store(&made->building, options->region->bucket_count);
    *instance = made;
    return OK;
}

struct cq_instance *cq_instance_ref(struct cq_instance *instance)
{
    atomic_fetch_add_explicit(&instance->refs, 1, memory_order_relaxed);
    return instance;
}

void cq_instance_unref(struct cq_instance *instance)
{
    if (instance == NULL ||
        atomic_fetch_sub_explicit(&instance->refs, 1, memory_order_acq_rel) != 1)
        return;
    INVARIANT(instance->subscriptions == NULL);
    atomic_fetch_sub(&instance->budget->instance_count, 1);
    query_plan_unref(instance->plan);
    region_unref(instance->region);
    mem_free(instance->turns.turns);
    mem_free(instance->buckets);
    mem_free(instance->owner);
    mem_free(instance->name);
    mem_free(instance->sql);
    pthread_mutex_destroy(&instance->lock);
    mem_free(instance);
}

enum error cq_add_here_locked(struct bucket *bucket, struct cq_instance *instance, uint64_t wall_ms)
{
    struct record record = {.type = RECORD_CQ_ADD, .instance = instance, .query_id = instance->id};
    return bucket_append_locked(bucket, &record, wall_ms);
}

static struct cq_bucket *find_locked(const struct bucket *bucket, uint64_t query_id)
{
    struct cq_bucket *cqb = bucket->cqs;
    while (cqb != NULL && cqb->instance->id != query_id)
        cqb = cqb->next;
    return cqb;
}

void cq_drop_here_locked(struct bucket *bucket, uint64_t query_id, uint64_t wall_ms)
{
    struct cq_bucket *cqb = find_locked(bucket, query_id);
    if (cqb == NULL)
        return;
    /* The bucket's reference goes with the record. */
    struct cq_instance *instance = cq_instance_ref(cqb->instance);
    struct record record = {.type = RECORD_CQ_DROP, .instance = instance, .query_id = query_id};
    (void)bucket_append_locked(bucket, &record, wall_ms); /* without memory: asked for again */
    cq_instance_unref(instance);
}

void cq_instance_fail(struct cq_instance *instance)
{
    if (!atomic_exchange(&instance->failed, true))
        subscription_notify_all(instance, UINT32_MAX);
}

/* The bucket's own time, which the wall clock of whoever leads it now may be far from. */
static uint64_t time_of(struct bucket *bucket, uint64_t wall_ms)
{
    bool leads = bucket->replica.role == REPLICA_PRIMARY && bucket->replica.led != 0;
    return leads ? bucket_record_time_locked(bucket, wall_ms) : bucket->last_time_ms;
}

void cq_instance_expire(struct cq_instance *instance, uint64_t wall_ms)
{
    for (uint32_t i = 0; i < instance->region->bucket_count; i++) {
        struct cq_bucket *cqb = &instance->buckets[i];
        bucket_lock(cqb->bucket);
        uint64_t now_ms = time_of(cqb->bucket, wall_ms);
        if (now_ms > LIMIT_RING_RETENTION_MS)
            atomic_fetch_sub(&instance->ring_bytes,
                             ring_drop_before(&cqb->ring, now_ms - LIMIT_RING_RETENTION_MS));
        bucket_unlock(cqb->bucket);
    }
}

/* ---- Building ---- */

/* A slice of one bucket; true when it has to wait for others, or has nothing left. */
static bool build_bucket(struct cq_bucket *cqb)
{
    bucket_lock(cqb->bucket);
    uint64_t began_us = server_hold_begin(cqb->bucket);
    bool rests = cq_work_off_locked(cqb, BUILD_ROWS) != CQ_WORK_MORE;
    rows_notify_locked(cqb->bucket);
    server_hold_end(cqb->bucket, began_us);
    bucket_unlock(cqb->bucket);
    return rests;
}

bool cq_instance_build(struct cq_instance *instance, uint64_t budget_us)
{
    uint64_t budget = budget_us / BUILD_ROWS + 1; /* a row takes about a microsecond */
    for (uint32_t i = 0; i < instance->region->bucket_count && budget > 0; i++)
        while (budget > 0 && !build_bucket(&instance->buckets[i]))
            budget--;
    return budget > 0;
}
