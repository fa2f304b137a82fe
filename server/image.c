#include "server/image.h"

#include "common/mem.h"
#include "common/plant.h"
#include "server/cq_image.h"
#include "server/entry_list.h"
#include "server/image_impl.h"

/* Under one hold of the lock. A step over an entry is a cache miss, so these stay well below
 * LIMIT_SLICE_US. */
#define SLICE_ENTRIES 200u
#define SLICE_BYTES   IMAGE_PIECE_BYTES
#define SLICE_LINES   256u
#define SLICES        8u /* for one piece: a table with few entries in many lines */

#define CLEAR_ENTRIES 1000u /* not more are kept back from a clear; else the image starts over */
#define TURN_PIECES   8u    /* then the loop gets its turn */

struct image_out {
    _Atomic uint32_t refs; /* the peer's list has one, and who works on it */
    struct bucket *bucket;
    struct region *region;          /* a reference */
    struct peer *peer;              /* a reference */
    struct image_out *next_of_peer; /* guarded by peer->lock */
    _Atomic bool ended;             /* no copy wants it: it leaves the peer's list */

    /* Guarded by the bucket's lock. */
    struct image_out *next;
    struct replica_copy *copy;   /* NULL: ended */
    struct cq_packing *packings; /* until it is cut */
    bool is_cut;
    bool is_walked; /* the cursor is at the end and nothing old waits */
    bool starts_over;
    bool failed;
    struct table_cursor cursor;
    struct entry_list old; /* of the image's seq or before, and no more in the table */
    struct image_begin begin;

    /* Of the peer's loop. */
    uint64_t id;     /* new with each cut */
    uint64_t number; /* of the next piece */
    uint64_t sent, acked;
    uint64_t served;  /* when it had its turn: the one that waits longest is next */
    bool is_finished; /* END is sent */
    struct buf head;
    bool head_taken;
    struct entry_list batch; /* taken from the bucket, not yet sent */
    uint8_t item[32];        /* the beginning of the item that is being sent */
    size_t item_len, item_sent;
    struct slice body;
    struct entry *current; /* whose bytes `body` is; NULL: the head's */
};

/* ---- Life ---- */

static void image_unref(struct image_out *image)
{
    if (atomic_fetch_sub_explicit(&image->refs, 1, memory_order_acq_rel) != 1)
        return;
    entry_list_fini(&image->old);
    entry_list_fini(&image->batch);
    entry_unref(image->current);
    buf_fini(&image->head);
    peer_unref(image->peer);
    region_unref(image->region);
    mem_free(image);
}

enum error image_begin_locked(struct bucket *bucket, struct replica_copy *copy)
{
    PRE(copy->image == NULL);
    if (!atomic_load(&copy->peer->replication_up) || !cq_image_is_quiet_locked(bucket))
        return ERROR_BUSY;
    struct image_out *image = mem_zalloc(sizeof *image);
    if (image == NULL)
        return ERROR_MEMORY;
    atomic_init(&image->refs, 1);
    image->bucket = bucket;
    image->region = region_ref(bucket->region);
    image->peer = peer_ref(copy->peer);
    image->copy = copy;
    buf_init(&image->head);
    image->next = bucket->images;
    bucket->images = image;
    copy->image = image;
    pthread_mutex_lock(&image->peer->lock);
    struct image_out **end = &image->peer->images;
    while (*end != NULL)
        end = &(*end)->next_of_peer;
    *end = image;
    pthread_mutex_unlock(&image->peer->lock);
    peer_mark_dirty(image->peer, copy);
    return OK;
}

static void detach_locked(struct image_out *image)
{
    struct image_out **at = &image->bucket->images;
    if (image->copy == NULL)
        return;
    while (*at != image)
        at = &(*at)->next;
    *at = image->next;
    cq_packing_free_locked(&image->packings);
    image->copy->image = NULL;
    image->copy = NULL;
    atomic_store(&image->ended, true);
}

void image_end_locked(struct bucket *bucket, struct replica_copy *copy)
{
    if (copy->image == NULL)
        return;
    PRE(copy->image->bucket == bucket);
    detach_locked(copy->image);
}

/* The peer's loop. The list's reference goes. */
static void leave_list(struct image_out *image)
{
    struct peer *peer = image->peer;
    pthread_mutex_lock(&peer->lock);
    struct image_out **at = &peer->images;
    while (*at != image)
        at = &(*at)->next_of_peer;
    *at = image->next_of_peer;
    pthread_mutex_unlock(&peer->lock);
    peer->image_in_flight -= image->sent - image->acked;
    image->sent = image->acked = 0;
    image_unref(image);
}

/* The peer's loop, no lock held: it came to nothing, or was installed. */
static void settle(struct image_out *image, bool installed)
{
    struct bucket *bucket = image->bucket;
    bucket_lock(bucket);
    struct replica_copy *copy = image->copy;
    detach_locked(image);
    if (copy != NULL && installed)
        replica_image_done_locked(bucket, copy, image->begin.seq);
    else if (copy != NULL)
        replica_image_failed_locked(bucket, copy);
    bucket_unlock(bucket);
}

uint64_t image_seq_locked(const struct bucket *bucket, const struct image_out *image)
{
    return image->is_cut && !image->starts_over ? image->begin.seq : bucket->last_seq;
}

/* ---- What changes while it is under way ---- */

static bool is_owed(const struct image_out *image, const struct entry *entry)
{
    return image->is_cut && !image->is_walked && !image->starts_over && !image->failed &&
           entry->seq <= image->begin.seq;
}

static void keep(struct image_out *image, struct entry *entry)
{
    if (image->old.bytes > LIMIT_IMAGE_OLD_BYTES || !entry_list_add(&image->old, entry))
        image->failed = true;
}

void image_before_change_locked(struct bucket *bucket, struct entry *old)
{
    for (struct image_out *image = bucket->images; image != NULL; image = image->next)
        if (is_owed(image, old) && !table_cursor_passed(&bucket->table, &image->cursor, old->hash))
            keep(image, old);
}

static void keep_if_owed(void *arg, struct entry *entry)
{
    struct image_out *image = arg;
    if (is_owed(image, entry))
        keep(image, entry);
}

void image_before_clear_locked(struct bucket *bucket)
{
    const struct table *table = &bucket->table;
    for (struct image_out *image = bucket->images; image != NULL; image = image->next) {
        if (!image->is_cut || image->is_walked)
            continue;
        if (table->entry_count > CLEAR_ENTRIES &&
            table_cursor_left(table, &image->cursor) > SLICE_LINES) {
            image->starts_over = true;
            continue;
        }
        while (table_cursor_step(table, &image->cursor, keep_if_owed, image))
            continue;
    }
}

/* ---- The cut ---- */

static enum error cut_locked(struct image_out *image)
{
    struct bucket *bucket = image->bucket;
    struct server *server = image->region->server;
    image->begin = (struct image_begin){
        .generation = bucket->generation,
        .term = bucket->replica.led,
        .set_version = bucket->replica.set_version,
        .epoch = server == NULL ? 0 : atomic_load(&server->adopted_epoch),
        .seq = bucket->last_seq,
        .last_time_ms = bucket->last_time_ms,
        .data_seq = bucket->data_seq,
        .committed = atomic_load(&bucket->committed),
        .entry_count = bucket->table.entry_count,
    };
    buf_clear(&image->head);
    size_t section = image_section_begin(&image->head);
    if (!PLANTED(PLANT_IMAGE_WITHOUT_WRITERS))
        writers_pack(&bucket->writers, &image->head);
    image_section_end(&image->head, section);
    section = image_section_begin(&image->head);
    streams_pack(&bucket->streams, &image->head);
    image_section_end(&image->head, section);
    section = image_section_begin(&image->head);
    cq_image_pack_locked(bucket, image->packings, &image->head);
    cq_packing_free_locked(&image->packings);
    image_section_end(&image->head, section);
    if (image->head.failed)
        return ERROR_MEMORY;
    if (image->head.len > LIMIT_IMAGE_HEAD_BYTES)
        return ERROR_LIMIT;
    image->cursor = (struct table_cursor){0};
    image->is_cut = true;
    image->is_walked = image->starts_over = false;
    return OK;
}

/* Room for what is packed so far, touched without the lock: new pages take their time. Without
 * memory the cut tells. */
static void make_room(struct image_out *image)
{
    size_t room = cq_packing_bytes(image->packings) * 5 / 4;
    if (image->head.cap >= room)
        return;
    buf_clear(&image->head);
    uint8_t *at = buf_reserve(&image->head, room);
    if (at != NULL)
        memset(at, 0, room);
}

/* The cut, when what the queries remember is packed. */
static enum error come_to_cut_locked(struct image_out *image)
{
    struct bucket *bucket = image->bucket;
    bool done;
    if (bucket->replica.role != REPLICA_PRIMARY || !cq_image_is_quiet_locked(bucket))
        return ERROR_BUSY;
    enum error error = cq_packing_step_locked(bucket, &image->packings, &done);
    return error != OK || !done ? error : cut_locked(image);
}

/* Forgets what was taken of an earlier cut. */
static void start_over(struct image_out *image)
{
    image->peer->image_in_flight -= image->sent - image->acked;
    image->sent = image->acked = image->number = 0;
    image->head_taken = false;
    image->item_len = image->item_sent = 0;
    image->body = slice_of(NULL, 0);
    entry_unref(image->current);
    image->current = NULL;
    entry_list_fini(&image->batch);
}

/* ---- From the bucket into the batch ---- */

static void take_if_owed(void *arg, struct entry *entry)
{
    struct image_out *image = arg;
    if (is_owed(image, entry) && !entry_list_add(&image->batch, entry))
        image->failed = true;
}

static void gather_locked(struct image_out *image)
{
    const struct table *table = &image->bucket->table;
    size_t until = entry_list_count(&image->batch) + SLICE_ENTRIES;
    uint64_t until_bytes = image->batch.bytes + SLICE_BYTES;
    while (entry_list_count(&image->old) > 0 && entry_list_count(&image->batch) < until &&
           image->batch.bytes < until_bytes && !image->failed) {
        struct entry *entry = entry_list_take(&image->old);
        image->failed = !entry_list_add(&image->batch, entry);
        entry_unref(entry);
    }
    if (entry_list_count(&image->old) > 0)
        return;
    for (unsigned lines = 0; lines < SLICE_LINES; lines++) {
        if (entry_list_count(&image->batch) >= until || image->batch.bytes >= until_bytes)
            return;
        if (!table_cursor_step(table, &image->cursor, take_if_owed, image)) {
            image->is_walked = true;
            entry_list_fini(&image->old);
            return;
        }
    }
}

/* Takes enough for a piece, in slices. False: it came to nothing, or ended. */
static bool gather(struct image_out *image, bool *walked)
{
    struct bucket *bucket = image->bucket;
    bool good = true;
    *walked = false;
    for (unsigned i = 0; i < SLICES && good && !*walked; i++) {
        if (image->packings != NULL)
            make_room(image);
        bucket_lock(bucket);
        uint64_t began_us = server_hold_begin(bucket);
        if (image->copy != NULL && image->starts_over) {
            start_over(image);
            entry_list_fini(&image->old);
            image->is_cut = false;
        }
        if (!image->is_cut && image->copy != NULL) {
            good = come_to_cut_locked(image) == OK;
            if (good && !image->is_cut) {
                server_hold_end(bucket, began_us);
                bucket_unlock(bucket);
                return true;
            }
            image->id = ++image->peer->image_last_id;
        }
        good = good && image->copy != NULL && !image->failed &&
               image->begin.generation == bucket->generation &&
               !atomic_load(&image->region->destroyed);
        if (good && !image->is_walked &&
            (image->batch.bytes < IMAGE_PIECE_BYTES || image->number == 0))
            gather_locked(image);
        *walked = image->is_walked;
        good = good && !image->failed;
        server_hold_end(bucket, began_us);
        bucket_unlock(bucket);
        if (image->batch.bytes >= IMAGE_PIECE_BYTES)
            break;
    }
    return good;
}

/* ---- Pieces ---- */

/* The next item of the stream. False: there is none in the batch. */
static bool next_item(struct image_out *image)
{
    uint8_t *at = image->item;
    entry_unref(image->current);
    image->current = NULL;
    image->item_len = image->item_sent = 0;
    image->body = slice_of(NULL, 0);
    if (!image->head_taken) {
        image->head_taken = true;
        image->body = buf_slice(&image->head);
        *at++ = IMAGE_ITEM_HEAD;
        at = codec_put_varint(at, image->body.len);
    } else if (entry_list_count(&image->batch) > 0) {
        struct entry *entry = image->current = entry_list_take(&image->batch);
        image->body = slice_of(entry->data, (size_t)entry->key_len + entry->value_len);
        *at++ = IMAGE_ITEM_ENTRY;
        at = codec_put_varint(at, entry->seq);
        at = codec_put_varint(at, entry->key_len);
        at = codec_put_varint(at, entry->value_len);
    } else {
        return false;
    }
    image->item_len = (size_t)(at - image->item);
    return true;
}

static size_t write_part(uint8_t *out, size_t room, const uint8_t *data, size_t len)
{
    size_t part = len < room ? len : room;
    if (part > 0)
        memcpy(out, data, part);
    return part;
}

/* As much of the stream as there is room for. */
static size_t write_items(struct image_out *image, uint8_t *out, size_t room)
{
    size_t used = 0;
    while (used < room) {
        if (image->item_sent == image->item_len && image->body.len == 0 && !next_item(image))
            break;
        size_t part = write_part(out + used, room - used, image->item + image->item_sent,
                                 image->item_len - image->item_sent);
        image->item_sent += part;
        used += part;
        part = write_part(out + used, room - used, image->body.data, image->body.len);
        image->body = slice_of(image->body.data + part, image->body.len - part);
        used += part;
    }
    return used;
}

static uint8_t *put_header(const struct image_out *image, uint8_t *out)
{
    out = codec_put_varint(out, image->region->id);
    out = codec_put_varint(out, image->bucket->id);
    out = codec_put_varint(out, image->id);
    return codec_put_varint(out, image->number);
}

static uint8_t *put_begin(const struct image_begin *begin, uint8_t *out)
{
    const uint64_t fields[] = {begin->generation, begin->term,      begin->set_version,
                               begin->epoch,      begin->seq,       begin->last_time_ms,
                               begin->data_seq,   begin->committed, begin->entry_count};
    for (unsigned i = 0; i < sizeof fields / sizeof fields[0]; i++)
        out = codec_put_varint(out, fields[i]);
    return out;
}

/* Writes the next piece: BEGIN, then data, then END, when all was written. */
static enum error write_piece(struct image_out *image, struct net_conn *conn, bool walked)
{
    uint8_t *content = peer_frame_begin(conn, PEER_FRAME_IMAGE, IMAGE_PIECE_BYTES);
    if (content == NULL)
        return ERROR_MEMORY;
    uint8_t *kind = put_header(image, content), *out = kind + 1;
    if (image->number == 0) {
        *kind = IMAGE_PIECE_BEGIN;
        out = put_begin(&image->begin, out);
    } else {
        size_t used = write_items(image, out, IMAGE_PIECE_BYTES - (size_t)(out - content));
        out += used;
        *kind = used > 0 ? IMAGE_PIECE_DATA : IMAGE_PIECE_END;
        INVARIANT(used > 0 || walked);
    }
    image->is_finished = *kind == IMAGE_PIECE_END;
    size_t len = (size_t)(out - content);
    peer_frame_end(conn, content, PEER_FRAME_IMAGE, IMAGE_PIECE_BYTES, len);
    image->number++;
    image->sent += len;
    image->peer->image_in_flight += len;
    if (image->is_finished)
        buf_fini(&image->head);
    return OK;
}

/* Tells the receiver that it need not wait. Lost when there is no memory: it drops what it has when
 * another image comes, or the connection goes. */
static void write_abort(const struct image_out *image, struct net_conn *conn)
{
    uint8_t content[IMAGE_HEADER_MAX];
    uint8_t *at = put_header(image, content);
    *at++ = IMAGE_PIECE_ABORT;
    (void)peer_frame_send(conn, PEER_FRAME_IMAGE, slice_of(content, (size_t)(at - content)));
}

static void step(struct image_out *image, struct net_conn *conn)
{
    bool walked, ended = atomic_load(&image->ended);
    bool good = !ended && gather(image, &walked);
    bool has_data = good && image->is_cut &&
                    (image->number == 0 || walked || image->body.len > 0 || !image->head_taken ||
                     entry_list_count(&image->batch) > 0 || image->item_sent < image->item_len);
    if (has_data)
        good = write_piece(image, conn, walked) == OK;
    if (good)
        return;
    settle(image, false);
    if (image->number > 0)
        write_abort(image, conn);
    leave_list(image);
}

/* Whose turn it is, with a reference: one that ended, else of the oldest LIMIT_IMAGES_AT_ONCE the
 * one that has waited longest. */
static struct image_out *next_to_serve(struct peer *peer)
{
    struct image_out *next = NULL;
    unsigned under_way = 0;
    pthread_mutex_lock(&peer->lock);
    for (struct image_out *image = peer->images; image != NULL && under_way < LIMIT_IMAGES_AT_ONCE;
         image = image->next_of_peer) {
        if (atomic_load(&image->ended)) {
            next = image;
            break;
        }
        if (image->is_finished)
            continue;
        under_way++;
        if (next == NULL || image->served < next->served)
            next = image;
    }
    if (next != NULL)
        atomic_fetch_add_explicit(&next->refs, 1, memory_order_relaxed);
    pthread_mutex_unlock(&peer->lock);
    return next;
}

bool image_fill(struct peer *peer, struct net_conn *conn)
{
    for (unsigned turn = 0; turn < TURN_PIECES; turn++) {
        if (peer->image_in_flight + IMAGE_PIECE_BYTES > IMAGE_IN_FLIGHT_MAX)
            return false;
        struct image_out *image = next_to_serve(peer);
        if (image == NULL)
            return false;
        image->served = ++peer->image_turn;
        step(image, conn);
        image_unref(image);
    }
    return peer->image_in_flight + IMAGE_PIECE_BYTES <= IMAGE_IN_FLIGHT_MAX;
}

/* ---- Answers ---- */

static struct image_out *find(struct peer *peer, uint32_t region_id, uint32_t bucket, uint64_t id)
{
    struct image_out *image;
    pthread_mutex_lock(&peer->lock);
    for (image = peer->images; image != NULL; image = image->next_of_peer)
        if (image->id == id && image->region->id == region_id && image->bucket->id == bucket &&
            image->number > 0)
            break;
    if (image != NULL)
        atomic_fetch_add_explicit(&image->refs, 1, memory_order_relaxed);
    pthread_mutex_unlock(&peer->lock);
    return image;
}

/* What is left goes on: the window has room again, or another one's turn has come. */
static void go_on(struct peer *peer)
{
    struct image_out *image = next_to_serve(peer);
    if (image == NULL)
        return;
    bucket_lock(image->bucket);
    if (image->copy != NULL)
        peer_mark_dirty(peer, image->copy);
    bucket_unlock(image->bucket);
    image_unref(image);
}

enum error image_on_ack(struct peer_conn *from, struct slice content)
{
    struct peer *peer = from->peer;
    struct slice rest = content;
    uint32_t region_id, bucket;
    uint64_t id, value;
    if (!image_get32(&rest, &region_id) || !image_get32(&rest, &bucket) ||
        !image_get(&rest, UINT64_MAX, &id) || rest.len == 0)
        return ERROR_MALFORMED;
    uint8_t verdict = rest.data[0];
    rest = slice_of(rest.data + 1, rest.len - 1);
    if (verdict < IMAGE_ARRIVED || verdict > IMAGE_REFUSED ||
        !image_get(&rest, UINT64_MAX, &value) || rest.len != 0)
        return ERROR_MALFORMED;
    struct image_out *image = find(peer, region_id, bucket, id);
    if (image == NULL)
        return OK; /* it ended, or started over */
    enum error error = OK;
    if (verdict == IMAGE_ARRIVED) {
        if (value < image->acked || value > image->sent) {
            error = ERROR_MALFORMED;
        } else {
            peer->image_in_flight -= value - image->acked;
            image->acked = value;
        }
    } else if (verdict == IMAGE_INSTALLED && (!image->is_finished || value != image->begin.seq)) {
        error = ERROR_MALFORMED;
    } else {
        settle(image, verdict == IMAGE_INSTALLED);
        leave_list(image);
    }
    image_unref(image);
    if (error == OK)
        go_on(peer);
    return error;
}

void image_on_link(struct peer *peer, bool up)
{
    if (up)
        return;
    /* Those of the moment: what is told of a failure may begin anew. */
    pthread_mutex_lock(&peer->lock);
    struct image_out *image = peer->images;
    peer->images = NULL;
    pthread_mutex_unlock(&peer->lock);
    peer->image_in_flight = 0;
    while (image != NULL) {
        struct image_out *next = image->next_of_peer;
        settle(image, false);
        image_unref(image);
        image = next;
    }
}
