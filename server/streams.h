/* Origin streams of a bucket (rule R7, after RIFL): for each server that sends changes here, how
 * far its stream was applied and the results that it may still ask for. Bucket state: changed by
 * records alone, imaged with the bucket, guarded by its lock. A stream belongs to one generation.
 */
#ifndef VUG_SERVER_STREAMS_H
#define VUG_SERVER_STREAMS_H

#include "protocol/record.h"

struct stream;
struct streams {
    struct stream *first;
    uint32_t count;
};

void streams_init(struct streams *streams);
void streams_fini(struct streams *streams);

struct stream_result {
    enum record_result result;
    struct slice value; /* PRESENT: stored form; borrowed */
    uint64_t seq;       /* of its record: the answer waits for it */
};
enum stream_verdict {
    STREAM_NEW,      /* apply it */
    STREAM_REPEATED, /* `result` is what it gave */
    STREAM_DISORDER, /* one before it is missing: refused, it comes again */
};
/* `after`: counter of the change before it in the stream that is unanswered; 0: none. */
enum stream_verdict streams_check(const struct streams *streams, uint64_t origin, uint64_t counter,
                                  uint64_t after, struct stream_result *result);
/* Room, so that the streams_note() that follows cannot fail. ERROR_MEMORY. */
enum error streams_reserve(struct streams *streams, const struct record *record);
/* The record was applied: keeps its result, forgets those that were answered. */
void streams_note(struct streams *streams, const struct record *record);
void streams_drop(struct streams *streams, uint64_t origin);

/* Visits the origins. */
void streams_each(const struct streams *streams, void (*visit)(void *arg, uint64_t origin),
                  void *arg);

void streams_pack(const struct streams *streams, struct buf *out);
enum error streams_unpack(struct slice *rest, struct streams *streams); /* into an empty one */
uint64_t streams_hash(const struct streams *streams);

#endif
