/* Orders to primaries, until the map shows them done. */
#include "tests/unit/locator/raw_peer.h"

enum { ADD = 1, DROP = 2, HAND_OVER = 3 };

/* What a primary does in the end: proposes what it was ordered. */
static void obey(struct raw_peer *peer)
{
    for (uint32_t i = 0; i < peer->order_count; i++) {
        const struct raw_order *order = &peer->orders[i];
        const struct cluster_bucket *bucket = bucket_of(peer->map, "r", order->bucket);
        uint64_t set[17], primary = 101;
        size_t count = 0;
        if (primary_of(peer->map, bucket) != peer->incarnation)
            continue; /* an older order */
        primary = peer->incarnation;
        for (uint32_t j = 0; j < bucket->in_sync_count; j++)
            if (order->action != DROP ||
                peer->map->members[bucket->in_sync[j]].incarnation != order->member)
                set[count++] = peer->map->members[bucket->in_sync[j]].incarnation;
        if (order->action == ADD && !has_copy(peer->map, bucket, order->member))
            set[count++] = order->member;
        if (order->action == HAND_OVER)
            primary = order->member;
        raw_propose(peer, bucket, order->region_id, order->bucket, bucket->term, primary, set,
                    count);
    }
    peer->order_count = 0;
}

static void create(struct fixture *fixture, const char *type, uint32_t redundant, uint32_t buckets)
{
    Pb__RegionCreateRequest request = PB__REGION_CREATE_REQUEST__INIT;
    struct answer answer;
    request.name = message_bytes(slice_text("r"));
    request.type = message_bytes(slice_text(type));
    request.redundant_copies = redundant;
    request.bucket_count = buckets;
    ask(fixture, 1020, &request.base, &answer);
    assert_int_equal(answer.number, 1021);
}

static void obey_all(struct fixture *fixture, struct raw_peer **peers, uint32_t count,
                     uint32_t rounds)
{
    for (uint32_t i = 0; i < rounds; i++) {
        for (uint32_t j = 0; j < count; j++)
            if (peers[j]->conn != NULL)
                obey(peers[j]);
        run(fixture, 100 * MS);
    }
}

static uint32_t copies_of(const struct raw_peer *peer, uint32_t buckets, uint64_t incarnation)
{
    uint32_t copies = 0;
    for (uint32_t i = 0; i < buckets; i++)
        copies += has_copy(peer->map, bucket_of(peer->map, "r", i), incarnation);
    return copies;
}

static void test_few_buckets_at_a_time_and_again_until_it_is_done(void **state)
{
    struct fixture *fixture = *state;
    struct raw_peer *a = raw_start(fixture, 0);
    run(fixture, 500 * MS);
    create(fixture, "PARTITION_REDUNDANT", 1, 20);
    struct raw_peer *b = raw_start(fixture, 1);
    run(fixture, 500 * MS);
    assert_int_equal(a->order_count, 8);
    for (uint32_t i = 0; i < 8; i++) {
        assert_int_equal(a->orders[i].action, ADD);
        assert_int_equal(a->orders[i].member, 102);
        assert_int_equal(a->orders[i].generation, 1);
    }
    run(fixture, 1500 * MS);
    assert_in_range(a->order_count, 16, 24);
    struct raw_peer *peers[] = {a, b};
    obey_all(fixture, peers, 2, 40);
    assert_int_equal(copies_of(a, 20, 102), 20);
    a->order_count = 0;
    run(fixture, 3 * SEC);
    assert_int_equal(a->order_count, 0);
    assert_true(logged(fixture, "VG1240"));
    raw_free(a);
    raw_free(b);
}

static void test_redundancy_is_restored_at_once_after_a_failover(void **state)
{
    struct fixture *fixture = *state;
    struct raw_peer *peers[3];
    for (uint32_t i = 0; i < 3; i++)
        peers[i] = raw_start(fixture, i);
    run(fixture, 500 * MS);
    create(fixture, "PARTITION_REDUNDANT", 1, 6);
    raw_end(peers[0]);
    run(fixture, 40 * MS);
    assert_true(peers[1]->order_count + peers[2]->order_count >= 4);
    obey_all(fixture, peers, 3, 10);
    assert_int_equal(copies_of(peers[1], 6, 102), 6);
    assert_int_equal(copies_of(peers[1], 6, 103), 6);
    for (uint32_t i = 0; i < 3; i++)
        raw_free(peers[i]);
}

static void test_new_server_becomes_a_copy_of_everything_replicated(void **state)
{
    struct fixture *fixture = *state;
    struct raw_peer *peers[3];
    for (uint32_t i = 0; i < 2; i++)
        peers[i] = raw_start(fixture, i);
    run(fixture, 500 * MS);
    create(fixture, "REPLICATE", 0, 5);
    assert_int_equal(copies_of(peers[0], 5, 102), 5);
    peers[2] = raw_start(fixture, 2);
    run(fixture, 500 * MS);
    obey_all(fixture, peers, 3, 10);
    assert_int_equal(copies_of(peers[0], 5, 103), 5);
    for (uint32_t i = 0; i < 3; i++)
        raw_free(peers[i]);
}

static void test_server_that_leaves_is_relieved_and_struck_when_it_ends(void **state)
{
    struct fixture *fixture = *state;
    struct raw_peer *peers[3];
    Pb__PeerLeave leave = PB__PEER_LEAVE__INIT;
    for (uint32_t i = 0; i < 3; i++)
        peers[i] = raw_start(fixture, i);
    run(fixture, 500 * MS);
    create(fixture, "PARTITION_REDUNDANT", 1, 9);
    assert_int_equal(PEER_SEND(peers[0]->conn, LEAVE, leave, &leave), OK);
    run(fixture, 300 * MS);
    assert_int_equal(peers[1]->map->members[0].state, CLUSTER_LEAVING);
    obey_all(fixture, peers, 3, 40);
    assert_int_equal(copies_of(peers[1], 9, 101), 0);
    for (uint32_t i = 0; i < 9; i++)
        assert_int_equal(bucket_of(peers[1]->map, "r", i)->in_sync_count, 2);
    assert_non_null(peers[0]->conn);
    raw_end(peers[0]);
    run(fixture, 500 * MS);
    assert_int_equal(peers[1]->map->member_count, 2);
    assert_false(logged(fixture, "ERROR"));
    for (uint32_t i = 0; i < 3; i++)
        raw_free(peers[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_few_buckets_at_a_time_and_again_until_it_is_done),
        TEST(test_redundancy_is_restored_at_once_after_a_failover),
        TEST(test_new_server_becomes_a_copy_of_everything_replicated),
        TEST(test_server_that_leaves_is_relieved_and_struck_when_it_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
