#include "server/call_wire.h"

#include "protocol/codec.h"

enum { VARINT_MAX = 10, FIELDS_MAX = 20 };

static uint8_t *put_slice(uint8_t *out, struct slice slice)
{
    out = codec_put_varint(out, slice.len);
    if (slice.len > 0)
        memcpy(out, slice.data, slice.len);
    return out + slice.len;
}

/* Takes what it reads off `rest`; a failure sticks. */
struct reader {
    struct slice rest;
    bool failed;
};

static uint64_t get(struct reader *reader, uint64_t max)
{
    uint64_t value = 0;
    const uint8_t *end = reader->rest.data + reader->rest.len;
    const uint8_t *at = reader->failed ? NULL : codec_get_varint(reader->rest.data, end, &value);
    if (at == NULL || value > max) {
        reader->failed = true;
        return 0;
    }
    reader->rest = slice_of(at, (size_t)(end - at));
    return value;
}

static struct slice get_bytes(struct reader *reader, uint64_t len)
{
    if (reader->failed || len > reader->rest.len) {
        reader->failed = true;
        return slice_of(NULL, 0);
    }
    struct slice bytes = slice_of(reader->rest.data, len);
    reader->rest = slice_of(reader->rest.data + len, reader->rest.len - len);
    return bytes;
}

static struct slice get_slice(struct reader *reader)
{
    return get_bytes(reader, get(reader, UINT32_MAX));
}

static enum error finish(const struct reader *reader)
{
    return reader->failed || reader->rest.len != 0 ? ERROR_MALFORMED : OK;
}

bool call_wire_is_stored(struct slice stored)
{
    static const uint8_t lengths[] = {
        [VALUE_INT] = 4,     [VALUE_LONG] = 8,   [VALUE_SHORT] = 2, [VALUE_BYTE] = 1,
        [VALUE_BOOLEAN] = 1, [VALUE_DOUBLE] = 8, [VALUE_FLOAT] = 4, [VALUE_NULL] = 0};
    if (stored.len == 0 || stored.data[0] == VALUE_NOT_SET || stored.data[0] > VALUE_NULL)
        return false;
    enum value_type type = (enum value_type)stored.data[0];
    if (type == VALUE_BINARY || type == VALUE_STRING || type == VALUE_JSON)
        return true;
    return stored.len == 1u + lengths[type];
}

static bool has_mark(enum call_kind kind)
{
    return kind == CALL_WRITE_PUT || kind == CALL_WRITE_REMOVE;
}

/* ---- Requests ---- */

size_t call_request_size(const struct call_request *request)
{
    return FIELDS_MAX * VARINT_MAX + sizeof request->mark.id + request->key.len +
           request->value.len;
}

uint8_t *call_request_pack(const struct call_request *request, uint8_t *out)
{
    out = codec_put_varint(out, request->epoch);
    out = codec_put_varint(out, request->region_id);
    out = codec_put_varint(out, request->bucket);
    out = codec_put_varint(out, request->generation);
    out = codec_put_varint(out, request->id);
    out = codec_put_varint(out, request->kind);
    out = codec_put_varint(out, request->origin);
    out = codec_put_varint(out, request->counter);
    out = codec_put_varint(out, request->after);
    out = codec_put_varint(out, request->answered_through);
    if (has_mark(request->kind)) {
        memcpy(out, request->mark.id, sizeof request->mark.id);
        out += sizeof request->mark.id;
        out = codec_put_varint(out, request->mark.sequence);
        out = codec_put_varint(out, request->mark.completed_through);
    }
    out = put_slice(out, request->key);
    return put_slice(out, request->value);
}

static bool is_sound(const struct call_request *request)
{
    bool has_key = request->kind < CALL_CLEAR;
    bool has_value = request->kind == CALL_PUT || request->kind == CALL_PUT_IF_ABSENT ||
                     request->kind == CALL_WRITE_PUT;
    return request->kind >= CALL_GET && request->origin != 0 && request->generation != 0 &&
           call_changes(request->kind) == (request->counter != 0) &&
           (request->counter == 0 || request->after < request->counter) &&
           (has_key ? call_wire_is_stored(request->key) && request->key.len <= LIMIT_KEY_BYTES + 1
                    : request->key.len == 0) &&
           (has_value ? call_wire_is_stored(request->value) : request->value.len == 0) &&
           (!has_mark(request->kind) ||
            (request->mark.sequence != 0 &&
             request->mark.sequence <= UINT64_MAX - LIMIT_WRITER_WINDOW));
}

enum error call_request_unpack(struct slice content, struct call_request *request)
{
    struct reader reader = {.rest = content};
    memset(request, 0, sizeof *request);
    request->epoch = get(&reader, UINT64_MAX);
    request->region_id = (uint32_t)get(&reader, UINT32_MAX);
    request->bucket = (uint32_t)get(&reader, LIMIT_BUCKETS);
    request->generation = (uint32_t)get(&reader, UINT32_MAX);
    request->id = get(&reader, UINT64_MAX);
    request->kind = (enum call_kind)get(&reader, CALL_ENTRIES);
    request->origin = get(&reader, UINT64_MAX);
    request->counter = get(&reader, UINT64_MAX);
    request->after = get(&reader, UINT64_MAX);
    request->answered_through = get(&reader, UINT64_MAX);
    if (has_mark(request->kind)) {
        struct slice id = get_bytes(&reader, sizeof request->mark.id);
        if (id.len > 0)
            memcpy(request->mark.id, id.data, id.len);
        request->mark.sequence = get(&reader, UINT64_MAX);
        request->mark.completed_through = get(&reader, UINT64_MAX);
    }
    request->key = get_slice(&reader);
    request->value = get_slice(&reader);
    enum error error = finish(&reader);
    return error == OK && !is_sound(request) ? ERROR_MALFORMED : error;
}

/* ---- Answers ---- */

size_t call_answer_size(const struct call_answer *answer)
{
    return FIELDS_MAX * VARINT_MAX + answer->value.len + answer->text.len + answer->content.len;
}

uint8_t *call_answer_pack(const struct call_answer *answer, uint8_t *out)
{
    out = codec_put_varint(out, answer->epoch);
    out = codec_put_varint(out, answer->region_id);
    out = codec_put_varint(out, answer->bucket);
    out = codec_put_varint(out, answer->id);
    out = codec_put_varint(out, answer->status);
    out = codec_put_varint(out, answer->error);
    out = codec_put_varint(out, answer->result);
    out = codec_put_varint(out, answer->has_entry);
    out = codec_put_varint(out, answer->entry_seq);
    out = put_slice(out, answer->value);
    out = codec_put_varint(out, answer->count);
    out = codec_put_varint(out, answer->bytes);
    out = codec_put_varint(out, answer->code);
    out = put_slice(out, answer->text);
    return put_slice(out, answer->content);
}

enum error call_answer_unpack(struct slice content, struct call_answer *answer)
{
    struct reader reader = {.rest = content};
    memset(answer, 0, sizeof *answer);
    answer->epoch = get(&reader, UINT64_MAX);
    answer->region_id = (uint32_t)get(&reader, UINT32_MAX);
    answer->bucket = (uint32_t)get(&reader, LIMIT_BUCKETS);
    answer->id = get(&reader, UINT64_MAX);
    answer->status = (enum call_status)get(&reader, CALL_STATUS_DEPOSED);
    answer->error = (enum error)get(&reader, ERROR_SHUTDOWN);
    answer->result = (enum record_result)get(&reader, RESULT_ABSENT);
    answer->has_entry = get(&reader, 1) != 0;
    answer->entry_seq = get(&reader, UINT64_MAX);
    answer->value = get_slice(&reader);
    answer->count = get(&reader, UINT64_MAX);
    answer->bytes = get(&reader, UINT64_MAX);
    answer->code = (uint32_t)get(&reader, UINT32_MAX);
    answer->text = get_slice(&reader);
    answer->content = get_slice(&reader);
    enum error error = finish(&reader);
    if (error == OK && answer->has_entry && !call_wire_is_stored(answer->value))
        return ERROR_MALFORMED;
    return error;
}

/* ---- Entries ---- */

enum error call_next_entry(struct slice *rest, uint64_t *seq, struct slice *key,
                           struct slice *value)
{
    struct reader reader = {.rest = *rest};
    *seq = get(&reader, UINT64_MAX);
    *key = get_slice(&reader);
    *value = get_slice(&reader);
    *rest = reader.rest;
    bool is_right = !reader.failed && call_wire_is_stored(*key) && call_wire_is_stored(*value);
    return is_right ? OK : ERROR_MALFORMED;
}
