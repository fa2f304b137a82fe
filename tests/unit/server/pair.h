/* Two servers and the link between them, for tests of subscriptions over several servers. What one
 * sends waits in a queue until the test carries it; only records are at the other one at once, so
 * that either may lead any bucket. */
#ifndef VUG_TESTS_UNIT_SERVER_PAIR_H
#define VUG_TESTS_UNIT_SERVER_PAIR_H

#include "tests/unit/server/subscriber.h"

#include <stdlib.h>

#include "server/feed.h"

enum { A, B, SERVERS };

struct frame {
    struct frame *next;
    uint32_t to;
    bool to_opener; /* on the connection that the receiver opened */
    enum peer_frame_kind kind;
    size_t len;
    uint8_t bytes[];
};

struct pair {
    struct stage stages[SERVERS];
    struct peer peers[SERVERS];         /* [s]: how the other one sees server s */
    struct peer_conn incoming[SERVERS]; /* [s]: at s, what the other one opened */
    struct peer_conn outgoing[SERVERS]; /* [s]: at s, what it opened itself */
    char conns[SERVERS][2];             /* addresses that stand for connections */
    struct frame *frames, **end;
    uint64_t bytes_queued, bytes_queued_max; /* of events */
    bool cut;
    uint64_t peer_refs;
};

static struct pair *the_pair; /* of the test that runs */

/* ---- What the product calls ---- */

struct peer *peer_ref(struct peer *peer)
{
    the_pair->peer_refs++;
    return peer;
}

void peer_unref(struct peer *peer)
{
    the_pair->peer_refs -= peer != NULL;
}

struct peer_conn *peer_conn_ref(struct peer_conn *conn)
{
    return conn;
}

void peer_conn_unref(struct peer_conn *conn)
{
    (void)conn;
}

struct peer *peers_find(struct server *server, uint64_t incarnation)
{
    for (uint32_t s = 0; s < SERVERS; s++)
        if (the_pair->stages[s].fixture.server.incarnation == incarnation &&
            &the_pair->stages[s].fixture.server != server)
            return peer_ref(&the_pair->peers[s]);
    return NULL;
}

static enum error queue_frame(uint32_t to, bool to_opener, enum peer_frame_kind kind,
                              struct slice content)
{
    if (mem_fault_calls() > 0) { /* the product's own allocates here */
        void *probe = mem_alloc(1);
        if (probe == NULL)
            return ERROR_MEMORY;
        mem_free(probe);
    }
    struct frame *frame = malloc(sizeof *frame + content.len);
    assert_non_null(frame);
    *frame = (struct frame){.to = to, .to_opener = to_opener, .kind = kind, .len = content.len};
    if (content.len > 0)
        memcpy(frame->bytes, content.data, content.len);
    *the_pair->end = frame;
    the_pair->end = &frame->next;
    if (kind == PEER_FRAME_FEED_EVENTS) {
        the_pair->bytes_queued += content.len;
        if (the_pair->bytes_queued > the_pair->bytes_queued_max)
            the_pair->bytes_queued_max = the_pair->bytes_queued;
    }
    return OK;
}

enum error peer_send(struct peer *peer, enum peer_link_kind link, enum peer_frame_kind kind,
                     struct slice content)
{
    assert_int_equal(link, PEER_LINK_REQUESTS);
    if (the_pair->cut)
        return OK; /* lost with the link */
    return queue_frame((uint32_t)(peer - the_pair->peers), false, kind, content);
}

static uint8_t *frame_room;

uint8_t *peer_frame_begin(struct net_conn *conn, enum peer_frame_kind kind, size_t content_max)
{
    (void)conn;
    (void)kind;
    void *probe = mem_alloc(1);
    if (probe == NULL)
        return NULL;
    mem_free(probe);
    frame_room = malloc(content_max + 1);
    return frame_room;
}

void peer_frame_end(struct net_conn *conn, uint8_t *content, enum peer_frame_kind kind,
                    size_t content_max, size_t content_len)
{
    uint32_t s = (uint32_t)(((char *)conn - &the_pair->conns[0][0]) / 2);
    bool incoming = ((char *)conn - &the_pair->conns[0][0]) % 2 == 0;
    (void)content_max;
    if (!the_pair->cut)
        assert_int_equal(queue_frame(1 - s, incoming, kind, slice_of(content, content_len)), OK);
    free(content);
    frame_room = NULL;
}

enum error peer_frame_send(struct net_conn *conn, enum peer_frame_kind kind, struct slice content)
{
    uint8_t *at = peer_frame_begin(conn, kind, content.len);
    if (at == NULL)
        return ERROR_MEMORY;
    memcpy(at, content.data, content.len);
    peer_frame_end(conn, at, kind, content.len, content.len);
    return OK;
}

static inline void commit_at_once(struct bucket *bucket)
{
    atomic_store(&bucket->committed, bucket->last_seq);
    rows_notify_locked(bucket);
    cq_on_commit_locked(bucket);
}

/* The other server has a copy of every bucket. Its lock is not taken: there is one thread, and
 * locks of two buckets never nest. */
void replica_send_locked(struct bucket *bucket, const struct record *record)
{
    uint32_t other = bucket->region->server == &the_pair->stages[A].fixture.server ? B : A;
    struct bucket *copy = &the_pair->stages[other].region->buckets[bucket->id];
    struct record copied = *record;
    copied.instance = NULL; /* it has its own */
    assert_int_equal(bucket_apply_locked(copy, &copied), OK);
    commit_at_once(copy);
    commit_at_once(bucket);
}

/* ---- The link ---- */

static inline enum error deliver(struct pair *pair, const struct frame *frame)
{
    struct slice content = slice_of(frame->bytes, frame->len);
    struct peer_conn *conn =
        frame->to_opener ? &pair->outgoing[frame->to] : &pair->incoming[frame->to];
    switch (frame->kind) {
    case PEER_FRAME_FEED_OPEN:
        return feed_on_open(conn, content);
    case PEER_FRAME_FEED_CREDIT:
        return feed_on_credit(conn, content);
    case PEER_FRAME_FEED_CLOSE:
        return feed_on_close(conn, content);
    case PEER_FRAME_FEED_EVENTS:
        return feed_on_events(conn, content);
    case PEER_FRAME_FEED_STATUS:
        return feed_on_status(conn, content);
    default:
        fail_msg("frame %d", (int)frame->kind);
        return ERROR_MALFORMED;
    }
}

static inline struct frame *pair_take(struct pair *pair)
{
    struct frame *frame = pair->frames;
    if (frame == NULL)
        return NULL;
    pair->frames = frame->next;
    if (pair->frames == NULL)
        pair->end = &pair->frames;
    if (frame->kind == PEER_FRAME_FEED_EVENTS)
        pair->bytes_queued -= frame->len;
    return frame;
}

static inline void pair_turn(struct pair *pair)
{
    for (uint32_t s = 0; s < SERVERS; s++) {
        fake_net_turn(pair->stages[s].fixture.net);
        fake_net_advance(pair->stages[s].fixture.net, 0);
    }
}

/* Carries frames until there are none. */
static inline void pair_carry(struct pair *pair)
{
    struct frame *frame;
    pair_turn(pair);
    while ((frame = pair_take(pair)) != NULL) {
        assert_int_equal(deliver(pair, frame), OK);
        free(frame);
        pair_turn(pair);
    }
}

/* The same, with what waits for a while. */
static inline void pair_settle(struct pair *pair)
{
    for (uint32_t round = 0; round < 10; round++) {
        pair_carry(pair);
        for (uint32_t s = 0; s < SERVERS; s++)
            fake_net_advance(pair->stages[s].fixture.net, 60000);
    }
    pair_carry(pair);
}

/* The link breaks, in both directions, with what is on its way; `again` it comes up at once. */
static inline void pair_break(struct pair *pair, bool again)
{
    struct frame *frame;
    pair->cut = true;
    for (uint32_t s = 0; s < SERVERS; s++) {
        atomic_store(&pair->peers[s].requests_up, false);
        feed_on_conn_gone(&pair->incoming[s]);
        feed_on_link(&pair->peers[s], false);
    }
    while ((frame = pair_take(pair)) != NULL)
        free(frame);
    for (uint32_t s = 0; s < SERVERS && again; s++) {
        pair->cut = false;
        atomic_store(&pair->peers[s].requests_up, true);
        feed_on_link(&pair->peers[s], true);
    }
}

/* ---- Places ---- */

static inline void pair_place_one(struct pair *pair, uint32_t bucket, uint32_t leader)
{
    for (uint32_t s = 0; s < SERVERS; s++) {
        struct bucket *at = &pair->stages[s].region->buckets[bucket];
        bucket_lock(at);
        at->replica.role = s == leader ? REPLICA_PRIMARY : REPLICA_COPY;
        at->replica.led = s == leader ? 1 : 0;
        at->replica.primary = pair->stages[leader].fixture.server.incarnation;
        at->term++;
        bucket_unlock(at);
    }
}

/* As after the adoption of a map: which buckets moved is looked at by everybody. */
static inline void pair_adopted(struct pair *pair)
{
    for (uint32_t s = 0; s < SERVERS; s++)
        registry_reconcile(&pair->stages[s].fixture.server);
}

static inline void pair_move(struct pair *pair, uint32_t bucket, uint32_t leader)
{
    pair_place_one(pair, bucket, leader);
    pair_adopted(pair);
}

static inline void pair_on_map(void *arg, struct cluster_map *map)
{
    struct pair *pair = arg;
    server_fixture_adopt(&pair->stages[B].fixture, map);
}

/* ---- Life ---- */

static inline void pair_begin(struct pair *pair, uint32_t bucket_count)
{
    memset(pair, 0, sizeof *pair);
    the_pair = pair;
    pair->end = &pair->frames;
    pair->stages[A].live_before = mem_fault_live();
    for (uint32_t s = 0; s < SERVERS; s++) {
        struct server_fixture *fixture = &pair->stages[s].fixture;
        server_fixture_init(fixture);
        fixture->server.incarnation = 1001 + s;
        fixture->leads_nothing = true;
        pair->peers[s] = (struct peer){.server = &pair->stages[1 - s].fixture.server,
                                       .incarnation = 1001 + s,
                                       .requests_up = true};
        pair->incoming[s] = (struct peer_conn){.worker = fixture->worker,
                                               .peer = &pair->peers[1 - s],
                                               .conn = (struct net_conn *)&pair->conns[s][0]};
        pair->outgoing[s] = (struct peer_conn){.worker = fixture->worker,
                                               .peer = &pair->peers[1 - s],
                                               .conn = (struct net_conn *)&pair->conns[s][1],
                                               .is_outgoing = true};
    }
    pair->stages[A].fixture.on_map = pair_on_map;
    pair->stages[A].fixture.on_map_arg = pair;
    pair->stages[B].fixture.no_locator = true;
    struct region *region =
        server_fixture_partition(&pair->stages[A].fixture, "my_region", bucket_count);
    server_fixture_table(&pair->stages[A].fixture, "Readings", "my_region", TABLE);
    for (uint32_t s = 0; s < SERVERS; s++) {
        pair->stages[s].region =
            catalog_region(pair->stages[s].fixture.worker->catalog, slice_text("my_region"));
        fixture_client_init(&pair->stages[s].writer, &pair->stages[s].fixture);
    }
    assert_ptr_equal(region, pair->stages[A].region);
    for (uint32_t i = 0; i < bucket_count; i++)
        pair_place_one(pair, i, i % 2 == 0 ? A : B);
}

static inline void pair_end(struct pair *pair)
{
    pair_break(pair, false);
    pair_turn(pair);
    for (uint32_t s = 0; s < SERVERS; s++) {
        struct stage *stage = &pair->stages[s];
        stage->fixture.on_map = NULL;
        fixture_client_fini(&stage->writer);
        server_fixture_fini(&stage->fixture);
    }
    assert_int_equal(pair->peer_refs, 0);
    assert_int_equal(mem_fault_live(), pair->stages[A].live_before);
}

/* A put at the server that leads the reading's bucket. */
static inline void pair_put(struct pair *pair, const char *key, uint32_t id, double temperature)
{
    char own_key[16];
    snprintf(own_key, sizeof own_key, "s%u", id);
    struct value value = {.type = VALUE_STRING, .bytes = slice_text(key == NULL ? own_key : key)};
    bool led_by_a = region_bucket(pair->stages[A].region, &value)->replica.role == REPLICA_PRIMARY;
    stage_put(&pair->stages[led_by_a ? A : B], key, id, temperature);
}

static inline void pair_subscribe(struct pair *pair, struct subscriber *subscriber, uint32_t server,
                                  const Pb__CqSubscribeRequest *request)
{
    ProtobufCMessage *message = NULL;
    subscriber_init(subscriber, &pair->stages[server]);
    fixture_client_send(&subscriber->client, 1001, &request->base);
    pair_carry(pair);
    uint32_t number = subscriber_read(subscriber, &message);
    for (uint32_t round = 0; number == 0 && round < 5; round++) {
        pair_settle(pair);
        number = subscriber_read(subscriber, &message);
    }
    if (number == 1)
        fail_msg("%.*s", SLICE_FMT(message_slice(((Pb__ErrorResponse *)message)->error->message)));
    assert_int_equal(number, 1002);
    subscriber->response = (const Pb__CqSubscribeResponse *)message;
    subscriber->id = subscriber->response->subscription_id;
    subscriber->token = message_slice(subscriber->response->token);
    subscriber_turn(subscriber);
}

static inline void pair_read(struct pair *pair, struct subscriber *subscriber)
{
    ProtobufCMessage *message;
    pair_settle(pair);
    assert_int_equal(subscriber_read(subscriber, &message), 0);
}

#endif
