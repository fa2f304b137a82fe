/* Connections that this server opens to a peer: REQUESTS and REPLICATION, kept up for ever.
 *
 *   waiting --due--> connecting --hello--> greeting --welcome--> up
 *      ^                 |                     |                  |
 *      +-- 20 to 500 ms -+---------------------+    at once ------+
 *
 * When nothing connects the two any more and its host refuses a connection, or somebody else
 * answers there, that incarnation is gone. */
#include <stdio.h>

#include "common/mem.h"
#include "protocol/message.h"
#include "server/feed.h"
#include "server/image.h"
#include "server/peers_impl.h"

enum {
    BACKOFF_MIN_US = 20000,
    BACKOFF_MAX_US = 500000,
    STEADY_US = 100000, /* a link that was up for so long is connected again at once */
    CONNECT_US = 1000000,
    WELCOME_US = 6000000, /* the other side may wait for a map that names us */
    SILENT_US = PEER_SILENT_MS * 1000,
    UNSENT_MAX = 1024 * 1024,
};

static struct peer_out_link *link_of(struct peer *peer, enum peer_link_kind kind)
{
    return &peer->out->links[peer_link_index(kind)];
}

/* ---- Up and down ---- */

static void set_up(struct peer *peer, enum peer_link_kind kind)
{
    if (kind == PEER_LINK_REPLICATION) {
        atomic_store(&peer->replication_up, true);
        replica_on_link(peer, true);
        image_on_link(peer, true);
    } else {
        atomic_store(&peer->requests_up, true);
        call_on_link(peer, true);
        feed_on_link(peer, true);
    }
    peer_want_flush(peer);
}

static void set_down(struct peer *peer, enum peer_link_kind kind)
{
    atomic_store(kind == PEER_LINK_REPLICATION ? &peer->replication_up : &peer->requests_up, false);
    peer_drop_mail(peer, kind);
    if (kind == PEER_LINK_REPLICATION) {
        image_on_link(peer, false);
        replica_on_link(peer, false);
    } else {
        feed_on_link(peer, false);
        call_on_link(peer, false);
    }
}

static uint64_t backoff_us(struct peer *peer, struct peer_out_link *link)
{
    uint32_t chance;
    loop_random(peer->worker->loop, &chance, sizeof chance);
    if (link->backoff_us < BACKOFF_MIN_US)
        link->backoff_us = BACKOFF_MIN_US;
    uint64_t delay_us = link->backoff_us / 2 + chance % (link->backoff_us / 2 + 1);
    link->backoff_us =
        link->backoff_us * 2 < BACKOFF_MAX_US ? link->backoff_us * 2 : BACKOFF_MAX_US;
    return delay_us;
}

/* The connection is gone, or was never made: the next attempt is set. */
static void link_lost(struct peer *peer, enum peer_link_kind kind, const char *why)
{
    struct peer_out_link *link = link_of(peer, kind);
    struct peer_conn *conn = link->conn;
    uint64_t now_us = loop_now_us(peer->worker->loop);
    bool was_up = conn != NULL && conn->stage == PEER_STAGE_UP;
    bool was_steady = was_up && now_us - conn->opened_us >= STEADY_US;
    snprintf(peer->out->trouble, sizeof peer->out->trouble, "%s", why);
    if (was_steady)
        link->backoff_us = 0;
    link->due_us = was_steady ? now_us : now_us + backoff_us(peer, link);
    link->conn = NULL;
    if (conn == NULL)
        return;
    conn->conn = NULL;
    if (was_up)
        set_down(peer, kind);
    if (was_up)
        peer_conn_uncount(conn);
    peer_conn_unref(conn);
    peers_poke(peer->worker);
}

static void link_drop(struct peer *peer, enum peer_link_kind kind, const char *why)
{
    struct peer_conn *conn = link_of(peer, kind)->conn;
    if (conn == NULL)
        return;
    net_conn_abort(conn->conn);
    link_lost(peer, kind, why);
}

static void drop_both(struct peer *peer, const char *why)
{
    link_drop(peer, PEER_LINK_REQUESTS, why);
    link_drop(peer, PEER_LINK_REPLICATION, why);
}

/* ---- Proof ---- */

/* `evidence` was seen just now. It proves nothing while a connection of that incarnation stands:
 * whoever ends closes them all, and then it is looked at again. */
static void weigh(struct peer *peer, const char *evidence)
{
    if (atomic_load(&peer->conn_count) > 0)
        return;
    peer->out->proof = evidence;
    atomic_store(&peer->gone, true);
    peers_poke(peer->worker);
}

static void on_gone(struct peer *peer)
{
    if (peer->out->proof == NULL)
        peer->out->proof = "a locator says so";
    log_line(peer->server->log, LOG_WARN, "peers", "VG1323", "server %s is gone: %s", peer->name,
             peer->out->proof);
    peer->out->was_gone = true;
    peer->out->reported_us = 0;
    drop_both(peer, peer->out->proof);
    replica_on_link(peer, false); /* again: now with proof, nothing waits for it */
}

/* ---- Greeting ---- */

static void refused(struct peer *peer, enum peer_link_kind kind, const Pb__PeerWelcome *welcome)
{
    struct peer_out_link *link = link_of(peer, kind);
    if (welcome->refusal != PB__PEER_WELCOME__REFUSAL__NOT_READY && !link->logged) {
        link->logged = true;
        log_line(peer->server->log, LOG_ERROR, "peers", "VG1321",
                 "server %s at %s[%u] does not take this server's connection: %s", peer->name,
                 peer->host, peer->port, welcome->text);
    }
    link_drop(peer, kind, welcome->text);
}

static void on_welcome(struct peer *peer, struct peer_conn *conn, const Pb__PeerWelcome *welcome)
{
    struct peer_out_link *link = link_of(peer, conn->kind);
    const struct catalog *catalog = conn->worker->catalog;
    if (welcome->incarnation != 0 && welcome->incarnation != peer->incarnation) {
        weigh(peer, "another process answers at its address");
        link_drop(peer, conn->kind, "another process answers at its address");
        return;
    }
    if (welcome->refusal != PB__PEER_WELCOME__REFUSAL__ACCEPTED) {
        refused(peer, conn->kind, welcome);
        return;
    }
    bool known =
        welcome->incarnation == peer->incarnation && welcome->cluster_id.len == CLUSTER_ID_BYTES &&
        (catalog == NULL ||
         memcmp(welcome->cluster_id.data, catalog->map->cluster_id, CLUSTER_ID_BYTES) == 0);
    if (!known) {
        link_drop(peer, conn->kind, "what answers at its address is of another cluster");
        return;
    }
    link->logged = false;
    conn->stage = PEER_STAGE_UP;
    conn->opened_us = loop_now_us(conn->worker->loop);
    peer_conn_count(conn);
    peer_conn_note_epoch(conn, welcome->epoch);
    if (conn->kind == PEER_LINK_REPLICATION) {
        peer->out->beacon_due_us = 0;
        log_line(peer->server->log, LOG_INFO, "peers", NULL, "connected to server %s at %s[%u]",
                 peer->name, peer->host, peer->port);
    }
    set_up(peer, conn->kind);
    peers_poke(conn->worker);
}

/* A welcome, or a question for the map that names us. */
static enum error greet(struct peer *peer, struct peer_conn *conn, struct slice *rest)
{
    struct slice frame;
    enum error error = peer_next_frame(rest, PEER_HELLO_BYTES_MAX, &frame);
    if (error != OK || frame.data == NULL)
        return error == OK ? ERROR_BUSY : error; /* busy: more bytes are needed */
    Pb__PeerMessage *message;
    arena_reset(&conn->worker->peer_arena);
    error = peer_unpack(frame, &conn->worker->peer_arena, &message);
    if (error != OK)
        return error;
    if (message->kind_case == PB__PEER_MESSAGE__KIND_MAP_FETCH)
        return peer_conn_on_map_fetch(conn, message->map_fetch);
    if (message->kind_case != PB__PEER_MESSAGE__KIND_WELCOME)
        return ERROR_MALFORMED;
    on_welcome(peer, conn, message->welcome);
    return OK;
}

/* ---- Events of the connection ---- */

static size_t on_data(void *arg, const uint8_t *data, size_t len)
{
    struct peer_conn *conn = arg;
    struct peer *peer = conn->peer;
    struct slice rest = slice_of(data, len);
    enum error error = OK;
    peer_conn_ref(conn);
    while (error == OK && conn->conn != NULL && conn->stage != PEER_STAGE_UP)
        error = greet(peer, conn, &rest);
    size_t used = 0;
    if (error == OK && conn->conn != NULL)
        error = peer_conn_take(conn, rest.data, rest.len, &used);
    if (error != OK && error != ERROR_BUSY && conn->conn != NULL)
        link_drop(peer, conn->kind, error_text(error));
    peer_conn_unref(conn);
    return len - rest.len + used;
}

static void on_eof(void *arg, struct slice rest)
{
    (void)rest;
    struct peer_conn *conn = arg;
    link_drop(conn->peer, conn->kind, error_text(ERROR_CLOSED));
}

static void on_close(void *arg, enum error why)
{
    struct peer_conn *conn = arg;
    struct peer *peer = peer_ref(conn->peer);
    bool was_up = conn->stage == PEER_STAGE_UP;
    link_lost(peer, conn->kind, error_text(why));
    if (why == ERROR_REFUSED && !was_up)
        weigh(peer, "its links are closed, and its host refuses connections to its port");
    peer_unref(peer);
}

static void on_drain(void *arg)
{
    struct peer_conn *conn = arg;
    if (conn->stage == PEER_STAGE_UP)
        peer_want_flush(conn->peer);
}

static void on_connect(void *arg)
{
    static const uint8_t first = PEER_FIRST_BYTE;
    struct peer_conn *conn = arg;
    struct server *server = conn->worker->server;
    const struct catalog *catalog = conn->worker->catalog;
    Pb__PeerHello hello = PB__PEER_HELLO__INIT;
    if (catalog != NULL)
        hello.cluster_id = message_bytes(slice_of(catalog->map->cluster_id, CLUSTER_ID_BYTES));
    hello.name = server->name;
    hello.incarnation = server->incarnation;
    hello.role = CLUSTER_SERVER;
    hello.host = server->host;
    hello.port = server->port;
    hello.version = (char *)(uintptr_t)VUG_VERSION;
    hello.epoch = atomic_load(&server->announced_epoch);
    hello.link = conn->kind == PEER_LINK_REQUESTS ? PB__PEER_HELLO__LINK__REQUESTS
                                                  : PB__PEER_HELLO__LINK__REPLICATION;
    conn->stage = PEER_STAGE_GREETING;
    conn->deadline_us = loop_now_us(conn->worker->loop) + WELCOME_US;
    enum error error = net_conn_write(conn->conn, &first, 1);
    if (error == OK)
        error = PEER_SEND(conn->conn, HELLO, hello, &hello);
    if (error != OK)
        link_drop(conn->peer, conn->kind, error_text(error));
    else
        peers_poke(conn->worker);
}

static const struct net_conn_events conn_events = {
    .on_data = on_data,
    .on_eof = on_eof,
    .on_drain = on_drain,
    .on_close = on_close,
    .on_connect = on_connect,
};

static void start_to_connect(struct peer *peer, enum peer_link_kind kind)
{
    struct peer_out_link *link = link_of(peer, kind);
    struct peer_conn *conn = peer_conn_new(peer->worker, peer, kind, true);
    enum error error = ERROR_MEMORY;
    if (conn != NULL)
        error = net_connect(peer->worker->net, peer->host, peer->port, CONNECT_US, &conn_events,
                            conn, &conn->conn);
    if (error == OK) {
        link->conn = conn;
        return;
    }
    if (conn != NULL)
        conn->conn = NULL;
    peer_conn_unref(conn);
    link_lost(peer, kind, error_text(error));
}

/* ---- Turns ---- */

static void report(struct peer *peer, uint64_t now_us, uint64_t silent_us)
{
    char evidence[160];
    bool gone = atomic_load(&peer->gone);
    if (gone)
        snprintf(evidence, sizeof evidence, "%s", peer->out->proof);
    else
        snprintf(evidence, sizeof evidence,
                 "no sign of it for %u ms; the replication link is %s%s%.80s",
                 (unsigned)(silent_us / 1000), atomic_load(&peer->replication_up) ? "open" : "down",
                 peer->out->trouble[0] == '\0' ? "" : ": ", peer->out->trouble);
    peer->out->reported_us = now_us;
    server_report(peer->server, peer->incarnation, gone, (uint32_t)(silent_us / 1000), evidence);
}

static void link_turn(struct peer *peer, enum peer_link_kind kind, uint64_t now_us,
                      uint64_t *next_us)
{
    struct peer_out_link *link = link_of(peer, kind);
    if (link->conn != NULL && link->conn->stage == PEER_STAGE_GREETING &&
        link->conn->deadline_us <= now_us)
        link_drop(peer, kind, "it did not answer the greeting in time");
    if (peer->worker->catalog == NULL)
        return; /* which cluster this is comes in a moment, and pokes */
    if (link->conn == NULL && link->due_us <= now_us)
        start_to_connect(peer, kind);
    if (link->conn == NULL)
        peers_due(next_us, link->due_us);
    else if (link->conn->stage == PEER_STAGE_UP)
        peer_conn_fetch_turn(link->conn, now_us, next_us);
    else if (link->conn->stage == PEER_STAGE_GREETING)
        peers_due(next_us, link->conn->deadline_us);
}

static void beacon_turn(struct peer *peer, uint64_t now_us, uint64_t *next_us)
{
    struct peer_conn *conn = link_of(peer, PEER_LINK_REPLICATION)->conn;
    if (conn == NULL || conn->stage != PEER_STAGE_UP)
        return;
    if (peer->out->beacon_due_us <= now_us) {
        lease_send_beacon(peer, conn);
        peer->out->beacon_due_us = now_us + PEER_BEACON_MS * UINT64_C(1000);
    }
    peers_due(next_us, peer->out->beacon_due_us);
}

/* Bytes may still come some day over a link that nothing has come over for so long; a new one tells
 * whether there is anybody. */
static void silence_turn(struct peer *peer, uint64_t now_us)
{
    uint64_t heard_us = atomic_load(&peer->heard_us);
    for (enum peer_link_kind kind = PEER_LINK_REQUESTS; kind <= PEER_LINK_REPLICATION; kind++) {
        struct peer_conn *conn = link_of(peer, kind)->conn;
        if (conn != NULL && conn->stage == PEER_STAGE_UP && now_us >= heard_us + SILENT_US &&
            now_us >= conn->opened_us + SILENT_US)
            link_drop(peer, kind, "it has been silent for 5 s");
    }
}

void peer_out_turn(struct peer *peer, uint64_t now_us, uint64_t *next_us)
{
    struct peer_out *out = peer->out;
    if (atomic_load(&peer->gone) && !out->was_gone)
        on_gone(peer);
    if (atomic_exchange(&peer->recheck, false))
        out->links[0].due_us = out->links[1].due_us = now_us;
    bool gone = atomic_load(&peer->gone);
    if (!gone && !atomic_load(&peer->is_down)) {
        link_turn(peer, PEER_LINK_REQUESTS, now_us, next_us);
        link_turn(peer, PEER_LINK_REPLICATION, now_us, next_us);
        beacon_turn(peer, now_us, next_us);
        silence_turn(peer, now_us);
    }
    uint64_t heard_us = atomic_load(&peer->heard_us);
    uint64_t silent_us = now_us > heard_us ? now_us - heard_us : 0;
    if (!gone && silent_us < PEER_LOST_US) {
        peers_due(next_us, heard_us + PEER_LOST_US);
        return;
    }
    if (out->reported_us == 0 || now_us - out->reported_us >= PEER_LOST_US)
        report(peer, now_us, silent_us);
    peers_due(next_us, out->reported_us + PEER_LOST_US);
}

void peer_out_close(struct peer *peer)
{
    drop_both(peer, "the cluster map names it no more");
    pthread_mutex_lock(&peer->lock);
    struct call *call = peer->calls;
    peer->calls = NULL;
    peer->calls_end = &peer->calls;
    pthread_mutex_unlock(&peer->lock);
    while (call != NULL) {
        struct call *next = call->next_mail;
        call_unref(call);
        call = next;
    }
}

/* ---- What goes out ---- */

static enum error write_mail(struct peer *peer, struct peer_conn *conn)
{
    unsigned index = peer_link_index(conn->kind);
    pthread_mutex_lock(&peer->lock);
    struct peer_mail *mail = peer->mail[index];
    peer->mail[index] = NULL;
    peer->mail_end[index] = &peer->mail[index];
    for (struct peer_mail *at = mail; at != NULL; at = at->next)
        peer->mail_bytes -= at->len;
    pthread_mutex_unlock(&peer->lock);
    enum error error = OK;
    while (mail != NULL) {
        struct peer_mail *next = mail->next;
        if (error == OK)
            error = peer_frame_send(conn->conn, mail->kind, slice_of(mail->data, mail->len));
        mem_free(mail);
        mail = next;
    }
    return error;
}

/* The copy goes with its bucket's lock held, which peer_forget_copy()'s callers hold, too: what is
 * still in the mailbox under that lock is there until it is released. False when none is left. */
static bool fill_one(struct peer *peer, struct peer_conn *conn)
{
    pthread_mutex_lock(&peer->lock);
    struct replica_copy *copy = peer->dirty;
    struct region *region = copy == NULL ? NULL : region_ref(copy->region);
    struct bucket *bucket = copy == NULL ? NULL : copy->bucket;
    pthread_mutex_unlock(&peer->lock);
    if (bucket == NULL)
        return false;
    bucket_lock(bucket);
    pthread_mutex_lock(&peer->lock);
    copy = peer->dirty;
    if (copy != NULL && copy->bucket == bucket) {
        peer->dirty = copy->next_dirty;
        if (peer->dirty == NULL)
            peer->dirty_end = &peer->dirty;
        copy->is_dirty = false;
    } else {
        copy = NULL;
    }
    pthread_mutex_unlock(&peer->lock);
    /* A copy that wants more and writes nothing has to be marked again by who knows when it can. */
    size_t before = net_conn_unsent(conn->conn);
    if (copy != NULL && replica_fill_locked(copy, conn->conn) &&
        net_conn_unsent(conn->conn) > before)
        peer_mark_dirty(peer, copy);
    bucket_unlock(bucket);
    region_unref(region);
    return true;
}

static bool has_dirty(struct peer *peer)
{
    pthread_mutex_lock(&peer->lock);
    bool has = peer->dirty != NULL;
    pthread_mutex_unlock(&peer->lock);
    return has;
}

static void flush_replication(struct peer *peer, struct peer_conn *conn)
{
    if (write_mail(peer, conn) != OK) {
        link_drop(peer, conn->kind, error_text(ERROR_MEMORY));
        return;
    }
    size_t before = net_conn_unsent(conn->conn);
    while (net_conn_unsent(conn->conn) < UNSENT_MAX && fill_one(peer, conn))
        continue;
    bool more = has_dirty(peer);
    if (net_conn_unsent(conn->conn) < UNSENT_MAX)
        more |= image_fill(peer, conn->conn);
    /* If nothing went, an acknowledgement or on_drain() comes before anything can. */
    if (more && net_conn_unsent(conn->conn) > before)
        peer_want_flush(peer);
}

void peer_out_flush(struct peer *peer)
{
    struct peer_conn *requests = link_of(peer, PEER_LINK_REQUESTS)->conn;
    if (requests != NULL && requests->stage == PEER_STAGE_UP) {
        if (write_mail(peer, requests) == OK)
            call_fill(peer, requests->conn);
        else
            link_drop(peer, PEER_LINK_REQUESTS, error_text(ERROR_MEMORY));
    }
    struct peer_conn *replication = link_of(peer, PEER_LINK_REPLICATION)->conn;
    if (replication != NULL && replication->stage == PEER_STAGE_UP)
        flush_replication(peer, replication);
}
