#include "protocol/codec.h"

#include "common/text.h"
#include "protocol/message.h"

enum { CODEC_VARINT_BYTES_MAX = 10 };

const uint8_t *codec_get_long_varint(const uint8_t *at, const uint8_t *end, uint64_t *value)
{
    uint64_t result = 0;

    for (uint32_t shift = 0; shift < 7 * CODEC_VARINT_BYTES_MAX; shift += 7) {
        if (at == end)
            return NULL;
        result |= (uint64_t)(*at & 0x7f) << shift;
        if ((*at++ & 0x80) == 0) {
            *value = result;
            return at;
        }
    }
    return NULL;
}

/* Tags and lengths are 32 bits wide: of a longer varint the low ones count, as in the reference. */
static const uint8_t *codec_get_varint32(const uint8_t *at, const uint8_t *end, uint32_t *value)
{
    uint64_t wide;

    if (at < end && *at < 0x80) {
        *value = *at;
        return at + 1;
    }
    at = codec_get_varint(at, end, &wide);
    if (at != NULL)
        *value = (uint32_t)wide;
    return at;
}

enum error codec_next_field_of_any(struct slice *rest, struct codec_field *field)
{
    const uint8_t *at = rest->data, *end = rest->data + rest->len;
    uint32_t tag, len;

    at = codec_get_varint32(at, end, &tag);
    if (at == NULL || tag >> 3 == 0)
        return ERROR_MALFORMED;
    field->number = tag >> 3;
    field->wire_type = tag & 7;
    field->integer = 0;
    field->bytes = slice_of(at, 0);
    switch (field->wire_type) {
    case 0:
        at = codec_get_varint(at, end, &field->integer);
        if (at == NULL)
            return ERROR_MALFORMED;
        break;
    case 1:
        if (end - at < 8)
            return ERROR_MALFORMED;
        memcpy(&field->integer, at, 8);
        at += 8;
        break;
    case 2:
        at = codec_get_varint32(at, end, &len);
        if (at == NULL || len > (size_t)(end - at))
            return ERROR_MALFORMED;
        field->bytes = slice_of(at, len);
        at += len;
        break;
    case 5: {
        uint32_t bits;

        if (end - at < 4)
            return ERROR_MALFORMED;
        memcpy(&bits, at, 4);
        field->integer = bits;
        at += 4;
        break;
    }
    default:
        return ERROR_MALFORMED;
    }
    *rest = slice_of(at, (size_t)(end - at));
    return OK;
}

enum error codec_message(struct slice frame, uint32_t *number, struct slice *body)
{
    struct codec_field field;
    enum error error;

    *number = 0;
    *body = slice_of(frame.data, 0);
    while (frame.len > 0) {
        error = codec_next_field(&frame, &field);
        if (error != OK)
            return error;
        if (field.wire_type != 2 || !message_is_member(field.number))
            continue;
        /* A member that is replaced must still have been well formed. */
        if (*number != 0) {
            error = message_check_member(*number, *body);
            if (error != OK)
                return error;
        }
        *number = field.number;
        *body = field.bytes;
    }
    return OK;
}

/* Of a field that comes twice protobuf merges the contents: what the later one does not set stays.
 */
static enum error codec_merge_value(struct slice message, struct value *value)
{
    struct value later;
    enum error error;

    /* Bytes, or text of ASCII, shorter than 128 and nothing else: most keys, and many values. */
    if (message.len >= 2 && message.data[1] == message.len - 2 && message.data[1] < 0x80) {
        struct slice bytes = slice_of(message.data + 2, message.len - 2);
        uint8_t tag = message.data[0];

        if (tag == (VALUE_BINARY << 3 | 2) ||
            (tag == (VALUE_STRING << 3 | 2) && text_is_ascii(bytes))) {
            value->type = (enum value_type)(tag >> 3);
            value->bytes = bytes;
            return OK;
        }
    }
    error = value_decode(message, &later);

    if (error == OK && later.type != VALUE_NOT_SET)
        *value = later;
    return error;
}

static enum error codec_merge_entry(struct slice entry, struct value *key, struct value *value)
{
    struct codec_field field;
    enum error error = OK;

    while (entry.len > 0 && error == OK) {
        error = codec_next_field(&entry, &field);
        if (error != OK || field.wire_type != 2)
            continue;
        if (field.number == 1)
            error = codec_merge_value(field.bytes, key);
        else if (field.number == 2)
            error = codec_merge_value(field.bytes, value);
    }
    return error;
}

static enum error codec_region(struct slice bytes, struct slice *region)
{
    *region = bytes;
    return text_is_ascii(bytes) || text_is_utf8(bytes) ? OK : ERROR_MALFORMED;
}

enum error codec_key_request(struct slice body, struct codec_key_request *request)
{
    struct codec_field field;
    enum error error = OK;

    request->region = slice_of(body.data, 0);
    request->key = (struct value){.type = VALUE_NOT_SET};
    while (body.len > 0 && error == OK) {
        error = codec_next_field(&body, &field);
        if (error != OK || field.wire_type != 2)
            continue;
        if (field.number == 1)
            error = codec_region(field.bytes, &request->region);
        else if (field.number == 2)
            error = codec_merge_value(field.bytes, &request->key);
    }
    return error;
}

enum error codec_entry_request(struct slice body, struct codec_entry_request *request)
{
    struct codec_field field;
    enum error error = OK;

    request->region = slice_of(body.data, 0);
    request->key = (struct value){.type = VALUE_NOT_SET};
    request->value = (struct value){.type = VALUE_NOT_SET};
    while (body.len > 0 && error == OK) {
        error = codec_next_field(&body, &field);
        if (error != OK || field.wire_type != 2)
            continue;
        if (field.number == 1)
            error = codec_region(field.bytes, &request->region);
        else if (field.number == 2)
            error = codec_merge_entry(field.bytes, &request->key, &request->value);
    }
    return error;
}

/* The next field `number` that holds a message; what stands between has been checked. */
static bool codec_next_message(struct slice *walk, uint32_t number, struct slice *message)
{
    struct codec_field field;

    while (walk->len > 0) {
        if (codec_next_field(walk, &field) != OK)
            return false;
        if (field.number == number && field.wire_type == 2) {
            *message = field.bytes;
            return true;
        }
    }
    return false;
}

bool codec_next_entry(struct slice *walk, struct value *key, struct value *value)
{
    struct slice entry;

    *key = (struct value){.type = VALUE_NOT_SET};
    *value = (struct value){.type = VALUE_NOT_SET};
    return codec_next_message(walk, 2, &entry) && codec_merge_entry(entry, key, value) == OK;
}

bool codec_next_key(struct slice *walk, struct value *key)
{
    struct slice message;

    return codec_next_message(walk, 2, &message) && value_decode(message, key) == OK;
}

enum error codec_entries_request(struct slice body, struct slice *region, uint32_t *count)
{
    struct codec_field field;
    struct value key, value;
    enum error error = OK;

    *region = slice_of(body.data, 0);
    *count = 0;
    while (body.len > 0 && error == OK) {
        error = codec_next_field(&body, &field);
        if (error != OK || field.wire_type != 2)
            continue;
        if (field.number == 1) {
            error = codec_region(field.bytes, region);
        } else if (field.number == 2) {
            error = codec_merge_entry(field.bytes, &key, &value);
            ++*count;
        }
    }
    return error;
}

enum error codec_keys_request(struct slice body, struct slice *region, uint32_t *count)
{
    struct codec_field field;
    struct value value;
    enum error error = OK;

    *region = slice_of(body.data, 0);
    *count = 0;
    while (body.len > 0 && error == OK) {
        error = codec_next_field(&body, &field);
        if (error != OK || field.wire_type != 2)
            continue;
        if (field.number == 1) {
            error = codec_region(field.bytes, region);
        } else if (field.number == 2) {
            error = value_decode(field.bytes, &value);
            ++*count;
        } else if (field.number == 3) {
            error =
                value_decode(field.bytes, &value); /* the callback argument, which nobody uses */
        }
    }
    return error;
}
