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
WEAK bool cq_image_is_quiet_locked(const struct bucket *bucket)
{
    return true;
}
WEAK void cq_image_pack_locked(const struct bucket *bucket, struct buf *out)
{
}
WEAK enum error cq_image_unpack_locked(struct bucket *bucket, struct slice packed)
{
    return OK;
}
WEAK uint64_t cq_image_hash_locked(const struct bucket *bucket)
{
    return 0;
}
WEAK enum error rows_on_open(struct peer_conn *from, struct slice content)
{
    return OK;
}
WEAK enum error rows_on_credit(struct peer_conn *from, struct slice content)
{
    return OK;
}
WEAK enum error rows_on_close(struct peer_conn *from, struct slice content)
{
    return OK;
}
WEAK enum error rows_on_events(struct peer_conn *from, struct slice content)
{
    return OK;
}
WEAK enum error rows_on_status(struct peer_conn *from, struct slice content)
{
    return OK;
}
WEAK void rows_on_conn_gone(struct peer_conn *conn)
{
}
WEAK void rows_on_link(struct peer *peer, bool up)
{
}
WEAK void rows_notify_locked(struct bucket *bucket)
{
}
WEAK void rows_tick(struct server *server, uint64_t now_us)
{
}
WEAK void rows_free(struct server *server)
{
}
WEAK void cq_on_commit_locked(struct bucket *bucket)
{
}
WEAK struct cq_instance *cq_instance_find(struct region *region, uint64_t query_id)
{
    return NULL;
}
WEAK enum error cq_on_ready_locked(struct bucket *bucket, const struct record *record)
{
    return OK;
}
WEAK enum error cq_on_trim_locked(struct bucket *bucket, const struct record *record)
{
    return OK;
}
