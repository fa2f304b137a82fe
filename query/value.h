/* SQL values and types: what they are, how they compare, convert and travel. Arithmetic is in
 * query/number.h. */
#ifndef VUG_QUERY_VALUE_H
#define VUG_QUERY_VALUE_H

#include "common/arena.h"
#include "common/buf.h"
#include "common/error.h"
#include "common/slice.h"
#include "protocol/value.h"

enum query_type_kind {
    QUERY_TYPE_NULL, /* of a bare NULL */
    QUERY_TYPE_BOOLEAN,
    QUERY_TYPE_TINYINT,
    QUERY_TYPE_SMALLINT,
    QUERY_TYPE_INT,
    QUERY_TYPE_BIGINT,
    QUERY_TYPE_FLOAT,
    QUERY_TYPE_DOUBLE,
    QUERY_TYPE_DECIMAL,
    QUERY_TYPE_STRING,
    QUERY_TYPE_BYTES,
    QUERY_TYPE_TIMESTAMP, /* milliseconds since 1970, UTC */
    QUERY_TYPE_VARIANT,   /* only as the type of a column: each value has a kind of its own */
};

struct query_type {
    enum query_type_kind kind;
    uint8_t precision, scale; /* DECIMAL(p,s), p <= 38; TIMESTAMP(p), p <= 3 */
};

typedef __int128 int128; /* the one typedef: gcc has no other short name for it */

/* A value knows its kind; NULL has kind QUERY_TYPE_NULL whatever its column's type. */
struct query_value {
    enum query_type_kind kind;
    uint8_t
        scale; /* DECIMAL; of a TIMESTAMP the digits of the second that its text shows at least */
    union {
        bool boolean;
        int64_t integer; /* TINYINT to BIGINT, TIMESTAMP */
        float float32;
        double float64;
        int128 decimal;    /* unscaled, |decimal| < 10^38 */
        struct slice text; /* STRING, BYTES */
    };
};

/* ---- Types ---- */

/* Flink's names: STRING, BIGINT, DECIMAL(5, 2), TIMESTAMP(3), VARIANT. */
void query_type_name(struct query_type type, struct buf *name);
/* "a" or "an": what stands before the name in a sentence. */
const char *query_type_article(enum query_type_kind kind);
/* Precision and scale count for the types that have them. */
bool query_type_equal(struct query_type a, struct query_type b);
bool query_type_is_integer(struct query_type type); /* TINYINT to BIGINT */
bool query_type_is_numeric(struct query_type type); /* TINYINT to DECIMAL */

enum query_arithmetic { QUERY_ADD, QUERY_SUBTRACT, QUERY_MULTIPLY, QUERY_DIVIDE, QUERY_MODULO };

/* The type of `a op b`, as Flink derives it: integers give the wider one, division too; DECIMAL
 * with DECIMAL or an integer follows the usual precision rules, cut to 38 digits with at least 6
 * kept after the point; FLOAT with FLOAT or an integer is FLOAT; all else with FLOAT or DOUBLE is
 * DOUBLE; a bare NULL takes the other's type. False if an operand is no number. */
bool query_type_arithmetic(enum query_arithmetic op, struct query_type a, struct query_type b,
                           struct query_type *result);

/* The least type that holds both: for comparison, CASE, IN and COALESCE. Convert both sides to it
 * with query_value_cast(). False if there is none (numbers and strings do not mix). */
bool query_type_common(struct query_type a, struct query_type b, struct query_type *result);

/* ---- Order, identity, hash ---- */

/* Total order of values of the same kind: negative, 0 or positive. NULL comes first; -0.0 < 0.0,
 * all NaN are equal and greatest; decimals by value whatever their scales; strings by their bytes;
 * false < true. This is the order of MIN and MAX with retraction; the operators < = > of SQL differ
 * for NaN and zeros. */
int query_value_compare_total(const struct query_value *a, const struct query_value *b);
/* Same kind and same content, by bits for floats with all NaN equal, decimals by scale and digits:
 * the identity of group keys. NULL is identical to NULL. */
bool query_value_identical(const struct query_value *a, const struct query_value *b);
/* Equal for identical values, on every machine. */
uint64_t query_value_hash(const struct query_value *value, uint64_t seed);

/* ---- Bytes ---- */

/* Appends a compact form that describes itself. Identical values have the same bytes, others
 * different ones, and no value's bytes begin another's: the packed columns of a group can serve as
 * its key. */
void query_value_pack(const struct query_value *value, struct buf *packed);
/* Takes one value from the front of *rest. Strings point into it. ERROR_MALFORMED leaves *rest as
 * it was. */
enum error query_value_unpack(struct slice *rest, struct query_value *value);

/* As clients see it: DECIMAL as a string in plain notation (made in `arena`), TIMESTAMP as a long,
 * NULL as null, the others as the EncodedValue of their width. ERROR_MEMORY. */
enum error query_value_to_wire(const struct query_value *value, struct arena *arena,
                               struct value *wire);
/* INT becomes INT, LONG BIGINT, SHORT SMALLINT, BYTE TINYINT, and so on; strings and bytes point to
 * where the wire value points. ERROR_INVALID for JSON, CUSTOM and no value at all. */
enum error query_value_from_wire(const struct value *wire, struct query_value *value);

/* ---- Conversion ---- */

/* The type that a value shows by itself: a DECIMAL has precision 38. */
struct query_type query_value_type(const struct query_value *value);

/* CAST as Flink does it. NULL gives NULL. Integers wrap; floating point to integer cuts the
 * fraction off and stops at the ends of INT or BIGINT (NaN gives 0), and then wraps into the
 * smaller types, as in Java; a DECIMAL that does not fit becomes NULL, its fraction is rounded half
 * up; texts are trimmed before they are read. Strings that are made live in `arena`, others are
 * shared with `in`. `in` and `out` may be the same. ERROR_INVALID: no such cast, or a text that
 * cannot be read; *why is a static text that fits into "cannot cast X to Y: %s". ERROR_MEMORY. */
enum error query_value_cast(const struct query_value *in, struct query_type to, struct arena *arena,
                            struct query_value *out, const char **why);
/* Whether query_value_cast() knows a way from one type to the other (a value may still fail). */
bool query_type_casts(struct query_type from, struct query_type to);

/* For people, and what CAST to STRING gives: NULL, TRUE, 5, 5.0, 1.50, 2026-01-31 08:00:00.250;
 * strings as they are, bytes in lower-case hex. */
void query_value_text(const struct query_value *value, struct buf *text);

#endif
