#include "query/value.h"

#include <endian.h>
#include <math.h>
#include <xxhash.h>

#include "query/decimal.h"

typedef unsigned __int128 uint128;

/* ---- Types ---- */

static const struct {
    const char *name;
    uint8_t integer_digits; /* of the DECIMAL that holds every value of an integer type */
    enum value_type wire;
} TYPES[] = {
    [QUERY_TYPE_NULL] = {"NULL", 0, VALUE_NULL},
    [QUERY_TYPE_BOOLEAN] = {"BOOLEAN", 0, VALUE_BOOLEAN},
    [QUERY_TYPE_TINYINT] = {"TINYINT", 3, VALUE_BYTE},
    [QUERY_TYPE_SMALLINT] = {"SMALLINT", 5, VALUE_SHORT},
    [QUERY_TYPE_INT] = {"INT", 10, VALUE_INT},
    [QUERY_TYPE_BIGINT] = {"BIGINT", 19, VALUE_LONG},
    [QUERY_TYPE_FLOAT] = {"FLOAT", 0, VALUE_FLOAT},
    [QUERY_TYPE_DOUBLE] = {"DOUBLE", 0, VALUE_DOUBLE},
    [QUERY_TYPE_DECIMAL] = {"DECIMAL", 0, VALUE_STRING},
    [QUERY_TYPE_STRING] = {"STRING", 0, VALUE_STRING},
    [QUERY_TYPE_BYTES] = {"BYTES", 0, VALUE_BINARY},
    [QUERY_TYPE_TIMESTAMP] = {"TIMESTAMP", 0, VALUE_LONG},
    [QUERY_TYPE_VARIANT] = {"VARIANT", 0, VALUE_NULL}, /* no value is of this kind */
};

void query_type_name(struct query_type type, struct buf *name)
{
    buf_append_text(name, TYPES[type.kind].name);
    if (type.kind == QUERY_TYPE_DECIMAL) {
        buf_printf(name, "(%u, %u)", type.precision, type.scale);
    } else if (type.kind == QUERY_TYPE_TIMESTAMP) {
        buf_printf(name, "(%u)", type.precision);
    }
}

const char *query_type_article(enum query_type_kind kind)
{
    return TYPES[kind].name[0] == 'I' ? "an" : "a";
}

bool query_type_equal(struct query_type a, struct query_type b)
{
    if (a.kind != b.kind) {
        return false;
    }
    if (a.kind == QUERY_TYPE_DECIMAL) {
        return a.precision == b.precision && a.scale == b.scale;
    }
    return a.kind != QUERY_TYPE_TIMESTAMP || a.precision == b.precision;
}

bool query_type_is_integer(struct query_type type)
{
    return type.kind >= QUERY_TYPE_TINYINT && type.kind <= QUERY_TYPE_BIGINT;
}

bool query_type_is_numeric(struct query_type type)
{
    return type.kind >= QUERY_TYPE_TINYINT && type.kind <= QUERY_TYPE_DECIMAL;
}

static bool is_approximate(struct query_type type)
{
    return type.kind == QUERY_TYPE_FLOAT || type.kind == QUERY_TYPE_DOUBLE;
}

/* An integer type as the DECIMAL that holds all of it. */
static struct query_type as_decimal(struct query_type type)
{
    if (type.kind != QUERY_TYPE_DECIMAL) {
        type = (struct query_type){.kind = QUERY_TYPE_DECIMAL,
                                   .precision = TYPES[type.kind].integer_digits};
    }
    return type;
}

static int max_int(int a, int b)
{
    return a > b ? a : b;
}

static int min_int(int a, int b)
{
    return a < b ? a : b;
}

/* The digits before the point come first; of those after it at least `kept` stay, if there were as
 * many. */
static struct query_type decimal_type(int precision, int scale, int kept)
{
    if (precision > DECIMAL_DIGITS) {
        scale = max_int(DECIMAL_DIGITS - (precision - scale), min_int(scale, kept));
        precision = DECIMAL_DIGITS;
    }
    return (struct query_type){
        .kind = QUERY_TYPE_DECIMAL, .precision = (uint8_t)precision, .scale = (uint8_t)scale};
}

static struct query_type decimal_arithmetic(enum query_arithmetic op, struct query_type a,
                                            struct query_type b)
{
    const int kept = 6;
    int a_whole = a.precision - a.scale, b_whole = b.precision - b.scale;
    int scale = max_int(a.scale, b.scale);
    switch (op) {
    case QUERY_MULTIPLY:
        return decimal_type(a.precision + b.precision + 1, a.scale + b.scale, kept);
    case QUERY_DIVIDE:
        scale = max_int(kept, a.scale + b.precision + 1);
        return decimal_type(a_whole + b.scale + scale, scale, kept);
    case QUERY_MODULO:
        return scale == 0 ? b : decimal_type(min_int(a_whole, b_whole) + scale, scale, kept);
    default:
        return decimal_type(max_int(a_whole, b_whole) + scale + 1, scale, kept);
    }
}

/* Of two numbers, unless both are exact and one is a DECIMAL. */
static struct query_type wider(struct query_type a, struct query_type b)
{
    bool mixed = (is_approximate(a) && b.kind == QUERY_TYPE_DECIMAL) ||
                 (is_approximate(b) && a.kind == QUERY_TYPE_DECIMAL);
    return (struct query_type){.kind = mixed             ? QUERY_TYPE_DOUBLE
                                       : a.kind > b.kind ? a.kind
                                                         : b.kind};
}

static bool are_exact_with_decimal(struct query_type a, struct query_type b)
{
    return (a.kind == QUERY_TYPE_DECIMAL || b.kind == QUERY_TYPE_DECIMAL) && !is_approximate(a) &&
           !is_approximate(b);
}

bool query_type_arithmetic(enum query_arithmetic op, struct query_type a, struct query_type b,
                           struct query_type *result)
{
    a = a.kind == QUERY_TYPE_NULL ? b : a;
    b = b.kind == QUERY_TYPE_NULL ? a : b;
    if (a.kind == QUERY_TYPE_NULL) {
        *result = a;
        return true;
    }
    if (!query_type_is_numeric(a) || !query_type_is_numeric(b)) {
        return false;
    }
    *result = are_exact_with_decimal(a, b) ? decimal_arithmetic(op, as_decimal(a), as_decimal(b))
                                           : wider(a, b);
    return true;
}

bool query_type_common(struct query_type a, struct query_type b, struct query_type *result)
{
    a = a.kind == QUERY_TYPE_NULL ? b : a;
    b = b.kind == QUERY_TYPE_NULL ? a : b;
    if (query_type_is_numeric(a) && query_type_is_numeric(b)) {
        if (are_exact_with_decimal(a, b)) {
            a = as_decimal(a);
            b = as_decimal(b);
            int scale = max_int(a.scale, b.scale);
            int whole = max_int(a.precision - a.scale, b.precision - b.scale);
            *result = decimal_type(whole + scale, scale, 0);
        } else {
            *result = wider(a, b);
        }
        return true;
    }
    *result = a;
    result->precision = a.precision > b.precision ? a.precision : b.precision;
    return a.kind == b.kind;
}

struct query_type query_value_type(const struct query_value *value)
{
    struct query_type type = {.kind = value->kind};
    if (value->kind == QUERY_TYPE_DECIMAL) {
        type.precision = DECIMAL_DIGITS;
        type.scale = value->scale;
    } else if (value->kind == QUERY_TYPE_TIMESTAMP) {
        type.precision = 3;
    }
    return type;
}

/* ---- Order, identity, hash ---- */

/* The bits of a double, made to grow with the number: -0.0 right before 0.0, all NaN one and last.
 */
static uint64_t ordered_bits(double number)
{
    uint64_t bits;
    if (isnan(number)) {
        return UINT64_MAX;
    }
    memcpy(&bits, &number, sizeof bits);
    return bits >> 63 != 0 ? ~bits : bits | UINT64_C(1) << 63;
}

static int compare_bytes(struct slice a, struct slice b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len == 0 ? 0 : memcmp(a.data, b.data, len);
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

int query_value_compare_total(const struct query_value *a, const struct query_value *b)
{
    if (a->kind == QUERY_TYPE_NULL || b->kind == QUERY_TYPE_NULL) {
        return (a->kind != QUERY_TYPE_NULL) - (b->kind != QUERY_TYPE_NULL);
    }
    PRE(a->kind == b->kind);
    uint64_t left, right;
    switch (a->kind) {
    case QUERY_TYPE_BOOLEAN:
        return a->boolean - b->boolean;
    case QUERY_TYPE_FLOAT: /* the order of floats is that of the doubles they are */
        left = ordered_bits((double)a->float32);
        right = ordered_bits((double)b->float32);
        return (left > right) - (left < right);
    case QUERY_TYPE_DOUBLE:
        left = ordered_bits(a->float64);
        right = ordered_bits(b->float64);
        return (left > right) - (left < right);
    case QUERY_TYPE_DECIMAL:
        return decimal_compare(a->decimal, a->scale, b->decimal, b->scale);
    case QUERY_TYPE_STRING:
    case QUERY_TYPE_BYTES:
        return compare_bytes(a->text, b->text);
    default:
        return (a->integer > b->integer) - (a->integer < b->integer);
    }
}

bool query_value_identical(const struct query_value *a, const struct query_value *b)
{
    if (a->kind != b->kind || (a->kind == QUERY_TYPE_DECIMAL && a->scale != b->scale)) {
        return false;
    }
    return query_value_compare_total(a, b) == 0;
}

uint64_t query_value_hash(const struct query_value *value, uint64_t seed)
{
    uint8_t content[24] = {(uint8_t)value->kind};
    uint64_t words[2] = {0};
    seed += (uint64_t)value->kind * UINT64_C(0x9e3779b97f4a7c15);
    switch (value->kind) {
    case QUERY_TYPE_NULL:
        break;
    case QUERY_TYPE_BOOLEAN:
        words[0] = value->boolean;
        break;
    case QUERY_TYPE_FLOAT:
        words[0] = ordered_bits((double)value->float32);
        break;
    case QUERY_TYPE_DOUBLE:
        words[0] = ordered_bits(value->float64);
        break;
    case QUERY_TYPE_DECIMAL:
        content[1] = value->scale;
        words[0] = (uint64_t)value->decimal;
        words[1] = (uint64_t)((uint128)value->decimal >> 64);
        break;
    case QUERY_TYPE_STRING:
    case QUERY_TYPE_BYTES:
        return XXH3_64bits_withSeed(value->text.len == 0 ? content : value->text.data,
                                    value->text.len, seed);
    default:
        words[0] = (uint64_t)value->integer;
    }
    for (int i = 0; i < 2; i++) {
        uint64_t word = htole64(words[i]);
        memcpy(content + 8 + 8 * i, &word, sizeof word);
    }
    return XXH3_64bits_withSeed(content, sizeof content, seed);
}

/* ---- Bytes: kind, then what the kind needs ---- */

enum { VARINT_BYTES_MAX = 19 }; /* of 128 bits */

static void pack_varint(uint128 number, struct buf *packed)
{
    uint8_t bytes[VARINT_BYTES_MAX];
    size_t len = 0;
    while (number >= 0x80) {
        bytes[len++] = (uint8_t)(number | 0x80);
        number >>= 7;
    }
    bytes[len++] = (uint8_t)number;
    buf_append(packed, bytes, len);
}

static void pack_signed(int128 number, struct buf *packed)
{
    uint128 doubled = (uint128)number << 1;
    pack_varint(number < 0 ? ~doubled : doubled, packed);
}

void query_value_pack(const struct query_value *value, struct buf *packed)
{
    buf_append_byte(packed, (uint8_t)value->kind);
    switch (value->kind) {
    case QUERY_TYPE_NULL:
        break;
    case QUERY_TYPE_BOOLEAN:
        buf_append_byte(packed, value->boolean);
        break;
    case QUERY_TYPE_FLOAT: {
        uint32_t bits = UINT32_C(0x7fc00000);
        if (!isnan(value->float32)) {
            memcpy(&bits, &value->float32, sizeof bits);
        }
        bits = htole32(bits);
        buf_append(packed, &bits, sizeof bits);
        break;
    }
    case QUERY_TYPE_DOUBLE: {
        uint64_t bits = UINT64_C(0x7ff8000000000000);
        if (!isnan(value->float64)) {
            memcpy(&bits, &value->float64, sizeof bits);
        }
        bits = htole64(bits);
        buf_append(packed, &bits, sizeof bits);
        break;
    }
    case QUERY_TYPE_DECIMAL:
        buf_append_byte(packed, value->scale);
        pack_signed(value->decimal, packed);
        break;
    case QUERY_TYPE_STRING:
    case QUERY_TYPE_BYTES:
        pack_varint(value->text.len, packed);
        buf_append_slice(packed, value->text);
        break;
    default:
        pack_signed(value->integer, packed);
    }
}

static bool take(struct slice *rest, size_t len, struct slice *taken)
{
    if (rest->len < len) {
        return false;
    }
    *taken = slice_of(rest->data, len);
    *rest = slice_of(rest->data + len, rest->len - len);
    return true;
}

/* Only the shortest form, so that a value has one form. */
static bool take_varint(struct slice *rest, unsigned bits, uint128 *number)
{
    struct slice byte;
    *number = 0;
    for (unsigned shift = 0; shift < bits; shift += 7) {
        if (!take(rest, 1, &byte)) {
            return false;
        }
        uint128 part = byte.data[0] & 0x7f;
        if (part << shift >> shift != part || (bits == 64 && part << shift >> 64 != 0)) {
            return false;
        }
        *number |= part << shift;
        if ((byte.data[0] & 0x80) == 0) {
            return byte.data[0] != 0 || shift == 0;
        }
    }
    return false;
}

static bool take_signed(struct slice *rest, unsigned bits, int128 *number)
{
    uint128 doubled;
    if (!take_varint(rest, bits, &doubled)) {
        return false;
    }
    *number = (int128)(doubled >> 1 ^ -(doubled & 1));
    return true;
}

static bool take_integer(struct slice *rest, struct query_value *value)
{
    int128 number;
    if (!take_signed(rest, 64, &number)) {
        return false;
    }
    value->integer = (int64_t)number;
    switch (value->kind) {
    case QUERY_TYPE_TINYINT:
        return number == (int8_t)number;
    case QUERY_TYPE_SMALLINT:
        return number == (int16_t)number;
    case QUERY_TYPE_INT:
        return number == (int32_t)number;
    default:
        return true;
    }
}

static bool take_content(struct slice *rest, struct query_value *value)
{
    struct slice bytes;
    uint128 len;
    switch (value->kind) {
    case QUERY_TYPE_NULL:
        return true;
    case QUERY_TYPE_BOOLEAN:
        if (!take(rest, 1, &bytes) || bytes.data[0] > 1) {
            return false;
        }
        value->boolean = bytes.data[0] == 1;
        return true;
    case QUERY_TYPE_FLOAT: {
        uint32_t bits;
        if (!take(rest, sizeof bits, &bytes)) {
            return false;
        }
        memcpy(&bits, bytes.data, sizeof bits);
        bits = le32toh(bits);
        memcpy(&value->float32, &bits, sizeof bits);
        return true;
    }
    case QUERY_TYPE_DOUBLE: {
        uint64_t bits;
        if (!take(rest, sizeof bits, &bytes)) {
            return false;
        }
        memcpy(&bits, bytes.data, sizeof bits);
        bits = le64toh(bits);
        memcpy(&value->float64, &bits, sizeof bits);
        return true;
    }
    case QUERY_TYPE_DECIMAL:
        if (!take(rest, 1, &bytes) || bytes.data[0] > DECIMAL_DIGITS) {
            return false;
        }
        value->scale = bytes.data[0];
        return take_signed(rest, 128, &value->decimal) &&
               decimal_fits(value->decimal, DECIMAL_DIGITS);
    case QUERY_TYPE_STRING:
    case QUERY_TYPE_BYTES:
        return take_varint(rest, 64, &len) && len <= rest->len &&
               take(rest, (size_t)len, &value->text);
    default:
        return take_integer(rest, value);
    }
}

enum error query_value_unpack(struct slice *rest, struct query_value *value)
{
    struct slice from = *rest, kind;
    if (!take(&from, 1, &kind) || kind.data[0] > QUERY_TYPE_TIMESTAMP) {
        return ERROR_MALFORMED;
    }
    struct query_value result = {.kind = (enum query_type_kind)kind.data[0]};
    if (!take_content(&from, &result)) {
        return ERROR_MALFORMED;
    }
    *rest = from;
    *value = result;
    return OK;
}

/* ---- Wire ---- */

enum error query_value_to_wire(const struct query_value *value, struct arena *arena,
                               struct value *wire)
{
    *wire = (struct value){.type = TYPES[value->kind].wire};
    switch (value->kind) {
    case QUERY_TYPE_NULL:
        break;
    case QUERY_TYPE_BOOLEAN:
        wire->integer = value->boolean;
        break;
    case QUERY_TYPE_FLOAT:
        wire->float32 = value->float32;
        break;
    case QUERY_TYPE_DOUBLE:
        wire->float64 = value->float64;
        break;
    case QUERY_TYPE_DECIMAL: {
        char *text = arena_alloc(arena, DECIMAL_TEXT_MAX);
        if (text == NULL) {
            return ERROR_MEMORY;
        }
        wire->bytes = slice_of(text, decimal_format(value->decimal, value->scale, text));
        break;
    }
    case QUERY_TYPE_STRING:
    case QUERY_TYPE_BYTES:
        wire->bytes = value->text;
        break;
    default:
        wire->integer = value->integer;
    }
    return OK;
}

enum error query_value_from_wire(const struct value *wire, struct query_value *value)
{
    static const enum query_type_kind KINDS[] = {
        [VALUE_INT] = QUERY_TYPE_INT,         [VALUE_LONG] = QUERY_TYPE_BIGINT,
        [VALUE_SHORT] = QUERY_TYPE_SMALLINT,  [VALUE_BYTE] = QUERY_TYPE_TINYINT,
        [VALUE_BOOLEAN] = QUERY_TYPE_BOOLEAN, [VALUE_DOUBLE] = QUERY_TYPE_DOUBLE,
        [VALUE_FLOAT] = QUERY_TYPE_FLOAT,     [VALUE_BINARY] = QUERY_TYPE_BYTES,
        [VALUE_STRING] = QUERY_TYPE_STRING,   [VALUE_NULL] = QUERY_TYPE_NULL,
        [VALUE_CUSTOM] = QUERY_TYPE_NULL,
    };
    if (wire->type == VALUE_NOT_SET || wire->type == VALUE_JSON || wire->type == VALUE_CUSTOM) {
        return ERROR_INVALID;
    }
    *value = (struct query_value){.kind = KINDS[wire->type]};
    switch (value->kind) {
    case QUERY_TYPE_NULL:
        break;
    case QUERY_TYPE_BOOLEAN:
        value->boolean = wire->integer != 0;
        break;
    case QUERY_TYPE_FLOAT:
        value->float32 = wire->float32;
        break;
    case QUERY_TYPE_DOUBLE:
        value->float64 = wire->float64;
        break;
    case QUERY_TYPE_STRING:
    case QUERY_TYPE_BYTES:
        value->text = wire->bytes;
        break;
    default:
        value->integer = wire->integer;
    }
    return OK;
}
