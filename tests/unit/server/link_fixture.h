/* A server's link, and locators that do only what the test says, under the simulated clock and
 * network. */
#ifndef VUG_TESTS_UNIT_SERVER_LINK_FIXTURE_H
#define VUG_TESTS_UNIT_SERVER_LINK_FIXTURE_H

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <cmocka.h>

#include "protocol/message.h"
#include "protocol/peer.h"
#include "server/link.h"
#include "server/peers.h"
#include "server/replica.h"
#include "tests/lib/mem_fault.h"
#include "tests/sim/sim_net.h"

#define MS  UINT64_C(1000)
#define SEC UINT64_C(1000000)

enum { LOCATORS = 2 };

struct fixture;

struct fake_locator {
    struct fixture *fixture;
    struct sim_node *node;
    struct loop *loop;
    struct net *net;
    struct net_listener *listener;
    struct net_conn *conn; /* the newest */
    struct arena arena;
    uint32_t hellos, beacons, acks, fetches, calls, answers, wishes, leaves;
    uint64_t wished_number; /* of the newest beacon that wants an answer */
    uint64_t given;         /* epoch of the map that the server gave */
    uint64_t acknowledged, last_call, last_answer, hello_epoch;
    char hello_name[64], hello_groups[64];
    bool hello_has_cluster, hello_leaving, follows_another;
    bool skipped_first_byte;
    int refusal; /* of the next welcome; -1: no welcome at all */
    uint64_t beacon_entries;
    uint64_t beacon_number;                               /* its own */
    uint32_t proposes, places, reports, sealeds, buckets; /* messages, and what is in them */
    uint32_t last_bucket, last_in_sync, promised;
    uint64_t reported, beacon_linked, beacon_stall_us;
    bool reported_gone;
    Pb__PeerSealedBucket__Verdict verdict;
};

struct fixture {
    struct sim *sim;
    struct log *log;
    struct fake_locator locators[LOCATORS];
    struct sim_node *node;
    struct loop *loop;
    struct net *net;
    struct link *link;
    struct cluster_map *map; /* the newest */
    uint32_t maps, stops, refusals, calls, confirmations;
    uint64_t epoch;
    enum error refused;
    char refused_text[1024];
    uint32_t answers;
    uint32_t answer_code;
    char answer_text[2048];
    struct link_seal seal;
    struct link_place place;
    uint32_t seals, placed;
    bool keeps_calls; /* the test answers */
    uint64_t call_id;
};

static const uint8_t cluster_id[CLUSTER_ID_BYTES] = {7, 7, 7};

/* ---- The locators ---- */

static void send_welcome(struct fake_locator *locator)
{
    Pb__PeerWelcome welcome = PB__PEER_WELCOME__INIT;
    char text[] = "because the test says so";
    char name[] = "fake";
    welcome.cluster_id = message_bytes(slice_of(cluster_id, sizeof(cluster_id)));
    welcome.refusal = (Pb__PeerWelcome__Refusal)locator->refusal;
    welcome.text = text;
    welcome.name = name;
    assert_int_equal(PEER_SEND(locator->conn, WELCOME, welcome, &welcome), OK);
}

static void on_locator_message(struct fake_locator *locator, const Pb__PeerMessage *message)
{
    switch (message->kind_case) {
    case PB__PEER_MESSAGE__KIND_HELLO:
        locator->hellos++;
        locator->hello_epoch = message->hello->epoch;
        locator->hello_leaving = message->hello->leaving;
        locator->hello_has_cluster = message->hello->cluster_id.len > 0;
        snprintf(locator->hello_name, sizeof(locator->hello_name), "%s", message->hello->name);
        snprintf(locator->hello_groups, sizeof(locator->hello_groups), "%s|%s",
                 message->hello->n_groups > 0 ? message->hello->groups[0] : "",
                 message->hello->n_groups > 1 ? message->hello->groups[1] : "");
        if (locator->refusal >= 0)
            send_welcome(locator);
        break;
    case PB__PEER_MESSAGE__KIND_BEACON:
        locator->beacons++;
        locator->follows_another = message->beacon->follows_another;
        if (message->beacon->wants_answer) {
            locator->wishes++;
            locator->wished_number = message->beacon->number;
        }
        locator->beacon_linked = message->beacon->n_linked > 0 ? message->beacon->linked[0] : 0;
        locator->beacon_stall_us = message->beacon->loop_stall_us;
        locator->beacon_entries =
            message->beacon->n_region > 0 ? message->beacon->region[0]->entries : 0;
        break;
    case PB__PEER_MESSAGE__KIND_MAP_ACK:
        locator->acks++;
        locator->acknowledged = message->map_ack->epoch;
        break;
    case PB__PEER_MESSAGE__KIND_PROPOSE:
        locator->proposes++;
        locator->places += (uint32_t)message->propose->n_place;
        locator->last_bucket = message->propose->place[message->propose->n_place - 1]->bucket;
        locator->last_in_sync =
            (uint32_t)message->propose->place[message->propose->n_place - 1]->n_in_sync;
        break;
    case PB__PEER_MESSAGE__KIND_REPORT:
        locator->reports++;
        locator->reported = message->report->incarnation;
        locator->reported_gone = message->report->gone;
        break;
    case PB__PEER_MESSAGE__KIND_SEALED:
        locator->sealeds++;
        locator->buckets += (uint32_t)message->sealed->n_bucket;
        locator->verdict = message->sealed->bucket[0]->verdict;
        locator->promised = (uint32_t)message->sealed->bucket[0]->n_promised;
        break;
    case PB__PEER_MESSAGE__KIND_MAP_PUSH:
        locator->given = message->map_push->epoch;
        break;
    case PB__PEER_MESSAGE__KIND_MAP_FETCH:
        locator->fetches++;
        break;
    case PB__PEER_MESSAGE__KIND_CALL:
        locator->calls++;
        locator->last_call = message->call->id;
        break;
    case PB__PEER_MESSAGE__KIND_ANSWER:
        locator->answers++;
        locator->last_answer = message->answer->id;
        break;
    case PB__PEER_MESSAGE__KIND_LEAVE:
        locator->leaves++;
        break;
    default:
        fail_msg("kind %d", (int)message->kind_case);
    }
}

static size_t locator_on_data(void *arg, const uint8_t *data, size_t len)
{
    struct fake_locator *locator = arg;
    struct slice rest = slice_of(data, len);
    if (!locator->skipped_first_byte) {
        assert_int_equal(data[0], PEER_FIRST_BYTE);
        rest = slice_of(data + 1, len - 1);
        locator->skipped_first_byte = true;
    }
    for (;;) {
        struct slice frame;
        Pb__PeerMessage *message;
        assert_int_equal(peer_next_frame(&rest, 1 << 20, &frame), OK);
        if (frame.data == NULL)
            return len - rest.len;
        arena_reset(&locator->arena);
        assert_int_equal(peer_unpack(frame, &locator->arena, &message), OK);
        on_locator_message(locator, message);
    }
}

static void locator_on_eof(void *arg, struct slice rest)
{
    struct fake_locator *locator = arg;
    (void)rest;
    net_conn_abort(locator->conn);
    locator->conn = NULL;
}

static void locator_on_close(void *arg, enum error why)
{
    (void)why;
    ((struct fake_locator *)arg)->conn = NULL;
}

static void locator_on_drain(void *arg)
{
    (void)arg;
}

static void locator_on_accept(void *arg, struct net_socket *socket)
{
    static const struct net_conn_events events = {.on_data = locator_on_data,
                                                  .on_eof = locator_on_eof,
                                                  .on_drain = locator_on_drain,
                                                  .on_close = locator_on_close};
    struct fake_locator *locator = arg;
    if (locator->conn != NULL)
        net_conn_abort(locator->conn);
    locator->conn = NULL;
    locator->skipped_first_byte = false;
    assert_int_equal(net_adopt(locator->net, socket, &events, locator, &locator->conn), OK);
}

static void locator_listen(struct fake_locator *locator)
{
    assert_int_equal(net_listen(locator->net, sim_node_host(locator->node), 10334,
                                locator_on_accept, locator, &locator->listener),
                     OK);
}

static void locator_cut(struct fake_locator *locator)
{
    net_conn_abort(locator->conn);
    locator->conn = NULL;
}

static void push_map(struct fake_locator *locator, uint64_t epoch, bool with_bytes)
{
    struct cluster_map *map;
    struct buf packed;
    buf_init(&packed);
    assert_int_equal(cluster_map_new(cluster_id, &map), OK);
    map->epoch = epoch;
    assert_int_equal(cluster_map_seal(map), OK);
    assert_int_equal(cluster_map_pack(map, &packed), OK);
    Pb__PeerMapPush push = PB__PEER_MAP_PUSH__INIT;
    push.epoch = epoch;
    if (with_bytes)
        push.map = message_bytes(buf_slice(&packed));
    assert_int_equal(PEER_SEND(locator->conn, MAP_PUSH, map_push, &push), OK);
    cluster_map_unref(map);
    buf_fini(&packed);
}

static void send_beacon(struct fake_locator *locator)
{
    Pb__PeerBeacon beacon = PB__PEER_BEACON__INIT;
    beacon.number = ++locator->beacon_number;
    if (locator->conn != NULL)
        assert_int_equal(PEER_SEND(locator->conn, BEACON, beacon, &beacon), OK);
}

/* ---- The server ---- */

static void on_map(void *arg, struct cluster_map *map)
{
    struct fixture *fixture = arg;
    fixture->maps++;
    fixture->epoch = map->epoch;
    cluster_map_unref(fixture->map);
    fixture->map = cluster_map_ref(map);
    link_acknowledge(fixture->link, map->epoch);
}

static void on_refused(void *arg, enum error why, const char *text)
{
    struct fixture *fixture = arg;
    fixture->refusals++;
    fixture->refused = why;
    snprintf(fixture->refused_text, sizeof(fixture->refused_text), "%s", text);
}

static void on_confirmed(void *arg)
{
    ((struct fixture *)arg)->confirmations++;
}

static void on_stop(void *arg)
{
    ((struct fixture *)arg)->stops++;
}

static void on_load(void *arg, struct link_load *load)
{
    static const struct link_region_load regions[] = {{1, 42, 4200}};
    static const uint64_t linked[] = {77};
    (void)arg;
    load->linked = linked;
    load->linked_count = 1;
    load->loop_stall_us = 4321;
    load->regions = regions;
    load->region_count = 1;
}

static struct cluster_map *on_map_wanted(void *arg)
{
    return ((struct fixture *)arg)->map;
}

static void on_call(void *arg, uint64_t id, uint32_t number, struct slice body)
{
    struct fixture *fixture = arg;
    (void)number;
    fixture->calls++;
    fixture->call_id = id;
    if (!fixture->keeps_calls)
        link_answer(fixture->link, id, NULL, 1031, body);
}

static void on_seal(void *arg, const struct link_seal *seal, struct seal_answer *answer)
{
    struct fixture *fixture = arg;
    fixture->seal = *seal;
    fixture->seals++;
    *answer = (struct seal_answer){
        .verdict = SEAL_DONE, .last_seq = 9, .promised = {1, 2}, .promised_count = 2};
}

static void on_place(void *arg, const struct link_place *place)
{
    struct fixture *fixture = arg;
    fixture->place = *place;
    fixture->placed++;
}

static void on_answer(void *arg, const struct failure *failure, uint32_t number, struct slice body)
{
    struct fixture *fixture = arg;
    (void)number;
    (void)body;
    fixture->answers++;
    fixture->answer_code = failure == NULL ? 0 : failure->code;
    snprintf(fixture->answer_text, sizeof(fixture->answer_text), "%s",
             failure == NULL ? "" : failure->text);
}

static enum error link_start(struct fixture *fixture, uint32_t locator_count, uint32_t wait_ms)
{
    static const struct link_events events = {.on_map = on_map,
                                              .on_refused = on_refused,
                                              .on_confirmed = on_confirmed,
                                              .on_stop = on_stop,
                                              .load = on_load,
                                              .map = on_map_wanted,
                                              .on_call = on_call,
                                              .on_seal = on_seal,
                                              .on_place = on_place};
    struct net_address addresses[LOCATORS] = {{.port = 10334}, {.port = 10334}};
    for (uint32_t i = 0; i < LOCATORS; i++)
        snprintf(addresses[i].host, sizeof(addresses[i].host), "%s",
                 sim_node_host(fixture->locators[i].node));
    struct link_options options = {.locators = addresses,
                                   .locator_count = locator_count,
                                   .name = "server1",
                                   .incarnation = 11,
                                   .host = "10.0.0.9",
                                   .port = 40404,
                                   .groups = "eu, hot",
                                   .wait_ms = wait_ms};
    return link_new(fixture->loop, fixture->net, fixture->log, &options, &events, fixture,
                    &fixture->link);
}

/* The locators that are connected send beacons meanwhile. */
static void run(struct fixture *fixture, uint64_t us)
{
    for (uint64_t done = 0; done < us; done += 250 * MS) {
        sim_run_until(fixture->sim, NULL, NULL, us - done < 250 * MS ? us - done : 250 * MS);
        for (uint32_t i = 0; i < LOCATORS; i++)
            send_beacon(&fixture->locators[i]);
    }
}

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    mem_fault_fail_at(0);
    fixture->sim = sim_new(1);
    for (uint32_t i = 0; i < LOCATORS; i++) {
        struct fake_locator *locator = &fixture->locators[i];
        locator->fixture = fixture;
        locator->node = sim_node_new(fixture->sim, i == 0 ? "locator1" : "locator2");
        locator->loop = sim_loop_new(fixture->sim, locator->node);
        locator->net = sim_net_new(fixture->sim, locator->loop);
        arena_init(&locator->arena, 1 << 20);
    }
    fixture->node = sim_node_new(fixture->sim, "server1");
    fixture->loop = sim_loop_new(fixture->sim, fixture->node);
    fixture->net = sim_net_new(fixture->sim, fixture->loop);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    mem_fault_fail_at(0);
    if (fixture->link != NULL)
        link_free(fixture->link);
    cluster_map_unref(fixture->map);
    sim_net_free(fixture->net);
    sim_loop_free(fixture->loop);
    for (uint32_t i = 0; i < LOCATORS; i++) {
        struct fake_locator *locator = &fixture->locators[i];
        if (locator->listener != NULL)
            net_listener_close(locator->listener);
        sim_net_free(locator->net);
        sim_loop_free(locator->loop);
        arena_fini(&locator->arena);
    }
    sim_free(fixture->sim);
    free(fixture);
    return mem_fault_live() == 0 ? 0 : -1;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
