/* The part of a bucket's image that is about continuous queries: for each instance its operator
 * state, rows that wait, rows for other buckets, applied positions, output ring down to its floor.
 */
#ifndef VUG_SERVER_CQ_IMAGE_H
#define VUG_SERVER_CQ_IMAGE_H

#include "common/buf.h"
#include "server/bucket.h"

/* No instance of the bucket is still reading what was there at its start: an image may be cut. */
bool cq_image_is_quiet_locked(const struct bucket *bucket);
/* Appends all of it. out->failed without memory. */
void cq_image_pack_locked(const struct bucket *bucket, struct buf *out);
/* Into a bucket that has no instances. ERROR_BUSY: an instance is not known here (a newer map is
 * needed); ERROR_MALFORMED, ERROR_MEMORY: nothing was taken. */
enum error cq_image_unpack_locked(struct bucket *bucket, struct slice packed);
/* The same in no time: of the outputs so far, the rows, the number of groups. Only of a bucket that
 * is quiet. */
uint64_t cq_image_summary_locked(const struct bucket *bucket);
/* Equal for equal states: copies compare it at equal seq. */
uint64_t cq_image_hash_locked(const struct bucket *bucket);

#endif
