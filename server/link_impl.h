/* Shared by link.c (all lines), link_line.c (one connection), link_call.c (requests in both
 * directions) and link_place.c (buckets), for nobody else. */
#ifndef VUG_SERVER_LINK_IMPL_H
#define VUG_SERVER_LINK_IMPL_H

#include "protocol/peer.h"
#include "server/link.h"

/*   idle --first map--> waiting --timer--> connecting --hello--> greeting --welcome--> up
 *                         ^                   |                    |                  |
 *                         +---- 50 to 500 ms later ----------------+------------------+
 *
 * Before the first map one line at a time leaves `idle`, in turn. Given up: for good. */
enum line_state { LINE_IDLE, LINE_WAITING, LINE_CONNECTING, LINE_GREETING, LINE_UP, LINE_GIVEN_UP };

enum {
    LINK_UNSENT_BYTES_MAX = 4 * 1024 * 1024,
    LINE_BACKOFF_MIN_MS = 50,
    LINE_FRESH_MS = 600, /* a locator that was heard so lately is asked before others */
};

struct link_pending {
    uint64_t id;
    uint64_t deadline_us;
    link_answer_fn *on_answer;
    void *arg;
    struct link_pending *next;
};

/* To one locator. */
struct link_line {
    struct link *link;
    uint32_t index; /* in the list of locators */
    enum line_state state;
    struct net_conn *conn;
    uint8_t serial; /* of the connection: an answer goes back on the one that asked */
    uint32_t backoff_ms;
    struct loop_timer step;   /* reconnect, welcome in time */
    struct loop_timer beacon; /* while up */
    uint64_t heard_us;
    bool logged_loss; /* one line for each loss, not for each attempt */
    bool logged_refusal;

    uint64_t beacon_number, beacon_received;
    /* Of this connection: the first beacon that told of `asked_epoch`, the newest acknowledged. */
    uint64_t asked_number, asked_epoch;
    bool confirmed;

    uint64_t next_call_id;
    struct link_pending *calls;
    uint32_t call_count;
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

    struct link_line *lines; /* one for each locator */
    uint32_t line_count;
    struct loop_timer patience; /* until the first join */
    char trouble[512];          /* why the last attempt failed */

    bool has_cluster_id;
    uint8_t cluster_id[CLUSTER_ID_BYTES];
    bool joined;
    uint64_t epoch;        /* newest map that was given to on_map() */
    uint64_t acknowledged; /* by the owner */
    bool leaving;
    struct arena arena;
};

static inline const struct net_address *line_locator(const struct link_line *line)
{
    return &line->link->options.locators[line->index];
}

enum error line_init(struct link_line *line, struct link *link, uint32_t index);
void line_fini(struct link_line *line);
void line_start(struct link_line *line); /* tries at once */
void line_send_beacon(struct link_line *line);
void line_close(struct link_line *line); /* for good */

/* link.c: the cluster does not take this server; no line tries any more. */
void link_give_up(struct link *link, enum error why, const char *text);
/* Before the first map: the next locator's turn, after a while. */
void link_try_next(struct link *link, const struct link_line *after, uint64_t delay_us);
/* The first map is here: every locator is linked to. */
void link_start_all(struct link *link);
/* The line that requests go over and whose orders are followed: the first whose locator gives signs
 * of life, else the first that is up; NULL if none is. */
struct link_line *link_first(const struct link *link);

/* Every call that waits fails; those that wait too long do. */
void line_fail_all_calls(struct link_line *line, const char *text);
void line_fail_late_calls(struct link_line *line, uint64_t now_us);
void line_take_answer(struct link_line *line, const Pb__PeerAnswer *answer);
void line_take_call(struct link_line *line, const Pb__PeerCall *call);

/* A locator's words about buckets. Without memory for the answer it asks again. */
void line_take_seal(struct link_line *line, const Pb__PeerSeal *seal);
void line_take_place(struct link_line *line, const Pb__PeerPlace *place);

#endif
