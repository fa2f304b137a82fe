#include "protocol/codec.h"
#include "server/cq.h"

/* Field numbers of CqEvent. */
enum {
    EVENT_BUCKET = 1,
    EVENT_SEQ = 2,
    EVENT_SUB = 3,
    EVENT_KIND = 4,
    EVENT_VALUE = 5,
    EVENT_KEY = 6,
    EVENT_INGEST_TIME_MS = 8,
    EVENT_ERROR = 11,
    EVENT_GENERATION = 12,
};

static void put_varint_field(struct buf *out, uint32_t number, uint64_t value)
{
    uint8_t bytes[20];
    uint8_t *end = codec_put_varint(bytes, (uint64_t)number << 3);
    end = codec_put_varint(end, value);
    buf_append(out, bytes, (size_t)(end - bytes));
}

static void put_unless_zero(struct buf *out, uint32_t number, uint64_t value)
{
    if (value != 0)
        put_varint_field(out, number, value);
}

static void put_value_field(struct buf *out, uint32_t number, const struct value *value)
{
    size_t len = value_encoded_size(value);
    uint8_t *at = buf_reserve(out, codec_bytes_field_size(number, len));
    if (at == NULL)
        return;
    uint8_t *end = value_encode(value, codec_put_bytes_header(at, number, len));
    out->len += (size_t)(end - at);
}

enum error cq_event_encode(const struct cq_event *event, struct arena *arena, struct buf *out)
{
    /* The kind goes first even when it is 0: UPSERT replaces this byte in place. Everything else is
     * as proto3 writes it, so that a client which measures the event by writing it again gives back
     * the credit that it took. */
    put_varint_field(out, EVENT_KIND, event->kind);
    put_unless_zero(out, EVENT_BUCKET, event->bucket);
    put_unless_zero(out, EVENT_SEQ, event->position.seq);
    put_unless_zero(out, EVENT_SUB, event->position.sub);
    for (uint32_t i = 0; event->row != NULL && i < event->row->count; i++) {
        struct value value;
        enum error error = query_value_to_wire(&event->row->values[i], arena, &value);
        if (error != OK)
            return error;
        put_value_field(out, EVENT_VALUE, &value);
    }
    if (event->key.len > 0) {
        struct value key = value_load(event->key);
        put_value_field(out, EVENT_KEY, &key);
    }
    /* sint64: zigzag. */
    put_unless_zero(out, EVENT_INGEST_TIME_MS, event->time_ms << 1);
    if (event->error != NULL) {
        size_t len = strlen(event->error);
        uint8_t *at = buf_reserve(out, codec_bytes_field_size(EVENT_ERROR, len));
        if (at != NULL) {
            uint8_t *content = codec_put_bytes_header(at, EVENT_ERROR, len);
            memcpy(content, event->error, len);
            out->len += (size_t)(content - at) + len;
        }
    }
    if (event->generation != 1)
        put_varint_field(out, EVENT_GENERATION, event->generation);
    return out->failed ? ERROR_MEMORY : OK;
}
