/* The instances of continuous queries: they come into the map when a server asks for one, and leave
 * it when their last subscriber does, or when nobody was attached for the retention.
 *
 * Servers tell every 10 s, and when one attaches, which instances their subscribers are attached
 * to. That is not in the map: a locator that has just started takes every instance for attached. */
#ifndef VUG_LOCATOR_QUERIES_H
#define VUG_LOCATOR_QUERIES_H

#include "locator/locator_impl.h"
#include "protocol/peer.h"

#define QUERY_ADD      1070u
#define QUERY_DROP     1072u
#define QUERY_ATTACHED 1074u
#define QUERY_FORGET_US                                                                            \
    (25u * 1000 * 1000) /* a server's report counts for so long: two of them may be lost */

struct peer;

/* A call of a server about queries: true, and it is answered now or later. False: it is about
 * something else. */
bool queries_call(struct locator *locator, struct peer *peer, const Pb__PeerCall *call);
void queries_free(struct locator *locator);

#endif
