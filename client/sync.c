#include "client/sync.h"
#include "common/mem.h"

struct vug_sync {
    struct loop *loop;
    struct net *net;
    struct vug_client *client;
    struct vug_reply *reply; /* that is waited for */
    struct loop_timer pause; /* between attempts */
    uint64_t patience_us;
};

#define PAUSE_US 50000

void vug_reply_init(struct vug_reply *reply)
{
    reply->error.error = OK;
    reply->error.code = 0;
    reply->error.text[0] = '\0';
    buf_init(&reply->body);
}

void vug_reply_fini(struct vug_reply *reply)
{
    buf_fini(&reply->body);
}

static void on_pause(void *arg)
{
    loop_event_stop(((struct vug_sync *)arg)->loop);
}

enum error vug_sync_new(const struct vug_target *target, enum vug_client_role role,
                        struct vug_sync **out)
{
    struct vug_sync *sync = mem_zalloc(sizeof *sync);
    if (sync == NULL)
        return ERROR_MEMORY;
    enum error error = loop_event_new(&sync->loop);
    if (error != OK)
        goto err_after_sync;
    error = net_event_new(sync->loop, &(struct net_event_options){0}, &sync->net);
    if (error != OK)
        goto err_after_loop;
    error = vug_client_new(sync->loop, sync->net, target, role, &sync->client);
    if (error != OK)
        goto err_after_net;
    error = loop_timer_init(&sync->pause, sync->loop, on_pause, sync);
    if (error != OK)
        goto err_after_client;
    *out = sync;
    return OK;

err_after_client:
    vug_client_free(sync->client);
err_after_net:
    net_event_free(sync->net);
err_after_loop:
    loop_event_free(sync->loop);
err_after_sync:
    mem_free(sync);
    return error;
}

void vug_sync_free(struct vug_sync *sync)
{
    loop_timer_fini(&sync->pause);
    vug_client_free(sync->client);
    net_event_free(sync->net);
    loop_event_free(sync->loop);
    mem_free(sync);
}

static void on_reply(void *arg, const struct vug_error *error, struct slice body)
{
    struct vug_sync *sync = arg;
    struct vug_reply *reply = sync->reply;
    if (error != NULL) {
        reply->error = *error;
    } else {
        buf_append_slice(&reply->body, body);
        if (reply->body.failed)
            vug_error_set(&reply->error, ERROR_MEMORY, "%s", error_text(ERROR_MEMORY));
    }
    loop_event_stop(sync->loop);
}

static void call_once(struct vug_sync *sync, uint32_t number, const struct buf *body,
                      struct vug_reply *reply)
{
    buf_clear(&reply->body);
    reply->error.error = OK;
    sync->reply = reply;
    enum error error = ERROR_MEMORY;
    if (body == NULL || !body->failed)
        error = vug_client_call(sync->client, number,
                                body == NULL ? (struct slice){0} : buf_slice(body), on_reply, sync);
    if (error == OK)
        loop_event_run(sync->loop);
    else
        vug_error_set(&reply->error, error, "%s", error_text(error));
}

void vug_sync_be_patient(struct vug_sync *sync, uint32_t patience_ms)
{
    sync->patience_us = patience_ms * 1000ull;
}

/* Asks, and changes nothing: a repeat on another server is harmless. */
static bool only_asks(uint32_t number)
{
    static const uint32_t numbers[] = {VUG_GET,     VUG_GET_ALL, VUG_SIZE,   VUG_REGION_NAMES,
                                       VUG_KEY_SET, VUG_CQ_LIST, VUG_EVENTS, VUG_CLUSTER_STATUS};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (numbers[i] == number)
            return true;
    return false;
}

enum error vug_sync_call(struct vug_sync *sync, uint32_t number, const struct buf *body,
                         struct vug_reply *reply)
{
    uint64_t began_us = loop_now_us(sync->loop);
    for (;;) {
        call_once(sync, number, body, reply);
        /* Nobody listens, or the locator knows no server: nothing was carried out. */
        bool is_early = reply->error.error == ERROR_REFUSED || reply->error.code == 101;
        bool is_lost = reply->error.code == 0 && only_asks(number) &&
                       (reply->error.error == ERROR_CLOSED || reply->error.error == ERROR_RESET);
        if (reply->error.error == OK || !(is_early || is_lost) ||
            loop_now_us(sync->loop) - began_us >= sync->patience_us)
            return reply->error.error;
        loop_timer_set(&sync->pause, PAUSE_US);
        loop_event_run(sync->loop);
    }
}

bool vug_sync_peer(const struct vug_sync *sync, struct text_host_port *peer)
{
    return vug_client_peer(sync->client, peer);
}
