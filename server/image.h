/* Images: all that a bucket knows at one seq, sent to a new copy in slices.
 *
 *   primary: cut (head: everything but entries, packed under the lock) -> entries line by line,
 * each slice under the lock for at most LIMIT_SLICE_US; an entry that changes before the cursor has
 * passed it ships its old version new copy: pieces build a bucket beside the live one -> END:
 * installed under the lock, in one step
 *
 * In the head: generation, term, set version, epoch, last seq, last time, committed, removals above
 * committed, origin streams with results, writers, continuous queries with operator state, rows and
 * output rings. The receiver installs an image only when its own map is at least as new as the one
 * that the image names. At most 1 MiB of pieces is unacknowledged on a link. */
#ifndef VUG_SERVER_IMAGE_H
#define VUG_SERVER_IMAGE_H

#include "server/bucket.h"
#include "server/replica.h"

struct worker;

#define IMAGE_IN_FLIGHT_MAX (1024u * 1024)
#define IMAGE_PIECE_BYTES   (32u * 1024)

/* Bucket's lock held, this server leads: begins to send an image to the copy (copy->image). The
 * records after its seq follow when it is installed. It is cut when its turn comes
 * (LIMIT_IMAGES_AT_ONCE), so that those that wait hold nothing. ERROR_BUSY: not now (a query is
 * being built, or the link is down); ERROR_MEMORY. */
enum error image_begin_locked(struct bucket *bucket, struct replica_copy *copy);
/* Bucket's lock held: the copy goes, or the image is not wanted any more. */
void image_end_locked(struct bucket *bucket, struct replica_copy *copy);

/* Bucket's lock held: the seq that the image is of, above which the backlog has to last for its
 * receiver: last_seq while it is not cut. A clear can make it start over, at a higher one. */
uint64_t image_seq_locked(const struct bucket *bucket, const struct image_out *image);

/* Called by bucket_apply_locked() before an entry is replaced or removed, and before a clear. */
void image_before_change_locked(struct bucket *bucket, struct entry *old);
void image_before_clear_locked(struct bucket *bucket);

/* The peer's loop, at the end of a turn and when IMAGE_ACKs arrive: writes pieces while less than
 * IMAGE_IN_FLIGHT_MAX is on its way and beacons and records have gone. True if more is left. */
bool image_fill(struct peer *peer, struct net_conn *conn);

/* On the connection's loop, without locks. Anything but OK: the connection is dropped
 * (ERROR_MALFORMED; ERROR_MEMORY: an answer that the sender waits for could not be written). */
enum error image_on_piece(struct peer_conn *from, struct slice content);
enum error image_on_ack(struct peer_conn *from, struct slice content); /* on our own link */
/* The peer's loop: our REPLICATION link is up or broke. When it broke, and before the peer goes,
 * all images to it fail. */
void image_on_link(struct peer *peer, bool up);
/* The loop of an incoming REPLICATION connection that is gone: what arrived over it is dropped. */
void image_on_conn_gone(struct peer_conn *conn);

/* Bucket's lock held: what is arriving for this bucket is dropped. */
void image_drop_incoming_locked(struct bucket *bucket);

#endif
