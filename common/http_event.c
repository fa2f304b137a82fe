#include "common/http.h"

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/limits.h"
#include "common/mem.h"
#include "common/net_event_impl.h"

enum { HTTP_BACKLOG = 64 };

struct http {
    struct evhttp *server;
    const struct http_route *routes;
    size_t route_count;
    void *arg;
    struct net_address address;
};

static void set_headers(struct evhttp_request *request, const char *content_type)
{
    struct evkeyvalq *headers = evhttp_request_get_output_headers(request);

    evhttp_add_header(headers, "Content-Type", content_type);
    evhttp_add_header(headers, "X-Content-Type-Options", "nosniff");
    evhttp_add_header(headers, "Cache-Control", "no-store");
}

/* HEAD is answered like GET, with the length but without the body. */
static void reply(struct evhttp_request *request, int status, const char *content_type,
                  const struct buf *body)
{
    struct evbuffer *out = evhttp_request_get_output_buffer(request);
    char len[24];

    set_headers(request, content_type);
    if (evhttp_request_get_command(request) == EVHTTP_REQ_HEAD) {
        snprintf(len, sizeof len, "%zu", body->len);
        evhttp_add_header(evhttp_request_get_output_headers(request), "Content-Length", len);
    } else if (body->len > 0 && evbuffer_add(out, body->data, body->len) != 0) {
        status = HTTP_INTERNAL;
    }
    evhttp_send_reply(request, status, NULL, NULL);
}

static void say_not_found(const struct http *http, struct buf *body)
{
    buf_append_text(body, "nothing is here; ask for");
    for (size_t i = 0; i < http->route_count; i++)
        buf_printf(body, "%s %s", i == 0 ? "" : " or", http->routes[i].path);
    buf_append_byte(body, '\n');
}

static void on_request(struct evhttp_request *request, void *arg)
{
    const struct http *http = arg;
    const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(request);
    const char *path = uri != NULL ? evhttp_uri_get_path(uri) : NULL;
    const char *content_type = "text/plain; charset=utf-8";
    int status = HTTP_NOTFOUND;
    bool found = false;
    struct buf body;

    buf_init(&body);
    for (size_t i = 0; i < http->route_count && path != NULL && !found; i++) {
        if (strcmp(http->routes[i].path, path) != 0)
            continue;
        found = true;
        content_type = http->routes[i].content_type;
        status = http->routes[i].on_get(http->arg, &body);
    }
    if (!found)
        say_not_found(http, &body);
    if (body.failed) {
        buf_clear(&body);
        status = HTTP_SERVUNAVAIL;
    }
    reply(request, status, content_type, &body);
    buf_fini(&body);
}

enum error http_event_new(struct loop *loop, const char *host, uint16_t port,
                          const struct http_route *routes, size_t count, void *arg,
                          struct http **http)
{
    struct http *self = mem_zalloc(sizeof *self);
    union net_sockaddr address = {0};
    socklen_t len = sizeof address;
    enum error error = ERROR_MEMORY;
    int fd;

    if (self == NULL)
        return ERROR_MEMORY;
    *self = (struct http){.routes = routes, .route_count = count, .arg = arg};
    self->server = evhttp_new(loop_event_base(loop));
    if (self->server == NULL)
        goto err_after_self;
    evhttp_set_allowed_methods(self->server, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD);
    evhttp_set_max_headers_size(self->server, LIMIT_HTTP_HEADER_BYTES);
    evhttp_set_max_body_size(self->server, 0);
    evhttp_set_timeout(self->server, LIMIT_HTTP_IDLE_MS / 1000);
    evhttp_set_gencb(self->server, on_request, self);
    fd = net_event_listen_socket(host, port, HTTP_BACKLOG, &error);
    if (fd < 0)
        goto err_after_server;
    getsockname(fd, &address.any, &len);
    self->address = net_event_address(&address);
    if (evhttp_accept_socket(self->server, fd) != 0) {
        close(fd);
        error = ERROR_MEMORY;
        goto err_after_server;
    }
    *http = self;
    return OK;

err_after_server:
    evhttp_free(self->server);
err_after_self:
    mem_free(self);
    return error;
}

void http_event_free(struct http *http)
{
    if (http == NULL)
        return;
    evhttp_free(http->server);
    mem_free(http);
}

struct net_address http_event_address(const struct http *http)
{
    return http->address;
}
