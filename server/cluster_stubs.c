/* Stands in for modules that are being written; goes away with the last of them. */
#include "server/call.h"
#include "server/feed.h"
#include "server/cq_image.h"
#include "server/image.h"
#include "server/rows.h"
#include "server/server.h"

#define WEAK __attribute__((weak))
#pragma GCC diagnostic ignored "-Wunused-parameter"

WEAK struct peer *peer_ref(struct peer *peer)
{
    return NULL;
}
WEAK void peer_unref(struct peer *peer)
{
    
}
WEAK struct peer_conn *peer_conn_ref(struct peer_conn *conn)
{
    return NULL;
}
WEAK void peer_conn_unref(struct peer_conn *conn)
{
    
}
WEAK enum error peers_adopt(struct server *server, const struct cluster_map *map)
{
    return ERROR_UNSUPPORTED;
}
WEAK void peers_free(struct server *server)
{
    
}
WEAK struct peer *peers_find(struct server *server, uint64_t incarnation)
{
    return NULL;
}
WEAK void peers_on_peer(void *owner, struct net_conn *conn, struct slice data)
{
    
}
WEAK bool peer_lease_holds(const struct peer *peer, uint64_t now_us)
{
    return (bool)0;
}
WEAK bool peer_promise_runs(const struct peer *peer, uint64_t now_us)
{
    return (bool)0;
}
WEAK uint64_t peer_except(struct peer *peer, struct bucket *bucket)
{
    return (uint64_t)0;
}
WEAK bool peer_except_if_free(struct peer *peer, struct bucket *bucket, uint64_t now_us)
{
    return (bool)0;
}
WEAK void peer_mark_dirty(struct peer *peer, struct replica_copy *copy)
{
    
}
WEAK void peer_forget_copy(struct peer *peer, struct replica_copy *copy)
{
    
}
WEAK void peer_send_call(struct peer *peer, struct call *call)
{
    
}
WEAK enum error peer_send(struct peer *peer, enum peer_link_kind link, enum peer_frame_kind kind, struct slice content)
{
    return ERROR_UNSUPPORTED;
}
WEAK void server_propose(struct server *server, const struct proposal *proposal)
{
    
}
WEAK void replica_init(struct replica *replica)
{
    
}
WEAK void replica_fini(struct bucket *bucket)
{
    
}
WEAK enum error replica_adopt_locked(struct bucket *bucket, const struct replica_place *place)
{
    return ERROR_UNSUPPORTED;
}
WEAK bool replica_may_write_locked(const struct bucket *bucket)
{
    return (bool)0;
}
WEAK bool replica_may_read_locked(const struct bucket *bucket, uint64_t now_us)
{
    return (bool)0;
}
WEAK uint64_t replica_record_time_locked(const struct bucket *bucket, uint64_t wall_ms, uint64_t now_us)
{
    return (uint64_t)0;
}
WEAK enum error replica_reserve_locked(struct bucket *bucket, const struct record *record)
{
    return OK;
}
WEAK void replica_send_locked(struct bucket *bucket, const struct record *record)
{
    
}
WEAK bool replica_fill(struct replica_copy *copy, struct net_conn *conn)
{
    return (bool)0;
}
WEAK enum error replica_on_records(struct peer_conn *from, struct slice content)
{
    return ERROR_UNSUPPORTED;
}
WEAK enum error replica_on_acks(struct peer_conn *from, struct slice content)
{
    return ERROR_UNSUPPORTED;
}
WEAK enum error replica_on_exceptions(struct peer_conn *from, struct slice content)
{
    return ERROR_UNSUPPORTED;
}
WEAK enum error replica_on_announce(struct peer_conn *from, struct slice content)
{
    return ERROR_UNSUPPORTED;
}
WEAK enum error replica_on_announced(struct peer_conn *from, struct slice content)
{
    return ERROR_UNSUPPORTED;
}
WEAK void replica_on_link(struct peer *peer, bool up)
{
    
}
WEAK void replica_write_exceptions(struct peer_conn *to)
{
    
}
WEAK void replica_seal(struct bucket *bucket, uint32_t generation, uint32_t term, struct seal_answer *answer)
{
    
}
WEAK void replica_place(struct bucket *bucket, uint32_t generation, enum place_action action, struct peer *peer)
{
    
}
WEAK void replica_tick(struct bucket *bucket, uint64_t now_us)
{
    
}
WEAK void replica_image_done_locked(struct bucket *bucket, struct replica_copy *copy, uint64_t seq)
{
    
}
WEAK void replica_image_failed_locked(struct bucket *bucket, struct replica_copy *copy)
{
    
}
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
WEAK enum error image_begin_locked(struct bucket *bucket, struct replica_copy *copy)
{
    return ERROR_UNSUPPORTED;
}
WEAK void image_end_locked(struct bucket *bucket, struct replica_copy *copy)
{
    
}
WEAK void image_before_change_locked(struct bucket *bucket, struct entry *old)
{
    
}
WEAK void image_before_clear_locked(struct bucket *bucket)
{
    
}
WEAK bool image_fill(struct peer *peer, struct net_conn *conn)
{
    return (bool)0;
}
WEAK enum error image_on_piece(struct peer_conn *from, struct slice content)
{
    return ERROR_UNSUPPORTED;
}
WEAK enum error image_on_ack(struct peer_conn *from, struct slice content)
{
    return ERROR_UNSUPPORTED;
}
WEAK void image_on_link(struct peer *peer, bool up)
{
    
}
WEAK void image_drop_incoming_locked(struct bucket *bucket)
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
WEAK size_t record_packed_size(const struct record *record)
{
    return (size_t)0;
}
WEAK uint8_t *record_pack(const struct record *record, uint8_t *out)
{
    return NULL;
}
WEAK enum error record_unpack(struct slice packed, struct record *record, struct writer_mark *mark)
{
    return ERROR_UNSUPPORTED;
}
WEAK enum error peer_frame_open(struct slice frame, uint32_t *kind, struct slice *content)
{
    return ERROR_UNSUPPORTED;
}
WEAK uint8_t *peer_frame_begin(struct net_conn *conn, enum peer_frame_kind kind, size_t content_max)
{
    return NULL;
}
WEAK void peer_frame_end(struct net_conn *conn, uint8_t *content, enum peer_frame_kind kind, size_t content_max, size_t content_len)
{
    
}
WEAK enum error peer_frame_send(struct net_conn *conn, enum peer_frame_kind kind, struct slice content)
{
    return ERROR_UNSUPPORTED;
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
