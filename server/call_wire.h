/* The coding of CALL and RESULT frames: calls between servers. Integers are varints, origin and
 * incarnations 8 bytes; texts and stored forms have their length in front. */
#ifndef VUG_SERVER_CALL_WIRE_H
#define VUG_SERVER_CALL_WIRE_H

#include "server/call.h"

struct call_request {
    uint64_t epoch; /* of the sender's map: the receiver needs one at least as new, or leads */
    uint32_t region_id, bucket, generation;
    uint64_t id; /* of this attempt, given back with the answer */
    enum call_kind kind;
    uint64_t origin, counter, after, answered_through;
    struct writer_mark mark; /* WRITE_PUT, WRITE_REMOVE */
    struct slice key, value;
};

enum call_status {
    CALL_STATUS_DONE = 0,
    CALL_STATUS_MORE = 1,     /* a part of `content`; others follow */
    CALL_STATUS_MOVED = 2,    /* the receiver does not lead the bucket */
    CALL_STATUS_DISORDER = 3, /* one before it is missing */
    CALL_STATUS_BUSY = 4,     /* too many wait */
    CALL_STATUS_DEPOSED =
        5, /* applied by the receiver, which leads no more: it may have happened */
};

struct call_answer {
    uint64_t epoch; /* of who answers */
    uint32_t region_id, bucket;
    uint64_t id;
    enum call_status status;
    enum error error;
    enum record_result result;
    bool has_entry;
    uint64_t entry_seq;
    struct slice value; /* of the entry */
    uint64_t count, bytes;
    uint32_t code; /* of the failure; 0: none */
    struct slice text;
    struct slice content;
};

/* What it needs at most, and writing it. Unpacked slices point into the content.
 * ERROR_MALFORMED. */
size_t call_request_size(const struct call_request *request);
uint8_t *call_request_pack(const struct call_request *request, uint8_t *out);
enum error call_request_unpack(struct slice content, struct call_request *request);

size_t call_answer_size(const struct call_answer *answer);
uint8_t *call_answer_pack(const struct call_answer *answer, uint8_t *out);
enum error call_answer_unpack(struct slice content, struct call_answer *answer);

/* A stored key or value that value_load() understands. */
bool call_wire_is_stored(struct slice stored);

#endif
