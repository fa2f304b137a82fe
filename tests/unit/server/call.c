/* Calls on a cluster of two servers in memory: what stands in for replication and for the links is
 * in this file, under the test's control. */
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

/* ---- Tests ---- */

static void an_answer_waits_for_the_copies(void **state)
{
    (void)state;
    begin();
    struct node *a = &nodes[0];
    put(a, "k", 1);
    assert_int_equal(answer(a), 3);
    commits_at_once = false;
    put(a, "k", 2);
    send_key(a, 4, "k", 0);      /* sees it, and waits for it */
    send_key(a, 34, "k", 9);     /* loses, and waits for that */
    send_key(a, 10, "never", 0); /* absence: for all there is */
    turn();
    assert_int_equal(answer(a), 0);
    commit();
    assert_int_equal(answer(a), 3);
    check_value(a, 5, 2);
    check_value(a, 35, 2);
    assert_int_equal(answer(a), 11);
    end();
}

static void what_another_server_leads_is_asked_there(void **state)
{
    (void)state;
    begin();
    struct node *b = &nodes[1];
    put(b, "k", 1);
    send_key(b, 4, "k", 0);
    send_key(b, 34, "k", 9);
    send_key(b, 34, "new", 5);
    send_key(b, 10, "k", 0);
    send_key(b, 4, "k", 0);
    assert_int_equal(answer(b), 0);
    turn();
    assert_int_equal(answer(b), 3);
    check_value(b, 5, 1);
    check_value(b, 35, 1);
    check_null(b, 35);
    assert_int_equal(answer(b), 11);
    check_null(b, 5);
    Pb__GetSizeRequest size = PB__GET_SIZE_REQUEST__INIT;
    size.region_name = message_bytes(slice_text("R"));
    fixture_client_send(&b->client, 16, &size.base);
    turn();
    ProtobufCMessage *body;
    assert_int_equal(fixture_client_receive(&b->client, &body), 17);
    assert_int_equal(((Pb__GetSizeResponse *)body)->size, 1);
    Pb__KeySetRequest keys = PB__KEY_SET_REQUEST__INIT;
    keys.region_name = size.region_name;
    fixture_client_send(&b->client, 28, &keys.base);
    turn();
    assert_int_equal(fixture_client_receive(&b->client, &body), 29);
    assert_int_equal(((Pb__KeySetResponse *)body)->n_keys, 1);
    end();
}

static void a_copy_answers_what_is_committed_there(void **state)
{
    (void)state;
    begin();
    struct node *a = &nodes[0], *b = &nodes[1];
    may_read_here = true;
    put(a, "k", 1);
    put(a, "old", 3);
    send_key(b, 4, "k", 0);
    check_value(b, 5, 1); /* without a turn: from here */
    commits_at_once = false;
    put(a, "k", 2);
    deliver();
    send_key(b, 4, "k", 0);
    assert_int_equal(answer(b), 0); /* what is not committed is the primary's */
    send_key(b, 10, "old", 0);
    send_key(b, 4, "old", 0); /* behind a change of its own connection */
    turn();
    assert_int_equal(answer(b), 0);
    commit();
    check_value(b, 5, 2);
    assert_int_equal(answer(b), 11);
    check_null(b, 5);
    end();
}

static void a_deposed_primary_asks_the_new_one_and_it_happens_once(void **state)
{
    (void)state;
    begin();
    struct node *a = &nodes[0], *b = &nodes[1];
    put(a, "k", 1);
    assert_int_equal(answer(a), 3);
    commits_at_once = false;
    put(a, "k", 2);
    send_key(a, 34, "p", 7);
    send_key(a, 34, "p", 8); /* loses against the one before it: a note */
    deliver();
    uint64_t seq = b->bucket->last_seq;
    assert_int_equal(seq, 4);
    set_leader(1);
    turn();
    assert_int_equal(answer(a), 0);
    assert_int_equal(b->bucket->last_seq, seq); /* known: not applied again */
    atomic_store(&a->bucket->committed, seq);
    kept_applied = kept_count;
    commit();
    assert_int_equal(answer(a), 3);
    check_null(a, 35);
    check_value(a, 35, 7);
    assert_int_equal(b->bucket->last_seq, seq);
    end();
}

/* What came to nothing may come to something elsewhere: a later read is of the same moment. */
static void a_read_does_not_pass_a_change_without_effect(void **state)
{
    (void)state;
    begin();
    struct node *a = &nodes[0], *b = &nodes[1];
    put(a, "k", 1);
    assert_int_equal(answer(a), 3);
    commits_at_once = false;
    send_key(a, 34, "k", 2); /* a note */
    send_key(a, 4, "k", 0);
    turn();
    assert_int_equal(answer(a), 0);
    assert_int_equal(a->bucket->call_count, 2); /* it waits for the note, to be decided with it */
    send_key(a, 4, "k", 0);
    send_key(b, 4, "k", 0);
    turn();
    assert_int_equal(answer(b), 0);
    commit();
    check_value(a, 35, 1);
    check_value(a, 5, 1);
    check_value(a, 5, 1);
    check_value(b, 5, 1);
    send_key(a, 4, "k", 0);
    check_value(a, 5, 1);
    assert_int_equal(a->bucket->call_count, 0);
    end();
}

static void a_broken_link_costs_no_change_and_doubles_none(void **state)
{
    (void)state;
    begin();
    struct node *a = &nodes[0], *b = &nodes[1];
    for (int32_t round = 0; round < 40; round++) {
        for (int32_t i = 0; i < 5; i++)
            put(b, "k", round * 10 + i);
        send_key(b, 34, "p", round);
        send_key(b, 10, "p", 0);
        send_key(b, 4, "k", 0);
        if (round % 4 == 0) { /* requests are lost */
            call_fill(&b->other, &b->requests.conn);
            set_link(1, false);
        } else if (round % 4 == 1) { /* answers are */
            carry_requests(b);
            fake_net_turn(a->fixture.net);
            assert_true(a->answers.count > 0);
            set_link(1, false);
        } else if (round % 4 == 2) { /* some of the requests are */
            call_fill(&b->other, &b->requests.conn);
            b->requests.count -= 3;
            for (int i = 0; i < 3; i++)
                free(b->requests
                         .frames[(b->requests.first + b->requests.count + (uint32_t)i) % FRAMES]
                         .content);
            carry_requests(b);
            set_link(1, false);
        }
        turn();
        set_link(1, true);
        turn();
        for (int i = 0; i < 5; i++)
            assert_int_equal(answer(b), 3);
        check_null(b, 35);
        assert_int_equal(answer(b), 11);
        check_value(b, 5, round * 10 + 4);
        assert_int_equal(a->bucket->last_seq, (uint64_t)(round + 1) * 7);
    }
    end();
}

static void while_nobody_may_write_calls_wait_in_order(void **state)
{
    (void)state;
    begin();
    struct node *a = &nodes[0], *b = &nodes[1];
    a->bucket->replica.handing_over = true;
    put(a, "k", 1);
    put(b, "k", 2);
    turn();
    put(a, "k", 3);
    send_key(a, 4, "k", 0);
    turn();
    assert_int_equal(answer(a), 0);
    assert_int_equal(answer(b), 0);
    assert_int_equal(a->bucket->last_seq, 0);
    a->bucket->replica.handing_over = false;
    tick();
    assert_int_equal(answer(a), 3);
    assert_int_equal(answer(b), 3);
    assert_int_equal(answer(a), 3);
    check_value(a, 5, 3);
    end();
}

static void who_does_not_lead_sends_back(void **state)
{
    (void)state;
    begin();
    struct node *a = &nodes[0], *b = &nodes[1];
    /* b has the older map: it still asks a, which leads no more. */
    bucket_lock(a->bucket);
    a->bucket->replica.role = REPLICA_COPY;
    a->bucket->replica.led = 0;
    bucket_unlock(a->bucket);
    put(b, "k", 1);
    turn();
    assert_int_equal(answer(b), 0);
    set_leader(1);
    turn();
    assert_int_equal(answer(b), 3);
    assert_int_equal(b->bucket->last_seq, 1);
    end();
}

static void a_request_of_a_newer_map_is_held_back(void **state)
{
    (void)state;
    begin();
    struct node *a = &nodes[0], *b = &nodes[1];
    bucket_lock(a->bucket);
    a->bucket->replica.role = REPLICA_COPY;
    a->bucket->replica.led = 0;
    bucket_unlock(a->bucket);
    atomic_store(&b->fixture.server.adopted_epoch, 6);
    put(b, "k", 1);
    send_key(b, 4, "k", 0);
    advance(20000);
    assert_int_equal(answer(b), 0);
    assert_int_equal(b->answers.count + a->answers.count, 0);
    set_leader(0);
    atomic_store(&a->fixture.server.adopted_epoch, 6);
    advance(5000);
    assert_int_equal(answer(b), 3);
    check_value(b, 5, 1);
    end();
}

static void what_nobody_answers_ends_with_a_text(void **state)
{
    (void)state;
    begin();
    struct node *a = &nodes[0], *b = &nodes[1];
    set_link(1, false);
    put(b, "k", 1);
    send_key(b, 4, "k", 0);
    advance(9900000);
    tick();
    assert_int_equal(answer(b), 0);
    advance(200000);
    tick();
    check_failure(b, "its primary is server s1 (10.0.0.2:40404)");
    check_failure(b, "Try again later.");
    commits_at_once = false;
    put(a, "k", 1);
    advance(10000000);
    tick();
    check_failure(a, "not known");
    /* The only copy is gone: that is said at once. */
    b->bucket->replica.in_sync_count = 1;
    atomic_store(&b->other.gone, true);
    put(b, "k", 1);
    tick();
    check_failure(b, "TIMEOUT: Bucket 0 of region /R has no living copy: its last one is server s1 "
                     "(10.0.0.2:40404), which is down.");
    commit();
    end();
}

static void a_new_generation_leaves_changes_in_doubt(void **state)
{
    (void)state;
    begin();
    struct node *b = &nodes[1];
    put(b, "k", 1); /* it is on its way */
    send_key(b, 4, "k", 0);
    call_fill(&b->other, &b->requests.conn);
    set_link(1, false);
    put(b, "k", 2); /* it was never sent */
    bucket_lock(b->bucket);
    call_on_generation_locked(b->bucket);
    bucket_unlock(b->bucket);
    for (int i = 0; i < NODES; i++)
        nodes[i].bucket->generation = 2;
    turn();
    check_failure(b, "has lost its contents");
    set_link(1, true);
    turn();
    check_null(b, 5);
    assert_int_equal(answer(b), 3);
    end();
}

static void a_destroyed_region_ends_its_calls(void **state)
{
    (void)state;
    begin();
    struct node *b = &nodes[1];
    set_link(1, false);
    put(b, "k", 1);
    atomic_store(&b->region->destroyed, true);
    call_on_destroyed(b->region);
    turn();
    check_failure(b, "Region not found R");
    atomic_store(&b->region->destroyed, false);
    end();
}

static void on_nothing(struct call *call, void *arg)
{
    (void)call;
    ++*(uint32_t *)arg;
}

static void no_more_than_the_limit_wait(void **state)
{
    (void)state;
    begin();
    struct node *b = &nodes[1];
    uint32_t results = 0;
    set_link(1, false);
    struct call_options options = {.kind = CALL_COUNT,
                                   .bucket = b->bucket,
                                   .worker = b->fixture.worker,
                                   .on_result = on_nothing,
                                   .arg = &results};
    for (uint32_t i = 0; i < LIMIT_CALLS; i++)
        assert_int_equal(call_start(&options), OK);
    assert_int_equal(call_start(&options), ERROR_BUSY);
    put(b, "k", 1);
    check_failure(b, "4096 operations wait");
    set_link(1, true);
    turn();
    assert_int_equal(results, LIMIT_CALLS);
    end();
}

static void without_memory_nothing_is_started(void **state)
{
    (void)state;
    begin();
    struct node *b = &nodes[1];
    uint32_t results = 0;
    struct call_options options = {.kind = CALL_COUNT,
                                   .bucket = b->bucket,
                                   .worker = b->fixture.worker,
                                   .on_result = on_nothing,
                                   .arg = &results};
    mem_fault_fail_at(1);
    assert_int_equal(call_start(&options), ERROR_MEMORY);
    mem_fault_fail_at(0);
    /* At the primary: whatever fails, the origin is told something, and nothing is lost. */
    for (unsigned n = 1; n < 12; n++) {
        uint64_t seq = nodes[0].bucket->last_seq;
        commits_at_once = false; /* the copy has its memory */
        put(b, "k", (int32_t)n);
        call_fill(&b->other, &b->requests.conn);
        mem_fault_fail_at(n);
        carry_requests(b);
        mem_fault_fail_at(0);
        turn();
        advance(5000); /* who was told "busy" asks again */
        commit();
        uint32_t number = answer(b);
        assert_true(number == 3 || number == 1);
        assert_int_equal(nodes[0].bucket->last_seq, seq + (number == 3));
    }
    end();
}

static void operations_over_many_keys_gather_their_answers(void **state)
{
    (void)state;
    enum { KEYS = 1200 }; /* more than are asked for at a time */
    static Pb__EncodedValue keys[KEYS], values[KEYS];
    static Pb__Entry entries[KEYS], *entry_list[KEYS];
    static Pb__EncodedValue *key_list[KEYS];
    begin();
    struct node *b = &nodes[1];
    commits_at_once = false;
    struct slice region = slice_text("R");
    for (int32_t i = 0; i < KEYS; i++) {
        keys[i] = fixture_int(i);
        values[i] = fixture_int(i * 2);
        entries[i] = (Pb__Entry)PB__ENTRY__INIT;
        entries[i].key = &keys[i];
        entries[i].value = i == 7 ? &keys[0] : &values[i];
        entry_list[i] = &entries[i];
        key_list[i] = &keys[i];
    }
    Pb__EncodedValue none = fixture_null();
    entries[7].value = &none; /* cannot be put */
    Pb__PutAllRequest put_all = PB__PUT_ALL_REQUEST__INIT;
    put_all.region_name = message_bytes(region);
    put_all.entry = entry_list;
    put_all.n_entry = KEYS;
    ProtobufCMessage *body;
    fixture_client_send(&b->client, 6, &put_all.base);
    for (int i = 0; i < 4; i++) {
        turn();
        commit();
    }
    assert_int_equal(fixture_client_receive(&b->client, &body), 7);
    assert_int_equal(((Pb__PutAllResponse *)body)->n_failed_keys, 1);
    assert_int_equal(nodes[0].bucket->table.entry_count, KEYS - 1);
    Pb__GetAllRequest get_all = PB__GET_ALL_REQUEST__INIT;
    get_all.region_name = put_all.region_name;
    get_all.key = key_list;
    get_all.n_key = KEYS;
    key_list[3] = &none;
    fixture_client_send(&b->client, 8, &get_all.base);
    turn();
    assert_int_equal(fixture_client_receive(&b->client, &body), 9);
    const Pb__GetAllResponse *got = (Pb__GetAllResponse *)body;
    assert_int_equal(got->n_entries, KEYS - 1);
    assert_int_equal(got->n_failures, 1);
    for (int32_t i = 0; i < KEYS - 1; i++) {
        int32_t key = i < 3 ? i : i + 1; /* in the order of the request */
        assert_int_equal(got->entries[i]->key->int_result, key);
        if (key != 7)
            assert_int_equal(got->entries[i]->value->int_result, key * 2);
    }
    Pb__RegionClearRequest clear = PB__REGION_CLEAR_REQUEST__INIT;
    clear.name = put_all.region_name;
    fixture_client_send(&b->client, 1030, &clear.base);
    turn();
    commit();
    assert_int_equal(fixture_client_receive(&b->client, &body), 1031);
    assert_int_equal(((Pb__RegionClearResponse *)body)->entries, KEYS - 1);
    assert_int_equal(nodes[0].bucket->table.entry_count, 0);
    end();
}

static void an_idempotent_batch_is_applied_once_from_anywhere(void **state)
{
    (void)state;
    begin();
    uint8_t id[16] = "0123456789abcde";
    Pb__EncodedValue key = fixture_string("k"), value = fixture_int(4);
    Pb__WriteOperation operation = PB__WRITE_OPERATION__INIT, *operations[3];
    operation.key = &key;
    operation.value = &value;
    operations[0] = operations[1] = operations[2] = &operation;
    Pb__WriteBatchRequest batch = PB__WRITE_BATCH_REQUEST__INIT;
    batch.region = message_bytes(slice_text("R"));
    batch.writer_id = (ProtobufCBinaryData){sizeof id, id};
    batch.sequence = 1;
    batch.operation = operations;
    batch.n_operation = 3;
    ProtobufCMessage *body;
    for (int round = 0; round < 4; round++) {
        struct node *node = &nodes[round % 2];
        fixture_client_send(&node->client, 1016, &batch.base);
        turn();
        assert_int_equal(fixture_client_receive(&node->client, &body), 1017);
        const Pb__WriteBatchResponse *response = (Pb__WriteBatchResponse *)body;
        assert_int_equal(response->applied, round == 0 ? 3 : 0);
        assert_int_equal(response->repeated_count, round == 0 ? 0 : 3);
    }
    batch.sequence = 1 + LIMIT_WRITER_WINDOW;
    fixture_client_send(&nodes[1].client, 1016, &batch.base);
    turn();
    check_failure(&nodes[1], "above");
    end();
}

static void a_select_reads_what_is_elsewhere(void **state)
{
    (void)state;
    begin();
    struct node *b = &nodes[1];
    for (int i = 0; i < NODES; i++) {
        server_fixture_table(&nodes[i].fixture, "T", "R",
                             "CREATE TABLE T (id INT) WITH "
                             "('connector'='geode-region','region'='R')");
        nodes[i].client.fixture = &nodes[i].fixture;
    }
    fixture_client_put(&nodes[0].client, "R", "a", "{\"id\":5}");
    turn();
    assert_int_equal(answer(&nodes[0]), 3);
    Pb__SqlExecuteRequest request = PB__SQL_EXECUTE_REQUEST__INIT;
    request.statement = message_bytes(slice_text("SELECT id FROM T"));
    fixture_client_send(&b->client, 1012, &request.base);
    turn();
    ProtobufCMessage *body;
    uint32_t number = fixture_client_receive(&b->client, &body);
    assert_int_equal(number, 1013);
    assert_int_equal(((Pb__SqlExecuteResponse *)body)->n_row, 1);
    end();
}

static void the_stream_of_who_is_gone_is_dropped(void **state)
{
    (void)state;
    begin();
    struct node *a = &nodes[0], *b = &nodes[1];
    put(b, "k", 1);
    turn();
    assert_int_equal(answer(b), 3);
    assert_int_equal(a->bucket->streams.count, 1);
    tick();
    assert_int_equal(a->bucket->streams.count, 1);
    atomic_store(&a->other.gone, true);
    tick();
    assert_int_equal(a->bucket->streams.count, 0);
    assert_int_equal(b->bucket->streams.count, 0);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_waits_for_the_copies),
        cmocka_unit_test(what_another_server_leads_is_asked_there),
        cmocka_unit_test(a_copy_answers_what_is_committed_there),
        cmocka_unit_test(a_deposed_primary_asks_the_new_one_and_it_happens_once),
        cmocka_unit_test(a_read_does_not_pass_a_change_without_effect),
        cmocka_unit_test(a_broken_link_costs_no_change_and_doubles_none),
        cmocka_unit_test(while_nobody_may_write_calls_wait_in_order),
        cmocka_unit_test(who_does_not_lead_sends_back),
        cmocka_unit_test(a_request_of_a_newer_map_is_held_back),
        cmocka_unit_test(what_nobody_answers_ends_with_a_text),
        cmocka_unit_test(a_new_generation_leaves_changes_in_doubt),
        cmocka_unit_test(a_destroyed_region_ends_its_calls),
        cmocka_unit_test(no_more_than_the_limit_wait),
        cmocka_unit_test(without_memory_nothing_is_started),
        cmocka_unit_test(operations_over_many_keys_gather_their_answers),
        cmocka_unit_test(an_idempotent_batch_is_applied_once_from_anywhere),
        cmocka_unit_test(a_select_reads_what_is_elsewhere),
        cmocka_unit_test(the_stream_of_who_is_gone_is_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
