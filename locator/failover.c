#include "locator/failover.h"

#include <inttypes.h>

#include "common/mem.h"
#include "common/plant.h"
#include "locator/failover_impl.h"
#include "locator/membership.h"
#include "locator/peer_link.h"

enum { SEAL_BUCKETS_MAX = 4096 /* of one message */, YOUNG_MS = 1000 };

static struct attempt *find(const struct locator *locator, uint64_t suspect)
{
    struct attempt *attempt = locator->failover->attempts;
    while (attempt != NULL && attempt->suspect != suspect)
        attempt = attempt->next;
    return attempt;
}

static void attempt_free(struct attempt *attempt)
{
    struct attempt **at = &attempt->locator->failover->attempts;
    while (*at != attempt)
        at = &(*at)->next;
    *at = attempt->next;
    if (attempt->swap != NULL)
        failover_swap_forget(attempt->swap);
    mem_free(attempt->buckets);
    mem_free(attempt);
}

static void end_bucket(struct attempt *attempt, struct attempt_bucket *bucket)
{
    if (bucket->state != BUCKET_ENDED)
        attempt->open--;
    bucket->state = BUCKET_ENDED;
}

/* ---- Beginning ---- */

/* Whether `suspect` leads the bucket and another copy may be there. */
static bool is_concerned(const struct locator *locator, const struct cluster_bucket *bucket,
                         uint32_t suspect)
{
    const struct cluster_map *map = locator->map;
    for (uint32_t i = 0; bucket->primary == suspect && i < bucket->in_sync_count; i++)
        if (bucket->in_sync[i] != suspect &&
            !locator_member(locator, map->members[bucket->in_sync[i]].incarnation)->gone)
            return true;
    return false;
}

static void fill_bucket(const struct locator *locator, const struct cluster_region *region,
                        uint32_t id, struct attempt_bucket *bucket)
{
    const struct cluster_bucket *from = &region->buckets[id];
    *bucket = (struct attempt_bucket){.region_id = region->id,
                                      .bucket = id,
                                      .generation = from->generation,
                                      .set_version = from->set_version,
                                      .term = from->term + 1,
                                      .is_replicate = region->type == CLUSTER_REPLICATE};
    for (uint32_t i = 0; i < from->in_sync_count && bucket->copy_count < BUCKET_COPIES_MAX; i++)
        if (from->in_sync[i] != from->primary)
            bucket->copies[bucket->copy_count++].incarnation =
                locator->map->members[from->in_sync[i]].incarnation;
}

/* Fills `buckets`, if it is not NULL; returns how many there are. */
static uint32_t collect(const struct locator *locator, uint32_t suspect,
                        struct attempt_bucket *buckets)
{
    const struct cluster_map *map = locator->map;
    uint32_t count = 0;
    for (uint32_t i = 0; i < map->region_count; i++) {
        const struct cluster_region *region = &map->regions[i];
        for (uint32_t j = 0; region->buckets != NULL && j < region->bucket_count; j++) {
            if (!is_concerned(locator, &region->buckets[j], suspect))
                continue;
            if (buckets != NULL)
                fill_bucket(locator, region, j, &buckets[count]);
            count++;
        }
    }
    return count;
}

static struct attempt *begin(struct locator *locator, uint64_t suspect)
{
    uint32_t index = cluster_map_member_by_incarnation(locator->map, suspect);
    uint32_t count = index == CLUSTER_NONE ? 0 : collect(locator, index, NULL);
    if (count == 0)
        return NULL;
    struct attempt *attempt = mem_zalloc(sizeof(*attempt));
    struct attempt_bucket *buckets = mem_array(count, sizeof(*buckets));
    if (attempt == NULL || buckets == NULL) {
        mem_free(attempt);
        mem_free(buckets);
        return NULL;
    }
    collect(locator, index, buckets);
    attempt->locator = locator;
    attempt->id = ++locator->failover->last_id;
    attempt->suspect = suspect;
    attempt->began_us = loop_now_us(locator->loop);
    attempt->buckets = buckets;
    attempt->count = attempt->open = count;
    attempt->next = locator->failover->attempts;
    locator->failover->attempts = attempt;
    return attempt;
}

/* ---- Asking ---- */

static bool is_due(const struct attempt_bucket *bucket, const struct attempt_copy *copy,
                   uint64_t incarnation, uint64_t now_us)
{
    return bucket->state == BUCKET_SEALING && copy->incarnation == incarnation &&
           copy->ask_us <= now_us;
}

struct seal_list {
    Pb__PeerBucketPlace *places;
    Pb__PeerBucketPlace **pointers;
    struct attempt_copy **copies;
    size_t count;
};

static void send_seals(struct attempt *attempt, struct peer *peer, struct seal_list *list,
                       uint64_t now_us)
{
    Pb__PeerSeal seal = PB__PEER_SEAL__INIT;
    if (list->count == 0)
        return;
    seal.attempt = attempt->id;
    seal.deposed = attempt->suspect;
    seal.gone = attempt->gone;
    seal.n_place = list->count;
    seal.place = list->pointers;
    bool sent = PEER_SEND(peer->conn, SEAL, seal, &seal) == OK;
    for (size_t i = 0; i < list->count; i++) {
        struct attempt_copy *copy = list->copies[i];
        if (sent && copy->state != COPY_SEALED)
            copy->state = COPY_ASKED;
        copy->ask_us = now_us + (sent ? FAILOVER_LOST_MS : FAILOVER_AGAIN_MS) * UINT64_C(1000);
    }
    list->count = 0;
}

static void ask_peer(struct attempt *attempt, struct peer *peer, struct seal_list *list,
                     uint64_t now_us)
{
    for (uint32_t i = 0; i < attempt->count; i++) {
        struct attempt_bucket *bucket = &attempt->buckets[i];
        for (uint32_t j = 0; j < bucket->copy_count; j++) {
            if (!is_due(bucket, &bucket->copies[j], peer->incarnation, now_us))
                continue;
            Pb__PeerBucketPlace *place = &list->places[list->count];
            pb__peer_bucket_place__init(place);
            place->region_id = bucket->region_id;
            place->bucket = bucket->bucket;
            place->generation = bucket->generation;
            place->set_version = bucket->set_version;
            place->term = bucket->term;
            list->pointers[list->count] = place;
            list->copies[list->count++] = &bucket->copies[j];
            if (list->count == SEAL_BUCKETS_MAX)
                send_seals(attempt, peer, list, now_us);
        }
    }
    send_seals(attempt, peer, list, now_us);
}

/* Everyone who is due and has a link here. Without memory it is done again a little later. */
static void ask(struct attempt *attempt, uint64_t now_us, uint64_t *due_us)
{
    size_t max = attempt->count < SEAL_BUCKETS_MAX ? attempt->count : SEAL_BUCKETS_MAX;
    struct seal_list list = {.places = mem_array(max + 1, sizeof(*list.places)),
                             .pointers = mem_array(max + 1, sizeof(*list.pointers)),
                             .copies = mem_array(max + 1, sizeof(*list.copies))};
    if (list.places != NULL && list.pointers != NULL && list.copies != NULL) {
        for (struct peer *peer = attempt->locator->peers; peer != NULL; peer = peer->next)
            if (peer->state == PEER_LINKED && peer->incarnation != attempt->suspect)
                ask_peer(attempt, peer, &list, now_us);
    } else if (*due_us > now_us + FAILOVER_AGAIN_MS * UINT64_C(1000)) {
        *due_us = now_us + FAILOVER_AGAIN_MS * UINT64_C(1000);
    }
    mem_free(list.places);
    mem_free(list.pointers);
    mem_free(list.copies);
}

/* When the next copy with a link is due. */
static void look_ahead(const struct attempt *attempt, uint64_t now_us, uint64_t *due_us)
{
    uint64_t soonest_us = now_us + 1000;
    for (uint32_t i = 0; i < attempt->count; i++) {
        const struct attempt_bucket *bucket = &attempt->buckets[i];
        for (uint32_t j = 0; bucket->state == BUCKET_SEALING && j < bucket->copy_count; j++) {
            const struct attempt_copy *copy = &bucket->copies[j];
            const struct member *member = locator_member(attempt->locator, copy->incarnation);
            if (copy->ask_us == UINT64_MAX || member == NULL || member->peer == NULL)
                continue;
            uint64_t ask_us = copy->ask_us > soonest_us ? copy->ask_us : soonest_us;
            if (ask_us < *due_us)
                *due_us = ask_us;
        }
    }
}

/* ---- Going on ---- */

/* One swap for all that are ready, once nothing else is about to be. */
static void swap_if_ready(struct attempt *attempt, uint64_t now_us, uint64_t *due_us)
{
    uint32_t ready = 0, waiting = 0;
    for (uint32_t i = 0; i < attempt->count; i++) {
        struct attempt_bucket *bucket = &attempt->buckets[i];
        if (bucket->state != BUCKET_SEALING)
            continue;
        bool is_ready = attempt_bucket_is_ready(attempt->locator, bucket, now_us, due_us);
        ready += is_ready;
        waiting += !is_ready;
    }
    if (ready == 0 || attempt->swap != NULL)
        return;
    if (attempt->ready_us == 0)
        attempt->ready_us = now_us;
    uint64_t at_us = waiting == 0 ? now_us : attempt->ready_us + FAILOVER_HOLD_MS * UINT64_C(1000);
    if (at_us < attempt->retry_us)
        at_us = attempt->retry_us;
    if (now_us >= at_us) {
        attempt->ready_us = 0;
        if (failover_swap_submit(attempt) == OK)
            return;
        at_us = attempt->retry_us = now_us + FAILOVER_AGAIN_MS * UINT64_C(1000);
    }
    if (at_us < *due_us)
        *due_us = at_us;
}

static void look(struct locator *locator)
{
    uint64_t now_us = loop_now_us(locator->loop), due_us = UINT64_MAX;
    for (struct attempt *attempt = locator->failover->attempts, *next; attempt != NULL;
         attempt = next) {
        next = attempt->next;
        if (attempt->open == 0 && attempt->swap == NULL) {
            attempt_free(attempt);
            continue;
        }
        ask(attempt, now_us, &due_us);
        swap_if_ready(attempt, now_us, &due_us);
        look_ahead(attempt, now_us, &due_us);
    }
    if (due_us == UINT64_MAX)
        loop_timer_clear(&locator->failover->timer);
    else
        loop_timer_set(&locator->failover->timer, due_us > now_us ? due_us - now_us : 0);
}

static void on_timer(void *arg)
{
    look(arg);
}

/* ---- What happens ---- */

static struct attempt_bucket *find_bucket(struct attempt *attempt, uint32_t region_id, uint32_t id)
{
    uint32_t low = 0, high = attempt->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        struct attempt_bucket *bucket = &attempt->buckets[middle];
        if (bucket->region_id == region_id && bucket->bucket == id)
            return bucket;
        if (bucket->region_id < region_id ||
            (bucket->region_id == region_id && bucket->bucket < id))
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* Somebody has sealed, or accepted, a higher term than was asked for: everybody is asked anew. */
static void raise_term(struct attempt_bucket *bucket, uint32_t current)
{
    bucket->term = current + 1;
    bucket->first_sealed_us = 0;
    for (uint32_t i = 0; i < bucket->copy_count; i++) {
        bucket->copies[i].state = COPY_UNASKED;
        bucket->copies[i].ask_us = 0;
    }
}

static void take_promises(const struct attempt_bucket *bucket, struct attempt_copy *copy,
                          const Pb__PeerSealedBucket *answer)
{
    copy->promised = 0;
    for (uint32_t i = 0; i < bucket->copy_count; i++)
        for (size_t j = 0; j < answer->n_promised; j++)
            if (answer->promised[j] == bucket->copies[i].incarnation)
                copy->promised = (uint16_t)(copy->promised | 1u << i);
}

static void take_answer(struct attempt_bucket *bucket, struct attempt_copy *copy,
                        const Pb__PeerSealedBucket *answer, uint64_t now_us)
{
    uint64_t wait_ms = answer->wait_ms > FAILOVER_AGAIN_MS ? answer->wait_ms : 10;
    if (answer->current > bucket->term ||
        (answer->current == bucket->term &&
         answer->verdict == PB__PEER_SEALED_BUCKET__VERDICT__REFUSED)) {
        if (answer->current < UINT32_MAX)
            raise_term(bucket, answer->current);
        return;
    }
    switch (answer->verdict) {
    case PB__PEER_SEALED_BUCKET__VERDICT__SEALED:
        if (answer->current < bucket->term)
            return; /* for a term that was asked for earlier */
        copy->state = COPY_SEALED;
        copy->ask_us = UINT64_MAX;
        copy->last_seq = answer->last_seq;
        take_promises(bucket, copy, answer);
        if (bucket->first_sealed_us == 0)
            bucket->first_sealed_us = now_us;
        return;
    case PB__PEER_SEALED_BUCKET__VERDICT__PROMISED:
        copy->state = COPY_PROMISED;
        copy->ask_us = now_us + (wait_ms < 5000 ? wait_ms : 5000) * UINT64_C(1000);
        return;
    default:
        copy->state = COPY_REFUSED;
        copy->ask_us = now_us + FAILOVER_AGAIN_MS * UINT64_C(1000);
    }
}

void failover_sealed(struct locator *locator, uint64_t from, const Pb__PeerSealed *message)
{
    struct attempt *attempt = locator->failover->attempts;
    uint64_t now_us = loop_now_us(locator->loop);
    while (attempt != NULL && attempt->id != message->attempt)
        attempt = attempt->next;
    if (attempt == NULL)
        return; /* it has ended */
    for (size_t i = 0; i < message->n_bucket; i++) {
        const Pb__PeerSealedBucket *answer = message->bucket[i];
        struct attempt_bucket *bucket = find_bucket(attempt, answer->region_id, answer->bucket);
        for (uint32_t j = 0; bucket != NULL && j < bucket->copy_count; j++)
            if (bucket->state == BUCKET_SEALING && bucket->copies[j].incarnation == from)
                take_answer(bucket, &bucket->copies[j], answer, now_us);
    }
    look(locator);
}

/* No timer waits for those without a link. */
void failover_linked(struct locator *locator)
{
    if (locator->failover->attempts != NULL)
        look(locator);
}

void failover_map_taken(struct locator *locator)
{
    if (locator->failover->attempts == NULL)
        return;
    for (struct attempt *attempt = locator->failover->attempts; attempt != NULL;
         attempt = attempt->next) {
        for (uint32_t i = 0; i < attempt->count; i++) {
            struct attempt_bucket *bucket = &attempt->buckets[i];
            const struct cluster_region *region =
                cluster_map_region_by_id(locator->map, bucket->region_id);
            if (bucket->state == BUCKET_SEALING &&
                (region == NULL ||
                 region->buckets[bucket->bucket].set_version != bucket->set_version))
                end_bucket(attempt, bucket);
        }
    }
    look(locator);
}

void failover_swap_done(struct attempt *attempt, bool stored)
{
    struct locator *locator = attempt->locator;
    struct departure *departure = departure_find(locator, attempt->suspect);
    bool ended = false;
    for (uint32_t i = 0; i < attempt->count; i++) {
        struct attempt_bucket *bucket = &attempt->buckets[i];
        if (bucket->state != BUCKET_SWAPPING)
            continue;
        bucket->state = BUCKET_SEALING;
        if (!stored)
            continue;
        end_bucket(attempt, bucket);
        ended = true;
        if (departure != NULL)
            departure->promoted++;
    }
    /* One that changed nothing is not tried again at once. */
    attempt->retry_us = ended ? 0 : loop_now_us(locator->loop) + FAILOVER_AGAIN_MS * UINT64_C(1000);
    if (locator->closing)
        return;
    failover_map_taken(locator);
    departure_drive(locator);
}

/* ---- Life ---- */

bool failover_start(struct locator *locator, uint64_t suspect, bool gone)
{
    struct attempt *attempt = find(locator, suspect);
    bool is_new = attempt == NULL;
    if (is_new)
        attempt = begin(locator, suspect);
    if (attempt == NULL)
        return false;
    bool is_proof = gone && !attempt->gone;
    attempt->gone = attempt->gone || gone;
    /* Promises to one that is gone hold nobody back. */
    for (uint32_t i = 0; is_proof && i < attempt->count; i++)
        for (uint32_t j = 0; j < attempt->buckets[i].copy_count; j++)
            if (attempt->buckets[i].copies[j].state != COPY_SEALED)
                attempt->buckets[i].copies[j].ask_us = 0;
    if (is_new || is_proof)
        look(locator);
    return find(locator, suspect) != NULL;
}

void failover_stop(struct locator *locator, uint64_t suspect)
{
    struct attempt *attempt = find(locator, suspect);
    if (attempt != NULL)
        attempt_free(attempt);
}

bool failover_is_young(const struct locator *locator, uint64_t suspect)
{
    const struct attempt *attempt = find(locator, suspect);
    return attempt != NULL &&
           loop_now_us(locator->loop) - attempt->began_us < YOUNG_MS * UINT64_C(1000);
}

uint32_t failover_count(const struct locator *locator)
{
    uint32_t count = 0;
    for (const struct attempt *attempt = locator->failover->attempts; attempt != NULL;
         attempt = attempt->next)
        count++;
    return count;
}

bool failover_swaps(const struct locator *locator)
{
    for (const struct attempt *attempt = locator->failover->attempts; attempt != NULL;
         attempt = attempt->next)
        if (attempt->swap != NULL)
            return true;
    return false;
}

enum error failover_new(struct locator *locator, struct failover **out)
{
    struct failover *failover = mem_zalloc(sizeof(*failover));
    if (failover == NULL)
        return ERROR_MEMORY;
    enum error error = loop_timer_init(&failover->timer, locator->loop, on_timer, locator);
    if (error == OK)
        *out = failover;
    else
        mem_free(failover);
    return error;
}

void failover_free(struct failover *failover)
{
    if (failover == NULL)
        return;
    while (failover->attempts != NULL)
        attempt_free(failover->attempts);
    loop_timer_fini(&failover->timer);
    mem_free(failover);
}
