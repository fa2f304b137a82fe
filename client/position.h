/* What a subscriber has processed: for each bucket the last event, and which of these its last token does not cover yet.
 *
 * The text of a resume token is made and read here: the server's token in base64url and, behind a full stop, the
 * positions that came after it (CqPosition messages, in base64url). */
#ifndef VUG_CLIENT_POSITION_H
#define VUG_CLIENT_POSITION_H

#include "common/buf.h"
#include "common/error.h"
#include "common/slice.h"

struct position {
    uint64_t seq;
    uint32_t sub;
    uint32_t generation; /* 0: nothing known of the bucket */
    bool after_token;    /* processed since the token was taken */
    bool floor;          /* known when the connection began: what is not above it is a repeat */
};

struct positions {
    struct position *bucket; /* by number */
    uint32_t count;
    struct buf token; /* the server's, as bytes */
};

void positions_init(struct positions *positions);
void positions_fini(struct positions *positions);

/* Room for this bucket, so that positions_processed() cannot fail. ERROR_LIMIT: no bucket has such a number. ERROR_MEMORY. */
enum error positions_reserve(struct positions *positions, uint32_t bucket);
/* An event that was processed before the present connection began. */
bool positions_is_repeat(const struct positions *positions, uint32_t bucket, uint32_t generation, uint64_t seq,
                         uint32_t sub);
void positions_processed(struct positions *positions, uint32_t bucket, uint32_t generation, uint64_t seq,
                         uint32_t sub);
/* A new connection begins: all that is known becomes the floor. */
void positions_set_floor(struct positions *positions);
/* The server starts this bucket anew (a gap, lost data): its next events count whatever their numbers. */
void positions_drop_floor(struct positions *positions, uint32_t bucket);
/* This token covers everything processed so far. ERROR_MEMORY: the old token and the positions stay, which say the same. */
enum error positions_take_token(struct positions *positions, struct slice token);

/* Appends the CqPosition messages behind the token, each as field `field`. */
void positions_encode(const struct positions *positions, uint32_t field, struct buf *out);
void positions_text(const struct positions *positions, struct buf *text);
/* ERROR_INVALID: not such a text. ERROR_MEMORY. */
enum error positions_parse(struct positions *positions, struct slice text);

void base64url_encode(struct slice bytes, struct buf *text);
enum error base64url_decode(struct slice text, struct buf *bytes);

#endif
