#include "tests/unit/server/subscriber.h"

static void entries_are_told_for_each_region(void **state)
{
    (void)state;
    struct stage stage;
    struct link_load load;
    stage_begin(&stage, 5);
    server_fixture_partition(&stage.fixture, "empty", 3);
    for (uint32_t id = 0; id < 30; id++)
        stage_put(&stage, NULL, id, id);
    server_load(&stage.fixture.server, &load);
    assert_int_equal(load.entries, 30);
    assert_int_equal(load.clients, 1);
    assert_int_equal(load.buckets, 8);
    assert_int_equal(load.primaries, 8);
    assert_int_equal(load.region_count, 2);
    for (uint32_t i = 0; i < 2; i++) {
        bool is_empty = load.regions[i].region_id != stage.region->id;
        assert_int_equal(load.regions[i].entries, is_empty ? 0 : 30);
        assert_int_equal(load.regions[i].bytes, is_empty ? 0 : load.bytes);
    }
    assert_true(load.bytes > 30 * 30);
    /* It is made anew once in a while, not for each beacon. */
    stage_put(&stage, NULL, 99, 1);
    fake_net_advance(stage.fixture.net, 2000000);
    server_load(&stage.fixture.server, &load);
    assert_int_equal(load.entries, 31);
    stage_end(&stage);
}

static void without_memory_the_load_is_told_in_part(void **state)
{
    (void)state;
    struct stage stage;
    struct link_load load;
    stage_begin(&stage, 5);
    for (unsigned n = 1; n < 4; n++) {
        mem_fault_fail_at(n);
        server_load(&stage.fixture.server, &load);
        mem_fault_fail_at(0);
        assert_int_equal(load.clients, 1);
        fake_net_advance(stage.fixture.net, 2000000);
    }
    assert_int_equal(load.region_count, 1);
    stage_end(&stage);
}

static void the_metrics_count_what_happened(void **state)
{
    (void)state;
    struct stage stage;
    struct subscriber subscriber;
    struct buf text;
    stage_begin(&stage, 5);
    subscriber_begin(&subscriber, &stage, AVERAGE);
    for (uint32_t id = 0; id < 30; id++)
        stage_put(&stage, NULL, id, id);
    subscriber_turn(&subscriber);
    buf_init(&text);
    server_metrics(&stage.fixture.server, &text);
    buf_append_byte(&text, 0);
    assert_false(text.failed);
    static const char *const lines[] = {
        "\nvug_regions 1\n",
        "\nvug_entries 30\n",
        "\nvug_client_connections 2\n",
        "\nvug_subscriptions 1\n",
        "\nvug_continuous_queries 1\n",
        "\nvug_events_pushed_total 30\n",
        "\nvug_peer_silent_us 0\n",
        "\nvug_buckets_changing 0\n",
        "\nvug_messages_received_total 33\n", /* two of them to agree on the version */
        "# TYPE vug_received_bytes_total counter\n",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        if (strstr((const char *)text.data, lines[i]) == NULL)
            fail_msg("missing:%s", lines[i]);
    buf_fini(&text);
    subscriber_fini(&subscriber);
    stage_end(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_are_told_for_each_region),
        cmocka_unit_test(without_memory_the_load_is_told_in_part),
        cmocka_unit_test(the_metrics_count_what_happened),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
