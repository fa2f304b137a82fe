/* What travels in the frames of EVENTS feeds. Numbers are varints.
 *
 *   OPEN    FEED_EVENTS feed query flags credit run_max count {bucket position}...
 *   CREDIT  FEED_EVENTS feed bytes          CLOSE  FEED_EVENTS feed
 *   EVENTS  FEED_EVENTS feed item...        (STATUS: the same)
 *
 * Items are in the order in which they happened; what follows of a bucket never passes what went
 * before. */
#ifndef VUG_SERVER_FEED_WIRE_H
#define VUG_SERVER_FEED_WIRE_H

#include "server/subscription.h"

enum feed_item_type {
    FEED_ITEM_POSITION = 1, /* bucket position: where the reader stands in it now */
    FEED_ITEM_EVENT = 2,    /* bucket kind loose seq sub encoded */
    FEED_ITEM_RUN = 3,      /* count raw: so many loose events follow, which count as a whole */
    FEED_ITEM_STATUS = 4,   /* bucket code from to text */
    FEED_ITEM_MOVED = 5,    /* bucket: this server does not lead it any more */
    FEED_ITEM_END = 6,      /* nothing more comes through this feed: open another one */
};

struct feed_item {
    enum feed_item_type type;
    uint32_t bucket;
    struct token_position position; /* POSITION; `at` alone for EVENT */
    uint8_t kind;
    bool loose;
    uint32_t count, raw;
    uint32_t code;
    uint64_t from_seq, to_seq;
    struct slice bytes; /* encoded event, text */
};
void feed_item_put(struct buf *out, const struct feed_item *item);
enum error feed_item_next(struct slice *rest, struct feed_item *item); /* ERROR_MALFORMED */

/* Bits of OPEN's flags. */
enum { FEED_PROGRESS = 1, FEED_CONFLATES = 2, FEED_LATEST = 4, FEED_CREATED = 8 };

struct feed_open {
    uint64_t feed, query, flags, credit, run_max;
    uint32_t count;
    struct slice buckets; /* read with feed_open_next() */
};
void feed_open_put(struct buf *out, const struct feed_open *open);
void feed_open_put_bucket(struct buf *out, uint32_t bucket, const struct token_position *position);
enum error feed_open_read(struct slice content, struct feed_open *open);
enum error feed_open_next(struct slice *rest, uint32_t *bucket, struct token_position *position);

void feed_put_number(struct buf *out, uint64_t number);
enum error feed_get_number(struct slice *rest, uint64_t *number);

#endif
