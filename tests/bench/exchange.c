#include "tests/bench/exchange.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/wire.h"

/* Numbers of Vug's messages. */
enum { MEMBER_PUT = 2, MEMBER_GET = 4, MEMBER_WRITE_BATCH = 1016 };
/* Members of EncodedValue. */
enum { VALUE_BINARY = 8, VALUE_STRING = 9, VALUE_JSON = 10 };

enum { EXCHANGE_ROOM = EXCHANGE_VALUE_BYTES_MAX + 1024, ECHO_BYTES = 150 };

static const char first_key[] = "k000000000000000";

struct exchange_row {
    const char *name;
    void (*fill)(struct exchange *exchange, const struct exchange_options *options);
};

/* ---- Bytes ---- */

/* The key, then a text that never contains one. */
static void fill_value(uint8_t *value, size_t len)
{
    memset(value, '.', len);
    memcpy(value, first_key, EXCHANGE_KEY_BYTES);
}

static void append(uint8_t *bytes, size_t *len, const void *data, size_t data_len)
{
    memcpy(bytes + *len, data, data_len);
    *len += data_len;
}

static void append_text(uint8_t *bytes, size_t *len, const char *text)
{
    append(bytes, len, text, strlen(text));
}

static size_t find(const uint8_t *bytes, size_t len, const char *text, size_t from)
{
    const uint8_t *found = len > from ? memmem(bytes + from, len - from, text, strlen(text)) : NULL;

    return found == NULL ? EXCHANGE_NOWHERE : (size_t)(found - bytes);
}

/* ---- Vug ---- */

static size_t encoded_value(uint8_t *out, uint32_t member, const void *data, size_t len)
{
    return (size_t)(wire_put_bytes(out, member, data, len) - out);
}

/* Key and value as fields `number` and number + 1, which is how Entry and WriteOperation have them.
 */
static size_t key_and_value(uint8_t *out, uint32_t number, uint32_t member, const uint8_t *value,
                            size_t len)
{
    uint8_t encoded[EXCHANGE_ROOM];
    uint8_t *end = out;

    end = wire_put_bytes(end, number, encoded,
                         encoded_value(encoded, VALUE_STRING, first_key, EXCHANGE_KEY_BYTES));
    end = wire_put_bytes(end, number + 1, encoded, encoded_value(encoded, member, value, len));
    return (size_t)(end - out);
}

static void fill_put_of(struct exchange *exchange, const struct exchange_options *options,
                        uint32_t member, const uint8_t *value, size_t len)
{
    uint8_t entry[EXCHANGE_ROOM], body[EXCHANGE_ROOM];
    uint8_t *end = wire_put_bytes(body, 1, options->region, strlen(options->region));

    end = wire_put_bytes(end, 2, entry, key_and_value(entry, 1, member, value, len));
    end = wire_put_frame(exchange->request, MEMBER_PUT, body, (size_t)(end - body));
    exchange->request_len = (size_t)(end - exchange->request);
    end = wire_put_frame(exchange->reply, MEMBER_PUT + 1, body, 0);
    exchange->reply_len = (size_t)(end - exchange->reply);
    exchange->says_hello = true;
}

static void fill_vug_put(struct exchange *exchange, const struct exchange_options *options)
{
    uint8_t value[EXCHANGE_VALUE_BYTES_MAX];

    fill_value(value, options->value_bytes);
    fill_put_of(exchange, options, VALUE_BINARY, value, options->value_bytes);
}

static void fill_vug_reading(struct exchange *exchange, const struct exchange_options *options)
{
    char text[128];
    int len =
        snprintf(text, sizeof text,
                 "{\"id\":\"%s\",\"timestamp\":1700000000000,\"temperature\":10.00}", first_key);

    fill_put_of(exchange, options, VALUE_JSON, (const uint8_t *)text, (size_t)len);
    exchange->temperature = find(exchange->request, exchange->request_len, "10.00}", 0);
}

static void fill_vug_get(struct exchange *exchange, const struct exchange_options *options)
{
    uint8_t value[EXCHANGE_VALUE_BYTES_MAX], encoded[EXCHANGE_ROOM], body[EXCHANGE_ROOM];
    uint8_t *end = wire_put_bytes(body, 1, options->region, strlen(options->region));

    end = wire_put_bytes(end, 2, encoded,
                         encoded_value(encoded, VALUE_STRING, first_key, EXCHANGE_KEY_BYTES));
    end = wire_put_frame(exchange->request, MEMBER_GET, body, (size_t)(end - body));
    exchange->request_len = (size_t)(end - exchange->request);

    fill_value(value, options->value_bytes);
    end = wire_put_bytes(body, 1, encoded,
                         encoded_value(encoded, VALUE_BINARY, value, options->value_bytes));
    end = wire_put_frame(exchange->reply, MEMBER_GET + 1, body, (size_t)(end - body));
    exchange->reply_len = (size_t)(end - exchange->reply);
    exchange->says_hello = true;
}

/* One WriteOperation as field 4 of the batch; the reply says that all of them were applied. */
static void fill_vug_writebatch(struct exchange *exchange, const struct exchange_options *options)
{
    uint8_t value[EXCHANGE_VALUE_BYTES_MAX], body[EXCHANGE_ROOM];
    uint8_t *end;

    fill_value(value, options->value_bytes);
    end = wire_put_bytes(exchange->request, 4, body,
                         key_and_value(body, 2, VALUE_BINARY, value, options->value_bytes));
    exchange->request_len = (size_t)(end - exchange->request);
    end = wire_put_integer(body, 1, options->depth);
    end = wire_put_frame(exchange->reply, MEMBER_WRITE_BATCH + 1, body, (size_t)(end - body));
    exchange->reply_len = (size_t)(end - exchange->reply);
    exchange->says_hello = true;
    exchange->is_write_batch = true;
}

uint8_t *exchange_put_batch_header(const struct exchange *exchange, const uint8_t *writer_id,
                                   uint64_t sequence, uint8_t *operations, size_t len)
{
    uint8_t fields[384], frame[16];
    uint8_t *end = wire_put_bytes(fields, 1, writer_id, 16);
    size_t fields_len, frame_len;

    end = wire_put_integer(end, 2, sequence);
    end = wire_put_bytes(end, 3, exchange->region, strlen(exchange->region));
    end = wire_put_integer(end, 6, sequence - 1);
    fields_len = (size_t)(end - fields);
    end = wire_put_varint(wire_put_varint(frame, MEMBER_WRITE_BATCH << 3 | 2), fields_len + len);
    frame_len = (size_t)(end - frame) + fields_len + len;
    memcpy(operations - fields_len, fields, fields_len);
    operations -= fields_len + (size_t)(end - frame);
    memcpy(operations, frame, (size_t)(end - frame));
    end = wire_put_varint(frame, frame_len);
    operations -= end - frame;
    memcpy(operations, frame, (size_t)(end - frame));
    return operations;
}

/* ---- Peers ---- */

static void fill_echo(struct exchange *exchange, const struct exchange_options *options)
{
    (void)options;
    fill_value(exchange->request, ECHO_BYTES);
    fill_value(exchange->reply, ECHO_BYTES);
    exchange->request_len = exchange->reply_len = ECHO_BYTES;
}

static void fill_redis_get(struct exchange *exchange, const struct exchange_options *options)
{
    uint8_t value[EXCHANGE_VALUE_BYTES_MAX];
    char header[32];

    append_text(exchange->request, &exchange->request_len, "*2\r\n$3\r\nGET\r\n$16\r\n");
    append_text(exchange->request, &exchange->request_len, first_key);
    append_text(exchange->request, &exchange->request_len, "\r\n");
    fill_value(value, options->value_bytes);
    snprintf(header, sizeof header, "$%zu\r\n", options->value_bytes);
    append_text(exchange->reply, &exchange->reply_len, header);
    append(exchange->reply, &exchange->reply_len, value, options->value_bytes);
    append_text(exchange->reply, &exchange->reply_len, "\r\n");
}

static void fill_redis_set(struct exchange *exchange, const struct exchange_options *options)
{
    uint8_t value[EXCHANGE_VALUE_BYTES_MAX];
    char header[32];

    append_text(exchange->request, &exchange->request_len, "*3\r\n$3\r\nSET\r\n$16\r\n");
    append_text(exchange->request, &exchange->request_len, first_key);
    snprintf(header, sizeof header, "\r\n$%zu\r\n", options->value_bytes);
    append_text(exchange->request, &exchange->request_len, header);
    fill_value(value, options->value_bytes);
    append(exchange->request, &exchange->request_len, value, options->value_bytes);
    append_text(exchange->request, &exchange->request_len, "\r\n");
    append_text(exchange->reply, &exchange->reply_len, "+OK\r\n");
}

static void fill_memcached_get(struct exchange *exchange, const struct exchange_options *options)
{
    uint8_t value[EXCHANGE_VALUE_BYTES_MAX];
    char header[32];

    append_text(exchange->request, &exchange->request_len, "mg ");
    append_text(exchange->request, &exchange->request_len, first_key);
    append_text(exchange->request, &exchange->request_len, " v\r\n");
    fill_value(value, options->value_bytes);
    snprintf(header, sizeof header, "VA %zu\r\n", options->value_bytes);
    append_text(exchange->reply, &exchange->reply_len, header);
    append(exchange->reply, &exchange->reply_len, value, options->value_bytes);
    append_text(exchange->reply, &exchange->reply_len, "\r\n");
}

static void fill_memcached_set(struct exchange *exchange, const struct exchange_options *options)
{
    uint8_t value[EXCHANGE_VALUE_BYTES_MAX];
    char header[32];

    append_text(exchange->request, &exchange->request_len, "ms ");
    append_text(exchange->request, &exchange->request_len, first_key);
    snprintf(header, sizeof header, " %zu\r\n", options->value_bytes);
    append_text(exchange->request, &exchange->request_len, header);
    fill_value(value, options->value_bytes);
    append(exchange->request, &exchange->request_len, value, options->value_bytes);
    append_text(exchange->request, &exchange->request_len, "\r\n");
    append_text(exchange->reply, &exchange->reply_len, "HD\r\n");
}

static const struct exchange_row rows[] = {
    {"vug-get", fill_vug_get},
    {"vug-put", fill_vug_put},
    {"vug-writebatch", fill_vug_writebatch},
    {"vug-reading", fill_vug_reading},
    {"redis-get", fill_redis_get},
    {"redis-set", fill_redis_set},
    {"memcached-get", fill_memcached_get},
    {"memcached-set", fill_memcached_set},
    {"echo", fill_echo},
};

/* ---- One exchange ---- */

const char *exchange_name(unsigned index)
{
    return index < sizeof rows / sizeof rows[0] ? rows[index].name : NULL;
}

bool exchange_init(struct exchange *exchange, const struct exchange_options *options)
{
    unsigned i = 0;

    while (exchange_name(i) != NULL && strcmp(rows[i].name, options->protocol) != 0)
        i++;
    if (exchange_name(i) == NULL)
        return false;
    *exchange = (struct exchange){.temperature = EXCHANGE_NOWHERE, .region = options->region};
    exchange->request = calloc(1, EXCHANGE_ROOM);
    exchange->reply = calloc(1, EXCHANGE_ROOM);
    if (exchange->request == NULL || exchange->reply == NULL)
        abort();
    rows[i].fill(exchange, options);
    exchange->request_keys[0] = find(exchange->request, exchange->request_len, first_key, 0);
    exchange->request_keys[1] = find(exchange->request, exchange->request_len, first_key,
                                     exchange->request_keys[0] + EXCHANGE_KEY_BYTES);
    exchange->reply_key = find(exchange->reply, exchange->reply_len, first_key, 0);
    return true;
}

/* The last eight digits of the key at `place`; the others stay zero. */
static void write_key(uint8_t *place, uint64_t key)
{
    uint8_t *at = place + EXCHANGE_KEY_BYTES;

    for (int i = 0; i < 8; i++, key /= 10)
        *--at = (uint8_t)('0' + key % 10);
}

void exchange_write(const struct exchange *exchange, uint64_t key, uint8_t *out)
{
    memcpy(out, exchange->request, exchange->request_len);
    write_key(out + exchange->request_keys[0], key);
    if (exchange->request_keys[1] != EXCHANGE_NOWHERE)
        memcpy(out + exchange->request_keys[1], out + exchange->request_keys[0],
               EXCHANGE_KEY_BYTES);
}

bool exchange_check(const struct exchange *exchange, const uint8_t *request, const uint8_t *reply)
{
    size_t key = exchange->reply_key;
    size_t rest = key + EXCHANGE_KEY_BYTES;

    if (key == EXCHANGE_NOWHERE)
        return memcmp(reply, exchange->reply, exchange->reply_len) == 0;
    return memcmp(reply, exchange->reply, key) == 0 &&
           memcmp(reply + key, request + exchange->request_keys[0], EXCHANGE_KEY_BYTES) == 0 &&
           memcmp(reply + rest, exchange->reply + rest, exchange->reply_len - rest) == 0;
}
