/* Feeds from other servers, as the puller of an instance sees them: one for each server that leads
 * some of its buckets, opened from the cursors of their places, again whenever the link was lost or
 * the leaders moved. Rows that come twice are not applied twice. */
#include "common/mem.h"
#include "server/rows_impl.h"

static uint32_t bucket_count(const struct rows_puller *puller)
{
    return puller->instance->region->bucket_count;
}

static void begin_frame(struct buf *frame, uint64_t id)
{
    buf_init(frame);
    buf_append_byte(frame, FEED_ROWS);
    rows_put64(frame, id);
}

/* The frame is lost with the link if that breaks; then the feed is opened again. */
static enum error send_frame(struct rows_feed *feed, enum peer_frame_kind kind, struct buf *frame)
{
    struct peer *peer = peers_find(feed->puller->server, feed->incarnation);
    enum error error = frame->failed                      ? ERROR_MEMORY
                       : peer == NULL                     ? ERROR_NOT_FOUND
                       : !atomic_load(&peer->requests_up) ? ERROR_BUSY
                                                          : OK;
    if (error == OK)
        error = peer_send(peer, PEER_LINK_REQUESTS, kind, buf_slice(frame));
    peer_unref(peer);
    buf_fini(frame);
    return error;
}

static void send_close(struct rows_feed *feed)
{
    struct buf frame;
    if (feed->id == 0)
        return;
    begin_frame(&frame, feed->id);
    /* If it cannot be sent, the link goes, and with it what it fed. */
    (void)send_frame(feed, PEER_FRAME_FEED_CLOSE, &frame);
    feed->id = 0;
}

void rows_feeds_close(struct rows_puller *puller)
{
    for (uint32_t b = 0; b < bucket_count(puller); b++)
        puller->places[b].feed = NULL;
    while (puller->feeds != NULL) {
        struct rows_feed *feed = puller->feeds;
        puller->feeds = feed->next;
        send_close(feed);
        mem_free(feed);
    }
}

static struct rows_feed *feed_for(struct rows_puller *puller, uint64_t incarnation)
{
    struct rows_feed *feed = puller->feeds;
    while (feed != NULL && feed->incarnation != incarnation)
        feed = feed->next;
    if (feed != NULL)
        return feed;
    feed = mem_zalloc(sizeof *feed);
    if (feed == NULL)
        return NULL;
    feed->puller = puller;
    feed->incarnation = incarnation;
    feed->next = puller->feeds;
    puller->feeds = feed;
    return feed;
}

enum error rows_feeds_make(struct rows_puller *puller)
{
    for (uint32_t b = 0; puller->owner_count > 0 && b < bucket_count(puller); b++) {
        struct rows_place *place = &puller->places[b];
        if (place->led || place->primary == 0)
            continue;
        place->feed = feed_for(puller, place->primary);
        if (place->feed == NULL)
            return ERROR_MEMORY;
    }
    for (struct rows_feed *feed = puller->feeds; feed != NULL; feed = feed->next)
        rows_feed_open(feed);
    return OK;
}

void rows_feed_open(struct rows_feed *feed)
{
    struct rows_puller *puller = feed->puller;
    uint32_t sources = 0;
    struct buf frame;
    feed->reopen = false;
    send_close(feed);
    uint64_t id = ++puller->server->rows.next_feed_id;
    begin_frame(&frame, id);
    rows_put64(&frame, puller->instance->id);
    rows_put32(&frame, puller->owner_count);
    for (uint32_t b = 0; b < bucket_count(puller); b++) {
        if (puller->places[b].led)
            rows_put32(&frame, b);
        sources += puller->places[b].feed == feed;
    }
    rows_put32(&frame, sources);
    for (uint32_t b = 0; b < bucket_count(puller); b++) {
        const struct rows_place *place = &puller->places[b];
        if (place->feed != feed)
            continue;
        rows_put32(&frame, b);
        rows_put32(&frame, place->row_generation);
        rows_put_position(&frame, place->cursor);
    }
    if (send_frame(feed, PEER_FRAME_FEED_OPEN, &frame) == OK)
        feed->id = id; /* otherwise the link's coming up, or the tick, tries again */
}

static void send_credit(struct rows_feed *feed, size_t bytes, bool acks)
{
    struct buf frame;
    if (feed->id == 0)
        return;
    begin_frame(&frame, feed->id);
    rows_put32(&frame, (uint32_t)bytes);
    for (uint32_t b = 0; acks && b < bucket_count(feed->puller); b++) {
        const struct rows_place *place = &feed->puller->places[b];
        if (place->feed != feed || !ring_before((struct ring_position){0}, place->acked))
            continue;
        rows_put32(&frame, b);
        rows_put32(&frame, place->row_generation);
        rows_put_position(&frame, place->acked);
    }
    if (send_frame(feed, PEER_FRAME_FEED_CREDIT, &frame) != OK)
        feed->id = 0; /* opened again by the tick */
}

void rows_feed_acks(struct rows_feed *feed)
{
    send_credit(feed, 0, true);
}

/* ---- What arrives ---- */

static struct rows_feed *find_feed(struct server *server, uint64_t id, uint64_t incarnation)
{
    pthread_mutex_lock(&server->rows.lock);
    struct cq_instance *instance = server->rows.watched;
    pthread_mutex_unlock(&server->rows.lock);
    for (; instance != NULL; instance = instance->next_watched)
        for (struct rows_feed *feed = instance->puller == NULL ? NULL : instance->puller->feeds;
             feed != NULL; feed = feed->next)
            if (feed->id == id && feed->incarnation == incarnation)
                return feed;
    return NULL;
}

static bool take_place(struct rows_feed *feed, struct slice *rest, uint32_t *source,
                       uint32_t *generation)
{
    struct rows_puller *puller = feed->puller;
    if (!rows_take32(rest, source) || !rows_take32(rest, generation) ||
        *source >= bucket_count(puller))
        return false;
    struct rows_place *place = &puller->places[*source];
    if (*generation > place->row_generation) {
        place->row_generation = *generation;
        place->cursor = place->acked = place->barrier = (struct ring_position){0};
        place->has_skipped = place->skipped_silent = false;
    }
    return true;
}

/* False: it is not well formed, and the feed begins again. */
static bool take_entry(struct rows_feed *feed, struct slice *rest)
{
    struct ring_position position;
    uint32_t source, generation, len;
    uint8_t kind;
    if (!rows_take(rest, &kind, 1) || !take_place(feed, rest, &source, &generation))
        return false;
    struct rows_place *place = &feed->puller->places[source];
    bool wanted = place->feed == feed && generation == place->row_generation;
    if (kind == ROWS_ENTRY_INITIAL) {
        if (wanted)
            rows_initial(feed->puller, source);
        return true;
    }
    if (kind != ROWS_ENTRY_ROW || !rows_take_position(rest, &position) ||
        !rows_take32(rest, &len) || len < CQ_ROW_HEAD_BYTES || len > rest->len)
        return false;
    if (wanted)
        rows_deliver(feed->puller, source, generation, position, slice_of(rest->data, len));
    *rest = slice_of(rest->data + len, rest->len - len);
    return true;
}

static void on_link(struct server *server, uint64_t incarnation, bool up)
{
    pthread_mutex_lock(&server->rows.lock);
    struct cq_instance *instance = server->rows.watched;
    pthread_mutex_unlock(&server->rows.lock);
    for (; instance != NULL; instance = instance->next_watched)
        for (struct rows_feed *feed = instance->puller == NULL ? NULL : instance->puller->feeds;
             feed != NULL; feed = feed->next) {
            if (feed->incarnation != incarnation)
                continue;
            feed->id = 0;
            if (up)
                rows_feed_open(feed);
        }
}

void rows_mail_take(struct server *server, const struct rows_mail *mail)
{
    struct slice rest = slice_of(mail->content, mail->len);
    struct rows_feed *feed;
    uint64_t id;
    if (mail->kind == ROWS_MAIL_LINK) {
        on_link(server, mail->incarnation, mail->up);
        return;
    }
    if (!rows_take64(&rest, &id) || id == 0 ||
        (feed = find_feed(server, id, mail->incarnation)) == NULL)
        return; /* of a feed that was closed meanwhile */
    if (mail->kind == ROWS_MAIL_STATUS) {
        feed->id = 0;
        return;
    }
    bool sound = true;
    while (sound && rest.len > 0)
        sound = take_entry(feed, &rest);
    if (sound)
        send_credit(feed, mail->len, false);
    else
        send_close(feed);
}
