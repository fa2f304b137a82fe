#include "client/route.h"
#include "client/wire.h"

/* Of GetServerResponse; FIELD_OTHER of the request, too, as the wish. */
enum { FIELD_SERVER = 1, FIELD_OTHER = 1001 };

enum error vug_target_locators(struct vug_target *target, const char *list)
{
    struct slice rest = slice_text(list), part;
    target->locator_count = 0;
    while (text_next_part(&rest, ',', &part)) {
        if (target->locator_count == VUG_LOCATORS_MAX)
            return ERROR_LIMIT;
        enum error error =
            text_parse_host_port(part, VUG_LOCATOR_PORT, &target->locators[target->locator_count]);
        if (error != OK)
            return error;
        target->locator_count++;
    }
    return target->locator_count == 0 ? ERROR_INVALID : OK;
}

static void step_soon(struct vug_route *route)
{
    loop_timer_set(&route->step, 0);
}

static void drop_conn(struct vug_route *route)
{
    if (route->conn == NULL)
        return;
    struct vug_conn *conn = route->conn;
    route->conn = NULL;
    vug_conn_close(conn);
}

static bool is_last(const struct vug_route *route)
{
    return route->target.straight || route->locator >= route->target.locator_count;
}

/* This locator, or this server, is of no use: on to what is left, from a later turn. */
static void give_up_this(struct vug_route *route, const struct vug_error *error)
{
    if (route->at_known) {
        route->at_known = false;
        route->next_known++;
        drop_conn(route);
        step_soon(route);
        return;
    }
    /* That there is no other server than the one that failed says less than how it failed. */
    if (!(route->excludes && error->code == 101))
        route->error = *error;
    bool again = route->at_server && !route->target.straight && !route->excludes;
    route->excludes = again;
    route->at_server = false;
    drop_conn(route);
    if (!again)
        route->locator++;
    step_soon(route);
}

static void on_closed(void *arg, const struct vug_error *error)
{
    struct vug_route *route = arg;
    route->conn = NULL;
    give_up_this(route, error);
}

static void on_arrived(void *arg)
{
    struct vug_route *route = arg;
    struct vug_conn *conn = route->conn;
    route->conn = NULL;
    route->running = route->at_known = false;
    route->events.on_ready(route->arg, conn);
}

static void learn(struct vug_route *route, const struct text_host_port *server)
{
    for (uint32_t i = 0; i < route->known_count; i++)
        if (route->known[i].port == server->port && strcmp(route->known[i].host, server->host) == 0)
            return;
    if (route->known_count < VUG_KNOWN_SERVERS_MAX)
        route->known[route->known_count++] = *server;
}

/* Server: 1 hostname, 2 port. */
static bool read_address(struct slice content, struct text_host_port *server)
{
    server->host[0] = '\0';
    server->port = 0;
    while (content.len > 0) {
        struct codec_field field;
        if (codec_next_field(&content, &field) != OK)
            return false;
        if (field.number == 1 && field.wire_type == 2) {
            if (field.bytes.len >= sizeof server->host ||
                memchr(field.bytes.data, 0, field.bytes.len))
                return false;
            memcpy(server->host, field.bytes.data, field.bytes.len);
            server->host[field.bytes.len] = '\0';
        } else if (field.number == 2 && field.wire_type == 0 && field.integer <= 65535) {
            server->port = (uint16_t)field.integer;
        }
    }
    return server->host[0] != '\0' && server->port != 0;
}

/* GetServerResponse: 1 Server, 1001 Servers. */
static bool read_server(struct slice body, struct text_host_port *server)
{
    struct slice content = {0};
    return vug_wire_next(&body, FIELD_SERVER, &content) && read_address(content, server);
}

/* The server that was named, the others, and then what is known from before. */
static void learn_servers(struct vug_route *route, struct slice body)
{
    struct text_host_port old[VUG_KNOWN_SERVERS_MAX], other;
    uint32_t old_count = route->known_count;
    struct slice content = {0};
    memcpy(old, route->known, sizeof old);
    route->known_count = 0;
    learn(route, &route->server);
    while (vug_wire_next(&body, FIELD_OTHER, &content))
        if (read_address(content, &other))
            learn(route, &other);
    for (uint32_t i = 0; i < old_count; i++)
        learn(route, &old[i]);
}

static void on_server_named(void *arg, const struct vug_error *error, struct slice body)
{
    struct vug_route *route = arg;
    if (error != NULL && error->code == 0)
        return; /* the connection is lost, which on_closed() hears */
    struct vug_error why;
    if (error != NULL) {
        why = *error;
        give_up_this(route, &why);
    } else if (!read_server(body, &route->server)) {
        vug_error_set(&why, ERROR_MALFORMED, "the locator %s named no server that can be reached",
                      route->target.locators[route->locator].host);
        give_up_this(route, &why);
    } else {
        learn_servers(route, body);
        route->at_server = true;
        drop_conn(route);
        step_soon(route);
    }
}

static void ask_locator(struct vug_route *route, const struct vug_conn_events *events)
{
    struct buf body;
    buf_init(&body);
    enum error error =
        vug_conn_open(route->loop, route->net, &route->target.locators[route->locator],
                      route->target.timeout_ms, events, route, &route->conn);
    if (error == OK) {
        if (route->excludes) { /* 1 excludedServers: Server {1 hostname, 2 port} */
            struct slice host = slice_text(route->server.host);
            vug_wire_header(&body, 1,
                            codec_bytes_field_size(1, host.len) + 1 +
                                codec_varint_size(route->server.port));
            vug_wire_bytes(&body, 1, host);
            vug_wire_uint(&body, 2, route->server.port);
        }
        vug_wire_uint(&body, FIELD_OTHER, 1);
        error = body.failed ? ERROR_MEMORY
                            : vug_conn_send(route->conn, VUG_GET_SERVER, buf_slice(&body),
                                            on_server_named, route);
    }
    buf_fini(&body);
    if (error != OK) {
        struct vug_error why;
        vug_error_set(&why, error, "%s", error_text(error));
        give_up_this(route, &why);
    }
}

static void connect_to(struct vug_route *route, const struct text_host_port *peer)
{
    static const struct vug_conn_events events = {.on_ready = on_arrived, .on_closed = on_closed};
    enum error error = vug_conn_open(route->loop, route->net, peer, route->target.timeout_ms,
                                     &events, route, &route->conn);
    if (error != OK) {
        struct vug_error why;
        vug_error_set(&why, error, "%s:%u: %s", peer->host, (unsigned)peer->port,
                      error_text(error));
        give_up_this(route, &why);
    }
}

static void on_step(void *arg)
{
    struct vug_route *route = arg;
    static const struct vug_conn_events at_locator = {.on_closed = on_closed};
    if (route->at_server) {
        connect_to(route, &route->server);
    } else if (route->target.straight && route->locator == 0) {
        connect_to(route, &route->target.server);
    } else if (is_last(route) && route->next_known < route->known_count) {
        route->at_known = true;
        connect_to(route, &route->known[route->next_known]);
    } else if (is_last(route)) {
        route->running = false;
        route->events.on_failed(route->arg, &route->error);
    } else if (route->role == VUG_TO_LOCATOR) {
        connect_to(route, &route->target.locators[route->locator]);
    } else {
        ask_locator(route, &at_locator);
    }
}

enum error vug_route_init(struct vug_route *route, struct loop *loop, struct net *net,
                          const struct vug_target *target, enum vug_client_role role,
                          const struct vug_route_events *events, void *arg)
{
    *route = (struct vug_route){
        .loop = loop, .net = net, .target = *target, .role = role, .events = *events, .arg = arg};
    return loop_timer_init(&route->step, loop, on_step, route);
}

void vug_route_fini(struct vug_route *route)
{
    vug_route_stop(route);
    loop_timer_fini(&route->step);
}

void vug_route_start(struct vug_route *route)
{
    PRE(!route->running);
    route->running = true;
    route->locator = 0;
    route->at_server = false;
    route->excludes = route->at_known = false;
    route->next_known = 0;
    vug_error_set(&route->error, ERROR_INVALID, "no locator and no server was named");
    step_soon(route);
}

void vug_route_stop(struct vug_route *route)
{
    drop_conn(route);
    if (route->running)
        loop_timer_clear(&route->step);
    route->running = false;
}
