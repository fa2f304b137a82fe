#include <xxhash.h>

#include "protocol/codec.h"
#include "server/subscription.h"

#define TOKEN_VERSION        2
#define TOKEN_HEADER_BYTES   25 /* version, head */
#define TOKEN_CHECKSUM_BYTES 4

static void put_varint(struct buf *out, uint64_t value)
{
    uint8_t bytes[10];
    buf_append(out, bytes, (size_t)(codec_put_varint(bytes, value) - bytes));
}

void token_encode(const struct token_head *head, const struct token_position *positions,
                  uint32_t count, struct buf *out)
{
    size_t start = out->len;
    buf_append_byte(out, TOKEN_VERSION);
    buf_append(out, head, sizeof *head);
    put_varint(out, count);
    for (uint32_t i = 0; i < count; i++) {
        const struct token_position *position = &positions[i];
        /* The common case, generation 1 in the tail at the end of a record, takes two short
         * numbers. */
        uint64_t sub = position->at.sub == UINT32_MAX ? 0 : (uint64_t)position->at.sub + 1;
        uint64_t flags = (uint64_t)(position->generation - 1) << 2 |
                         (position->in_snapshot ? 2 : 0) | (sub != 0);
        put_varint(out, flags);
        put_varint(out, position->at.seq);
        if (sub != 0)
            put_varint(out, sub);
        if (position->in_snapshot)
            put_varint(out, position->begin);
    }
    if (out->failed)
        return;
    uint32_t checksum = XXH32(out->data + start, out->len - start, TOKEN_VERSION);
    buf_append(out, &checksum, sizeof checksum);
}

static enum error check(struct slice token, struct slice *content)
{
    uint32_t checksum;
    if (token.len < TOKEN_HEADER_BYTES + 1 + TOKEN_CHECKSUM_BYTES || token.data[0] != TOKEN_VERSION)
        return ERROR_MALFORMED;
    *content = slice_of(token.data, token.len - TOKEN_CHECKSUM_BYTES);
    memcpy(&checksum, content->data + content->len, sizeof checksum);
    return checksum == XXH32(content->data, content->len, TOKEN_VERSION) ? OK : ERROR_MALFORMED;
}

enum error token_read_head(struct slice token, struct token_head *head)
{
    struct slice content;
    if (check(token, &content) != OK)
        return ERROR_MALFORMED;
    memcpy(head, content.data + 1, sizeof *head);
    return OK;
}

enum error token_decode(struct slice token, struct token_head *head,
                        struct token_position *positions, uint32_t count)
{
    struct slice content;
    uint64_t number, flags, sub, begin;
    if (check(token, &content) != OK)
        return ERROR_MALFORMED;
    memcpy(head, content.data + 1, sizeof *head);
    const uint8_t *end = content.data + content.len;
    const uint8_t *at = codec_get_varint(content.data + TOKEN_HEADER_BYTES, end, &number);
    if (at == NULL)
        return ERROR_MALFORMED;
    if (number != count)
        return ERROR_CONFLICT;
    for (uint32_t i = 0; i < count; i++) {
        if ((at = codec_get_varint(at, end, &flags)) == NULL || flags >> 2 >= UINT32_MAX ||
            (at = codec_get_varint(at, end, &number)) == NULL)
            return ERROR_MALFORMED;
        sub = 0;
        if ((flags & 1) != 0 &&
            ((at = codec_get_varint(at, end, &sub)) == NULL || sub == 0 || sub > UINT32_MAX))
            return ERROR_MALFORMED;
        begin = 0;
        if ((flags & 2) != 0 && (at = codec_get_varint(at, end, &begin)) == NULL)
            return ERROR_MALFORMED;
        positions[i] = (struct token_position){
            .generation = (uint32_t)(flags >> 2) + 1,
            .in_snapshot = (flags & 2) != 0,
            .begin = begin,
            .at = {.seq = number, .sub = sub == 0 ? UINT32_MAX : (uint32_t)(sub - 1)},
        };
    }
    return at == end ? OK : ERROR_MALFORMED;
}
