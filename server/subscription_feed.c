/* What a subscription reads through other servers: feeds, one for each server that leads buckets of
 * it (more after buckets have moved). Frames arrive on the loop of the link and wait in the inbox,
 * bounded by the credit that was given; the subscription's own loop takes them. */
#include "common/mem.h"
#include "server/feed_wire.h"

/* ---- The table of feeds ---- */

static struct feed_in **line_of(struct server *server, uint64_t id)
{
    return &server->feeds[id % FEED_LINES];
}

static void wake(struct subscription *subscription)
{
    if (!atomic_exchange(&subscription->posted, true))
        loop_post(subscription->worker->loop, &subscription->task);
}

bool subscription_feed_receive(struct server *server, uint64_t id, struct slice items)
{
    pthread_mutex_lock(&server->lock);
    struct feed_in *feed = *line_of(server, id);
    while (feed != NULL && feed->id != id)
        feed = feed->next_in_line;
    if (feed != NULL) {
        pthread_mutex_lock(&feed->lock);
        if (feed->inbox.len > LIMIT_PEER_MESSAGE_BYTES)
            feed->broken = true; /* it does not keep to its credit */
        if (!feed->broken)
            buf_append_slice(&feed->inbox, items);
        feed->broken |= feed->inbox.failed;
        wake(feed->subscription);
        pthread_mutex_unlock(&feed->lock);
    }
    pthread_mutex_unlock(&server->lock);
    return feed != NULL;
}

void subscription_feed_lose(struct peer *peer)
{
    struct server *server = peer->server;
    pthread_mutex_lock(&server->lock);
    for (uint32_t i = 0; i < FEED_LINES; i++) {
        for (struct feed_in *feed = server->feeds[i]; feed != NULL; feed = feed->next_in_line) {
            if (feed->peer != peer)
                continue;
            pthread_mutex_lock(&feed->lock);
            feed->broken = true;
            wake(feed->subscription);
            pthread_mutex_unlock(&feed->lock);
        }
    }
    pthread_mutex_unlock(&server->lock);
}

static void free_feed(struct feed_in *feed)
{
    struct server *server = feed->server;
    pthread_mutex_lock(&server->lock);
    struct feed_in **link = line_of(server, feed->id);
    while (*link != NULL && *link != feed)
        link = &(*link)->next_in_line;
    if (*link == feed)
        *link = feed->next_in_line;
    pthread_mutex_unlock(&server->lock);
    buf_fini(&feed->items);
    buf_fini(&feed->inbox);
    pthread_mutex_destroy(&feed->lock);
    peer_unref(feed->peer);
    mem_free(feed);
}

/* Without memory the other side learns it from the answer to its next frame. */
static void send_close(struct feed_in *feed)
{
    struct buf close;
    buf_init(&close);
    buf_append_byte(&close, FEED_EVENTS);
    feed_put_number(&close, feed->id);
    if (!close.failed)
        (void)peer_send(feed->peer, PEER_LINK_REQUESTS, PEER_FRAME_FEED_CLOSE, buf_slice(&close));
    buf_fini(&close);
}

void subscription_feeds_free(struct subscription *subscription)
{
    while (subscription->feeds != NULL) {
        struct feed_in *feed = subscription->feeds;
        subscription->feeds = feed->next;
        send_close(feed);
        free_feed(feed);
    }
}

/* ---- Opening ---- */

static void write_open(const struct subscription *subscription, const struct feed_in *feed,
                       const uint64_t *places, struct buf *out)
{
    uint64_t run_max = LIMIT_CONFLATED_EVENTS;
    if (run_max > subscription->batch_events_max)
        run_max = subscription->batch_events_max;
    if (run_max > subscription->run_events_max)
        run_max = subscription->run_events_max;
    struct feed_open open = {.feed = feed->id,
                             .query = subscription->instance->id,
                             .flags = (subscription->progress ? FEED_PROGRESS : 0u) |
                                      (subscription->conflates ? FEED_CONFLATES : 0u) |
                                      (subscription->latest ? FEED_LATEST : 0u) |
                                      (subscription->created ? FEED_CREATED : 0u),
                             .credit = LIMIT_FEED_BYTES,
                             .run_max = run_max == 0 ? 1 : run_max,
                             .count = feed->wanted_count};
    feed_open_put(out, &open);
    for (uint32_t i = 0; i < subscription->bucket_count; i++)
        if (places[i] == feed->peer->incarnation)
            feed_open_put_bucket(out, i, &subscription->buckets[i].position);
}

static struct feed_in *new_feed(struct subscription *subscription, struct peer *peer)
{
    struct server *server = subscription->worker->server;
    struct feed_in *feed = mem_zalloc(sizeof *feed);
    if (feed == NULL)
        return NULL;
    buf_init(&feed->items);
    buf_init(&feed->inbox);
    pthread_mutex_init(&feed->lock, NULL);
    feed->server = server;
    feed->subscription = subscription;
    feed->peer = peer_ref(peer);
    pthread_mutex_lock(&server->lock);
    feed->id = ++server->next_feed_id;
    feed->next_in_line = *line_of(server, feed->id);
    *line_of(server, feed->id) = feed;
    pthread_mutex_unlock(&server->lock);
    return feed;
}

bool subscription_feed_open(struct subscription *subscription, uint64_t incarnation,
                            const uint64_t *places)
{
    struct peer *peer = peers_find(subscription->worker->server, incarnation);
    struct buf open;
    bool opened = false;
    if (peer == NULL)
        return false;
    struct feed_in *feed = atomic_load(&peer->requests_up) ? new_feed(subscription, peer) : NULL;
    peer_unref(peer);
    if (feed == NULL)
        return false;
    for (uint32_t i = 0; i < subscription->bucket_count; i++)
        feed->wanted_count += places[i] == incarnation;
    buf_init(&open);
    write_open(subscription, feed, places, &open);
    if (!open.failed)
        opened =
            peer_send(feed->peer, PEER_LINK_REQUESTS, PEER_FRAME_FEED_OPEN, buf_slice(&open)) == OK;
    buf_fini(&open);
    if (!opened) {
        free_feed(feed);
        return false;
    }
    feed->next = subscription->feeds;
    subscription->feeds = feed;
    for (uint32_t i = 0; i < subscription->bucket_count; i++) {
        if (places[i] != incarnation)
            continue;
        subscription->buckets[i].route = ROUTE_FEED;
        subscription->buckets[i].feed = feed;
    }
    return true;
}

void subscription_feed_leave(struct subscription *subscription, uint32_t index)
{
    struct subscription_bucket *own = &subscription->buckets[index];
    own->feed->wanted_count--;
    own->feed = NULL;
    own->feed_tells = false;
    subscription->has_trouble |= own->trouble != TROUBLE_NONE;
    own->route = ROUTE_NONE;
    own->settled = false;
}

/* ---- Taking ---- */

enum take { TAKE_ON, TAKE_WAIT, TAKE_ENDED };

static enum take take_position(struct subscription *subscription, const struct feed_item *item)
{
    struct subscription_bucket *own = &subscription->buckets[item->bucket];
    bool begins = item->position.in_snapshot &&
                  (!own->settled || !own->position.in_snapshot || item->position.at.seq == 0);
    /* The feed tells of it next; if it is left before that, this server does. */
    if (own->position.generation != 0 && own->position.generation != item->position.generation) {
        own->trouble = TROUBLE_LOST;
        own->troubled_from = own->position.at.seq + 1;
        own->feed_tells = true;
    }
    own->position = item->position;
    own->settled = true;
    subscription->moved = true;
    if (!begins)
        return TAKE_ON;
    subscription->wants_snapshot_end = true;
    if (subscription->state != SUBSCRIPTION_TAIL)
        return TAKE_ON;
    subscription->state = SUBSCRIPTION_SNAPSHOT; /* what waits is pushed as what it is first */
    return TAKE_WAIT;
}

static enum take lost(struct subscription *subscription)
{
    subscription->sink->give_up(subscription);
    return TAKE_ENDED;
}

static enum take end_with_error(struct subscription *subscription, const char *text)
{
    const struct subscription_sink *sink = subscription->sink;
    if (!sink->push_status(subscription, PB__CQ_STATUS__CODE__ERROR, 0, 0, 0, text) ||
        !sink->push_status(subscription, PB__CQ_STATUS__CODE__CLOSED, 0, 0, 0,
                           "The query has ended."))
        return lost(subscription);
    subscription_end(subscription);
    return TAKE_ENDED;
}

static enum take take_status(struct subscription *subscription, struct feed_in *feed,
                             const struct feed_item *item)
{
    char text[256];
    size_t len = item->bytes.len < sizeof text ? item->bytes.len : sizeof text - 1;
    memcpy(text, item->bytes.data, len);
    text[len] = 0;
    if (item->code == PB__CQ_STATUS__CODE__CLOSED ||
        item->code == PB__CQ_STATUS__CODE__REGION_DESTROYED) {
        feed->ended = true; /* this server's own map will say so */
        return TAKE_ON;
    }
    if (subscription_batch_waits(subscription) &&
        !subscription->sink->push_batch(subscription, subscription->batch_phase,
                                        subscription->token_every_batch))
        return lost(subscription);
    if (item->code == PB__CQ_STATUS__CODE__ERROR)
        return end_with_error(subscription, text);
    if (item->code == PB__CQ_STATUS__CODE__GAP)
        return subscription_tell_gap(subscription, item->bucket, item->from_seq, item->to_seq)
                   ? TAKE_ON
                   : TAKE_ENDED;
    if (item->code == PB__CQ_STATUS__CODE__DATA_LOSS) {
        subscription->buckets[item->bucket].trouble = TROUBLE_NONE;
        subscription->buckets[item->bucket].feed_tells = false;
    }
    if (!subscription->sink->push_status(subscription, (Pb__CqStatus__Code)item->code, item->bucket,
                                         item->from_seq, item->to_seq, text))
        return lost(subscription);
    return TAKE_ON;
}

/* The tail follows the end of the first snapshots. Later ones are of single buckets; behind a tail
 * that waited for them their rows would never come. */
static bool waits_for_snapshots(const struct subscription *subscription)
{
    return subscription->state == SUBSCRIPTION_SNAPSHOT && !subscription->tails_go_on;
}

static enum take take_event(struct subscription *subscription, struct feed_in *feed,
                            const struct feed_item *item, uint32_t *events)
{
    struct subscription_bucket *own = &subscription->buckets[item->bucket];
    struct ring_event event = {
        .position = item->position.at, .kind = item->kind, .encoded = item->bytes};
    if (!item->loose && !subscription_batch_has_room(subscription, *events))
        return TAKE_WAIT;
    bool is_tail = !own->position.in_snapshot || item->loose;
    if (is_tail && waits_for_snapshots(subscription) && !item->loose)
        return TAKE_WAIT;
    if (!subscription_enter_phase(subscription, is_tail ? PB__CQ_EVENT_BATCH__PHASE__TAIL
                                                        : PB__CQ_EVENT_BATCH__PHASE__SNAPSHOT))
        return lost(subscription);
    subscription->sink->add_event(subscription, item->bucket, &event, item->loose);
    if (item->loose)
        feed->run_left -= feed->run_left > 0;
    else
        own->position.at = item->position.at;
    subscription->moved = true;
    ++*events;
    return TAKE_ON;
}

static enum take take_run(struct subscription *subscription, struct feed_in *feed,
                          const struct feed_item *item, uint32_t events)
{
    bool fits = subscription_batch_has_room(subscription, events) &&
                subscription->credit_events >= item->count &&
                (events == 0 || item->count <= subscription->batch_events_max - events);
    if (!fits || waits_for_snapshots(subscription))
        return TAKE_WAIT;
    if (!subscription_enter_phase(subscription, PB__CQ_EVENT_BATCH__PHASE__TAIL))
        return lost(subscription);
    feed->run_left = item->count;
    subscription->sink->add_run(subscription, item->count, item->raw);
    return TAKE_ON;
}

static enum take take_item(struct subscription *subscription, struct feed_in *feed,
                           const struct feed_item *item, uint32_t *events)
{
    bool is_of_bucket = item->type != FEED_ITEM_RUN && item->type != FEED_ITEM_END;
    bool waits = subscription->state == SUBSCRIPTION_WAITING;
    if (is_of_bucket && item->bucket >= subscription->bucket_count) {
        feed->ended = true;
        return TAKE_ON;
    }
    bool is_of_query =
        item->type == FEED_ITEM_STATUS &&
        (item->code == PB__CQ_STATUS__CODE__ERROR || item->code == PB__CQ_STATUS__CODE__CLOSED ||
         item->code == PB__CQ_STATUS__CODE__REGION_DESTROYED);
    if (is_of_bucket && !is_of_query && subscription->buckets[item->bucket].feed != feed)
        return TAKE_ON; /* the bucket is read elsewhere by now */
    switch (item->type) {
    case FEED_ITEM_POSITION:
        return take_position(subscription, item);
    case FEED_ITEM_EVENT:
        return waits ? TAKE_WAIT : take_event(subscription, feed, item, events);
    case FEED_ITEM_RUN:
        return waits ? TAKE_WAIT : take_run(subscription, feed, item, *events);
    case FEED_ITEM_STATUS:
        return waits ? TAKE_WAIT : take_status(subscription, feed, item);
    case FEED_ITEM_MOVED:
        subscription_feed_leave(subscription, item->bucket);
        atomic_store(&subscription->reroute, true);
        subscription_retry(subscription);
        return TAKE_ON;
    case FEED_ITEM_END:
        feed->ended = true;
        return TAKE_ON;
    }
    return TAKE_ON;
}

/* Takes over what arrived; false if the link broke or memory was short, and it is all that came. */
static bool fetch(struct feed_in *feed)
{
    pthread_mutex_lock(&feed->lock);
    bool whole = !feed->broken;
    if (feed->taken == feed->items.len) {
        struct buf empty = feed->items;
        buf_clear(&empty);
        feed->taken = 0;
        feed->items = feed->inbox;
        feed->inbox = empty;
    }
    pthread_mutex_unlock(&feed->lock);
    return whole;
}

static void give_credit(struct feed_in *feed)
{
    struct buf credit;
    if (feed->owed < LIMIT_FEED_BYTES / 4)
        return;
    buf_init(&credit);
    buf_append_byte(&credit, FEED_EVENTS);
    feed_put_number(&credit, feed->id);
    feed_put_number(&credit, feed->owed);
    if (!credit.failed &&
        peer_send(feed->peer, PEER_LINK_REQUESTS, PEER_FRAME_FEED_CREDIT, buf_slice(&credit)) == OK)
        feed->owed = 0;
    else
        subscription_retry(feed->subscription);
    buf_fini(&credit);
}

/* All buckets of the feed are looked for anew. */
static void abandon(struct subscription *subscription, struct feed_in *feed)
{
    for (uint32_t i = 0; i < subscription->bucket_count; i++)
        if (subscription->buckets[i].feed == feed)
            subscription_feed_leave(subscription, i);
    atomic_store(&subscription->reroute, true);
    subscription_retry(subscription);
}

static enum take take_all(struct subscription *subscription, struct feed_in *feed, uint32_t *events)
{
    for (;;) {
        bool whole = fetch(feed);
        if (!whole && feed->run_left == 0) {
            feed->ended = true; /* what it brought and is not taken comes again */
            return TAKE_ON;
        }
        struct slice rest = slice_of(feed->items.data + feed->taken, feed->items.len - feed->taken);
        if (rest.len == 0)
            return TAKE_ON;
        while (rest.len > 0 && !feed->ended) {
            struct feed_item item;
            INVARIANT(feed_item_next(&rest, &item) == OK);
            size_t len = feed->items.len - feed->taken - rest.len;
            enum take take = take_item(subscription, feed, &item, events);
            if (take == TAKE_ENDED)
                return TAKE_ENDED; /* and the feed may be gone */
            bool is_taken = take == TAKE_ON || item.type == FEED_ITEM_POSITION;
            if (is_taken) {
                feed->taken += len;
                feed->owed += len;
            }
            if (take == TAKE_WAIT) {
                give_credit(feed);
                return TAKE_WAIT;
            }
        }
        give_credit(feed);
        if (feed->ended)
            return TAKE_ON;
    }
}

bool subscription_feed_take(struct subscription *subscription, uint32_t *events)
{
    struct feed_in *next;
    for (struct feed_in *feed = subscription->feeds; feed != NULL; feed = next) {
        if (take_all(subscription, feed, events) == TAKE_ENDED)
            return false;
        next = feed->next;
        if (feed->ended)
            abandon(subscription, feed);
        if (feed->wanted_count > 0)
            continue;
        struct feed_in **link = &subscription->feeds;
        while (*link != feed)
            link = &(*link)->next;
        *link = next;
        send_close(feed);
        free_feed(feed);
    }
    return true;
}
