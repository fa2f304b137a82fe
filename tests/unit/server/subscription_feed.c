#include "tests/unit/server/pair.h"

enum { IDS = 40 };

/* Sums of what was put, and what the averages of each id must have been, in order. */
struct ledger {
    double sums[IDS];
    uint32_t counts[IDS];
    double averages[IDS][600];
    uint32_t expected[IDS]; /* how many */
    bool begins_with_rows;  /* the first of each id was there at the start */
};

static void put(struct pair *pair, struct ledger *ledger, uint32_t id, double temperature)
{
    pair_put(pair, NULL, id, temperature);
    ledger->sums[id] += temperature;
    ledger->counts[id]++;
    assert_in_range(ledger->expected[id], 0, 599);
    ledger->averages[id][ledger->expected[id]++] = ledger->sums[id] / ledger->counts[id];
}

/* The events of each id are `from` and the following ones of what was to be, each once and in
 * order, up to the last. */
static void check_from(const struct ledger *ledger, const struct event *events, uint32_t count,
                       const uint32_t *from)
{
    uint32_t at[IDS];
    for (uint32_t id = 0; id < IDS; id++)
        at[id] = from == NULL ? 0 : from[id];
    for (uint32_t i = 0; i < count; i++) {
        uint32_t id = events[i].id_number;
        assert_in_range(at[id], 0, ledger->expected[id] - 1);
        /* A row that was replaced before its snapshot was cut is told by its later events alone. */
        if (at[id] == 0 && ledger->begins_with_rows && events[i].number != ledger->averages[id][0])
            at[id]++;
        assert_true(events[i].number == ledger->averages[id][at[id]]);
        at[id]++;
    }
    for (uint32_t id = 0; id < IDS; id++)
        assert_int_equal(at[id], ledger->expected[id]);
}

static void a_subscription_covers_the_buckets_of_both_servers(void **state)
{
    (void)state;
    struct pair pair;
    struct subscriber subscriber;
    static struct ledger ledger;
    memset(&ledger, 0, sizeof ledger);
    pair_begin(&pair, 8);
    uint32_t last[IDS];
    for (uint32_t id = 0; id < IDS; id++) {
        put(&pair, &ledger, id, id);
        last[id] = 0; /* the snapshot has the latest row */
    }
    Pb__CqSubscribeRequest request = subscribe_request(AVERAGE);
    pair_subscribe(&pair, &subscriber, A, &request);
    pair_read(&pair, &subscriber);
    assert_int_equal(subscriber.event_count, IDS);
    assert_int_equal(subscriber.snapshot_ends, 1);
    for (uint32_t i = 0; i < IDS; i++)
        assert_int_equal(subscriber.events[i].phase, PB__CQ_EVENT_BATCH__PHASE__SNAPSHOT);
    for (uint32_t i = 0; i < 400; i++)
        put(&pair, &ledger, i % IDS, i);
    pair_read(&pair, &subscriber);
    assert_int_equal(subscriber.event_count, IDS + 400);
    assert_int_equal(subscriber.snapshot_ends, 1);
    assert_int_equal(subscriber.status_count, 0);
    check_from(&ledger, subscriber.events, subscriber.event_count, last);
    bool seen[8] = {false};
    for (uint32_t i = 0; i < subscriber.event_count; i++)
        seen[subscriber.events[i].bucket] = true;
    for (uint32_t i = 0; i < 8; i++)
        assert_true(seen[i]);
    subscriber_fini(&subscriber);
    pair_end(&pair);
}

static void credit_bounds_what_waits_anywhere(void **state)
{
    (void)state;
    struct pair pair;
    struct subscriber subscriber;
    static struct ledger ledger;
    memset(&ledger, 0, sizeof ledger);
    pair_begin(&pair, 4);
    Pb__CqSubscribeRequest request = subscribe_request(AVERAGE);
    request.initial_credit_events = 3;
    request.start = PB__START__LATEST;
    pair_subscribe(&pair, &subscriber, A, &request);
    for (uint32_t i = 0; i < 15000; i++) {
        uint32_t id = i % IDS;
        if (i < 400)
            put(&pair, &ledger, id, i);
        else
            pair_put(&pair, NULL, id, i);
    }
    pair_read(&pair, &subscriber);
    assert_int_equal(subscriber.event_count, 3);
    struct feed_in *feed = pair.stages[A].fixture.worker == NULL
                               ? NULL
                               : pair.stages[A].fixture.server.instances->subscriptions->feeds;
    assert_non_null(feed);
    assert_in_range(feed->items.len + feed->inbox.len, LIMIT_FEED_BYTES / 2,
                    LIMIT_FEED_BYTES + 80 * 1024);
    for (uint32_t acks = 0; acks < 3; acks++) {
        ProtobufCMessage *message;
        Pb__CqAck ack = PB__CQ_ACK__INIT;
        ack.subscription_id = subscriber.id;
        ack.credit_events = acks < 2 ? 5 : 100000;
        fixture_client_send(&subscriber.client, 1004, &ack.base);
        pair_settle(&pair);
        assert_int_equal(subscriber_read(&subscriber, &message), 0);
        assert_int_equal(subscriber.event_count, acks < 2 ? 8 + acks * 5 : 15000);
    }
    subscriber_fini(&subscriber);
    pair_end(&pair);
}

static void a_feed_that_broke_goes_on_where_it_was(void **state)
{
    (void)state;
    struct pair pair;
    struct subscriber subscriber;
    static struct ledger ledger;
    memset(&ledger, 0, sizeof ledger);
    pair_begin(&pair, 4);
    Pb__CqSubscribeRequest request = subscribe_request(AVERAGE);
    pair_subscribe(&pair, &subscriber, A, &request);
    for (uint32_t i = 0; i < 100; i++) {
        put(&pair, &ledger, i % IDS, i);
        if (i % 7 == 0)
            pair_carry(&pair);
        if (i % 10 == 0)
            pair_break(&pair, i % 20 == 0);
        if (i % 20 == 19) {
            pair_break(&pair, true);
            pair_settle(&pair);
        }
    }
    pair_break(&pair, true);
    pair_read(&pair, &subscriber);
    check_from(&ledger, subscriber.events, subscriber.event_count, NULL);
    assert_int_equal(subscriber.status_count, 0);
    subscriber_fini(&subscriber);
    pair_end(&pair);
}

static void a_bucket_may_move_while_its_events_flow(void **state)
{
    (void)state;
    struct pair pair;
    struct subscriber subscriber;
    static struct ledger ledger;
    memset(&ledger, 0, sizeof ledger);
    pair_begin(&pair, 4);
    Pb__CqSubscribeRequest request = subscribe_request(AVERAGE);
    request.token_every_batch = true;
    pair_subscribe(&pair, &subscriber, A, &request);
    for (uint32_t i = 0; i < 300; i++) {
        put(&pair, &ledger, i % IDS, i);
        if (i % 5 == 0)
            pair_turn(&pair);
        if (i % 11 == 0)
            pair_move(&pair, i % 4, (i / 11) % 2 == 0 ? B : A);
        if (i % 17 == 0)
            pair_carry(&pair);
    }
    pair_read(&pair, &subscriber);
    check_from(&ledger, subscriber.events, subscriber.event_count, NULL);
    assert_int_equal(subscriber.status_count, 0);
    subscriber_fini(&subscriber);
    pair_end(&pair);
}

static void a_subscriber_resumes_at_another_server(void **state)
{
    (void)state;
    struct pair pair;
    struct subscriber first, second;
    static struct ledger ledger;
    memset(&ledger, 0, sizeof ledger);
    pair_begin(&pair, 4);
    Pb__CqSubscribeRequest request = subscribe_request(AVERAGE);
    request.token_every_batch = true;
    pair_subscribe(&pair, &first, A, &request);
    for (uint32_t i = 0; i < 100; i++)
        put(&pair, &ledger, i % IDS, i);
    pair_read(&pair, &first);
    assert_int_equal(first.event_count, 100);
    uint32_t from[IDS];
    for (uint32_t id = 0; id < IDS; id++)
        from[id] = ledger.expected[id];
    fake_conn_reset(first.client.conn);
    for (uint32_t i = 0; i < 100; i++)
        put(&pair, &ledger, i % IDS, 1000 + i);
    request.resume_token = message_bytes(first.token);
    pair_subscribe(&pair, &second, B, &request);
    pair_read(&pair, &second);
    assert_int_equal(second.status_count, 0);
    assert_int_equal(second.event_count, 100);
    check_from(&ledger, second.events, second.event_count, from);
    subscriber_fini(&first);
    subscriber_fini(&second);
    pair_end(&pair);
}

static void what_is_no_longer_kept_there_is_told_here(void **state)
{
    (void)state;
    struct pair pair;
    struct subscriber subscriber;
    static struct ledger ledger;
    memset(&ledger, 0, sizeof ledger);
    pair_begin(&pair, 2);
    Pb__CqSubscribeRequest request = subscribe_request(AVERAGE);
    pair_subscribe(&pair, &subscriber, A, &request);
    for (uint32_t i = 0; i < IDS; i++)
        put(&pair, &ledger, i, i);
    pair_read(&pair, &subscriber);
    uint32_t before = subscriber.event_count, ends = subscriber.snapshot_ends;
    pair_break(&pair, false);
    for (uint32_t i = 0; i < IDS; i++)
        put(&pair, &ledger, i, 2 * i);
    struct cq_instance *there = pair.stages[B].fixture.server.instances;
    bucket_lock(there->buckets[1].bucket);
    ring_raise_floor(&there->buckets[1].ring, ring_behind(there->buckets[1].bucket->data_seq));
    bucket_unlock(there->buckets[1].bucket);
    pair_break(&pair, true);
    pair_read(&pair, &subscriber);
    assert_int_equal(subscriber.status_count, 1);
    assert_int_equal(subscriber.statuses[0]->code, PB__CQ_STATUS__CODE__GAP);
    assert_int_equal(subscriber.statuses[0]->bucket, 1);
    assert_int_equal(subscriber.snapshot_ends, ends + 1);
    double last[IDS] = {0};
    for (uint32_t i = before; i < subscriber.event_count; i++)
        last[subscriber.events[i].id_number] = subscriber.events[i].number;
    for (uint32_t id = 0; id < IDS; id++)
        assert_true(last[id] == ledger.averages[id][1]);
    subscriber_fini(&subscriber);
    pair_end(&pair);
}

static void a_loss_is_told_although_the_feed_that_found_it_broke(void **state)
{
    (void)state;
    struct pair pair;
    struct subscriber subscriber;
    struct frame *frame;
    static struct ledger ledger;
    memset(&ledger, 0, sizeof ledger);
    pair_begin(&pair, 2);
    Pb__CqSubscribeRequest request = subscribe_request(AVERAGE);
    pair_subscribe(&pair, &subscriber, A, &request);
    for (uint32_t i = 0; i < IDS; i++)
        put(&pair, &ledger, i, i);
    pair_read(&pair, &subscriber);
    pair_break(&pair, false);
    for (uint32_t s = 0; s < SERVERS; s++)
        pair.stages[s].region->buckets[1].generation = 2;
    pair_break(&pair, true);
    /* The new position arrives, and what it means does not. */
    bool has_position = false;
    for (uint32_t round = 0; round < 100 && !has_position; round++) {
        pair_turn(&pair);
        fake_net_advance(pair.stages[A].fixture.net, 10000);
        if ((frame = pair_take(&pair)) == NULL)
            continue;
        has_position = frame->kind == PEER_FRAME_FEED_EVENTS;
        assert_int_equal(deliver(&pair, frame), OK);
        free(frame);
    }
    assert_true(has_position);
    pair_turn(&pair);
    pair_break(&pair, true);
    pair_read(&pair, &subscriber);
    assert_int_equal(subscriber.status_count, 1);
    assert_int_equal(subscriber.statuses[0]->code, PB__CQ_STATUS__CODE__DATA_LOSS);
    assert_int_equal(subscriber.statuses[0]->bucket, 1);
    subscriber_fini(&subscriber);
    pair_end(&pair);
}

static void who_asked_for_it_is_ended_when_slow_there(void **state)
{
    (void)state;
    struct pair pair;
    struct subscriber subscriber;
    pair_begin(&pair, 2);
    Pb__CqSubscribeRequest request = subscribe_request(AVERAGE);
    request.slow_policy = PB__SLOW_POLICY__DISCONNECT;
    pair_subscribe(&pair, &subscriber, A, &request);
    pair_break(&pair, false);
    for (uint32_t i = 0; i < IDS; i++)
        pair_put(&pair, NULL, i, i);
    struct cq_instance *there = pair.stages[B].fixture.server.instances;
    bucket_lock(there->buckets[1].bucket);
    ring_raise_floor(&there->buckets[1].ring, ring_behind(there->buckets[1].bucket->data_seq));
    bucket_unlock(there->buckets[1].bucket);
    pair_break(&pair, true);
    pair_read(&pair, &subscriber);
    assert_int_equal(subscriber.status_count, 2);
    assert_int_equal(subscriber.statuses[0]->code, PB__CQ_STATUS__CODE__SLOW);
    assert_int_equal(subscriber.statuses[1]->code, PB__CQ_STATUS__CODE__CLOSED);
    assert_null(pair.stages[A].fixture.server.instances->subscriptions);
    assert_null(pair.stages[B].fixture.server.instances->subscriptions);
    subscriber_fini(&subscriber);
    pair_end(&pair);
}

static void net_changes_come_as_wholes(void **state)
{
    (void)state;
    struct pair pair;
    struct subscriber subscriber;
    pair_begin(&pair, 4);
    for (uint32_t i = 0; i < IDS; i++)
        pair_put(&pair, NULL, i, 1);
    Pb__CqSubscribeRequest request = subscribe_request(GROUPING);
    request.slow_policy = PB__SLOW_POLICY__CONFLATE;
    request.initial_credit_events = 60;
    pair_subscribe(&pair, &subscriber, A, &request);
    pair_read(&pair, &subscriber);
    assert_int_equal(subscriber.event_count, IDS);
    for (uint32_t i = 0; i < 4000; i++)
        pair_put(&pair, NULL, i % IDS, i);
    for (uint32_t acks = 0; acks < 400; acks++) {
        ProtobufCMessage *message;
        Pb__CqAck ack = PB__CQ_ACK__INIT;
        ack.subscription_id = subscriber.id;
        ack.credit_events = 60;
        fixture_client_send(&subscriber.client, 1004, &ack.base);
        pair_carry(&pair);
        assert_int_equal(subscriber_read(&subscriber, &message), 0);
    }
    double value[IDS] = {0};
    for (uint32_t i = 0; i < subscriber.event_count; i++) {
        const struct event *event = &subscriber.events[i];
        double *now = &value[event->id_number];
        if (event->kind == PB__KIND__UPDATE_BEFORE)
            assert_true(*now == event->number); /* what is replaced is what the reader has */
        else
            *now = event->number;
    }
    for (uint32_t id = 0; id < IDS; id++) {
        double sum = 1;
        for (uint32_t i = id; i < 4000; i += IDS)
            sum += i;
        assert_true(value[id] == sum / 101);
    }
    subscriber_fini(&subscriber);
    pair_end(&pair);
}

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

/* Puts, moves, broken links, little credit, in any order. */
static void whatever_happens_each_event_comes_once(void **state)
{
    (void)state;
    static struct ledger ledger;
    for (uint32_t seed = 1; seed <= 60; seed++) {
        struct pair pair;
        struct subscriber subscriber;
        uint32_t random = seed;
        memset(&ledger, 0, sizeof ledger);
        pair_begin(&pair, 3);
        ledger.begins_with_rows = seed % 2 == 0;
        for (uint32_t id = 0; ledger.begins_with_rows && id < IDS; id++)
            put(&pair, &ledger, id, id);
        Pb__CqSubscribeRequest request = subscribe_request(AVERAGE);
        request.initial_credit_events = 1 + next_random(&random) % 100;
        request.max_batch_events = next_random(&random) % 5;
        pair_subscribe(&pair, &subscriber, A, &request);
        for (uint32_t step = 0; step < 300; step++) {
            ProtobufCMessage *message;
            Pb__CqAck ack = PB__CQ_ACK__INIT;
            struct frame *frame;
            switch (next_random(&random) % 10) {
            case 0:
                pair_move(&pair, next_random(&random) % 3, next_random(&random) % 2);
                break;
            case 1:
                pair_break(&pair, next_random(&random) % 2 == 0);
                break;
            case 2:
                pair_break(&pair, true);
                break;
            case 3:
                ack.subscription_id = subscriber.id;
                ack.credit_events = next_random(&random) % 30;
                fixture_client_send(&subscriber.client, 1004, &ack.base);
                break;
            case 4:
                for (uint32_t s = 0; s < SERVERS; s++)
                    fake_net_advance(pair.stages[s].fixture.net, 1000);
                break;
            case 5:
            case 6:
                pair_turn(&pair);
                if ((frame = pair_take(&pair)) != NULL) {
                    assert_int_equal(deliver(&pair, frame), OK);
                    free(frame);
                }
                break;
            default:
                put(&pair, &ledger, next_random(&random) % IDS, 1000 + step);
            }
            assert_int_equal(subscriber_read(&subscriber, &message), 0);
        }
        pair_break(&pair, true);
        Pb__CqAck ack = PB__CQ_ACK__INIT;
        ack.subscription_id = subscriber.id;
        ack.credit_events = 100000;
        fixture_client_send(&subscriber.client, 1004, &ack.base);
        pair_read(&pair, &subscriber);
        assert_int_equal(subscriber.snapshot_ends, 1);
        assert_int_equal(subscriber.status_count, 0);
        check_from(&ledger, subscriber.events, subscriber.event_count, NULL);
        subscriber_fini(&subscriber);
        pair_end(&pair);
    }
}

/* Where memory fails the connection may end; what it had until then is right, and the resume brings
 * the rest. */
static void without_memory_nothing_is_skipped(void **state)
{
    (void)state;
    static struct ledger ledger;
    for (unsigned long n = 1; n < 400; n += 3) {
        struct pair pair;
        struct subscriber subscriber;
        ProtobufCMessage *message;
        memset(&ledger, 0, sizeof ledger);
        pair_begin(&pair, 3);
        Pb__CqSubscribeRequest request = subscribe_request(AVERAGE);
        request.start = PB__START__LATEST;
        pair_subscribe(&pair, &subscriber, A, &request);
        for (uint32_t i = 0; i < 60; i++)
            put(&pair, &ledger, i % IDS, i);
        mem_fault_fail_at(n);
        pair_turn(&pair);
        pair_break(&pair, true);
        pair_turn(&pair);
        for (uint32_t round = 0; round < 20; round++) {
            struct frame *frame = pair_take(&pair);
            if (frame == NULL)
                break;
            (void)deliver(&pair, frame);
            free(frame);
            pair_turn(&pair);
        }
        bool done = mem_fault_calls() < n;
        mem_fault_fail_at(0);
        pair_break(&pair, true);
        pair_settle(&pair);
        assert_int_equal(subscriber_read(&subscriber, &message), 0);
        if (fake_conn_state(subscriber.client.conn) == FAKE_OPEN)
            check_from(&ledger, subscriber.events, subscriber.event_count, NULL);
        subscriber_fini(&subscriber);
        pair_end(&pair);
        if (done)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_subscription_covers_the_buckets_of_both_servers),
        cmocka_unit_test(credit_bounds_what_waits_anywhere),
        cmocka_unit_test(a_feed_that_broke_goes_on_where_it_was),
        cmocka_unit_test(a_bucket_may_move_while_its_events_flow),
        cmocka_unit_test(a_subscriber_resumes_at_another_server),
        cmocka_unit_test(what_is_no_longer_kept_there_is_told_here),
        cmocka_unit_test(a_loss_is_told_although_the_feed_that_found_it_broke),
        cmocka_unit_test(who_asked_for_it_is_ended_when_slow_there),
        cmocka_unit_test(net_changes_come_as_wholes),
        cmocka_unit_test(whatever_happens_each_event_comes_once),
        cmocka_unit_test(without_memory_nothing_is_skipped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
