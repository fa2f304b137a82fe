/* Shared by the files of session.h, for nobody else.
 *
 *   session_accept.c     first byte, version, strangers
 *   session.c            life, frames, when to stop and go on reading, idle sweep
 *   session_reply.c      replies, the FIFO of requests in service, pushes
 *   session_handshake.c  handshake and disconnect
 *   session_context.c    requests that the host's table has no row for */
#ifndef VUG_PROTOCOL_SESSION_IMPL_H
#define VUG_PROTOCOL_SESSION_IMPL_H

#include "protocol/message.h"
#include "protocol/session.h"

enum session_state {
    SESSION_FIRST_BYTE,
    SESSION_VERSION,
    SESSION_AUTHENTICATION,
    SESSION_READY,
};

enum session_slot_state { SESSION_SLOT_OPEN, SESSION_SLOT_DONE, SESSION_SLOT_DROPPED };

enum { SESSION_SLOT_INLINE_BYTES = 64, SESSION_SPARE_SLOTS_MAX = 1024 };

/* CqAck has no reply. */
enum { SESSION_CQ_ACK = 1004 };

/* One place in the order of replies. While it is open it belongs to its operation, and to the FIFO
 * as long as the session lives. */
struct session_slot {
    struct session *session; /* NULL once that is gone */
    struct session_slot *next;
    enum session_slot_state state;
    bool is_alone;
    uint8_t *frame; /* whole, with its length; inline_frame or of the heap; NULL: nothing to send */
    size_t frame_len;
    uint8_t inline_frame[SESSION_SLOT_INLINE_BYTES];
};

struct session {
    struct session_host *host;
    struct net_conn *conn; /* NULL: gone, the session follows when nobody is inside */
    struct session *next, **link;
    enum session_state state;
    uint32_t depth;        /* calls that are inside */
    bool is_counted;       /* speaks this protocol, takes one of the member's connections */
    bool has_sent;         /* the peer sent a byte */
    bool is_ending;        /* nothing more is executed; closed when the FIFO is empty */
    bool is_paused;        /* not read */
    bool needs_empty_fifo; /* why it is not read: the next request runs alone */
    bool is_subscribed;
    bool has_answered; /* since last_message_us was taken */
    uint64_t last_message_us;

    struct session_slot *first_slot, *last_slot;
    uint32_t slot_count, alone_count;

    uint32_t operation_flags; /* of the request that is being executed */
    uint32_t answers;         /* it has given */
    struct {
        struct session_slot *slot; /* NULL: straight into the connection */
        uint8_t *frame;
        size_t frame_len;
    } reply;
    size_t push_len;

    bool has_eof;
    struct buf eof_rest; /* the frame that the peer's end cut short, until it is its turn */

    void *attachment;
    void (*on_drain)(void *attachment);
};

/* Around everything that may end the session: session_leave() frees it when it is gone and nobody
 * else is inside. */
static inline void session_enter(struct session *session)
{
    session->depth++;
}
void session_leave(struct session *session);

/* Inside only. The connection ends: with what was written sent, or at once. */
void session_close(struct session *session);
void session_lose(struct session *session);

/* Inside only. Sends what no longer waits, then goes on with what waited for that. */
void session_flush(struct session *session);
void session_after_flush(struct session *session); /* session.c */

/* All slots go; open ones are left to their operations. */
void session_drop_slots(struct session *session);

/* session_execute.c. May the next request start? */
bool session_may_start(struct session *session, uint32_t flags);
/* Executes one request; false if it is not its turn yet, which the last one of a connection does
 * not ask. */
bool session_execute_request(struct session *session, uint32_t number, struct slice body,
                             size_t frame_len, bool is_last);
bool session_execute(struct session *session, struct slice frame, bool is_last);

/* session_accept.c: what was consumed. */
size_t session_first_byte(struct session *session, struct slice data);
size_t session_version(struct session *session, struct slice data);
void session_version_cut(struct session *session,
                         struct slice rest); /* the peer ended inside of it */
void session_first_byte_cut(struct session *session, struct slice rest);

/* session_handshake.c */
enum error session_handshake(struct session *session, struct slice body);
enum error session_disconnect(struct session *session, struct slice body);
enum error session_refuse_unauthenticated(struct session *session, uint32_t number,
                                          struct slice body);

/* session_context.c */
enum error session_no_operation(struct session *session, uint32_t number, struct slice body);

#endif
