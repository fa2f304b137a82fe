/* A cluster of fake servers in one process: real regions, buckets and replicas, and links, beacons,
 * images and a map store that do only what a test tells them to do. */
#ifndef VUG_TESTS_UNIT_SERVER_REPLICA_FIXTURE_H
#define VUG_TESTS_UNIT_SERVER_REPLICA_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "server/image.h"
#include "server/replica_impl.h"
#include "server/server.h"
#include "tests/lib/mem_fault.h"

enum { NODES = 4, FRAMES = 4096, PROPOSALS = 256 };
enum { FRAME_BEACON_ANSWER = 1000, FRAME_IMAGE_WHOLE, FRAME_IMAGE_DONE };

struct image_out { /* a whole image; the fake's own */
    uint32_t refs;
    bool ended;
    uint32_t term;
    uint64_t epoch, last_seq, time_ms, committed, sender;
    struct entry **entries;
    size_t count;
};

struct frame {
    uint32_t kind;
    uint8_t *data;
    size_t len;
    uint64_t time_us, epoch;
    struct image_out *image;
};
struct channel {
    struct net_conn conn; /* what the product sees of it */
    struct frame frames[FRAMES];
    size_t first, end;
};

struct node {
    struct server server;
    struct worker worker;
    struct peer peers[NODES]; /* by index of the other */
    bool dirty[NODES];
    bool alive;
};

struct world {
    struct loop loop;
    uint64_t now_us;
    struct cluster_map *map; /* the store's */
    uint32_t region_id;
    struct node nodes[NODES];
    struct channel to[NODES][NODES];   /* a's link to b: what a sends */
    struct channel back[NODES][NODES]; /* ... and what b answers on it */
    struct proposal proposals[PROPOSALS];
    size_t proposal_count;
    uint32_t operations;
};
static struct world *world;

static uint64_t incarnation_of(int node)
{
    return 100 + (uint64_t)node;
}
static int node_of(uint64_t incarnation)
{
    return (int)(incarnation - 100);
}
static int owner_of(const struct peer *peer)
{
    return node_of(peer->server->incarnation);
}
static struct bucket *bucket_of(int node)
{
    struct catalog *catalog = world->nodes[node].server.catalog;
    return &catalog_region_by_id(catalog, world->region_id)->buckets[0];
}
static struct replica *replica_of(int node)
{
    return &bucket_of(node)->replica;
}

/* ---- Frames ---- */

static void image_release(struct image_out *image)
{
    if (image == NULL || --image->refs > 0)
        return;
    for (size_t i = 0; i < image->count; i++)
        entry_unref(image->entries[i]);
    mem_free(image->entries);
    free(image);
}

static struct frame *push(struct channel *channel, uint32_t kind)
{
    assert_true(channel->end - channel->first < FRAMES);
    struct frame *frame = &channel->frames[channel->end++ % FRAMES];
    *frame = (struct frame){.kind = kind};
    return frame;
}

static bool pop(struct channel *channel, struct frame *frame)
{
    if (channel->first == channel->end)
        return false;
    *frame = channel->frames[channel->first++ % FRAMES];
    return true;
}

static void clear(struct channel *channel)
{
    struct frame frame;
    while (pop(channel, &frame)) {
        free(frame.data);
        image_release(frame.image);
    }
}

uint8_t *peer_frame_begin(struct net_conn *conn, enum peer_frame_kind kind, size_t content_max)
{
    struct frame *frame = push((struct channel *)conn, kind);
    frame->data = malloc(content_max + 1);
    return frame->data;
}
void peer_frame_end(struct net_conn *conn, uint8_t *content, enum peer_frame_kind kind,
                    size_t content_max, size_t content_len)
{
    struct channel *channel = (struct channel *)conn;
    struct frame *frame = &channel->frames[(channel->end - 1) % FRAMES];
    assert_ptr_equal(frame->data, content);
    assert_int_equal(frame->kind, kind);
    assert_true(content_len <= content_max);
    /* The sanitizer sees whoever reads behind the end. */
    frame->data = malloc(content_len > 0 ? content_len : 1);
    memcpy(frame->data, content, content_len);
    free(content);
    frame->len = content_len;
}
enum error peer_frame_send(struct net_conn *conn, enum peer_frame_kind kind, struct slice content)
{
    uint8_t *out = peer_frame_begin(conn, kind, content.len);
    memcpy(out, content.data, content.len);
    peer_frame_end(conn, out, kind, content.len, content.len);
    return OK;
}

/* ---- Peers ---- */

struct peer *peer_ref(struct peer *peer)
{
    return peer;
}
void peer_unref(struct peer *peer)
{
    (void)peer;
}
struct peer *peers_find(struct server *server, uint64_t incarnation)
{
    int other = node_of(incarnation), own = node_of(server->incarnation);
    return other < 0 || other >= NODES || other == own ? NULL : &world->nodes[own].peers[other];
}
void peer_mark_dirty(struct peer *peer, struct replica_copy *copy)
{
    assert_ptr_equal(copy->peer, peer);
    world->nodes[owner_of(peer)].dirty[node_of(peer->incarnation)] = true;
}
void peer_forget_copy(struct peer *peer, struct replica_copy *copy)
{
    (void)copy;
    world->nodes[owner_of(peer)].dirty[node_of(peer->incarnation)] = false;
}
bool peer_lease_holds(const struct peer *peer, uint64_t now_us)
{
    return now_us < atomic_load(&peer->lease_until_us) &&
           (atomic_load(&peer->lease_epoch) <= atomic_load(&peer->server->adopted_epoch) ||
            PLANTED(PLANT_LEASE_OLD_MAP));
}
bool peer_promise_runs(const struct peer *peer, uint64_t now_us)
{
    return !atomic_load(&peer->gone) && now_us < atomic_load(&peer->promise_until_us);
}
static bool is_up(int from, int to)
{
    return atomic_load(&world->nodes[from].peers[to].replication_up);
}
uint64_t peer_except(struct peer *peer, struct bucket *bucket)
{
    int own = owner_of(peer), other = node_of(peer->incarnation);
    struct wire_exception said = {replica_wire_bucket(bucket), bucket->replica.set_version};
    struct buf out;
    buf_init(&out);
    wire_append_exception(&said, &out);
    if (is_up(other, own))
        peer_frame_send(&world->back[other][own].conn, PEER_FRAME_EXCEPTIONS, buf_slice(&out));
    buf_fini(&out);
    return atomic_load(&peer->gone) ? 0 : atomic_load(&peer->promise_until_us);
}
bool peer_except_if_free(struct peer *peer, struct bucket *bucket, uint64_t now_us)
{
    if (peer_promise_runs(peer, now_us))
        return false;
    (void)peer_except(peer, bucket);
    return true;
}
enum error peer_send(struct peer *peer, enum peer_link_kind link, enum peer_frame_kind kind,
                     struct slice content)
{
    int own = owner_of(peer), other = node_of(peer->incarnation);
    assert_int_equal(link, PEER_LINK_REPLICATION);
    return is_up(own, other) ? peer_frame_send(&world->to[own][other].conn, kind, content)
                             : ERROR_UNREACHABLE;
}
void server_propose(struct server *server, const struct proposal *proposal)
{
    (void)server;
    if (world->proposal_count < PROPOSALS)
        world->proposals[world->proposal_count++] = *proposal;
}

/* ---- Images ---- */

enum error image_begin_locked(struct bucket *bucket, struct replica_copy *copy)
{
    int own = owner_of(copy->peer), other = node_of(copy->peer->incarnation);
    struct image_out *image = calloc(1, sizeof *image);
    if (bucket_entries_locked(bucket, &image->entries, &image->count) != OK) {
        free(image);
        return ERROR_MEMORY;
    }
    image->refs = 2;
    image->term = bucket->replica.led;
    image->epoch = atomic_load(&bucket->region->server->announced_epoch);
    image->last_seq = bucket->last_seq;
    image->time_ms = bucket->last_time_ms;
    image->committed = atomic_load(&bucket->committed);
    image->sender = incarnation_of(own);
    push(&world->to[own][other], FRAME_IMAGE_WHOLE)->image = image;
    copy->image = image;
    return OK;
}
void image_end_locked(struct bucket *bucket, struct replica_copy *copy)
{
    (void)bucket;
    copy->image->ended = true;
    image_release(copy->image);
    copy->image = NULL;
}
void image_drop_incoming_locked(struct bucket *bucket)
{
    (void)bucket;
}

static struct replica_copy *copy_of(int from, int to)
{
    return replica_find_copy(replica_of(from), &world->nodes[from].peers[to]);
}

static bool install(int node, const struct image_out *image)
{
    struct bucket *bucket = bucket_of(node);
    struct replica *replica = &bucket->replica;
    bool old_map = atomic_load(&world->nodes[node].server.adopted_epoch) < image->epoch &&
                   !PLANTED(PLANT_IMAGE_OLD_MAP);
    if (old_map || replica->current > image->term || replica->in_set ||
        replica->primary != image->sender)
        return false;
    replica_drop_locked(bucket);
    for (size_t i = 0; i < image->count; i++) {
        struct entry *from = image->entries[i], *old;
        uint64_t hash = table_hash(entry_key(from), bucket->region->hash_seed);
        struct entry *entry = entry_new(entry_key(from), entry_value(from), hash, from->seq);
        assert_int_equal(table_put(&bucket->table, entry, &old), OK);
    }
    bucket->last_seq = image->last_seq;
    bucket->last_time_ms = image->time_ms;
    atomic_store(&bucket->committed, image->committed);
    replica->role = REPLICA_COPY;
    replica->current = image->term;
    replica->image_from = image->sender;
    replica->heard_us = world->now_us;
    return true;
}

/* ---- What a test does ---- */

static struct peer_conn conn_of(int own, int other, struct channel *out)
{
    return (struct peer_conn){.worker = &world->nodes[own].worker,
                              .conn = out == NULL ? NULL : &out->conn,
                              .peer = &world->nodes[own].peers[other],
                              .kind = PEER_LINK_REPLICATION};
}

static bool fill(int from, int to)
{
    struct node *node = &world->nodes[from];
    struct replica_copy *copy = copy_of(from, to);
    if (!node->alive || !node->dirty[to] || !is_up(from, to))
        return false;
    node->dirty[to] = copy != NULL && replica_fill(copy, &world->to[from][to].conn);
    return true;
}

/* `to` takes the next frame of the link that `from` has opened. */
static bool deliver(int from, int to)
{
    struct frame frame;
    if (!world->nodes[to].alive || !pop(&world->to[from][to], &frame))
        return false;
    struct peer_conn conn = conn_of(to, from, &world->back[from][to]);
    buf_init(&conn.acks);
    enum error error = OK;
    if (frame.kind == PEER_FRAME_RECORDS)
        error = replica_on_records(&conn, slice_of(frame.data, frame.len));
    else if (frame.kind == PEER_FRAME_ANNOUNCE)
        error = replica_on_announce(&conn, slice_of(frame.data, frame.len));
    else if (!frame.image->ended) {
        struct frame *done = push(&world->back[from][to], FRAME_IMAGE_DONE);
        done->image = frame.image;
        done->len = install(to, frame.image);
        frame.image->refs++;
    }
    assert_int_equal(error, OK);
    atomic_store(&world->nodes[to].peers[from].heard_us, world->now_us);
    if (conn.acks.len > 0)
        peer_frame_send(&world->back[from][to].conn, PEER_FRAME_ACKS, buf_slice(&conn.acks));
    buf_fini(&conn.acks);
    free(frame.data);
    image_release(frame.image);
    return true;
}

/* `from` takes the next answer on its link to `to`. */
static bool deliver_back(int from, int to)
{
    struct frame frame;
    if (!world->nodes[from].alive || !pop(&world->back[from][to], &frame))
        return false;
    struct peer_conn conn = conn_of(from, to, NULL);
    struct slice content = slice_of(frame.data, frame.len);
    struct peer *peer = conn.peer;
    enum error error = OK;
    atomic_store(&peer->heard_us, world->now_us);
    if (frame.kind == PEER_FRAME_ACKS) {
        error = replica_on_acks(&conn, content);
    } else if (frame.kind == PEER_FRAME_EXCEPTIONS) {
        error = replica_on_exceptions(&conn, content);
    } else if (frame.kind == PEER_FRAME_ANNOUNCED) {
        error = replica_on_announced(&conn, content);
    } else if (frame.kind == FRAME_BEACON_ANSWER) {
        atomic_store(&peer->lease_until_us, frame.time_us + PEER_LEASE_US);
        atomic_store(&peer->lease_epoch, frame.epoch);
        atomic_store(&peer->epoch, frame.epoch);
    } else if (!frame.image->ended) {
        struct replica_copy *copy = copy_of(from, to);
        image_release(copy->image);
        copy->image = NULL;
        frame.image->ended = true;
        if (frame.len)
            replica_image_done_locked(bucket_of(from), copy, frame.image->last_seq);
        else
            replica_image_failed_locked(bucket_of(from), copy);
    }
    assert_int_equal(error, OK);
    free(frame.data);
    image_release(frame.image);
    return true;
}

/* `from` beats, and `to` has heard and answers: a promise now, a lease when the answer is there. */
static bool beacon(int from, int to)
{
    if (!world->nodes[from].alive || !world->nodes[to].alive || !is_up(from, to))
        return false;
    struct peer *peer = &world->nodes[to].peers[from];
    atomic_store(&peer->promise_until_us, world->now_us + PEER_PROMISE_US);
    atomic_store(&peer->heard_us, world->now_us);
    struct frame *frame = push(&world->back[from][to], FRAME_BEACON_ANSWER);
    frame->time_us = world->now_us;
    frame->epoch = atomic_load(&world->nodes[to].server.announced_epoch);
    return true;
}

static void link_down(int from, int to)
{
    clear(&world->to[from][to]);
    clear(&world->back[from][to]);
    if (!is_up(from, to))
        return;
    atomic_store(&world->nodes[from].peers[to].replication_up, false);
    if (!world->nodes[from].alive)
        return;
    struct replica_copy *copy = copy_of(from, to);
    if (copy != NULL && copy->image != NULL) {
        image_end_locked(bucket_of(from), copy);
        replica_image_failed_locked(bucket_of(from), copy);
    }
    replica_on_link(&world->nodes[from].peers[to], false);
}

static bool link_up(int from, int to)
{
    if (is_up(from, to) || !world->nodes[from].alive || !world->nodes[to].alive)
        return false;
    atomic_store(&world->nodes[from].peers[to].replication_up, true);
    struct peer_conn conn = conn_of(to, from, &world->back[from][to]);
    replica_write_exceptions(&conn);
    replica_on_link(&world->nodes[from].peers[to], true);
    return true;
}

static void cut(int a, int b)
{
    link_down(a, b);
    link_down(b, a);
}

/* The process ends, and the others have proof of it. */
static void crash(int node)
{
    world->nodes[node].alive = false;
    for (int i = 0; i < NODES; i++)
        if (i != node) {
            atomic_store(&world->nodes[i].peers[node].gone, true);
            cut(i, node);
        }
}

static bool adopt(int node)
{
    struct server *server = &world->nodes[node].server;
    if (!world->nodes[node].alive ||
        (server->catalog != NULL && server->catalog->map == world->map))
        return false;
    struct catalog *catalog;
    assert_int_equal(
        catalog_new(server->catalog, world->map, server, 7 + (uint64_t)node, NULL, &catalog), OK);
    atomic_store(&server->announced_epoch, world->map->epoch);
    region_adopt(catalog_region_by_id(catalog, world->region_id), world->map);
    atomic_store(&server->adopted_epoch, world->map->epoch);
    catalog_unref(server->catalog);
    server->catalog = world->nodes[node].worker.catalog = catalog;
    return true;
}

static const struct cluster_bucket *stored(void)
{
    return &cluster_map_region_by_id(world->map, world->region_id)->buckets[0];
}

static bool in_stored_set(int node)
{
    return cluster_bucket_has(stored(), (uint32_t)node);
}

static void store_set(uint32_t generation, uint32_t term, int primary, unsigned set)
{
    struct cluster_map *map;
    uint32_t members[NODES], count = 0;
    for (uint32_t i = 0; i < NODES; i++)
        if (set >> i & 1)
            members[count++] = i;
    assert_int_equal(cluster_map_edit(world->map, &map), OK);
    struct cluster_bucket bucket = {generation,        term,  stored()->set_version + 1,
                                    (uint32_t)primary, count, members};
    assert_int_equal(cluster_map_set_bucket(map, world->region_id, 0, &bucket), OK);
    assert_int_equal(cluster_map_seal(map), OK);
    cluster_map_unref(world->map);
    world->map = map;
}

/* The store takes the proposal, unless the set version has moved. */
static bool store(size_t at)
{
    struct proposal proposal = world->proposals[at];
    unsigned set = 0;
    world->proposals[at] = world->proposals[--world->proposal_count];
    if (proposal.set_version != stored()->set_version)
        return false;
    for (uint32_t i = 0; i < proposal.in_sync_count; i++)
        set |= 1u << node_of(proposal.in_sync[i]);
    store_set(proposal.generation, proposal.term, node_of(proposal.primary), set);
    return true;
}

static struct slice operation_key(uint32_t operation, char text[16])
{
    return slice_of(text, (size_t)snprintf(text, 16, "op%u", operation));
}

/* As bucket_append_locked() does it. */
static enum error append_value(int node, struct slice value)
{
    struct bucket *bucket = bucket_of(node);
    char text[16];
    if (!world->nodes[node].alive || !replica_may_write_locked(bucket))
        return ERROR_ELSEWHERE;
    struct record record = {.type = RECORD_PUT,
                            .term = bucket->replica.led,
                            .seq = bucket->last_seq + 1,
                            .key = operation_key(world->operations + 1, text),
                            .value = value};
    record.hash = table_hash(record.key, bucket->region->hash_seed);
    record.time_ms = replica_record_time_locked(bucket, world->now_us / 1000, world->now_us);
    enum error error = replica_reserve_locked(bucket, &record);
    if (error == OK)
        error = bucket_apply_locked(bucket, &record);
    if (error != OK)
        return error;
    world->operations++;
    replica_send_locked(bucket, &record);
    return OK;
}

static enum error append(int node)
{
    return append_value(node, slice_text("v"));
}

/* A record that is too long for a frame. */
enum { LONG_BYTES = 3 * REPLICA_FRAME_BYTES };
static enum error append_long(int node)
{
    uint8_t *value = calloc(1, LONG_BYTES);
    assert_non_null(value);
    for (size_t i = 0; i < LONG_BYTES; i++)
        value[i] = (uint8_t)(i * 7 + i / 251);
    enum error error = append_value(node, slice_of(value, LONG_BYTES));
    free(value);
    return error;
}

static uint64_t committed_of(int node)
{
    return atomic_load(&bucket_of(node)->committed);
}

/* All links carry all they have, as long as there is anything. */
static void settle(void)
{
    for (bool moved = true; moved;) {
        moved = false;
        for (int a = 0; a < NODES; a++)
            for (int b = 0; b < NODES; b++)
                if (a != b)
                    moved |= fill(a, b) | deliver(a, b) | deliver_back(a, b);
    }
}

static void tick_all(uint64_t elapsed_us)
{
    world->now_us += elapsed_us;
    for (int a = 0; a < NODES; a++) {
        if (!world->nodes[a].alive)
            continue;
        bucket_lock(bucket_of(a));
        replica_tick_locked(bucket_of(a), world->now_us);
        bucket_unlock(bucket_of(a));
    }
}

static void beat_all(void)
{
    for (int a = 0; a < NODES; a++)
        for (int b = 0; b < NODES; b++)
            if (a != b)
                beacon(a, b);
    settle();
}

static void adopt_all(void)
{
    for (int a = 0; a < NODES; a++)
        adopt(a);
}

/* ---- Life ---- */

static uint64_t fake_clock(struct loop *loop)
{
    (void)loop;
    return world->now_us;
}
static const struct loop_ops fake_loop_ops = {.now_us = fake_clock, .clock_us = fake_clock};

static void make_map(enum cluster_region_type type)
{
    static const uint8_t id[CLUSTER_ID_BYTES] = {1};
    assert_int_equal(cluster_map_new(id, &world->map), OK);
    for (int i = 0; i < NODES; i++) {
        char name[8];
        struct cluster_member member = {.incarnation = incarnation_of(i),
                                        .host = slice_text("127.0.0.1"),
                                        .port = (uint16_t)(1000 + i),
                                        .role = CLUSTER_SERVER};
        member.name = slice_of(name, (size_t)snprintf(name, sizeof name, "s%d", i));
        uint32_t index;
        assert_int_equal(cluster_map_add_member(world->map, &member, &index), OK);
        assert_int_equal(index, i);
    }
    struct cluster_region region = {.name = slice_text("R"), .type = type, .bucket_count = 1};
    assert_int_equal(cluster_map_add_region(world->map, &region, &world->region_id), OK);
    assert_int_equal(cluster_map_seal(world->map), OK);
}

/* All links are up, `set` holds the bucket, the first of it leads. */
static void world_begin(enum cluster_region_type type, unsigned set)
{
    world = calloc(1, sizeof *world);
    world->loop.ops = &fake_loop_ops;
    world->now_us = 10000000;
    make_map(type);
    for (int a = 0; a < NODES; a++) {
        struct node *node = &world->nodes[a];
        node->alive = true;
        node->server.loop = node->worker.loop = &world->loop;
        node->server.incarnation = incarnation_of(a);
        node->worker.server = &node->server;
        for (int b = 0; b < NODES; b++) {
            node->peers[b].server = &node->server;
            node->peers[b].worker = &node->worker;
            node->peers[b].incarnation = incarnation_of(b);
            atomic_store(&node->peers[b].replication_up, a != b);
            atomic_store(&node->peers[b].heard_us, world->now_us);
        }
    }
    adopt_all();
    store_set(1, 1, __builtin_ctz(set), set);
    adopt_all();
    beat_all();
    tick_all(1000);
    settle();
}

static void world_end(void)
{
    for (int a = 0; a < NODES; a++) {
        world->nodes[a].alive = false;
        for (int b = 0; b < NODES; b++) {
            clear(&world->to[a][b]);
            clear(&world->back[a][b]);
        }
    }
    for (int a = 0; a < NODES; a++) {
        catalog_unref(world->nodes[a].server.catalog);
        assert_int_equal(atomic_load(&world->nodes[a].server.backlog_bytes), 0);
        for (int b = 0; b < NODES; b++)
            assert_int_equal(atomic_load(&world->nodes[a].peers[b].unacked_bytes), 0);
    }
    cluster_map_unref(world->map);
    free(world);
    world = NULL;
}

#endif
