/* The copy's side: records that arrive. */
#include "protocol/codec.h"
#include "server/replica_impl.h"

static uint64_t newest_epoch(const struct peer_conn *from)
{
    return from->worker->catalog == NULL ? 0 : from->worker->catalog->map->epoch;
}

static bool is_behind(const struct bucket *bucket, const struct wire_records *header)
{
    return header->epoch > atomic_load(&bucket->region->server->adopted_epoch);
}

/* Whether the frame is of this bucket's generation and term; else *flags says what the sender is
 * told, and *answered whether it is told anything. A frame of a higher term waits for the map that
 * has it: until then nothing of that term is applied, so `current` passes the map's term only by a
 * seal. */
static bool is_ours(const struct bucket *bucket, const struct wire_records *header, uint32_t *flags,
                    bool *answered)
{
    const struct replica *replica = &bucket->replica;
    *answered = true;
    if (header->of.generation != bucket->generation) {
        *flags = ACK_NEED_MAP;
        *answered = header->of.generation > bucket->generation || is_behind(bucket, header);
        return false;
    }
    if (header->term > bucket->term) {
        *flags = ACK_NEED_MAP;
        return false;
    }
    if (header->term < bucket->term || (header->term < replica->current && !PLANTED(PLANT_NO_SEAL)))
        return false; /* the acknowledgement's `current` says why */
    if (replica->role == REPLICA_PRIMARY)
        return *answered = false;
    if (replica->role == REPLICA_NONE) {
        *flags = is_behind(bucket, header) ? ACK_NEED_MAP : ACK_FAILED;
        return false;
    }
    return true;
}

/* One record, which is the next. */
static enum error apply(struct bucket *bucket, struct record *record)
{
    enum error error = replica_reserve_locked(bucket, record);
    if (error != OK)
        return error;
    if (PLANTED(PLANT_TICK_LOCAL))
        record->time_ms = loop_wall_ms(bucket->region->server->loop);
    if (record->key.len > 0)
        record->hash = table_hash(record->key, bucket->region->hash_seed);
    error = bucket_apply_locked(bucket, record);
    if (error != OK)
        return error;
    struct replica *replica = &bucket->replica;
    uint8_t *out = ring_append(&replica->backlog, (struct ring_position){record->seq, 0}, 0,
                               record_packed_size(record), record->time_ms);
    INVARIANT(out != NULL);
    record_pack(record, out);
    return OK;
}

/* The next records of a frame. *why: one cannot be applied here, and the copy is thrown away.
 * ERROR_MALFORMED: the connection is dropped. */
static enum error apply_all(struct bucket *bucket, struct slice records, uint32_t *flags,
                            uint32_t *count, enum error *why)
{
    struct slice packed;
    struct writer_mark mark;
    struct record record;
    while (records.len > 0) {
        if (wire_take_record(&records, &packed) != OK ||
            record_unpack(packed, &record, &mark) != OK)
            return ERROR_MALFORMED;
        ++*count;
        if (record.seq <= bucket->last_seq)
            continue;
        if (record.seq != bucket->last_seq + 1) {
            *flags = ACK_REWIND;
            break;
        }
        enum error error = apply(bucket, &record);
        if (error == OK)
            continue;
        *flags = error == ERROR_BUSY ? ACK_NEED_MAP : ACK_FAILED;
        if (error != ERROR_BUSY) {
            *why = error;
            replica_drop_locked(bucket);
        }
        break;
    }
    return OK;
}

/* A piece of a long record; when it is all here it stands in *records. A piece that does not go on
 * where the last one ended is of a record whose beginning is gone: it is asked for again. */
static enum error take_piece(struct bucket *bucket, struct slice content, struct slice *records,
                             uint32_t *flags)
{
    struct buf *piece = &bucket->replica.piece;
    uint8_t head[WIRE_PIECE_HEADER_MAX];
    size_t whole, offset;
    *records = slice_of(NULL, 0);
    if (wire_take_piece(&content, &whole, &offset) != OK)
        return ERROR_MALFORMED;
    size_t head_len = (size_t)(codec_put_varint(head, whole) - head);
    if (offset == 0) {
        buf_clear(piece);
        buf_append(piece, head, head_len);
    } else if (piece->len != head_len + offset || memcmp(piece->data, head, head_len) != 0) {
        *flags = ACK_REWIND;
        return OK;
    }
    buf_append_slice(piece, content);
    if (piece->failed)
        return ERROR_MEMORY;
    if (piece->len == head_len + whole)
        *records = buf_slice(piece);
    return OK;
}

static enum error take_frame(struct bucket *bucket, const struct wire_records *header,
                             struct slice records, struct buf *acks, enum error *why)
{
    struct replica *replica = &bucket->replica;
    uint32_t flags = 0, count = 0, current = replica->current;
    bool answered = true;
    if (is_ours(bucket, header, &flags, &answered)) {
        enum error error = OK;
        if (header->flags & RECORDS_PIECE)
            error = take_piece(bucket, records, &records, &flags);
        if (error == OK)
            error = apply_all(bucket, records, &flags, &count, why);
        if (error != OK || count > 0)
            buf_fini(&replica->piece);
        if (error == ERROR_MEMORY) {
            flags = ACK_FAILED;
            *why = error;
            replica_drop_locked(bucket);
        } else if (error != OK) {
            return error;
        }
        answered = count > 0 || flags != 0 || (header->flags & RECORDS_PROBE);
        if (count > 0 && replica->role != REPLICA_NONE) {
            replica->heard_us = replica_now_us(bucket);
            replica_backlog_trim_locked(bucket);
        }
        uint64_t known =
            header->committed < bucket->last_seq ? header->committed : bucket->last_seq;
        replica_committed_locked(bucket, known);
    }
    if (PLANTED(PLANT_NO_SEAL) && current > header->term)
        current = header->term;
    struct wire_ack ack = {.of = header->of,
                           .term = header->term,
                           .current = current,
                           .last_seq = bucket->last_seq,
                           .flags = flags};
    if (answered)
        wire_append_ack(&ack, acks);
    return acks->failed ? ERROR_MEMORY : OK;
}

static void tell_failed(const struct bucket *bucket, enum error why)
{
    const struct region *region = bucket->region;
    log_line(
        region->server->log, LOG_ERROR, "replica", "VG1331",
        "the copy of bucket %u of region %s is thrown away, because it %s; another one is made",
        bucket->id, region->name,
        why == ERROR_DAMAGED  ? "differs from its primary"
        : why == ERROR_MEMORY ? "has not the memory for a record"
                              : "could not apply a record");
}

enum error replica_on_records(struct peer_conn *from, struct slice content)
{
    struct wire_records header;
    if (wire_take_records(&content, &header) != OK)
        return ERROR_MALFORMED;
    struct region *region = from->worker->catalog == NULL
                                ? NULL
                                : catalog_region_by_id(from->worker->catalog, header.of.region_id);
    if (region == NULL) {
        struct wire_ack ack = {.of = header.of, .term = header.term, .flags = ACK_NEED_MAP};
        if (header.epoch > newest_epoch(from))
            wire_append_ack(&ack, &from->acks);
        return from->acks.failed ? ERROR_MEMORY : OK;
    }
    if (header.of.bucket >= region->bucket_count)
        return ERROR_MALFORMED;
    struct bucket *bucket = &region->buckets[header.of.bucket];
    bucket_lock(bucket);
    enum error why = OK, error = take_frame(bucket, &header, content, &from->acks, &why);
    bucket_unlock(bucket);
    if (why != OK && region->server->log != NULL)
        tell_failed(bucket, why);
    return error;
}
