/* The receiver's side of an image: pieces build contents beside those of the bucket. Nobody but the
 * loop of the connection touches them, so that the bucket's lock is held to find them, to install
 * them and for nothing else. */
#include "common/mem.h"
#include "common/plant.h"
#include "server/call.h"
#include "server/cq.h"
#include "server/cq_image.h"
#include "server/image_impl.h"
#include "server/trash.h"

struct image_in {
    _Atomic uint32_t refs;  /* bucket->replica.image has one, and who works on it */
    struct peer_conn *from; /* a reference */
    struct worker *worker;
    uint64_t id;
    uint64_t number; /* of the last piece */
    uint64_t bytes;  /* of all pieces */
    struct image_begin begin;
    struct buf stream; /* an item that is not whole yet */
    bool has_head;
    struct table table;
    struct writers writers;
    struct streams streams;
    struct buf packed_cqs; /* until the end: instances that they need may become known */
    struct cq_image *cqs;  /* of the connection's loop, then the bucket's */
};

/* ---- Life ---- */

static void image_free(struct image_in *image)
{
    table_fini(&image->table);
    writers_fini(&image->writers);
    streams_fini(&image->streams);
    buf_fini(&image->stream);
    buf_fini(&image->packed_cqs);
    cq_image_free(image->cqs);
    peer_conn_unref(image->from);
    mem_free(image);
}

static bool is_last_ref(struct image_in *image)
{
    return image != NULL && atomic_fetch_sub_explicit(&image->refs, 1, memory_order_acq_rel) == 1;
}

/* On the connection's loop, no lock held. What is large is freed in slices. NULL is allowed. */
static void image_unref(struct image_in *image)
{
    if (!is_last_ref(image))
        return;
    trash_table(image->worker, &image->table);
    image_free(image);
}

static struct image_in *image_new(struct peer_conn *from, uint64_t id,
                                  const struct image_begin *begin)
{
    struct image_in *image = mem_zalloc(sizeof *image);
    if (image == NULL)
        return NULL;
    if (table_init(&image->table) != OK) {
        mem_free(image);
        return NULL;
    }
    atomic_init(&image->refs, 1);
    image->from = peer_conn_ref(from);
    image->worker = from->worker;
    image->id = id;
    image->begin = *begin;
    writers_init(&image->writers);
    streams_init(&image->streams);
    buf_init(&image->stream);
    buf_init(&image->packed_cqs);
    return image;
}

void image_drop_incoming_locked(struct bucket *bucket)
{
    struct image_in *image = bucket->replica.image;
    bucket->replica.image = NULL;
    if (!is_last_ref(image))
        return;
    /* The connection's worker may be gone when a bucket is. */
    trash_table(trash_worker(bucket), &image->table);
    image_free(image);
}

/* Takes `image` out of the bucket if it is still there. */
static void drop(struct bucket *bucket, struct image_in *image)
{
    bucket_lock(bucket);
    bool mine = bucket->replica.image == image;
    if (mine)
        bucket->replica.image = NULL;
    bucket_unlock(bucket);
    if (mine)
        image_unref(image);
}

/* The image with this id that arrives over this connection, with a reference. */
static struct image_in *arriving(struct bucket *bucket, const struct peer_conn *from, uint64_t id)
{
    bucket_lock(bucket);
    struct image_in *image = bucket->replica.image;
    if (image != NULL && (image->from != from || image->id != id))
        image = NULL;
    if (image != NULL)
        atomic_fetch_add_explicit(&image->refs, 1, memory_order_relaxed);
    bucket_unlock(bucket);
    return image;
}

void image_on_conn_gone(struct peer_conn *conn)
{
    const struct catalog *catalog = conn->worker->catalog;
    for (uint32_t r = 0; catalog != NULL && r < catalog->region_count; r++) {
        struct region *region = catalog->regions[r];
        for (uint32_t b = 0; b < region->bucket_count; b++) {
            struct bucket *bucket = &region->buckets[b];
            bucket_lock(bucket);
            struct image_in *image = bucket->replica.image;
            if (image != NULL && image->from == conn)
                bucket->replica.image = NULL;
            else
                image = NULL;
            bucket_unlock(bucket);
            image_unref(image);
        }
    }
}

/* ---- Contents ---- */

static bool take_section(struct slice *rest, struct slice *section)
{
    uint64_t len = 0;
    if (rest->len < 8)
        return false;
    for (unsigned i = 0; i < 8; i++)
        len |= (uint64_t)rest->data[i] << 8 * i;
    if (len > rest->len - 8)
        return false;
    *section = slice_of(rest->data + 8, len);
    *rest = slice_of(rest->data + 8 + len, rest->len - 8 - len);
    return true;
}

static enum error take_head(struct image_in *image, struct slice head)
{
    struct slice writers, streams, cqs;
    enum error error = OK;
    if (image->has_head || !take_section(&head, &writers) || !take_section(&head, &streams) ||
        !take_section(&head, &cqs) || head.len != 0)
        return ERROR_MALFORMED;
    if (writers.len > 0)
        error = writers_unpack(&writers, &image->writers);
    if (error == OK && streams.len > 0)
        error = streams_unpack(&streams, &image->streams);
    if (error == OK && (writers.len > 0 || streams.len > 0))
        error = ERROR_MALFORMED;
    if (error != OK)
        return error;
    buf_append_slice(&image->packed_cqs, cqs);
    image->has_head = true;
    return image->packed_cqs.failed ? ERROR_MEMORY : OK;
}

static enum error take_entry(struct image_in *image, uint64_t seed, uint64_t seq, struct slice key,
                             struct slice value)
{
    struct entry *old, *entry = entry_new(key, value, table_hash(key, seed), seq);
    if (entry == NULL)
        return ERROR_MEMORY;
    enum error error = table_put(&image->table, entry, &old);
    if (error != OK) {
        entry_unref(entry);
        return error;
    }
    if ((old != NULL && old->seq != seq) || image->table.entry_count > image->begin.entry_count)
        error = ERROR_MALFORMED;
    entry_unref(old);
    return error;
}

/* An incomplete varint may still become whole, a too long one may not. */
#define ITEM_HEADER_MAX 31u

/* Takes the next item off `rest`; *whole is false if it has not all arrived. */
static enum error take_item(struct image_in *image, uint64_t seed, struct slice *rest, bool *whole)
{
    struct slice walk = slice_of(rest->data + 1, rest->len - 1);
    uint64_t seq = 0, key_len = 0, value_len = 0;
    bool head = rest->data[0] == IMAGE_ITEM_HEAD, good;
    *whole = false;
    if (head == image->has_head || (!head && rest->data[0] != IMAGE_ITEM_ENTRY))
        return ERROR_MALFORMED;
    if (head)
        good = image_get(&walk, UINT64_MAX, &value_len);
    else
        good = image_get(&walk, UINT64_MAX, &seq) && image_get(&walk, UINT64_MAX, &key_len) &&
               image_get(&walk, UINT64_MAX, &value_len);
    if (!good)
        return rest->len >= ITEM_HEADER_MAX ? ERROR_MALFORMED : OK;
    if (head ? value_len > LIMIT_IMAGE_HEAD_BYTES
             : seq == 0 || seq > image->begin.seq || key_len == 0 || value_len == 0 ||
                   key_len > LIMIT_MESSAGE_BYTES || value_len > LIMIT_MESSAGE_BYTES)
        return ERROR_MALFORMED;
    if (key_len + value_len > walk.len)
        return OK;
    *whole = true;
    *rest = slice_of(walk.data + key_len + value_len, walk.len - key_len - value_len);
    if (head)
        return take_head(image, slice_of(walk.data, value_len));
    return take_entry(image, seed, seq, slice_of(walk.data, key_len),
                      slice_of(walk.data + key_len, value_len));
}

static enum error take_data(struct image_in *image, uint64_t seed, struct slice data)
{
    enum error error = OK;
    bool whole = true, buffered = image->stream.len > 0;
    if (buffered)
        buf_append_slice(&image->stream, data);
    if (image->stream.failed)
        return ERROR_MEMORY;
    struct slice rest = buffered ? buf_slice(&image->stream) : data;
    while (error == OK && whole && rest.len > 0)
        error = take_item(image, seed, &rest, &whole);
    if (error != OK)
        return error;
    if (buffered)
        buf_consume(&image->stream, image->stream.len - rest.len);
    else
        buf_append_slice(&image->stream, rest);
    /* The memory of a large item is not kept for the small ones that follow. */
    if (image->stream.len == 0 && image->stream.cap > IMAGE_PIECE_BYTES * 4)
        buf_fini(&image->stream);
    return image->stream.failed ? ERROR_MEMORY : OK;
}

/* ---- Installing ---- */

/* Whether this server does not want it: it is in the set with contents, or has accepted a higher
 * term, or, at the end, its map is older than the image's (PLANT_IMAGE_OLD_MAP). */
static bool is_refused_locked(const struct bucket *bucket, const struct image_begin *begin,
                              uint64_t sender, bool at_end)
{
    const struct replica *replica = &bucket->replica;
    struct server *server = bucket->region->server;
    uint64_t epoch = server == NULL ? UINT64_MAX : atomic_load(&server->adopted_epoch);
    bool old_map = epoch < begin->epoch || replica->set_version < begin->set_version;
    if (atomic_load(&bucket->region->destroyed) || replica->current > begin->term ||
        replica->role == REPLICA_PRIMARY)
        return true;
    if (replica->in_set && bucket->last_seq > 0 && !old_map)
        return true;
    if (bucket->generation > begin->generation)
        return true;
    if (at_end && bucket->generation != begin->generation)
        return true;
    if (!at_end || PLANTED(PLANT_IMAGE_OLD_MAP))
        return false;
    /* Under a map as new as the image's, another server may have been named meanwhile. */
    return old_map || (replica->primary != 0 && replica->primary != sender);
}

/* Exchanges what the bucket and the image hold of entries, writers and streams. */
static void exchange_locked(struct bucket *bucket, struct image_in *image)
{
    struct writers writers = bucket->writers;
    struct streams streams = bucket->streams;
    table_swap(&bucket->table, &image->table);
    bucket->writers = image->writers;
    bucket->streams = image->streams;
    image->writers = writers;
    image->streams = streams;
}

/* The records of other contents are none of these. */
static void reset_backlog_locked(struct replica *replica, uint64_t seq)
{
    uint64_t serial = replica->backlog.next_serial;
    ring_fini(&replica->backlog);
    ring_init(&replica->backlog, (struct ring_position){seq, 0});
    replica->backlog.next_serial = serial;
}

static enum error install_locked(struct bucket *bucket, struct image_in *image)
{
    const struct image_begin *begin = &image->begin;
    struct replica *replica = &bucket->replica;
    uint64_t sender = image->from->peer->incarnation;
    if (is_refused_locked(bucket, begin, sender, true))
        return ERROR_REFUSED;
    if (!cq_image_is_known_locked(bucket, image->cqs))
        return ERROR_BUSY;
    cq_bucket_free_all(bucket);
    exchange_locked(bucket, image);
    bucket->last_seq = begin->seq;
    bucket->data_seq = begin->data_seq;
    bucket->last_time_ms = begin->last_time_ms;
    /* What is not committed at the sender is not here either: a read of what such a record removed
     * has to wait, which `committed` is for. */
    atomic_store(&bucket->committed,
                 PLANTED(PLANT_IMAGE_WITHOUT_REMOVALS) ? begin->seq : begin->committed);
    cq_image_install_locked(bucket, image->cqs);
    image->cqs = NULL;
    replica->role = REPLICA_COPY;
    replica->led = 0;
    replica->current = begin->term;
    replica->image_from = sender;
    replica->heard_us = loop_clock_us(image->worker->loop);
    reset_backlog_locked(replica, begin->seq);
    call_on_role_locked(bucket);
    return OK;
}

/* ---- Pieces ---- */

struct piece {
    uint32_t region_id, bucket_id;
    uint64_t id, number;
    uint8_t kind;
    struct slice rest;
};

static bool parse(struct slice content, struct piece *piece)
{
    struct slice rest = content;
    if (!image_get32(&rest, &piece->region_id) || !image_get32(&rest, &piece->bucket_id) ||
        !image_get(&rest, UINT64_MAX, &piece->id) ||
        !image_get(&rest, UINT64_MAX, &piece->number) || rest.len == 0)
        return false;
    piece->kind = rest.data[0];
    piece->rest = slice_of(rest.data + 1, rest.len - 1);
    return piece->kind >= IMAGE_PIECE_BEGIN && piece->kind <= IMAGE_PIECE_ABORT &&
           (piece->kind == IMAGE_PIECE_DATA) ==
               (piece->rest.len > 0 && piece->kind != IMAGE_PIECE_BEGIN);
}

static enum error answer(struct peer_conn *from, const struct piece *piece,
                         enum image_verdict verdict, uint64_t value)
{
    uint8_t content[IMAGE_HEADER_MAX];
    uint8_t *at = codec_put_varint(content, piece->region_id);
    at = codec_put_varint(at, piece->bucket_id);
    at = codec_put_varint(at, piece->id);
    *at++ = (uint8_t)verdict;
    at = codec_put_varint(at, value);
    return peer_frame_send(from->conn, PEER_FRAME_IMAGE_ACK,
                           slice_of(content, (size_t)(at - content)));
}

/* The worker's own catalog: no lock is needed. */
static struct bucket *find_bucket(const struct worker *worker, const struct piece *piece)
{
    const struct catalog *catalog = worker->catalog;
    for (uint32_t i = 0; catalog != NULL && i < catalog->region_count; i++) {
        struct region *region = catalog->regions[i];
        if (region->id == piece->region_id)
            return piece->bucket_id < region->bucket_count ? &region->buckets[piece->bucket_id]
                                                           : NULL;
    }
    return NULL;
}

static enum error on_begin(struct peer_conn *from, struct bucket *bucket, const struct piece *piece,
                           uint64_t bytes)
{
    struct image_begin begin;
    struct slice rest = piece->rest;
    if (!image_get32(&rest, &begin.generation) || !image_get32(&rest, &begin.term) ||
        !image_get32(&rest, &begin.set_version) || !image_get(&rest, UINT64_MAX, &begin.epoch) ||
        !image_get(&rest, UINT64_MAX, &begin.seq) ||
        !image_get(&rest, UINT64_MAX, &begin.last_time_ms) ||
        !image_get(&rest, begin.seq, &begin.data_seq) ||
        !image_get(&rest, begin.seq, &begin.committed) ||
        !image_get(&rest, begin.seq, &begin.entry_count) || rest.len != 0 || piece->number != 0)
        return ERROR_MALFORMED;
    struct image_in *image = image_new(from, piece->id, &begin), *other = NULL;
    if (image == NULL)
        return answer(from, piece, IMAGE_REFUSED, 0);
    image->bytes = bytes;
    bucket_lock(bucket);
    bool refused = is_refused_locked(bucket, &begin, from->peer->incarnation, false);
    if (bucket->replica.image != NULL && bucket->replica.image->begin.term > begin.term)
        refused = true;
    if (!refused) {
        other = bucket->replica.image;
        bucket->replica.image = image;
    }
    bucket_unlock(bucket);
    image_unref(refused ? image : other);
    return answer(from, piece, refused ? IMAGE_REFUSED : IMAGE_ARRIVED, bytes);
}

static enum error on_end(struct bucket *bucket, struct image_in *image)
{
    if (!image->has_head || image->stream.len > 0 ||
        image->table.entry_count != image->begin.entry_count)
        return ERROR_MALFORMED;
    enum error error = OK;
    if (image->packed_cqs.len > 0)
        error = cq_image_unpack(bucket, buf_slice(&image->packed_cqs), &image->cqs);
    if (error != OK)
        return error;
    bucket_lock(bucket);
    /* Dropped meanwhile: then it is not wanted. */
    uint64_t began_us = server_hold_begin(bucket);
    error = ERROR_REFUSED;
    if (bucket->replica.image == image)
        error = install_locked(bucket, image);
    server_hold_end(bucket, began_us);
    bucket_unlock(bucket);
    return error;
}

enum error image_on_piece(struct peer_conn *from, struct slice content)
{
    struct piece piece;
    if (!parse(content, &piece))
        return ERROR_MALFORMED;
    struct bucket *bucket = find_bucket(from->worker, &piece);
    if (bucket == NULL)
        return piece.kind == IMAGE_PIECE_ABORT ? OK : answer(from, &piece, IMAGE_REFUSED, 0);
    if (piece.kind == IMAGE_PIECE_BEGIN)
        return on_begin(from, bucket, &piece, content.len);
    struct image_in *image = arriving(bucket, from, piece.id);
    if (image == NULL)
        return piece.kind == IMAGE_PIECE_ABORT ? OK : answer(from, &piece, IMAGE_REFUSED, 0);
    enum error error = OK;
    image->bytes += content.len;
    if (piece.kind == IMAGE_PIECE_ABORT)
        drop(bucket, image);
    else if (piece.number != image->number + 1)
        error = ERROR_MALFORMED;
    else if (piece.kind == IMAGE_PIECE_DATA)
        error = take_data(image, bucket->region->hash_seed, piece.rest);
    else
        error = on_end(bucket, image);
    image->number = piece.number;
    if (piece.kind == IMAGE_PIECE_END || error != OK)
        drop(bucket, image);
    if (error == ERROR_MALFORMED)
        goto out;
    if (error != OK)
        error = answer(from, &piece, IMAGE_REFUSED, 0);
    else if (piece.kind == IMAGE_PIECE_END)
        error = answer(from, &piece, IMAGE_INSTALLED, image->begin.seq);
    else if (piece.kind == IMAGE_PIECE_DATA)
        error = answer(from, &piece, IMAGE_ARRIVED, image->bytes);
out:
    image_unref(image);
    return error;
}
