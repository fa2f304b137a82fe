/* A network and a loop in memory for unit tests and fuzzing: no peer, no kernel. The test plays the
 * peer, byte by byte.
 *
 *   fake_net_accept() -> socket for session_accept() and the like
 *   fake_conn_feed()  -> on_data(), as common/net.h says: what was not consumed comes again, in
 * front of what follows fake_net_turn()   -> the end of a turn: sends, drains, resumes
 *
 * Everything it needs itself comes from malloc(), so that a failing heap fails the code under test
 * alone. */
#ifndef VUG_TESTS_LIB_FAKE_NET_H
#define VUG_TESTS_LIB_FAKE_NET_H

#include "common/net.h"

struct fake_net;
struct fake_conn;

struct fake_net *fake_net_new(void);
void fake_net_free(
    struct fake_net *fake); /* every connection must be gone or abandoned by its owner */

struct net *fake_net_net(struct fake_net *fake);
struct loop *fake_net_loop(struct fake_net *fake);

/* A connection that waits to be adopted. It lives until fake_net_free(). */
struct fake_conn *fake_net_accept(struct fake_net *fake);
struct net_socket *fake_conn_socket(struct fake_conn *conn);

/* The end of a turn: what was written is sent, drained connections are told, resumed ones are given
 * what is left. */
void fake_net_turn(struct fake_net *fake);

/* Moves the clock and fires the timers that are due, in their order; each firing is a turn. */
void fake_net_advance(struct fake_net *fake, uint64_t us);

/* The nth reserve from now on fails (1 is the next); 0 none. */
void fake_net_fail_reserve(struct fake_net *fake, unsigned n);

/* Bytes from the peer; a turn follows. Nothing happens when the owner is done with the connection.
 */
void fake_conn_feed(struct fake_conn *conn, const void *data, size_t len);
/* The peer ends its direction. */
void fake_conn_eof(struct fake_conn *conn);
/* The connection is lost. */
void fake_conn_reset(struct fake_conn *conn);

/* The peer takes nothing: what is written stays unsent. Unblocking sends it at the end of the turn
 * that follows. */
void fake_conn_block(struct fake_conn *conn, bool blocked);

/* What was sent so far, from the first byte; unsent bytes are not in it. */
struct slice fake_conn_sent(const struct fake_conn *conn);
/* Forgets what was sent so far. */
void fake_conn_take(struct fake_conn *conn);

enum fake_conn_state {
    FAKE_WAITING,
    FAKE_OPEN,
    FAKE_FINISHED,
    FAKE_ABORTED,
    FAKE_REFUSED,
    FAKE_LOST
};
enum fake_conn_state fake_conn_state(const struct fake_conn *conn);
bool fake_conn_is_paused(const struct fake_conn *conn);

#endif
