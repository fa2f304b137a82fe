/* A small HTTP server for what people and monitors ask a process: /health, /metrics, and later
 * more. GET and HEAD only, no bodies, small headers, short timeouts. It runs on a loop beside
 * everything else, so a handler must be quick. http_event.c is its only side; the simulation calls
 * the handlers themselves. */
#ifndef VUG_COMMON_HTTP_H
#define VUG_COMMON_HTTP_H

#include "common/buf.h"
#include "common/loop.h"
#include "common/net.h"

struct http;

/* Writes the body and returns the status, 200 or another of RFC 9110. */
typedef int http_fn(void *arg, struct buf *body);

struct http_route {
    const char *path; /* exact, "/metrics" */
    const char *content_type;
    http_fn *on_get;
};

/* Listens at once. The routes and `arg`, which every handler gets, must outlive the server.
 * ERROR_MEMORY, ERROR_ADDRESS_IN_USE, ERROR_NAME, ERROR_NO_ADDRESS, ERROR_IO. */
enum error http_event_new(struct loop *loop, const char *host, uint16_t port,
                          const struct http_route *routes, size_t count, void *arg,
                          struct http **http);
void http_event_free(struct http *http); /* on the loop's thread; open connections are closed */

/* Where it listens, the port that was taken for port 0 included. */
struct net_address http_event_address(const struct http *http);

#endif
