/* Seals, and what this server grants or does not grant to its peers: exceptions, announcements. */
#include "server/replica_impl.h"

/* ---- Seals (5.2) ---- */

/* Until when a promise to the peer for this bucket may be in use: none is given since the seal. */
static uint64_t promised_until(const struct replica *replica, const struct peer *peer)
{
    uint64_t until_us = atomic_load(&peer->promise_until_us);
    uint64_t bound_us = replica->sealed_us + PEER_PROMISE_US;
    if (atomic_load(&peer->gone))
        return 0;
    return until_us < bound_us ? until_us : bound_us;
}

static bool may_seal(struct bucket *bucket, uint32_t term, uint64_t now_us,
                     struct seal_answer *answer)
{
    struct replica *replica = &bucket->replica;
    struct peer *primary = replica->primary_peer;
    bool free = replica->is_sealed ? promised_until(replica, primary) <= now_us
                                   : peer_except_if_free(primary, bucket, now_us);
    if (!free && !PLANTED(PLANT_SEAL_WITHOUT_PROMISE)) {
        uint64_t until_us = replica->is_sealed ? promised_until(replica, primary)
                                               : atomic_load(&primary->promise_until_us);
        answer->verdict = SEAL_PROMISED;
        answer->wait_ms = (uint32_t)(until_us > now_us ? (until_us - now_us) / 1000 + 1 : 1);
        return false;
    }
    if (!replica->is_sealed) {
        replica->is_sealed = true;
        replica->sealed_us = now_us;
        replica->current = term;
        replica_except_all_locked(bucket);
    }
    replica->current = term;
    return true;
}

static void tell_promised(struct bucket *bucket, uint64_t now_us, struct seal_answer *answer)
{
    struct replica *replica = &bucket->replica;
    struct server *server = bucket->region->server;
    for (uint32_t i = 0; i < replica->in_sync_count; i++) {
        uint64_t incarnation = replica->in_sync[i];
        if (incarnation == server->incarnation || incarnation == replica->primary)
            continue;
        struct peer *peer = peers_find(server, incarnation);
        if (peer != NULL && promised_until(replica, peer) > now_us)
            answer->promised[answer->promised_count++] = incarnation;
        peer_unref(peer);
    }
}

void replica_seal(struct bucket *bucket, uint32_t generation, uint32_t set_version, uint32_t term,
                  struct seal_answer *answer)
{
    struct replica *replica = &bucket->replica;
    *answer = (struct seal_answer){.verdict = SEAL_REFUSED};
    bucket_lock(bucket);
    uint64_t now_us = replica_now_us(bucket);
    if (replica->set_version < set_version || replica->is_stalled) {
        answer->verdict = SEAL_PROMISED;
        answer->wait_ms = REPLICA_HELD_US / 1000;
    } else if (replica->set_version == set_version && bucket->generation == generation &&
               replica->role == REPLICA_COPY && replica->in_set && term > bucket->term &&
               term >= replica->current && replica->primary_peer != NULL &&
               may_seal(bucket, term, now_us, answer)) {
        answer->verdict = SEAL_DONE;
        tell_promised(bucket, now_us, answer);
    }
    answer->current = replica->current;
    answer->last_seq = bucket->last_seq;
    bucket_unlock(bucket);
}

/* ---- Exceptions: what a peer does not grant for single buckets ---- */

/* Null if the name is of a region that is destroyed; ERROR_BUSY when this server does not know it
 * yet: the connection is dropped, because what it says must not be lost. */
static enum error find_bucket(const struct peer_conn *from, const struct wire_bucket *of,
                              struct bucket **bucket)
{
    const struct catalog *catalog = from->worker->catalog;
    *bucket = NULL;
    if (catalog == NULL || of->region_id >= catalog->map->next_region_id)
        return ERROR_BUSY;
    struct region *region = catalog_region_by_id(catalog, of->region_id);
    if (region == NULL)
        return OK;
    if (of->bucket >= region->bucket_count)
        return ERROR_MALFORMED;
    *bucket = &region->buckets[of->bucket];
    return OK;
}

static enum error note_exception(struct bucket *bucket, const struct peer *peer,
                                 const struct wire_exception *said)
{
    struct replica *replica = &bucket->replica;
    struct replica_exception *exception = NULL;
    if (said->set_version < replica->set_version || said->of.generation < bucket->generation)
        return OK;
    for (uint32_t i = 0; i < replica->exception_count; i++)
        if (replica->exceptions[i].incarnation == peer->incarnation)
            exception = &replica->exceptions[i];
    if (exception == NULL && replica->exception_count == REPLICA_COPIES_MAX)
        return ERROR_LIMIT;
    if (exception == NULL) {
        exception = &replica->exceptions[replica->exception_count++];
        *exception = (struct replica_exception){.incarnation = peer->incarnation};
    } else if (exception->set_version >= said->set_version) {
        return OK; /* nothing was granted since it was said first */
    }
    exception->set_version = said->set_version;
    exception->cap_us = atomic_load(&peer->lease_until_us);
    /* A copy that grants nothing has sealed. For which term it says in answer to a frame only, and
     * a bucket without writes sends none by itself. */
    struct replica_copy *copy = replica_find_copy(replica, peer);
    if (replica_leads(replica) && copy != NULL && copy->state == COPY_IN_SYNC)
        replica_forget_position_locked(copy);
    return OK;
}

enum error replica_on_exceptions(struct peer_conn *from, struct slice content)
{
    struct wire_exception said;
    enum error error = OK;
    while (content.len > 0 && error == OK) {
        struct bucket *bucket = NULL;
        error = wire_take_exception(&content, &said);
        if (error == OK)
            error = find_bucket(from, &said.of, &bucket);
        if (error != OK || bucket == NULL)
            continue;
        bucket_lock(bucket);
        error = note_exception(bucket, from->peer, &said);
        bucket_unlock(bucket);
    }
    return error;
}

static bool is_excepted(const struct replica *replica, const struct peer *peer)
{
    if (replica->is_sealed)
        return !PLANTED(PLANT_GRANT_SEALED);
    const struct replica_copy *copy = replica_find_copy(replica, peer);
    return copy != NULL && copy->removing;
}

enum error replica_write_exceptions(struct peer_conn *to)
{
    struct server *server = to->worker->server;
    struct buf out;
    buf_init(&out);
    /* The main loop's own: a worker may be behind, and its silence would be a grant. */
    pthread_mutex_lock(&server->lock);
    struct catalog *catalog = server->catalog == NULL ? NULL : catalog_ref(server->catalog);
    pthread_mutex_unlock(&server->lock);
    for (uint32_t i = 0; catalog != NULL && i < catalog->region_count; i++) {
        struct region *region = catalog->regions[i];
        for (uint32_t k = 0; k < region->bucket_count; k++) {
            struct bucket *bucket = &region->buckets[k];
            bucket_lock(bucket);
            struct wire_exception said = {replica_wire_bucket(bucket), bucket->replica.set_version};
            if (is_excepted(&bucket->replica, to->peer))
                wire_append_exception(&said, &out);
            bucket_unlock(bucket);
        }
    }
    enum error error = out.failed ? ERROR_MEMORY : OK;
    if (error == OK && out.len > 0)
        error = peer_frame_send(to->conn, PEER_FRAME_EXCEPTIONS, buf_slice(&out));
    buf_fini(&out);
    catalog_unref(catalog);
    return error;
}

/* ---- Announcements: a joining server whose lease is needed too (R5) ---- */

/* True if the copy needs the lease from now on, or does not read at all under this map. */
static bool note_joining(struct bucket *bucket, const struct wire_announce *said)
{
    struct replica *replica = &bucket->replica;
    if (replica->set_version != said->set_version || bucket->generation != said->of.generation)
        return false;
    if (!replica->readers_known)
        return true;
    for (uint32_t i = 0; i < replica->reader_count; i++)
        if (replica->readers[i].peer->incarnation == said->joining)
            return true;
    struct peer *peer = peers_find(bucket->region->server, said->joining);
    if (peer == NULL || replica->reader_count == REPLICA_COPIES_MAX) {
        peer_unref(peer);
        replica->readers_known = false; /* it reads no more under this map */
        return true;
    }
    replica->readers[replica->reader_count++] =
        (struct replica_reader){.peer = peer, .is_joining = true};
    return true;
}

static enum error take_announce(const struct peer_conn *from, struct slice content,
                                struct wire_announce *said, struct bucket **bucket)
{
    *bucket = NULL;
    if (wire_take_announce(content, said) != OK)
        return ERROR_MALFORMED;
    struct region *region = from->worker->catalog == NULL
                                ? NULL
                                : catalog_region_by_id(from->worker->catalog, said->of.region_id);
    if (region == NULL)
        return OK;
    if (said->of.bucket >= region->bucket_count)
        return ERROR_MALFORMED;
    *bucket = &region->buckets[said->of.bucket];
    return OK;
}

enum error replica_on_announce(struct peer_conn *from, struct slice content)
{
    struct wire_announce said;
    struct bucket *bucket;
    enum error error = take_announce(from, content, &said, &bucket);
    if (error != OK || bucket == NULL)
        return error;
    bucket_lock(bucket);
    bool noted = note_joining(bucket, &said);
    bucket_unlock(bucket);
    return noted ? peer_frame_send(from->conn, PEER_FRAME_ANNOUNCED, content) : OK;
}

enum error replica_on_announced(struct peer_conn *from, struct slice content)
{
    struct wire_announce said;
    struct bucket *bucket;
    enum error error = take_announce(from, content, &said, &bucket);
    if (error != OK || bucket == NULL)
        return error;
    bucket_lock(bucket);
    struct replica *replica = &bucket->replica;
    struct replica_copy *copy = replica_find_copy(replica, from->peer);
    bool joins = false;
    for (uint32_t i = 0; i < replica->copy_count; i++)
        joins |= replica->copies[i]->state == COPY_JOINING &&
                 replica->copies[i]->peer->incarnation == said.joining;
    if (replica_leads(replica) && copy != NULL && joins &&
        replica->set_version == said.set_version && bucket->generation == said.of.generation) {
        copy->announced = true;
        replica_step_locked(bucket, replica_now_us(bucket));
    }
    bucket_unlock(bucket);
    return OK;
}
