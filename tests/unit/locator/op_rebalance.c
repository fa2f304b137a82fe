/* `vug rebalance`: answered when all moves are done. */
#include "tests/unit/locator/raw_peer.h"

enum { BUCKETS = 12 };

static void rebalance(struct fixture *fixture, bool dry_run, struct answer *answer)
{
    Pb__RebalanceRequest request = PB__REBALANCE_REQUEST__INIT;
    request.dry_run = dry_run;
    ask(fixture, 1026, &request.base, answer);
}

static Pb__RebalanceResponse *response_of(const struct answer *answer)
{
    assert_int_equal(answer->number, 1027);
    return pb__rebalance_response__unpack(NULL, answer->len, answer->body);
}

/* Does what each order says, all that stand there. */
static void obey(struct raw_peer *peer)
{
    for (uint32_t i = 0; i < peer->order_count; i++) {
        const struct raw_order *order = &peer->orders[i];
        const struct cluster_bucket *bucket = bucket_of(peer->map, "r", order->bucket);
        uint64_t both[] = {101, 102};
        if (primary_of(peer->map, bucket) != peer->incarnation)
            continue;
        if (order->action == PB__PEER_PLACE__ACTION__ADD)
            raw_propose(peer, bucket, 1, order->bucket, bucket->term, peer->incarnation, both, 2);
        else if (order->action == PB__PEER_PLACE__ACTION__HAND_OVER)
            raw_propose(peer, bucket, 1, order->bucket, bucket->term, order->member, both, 2);
        else
            raw_propose(peer, bucket, 1, order->bucket, bucket->term, peer->incarnation,
                        &peer->incarnation, 1);
    }
    peer->order_count = 0;
}

static void test_moves_are_told_done_and_answered(void **state)
{
    struct fixture *fixture = *state;
    struct raw_peer *a = raw_start(fixture, 0);
    struct answer answer;
    Pb__RegionCreateRequest create = PB__REGION_CREATE_REQUEST__INIT;
    run(fixture, 500 * MS);
    create.name = message_bytes(slice_text("r"));
    create.type = message_bytes(slice_text("PARTITION"));
    create.bucket_count = BUCKETS;
    ask(fixture, 1020, &create.base, &answer);
    struct raw_peer *b = raw_start(fixture, 1);
    run(fixture, 500 * MS);
    assert_int_equal(a->order_count, 0); /* nothing is missing: nobody moves unasked */

    rebalance(fixture, true, &answer);
    Pb__RebalanceResponse *response = response_of(&answer);
    assert_int_equal(response->buckets_moved, BUCKETS / 2);
    pb__rebalance_response__free_unpacked(response, NULL);
    run(fixture, SEC);
    assert_int_equal(a->order_count, 0);

    /* Two ask; both are answered when everything is done, and not before. */
    struct client *clients = calloc(2, sizeof(*clients));
    Pb__RebalanceRequest request = PB__REBALANCE_REQUEST__INIT;
    struct slice body;
    for (uint32_t i = 0; i < 2; i++) {
        client_open(fixture, &clients[i]);
        client_send(&clients[i], 1026, &request.base);
    }
    assert_int_equal(client_reply(&clients[0], 1, SEC, &body), 0);
    for (uint32_t i = 0; i < 20; i++) {
        obey(a);
        obey(b);
        run(fixture, 100 * MS);
    }
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(client_reply(&clients[i], 1, SEC, &body), 1027);
        response = pb__rebalance_response__unpack(NULL, body.len, body.data);
        assert_int_equal(response->buckets_moved, BUCKETS / 2);
        pb__rebalance_response__free_unpacked(response, NULL);
        client_close(&clients[i]);
    }
    uint32_t led = 0;
    for (uint32_t i = 0; i < BUCKETS; i++) {
        led += primary_of(a->map, bucket_of(a->map, "r", i)) == 102;
        assert_int_equal(bucket_of(a->map, "r", i)->in_sync_count, 1);
    }
    assert_int_equal(led, BUCKETS / 2);
    assert_true(logged(fixture, "VG1241"));
    free(clients);
    raw_free(a);
    raw_free(b);
}

static void test_locator_that_nobody_follows_has_the_other_one_do_it(void **state)
{
    struct fixture *fixture = *state;
    struct answer answer;
    second_start(fixture);
    run(fixture, SEC);
    server_start(&fixture->servers[0], 11);
    assert_true(server_joins(&fixture->servers[0]));
    run(fixture, SEC);
    rebalance(fixture, false, &answer); /* it is the first of the server's list */
    assert_int_equal(answer.number, 1027);
    assert_int_equal(fixture->servers[0].relayed, 0);
    fixture->asks_second = true;
    rebalance(fixture, false, &answer);
    assert_int_equal(answer.number, 1027);
    assert_int_equal(fixture->servers[0].relayed, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_moves_are_told_done_and_answered),
        TEST(test_locator_that_nobody_follows_has_the_other_one_do_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
