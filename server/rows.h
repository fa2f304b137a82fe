/* Rows of continuous queries whose group lives in another bucket than the row: the owner of the
 * group pulls them from the rows ring of the row's bucket, in order and once.
 *
 *   source bucket: record --> rows ring (kept by every copy) --ROWS feed, or directly if both are
 *   led here--> owner's primary: PARTIAL {source, generation, position, row} --> operator state
 *
 * Only committed rows are pulled. The owner drops what is at or below the position that it has
 * applied of that source; the source drops rows that all owners have applied (CQ_TRIM). */
#ifndef VUG_SERVER_ROWS_H
#define VUG_SERVER_ROWS_H

#include "server/peers.h"

struct server;
struct bucket;
struct cq_bucket;

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

/* Every 50 ms. Main loop. */
void rows_tick(struct server *server, uint64_t now_us);
void rows_free(struct server *server);

#endif
