/* Connections that peers open to this server: the greeting, then their frames (peer_conn.c).
 *
 *   first byte 86 --> hello within 5 s --> [a map that names it, within 5 s] --> welcome --> up
 *
 * A locator's probe is told which incarnation answers here, and that is all. */
#include <inttypes.h>
#include <stdio.h>

#include "common/mem.h"
#include "protocol/message.h"
#include "server/feed.h"
#include "server/peers_impl.h"

/* ---- Ending ---- */

/* It is in no list afterwards; its net_conn is gone already. */
static void forget(struct peer_conn *conn)
{
    struct peer_conn **at = &conn->worker->peer_conns;
    while (*at != conn)
        at = &(*at)->next;
    *at = conn->next;
    conn->conn = NULL;
    if (conn->stage == PEER_STAGE_UP) {
        struct peer *peer = conn->peer;
        pthread_mutex_lock(&peer->lock);
        struct peer_conn **in = &peer->in[peer_link_index(conn->kind)];
        if (*in == conn)
            *in = NULL;
        pthread_mutex_unlock(&peer->lock);
        if (conn->kind == PEER_LINK_REQUESTS)
            feed_on_conn_gone(conn);
        peer_conn_uncount(conn);
    }
    peer_conn_unref(conn);
}

void peer_in_drop(struct peer_conn *conn)
{
    net_conn_abort(conn->conn);
    forget(conn);
}

/* ---- The greeting ---- */

static enum error send_welcome(struct peer_conn *conn, Pb__PeerWelcome__Refusal refusal,
                               const char *text)
{
    struct server *server = conn->worker->server;
    const struct catalog *catalog = conn->worker->catalog;
    Pb__PeerWelcome welcome = PB__PEER_WELCOME__INIT;
    if (catalog != NULL)
        welcome.cluster_id = message_bytes(slice_of(catalog->map->cluster_id, CLUSTER_ID_BYTES));
    welcome.epoch = atomic_load(&server->announced_epoch);
    welcome.refusal = refusal;
    welcome.text = (char *)(uintptr_t)text;
    welcome.name = server->name;
    welcome.incarnation = server->incarnation;
    welcome.role = CLUSTER_SERVER;
    welcome.version = (char *)(uintptr_t)VUG_VERSION;
    return PEER_SEND(conn->conn, WELCOME, welcome, &welcome);
}

/* The last word on this connection. */
static void end_with(struct peer_conn *conn, Pb__PeerWelcome__Refusal refusal, const char *text)
{
    if (send_welcome(conn, refusal, text) == OK)
        net_conn_finish(conn->conn);
    else
        net_conn_abort(conn->conn);
    forget(conn);
}

static void refuse_other_cluster(struct peer_conn *conn, const char *name)
{
    char text[512];
    struct worker *worker = conn->worker;
    uint32_t suppressed;
    snprintf(text, sizeof text,
             "This server (%s) belongs to another cluster than %s. One of the two was pointed at "
             "the wrong locators, or a locator lost its map; look at --locators of both.",
             worker->server->name, name);
    if (log_limit_allows(&worker->peer_limit, loop_now_us(worker->loop), &suppressed))
        log_line(worker->server->log, LOG_ERROR, "peers", "VG1324",
                 "a server of another cluster tried to connect: %s (%u more in 10 s)", name,
                 suppressed);
    end_with(conn, PB__PEER_WELCOME__REFUSAL__OTHER_CLUSTER, text);
}

/* The newest connection of a kind is the one that counts; the worker of an older one closes it. */
static void replace(struct peer *peer, struct peer_conn *conn)
{
    pthread_mutex_lock(&peer->lock);
    struct peer_conn **in = &peer->in[peer_link_index(conn->kind)];
    struct worker *worker = *in == NULL ? NULL : (*in)->worker;
    *in = conn;
    pthread_mutex_unlock(&peer->lock);
    if (worker != NULL)
        peers_poke(worker);
}

static void take_in(struct peer_conn *conn, struct peer *peer)
{
    conn->peer = peer;
    if (send_welcome(conn, PB__PEER_WELCOME__REFUSAL__ACCEPTED, "") != OK) {
        peer_in_drop(conn);
        return;
    }
    conn->stage = PEER_STAGE_UP;
    conn->opened_us = loop_now_us(conn->worker->loop);
    replace(peer, conn);
    peer_conn_count(conn);
    peer_conn_note_epoch(conn, conn->hello_epoch);
    if (conn->kind == PEER_LINK_REPLICATION && replica_write_exceptions(conn) != OK)
        peer_in_drop(conn);
}

/* It is of our cluster; whether our map names it decides. */
static void decide(struct peer_conn *conn, uint64_t now_us)
{
    struct server *server = conn->worker->server;
    struct peer *peer = peers_find(server, conn->hello_incarnation);
    bool gone = peer != NULL && atomic_load(&peer->gone);
    if (peer != NULL && !gone) {
        take_in(conn, peer);
        return;
    }
    peer_unref(peer);
    bool newer =
        conn->hello_epoch > atomic_load(&server->announced_epoch) || conn->worker->catalog == NULL;
    if (gone || !newer || conn->deadline_us <= now_us) {
        end_with(conn, PB__PEER_WELCOME__REFUSAL__NOT_READY,
                 gone ? "this server has seen proof that the one that asks is gone"
                      : "the cluster map of this server does not name the one that asks");
        return;
    }
    peer_conn_note_epoch(conn, conn->hello_epoch);
}

static enum error on_hello(struct peer_conn *conn, const Pb__PeerHello *hello)
{
    struct server *server = conn->worker->server;
    const struct catalog *catalog = conn->worker->catalog;
    uint64_t now_us = loop_now_us(conn->worker->loop);
    if (hello->role == CLUSTER_LOCATOR) {
        end_with(conn, PB__PEER_WELCOME__REFUSAL__ACCEPTED, "");
        return OK;
    }
    if (hello->role != CLUSTER_SERVER || hello->cluster_id.len != CLUSTER_ID_BYTES ||
        hello->incarnation == 0 || hello->incarnation == server->incarnation ||
        (hello->link != PB__PEER_HELLO__LINK__REQUESTS &&
         hello->link != PB__PEER_HELLO__LINK__REPLICATION))
        return ERROR_MALFORMED;
    if (catalog != NULL &&
        memcmp(hello->cluster_id.data, catalog->map->cluster_id, CLUSTER_ID_BYTES) != 0) {
        refuse_other_cluster(conn, hello->name);
        return OK;
    }
    conn->kind =
        hello->link == PB__PEER_HELLO__LINK__REQUESTS ? PEER_LINK_REQUESTS : PEER_LINK_REPLICATION;
    conn->hello_incarnation = hello->incarnation;
    conn->hello_epoch = hello->epoch;
    memcpy(conn->cluster_id, hello->cluster_id.data, CLUSTER_ID_BYTES);
    conn->stage = PEER_STAGE_MAP;
    conn->deadline_us = now_us + PEER_MAP_WAIT_US;
    decide(conn, now_us);
    return OK;
}

static enum error greet(struct peer_conn *conn, struct slice *rest)
{
    struct slice frame;
    bool waits = conn->stage == PEER_STAGE_MAP;
    if (!conn->skipped_first && rest->len > 0) {
        conn->skipped_first = true;
        *rest = slice_of(rest->data + 1, rest->len - 1);
    }
    enum error error =
        peer_next_frame(rest, waits ? LIMIT_PEER_MESSAGE_BYTES : PEER_HELLO_BYTES_MAX, &frame);
    if (error != OK || frame.data == NULL)
        return error == OK ? ERROR_BUSY : error; /* busy: more bytes are needed */
    Pb__PeerMessage *message;
    arena_reset(&conn->worker->peer_arena);
    error = peer_unpack(frame, &conn->worker->peer_arena, &message);
    if (error != OK)
        return error;
    if (!waits)
        return message->kind_case == PB__PEER_MESSAGE__KIND_HELLO ? on_hello(conn, message->hello)
                                                                  : ERROR_MALFORMED;
    return message->kind_case == PB__PEER_MESSAGE__KIND_MAP_PUSH
               ? peer_conn_on_map_push(conn, message->map_push)
               : ERROR_MALFORMED;
}

/* ---- Events of the connection ---- */

static size_t on_data(void *arg, const uint8_t *data, size_t len)
{
    struct peer_conn *conn = arg;
    struct slice rest = slice_of(data, len);
    enum error error = OK;
    bool was_up = conn->stage == PEER_STAGE_UP;
    peer_conn_ref(conn);
    while (error == OK && conn->conn != NULL && conn->stage != PEER_STAGE_UP)
        error = greet(conn, &rest);
    size_t used = 0;
    if (error == OK && conn->conn != NULL)
        error = peer_conn_take(conn, rest.data, rest.len, &used);
    if (error != OK && error != ERROR_BUSY && conn->conn != NULL)
        peer_in_drop(conn);
    else if (conn->conn != NULL && !was_up)
        peers_poke(conn->worker);
    peer_conn_unref(conn);
    return len - rest.len + used;
}

static void on_eof(void *arg, struct slice rest)
{
    (void)rest;
    peer_in_drop(arg);
}

static void on_drain(void *arg)
{
    (void)arg; /* who writes answers here is bounded by what was asked */
}

static void on_close(void *arg, enum error why)
{
    (void)why;
    forget(arg);
}

static const struct net_conn_events conn_events = {
    .on_data = on_data, .on_eof = on_eof, .on_drain = on_drain, .on_close = on_close};

void peers_on_peer(void *owner, struct net_conn *net_conn, struct slice data)
{
    struct worker *worker = owner;
    (void)data; /* comes again, to us */
    struct peer_conn *conn = peer_conn_new(worker, NULL, PEER_LINK_REQUESTS, false);
    if (conn == NULL) {
        net_conn_abort(net_conn);
        return;
    }
    conn->conn = net_conn;
    conn->stage = PEER_STAGE_GREETING;
    conn->deadline_us = loop_now_us(worker->loop) + PEER_HELLO_MS * UINT64_C(1000);
    conn->next = worker->peer_conns;
    worker->peer_conns = conn;
    net_conn_hand_over(net_conn, &conn_events, conn);
    net_conn_pause(net_conn);
    net_conn_resume(net_conn);
    peers_poke(worker);
}

/* ---- Turns ---- */

void peer_in_turn(struct peer_conn *conn, uint64_t now_us, uint64_t *next_us)
{
    if (conn->stage == PEER_STAGE_UP) {
        struct peer *peer = conn->peer;
        pthread_mutex_lock(&peer->lock);
        bool counts = peer->in[peer_link_index(conn->kind)] == conn;
        pthread_mutex_unlock(&peer->lock);
        /* A connection that outlived its machine must not speak for it. */
        bool silent = now_us >= atomic_load(&peer->heard_us) + PEER_SILENT_MS * UINT64_C(1000) &&
                      now_us >= conn->opened_us + PEER_SILENT_MS * UINT64_C(1000);
        if (!counts || silent || atomic_load(&peer->out_of_map) || atomic_load(&peer->gone))
            peer_in_drop(conn);
        else
            peer_conn_fetch_turn(conn, now_us, next_us);
        return;
    }
    if (conn->stage == PEER_STAGE_GREETING) {
        if (conn->deadline_us <= now_us)
            peer_in_drop(conn);
        else
            peers_due(next_us, conn->deadline_us);
        return;
    }
    const struct catalog *catalog = conn->worker->catalog;
    if (catalog != NULL &&
        memcmp(conn->cluster_id, catalog->map->cluster_id, CLUSTER_ID_BYTES) != 0) {
        refuse_other_cluster(conn, "one that came before this server knew its own");
        return;
    }
    peer_conn_ref(conn);
    decide(conn, now_us);
    if (conn->conn != NULL) {
        peers_due(next_us, conn->stage == PEER_STAGE_MAP ? conn->deadline_us : UINT64_MAX);
        peer_conn_fetch_turn(conn, now_us, next_us);
    }
    peer_conn_unref(conn);
}
