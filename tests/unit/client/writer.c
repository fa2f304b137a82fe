/* The window of an idempotent writer: order, back-pressure, repeats that are the same bytes, giving
 * up. */
#include "tests/unit/client/peer.h"

#include "tests/lib/mem_fault.h"

struct scene {
    struct world world;
    struct peer peer;
    struct vug_writer *writer;
    uint64_t next_done; /* tags come in order, from 1 */
    uint64_t failed_ops;
    uint32_t wanted; /* answered operations that the test waits for */
    bool reached, room, failed;
    unsigned connections, losses;
    struct vug_error error;
};

static void on_done(void *arg, uint64_t tag, const struct vug_error *error)
{
    struct scene *scene = arg;
    assert_int_equal(tag, scene->next_done + 1);
    scene->next_done = tag;
    scene->failed_ops += error != NULL;
    scene->reached = scene->next_done >= scene->wanted;
}

static void on_room(void *arg)
{
    ((struct scene *)arg)->room = true;
}

static void on_failed(void *arg, const struct vug_error *error)
{
    struct scene *scene = arg;
    scene->failed = true;
    scene->error = *error;
}

static void answer(struct peer *peer, uint32_t number, struct slice body)
{
    (void)body;
    assert_int_equal(number, VUG_WRITE_BATCH);
    peer_frame(peer, VUG_WRITE_BATCH + 1, (struct slice){0});
}

static void begin_with(struct scene *scene, const struct vug_writer_options *options,
                       const struct vug_writer_events *events)
{
    memset(scene, 0, sizeof *scene);
    world_begin(&scene->world, 7);
    peer_begin(&scene->peer, &scene->world, "server", VUG_SERVER_PORT);
    struct vug_target target = target_straight(sim_node_host(scene->peer.node));
    assert_int_equal(vug_writer_new(scene->world.loop, scene->world.net, &target, options, events,
                                    scene, &scene->writer),
                     OK);
}

static void begin(struct scene *scene, const struct vug_writer_options *options)
{
    static const struct vug_writer_events events = {
        .on_done = on_done, .on_room = on_room, .on_failed = on_failed};
    begin_with(scene, options, &events);
}

static void finish(struct scene *scene)
{
    if (scene->writer != NULL)
        vug_writer_free(scene->writer);
    peer_end(&scene->peer);
    world_end(&scene->world);
}

static enum error put(struct scene *scene, uint64_t tag)
{
    struct value key = {.type = VALUE_LONG, .integer = (int64_t)tag};
    struct value value = {.type = VALUE_STRING, .bytes = slice_text("x")};
    return vug_writer_put(scene->writer, &key, &value, tag);
}

struct batch { /* of a WriteBatchRequest */
    uint64_t sequence, completed_through;
    unsigned operations;
    struct slice id;
};

static struct batch batch_of(const struct peer_request *request)
{
    struct batch batch = {0};
    struct slice rest = buf_slice(&request->body);
    struct codec_field field;
    while (rest.len > 0) {
        assert_int_equal(codec_next_field(&rest, &field), OK);
        if (field.number == 1)
            batch.id = field.bytes;
        else if (field.number == 2)
            batch.sequence = field.integer;
        else if (field.number == 4)
            batch.operations++;
        else if (field.number == 6)
            batch.completed_through = field.integer;
    }
    return batch;
}

static const struct vug_writer_options plain = {.region = "r"};

static void operations_of_a_turn_travel_together(void **state)
{
    (void)state;
    struct scene *scene = calloc(1, sizeof *scene);
    begin(scene, &plain);
    scene->peer.on_request = answer;
    for (uint64_t tag = 1; tag <= 300; tag++)
        assert_int_equal(put(scene, tag), OK);
    scene->wanted = 300;
    assert_true(world_wait(&scene->world, &scene->reached, 5000));
    assert_int_equal(scene->failed_ops, 0);
    assert_int_equal(scene->peer.request_count, 2);
    struct batch first = batch_of(&scene->peer.requests[0]),
                 second = batch_of(&scene->peer.requests[1]);
    assert_int_equal(first.sequence, 1);
    assert_int_equal(first.operations, 256);
    assert_int_equal(first.id.len, 16);
    assert_int_equal(second.sequence, 257);
    assert_int_equal(second.operations, 44);
    assert_int_equal(put(scene, 301), OK);
    scene->reached = false;
    scene->wanted = 301;
    assert_true(world_wait(&scene->world, &scene->reached, 5000));
    assert_int_equal(batch_of(&scene->peer.requests[2]).completed_through, 300);
    assert_int_equal(vug_writer_unanswered(scene->writer), 0);
    finish(scene);
    free(scene);
}

static void a_full_window_is_busy_until_there_is_room(void **state)
{
    (void)state;
    struct scene *scene = calloc(1, sizeof *scene);
    begin(scene, &plain);
    for (uint64_t tag = 1; tag <= LIMIT_WRITER_WINDOW; tag++)
        assert_int_equal(put(scene, tag), OK);
    assert_int_equal(put(scene, LIMIT_WRITER_WINDOW + 1), ERROR_BUSY);
    world_pass(&scene->world, 100);
    assert_int_equal(scene->peer.request_count, 4);
    assert_false(scene->room);
    peer_frame(&scene->peer, VUG_WRITE_BATCH + 1, (struct slice){0});
    assert_true(world_wait(&scene->world, &scene->room, 5000));
    assert_int_equal(scene->next_done, 256);
    assert_int_equal(put(scene, LIMIT_WRITER_WINDOW + 1), OK);
    world_pass(&scene->world, 100);
    struct batch last = batch_of(&scene->peer.requests[4]);
    assert_int_equal(last.sequence, LIMIT_WRITER_WINDOW + 1);
    assert_int_equal(last.completed_through, 256);
    finish(scene);
    free(scene);
}

static void an_unanswered_batch_is_repeated_unchanged(void **state)
{
    (void)state;
    struct scene *scene = calloc(1, sizeof *scene);
    begin(scene, &(struct vug_writer_options){.region = "r", .batch_ops = 4});
    for (uint64_t tag = 1; tag <= 10; tag++)
        assert_int_equal(put(scene, tag), OK);
    world_pass(&scene->world, 100);
    assert_int_equal(scene->peer.request_count, 3);
    peer_frame(&scene->peer, VUG_WRITE_BATCH + 1,
               (struct slice){0}); /* the first is answered, then it breaks */
    world_pass(&scene->world, 100);
    assert_int_equal(scene->next_done, 4);
    peer_drop(&scene->peer);
    scene->peer.on_request = answer;
    scene->reached = false;
    scene->wanted = 10;
    assert_true(world_wait(&scene->world, &scene->reached, 20000));
    assert_int_equal(scene->peer.request_count, 5);
    for (unsigned i = 0; i < 2; i++)
        assert_true(slice_equal(buf_slice(&scene->peer.requests[1 + i].body),
                                buf_slice(&scene->peer.requests[3 + i].body)));
    assert_int_equal(scene->failed_ops, 0);
    assert_int_equal(vug_writer_reconnects(scene->writer), 1);
    finish(scene);
    free(scene);
}

static void on_connected(void *arg, const struct text_host_port *server)
{
    struct scene *scene = arg;
    assert_int_equal(server->port, VUG_SERVER_PORT);
    scene->connections++;
}

static void on_disconnected(void *arg, const struct text_host_port *server,
                            const struct vug_error *why)
{
    struct scene *scene = arg;
    assert_string_equal(server->host, sim_node_host(scene->peer.node));
    assert_int_not_equal(why->error, OK);
    scene->losses++;
}

static void a_connection_that_is_looked_at_first_gets_nothing_before_that(void **state)
{
    static const struct vug_writer_events events = {.on_done = on_done,
                                                    .on_connected = on_connected,
                                                    .on_disconnected = on_disconnected,
                                                    .on_failed = on_failed};
    (void)state;
    struct scene *scene = calloc(1, sizeof *scene);
    begin_with(scene, &plain, &events);
    scene->peer.on_request = answer;
    assert_int_equal(put(scene, 1), OK);
    world_pass(&scene->world, 1000);
    assert_int_equal(scene->connections, 1);
    assert_int_equal(put(scene, 2), OK);
    world_pass(&scene->world, 1000);
    assert_int_equal(scene->peer.request_count, 0);
    peer_drop(&scene->peer);
    world_pass(&scene->world, 2000);
    assert_int_equal(scene->losses, 1);
    assert_int_equal(scene->connections, 2);
    assert_int_equal(scene->peer.request_count, 0);
    vug_writer_proceed(scene->writer);
    scene->wanted = 2;
    assert_true(world_wait(&scene->world, &scene->reached, 1000));
    peer_drop(&scene->peer);
    world_pass(&scene->world, 1000);
    assert_int_equal(scene->losses, 2);
    assert_int_equal(scene->connections, 2); /* nothing is unanswered */
    vug_writer_proceed(scene->writer);       /* too late, and harmless */
    assert_int_equal(put(scene, 3), OK);
    world_pass(&scene->world, 1000);
    assert_int_equal(scene->connections, 3);
    assert_int_equal(scene->next_done, 2);
    assert_false(scene->failed);
    finish(scene);
    free(scene);
}

static void a_refused_batch_is_told_for_each_operation(void **state)
{
    (void)state;
    struct scene *scene = calloc(1, sizeof *scene);
    begin(scene, &(struct vug_writer_options){.region = "r", .batch_ops = 4});
    for (uint64_t tag = 1; tag <= 8; tag++)
        assert_int_equal(put(scene, tag), OK);
    world_pass(&scene->world, 100);
    peer_error(&scene->peer, 100,
               "org.apache.geode.cache.RegionDestroyedException: Region not found r");
    peer_frame(&scene->peer, VUG_WRITE_BATCH + 1, (struct slice){0});
    scene->wanted = 8;
    assert_true(world_wait(&scene->world, &scene->reached, 5000));
    assert_int_equal(scene->failed_ops, 4);
    finish(scene);
    free(scene);
}

static void it_gives_up_after_its_time_and_takes_nothing_more(void **state)
{
    (void)state;
    struct scene *scene = calloc(1, sizeof *scene);
    begin(scene, &(struct vug_writer_options){.region = "r", .give_up_ms = 30000});
    scene->peer.silent = true;
    assert_int_equal(put(scene, 1), OK);
    assert_int_equal(put(scene, 2), OK);
    assert_true(world_wait(&scene->world, &scene->failed, 31000));
    assert_int_equal(scene->error.error, ERROR_TIMEOUT);
    assert_int_equal(scene->failed_ops, 2);
    assert_true(scene->peer.connections > 1);
    assert_int_equal(put(scene, 3), ERROR_SHUTDOWN);
    finish(scene);
    free(scene);
}

static void runs_out_of_memory_without_a_leak(void **state)
{
    (void)state;
    bool done = false;
    for (unsigned n = 1; !done; n++) {
        struct scene *scene = calloc(1, sizeof *scene);
        world_begin(&scene->world, 7);
        peer_begin(&scene->peer, &scene->world, "server", VUG_SERVER_PORT);
        struct vug_target target = target_straight(sim_node_host(scene->peer.node));
        static const struct vug_writer_events events = {.on_done = on_done, .on_failed = on_failed};
        long live = mem_fault_live();
        mem_fault_fail_at(n);
        enum error error = vug_writer_new(scene->world.loop, scene->world.net, &target, &plain,
                                          &events, scene, &scene->writer);
        if (error == OK)
            error = put(scene, 1);
        unsigned long calls = mem_fault_calls();
        mem_fault_fail_at(0);
        assert_true(error == OK || error == ERROR_MEMORY);
        done = calls < n;
        assert_true(!done || error == OK);
        if (scene->writer != NULL)
            vug_writer_free(scene->writer);
        scene->writer = NULL;
        assert_int_equal(mem_fault_live(), live);
        finish(scene);
        free(scene);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operations_of_a_turn_travel_together),
        cmocka_unit_test(a_full_window_is_busy_until_there_is_room),
        cmocka_unit_test(an_unanswered_batch_is_repeated_unchanged),
        cmocka_unit_test(a_connection_that_is_looked_at_first_gets_nothing_before_that),
        cmocka_unit_test(a_refused_batch_is_told_for_each_operation),
        cmocka_unit_test(it_gives_up_after_its_time_and_takes_nothing_more),
        cmocka_unit_test(runs_out_of_memory_without_a_leak),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
