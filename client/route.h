/* The way to a server: asks the locators in turn, or goes straight there, and ends with a
 * connection that is ready or with what stood in the way.
 *
 *   locator 1 --GetServer--> server --version, handshake--> on_ready()
 *      | refused, reset, EOF, late, 101   `-- refused: the locator is asked once more, without that
 *      v                                      server; then the next locator
 *   locator 2, ...
 *      | no locator helps
 *      v
 *   servers that a locator named earlier, one after the other
 *      v
 *   on_failed(), with what the locators said
 *
 * A locator that names a server tells of others, too, so that a client whose server dies while the
 * locators are away has somewhere to go. */
#ifndef VUG_CLIENT_ROUTE_H
#define VUG_CLIENT_ROUTE_H

#include "client/conn.h"

enum { VUG_KNOWN_SERVERS_MAX = 16 };

struct vug_route_events {
    /* The connection is the callee's from now on: it calls vug_conn_adopt(), or ends it. */
    void (*on_ready)(void *arg, struct vug_conn *conn);
    void (*on_failed)(void *arg, const struct vug_error *error);
};

struct vug_route {
    struct loop *loop;
    struct net *net;
    struct vug_target target;
    enum vug_client_role role;
    struct vug_route_events events;
    void *arg;

    /* Kept by route.c. */
    struct vug_conn *conn;
    struct loop_timer step;
    bool running;
    bool at_server;               /* the connection is to the server, not to a locator */
    uint32_t locator;             /* that is asked */
    struct text_host_port server; /* that it named */
    bool excludes;                /* ... and that did not accept */
    struct text_host_port known[VUG_KNOWN_SERVERS_MAX]; /* named before, the newest first */
    uint32_t known_count, next_known;
    bool at_known; /* the connection is to one of these */
    struct vug_error error;
};

/* `route` stays where it is until vug_route_fini(). ERROR_MEMORY. */
enum error vug_route_init(struct vug_route *route, struct loop *loop, struct net *net,
                          const struct vug_target *target, enum vug_client_role role,
                          const struct vug_route_events *events, void *arg);
void vug_route_fini(struct vug_route *route);

/* Exactly one of the two events follows, never from inside the call, unless it is stopped. Not
 * while it runs. */
void vug_route_start(struct vug_route *route);
void vug_route_stop(struct vug_route *route);

#endif
