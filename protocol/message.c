#include "protocol/message.h"

#include "common/text.h"
#include "protocol/codec.h"
#include "protocol/map.pb-c.h"
#include "protocol/peer.pb-c.h"

enum { MESSAGE_DEPTH_MAX = 100 };

/* Requests, with the words of Geode's own operation names. Every other member is a response or a push. */
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
};

/* The fields that are bytes and not strings: the descriptors no longer tell them apart. */
static const struct {
    const ProtobufCMessageDescriptor *descriptor;
    uint32_t number;
} message_binary_fields[] = {
    {&pb__encoded_value__descriptor, 8},          {&pb__encoded_value__descriptor, 12},
    {&pb__cq_subscribe_request__descriptor, 4},   {&pb__cq_subscribe_request__descriptor, 8},
    {&pb__cq_subscribe_response__descriptor, 6},  {&pb__cq_subscribe_response__descriptor, 9},
    {&pb__cq_event_batch__descriptor, 5},         {&pb__cq_ack__descriptor, 2},
    {&pb__cq_status__descriptor, 6},              {&pb__cq_info__descriptor, 1},
    {&pb__write_batch_request__descriptor, 1},    {&pb__write_batch_request__descriptor, 5},
    {&pb__txn_commit_request__descriptor, 1},     {&pb__cluster_status_response__descriptor, 1},
    {&pb__cluster_map__descriptor, 1},            {&pb__map_query__descriptor, 4},
    {&pb__peer_hello__descriptor, 1},             {&pb__peer_welcome__descriptor, 1},
    {&pb__peer_map_push__descriptor, 2},          {&pb__peer_call__descriptor, 3},
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
        if (message_binary_fields[i].descriptor == descriptor && message_binary_fields[i].number == number)
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

static enum message_field message_match(const ProtobufCFieldDescriptor *known, const struct codec_field *field)
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

static enum error message_check_deep(const ProtobufCMessageDescriptor *descriptor, struct slice body,
                                     uint32_t depth)
{
    struct codec_field field;

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
            break;
        case MESSAGE_FIELD_NESTED:
            error = message_check_deep(known->descriptor, field.bytes, depth + 1);
            break;
        case MESSAGE_FIELD_PACKED:
            error = message_check_packed(message_wire_type(known->type), field.bytes);
            break;
        case MESSAGE_FIELD_PLAIN:
            if (known->type == PROTOBUF_C_TYPE_STRING &&
                (!text_is_utf8(field.bytes) ||
                 (field.bytes.len > 0 && memchr(field.bytes.data, 0, field.bytes.len) != NULL)))
                error = ERROR_MALFORMED;
            else if (known->type == PROTOBUF_C_TYPE_BYTES && !message_is_binary(descriptor, field.number) &&
                     !text_is_utf8(field.bytes))
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
    return message_check_deep(descriptor, body, 0);
}

enum error message_check_member(uint32_t number, struct slice body)
{
    const ProtobufCMessageDescriptor *descriptor = message_descriptor(number);

    return descriptor == NULL ? OK : message_check(descriptor, body);
}

/* An arena that remembers whether it ever had to say no: protobuf-c answers NULL for that and for bad input alike. */
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

enum error message_unpack(const ProtobufCMessageDescriptor *descriptor, struct arena *arena, struct slice body,
                          ProtobufCMessage **message)
{
    struct message_allocator allocator = {
        .allocator = {.alloc = message_alloc, .free = message_free, .allocator_data = &allocator},
        .arena = arena,
    };
    struct buf plain;
    enum error error = message_check(descriptor, body);

    if (error != OK)
        return error;
    *message = protobuf_c_message_unpack(descriptor, &allocator.allocator, body.len, body.data);
    if (*message != NULL)
        return OK;
    if (allocator.failed)
        return ERROR_MEMORY;
    /* Well formed for the reference and not for protobuf-c. */
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

/* The last field of a truncated body: its header is whole, its content is not. False if it is no length-delimited field. */
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

static enum error message_rewrite_deep(const ProtobufCMessageDescriptor *descriptor, struct slice body,
                                       bool truncated, struct buf *out, uint32_t depth)
{
    struct codec_field field;

    if (depth > MESSAGE_DEPTH_MAX)
        return ERROR_MALFORMED;
    while (body.len > 0) {
        bool whole = codec_next_field(&body, &field) == OK;

        if (!whole && (!truncated || !message_cut_field(body, &field)))
            return ERROR_MALFORMED;
        const ProtobufCFieldDescriptor *known =
            protobuf_c_message_descriptor_get_field(descriptor, field.number);
        enum message_field match = message_match(known, &field);

        if (match == MESSAGE_FIELD_NESTED) {
            struct buf content;
            enum error error;

            buf_init(&content);
            error = message_rewrite_deep(known->descriptor, field.bytes, !whole, &content, depth + 1);
            field.bytes = buf_slice(&content);
            if (error == OK)
                message_put_field(out, &field);
            buf_fini(&content);
            if (error != OK)
                return error;
        } else if (!whole) {
            return ERROR_MALFORMED;
        } else if (match != MESSAGE_FIELD_UNKNOWN) {
            message_put_field(out, &field);
        }
        if (!whole)
            break;
    }
    return out->failed ? ERROR_MEMORY : OK;
}

enum error message_rewrite(const ProtobufCMessageDescriptor *descriptor, struct slice body, bool truncated,
                           struct buf *out)
{
    return message_rewrite_deep(descriptor, body, truncated, out, 0);
}
