/* Feeds: what one server reads of the continuous queries in buckets that another one leads, over
 * the REQUESTS link.
 *
 *   EVENTS  for a subscription whose client is connected here: the other side runs a subscription
 *           over its own buckets, whose sink is the link; credit bounds what is on its way
 *   ROWS    rows of a plan's groups that live here: the owner of the groups pulls them, in order,
 *           from the rows rings of the buckets there
 *
 * A feed that breaks (link, primary moved) is opened again at the new primary from the position
 * reached. */
#ifndef VUG_SERVER_FEED_H
#define VUG_SERVER_FEED_H

#include "server/peers.h"

/* First byte of every feed frame. */
enum feed_type { FEED_EVENTS = 1, FEED_ROWS = 2 };

/* On the loop of the connection. ERROR_MALFORMED: it is dropped. */
enum error feed_on_open(struct peer_conn *from, struct slice content);
enum error feed_on_credit(struct peer_conn *from, struct slice content);
enum error feed_on_close(struct peer_conn *from, struct slice content);
enum error feed_on_events(struct peer_conn *from, struct slice content);
enum error feed_on_status(struct peer_conn *from, struct slice content);
/* An incoming REQUESTS connection is gone: what it fed ends. */
void feed_on_conn_gone(struct peer_conn *conn);
/* Our REQUESTS link to the peer is up or broke. Its loop. */
void feed_on_link(struct peer *peer, bool up);

#endif
