#include "server/replica.h"

#include "common/mem.h"
#include "server/call.h"
#include "server/replica_impl.h"
#include "server/rows.h"

void replica_init(struct replica *replica)
{
    *replica = (struct replica){.role = REPLICA_NONE};
    buf_init(&replica->piece);
    ring_init(&replica->backlog, (struct ring_position){0, 0});
}

struct replica_copy *replica_find_copy(const struct replica *replica, const struct peer *peer)
{
    for (uint32_t i = 0; i < replica->copy_count; i++)
        if (replica->copies[i]->peer == peer)
            return replica->copies[i];
    return NULL;
}

/* ---- Copies ---- */

static void copy_free(struct replica_copy *copy)
{
    peer_unref(copy->peer);
    mem_free(copy);
}

/* What a copy has waiting counts no more. */
static void copy_detach(struct replica_copy *copy)
{
    if (copy->image != NULL)
        image_end_locked(copy->bucket, copy);
    copy->image = NULL;
    atomic_fetch_sub(&copy->peer->unacked_bytes, copy->peer_bytes);
    copy->peer_bytes = 0;
    peer_forget_copy(copy->peer, copy);
}

void replica_retire_locked(struct bucket *bucket, struct replica_copy *copy)
{
    struct replica *replica = &bucket->replica;
    uint32_t at = 0;
    while (replica->copies[at] != copy)
        at++;
    replica->copies[at] = replica->copies[--replica->copy_count];
    copy_detach(copy);
    copy_free(copy);
}

static void retire_all(struct bucket *bucket)
{
    while (bucket->replica.copy_count > 0)
        replica_retire_locked(bucket, bucket->replica.copies[0]);
}

static void drop_readers(struct replica *replica)
{
    for (uint32_t i = 0; i < replica->reader_count; i++)
        peer_unref(replica->readers[i].peer);
    replica->reader_count = 0;
    replica->readers_known = false;
}

void replica_fini(struct bucket *bucket)
{
    struct replica *replica = &bucket->replica;
    for (uint32_t i = 0; i < replica->copy_count; i++) {
        copy_detach(replica->copies[i]);
        copy_free(replica->copies[i]);
    }
    replica->copy_count = 0;
    mem_free(replica->copies);
    drop_readers(replica);
    mem_free(replica->readers);
    if (replica->image != NULL)
        image_drop_incoming_locked(bucket);
    peer_unref(replica->primary_peer);
    buf_fini(&replica->piece);
    replica_backlog_free_locked(bucket);
    replica_init(replica);
}

void replica_drop_locked(struct bucket *bucket)
{
    struct replica *replica = &bucket->replica;
    uint64_t began_us = server_hold_begin(bucket);
    retire_all(bucket);
    if (replica->image != NULL)
        image_drop_incoming_locked(bucket);
    drop_readers(replica);
    buf_fini(&replica->piece);
    cq_bucket_free_all(bucket);
    bucket_empty_locked(bucket);
    writers_fini(&bucket->writers);
    writers_init(&bucket->writers);
    streams_fini(&bucket->streams);
    streams_init(&bucket->streams);
    bucket->last_seq = bucket->data_seq = bucket->note_seq = 0;
    bucket->last_time_ms = 0;
    atomic_store_explicit(&bucket->committed, 0, memory_order_release);
    replica_backlog_free_locked(bucket);
    replica->role = REPLICA_NONE;
    replica->led = 0;
    replica->current = 0;
    replica->is_sealed = false;
    replica->image_from = 0;
    replica->heard_us = 0;
    replica->led_by_others = false;
    server_hold_end(bucket, began_us);
}

void replica_on_destroyed(struct bucket *bucket)
{
    bucket_lock(bucket);
    retire_all(bucket);
    if (bucket->replica.image != NULL)
        image_drop_incoming_locked(bucket);
    bucket->replica.role = REPLICA_NONE;
    bucket->replica.led = 0;
    bucket_empty_locked(bucket);
    bucket_unlock(bucket);
}

/* ---- The map ---- */

static bool place_has(const struct replica_place *place, uint64_t incarnation)
{
    for (uint32_t i = 0; i < place->in_sync_count; i++)
        if (place->in_sync[i] == incarnation)
            return true;
    return false;
}

/* Copies for the members of the set that the bucket has none of yet. */
struct made {
    struct replica_copy *copies[REPLICA_COPIES_MAX];
    uint32_t count;
};

static void made_free(struct made *made)
{
    while (made->count > 0)
        copy_free(made->copies[--made->count]);
}

struct replica_copy *replica_copy_new(struct bucket *bucket, struct peer *peer)
{
    struct replica_copy *copy = mem_zalloc(sizeof *copy);
    if (copy == NULL)
        return NULL;
    copy->bucket = bucket;
    copy->region = bucket->region;
    copy->peer = peer_ref(peer);
    return copy;
}

static enum error reserve_copies(struct replica *replica, uint32_t count)
{
    if (count <= replica->copy_cap)
        return OK;
    struct replica_copy **grown =
        mem_realloc(replica->copies, count * sizeof(struct replica_copy *));
    if (grown == NULL)
        return ERROR_MEMORY;
    replica->copies = grown;
    replica->copy_cap = count;
    return OK;
}

/* All that leading under this map needs of memory; what a bucket has of copies goes with another
 * generation. ERROR_NOT_FOUND: a member of the set is none of this server's peers. */
static enum error make_copies(struct bucket *bucket, const struct replica_place *place,
                              struct made *made)
{
    struct server *server = bucket->region->server;
    bool keeps = place->generation == bucket->generation;
    enum error error =
        reserve_copies(&bucket->replica, bucket->replica.copy_count + place->in_sync_count);
    for (uint32_t i = 0; i < place->in_sync_count && error == OK; i++) {
        if (place->in_sync[i] == server->incarnation)
            continue;
        struct peer *peer = peers_find(server, place->in_sync[i]);
        if (peer == NULL) {
            error = ERROR_NOT_FOUND;
        } else if (!keeps || replica_find_copy(&bucket->replica, peer) == NULL) {
            struct replica_copy *copy = replica_copy_new(bucket, peer);
            if (copy == NULL)
                error = ERROR_MEMORY;
            else
                made->copies[made->count++] = copy;
        }
        peer_unref(peer);
    }
    if (error != OK)
        made_free(made);
    return error;
}

/* What the last map left of a copy that the primary goes on with. */
static void copy_under_new_map(struct bucket *bucket, struct replica_copy *copy, bool in_set,
                               bool new_term)
{
    bool left = !in_set && (copy->state == COPY_IN_SYNC || copy->failed);
    if (left) {
        replica_retire_locked(bucket, copy);
        return;
    }
    if (in_set && copy->image != NULL)
        image_end_locked(bucket, copy);
    copy->state = in_set ? COPY_IN_SYNC : COPY_OFFERED;
    copy->removing = copy->announced = copy->failed = false;
    copy->proposed_us = copy->removable_us = 0;
    copy->refused_term = 0;
    if (new_term)
        replica_forget_position_locked(copy);
    replica_recount_locked(copy);
    if (replica_copy_counts(copy) && copy->acked_seq < bucket->last_seq)
        copy->waiting_since_us = replica_now_us(bucket);
}

static void begin_to_lead(struct bucket *bucket)
{
    struct replica *replica = &bucket->replica;
    replica->role = REPLICA_PRIMARY;
    replica->base_ms = bucket->last_time_ms;
    replica->base_us = replica->heard_us != 0 ? replica->heard_us : replica_now_us(bucket);
    replica->led_by_others = bucket->last_seq > 0;
    drop_readers(replica);
    replica_backlog_align_locked(bucket);
}

static void lead(struct bucket *bucket, const struct replica_place *place, struct made *made)
{
    struct replica *replica = &bucket->replica;
    bool new_term = replica->led != place->term;
    if (replica->led == 0)
        begin_to_lead(bucket);
    replica->led = place->term;
    for (uint32_t i = replica->copy_count; i > 0; i--) {
        struct replica_copy *copy = replica->copies[i - 1];
        copy_under_new_map(bucket, copy, place_has(place, copy->peer->incarnation), new_term);
    }
    uint64_t now_us = replica_now_us(bucket);
    while (made->count > 0) {
        struct replica_copy *copy = made->copies[--made->count];
        copy->state = COPY_IN_SYNC;
        copy->waiting_since_us = now_us;
        replica->copies[replica->copy_count++] = copy;
        replica_recount_locked(copy);
        replica_mark_locked(copy);
    }
    if (PLANTED(PLANT_SUFFIX_SERVED))
        replica_committed_locked(bucket, bucket->last_seq);
    replica_commit_locked(bucket);
    replica_step_locked(bucket, now_us);
}

/* R5: whose leases a read here needs. */
static void find_readers(struct bucket *bucket)
{
    struct replica *replica = &bucket->replica;
    struct server *server = bucket->region->server;
    drop_readers(replica);
    if (bucket->region->type != CLUSTER_REPLICATE || replica->role != REPLICA_COPY ||
        !replica->in_set)
        return;
    if (replica->readers == NULL)
        replica->readers = mem_array(REPLICA_COPIES_MAX, sizeof *replica->readers);
    replica->readers_known = replica->readers != NULL;
    for (uint32_t i = 0; i < replica->in_sync_count && replica->readers_known; i++) {
        if (replica->in_sync[i] == server->incarnation)
            continue;
        struct peer *peer = peers_find(server, replica->in_sync[i]);
        if (peer == NULL)
            replica->readers_known = false;
        else
            replica->readers[replica->reader_count++] = (struct replica_reader){.peer = peer};
    }
}

static void take_place(struct bucket *bucket, const struct replica_place *place)
{
    struct replica *replica = &bucket->replica;
    struct server *server = bucket->region->server;
    if (replica->image != NULL && replica->primary != place->primary)
        image_drop_incoming_locked(bucket);
    bucket->term = place->term;
    replica->set_version = place->set_version;
    replica->primary = place->primary;
    replica->in_set = place_has(place, server->incarnation);
    memcpy(replica->in_sync, place->in_sync, place->in_sync_count * sizeof *place->in_sync);
    replica->in_sync_count = place->in_sync_count;
    peer_unref(replica->primary_peer);
    replica->primary_peer = place->primary == 0 || place->primary == server->incarnation
                                ? NULL
                                : peers_find(server, place->primary);
    replica->is_stalled = replica->handing_over = replica->hand_over_ends = false;
    replica->proposed_us = 0;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < replica->exception_count; i++)
        if (replica->exceptions[i].set_version >= place->set_version)
            replica->exceptions[kept++] = replica->exceptions[i];
    replica->exception_count = kept;
}

void replica_except_all_locked(struct bucket *bucket)
{
    struct replica *replica = &bucket->replica;
    struct server *server = bucket->region->server;
    for (uint32_t i = 0; i < replica->in_sync_count && !PLANTED(PLANT_GRANT_SEALED); i++) {
        struct peer *peer = peers_find(server, replica->in_sync[i]);
        if (peer != NULL)
            (void)peer_except(peer, bucket);
        peer_unref(peer);
    }
}

static void follow(struct bucket *bucket)
{
    struct replica *replica = &bucket->replica;
    retire_all(bucket);
    replica->led = 0;
    bucket->note_seq = 0;
    if (replica->role == REPLICA_PRIMARY)
        replica->role = REPLICA_COPY;
}

enum error replica_adopt_locked(struct bucket *bucket, const struct replica_place *place)
{
    struct replica *replica = &bucket->replica;
    uint64_t me = bucket->region->server->incarnation;
    bool new_generation = place->generation != bucket->generation;
    /* A bucket that nobody had begins empty on whom it is placed. */
    bool first = new_generation || replica->in_sync_count == 0;
    bool was_in_set = replica->in_set && !new_generation;
    bool in_set = place_has(place, me);
    struct made made = {.count = 0};

    if (place->in_sync_count > REPLICA_COPIES_MAX)
        return ERROR_LIMIT;
    if (replica->set_version == place->set_version && !new_generation) {
        replica->is_stalled = false;
        return OK;
    }
    bool leads = place->primary == me && in_set && (first || replica->role != REPLICA_NONE);
    enum error error = leads ? make_copies(bucket, place, &made) : OK;
    if (error != OK)
        return error;
    if (new_generation) {
        call_on_generation_locked(bucket);
        replica_drop_locked(bucket);
        bucket->generation = place->generation;
    }
    take_place(bucket, place);
    if (first && in_set && replica->role == REPLICA_NONE)
        replica->role = REPLICA_COPY;
    bool holds = replica->role != REPLICA_NONE;
    if (holds && !in_set && (was_in_set || replica->image_from != place->primary))
        replica_drop_locked(bucket);
    if (replica->current < place->term)
        replica->current = place->term;
    replica->is_sealed = replica->role != REPLICA_NONE && replica->current > place->term;
    if (leads)
        lead(bucket, place, &made);
    else
        follow(bucket);
    find_readers(bucket);
    if (replica->is_sealed) {
        /* Promises of the new map count from here: who cleared the exception has a lease again. */
        replica->sealed_us = replica_now_us(bucket);
        replica_except_all_locked(bucket);
    }
    /* What waited for a primary comes after the beginning of the queries, so that they see it. */
    if (leads && bucket->region->instances != NULL)
        cq_reconcile_locked(bucket, loop_wall_ms(bucket->region->server->loop));
    call_on_role_locked(bucket);
    rows_notify_locked(bucket);
    return OK;
}

void replica_lead_alone_locked(struct bucket *bucket)
{
    struct replica *replica = &bucket->replica;
    if (replica->role == REPLICA_PRIMARY)
        return;
    bucket->generation = bucket->term = 1;
    replica->role = REPLICA_PRIMARY;
    replica->led = replica->current = 1;
    replica->set_version = 1;
    replica->in_set = true;
    replica->primary = bucket->region->server != NULL ? bucket->region->server->incarnation : 0;
}

/* ---- Questions ---- */

bool replica_may_write_locked(const struct bucket *bucket)
{
    const struct replica *replica = &bucket->replica;
    if (!replica_leads(replica) || replica->handing_over)
        return false;
    for (uint32_t i = 0; i < replica->copy_count; i++)
        if (replica_copy_counts(replica->copies[i]) &&
            atomic_load(&replica->copies[i]->peer->unacked_bytes) >= PEER_UNACKED_MAX)
            return false;
    return true;
}

static bool lease_holds(const struct replica *replica, const struct peer *peer, uint64_t now_us)
{
    for (uint32_t i = 0; i < replica->exception_count; i++)
        if (replica->exceptions[i].incarnation == peer->incarnation &&
            now_us >= replica->exceptions[i].cap_us)
            return false;
    return peer_lease_holds(peer, now_us);
}

bool replica_may_read_locked(const struct bucket *bucket, uint64_t now_us)
{
    const struct replica *replica = &bucket->replica;
    if (replica->is_stalled || replica->handing_over)
        return false;
    if (replica_leads(replica)) {
        for (uint32_t i = 0; i < replica->copy_count; i++) {
            const struct replica_copy *copy = replica->copies[i];
            bool needed = copy->state == COPY_IN_SYNC ||
                          (copy->state == COPY_JOINING && !PLANTED(PLANT_NO_JOINER_LEASE));
            if (needed && !lease_holds(replica, copy->peer, now_us))
                return false;
        }
        return true;
    }
    if (replica->role != REPLICA_COPY || !replica->in_set || replica->is_sealed ||
        !replica->readers_known)
        return false;
    for (uint32_t i = 0; i < replica->reader_count; i++) {
        const struct replica_reader *reader = &replica->readers[i];
        if (PLANTED(PLANT_ONE_LEASE) && reader->peer->incarnation != replica->primary)
            continue;
        if (!(reader->is_joining && PLANTED(PLANT_NO_JOINER_LEASE)) &&
            !lease_holds(replica, reader->peer, now_us))
            return false;
    }
    return true;
}

uint64_t replica_record_time_locked(const struct bucket *bucket, uint64_t wall_ms, uint64_t now_us)
{
    const struct replica *replica = &bucket->replica;
    uint64_t time_ms = wall_ms;
    if (replica->led_by_others && !PLANTED(PLANT_WALL_CLOCK)) {
        uint64_t elapsed_us = now_us > replica->base_us ? now_us - replica->base_us : 0;
        time_ms = replica->base_ms + elapsed_us / 1000;
    }
    return time_ms > bucket->last_time_ms ? time_ms : bucket->last_time_ms;
}
