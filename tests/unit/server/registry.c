#include "tests/unit/server/subscriber.h"

#define OTHER_SPACING "select  id ,\n temperature from Readings  AS r where temperature>20"

static const Pb__Error *refused(struct stage *stage, const Pb__CqSubscribeRequest *request)
{
    /* The message lives as long as the client that received it. */
    return fixture_client_fail(&stage->writer, 1001, &request->base);
}

static void subscribe_named(struct subscriber *subscriber, struct stage *stage, const char *sql,
                            const char *name)
{
    Pb__CqSubscribeRequest request = subscribe_request(sql);
    request.name = message_bytes(slice_text(name));
    subscriber_init(subscriber, stage);
    subscriber_subscribe(subscriber, &request);
}

static void unsubscribe(struct subscriber *subscriber)
{
    Pb__CqUnsubscribeRequest request = PB__CQ_UNSUBSCRIBE_REQUEST__INIT;
    request.subscription_id = subscriber->id;
    ProtobufCMessage *message;
    fixture_client_send(&subscriber->client, 1005, &request.base);
    assert_int_equal(subscriber_read(subscriber, &message), 1006);
}

static void a_plan_without_state_is_evaluated_once_for_all_who_mean_the_same(void **state)
{
    (void)state;
    struct stage stage;
    struct subscriber first, second;
    stage_begin(&stage, 5);
    subscriber_begin(&first, &stage, FILTER);
    subscriber_begin(&second, &stage, OTHER_SPACING);
    assert_int_equal(server_fixture_instances(&stage.fixture), 1);
    assert_true(slice_equal(message_slice(first.response->plan_id),
                            message_slice(second.response->plan_id)));
    for (uint32_t i = 0; i < 50; i++)
        stage_put(&stage, NULL, i, i);
    subscriber_turn(&first);
    subscriber_turn(&second);
    assert_int_equal(first.event_count, 29);
    assert_int_equal(second.event_count, 29);
    for (uint32_t i = 0; i < 29; i++)
        assert_true(same_event(&first.events[i], &second.events[i]));
    assert_int_equal(atomic_load(&stage.fixture.server.instances->events), 29);
    unsubscribe(&first);
    assert_int_equal(server_fixture_instances(&stage.fixture), 1); /* the other one reads it */
    stage_put(&stage, NULL, 1, 30);
    subscriber_turn(&second);
    assert_int_equal(second.event_count, 30);
    unsubscribe(&second);
    assert_int_equal(server_fixture_instances(&stage.fixture), 0);
    subscriber_fini(&first);
    subscriber_fini(&second);
    stage_end(&stage);
}

static void a_plan_with_state_is_an_instance_of_its_own(void **state)
{
    (void)state;
    struct stage stage;
    struct subscriber first, second;
    stage_begin(&stage, 5);
    subscriber_begin(&first, &stage, AVERAGE);
    stage_put(&stage, NULL, 1, 10);
    Pb__CqSubscribeRequest request = subscribe_request(AVERAGE);
    request.start = PB__START__LATEST;
    subscriber_init(&second, &stage);
    subscriber_subscribe(&second, &request);
    assert_int_equal(server_fixture_instances(&stage.fixture), 2);
    assert_false(slice_equal(message_slice(first.response->plan_id),
                             message_slice(second.response->plan_id)));
    stage_put(&stage, NULL, 1, 20);
    subscriber_turn(&first);
    subscriber_turn(&second);
    assert_true(first.events[1].number == 15);
    assert_true(second.events[0].number == 20);
    subscriber_fini(&first);
    subscriber_fini(&second);
    stage_end(&stage);
}

static void a_name_is_shared_by_those_who_mean_the_same(void **state)
{
    (void)state;
    struct stage stage;
    struct subscriber first, second;
    stage_begin(&stage, 5);
    subscribe_named(&first, &stage, AVERAGE, "averages");
    stage_put(&stage, NULL, 1, 10);
    subscribe_named(&second, &stage, AVERAGE, "averages");
    assert_int_equal(server_fixture_instances(&stage.fixture), 1);
    assert_int_equal(second.event_count, 1);
    Pb__CqSubscribeRequest request = subscribe_request(FILTER);
    request.name = message_bytes(slice_text("averages"));
    assert_int_equal(refused(&stage, &request)->error_code, FAILURE_INVALID_REQUEST);
    unsubscribe(&first);
    unsubscribe(&second);
    assert_int_equal(server_fixture_instances(&stage.fixture),
                     1); /* a named one waits for the next */
    subscriber_fini(&first);
    subscriber_fini(&second);
    stage_end(&stage);
}

static void what_does_not_exist_is_refused(void **state)
{
    (void)state;
    struct stage stage;
    stage_begin(&stage, 5);
    Pb__CqSubscribeRequest request = subscribe_request(NULL);
    request.plan_id = message_bytes(slice_text("0123456789abcdef"));
    assert_int_equal(refused(&stage, &request)->error_code, FAILURE_INVALID_REQUEST);
    request = subscribe_request("SELECT * FROM nowhere");
    assert_int_equal(refused(&stage, &request)->error_code, FAILURE_SERVER_ERROR);
    request = subscribe_request("SELECT FROM");
    assert_int_equal(refused(&stage, &request)->error_code, FAILURE_INVALID_REQUEST);
    request = subscribe_request("SHOW TABLES");
    assert_int_equal(refused(&stage, &request)->error_code, FAILURE_INVALID_REQUEST);
    request = subscribe_request(NULL);
    assert_int_equal(refused(&stage, &request)->error_code, FAILURE_INVALID_REQUEST);
    request = subscribe_request(AVERAGE);
    request.resume_token = message_bytes(slice_text("no token at all"));
    assert_int_equal(refused(&stage, &request)->error_code, FAILURE_INVALID_REQUEST);
    request = subscribe_request(GROUPING);
    request.encoding = PB__ENCODING__APPEND;
    assert_int_equal(refused(&stage, &request)->error_code, FAILURE_INVALID_REQUEST);
    request = subscribe_request(FILTER);
    request.encoding = PB__ENCODING__UPSERT;
    assert_int_equal(refused(&stage, &request)->error_code, FAILURE_INVALID_REQUEST);
    assert_int_equal(server_fixture_instances(&stage.fixture), 0);
    for (uint32_t b = 0; b < 5; b++)
        assert_null(stage.region->buckets[b].cqs);
    stage_end(&stage);
}

static void a_token_finds_its_instance_among_others(void **state)
{
    (void)state;
    struct stage stage;
    struct subscriber average, filter, resumed;
    stage_begin(&stage, 5);
    subscriber_begin(&average, &stage, AVERAGE);
    stage_put(&stage, NULL, 1, 10);
    subscriber_turn(&average);
    subscriber_begin(&filter, &stage, FILTER); /* the newer one is looked at first */
    Pb__CqSubscribeRequest request = subscribe_request(AVERAGE);
    request.resume_token = message_bytes(average.token);
    subscriber_init(&resumed, &stage);
    subscriber_subscribe(&resumed, &request);
    assert_int_equal(server_fixture_instances(&stage.fixture), 2);
    assert_int_equal(resumed.event_count, 1);
    assert_true(same_event(&resumed.events[0], &average.events[0]));
    /* With the text of another query a token is refused. */
    request = subscribe_request(GROUPING);
    request.resume_token = message_bytes(average.token);
    assert_int_equal(refused(&stage, &request)->error_code, FAILURE_INVALID_REQUEST);
    subscriber_fini(&average);
    subscriber_fini(&filter);
    subscriber_fini(&resumed);
    stage_end(&stage);
}

static void upkeep_seconds(struct stage *stage, uint32_t seconds)
{
    for (uint32_t i = 0; i < seconds; i++) {
        fake_net_advance(stage->fixture.net, 1000000);
        registry_upkeep(&stage->fixture.server);
    }
}

static void an_instance_is_kept_for_its_retention_after_its_last_reader(void **state)
{
    (void)state;
    struct stage stage;
    struct subscriber first, second;
    stage_begin(&stage, 5);
    subscriber_begin(&first, &stage, AVERAGE);
    upkeep_seconds(&stage, 700); /* attached */
    assert_int_equal(server_fixture_instances(&stage.fixture), 1);
    struct slice token = first.token;
    fake_conn_reset(first.client.conn);
    upkeep_seconds(&stage, 599);
    assert_int_equal(server_fixture_instances(&stage.fixture), 1);
    Pb__CqSubscribeRequest request = subscribe_request(AVERAGE);
    request.resume_token = message_bytes(token);
    subscriber_init(&second, &stage);
    subscriber_subscribe(&second, &request);
    fake_conn_reset(second.client.conn); /* however short the visit, the time begins anew */
    upkeep_seconds(&stage, 599);
    assert_int_equal(server_fixture_instances(&stage.fixture), 1);
    upkeep_seconds(&stage, 10);
    assert_int_equal(server_fixture_instances(&stage.fixture), 0);
    assert_null(stage.region->buckets[0].cqs);
    subscriber_fini(&first);
    subscriber_fini(&second);
    stage_end(&stage);
}

static void who_is_about_to_attach_keeps_an_instance(void **state)
{
    (void)state;
    struct stage stage;
    struct cq_instance *instance, *again;
    bool created;
    stage_begin(&stage, 5);
    struct query_plan *plan = server_fixture_plan(&stage.fixture, FILTER);
    struct registry_request request = {.plan = plan, .region = stage.region};
    struct server *server = &stage.fixture.server;
    assert_int_equal(registry_attach(server, &request, 5, &instance, &created), OK);
    assert_true(created);
    assert_int_equal(cq_instance_add(instance, 1), OK);
    assert_int_equal(registry_attach(server, &request, 6, &again, &created), OK);
    assert_false(created);
    assert_ptr_equal(instance, again);
    registry_attached(instance); /* the first one has gone again ... */
    registry_release(server, instance, 2);
    assert_int_equal(server_fixture_instances(&stage.fixture),
                     1); /* ... while the second one is about to come */
    registry_attached(again);
    registry_release(server, instance, 2);
    assert_int_equal(server_fixture_instances(&stage.fixture), 0);
    cq_instance_unref(instance);
    cq_instance_unref(again);
    query_plan_unref(plan);
    stage_end(&stage);
}

static void a_server_has_a_limited_number_of_instances(void **state)
{
    (void)state;
    struct stage stage;
    struct cq_instance *instance;
    bool created;
    stage_begin(&stage, 1);
    struct query_plan *plan = server_fixture_plan(&stage.fixture, AVERAGE);
    struct registry_request request = {.plan = plan, .region = stage.region};
    for (uint32_t i = 0; i <= LIMIT_INSTANCES; i++) {
        enum error error =
            registry_attach(&stage.fixture.server, &request, i + 1, &instance, &created);
        assert_int_equal(error, i == LIMIT_INSTANCES ? ERROR_LIMIT : OK);
        if (error == OK)
            cq_instance_unref(instance);
    }
    query_plan_unref(plan);
    stage_end(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plan_without_state_is_evaluated_once_for_all_who_mean_the_same),
        cmocka_unit_test(a_plan_with_state_is_an_instance_of_its_own),
        cmocka_unit_test(a_name_is_shared_by_those_who_mean_the_same),
        cmocka_unit_test(what_does_not_exist_is_refused),
        cmocka_unit_test(a_token_finds_its_instance_among_others),
        cmocka_unit_test(an_instance_is_kept_for_its_retention_after_its_last_reader),
        cmocka_unit_test(who_is_about_to_attach_keeps_an_instance),
        cmocka_unit_test(a_server_has_a_limited_number_of_instances),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
