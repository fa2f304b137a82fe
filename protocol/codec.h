/* Hand-written decoders and encoders of the hot operations, held to protobuf-c by a differential
 * test. Everything points into the message; nothing is allocated. */
#ifndef VUG_PROTOCOL_CODEC_H
#define VUG_PROTOCOL_CODEC_H

#include "protocol/value.h"

/* Varints and fields. */
static inline size_t codec_varint_size(uint64_t value)
{
    /* Seven bits a byte, one byte for zero. */
    return ((size_t)(63 - __builtin_clzll(value | 1)) * 9 + 73) / 64;
}

static inline uint8_t *codec_put_varint(uint8_t *out, uint64_t value)
{
    while (value >= 0x80) {
        *out++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *out++ = (uint8_t)value;
    return out;
}

/* Reads at most 10 bytes; NULL if there is no whole varint or it is over-long. */
const uint8_t *codec_get_long_varint(const uint8_t *at, const uint8_t *end, uint64_t *value);
static inline const uint8_t *codec_get_varint(const uint8_t *at, const uint8_t *end,
                                              uint64_t *value)
{
    if (at == end || *at > 0x7f)
        return codec_get_long_varint(at, end, value);
    *value = *at;
    return at + 1;
}

struct codec_field {
    uint32_t number;
    uint32_t wire_type; /* 0 varint, 1 fixed64, 2 length-delimited, 5 fixed32 */
    uint64_t integer;   /* varint, fixed64, fixed32 */
    struct slice bytes; /* length-delimited */
};
/* Takes the next field off `rest`. ERROR_MALFORMED for tag 0, bad wire types, truncation; groups
 * are refused. */
enum error codec_next_field_of_any(struct slice *rest, struct codec_field *field);

static inline enum error codec_next_field(struct slice *rest, struct codec_field *field)
{
    const uint8_t *at = rest->data;
    size_t len, header = 2;

    /* A tag of one byte and fewer than 16,384 bytes behind it: nearly all fields of the hot
     * requests. */
    if (rest->len < 3 || (at[0] & 0x87) != 2 || at[0] < 8)
        return codec_next_field_of_any(rest, field);
    len = at[1];
    if (len > 0x7f) {
        if (at[2] > 0x7f)
            return codec_next_field_of_any(rest, field);
        len = (len & 0x7f) | (size_t)at[2] << 7;
        header = 3;
    }
    if (len > rest->len - header)
        return codec_next_field_of_any(rest, field);
    field->number = at[0] >> 3;
    field->wire_type = 2;
    field->integer = 0;
    field->bytes = slice_of(at + header, len);
    *rest = slice_of(at + header + len, rest->len - header - len);
    return OK;
}

/* The member of Message.messageType in a frame: the last one wins; repeated bodies of one member
 * are what protobuf merges, of which the last counts here. *number is 0 if none is set.
 * ERROR_MALFORMED. */
enum error codec_message(struct slice frame, uint32_t *number, struct slice *body);

/* GetRequest, RemoveRequest. */
struct codec_key_request {
    struct slice region;
    struct value key; /* VALUE_NOT_SET if absent */
};
enum error codec_key_request(struct slice body, struct codec_key_request *request);

/* PutRequest, PutIfAbsentRequest. */
struct codec_entry_request {
    struct slice region;
    struct value key, value; /* VALUE_NOT_SET if absent */
};
enum error codec_entry_request(struct slice body, struct codec_entry_request *request);

/* PutAllRequest and GetAllRequest: checks the whole body and finds the region; then walk with
 * codec_next_entry() or codec_next_key() from *walk = body until false. */
enum error codec_entries_request(struct slice body, struct slice *region, uint32_t *count);
bool codec_next_entry(struct slice *walk, struct value *key, struct value *value);
enum error codec_keys_request(struct slice body, struct slice *region, uint32_t *count);
bool codec_next_key(struct slice *walk, struct value *key);

/* Length-delimited field `number` around `len` bytes: its header, returning the place of the
 * content. */
static inline size_t codec_bytes_field_size(uint32_t number, size_t len)
{
    return codec_varint_size((uint64_t)number << 3) + codec_varint_size(len) + len;
}

static inline uint8_t *codec_put_bytes_header(uint8_t *out, uint32_t number, size_t len)
{
    out = codec_put_varint(out, (uint64_t)number << 3 | 2);
    return codec_put_varint(out, len);
}

#endif
