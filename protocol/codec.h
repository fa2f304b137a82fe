/* Hand-written decoders and encoders of the hot operations, held to protobuf-c by a differential
 * test. Everything points into the message; nothing is allocated. */
#ifndef VUG_PROTOCOL_CODEC_H
#define VUG_PROTOCOL_CODEC_H

#include "protocol/value.h"

/* Varints and fields. */
size_t codec_varint_size(uint64_t value);
uint8_t *codec_put_varint(uint8_t *out, uint64_t value);
/* Reads at most 10 bytes; NULL if there is no whole varint or it is over-long. */
const uint8_t *codec_get_varint(const uint8_t *at, const uint8_t *end, uint64_t *value);

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

    /* A tag of one byte and fewer than 128 bytes behind it: nearly all fields of the hot requests.
     */
    if (rest->len < 2 || (at[0] & 0x87) != 2 || at[0] < 8 || at[1] > 0x7f || at[1] > rest->len - 2)
        return codec_next_field_of_any(rest, field);
    field->number = at[0] >> 3;
    field->wire_type = 2;
    field->integer = 0;
    field->bytes = slice_of(at + 2, at[1]);
    *rest = slice_of(at + 2 + at[1], rest->len - 2 - at[1]);
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
size_t codec_bytes_field_size(uint32_t number, size_t len);
uint8_t *codec_put_bytes_header(uint8_t *out, uint32_t number, size_t len);

#endif
