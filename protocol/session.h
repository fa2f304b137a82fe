/* A client's connection: first byte, version, handshake, frames, replies in request order. Server
 * and locator share it; each brings its own table of operations.
 *
 *   first byte --10--> version --> [authentication] --> requests --> closed
 *        |86: on_peer()      |anything else: one answer the peer can read, one log line, close
 *
 * One on_data() executes every complete frame that is there. Replies go straight into the
 * connection's send buffer, or, when an earlier one still waits, into the FIFO of requests in
 * service. The FIFO is bounded; at its bound, and while more than LIMIT_UNSENT_BYTES wait to be
 * sent, the connection is not read. All functions belong to the loop of the connection. */
#ifndef VUG_PROTOCOL_SESSION_H
#define VUG_PROTOCOL_SESSION_H

#include <stdatomic.h>

#include "common/arena.h"
#include "common/limits.h"
#include "common/log.h"
#include "common/net.h"
#include "protocol/failure.h"

struct session;
struct session_slot;

enum operation_flags {
    OPERATION_UNAUTHENTICATED =
        1,                /* allowed while authentication is required (the handshake alone) */
    OPERATION_ALONE = 2,  /* touches many buckets or replies later: starts when the earlier requests
                             of the connection are  answered, and later ones start when it is */
    OPERATION_PASSES = 4, /* has no reply and passes the FIFO (CqAck) */
};

/* One row of an operations table: number is the member of Message.messageType. */
struct operation {
    uint32_t number;
    const char *name;
    uint32_t flags;
    const char *permission; /* Geode's, as documentation until users exist */
    /* Executes one request. `body` is the member's content and valid during the call. Exactly one
     * of: reply now (session_reply*, session_fail), take a slot and reply later, or return
     * ERROR_MALFORMED: the connection is closed without an answer. Other errors are answered by
     * their text as SERVER_ERROR. */
    enum error (*execute)(struct session *session, struct slice body);
};

/* Geode's ProtobufProtocolStats. Counted by the loop of the sessions, read by any thread. */
struct session_counters {
    _Atomic uint64_t connections, connection_starts, connection_ends, authentication_failures;
    _Atomic uint64_t bytes_received, bytes_sent, messages_received, messages_sent;
};

/* One writer, so a plain addition will do; it is atomic for the readers' sake. */
static inline void session_count(_Atomic uint64_t *counter, uint64_t more)
{
    uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, value + more, memory_order_relaxed);
}

/* A frame that is there, decoded as far as its member. */
struct session_request {
    uint32_t number;
    uint32_t header, len; /* bytes of the frame's length and of the frame */
    struct slice body;
};

enum session_role { SESSION_SERVER, SESSION_LOCATOR };

enum { SESSION_FOREIGN_KINDS = 6, SESSION_FAST_ROWS = 36, SESSION_BATCH_REQUESTS = 16 };

/* What the sessions of one loop share. Filled by the owner before the first session; outlives them.
 */
struct session_host {
    enum session_role role;
    struct loop *loop;
    struct log *log;
    const struct operation *operations; /* ends with a row whose number is 0 */
    void *owner;                        /* the worker or locator, for the operations */
    uint16_t http_port;                 /* named in answers to lost HTTP clients; 0 if none */
    uint32_t connections_max;           /* of the member; 0: no limit (a locator's) */
    uint32_t idle_ms;                   /* since the last answered message; 0: never closed */
    bool requires_authentication;
    _Atomic uint32_t *connection_count; /* shared by all loops of the member */
    /* A peer's connection (first byte 86, which is the first of `data`): takes the conn, with
     * net_conn_hand_over(). The session is forgotten and its on_data() consumes nothing of `data`:
     * the new owner is given these bytes again. NULL: closed. */
    void (*on_peer)(void *owner, struct net_conn *conn, struct slice data);
    /* The session is about to go: detach what `session_attachment` holds. NULL allowed. */
    void (*on_session_end)(void *owner, struct session *session);

    /* Pass one of a batch: these requests are there and will be executed one after the other. The
     * owner may fetch into the cache what they need; it changes and answers nothing. NULL allowed.
     */
    void (*on_batch)(void *owner, const struct session_request *requests, uint32_t count);

    /* Kept by session.c. */
    struct session_request batch[SESSION_BATCH_REQUESTS];
    uint32_t batch_count, batch_next;
    uint32_t batch_index; /* session_batch_index() */
    struct session_counters counters;
    struct session *sessions;
    struct arena arena;
    struct loop_timer sweep;
    struct loop_timer recheck; /* of sessions that stopped because much was unsent */
    struct log_limit foreign_limits[SESSION_FOREIGN_KINDS];
    const struct operation
        *rows[SESSION_FAST_ROWS]; /* the operations table by number, as far as it is dense */
    struct session_slot *spare_slots;
    uint32_t spare_slot_count;
};

enum error session_host_init(struct session_host *host);
void session_host_fini(struct session_host *host); /* aborts what is open */
/* Ends every session after the replies that it waits for: the member shuts down. */
void session_host_finish(struct session_host *host);

/* Makes an accepted socket a session. The socket is taken in any case. */
enum error session_accept(struct session_host *host, struct net *net, struct net_socket *socket);

/* ---- For operations ---- */

struct session_host *session_host_of(struct session *session);
static inline void *session_owner(struct session *session)
{
    return session_host_of(session)->owner;
}
/* Which of the requests that on_batch() was given last is being executed; SESSION_BATCH_REQUESTS if
 * none of them. */
static inline uint32_t session_batch_index(struct session *session)
{
    return session_host_of(session)->batch_index;
}
/* Reset before each request; for what lives as long as one execute(). */
struct arena *session_arena(struct session *session);
struct net_conn *session_conn(struct session *session);
struct net_address session_peer(const struct session *session);

/* A reply that is known now. `body_len` is the exact length of the member's content; write it to
 * the returned place, then call session_reply_end(). NULL without memory: the connection is lost
 * then, return ERROR_MEMORY. */
uint8_t *session_reply_begin(struct session *session, uint32_t number, size_t body_len);
void session_reply_end(struct session *session);
/* The same for a protobuf-c message, which becomes the member's content. */
enum error session_reply_message(struct session *session, uint32_t number,
                                 const ProtobufCMessage *body);
/* An ErrorResponse. Geode's codes and texts; see failure.h. */
enum error session_fail(struct session *session, const struct failure *failure);
enum error session_failf(struct session *session, uint32_t code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* A reply that comes later: takes the next place in the order of replies. The slot outlives its
 * session (session_slot_alive()); it is ended by exactly one session_slot_reply(),
 * session_slot_fail() or session_slot_drop(). NULL without memory. */
struct session_slot *session_slot_new(struct session *session);
bool session_slot_alive(const struct session_slot *slot);
struct session *session_slot_session(struct session_slot *slot); /* NULL when it is gone */
void session_slot_reply(struct session_slot *slot, uint32_t number, struct slice body);
void session_slot_reply_message(struct session_slot *slot, uint32_t number,
                                const ProtobufCMessage *body);
void session_slot_fail(struct session_slot *slot, const struct failure *failure);
void session_slot_drop(struct session_slot *slot); /* no answer: the connection is closed */

/* Ends the connection after the replies so far; later frames are not executed. */
void session_finish(struct session *session);

/* Pushes: frames outside of the order of replies, on a session that subscribed (which the idle
 * monitor then spares). Room for a whole frame of `body_len`; ends with session_push_end(). */
void session_set_subscribed(struct session *session, bool subscribed);
uint8_t *session_push_begin(struct session *session, uint32_t number, size_t body_len);
void session_push_end(struct session *session);
size_t session_unsent(const struct session *session);

/* One pointer for the owner (its subscriptions), told of sends that drained by on_drain. */
void session_attach(struct session *session, void *attachment, void (*on_drain)(void *attachment));
void *session_attachment(struct session *session);

#endif
