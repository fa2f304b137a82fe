#include "tests/bench/wire.h"

#include <string.h>

const uint8_t wire_hello[11] = {10, 13, 1, 0, 0, 0, 21, 1, 0, 0, 0};
const uint8_t wire_accepted[7] = {6, 8, 1, 16, 1, 24, 1};

uint8_t *wire_put_varint(uint8_t *out, uint64_t value)
{
    for (; value > 127; value >>= 7)
        *out++ = (uint8_t)(value | 128);
    *out++ = (uint8_t)value;
    return out;
}

uint8_t *wire_put_integer(uint8_t *out, uint32_t number, uint64_t value)
{
    return wire_put_varint(wire_put_varint(out, number << 3), value);
}

uint8_t *wire_put_bytes(uint8_t *out, uint32_t number, const void *data, size_t len)
{
    out = wire_put_varint(wire_put_varint(out, number << 3 | 2), len);
    if (len > 0)
        memmove(out, data, len);
    return out + len;
}

uint8_t *wire_put_frame(uint8_t *out, uint32_t number, const void *body, size_t len)
{
    uint8_t header[20];
    size_t header_len =
        (size_t)(wire_put_varint(wire_put_varint(header, number << 3 | 2), len) - header);

    out = wire_put_varint(out, header_len + len);
    return wire_put_bytes(out, number, body, len);
}

bool wire_get_varint(struct wire_reader *reader, uint64_t *value)
{
    const uint8_t *at = reader->at;

    *value = 0;
    for (uint32_t shift = 0; shift < 64 && at < reader->end; shift += 7) {
        *value |= (uint64_t)(*at & 127) << shift;
        if (*at++ < 128) {
            reader->at = at;
            return true;
        }
    }
    return false;
}

bool wire_get_field(struct wire_reader *reader, struct wire_field *field)
{
    struct wire_reader rest = *reader;
    uint64_t tag;

    if (!wire_get_varint(&rest, &tag))
        return false;
    field->number = (uint32_t)(tag >> 3);
    field->wire_type = (uint32_t)(tag & 7);
    switch (field->wire_type) {
    case 0:
        if (!wire_get_varint(&rest, &field->integer))
            return false;
        break;
    case 1:
        if (rest.end - rest.at < 8)
            return false;
        memcpy(&field->integer, rest.at, 8);
        rest.at += 8;
        break;
    case 2:
        if (!wire_get_varint(&rest, &field->integer) ||
            field->integer > (uint64_t)(rest.end - rest.at))
            return false;
        field->bytes = (struct wire_reader){rest.at, rest.at + field->integer};
        rest.at = field->bytes.end;
        break;
    default:
        return false;
    }
    *reader = rest;
    return true;
}
