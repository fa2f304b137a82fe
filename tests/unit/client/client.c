/* Requests in flight: order, the loss of a connection, and a client that is ended by its own
 * callback. */
#include "tests/unit/client/peer.h"

#include "tests/lib/mem_fault.h"

struct scene {
    struct world world;
    struct peer peer;
    struct vug_client *client;
    unsigned next; /* the request whose answer comes next */
    unsigned errors;
    bool done, ends_itself;
    unsigned wanted;
    struct vug_error error;
};

struct call {
    struct scene *scene;
    unsigned number;
};

static void on_reply(void *arg, const struct vug_error *error, struct slice body)
{
    struct call *call = arg;
    struct scene *scene = call->scene;
    (void)body;
    assert_int_equal(call->number, scene->next);
    scene->next++;
    scene->errors += error != NULL;
    if (error != NULL)
        scene->error = *error;
    scene->done = scene->next == scene->wanted;
    if (scene->ends_itself) {
        vug_client_free(scene->client);
        scene->client = NULL;
    }
}

static void answer(struct peer *peer, uint32_t number, struct slice body)
{
    (void)body;
    peer_frame(peer, number + 1, (struct slice){0});
}

static struct scene *begin(void)
{
    struct scene *scene = calloc(1, sizeof *scene);
    world_begin(&scene->world, 5);
    peer_begin(&scene->peer, &scene->world, "server", VUG_SERVER_PORT);
    scene->peer.on_request = answer;
    struct vug_target target = target_straight(sim_node_host(scene->peer.node));
    target.timeout_ms = 2000;
    assert_int_equal(
        vug_client_new(scene->world.loop, scene->world.net, &target, VUG_TO_SERVER, &scene->client),
        OK);
    return scene;
}

static void finish(struct scene *scene)
{
    if (scene->client != NULL)
        vug_client_free(scene->client);
    peer_end(&scene->peer);
    world_end(&scene->world);
    free(scene);
}

static struct call calls[LIMIT_REQUESTS_IN_SERVICE + 1];

static enum error call(struct scene *scene, unsigned number)
{
    calls[number] = (struct call){scene, number};
    return vug_client_call(scene->client, VUG_REGION_NAMES, (struct slice){0}, on_reply,
                           &calls[number]);
}

static void many_requests_are_answered_in_order(void **state)
{
    (void)state;
    struct scene *scene = begin();
    scene->wanted = 200;
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(call(scene, i), OK); /* before there is a connection */
    world_pass(&scene->world, 100);
    for (unsigned i = 100; i < 200; i++)
        assert_int_equal(call(scene, i), OK);
    assert_true(world_wait(&scene->world, &scene->done, 5000));
    assert_int_equal(scene->errors, 0);
    assert_int_equal(scene->peer.connections, 1);
    finish(scene);
}

static void requests_in_flight_are_bounded(void **state)
{
    (void)state;
    struct scene *scene = begin();
    for (unsigned i = 0; i < LIMIT_REQUESTS_IN_SERVICE; i++)
        assert_int_equal(call(scene, i), OK);
    assert_int_equal(call(scene, LIMIT_REQUESTS_IN_SERVICE), ERROR_LIMIT);
    finish(scene);
}

static void
a_lost_connection_fails_what_was_in_flight_and_the_next_call_connects_again(void **state)
{
    (void)state;
    struct scene *scene = begin();
    scene->peer.on_request = NULL;
    scene->wanted = 3;
    assert_int_equal(call(scene, 0), OK);
    assert_int_equal(call(scene, 1), OK);
    world_pass(&scene->world, 100);
    peer_drop(&scene->peer);
    world_pass(&scene->world, 100);
    assert_int_equal(scene->errors, 2);
    assert_int_equal(scene->error.code, 0);
    scene->peer.on_request = answer;
    assert_int_equal(call(scene, 2), OK);
    assert_true(world_wait(&scene->world, &scene->done, 5000));
    assert_int_equal(scene->errors, 2);
    assert_int_equal(scene->peer.connections, 2);
    finish(scene);
}

static void silence_is_a_timeout(void **state)
{
    (void)state;
    struct scene *scene = begin();
    scene->peer.on_request = NULL;
    scene->wanted = 1;
    assert_int_equal(call(scene, 0), OK);
    assert_true(world_wait(&scene->world, &scene->done, 2500));
    assert_int_equal(scene->error.error, ERROR_TIMEOUT);
    finish(scene);
}

static void a_callback_may_end_its_client(void **state)
{
    (void)state;
    for (int how = 0; how < 3; how++) {
        struct scene *scene = begin();
        scene->ends_itself = true;
        scene->wanted = 1;
        if (how == 1) /* it fails to connect */
            sim_node_crash(scene->peer.node, SIM_CRASH_RESET);
        else if (how == 2)
            scene->peer.on_request = NULL;
        assert_int_equal(call(scene, 0), OK);
        assert_int_equal(call(scene, 1), OK);
        if (how == 2) {
            world_pass(&scene->world, 100);
            peer_drop(&scene->peer);
        }
        assert_true(world_wait(&scene->world, &scene->done, 10000));
        world_pass(&scene->world, 1000);
        assert_int_equal(scene->next, 1);
        finish(scene);
    }
}

static void runs_out_of_memory_without_a_leak(void **state)
{
    (void)state;
    bool done = false;
    for (unsigned n = 1; !done; n++) {
        struct scene *scene = begin();
        long live = mem_fault_live();
        mem_fault_fail_at(n);
        enum error error = call(scene, 0);
        done = mem_fault_calls() < n;
        mem_fault_fail_at(0);
        assert_int_equal(error, done ? OK : ERROR_MEMORY);
        assert_true(done || mem_fault_live() == live);
        assert_int_equal(scene->next, 0);
        finish(scene);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_requests_are_answered_in_order),
        cmocka_unit_test(requests_in_flight_are_bounded),
        cmocka_unit_test(
            a_lost_connection_fails_what_was_in_flight_and_the_next_call_connects_again),
        cmocka_unit_test(silence_is_a_timeout),
        cmocka_unit_test(a_callback_may_end_its_client),
        cmocka_unit_test(runs_out_of_memory_without_a_leak),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
