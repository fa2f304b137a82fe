#include "protocol/record.h"

#include "protocol/codec.h"

/* Which groups of fields follow. */
enum {
    HAS_ORIGIN = 1,
    HAS_WRITER = 2,
    HAS_KEY = 4,
    HAS_VALUE = 8,
    HAS_QUERY = 16,
    HAS_ROW = 32,
    HAS_SOURCE = 64,
    IS_MARKED = 128, /* PUT: via_ring; others: silent */
};

static unsigned flags_of(const struct record *record)
{
    unsigned flags = 0;
    if (record->origin != 0)
        flags |= HAS_ORIGIN;
    if (record->writer != NULL)
        flags |= HAS_WRITER;
    if (record->key.len > 0)
        flags |= HAS_KEY;
    if (record->value.len > 0)
        flags |= HAS_VALUE;
    if (record->query_id != 0)
        flags |= HAS_QUERY;
    if (record->row.len > 0)
        flags |= HAS_ROW;
    if (record->source_generation != 0 || record->position_seq != 0)
        flags |= HAS_SOURCE;
    if (record->silent || record->via_ring)
        flags |= IS_MARKED;
    return flags;
}

static size_t bytes_size(struct slice bytes)
{
    return codec_varint_size(bytes.len) + bytes.len;
}

size_t record_packed_size(const struct record *record)
{
    unsigned flags = flags_of(record);
    size_t size = 2 + codec_varint_size(record->term) + codec_varint_size(record->seq) +
                  codec_varint_size(record->time_ms);
    if (flags & HAS_ORIGIN)
        size +=
            9 + codec_varint_size(record->counter) + codec_varint_size(record->answered_through);
    if (flags & HAS_WRITER)
        size += sizeof record->writer->id + codec_varint_size(record->writer->sequence) +
                codec_varint_size(record->writer->completed_through);
    if (flags & HAS_KEY)
        size += bytes_size(record->key);
    if (flags & HAS_VALUE)
        size += bytes_size(record->value);
    if (flags & HAS_QUERY)
        size += 8;
    if (flags & HAS_ROW)
        size += bytes_size(record->row);
    if (flags & HAS_SOURCE)
        size += codec_varint_size(record->source_bucket) +
                codec_varint_size(record->source_generation) +
                codec_varint_size(record->position_seq) + codec_varint_size(record->position_sub);
    return size;
}

static uint8_t *put_fixed(uint8_t *out, uint64_t value)
{
    for (int i = 0; i < 8; i++, value >>= 8)
        *out++ = (uint8_t)value;
    return out;
}

static uint8_t *put_bytes(uint8_t *out, struct slice bytes)
{
    out = codec_put_varint(out, bytes.len);
    memcpy(out, bytes.data, bytes.len);
    return out + bytes.len;
}

uint8_t *record_pack(const struct record *record, uint8_t *out)
{
    unsigned flags = flags_of(record);
    *out++ = (uint8_t)record->type;
    *out++ = (uint8_t)flags;
    out = codec_put_varint(out, record->term);
    out = codec_put_varint(out, record->seq);
    out = codec_put_varint(out, record->time_ms);
    if (flags & HAS_ORIGIN) {
        out = put_fixed(out, record->origin);
        out = codec_put_varint(out, record->counter);
        out = codec_put_varint(out, record->answered_through);
        *out++ = (uint8_t)record->result;
    }
    if (flags & HAS_WRITER) {
        memcpy(out, record->writer->id, sizeof record->writer->id);
        out += sizeof record->writer->id;
        out = codec_put_varint(out, record->writer->sequence);
        out = codec_put_varint(out, record->writer->completed_through);
    }
    if (flags & HAS_KEY)
        out = put_bytes(out, record->key);
    if (flags & HAS_VALUE)
        out = put_bytes(out, record->value);
    if (flags & HAS_QUERY)
        out = put_fixed(out, record->query_id);
    if (flags & HAS_ROW)
        out = put_bytes(out, record->row);
    if (flags & HAS_SOURCE) {
        out = codec_put_varint(out, record->source_bucket);
        out = codec_put_varint(out, record->source_generation);
        out = codec_put_varint(out, record->position_seq);
        out = codec_put_varint(out, record->position_sub);
    }
    return out;
}

/* A reader whose `bad` sticks: asked once at the end. */
struct reader {
    const uint8_t *at, *end;
    bool bad;
};

static uint64_t take_varint(struct reader *reader, uint64_t max)
{
    uint64_t value = 0;
    const uint8_t *at = reader->bad ? NULL : codec_get_varint(reader->at, reader->end, &value);
    if (at == NULL || value > max) {
        reader->bad = true;
        return 0;
    }
    reader->at = at;
    return value;
}

static struct slice take(struct reader *reader, uint64_t len)
{
    if (reader->bad || len > (uint64_t)(reader->end - reader->at)) {
        reader->bad = true;
        return slice_of(NULL, 0);
    }
    struct slice taken = slice_of(reader->at, (size_t)len);
    reader->at += len;
    return taken;
}

static uint64_t take_fixed(struct reader *reader)
{
    struct slice bytes = take(reader, 8);
    uint64_t value = 0;
    for (size_t i = bytes.len; i > 0; i--)
        value = value << 8 | bytes.data[i - 1];
    return value;
}

static struct slice take_bytes(struct reader *reader)
{
    return take(reader, take_varint(reader, UINT32_MAX));
}

static bool is_type(uint8_t type)
{
    return (type >= RECORD_PUT && type <= RECORD_CHECK) ||
           (type >= RECORD_CQ_ADD && type <= RECORD_CQ_TRIM);
}

enum error record_unpack(struct slice packed, struct record *record, struct writer_mark *mark)
{
    if (packed.len < 2 || !is_type(packed.data[0]))
        return ERROR_MALFORMED;
    unsigned flags = packed.data[1];
    struct reader reader = {packed.data + 2, packed.data + packed.len, false};
    *record = (struct record){.type = (enum record_type)packed.data[0]};
    *(record->type == RECORD_PUT ? &record->via_ring : &record->silent) = (flags & IS_MARKED) != 0;
    record->term = (uint32_t)take_varint(&reader, UINT32_MAX);
    record->seq = take_varint(&reader, UINT64_MAX);
    record->time_ms = take_varint(&reader, UINT64_MAX);
    if (flags & HAS_ORIGIN) {
        record->origin = take_fixed(&reader);
        record->counter = take_varint(&reader, UINT64_MAX);
        record->answered_through = take_varint(&reader, UINT64_MAX);
        record->result = (enum record_result)take_varint(&reader, RESULT_ABSENT);
    }
    if (flags & HAS_WRITER) {
        struct slice id = take(&reader, sizeof mark->id);
        if (id.len == sizeof mark->id)
            memcpy(mark->id, id.data, id.len);
        mark->sequence = take_varint(&reader, UINT64_MAX);
        mark->completed_through = take_varint(&reader, UINT64_MAX);
        record->writer = mark;
    }
    if (flags & HAS_KEY)
        record->key = take_bytes(&reader);
    if (flags & HAS_VALUE)
        record->value = take_bytes(&reader);
    if (flags & HAS_QUERY)
        record->query_id = take_fixed(&reader);
    if (flags & HAS_ROW)
        record->row = take_bytes(&reader);
    if (flags & HAS_SOURCE) {
        record->source_bucket = (uint32_t)take_varint(&reader, UINT32_MAX);
        record->source_generation = (uint32_t)take_varint(&reader, UINT32_MAX);
        record->position_seq = take_varint(&reader, UINT64_MAX);
        record->position_sub = (uint32_t)take_varint(&reader, UINT32_MAX);
    }
    return reader.bad || reader.at != reader.end || record->seq == 0 ? ERROR_MALFORMED : OK;
}
