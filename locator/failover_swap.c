/* What sealed copies make of a map: one change for all buckets of an attempt that are ready. */
#include "locator/failover_impl.h"

#include "common/mem.h"
#include "common/plant.h"

struct failover_swap {
    struct change change;
    struct locator *locator;
    struct attempt *attempt; /* NULL when it was given up */
    struct departure_losses losses;
};

void failover_swap_forget(struct failover_swap *swap)
{
    swap->attempt = NULL;
}

/* ---- One bucket ---- */

static bool is_gone(const struct locator *locator, uint64_t incarnation)
{
    const struct member *member = locator_member(locator, incarnation);
    return member == NULL || member->gone;
}

/* Rule R6: it may be reading until some server that sealed has let its promise to it run out. */
static bool is_free(const struct attempt_bucket *bucket, uint32_t copy)
{
    if (!bucket->is_replicate || PLANTED(PLANT_SWAP_WITHOUT_WAIT))
        return true;
    for (uint32_t i = 0; i < bucket->copy_count; i++)
        if (bucket->copies[i].state == COPY_SEALED && (bucket->copies[i].promised >> copy & 1) == 0)
            return true;
    return false;
}

static void ask_sealed_again(struct attempt_bucket *bucket, uint64_t now_us)
{
    for (uint32_t i = 0; i < bucket->copy_count; i++)
        if (bucket->copies[i].state == COPY_SEALED && bucket->copies[i].ask_us == UINT64_MAX)
            bucket->copies[i].ask_us = now_us + FAILOVER_AGAIN_MS * UINT64_C(1000);
}

static uint64_t patience_us(const struct locator *locator, uint64_t incarnation)
{
    const struct member *member = locator_member(locator, incarnation);
    return (member->peer != NULL ? FAILOVER_HERE_MS : FAILOVER_AWAY_MS) * UINT64_C(1000);
}

bool attempt_bucket_is_ready(const struct locator *locator, struct attempt_bucket *bucket,
                             uint64_t now_us, uint64_t *due_us)
{
    if (bucket->first_sealed_us == 0)
        return false;
    uint64_t due = UINT64_MAX;
    bool is_ready = true, waits_for_promise = false;
    bool has_sealed = false;
    for (uint32_t i = 0; i < bucket->copy_count; i++) {
        const struct attempt_copy *copy = &bucket->copies[i];
        bool gone = is_gone(locator, copy->incarnation);
        /* One that sealed and died since is nobody to promote alone: who is silent may live, and
         * has what was answered. */
        has_sealed = has_sealed || (copy->state == COPY_SEALED && !gone);
        if (copy->state == COPY_SEALED || gone)
            continue;
        uint64_t until_us = bucket->first_sealed_us + patience_us(locator, copy->incarnation);
        if (now_us < until_us) {
            due = until_us < due ? until_us : due;
            is_ready = false;
        } else if (!is_free(bucket, i)) {
            waits_for_promise = true;
        }
    }
    if (waits_for_promise)
        ask_sealed_again(bucket, now_us);
    if (due < *due_us)
        *due_us = due;
    return is_ready && has_sealed && !waits_for_promise;
}

/* Of the map that is changed: how many buckets of the region each member leads. */
static void count_primaries(const struct cluster_map *map, const struct cluster_region *region,
                            uint32_t *primaries)
{
    memset(primaries, 0, map->member_count * sizeof(*primaries));
    for (uint32_t i = 0; i < region->bucket_count; i++)
        if (region->buckets[i].primary != CLUSTER_NONE)
            primaries[region->buckets[i].primary]++;
}

static enum error promote(struct cluster_map *map, const struct attempt_bucket *sealed,
                          struct cluster_bucket bucket, uint32_t *primaries)
{
    uint32_t set[BUCKET_COPIES_MAX], count = 0, best = CLUSTER_NONE;
    uint64_t best_seq = 0;
    for (uint32_t i = 0; i < sealed->copy_count; i++) {
        const struct attempt_copy *copy = &sealed->copies[i];
        uint32_t member = cluster_map_member_by_incarnation(map, copy->incarnation);
        if (copy->state != COPY_SEALED || member == CLUSTER_NONE)
            continue;
        set[count++] = member;
        if (best == CLUSTER_NONE || copy->last_seq > best_seq ||
            (copy->last_seq == best_seq && primaries[member] < primaries[best])) {
            best = member;
            best_seq = copy->last_seq;
        }
    }
    if (best == CLUSTER_NONE)
        return ERROR_CONFLICT;
    if (bucket.primary != CLUSTER_NONE)
        primaries[bucket.primary]--;
    primaries[best]++;
    member_sort(set, count);
    bucket.primary = best;
    bucket.in_sync = set;
    bucket.in_sync_count = count;
    bucket.term = sealed->term;
    bucket.set_version++;
    return cluster_map_set_bucket(map, sealed->region_id, sealed->bucket, &bucket);
}

/* ---- The change ---- */

/* Promotes what is ready and has not moved in the map. */
static enum error promote_ready(struct failover_swap *swap, struct cluster_map *map,
                                uint32_t *primaries, uint32_t *promoted)
{
    struct attempt *attempt = swap->attempt;
    const struct cluster_region *counted = NULL;
    uint64_t due_us = UINT64_MAX;
    enum error error = OK;
    for (uint32_t i = 0; i < attempt->count && error == OK; i++) {
        struct attempt_bucket *bucket = &attempt->buckets[i];
        if (bucket->state == BUCKET_SWAPPING)
            bucket->state = BUCKET_SEALING;
        if (bucket->state == BUCKET_ENDED ||
            !attempt_bucket_is_ready(swap->locator, bucket, loop_now_us(swap->locator->loop),
                                     &due_us))
            continue;
        const struct cluster_region *region = cluster_map_region_by_id(map, bucket->region_id);
        if (region == NULL || region->buckets[bucket->bucket].generation != bucket->generation ||
            (region->buckets[bucket->bucket].set_version != bucket->set_version &&
             !PLANTED(PLANT_NO_SET_VERSION)))
            continue;
        if (region != counted)
            count_primaries(map, region, primaries);
        counted = region;
        error = promote(map, bucket, region->buckets[bucket->bucket], primaries);
        if (error == OK) {
            bucket->state = BUCKET_SWAPPING;
            ++*promoted;
        } else if (error == ERROR_CONFLICT) {
            error = OK;
        }
    }
    return error;
}

static enum change_verdict apply(struct change *change, struct cluster_map *map,
                                 struct failure *failure)
{
    struct failover_swap *swap = (struct failover_swap *)change;
    uint32_t promoted = 0;
    bool departed = false;
    if (swap->attempt == NULL)
        return CHANGE_UNCHANGED;
    uint32_t *primaries = mem_array(map->member_count + 1, sizeof(*primaries));
    enum error error = primaries == NULL ? ERROR_MEMORY : OK;
    if (error == OK)
        error = promote_ready(swap, map, primaries, &promoted);
    mem_free(primaries);
    if (error == OK)
        error = departure_apply(swap->locator, map, &swap->losses, &departed);
    if (error == OK)
        return promoted > 0 || departed ? CHANGE_STORE : CHANGE_UNCHANGED;
    request_failure(failure, ADMIN_REASON_MEMORY, "the locator has not enough memory.");
    return CHANGE_REFUSED;
}

static void done(struct locator *locator, struct change *change, const struct failure *failure)
{
    struct failover_swap *swap = (struct failover_swap *)change;
    struct attempt *attempt = swap->attempt;
    departure_count(locator, &swap->losses, failure == NULL);
    mem_free(swap);
    if (attempt == NULL)
        return;
    attempt->swap = NULL;
    failover_swap_done(attempt, failure == NULL);
}

enum error failover_swap_submit(struct attempt *attempt)
{
    struct failover_swap *swap = mem_zalloc(sizeof(*swap));
    if (swap == NULL)
        return ERROR_MEMORY;
    swap->change.apply = apply;
    swap->change.done = done;
    swap->locator = attempt->locator;
    swap->attempt = attempt;
    enum error error = changes_submit(&attempt->locator->changes, &swap->change);
    if (error == OK)
        attempt->swap = swap;
    else
        mem_free(swap);
    return error;
}
