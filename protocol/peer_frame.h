/* The hand-coded frames between servers. They travel like every PeerMessage (varint length, then
 * one field), but their field numbers, from 32 up, are not in peer.proto: the content of the field
 * is coded by hand, because it is made once for each write.
 *
 *   A's REPLICATION link to B:   A -> RECORDS IMAGE ANNOUNCE    B -> ACKS EXCEPTIONS ANNOUNCED
 *   A's REQUESTS link to B:      A -> CALL FEED_OPEN FEED_CREDIT FEED_CLOSE
 *                                B -> RESULT FEED_EVENTS FEED_STATUS */
#ifndef VUG_PROTOCOL_PEER_FRAME_H
#define VUG_PROTOCOL_PEER_FRAME_H

#include "common/error.h"
#include "common/net.h"
#include "common/slice.h"

enum peer_frame_kind {
    PEER_FRAME_MIN = 32,
    PEER_FRAME_RECORDS = 32,    /* of one bucket: server/replica_wire.h */
    PEER_FRAME_ACKS = 33,       /* of many buckets: server/replica_wire.h */
    PEER_FRAME_EXCEPTIONS = 34, /* buckets for which nothing is granted any more */
    PEER_FRAME_ANNOUNCE = 35,   /* R5: a joining server whose lease is needed too */
    PEER_FRAME_ANNOUNCED = 36,
    PEER_FRAME_IMAGE = 40,     /* a piece of an image: server/image.h */
    PEER_FRAME_IMAGE_ACK = 41, /* how far it arrived; or that it was refused */
    PEER_FRAME_CALL = 48,      /* server/call_wire.h */
    PEER_FRAME_RESULT = 49,
    PEER_FRAME_FEED_OPEN = 56, /* server/feed.h */
    PEER_FRAME_FEED_CREDIT = 57,
    PEER_FRAME_FEED_CLOSE = 58,
    PEER_FRAME_FEED_EVENTS = 59,
    PEER_FRAME_FEED_STATUS = 60,
    PEER_FRAME_MAX = 63,
};

/* The kind and content of a frame (what peer_next_frame() took off); 0 if it is a PeerMessage of
 * peer.proto. ERROR_MALFORMED. */
enum error peer_frame_open(struct slice frame, uint32_t *kind, struct slice *content);

/* Room for a frame with `content_max` bytes of content, which the caller writes; then
 * peer_frame_end() with how many they became. NULL without memory. */
uint8_t *peer_frame_begin(struct net_conn *conn, enum peer_frame_kind kind, size_t content_max);
void peer_frame_end(struct net_conn *conn, uint8_t *content, enum peer_frame_kind kind,
                    size_t content_max, size_t content_len);

/* The same for content that is there already. ERROR_MEMORY: nothing was written. */
enum error peer_frame_send(struct net_conn *conn, enum peer_frame_kind kind, struct slice content);

#endif
