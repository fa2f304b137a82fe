/* Rows of continuous queries whose group lives in another bucket than the row: the owner of the
 * group pulls them from the rows ring of the row's bucket, in order and once.
 *
 *   source bucket: record --> rows ring (kept by every copy) --ROWS feed, or directly if both are
 *   led here--> owner's primary: PARTIAL {source, generation, position, row} --> operator state
 *
 * Rows whose group is led here, too, are delivered in the order of their commits: a commit takes a
 * turn, and the main loop takes the turns one after the other. The owner of a row that it cannot
 * have now holds up those behind it. Rows from elsewhere, and those that were committed before this
 * server led, come in between.
 *
 * Only committed rows are pulled. The owner drops what is at or below the position that it has
 * applied of that source; the source drops rows that all owners have applied (CQ_TRIM). */
#ifndef VUG_SERVER_ROWS_H
#define VUG_SERVER_ROWS_H

#include "server/peers.h"
#include "server/ring.h"

struct server;
struct bucket;
struct cq_bucket;
struct cq_instance;
struct rows_mail;
struct rows_out;

/* What a server has of them. */
struct rows {
    pthread_mutex_t lock; /* a leaf: guards what follows */
    struct server *server;
    struct cq_bucket *work, **work_end; /* something is to be done in these buckets */
    struct cq_instance *watched;        /* references: those with a bucket here */
    struct rows_mail *mail, **mail_end; /* what came over links */
    struct rows_out *outs;              /* what other servers pull from here */
    bool posted;
    bool lost_link;        /* one whose loss could not be mailed */
    struct loop_task task; /* main loop: works off `work` and `mail` */

    uint64_t epoch; /* of the main loop from here: of the map, when leaders were looked at last */
    uint64_t next_feed_id;
};
void rows_init(struct server *server);

/* Frames of feed.h whose first byte says that they are about rows (FEED_ROWS); that byte is taken
 * off. */
enum error rows_on_open(struct peer_conn *from, struct slice content);
enum error rows_on_credit(struct peer_conn *from, struct slice content);
enum error rows_on_close(struct peer_conn *from, struct slice content);
enum error rows_on_events(struct peer_conn *from, struct slice content);
enum error rows_on_status(struct peer_conn *from, struct slice content);
void rows_on_conn_gone(struct peer_conn *conn);
void rows_on_link(struct peer *peer, bool up);

/* `committed` of a bucket moved, or what leads it did: rows may have become ready, or have to be
 * pulled from elsewhere. Bucket's lock held: only posts. */
void rows_notify_locked(struct bucket *bucket);

/* Bucket's lock held, from cq.c: an instance begins in a bucket; something is to be done there. */
void rows_watch_locked(struct cq_bucket *cqb);
void rows_wake_locked(struct cq_bucket *cqb);

/* Every 50 ms. Main loop. */
void rows_tick(struct server *server, uint64_t now_us);
void rows_free(struct server *server);

#endif
