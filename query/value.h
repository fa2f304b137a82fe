/* SQL values and types. */
#ifndef VUG_QUERY_VALUE_H
#define VUG_QUERY_VALUE_H

#include "common/buf.h"
#include "common/error.h"
#include "common/slice.h"

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
};

struct query_type {
    enum query_type_kind kind;
    uint8_t precision, scale; /* DECIMAL(p,s), p <= 38; TIMESTAMP(p), p <= 3 */
};

typedef __int128 int128; /* the one typedef: gcc has no other short name for it */

/* A value knows its kind; NULL has kind QUERY_TYPE_NULL whatever its column's type. */
struct query_value {
    enum query_type_kind kind;
    uint8_t scale; /* DECIMAL */
    union {
        bool boolean;
        int64_t integer;  /* TINYINT to BIGINT, TIMESTAMP */
        float float32;
        double float64;
        int128 decimal;   /* unscaled */
        struct slice text; /* STRING, BYTES */
    };
};

/* Flink's names: STRING, BIGINT, DECIMAL(5, 2), TIMESTAMP(3). */
void query_type_name(struct query_type type, struct buf *name);

#endif
