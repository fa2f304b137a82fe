/* Looking ahead: what the requests of a batch need is decoded, hashed and fetched into the cache
 * before the first of them is executed, so that their waits for memory overlap.
 *
 *   ahead_batch():  read each request -> fetch its line of the table -> ... -> fetch its entry
 *   ahead_take():   the request as it was read, for its operation
 *
 * A batch is executed on the loop turn in which it was read, by the thread that read it. */
#ifndef VUG_SERVER_AHEAD_H
#define VUG_SERVER_AHEAD_H

#include "protocol/codec.h"
#include "protocol/session.h"
#include "server/region.h"

enum { AHEAD_KEY_BYTES = 80 }; /* a longer stored key is located when it is used */

/* A request on one key, read. What is NULL has still to be found, or to be refused. */
struct ahead {
    enum error error;                   /* of decoding; nothing else is set then */
    struct codec_entry_request request; /* without a value if the operation has none */
    struct region *region;
    struct bucket *bucket;
    struct bucket_key key; /* set with the bucket */
    uint8_t stored[AHEAD_KEY_BYTES];
};

struct aheads {
    const struct catalog *catalog; /* in which `region` was found last; NULL: none yet */
    struct region *region;
    size_t region_len;
    struct ahead
        rows[SESSION_BATCH_REQUESTS + 1]; /* the last one is for requests that come alone */
};

/* on_batch() of the workers' sessions. */
void ahead_batch(void *worker, const struct session_request *requests, uint32_t count);

/* The request that is being executed. Valid until the next one is. */
struct ahead *ahead_take(struct session *session, struct slice body, bool has_value);

#endif
