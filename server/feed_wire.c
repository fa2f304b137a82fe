#include "server/feed_wire.h"

#include "protocol/codec.h"

void feed_put_number(struct buf *out, uint64_t number)
{
    uint8_t bytes[10];
    buf_append(out, bytes, (size_t)(codec_put_varint(bytes, number) - bytes));
}

enum error feed_get_number(struct slice *rest, uint64_t *number)
{
    const uint8_t *at = codec_get_varint(rest->data, rest->data + rest->len, number);
    if (at == NULL)
        return ERROR_MALFORMED;
    *rest = slice_of(at, (size_t)(rest->data + rest->len - at));
    return OK;
}

static enum error get_small(struct slice *rest, uint64_t most, uint32_t *number)
{
    uint64_t wide;
    if (feed_get_number(rest, &wide) != OK || wide > most)
        return ERROR_MALFORMED;
    *number = (uint32_t)wide;
    return OK;
}

static void put_position(struct buf *out, const struct token_position *position)
{
    feed_put_number(out, position->generation);
    feed_put_number(out, position->in_snapshot);
    feed_put_number(out, position->begin);
    feed_put_number(out, position->at.seq);
    feed_put_number(out, position->at.sub);
}

static enum error get_position(struct slice *rest, struct token_position *position)
{
    uint32_t in_snapshot;
    *position = (struct token_position){0};
    if (get_small(rest, UINT32_MAX, &position->generation) != OK ||
        get_small(rest, 1, &in_snapshot) != OK || feed_get_number(rest, &position->begin) != OK ||
        feed_get_number(rest, &position->at.seq) != OK ||
        get_small(rest, UINT32_MAX, &position->at.sub) != OK)
        return ERROR_MALFORMED;
    position->in_snapshot = in_snapshot != 0;
    return OK;
}

static void put_bytes(struct buf *out, struct slice bytes)
{
    feed_put_number(out, bytes.len);
    buf_append_slice(out, bytes);
}

static enum error get_bytes(struct slice *rest, struct slice *bytes)
{
    uint64_t len;
    if (feed_get_number(rest, &len) != OK || len > rest->len)
        return ERROR_MALFORMED;
    *bytes = slice_of(rest->data, (size_t)len);
    *rest = slice_of(rest->data + len, rest->len - (size_t)len);
    return OK;
}

void feed_item_put(struct buf *out, const struct feed_item *item)
{
    buf_append_byte(out, (uint8_t)item->type);
    feed_put_number(out, item->bucket);
    switch (item->type) {
    case FEED_ITEM_POSITION:
        put_position(out, &item->position);
        break;
    case FEED_ITEM_EVENT:
        buf_append_byte(out, item->kind);
        buf_append_byte(out, item->loose);
        feed_put_number(out, item->position.at.seq);
        feed_put_number(out, item->position.at.sub);
        put_bytes(out, item->bytes);
        break;
    case FEED_ITEM_RUN:
        feed_put_number(out, item->count);
        feed_put_number(out, item->raw);
        break;
    case FEED_ITEM_STATUS:
        feed_put_number(out, item->code);
        feed_put_number(out, item->from_seq);
        feed_put_number(out, item->to_seq);
        put_bytes(out, item->bytes);
        break;
    case FEED_ITEM_MOVED:
    case FEED_ITEM_END:
        break;
    }
}

static enum error get_event(struct slice *rest, struct feed_item *item)
{
    if (rest->len < 2 || rest->data[1] > 1)
        return ERROR_MALFORMED;
    item->kind = rest->data[0];
    item->loose = rest->data[1] != 0;
    *rest = slice_of(rest->data + 2, rest->len - 2);
    if (feed_get_number(rest, &item->position.at.seq) != OK ||
        get_small(rest, UINT32_MAX, &item->position.at.sub) != OK ||
        get_bytes(rest, &item->bytes) != OK)
        return ERROR_MALFORMED;
    /* The kind is replaced in place for some encodings. */
    return item->bytes.len > CQ_EVENT_KIND_OFFSET ? OK : ERROR_MALFORMED;
}

enum error feed_item_next(struct slice *rest, struct feed_item *item)
{
    *item = (struct feed_item){0};
    if (rest->len == 0)
        return ERROR_MALFORMED;
    item->type = (enum feed_item_type)rest->data[0];
    *rest = slice_of(rest->data + 1, rest->len - 1);
    if (get_small(rest, LIMIT_BUCKETS - 1, &item->bucket) != OK)
        return ERROR_MALFORMED;
    switch (item->type) {
    case FEED_ITEM_POSITION:
        return get_position(rest, &item->position);
    case FEED_ITEM_EVENT:
        return get_event(rest, item);
    case FEED_ITEM_RUN:
        if (get_small(rest, LIMIT_CONFLATED_EVENTS, &item->count) != OK ||
            get_small(rest, LIMIT_CONFLATED_EVENTS, &item->raw) != OK || item->raw < item->count)
            return ERROR_MALFORMED;
        return OK;
    case FEED_ITEM_STATUS:
        if (get_small(rest, PB__CQ_STATUS__CODE__ERROR, &item->code) != OK ||
            feed_get_number(rest, &item->from_seq) != OK ||
            feed_get_number(rest, &item->to_seq) != OK)
            return ERROR_MALFORMED;
        return get_bytes(rest, &item->bytes);
    case FEED_ITEM_MOVED:
    case FEED_ITEM_END:
        return OK;
    }
    return ERROR_MALFORMED;
}

void feed_open_put(struct buf *out, const struct feed_open *open)
{
    buf_append_byte(out, FEED_EVENTS);
    feed_put_number(out, open->feed);
    feed_put_number(out, open->query);
    feed_put_number(out, open->flags);
    feed_put_number(out, open->credit);
    feed_put_number(out, open->run_max);
    feed_put_number(out, open->count);
}

void feed_open_put_bucket(struct buf *out, uint32_t bucket, const struct token_position *position)
{
    feed_put_number(out, bucket);
    put_position(out, position);
}

/* `content` begins behind the type. */
enum error feed_open_read(struct slice content, struct feed_open *open)
{
    struct slice rest = content;
    *open = (struct feed_open){0};
    if (feed_get_number(&rest, &open->feed) != OK || feed_get_number(&rest, &open->query) != OK ||
        feed_get_number(&rest, &open->flags) != OK || feed_get_number(&rest, &open->credit) != OK ||
        feed_get_number(&rest, &open->run_max) != OK ||
        get_small(&rest, LIMIT_BUCKETS, &open->count) != OK || open->credit > LIMIT_FEED_BYTES ||
        open->run_max == 0)
        return ERROR_MALFORMED;
    open->buckets = rest;
    for (uint32_t i = 0; i < open->count; i++) {
        uint32_t bucket;
        struct token_position position;
        if (feed_open_next(&rest, &bucket, &position) != OK)
            return ERROR_MALFORMED;
    }
    return rest.len == 0 ? OK : ERROR_MALFORMED;
}

enum error feed_open_next(struct slice *rest, uint32_t *bucket, struct token_position *position)
{
    if (get_small(rest, LIMIT_BUCKETS - 1, bucket) != OK)
        return ERROR_MALFORMED;
    return get_position(rest, position);
}
