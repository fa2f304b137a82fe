#include "common/buf.h"

#include <stdio.h>

#include "common/error.h"
#include "common/mem.h"

enum { BUF_BYTES_MIN = 64 };

void buf_init(struct buf *buf)
{
    *buf = (struct buf){0};
}

void buf_fini(struct buf *buf)
{
    mem_free(buf->data);
    *buf = (struct buf){0};
}

void buf_clear(struct buf *buf)
{
    buf->len = 0;
    buf->failed = false;
}

/* Capacity doubles, so that n appends cost n bytes of copying in all. */
static bool buf_grow(struct buf *buf, size_t needed)
{
    size_t cap = buf->cap < BUF_BYTES_MIN ? BUF_BYTES_MIN : buf->cap;
    uint8_t *data;

    while (cap < needed) {
        if (cap > SIZE_MAX / 2) {
            cap = needed;
            break;
        }
        cap *= 2;
    }
    data = mem_realloc(buf->data, cap);
    if (data == NULL)
        return false;
    buf->data = data;
    buf->cap = cap;
    return true;
}

uint8_t *buf_reserve(struct buf *buf, size_t len)
{
    if (buf->failed)
        return NULL;
    if (len > SIZE_MAX - buf->len) {
        buf->failed = true;
        return NULL;
    }
    if ((buf->data == NULL || buf->cap - buf->len < len) && !buf_grow(buf, buf->len + len)) {
        buf->failed = true;
        return NULL;
    }
    return buf->data + buf->len;
}

void buf_append(struct buf *buf, const void *data, size_t len)
{
    uint8_t *end;

    if (len == 0)
        return;
    end = buf_reserve(buf, len);
    if (end == NULL)
        return;
    memcpy(end, data, len);
    buf->len += len;
}

void buf_append_slice(struct buf *buf, struct slice slice)
{
    buf_append(buf, slice.data, slice.len);
}

void buf_append_text(struct buf *buf, const char *text)
{
    buf_append(buf, text, strlen(text));
}

void buf_append_byte(struct buf *buf, uint8_t byte)
{
    uint8_t *end = buf_reserve(buf, 1);

    if (end == NULL)
        return;
    *end = byte;
    buf->len++;
}

void buf_printf(struct buf *buf, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    buf_vprintf(buf, format, args);
    va_end(args);
}

void buf_vprintf(struct buf *buf, const char *format, va_list args)
{
    va_list again;
    size_t room = buf->cap - buf->len;
    int len;

    if (buf->failed)
        return;
    va_copy(again, args);
    len = vsnprintf(room > 0 ? (char *)buf->data + buf->len : NULL, room, format, args);
    INVARIANT(len >= 0);
    if ((size_t)len >= room) {
        /* The terminator needs room too, although it does not count. */
        uint8_t *end = buf_reserve(buf, (size_t)len + 1);

        if (end == NULL)
            goto out;
        vsnprintf((char *)end, (size_t)len + 1, format, again);
    }
    buf->len += (size_t)len;
out:
    va_end(again);
}

void buf_consume(struct buf *buf, size_t len)
{
    PRE(len <= buf->len);
    if (len == 0)
        return;
    buf->len -= len;
    memmove(buf->data, buf->data + len, buf->len);
}
