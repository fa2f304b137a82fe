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

static uint32_t told(struct stage *stage)
{
    upkeep_seconds(stage, 11);
    return stage->fixture.attachments;
}

static void the_locator_is_told_who_is_attached(void **state)
{
    (void)state;
    struct stage stage;
    struct subscriber first, second;
    stage_begin(&stage, 5);
    subscriber_begin(&first, &stage, AVERAGE);
    subscriber_turn(&first);
    assert_int_equal(stage.fixture.attachments, 1); /* at once, not with the next upkeep */
    subscriber_begin(&second, &stage, AVERAGE);
    assert_int_equal(told(&stage), 2);
    fake_conn_reset(first.client.conn);
    fake_conn_reset(second.client.conn);
    assert_int_equal(told(&stage), 0);
    upkeep_seconds(&stage, 700);
    assert_int_equal(server_fixture_instances(&stage.fixture), 2); /* the locator ends them */
    subscriber_fini(&first);
    subscriber_fini(&second);
    stage_end(&stage);
}

static void an_instance_that_the_map_has_no_more_ends_everywhere(void **state)
{
    (void)state;
    struct stage stage;
    struct subscriber first;
    stage_begin(&stage, 5);
    subscriber_begin(&first, &stage, AVERAGE);
    struct cluster_map *map;
    assert_int_equal(cluster_map_edit(stage.fixture.map, &map), OK);
    uint64_t id = map->queries[0].id;
    assert_ptr_equal(cq_instance_find(stage.region, id), stage.fixture.server.instances);
    assert_int_equal(cluster_map_remove_query(map, id), OK);
    assert_int_equal(cluster_map_seal(map), OK);
    server_fixture_adopt(&stage.fixture, map);
    cluster_map_unref(map);
    subscriber_turn(&first);
    assert_int_equal(first.status_count, 1);
    assert_int_equal(first.statuses[0]->code, PB__CQ_STATUS__CODE__CLOSED);
    registry_upkeep(&stage.fixture.server);
    assert_int_equal(server_fixture_instances(&stage.fixture), 0);
    assert_null(stage.region->buckets[0].cqs);
    assert_null(cq_instance_find(stage.region, id));
    subscriber_fini(&first);
    stage_end(&stage);
}

static void who_is_attached_elsewhere_keeps_an_instance(void **state)
{
    (void)state;
    struct stage stage;
    struct subscriber first, second;
    stage_begin(&stage, 5);
    subscriber_begin(&first, &stage, FILTER);
    stage.fixture.keeps_queries = true;
    unsubscribe(&first);
    subscriber_turn(&first);
    assert_int_equal(server_fixture_instances(&stage.fixture), 1);
    subscriber_begin(&second, &stage, FILTER); /* it is there, and is not asked for again */
    assert_int_equal(stage.fixture.map->query_count, 1);
    assert_int_equal(stage.fixture.map->next_query_id, 2);
    subscriber_fini(&first);
    subscriber_fini(&second);
    stage_end(&stage);
}

static void without_a_locator_nothing_new_begins_and_the_rest_goes_on(void **state)
{
    (void)state;
    struct stage stage;
    struct subscriber first, second;
    stage_begin(&stage, 5);
    subscriber_begin(&first, &stage, FILTER);
    stage.fixture.no_locator = true;
    Pb__CqSubscribeRequest request = subscribe_request(AVERAGE);
    const Pb__Error *error = refused(&stage, &request);
    assert_non_null(strstr((const char *)error->message.data, "needs a locator"));
    stage_put(&stage, NULL, 1, 30);
    subscriber_turn(&first);
    assert_int_equal(first.event_count, 1);
    subscriber_begin(&second, &stage, FILTER);
    assert_int_equal(second.event_count, 1);
    subscriber_fini(&first);
    subscriber_fini(&second);
    stage_end(&stage);
}

static void the_plan_is_that_of_the_table_as_the_query_began(void **state)
{
    (void)state;
    struct stage stage;
    struct subscriber first;
    stage_begin(&stage, 5);
    subscriber_begin(&first, &stage, AVERAGE);
    struct cluster_map *map;
    struct catalog *catalog;
    struct query_plan *plan;
    assert_int_equal(cluster_map_edit(stage.fixture.map, &map), OK);
    assert_int_equal(cluster_map_remove_table(map, slice_text("Readings")), OK);
    assert_int_equal(cluster_map_seal(map), OK);
    assert_int_equal(catalog_new(NULL, map, NULL, 1, NULL, &catalog), OK);
    assert_int_equal(registry_plan(catalog, &map->queries[0], &plan, NULL), OK);
    uint8_t fingerprint[16];
    query_plan_fingerprint(plan, fingerprint);
    assert_memory_equal(fingerprint, stage.fixture.server.instances->fingerprint,
                        sizeof fingerprint);
    query_plan_unref(plan);
    catalog_unref(catalog);
    cluster_map_unref(map);
    subscriber_fini(&first);
    stage_end(&stage);
}

static void who_is_about_to_attach_keeps_an_instance(void **state)
{
    (void)state;
    struct stage stage;
    struct subscriber first;
    struct cq_instance *instance;
    stage_begin(&stage, 5);
    subscriber_begin(&first, &stage, FILTER);
    struct query_plan *plan = server_fixture_plan(&stage.fixture, FILTER);
    struct registry_request request = {.plan = plan, .region = stage.region};
    struct server *server = &stage.fixture.server;
    assert_int_equal(registry_attach(server, &request, &instance), OK);
    unsubscribe(&first); /* while the second one is about to come */
    subscriber_turn(&first);
    assert_int_equal(server_fixture_instances(&stage.fixture), 1);
    registry_attached(server, instance);
    registry_release(server, instance);
    cq_instance_unref(instance);
    subscriber_turn(&first);
    assert_int_equal(server_fixture_instances(&stage.fixture), 0);
    query_plan_unref(plan);
    subscriber_fini(&first);
    stage_end(&stage);
}

static void nothing(void *arg)
{
    ++*(uint32_t *)arg;
}

static void who_waits_for_the_map_is_woken_by_it(void **state)
{
    (void)state;
    struct stage stage;
    struct cq_instance *instance;
    uint32_t woken = 0;
    stage_begin(&stage, 1);
    struct server *server = &stage.fixture.server;
    uint64_t epoch = stage.fixture.map->epoch;
    struct cq_wait wait = {.worker = stage.fixture.worker,
                           .on_map = {.on_run = nothing, .arg = &woken}};
    assert_int_equal(registry_attach_id(server, 7, epoch, false, &wait, &instance),
                     ERROR_NOT_FOUND);
    assert_int_equal(registry_attach_id(server, 7, epoch + 1, false, &wait, &instance), ERROR_BUSY);
    assert_true(registry_forget_wait(server, &wait));
    assert_false(registry_forget_wait(server, &wait));
    assert_int_equal(registry_attach_id(server, 7, epoch + 1, false, &wait, &instance), ERROR_BUSY);
    server_fixture_partition(&stage.fixture, "other", 1); /* the next epoch */
    fake_net_turn(stage.fixture.net);
    assert_int_equal(woken, 1);
    assert_false(registry_forget_wait(server, &wait));
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
        cmocka_unit_test(the_locator_is_told_who_is_attached),
        cmocka_unit_test(an_instance_that_the_map_has_no_more_ends_everywhere),
        cmocka_unit_test(who_is_attached_elsewhere_keeps_an_instance),
        cmocka_unit_test(without_a_locator_nothing_new_begins_and_the_rest_goes_on),
        cmocka_unit_test(the_plan_is_that_of_the_table_as_the_query_began),
        cmocka_unit_test(who_is_about_to_attach_keeps_an_instance),
        cmocka_unit_test(who_waits_for_the_map_is_woken_by_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
