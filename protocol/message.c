#include "protocol/message.h"

#include "common/text.h"
#include "protocol/codec.h"
#include "protocol/map.pb-c.h"
#include "protocol/peer.pb-c.h"

enum { MESSAGE_DEPTH_MAX = 100 };

/* Requests, with the words of Geode's own operation names. Every other member is a response or a
 * push. */
static const struct {
    uint32_t number;
    const char *name;
} message_requests[] = {
    {2, "put"},
    {4, "get"},
    {6, "putAll"},
    {8, "getAll"},
    {10, "remove"},
    {12, "getServer"},
    {14, "getRegionNames"},
    {16, "getSize"},
    {18, "executeFunctionOnRegion"},
    {20, "executeFunctionOnMember"},
    {22, "handshake"},
    {24, "executeFunctionOnGroup"},
    {26, "oqlQuery"},
    {28, "keySet"},
    {30, "disconnectClient"},
    {32, "clear"},
    {34, "putIfAbsent"},
    {1001, "cqSubscribe"},
    {1004, "cqAck"},
    {1005, "cqUnsubscribe"},
    {1008, "cqPause"},
    {1010, "cqList"},
    {1012, "sqlExecute"},
    {1014, "bucketLayout"},
    {1016, "writeBatch"},
    {1018, "txnCommit"},
    {1020, "regionCreate"},
    {1022, "regionDestroy"},
    {1024, "clusterStatus"},
    {1026, "rebalance"},
    {1028, "memberStop"},
    {1030, "regionClear"},
    {1032, "memberForget"},
    {1034, "events"},
};

/* The fields that are bytes and not strings: the descriptors no longer tell them apart. */
static const struct {
    const ProtobufCMessageDescriptor *descriptor;
    uint32_t number;
} message_binary_fields[] = {
    {&pb__encoded_value__descriptor, 8},
    {&pb__encoded_value__descriptor, 12},
    {&pb__cq_subscribe_request__descriptor, 4},
    {&pb__cq_subscribe_request__descriptor, 8},
    {&pb__cq_subscribe_response__descriptor, 6},
    {&pb__cq_subscribe_response__descriptor, 9},
    {&pb__cq_event_batch__descriptor, 5},
    {&pb__cq_ack__descriptor, 2},
    {&pb__cq_status__descriptor, 6},
    {&pb__cq_info__descriptor, 1},
    {&pb__write_batch_request__descriptor, 1},
    {&pb__write_batch_request__descriptor, 5},
    {&pb__txn_commit_request__descriptor, 1},
    {&pb__cluster_status_response__descriptor, 1},
    {&pb__cluster_map__descriptor, 1},
    {&pb__map_query__descriptor, 4},
    {&pb__query_add__descriptor, 3},
    {&pb__peer_hello__descriptor, 1},
    {&pb__peer_welcome__descriptor, 1},
    {&pb__peer_map_push__descriptor, 2},
    {&pb__peer_call__descriptor, 3},
    {&pb__peer_answer__descriptor, 5},
};

const char *message_request_name(uint32_t number)
{
    for (size_t i = 0; i < sizeof message_requests / sizeof message_requests[0]; i++) {
        if (message_requests[i].number == number)
            return message_requests[i].name;
    }
    return NULL;
}

enum message_kind message_kind(uint32_t number)
{
    if (!message_is_member(number))
        return MESSAGE_UNKNOWN;
    return message_request_name(number) != NULL ? MESSAGE_REQUEST : MESSAGE_RESPONSE;
}

const ProtobufCMessageDescriptor *message_descriptor(uint32_t number)
{
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field(&pb__message__descriptor, number);

    return field == NULL ? NULL : field->descriptor;
}

static bool message_is_binary(const ProtobufCMessageDescriptor *descriptor, uint32_t number)
{
    for (size_t i = 0; i < sizeof message_binary_fields / sizeof message_binary_fields[0]; i++) {
        if (message_binary_fields[i].descriptor == descriptor &&
            message_binary_fields[i].number == number)
            return true;
    }
    return false;
}

static uint32_t message_wire_type(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return 1;
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        return 5;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return 2;
    default:
        return 0;
    }
}

/* Numbers without tags between them. */
static enum error message_check_packed(uint32_t wire_type, struct slice packed)
{
    const uint8_t *at = packed.data, *end = packed.data + packed.len;
    uint64_t ignored;

    if (wire_type != 0)
        return packed.len % (wire_type == 1 ? 8 : 4) == 0 ? OK : ERROR_MALFORMED;
    while (at < end) {
        at = codec_get_varint(at, end, &ignored);
        if (at == NULL)
            return ERROR_MALFORMED;
    }
    return OK;
}

/* How a field on the wire relates to what the descriptor says of its number. */
enum message_field {
    MESSAGE_FIELD_UNKNOWN, /* or of another wire type: skipped */
    MESSAGE_FIELD_PLAIN,
    MESSAGE_FIELD_PACKED,
    MESSAGE_FIELD_NESTED,
};

static enum message_field message_match(const ProtobufCFieldDescriptor *known,
                                        const struct codec_field *field)
{
    if (known == NULL)
        return MESSAGE_FIELD_UNKNOWN;
    uint32_t wire_type = message_wire_type(known->type);

    if (field->wire_type == wire_type)
        return known->type == PROTOBUF_C_TYPE_MESSAGE ? MESSAGE_FIELD_NESTED : MESSAGE_FIELD_PLAIN;
    if (field->wire_type == 2 && known->label == PROTOBUF_C_LABEL_REPEATED)
        return MESSAGE_FIELD_PACKED;
    return MESSAGE_FIELD_UNKNOWN;
}

/* Does a message that comes twice become one? A member of a oneof is replaced instead. */
static bool message_merges(const ProtobufCFieldDescriptor *known)
{
    return known->label != PROTOBUF_C_LABEL_REPEATED &&
           (known->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) == 0;
}

/* Of fields by their place in the descriptor; beyond the 64th nobody asks. */
static uint64_t message_bit(const ProtobufCMessageDescriptor *descriptor,
                            const ProtobufCFieldDescriptor *known)
{
    size_t place = (size_t)(known - descriptor->fields);

    return place < 64 ? (uint64_t)1 << place : 0;
}

/* *is_plain becomes false where protobuf-c would read something else than the reference does. */
static enum error message_check_deep(const ProtobufCMessageDescriptor *descriptor,
                                     struct slice body, uint32_t depth, bool *is_plain)
{
    struct codec_field field;
    uint64_t seen = 0;

    if (depth > MESSAGE_DEPTH_MAX)
        return ERROR_MALFORMED;
    while (body.len > 0) {
        enum error error = codec_next_field(&body, &field);

        if (error != OK)
            return error;
        const ProtobufCFieldDescriptor *known =
            protobuf_c_message_descriptor_get_field(descriptor, field.number);

        switch (message_match(known, &field)) {
        case MESSAGE_FIELD_UNKNOWN:
            if (known != NULL)
                *is_plain = false;
            break;
        case MESSAGE_FIELD_NESTED:
            if (message_merges(known) && (seen & message_bit(descriptor, known)) != 0)
                *is_plain = false;
            seen |= message_bit(descriptor, known);
            error = message_check_deep(known->descriptor, field.bytes, depth + 1, is_plain);
            break;
        case MESSAGE_FIELD_PACKED:
            error = message_check_packed(message_wire_type(known->type), field.bytes);
            break;
        case MESSAGE_FIELD_PLAIN:
            if (known->type == PROTOBUF_C_TYPE_STRING &&
                (!text_is_utf8(field.bytes) ||
                 (field.bytes.len > 0 && memchr(field.bytes.data, 0, field.bytes.len) != NULL)))
                error = ERROR_MALFORMED;
            else if (known->type == PROTOBUF_C_TYPE_BYTES &&
                     !message_is_binary(descriptor, field.number) && !text_is_utf8(field.bytes))
                error = ERROR_MALFORMED;
            break;
        }
        if (error != OK)
            return error;
    }
    return OK;
}

enum error message_check(const ProtobufCMessageDescriptor *descriptor, struct slice body)
{
    bool is_plain = true;

    return message_check_deep(descriptor, body, 0, &is_plain);
}

enum error message_check_member(uint32_t number, struct slice body)
{
    const ProtobufCMessageDescriptor *descriptor = message_descriptor(number);

    return descriptor == NULL ? OK : message_check(descriptor, body);
}

/* An arena that remembers whether it ever had to say no: protobuf-c answers NULL for that and for
 * bad input alike. */
struct message_allocator {
    ProtobufCAllocator allocator;
    struct arena *arena;
    bool failed;
};

static void *message_alloc(void *data, size_t size)
{
    struct message_allocator *allocator = data;
    void *piece = arena_alloc(allocator->arena, size);

    if (piece == NULL)
        allocator->failed = true;
    return piece;
}

static void message_free(void *data, void *piece)
{
    (void)data;
    (void)piece;
}

enum error message_unpack(const ProtobufCMessageDescriptor *descriptor, struct arena *arena,
                          struct slice body, ProtobufCMessage **message)
{
    struct message_allocator allocator = {
        .allocator = {.alloc = message_alloc, .free = message_free, .allocator_data = &allocator},
        .arena = arena,
    };
    bool is_plain = true;
    struct buf plain;
    enum error error = message_check_deep(descriptor, body, 0, &is_plain);

    if (error != OK)
        return error;
    *message = NULL;
    if (is_plain)
        *message = protobuf_c_message_unpack(descriptor, &allocator.allocator, body.len, body.data);
    if (*message != NULL)
        return OK;
    if (allocator.failed)
        return ERROR_MEMORY;
    /* Well formed for the reference and not for protobuf-c: tags and lengths that are written too
     * long, or not plain. */
    buf_init(&plain);
    error = message_rewrite(descriptor, body, false, &plain);
    if (error != OK)
        goto err_after_plain;
    *message = protobuf_c_message_unpack(descriptor, &allocator.allocator, plain.len, plain.data);
    if (*message == NULL)
        error = allocator.failed ? ERROR_MEMORY : ERROR_MALFORMED;
err_after_plain:
    buf_fini(&plain);
    return error;
}

static void message_put_varint(struct buf *out, uint64_t value)
{
    uint8_t *end = buf_reserve(out, 10);

    if (end != NULL)
        out->len += (size_t)(codec_put_varint(end, value) - end);
}

static void message_put_field(struct buf *out, const struct codec_field *field)
{
    message_put_varint(out, (uint64_t)field->number << 3 | field->wire_type);
    switch (field->wire_type) {
    case 0:
        message_put_varint(out, field->integer);
        break;
    case 1:
        buf_append(out, &field->integer, 8);
        break;
    case 5:
        buf_append(out, &field->integer, 4); /* little-endian: the low half */
        break;
    default:
        message_put_varint(out, field->bytes.len);
        buf_append_slice(out, field->bytes);
        break;
    }
}

/* The last field of a truncated body: its header is whole, its content is not. False if it is no
 * length-delimited field. */
static bool message_cut_field(struct slice body, struct codec_field *field)
{
    const uint8_t *at = body.data, *end = body.data + body.len;
    uint64_t tag, len;

    at = codec_get_varint(at, end, &tag);
    if (at == NULL || (tag & 7) != 2)
        return false;
    at = codec_get_varint(at, end, &len);
    if (at == NULL || (uint32_t)len > INT32_MAX)
        return false;
    field->number = (uint32_t)tag >> 3;
    field->wire_type = 2;
    field->integer = 0;
    field->bytes = slice_of(at, (size_t)(end - at));
    return true;
}

/* The next field, or the one that was cut short. ERROR_MALFORMED. */
static enum error message_take_field(struct slice *body, bool truncated, struct codec_field *field,
                                     bool *is_cut)
{
    *is_cut = false;
    if (codec_next_field(body, field) == OK)
        return OK;
    if (!truncated || !message_cut_field(*body, field))
        return ERROR_MALFORMED;
    *is_cut = true;
    body->len = 0;
    return OK;
}

/* All contents of field `number` one behind the other: the merge of a message that comes more than
 * once. (protobuf-c fails to merge messages with a oneof.) */
static enum error message_collect(struct slice body, uint32_t number, bool truncated,
                                  struct buf *content, bool *is_cut)
{
    struct codec_field field;

    *is_cut = false;
    while (body.len > 0) {
        bool cut;
        enum error error = message_take_field(&body, truncated, &field, &cut);

        if (error != OK)
            return error;
        if (field.number == number && field.wire_type == 2) {
            buf_append_slice(content, field.bytes);
            *is_cut = cut;
        }
    }
    return content->failed ? ERROR_MEMORY : OK;
}

static enum error message_rewrite_deep(const ProtobufCMessageDescriptor *descriptor,
                                       struct slice body, bool truncated, struct buf *out,
                                       uint32_t depth);

/* `rest` begins with the field. */
static enum error message_rewrite_nested(const ProtobufCFieldDescriptor *known,
                                         struct codec_field *field, bool is_cut, struct slice rest,
                                         bool truncated, struct buf *out, uint32_t depth)
{
    struct buf all, content;
    enum error error = OK;

    buf_init(&all);
    buf_init(&content);
    if (message_merges(known)) {
        error = message_collect(rest, field->number, truncated, &all, &is_cut);
        field->bytes = buf_slice(&all);
    }
    if (error == OK)
        error = message_rewrite_deep(known->descriptor, field->bytes, is_cut, &content, depth + 1);
    if (error == OK) {
        field->bytes = buf_slice(&content);
        message_put_field(out, field);
    }
    buf_fini(&content);
    buf_fini(&all);
    return error;
}

static enum error message_rewrite_deep(const ProtobufCMessageDescriptor *descriptor,
                                       struct slice body, bool truncated, struct buf *out,
                                       uint32_t depth)
{
    uint64_t seen = 0; /* fields by their place in the descriptor */

    if (depth > MESSAGE_DEPTH_MAX)
        return ERROR_MALFORMED;
    while (body.len > 0) {
        struct slice rest = body;
        struct codec_field field;
        bool is_cut;
        enum error error = message_take_field(&body, truncated, &field, &is_cut);

        if (error != OK)
            return error;
        const ProtobufCFieldDescriptor *known =
            protobuf_c_message_descriptor_get_field(descriptor, field.number);

        switch (message_match(known, &field)) {
        case MESSAGE_FIELD_NESTED: {
            uint64_t bit = message_bit(descriptor, known);

            if (!message_merges(known) || (seen & bit) == 0)
                error = message_rewrite_nested(known, &field, is_cut, rest, truncated, out, depth);
            seen |= bit;
            break;
        }
        case MESSAGE_FIELD_UNKNOWN:
            error = is_cut ? ERROR_MALFORMED : OK;
            break;
        default:
            if (is_cut)
                return ERROR_MALFORMED;
            message_put_field(out, &field);
            break;
        }
        if (error != OK)
            return error;
    }
    return out->failed ? ERROR_MEMORY : OK;
}

enum error message_rewrite(const ProtobufCMessageDescriptor *descriptor, struct slice body,
                           bool truncated, struct buf *out)
{
    return message_rewrite_deep(descriptor, body, truncated, out, 0);
}
