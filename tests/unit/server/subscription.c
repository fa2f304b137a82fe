#include "tests/unit/server/subscriber.h"

#include "protocol/codec.h"

static void a_snapshot_then_its_end_once_then_the_tail(void **state)
{
    (void)state;
    struct stage stage;
    struct subscriber subscriber;
    stage_begin(&stage, 5);
    for (uint32_t id = 0; id < 20; id++)
        stage_put(&stage, NULL, id, id);
    subscriber_begin(&subscriber, &stage, AVERAGE);
    assert_int_equal(subscriber.response->n_column, 2);
    assert_true(subscriber.response->append_only);
    assert_true(subscriber.response->token.len > 0);
    assert_int_equal(subscriber.event_count, 20);
    assert_int_equal(subscriber.snapshot_ends, 1);
    assert_true(subscriber.token.data != subscriber.response->token.data); /* the end brings one */
    for (uint32_t i = 0; i < 20; i++) {
        const struct event *event = &subscriber.events[i];
        assert_int_equal(event->phase, PB__CQ_EVENT_BATCH__PHASE__SNAPSHOT);
        assert_int_equal(event->kind, PB__KIND__INSERT);
        assert_true(event->number == event->id_number);
    }
    for (uint32_t i = 0; i < 100; i++)
        stage_put(&stage, NULL, i % 20, i);
    subscriber_turn(&subscriber);
    assert_int_equal(subscriber.event_count, 120);
    assert_int_equal(subscriber.snapshot_ends, 1);
    double sums[20];
    for (uint32_t id = 0; id < 20; id++)
        sums[id] = id;
    for (uint32_t i = 0; i < 100; i++) {
        const struct event *event = &subscriber.events[20 + i];
        assert_int_equal(event->phase, PB__CQ_EVENT_BATCH__PHASE__TAIL);
        sums[i % 20] += i;
        assert_int_equal(event->id_number, i % 20);
        assert_true(event->number == sums[i % 20] / (2 + i / 20));
    }
    subscriber_fini(&subscriber);
    stage_end(&stage);
}

static void a_start_with_the_latest_has_no_snapshot(void **state)
{
    (void)state;
    struct stage stage;
    struct subscriber subscriber;
    stage_begin(&stage, 5);
    for (uint32_t id = 0; id < 20; id++)
        stage_put(&stage, NULL, id, 100);
    Pb__CqSubscribeRequest request = subscribe_request(AVERAGE);
    request.start = PB__START__LATEST;
    subscriber_init(&subscriber, &stage);
    subscriber_subscribe(&subscriber, &request);
    stage_put(&stage, NULL, 3, 8);
    subscriber_turn(&subscriber);
    assert_int_equal(subscriber.snapshot_ends, 0);
    assert_int_equal(subscriber.event_count, 1);
    assert_true(subscriber.events[0].number == 8);
    subscriber_fini(&subscriber);
    stage_end(&stage);
}

static void credit_for_events_is_respected(void **state)
{
    (void)state;
    struct stage stage;
    struct subscriber subscriber;
    stage_begin(&stage, 5);
    for (uint32_t id = 0; id < 20; id++)
        stage_put(&stage, NULL, id, id);
    Pb__CqSubscribeRequest request = subscribe_request(AVERAGE);
    request.initial_credit_events = 7;
    subscriber_init(&subscriber, &stage);
    subscriber_subscribe(&subscriber, &request);
    assert_int_equal(subscriber.event_count, 7);
    assert_int_equal(subscriber.snapshot_ends, 0);
    subscriber_ack(&subscriber, 4, 0);
    assert_int_equal(subscriber.event_count, 11);
    for (uint32_t i = 0; i < 30; i++)
        stage_put(&stage, NULL, i % 20, i);
    subscriber_turn(&subscriber);
    assert_int_equal(subscriber.event_count, 11);
    uint32_t events = 11;
    for (uint32_t acks = 0; acks < 45; acks++) {
        subscriber_ack(&subscriber, 1, 0);
        assert_in_range(subscriber.event_count, events, events + 1);
        events = subscriber.event_count;
    }
    /* The rows of buckets whose snapshot was cut after the puts are there once, with what they came
     * to. */
    assert_in_range(events, 11 + 20, 50);
    assert_int_equal(subscriber.snapshot_ends, 1);
    double last[20] = {0};
    for (uint32_t i = 0; i < events; i++)
        last[subscriber.events[i].id_number] = subscriber.events[i].number;
    for (uint32_t id = 0; id < 20; id++)
        assert_true(last[id] == (id < 10 ? (id + id + id + 20) / 3.0 : id));
    subscriber_fini(&subscriber);
    stage_end(&stage);
}

static void the_largest_credit_does_not_wrap(void **state)
{
    (void)state;
    struct stage stage;
    struct subscriber subscriber;
    stage_begin(&stage, 5);
    Pb__CqSubscribeRequest request = subscribe_request(AVERAGE);
    request.initial_credit_events = request.initial_credit_bytes = UINT64_MAX;
    subscriber_init(&subscriber, &stage);
    subscriber_subscribe(&subscriber, &request);
    subscriber_ack(&subscriber, 1, 1);
    for (uint32_t i = 0; i < 30; i++)
        stage_put(&stage, NULL, i, i);
    subscriber_turn(&subscriber);
    assert_int_equal(subscriber.event_count, 30);
    subscriber_fini(&subscriber);
    stage_end(&stage);
}

static void credit_for_bytes_is_respected_and_a_large_event_passes_alone(void **state)
{
    (void)state;
    struct stage stage;
    struct subscriber subscriber;
    stage_begin(&stage, 5);
    Pb__CqSubscribeRequest request = subscribe_request(AVERAGE);
    request.initial_credit_bytes = 1;
    subscriber_init(&subscriber, &stage);
    subscriber_subscribe(&subscriber, &request);
    for (uint32_t i = 0; i < 40; i++)
        stage_put(&stage, NULL, i % 20, i);
    subscriber_turn(&subscriber);
    assert_int_equal(subscriber.event_count, 1);
    /* What an event took beyond the credit is owed: one byte more than that lets the next one pass.
     */
    uint64_t given = 1;
    for (uint32_t events = 2; events <= 10; events++) {
        uint64_t owed = subscriber.encoded_bytes - given;
        assert_true(owed > 1);
        subscriber_ack(&subscriber, 0, owed);
        assert_int_equal(subscriber.event_count, events - 1);
        subscriber_ack(&subscriber, 0, 1);
        assert_int_equal(subscriber.event_count, events);
        given += owed + 1;
    }
    subscriber_fini(&subscriber);
    stage_end(&stage);
}

static void batches_have_at_most_as_many_events_as_asked_for(void **state)
{
    (void)state;
    struct stage stage;
    struct subscriber subscriber;
    stage_begin(&stage, 5);
    for (uint32_t id = 0; id < 20; id++)
        stage_put(&stage, NULL, id, id);
    Pb__CqSubscribeRequest request = subscribe_request(AVERAGE);
    request.max_batch_events = 3;
    subscriber_init(&subscriber, &stage);
    subscriber_subscribe(&subscriber, &request);
    for (uint32_t i = 0; i < 30; i++)
        stage_put(&stage, NULL, i % 20, i);
    subscriber_turn(&subscriber);
    assert_int_equal(subscriber.event_count, 50);
    for (uint32_t i = 0, from = 0; i < subscriber.batch_count; i++) {
        assert_in_range(subscriber.token_events[i] - from, 0, 3);
        from = subscriber.token_events[i];
    }
    subscriber_fini(&subscriber);
    stage_end(&stage);
}

static void a_grouping_is_pushed_as_a_changelog(void **state)
{
    (void)state;
    struct stage stage;
    struct subscriber subscriber;
    stage_begin(&stage, 5);
    stage_put(&stage, NULL, 1, 10);
    subscriber_begin(&subscriber, &stage, GROUPING);
    assert_false(subscriber.response->append_only);
    stage_put(&stage, NULL, 1, 20);
    stage_put(&stage, NULL, 2, 7);
    stage_put(&stage, NULL, 2, 7); /* an average that stays is no change */
    stage_put(&stage, NULL, 2, 9);
    subscriber_turn(&subscriber);
    static const struct {
        Pb__Kind kind;
        const char *id;
        double number;
    } expected[] = {{PB__KIND__INSERT, "s1", 10},       {PB__KIND__UPDATE_BEFORE, "s1", 10},
                    {PB__KIND__UPDATE_AFTER, "s1", 15}, {PB__KIND__INSERT, "s2", 7},
                    {PB__KIND__UPDATE_BEFORE, "s2", 7}, {PB__KIND__UPDATE_AFTER, "s2", 23.0 / 3}};
    assert_int_equal(subscriber.event_count, 6);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(subscriber.events[i].kind, expected[i].kind);
        assert_string_equal(subscriber.events[i].id, expected[i].id);
        assert_true(subscriber.events[i].number == expected[i].number);
    }
    subscriber_fini(&subscriber);
    stage_end(&stage);
}

static void upserts_leave_out_what_they_replace(void **state)
{
    (void)state;
    struct stage stage;
    struct subscriber subscriber, grouping;
    stage_begin(&stage, 5);
    stage_put(&stage, NULL, 1, 10);
    Pb__CqSubscribeRequest request = subscribe_request(AVERAGE);
    request.encoding = PB__ENCODING__UPSERT;
    subscriber_init(&subscriber, &stage);
    subscriber_subscribe(&subscriber, &request);
    request = subscribe_request(GROUPING);
    request.encoding = PB__ENCODING__UPSERT;
    request.initial_credit_events = 4;
    subscriber_init(&grouping, &stage);
    subscriber_subscribe(&grouping, &request);
    stage_put(&stage, NULL, 1, 20);
    stage_put(&stage, NULL, 2, 7);
    stage_put(&stage, NULL, 2, 9);
    subscriber_turn(&subscriber);
    subscriber_turn(&grouping);
    static const double expected[] = {10, 15, 7, 8};
    assert_int_equal(subscriber.event_count, 4);
    assert_int_equal(grouping.event_count, 4); /* what is left out takes no credit */
    for (int i = 0; i < 4; i++) {
        assert_int_equal(subscriber.events[i].kind, PB__KIND__UPDATE_AFTER);
        assert_int_equal(grouping.events[i].kind, PB__KIND__UPDATE_AFTER);
        assert_true(subscriber.events[i].number == expected[i]);
        assert_true(grouping.events[i].number == expected[i]);
    }
    subscriber_fini(&subscriber);
    subscriber_fini(&grouping);
    stage_end(&stage);
}

static void only_the_buckets_asked_for_are_pushed(void **state)
{
    (void)state;
    struct stage stage;
    struct subscriber subscriber;
    uint32_t wanted[] = {1, 3};
    stage_begin(&stage, 5);
    for (uint32_t id = 0; id < 30; id++)
        stage_put(&stage, NULL, id, id);
    Pb__CqSubscribeRequest request = subscribe_request(AVERAGE);
    request.n_bucket = 2;
    request.bucket = wanted;
    subscriber_init(&subscriber, &stage);
    subscriber_subscribe(&subscriber, &request);
    for (uint32_t id = 0; id < 30; id++)
        stage_put(&stage, NULL, id, id);
    subscriber_turn(&subscriber);
    uint64_t expected = 2 * (stage.region->buckets[1].table.entry_count +
                             stage.region->buckets[3].table.entry_count);
    assert_true(expected > 0);
    assert_int_equal(subscriber.event_count, expected);
    for (uint32_t i = 0; i < subscriber.event_count; i++)
        assert_true(subscriber.events[i].bucket == 1 || subscriber.events[i].bucket == 3);
    wanted[1] = 5;
    assert_int_equal(fixture_client_fail(&subscriber.client, 1001, &request.base)->error_code,
                     FAILURE_INVALID_REQUEST);
    subscriber_fini(&subscriber);
    stage_end(&stage);
}

static void progress_brings_a_token_without_events(void **state)
{
    (void)state;
    struct stage stage;
    struct subscriber subscriber, resumed;
    stage_begin(&stage, 5);
    Pb__CqSubscribeRequest request = subscribe_request(FILTER);
    request.progress = true;
    subscriber_init(&subscriber, &stage);
    subscriber_subscribe(&subscriber, &request);
    struct slice first = subscriber.token;
    for (uint32_t i = 0; i < 30; i++)
        stage_put(&stage, NULL, i, 5); /* none of them passes the filter */
    subscriber_turn(&subscriber);
    assert_int_equal(subscriber.event_count, 0);
    fake_net_advance(stage.fixture.net, 1000000);
    subscriber_turn(&subscriber);
    assert_int_equal(subscriber.empty_batches, 1);
    assert_false(slice_equal(first, subscriber.token));
    fake_net_advance(stage.fixture.net, 3000000); /* nothing moved */
    subscriber_turn(&subscriber);
    assert_int_equal(subscriber.empty_batches, 1);
    stage_put(&stage, NULL, 1, 50);
    subscriber_turn(&subscriber);
    fake_net_advance(stage.fixture.net, 1000000);
    subscriber_turn(&subscriber);
    assert_int_equal(subscriber.event_count, 1);
    assert_int_equal(subscriber.empty_batches, 2);
    request = subscribe_request(FILTER);
    request.resume_token = message_bytes(subscriber.token);
    subscriber_init(&resumed, &stage);
    subscriber_subscribe(&resumed, &request);
    assert_int_equal(resumed.event_count, 0);
    assert_int_equal(resumed.status_count, 0);
    stage_put(&stage, NULL, 1, 51);
    subscriber_turn(&resumed);
    assert_int_equal(resumed.event_count, 1);
    subscriber_fini(&resumed);
    subscriber_fini(&subscriber);
    stage_end(&stage);
}

static void unsubscribing_ends_the_pushes_and_an_unnamed_instance(void **state)
{
    (void)state;
    struct stage stage;
    struct subscriber subscriber;
    stage_begin(&stage, 5);
    subscriber_begin(&subscriber, &stage, AVERAGE);
    assert_int_equal(server_fixture_instances(&stage.fixture), 1);
    stage_put(&stage, NULL, 1, 1);
    subscriber_turn(&subscriber);
    Pb__CqUnsubscribeRequest request = PB__CQ_UNSUBSCRIBE_REQUEST__INIT;
    request.subscription_id = subscriber.id;
    fixture_client_ask(&subscriber.client, 1005, &request.base, 1006);
    assert_int_equal(server_fixture_instances(&stage.fixture), 0);
    stage_put(&stage, NULL, 1, 1);
    subscriber_turn(&subscriber);
    assert_int_equal(subscriber.event_count, 1);
    assert_int_equal(fixture_client_fail(&subscriber.client, 1005, &request.base)->error_code,
                     FAILURE_INVALID_REQUEST);
    subscriber_ack(&subscriber, 1, 1); /* crossed its end */
    subscriber_fini(&subscriber);
    stage_end(&stage);
}

static void unsubscribing_while_the_start_is_read_is_clean(void **state)
{
    (void)state;
    struct stage stage;
    struct fixture_client client;
    ProtobufCMessage *message;
    char key[16];
    stage_begin(&stage, 3);
    for (uint32_t i = 0; i < 9000; i++) {
        snprintf(key, sizeof key, "r%u", i);
        stage_put(&stage, key, i % 50, i);
    }
    fixture_client_init(&client, &stage.fixture);
    Pb__CqSubscribeRequest request = subscribe_request(AVERAGE);
    /* Both requests arrive together: the second one runs before the rest of the start is read. */
    Pb__CqUnsubscribeRequest end = PB__CQ_UNSUBSCRIBE_REQUEST__INIT;
    end.subscription_id = 1;
    fake_conn_block(client.conn, true);
    uint8_t frames[256], *at = frames;
    size_t len = protobuf_c_message_get_packed_size(&request.base),
           message_len = codec_bytes_field_size(1001, len);
    at = codec_put_bytes_header(codec_put_varint(at, message_len), 1001, len);
    at += protobuf_c_message_pack(&request.base, at);
    len = protobuf_c_message_get_packed_size(&end.base);
    message_len = codec_bytes_field_size(1005, len);
    at = codec_put_bytes_header(codec_put_varint(at, message_len), 1005, len);
    at += protobuf_c_message_pack(&end.base, at);
    fake_conn_feed(client.conn, frames, (size_t)(at - frames));
    fake_conn_block(client.conn, false);
    fake_net_turn(stage.fixture.net);
    assert_int_equal(fixture_client_receive(&client, &message), 1002);
    assert_int_equal(server_fixture_instances(&stage.fixture), 0);
    fixture_client_fini(&client);
    stage_end(&stage);
}

static void a_connection_may_go_while_its_task_is_on_its_way(void **state)
{
    (void)state;
    struct stage stage;
    struct subscriber subscriber;
    for (int round = 0; round < 3; round++) {
        stage_begin(&stage, 5);
        subscriber_begin(&subscriber, &stage, AVERAGE);
        uint8_t stored[32], document[80];
        struct value key = {.type = VALUE_STRING, .bytes = slice_text("s1")};
        struct value json = {.type = VALUE_JSON,
                             .bytes = slice_text("{\"id\":\"s1\",\"temperature\":1}")};
        struct bucket_key bucket_key = {
            slice_of(stored, (size_t)(value_store(&key, stored) - stored)), 1};
        struct slice value = slice_of(document, (size_t)(value_store(&json, document) - document));
        /* As from another thread: the task is in the mailbox, and its turn has not come. */
        assert_int_equal(bucket_put(region_bucket(stage.region, &key), &bucket_key, value, 1), OK);
        if (round % 2 == 0)
            fake_conn_reset(subscriber.client.conn);
        else if (round == 1)
            fake_conn_eof(subscriber.client.conn);
        fake_net_turn(stage.fixture.net);
        subscriber_fini(&subscriber);
        stage_end(&stage);
    }
}

static void a_destroyed_region_ends_its_subscriptions(void **state)
{
    (void)state;
    struct stage stage;
    struct subscriber subscriber;
    stage_begin(&stage, 5);
    subscriber_begin(&subscriber, &stage, AVERAGE);
    stage_put(&stage, NULL, 1, 1);
    subscriber_turn(&subscriber);
    server_fixture_remove_region(&stage.fixture, "my_region");
    subscriber_turn(&subscriber);
    assert_int_equal(subscriber.status_count, 2);
    assert_int_equal(subscriber.statuses[0]->code, PB__CQ_STATUS__CODE__REGION_DESTROYED);
    assert_int_equal(subscriber.statuses[1]->code, PB__CQ_STATUS__CODE__CLOSED);
    assert_int_equal(fake_conn_state(subscriber.client.conn), FAKE_OPEN);
    registry_upkeep(&stage.fixture.server);
    assert_int_equal(server_fixture_instances(&stage.fixture), 0);
    subscriber_fini(&subscriber);
    stage_end(&stage);
}

static void a_query_that_missed_a_row_is_ended_in_so_many_words(void **state)
{
    (void)state;
    struct stage stage;
    struct subscriber subscriber;
    stage_begin(&stage, 5);
    subscriber_begin(&subscriber, &stage, AVERAGE);
    cq_instance_fail(stage.fixture.server.instances);
    subscriber_turn(&subscriber);
    assert_int_equal(subscriber.status_count, 2);
    assert_int_equal(subscriber.statuses[0]->code, PB__CQ_STATUS__CODE__ERROR);
    assert_int_equal(subscriber.statuses[1]->code, PB__CQ_STATUS__CODE__CLOSED);
    registry_upkeep(&stage.fixture.server);
    assert_int_equal(server_fixture_instances(&stage.fixture), 0);
    subscriber_fini(&subscriber);
    stage_end(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_snapshot_then_its_end_once_then_the_tail),
        cmocka_unit_test(a_start_with_the_latest_has_no_snapshot),
        cmocka_unit_test(credit_for_events_is_respected),
        cmocka_unit_test(the_largest_credit_does_not_wrap),
        cmocka_unit_test(credit_for_bytes_is_respected_and_a_large_event_passes_alone),
        cmocka_unit_test(batches_have_at_most_as_many_events_as_asked_for),
        cmocka_unit_test(a_grouping_is_pushed_as_a_changelog),
        cmocka_unit_test(upserts_leave_out_what_they_replace),
        cmocka_unit_test(only_the_buckets_asked_for_are_pushed),
        cmocka_unit_test(progress_brings_a_token_without_events),
        cmocka_unit_test(unsubscribing_ends_the_pushes_and_an_unnamed_instance),
        cmocka_unit_test(unsubscribing_while_the_start_is_read_is_clean),
        cmocka_unit_test(a_connection_may_go_while_its_task_is_on_its_way),
        cmocka_unit_test(a_destroyed_region_ends_its_subscriptions),
        cmocka_unit_test(a_query_that_missed_a_row_is_ended_in_so_many_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
