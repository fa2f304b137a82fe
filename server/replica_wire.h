/* The coding of what goes over a REPLICATION link about buckets: frames RECORDS, ACKS, EXCEPTIONS,
 * ANNOUNCE and ANNOUNCED (protocol/peer_frame.h). All numbers are varints, incarnations eight
 * bytes.
 *
 *   RECORDS     bucket, term, epoch, committed, flags, then records, each behind its length; or,
 * with RECORDS_PIECE, a piece of one that is too long for a frame: the length of the whole record,
 * where the piece begins, its bytes ACKS        one entry after the other: bucket, term, current,
 * last seq, flags EXCEPTIONS  one entry after the other: bucket, set version ANNOUNCE(D) bucket,
 * set version, incarnation of the joining server
 *
 * where `bucket` is region id, bucket, generation. */
#ifndef VUG_SERVER_REPLICA_WIRE_H
#define VUG_SERVER_REPLICA_WIRE_H

#include "common/buf.h"
#include "common/error.h"

struct wire_bucket {
    uint32_t region_id, bucket, generation;
};

enum {
    RECORDS_PROBE = 1, /* the copy is asked for its position */
    RECORDS_PIECE = 2,
};
#define WIRE_RECORDS_HEADER_MAX 64u
#define WIRE_PIECE_HEADER_MAX   20u

struct wire_records {
    struct wire_bucket of;
    uint32_t term;  /* that the sender leads */
    uint64_t epoch; /* of the map that it has adopted */
    uint64_t committed;
    uint32_t flags;
};
/* At most WIRE_RECORDS_HEADER_MAX bytes; returns their end. */
uint8_t *wire_put_records(const struct wire_records *header, uint8_t *out);
/* Takes the header off; the rest is records, each taken by wire_take_record(). */
enum error wire_take_records(struct slice *rest, struct wire_records *header);
enum error wire_take_record(struct slice *rest, struct slice *packed);

/* At most WIRE_PIECE_HEADER_MAX bytes; the piece follows. */
uint8_t *wire_put_piece(size_t whole, size_t offset, uint8_t *out);
/* Takes the two off; the rest is the piece, which lies within the whole and is not empty. */
enum error wire_take_piece(struct slice *rest, size_t *whole, size_t *offset);

enum {
    ACK_NEED_MAP = 1, /* the sender's map is newer: nothing was looked at */
    ACK_REWIND = 2,   /* a record is missing: go on behind last_seq */
    ACK_FAILED = 4,   /* it has no contents (any more): it leaves the set */
};
struct wire_ack {
    struct wire_bucket of;
    uint32_t term;    /* of the frame that is acknowledged */
    uint32_t current; /* highest term accepted or sealed for */
    uint64_t last_seq;
    uint32_t flags;
};
void wire_append_ack(const struct wire_ack *ack, struct buf *out);
enum error wire_take_ack(struct slice *rest, struct wire_ack *ack);

struct wire_exception {
    struct wire_bucket of;
    uint32_t set_version;
};
void wire_append_exception(const struct wire_exception *exception, struct buf *out);
enum error wire_take_exception(struct slice *rest, struct wire_exception *exception);

struct wire_announce {
    struct wire_bucket of;
    uint32_t set_version;
    uint64_t joining;
};
#define WIRE_ANNOUNCE_MAX 32u
size_t wire_put_announce(const struct wire_announce *announce, uint8_t out[WIRE_ANNOUNCE_MAX]);
enum error wire_take_announce(struct slice content, struct wire_announce *announce);

#endif
