/* Resuming, gaps and slow readers: what a subscriber must never miss in silence. */
#include "tests/unit/server/subscriber.h"

enum { IDS = 12 };

/* Readings of changing ids, under the id or each under its own key. */
static void put_many(struct stage *stage, uint32_t from, uint32_t count, bool own_key)
{
    char key[16];
    for (uint32_t i = from; i < from + count; i++) {
        snprintf(key, sizeof key, "r%u", i);
        stage_put(stage, own_key ? key : NULL, i * 7 % IDS, i % 31);
    }
}

static Pb__CqSubscribeRequest resume_request(const char *sql, struct slice token)
{
    Pb__CqSubscribeRequest request = subscribe_request(sql);
    request.resume_token = message_bytes(token);
    request.token_every_batch = true;
    request.max_batch_events = 1;
    return request;
}

/* The order between buckets is free; within each the rest continues where the whole was left. */
static void check_same(const struct subscriber *whole, uint32_t from, const struct subscriber *rest)
{
    uint32_t next[5] = {from, from, from, from, from};
    assert_int_equal(rest->event_count, whole->event_count - from);
    for (uint32_t i = 0; i < rest->event_count; i++) {
        uint32_t *at = &next[rest->events[i].bucket];
        while (*at < whole->event_count && whole->events[*at].bucket != rest->events[i].bucket)
            ++*at;
        assert_true(*at < whole->event_count && same_event(&whole->events[*at], &rest->events[i]));
        ++*at;
    }
}

static void resume_from(struct stage *stage, const struct subscriber *whole, uint32_t batch,
                        const char *sql)
{
    struct subscriber rest;
    Pb__CqSubscribeRequest request = resume_request(sql, whole->tokens[batch]);
    uint32_t from = whole->token_events[batch];
    subscriber_init(&rest, stage);
    subscriber_subscribe(&rest, &request);
    assert_int_equal(rest.status_count, 0);
    check_same(whole, from, &rest);
    /* The end of the snapshot is announced once, if it was not before. */
    uint32_t announced = 0;
    for (uint32_t i = 0; i <= batch; i++)
        announced |= i > 0 && whole->token_events[i] == whole->token_events[i - 1];
    assert_true(rest.snapshot_ends + announced <= 1);
    subscriber_fini(&rest);
}

/* An uninterrupted run of single events, and a resume after each of them: those of the snapshot
 * before anything changes. */
static void resume_everywhere(const char *sql, bool own_key, uint32_t before, uint32_t after)
{
    struct stage stage;
    struct subscriber whole;
    stage_begin(&stage, 5);
    put_many(&stage, 0, before, own_key);
    Pb__CqSubscribeRequest request = resume_request(sql, slice_of(NULL, 0));
    subscriber_init(&whole, &stage);
    subscriber_subscribe(&whole, &request);
    uint32_t batches = whole.batch_count;
    assert_int_equal(whole.snapshot_ends, 1);
    for (uint32_t i = 0; i < batches; i++)
        resume_from(&stage, &whole, i, sql);
    put_many(&stage, before, after, own_key);
    subscriber_turn(&whole);
    assert_true(whole.batch_count > batches);
    for (uint32_t i = batches - 1; i < whole.batch_count; i++)
        resume_from(&stage, &whole, i, sql);
    assert_int_equal(server_fixture_instances(&stage.fixture), 1);
    subscriber_fini(&whole);
    stage_end(&stage);
}

static void a_resume_after_any_event_continues_with_the_next(void **state)
{
    (void)state;
    resume_everywhere(AVERAGE, false, 0, 60);
    resume_everywhere(AVERAGE, true, 0, 60);
    resume_everywhere(GROUPING, false, 0, 60);
}

static void a_resume_within_the_snapshot_continues_with_the_next_row(void **state)
{
    (void)state;
    resume_everywhere(AVERAGE, false, 30, 30);
    resume_everywhere(AVERAGE, true, 30, 30);
    resume_everywhere(FILTER, true, 40, 30);
}

static void positions_complete_an_old_token(void **state)
{
    (void)state;
    struct stage stage;
    struct subscriber whole;
    stage_begin(&stage, 5);
    Pb__CqSubscribeRequest request = subscribe_request(AVERAGE);
    subscriber_init(&whole, &stage);
    subscriber_subscribe(&whole, &request);
    put_many(&stage, 0, 40, false);
    subscriber_turn(&whole);
    for (uint32_t processed = 0; processed <= whole.event_count; processed++) {
        struct subscriber rest;
        Pb__CqPosition positions[5], *pointers[5];
        uint32_t count = 0;
        for (uint32_t bucket = 0; bucket < 5; bucket++) {
            const struct event *last = NULL;
            for (uint32_t i = 0; i < processed; i++)
                if (whole.events[i].bucket == bucket)
                    last = &whole.events[i];
            if (last == NULL)
                continue;
            pb__cq_position__init(&positions[count]);
            positions[count].bucket = bucket;
            positions[count].generation = last->generation;
            positions[count].seq = last->position.seq;
            positions[count].sub = last->position.sub;
            pointers[count] = &positions[count];
            count++;
        }
        request = resume_request(
            AVERAGE, message_slice(whole.response->token)); /* all a client has by default */
        request.n_position = count;
        request.position = pointers;
        subscriber_init(&rest, &stage);
        subscriber_subscribe(&rest, &request);
        assert_int_equal(rest.status_count, 0);
        check_same(&whole, processed, &rest);
        subscriber_fini(&rest);
    }
    subscriber_fini(&whole);
    stage_end(&stage);
}

/* What a reader of appended averages ends up with. */
static void last_of(const struct subscriber *subscriber, double last[IDS])
{
    for (uint32_t i = 0; i < subscriber->event_count; i++)
        last[subscriber->events[i].id_number] = subscriber->events[i].number;
}

static void a_snapshot_that_was_interrupted_while_puts_went_on_misses_nothing(void **state)
{
    (void)state;
    for (uint32_t cut = 1; cut <= 12; cut++) {
        struct stage stage;
        struct subscriber part, rest, fresh;
        double resumed[IDS] = {0}, expected[IDS] = {0};
        stage_begin(&stage, 3);
        put_many(&stage, 0, 40, false);
        Pb__CqSubscribeRequest request = resume_request(AVERAGE, slice_of(NULL, 0));
        request.initial_credit_events = cut;
        subscriber_init(&part, &stage);
        subscriber_subscribe(&part, &request);
        assert_int_equal(part.event_count, cut);
        put_many(&stage, 40, 25, false);
        fake_conn_reset(part.client.conn);
        put_many(&stage, 65, 25, false);
        request = resume_request(AVERAGE, part.token);
        subscriber_init(&rest, &stage);
        subscriber_subscribe(&rest, &request);
        assert_int_equal(rest.status_count, 0);
        for (uint32_t i = 0; i < rest.event_count; i++)
            for (uint32_t j = 0; j < part.event_count; j++)
                assert_false(same_event(&rest.events[i], &part.events[j]));
        last_of(&part, resumed);
        last_of(&rest, resumed);
        request = subscribe_request(NULL);
        request.plan_id = rest.response->plan_id;
        subscriber_init(&fresh, &stage);
        subscriber_subscribe(&fresh, &request);
        last_of(&fresh, expected);
        for (uint32_t id = 0; id < IDS; id++)
            assert_true(resumed[id] == expected[id]);
        subscriber_fini(&fresh);
        subscriber_fini(&rest);
        subscriber_fini(&part);
        stage_end(&stage);
    }
}

/* A table as a reader of a changelog keeps it: the rows of each bucket. */
struct row {
    bool is_there;
    uint32_t bucket;
    double number;
};

static void materialize(const struct subscriber *subscriber, struct row rows[IDS])
{
    for (uint32_t i = 0; i < subscriber->event_count; i++) {
        const struct event *event = &subscriber->events[i];
        struct row *row = &rows[event->id_number];
        if (event->kind == PB__KIND__UPDATE_BEFORE || event->kind == PB__KIND__DELETE) {
            assert_true(row->is_there && row->number == event->number);
            row->is_there = false;
        } else {
            assert_false(row->is_there);
            *row = (struct row){true, event->bucket, event->number};
        }
    }
}

static void an_interrupted_snapshot_of_a_changelog_is_sent_again(void **state)
{
    (void)state;
    for (uint32_t cut = 1; cut <= 12; cut++) {
        struct stage stage;
        struct subscriber part, rest, fresh;
        struct row resumed[IDS] = {0}, expected[IDS] = {0};
        stage_begin(&stage, 3);
        put_many(&stage, 0, 40, true);
        Pb__CqSubscribeRequest request = resume_request(GROUPING, slice_of(NULL, 0));
        request.initial_credit_events = cut;
        subscriber_init(&part, &stage);
        subscriber_subscribe(&part, &request);
        put_many(&stage, 40, 25, true);
        fake_conn_reset(part.client.conn);
        put_many(&stage, 65, 25, true);
        materialize(&part, resumed);
        request = resume_request(GROUPING, part.token);
        subscriber_init(&rest, &stage);
        subscriber_subscribe(&rest, &request);
        assert_in_range(rest.status_count, 0, 1);
        for (uint32_t i = 0; i < rest.status_count; i++) {
            assert_int_equal(rest.statuses[i]->code, PB__CQ_STATUS__CODE__RESNAPSHOT);
            for (uint32_t id = 0; id < IDS; id++)
                resumed[id].is_there &= resumed[id].bucket != rest.statuses[i]->bucket;
        }
        materialize(&rest, resumed);
        request = subscribe_request(NULL);
        request.plan_id = rest.response->plan_id;
        subscriber_init(&fresh, &stage);
        subscriber_subscribe(&fresh, &request);
        materialize(&fresh, expected);
        for (uint32_t id = 0; id < IDS; id++)
            assert_true(resumed[id].is_there && resumed[id].number == expected[id].number);
        subscriber_fini(&fresh);
        subscriber_fini(&rest);
        subscriber_fini(&part);
        stage_end(&stage);
    }
}

static void a_large_snapshot_needs_no_other_event_to_arrive(void **state)
{
    (void)state;
    struct stage stage;
    struct subscriber subscriber;
    char key[16];
    stage_begin(&stage, 5);
    for (uint32_t i = 0; i < 6000; i++) {
        snprintf(key, sizeof key, "r%u", i);
        stage_put(&stage, key, i, 25);
    }
    /* The connection takes everything at the end of each turn, so it never says that it drained. */
    subscriber_begin(&subscriber, &stage, FILTER);
    assert_int_equal(subscriber.event_count, 6000);
    assert_int_equal(subscriber.snapshot_ends, 1);
    subscriber_fini(&subscriber);
    stage_end(&stage);
}

static void who_attaches_later_gets_the_current_results_then_the_tail(void **state)
{
    (void)state;
    struct stage stage;
    struct subscriber first, second;
    stage_begin(&stage, 5);
    put_many(&stage, 0, 40, true);
    subscriber_begin(&first, &stage, AVERAGE);
    put_many(&stage, 40, 40, true);
    subscriber_turn(&first);
    Pb__CqSubscribeRequest request = subscribe_request(NULL);
    request.plan_id = first.response->plan_id;
    subscriber_init(&second, &stage);
    subscriber_subscribe(&second, &request);
    assert_int_equal(second.event_count, IDS);
    assert_int_equal(second.snapshot_ends, 1);
    double left[IDS] = {0}, right[IDS] = {0};
    last_of(&first, left);
    last_of(&second, right);
    assert_memory_equal(left, right, sizeof left);
    uint32_t before = first.event_count;
    put_many(&stage, 80, 40, true);
    subscriber_turn(&first);
    subscriber_turn(&second);
    assert_int_equal(second.event_count - IDS, first.event_count - before);
    for (uint32_t i = 0; i < 40; i++)
        assert_true(same_event(&first.events[before + i], &second.events[IDS + i]));
    subscriber_fini(&first);
    subscriber_fini(&second);
    stage_end(&stage);
}

static void who_falls_behind_is_told_of_the_gap_and_gets_a_snapshot(void **state)
{
    (void)state;
    struct stage stage;
    struct subscriber slow, fast;
    stage_begin(&stage, 2);
    stage.fixture.server.budget.ring_bytes_max = 8000;
    Pb__CqSubscribeRequest request = subscribe_request(AVERAGE);
    request.initial_credit_events = 5;
    subscriber_init(&slow, &stage);
    subscriber_subscribe(&slow, &request);
    request = subscribe_request(NULL);
    request.plan_id = slow.response->plan_id;
    subscriber_init(&fast, &stage);
    subscriber_subscribe(&fast, &request);
    for (uint32_t i = 0; i < 1500; i += 10) {
        put_many(&stage, i, 10, false);
        subscriber_turn(&fast);
    }
    assert_int_equal(fast.event_count, 1500);
    assert_int_equal(fast.status_count, 0);
    subscriber_turn(&slow);
    assert_int_equal(slow.event_count, 5);
    uint64_t last_seq[2] = {1, 1}, now_seq[2];
    for (uint32_t i = 0; i < 5; i++)
        last_seq[slow.events[i].bucket] = slow.events[i].position.seq;
    for (uint32_t bucket = 0; bucket < 2; bucket++)
        now_seq[bucket] = stage.region->buckets[bucket].last_seq; /* the snapshot stands there */
    subscriber_ack(&slow, 10000, 0);
    assert_int_equal(slow.status_count, 2);
    for (uint32_t i = 0; i < 2; i++) {
        const Pb__CqStatus *status = slow.statuses[i];
        assert_int_equal(status->code, PB__CQ_STATUS__CODE__GAP);
        assert_int_equal(status->from_seq, last_seq[status->bucket] + 1);
        assert_int_equal(status->to_seq, now_seq[status->bucket]);
    }
    assert_int_equal(slow.event_count, 5 + IDS); /* what it came to */
    assert_int_equal(slow.snapshot_ends, 2);
    double left[IDS] = {0}, right[IDS] = {0};
    last_of(&slow, left);
    last_of(&fast, right);
    assert_memory_equal(left, right, sizeof left);
    put_many(&stage, 1500, 50, false);
    subscriber_turn(&slow);
    assert_int_equal(slow.event_count, 5 + IDS + 50);
    subscriber_fini(&slow);
    subscriber_fini(&fast);
    stage_end(&stage);
}

static void who_asked_for_it_is_ended_when_slow_and_others_are_not_disturbed(void **state)
{
    (void)state;
    struct stage stage;
    struct subscriber slow, other;
    stage_begin(&stage, 2);
    stage.fixture.server.budget.ring_bytes_max = 8000;
    Pb__CqSubscribeRequest request = subscribe_request(AVERAGE);
    request.initial_credit_events = 5;
    request.slow_policy = PB__SLOW_POLICY__DISCONNECT;
    subscriber_init(&slow, &stage);
    subscriber_subscribe(&slow, &request);
    request = subscribe_request(NULL);
    request.plan_id = slow.response->plan_id;
    subscriber_init(&other, &stage);
    subscriber_subscribe(&other, &request);
    uint32_t events = other.event_count;
    for (uint32_t i = 0; i < 1500; i += 10) {
        /* All of it in one bucket, so that the other one still has events when the gap is found. */
        for (uint32_t j = 0; j < 10; j++)
            stage_put(&stage, NULL, i < 1400 ? 1 : j, j);
        subscriber_turn(&other);
    }
    assert_int_equal(other.event_count - events, 1500);
    subscriber_ack(&slow, 10000, 0);
    assert_int_equal(slow.status_count, 2);
    assert_int_equal(slow.statuses[0]->code, PB__CQ_STATUS__CODE__SLOW);
    assert_int_equal(slow.statuses[1]->code, PB__CQ_STATUS__CODE__CLOSED);
    /* What had been gathered for it must not reach anybody else. */
    stage_put(&stage, NULL, 3, 3);
    subscriber_turn(&other);
    assert_int_equal(other.event_count - events, 1501);
    subscriber_turn(&slow);
    assert_int_equal(slow.event_count, 5);
    subscriber_fini(&slow);
    subscriber_fini(&other);
    stage_end(&stage);
}

static void a_bucket_of_another_generation_is_announced_as_lost(void **state)
{
    (void)state;
    struct stage stage;
    struct subscriber whole, rest;
    stage_begin(&stage, 4);
    Pb__CqSubscribeRequest request = resume_request(AVERAGE, slice_of(NULL, 0));
    subscriber_init(&whole, &stage);
    subscriber_subscribe(&whole, &request);
    put_many(&stage, 0, 60, false);
    subscriber_turn(&whole);
    struct token_position positions[4];
    struct token_head head;
    struct buf token;
    assert_int_equal(token_decode(whole.token, &head, positions, 4), OK);
    positions[2].generation = 7;
    positions[2].at = (struct ring_position){40, 0};
    buf_init(&token);
    token_encode(&head, positions, 4, &token);
    request = resume_request(AVERAGE, buf_slice(&token));
    subscriber_init(&rest, &stage);
    subscriber_subscribe(&rest, &request);
    assert_int_equal(rest.status_count, 1);
    assert_int_equal(rest.statuses[0]->code, PB__CQ_STATUS__CODE__DATA_LOSS);
    assert_int_equal(rest.statuses[0]->bucket, 2);
    assert_int_equal(rest.statuses[0]->from_seq, 41);
    assert_true(rest.event_count > 0);
    assert_int_equal(rest.snapshot_ends, 1);
    for (uint32_t i = 0; i < rest.event_count; i++)
        assert_int_equal(rest.events[i].bucket, 2);
    buf_fini(&token);
    subscriber_fini(&rest);
    subscriber_fini(&whole);
    stage_end(&stage);
}

static void a_token_of_an_ended_instance_begins_anew_with_a_gap(void **state)
{
    (void)state;
    for (uint32_t credit = 3; credit < 100; credit += 90) {
        struct stage stage;
        struct subscriber whole, rest;
        double left[IDS] = {0}, right[IDS] = {0};
        stage_begin(&stage, 4);
        put_many(&stage, 0, 40, true);
        Pb__CqSubscribeRequest request = resume_request(AVERAGE, slice_of(NULL, 0));
        request.initial_credit_events = credit; /* 3: in the middle of the snapshot */
        subscriber_init(&whole, &stage);
        subscriber_subscribe(&whole, &request);
        Pb__CqUnsubscribeRequest end = PB__CQ_UNSUBSCRIBE_REQUEST__INIT;
        end.subscription_id = whole.id;
        fixture_client_ask(&whole.client, 1005, &end.base, 1006);
        put_many(&stage, 40, 40, true);
        request = resume_request(AVERAGE, whole.token);
        subscriber_init(&rest, &stage);
        subscriber_subscribe(&rest, &request);
        assert_int_equal(rest.event_count, IDS); /* all results of the new instance */
        last_of(&rest, left);
        request = subscribe_request(NULL);
        request.plan_id = rest.response->plan_id;
        struct subscriber fresh;
        subscriber_init(&fresh, &stage);
        subscriber_subscribe(&fresh, &request);
        last_of(&fresh, right);
        assert_memory_equal(left, right, sizeof left);
        subscriber_fini(&fresh);
        subscriber_fini(&rest);
        subscriber_fini(&whole);
        stage_end(&stage);
    }
}

static void a_connection_that_takes_nothing_is_pushed_a_bounded_amount(void **state)
{
    (void)state;
    struct stage stage;
    struct subscriber subscriber;
    stage_begin(&stage, 3);
    subscriber_begin(&subscriber, &stage, AVERAGE);
    fake_conn_block(subscriber.client.conn, true);
    put_many(&stage, 0, 8000, false);
    subscriber_turn(&subscriber);
    assert_int_equal(subscriber.event_count, 0);
    size_t waiting = subscriber.client.fixture->worker->batch.cap;
    assert_true(waiting < 4 * LIMIT_PUSH_UNSENT_BYTES);
    fake_conn_block(subscriber.client.conn, false);
    subscriber_turn(&subscriber);
    fake_net_advance(stage.fixture.net, 1000000); /* no other turn than those of its own timers */
    subscriber_turn(&subscriber);
    assert_int_equal(subscriber.event_count, 8000);
    for (uint32_t i = 0; i < 8000; i++)
        for (uint32_t j = i + 1; j < i + 4 && j < 8000; j++)
            assert_false(same_event(&subscriber.events[i], &subscriber.events[j]));
    subscriber_fini(&subscriber);
    stage_end(&stage);
}

/* Events of a bucket are rising and, for a query in which each record gives one, without a hole. */
static void check_no_hole(const struct subscriber *subscriber, uint32_t bucket_count)
{
    for (uint32_t bucket = 0; bucket < bucket_count; bucket++) {
        uint64_t last = 0;
        for (uint32_t i = 0; i < subscriber->event_count; i++) {
            const struct event *event = &subscriber->events[i];
            if (event->bucket != bucket || event->phase != PB__CQ_EVENT_BATCH__PHASE__TAIL)
                continue;
            assert_true(last == 0 || event->position.seq == last + 1);
            last = event->position.seq;
        }
    }
}

static void without_memory_to_push_the_connection_ends_and_nothing_is_skipped(void **state)
{
    (void)state;
    uint32_t ended = 0, whole = 0;
    for (unsigned n = 1; n < 60; n++) {
        for (int by_net = 0; by_net < 2; by_net++) {
            struct stage stage;
            struct subscriber subscriber, rest;
            ProtobufCMessage *message;
            stage_begin(&stage, 3);
            Pb__CqSubscribeRequest request = resume_request(AVERAGE, slice_of(NULL, 0));
            request.max_batch_events = n % 2;
            subscriber_init(&subscriber, &stage);
            subscriber_subscribe(&subscriber, &request);
            fake_conn_block(subscriber.client.conn, true); /* until all rows are there */
            put_many(&stage, 0, 20, false);
            subscriber_ack(&subscriber, 1, 1);
            if (by_net == 1)
                fake_net_fail_reserve(stage.fixture.net, n);
            else
                mem_fault_fail_at(n);
            fake_conn_block(subscriber.client.conn, false);
            fixture_client_put(&stage.writer, "my_region", "s1",
                               "{\"id\":\"s1\",\"temperature\":3}");
            fake_net_advance(stage.fixture.net, 0);
            mem_fault_fail_at(0);
            fake_net_fail_reserve(stage.fixture.net, 0);
            (void)fixture_client_receive(&stage.writer, &message);
            if (fake_conn_state(stage.writer.conn) != FAKE_OPEN) {
                fixture_client_fini(&stage.writer);
                fixture_client_init(&stage.writer, &stage.fixture);
            }
            bool is_open = fake_conn_state(subscriber.client.conn) == FAKE_OPEN;
            assert_int_equal(subscriber_read(&subscriber, &message), 0);
            if (is_open) {
                put_many(&stage, 30, 20, false);
                assert_int_equal(subscriber_read(&subscriber, &message), 0);
                is_open = fake_conn_state(subscriber.client.conn) == FAKE_OPEN;
            }
            bool told = false;
            for (uint32_t i = 0; i < subscriber.status_count; i++)
                told |= subscriber.statuses[i]->code == PB__CQ_STATUS__CODE__GAP ||
                        subscriber.statuses[i]->code == PB__CQ_STATUS__CODE__CLOSED;
            if (!told)
                check_no_hole(&subscriber, 3);
            ended += !is_open;
            whole += is_open && !told;
            if (!is_open && !told) {
                request = resume_request(AVERAGE, subscriber.token);
                subscriber_init(&rest, &stage);
                subscriber_subscribe(&rest, &request);
                uint32_t total = subscriber.event_count + rest.event_count;
                assert_true(rest.status_count > 0 || (total >= 20 && total <= 41));
                subscriber_fini(&rest);
            }
            subscriber_fini(&subscriber);
            stage_end(&stage);
        }
    }
    assert_true(ended > 0);
    assert_true(whole > 0);
}

static void one_of_two_subscriptions_may_end_while_both_are_told_of_room(void **state)
{
    (void)state;
    struct stage stage;
    struct subscriber subscriber;
    ProtobufCMessage *message;
    stage_begin(&stage, 2);
    subscriber_begin(&subscriber, &stage, AVERAGE);
    Pb__CqSubscribeRequest request = subscribe_request(FILTER);
    fixture_client_send(&subscriber.client, 1001, &request.base);
    assert_int_equal(fixture_client_receive(&subscriber.client, &message), 1002);
    while (fixture_client_receive(&subscriber.client, &message) != 0)
        continue;
    fake_conn_block(subscriber.client.conn, true);
    put_many(&stage, 0, 5000, false);
    atomic_store(&stage.fixture.server.instances->failed,
                 true); /* the newer one, first in the session's list */
    fake_conn_block(subscriber.client.conn, false);
    fake_net_turn(stage.fixture.net);
    stage_put(&stage, NULL, 1, 1);
    fake_net_turn(stage.fixture.net);
    bool closed = false;
    uint32_t number;
    while ((number = fixture_client_receive(&subscriber.client, &message)) != 0)
        closed |= number == 1007 && ((Pb__CqStatus *)message)->code == PB__CQ_STATUS__CODE__CLOSED;
    assert_true(closed);
    assert_int_equal(fake_conn_state(subscriber.client.conn), FAKE_OPEN);
    subscriber_fini(&subscriber);
    stage_end(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_resume_after_any_event_continues_with_the_next),
        cmocka_unit_test(a_resume_within_the_snapshot_continues_with_the_next_row),
        cmocka_unit_test(positions_complete_an_old_token),
        cmocka_unit_test(a_snapshot_that_was_interrupted_while_puts_went_on_misses_nothing),
        cmocka_unit_test(an_interrupted_snapshot_of_a_changelog_is_sent_again),
        cmocka_unit_test(a_large_snapshot_needs_no_other_event_to_arrive),
        cmocka_unit_test(who_attaches_later_gets_the_current_results_then_the_tail),
        cmocka_unit_test(who_falls_behind_is_told_of_the_gap_and_gets_a_snapshot),
        cmocka_unit_test(who_asked_for_it_is_ended_when_slow_and_others_are_not_disturbed),
        cmocka_unit_test(a_bucket_of_another_generation_is_announced_as_lost),
        cmocka_unit_test(a_token_of_an_ended_instance_begins_anew_with_a_gap),
        cmocka_unit_test(a_connection_that_takes_nothing_is_pushed_a_bounded_amount),
        cmocka_unit_test(without_memory_to_push_the_connection_ends_and_nothing_is_skipped),
        cmocka_unit_test(one_of_two_subscriptions_may_end_while_both_are_told_of_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
