/* A value or key of a region: one of the EncodedValue variants, immutable.
 *
 * On the wire it is a protobuf EncodedValue; stored it is one type byte and its bytes, so that a
 * get is a copy. The type is part of a key's identity: int 1, long 1 and "1" are three keys
 * (captured from a real Geode). */
#ifndef VUG_PROTOCOL_VALUE_H
#define VUG_PROTOCOL_VALUE_H

#include "common/buf.h"
#include "common/error.h"
#include "common/slice.h"

/* The numbers are the field numbers of EncodedValue. */
enum value_type {
    VALUE_NOT_SET = 0, /* no known member: an error wherever a value is needed, not null */
    VALUE_INT = 1,
    VALUE_LONG = 2,
    VALUE_SHORT = 3,
    VALUE_BYTE = 4,
    VALUE_BOOLEAN = 5,
    VALUE_DOUBLE = 6,
    VALUE_FLOAT = 7,
    VALUE_BINARY = 8,
    VALUE_STRING = 9,
    VALUE_JSON = 10,
    VALUE_NULL = 11,
    VALUE_CUSTOM = 12,
};

struct value {
    enum value_type type;
    union {
        int64_t integer; /* INT LONG SHORT BYTE (cut to their width, sign kept) BOOLEAN */
        double float64;
        float float32;
        struct slice bytes; /* BINARY STRING JSON CUSTOM; owned by somebody else */
    };
};

/* Reads the content of an EncodedValue message (without its own tag and length); the last member
 * wins, unknown fields are skipped. Invalid UTF-8 in STRING or JSON, a bad wire type or a truncated
 * field: ERROR_MALFORMED (the connection is closed). No member: OK and VALUE_NOT_SET. Points into
 * `message`. JSON is not validated here. */
enum error value_decode(struct slice message, struct value *value);

/* Bytes of the EncodedValue message, and writing it; returns the end. `out` has
 * value_encoded_size() bytes of room. */
size_t value_encoded_size(const struct value *value);
uint8_t *value_encode(const struct value *value, uint8_t *out);

/* The stored form: a type byte, then the payload (integers and floats little-endian of their width,
 * else the bytes). */
size_t value_stored_size(const struct value *value);
uint8_t *value_store(const struct value *value, uint8_t *out);
/* Reads a stored form that value_store() made; points into it. */
struct value value_load(struct slice stored);

/* Java's hashCode of the key (String, Integer, Long, Double bits, Boolean 1231/1237, ...; BINARY
 * and JSON by content: Arrays.hashCode and the hash of its text as a String), which routes: bucket
 * = |hash mod buckets|. The hash of the minimum integer stays non-negative. */
int32_t value_java_hash(const struct value *key);
uint32_t value_bucket(const struct value *key, uint32_t bucket_count);

/* Gives a key its one form: every NaN becomes the same NaN. Afterwards two keys are equal exactly
 * when their stored forms are. */
void value_make_key(struct value *key);

/* Equal as keys: same type, same bytes (doubles by bits, all NaN equal). */
bool value_equal(const struct value *a, const struct value *b);

/* For texts of errors and of the command line: Java's toString for scalars (5, 5.0, true), strings
 * as they are, bytes in lower-case hex. */
void value_text(const struct value *value, struct buf *text);

/* "java.lang.Integer" and so on, as key and value constraints name them; and the word of the
 * command line's --type ("int"). */
const char *value_java_class(enum value_type type);
const char *value_type_word(enum value_type type);
enum value_type value_type_of_word(const char *word); /* VALUE_NOT_SET if unknown */

#endif
