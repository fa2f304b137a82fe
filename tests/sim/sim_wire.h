/* The two halves of the simulated network: sim_net.c is the side of the owner (the operations of
 * common/net.h and their callbacks), sim_wire.c the system below it (windows, segments, resets,
 * partitions, connection requests). */
#ifndef VUG_TESTS_SIM_SIM_WIRE_H
#define VUG_TESTS_SIM_SIM_WIRE_H

#include "tests/sim/sim_impl.h"

struct sim_bytes {
    uint8_t *data;
    size_t len, cap;
};

enum sim_segment_kind { SIM_SEGMENT_DATA, SIM_SEGMENT_END, SIM_SEGMENT_RESET };

struct sim_segment {
    struct sim_segment *next;
    enum sim_segment_kind kind;
    uint64_t at_us;
    size_t len;
    uint8_t data[];
};

struct sim_net {
    struct net net;
    struct sim_loop *loop;
    struct sim_conn *conns; /* that an owner holds */
    struct sim_listener *listeners;
    struct sim_conn *flush_head, *flush_tail;
    struct loop_task flush_task;
};

struct sim_listener {
    struct net_listener listener;
    struct sim_listener *next_in_net, *next_in_node;
    struct net_address address;
    net_accept_fn *on_accept;
    void *arg;
};

struct net_socket {
    struct sim_conn *conn;
};

enum sim_conn_state {
    SIM_CONN_CONNECTING,
    SIM_CONN_PENDING, /* the acceptor's end, of no net yet */
    SIM_CONN_OPEN,
    SIM_CONN_CLOSED, /* the system's socket is gone */
};

/* One end of a stream: what the owner has, and the system's socket below. */
struct sim_conn {
    struct net_conn conn;
    struct net_socket socket;
    struct sim *sim;
    struct sim_conn *all_prev, *all_next;
    uint64_t id;
    enum sim_conn_state state;
    struct sim_node *node, *peer_node;
    struct sim_conn *peer; /* NULL when the other socket is gone */
    struct net_address local, remote;
    struct sim_listener *listener; /* while SIM_CONN_PENDING */
    bool given;                    /* to on_accept(), whose owner has not adopted it yet */

    /* The owner's side. */
    struct sim_net *net;
    struct sim_conn *prev, *next; /* of the net */
    struct sim_conn *flush_next;
    const struct net_conn_events *events; /* NULL: nobody owns it */
    void *arg;
    void *handle; /* an allocation that stands for the connection until its owner lets go */
    unsigned depth;
    struct sim_bytes in; /* what on_data() has left */
    uint8_t *out;        /* unsent, from common/mem.h */
    size_t out_len, out_cap;
    bool paused, resumed, flush_queued, drain_wanted, eof_told, finished;

    /* The system's side. */
    struct sim_segment *wire, *wire_tail; /* on the way to this end */
    size_t wire_bytes;
    struct sim_bytes rx;
    size_t hole_bytes; /* sent to a machine that is gone */
    uint64_t sent;     /* since the connection stands */
    uint64_t cut_at;   /* resets when so many bytes were sent */
    bool end_arrived, reset_arrived, end_sent, hole;
    bool probed; /* `reset` is the answer, or none, to a probe that comes later */
    enum error connect_error;

    struct sim_event readable, writable, timeout, established; /* turns of the owner's loop */
    struct sim_event accept;                                   /* of the listener's loop */
    struct sim_event arrival, request, reset, linger;          /* in the network */
};

/* sim_wire.c */
struct sim_conn *sim_wire_new(struct sim *sim, struct sim_node *node);
void sim_wire_connect(struct sim_conn *conn, const char *host, uint16_t port);
void sim_wire_send(
    struct sim_conn *conn); /* what the window takes of `out`; then the end, if finished */
void sim_wire_read(struct sim_conn *conn, size_t max); /* moves from the receive buffer to `in` */
void sim_wire_drop_input(struct sim_conn *conn);
void sim_wire_close(struct sim_conn *conn);
void sim_wire_refuse(struct sim_conn *conn); /* with a reset */
void sim_wire_free_if_unused(struct sim_conn *conn);
void sim_wire_take_cuts(struct sim_conn *connector, struct sim_conn *acceptor);
struct sim_link *sim_link(const struct sim_node *from, const struct sim_node *to);
void sim_bytes_append(struct sim_bytes *bytes, const uint8_t *data, size_t len);
void sim_bytes_consume(struct sim_bytes *bytes, size_t len);

/* sim_net.c */
void sim_conn_leave_net(struct sim_conn *conn);
void sim_conn_use_loop(struct sim_conn *conn, struct sim_loop *loop);
void sim_conn_schedule_read(struct sim_conn *conn, uint64_t delay_us);
void sim_conn_on_accept(void *arg);

#endif
