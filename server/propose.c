/* Between the buckets and the locators: the outbox that any thread fills and the main loop empties
 * once a turn, and what the locators ask of single buckets. */
#include "server/peers.h"

#include <stdio.h>

#include "common/mem.h"
#include "server/server.h"

#define HAND_OVER_AGAIN_US 500000
#define RECENT             512u /* proposals among which an older one of a bucket is looked for */

/* ---- The outbox ---- */

static void on_outbox(void *arg)
{
    struct server *server = arg;
    struct outbox *outbox = &server->outbox;
    struct outbox_report reports[OUTBOX_REPORTS];
    pthread_mutex_lock(&outbox->lock);
    outbox->posted = false;
    struct proposal *proposals = outbox->proposals;
    uint32_t count = outbox->proposal_count, report_count = outbox->report_count;
    memcpy(reports, outbox->reports, report_count * sizeof *reports);
    struct cluster_map *map = outbox->map;
    uint64_t wanted_epoch = outbox->wanted_epoch;
    outbox->proposals = NULL;
    outbox->map = NULL;
    outbox->wanted_epoch = 0;
    outbox->proposal_count = outbox->proposal_cap = outbox->report_count = 0;
    pthread_mutex_unlock(&outbox->lock);

    if (map != NULL)
        server_adopt_map(server, map);
    cluster_map_unref(map);
    if (server->link != NULL) {
        for (uint32_t i = 0; i < report_count; i++)
            link_report(server->link, reports[i].incarnation, reports[i].gone, reports[i].silent_ms,
                        reports[i].evidence);
        link_propose(server->link, proposals, count);
        if (wanted_epoch > atomic_load(&server->announced_epoch))
            link_fetch_map(server->link, wanted_epoch);
    }
    mem_free(proposals);
}

void outbox_init(struct server *server)
{
    pthread_mutex_init(&server->outbox.lock, NULL);
    server->outbox.task = (struct loop_task){.on_run = on_outbox, .arg = server};
}

void outbox_fini(struct server *server)
{
    mem_free(server->outbox.proposals);
    cluster_map_unref(server->outbox.map);
    pthread_mutex_destroy(&server->outbox.lock);
}

/* With the lock held, which it releases. */
static void post_and_unlock(struct server *server)
{
    bool post = !server->outbox.posted;
    server->outbox.posted = true;
    pthread_mutex_unlock(&server->outbox.lock);
    if (post)
        loop_post(server->loop, &server->outbox.task);
}

static struct proposal *room_locked(struct outbox *outbox, const struct proposal *proposal)
{
    uint32_t count = outbox->proposal_count;
    for (uint32_t i = count > RECENT ? count - RECENT : 0; i < count; i++) {
        struct proposal *old = &outbox->proposals[i];
        if (old->region_id == proposal->region_id && old->bucket == proposal->bucket)
            return old;
    }
    if (outbox->proposal_count == outbox->proposal_cap) {
        uint32_t cap = outbox->proposal_cap == 0 ? 16 : outbox->proposal_cap * 2;
        struct proposal *grown =
            cap > LIMIT_PROPOSALS ? NULL : mem_realloc(outbox->proposals, cap * sizeof *grown);
        if (grown == NULL)
            return NULL;
        outbox->proposals = grown;
        outbox->proposal_cap = cap;
    }
    return &outbox->proposals[outbox->proposal_count++];
}

void server_propose(struct server *server, const struct proposal *proposal)
{
    pthread_mutex_lock(&server->outbox.lock);
    struct proposal *room = room_locked(&server->outbox, proposal);
    if (room != NULL)
        *room = *proposal;
    post_and_unlock(server);
}

void server_report(struct server *server, uint64_t incarnation, bool gone, uint32_t silent_ms,
                   const char *evidence)
{
    struct outbox *outbox = &server->outbox;
    pthread_mutex_lock(&outbox->lock);
    uint32_t at = 0;
    while (at < outbox->report_count && outbox->reports[at].incarnation != incarnation)
        at++;
    if (at < OUTBOX_REPORTS) {
        struct outbox_report *report = &outbox->reports[at];
        *report = (struct outbox_report){
            .incarnation = incarnation, .gone = gone, .silent_ms = silent_ms};
        snprintf(report->evidence, sizeof report->evidence, "%s", evidence);
        if (at == outbox->report_count)
            outbox->report_count++;
    }
    post_and_unlock(server);
}

void server_want_map(struct server *server, uint64_t epoch)
{
    pthread_mutex_lock(&server->outbox.lock);
    if (epoch > server->outbox.wanted_epoch)
        server->outbox.wanted_epoch = epoch;
    post_and_unlock(server);
}

void server_give_map(struct server *server, struct cluster_map *map)
{
    struct outbox *outbox = &server->outbox;
    struct cluster_map *dropped = NULL;
    pthread_mutex_lock(&outbox->lock);
    if (outbox->map == NULL || outbox->map->epoch < map->epoch) {
        dropped = outbox->map;
        outbox->map = cluster_map_ref(map);
    }
    post_and_unlock(server);
    cluster_map_unref(dropped);
}

/* ---- Locators' words ---- */

static struct bucket *bucket_of(const struct server *server, uint32_t region_id, uint32_t index)
{
    const struct catalog *catalog = server->catalog;
    for (uint32_t i = 0; catalog != NULL && i < catalog->region_count; i++)
        if (catalog->regions[i]->id == region_id)
            return index < catalog->regions[i]->bucket_count ? &catalog->regions[i]->buckets[index]
                                                             : NULL;
    return NULL;
}

void server_on_seal(void *arg, const struct link_seal *seal, struct seal_answer *answer)
{
    struct server *server = arg;
    struct bucket *bucket = bucket_of(server, seal->region_id, seal->bucket);
    *answer = (struct seal_answer){.verdict = SEAL_REFUSED};
    if (bucket == NULL)
        return;
    if (seal->gone && seal->deposed != server->incarnation)
        peers_declare_gone(server, seal->deposed);
    replica_seal(bucket, seal->generation, seal->set_version, seal->term, answer);
}

void server_on_place(void *arg, const struct link_place *place)
{
    struct server *server = arg;
    struct bucket *bucket = bucket_of(server, place->region_id, place->bucket);
    struct peer *peer = peers_find(server, place->member);
    if (bucket != NULL && peer != NULL && place->action >= PLACE_ADD &&
        place->action <= PLACE_HAND_OVER)
        replica_place(bucket, place->generation, (enum place_action)place->action, peer);
    peer_unref(peer);
}

/* ---- Leaving ---- */

static bool is_other_up(const struct server *server, const struct cluster_map *map, uint32_t index)
{
    const struct cluster_member *member = &map->members[index];
    return member->role == CLUSTER_SERVER && member->state == CLUSTER_UP &&
           member->incarnation != server->incarnation;
}

/* The in-sync members of a bucket that stay; `own` tells whether this server is one, too. */
static uint32_t staying(const struct server *server, const struct cluster_map *map,
                        const struct cluster_bucket *bucket, bool *own)
{
    uint32_t count = 0;
    *own = false;
    for (uint32_t i = 0; i < bucket->in_sync_count; i++) {
        *own |= map->members[bucket->in_sync[i]].incarnation == server->incarnation;
        count += is_other_up(server, map, bucket->in_sync[i]);
    }
    return count;
}

static bool leads(const struct server *server, const struct cluster_map *map,
                  const struct cluster_bucket *bucket)
{
    return bucket->primary != CLUSTER_NONE &&
           map->members[bucket->primary].incarnation == server->incarnation;
}

/* Its answer to the seal may make it the only copy of the next map, so it stays for that map. */
static bool is_sealed(const struct server *server, uint32_t region_id, uint32_t index)
{
    struct bucket *bucket = bucket_of(server, region_id, index);
    if (bucket == NULL)
        return false;
    bucket_lock(bucket);
    bool sealed = bucket->replica.is_sealed;
    bucket_unlock(bucket);
    return sealed;
}

bool server_has_handed_over(const struct server *server)
{
    const struct cluster_map *map = server->catalog == NULL ? NULL : server->catalog->map;
    uint32_t up = 0;
    for (uint32_t i = 0; map != NULL && i < map->member_count; i++)
        up += is_other_up(server, map, i);
    for (uint32_t r = 0; map != NULL && r < map->region_count; r++) {
        const struct cluster_region *region = &map->regions[r];
        uint32_t wanted = cluster_map_wanted_copies(map, region);
        for (uint32_t b = 0; region->buckets != NULL && b < region->bucket_count; b++) {
            bool own;
            uint32_t others = staying(server, map, &region->buckets[b], &own);
            if ((leads(server, map, &region->buckets[b]) && others > 0) ||
                (own && others < wanted && others < up) ||
                (own && others > 0 && is_sealed(server, region->id, b)))
                return false;
        }
    }
    return true;
}

/* The heirs of neighbouring buckets differ, so that no single server gets all of them. */
static void hand_over(struct server *server, const struct cluster_map *map,
                      const struct cluster_region *region, uint32_t index)
{
    const struct cluster_bucket *place = &region->buckets[index];
    struct bucket *bucket = bucket_of(server, region->id, index);
    for (uint32_t i = 0; bucket != NULL && i < place->in_sync_count; i++) {
        uint32_t member = place->in_sync[(i + index) % place->in_sync_count];
        if (!is_other_up(server, map, member))
            continue;
        struct peer *peer = peers_find(server, map->members[member].incarnation);
        if (peer != NULL)
            replica_place(bucket, place->generation, PLACE_HAND_OVER, peer);
        peer_unref(peer);
        return;
    }
}

void server_hand_over(struct server *server, uint64_t now_us)
{
    const struct cluster_map *map = server->catalog == NULL ? NULL : server->catalog->map;
    if (map == NULL ||
        (server->handed_over_us != 0 && now_us - server->handed_over_us < HAND_OVER_AGAIN_US))
        return;
    server->handed_over_us = now_us;
    for (uint32_t r = 0; r < map->region_count; r++)
        for (uint32_t b = 0; map->regions[r].buckets != NULL && b < map->regions[r].bucket_count;
             b++)
            if (leads(server, map, &map->regions[r].buckets[b]))
                hand_over(server, map, &map->regions[r], b);
}
