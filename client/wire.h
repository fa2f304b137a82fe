/* Appending protobuf fields to a buffer, and reading them, without generated code: requests are
 * built from slices and struct value as they are, and a failed allocation shows once, in the
 * buffer. */
#ifndef VUG_CLIENT_WIRE_H
#define VUG_CLIENT_WIRE_H

#include "common/buf.h"
#include "protocol/codec.h"
#include "protocol/value.h"

/* Zero and empty are the default of proto3 and are left out. */
void vug_wire_uint(struct buf *out, uint32_t field, uint64_t value);
void vug_wire_sint(struct buf *out, uint32_t field, int64_t value); /* zigzag */
void vug_wire_bytes(struct buf *out, uint32_t field, struct slice bytes);
void vug_wire_text(struct buf *out, uint32_t field, const char *text); /* NULL is empty */

/* Present even when empty. */
void vug_wire_header(struct buf *out, uint32_t field, size_t content_len);
void vug_wire_value(struct buf *out, uint32_t field, const struct value *value);
/* Entry, WriteOperation: key in `key_field`, the value, if there is one, in the next. */
void vug_wire_pair(struct buf *out, uint32_t field, uint32_t key_field, uint64_t type,
                   const struct value *key, const struct value *value);
/* One entry of a map<string, EncodedValue>. */
void vug_wire_named_value(struct buf *out, uint32_t field, const char *name,
                          const struct value *value);
/* A whole frame: length, member `number`, its content. */
void vug_wire_frame(struct buf *out, uint32_t number, struct slice body);

static inline int64_t vug_wire_unzigzag(uint64_t value)
{
    return (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
}

/* Takes fields off *walk until one has this number and is length-delimited; false at the end or
 * when the rest is malformed. */
bool vug_wire_next(struct slice *walk, uint32_t field, struct slice *content);

#endif
