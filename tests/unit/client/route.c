/* The way to a server: locators in turn, and what stands in the way. */
#include "tests/unit/client/peer.h"

#include "client/route.h"

struct scene {
    struct world world;
    struct peer first, second, server, other;
    struct vug_route route;
    struct vug_conn *conn;
    bool ended;
    struct vug_error error;
};

static void on_closed(void *arg, const struct vug_error *error)
{
    (void)error;
    ((struct scene *)arg)->conn = NULL;
}

static void on_ready(void *arg, struct vug_conn *conn)
{
    static const struct vug_conn_events events = {.on_closed = on_closed};
    struct scene *scene = arg;
    scene->conn = conn;
    scene->ended = true;
    vug_conn_adopt(conn, &events, scene);
}

static void on_failed(void *arg, const struct vug_error *error)
{
    struct scene *scene = arg;
    scene->error = *error;
    scene->ended = true;
}

static void add_server(struct buf *reply, uint32_t field, const struct peer *peer)
{
    struct buf server;
    buf_init(&server);
    vug_wire_text(&server, 1, sim_node_host(peer->node));
    vug_wire_uint(&server, 2, VUG_SERVER_PORT);
    vug_wire_bytes(reply, field, buf_slice(&server));
    buf_fini(&server);
}

static bool excludes(struct slice body)
{
    struct slice excluded;
    return vug_wire_next(&body, 1, &excluded);
}

/* Names the server and the other one, unless the request excludes one: then 101. */
static void name_server(struct peer *peer, uint32_t number, struct slice body)
{
    const struct scene *scene = peer->arg;
    struct buf reply;
    assert_int_equal(number, VUG_GET_SERVER);
    if (excludes(body)) {
        peer_error(peer, 101, "Unable to find a server");
        return;
    }
    buf_init(&reply);
    add_server(&reply, 1, &scene->server);
    add_server(&reply, 1001, &scene->other);
    peer_frame(peer, VUG_GET_SERVER + 1, buf_slice(&reply));
    buf_fini(&reply);
}

static void no_server(struct peer *peer, uint32_t number, struct slice body)
{
    (void)number;
    (void)body;
    peer_error(peer, 101, "Unable to find a server");
}

static void hang_up(struct peer *peer, uint32_t number, struct slice body)
{
    (void)number;
    (void)body;
    peer_drop(peer);
}

static struct scene *begin(enum vug_client_role role)
{
    static const struct vug_route_events events = {.on_ready = on_ready, .on_failed = on_failed};
    struct scene *scene = calloc(1, sizeof *scene);
    world_begin(&scene->world, 4);
    peer_begin(&scene->first, &scene->world, "locator1", VUG_LOCATOR_PORT);
    peer_begin(&scene->second, &scene->world, "locator2", VUG_LOCATOR_PORT);
    peer_begin(&scene->server, &scene->world, "server", VUG_SERVER_PORT);
    peer_begin(&scene->other, &scene->world, "other", VUG_SERVER_PORT);
    scene->first.arg = scene->second.arg = scene;
    scene->first.on_request = scene->second.on_request = name_server;
    struct vug_target target = {.timeout_ms = 2000};
    char list[128];
    snprintf(list, sizeof list, "%s[10334], %s:10334", sim_node_host(scene->first.node),
             sim_node_host(scene->second.node));
    assert_int_equal(vug_target_locators(&target, list), OK);
    assert_int_equal(target.locator_count, 2);
    assert_int_equal(vug_route_init(&scene->route, scene->world.loop, scene->world.net, &target,
                                    role, &events, scene),
                     OK);
    return scene;
}

static void run(struct scene *scene)
{
    vug_route_start(&scene->route);
    assert_true(world_wait(&scene->world, &scene->ended, 30000));
}

static void finish(struct scene *scene)
{
    if (scene->conn != NULL)
        vug_conn_close(scene->conn);
    vug_route_fini(&scene->route);
    peer_end(&scene->other);
    peer_end(&scene->server);
    peer_end(&scene->second);
    peer_end(&scene->first);
    world_end(&scene->world);
    free(scene);
}

static void the_first_locator_names_the_server(void **state)
{
    (void)state;
    struct scene *scene = begin(VUG_TO_SERVER);
    run(scene);
    assert_non_null(scene->conn);
    assert_string_equal(vug_conn_peer(scene->conn)->host, sim_node_host(scene->server.node));
    assert_int_equal(scene->second.connections, 0);
    finish(scene);
}

static void the_next_is_asked_after_101_eof_and_silence(void **state)
{
    (void)state;
    for (int how = 0; how < 3; how++) {
        struct scene *scene = begin(VUG_TO_SERVER);
        scene->first.on_request = how == 0 ? no_server : hang_up;
        scene->first.silent = how == 2;
        run(scene);
        assert_non_null(scene->conn);
        assert_int_equal(scene->second.connections, 1);
        finish(scene);
    }
}

static void the_next_is_asked_when_nobody_listens(void **state)
{
    (void)state;
    struct scene *scene = begin(VUG_TO_SERVER);
    scene->route.target.locators[0].port = 9;
    run(scene);
    assert_non_null(scene->conn);
    assert_int_equal(scene->second.connections, 1);
    finish(scene);
}

static void close_port(struct peer *peer)
{
    net_listener_close(peer->listener);
    peer->listener = NULL;
}

static void open_port(struct peer *peer, uint16_t port)
{
    assert_int_equal(net_listen(peer->net, sim_node_host(peer->node), port, peer_on_accept, peer,
                                &peer->listener),
                     OK);
}

static void a_server_that_does_not_accept_is_excluded_once(void **state)
{
    (void)state;
    struct scene *scene = begin(VUG_TO_SERVER);
    close_port(&scene->server);
    close_port(&scene->other);
    run(scene);
    assert_null(scene->conn);
    assert_int_equal(scene->first.request_count, 2);
    assert_false(excludes(buf_slice(&scene->first.requests[0].body)));
    assert_true(excludes(buf_slice(&scene->first.requests[1].body)));
    assert_true(scene->second.request_count >= 1);
    open_port(&scene->server, VUG_SERVER_PORT);
    open_port(&scene->other, VUG_SERVER_PORT);
    finish(scene);
}

static void again(struct scene *scene)
{
    if (scene->conn != NULL)
        vug_conn_close(scene->conn);
    scene->conn = NULL;
    scene->ended = false;
    run(scene);
}

static void servers_that_were_named_are_known_when_no_locator_answers(void **state)
{
    (void)state;
    struct scene *scene = begin(VUG_TO_SERVER);
    run(scene);
    close_port(&scene->first);
    close_port(&scene->second);
    again(scene);
    assert_non_null(scene->conn);
    assert_string_equal(vug_conn_peer(scene->conn)->host, sim_node_host(scene->server.node));
    close_port(&scene->server);
    again(scene);
    assert_non_null(scene->conn);
    assert_string_equal(vug_conn_peer(scene->conn)->host, sim_node_host(scene->other.node));
    /* Nobody is left: what the locators did is told. */
    close_port(&scene->other);
    again(scene);
    assert_null(scene->conn);
    assert_non_null(strstr(scene->error.text, sim_node_host(scene->second.node)));
    open_port(&scene->server, VUG_SERVER_PORT);
    open_port(&scene->other, VUG_SERVER_PORT);
    /* A locator that is back is asked first. */
    open_port(&scene->first, VUG_LOCATOR_PORT);
    open_port(&scene->second, VUG_LOCATOR_PORT);
    again(scene);
    assert_non_null(scene->conn);
    assert_int_equal(scene->first.connections, 2);
    finish(scene);
}

static void known_servers_are_tried_when_a_locator_knows_of_none(void **state)
{
    (void)state;
    struct scene *scene = begin(VUG_TO_SERVER);
    run(scene);
    scene->first.on_request = scene->second.on_request = no_server;
    again(scene);
    assert_non_null(scene->conn);
    close_port(&scene->server);
    close_port(&scene->other);
    again(scene);
    assert_null(scene->conn);
    assert_int_equal(scene->error.code, 101);
    open_port(&scene->server, VUG_SERVER_PORT);
    open_port(&scene->other, VUG_SERVER_PORT);
    finish(scene);
}

static void nobody_at_all_is_told_with_the_last_reason(void **state)
{
    (void)state;
    struct scene *scene = begin(VUG_TO_SERVER);
    scene->first.on_request = scene->second.on_request = no_server;
    run(scene);
    assert_null(scene->conn);
    assert_int_equal(scene->error.error, ERROR_NO_SERVER);
    assert_int_equal(scene->error.code, 101);
    finish(scene);
}

static void administration_stays_with_the_locator(void **state)
{
    (void)state;
    struct scene *scene = begin(VUG_TO_LOCATOR);
    run(scene);
    assert_non_null(scene->conn);
    assert_string_equal(vug_conn_peer(scene->conn)->host, sim_node_host(scene->first.node));
    assert_int_equal(scene->first.request_count, 0);
    finish(scene);
}

static void it_can_be_stopped_on_its_way(void **state)
{
    (void)state;
    struct scene *scene = begin(VUG_TO_SERVER);
    scene->first.silent = true;
    vug_route_start(&scene->route);
    world_pass(&scene->world, 500);
    vug_route_stop(&scene->route);
    world_pass(&scene->world, 10000);
    assert_false(scene->ended);
    assert_int_equal(scene->second.connections, 0);
    finish(scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_locator_names_the_server),
        cmocka_unit_test(the_next_is_asked_after_101_eof_and_silence),
        cmocka_unit_test(the_next_is_asked_when_nobody_listens),
        cmocka_unit_test(a_server_that_does_not_accept_is_excluded_once),
        cmocka_unit_test(servers_that_were_named_are_known_when_no_locator_answers),
        cmocka_unit_test(known_servers_are_tried_when_a_locator_knows_of_none),
        cmocka_unit_test(nobody_at_all_is_told_with_the_last_reason),
        cmocka_unit_test(administration_stays_with_the_locator),
        cmocka_unit_test(it_can_be_stopped_on_its_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
