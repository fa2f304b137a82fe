/* Two servers in one process for the tests of images: the source leads buckets, the target gets
 * images of them. What images call of other modules is played here, strongly. */
#ifndef VUG_TESTS_UNIT_SERVER_IMAGE_FIXTURE_H
#define VUG_TESTS_UNIT_SERVER_IMAGE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "server/call.h"
#include "server/cq.h"
#include "server/cq_image.h"
#include "server/image_impl.h"
#include "server/trash.h"
#include "tests/lib/fake_net.h"
#include "tests/lib/mem_fault.h"

#define BUCKETS_MAX 113u

/* One server, with a connection to the other one. */
struct node {
    struct fake_net *net;
    struct server server;
    struct worker worker;
    struct catalog catalog;
    struct region *regions[1];
    struct region region;
    struct bucket buckets[BUCKETS_MAX];
    struct peer peer; /* the other one */
    struct peer_conn conn;
    struct fake_conn *wire;
};

/* What the source was at a cut. */
struct snapshot {
    struct entry **entries;
    size_t count;
    uint64_t seq, last_time_ms, data_seq, committed;
    uint32_t writers;
    uint64_t streams, added_seq;
    struct buf ring;
};

struct fixture {
    struct node source, target;
    struct replica_copy copies[BUCKETS_MAX];
    struct snapshot snapshots[BUCKETS_MAX];
    uint64_t done_seq[BUCKETS_MAX];
    unsigned done, failed, dirty, pieces, holds, queries_freed;
    unsigned packing_steps; /* that the source's query still needs before a cut */
    unsigned packings;      /* that are there */
    bool building;          /* the source's query is not quiet */
    bool query_unknown;     /* the target does not know the query */
    bool query_forgotten;   /* ... any more, when it comes to be installed */
    loop_fn *empty_trash;   /* what a test has put itself in front of */
    unsigned trash_runs;
    uint64_t random;
    uint64_t key_max, value_max;
    void (*after_unlock)(struct bucket *bucket); /* whoever comes between two holds of the lock */
};

/* Of the test that runs: what is played has no other way to it. */
static struct fixture *now;

static uint32_t next_random(void)
{
    now->random = now->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(now->random >> 33);
}

/* ---- Played modules ---- */

void bucket_lock(struct bucket *bucket)
{
    pthread_mutex_lock(&bucket->lock);
}

void bucket_unlock(struct bucket *bucket)
{
    void (*after_unlock)(struct bucket *) = now->after_unlock;
    pthread_mutex_unlock(&bucket->lock);
    if (after_unlock != NULL) {
        now->after_unlock = NULL;
        after_unlock(bucket);
        now->after_unlock = after_unlock;
    }
}

struct region *region_ref(struct region *region)
{
    atomic_fetch_add(&region->refs, 1);
    return region;
}

void region_unref(struct region *region)
{
    assert_true(atomic_fetch_sub(&region->refs, 1) > 1);
}

struct peer *peer_ref(struct peer *peer)
{
    atomic_fetch_add(&peer->refs, 1);
    return peer;
}

void peer_unref(struct peer *peer)
{
    assert_true(atomic_fetch_sub(&peer->refs, 1) > 1);
}

struct peer_conn *peer_conn_ref(struct peer_conn *conn)
{
    atomic_fetch_add(&conn->refs, 1);
    return conn;
}

void peer_conn_unref(struct peer_conn *conn)
{
    assert_true(atomic_fetch_sub(&conn->refs, 1) > 1);
}

void peer_mark_dirty(struct peer *peer, struct replica_copy *copy)
{
    assert_ptr_equal(copy->peer, peer);
    now->dirty++;
}

void replica_image_done_locked(struct bucket *bucket, struct replica_copy *copy, uint64_t seq)
{
    assert_null(copy->image);
    assert_ptr_equal(copy->bucket, bucket);
    now->done_seq[bucket->id] = seq;
    now->done++;
}

void replica_image_failed_locked(struct bucket *bucket, struct replica_copy *copy)
{
    assert_null(copy->image);
    assert_ptr_equal(copy->bucket, bucket);
    now->failed++;
}

void call_on_role_locked(struct bucket *bucket)
{
    (void)bucket;
}

/* Frames: kind, length in 4 bytes, content. */
uint8_t *peer_frame_begin(struct net_conn *conn, enum peer_frame_kind kind, size_t content_max)
{
    (void)kind;
    uint8_t *at = net_conn_reserve(conn, content_max + 5);
    return at == NULL ? NULL : at + 5;
}

void peer_frame_end(struct net_conn *conn, uint8_t *content, enum peer_frame_kind kind,
                    size_t content_max, size_t content_len)
{
    uint32_t len = (uint32_t)content_len;
    assert_true(content_len <= content_max);
    content[-5] = (uint8_t)kind;
    memcpy(content - 4, &len, 4);
    net_conn_commit(conn, content_len + 5);
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

/* Writers: a number, in a block of its own, so that what is lost or freed twice is seen. */
void writers_init(struct writers *writers)
{
    memset(writers, 0, sizeof *writers);
}

void writers_fini(struct writers *writers)
{
    mem_free(writers->slots);
    memset(writers, 0, sizeof *writers);
}

void writers_pack(const struct writers *writers, struct buf *out)
{
    buf_append(out, &writers->count, sizeof writers->count);
}

enum error writers_unpack(struct slice *rest, struct writers *writers)
{
    if (rest->len < sizeof writers->count)
        return ERROR_MALFORMED;
    writers->slots = mem_alloc(1);
    if (writers->slots == NULL)
        return ERROR_MEMORY;
    memcpy(&writers->count, rest->data, sizeof writers->count);
    *rest = slice_of(rest->data + sizeof writers->count, rest->len - sizeof writers->count);
    return OK;
}

/* Streams: the same. */
void streams_init(struct streams *streams)
{
    memset(streams, 0, sizeof *streams);
}

void streams_fini(struct streams *streams)
{
    mem_free(streams->first);
    memset(streams, 0, sizeof *streams);
}

void streams_pack(const struct streams *streams, struct buf *out)
{
    buf_append(out, &streams->count, sizeof streams->count);
}

enum error streams_unpack(struct slice *rest, struct streams *streams)
{
    if (rest->len < sizeof streams->count)
        return ERROR_MALFORMED;
    streams->first = mem_alloc(1);
    if (streams->first == NULL)
        return ERROR_MEMORY;
    memcpy(&streams->count, rest->data, sizeof streams->count);
    *rest = slice_of(rest->data + sizeof streams->count, rest->len - sizeof streams->count);
    return OK;
}

/* Queries: a bucket has at most one, of which there is a number and the output ring. */
void cq_bucket_free_all(struct bucket *bucket)
{
    if (bucket->cqs == NULL)
        return;
    ring_fini(&bucket->cqs->ring);
    mem_free(bucket->cqs);
    bucket->cqs = NULL;
    now->queries_freed++;
}

static struct cq_bucket *query_new(uint64_t added_seq)
{
    struct cq_bucket *cqb = mem_zalloc(sizeof *cqb);
    if (cqb == NULL)
        return NULL;
    cqb->added_seq = added_seq;
    ring_init(&cqb->ring, (struct ring_position){added_seq, 0});
    return cqb;
}

bool cq_image_is_quiet_locked(const struct bucket *bucket)
{
    (void)bucket;
    return !now->building;
}

static void snapshot_free(struct snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->count; i++)
        entry_unref(snapshot->entries[i]);
    free(snapshot->entries);
    free(snapshot->ring.data);
    memset(snapshot, 0, sizeof *snapshot);
}

static void snapshot_add(void *arg, struct entry *entry)
{
    struct snapshot *snapshot = arg;
    snapshot->entries[snapshot->count++] = entry_ref(entry);
}

struct cq_packing {
    struct bucket *bucket;
};

enum error cq_packing_step_locked(struct bucket *bucket, struct cq_packing **packings, bool *done)
{
    *done = now->packing_steps == 0;
    now->packing_steps -= !*done;
    if (*packings != NULL)
        return OK;
    *packings = mem_alloc(sizeof **packings);
    if (*packings == NULL)
        return ERROR_MEMORY;
    **packings = (struct cq_packing){bucket};
    now->packings++;
    return OK;
}

void cq_packing_free_locked(struct cq_packing **packings)
{
    now->packings -= *packings != NULL;
    mem_free(*packings);
    *packings = NULL;
}

/* Called with the lock at the cut, so this is where the test looks at the source. */
void cq_image_pack_locked(const struct bucket *bucket, const struct cq_packing *packings,
                          struct buf *out)
{
    assert_ptr_equal(packings->bucket, bucket);
    assert_int_equal(now->packing_steps, 0);
    struct snapshot *snapshot = &now->snapshots[bucket->id];
    snapshot_free(snapshot);
    snapshot->entries = malloc((bucket->table.entry_count + 1) * sizeof(struct entry *));
    assert_non_null(snapshot->entries);
    table_each(&bucket->table, snapshot_add, snapshot);
    snapshot->seq = bucket->last_seq;
    snapshot->last_time_ms = bucket->last_time_ms;
    snapshot->data_seq = bucket->data_seq;
    snapshot->committed = bucket->committed;
    snapshot->writers = bucket->writers.count;
    snapshot->streams = bucket->streams.count;
    if (bucket->cqs == NULL)
        return;
    size_t begin = out->len;
    buf_append(out, &bucket->cqs->added_seq, sizeof bucket->cqs->added_seq);
    ring_pack(&bucket->cqs->ring, out);
    if (out->failed)
        return;
    snapshot->added_seq = bucket->cqs->added_seq;
    snapshot->ring.len = out->len - begin;
    snapshot->ring.data = malloc(snapshot->ring.len);
    assert_non_null(snapshot->ring.data);
    memcpy(snapshot->ring.data, out->data + begin, snapshot->ring.len);
}

struct cq_image {
    struct cq_bucket *cqb;
};

void cq_image_free(struct cq_image *image)
{
    if (image == NULL)
        return;
    ring_fini(&image->cqb->ring);
    mem_free(image->cqb);
    mem_free(image);
}

/* The test looks whether the lock is held: making it takes long. */
enum error cq_image_unpack(struct bucket *bucket, struct slice packed, struct cq_image **image)
{
    uint64_t added_seq;
    *image = NULL;
    assert_int_equal(pthread_mutex_trylock(&bucket->lock), 0);
    pthread_mutex_unlock(&bucket->lock);
    if (now->query_unknown)
        return ERROR_BUSY;
    if (packed.len < sizeof added_seq)
        return ERROR_MALFORMED;
    memcpy(&added_seq, packed.data, sizeof added_seq);
    packed = slice_of(packed.data + sizeof added_seq, packed.len - sizeof added_seq);
    struct cq_image *made = mem_zalloc(sizeof *made);
    if (made != NULL)
        made->cqb = query_new(added_seq);
    if (made == NULL || made->cqb == NULL) {
        mem_free(made);
        return ERROR_MEMORY;
    }
    enum error error = ring_unpack(&packed, &made->cqb->ring);
    if (error == OK && packed.len > 0)
        error = ERROR_MALFORMED;
    if (error != OK)
        cq_image_free(made);
    else
        *image = made;
    return error;
}

bool cq_image_is_known_locked(const struct bucket *bucket, const struct cq_image *image)
{
    (void)bucket;
    return image == NULL || !now->query_forgotten;
}

void cq_image_install_locked(struct bucket *bucket, struct cq_image *image)
{
    assert_null(bucket->cqs);
    if (image == NULL)
        return;
    bucket->cqs = image->cqb;
    mem_free(image);
}

/* ---- Servers ---- */

static void no_close(void *arg, enum error why)
{
    (void)arg;
    (void)why;
}

static const struct net_conn_events no_events = {.on_close = no_close};

static void node_init(struct node *node, uint64_t seed, uint64_t other, bool is_outgoing)
{
    node->net = fake_net_new();
    node->worker.server = &node->server;
    node->worker.loop = fake_net_loop(node->net);
    node->worker.catalog = &node->catalog;
    pthread_mutex_init(&node->worker.mail_lock, NULL);
    node->server.adopted_epoch = 9;
    node->catalog.regions = node->regions;
    node->catalog.region_count = 1;
    node->regions[0] = &node->region;
    node->region = (struct region){.refs = 1, .server = &node->server, .id = 300};
    node->region.hash_seed = seed;
    node->region.bucket_count = BUCKETS_MAX;
    node->region.buckets = node->buckets;
    for (uint32_t i = 0; i < BUCKETS_MAX; i++) {
        struct bucket *bucket = &node->buckets[i];
        assert_int_equal(table_init(&bucket->table), OK);
        pthread_mutex_init(&bucket->lock, NULL);
        bucket->region = &node->region;
        bucket->id = i;
        bucket->generation = 3;
        bucket->term = 7;
        bucket->replica.set_version = 5;
        bucket->replica.current = 7;
        bucket->replica.primary = 1;
        bucket->replica.in_sync_count = 1;
        ring_init(&bucket->replica.backlog, (struct ring_position){0, 0});
    }
    pthread_mutex_init(&node->peer.lock, NULL);
    node->peer.refs = 1;
    node->peer.server = &node->server;
    node->peer.worker = &node->worker;
    node->peer.incarnation = other;
    node->peer.replication_up = true;
    node->wire = fake_net_accept(node->net);
    node->conn = (struct peer_conn){.worker = &node->worker, .peer = &node->peer, .refs = 1};
    node->conn.kind = PEER_LINK_REPLICATION;
    node->conn.is_outgoing = is_outgoing;
    assert_int_equal(net_adopt(fake_net_net(node->net), fake_conn_socket(node->wire), &no_events,
                               NULL, &node->conn.conn),
                     OK);
}

static void node_fini(struct node *node)
{
    fake_net_turn(node->net);
    assert_null(node->worker.trash);
    for (uint32_t i = 0; i < BUCKETS_MAX; i++) {
        struct bucket *bucket = &node->buckets[i];
        image_drop_incoming_locked(bucket);
        assert_null(bucket->images);
        cq_bucket_free_all(bucket);
        writers_fini(&bucket->writers);
        streams_fini(&bucket->streams);
        ring_fini(&bucket->replica.backlog);
        table_fini(&bucket->table);
        pthread_mutex_destroy(&bucket->lock);
    }
    assert_null(node->peer.images);
    assert_int_equal(node->region.refs, 1);
    assert_int_equal(node->peer.refs, 1);
    assert_int_equal(node->conn.refs, 1);
    net_conn_abort(node->conn.conn);
    fake_net_free(node->net);
}

static struct fixture *fixture_new(uint64_t seed)
{
    struct fixture *fixture = now = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    fixture->random = seed * 977 + 5;
    fixture->key_max = 100;
    fixture->value_max = 60;
    node_init(&fixture->source, 11, 2, true);
    node_init(&fixture->target, 22, 1, false);
    for (uint32_t i = 0; i < BUCKETS_MAX; i++) {
        struct bucket *bucket = &fixture->source.buckets[i];
        bucket->replica.role = REPLICA_PRIMARY;
        bucket->replica.led = 7;
        fixture->copies[i].bucket = bucket;
        fixture->copies[i].peer = &fixture->source.peer;
    }
    return fixture;
}

static void fixture_free(struct fixture *fixture)
{
    image_on_link(&fixture->source.peer, false);
    for (uint32_t i = 0; i < BUCKETS_MAX; i++)
        snapshot_free(&fixture->snapshots[i]);
    node_fini(&fixture->source);
    node_fini(&fixture->target);
    free(fixture);
    now = NULL;
}

/* ---- Changes of the source ---- */

static uint64_t next_seq(struct bucket *bucket)
{
    bucket->last_seq++;
    bucket->data_seq = bucket->last_seq;
    bucket->last_time_ms += 3;
    if (next_random() % 4 == 0)
        bucket->committed = bucket->last_seq - next_random() % 2;
    return bucket->last_seq;
}

static struct slice key_of(uint32_t number, uint8_t key[8])
{
    key[0] = 1;
    memcpy(key + 1, &number, 4);
    return slice_of(key, 5);
}

static void put(struct bucket *bucket, uint32_t number, size_t value_len)
{
    uint8_t key_bytes[8], *value = malloc(value_len);
    struct slice key = key_of(number, key_bytes);
    uint64_t hash = table_hash(key, bucket->region->hash_seed);
    assert_non_null(value);
    bucket_lock(bucket);
    struct entry *old = table_find(&bucket->table, key, hash);
    if (old != NULL)
        image_before_change_locked(bucket, old);
    uint64_t seq = next_seq(bucket);
    memset(value, (int)(number * 7 + seq), value_len);
    struct entry *entry = entry_new(key, slice_of(value, value_len), hash, seq);
    assert_non_null(entry);
    assert_int_equal(table_put(&bucket->table, entry, &old), OK);
    entry_unref(old);
    bucket_unlock(bucket);
    free(value);
}

static void remove_key(struct bucket *bucket, uint32_t number)
{
    uint8_t key_bytes[8];
    struct slice key = key_of(number, key_bytes);
    uint64_t hash = table_hash(key, bucket->region->hash_seed);
    bucket_lock(bucket);
    struct entry *old = table_find(&bucket->table, key, hash);
    if (old != NULL) {
        image_before_change_locked(bucket, old);
        (void)next_seq(bucket);
        entry_unref(table_remove(&bucket->table, key, hash));
    }
    bucket_unlock(bucket);
}

static void clear(struct bucket *bucket)
{
    bucket_lock(bucket);
    image_before_clear_locked(bucket);
    (void)next_seq(bucket);
    table_clear(&bucket->table);
    bucket_unlock(bucket);
}

static void change(struct bucket *bucket)
{
    uint32_t what = next_random() % 100, number = next_random() % (uint32_t)now->key_max;
    if (what < 30)
        remove_key(bucket, number);
    else
        put(bucket, number, 1 + next_random() % (uint32_t)now->value_max);
    bucket->writers.count = next_random();
    bucket->streams.count = next_random();
    if (bucket->cqs != NULL && bucket->cqs->ring.last.seq < bucket->last_seq) {
        uint8_t *at = ring_append(&bucket->cqs->ring, (struct ring_position){bucket->last_seq, 1},
                                  3, 8, bucket->last_time_ms);
        if (at != NULL)
            memcpy(at, &now->random, 8);
    }
}

/* Entries 0 to count - 1, and a query. */
static void populate(struct bucket *bucket, uint32_t count)
{
    bucket->writers.slots = mem_alloc(1);
    bucket->streams.first = mem_alloc(1);
    assert_true(bucket->writers.slots != NULL && bucket->streams.first != NULL);
    bucket->cqs = query_new(0);
    assert_non_null(bucket->cqs);
    for (uint32_t i = 0; i < count; i++)
        put(bucket, i, 1 + next_random() % (uint32_t)now->value_max);
    bucket->writers.count = count + 4;
    bucket->streams.count = count + 9;
    now->key_max = count * 2 + 10;
}

/* ---- The wire ---- */

/* Takes the oldest frame off what the node has sent; false if there is none. `content` is a copy of
 * exactly its size, to be freed. */
static bool take_frame(struct node *node, uint32_t *kind, uint8_t **content, size_t *content_len,
                       size_t *taken)
{
    struct slice sent = fake_conn_sent(node->wire);
    uint32_t len;
    if (*taken == sent.len) {
        fake_conn_take(node->wire);
        *taken = 0;
        return false;
    }
    *kind = sent.data[*taken];
    memcpy(&len, sent.data + *taken + 1, 4);
    *content = malloc(len > 0 ? len : 1);
    assert_non_null(*content);
    memcpy(*content, sent.data + *taken + 5, len);
    *content_len = len;
    *taken += 5 + len;
    return true;
}

/* The target reads what the source has sent, at most so many pieces; the rest is lost. */
static enum error deliver_pieces(unsigned pieces)
{
    uint32_t kind;
    uint8_t *content;
    size_t len, taken = 0;
    enum error error = OK;
    fake_net_turn(now->source.net);
    while (take_frame(&now->source, &kind, &content, &len, &taken)) {
        assert_int_equal(kind, PEER_FRAME_IMAGE);
        assert_true(len <= IMAGE_PIECE_BYTES);
        if (error == OK && pieces > 0) {
            pieces--;
            now->pieces++;
            error = image_on_piece(&now->target.conn, slice_of(content, len));
        }
        free(content);
    }
    fake_net_turn(now->target.net);
    return error;
}

static enum error deliver_acks(void)
{
    uint32_t kind;
    uint8_t *content;
    size_t len, taken = 0;
    enum error error = OK;
    fake_net_turn(now->target.net);
    while (take_frame(&now->target, &kind, &content, &len, &taken)) {
        assert_int_equal(kind, PEER_FRAME_IMAGE_ACK);
        if (error == OK)
            error = image_on_ack(&now->source.conn, slice_of(content, len));
        free(content);
    }
    return error;
}

/* Runs until nothing moves any more; the source changes `changes` times between turns. */
static enum error run(struct bucket *bucket, unsigned changes)
{
    enum error error = OK;
    for (bool more = true; more && error == OK;) {
        image_fill(&now->source.peer, now->source.conn.conn);
        for (unsigned i = 0; i < changes; i++)
            change(bucket);
        unsigned before = now->pieces;
        error = deliver_pieces(UINT32_MAX);
        if (error == OK)
            error = deliver_acks();
        more = now->pieces != before || now->source.peer.images != NULL;
    }
    return error;
}

static void begin(uint32_t bucket)
{
    struct replica_copy *copy = &now->copies[bucket];
    bucket_lock(copy->bucket);
    assert_int_equal(image_begin_locked(copy->bucket, copy), OK);
    bucket_unlock(copy->bucket);
    assert_non_null(copy->image);
}

/* The target's bucket is what the source was at the cut. */
static void check_installed(uint32_t id)
{
    const struct bucket *bucket = &now->target.buckets[id];
    const struct snapshot *snapshot = &now->snapshots[id];
    uint64_t seed = now->target.region.hash_seed;
    assert_int_equal(now->done_seq[id], snapshot->seq);
    assert_int_equal(bucket->table.entry_count, snapshot->count);
    for (size_t i = 0; i < snapshot->count; i++) {
        const struct entry *wanted = snapshot->entries[i];
        uint64_t hash = table_hash(entry_key(wanted), seed);
        const struct entry *entry = table_find(&bucket->table, entry_key(wanted), hash);
        assert_non_null(entry);
        assert_int_equal(entry->seq, wanted->seq);
        assert_true(slice_equal(entry_value(entry), entry_value(wanted)));
    }
    assert_int_equal(bucket->last_seq, snapshot->seq);
    assert_int_equal(bucket->last_time_ms, snapshot->last_time_ms);
    assert_int_equal(bucket->data_seq, snapshot->data_seq);
    assert_int_equal(bucket->committed, snapshot->committed);
    assert_int_equal(bucket->writers.count, snapshot->writers);
    assert_int_equal(bucket->streams.count, snapshot->streams);
    assert_int_equal(bucket->replica.role, REPLICA_COPY);
    assert_int_equal(bucket->replica.current, 7);
    assert_int_equal(bucket->replica.image_from, 1);
    assert_null(bucket->replica.image);
    assert_int_equal(bucket->cqs != NULL, snapshot->ring.data != NULL);
    if (bucket->cqs == NULL)
        return;
    struct buf ring;
    buf_init(&ring);
    buf_append(&ring, &bucket->cqs->added_seq, sizeof bucket->cqs->added_seq);
    ring_pack(&bucket->cqs->ring, &ring);
    assert_true(slice_equal(buf_slice(&ring), buf_slice(&snapshot->ring)));
    buf_fini(&ring);
}

/* Nothing of an image shows in the target's bucket. */
static void check_untouched(uint32_t id)
{
    const struct bucket *bucket = &now->target.buckets[id];
    assert_int_equal(bucket->last_seq, 0);
    assert_int_equal(bucket->table.entry_count, 0);
    assert_int_equal(bucket->replica.role, REPLICA_NONE);
    assert_int_equal(bucket->writers.count, 0);
    assert_int_equal(bucket->streams.count, 0);
    assert_null(bucket->cqs);
}

#endif
