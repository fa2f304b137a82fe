/* What a subscriber has processed: for each bucket the last event, and which of these its last
 * token does not cover yet.
 *
 * The text of a resume token is made and read here: the server's token in base64url and, behind a
 * full stop, the positions that came after it (CqPosition messages, in base64url). */
#ifndef VUG_CLIENT_POSITION_H
#define VUG_CLIENT_POSITION_H

#include "common/buf.h"
#include "common/error.h"
#include "common/slice.h"

struct vug_position {
    uint64_t seq;
    uint32_t sub;
    uint32_t generation; /* 0: nothing known of the bucket */
    bool after_token;    /* processed since the token was taken */
    bool floor;          /* known when the connection began: what is not above it is a repeat */
};

struct vug_positions {
    struct vug_position *bucket; /* by number */
    uint32_t count;
    struct buf token; /* the server's, as bytes */
};

void vug_positions_init(struct vug_positions *positions);
void vug_positions_fini(struct vug_positions *positions);

/* Room for this bucket, so that vug_positions_processed() cannot fail. ERROR_LIMIT: no bucket has
 * such a number. ERROR_MEMORY. */
enum error vug_positions_reserve(struct vug_positions *positions, uint32_t bucket);
/* An event that was processed before the present connection began. */
bool vug_positions_is_repeat(const struct vug_positions *positions, uint32_t bucket,
                             uint32_t generation, uint64_t seq, uint32_t sub);
void vug_positions_processed(struct vug_positions *positions, uint32_t bucket, uint32_t generation,
                             uint64_t seq, uint32_t sub);
/* A new connection begins: all that is known becomes the floor. */
void vug_positions_set_floor(struct vug_positions *positions);
/* The server starts this bucket anew (a gap, lost data): its next events count whatever their
 * numbers. */
void vug_positions_drop_floor(struct vug_positions *positions, uint32_t bucket);
/* This token covers everything processed so far. ERROR_MEMORY: the old token and the positions
 * stay, which say the same. */
enum error vug_positions_take_token(struct vug_positions *positions, struct slice token);

/* Appends the CqPosition messages behind the token, each as field `field`. */
void vug_positions_encode(const struct vug_positions *positions, uint32_t field, struct buf *out);
void vug_positions_text(const struct vug_positions *positions, struct buf *text);
/* ERROR_INVALID: not such a text. ERROR_MEMORY. */
enum error vug_positions_parse(struct vug_positions *positions, struct slice text);

void vug_base64url_encode(struct slice bytes, struct buf *text);
enum error vug_base64url_decode(struct slice text, struct buf *bytes);

#endif
