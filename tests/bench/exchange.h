/* What a client says and what it must hear, for each protocol: requests and replies of a known
 * length that differ in their key alone, so that a load costs little to make and every byte of
 * every reply is checked.
 *
 *   request   .....[key].....[key, the first 16 bytes of the value].......
 *   reply     .....[key].......       of a get; the others have no key in them
 *
 * A write batch is a header (writer, sequence) and `depth` operations, answered by one reply. A
 * reading is a put of a JSON document with a temperature in it (readings.h). */
#ifndef VUG_TESTS_BENCH_EXCHANGE_H
#define VUG_TESTS_BENCH_EXCHANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    EXCHANGE_KEY_BYTES = 16,
    EXCHANGE_KEYS_MAX = 100000000, /* the key's digits that vary */
    EXCHANGE_VALUE_BYTES_MAX = 16384,
};

#define EXCHANGE_NOWHERE SIZE_MAX

struct exchange_options {
    const char *protocol;
    const char *region; /* Vug's */
    size_t value_bytes;
    uint32_t depth;
};

struct exchange {
    uint8_t *request, *reply; /* with the key k000000000000000 */
    size_t request_len, reply_len;
    size_t request_keys[2]; /* where the key stands in the request; EXCHANGE_NOWHERE: not there */
    size_t reply_key;
    size_t temperature;  /* of a reading: five characters; EXCHANGE_NOWHERE otherwise */
    bool says_hello;     /* Vug's */
    bool is_write_batch; /* one reply for all operations of a batch */
    const char *region;
};

/* False if there is no such protocol. Memory stays until the process ends. */
bool exchange_init(struct exchange *exchange, const struct exchange_options *options);

/* The names, for the usage text. */
const char *exchange_name(unsigned index); /* NULL behind the last one */

/* Writes one request with this key. `out` has request_len bytes of room. */
void exchange_write(const struct exchange *exchange, uint64_t key, uint8_t *out);

/* Is this the reply to that request? */
bool exchange_check(const struct exchange *exchange, const uint8_t *request, const uint8_t *reply);

/* The header of a write batch whose operations stand at `operations`, written right before them.
 * Returns its start. */
uint8_t *exchange_put_batch_header(const struct exchange *exchange, const uint8_t *writer_id,
                                   uint64_t sequence, uint8_t *operations, size_t len);

#endif
