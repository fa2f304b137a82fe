/* Private to rows*.c.
 *
 *   rows.c       what wakes the main loop, and its turn
 *   rows_pull.c  a puller: one instance, for all groups' buckets that this server leads
 *   rows_feed.c  the rows it gets from another server
 *   rows_out.c   the rows that another server gets from here; of the loop of its connection
 *
 * Frames, behind the byte FEED_ROWS; numbers are little-endian:
 *   OPEN    id 8, query 8, n 4, n x owner 4, m 4, m x (source 4, generation 4, position 12)
 *   EVENTS  id 8, then 1, source 4, generation 4, position 12, len 4, row as in the rows ring
 *                  or  2, source 4, generation 4: what was there at the start has all been sent
 *   CREDIT  id 8, bytes taken 4, n x (source 4, generation 4, position 12): up to there all
 *           rows are applied and committed at their owners
 *   CLOSE   id 8
 *   STATUS  id 8: refused, the instance is not known; to be opened again */
#ifndef VUG_SERVER_ROWS_IMPL_H
#define VUG_SERVER_ROWS_IMPL_H

#include <endian.h>

#include "server/feed.h"
#include "server/server.h"

#define ROWS_BATCH_BYTES (64u * 1024)

enum rows_entry_kind { ROWS_ENTRY_ROW = 1, ROWS_ENTRY_INITIAL = 2 }; /* in EVENTS */

/* A bucket of the region as a puller sees it: where its rows come from, and, if it is led here,
 * where the rows of its groups go. */
struct rows_place {
    bool led;
    uint32_t led_term, generation;
    uint32_t row_generation; /* of the rows that came over the feed */
    uint64_t primary;        /* incarnation */
    struct rows_feed *feed;
    uint64_t old_seq;            /* its rows up to here are taken in any order, if it is led here */
    struct ring_position cursor; /* its rows up to here were handled, but for those skipped */
    struct ring_hint hint;       /* of the cursor, while it is led here */
    bool is_stuck; /* led here: the owner of the row behind the cursor cannot take it */
    struct ring_position skipped; /* rows behind it were, because their owner could not take them */
    bool has_skipped, skipped_silent;
    bool initial; /* its rows of the start were handled */
    bool retry;   /* memory was short: the tick looks again */

    bool ready;                 /* the start is over here */
    uint32_t ready_term;        /* in which this server said so; 0: it has not */
    bool blocked, tail_blocked; /* takes nothing; no rows that are not of the start */

    struct ring_position acked;   /* its rows up to here are committed at their owners here */
    struct ring_position barrier; /* will be, when the owners have committed barrier_seq */
    uint64_t barrier_seq;
};

struct rows_puller {
    struct server *server;
    struct cq_instance *instance;
    struct rows_place *places;
    uint32_t owner_count;     /* led here */
    uint32_t initial_missing; /* places whose rows of the start are not here */
    bool has_barrier, moved;
    bool is_settled; /* the start is over in all of them */
    struct buf rows; /* copied out of a bucket */
    struct rows_feed *feeds;
};

struct rows_feed {
    struct rows_feed *next;
    struct rows_puller *puller;
    uint64_t incarnation;
    uint64_t id; /* 0: it is not open */
    bool reopen;
};

static inline bool rows_is_led(const struct bucket *bucket)
{
    return bucket->replica.role == REPLICA_PRIMARY && bucket->replica.led != 0;
}

/* rows.c */
void rows_wake(struct server *server, struct cq_bucket *cqb);

/* rows_pull.c: the main loop, no lock held */
struct rows_puller *rows_puller_new(struct server *server, struct cq_instance *instance);
void rows_puller_free(struct rows_puller *puller);
/* Who leads the buckets may have changed: begins anew where it has. */
void rows_puller_check(struct rows_puller *puller);
/* Something is to be done about a bucket that may be led here. */
void rows_puller_work(struct rows_puller *puller, uint32_t bucket);
/* The rows that a bucket led here has committed up to `seq` meet their owners: its turn. */
enum rows_pulled {
    ROWS_ALL,  /* that was its turn */
    ROWS_MORE, /* to be called again */
    ROWS_WAIT, /* for an owner, the start or the input queue; the main loop is woken */
};
enum rows_pulled rows_puller_turn(struct rows_puller *puller, const struct rows_turn *turn);
/* Ends the start where it is over. */
void rows_puller_settle(struct rows_puller *puller);
void rows_puller_tick(struct rows_puller *puller);
/* A row from another server meets its owner, if that is led here. */
void rows_deliver(struct rows_puller *puller, uint32_t source, uint32_t generation,
                  struct ring_position position, struct slice encoded);
/* All rows of the start of that source went through rows_deliver(). */
void rows_initial(struct rows_puller *puller, uint32_t source);

/* rows_feed.c: the main loop, but for those that post */
enum error rows_feeds_make(struct rows_puller *puller);
void rows_feeds_close(struct rows_puller *puller);
void rows_feed_open(struct rows_feed *feed); /* if the link is there; again from the cursors */
void rows_feed_acks(struct rows_feed *feed);
enum rows_mail_kind { ROWS_MAIL_EVENTS, ROWS_MAIL_STATUS, ROWS_MAIL_LINK };
struct rows_mail {
    struct rows_mail *next;
    enum rows_mail_kind kind;
    uint64_t incarnation;
    bool up;
    size_t len;
    uint8_t content[];
};
void rows_mail_take(struct server *server, const struct rows_mail *mail);

/* rows_out.c: with rows->lock */
void rows_outs_wake_locked(struct rows *rows, const struct cq_instance *instance);
/* How far the rows of `source` have been committed at their owners elsewhere: for each owner. */
void rows_outs_acked(struct rows *rows, const struct cq_instance *instance, uint32_t source,
                     uint32_t generation, struct ring_position *acked);
void rows_outs_tick(struct rows *rows);
void rows_outs_free(struct rows *rows);

/* ---- Bytes ---- */

static inline void rows_put32(struct buf *out, uint32_t number)
{
    number = htole32(number);
    buf_append(out, &number, sizeof number);
}

static inline void rows_put64(struct buf *out, uint64_t number)
{
    number = htole64(number);
    buf_append(out, &number, sizeof number);
}

static inline void rows_put_position(struct buf *out, struct ring_position position)
{
    rows_put64(out, position.seq);
    rows_put32(out, position.sub);
}

static inline bool rows_take(struct slice *rest, void *data, size_t len)
{
    if (rest->len < len)
        return false;
    memcpy(data, rest->data, len);
    *rest = slice_of(rest->data + len, rest->len - len);
    return true;
}

static inline bool rows_take32(struct slice *rest, uint32_t *number)
{
    bool there = rows_take(rest, number, sizeof *number);
    *number = there ? le32toh(*number) : 0;
    return there;
}

static inline bool rows_take64(struct slice *rest, uint64_t *number)
{
    bool there = rows_take(rest, number, sizeof *number);
    *number = there ? le64toh(*number) : 0;
    return there;
}

static inline bool rows_take_position(struct slice *rest, struct ring_position *position)
{
    return rows_take64(rest, &position->seq) && rows_take32(rest, &position->sub);
}

static inline struct cq_bucket *rows_cqb(const struct cq_instance *instance, uint32_t bucket)
{
    return &instance->buckets[bucket];
}

#endif
