/* What both ends of an image agree upon.
 *
 * IMAGE: {region id, bucket, image id, number} varints, a byte that is the kind of piece, content.
 * Pieces are numbered from 0, which is BEGIN. The contents of the DATA pieces are one stream of
 * items, cut anywhere:
 *   HEAD  len, {len, writers} {len, streams} {len, continuous queries}
 *   ENTRY seq, key length, value length, key, value
 * The head is the first; the lengths in it have 8 bytes, little end first, and are filled in when a
 * section is there. All other numbers are varints. An entry may come twice, with the same content.
 * IMAGE_ACK: {region id, bucket, image id} varints, a byte that is the kind, a varint: bytes of
 * pieces that arrived, or the seq that was installed. */
#ifndef VUG_SERVER_IMAGE_IMPL_H
#define VUG_SERVER_IMAGE_IMPL_H

#include "common/limits.h"
#include "protocol/codec.h"
#include "server/image.h"
#include "server/server.h"

enum image_piece {
    IMAGE_PIECE_BEGIN = 1, /* struct image_begin */
    IMAGE_PIECE_DATA = 2,
    IMAGE_PIECE_END = 3,
    IMAGE_PIECE_ABORT = 4, /* it will not be finished */
};
enum image_item { IMAGE_ITEM_HEAD = 1, IMAGE_ITEM_ENTRY = 2 };
enum image_verdict { IMAGE_ARRIVED = 1, IMAGE_INSTALLED = 2, IMAGE_REFUSED = 3 };

/* Varints, in this order. */
struct image_begin {
    uint32_t generation, term, set_version;
    uint64_t epoch; /* that the sender had adopted: the receiver must have one as new */
    uint64_t seq, last_time_ms, data_seq, committed;
    uint64_t entry_count;
};

#define IMAGE_HEADER_MAX 128u /* of a piece, with all of BEGIN */

static inline bool image_get(struct slice *rest, uint64_t max, uint64_t *value)
{
    const uint8_t *end = rest->data + rest->len;
    const uint8_t *at = codec_get_varint(rest->data, end, value);
    if (at == NULL || *value > max)
        return false;
    *rest = slice_of(at, (size_t)(end - at));
    return true;
}

static inline bool image_get32(struct slice *rest, uint32_t *value)
{
    uint64_t wide = 0;
    bool good = image_get(rest, UINT32_MAX, &wide);
    *value = (uint32_t)wide;
    return good;
}

/* A section of the head behind its length, which is known when it is there. */
static inline size_t image_section_begin(struct buf *head)
{
    static const uint8_t room[8];
    buf_append(head, room, sizeof room);
    return head->len;
}

static inline void image_section_end(struct buf *head, size_t begin)
{
    uint64_t len = head->len - begin;
    for (unsigned i = 0; i < 8 && !head->failed; i++)
        head->data[begin - 8 + i] = (uint8_t)(len >> 8 * i);
}

#endif
