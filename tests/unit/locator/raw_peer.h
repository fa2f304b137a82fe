/* Servers that are nothing but bytes: a hello, beacons, and whatever a test says, to a locator of
 * the fixture. Unlike the fixture's fake servers they seal, propose and report. */
#ifndef VUG_TESTS_UNIT_LOCATOR_RAW_PEER_H
#define VUG_TESTS_UNIT_LOCATOR_RAW_PEER_H

#include "tests/unit/locator/fixture.h"

enum { RAW_PEERS = 5, RAW_SEALS = 256, RAW_ORDERS = 512 };

struct raw_seal {
    uint64_t attempt, deposed;
    bool gone;
    uint32_t region_id, bucket, generation, set_version, term;
};

struct raw_order {
    uint32_t region_id, bucket, generation, action;
    uint64_t member;
};

struct raw_peer {
    struct fixture *fixture;
    struct sim_node *node;
    struct loop *loop;
    struct net *net;
    struct net_listener *listener;
    struct net_conn *conn;
    struct loop_timer timer;
    char name[32];
    uint64_t incarnation, number;
    struct cluster_map *map; /* newest */
    int refusal;             /* -1: not answered yet */
    bool is_mute;            /* no beacons */
    uint64_t linked[RAW_PEERS];
    uint32_t linked_count;
    struct raw_seal seals[RAW_SEALS];
    uint32_t seal_count;
    struct raw_order orders[RAW_ORDERS];
    uint32_t order_count;
    /* What it answers to a seal. */
    bool answers;
    Pb__PeerSealedBucket__Verdict verdict;
    uint32_t wait_ms, current; /* current 0: the term that was asked for */
    uint64_t last_seq;
    uint64_t promised; /* to this one, 0: to none */
};

static void raw_beacon(struct raw_peer *peer)
{
    Pb__PeerBeacon beacon = PB__PEER_BEACON__INIT;
    if (peer->conn == NULL || peer->is_mute || peer->refusal != 0)
        return;
    beacon.number = ++peer->number;
    beacon.epoch = peer->map == NULL ? 0 : peer->map->epoch;
    beacon.linked = peer->linked;
    beacon.n_linked = peer->linked_count;
    (void)PEER_SEND(peer->conn, BEACON, beacon, &beacon); /* a test may fail allocations */
}

static void raw_on_timer(void *arg)
{
    struct raw_peer *peer = arg;
    raw_beacon(peer);
    loop_timer_set(&peer->timer, 250 * MS);
}

static void raw_answer_seal(struct raw_peer *peer, const Pb__PeerSeal *seal)
{
    Pb__PeerSealed sealed = PB__PEER_SEALED__INIT;
    Pb__PeerSealedBucket buckets[RAW_SEALS], *pointers[RAW_SEALS];
    assert_true(seal->n_place <= RAW_SEALS);
    for (size_t i = 0; i < seal->n_place; i++) {
        pb__peer_sealed_bucket__init(&buckets[i]);
        buckets[i].region_id = seal->place[i]->region_id;
        buckets[i].bucket = seal->place[i]->bucket;
        buckets[i].verdict = peer->verdict;
        buckets[i].wait_ms = peer->wait_ms;
        buckets[i].current = peer->current != 0 ? peer->current : seal->place[i]->term;
        buckets[i].last_seq = peer->last_seq;
        buckets[i].promised = &peer->promised;
        buckets[i].n_promised = peer->promised != 0;
        pointers[i] = &buckets[i];
    }
    sealed.attempt = seal->attempt;
    sealed.bucket = pointers;
    sealed.n_bucket = seal->n_place;
    (void)PEER_SEND(peer->conn, SEALED, sealed, &sealed);
}

static void raw_on_seal(struct raw_peer *peer, const Pb__PeerSeal *seal)
{
    for (size_t i = 0; i < seal->n_place && peer->seal_count < RAW_SEALS; i++)
        peer->seals[peer->seal_count++] = (struct raw_seal){seal->attempt,
                                                            seal->deposed,
                                                            seal->gone,
                                                            seal->place[i]->region_id,
                                                            seal->place[i]->bucket,
                                                            seal->place[i]->generation,
                                                            seal->place[i]->set_version,
                                                            seal->place[i]->term};
    if (peer->answers)
        raw_answer_seal(peer, seal);
}

static void raw_on_message(struct raw_peer *peer, const Pb__PeerMessage *message)
{
    if (message->kind_case == PB__PEER_MESSAGE__KIND_WELCOME) {
        peer->refusal = (int)message->welcome->refusal;
    } else if (message->kind_case == PB__PEER_MESSAGE__KIND_MAP_PUSH) {
        const Pb__PeerMapPush *push = message->map_push;
        Pb__PeerMapAck ack = PB__PEER_MAP_ACK__INIT;
        struct cluster_map *map;
        if (cluster_map_unpack(slice_of(push->map.data, push->map.len), &map) != OK)
            return;
        cluster_map_unref(peer->map);
        peer->map = map;
        ack.epoch = push->epoch;
        (void)PEER_SEND(peer->conn, MAP_ACK, map_ack, &ack);
    } else if (message->kind_case == PB__PEER_MESSAGE__KIND_SEAL) {
        raw_on_seal(peer, message->seal);
    } else if (message->kind_case == PB__PEER_MESSAGE__KIND_PLACE) {
        for (size_t i = 0; i < message->place->n_order && peer->order_count < RAW_ORDERS; i++) {
            const Pb__PeerPlace__Order *order = message->place->order[i];
            peer->orders[peer->order_count++] =
                (struct raw_order){order->region_id, order->bucket, order->generation,
                                   (uint32_t)order->action, order->member};
        }
    }
}

static size_t raw_on_data(void *arg, const uint8_t *data, size_t len)
{
    struct raw_peer *peer = arg;
    struct slice rest = slice_of(data, len), frame;
    while (peer_next_frame(&rest, LIMIT_PEER_MESSAGE_BYTES, &frame) == OK && frame.data != NULL) {
        struct arena arena;
        Pb__PeerMessage *message;
        arena_init(&arena, 4 * 1024 * 1024);
        if (peer_unpack(frame, &arena, &message) == OK)
            raw_on_message(peer, message);
        arena_fini(&arena);
    }
    return len - rest.len;
}

static void raw_on_eof(void *arg, struct slice rest)
{
    struct raw_peer *peer = arg;
    (void)rest;
    net_conn_abort(peer->conn);
    peer->conn = NULL;
}

static void raw_on_close(void *arg, enum error why)
{
    (void)why;
    ((struct raw_peer *)arg)->conn = NULL;
}

static void raw_on_drain(void *arg)
{
    (void)arg;
}

static void raw_on_connect(void *arg)
{
    struct raw_peer *peer = arg;
    static const uint8_t first = PEER_FIRST_BYTE;
    Pb__PeerHello hello = PB__PEER_HELLO__INIT;
    hello.name = peer->name;
    hello.incarnation = peer->incarnation;
    hello.role = CLUSTER_SERVER;
    hello.host = (char *)(uintptr_t)sim_node_host(peer->node);
    hello.port = 40404;
    hello.version = (char *)(uintptr_t) "test";
    assert_int_equal(net_conn_write(peer->conn, &first, 1), OK);
    assert_int_equal(PEER_SEND(peer->conn, HELLO, hello, &hello), OK);
    loop_timer_set(&peer->timer, 50 * MS);
}

static const struct net_conn_events raw_events = {.on_data = raw_on_data,
                                                  .on_eof = raw_on_eof,
                                                  .on_drain = raw_on_drain,
                                                  .on_close = raw_on_close,
                                                  .on_connect = raw_on_connect};

/* Connections to its port are taken and never answered: it cannot be proven to be gone. */
static void raw_on_accept(void *arg, struct net_socket *socket)
{
    struct raw_peer *peer = arg;
    net_refuse(peer->net, socket);
}

static void raw_connect(struct raw_peer *peer)
{
    peer->refusal = -1;
    peer->number = 0;
    assert_int_equal(net_connect(peer->net, sim_node_host(peer->fixture->locator_node), 10334, SEC,
                                 &raw_events, peer, &peer->conn),
                     OK);
}

static bool raw_is_answered(void *arg)
{
    const struct raw_peer *peer = arg;
    return peer->refusal > 0 || (peer->refusal == 0 && peer->map != NULL);
}

/* The nth raw server, from 0; its incarnation is 101 + n. */
static struct raw_peer *raw_start(struct fixture *fixture, uint32_t n)
{
    struct raw_peer *peer = calloc(1, sizeof(*peer));
    assert_non_null(peer);
    peer->fixture = fixture;
    snprintf(peer->name, sizeof(peer->name), "raw%u", n);
    peer->incarnation = 101 + n;
    peer->answers = true;
    peer->node = sim_node_new(fixture->sim, peer->name);
    peer->loop = sim_loop_new(fixture->sim, peer->node);
    peer->net = sim_net_new(fixture->sim, peer->loop);
    assert_int_equal(loop_timer_init(&peer->timer, peer->loop, raw_on_timer, peer), OK);
    assert_int_equal(net_listen(peer->net, sim_node_host(peer->node), 40404, raw_on_accept, peer,
                                &peer->listener),
                     OK);
    raw_connect(peer);
    assert_true(sim_run_until(fixture->sim, raw_is_answered, peer, 5 * SEC));
    assert_int_equal(peer->refusal, 0);
    return peer;
}

static void raw_free(struct raw_peer *peer)
{
    if (peer->listener != NULL)
        net_listener_close(peer->listener);
    if (peer->conn != NULL)
        net_conn_abort(peer->conn);
    loop_timer_fini(&peer->timer);
    cluster_map_unref(peer->map);
    sim_net_free(peer->net);
    sim_loop_free(peer->loop);
    free(peer);
}

/* Its process ends: the host answers for it, by refusing. */
static void raw_end(struct raw_peer *peer)
{
    net_listener_close(peer->listener);
    peer->listener = NULL;
    net_conn_abort(peer->conn);
    peer->conn = NULL;
    loop_timer_clear(&peer->timer);
}

static void raw_report(struct raw_peer *peer, uint64_t incarnation, bool gone, uint32_t silent_ms)
{
    Pb__PeerReport report = PB__PEER_REPORT__INIT;
    report.incarnation = incarnation;
    report.gone = gone;
    report.silent_ms = silent_ms;
    report.evidence = (char *)(uintptr_t) "its host refuses connections";
    assert_int_equal(PEER_SEND(peer->conn, REPORT, report, &report), OK);
}

static void raw_propose(struct raw_peer *peer, const struct cluster_bucket *bucket,
                        uint32_t region_id, uint32_t id, uint32_t term, uint64_t primary,
                        uint64_t *in_sync, size_t count)
{
    Pb__PeerPropose propose = PB__PEER_PROPOSE__INIT;
    Pb__PeerBucketPlace place = PB__PEER_BUCKET_PLACE__INIT, *places[] = {&place};
    place.region_id = region_id;
    place.bucket = id;
    place.generation = bucket->generation;
    place.set_version = bucket->set_version;
    place.term = term;
    place.primary = primary;
    place.in_sync = in_sync;
    place.n_in_sync = count;
    propose.place = places;
    propose.n_place = 1;
    assert_int_equal(PEER_SEND(peer->conn, PROPOSE, propose, &propose), OK);
}

static uint64_t primary_of(const struct cluster_map *map, const struct cluster_bucket *bucket)
{
    return bucket->primary == CLUSTER_NONE ? 0 : map->members[bucket->primary].incarnation;
}

static bool has_copy(const struct cluster_map *map, const struct cluster_bucket *bucket,
                     uint64_t incarnation)
{
    uint32_t index = cluster_map_member_by_incarnation(map, incarnation);
    return index != CLUSTER_NONE && cluster_bucket_has(bucket, index);
}

#endif
