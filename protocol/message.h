/* Messages by their descriptors: which members Message has, strict checks, unpacking into an arena.
 *
 * protobuf-c neither checks UTF-8 nor skips a known field of another wire type as the reference
 * does, so a body is checked, and where it must be rewritten, before protobuf-c sees it. Requests
 * of the hot path do not come here; protocol/codec.h reads them by hand. */
#ifndef VUG_PROTOCOL_MESSAGE_H
#define VUG_PROTOCOL_MESSAGE_H

#include "common/arena.h"
#include "common/buf.h"
#include "common/error.h"
#include "protocol/admin.pb-c.h"
#include "protocol/geode.pb-c.h"
#include "protocol/value.pb-c.h"
#include "protocol/vug.pb-c.h"

/* What a member of Message is. */
enum message_kind {
    MESSAGE_UNKNOWN,
    MESSAGE_REQUEST,
    MESSAGE_RESPONSE, /* pushes too */
};
enum message_kind message_kind(uint32_t number);

/* The reply's number is the request's + 1. The words that name a request in texts ("oqlQuery");
 * NULL for what is none. */
const char *message_request_name(uint32_t number);

static inline bool message_is_member(uint32_t number)
{
    return (number >= 1 && number <= 35) || (number >= 1001 && number <= 1035);
}

/* The descriptor of a member; NULL if there is none. */
const ProtobufCMessageDescriptor *message_descriptor(uint32_t number);

/* Checks a body as strictly as the reference parses it: fields well formed, known strings UTF-8 at
 * every depth, no groups. Known fields of another wire type count as unknown and are skipped. A
 * string field of protobuf-c's own kind (messages between members) must not hold NUL.
 * ERROR_MALFORMED. */
enum error message_check(const ProtobufCMessageDescriptor *descriptor, struct slice body);
enum error message_check_member(uint32_t number, struct slice body);

/* message_check(), then unpacks; everything lives in the arena, and strings point to copies there.
 * ERROR_MALFORMED, ERROR_MEMORY (also at the arena's cap). The result is cast to the struct of the
 * descriptor. */
enum error message_unpack(const ProtobufCMessageDescriptor *descriptor, struct arena *arena,
                          struct slice body, ProtobufCMessage **message);

/* Writes the body again without what is unknown, with the shortest lengths. With `truncated`, the
 * input may end at a boundary between fields at any depth: the lengths around the end are taken as
 * what is there, as the reference does when a client ends its side too early. ERROR_MALFORMED,
 * ERROR_MEMORY. */
enum error message_rewrite(const ProtobufCMessageDescriptor *descriptor, struct slice body,
                           bool truncated, struct buf *out);

/* Between slices and protobuf-c's byte fields. The bytes are not copied. */
static inline ProtobufCBinaryData message_bytes(struct slice slice)
{
    return (ProtobufCBinaryData){.len = slice.len, .data = (uint8_t *)(uintptr_t)slice.data};
}

static inline struct slice message_slice(ProtobufCBinaryData bytes)
{
    return slice_of(bytes.data, bytes.len);
}

#endif
