/* Shared by link.c (the connection), link_call.c (requests in both directions) and link_place.c
 * (buckets), for nobody else. */
#ifndef VUG_SERVER_LINK_IMPL_H
#define VUG_SERVER_LINK_IMPL_H

#include "protocol/peer.h"
#include "server/link.h"

/*   waiting --timer--> connecting --hello--> greeting --welcome--> up
 *      ^                   |                    |                  |
 *      +---- next locator, 50 to 500 ms later --+------------------+        given up: refused for
 * good */
enum link_state { LINK_WAITING, LINK_CONNECTING, LINK_GREETING, LINK_UP, LINK_GIVEN_UP };

enum {
    LINK_UNSENT_BYTES_MAX = 4 * 1024 * 1024,
};

struct link_pending {
    uint64_t id;
    uint64_t deadline_us;
    link_answer_fn *on_answer;
    void *arg;
    struct link_pending *next;
};

struct link {
    struct loop *loop;
    struct net *net;
    struct log *log;
    struct link_options options; /* its pointers are ours */
    struct link_events events;
    void *arg;
    char **groups; /* point into group_text */
    size_t group_count;
    char *group_text;

    enum link_state state;
    struct net_conn *conn;
    uint32_t locator; /* that is, or was last, tried */
    uint32_t backoff_ms;
    struct loop_timer step;     /* reconnect, welcome in time */
    struct loop_timer beacon;   /* while up */
    struct loop_timer patience; /* until the first join */
    uint64_t heard_us;
    bool logged_loss; /* one line for each loss, not for each attempt */
    bool logged_refusal;
    char trouble[512]; /* why the last attempt failed */

    bool has_cluster_id;
    uint8_t cluster_id[CLUSTER_ID_BYTES];
    bool joined;
    uint64_t epoch;        /* newest map that was given to on_map() */
    uint64_t acknowledged; /* by the owner */
    uint64_t beacon_number, beacon_received;
    /* Of this connection: the first beacon that told of `asked_epoch`, the newest acknowledged. */
    uint64_t asked_number, asked_epoch;
    bool confirmed;
    bool leaving;

    uint64_t next_call_id;
    struct link_pending *calls;
    uint32_t call_count;
    struct arena arena;
};

/* Every call that waits fails; those that wait too long do. */
void link_fail_all_calls(struct link *link, const char *text);
void link_fail_late_calls(struct link *link, uint64_t now_us);
void link_take_answer(struct link *link, const Pb__PeerAnswer *answer);

/* A locator's words about buckets. Without memory for the answer it asks again. */
void link_take_seal(struct link *link, const Pb__PeerSeal *seal);
void link_take_place(struct link *link, const Pb__PeerPlace *place);

#endif
