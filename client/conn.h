/* One connection to one server or locator: version and handshake in one write, then requests and
 * their replies.
 *
 *   open -> [connect] -> version, handshake -> ready -> requests ... -> closed
 *
 * Requests may be sent before the connection is ready. There is no correlation id on the wire: the
 * n-th reply belongs to the n-th request. When the oldest request is past its deadline the
 * connection is of no more use, because a late reply would be taken for the next one's; it is
 * closed. */
#ifndef VUG_CLIENT_CONN_H
#define VUG_CLIENT_CONN_H

#include "client/vug.h"

struct vug_conn;

struct vug_conn_events {
    void (*on_ready)(void *arg); /* NULL allowed */
    void (*on_push)(void *arg, uint32_t number,
                    struct slice body); /* NULL: a push is a protocol error */
    void (*on_closed)(void *arg,
                      const struct vug_error *error); /* last callback; requests were told before */
};

enum error vug_conn_open(struct loop *loop, struct net *net, const struct text_host_port *peer,
                         uint32_t timeout_ms, const struct vug_conn_events *events, void *arg,
                         struct vug_conn **conn);
/* Ends it at once. No callback comes after, not even for requests in flight. */
void vug_conn_close(struct vug_conn *conn);
/* From now on others are told. */
void vug_conn_adopt(struct vug_conn *conn, const struct vug_conn_events *events, void *arg);

/* ERROR_MEMORY, ERROR_LIMIT (too many unanswered), ERROR_CLOSED: then there is no callback. */
enum error vug_conn_send(struct vug_conn *conn, uint32_t number, struct slice body,
                         vug_reply_fn *on_reply, void *arg);
/* A message that has no reply. */
enum error vug_conn_tell(struct vug_conn *conn, uint32_t number, struct slice body);

const struct text_host_port *vug_conn_peer(const struct vug_conn *conn);
size_t vug_conn_unsent(const struct vug_conn *conn);

#endif
