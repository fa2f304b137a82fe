/* A growing byte buffer. A failed allocation sets `failed` and every later append does nothing, so
 * a caller appends freely and asks once at the end. */
#ifndef VUG_COMMON_BUF_H
#define VUG_COMMON_BUF_H

#include <stdarg.h>

#include "common/slice.h"

struct buf {
    uint8_t *data;
    size_t len;
    size_t cap;
    bool failed;
};

void buf_init(struct buf *buf);
void buf_fini(struct buf *buf);
void buf_clear(struct buf *buf); /* keeps the memory, clears `failed` */

/* Room for `len` more bytes, whose number the caller then adds to buf->len. NULL without memory. */
uint8_t *buf_reserve(struct buf *buf, size_t len);
void buf_append(struct buf *buf, const void *data, size_t len);
void buf_append_slice(struct buf *buf, struct slice slice);
void buf_append_text(struct buf *buf, const char *text);
void buf_append_byte(struct buf *buf, uint8_t byte);
void buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_vprintf(struct buf *buf, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));

/* Forgets the first `len` bytes and moves the rest to the front. */
void buf_consume(struct buf *buf, size_t len);

static inline struct slice buf_slice(const struct buf *buf)
{
    return slice_of(buf->data, buf->len);
}

#endif
