/* One connection: version and handshake, and peers that do not keep to the protocol. */
#include "tests/unit/client/peer.h"

#include "client/conn.h"

struct scene {
    struct world world;
    struct peer peer;
    struct vug_conn *conn;
    bool ready, closed;
    unsigned pushes;
    struct vug_error error;
};

static void on_ready(void *arg)
{
    ((struct scene *)arg)->ready = true;
}

static void on_push(void *arg, uint32_t number, struct slice body)
{
    struct scene *scene = arg;
    assert_int_equal(number, VUG_CQ_STATUS);
    assert_int_equal(body.len, 0);
    scene->pushes++;
}

static void on_closed(void *arg, const struct vug_error *error)
{
    struct scene *scene = arg;
    scene->closed = true;
    scene->conn = NULL;
    scene->error = *error;
}

static struct scene *begin(void)
{
    static const struct vug_conn_events events = {
        .on_ready = on_ready, .on_push = on_push, .on_closed = on_closed};
    struct scene *scene = calloc(1, sizeof *scene);
    world_begin(&scene->world, 9);
    peer_begin(&scene->peer, &scene->world, "server", VUG_SERVER_PORT);
    struct text_host_port address = {.port = VUG_SERVER_PORT};
    snprintf(address.host, sizeof address.host, "%s", sim_node_host(scene->peer.node));
    assert_int_equal(vug_conn_open(scene->world.loop, scene->world.net, &address, 2000, &events,
                                   scene, &scene->conn),
                     OK);
    return scene;
}

static void finish(struct scene *scene)
{
    if (scene->conn != NULL)
        vug_conn_close(scene->conn);
    peer_end(&scene->peer);
    world_end(&scene->world);
    free(scene);
}

static void write_raw(struct scene *scene, const char *bytes, size_t len)
{
    assert_int_equal(net_conn_write(scene->peer.conn, bytes, len), OK);
}

static void is_ready_after_the_handshake(void **state)
{
    (void)state;
    struct scene *scene = begin();
    assert_true(world_wait(&scene->world, &scene->ready, 1000));
    finish(scene);
}

static void a_silent_peer_is_given_up_in_time(void **state)
{
    (void)state;
    struct scene *scene = begin();
    scene->peer.silent = true;
    assert_true(world_wait(&scene->world, &scene->closed, 2500));
    assert_int_equal(scene->error.error, ERROR_TIMEOUT);
    assert_false(scene->ready);
    finish(scene);
}

static void a_refused_version_is_told(void **state)
{
    (void)state;
    struct scene *scene = begin();
    scene->peer.silent = true;
    world_pass(&scene->world, 100);
    write_raw(scene, "\x04\x08\x01\x10\x01", 5);
    assert_true(world_wait(&scene->world, &scene->closed, 1000));
    assert_int_equal(scene->error.error, ERROR_UNSUPPORTED);
    finish(scene);
}

static void pushes_are_given_out_between_replies(void **state)
{
    (void)state;
    struct scene *scene = begin();
    assert_true(world_wait(&scene->world, &scene->ready, 1000));
    peer_frame(&scene->peer, VUG_CQ_STATUS, (struct slice){0});
    peer_frame(&scene->peer, VUG_CQ_STATUS, (struct slice){0});
    world_pass(&scene->world, 100);
    assert_int_equal(scene->pushes, 2);
    finish(scene);
}

static void damage_closes_the_connection(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
        enum error error;
    } rows[] = {
        {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 11, ERROR_MALFORMED}, /* no length */
        {"\xff\xff\xff\xff\x07", 5, ERROR_LIMIT},                              /* 2 GiB */
        {"\x02\x1a\x00", 3, ERROR_MALFORMED}, /* an answer that nobody asked for */
        {"\x02\x0a\x05", 3, ERROR_MALFORMED}, /* cut off inside */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct scene *scene = begin();
        assert_true(world_wait(&scene->world, &scene->ready, 1000));
        write_raw(scene, rows[i].bytes, rows[i].len);
        assert_true(world_wait(&scene->world, &scene->closed, 1000));
        assert_int_equal(scene->error.error, rows[i].error);
        finish(scene);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_ready_after_the_handshake),
        cmocka_unit_test(a_silent_peer_is_given_up_in_time),
        cmocka_unit_test(a_refused_version_is_told),
        cmocka_unit_test(pushes_are_given_out_between_replies),
        cmocka_unit_test(damage_closes_the_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
