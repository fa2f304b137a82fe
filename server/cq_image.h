/* The part of a bucket's image that is about continuous queries: for each instance its operator
 * state, rows that wait, rows for other buckets, applied positions, output ring down to its floor.
 */
#ifndef VUG_SERVER_CQ_IMAGE_H
#define VUG_SERVER_CQ_IMAGE_H

#include "common/buf.h"
#include "server/bucket.h"

/* No instance of the bucket is still reading what was there at its start: an image may be cut. */
bool cq_image_is_quiet_locked(const struct bucket *bucket);
/* What its queries remember is packed before the cut, a part at each call; what changes meanwhile
 * is packed again. *packings begins with NULL. ERROR_MEMORY. *done: little enough is left. */
struct cq_packing;
enum error cq_packing_step_locked(struct bucket *bucket, struct cq_packing **packings, bool *done);
void cq_packing_free_locked(struct cq_packing **packings);
/* Appends all of it; what is in no packing is packed here. out->failed without memory. */
void cq_image_pack_locked(const struct bucket *bucket, const struct cq_packing *packings,
                          struct buf *out);

/* What was packed, on its way into a bucket. */
struct cq_image;
/* On any thread, without the lock. ERROR_BUSY: an instance is not known here (a newer map is
 * needed); ERROR_MALFORMED, ERROR_MEMORY. Errors leave none. */
enum error cq_image_unpack(struct bucket *bucket, struct slice packed, struct cq_image **image);
/* Its instances are all still known. */
bool cq_image_is_known_locked(const struct bucket *bucket, const struct cq_image *image);
/* Into a bucket that has no instances, which knows those of the image. The image goes. */
void cq_image_install_locked(struct bucket *bucket, struct cq_image *image);
void cq_image_free(struct cq_image *image); /* what is large is freed later; NULL is allowed */
/* The same in no time: of the outputs so far, the rows, the number of groups. Only of a bucket that
 * is quiet. */
uint64_t cq_image_summary_locked(const struct bucket *bucket);
/* Equal for equal states: copies compare it at equal seq. */
uint64_t cq_image_hash_locked(const struct bucket *bucket);

#endif
