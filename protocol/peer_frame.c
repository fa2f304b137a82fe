#include "protocol/peer_frame.h"

#include <string.h>

#include "common/limits.h"
#include "protocol/codec.h"

/* Both lengths are padded to four bytes, so that the content can be written before its length is
 * known: 28 bits, which is more than LIMIT_PEER_FRAME_BYTES. */
enum { LEN_BYTES = 4, TAG_BYTES = 2, HEAD_BYTES = LEN_BYTES + TAG_BYTES + LEN_BYTES };

static uint8_t *put_padded(uint8_t *out, size_t value)
{
    for (int i = 0; i < LEN_BYTES; i++, value >>= 7)
        *out++ = (uint8_t)((value & 0x7f) | (i < LEN_BYTES - 1 ? 0x80 : 0));
    return out;
}

enum error peer_frame_open(struct slice frame, uint32_t *kind, struct slice *content)
{
    *kind = 0;
    *content = slice_of(NULL, 0);
    uint64_t tag;
    if (codec_get_varint(frame.data, frame.data + frame.len, &tag) == NULL)
        return frame.len == 0 ? OK : ERROR_MALFORMED;
    if (tag >> 3 < PEER_FRAME_MIN || tag >> 3 > PEER_FRAME_MAX)
        return OK;
    struct slice rest = frame;
    struct codec_field field;
    enum error error = codec_next_field(&rest, &field);
    if (error != OK)
        return error;
    if (field.wire_type != 2 || rest.len != 0)
        return ERROR_MALFORMED;
    *kind = field.number;
    *content = field.bytes;
    return OK;
}

uint8_t *peer_frame_begin(struct net_conn *conn, enum peer_frame_kind kind, size_t content_max)
{
    PRE(kind >= PEER_FRAME_MIN && kind <= PEER_FRAME_MAX && content_max <= LIMIT_PEER_FRAME_BYTES);
    uint8_t *out = net_conn_reserve(conn, HEAD_BYTES + content_max);
    return out == NULL ? NULL : out + HEAD_BYTES;
}

void peer_frame_end(struct net_conn *conn, uint8_t *content, enum peer_frame_kind kind,
                    size_t content_max, size_t content_len)
{
    PRE(content_len <= content_max);
    uint8_t *out = put_padded(content - HEAD_BYTES, TAG_BYTES + LEN_BYTES + content_len);
    out = codec_put_varint(out, (uint64_t)kind << 3 | 2);
    out = put_padded(out, content_len);
    POST(out == content);
    net_conn_commit(conn, HEAD_BYTES + content_len);
}

enum error peer_frame_send(struct net_conn *conn, enum peer_frame_kind kind, struct slice content)
{
    uint8_t *out = peer_frame_begin(conn, kind, content.len);
    if (out == NULL)
        return ERROR_MEMORY;
    if (content.len > 0)
        memcpy(out, content.data, content.len);
    peer_frame_end(conn, out, kind, content.len, content.len);
    return OK;
}
