/* Shared by peers.c, peer_conn.c, peer_out.c, peer_in.c and lease.c, for nobody
 * else; worker.c pokes.
 *
 * Each worker has one timer and one task, whose turn (peers.c) looks at everything of its
 * connections that is due: connecting, greetings, beacons, silence. Whoever changes what is due
 * from another thread only pokes it. */
#ifndef VUG_SERVER_PEERS_IMPL_H
#define VUG_SERVER_PEERS_IMPL_H

#include "protocol/peer.h"
#include "server/server.h"

enum peer_stage {
    PEER_STAGE_CONNECTING,
    PEER_STAGE_GREETING, /* a hello or a welcome is awaited */
    PEER_STAGE_MAP,      /* incoming: a map that names it is awaited */
    PEER_STAGE_UP,
};

enum {
    PEER_MAP_PATIENCE_US = 50000, /* for the locator's answer; then a peer is asked for the map */
    PEER_MAP_AGAIN_US = 200000,   /* and asked again */
    PEER_MAP_WAIT_US = 5000000,   /* of a connection whose server our map does not name */
    PEER_BEACONS = 32,            /* whose times are known */
};

struct peer_mail {
    struct peer_mail *next;
    enum peer_frame_kind kind;
    size_t len;
    uint8_t data[];
};

struct peer_out_link {
    struct peer_conn *conn; /* NULL: waits for due_us */
    uint64_t due_us;
    uint32_t backoff_us;
    bool logged; /* one line for each trouble, not for each attempt */
};

struct peer_out {
    struct peer_out_link links[2]; /* REQUESTS, REPLICATION */
    uint64_t beacon_number, beacon_answered;
    uint64_t sent_us[PEER_BEACONS]; /* by number */
    uint64_t beacon_due_us;
    uint64_t reported_us; /* 0: not yet */
    bool was_gone;        /* the rest of the server knows */
    char trouble[160];    /* why it cannot be reached */
    const char *proof;    /* that it is gone: static; NULL: somebody else's */
};

static inline unsigned peer_link_index(enum peer_link_kind kind)
{
    return kind == PEER_LINK_REQUESTS ? 0 : 1;
}

static inline void peers_due(uint64_t *next_us, uint64_t due_us)
{
    if (due_us < *next_us)
        *next_us = due_us;
}

/* ---- peers.c ---- */

/* The worker's turn comes soon. Any thread. */
void peers_poke(struct worker *worker);
/* What waits for the peer is written at the end of its loop's turn. Any thread. */
void peer_want_flush(struct peer *peer);
void peer_drop_mail(struct peer *peer, enum peer_link_kind kind);

/* ---- peer_conn.c ---- */

/* A connection that is up has bytes: takes whole frames off and gives them to whom they are for.
 * An error: the caller drops the connection; else *used is how many bytes were taken. */
enum error peer_conn_take(struct peer_conn *conn, const uint8_t *data, size_t len, size_t *used);
/* Messages that may come before a connection is up, too. */
enum error peer_conn_on_map_fetch(struct peer_conn *conn, const Pb__PeerMapFetch *fetch);
enum error peer_conn_on_map_push(struct peer_conn *conn, const Pb__PeerMapPush *push);
/* The other side has this epoch. */
void peer_conn_note_epoch(struct peer_conn *conn, uint64_t epoch);
/* Asks it for the map that is wanted, when it is time. */
void peer_conn_fetch_turn(struct peer_conn *conn, uint64_t now_us, uint64_t *next_us);
struct peer_conn *peer_conn_new(struct worker *worker, struct peer *peer, enum peer_link_kind kind,
                                bool is_outgoing); /* NULL without memory */
/* The connection counts as a sign of life from here, and no more. */
void peer_conn_count(struct peer_conn *conn);
void peer_conn_uncount(struct peer_conn *conn);

/* ---- peer_out.c; the peer's worker ---- */

void peer_out_turn(struct peer *peer, uint64_t now_us, uint64_t *next_us);
void peer_out_close(struct peer *peer); /* for good */
void peer_out_flush(struct peer *peer);

/* ---- peer_in.c; the connection's worker ---- */

void peer_in_turn(struct peer_conn *conn, uint64_t now_us, uint64_t *next_us);
void peer_in_drop(struct peer_conn *conn); /* the struct may be gone then */

/* ---- lease.c ---- */

void lease_send_beacon(struct peer *peer, struct peer_conn *conn);
/* On our own link: what we sent was received. */
void lease_on_answer(struct peer_conn *conn, const Pb__PeerBeacon *beacon);
/* On the peer's link: promises and answers. An error: the connection is dropped. */
enum error lease_on_beacon(struct peer_conn *conn, const Pb__PeerBeacon *beacon);

#endif
