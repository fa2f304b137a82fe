#include "tests/unit/server/pair.h"

#include "server/replica_impl.h"

static void a_bucket_that_nobody_leads_is_named_after_ten_seconds(void **state)
{
    (void)state;
    struct pair pair;
    struct subscriber subscriber;
    ProtobufCMessage *message;
    pair_begin(&pair, 4);
    for (uint32_t s = 0; s < SERVERS; s++) {
        pair.stages[s].region->buckets[3].replica.role = REPLICA_COPY;
        pair.stages[s].region->buckets[3].replica.led = 0;
        pair.stages[s].region->buckets[3].replica.primary = 0;
    }
    Pb__CqSubscribeRequest request = subscribe_request(FILTER);
    subscriber_init(&subscriber, &pair.stages[A]);
    fixture_client_send(&subscriber.client, 1001, &request.base);
    pair_settle(&pair);
    assert_int_equal(subscriber_read(&subscriber, &message), 0);
    fake_net_advance(pair.stages[A].fixture.net, 10000000);
    assert_int_equal(subscriber_read(&subscriber, &message), 1);
    const Pb__Error *error = ((Pb__ErrorResponse *)message)->error;
    assert_non_null(strstr((const char *)error->message.data, "bucket 3 of region /my_region"));
    assert_null(pair.stages[A].fixture.server.instances->subscriptions);
    subscriber_fini(&subscriber);
    pair_end(&pair);
}

static void contents_that_are_lost_are_told_and_followed_by_a_snapshot(void **state)
{
    (void)state;
    for (uint32_t bucket = 0; bucket < 2; bucket++) { /* led here, and elsewhere */
        struct pair pair;
        struct subscriber subscriber;
        pair_begin(&pair, 2);
        Pb__CqSubscribeRequest request = subscribe_request(AVERAGE);
        pair_subscribe(&pair, &subscriber, A, &request);
        for (uint32_t i = 0; i < 20; i++)
            pair_put(&pair, NULL, i, i);
        pair_read(&pair, &subscriber);
        uint32_t before = subscriber.event_count;
        assert_int_equal(before, 20);
        for (uint32_t s = 0; s < SERVERS; s++) {
            struct bucket *lost = &pair.stages[s].region->buckets[bucket];
            bucket_lock(lost);
            replica_drop_locked(lost);
            lost->generation = 2;
            bucket_unlock(lost);
        }
        pair_move(&pair, bucket, bucket == 0 ? A : B);
        pair_read(&pair, &subscriber);
        assert_int_equal(subscriber.status_count, 1);
        assert_int_equal(subscriber.statuses[0]->code, PB__CQ_STATUS__CODE__DATA_LOSS);
        assert_int_equal(subscriber.statuses[0]->bucket, bucket);
        assert_int_equal(subscriber.snapshot_ends, 2);
        for (uint32_t i = before; i < subscriber.event_count; i++)
            assert_int_equal(subscriber.events[i].generation, 2);
        before = subscriber.event_count;
        for (uint32_t i = 0; i < 20; i++)
            pair_put(&pair, NULL, i, i);
        pair_read(&pair, &subscriber);
        assert_int_equal(subscriber.event_count, before + 20);
        subscriber_fini(&subscriber);
        pair_end(&pair);
    }
}

static void nothing_of_a_snapshot_leaves_before_it_is_committed(void **state)
{
    (void)state;
    struct pair pair;
    struct subscriber first, second;
    ProtobufCMessage *message;
    pair_begin(&pair, 1);
    Pb__CqSubscribeRequest request = subscribe_request(FILTER);
    pair_subscribe(&pair, &first, A, &request);
    pair_put(&pair, NULL, 1, 30);
    pair_read(&pair, &first);
    assert_int_equal(first.event_count, 1);
    struct bucket *bucket = &pair.stages[A].region->buckets[0];
    uint64_t committed = atomic_load(&bucket->committed);
    atomic_store(&bucket->committed, committed - 1);
    subscriber_init(&second, &pair.stages[A]);
    fixture_client_send(&second.client, 1001, &request.base);
    pair_settle(&pair);
    assert_int_equal(subscriber_read(&second, &message), 1002);
    second.id = ((Pb__CqSubscribeResponse *)message)->subscription_id;
    pair_read(&pair, &second);
    assert_int_equal(second.event_count, 0);
    atomic_store(&bucket->committed, committed);
    pair_read(&pair, &second);
    assert_int_equal(second.event_count, 1);
    assert_int_equal(second.snapshot_ends, 1);
    subscriber_fini(&first);
    subscriber_fini(&second);
    pair_end(&pair);
}

static void a_changelog_that_moves_within_its_snapshot_is_sent_again(void **state)
{
    (void)state;
    struct pair pair;
    struct subscriber subscriber;
    ProtobufCMessage *message;
    pair_begin(&pair, 2);
    for (uint32_t i = 0; i < 20; i++)
        pair_put(&pair, NULL, i, i);
    Pb__CqSubscribeRequest request = subscribe_request(GROUPING);
    request.initial_credit_events = 1;
    pair_subscribe(&pair, &subscriber, A, &request);
    pair_read(&pair, &subscriber);
    assert_int_equal(subscriber.event_count, 1);
    uint32_t bucket = subscriber.events[0].bucket;
    pair_move(&pair, bucket, bucket == 0 ? B : A);
    Pb__CqAck ack = PB__CQ_ACK__INIT;
    ack.subscription_id = subscriber.id;
    ack.credit_events = 1000;
    pair_settle(&pair);
    fixture_client_send(&subscriber.client, 1004, &ack.base);
    pair_settle(&pair);
    assert_int_equal(subscriber_read(&subscriber, &message), 0);
    assert_int_equal(subscriber.status_count, 1);
    assert_int_equal(subscriber.statuses[0]->code, PB__CQ_STATUS__CODE__RESNAPSHOT);
    assert_int_equal(subscriber.statuses[0]->bucket, bucket);
    assert_int_equal(subscriber.event_count, 1 + 20);
    assert_int_equal(subscriber.snapshot_ends, 1);
    subscriber_fini(&subscriber);
    pair_end(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bucket_that_nobody_leads_is_named_after_ten_seconds),
        cmocka_unit_test(contents_that_are_lost_are_told_and_followed_by_a_snapshot),
        cmocka_unit_test(nothing_of_a_snapshot_leaves_before_it_is_committed),
        cmocka_unit_test(a_changelog_that_moves_within_its_snapshot_is_sent_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
