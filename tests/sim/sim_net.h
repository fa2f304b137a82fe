/* The simulated side of common/net.h: streams between nodes with latency, bounded socket buffers
 * and faults.
 *
 *   net_conn_commit -> [unsent] -> end of the turn, as far as the window reaches -> [on the wire,
 * latency]
 *        -> arrival -> [receive buffer] -> a turn of the reader, in pieces -> on_data
 *
 * Bytes on the wire and in the receive buffer count against one window of SIM_WINDOW_BYTES for each
 * direction, so a reader that is paused stops the writer as with real sockets. Bytes are never
 * lost, doubled or swapped inside of a stream, because TCP does not do that; they are delayed,
 * split, joined, and cut off by a reset. */
#ifndef VUG_TESTS_SIM_SIM_NET_H
#define VUG_TESTS_SIM_SIM_NET_H

#include "common/net.h"
#include "tests/sim/sim_loop.h"

enum { SIM_WINDOW_BYTES = 64 * 1024 };

struct net *sim_net_new(struct sim *sim, struct loop *loop);
void sim_net_free(struct net *net); /* aborts what is open */

/* What one direction between two nodes does. */
struct sim_faults {
    uint32_t latency_min_us, latency_max_us;
    uint32_t split_bytes; /* reads give 1 to so many bytes at a time; 0: all that is there */
    uint32_t reset_ppm;   /* of each flush: the connection is reset at a random byte of it */
};
void sim_set_faults(struct sim *sim,
                    const struct sim_faults *faults); /* of all directions, later nodes included */
void sim_link_set_faults(struct sim_node *from, struct sim_node *to,
                         const struct sim_faults *faults);

/* While a direction is cut, what is sent waits; connects wait and time out. */
void sim_partition(struct sim_node *from, struct sim_node *to);
void sim_heal(struct sim_node *from, struct sim_node *to);
void sim_heal_all(struct sim *sim);

/* Resets the nth connection (from 1) that `from` makes to `to` after now, when exactly so many
 * bytes have gone in that direction; the receiver gets these and then the reset. */
enum sim_direction { SIM_TO_ACCEPTOR, SIM_TO_CONNECTOR };
void sim_cut_connection(struct sim_node *from, struct sim_node *to, unsigned nth,
                        enum sim_direction direction, uint64_t bytes);

/* The same for a connection that stands: after so many further bytes from this end. */
void sim_conn_cut(struct net_conn *conn, uint64_t bytes);

#endif
