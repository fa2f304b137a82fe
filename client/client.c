#include "client/conn.h"
#include "client/route.h"
#include "common/mem.h"

/* Requests made while there is no connection wait here, in order, for the route to end. */
struct waiting {
    struct waiting *next;
    uint32_t number;
    vug_reply_fn *on_reply;
    void *arg;
    size_t len;
    uint8_t body[];
};

struct vug_client {
    struct vug_route route;
    struct vug_conn *conn;
    struct waiting *first, *last;
    uint32_t waiting_count;
    bool ended;
    unsigned in_calls;
};

static void release(struct vug_client *client)
{
    while (client->first != NULL) {
        struct waiting *waiting = client->first;
        client->first = waiting->next;
        mem_free(waiting);
    }
    mem_free(client);
}

static struct waiting *take_waiting(struct vug_client *client)
{
    struct waiting *waiting = client->first;
    client->first = waiting->next;
    if (client->first == NULL)
        client->last = NULL;
    client->waiting_count--;
    return waiting;
}

static void leave(struct vug_client *client)
{
    client->in_calls--;
    if (client->in_calls == 0 && client->ended)
        release(client);
}

static void on_closed(void *arg, const struct vug_error *error)
{
    struct vug_client *client = arg;
    (void)error; /* the requests were told */
    client->conn = NULL;
}

static void on_ready(void *arg, struct vug_conn *conn)
{
    static const struct vug_conn_events events = {.on_closed = on_closed};
    struct vug_client *client = arg;
    client->in_calls++;
    vug_conn_adopt(conn, &events, client);
    client->conn = conn;
    while (!client->ended && client->first != NULL) {
        struct waiting *waiting = take_waiting(client);
        enum error error =
            vug_conn_send(conn, waiting->number, slice_of(waiting->body, waiting->len),
                          waiting->on_reply, waiting->arg);
        if (error != OK) {
            struct vug_error why;
            vug_error_set(&why, error, "%s", error_text(error));
            waiting->on_reply(waiting->arg, &why, (struct slice){0});
        }
        mem_free(waiting);
    }
    leave(client);
}

static void on_failed(void *arg, const struct vug_error *error)
{
    struct vug_client *client = arg;
    client->in_calls++;
    for (uint32_t count = client->waiting_count; count > 0 && !client->ended; count--) {
        struct waiting *waiting = take_waiting(client);
        waiting->on_reply(waiting->arg, error, (struct slice){0});
        mem_free(waiting);
    }
    /* What a callback asked for in the meantime is a new attempt. */
    if (!client->ended && client->first != NULL && !client->route.running)
        vug_route_start(&client->route);
    leave(client);
}

enum error vug_client_new(struct loop *loop, struct net *net, const struct vug_target *target,
                          enum vug_client_role role, struct vug_client **out)
{
    static const struct vug_route_events events = {.on_ready = on_ready, .on_failed = on_failed};
    struct vug_client *client = mem_zalloc(sizeof *client);
    if (client == NULL)
        return ERROR_MEMORY;
    enum error error = vug_route_init(&client->route, loop, net, target, role, &events, client);
    if (error != OK) {
        mem_free(client);
        return error;
    }
    *out = client;
    return OK;
}

void vug_client_free(struct vug_client *client)
{
    client->ended = true;
    vug_route_fini(&client->route);
    if (client->conn != NULL) {
        struct vug_conn *conn = client->conn;
        client->conn = NULL;
        vug_conn_close(conn);
    }
    if (client->in_calls == 0)
        release(client);
}

enum error vug_client_call(struct vug_client *client, uint32_t number, struct slice body,
                           vug_reply_fn *on_reply, void *arg)
{
    if (client->conn != NULL) {
        enum error error = vug_conn_send(client->conn, number, body, on_reply, arg);
        if (error != ERROR_CLOSED)
            return error; /* else it is just telling its requests, and this one goes by a new one */
    }
    if (client->waiting_count >= LIMIT_REQUESTS_IN_SERVICE)
        return ERROR_LIMIT;
    struct waiting *waiting = mem_alloc(sizeof *waiting + body.len);
    if (waiting == NULL)
        return ERROR_MEMORY;
    *waiting =
        (struct waiting){.number = number, .on_reply = on_reply, .arg = arg, .len = body.len};
    if (body.len > 0)
        memcpy(waiting->body, body.data, body.len);
    if (client->last != NULL)
        client->last->next = waiting;
    else
        client->first = waiting;
    client->last = waiting;
    client->waiting_count++;
    if (!client->route.running)
        vug_route_start(&client->route);
    return OK;
}

bool vug_client_peer(const struct vug_client *client, struct text_host_port *peer)
{
    if (client->conn == NULL)
        return false;
    *peer = *vug_conn_peer(client->conn);
    return true;
}
