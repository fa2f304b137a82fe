/* What both directions of connections between servers share: the frames that arrive. */
#include "common/mem.h"
#include "protocol/message.h"
#include "server/feed.h"
#include "server/image.h"
#include "server/peers_impl.h"

struct peer_conn *peer_conn_ref(struct peer_conn *conn)
{
    atomic_fetch_add_explicit(&conn->refs, 1, memory_order_relaxed);
    return conn;
}

void peer_conn_unref(struct peer_conn *conn)
{
    if (conn == NULL || atomic_fetch_sub_explicit(&conn->refs, 1, memory_order_acq_rel) != 1)
        return;
    peer_unref(conn->peer);
    buf_fini(&conn->acks);
    mem_free(conn);
}

struct peer_conn *peer_conn_new(struct worker *worker, struct peer *peer, enum peer_link_kind kind,
                                bool is_outgoing)
{
    struct peer_conn *conn = mem_zalloc(sizeof *conn);
    if (conn == NULL)
        return NULL;
    atomic_init(&conn->refs, 1);
    conn->worker = worker;
    conn->peer = peer == NULL ? NULL : peer_ref(peer);
    conn->kind = kind;
    conn->is_outgoing = is_outgoing;
    conn->opened_us = loop_now_us(worker->loop);
    buf_init(&conn->acks);
    return conn;
}

void peer_conn_count(struct peer_conn *conn)
{
    atomic_fetch_add(&conn->peer->conn_count, 1);
    atomic_store(&conn->peer->heard_us, loop_now_us(conn->worker->loop));
}

void peer_conn_uncount(struct peer_conn *conn)
{
    if (atomic_fetch_sub(&conn->peer->conn_count, 1) != 1)
        return;
    /* The last one: whether it lives is found out at once. */
    atomic_store(&conn->peer->recheck, true);
    peers_poke(conn->peer->worker);
}

/* ---- Frames of a connection that is up ---- */

typedef enum error frame_fn(struct peer_conn *from, struct slice content);

static const struct {
    enum peer_frame_kind kind;
    enum peer_link_kind link;
    bool is_outgoing; /* arrives on a connection that we opened */
    frame_fn *take;
} frames[] = {
    {PEER_FRAME_RECORDS, PEER_LINK_REPLICATION, false, replica_on_records},
    {PEER_FRAME_ACKS, PEER_LINK_REPLICATION, true, replica_on_acks},
    {PEER_FRAME_EXCEPTIONS, PEER_LINK_REPLICATION, true, replica_on_exceptions},
    {PEER_FRAME_ANNOUNCE, PEER_LINK_REPLICATION, false, replica_on_announce},
    {PEER_FRAME_ANNOUNCED, PEER_LINK_REPLICATION, true, replica_on_announced},
    {PEER_FRAME_IMAGE, PEER_LINK_REPLICATION, false, image_on_piece},
    {PEER_FRAME_IMAGE_ACK, PEER_LINK_REPLICATION, true, image_on_ack},
    {PEER_FRAME_CALL, PEER_LINK_REQUESTS, false, call_on_request},
    {PEER_FRAME_RESULT, PEER_LINK_REQUESTS, true, call_on_answer},
    {PEER_FRAME_FEED_OPEN, PEER_LINK_REQUESTS, false, feed_on_open},
    {PEER_FRAME_FEED_CREDIT, PEER_LINK_REQUESTS, false, feed_on_credit},
    {PEER_FRAME_FEED_CLOSE, PEER_LINK_REQUESTS, false, feed_on_close},
    {PEER_FRAME_FEED_EVENTS, PEER_LINK_REQUESTS, true, feed_on_events},
    {PEER_FRAME_FEED_STATUS, PEER_LINK_REQUESTS, true, feed_on_status},
};

static enum error take_frame(struct peer_conn *conn, uint32_t kind, struct slice content)
{
    for (size_t i = 0; i < sizeof frames / sizeof frames[0]; i++) {
        if ((uint32_t)frames[i].kind != kind)
            continue;
        if (frames[i].link != conn->kind || frames[i].is_outgoing != conn->is_outgoing)
            return ERROR_MALFORMED;
        enum error error = frames[i].take(conn, content);
        if (error == OK && kind == PEER_FRAME_IMAGE_ACK)
            peer_want_flush(conn->peer); /* there may be room for further pieces */
        return error;
    }
    return OK; /* of a newer version */
}

enum error peer_conn_on_map_fetch(struct peer_conn *conn, const Pb__PeerMapFetch *fetch)
{
    const struct catalog *catalog = conn->worker->catalog;
    if (catalog == NULL || catalog->map->epoch < fetch->epoch)
        return OK; /* it asks again */
    struct buf packed;
    buf_init(&packed);
    enum error error = cluster_map_pack(catalog->map, &packed);
    Pb__PeerMapPush push = PB__PEER_MAP_PUSH__INIT;
    push.epoch = catalog->map->epoch;
    push.map = message_bytes(buf_slice(&packed));
    if (error == OK && packed.len + 64 <= LIMIT_PEER_MESSAGE_BYTES)
        (void)PEER_SEND(conn->conn, MAP_PUSH, map_push, &push); /* or it asks again */
    buf_fini(&packed);
    return OK;
}

enum error peer_conn_on_map_push(struct peer_conn *conn, const Pb__PeerMapPush *push)
{
    struct server *server = conn->worker->server;
    const struct catalog *catalog = conn->worker->catalog;
    if (catalog == NULL || push->map.len == 0 ||
        push->epoch <= atomic_load(&server->announced_epoch))
        return OK;
    struct cluster_map *map;
    enum error error = cluster_map_unpack(message_slice(push->map), &map);
    if (error == ERROR_MEMORY)
        return OK; /* asked for again */
    if (error != OK)
        return ERROR_MALFORMED;
    if (map->epoch == push->epoch &&
        memcmp(map->cluster_id, catalog->map->cluster_id, CLUSTER_ID_BYTES) == 0)
        server_give_map(server, map);
    else
        error = ERROR_MALFORMED;
    cluster_map_unref(map);
    return error;
}

void peer_conn_note_epoch(struct peer_conn *conn, uint64_t epoch)
{
    struct server *server = conn->worker->server;
    if (conn->peer != NULL && epoch > atomic_load(&conn->peer->epoch))
        atomic_store(&conn->peer->epoch, epoch);
    if (epoch <= atomic_load(&server->announced_epoch) || epoch <= conn->wanted_epoch)
        return;
    conn->wanted_epoch = epoch;
    conn->fetch_us = loop_now_us(conn->worker->loop) + PEER_MAP_PATIENCE_US;
    server_want_map(server, epoch);
    peers_poke(conn->worker);
}

void peer_conn_fetch_turn(struct peer_conn *conn, uint64_t now_us, uint64_t *next_us)
{
    if (conn->wanted_epoch == 0)
        return;
    if (conn->wanted_epoch <= atomic_load(&conn->worker->server->announced_epoch)) {
        conn->wanted_epoch = 0;
        return;
    }
    if (conn->fetch_us <= now_us) {
        Pb__PeerMapFetch fetch = PB__PEER_MAP_FETCH__INIT;
        fetch.epoch = conn->wanted_epoch;
        /* Who knows no map of this cluster cannot tell whether one is of it. */
        if (conn->worker->catalog != NULL)
            (void)PEER_SEND(conn->conn, MAP_FETCH, map_fetch, &fetch);
        conn->fetch_us = now_us + PEER_MAP_AGAIN_US;
    }
    peers_due(next_us, conn->fetch_us);
}

static enum error take_message(struct peer_conn *conn, const Pb__PeerMessage *message)
{
    switch (message->kind_case) {
    case PB__PEER_MESSAGE__KIND_BEACON:
        peer_conn_note_epoch(conn, message->beacon->epoch);
        if (conn->kind != PEER_LINK_REPLICATION)
            return ERROR_MALFORMED;
        if (!conn->is_outgoing)
            return lease_on_beacon(conn, message->beacon);
        lease_on_answer(conn, message->beacon);
        return OK;
    case PB__PEER_MESSAGE__KIND_MAP_FETCH:
        return peer_conn_on_map_fetch(conn, message->map_fetch);
    case PB__PEER_MESSAGE__KIND_MAP_PUSH:
        return peer_conn_on_map_push(conn, message->map_push);
    default:
        return OK; /* of a newer version */
    }
}

enum error peer_conn_take(struct peer_conn *conn, const uint8_t *data, size_t len, size_t *used)
{
    struct slice rest = slice_of(data, len);
    enum error error = OK;
    atomic_store(&conn->peer->heard_us, loop_now_us(conn->worker->loop));
    while (error == OK) {
        struct slice frame, content;
        uint32_t kind = 0;
        error = peer_next_frame(&rest, LIMIT_PEER_FRAME_BYTES, &frame);
        if (error != OK || frame.data == NULL)
            break;
        error = peer_frame_open(frame, &kind, &content);
        if (error == OK && kind != 0) {
            error = take_frame(conn, kind, content);
        } else if (error == OK) {
            Pb__PeerMessage *message;
            arena_reset(&conn->worker->peer_arena);
            error = peer_unpack(frame, &conn->worker->peer_arena, &message);
            if (error == OK)
                error = take_message(conn, message);
        }
    }
    *used = len - rest.len;
    if (error == OK && conn->acks.failed)
        error = ERROR_MEMORY;
    if (error == OK && conn->acks.len > 0)
        error = peer_frame_send(conn->conn, PEER_FRAME_ACKS, buf_slice(&conn->acks));
    buf_clear(&conn->acks);
    if (error == ERROR_MALFORMED) {
        uint32_t suppressed;
        if (log_limit_allows(&conn->worker->peer_limit, loop_now_us(conn->worker->loop),
                             &suppressed))
            log_line(conn->worker->server->log, LOG_ERROR, "peers", "VG1322",
                     "a connection with %s was closed: what arrived makes no sense. Do both "
                     "servers run the same version of vug? (%u more in 10 s)",
                     conn->peer->name, suppressed);
    }
    return error;
}
