#include "client/position.h"
#include "client/wire.h"
#include "common/limits.h"
#include "common/mem.h"

void vug_positions_init(struct vug_positions *positions)
{
    *positions = (struct vug_positions){0};
    buf_init(&positions->token);
}

void vug_positions_fini(struct vug_positions *positions)
{
    mem_free(positions->bucket);
    buf_fini(&positions->token);
}

enum error vug_positions_reserve(struct vug_positions *positions, uint32_t bucket)
{
    if (bucket >= LIMIT_BUCKETS)
        return ERROR_LIMIT;
    if (bucket < positions->count)
        return OK;
    uint32_t count = positions->count == 0 ? 128 : positions->count;
    while (count <= bucket)
        count *= 2;
    struct vug_position *grown = mem_realloc(positions->bucket, count * sizeof *grown);
    if (grown == NULL)
        return ERROR_MEMORY;
    memset(grown + positions->count, 0, (count - positions->count) * sizeof *grown);
    positions->bucket = grown;
    positions->count = count;
    return OK;
}

static bool is_above(const struct vug_position *known, uint64_t seq, uint32_t sub)
{
    return seq > known->seq || (seq == known->seq && sub > known->sub);
}

bool vug_positions_is_repeat(const struct vug_positions *positions, uint32_t bucket,
                             uint32_t generation, uint64_t seq, uint32_t sub)
{
    if (bucket >= positions->count)
        return false;
    const struct vug_position *known = &positions->bucket[bucket];
    return known->floor && known->generation == generation && !is_above(known, seq, sub);
}

void vug_positions_processed(struct vug_positions *positions, uint32_t bucket, uint32_t generation,
                             uint64_t seq, uint32_t sub)
{
    PRE(bucket < positions->count);
    struct vug_position *known = &positions->bucket[bucket];
    bool floor = known->floor && known->generation == generation && !is_above(known, seq, sub);
    *known = (struct vug_position){
        .seq = seq, .sub = sub, .generation = generation, .after_token = true, .floor = floor};
}

void vug_positions_set_floor(struct vug_positions *positions)
{
    for (uint32_t i = 0; i < positions->count; i++)
        positions->bucket[i].floor = positions->bucket[i].generation != 0;
}

void vug_positions_drop_floor(struct vug_positions *positions, uint32_t bucket)
{
    if (bucket < positions->count)
        positions->bucket[bucket].floor = false;
}

enum error vug_positions_take_token(struct vug_positions *positions, struct slice token)
{
    struct buf copy;
    buf_init(&copy);
    buf_append_slice(&copy, token);
    if (copy.failed) {
        buf_fini(&copy);
        return ERROR_MEMORY;
    }
    buf_fini(&positions->token);
    positions->token = copy;
    for (uint32_t i = 0; i < positions->count; i++)
        positions->bucket[i].after_token = false;
    return OK;
}

void vug_positions_encode(const struct vug_positions *positions, uint32_t field, struct buf *out)
{
    for (uint32_t i = 0; i < positions->count; i++) {
        const struct vug_position *known = &positions->bucket[i];
        if (!known->after_token)
            continue;
        struct buf content;
        buf_init(&content);
        vug_wire_uint(&content, 1, i);
        vug_wire_uint(&content, 2, known->generation);
        vug_wire_uint(&content, 3, known->seq);
        vug_wire_uint(&content, 4, known->sub);
        vug_wire_header(out, field, content.len);
        buf_append_slice(out, buf_slice(&content));
        out->failed = out->failed || content.failed;
        buf_fini(&content);
    }
}

void vug_positions_text(const struct vug_positions *positions, struct buf *text)
{
    struct buf later;
    buf_init(&later);
    vug_positions_encode(positions, 1, &later);
    vug_base64url_encode(buf_slice(&positions->token), text);
    if (later.len > 0) {
        buf_append_byte(text, '.');
        vug_base64url_encode(buf_slice(&later), text);
    }
    text->failed = text->failed || later.failed;
    buf_fini(&later);
}

static enum error parse_position(struct vug_positions *positions, struct slice content)
{
    uint64_t bucket = 0, generation = 0, seq = 0, sub = 0;
    while (content.len > 0) {
        struct codec_field field;
        if (codec_next_field(&content, &field) != OK || field.wire_type != 0)
            return ERROR_INVALID;
        if (field.number == 1)
            bucket = field.integer;
        else if (field.number == 2)
            generation = field.integer;
        else if (field.number == 3)
            seq = field.integer;
        else if (field.number == 4)
            sub = field.integer;
    }
    if (bucket >= LIMIT_BUCKETS || generation == 0 || generation > UINT32_MAX || sub > UINT32_MAX)
        return ERROR_INVALID;
    enum error error = vug_positions_reserve(positions, (uint32_t)bucket);
    if (error == OK)
        vug_positions_processed(positions, (uint32_t)bucket, (uint32_t)generation, seq,
                                (uint32_t)sub);
    return error;
}

enum error vug_positions_parse(struct vug_positions *positions, struct slice text)
{
    struct buf bytes;
    buf_init(&bytes);
    const uint8_t *stop = text.len == 0 ? NULL : memchr(text.data, '.', text.len);
    struct slice head = slice_of(text.data, stop == NULL ? text.len : (size_t)(stop - text.data));
    enum error error = vug_base64url_decode(head, &bytes);
    if (error == OK && bytes.len == 0)
        error = ERROR_INVALID;
    if (error == OK)
        error = vug_positions_take_token(positions, buf_slice(&bytes));
    if (error == OK && stop != NULL) {
        buf_clear(&bytes);
        error = vug_base64url_decode(slice_of(stop + 1, text.len - head.len - 1), &bytes);
        struct slice walk = buf_slice(&bytes);
        while (error == OK && walk.len > 0) {
            struct slice content = {0};
            error = vug_wire_next(&walk, 1, &content) ? parse_position(positions, content)
                                                      : ERROR_INVALID;
        }
    }
    buf_fini(&bytes);
    return error;
}

static const char base64url_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void vug_base64url_encode(struct slice bytes, struct buf *text)
{
    for (size_t i = 0; i < bytes.len; i += 3) {
        size_t left = bytes.len - i;
        uint32_t group = (uint32_t)bytes.data[i] << 16;
        if (left > 1)
            group |= (uint32_t)bytes.data[i + 1] << 8;
        if (left > 2)
            group |= bytes.data[i + 2];
        size_t digits = left > 2 ? 4 : left + 1;
        for (size_t d = 0; d < digits; d++)
            buf_append_byte(text, (uint8_t)base64url_digits[group >> (18 - 6 * d) & 63]);
    }
}

enum error vug_base64url_decode(struct slice text, struct buf *bytes)
{
    uint32_t group = 0;
    unsigned bits = 0;
    while (text.len > 0 && text.data[text.len - 1] == '=') /* padding is allowed, not asked for */
        text.len--;
    if (text.len % 4 == 1)
        return ERROR_INVALID;
    for (size_t i = 0; i < text.len; i++) {
        const char *digit = text.data[i] == 0 ? NULL : strchr(base64url_digits, text.data[i]);
        if (digit == NULL)
            return ERROR_INVALID;
        group = (group << 6 | (uint32_t)(digit - base64url_digits)) & 0xffffff;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            buf_append_byte(bytes, (uint8_t)(group >> bits));
        }
    }
    return bytes->failed ? ERROR_MEMORY : OK;
}
