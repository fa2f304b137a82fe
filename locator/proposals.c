#include "locator/proposals.h"

#include <inttypes.h>

#include "common/mem.h"
#include "common/plant.h"
#include "locator/locator_impl.h"

struct proposals {
    struct change change;
    struct locator *locator;
    struct proposed_place *places;
    uint32_t count, capacity;
    uint32_t taken; /* of them are in the change under way */
    bool submitted;
};

/* ---- One ---- */

/* The members of the proposed set, rising; false if it cannot be one. Who comes new must be able
 * to serve; who is in may be anybody, for only its primary may take it out. */
static bool read_set(const struct cluster_map *map, const struct proposed_place *place,
                     const struct cluster_bucket *bucket, uint32_t *set)
{
    for (uint32_t i = 0; i < place->in_sync_count; i++) {
        set[i] = cluster_map_member_by_incarnation(map, place->in_sync[i]);
        if (set[i] == CLUSTER_NONE || map->members[set[i]].role != CLUSTER_SERVER)
            return false;
        if (map->members[set[i]].state == CLUSTER_DOWN && !cluster_bucket_has(bucket, set[i]))
            return false;
    }
    member_sort(set, place->in_sync_count);
    for (uint32_t i = 1; i < place->in_sync_count; i++)
        if (set[i] == set[i - 1])
            return false;
    return place->in_sync_count > 0;
}

enum error proposal_apply(struct cluster_map *map, const struct proposed_place *place)
{
    const struct cluster_region *region = cluster_map_region_by_id(map, place->region_id);
    if (region == NULL || region->buckets == NULL || place->bucket >= region->bucket_count)
        return ERROR_CONFLICT;
    struct cluster_bucket bucket = region->buckets[place->bucket];
    uint32_t author = cluster_map_member_by_incarnation(map, place->author);
    bool has_moved = bucket.set_version != place->set_version && !PLANTED(PLANT_NO_SET_VERSION);
    if (author == CLUSTER_NONE || bucket.primary != author ||
        bucket.generation != place->generation || has_moved)
        return ERROR_CONFLICT;
    uint32_t set[BUCKET_COPIES_MAX];
    uint32_t primary = cluster_map_member_by_incarnation(map, place->primary);
    if (primary == CLUSTER_NONE || !read_set(map, place, &bucket, set) ||
        !cluster_bucket_has(&bucket, primary) || place->term < bucket.term)
        return ERROR_INVALID;
    /* A new primary leads under a term of its own; an old one may take over a higher one that its
     * copies have sealed for. */
    uint32_t term = place->term;
    if (primary != bucket.primary && term == bucket.term)
        term++;
    bucket.in_sync = set;
    bucket.in_sync_count = place->in_sync_count;
    if (!cluster_bucket_has(&bucket, primary))
        return ERROR_INVALID;
    bucket.primary = primary;
    bucket.term = term;
    bucket.set_version++;
    return cluster_map_set_bucket(map, region->id, place->bucket, &bucket);
}

/* ---- Those that wait ---- */

static enum change_verdict apply(struct change *change, struct cluster_map *map,
                                 struct failure *failure)
{
    struct proposals *proposals = (struct proposals *)change;
    uint32_t applied = 0;
    proposals->taken = proposals->count;
    for (uint32_t i = 0; i < proposals->taken; i++) {
        enum error error = proposal_apply(map, &proposals->places[i]);
        applied += error == OK;
        if (error != ERROR_MEMORY)
            continue;
        request_failure(failure, ADMIN_REASON_MEMORY, "the locator has not enough memory.");
        return CHANGE_REFUSED;
    }
    return applied > 0 ? CHANGE_STORE : CHANGE_UNCHANGED;
}

static void submit(struct proposals *proposals)
{
    proposals->change.attempts = 0;
    proposals->submitted = changes_submit(&proposals->locator->changes, &proposals->change) == OK;
    if (!proposals->submitted)
        proposals->count = 0; /* their authors repeat them */
}

static void done(struct locator *locator, struct change *change, const struct failure *failure)
{
    struct proposals *proposals = (struct proposals *)change;
    (void)locator;
    proposals->submitted = false;
    /* Whatever became of them: their authors see it in the map, or repeat them. */
    proposals->count -= proposals->taken;
    if (proposals->count > 0)
        memmove(proposals->places, proposals->places + proposals->taken,
                proposals->count * sizeof(*proposals->places));
    proposals->taken = 0;
    if (failure != NULL)
        proposals->count = 0;
    if (proposals->count > 0)
        submit(proposals);
}

enum error proposals_new(struct locator *locator, struct proposals **out)
{
    struct proposals *proposals = mem_zalloc(sizeof(*proposals));
    if (proposals == NULL)
        return ERROR_MEMORY;
    proposals->locator = locator;
    proposals->change.apply = apply;
    proposals->change.done = done;
    *out = proposals;
    return OK;
}

void proposals_free(struct proposals *proposals)
{
    if (proposals == NULL)
        return;
    mem_free(proposals->places);
    mem_free(proposals);
}

static bool reserve(struct proposals *proposals, size_t count)
{
    if (count <= proposals->capacity)
        return true;
    size_t capacity = proposals->capacity == 0 ? 128 : proposals->capacity;
    while (capacity < count)
        capacity *= 2;
    if (capacity > PROPOSALS_MAX)
        return false;
    struct proposed_place *places = mem_realloc(proposals->places, capacity * sizeof(*places));
    if (places == NULL)
        return false;
    proposals->places = places;
    proposals->capacity = (uint32_t)capacity;
    return true;
}

void proposals_take(struct proposals *proposals, uint64_t author, const Pb__PeerPropose *message)
{
    if (message->n_place > PROPOSALS_MAX ||
        !reserve(proposals, proposals->count + message->n_place))
        return;
    for (size_t i = 0; i < message->n_place; i++) {
        const Pb__PeerBucketPlace *from = message->place[i];
        if (from->n_in_sync > BUCKET_COPIES_MAX)
            continue;
        struct proposed_place *place = &proposals->places[proposals->count++];
        *place = (struct proposed_place){.author = author,
                                         .region_id = from->region_id,
                                         .bucket = from->bucket,
                                         .generation = from->generation,
                                         .set_version = from->set_version,
                                         .term = from->term,
                                         .primary = from->primary,
                                         .in_sync_count = (uint32_t)from->n_in_sync};
        for (size_t j = 0; j < from->n_in_sync; j++)
            place->in_sync[j] = from->in_sync[j];
    }
    if (proposals->count > 0 && !proposals->submitted)
        submit(proposals);
}
