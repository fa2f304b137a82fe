/* A session host on a fake network, with operations that a test steers: some answer at once, some
 * take a slot. */
#ifndef VUG_TESTS_LIB_FAKE_SESSION_H
#define VUG_TESTS_LIB_FAKE_SESSION_H

#include "protocol/session.h"
#include "tests/lib/fake_net.h"

enum { FAKE_SLOTS_MAX = 2048 };

struct fake_session {
    struct fake_net *net;
    struct session_host host;
    struct session *last; /* the session that executed last */
    _Atomic uint32_t connection_count;
    struct session_slot *slots[FAKE_SLOTS_MAX];
    uint32_t slot_count;
    uint32_t executed; /* requests, CqAck not counted */
    uint32_t acks, ends, peers;
    size_t big_reply; /* bytes of a get's string; 0: "v" */
    char log[4096];   /* lines, each with its end */
};

/* What the requests of the table do:
 *   getRegionNames (14)  answers ["/R"]
 *   get (4)              answers "v" (or a big string)
 *   getSize (16)         takes a slot
 *   keySet (28)          alone, takes a slot
 *   putAll (6)           fails with ERROR_MEMORY
 *   getAll (8)           is malformed
 *   cqSubscribe (1001)   answers through a slot and pushes at once; is subscribed from then on
 *   cqAck (1004)         passes */
void fake_session_init(struct fake_session *fake, enum session_role role);
void fake_session_fini(struct fake_session *fake);

/* A new connection; and one that has exchanged versions, whose answer is taken away. */
struct fake_conn *fake_session_connect(struct fake_session *fake);
struct fake_conn *fake_session_hello(struct fake_session *fake);

/* Hexadecimal input from the peer. */
void fake_session_feed(struct fake_conn *conn, const char *hex);

/* True if exactly this was sent since the last call; then forgets it. */
bool fake_session_sent(struct fake_conn *conn, const char *hex);

/* The number of whole frames that were sent. */
unsigned fake_session_frames(struct fake_conn *conn);

/* True if the sent bytes hold this text. */
bool fake_session_sent_text(struct fake_conn *conn, const char *text);

#endif
