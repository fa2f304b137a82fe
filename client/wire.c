#include "client/wire.h"

static void append_varint(struct buf *out, uint64_t value)
{
    uint8_t bytes[10];
    const uint8_t *end = codec_put_varint(bytes, value);
    buf_append(out, bytes, (size_t)(end - bytes));
}

static void append_tag(struct buf *out, uint32_t field, uint32_t wire_type)
{
    append_varint(out, (uint64_t)field << 3 | wire_type);
}

void vug_wire_uint(struct buf *out, uint32_t field, uint64_t value)
{
    if (value == 0)
        return;
    append_tag(out, field, 0);
    append_varint(out, value);
}

void vug_wire_sint(struct buf *out, uint32_t field, int64_t value)
{
    vug_wire_uint(out, field, (uint64_t)value << 1 ^ (value < 0 ? UINT64_MAX : 0));
}

void vug_wire_header(struct buf *out, uint32_t field, size_t content_len)
{
    append_tag(out, field, 2);
    append_varint(out, content_len);
}

void vug_wire_bytes(struct buf *out, uint32_t field, struct slice bytes)
{
    if (bytes.len == 0)
        return;
    vug_wire_header(out, field, bytes.len);
    buf_append_slice(out, bytes);
}

void vug_wire_text(struct buf *out, uint32_t field, const char *text)
{
    if (text != NULL)
        vug_wire_bytes(out, field, slice_text(text));
}

void vug_wire_value(struct buf *out, uint32_t field, const struct value *value)
{
    size_t len = value_encoded_size(value);
    vug_wire_header(out, field, len);
    uint8_t *at = buf_reserve(out, len);
    if (at == NULL)
        return;
    value_encode(value, at);
    out->len += len;
}

static size_t value_field_size(uint32_t field, const struct value *value)
{
    return codec_bytes_field_size(field, value_encoded_size(value));
}

void vug_wire_pair(struct buf *out, uint32_t field, uint32_t key_field, uint64_t type,
                   const struct value *key, const struct value *value)
{
    size_t len = value_field_size(key_field, key);
    if (type != 0)
        len += 1 + codec_varint_size(type);
    if (value != NULL)
        len += value_field_size(key_field + 1, value);
    vug_wire_header(out, field, len);
    vug_wire_uint(out, 1, type);
    vug_wire_value(out, key_field, key);
    if (value != NULL)
        vug_wire_value(out, key_field + 1, value);
}

void vug_wire_named_value(struct buf *out, uint32_t field, const char *name,
                          const struct value *value)
{
    size_t name_len = strlen(name);
    vug_wire_header(out, field, codec_bytes_field_size(1, name_len) + value_field_size(2, value));
    vug_wire_header(out, 1, name_len);
    buf_append(out, name, name_len);
    vug_wire_value(out, 2, value);
}

void vug_wire_frame(struct buf *out, uint32_t number, struct slice body)
{
    append_varint(out, codec_bytes_field_size(number, body.len));
    vug_wire_header(out, number, body.len);
    buf_append_slice(out, body);
}

bool vug_wire_next(struct slice *walk, uint32_t field, struct slice *content)
{
    while (walk->len > 0) {
        struct codec_field found;
        if (codec_next_field(walk, &found) != OK)
            return false;
        if (found.number == field && found.wire_type == 2) {
            *content = found.bytes;
            return true;
        }
    }
    return false;
}
