/* Buckets led here are brought in line with the map: CQ_ADD for what they lack, CQ_DROP for what
 * the map has no more. */
#include "server/server.h"
#include "server/subscription.h"

static struct cq_bucket *find_in_bucket(const struct bucket *bucket, uint64_t query_id)
{
    struct cq_bucket *cqb = bucket->cqs;
    while (cqb != NULL && cqb->instance->id != query_id)
        cqb = cqb->next;
    return cqb;
}

/* What the bucket has and the map does not; false if there is nothing of that kind. */
static bool drop_one(struct bucket *bucket, uint64_t wall_ms)
{
    for (const struct cq_bucket *cqb = bucket->cqs; cqb != NULL; cqb = cqb->next) {
        uint64_t id = cqb->instance->id;
        if (!cqb->instance->is_over)
            continue;
        cq_drop_here_locked(bucket, id, wall_ms);
        return find_in_bucket(bucket, id) == NULL; /* else it has no memory: later */
    }
    return false;
}

void cq_reconcile_locked(struct bucket *bucket, uint64_t wall_ms)
{
    struct region *region = bucket->region;
    bool leads = bucket->replica.role == REPLICA_PRIMARY && bucket->replica.led != 0;
    uint64_t began_us = server_hold_begin(bucket);
    while (leads && drop_one(bucket, wall_ms))
        ;
    /* The list changes on this loop alone. */
    for (struct cq_instance *i = region->instances; leads && i != NULL; i = i->next_of_region) {
        if (i->is_over || atomic_load(&i->failed) || i->buckets[bucket->id].active)
            continue;
        if (cq_add_here_locked(bucket, i, wall_ms) != OK)
            cq_instance_fail(i);
    }
    server_hold_end(bucket, began_us);
}

void cq_reconcile(struct bucket *bucket, uint64_t wall_ms)
{
    bucket_lock(bucket);
    cq_reconcile_locked(bucket, wall_ms);
    bucket_unlock(bucket);
}

static void on_build(void *arg)
{
    struct cq_instance *instance = arg;
    struct loop *loop = instance->region->server->loop;
    if (cq_instance_build(instance, LIMIT_SLICE_US) || atomic_load(&instance->failed)) {
        instance->is_building = false;
        cq_instance_unref(instance);
        return;
    }
    loop_defer(loop, &instance->build_task);
}

/* Small regions are read at once, so that the first snapshot stands at the moment of the answer;
 * large ones in slices. */
static void start_building(struct cq_instance *instance)
{
    struct loop *loop = instance->region->server->loop;
    if (instance->is_building || instance->is_over || atomic_load(&instance->failed) ||
        cq_instance_build(instance, LIMIT_SLICE_US * 10))
        return;
    instance->is_building = true;
    instance->build_task = (struct loop_task){.on_run = on_build, .arg = cq_instance_ref(instance)};
    loop_defer(loop, &instance->build_task);
}

static void reconcile_one(void *arg, struct cq_instance *instance)
{
    (void)arg;
    start_building(instance);
    subscription_reroute_all(instance);
}

void registry_reconcile(struct server *server)
{
    uint64_t wall_ms = loop_wall_ms(server->loop);
    for (uint32_t i = 0; i < server->catalog->region_count; i++) {
        struct region *region = server->catalog->regions[i];
        for (uint32_t j = 0; region->instances != NULL && j < region->bucket_count; j++)
            cq_reconcile(&region->buckets[j], wall_ms);
    }
    registry_each(server, reconcile_one, NULL);
    registry_sweep(server);
    registry_wake_waits(server, server->catalog->map->epoch);
}
