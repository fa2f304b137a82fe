#include "protocol/value.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/text.h"
#include "protocol/codec.h"

/* One row for each member of EncodedValue. */
struct value_row {
    uint32_t wire_type;
    uint32_t width; /* of the stored payload; 0 = bytes of any length, or none */
    const char *word;
    const char *java_class;
};

static const struct value_row value_rows[] = {
    [VALUE_NOT_SET] = {0, 0, "", ""},
    [VALUE_INT] = {0, 4, "int", "java.lang.Integer"},
    [VALUE_LONG] = {0, 8, "long", "java.lang.Long"},
    [VALUE_SHORT] = {0, 2, "short", "java.lang.Short"},
    [VALUE_BYTE] = {0, 1, "byte", "java.lang.Byte"},
    [VALUE_BOOLEAN] = {0, 1, "boolean", "java.lang.Boolean"},
    [VALUE_DOUBLE] = {1, 8, "double", "java.lang.Double"},
    [VALUE_FLOAT] = {5, 4, "float", "java.lang.Float"},
    [VALUE_BINARY] = {2, 0, "bytes", "[B"},
    [VALUE_STRING] = {2, 0, "string", "java.lang.String"},
    [VALUE_JSON] = {2, 0, "json", "org.apache.geode.pdx.internal.PdxInstanceImpl"},
    [VALUE_NULL] = {0, 0, "null", "null"},
    [VALUE_CUSTOM] = {2, 0, "custom", "java.lang.Object"},
};

enum { VALUE_TYPES = sizeof value_rows / sizeof value_rows[0] };

static bool value_is_bytes(enum value_type type)
{
    return value_rows[type].wire_type == 2;
}

/* Cuts an integer to the width of its type, as a Java cast does. */
static int64_t value_cut(enum value_type type, uint64_t raw)
{
    switch (type) {
    case VALUE_INT:
        return (int32_t)(uint32_t)raw;
    case VALUE_SHORT:
        return (int16_t)(uint16_t)raw;
    case VALUE_BYTE:
        return (int8_t)(uint8_t)raw;
    case VALUE_BOOLEAN:
        return raw != 0;
    case VALUE_NULL:
        return 0;
    default:
        return (int64_t)raw;
    }
}

enum error value_decode(struct slice message, struct value *value)
{
    struct codec_field field;

    *value = (struct value){.type = VALUE_NOT_SET};
    while (message.len > 0) {
        enum error error = codec_next_field(&message, &field);

        if (error != OK)
            return error;
        if (field.number == 0 || field.number >= VALUE_TYPES ||
            field.wire_type != value_rows[field.number].wire_type)
            continue;
        value->type = (enum value_type)field.number;
        switch (value->type) {
        case VALUE_DOUBLE:
            memcpy(&value->float64, &field.integer, sizeof value->float64);
            break;
        case VALUE_FLOAT: {
            uint32_t bits = (uint32_t)field.integer;

            memcpy(&value->float32, &bits, sizeof value->float32);
            break;
        }
        case VALUE_STRING:
        case VALUE_JSON:
            if (!text_is_utf8(field.bytes))
                return ERROR_MALFORMED;
            value->bytes = field.bytes;
            break;
        case VALUE_BINARY:
        case VALUE_CUSTOM:
            value->bytes = field.bytes;
            break;
        default:
            value->integer = value_cut(value->type, field.integer);
            break;
        }
    }
    return OK;
}

size_t value_encoded_size(const struct value *value)
{
    switch (value->type) {
    case VALUE_NOT_SET:
        return 0;
    case VALUE_NULL:
        return 2;
    case VALUE_DOUBLE:
        return 9;
    case VALUE_FLOAT:
        return 5;
    case VALUE_BINARY:
    case VALUE_STRING:
    case VALUE_JSON:
    case VALUE_CUSTOM:
        return codec_bytes_field_size((uint32_t)value->type, value->bytes.len);
    default:
        return 1 + codec_varint_size((uint64_t)value->integer);
    }
}

uint8_t *value_encode(const struct value *value, uint8_t *out)
{
    if (value->type == VALUE_NOT_SET)
        return out;
    if (value_is_bytes(value->type)) {
        out = codec_put_bytes_header(out, (uint32_t)value->type, value->bytes.len);
        if (value->bytes.len > 0)
            memcpy(out, value->bytes.data, value->bytes.len);
        return out + value->bytes.len;
    }
    *out++ = (uint8_t)((uint32_t)value->type << 3 | value_rows[value->type].wire_type);
    switch (value->type) {
    case VALUE_DOUBLE:
        memcpy(out, &value->float64, sizeof value->float64);
        return out + sizeof value->float64;
    case VALUE_FLOAT:
        memcpy(out, &value->float32, sizeof value->float32);
        return out + sizeof value->float32;
    case VALUE_NULL:
        *out++ = 0;
        return out;
    default:
        return codec_put_varint(out, (uint64_t)value->integer);
    }
}

size_t value_stored_size(const struct value *value)
{
    return 1 + (value_is_bytes(value->type) ? value->bytes.len : value_rows[value->type].width);
}

uint8_t *value_store(const struct value *value, uint8_t *out)
{
    *out++ = (uint8_t)value->type;
    if (value_is_bytes(value->type)) {
        if (value->bytes.len > 0)
            memcpy(out, value->bytes.data, value->bytes.len);
        return out + value->bytes.len;
    }
    switch (value->type) {
    case VALUE_DOUBLE:
        memcpy(out, &value->float64, sizeof value->float64);
        break;
    case VALUE_FLOAT:
        memcpy(out, &value->float32, sizeof value->float32);
        break;
    default:
        /* The processor is little-endian (checked below), so the low bytes come first. */
        memcpy(out, &value->integer, value_rows[value->type].width);
        break;
    }
    return out + value_rows[value->type].width;
}

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "stored values are little-endian");

struct value value_load(struct slice stored)
{
    PRE(stored.len >= 1 && stored.data[0] < VALUE_TYPES);
    struct value value = {.type = (enum value_type)stored.data[0]};
    struct slice payload = slice_of(stored.data + 1, stored.len - 1);

    if (value_is_bytes(value.type)) {
        value.bytes = payload;
        return value;
    }
    PRE(payload.len == value_rows[value.type].width);
    switch (value.type) {
    case VALUE_DOUBLE:
        memcpy(&value.float64, payload.data, sizeof value.float64);
        break;
    case VALUE_FLOAT:
        memcpy(&value.float32, payload.data, sizeof value.float32);
        break;
    default: {
        uint64_t raw = 0;

        memcpy(&raw, payload.data, payload.len);
        value.integer = value_cut(value.type, raw);
        break;
    }
    }
    return value;
}

static uint64_t value_double_bits(double number)
{
    uint64_t bits;

    if (isnan(number))
        return 0x7ff8000000000000u;
    memcpy(&bits, &number, sizeof bits);
    return bits;
}

static uint32_t value_float_bits(float number)
{
    uint32_t bits;

    if (isnan(number))
        return 0x7fc00000u;
    memcpy(&bits, &number, sizeof bits);
    return bits;
}

void value_make_key(struct value *key)
{
    if (key->type == VALUE_DOUBLE) {
        uint64_t bits = value_double_bits(key->float64);

        memcpy(&key->float64, &bits, sizeof bits);
    } else if (key->type == VALUE_FLOAT) {
        uint32_t bits = value_float_bits(key->float32);

        memcpy(&key->float32, &bits, sizeof bits);
    }
}

static uint32_t value_fold(uint64_t bits)
{
    return (uint32_t)(bits ^ bits >> 32);
}

/* Eight letters of ASCII, of which the first is the lowest byte: their part of the hash below. Two
 * letters become one number, two of these one, then the last two. */
#define VALUE_31_TO_8 (31u * 31 * 31 * 31 * 31 * 31 * 31 * 31)

static inline uint32_t value_hash_eight(uint64_t letters)
{
    const uint64_t bytes = UINT64_C(0x00ff00ff00ff00ff), pairs = UINT64_C(0x0000ffff0000ffff);

    letters = (letters & bytes) * 31 + (letters >> 8 & bytes);
    letters = (letters & pairs) * (31 * 31) + (letters >> 16 & pairs);
    return (uint32_t)letters * (31u * 31 * 31 * 31) + (uint32_t)(letters >> 32);
}

/* s[0] * 31^(n-1) + ... over UTF-16 units; the text is UTF-8 that has been checked. */
static uint32_t value_hash_text(struct slice text)
{
    const uint8_t *at = text.data, *end;
    uint32_t hash = 0;

    if (text.len == 0)
        return 0;
    end = text.data + text.len;
    while (at < end) {
        uint32_t lead, point;

        /* Letters of ASCII, which is what keys are made of. */
        while (end - at >= 8) {
            uint64_t letters;

            memcpy(&letters, at, sizeof letters);
            if ((letters & UINT64_C(0x8080808080808080)) != 0)
                break;
            hash = hash * VALUE_31_TO_8 + value_hash_eight(letters);
            at += 8;
        }
        if (at == end)
            break;
        lead = *at++;

        if (lead < 0x80) {
            hash = hash * 31 + lead;
            continue;
        }
        if (lead < 0xe0) {
            hash = hash * 31 + ((lead & 0x1f) << 6 | (at[0] & 0x3fu));
            at += 1;
            continue;
        }
        if (lead < 0xf0) {
            hash = hash * 31 + ((lead & 0x0f) << 12 | (at[0] & 0x3fu) << 6 | (at[1] & 0x3fu));
            at += 2;
            continue;
        }
        point =
            (lead & 0x07) << 18 | (at[0] & 0x3fu) << 12 | (at[1] & 0x3fu) << 6 | (at[2] & 0x3fu);
        at += 3;
        point -= 0x10000;
        hash = hash * 31 + (0xd800 | point >> 10);
        hash = hash * 31 + (0xdc00 | (point & 0x3ff));
    }
    return hash;
}

/* Arrays.hashCode(byte[]): bytes are signed. */
static uint32_t value_hash_bytes(struct slice bytes)
{
    uint32_t hash = 1;

    for (size_t i = 0; i < bytes.len; i++) {
        int32_t byte = (int8_t)bytes.data[i];

        hash = hash * 31 + (uint32_t)byte;
    }
    return hash;
}

int32_t value_java_hash(const struct value *key)
{
    switch (key->type) {
    case VALUE_LONG:
        return (int32_t)value_fold((uint64_t)key->integer);
    case VALUE_BOOLEAN:
        return key->integer != 0 ? 1231 : 1237;
    case VALUE_DOUBLE:
        return (int32_t)value_fold(value_double_bits(key->float64));
    case VALUE_FLOAT:
        return (int32_t)value_float_bits(key->float32);
    case VALUE_STRING:
    case VALUE_JSON:
        return (int32_t)value_hash_text(key->bytes);
    case VALUE_BINARY:
    case VALUE_CUSTOM:
        return (int32_t)value_hash_bytes(key->bytes);
    case VALUE_INT:
    case VALUE_SHORT:
    case VALUE_BYTE:
        return (int32_t)key->integer;
    case VALUE_NOT_SET:
    case VALUE_NULL:
        break;
    }
    return 0;
}

uint32_t value_bucket(const struct value *key, uint32_t bucket_count)
{
    PRE(bucket_count > 0 && bucket_count <= INT32_MAX);
    int32_t hash = value_java_hash(key);

    /* |hash mod buckets| is |hash| mod buckets, and 32 bits are divided in half the time. */
    return (hash < 0 ? 0u - (uint32_t)hash : (uint32_t)hash) % bucket_count;
}

bool value_equal(const struct value *a, const struct value *b)
{
    if (a->type != b->type)
        return false;
    switch (a->type) {
    case VALUE_DOUBLE:
        return value_double_bits(a->float64) == value_double_bits(b->float64);
    case VALUE_FLOAT:
        return value_float_bits(a->float32) == value_float_bits(b->float32);
    case VALUE_BINARY:
    case VALUE_STRING:
    case VALUE_JSON:
    case VALUE_CUSTOM:
        return slice_equal(a->bytes, b->bytes);
    case VALUE_NOT_SET:
    case VALUE_NULL:
        return true;
    default:
        return a->integer == b->integer;
    }
}

/* Float.toString(): the fewest digits that read back to the same float, with an exponent outside of
 * 10^-3 to 10^7. */
static void value_text_float(float number, struct buf *text)
{
    char digits[32];
    char *mark;
    int precision = 0, exponent;

    if (isnan(number)) {
        buf_append_text(text, "NaN");
        return;
    }
    if (isinf(number)) {
        buf_append_text(text, number > 0 ? "Infinity" : "-Infinity");
        return;
    }
    do
        snprintf(digits, sizeof digits, "%.*e", precision, (double)number);
    while (strtof(digits, NULL) != number && ++precision < 9);
    mark = strchr(digits, 'e');
    INVARIANT(mark != NULL);
    exponent = (int)strtol(mark + 1, NULL, 10);
    if (number != 0 && (exponent < -3 || exponent >= 7)) {
        *mark = '\0';
        buf_printf(text, "%s%sE%d", digits, precision == 0 ? ".0" : "", exponent);
        return;
    }
    buf_printf(text, "%.*f", precision - exponent > 1 ? precision - exponent : 1, (double)number);
}

void value_text(const struct value *value, struct buf *text)
{
    switch (value->type) {
    case VALUE_BOOLEAN:
        buf_append_text(text, value->integer != 0 ? "true" : "false");
        break;
    case VALUE_DOUBLE: {
        char digits[TEXT_DOUBLE_BYTES];

        buf_append(text, digits, text_double_java(value->float64, digits));
        break;
    }
    case VALUE_FLOAT:
        value_text_float(value->float32, text);
        break;
    case VALUE_STRING:
    case VALUE_JSON:
        buf_append_slice(text, value->bytes);
        break;
    case VALUE_BINARY:
    case VALUE_CUSTOM:
        for (size_t i = 0; i < value->bytes.len; i++)
            buf_printf(text, "%02x", value->bytes.data[i]);
        break;
    case VALUE_NOT_SET:
    case VALUE_NULL:
        buf_append_text(text, "null");
        break;
    default:
        buf_printf(text, "%lld", (long long)value->integer);
        break;
    }
}

const char *value_java_class(enum value_type type)
{
    return value_rows[type].java_class;
}

const char *value_type_word(enum value_type type)
{
    return value_rows[type].word;
}

enum value_type value_type_of_word(const char *word)
{
    for (uint32_t type = VALUE_INT; type < VALUE_TYPES; type++) {
        if (type != VALUE_NULL && type != VALUE_CUSTOM && strcmp(value_rows[type].word, word) == 0)
            return (enum value_type)type;
    }
    return VALUE_NOT_SET;
}
