/* EVENTS feeds on the side of the server that leads the buckets: an ordinary subscription whose
 * sink is the link. ROWS feeds go on to rows.c. */
#include "server/feed.h"

#include "common/mem.h"
#include "server/feed_wire.h"
#include "server/rows.h"

struct feed_out {
    struct feed_out *next;  /* of the connection */
    struct peer_conn *conn; /* a reference */
    struct subscription *subscription;
    uint64_t id; /* the other side's */
    bool broken; /* something of it is lost: it only says END */
    bool is_cut; /* the connection is gone */
};

/* What a connection feeds: peer_conn.state. */
struct feeds {
    struct feed_out *first;
    uint32_t count;
};

/* ---- The sink ---- */

/* Sends what lies in worker->batch, or END. */
static bool send_items(struct feed_out *feed, enum peer_frame_kind kind, struct slice items)
{
    struct buf head;
    if (feed->is_cut || feed->conn->conn == NULL)
        return true; /* nobody is there to miss it */
    buf_init(&head);
    buf_append_byte(&head, FEED_EVENTS);
    feed_put_number(&head, feed->id);
    size_t len = head.len + items.len;
    uint8_t *at = head.failed ? NULL : peer_frame_begin(feed->conn->conn, kind, len);
    if (at != NULL) {
        memcpy(at, head.data, head.len);
        if (items.len > 0)
            memcpy(at + head.len, items.data, items.len);
        peer_frame_end(feed->conn->conn, at, kind, len, len);
    }
    buf_fini(&head);
    return at != NULL;
}

/* Credit bounds what is on its way, so the connection's own buffer is bounded too. */
static bool may_push(struct subscription *subscription)
{
    return !subscription->ended && !subscription->feed_out->broken &&
           subscription->credit_bytes > 0;
}

static void add_item(struct subscription *subscription, const struct feed_item *item)
{
    feed_item_put(&subscription->worker->batch, item);
}

static void add_event(struct subscription *subscription, uint32_t bucket,
                      const struct ring_event *event, bool loose)
{
    struct feed_item item = {.type = FEED_ITEM_EVENT,
                             .bucket = bucket,
                             .position = {.at = event->position},
                             .kind = event->kind,
                             .loose = loose,
                             .bytes = event->encoded};
    add_item(subscription, &item);
}

static void add_run(struct subscription *subscription, uint32_t count, uint32_t raw)
{
    struct feed_item item = {.type = FEED_ITEM_RUN, .count = count, .raw = raw};
    add_item(subscription, &item);
}

static void add_position(struct subscription *subscription, uint32_t bucket)
{
    struct feed_item item = {.type = FEED_ITEM_POSITION,
                             .bucket = bucket,
                             .position = subscription->buckets[bucket].position};
    add_item(subscription, &item);
}

static void add_moved(struct subscription *subscription, uint32_t bucket)
{
    struct feed_item item = {.type = FEED_ITEM_MOVED, .bucket = bucket};
    add_item(subscription, &item);
}

static bool push_batch(struct subscription *subscription, Pb__CqEventBatch__Phase phase,
                       bool with_token)
{
    struct buf *batch = &subscription->worker->batch;
    (void)phase;
    (void)with_token;
    subscription->moved = false;
    bool sent = !batch->failed &&
                (batch->len == 0 ||
                 send_items(subscription->feed_out, PEER_FRAME_FEED_EVENTS, buf_slice(batch)));
    subscription->credit_bytes -= (int64_t)batch->len;
    buf_clear(batch);
    return sent;
}

static bool push_status(struct subscription *subscription, Pb__CqStatus__Code code, uint32_t bucket,
                        uint64_t from_seq, uint64_t to_seq, const char *detail)
{
    struct feed_item item = {.type = FEED_ITEM_STATUS,
                             .bucket = bucket,
                             .code = code,
                             .from_seq = from_seq,
                             .to_seq = to_seq,
                             .bytes = slice_text(detail)};
    add_item(subscription, &item);
    return true;
}

static void answer(struct subscription *subscription)
{
    (void)subscription; /* the positions are the answer */
}

static void fail(struct subscription *subscription, const struct failure *failure)
{
    (void)failure;
    subscription->feed_out->broken = true;
}

static void give_up(struct subscription *subscription)
{
    buf_clear(&subscription->worker->batch);
    if (subscription->feed_out == NULL)
        return;
    subscription->feed_out->broken = true;
    subscription_retry(subscription);
}

static bool send_end(struct feed_out *feed)
{
    struct buf items;
    buf_init(&items);
    feed_item_put(&items, &(struct feed_item){.type = FEED_ITEM_END});
    bool sent = !items.failed && send_items(feed, PEER_FRAME_FEED_STATUS, buf_slice(&items));
    buf_fini(&items);
    return sent;
}

static void end(struct subscription *subscription)
{
    struct feed_out *feed = subscription->feed_out;
    struct feeds *feeds = feed->conn->state;
    struct feed_out **link = &feeds->first;
    if (!feed->broken && subscription->worker->batch.len > 0)
        push_batch(subscription, PB__CQ_EVENT_BATCH__PHASE__TAIL, false);
    buf_clear(&subscription->worker->batch);
    while (*link != feed)
        link = &(*link)->next;
    *link = feed->next;
    feeds->count--;
    subscription->feed_out = NULL;
    peer_conn_unref(feed->conn);
    mem_free(feed);
}

const struct subscription_sink feed_sink = {
    .may_push = may_push,
    .add_event = add_event,
    .add_run = add_run,
    .push_batch = push_batch,
    .push_status = push_status,
    .add_position = add_position,
    .add_moved = add_moved,
    .answer = answer,
    .fail = fail,
    .give_up = give_up,
    .end = end,
};

bool feed_out_is_whole(struct subscription *subscription)
{
    struct feed_out *feed = subscription->feed_out;
    if (!feed->broken)
        return true;
    if (send_end(feed))
        subscription_end(subscription);
    else
        subscription_retry(subscription);
    return false;
}

/* ---- Frames ---- */

static enum error take_type(struct slice *content, enum feed_type *type)
{
    if (content->len == 0 || (content->data[0] != FEED_EVENTS && content->data[0] != FEED_ROWS))
        return ERROR_MALFORMED;
    *type = (enum feed_type)content->data[0];
    *content = slice_of(content->data + 1, content->len - 1);
    return OK;
}

/* The query is not known here (yet), or there is no memory for it: the other side tries again. */
static enum error refuse(struct peer_conn *from, uint64_t id)
{
    struct feed_out none = {.conn = from, .id = id};
    return send_end(&none) ? OK : ERROR_MEMORY;
}

static enum error start_feed(struct peer_conn *from, const struct feed_open *open,
                             struct cq_instance *instance)
{
    struct feeds *feeds = from->state;
    struct slice rest = open->buckets;
    struct subscription *subscription;
    struct feed_out *feed = mem_zalloc(sizeof *feed);
    if (feed == NULL)
        return refuse(from, open->feed);
    if (subscription_new_of_feed(from->worker, instance, feed, (open->flags & FEED_PROGRESS) != 0,
                                 &subscription) != OK) {
        mem_free(feed);
        return refuse(from, open->feed);
    }
    *feed = (struct feed_out){.next = feeds->first,
                              .conn = peer_conn_ref(from),
                              .subscription = subscription,
                              .id = open->feed};
    feeds->first = feed;
    feeds->count++;
    subscription->conflates = (open->flags & FEED_CONFLATES) != 0 && subscription->key_count > 0 &&
                              subscription->key_count <= LIMIT_KEY_COLUMNS;
    if (subscription->conflates && open->run_max < UINT32_MAX)
        subscription->batch_events_max = (uint32_t)open->run_max;
    subscription->latest = (open->flags & FEED_LATEST) != 0;
    subscription->created = (open->flags & FEED_CREATED) != 0;
    subscription->credit_bytes = (int64_t)open->credit;
    for (uint32_t i = 0; i < open->count; i++) {
        uint32_t bucket;
        struct token_position position;
        INVARIANT(feed_open_next(&rest, &bucket, &position) == OK);
        if (bucket >= subscription->bucket_count) {
            subscription_end(subscription);
            return ERROR_MALFORMED;
        }
        subscription->buckets[bucket].wanted = true;
        subscription->buckets[bucket].position = position;
    }
    subscription_start(subscription, NULL);
    return OK;
}

enum error feed_on_open(struct peer_conn *from, struct slice content)
{
    enum feed_type type;
    struct feed_open open;
    if (take_type(&content, &type) != OK)
        return ERROR_MALFORMED;
    if (type == FEED_ROWS)
        return rows_on_open(from, content);
    if (feed_open_read(content, &open) != OK)
        return ERROR_MALFORMED;
    if (from->state == NULL)
        from->state = mem_zalloc(sizeof(struct feeds));
    struct feeds *feeds = from->state;
    if (feeds == NULL || feeds->count >= LIMIT_FEEDS)
        return refuse(from, open.feed);
    struct cq_instance *instance = registry_find(from->worker->server, open.query);
    if (instance == NULL)
        return refuse(from, open.feed);
    enum error error = start_feed(from, &open, instance);
    cq_instance_unref(instance);
    return error;
}

static struct feed_out *find(const struct peer_conn *from, uint64_t id)
{
    const struct feeds *feeds = from->state;
    struct feed_out *found = feeds == NULL ? NULL : feeds->first;
    while (found != NULL && found->id != id)
        found = found->next;
    return found;
}

enum error feed_on_credit(struct peer_conn *from, struct slice content)
{
    enum feed_type type;
    uint64_t id, bytes;
    if (take_type(&content, &type) != OK)
        return ERROR_MALFORMED;
    if (type == FEED_ROWS)
        return rows_on_credit(from, content);
    if (feed_get_number(&content, &id) != OK || feed_get_number(&content, &bytes) != OK ||
        bytes > LIMIT_PEER_MESSAGE_BYTES)
        return ERROR_MALFORMED;
    struct feed_out *feed = find(from, id);
    if (feed != NULL)
        subscription_add_credit(feed->subscription, 0, bytes);
    return OK;
}

enum error feed_on_close(struct peer_conn *from, struct slice content)
{
    enum feed_type type;
    uint64_t id;
    if (take_type(&content, &type) != OK)
        return ERROR_MALFORMED;
    if (type == FEED_ROWS)
        return rows_on_close(from, content);
    if (feed_get_number(&content, &id) != OK)
        return ERROR_MALFORMED;
    struct feed_out *feed = find(from, id);
    if (feed != NULL)
        subscription_end(feed->subscription);
    return OK;
}

void feed_on_conn_gone(struct peer_conn *conn)
{
    struct feeds *feeds = conn->state;
    rows_on_conn_gone(conn);
    while (feeds != NULL && feeds->first != NULL) {
        feeds->first->is_cut = true;
        subscription_end(feeds->first->subscription);
    }
    mem_free(feeds);
    conn->state = NULL;
}

/* ---- What arrives at the other end ---- */

static enum error on_items(struct peer_conn *from, struct slice content)
{
    uint64_t id;
    struct buf close;
    if (feed_get_number(&content, &id) != OK)
        return ERROR_MALFORMED;
    struct slice rest = content;
    while (rest.len > 0) {
        struct feed_item item;
        if (feed_item_next(&rest, &item) != OK)
            return ERROR_MALFORMED;
    }
    if (subscription_feed_receive(from->worker->server, id, content))
        return OK;
    /* It was closed, or given up for another one. Without memory the next frame says it again. */
    buf_init(&close);
    buf_append_byte(&close, FEED_EVENTS);
    feed_put_number(&close, id);
    if (!close.failed && from->conn != NULL)
        (void)peer_frame_send(from->conn, PEER_FRAME_FEED_CLOSE, buf_slice(&close));
    buf_fini(&close);
    return OK;
}

enum error feed_on_events(struct peer_conn *from, struct slice content)
{
    enum feed_type type;
    if (take_type(&content, &type) != OK)
        return ERROR_MALFORMED;
    return type == FEED_ROWS ? rows_on_events(from, content) : on_items(from, content);
}

enum error feed_on_status(struct peer_conn *from, struct slice content)
{
    enum feed_type type;
    if (take_type(&content, &type) != OK)
        return ERROR_MALFORMED;
    return type == FEED_ROWS ? rows_on_status(from, content) : on_items(from, content);
}

void feed_on_link(struct peer *peer, bool up)
{
    rows_on_link(peer, up);
    if (!up)
        subscription_feed_lose(peer);
}
