#include "server/replica_wire.h"

#include "common/limits.h"
#include "protocol/codec.h"

static uint8_t *put_bucket(const struct wire_bucket *of, uint8_t *out)
{
    out = codec_put_varint(out, of->region_id);
    out = codec_put_varint(out, of->bucket);
    return codec_put_varint(out, of->generation);
}

static enum error take_u64(struct slice *rest, uint64_t *value)
{
    const uint8_t *end = rest->data + rest->len;
    const uint8_t *at = rest->len == 0 ? NULL : codec_get_varint(rest->data, end, value);
    if (at == NULL)
        return ERROR_MALFORMED;
    *rest = slice_of(at, (size_t)(end - at));
    return OK;
}

static enum error take_u32(struct slice *rest, uint32_t *value)
{
    uint64_t wide = 0;
    enum error error = take_u64(rest, &wide);
    *value = (uint32_t)wide;
    return error != OK || wide > UINT32_MAX ? ERROR_MALFORMED : OK;
}

static enum error take_bucket(struct slice *rest, struct wire_bucket *of)
{
    enum error error = take_u32(rest, &of->region_id);
    if (error == OK)
        error = take_u32(rest, &of->bucket);
    return error != OK ? error : take_u32(rest, &of->generation);
}

uint8_t *wire_put_records(const struct wire_records *header, uint8_t *out)
{
    out = put_bucket(&header->of, out);
    out = codec_put_varint(out, header->term);
    out = codec_put_varint(out, header->epoch);
    out = codec_put_varint(out, header->committed);
    return codec_put_varint(out, header->flags);
}

enum error wire_take_records(struct slice *rest, struct wire_records *header)
{
    enum error error = take_bucket(rest, &header->of);
    if (error == OK)
        error = take_u32(rest, &header->term);
    if (error == OK)
        error = take_u64(rest, &header->epoch);
    if (error == OK)
        error = take_u64(rest, &header->committed);
    return error != OK ? error : take_u32(rest, &header->flags);
}

enum error wire_take_record(struct slice *rest, struct slice *packed)
{
    uint64_t len = 0;
    if (take_u64(rest, &len) != OK || len > rest->len)
        return ERROR_MALFORMED;
    *packed = slice_of(rest->data, (size_t)len);
    *rest = slice_of(rest->data + len, rest->len - (size_t)len);
    return OK;
}

uint8_t *wire_put_piece(size_t whole, size_t offset, uint8_t *out)
{
    return codec_put_varint(codec_put_varint(out, whole), offset);
}

enum error wire_take_piece(struct slice *rest, size_t *whole, size_t *offset)
{
    uint64_t len = 0, at = 0;
    if (take_u64(rest, &len) != OK || take_u64(rest, &at) != OK || rest->len == 0 ||
        len > LIMIT_PEER_FRAME_BYTES || at > len || rest->len > len - at)
        return ERROR_MALFORMED;
    *whole = (size_t)len;
    *offset = (size_t)at;
    return OK;
}

#define ACK_BYTES_MAX 48u

void wire_append_ack(const struct wire_ack *ack, struct buf *out)
{
    uint8_t *start = buf_reserve(out, ACK_BYTES_MAX);
    if (start == NULL)
        return;
    uint8_t *at = put_bucket(&ack->of, start);
    at = codec_put_varint(at, ack->term);
    at = codec_put_varint(at, ack->current);
    at = codec_put_varint(at, ack->last_seq);
    at = codec_put_varint(at, ack->flags);
    out->len += (size_t)(at - start);
}

enum error wire_take_ack(struct slice *rest, struct wire_ack *ack)
{
    enum error error = take_bucket(rest, &ack->of);
    if (error == OK)
        error = take_u32(rest, &ack->term);
    if (error == OK)
        error = take_u32(rest, &ack->current);
    if (error == OK)
        error = take_u64(rest, &ack->last_seq);
    return error != OK ? error : take_u32(rest, &ack->flags);
}

void wire_append_exception(const struct wire_exception *exception, struct buf *out)
{
    uint8_t *start = buf_reserve(out, ACK_BYTES_MAX);
    if (start == NULL)
        return;
    uint8_t *at = put_bucket(&exception->of, start);
    at = codec_put_varint(at, exception->set_version);
    out->len += (size_t)(at - start);
}

enum error wire_take_exception(struct slice *rest, struct wire_exception *exception)
{
    enum error error = take_bucket(rest, &exception->of);
    return error != OK ? error : take_u32(rest, &exception->set_version);
}

size_t wire_put_announce(const struct wire_announce *announce, uint8_t out[WIRE_ANNOUNCE_MAX])
{
    uint8_t *at = put_bucket(&announce->of, out);
    at = codec_put_varint(at, announce->set_version);
    for (int i = 0; i < 64; i += 8)
        *at++ = (uint8_t)(announce->joining >> i);
    return (size_t)(at - out);
}

enum error wire_take_announce(struct slice content, struct wire_announce *announce)
{
    enum error error = take_bucket(&content, &announce->of);
    if (error == OK)
        error = take_u32(&content, &announce->set_version);
    if (error != OK || content.len != 8)
        return ERROR_MALFORMED;
    announce->joining = 0;
    for (size_t i = 8; i > 0; i--)
        announce->joining = announce->joining << 8 | content.data[i - 1];
    return OK;
}
