/* Frames between members: behind first byte 86, varint length and PeerMessage in both directions.
 */
#ifndef VUG_PROTOCOL_PEER_H
#define VUG_PROTOCOL_PEER_H

#include "common/arena.h"
#include "common/net.h"
#include "protocol/peer.pb-c.h"

#define PEER_FIRST_BYTE 86u

/* Beacons go both ways this often; a member is worth a client's visit while its last one is that
 * young; it is silent for good after that long. */
#define PEER_BEACON_MS 250u
#define PEER_FRESH_MS  1000u
#define PEER_SILENT_MS 5000u

/* A hello has to arrive in that time, and is that long at most. */
#define PEER_HELLO_MS        5000u
#define PEER_HELLO_BYTES_MAX 16384u

/* Takes the next whole frame off `rest`. OK with frame->data NULL: more bytes are needed.
 * ERROR_MALFORMED: no length, or more than `bytes_max`. */
enum error peer_next_frame(struct slice *rest, size_t bytes_max, struct slice *frame);

/* ERROR_MALFORMED if the frame is no PeerMessage, ERROR_MEMORY (also at the arena's cap). The
 * message lives in `arena`; its kind is KIND__NOT_SET if this version does not know it. */
enum error peer_unpack(struct slice frame, struct arena *arena, Pb__PeerMessage **message);

/* Packs into the connection's send buffer. ERROR_MEMORY: nothing was written. */
enum error peer_send_message(struct net_conn *conn, const Pb__PeerMessage *message);

/* The same for one member of PeerMessage; PEER_SEND(conn, BEACON, beacon, &beacon). */
#define PEER_SEND(conn, kind, member, body)                                                        \
    peer_send_message(conn, &(const Pb__PeerMessage){                                              \
                                .base = PROTOBUF_C_MESSAGE_INIT(&pb__peer_message__descriptor),    \
                                .kind_case = PB__PEER_MESSAGE__KIND_##kind,                        \
                                .member = (body)})

#endif
