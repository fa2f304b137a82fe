/* Calls on a cluster of two servers in memory: what stands in for replication and for the links is
 * in this file, under the test's control. */
#ifndef VUG_TESTS_UNIT_SERVER_CALL_FIXTURE_H
#define VUG_TESTS_UNIT_SERVER_CALL_FIXTURE_H

#include "tests/unit/server/subscriber.h"

#include <stdio.h>
#include <stdlib.h>

#include "server/call.h"
#include "server/call_wire.h"

enum { NODES = 2, FRAMES = 8192 };

struct wire { /* one direction's frames of one link, as their writer sees the connection */
    struct net_conn conn;
    struct frame {
        enum peer_frame_kind kind;
        size_t len;
        uint8_t *content;
    } frames[FRAMES];
    uint32_t first, count;
};

struct node {
    struct server_fixture fixture;
    struct fixture_client client;
    struct region *region;
    struct bucket *bucket;
    struct peer other;             /* how it sees the other one */
    struct wire requests, answers; /* what it writes on its own link, and on the other's */
    struct peer_conn out, in;
};

struct kept { /* a record that was sent */
    struct record record;
    struct writer_mark mark;
    uint8_t bytes[512];
};

static struct node nodes[NODES];
static struct kept kept[4096];
static uint32_t kept_count, kept_applied;
static int leader;
static bool commits_at_once, may_read_here;

/* ---- Stand-ins ---- */

static struct node *node_of(const struct bucket *bucket)
{
    return bucket == nodes[0].bucket ? &nodes[0] : &nodes[1];
}

void replica_init(struct replica *replica)
{
    memset(replica, 0, sizeof *replica);
}
void replica_fini(struct bucket *bucket)
{
    (void)bucket;
}
bool replica_may_write_locked(const struct bucket *bucket)
{
    return bucket->replica.led != 0 && !bucket->replica.handing_over;
}
bool replica_may_read_locked(const struct bucket *bucket, uint64_t now_us)
{
    (void)now_us;
    return bucket->replica.led != 0 ? !bucket->replica.handing_over : may_read_here;
}
uint64_t replica_record_time_locked(const struct bucket *bucket, uint64_t wall_ms, uint64_t now_us)
{
    (void)now_us;
    return wall_ms > bucket->last_time_ms ? wall_ms : bucket->last_time_ms;
}
enum error replica_reserve_locked(struct bucket *bucket, const struct record *record)
{
    (void)bucket, (void)record;
    return OK;
}

/* The copy has what was sent; its primary does not know it yet. */
static void deliver(void)
{
    struct bucket *copy = nodes[1 - leader].bucket;
    for (; kept_applied < kept_count; kept_applied++) {
        bucket_lock(copy);
        assert_int_equal(bucket_apply_locked(copy, &kept[kept_applied].record), OK);
        bucket_unlock(copy);
    }
}

static void commit_locked(struct bucket *bucket)
{
    deliver();
    atomic_store(&bucket->committed, bucket->last_seq);
    atomic_store(&nodes[1 - leader].bucket->committed, bucket->last_seq);
    call_on_commit_locked(bucket);
}

static struct slice keep_bytes(uint8_t **at, struct slice bytes)
{
    if (bytes.len > 0)
        memcpy(*at, bytes.data, bytes.len);
    struct slice copy = slice_of(*at, bytes.len);
    *at += bytes.len;
    return copy;
}

void replica_send_locked(struct bucket *bucket, const struct record *record)
{
    if (replica_is_alone(&bucket->replica)) {
        atomic_store(&bucket->committed, record->seq);
        call_on_commit_locked(bucket);
        return;
    }
    assert_true(kept_count < 4096);
    struct kept *row = &kept[kept_count++];
    uint8_t *at = row->bytes;
    row->record = *record;
    if (record->writer != NULL) {
        row->mark = *record->writer;
        row->record.writer = &row->mark;
    }
    row->record.key = keep_bytes(&at, record->key);
    row->record.value = keep_bytes(&at, record->value);
    if (commits_at_once)
        commit_locked(bucket);
}

struct peer *peer_ref(struct peer *peer)
{
    atomic_fetch_add(&peer->refs, 1);
    return peer;
}
void peer_unref(struct peer *peer)
{
    if (peer != NULL)
        atomic_fetch_sub(&peer->refs, 1);
}
struct peer_conn *peer_conn_ref(struct peer_conn *conn)
{
    atomic_fetch_add(&conn->refs, 1);
    return conn;
}
void peer_conn_unref(struct peer_conn *conn)
{
    if (conn != NULL)
        atomic_fetch_sub(&conn->refs, 1);
}
struct peer *peers_find(struct server *server, uint64_t incarnation)
{
    struct node *node = server == &nodes[0].fixture.server ? &nodes[0] : &nodes[1];
    return incarnation == node->other.incarnation ? peer_ref(&node->other) : NULL;
}
void peer_send_call(struct peer *peer, struct call *call)
{
    pthread_mutex_lock(&peer->lock);
    call->next_mail = NULL;
    *peer->calls_end = call_ref(call);
    peer->calls_end = &call->next_mail;
    pthread_mutex_unlock(&peer->lock);
}
uint8_t *peer_frame_begin(struct net_conn *conn, enum peer_frame_kind kind, size_t content_max)
{
    struct wire *wire = (struct wire *)conn;
    struct frame *frame = &wire->frames[(wire->first + wire->count) % FRAMES];
    assert_true(wire->count < FRAMES);
    frame->kind = kind;
    frame->content = malloc(content_max);
    return frame->content;
}
void peer_frame_end(struct net_conn *conn, uint8_t *content, enum peer_frame_kind kind,
                    size_t content_max, size_t content_len)
{
    struct wire *wire = (struct wire *)conn;
    struct frame *frame = &wire->frames[(wire->first + wire->count++) % FRAMES];
    assert_true(content_len <= content_max && frame->kind == kind && frame->content == content);
    frame->len = content_len;
}

/* ---- The cluster ---- */

static bool take_frame(struct wire *wire, struct frame *frame)
{
    if (wire->count == 0)
        return false;
    *frame = wire->frames[wire->first];
    wire->first = (wire->first + 1) % FRAMES;
    wire->count--;
    return true;
}

static void lose_frames(struct wire *wire)
{
    struct frame frame;
    while (take_frame(wire, &frame))
        free(frame.content);
}

/* Both ends of the link that `node` opened. */
static bool carry_requests(struct node *node)
{
    struct node *to = &nodes[1 - (node - nodes)];
    struct frame frame;
    call_fill(&node->other, &node->requests.conn);
    bool any = node->requests.count > 0;
    while (take_frame(&node->requests, &frame)) {
        /* A content of its own, so that no byte behind it is read unnoticed. */
        uint8_t *copy = malloc(frame.len);
        memcpy(copy, frame.content, frame.len);
        assert_int_equal(call_on_request(&to->in, slice_of(copy, frame.len)), OK);
        free(copy);
        free(frame.content);
    }
    return any;
}

static bool carry_answers(struct node *node)
{
    struct node *to = &nodes[1 - (node - nodes)];
    struct frame frame;
    bool any = node->answers.count > 0;
    while (take_frame(&node->answers, &frame)) {
        assert_int_equal(call_on_answer(&to->out, slice_of(frame.content, frame.len)), OK);
        free(frame.content);
    }
    return any;
}

static void turn(void)
{
    /* What a loop does in its turn is carried in the next round. */
    for (int idle = 0; idle < 2; idle++) {
        bool any = false;
        for (int i = 0; i < NODES; i++) {
            if (atomic_load(&nodes[i].other.requests_up))
                any |= carry_requests(&nodes[i]);
            any |= carry_answers(&nodes[i]);
            fake_net_turn(nodes[i].fixture.net);
        }
        if (any)
            idle = -1;
    }
}

static void advance(uint64_t us)
{
    for (int i = 0; i < NODES; i++)
        fake_net_advance(nodes[i].fixture.net, us);
    turn();
}

static void tick(void)
{
    for (int i = 0; i < NODES; i++) {
        bucket_lock(nodes[i].bucket);
        call_tick_locked(nodes[i].bucket, loop_clock_us(nodes[i].fixture.server.loop));
        bucket_unlock(nodes[i].bucket);
    }
    turn();
}

static void set_link(int from, bool up)
{
    struct node *node = &nodes[from];
    atomic_store(&node->other.requests_up, up);
    if (!up) {
        lose_frames(&node->requests);
        lose_frames(&nodes[1 - from].answers);
    }
    call_on_link(&node->other, up);
}

static void set_leader(int next)
{
    leader = next;
    for (int i = 0; i < NODES; i++) {
        struct bucket *bucket = nodes[i].bucket;
        bucket_lock(bucket);
        bucket->term++;
        bucket->replica.role = i == next ? REPLICA_PRIMARY : REPLICA_COPY;
        bucket->replica.led = i == next ? bucket->term : 0;
        bucket->replica.copy_count = i == next ? 1 : 0;
        bucket->replica.primary = nodes[next].fixture.server.incarnation;
        bucket->replica.primary_peer = i == next ? NULL : &nodes[i].other;
        bucket->replica.in_sync_count = 2;
        bucket->replica.in_sync[0] = 101;
        bucket->replica.in_sync[1] = 102;
        call_on_role_locked(bucket);
        bucket_unlock(bucket);
    }
}

static void begin(void)
{
    memset(nodes, 0, sizeof nodes);
    kept_count = kept_applied = 0;
    commits_at_once = true;
    may_read_here = false;
    for (int i = 0; i < NODES; i++) {
        struct node *node = &nodes[i];
        server_fixture_init(&node->fixture);
        node->fixture.server.incarnation = 101 + (uint64_t)i;
        memcpy(node->fixture.server.name, i == 0 ? "s1" : "s2", 3);
        atomic_store(&node->fixture.server.adopted_epoch, 5);
        node->region = server_fixture_partition(&node->fixture, "R", 1);
        node->bucket = &node->region->buckets[0];
        node->other = (struct peer){.server = &node->fixture.server,
                                    .worker = node->fixture.worker,
                                    .incarnation = 102 - (uint64_t)i,
                                    .name = i == 0 ? "s2" : "s1",
                                    .host = "10.0.0.2",
                                    .port = 40404};
        pthread_mutex_init(&node->other.lock, NULL);
        node->other.calls_end = &node->other.calls;
        atomic_store(&node->other.requests_up, true);
        fixture_client_init(&node->client, &node->fixture);
    }
    for (int i = 0; i < NODES; i++) {
        struct node *node = &nodes[i];
        node->out = (struct peer_conn){.worker = node->fixture.worker,
                                       .conn = &node->requests.conn,
                                       .peer = &node->other,
                                       .is_outgoing = true};
        node->in = node->out;
        node->in.conn = &node->answers.conn;
        node->in.is_outgoing = false;
    }
    set_leader(0);
}

static void end(void)
{
    for (int i = 0; i < NODES; i++) {
        struct node *node = &nodes[i];
        turn();
        fixture_client_fini(&node->client);
        call_free_server(&node->fixture.server);
        fake_net_turn(node->fixture.net);
    }
    for (int i = 0; i < NODES; i++) {
        struct node *node = &nodes[i];
        lose_frames(&node->requests);
        lose_frames(&node->answers);
        assert_null(node->bucket->calls);
        assert_null(node->other.calls);
        node->bucket->replica.copy_count = 0;
        server_fixture_fini(&node->fixture);
        assert_int_equal(atomic_load(&node->other.refs), 0);
        assert_int_equal(atomic_load(&node->in.refs), 0);
        pthread_mutex_destroy(&node->other.lock);
    }
}

/* ---- Clients ---- */

static void send_key(struct node *node, uint32_t number, const char *key, int32_t value)
{
    Pb__EncodedValue encoded = fixture_string(key), content = fixture_int(value);
    Pb__Entry entry = PB__ENTRY__INIT;
    Pb__PutRequest put = PB__PUT_REQUEST__INIT;
    Pb__PutIfAbsentRequest absent = PB__PUT_IF_ABSENT_REQUEST__INIT;
    Pb__GetRequest get = PB__GET_REQUEST__INIT;
    Pb__RemoveRequest remove = PB__REMOVE_REQUEST__INIT;
    entry.key = &encoded;
    entry.value = &content;
    put.region_name = absent.region_name = get.region_name = remove.region_name =
        message_bytes(slice_text("R"));
    put.entry = absent.entry = &entry;
    get.key = remove.key = &encoded;
    fixture_client_send(&node->client, number,
                        number == 2    ? &put.base
                        : number == 4  ? &get.base
                        : number == 10 ? &remove.base
                                       : &absent.base);
}

static void put(struct node *node, const char *key, int32_t value)
{
    send_key(node, 2, key, value);
}

/* 0: nothing has come. */
static uint32_t answer(struct node *node)
{
    ProtobufCMessage *body;
    return fixture_client_receive(&node->client, &body);
}

static void check_value(struct node *node, uint32_t number, int32_t value)
{
    ProtobufCMessage *body;
    assert_int_equal(fixture_client_receive(&node->client, &body), number);
    const Pb__EncodedValue *result = number == 5 ? ((Pb__GetResponse *)body)->result
                                                 : ((Pb__PutIfAbsentResponse *)body)->old_value;
    assert_int_equal(result->value_case, PB__ENCODED_VALUE__VALUE_INT_RESULT);
    assert_int_equal(result->int_result, value);
}

static void check_null(struct node *node, uint32_t number)
{
    ProtobufCMessage *body;
    assert_int_equal(fixture_client_receive(&node->client, &body), number);
    const Pb__EncodedValue *result = number == 5 ? ((Pb__GetResponse *)body)->result
                                                 : ((Pb__PutIfAbsentResponse *)body)->old_value;
    assert_int_equal(result->value_case, PB__ENCODED_VALUE__VALUE_NULL_RESULT);
}

static void check_failure(struct node *node, const char *part)
{
    ProtobufCMessage *body;
    assert_int_equal(fixture_client_receive(&node->client, &body), 1);
    char text[2048];
    snprintf(text, sizeof text, "%.*s",
             SLICE_FMT(message_slice(((Pb__ErrorResponse *)body)->error->message)));
    if (strstr(text, part) == NULL)
        fail_msg("not \"%s\" in: %s", part, text);
}

static void commit(void)
{
    struct bucket *bucket = nodes[leader].bucket;
    bucket_lock(bucket);
    commit_locked(bucket);
    bucket_unlock(bucket);
    turn();
}

#endif
