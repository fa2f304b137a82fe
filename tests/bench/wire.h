/* As much of Vug's wire format as a load needs, written apart from the product: the two can
 * disagree. */
#ifndef VUG_TESTS_BENCH_WIRE_H
#define VUG_TESTS_BENCH_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What opens a connection of version 1.1, and the answer to it. */
extern const uint8_t wire_hello[11], wire_accepted[7];

/* Each appends and returns the new end; the caller has seen to the room. */
uint8_t *wire_put_varint(uint8_t *out, uint64_t value);
uint8_t *wire_put_integer(uint8_t *out, uint32_t number, uint64_t value);
uint8_t *wire_put_bytes(uint8_t *out, uint32_t number, const void *data, size_t len);

/* A whole frame: length, and `body` as member `number` of Message. */
uint8_t *wire_put_frame(uint8_t *out, uint32_t number, const void *body, size_t len);

/* A place in bytes that were received. */
struct wire_reader {
    const uint8_t *at, *end;
};

/* False if no whole varint is there; the reader stays then. */
bool wire_get_varint(struct wire_reader *reader, uint64_t *value);

struct wire_field {
    uint32_t number, wire_type;
    uint64_t integer;         /* varint; fixed64 by its bits */
    struct wire_reader bytes; /* length-delimited */
};
/* False at the end, and for bytes that are no field: then reader->at != reader->end. */
bool wire_get_field(struct wire_reader *reader, struct wire_field *field);

#endif
