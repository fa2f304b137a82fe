#include "tests/sim/watch.h"

#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "server/cq_image.h"
#include "tests/sim/sim_impl.h"

/* A bucket's contents after a record, and when that was seen first. */
struct mark {
    uint64_t seq, hash, state;
    uint64_t time_ms, at_us;
};
struct marks {
    struct mark *list; /* by rising seq */
    size_t count, cap;
};

struct leader {
    uint32_t term;
    uint64_t incarnation;
};

/* One server's copy, as it was at its last turn. */
struct holder {
    uint64_t incarnation, last_seq;
    struct marks open; /* above what was committed */
};

struct watch_track {
    uint32_t region_id, bucket, generation;
    uint64_t committed;
    struct marks settled; /* of records that are committed */
    struct marks first;   /* when a record of that number was seen first, on any server */
    struct leader *leaders;
    size_t leader_count, leader_cap;
    struct holder holders[GRID_SERVERS_MAX];
    struct mark timed; /* the newest that is committed, as its primary wrote it */
    uint64_t timed_by;
};

void watch_init(struct watch *watch, struct grid *grid, struct verdict *verdict)
{
    *watch = (struct watch){.grid = grid, .verdict = verdict};
}

void watch_fini(struct watch *watch)
{
    for (size_t i = 0; i < watch->count; i++) {
        struct watch_track *track = watch->tracks[i];
        for (size_t j = 0; j < GRID_SERVERS_MAX; j++)
            free(track->holders[j].open.list);
        free(track->settled.list);
        free(track->first.list);
        free(track->leaders);
        free(track);
    }
    free(watch->tracks);
    cluster_map_unref(watch->map);
}

static bool is_of(const struct watch_track *track, const struct bucket *bucket)
{
    return track != NULL && track->region_id == bucket->region->id && track->bucket == bucket->id &&
           track->generation == bucket->generation;
}

static struct watch_track *find_track(struct watch *watch, const struct bucket *bucket)
{
    for (size_t i = watch->count; i > 0; i--) {
        if (is_of(watch->tracks[i - 1], bucket))
            return watch->tracks[i - 1];
    }
    if (watch->count == watch->cap) {
        watch->cap = watch->cap == 0 ? 32 : watch->cap * 2;
        watch->tracks = sim_realloc(watch->tracks, watch->cap * sizeof(struct watch_track *));
    }
    struct watch_track *track = sim_alloc(sizeof *track);
    track->region_id = bucket->region->id;
    track->bucket = bucket->id;
    track->generation = bucket->generation;
    watch->tracks[watch->count++] = track;
    return track;
}

static struct watch_track *track_of(struct watch *watch, const struct bucket *bucket)
{
    size_t slot = (bucket->region->id * 16 + bucket->id) % WATCH_RECENT;
    if (!is_of(watch->recent[slot], bucket))
        watch->recent[slot] = find_track(watch, bucket);
    return watch->recent[slot];
}

/* ---- Contents ---- */

static void add_entry(void *arg, struct entry *entry)
{
    uint64_t *sum = arg;
    struct slice key = entry_key(entry), value = entry_value(entry);
    uint64_t hash = XXH3_64bits_withSeed(key.data, key.len, entry->seq);
    *sum += XXH3_64bits_withSeed(value.data, value.len, hash);
}

uint64_t watch_contents(const struct bucket *bucket)
{
    uint64_t sum = 0;
    table_each(&bucket->table, add_entry, &sum);
    uint64_t words[] = {sum, bucket->table.entry_count, bucket->last_time_ms, bucket->data_seq};
    return XXH3_64bits(words, sizeof words);
}

uint64_t watch_state(struct bucket *bucket)
{
    uint64_t words[2] = {0};
    bucket_lock(bucket);
    bool is_quiet = cq_image_is_quiet_locked(bucket);
    if (is_quiet) {
        words[0] = cq_image_hash_locked(bucket);
        words[1] = streams_hash(&bucket->streams);
    }
    bucket_unlock(bucket);
    return is_quiet ? XXH3_64bits(words, sizeof words) | 1 : 0;
}

static const struct mark *marks_find(const struct marks *marks, uint64_t seq)
{
    size_t low = 0, high = marks->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (marks->list[middle].seq < seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low < marks->count && marks->list[low].seq == seq ? &marks->list[low] : NULL;
}

static void marks_add(struct marks *marks, struct mark mark)
{
    if (marks->count == marks->cap) {
        marks->cap = marks->cap == 0 ? 16 : marks->cap * 2;
        marks->list = sim_realloc(marks->list, marks->cap * sizeof *marks->list);
    }
    size_t at = marks->count++;
    for (; at > 0 && marks->list[at - 1].seq > mark.seq; at--)
        marks->list[at] = marks->list[at - 1];
    marks->list[at] = mark;
}

/* ---- The newest map ---- */

static const struct cluster_bucket *place_of(const struct watch *watch,
                                             const struct watch_track *track)
{
    if (watch->map == NULL)
        return NULL;
    const struct cluster_region *region = cluster_map_region_by_id(watch->map, track->region_id);
    return region == NULL || region->buckets == NULL ? NULL : &region->buckets[track->bucket];
}

static bool is_in_sync(const struct watch *watch, const struct watch_track *track,
                       uint64_t incarnation)
{
    const struct cluster_bucket *place = place_of(watch, track);
    if (place == NULL || place->generation != track->generation)
        return false;
    for (uint32_t i = 0; i < place->in_sync_count; i++)
        if (watch->map->members[place->in_sync[i]].incarnation == incarnation)
            return true;
    return false;
}

static struct bucket *bucket_on(const struct grid_member *member, uint32_t region_id,
                                uint32_t bucket)
{
    if (member == NULL || member->server == NULL || member->server->catalog == NULL)
        return NULL;
    const struct catalog *catalog = member->server->catalog;
    for (uint32_t i = 0; i < catalog->region_count; i++)
        if (catalog->regions[i]->id == region_id)
            return &catalog->regions[i]->buckets[bucket];
    return NULL;
}

/* Every living member of the newest set has all that was committed. */
static void check_set(struct watch *watch, const struct watch_track *track)
{
    const struct cluster_bucket *place = place_of(watch, track);
    if (place == NULL || place->generation != track->generation || track->committed == 0)
        return;
    for (uint32_t i = 0; i < place->in_sync_count; i++) {
        struct grid_member *member =
            grid_server_of(watch->grid, watch->map->members[place->in_sync[i]].incarnation);
        const struct bucket *bucket = bucket_on(member, track->region_id, track->bucket);
        if (bucket == NULL)
            continue;
        if (bucket->generation != track->generation || bucket->last_seq < track->committed)
            verdict_fail(watch->verdict,
                         "region %u bucket %u: record %llu was committed, but %s, which is in "
                         "sync, has generation %u up to %llu",
                         track->region_id, track->bucket, (unsigned long long)track->committed,
                         member->name, bucket->generation, (unsigned long long)bucket->last_seq);
    }
}

static void count_loss(struct watch *watch, const struct cluster_map *old,
                       const struct cluster_region *region, uint32_t number,
                       const struct cluster_bucket *before)
{
    watch->losses++;
    for (uint32_t i = 0; i < before->in_sync_count; i++) {
        const struct cluster_member *member = &old->members[before->in_sync[i]];
        if (grid_server_of(watch->grid, member->incarnation) != NULL)
            verdict_fail(watch->verdict,
                         "/%.*s bucket %u starts empty, although %.*s, which is in sync, lives",
                         SLICE_FMT(region->name), number, SLICE_FMT(member->name));
    }
    if (watch->on_loss != NULL)
        watch->on_loss(watch->arg, region->name, number);
}

static void count_changes(struct watch *watch, const struct cluster_map *old)
{
    for (uint32_t i = 0; old != NULL && i < watch->map->region_count; i++) {
        const struct cluster_region *region = &watch->map->regions[i];
        const struct cluster_region *before = cluster_map_region_by_id(old, region->id);
        for (uint32_t j = 0; before != NULL && region->buckets != NULL && j < region->bucket_count;
             j++) {
            if (region->buckets[j].generation != before->buckets[j].generation)
                count_loss(watch, old, region, j, &before->buckets[j]);
            watch->promotions += region->buckets[j].term != before->buckets[j].term;
        }
    }
}

static void take_map(struct watch *watch)
{
    const struct map_memory *memory = &watch->grid->memory;
    struct cluster_map *old = watch->map;
    if (memory->epoch == 0 || (old != NULL && old->epoch == memory->epoch))
        return;
    struct cluster_map *map;
    INVARIANT(cluster_map_unpack(slice_of(memory->bytes, memory->len), &map) == OK);
    watch->map = map;
    count_changes(watch, old);
    cluster_map_unref(old);
    for (size_t i = 0; i < watch->count && !watch->verdict->failed; i++)
        check_set(watch, watch->tracks[i]);
}

/* ---- One server's turn ---- */

static void check_leader(struct watch *watch, struct watch_track *track, uint32_t term,
                         const struct grid_member *member)
{
    for (size_t i = track->leader_count; i > 0; i--) {
        const struct leader *leader = &track->leaders[i - 1];
        if (leader->term != term)
            continue;
        if (leader->incarnation != member->incarnation)
            verdict_fail(watch->verdict, "region %u bucket %u: %s leads term %u, which another led",
                         track->region_id, track->bucket, member->name, term);
        return;
    }
    if (track->leader_count == track->leader_cap) {
        track->leader_cap = track->leader_cap == 0 ? 8 : track->leader_cap * 2;
        track->leaders = sim_realloc(track->leaders, track->leader_cap * sizeof *track->leaders);
    }
    track->leaders[track->leader_count++] = (struct leader){term, member->incarnation};
}

/* Times go on from those of committed records; one that was lost with its primary may have been
 * later, or by another clock, and a deposed primary goes on from older ones. */
static void check_time(struct watch *watch, const struct watch_track *track,
                       const struct bucket *bucket, const struct grid_member *member)
{
    const struct mark *timed = &track->timed;
    const struct cluster_bucket *place = place_of(watch, track);
    if (place == NULL || place->term != bucket->replica.led || timed->seq == 0 ||
        bucket->last_seq <= timed->seq || track->timed_by == member->incarnation)
        return;
    uint64_t passed_ms = (sim_now_us(watch->grid->sim) - timed->at_us) / 1000 * 13 / 10 + 5000;
    if (bucket->last_time_ms < timed->time_ms || bucket->last_time_ms > timed->time_ms + passed_ms)
        verdict_fail(watch->verdict,
                     "region %u bucket %u: the time of record %llu by %s is %lld ms from that of "
                     "record %llu",
                     track->region_id, track->bucket, (unsigned long long)bucket->last_seq,
                     member->name, (long long)(bucket->last_time_ms - timed->time_ms),
                     (unsigned long long)timed->seq);
}

/* What this server says of records that are committed is what holds, or has to agree with it. */
static void settle(struct watch *watch, struct watch_track *track, struct holder *holder,
                   const struct grid_member *member, bool leads)
{
    size_t kept = 0;
    for (size_t i = 0; i < holder->open.count; i++) {
        struct mark mark = holder->open.list[i];
        if (mark.seq > track->committed) {
            holder->open.list[kept++] = mark;
            continue;
        }
        const struct mark *settled = marks_find(&track->settled, mark.seq);
        bool differs = settled != NULL &&
                       (settled->hash != mark.hash ||
                        (settled->state != 0 && mark.state != 0 && settled->state != mark.state));
        if (differs)
            verdict_fail(watch->verdict,
                         "region %u bucket %u: %s has other contents than the primary after "
                         "record %llu",
                         track->region_id, track->bucket, member->name,
                         (unsigned long long)mark.seq);
        else if (settled == NULL && leads)
            marks_add(&track->settled, mark);
        if (leads && mark.seq > track->timed.seq) {
            track->timed = mark;
            track->timed.at_us = marks_find(&track->first, mark.seq)->at_us;
            track->timed_by = member->incarnation;
        }
    }
    holder->open.count = kept;
}

static void look_at_bucket(struct watch *watch, struct grid_member *member, struct bucket *bucket)
{
    size_t index = (size_t)(member - watch->grid->servers);
    bool leads = bucket->replica.role == REPLICA_PRIMARY && bucket->replica.led != 0;
    struct watch_track *track = track_of(watch, bucket);
    struct holder *holder = &track->holders[index];
    uint64_t committed = leads ? atomic_load(&bucket->committed) : 0;
    if (holder->incarnation != member->incarnation) {
        holder->incarnation = member->incarnation;
        holder->last_seq = 0;
        holder->open.count = 0;
    }
    if (leads)
        check_leader(watch, track, bucket->replica.led, member);
    if (bucket->last_seq == holder->last_seq && committed <= track->committed)
        return;
    if (bucket->last_seq < holder->last_seq)
        holder->open.count = 0; /* it was thrown away, or replaced by an image */
    if (bucket->last_seq != holder->last_seq) {
        struct mark mark = {.seq = bucket->last_seq,
                            .hash = watch_contents(bucket),
                            .state = watch_state(bucket),
                            .time_ms = bucket->last_time_ms,
                            .at_us = sim_now_us(watch->grid->sim)};
        marks_add(&holder->open, mark);
        if (marks_find(&track->first, mark.seq) == NULL)
            marks_add(&track->first, mark);
    }
    holder->last_seq = bucket->last_seq;
    if (leads)
        check_time(watch, track, bucket, member);
    bool is_more = committed > track->committed;
    if (is_more) {
        track->committed = committed;
        watch->commits++;
    }
    if (is_in_sync(watch, track, member->incarnation))
        settle(watch, track, holder, member, leads);
    if (is_more)
        check_set(watch, track);
}

void watch_step(struct watch *watch)
{
    struct sim_node *node = sim_last_node(watch->grid->sim);
    take_map(watch); /* each one, also when no server has a turn between two */
    struct grid_member *member = node == NULL ? NULL : grid_server_on(watch->grid, node);
    if (member != NULL)
        watch_server(watch, member);
}

void watch_server(struct watch *watch, struct grid_member *member)
{
    take_map(watch);
    if (watch->verdict->failed || member->server->catalog == NULL)
        return;
    const struct catalog *catalog = member->server->catalog;
    for (uint32_t i = 0; i < catalog->region_count; i++) {
        const struct region *region = catalog->regions[i];
        if (region->type == CLUSTER_LOCAL || atomic_load(&region->destroyed))
            continue;
        for (uint32_t j = 0; j < region->bucket_count; j++)
            look_at_bucket(watch, member, &region->buckets[j]);
    }
}

/* ---- An acknowledged write ---- */

enum { STORED_MAX = 64 };

static const struct entry *entry_on(const struct bucket *bucket, const struct value *key)
{
    uint8_t stored[STORED_MAX];
    INVARIANT(value_stored_size(key) <= sizeof stored);
    size_t len = (size_t)(value_store(key, stored) - stored);
    struct slice slice = slice_of(stored, len);
    return table_find(&bucket->table, slice, table_hash(slice, bucket->region->hash_seed));
}

void watch_acknowledged(struct watch *watch, const char *name, const struct value *key,
                        const struct value *value)
{
    uint8_t stored[STORED_MAX];
    take_map(watch);
    if (watch->map == NULL || watch->verdict->failed)
        return;
    const struct cluster_region *region = cluster_map_region(watch->map, slice_text(name));
    if (region == NULL || region->buckets == NULL)
        return;
    INVARIANT(value_stored_size(value) <= sizeof stored);
    size_t len = (size_t)(value_store(value, stored) - stored);
    uint32_t number = value_bucket(key, region->bucket_count);
    const struct cluster_bucket *place = &region->buckets[number];
    uint64_t seq = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t i = 0; i < place->in_sync_count; i++) {
            struct grid_member *member =
                grid_server_of(watch->grid, watch->map->members[place->in_sync[i]].incarnation);
            const struct bucket *bucket = bucket_on(member, region->id, number);
            if (bucket == NULL || bucket->generation != place->generation)
                continue;
            const struct entry *entry = entry_on(bucket, key);
            if (entry != NULL && entry->value_len == len &&
                memcmp(entry_value(entry).data, stored, len) == 0)
                seq = entry->seq;
            if (pass == 1 && bucket->last_seq < seq)
                verdict_fail(watch->verdict,
                             "/%s bucket %u: a write was acknowledged as record %llu, but %s, "
                             "which is in sync, has records up to %llu",
                             name, number, (unsigned long long)seq, member->name,
                             (unsigned long long)bucket->last_seq);
        }
    }
}

/* ---- The end ---- */

static bool bucket_is_whole(struct watch *watch, const struct cluster_region *region,
                            uint32_t number, char *why, size_t size)
{
    const struct cluster_bucket *place = &region->buckets[number];
    uint32_t wanted = cluster_map_wanted_copies(watch->map, region);
    struct bucket *first = NULL;
    if (place->primary == CLUSTER_NONE || place->in_sync_count < wanted) {
        snprintf(why, size, "/%.*s bucket %u has %u of %u copies%s", SLICE_FMT(region->name),
                 number, place->in_sync_count, wanted,
                 place->primary == CLUSTER_NONE ? " and no primary" : "");
        return false;
    }
    for (uint32_t i = 0; i < place->in_sync_count; i++) {
        const struct cluster_member *named = &watch->map->members[place->in_sync[i]];
        struct grid_member *member = grid_server_of(watch->grid, named->incarnation);
        struct bucket *bucket = bucket_on(member, region->id, number);
        bool is_primary = place->in_sync[i] == place->primary;
        if (bucket == NULL || bucket->generation != place->generation ||
            bucket->replica.set_version != place->set_version ||
            (is_primary && bucket->replica.role != REPLICA_PRIMARY) ||
            (is_primary && atomic_load(&bucket->committed) != bucket->last_seq) ||
            (first != NULL && bucket->last_seq != first->last_seq)) {
            snprintf(why, size, "/%.*s bucket %u: %.*s is not up to date", SLICE_FMT(region->name),
                     number, SLICE_FMT(named->name));
            return false;
        }
        if (watch_state(bucket) == 0) {
            snprintf(why, size, "/%.*s bucket %u: %.*s has rows on their way",
                     SLICE_FMT(region->name), number, SLICE_FMT(named->name));
            return false;
        }
        if (first != NULL && (watch_contents(bucket) != watch_contents(first) ||
                              watch_state(bucket) != watch_state(first))) {
            verdict_fail(watch->verdict, "/%.*s bucket %u: two copies differ after record %llu",
                         SLICE_FMT(region->name), number, (unsigned long long)bucket->last_seq);
            return false;
        }
        first = bucket;
    }
    return true;
}

bool watch_is_whole(struct watch *watch, char *why, size_t size)
{
    take_map(watch);
    if (watch->map == NULL) {
        snprintf(why, size, "there is no map");
        return false;
    }
    for (uint32_t i = 0; i < watch->map->region_count; i++) {
        const struct cluster_region *region = &watch->map->regions[i];
        for (uint32_t j = 0; region->buckets != NULL && j < region->bucket_count; j++)
            if (!bucket_is_whole(watch, region, j, why, size))
                return false;
    }
    return true;
}

bool watch_can_lose(struct watch *watch, const struct grid_member *member)
{
    take_map(watch);
    for (uint32_t i = 0; watch->map != NULL && i < watch->map->region_count; i++) {
        const struct cluster_region *region = &watch->map->regions[i];
        for (uint32_t j = 0; region->buckets != NULL && j < region->bucket_count; j++) {
            const struct cluster_bucket *place = &region->buckets[j];
            unsigned others = 0;
            bool is_held = false;
            for (uint32_t k = 0; k < place->in_sync_count; k++) {
                uint64_t incarnation = watch->map->members[place->in_sync[k]].incarnation;
                is_held = is_held || incarnation == member->incarnation;
                others += incarnation != member->incarnation &&
                          grid_server_of(watch->grid, incarnation) != NULL;
            }
            if (is_held && others == 0)
                return false;
        }
    }
    return true;
}
