#include "server/streams.h"

#include <xxhash.h>

#include "common/limits.h"
#include "common/mem.h"
#include "common/plant.h"
#include "protocol/codec.h"

struct stored {
    uint64_t counter, seq;
    enum record_result result;
    uint32_t len;
    uint8_t *value; /* PRESENT: what was there; NULL if it is empty */
};

struct stream {
    struct stream *next;
    uint64_t origin;
    uint64_t last; /* the highest counter that was applied; 0: none yet */
    uint64_t answered_through;
    struct stored *results; /* by rising counter, from `first` */
    uint32_t first, count, cap;
    uint8_t *room; /* for the value of the record that is about to be applied */
};

void streams_init(struct streams *streams)
{
    memset(streams, 0, sizeof *streams);
}

static void stream_free(struct stream *stream)
{
    for (uint32_t i = 0; i < stream->count; i++)
        mem_free(stream->results[stream->first + i].value);
    mem_free(stream->results);
    mem_free(stream->room);
    mem_free(stream);
}

void streams_fini(struct streams *streams)
{
    while (streams->first != NULL) {
        struct stream *stream = streams->first;
        streams->first = stream->next;
        stream_free(stream);
    }
    streams->count = 0;
}

static struct stream *find(const struct streams *streams, uint64_t origin)
{
    struct stream *stream = streams->first;
    while (stream != NULL && stream->origin != origin)
        stream = stream->next;
    return stream;
}

static const struct stored *find_result(const struct stream *stream, uint64_t counter)
{
    uint32_t low = 0, high = stream->count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        const struct stored *stored = &stream->results[stream->first + middle];
        if (stored->counter == counter)
            return stored;
        if (stored->counter < counter)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

enum stream_verdict streams_check(const struct streams *streams, uint64_t origin, uint64_t counter,
                                  uint64_t after, struct stream_result *result)
{
    const struct stream *stream = find(streams, origin);
    uint64_t last = stream == NULL ? 0 : stream->last;
    memset(result, 0, sizeof *result);
    if (counter > last)
        return after > last ? STREAM_DISORDER : STREAM_NEW;
    const struct stored *stored = find_result(stream, counter);
    if (stored == NULL && PLANTED(PLANT_RESULT_DROPPED))
        return STREAM_NEW;
    /* Without a result it was answered, or given up: nobody waits for this answer. */
    if (stored != NULL)
        *result = (struct stream_result){stored->result, slice_of(stored->value, stored->len),
                                         stored->seq};
    return STREAM_REPEATED;
}

static enum error make_room(struct stream *stream)
{
    if (stream->first + stream->count < stream->cap)
        return OK;
    if (stream->first >= stream->cap / 2 && stream->first > 0) {
        memmove(stream->results, stream->results + stream->first,
                stream->count * sizeof *stream->results);
        stream->first = 0;
        return OK;
    }
    uint32_t cap = stream->cap == 0 ? 8 : stream->cap * 2;
    struct stored *results = mem_realloc(stream->results, cap * sizeof *results);
    if (results == NULL)
        return ERROR_MEMORY;
    stream->results = results;
    stream->cap = cap;
    return OK;
}

static enum error stream_add(struct streams *streams, uint64_t origin, struct stream **added)
{
    struct stream *stream = mem_zalloc(sizeof *stream);
    if (stream == NULL)
        return ERROR_MEMORY;
    stream->origin = origin;
    stream->next = streams->first;
    streams->first = stream;
    streams->count++;
    *added = stream;
    return OK;
}

enum error streams_reserve(struct streams *streams, const struct record *record)
{
    PRE(record->origin != 0);
    struct stream *stream = find(streams, record->origin);
    enum error error = stream == NULL ? stream_add(streams, record->origin, &stream) : OK;
    if (error == OK)
        error = make_room(stream);
    if (error != OK || record->result != RESULT_PRESENT || record->value.len == 0)
        return error;
    mem_free(stream->room);
    stream->room = mem_alloc(record->value.len);
    return stream->room == NULL ? ERROR_MEMORY : OK;
}

static void forget_through(struct stream *stream, uint64_t counter)
{
    while (stream->count > 0 && stream->results[stream->first].counter <= counter) {
        mem_free(stream->results[stream->first].value);
        stream->first++;
        stream->count--;
    }
}

void streams_note(struct streams *streams, const struct record *record)
{
    struct stream *stream = find(streams, record->origin);
    INVARIANT(stream != NULL && stream->first + stream->count < stream->cap);
    struct stored stored = {
        .counter = record->counter, .seq = record->seq, .result = record->result};
    if (record->result == RESULT_PRESENT && record->value.len > 0) {
        INVARIANT(stream->room != NULL);
        memcpy(stream->room, record->value.data, record->value.len);
        stored.value = stream->room;
        stored.len = (uint32_t)record->value.len;
        stream->room = NULL;
    }
    stream->results[stream->first + stream->count++] = stored;
    if (record->counter > stream->last)
        stream->last = record->counter;
    if (record->answered_through > stream->answered_through)
        stream->answered_through = record->answered_through;
    forget_through(stream, stream->answered_through);
    /* An origin has no more calls than that which wait. */
    if (stream->count > LIMIT_CALLS)
        forget_through(stream, stream->results[stream->first].counter);
    if (PLANTED(PLANT_RESULT_DROPPED))
        forget_through(stream, UINT64_MAX);
}

void streams_drop(struct streams *streams, uint64_t origin)
{
    for (struct stream **link = &streams->first; *link != NULL; link = &(*link)->next) {
        struct stream *stream = *link;
        if (stream->origin != origin)
            continue;
        *link = stream->next;
        streams->count--;
        stream_free(stream);
        return;
    }
}

/* One that was only reserved for is no part of the bucket's state. */
void streams_each(const struct streams *streams, void (*visit)(void *arg, uint64_t origin),
                  void *arg)
{
    for (const struct stream *stream = streams->first; stream != NULL; stream = stream->next)
        if (stream->last != 0)
            visit(arg, stream->origin);
}

/* ---- Images ---- */

static void put_varint(struct buf *out, uint64_t value)
{
    uint8_t *at = buf_reserve(out, 10);
    if (at != NULL)
        out->len += (size_t)(codec_put_varint(at, value) - at);
}

static bool get_varint(struct slice *rest, uint64_t *value)
{
    const uint8_t *end = rest->data + rest->len;
    const uint8_t *at = codec_get_varint(rest->data, end, value);
    if (at == NULL)
        return false;
    *rest = slice_of(at, (size_t)(end - at));
    return true;
}

void streams_pack(const struct streams *streams, struct buf *out)
{
    uint64_t count = 0;
    for (const struct stream *stream = streams->first; stream != NULL; stream = stream->next)
        count += stream->last != 0;
    put_varint(out, count);
    for (const struct stream *stream = streams->first; stream != NULL; stream = stream->next) {
        if (stream->last == 0)
            continue;
        put_varint(out, stream->origin);
        put_varint(out, stream->last);
        put_varint(out, stream->answered_through);
        put_varint(out, stream->count);
        for (uint32_t i = 0; i < stream->count; i++) {
            const struct stored *stored = &stream->results[stream->first + i];
            put_varint(out, stored->counter);
            put_varint(out, stored->seq);
            put_varint(out, stored->result);
            put_varint(out, stored->len);
            buf_append(out, stored->value, stored->len);
        }
    }
}

static enum error unpack_result(struct slice *rest, struct stream *stream)
{
    uint64_t result, len;
    struct stored stored = {0};
    uint64_t before =
        stream->count == 0 ? 0 : stream->results[stream->first + stream->count - 1].counter;
    if (!get_varint(rest, &stored.counter) || !get_varint(rest, &stored.seq) ||
        !get_varint(rest, &result) || !get_varint(rest, &len) || result > RESULT_ABSENT ||
        len > rest->len || len > LIMIT_MESSAGE_BYTES || stored.counter <= before ||
        stored.counter > stream->last)
        return ERROR_MALFORMED;
    enum error error = make_room(stream);
    if (error != OK)
        return error;
    stored.result = (enum record_result)result;
    stored.len = (uint32_t)len;
    if (len > 0) {
        stored.value = mem_alloc(len);
        if (stored.value == NULL)
            return ERROR_MEMORY;
        memcpy(stored.value, rest->data, len);
        *rest = slice_of(rest->data + len, rest->len - len);
    }
    stream->results[stream->first + stream->count++] = stored;
    return OK;
}

static enum error unpack_stream(struct slice *rest, struct streams *streams)
{
    uint64_t origin, last, answered_through, count;
    struct stream *stream;
    if (!get_varint(rest, &origin) || !get_varint(rest, &last) ||
        !get_varint(rest, &answered_through) || !get_varint(rest, &count) || origin == 0 ||
        last == 0 || count > LIMIT_CALLS || find(streams, origin) != NULL)
        return ERROR_MALFORMED;
    enum error error = stream_add(streams, origin, &stream);
    if (error != OK)
        return error;
    stream->last = last;
    stream->answered_through = answered_through;
    for (uint64_t i = 0; i < count && error == OK; i++)
        error = unpack_result(rest, stream);
    return error;
}

enum error streams_unpack(struct slice *rest, struct streams *streams)
{
    uint64_t count;
    PRE(streams->first == NULL);
    if (!get_varint(rest, &count))
        return ERROR_MALFORMED;
    enum error error = OK;
    for (uint64_t i = 0; i < count && error == OK; i++)
        error = unpack_stream(rest, streams);
    if (error != OK)
        streams_fini(streams);
    return error;
}

uint64_t streams_hash(const struct streams *streams)
{
    uint64_t sum = 0;
    for (const struct stream *stream = streams->first; stream != NULL; stream = stream->next) {
        if (stream->last == 0)
            continue;
        uint64_t words[3] = {stream->origin, stream->last, stream->answered_through};
        uint64_t hash = XXH3_64bits(words, sizeof words);
        for (uint32_t i = 0; i < stream->count; i++) {
            const struct stored *stored = &stream->results[stream->first + i];
            words[0] = stored->counter;
            words[1] = stored->seq;
            words[2] = stored->result;
            hash = XXH3_64bits_withSeed(words, sizeof words, hash);
            hash = XXH3_64bits_withSeed(stored->value, stored->len, hash);
        }
        sum += hash;
    }
    return sum;
}
