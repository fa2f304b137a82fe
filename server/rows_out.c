/* Rows that another server pulls from the buckets led here. An out belongs to the loop of the
 * connection that opened it; what it acknowledged is read by the main loop, with rows->lock. */
#include "common/mem.h"
#include "server/rows_impl.h"

struct rows_out_source {
    uint32_t bucket, generation;
    struct ring_position cursor;
    bool told_initial;
    struct ring_position acked; /* guarded by rows->lock, as is its generation */
    uint32_t acked_generation;
};

struct rows_out {
    struct rows_out *next;        /* guarded by rows->lock, as are the flags */
    struct peer_conn *conn;       /* a reference */
    struct cq_instance *instance; /* a reference */
    uint64_t id;
    size_t in_flight;
    bool posted, gone, broken;
    struct loop_task task;
    uint8_t *owners; /* for each bucket: it is led there */
    struct rows_out_source *sources;
    uint32_t source_count;
};

static struct rows *rows_of(const struct peer_conn *conn)
{
    return &conn->worker->server->rows;
}

static void out_free(struct rows_out *out)
{
    peer_conn_unref(out->conn);
    cq_instance_unref(out->instance);
    mem_free(out->owners);
    mem_free(out->sources);
    mem_free(out);
}

/* ---- Sending ---- */

static void put_head(struct buf *frame, enum rows_entry_kind kind,
                     const struct rows_out_source *source)
{
    buf_append_byte(frame, (uint8_t)kind);
    rows_put32(frame, source->bucket);
    rows_put32(frame, source->generation);
}

/* Adds committed rows for those owners. Returns whether the bucket has more. */
static bool add_rows(struct rows_out *out, struct rows_out_source *source, struct buf *frame)
{
    struct cq_bucket *cqb = rows_cqb(out->instance, source->bucket);
    struct bucket *bucket = cqb->bucket;
    struct ring_hint hint = {0};
    struct ring_event event;
    bool more = false;
    bucket_lock(bucket);
    uint64_t committed = atomic_load(&bucket->committed);
    bool here = rows_is_led(bucket) && cqb->active;
    if (here && source->generation != bucket->generation) {
        source->generation = bucket->generation;
        source->cursor = (struct ring_position){0};
        source->told_initial = false;
    }
    if (here && ring_before(source->cursor, cqb->rows.floor))
        source->cursor = cqb->rows.floor;
    while (here && (more = ring_next(&cqb->rows, source->cursor, committed, &hint, &event)) &&
           frame->len < ROWS_BATCH_BYTES) {
        uint32_t target = cq_row_read(event.encoded).target;
        if (target < out->instance->region->bucket_count && out->owners[target] != 0) {
            put_head(frame, ROWS_ENTRY_ROW, source);
            rows_put_position(frame, event.position);
            rows_put32(frame, (uint32_t)event.encoded.len);
            buf_append_slice(frame, event.encoded);
        }
        source->cursor = event.position;
    }
    bool initial = here && !more && cqb->initial_left == 0 && committed >= cqb->added_seq;
    bucket_unlock(bucket);
    if (initial && !source->told_initial) {
        source->told_initial = true;
        put_head(frame, ROWS_ENTRY_INITIAL, source);
    }
    return more;
}

static enum error send_frame(struct rows_out *out, enum peer_frame_kind kind,
                             const struct buf *frame)
{
    if (frame->failed || out->conn->conn == NULL)
        return ERROR_MEMORY;
    return peer_frame_send(out->conn->conn, kind, buf_slice(frame));
}

/* Refused, or something is missing: the other side opens it again. */
static enum error send_status(struct rows_out *out)
{
    struct buf frame;
    buf_init(&frame);
    buf_append_byte(&frame, FEED_ROWS);
    rows_put64(&frame, out->id);
    enum error error = send_frame(out, PEER_FRAME_FEED_STATUS, &frame);
    buf_fini(&frame);
    return error;
}

static enum error pump(struct rows_out *out)
{
    bool more = true;
    enum error error = OK;
    while (more && error == OK && out->in_flight < LIMIT_FEED_ROWS_BYTES) {
        struct buf frame;
        buf_init(&frame);
        buf_append_byte(&frame, FEED_ROWS);
        rows_put64(&frame, out->id);
        size_t head = frame.len;
        more = false;
        for (uint32_t i = 0; i < out->source_count && frame.len < ROWS_BATCH_BYTES; i++)
            more |= add_rows(out, &out->sources[i], &frame);
        more |= frame.len >= ROWS_BATCH_BYTES;
        if (frame.len > head || frame.failed)
            error = send_frame(out, PEER_FRAME_FEED_EVENTS, &frame);
        out->in_flight += frame.len > head ? frame.len - 1 : 0; /* as the other side counts it */
        buf_fini(&frame);
    }
    return error;
}

/* ---- Life ---- */

static void unlink_out(struct rows *rows, struct rows_out *out)
{
    struct rows_out **link = &rows->outs;
    while (*link != out)
        link = &(*link)->next;
    *link = out->next;
}

/* On its loop: runs, or goes. Rows that could not be sent are missing: it ends, and says so. */
static void on_task(void *arg)
{
    struct rows_out *out = arg;
    struct rows *rows = rows_of(out->conn);
    pthread_mutex_lock(&rows->lock);
    out->posted = false;
    bool gone = out->gone, broken = out->broken;
    pthread_mutex_unlock(&rows->lock);
    if (!gone && !broken)
        broken = pump(out) != OK;
    if (!gone && broken)
        gone = send_status(out) == OK;
    pthread_mutex_lock(&rows->lock);
    out->broken = broken; /* the tick tries to say so again */
    out->gone |= gone || out->conn->conn == NULL;
    gone = out->gone && !out->posted;
    if (gone)
        unlink_out(rows, out);
    pthread_mutex_unlock(&rows->lock);
    if (gone)
        out_free(out);
}

static void post_out_locked(struct rows_out *out)
{
    if (out->posted)
        return;
    out->posted = true;
    loop_post(out->conn->worker->loop, &out->task);
}

void rows_outs_wake_locked(struct rows *rows, const struct cq_instance *instance)
{
    for (struct rows_out *out = rows->outs; out != NULL; out = out->next)
        if (out->instance == instance && !out->gone)
            post_out_locked(out);
}

void rows_outs_tick(struct rows *rows)
{
    pthread_mutex_lock(&rows->lock);
    for (struct rows_out *out = rows->outs; out != NULL; out = out->next)
        if (out->broken)
            post_out_locked(out);
    pthread_mutex_unlock(&rows->lock);
}

void rows_outs_free(struct rows *rows)
{
    while (rows->outs != NULL) {
        struct rows_out *out = rows->outs;
        rows->outs = out->next;
        out_free(out);
    }
}

void rows_on_conn_gone(struct peer_conn *conn)
{
    struct rows *rows = rows_of(conn);
    pthread_mutex_lock(&rows->lock);
    for (struct rows_out *out = rows->outs; out != NULL; out = out->next)
        if (out->conn == conn) {
            out->gone = true;
            post_out_locked(out);
        }
    pthread_mutex_unlock(&rows->lock);
}

void rows_outs_acked(struct rows *rows, const struct cq_instance *instance, uint32_t source,
                     uint32_t generation, struct ring_position *acked)
{
    pthread_mutex_lock(&rows->lock);
    for (struct rows_out *out = rows->outs; out != NULL; out = out->next)
        for (uint32_t i = 0; out->instance == instance && i < out->source_count; i++)
            for (uint32_t t = 0; out->sources[i].bucket == source &&
                                 out->sources[i].acked_generation == generation &&
                                 t < instance->region->bucket_count;
                 t++)
                if (out->owners[t] != 0 && ring_before(acked[t], out->sources[i].acked))
                    acked[t] = out->sources[i].acked;
    pthread_mutex_unlock(&rows->lock);
}

/* ---- Frames ---- */

static struct cq_instance *find_instance(struct rows *rows, uint64_t query_id)
{
    pthread_mutex_lock(&rows->lock);
    struct cq_instance *instance = rows->watched;
    while (instance != NULL && instance->id != query_id)
        instance = instance->next_watched;
    if (instance != NULL)
        cq_instance_ref(instance);
    pthread_mutex_unlock(&rows->lock);
    return instance;
}

static enum error take_owners(struct rows_out *out, struct slice *rest)
{
    uint32_t bucket_count = out->instance->region->bucket_count, count, owner;
    if (!rows_take32(rest, &count) || count > bucket_count)
        return ERROR_MALFORMED;
    out->owners = mem_array(bucket_count, 1);
    if (out->owners == NULL)
        return ERROR_MEMORY;
    for (uint32_t i = 0; i < count; i++) {
        if (!rows_take32(rest, &owner) || owner >= bucket_count)
            return ERROR_MALFORMED;
        out->owners[owner] = 1;
    }
    return OK;
}

static enum error take_sources(struct rows_out *out, struct slice *rest)
{
    uint32_t bucket_count = out->instance->region->bucket_count, count;
    if (!rows_take32(rest, &count) || count > bucket_count)
        return ERROR_MALFORMED;
    out->sources = mem_array(count + 1u, sizeof *out->sources);
    if (out->sources == NULL)
        return ERROR_MEMORY;
    out->source_count = count;
    for (uint32_t i = 0; i < count; i++) {
        struct rows_out_source *source = &out->sources[i];
        if (!rows_take32(rest, &source->bucket) || !rows_take32(rest, &source->generation) ||
            !rows_take_position(rest, &source->cursor) || source->bucket >= bucket_count)
            return ERROR_MALFORMED;
    }
    return rest->len == 0 ? OK : ERROR_MALFORMED;
}

enum error rows_on_open(struct peer_conn *from, struct slice content)
{
    struct rows *rows = rows_of(from);
    uint64_t id, query_id;
    if (!rows_take64(&content, &id) || id == 0 || !rows_take64(&content, &query_id))
        return ERROR_MALFORMED;
    struct rows_out *out = mem_zalloc(sizeof *out);
    if (out == NULL)
        return ERROR_MEMORY;
    out->id = id;
    out->conn = peer_conn_ref(from);
    out->task = (struct loop_task){.on_run = on_task, .arg = out};
    out->instance = find_instance(rows, query_id);
    enum error error = OK;
    if (out->instance == NULL) {
        error = send_status(out);
        goto err_after_out;
    }
    error = take_owners(out, &content);
    if (error == OK)
        error = take_sources(out, &content);
    if (error != OK)
        goto err_after_out;
    pthread_mutex_lock(&rows->lock);
    out->next = rows->outs;
    rows->outs = out;
    post_out_locked(out);
    pthread_mutex_unlock(&rows->lock);
    return OK;

err_after_out:
    out_free(out);
    return error;
}

static struct rows_out *find_out_locked(struct rows *rows, const struct peer_conn *from,
                                        uint64_t id)
{
    struct rows_out *out = rows->outs;
    while (out != NULL && (out->conn != from || out->id != id || out->gone))
        out = out->next;
    return out;
}

enum error rows_on_close(struct peer_conn *from, struct slice content)
{
    struct rows *rows = rows_of(from);
    uint64_t id;
    if (!rows_take64(&content, &id) || content.len > 0)
        return ERROR_MALFORMED;
    pthread_mutex_lock(&rows->lock);
    struct rows_out *out = find_out_locked(rows, from, id);
    if (out != NULL) {
        out->gone = true;
        post_out_locked(out);
    }
    pthread_mutex_unlock(&rows->lock);
    return OK;
}

static bool take_ack_locked(struct rows_out *out, struct slice *content)
{
    struct ring_position position;
    uint32_t bucket, generation;
    if (!rows_take32(content, &bucket) || !rows_take32(content, &generation) ||
        !rows_take_position(content, &position))
        return false;
    for (uint32_t i = 0; i < out->source_count; i++) {
        struct rows_out_source *source = &out->sources[i];
        if (source->bucket != bucket || generation < source->acked_generation)
            continue;
        if (generation > source->acked_generation || ring_before(source->acked, position))
            source->acked = position;
        source->acked_generation = generation;
    }
    return true;
}

enum error rows_on_credit(struct peer_conn *from, struct slice content)
{
    struct rows *rows = rows_of(from);
    uint64_t id;
    uint32_t bytes;
    bool sound = rows_take64(&content, &id) && rows_take32(&content, &bytes);
    if (!sound)
        return ERROR_MALFORMED;
    pthread_mutex_lock(&rows->lock);
    struct rows_out *out = find_out_locked(rows, from, id);
    while (out != NULL && sound && content.len > 0)
        sound = take_ack_locked(out, &content);
    if (out != NULL && sound) {
        out->in_flight -= bytes < out->in_flight ? bytes : out->in_flight;
        if (bytes > 0)
            post_out_locked(out);
    }
    pthread_mutex_unlock(&rows->lock);
    return sound ? OK : ERROR_MALFORMED;
}
