/* Where a subscription reads each of its buckets: here, where this server leads it, or through a
 * feed of the server that does. */
#include "common/mem.h"
#include "common/plant.h"
#include "server/subscription.h"

/* ---- Buckets led here ---- */

static void start_position_locked(struct subscription *subscription, uint32_t index, bool latest)
{
    struct cq_bucket *cqb = &subscription->instance->buckets[index];
    struct token_position *position = &subscription->buckets[index].position;
    *position = (struct token_position){.generation = cqb->bucket->generation,
                                        .in_snapshot = !latest,
                                        .begin = subscription->created ? cqb->begin_seq
                                                                       : cqb->bucket->data_seq};
    if (latest)
        position->at = ring_behind(position->begin);
}

/* What the position is about is gone: another generation, or records that nobody has. */
static bool is_lost_locked(const struct bucket *bucket, const struct token_position *position)
{
    if (position->generation != bucket->generation && !PLANTED(PLANT_TOKEN_GENERATION))
        return true;
    return position->at.seq > bucket->data_seq;
}

/* Rule R4: what is not here is nowhere only if nobody else leads by now. */
static bool may_tell_loss_locked(const struct subscription *subscription,
                                 const struct bucket *bucket)
{
    return replica_is_alone(&bucket->replica) ||
           replica_may_read_locked(bucket, loop_clock_us(subscription->worker->loop));
}

/* Gives the bucket a position in what is here now. False: the query has not begun here yet. */
static bool settle(struct subscription *subscription, uint32_t index)
{
    struct subscription_bucket *own = &subscription->buckets[index];
    struct cq_bucket *cqb = &subscription->instance->buckets[index];
    struct bucket *bucket = cqb->bucket;
    bucket_lock(bucket);
    bool begun = cqb->active && cq_bucket_is_ready_locked(cqb) &&
                 atomic_load(&bucket->committed) >= cqb->added_seq;
    if (begun && own->position.generation != 0 && is_lost_locked(bucket, &own->position) &&
        !may_tell_loss_locked(subscription, bucket))
        begun = false;
    if (begun && own->position.generation == 0) {
        start_position_locked(subscription, index, subscription->latest);
    } else if (begun && is_lost_locked(bucket, &own->position)) {
        struct token_position was = own->position;
        start_position_locked(subscription, index, false);
        own->position.begin = bucket->data_seq;
        /* Who never had anything of the bucket has lost nothing that it knew, unless the contents
         * themselves are gone. */
        if (was.at.seq > 0 || was.generation != bucket->generation) {
            own->trouble = TROUBLE_LOST;
            own->troubled_from = was.at.seq + 1;
            subscription->has_trouble = true;
        }
    }
    bucket_unlock(bucket);
    if (!begun)
        return false;
    own->settled = true;
    own->hint = (struct ring_hint){0};
    if (own->position.in_snapshot) {
        subscription->wants_snapshot_end = true;
        if (subscription->state == SUBSCRIPTION_TAIL)
            subscription->state = SUBSCRIPTION_SNAPSHOT;
    }
    atomic_fetch_or(&subscription->dirty[index / 64], 1ull << (index % 64));
    subscription->sink->add_position(subscription, index);
    return true;
}

/* What was cut of the bucket is about contents or a leader that have changed. */
static void drop_snapshot(struct subscription *subscription, uint32_t index)
{
    if (subscription->snapshot_bucket != index)
        return;
    snapshot_fini(&subscription->snapshot);
    subscription->snapshot_bucket = subscription->bucket_count;
}

static void leave(struct subscription *subscription, uint32_t index)
{
    struct subscription_bucket *own = &subscription->buckets[index];
    if (own->route == ROUTE_FEED)
        subscription_feed_leave(subscription, index);
    if (own->route == ROUTE_HERE)
        drop_snapshot(subscription, index);
    own->route = ROUTE_NONE;
    own->settled = false;
}

/* ---- Places ---- */

struct place {
    bool here;
    uint64_t primary; /* incarnation; 0: nobody */
    uint32_t generation;
};

static struct place place_of(struct bucket *bucket)
{
    bucket_lock(bucket);
    struct place place = {.here =
                              bucket->replica.role == REPLICA_PRIMARY && bucket->replica.led != 0,
                          .primary = bucket->replica.primary,
                          .generation = bucket->generation};
    bucket_unlock(bucket);
    return place;
}

static void route_here(struct subscription *subscription, uint32_t index, uint32_t generation)
{
    struct subscription_bucket *own = &subscription->buckets[index];
    bool other = own->settled && own->position.generation != generation;
    if (own->route != ROUTE_HERE || other)
        leave(subscription, index);
    own->route = ROUTE_HERE;
    if (!own->settled)
        settle(subscription, index);
}

/* A feed's reader is not led on: the bucket leaves with the word that it moved. */
static void route_away_of_feed(struct subscription *subscription, uint32_t index)
{
    leave(subscription, index);
    subscription->buckets[index].wanted = false;
    subscription->sink->add_moved(subscription, index);
}

static void open_feeds(struct subscription *subscription, uint64_t *places)
{
    for (uint32_t i = 0; i < subscription->bucket_count; i++) {
        uint64_t incarnation = places[i];
        if (incarnation == 0)
            continue;
        subscription_feed_open(subscription, incarnation, places);
        for (uint32_t j = i; j < subscription->bucket_count; j++)
            if (places[j] == incarnation)
                places[j] = 0;
    }
}

bool subscription_route_all(struct subscription *subscription)
{
    bool is_feed = subscription->session == NULL, all = true;
    uint64_t *places = NULL; /* of buckets that need a feed */
    for (uint32_t i = 0; i < subscription->bucket_count; i++) {
        struct subscription_bucket *own = &subscription->buckets[i];
        if (!own->wanted)
            continue;
        struct place place = place_of(subscription->instance->buckets[i].bucket);
        bool stays = own->route == ROUTE_FEED && own->feed->peer->incarnation == place.primary;
        if (place.here)
            route_here(subscription, i, place.generation);
        else if (is_feed)
            route_away_of_feed(subscription, i);
        else if (!stays)
            leave(subscription, i);
        if (!place.here && !is_feed && own->route == ROUTE_NONE && place.primary != 0) {
            if (places == NULL)
                places = mem_array(subscription->bucket_count, sizeof *places);
            if (places != NULL)
                places[i] = place.primary;
        }
    }
    if (places != NULL)
        open_feeds(subscription, places);
    mem_free(places);
    for (uint32_t i = 0; i < subscription->bucket_count && all; i++)
        all = !subscription->buckets[i].wanted || subscription->buckets[i].settled;
    return all;
}

/* ---- For people ---- */

static void tell_member(const struct catalog *catalog, uint32_t region_id, uint32_t bucket,
                        const char *region, struct failure *failure)
{
    const struct cluster_region *from =
        catalog == NULL ? NULL : cluster_map_region_by_id(catalog->map, region_id);
    const struct cluster_bucket *place =
        from == NULL || from->buckets == NULL ? NULL : &from->buckets[bucket];
    uint32_t member = place == NULL                    ? CLUSTER_NONE
                      : place->primary != CLUSTER_NONE ? place->primary
                      : place->in_sync_count > 0       ? place->in_sync[0]
                                                       : CLUSTER_NONE;
    if (member == CLUSTER_NONE) {
        failure_set(
            failure, FAILURE_SERVER_ERROR,
            "TIMEOUT: The query did not begin within 10 s: bucket %u of region /%s is led by no "
            "server. See `vug status`; subscribe again when a server has it.",
            bucket, region);
        return;
    }
    const struct cluster_member *server = &catalog->map->members[member];
    failure_set(
        failure, FAILURE_SERVER_ERROR,
        "TIMEOUT: The query did not begin within 10 s: bucket %u of region /%s is led by server "
        "%.*s (%.*s:%u), which %s. Subscribe again when it is there.",
        bucket, region, SLICE_FMT(server->name), SLICE_FMT(server->host), server->port,
        server->state == CLUSTER_DOWN ? "does not answer" : "has not begun the query");
}

void subscription_tell_unrouted(struct subscription *subscription, struct failure *failure)
{
    const struct region *region = subscription->instance->region;
    for (uint32_t i = 0; i < subscription->bucket_count; i++) {
        const struct subscription_bucket *own = &subscription->buckets[i];
        if (!own->wanted || own->settled)
            continue;
        tell_member(subscription->worker->catalog, region->id, i, region->name, failure);
        return;
    }
    failure_set(failure, FAILURE_SERVER_ERROR, "TIMEOUT: The query did not begin within 10 s.");
}
