/* Stands in for modules that are being written; goes away with the last of them. */
#include "server/call.h"
#include "server/feed.h"
#include "server/cq_image.h"
#include "server/image.h"
#include "server/rows.h"
#include "server/server.h"

#define WEAK __attribute__((weak))
#pragma GCC diagnostic ignored "-Wunused-parameter"

WEAK enum error feed_on_open(struct peer_conn *from, struct slice content)
{
    return ERROR_UNSUPPORTED;
}
WEAK enum error feed_on_credit(struct peer_conn *from, struct slice content)
{
    return ERROR_UNSUPPORTED;
}
WEAK enum error feed_on_close(struct peer_conn *from, struct slice content)
{
    return ERROR_UNSUPPORTED;
}
WEAK enum error feed_on_events(struct peer_conn *from, struct slice content)
{
    return ERROR_UNSUPPORTED;
}
WEAK enum error feed_on_status(struct peer_conn *from, struct slice content)
{
    return ERROR_UNSUPPORTED;
}
WEAK void feed_on_conn_gone(struct peer_conn *conn)
{
    
}
WEAK void feed_on_link(struct peer *peer, bool up)
{
    
}
WEAK struct cq_instance *cq_instance_find(struct region *region, uint64_t query_id)
{
    return NULL;
}
