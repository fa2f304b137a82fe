#include "server/call.h"
#include "server/replica_impl.h"
#include "server/rows.h"
#include "server/trash.h"

#include "protocol/codec.h"

/* ---- The backlog ---- */

/* Keeps the server's budget in step with what the ring has. */
static void count_backlog(struct bucket *bucket)
{
    struct replica *replica = &bucket->replica;
    struct server *server = bucket->region->server;
    if (replica->backlog.bytes == replica->counted_bytes)
        return;
    if (server != NULL)
        atomic_fetch_add(&server->backlog_bytes, replica->backlog.bytes - replica->counted_bytes);
    replica->counted_bytes = replica->backlog.bytes;
}

static struct ring_position at_seq(uint64_t seq)
{
    return (struct ring_position){seq, 0};
}

void replica_backlog_free_locked(struct bucket *bucket)
{
    trash_ring(trash_worker(bucket), &bucket->replica.backlog);
    count_backlog(bucket);
    uint64_t serial = bucket->replica.backlog.next_serial;
    ring_init(&bucket->replica.backlog, at_seq(bucket->last_seq));
    bucket->replica.backlog.next_serial = serial;
}

void replica_backlog_align_locked(struct bucket *bucket)
{
    if (bucket->replica.backlog.last.seq != bucket->last_seq)
        replica_backlog_free_locked(bucket);
}

/* What is above `committed`, or what a copy lacks, is never trimmed; the rest is kept while the
 * server's budget lasts. A bucket alone in its set needs nothing. */
void replica_backlog_trim_locked(struct bucket *bucket)
{
    struct replica *replica = &bucket->replica;
    struct server *server = bucket->region->server;
    bool alone = replica_is_alone(replica);
    uint64_t needed = alone ? bucket->last_seq : atomic_load(&bucket->committed);
    for (uint32_t i = 0; i < replica->copy_count; i++)
        if (replica->copies[i]->acked_seq < needed)
            needed = replica->copies[i]->acked_seq;
    if (!alone && (server == NULL || atomic_load(&server->backlog_bytes) <= LIMIT_BACKLOG_BYTES))
        return;
    ring_raise_floor(&replica->backlog, at_seq(needed));
    count_backlog(bucket);
}

enum error replica_reserve_locked(struct bucket *bucket, const struct record *record)
{
    struct replica *replica = &bucket->replica;
    if (replica_is_alone(replica))
        return OK;
    replica_backlog_align_locked(bucket);
    bool reserved = ring_reserve(&replica->backlog, record_packed_size(record));
    count_backlog(bucket);
    return reserved ? OK : ERROR_MEMORY;
}

/* ---- `committed` ---- */

void replica_committed_locked(struct bucket *bucket, uint64_t committed)
{
    if (committed <= atomic_load_explicit(&bucket->committed, memory_order_relaxed))
        return;
    atomic_store_explicit(&bucket->committed, committed, memory_order_release);
    if (bucket->calls != NULL)
        call_on_commit_locked(bucket);
    if (bucket->cqs == NULL)
        return;
    rows_notify_locked(bucket);
    cq_on_commit_locked(bucket);
}

static bool waited_for(const struct replica_copy *copy)
{
    return copy->state == COPY_IN_SYNC ||
           (copy->state == COPY_JOINING && !PLANTED(PLANT_NO_WAIT_FOR_PROPOSED));
}

void replica_commit_locked(struct bucket *bucket)
{
    struct replica *replica = &bucket->replica;
    if (!replica_leads(replica))
        return;
    uint64_t committed = bucket->last_seq;
    bool any_has_all = false;
    for (uint32_t i = 0; i < replica->copy_count; i++) {
        const struct replica_copy *copy = replica->copies[i];
        if (waited_for(copy) && copy->acked_seq < committed)
            committed = copy->acked_seq;
        any_has_all |= waited_for(copy) && copy->acked_seq >= bucket->last_seq;
    }
    if (PLANTED(PLANT_ANSWER_WITHOUT_SILENT) && any_has_all)
        committed = bucket->last_seq;
    replica_committed_locked(bucket, committed);
    for (uint32_t i = 0; i < replica->copy_count; i++) {
        struct replica_copy *copy = replica->copies[i];
        /* Reads at copies wait for the news; copies of other regions hear it with the next. */
        if (bucket->region->type == CLUSTER_REPLICATE && copy->told_committed < committed)
            replica_mark_locked(copy);
    }
}

/* ---- Sending ---- */

void replica_mark_locked(struct replica_copy *copy)
{
    if (atomic_load(&copy->peer->replication_up))
        peer_mark_dirty(copy->peer, copy);
}

static void set_peer_bytes(struct replica_copy *copy)
{
    uint64_t bytes = replica_copy_counts(copy) ? copy->unacked_bytes : 0;
    if (bytes == copy->peer_bytes)
        return;
    atomic_fetch_add(&copy->peer->unacked_bytes, bytes - copy->peer_bytes);
    copy->peer_bytes = bytes;
}

/* Bytes of the records in (from, to] that the backlog has. The hint goes from one to the other. */
static uint64_t bytes_between(const struct ring *backlog, uint64_t from, uint64_t to,
                              struct ring_hint *hint)
{
    struct ring_event event;
    uint64_t bytes = 0;
    if (from < backlog->floor.seq)
        from = backlog->floor.seq;
    for (; from < to && ring_next(backlog, at_seq(from), to, hint, &event);
         from = event.position.seq)
        bytes += event.encoded.len;
    return bytes;
}

void replica_recount_locked(struct replica_copy *copy)
{
    struct bucket *bucket = copy->bucket;
    struct ring_hint hint = {0};
    copy->acked_hint = hint;
    copy->unacked_bytes =
        bytes_between(&bucket->replica.backlog, copy->acked_seq, bucket->last_seq, &hint);
    set_peer_bytes(copy);
}

void replica_rewind_locked(struct replica_copy *copy, uint64_t seq)
{
    copy->sent_seq = seq;
    copy->piece_sent = 0;
    copy->hint = (struct ring_hint){0};
}

void replica_forget_position_locked(struct replica_copy *copy)
{
    copy->position_known = copy->probe_sent = false;
    replica_rewind_locked(copy, copy->sent_seq);
    replica_mark_locked(copy);
}

void replica_send_locked(struct bucket *bucket, const struct record *record)
{
    struct replica *replica = &bucket->replica;
    if (replica_is_alone(replica)) {
        ring_raise_floor(&replica->backlog, at_seq(record->seq));
        count_backlog(bucket);
        replica_committed_locked(bucket, record->seq);
        return;
    }
    size_t size = record_packed_size(record);
    uint8_t *out = ring_append(&replica->backlog, at_seq(record->seq), 0, size, record->time_ms);
    INVARIANT(out != NULL);
    record_pack(record, out);
    for (uint32_t i = 0; i < replica->copy_count; i++) {
        struct replica_copy *copy = replica->copies[i];
        copy->unacked_bytes += size;
        set_peer_bytes(copy);
        if (copy->waiting_since_us == 0)
            copy->waiting_since_us = replica_now_us(bucket);
        replica_mark_locked(copy);
    }
    replica_commit_locked(bucket);
    replica_backlog_trim_locked(bucket);
}

/* The records of one frame: how many, and their bytes with their lengths. */
struct batch {
    size_t bytes;
    uint32_t count;
    uint64_t last_seq;
    struct ring_event large; /* count 0: the next record, of which a piece is sent */
    struct ring_hint behind; /* it */
};

static struct batch measure(const struct ring *backlog, const struct replica_copy *copy)
{
    struct ring_hint hint = copy->hint;
    struct batch batch = {.last_seq = copy->sent_seq};
    struct ring_event event;
    while (batch.count < REPLICA_FRAME_RECORDS &&
           ring_next(backlog, at_seq(batch.last_seq), UINT64_MAX, &hint, &event)) {
        size_t need = codec_varint_size(event.encoded.len) + event.encoded.len;
        if (batch.bytes + need > REPLICA_FRAME_BYTES) {
            batch.large = event;
            batch.behind = hint;
            break;
        }
        batch.bytes += need;
        batch.count++;
        batch.last_seq = event.position.seq;
    }
    return batch;
}

/* Room for a frame's header and `len` bytes behind it, of which *out is where the first goes; then
 * end_frame(). NULL without memory. */
static uint8_t *begin_frame(struct replica_copy *copy, struct net_conn *conn, uint32_t flags,
                            size_t len, uint8_t **out)
{
    struct bucket *bucket = copy->bucket;
    struct wire_records header = {.of = replica_wire_bucket(bucket),
                                  .term = bucket->replica.led,
                                  .epoch = atomic_load(&bucket->region->server->announced_epoch),
                                  .committed = atomic_load(&bucket->committed),
                                  .flags = flags};
    uint8_t *content = peer_frame_begin(conn, PEER_FRAME_RECORDS, WIRE_RECORDS_HEADER_MAX + len);
    if (content == NULL)
        return NULL;
    *out = wire_put_records(&header, content);
    copy->told_committed = header.committed;
    return content;
}

static void end_frame(struct net_conn *conn, uint8_t *content, size_t len, const uint8_t *out)
{
    peer_frame_end(conn, content, PEER_FRAME_RECORDS, WIRE_RECORDS_HEADER_MAX + len,
                   (size_t)(out - content));
}

/* False without memory. */
static bool write_frame(struct replica_copy *copy, struct net_conn *conn, uint32_t flags,
                        const struct batch *batch)
{
    uint8_t *out, *content = begin_frame(copy, conn, flags, batch->bytes, &out);
    if (content == NULL)
        return false;
    struct ring_event event;
    for (uint32_t i = 0; i < batch->count; i++) {
        bool found = ring_next(&copy->bucket->replica.backlog, at_seq(copy->sent_seq), UINT64_MAX,
                               &copy->hint, &event);
        INVARIANT(found);
        out = codec_put_varint(out, event.encoded.len);
        memcpy(out, event.encoded.data, event.encoded.len);
        out += event.encoded.len;
        copy->sent_seq = event.position.seq;
    }
    end_frame(conn, content, batch->bytes, out);
    return true;
}

/* The next piece of a long record. False without memory. */
static bool write_piece(struct replica_copy *copy, struct net_conn *conn, const struct batch *batch)
{
    struct slice whole = batch->large.encoded;
    size_t len = whole.len - copy->piece_sent;
    if (len > REPLICA_FRAME_BYTES)
        len = REPLICA_FRAME_BYTES;
    uint8_t *out,
        *content = begin_frame(copy, conn, RECORDS_PIECE, WIRE_PIECE_HEADER_MAX + len, &out);
    if (content == NULL)
        return false;
    out = wire_put_piece(whole.len, copy->piece_sent, out);
    memcpy(out, whole.data + copy->piece_sent, len);
    end_frame(conn, content, WIRE_PIECE_HEADER_MAX + len, out + len);
    copy->piece_sent += len;
    if (copy->piece_sent == whole.len) {
        copy->sent_seq = batch->large.position.seq;
        copy->hint = batch->behind;
        copy->piece_sent = 0;
    }
    return true;
}

/* It fetches a map; until it has one, or a moment has gone by, it is not asked. */
static bool is_held(struct replica_copy *copy, uint64_t now_us)
{
    struct server *server = copy->bucket->region->server;
    bool has_map = atomic_load(&copy->peer->epoch) >= atomic_load(&server->announced_epoch);
    if (has_map || now_us >= copy->held_until_us)
        copy->held_until_us = 0;
    return copy->held_until_us != 0;
}

bool replica_fill_locked(struct replica_copy *copy, struct net_conn *conn)
{
    struct bucket *bucket = copy->bucket;
    struct replica *replica = &bucket->replica;
    struct batch none = {0};
    if (!replica_leads(replica) || copy->failed ||
        (copy->state == COPY_OFFERED && !copy->image_done))
        return false;
    if (!copy->position_known) {
        uint64_t now_us = replica_now_us(bucket);
        if (copy->probe_sent || is_held(copy, now_us))
            return false;
        copy->probe_sent = write_frame(copy, conn, RECORDS_PROBE, &none);
        copy->probed_us = now_us;
        return false;
    }
    if (copy->sent_seq < replica->backlog.floor.seq) {
        /* The backlog does not reach back to it: it needs an image. */
        copy->failed = true;
        return false;
    }
    struct batch batch = measure(&replica->backlog, copy);
    bool written = false;
    if (batch.count == 0 && batch.large.encoded.len > 0)
        written = write_piece(copy, conn, &batch);
    else if (batch.count > 0 || copy->told_committed < atomic_load(&bucket->committed))
        written = write_frame(copy, conn, 0, &batch);
    return written && copy->sent_seq < bucket->last_seq;
}

bool replica_fill(struct replica_copy *copy, struct net_conn *conn)
{
    struct bucket *bucket = copy->bucket;
    bucket_lock(bucket);
    bool more = replica_fill_locked(copy, conn);
    bucket_unlock(bucket);
    return more;
}

/* ---- Acknowledgements ---- */

static void on_position(struct replica_copy *copy, const struct wire_ack *ack, uint64_t now_us)
{
    struct bucket *bucket = copy->bucket;
    bool rewind = !copy->position_known || (ack->flags & ACK_REWIND);
    if (ack->last_seq > copy->acked_seq) {
        uint64_t bytes = bytes_between(&bucket->replica.backlog, copy->acked_seq, ack->last_seq,
                                       &copy->acked_hint);
        copy->acked_seq = ack->last_seq;
        copy->unacked_bytes = bytes < copy->unacked_bytes && copy->acked_seq < bucket->last_seq
                                  ? copy->unacked_bytes - bytes
                                  : 0;
        copy->waiting_since_us = now_us;
    }
    if (rewind) {
        copy->position_known = true;
        replica_rewind_locked(copy, ack->last_seq);
        replica_recount_locked(copy);
    }
    set_peer_bytes(copy);
    if (copy->acked_seq >= bucket->last_seq)
        copy->waiting_since_us = 0;
    replica_commit_locked(bucket);
    if (copy->sent_seq < bucket->last_seq)
        replica_mark_locked(copy);
}

static void on_ack(struct bucket *bucket, struct peer *peer, const struct wire_ack *ack)
{
    struct replica *replica = &bucket->replica;
    struct replica_copy *copy = replica_find_copy(replica, peer);
    if (!replica_leads(replica) || bucket->generation != ack->of.generation || copy == NULL ||
        (copy->state == COPY_OFFERED && !copy->image_done))
        return;
    uint64_t now_us = replica_now_us(bucket);
    if (ack->flags & ACK_NEED_MAP) {
        copy->held_until_us = now_us + REPLICA_HELD_US;
        replica_forget_position_locked(copy);
        return;
    }
    bool was_full = atomic_load(&peer->unacked_bytes) >= PEER_UNACKED_MAX;
    if (ack->current > replica->led && replica_copy_counts(copy))
        copy->refused_term = ack->current;
    else if (ack->term != replica->led)
        return;
    else if ((ack->flags & ACK_FAILED) || ack->last_seq > bucket->last_seq)
        copy->failed = true;
    else
        on_position(copy, ack, now_us);
    if (copy->state != COPY_IN_SYNC || copy->failed || copy->refused_term != 0 ||
        replica->handing_over)
        replica_step_locked(bucket, now_us);
    if (was_full)
        call_on_role_locked(bucket);
}

enum error replica_on_acks(struct peer_conn *from, struct slice content)
{
    struct wire_ack ack;
    while (content.len > 0) {
        if (wire_take_ack(&content, &ack) != OK)
            return ERROR_MALFORMED;
        struct region *region = catalog_region_by_id(from->worker->catalog, ack.of.region_id);
        if (region == NULL || ack.of.bucket >= region->bucket_count)
            continue;
        struct bucket *bucket = &region->buckets[ack.of.bucket];
        bucket_lock(bucket);
        on_ack(bucket, from->peer, &ack);
        bucket_unlock(bucket);
    }
    return OK;
}

/* ---- Links ---- */

static void each_copy(struct peer *peer, void (*visit)(struct replica_copy *copy))
{
    struct catalog *catalog = peer->worker->catalog;
    for (uint32_t i = 0; catalog != NULL && i < catalog->region_count; i++) {
        struct region *region = catalog->regions[i];
        for (uint32_t k = 0; k < region->bucket_count; k++) {
            struct bucket *bucket = &region->buckets[k];
            bucket_lock(bucket);
            struct replica_copy *copy = replica_find_copy(&bucket->replica, peer);
            if (copy != NULL)
                visit(copy);
            bucket_unlock(bucket);
        }
    }
}

static void on_link_of_copy(struct replica_copy *copy)
{
    copy->held_until_us = 0;
    replica_forget_position_locked(copy);
    if (atomic_load(&copy->peer->gone))
        replica_step_locked(copy->bucket, replica_now_us(copy->bucket));
}

void replica_on_link(struct peer *peer, bool up)
{
    (void)
        up; /* both ways the position is not known any more; only a link that is up is written to */
    each_copy(peer, on_link_of_copy);
}

static void on_epoch_of_copy(struct replica_copy *copy)
{
    if (copy->held_until_us != 0)
        replica_mark_locked(copy);
}

void replica_on_epoch(struct peer *peer)
{
    each_copy(peer, on_epoch_of_copy);
}
