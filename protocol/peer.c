#include "protocol/peer.h"

#include "common/limits.h"
#include "protocol/codec.h"
#include "protocol/message.h"

enum { VARINT_BYTES_MAX = 10 };

enum error peer_next_frame(struct slice *rest, size_t bytes_max, struct slice *frame)
{
    *frame = slice_of(NULL, 0);
    const uint8_t *end = rest->data + rest->len;
    uint64_t len;
    const uint8_t *start = codec_get_varint(rest->data, end, &len);
    if (start == NULL)
        return rest->len < VARINT_BYTES_MAX ? OK : ERROR_MALFORMED;
    if (len > bytes_max)
        return ERROR_MALFORMED;
    if (len > (uint64_t)(end - start))
        return OK;
    *frame = slice_of(start, (size_t)len);
    *rest = slice_of(start + len, (size_t)(end - start) - (size_t)len);
    return OK;
}

enum error peer_unpack(struct slice frame, struct arena *arena, Pb__PeerMessage **message)
{
    ProtobufCMessage *base;
    enum error error = message_unpack(&pb__peer_message__descriptor, arena, frame, &base);
    if (error == OK)
        *message = (Pb__PeerMessage *)base;
    return error;
}

enum error peer_send_message(struct net_conn *conn, const Pb__PeerMessage *message)
{
    size_t len = pb__peer_message__get_packed_size(message);
    PRE(len <= LIMIT_PEER_MESSAGE_BYTES);
    size_t head = codec_varint_size(len);
    uint8_t *out = net_conn_reserve(conn, head + len);
    if (out == NULL)
        return ERROR_MEMORY;
    out = codec_put_varint(out, len);
    pb__peer_message__pack(message, out);
    net_conn_commit(conn, head + len);
    return OK;
}
