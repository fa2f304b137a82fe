/* Stands in for modules that are being written; goes away with the last of them. */
#include "server/call.h"
#include "server/feed.h"
#include "server/cq_image.h"
#include "server/image.h"
#include "server/rows.h"
#include "server/server.h"

#define WEAK __attribute__((weak))
#pragma GCC diagnostic ignored "-Wunused-parameter"

WEAK enum error call_start(const struct call_options *options)
{
    return ERROR_UNSUPPORTED;
}
WEAK struct call *call_ref(struct call *call)
{
    return NULL;
}
WEAK void call_unref(struct call *call)
{
    
}
WEAK void call_on_commit_locked(struct bucket *bucket)
{
    
}
WEAK void call_on_role_locked(struct bucket *bucket)
{
    
}
WEAK void call_on_generation_locked(struct bucket *bucket)
{
    
}
WEAK void call_on_destroyed(struct region *region)
{
    
}
WEAK void call_fill(struct peer *peer, struct net_conn *conn)
{
    
}
WEAK enum error call_on_request(struct peer_conn *from, struct slice content)
{
    return ERROR_UNSUPPORTED;
}
WEAK enum error call_on_answer(struct peer_conn *from, struct slice content)
{
    return ERROR_UNSUPPORTED;
}
WEAK void call_on_link(struct peer *peer, bool up)
{
    
}
WEAK void call_tick(struct bucket *bucket, uint64_t now_us)
{
    
}
WEAK void call_free_all(struct bucket *bucket)
{
    
}
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
WEAK void streams_init(struct streams *streams)
{
    
}
WEAK void streams_fini(struct streams *streams)
{
    
}
WEAK enum stream_verdict streams_check(const struct streams *streams, uint64_t origin, uint64_t counter, uint64_t after, struct stream_result *result)
{
    return (enum stream_verdict)0;
}
WEAK enum error streams_reserve(struct streams *streams, const struct record *record)
{
    return OK;
}
WEAK void streams_note(struct streams *streams, const struct record *record)
{
    
}
WEAK void streams_drop(struct streams *streams, uint64_t origin)
{
    
}
WEAK void streams_each(const struct streams *streams, void (*visit)(void *arg, uint64_t origin), void *arg)
{
    
}
WEAK void writers_pack(const struct writers *writers, struct buf *out)
{
}
WEAK enum error writers_unpack(struct slice *rest, struct writers *writers)
{
    return ERROR_UNSUPPORTED;
}
WEAK void streams_pack(const struct streams *streams, struct buf *out)
{
    
}
WEAK enum error streams_unpack(struct slice *rest, struct streams *streams)
{
    return ERROR_UNSUPPORTED;
}
WEAK uint64_t streams_hash(const struct streams *streams)
{
    return (uint64_t)0;
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
