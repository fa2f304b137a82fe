#include "tests/bench/readings.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "tests/bench/exchange.h"
#include "tests/bench/wire.h"

enum {
    READINGS_LOWEST = 40, /* quarters: 10 to 99.75 degrees, four digits without a leading zero */
    READINGS_QUARTERS = 360,
    SUBSCRIBER_READ_BYTES = 256 * 1024,
    SUBSCRIBER_PATIENCE_MS = 10000,
    MEMBER_ERROR = 1,
    MEMBER_SUBSCRIBE = 1001,
    MEMBER_EVENTS = 1003,
    MEMBER_UNSUBSCRIBE = 1005,
    MEMBER_STATUS = 1007,
    STATUS_CONNECTED = 1,
    START_LATEST = 1,
};

static const char founding_query[] =
    "SELECT id, AVG(temperature) OVER (PARTITION BY id) FROM SensorReadings "
    "WHERE timestamp >= start_time";

static uint32_t quarters(uint64_t sensor, uint32_t n)
{
    uint64_t mixed = sensor * UINT64_C(0x9E3779B97F4A7C15) + n * UINT64_C(0xC2B2AE3D27D4EB4F);

    return READINGS_LOWEST + (uint32_t)(mixed >> 40) % READINGS_QUARTERS;
}

void readings_write_temperature(uint64_t sensor, uint32_t n, uint8_t *out)
{
    static const char fractions[4][2] = {{'0', '0'}, {'2', '5'}, {'5', '0'}, {'7', '5'}};
    uint32_t value = quarters(sensor, n);

    out[0] = (uint8_t)('0' + value / 40);
    out[1] = (uint8_t)('0' + value / 4 % 10);
    out[2] = '.';
    memcpy(out + 3, fractions[value % 4], 2);
}

__attribute__((format(printf, 2, 3))) static bool wrong(struct subscriber *subscriber,
                                                        const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(subscriber->wrong, sizeof subscriber->wrong, format, args);
    va_end(args);
    return false;
}

/* ---- What the server says ---- */

/* "k000000000000123" -> 123; UINT64_MAX for anything else. */
static uint64_t sensor_of(struct wire_reader text)
{
    uint64_t sensor = 0;

    if (text.end - text.at != EXCHANGE_KEY_BYTES || *text.at != 'k')
        return UINT64_MAX;
    for (const uint8_t *at = text.at + 1; at < text.end; at++) {
        if (*at < '0' || *at > '9')
            return UINT64_MAX;
        sensor = sensor * 10 + (uint64_t)(*at - '0');
    }
    return sensor;
}

/* An inserted row with two values, {id, average}. */
static bool check_event(struct subscriber *subscriber, struct wire_reader event)
{
    struct wire_field field, value;
    uint64_t kind = 0, sensor = UINT64_MAX;
    double average = -1, expected;
    uint32_t values = 0;

    while (wire_get_field(&event, &field)) {
        if (field.number == 4 && field.wire_type == 0)
            kind = field.integer;
        if (field.number != 5 || field.wire_type != 2 || !wire_get_field(&field.bytes, &value))
            continue;
        if (values == 0 && value.number == 9)
            sensor = sensor_of(value.bytes);
        if (values == 1 && value.number == 6)
            memcpy(&average, &value.integer, sizeof average);
        values++;
    }
    if (event.at != event.end || kind != 0 || values != 2 || sensor >= subscriber->sensors)
        return wrong(subscriber,
                     "event %llu is no {id, average}: kind %llu, %u values, sensor %llu",
                     (unsigned long long)subscriber->events, (unsigned long long)kind, values,
                     (unsigned long long)sensor);
    subscriber->sums[sensor] += quarters(sensor, subscriber->counts[sensor]++);
    expected = (double)subscriber->sums[sensor] / 4 / subscriber->counts[sensor];
    if (average != expected)
        return wrong(subscriber, "average %u of sensor %llu is %.17g, not %.17g",
                     subscriber->counts[sensor], (unsigned long long)sensor, average, expected);
    subscriber->events++;
    return true;
}

static bool check_batch(struct subscriber *subscriber, struct wire_reader batch)
{
    struct wire_field field;

    while (wire_get_field(&batch, &field)) {
        if (field.number == 4 && field.wire_type == 2 && !check_event(subscriber, field.bytes))
            return false;
    }
    subscriber->batches++;
    return batch.at == batch.end || wrong(subscriber, "a batch of events is damaged");
}

/* A pushed message, or the reply that is awaited (0: none), of which the id of the subscription is
 * kept. */
static bool take_message(struct subscriber *subscriber, struct wire_field message, uint32_t awaited,
                         bool *answered)
{
    struct wire_field field;

    if (message.number == MEMBER_EVENTS)
        return check_batch(subscriber, message.bytes);
    if (message.number == awaited) {
        *answered = true;
        while (awaited == MEMBER_SUBSCRIBE + 1 && wire_get_field(&message.bytes, &field)) {
            if (field.number == 1)
                subscriber->id = field.integer;
            if (field.number == 9 && field.bytes.end - field.bytes.at == SUBSCRIBER_PLAN_BYTES)
                memcpy(subscriber->plan, field.bytes.at, SUBSCRIBER_PLAN_BYTES);
        }
        return true;
    }
    while (message.number == MEMBER_STATUS && wire_get_field(&message.bytes, &field)) {
        if (field.number == 2 && field.integer == STATUS_CONNECTED)
            return true;
        if (field.number == 2)
            return wrong(subscriber, "the server pushed a status with code %llu",
                         (unsigned long long)field.integer);
    }
    if (message.number == MEMBER_ERROR)
        return wrong(subscriber, "the server refused: %.*s",
                     (int)(message.bytes.end - message.bytes.at), (const char *)message.bytes.at);
    return wrong(subscriber, "message %u was not asked for", message.number);
}

static bool take_frames(struct subscriber *subscriber, uint32_t awaited, bool *answered)
{
    struct wire_reader rest = {subscriber->data, subscriber->data + subscriber->len};
    struct wire_field message;
    bool good = true;

    while (good) {
        struct wire_reader frame = rest;
        uint64_t len;

        if (!wire_get_varint(&frame, &len) || len > (uint64_t)(frame.end - frame.at))
            break;
        rest.at = frame.at + len;
        frame.end = rest.at;
        if (!wire_get_field(&frame, &message) || message.wire_type != 2)
            return wrong(subscriber, "a frame is damaged");
        good = take_message(subscriber, message, awaited, answered);
    }
    subscriber->len = (size_t)(rest.end - rest.at);
    memmove(subscriber->data, rest.at, subscriber->len);
    return good;
}

/* One read. `answered` may be NULL when no reply is due. */
static bool read_once(struct subscriber *subscriber, uint32_t awaited, bool *answered)
{
    bool ignored = false;
    ssize_t len;

    if (subscriber->cap - subscriber->len < SUBSCRIBER_READ_BYTES) {
        subscriber->cap = subscriber->cap * 2 + SUBSCRIBER_READ_BYTES;
        subscriber->data = realloc(subscriber->data, subscriber->cap);
        if (subscriber->data == NULL)
            abort();
    }
    len = recv(subscriber->fd, subscriber->data + subscriber->len, SUBSCRIBER_READ_BYTES,
               MSG_DONTWAIT);
    if (len < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    if (len <= 0)
        return wrong(subscriber, "the server closed the subscriber's connection");
    subscriber->len += (size_t)len;
    return take_frames(subscriber, awaited, answered == NULL ? &ignored : answered);
}

static bool ask(struct subscriber *subscriber, uint32_t number, const uint8_t *body, size_t len)
{
    uint8_t frame[1024];
    uint8_t *end = wire_put_frame(frame, number, body, len);
    bool answered = false;

    if (send(subscriber->fd, frame, (size_t)(end - frame), MSG_NOSIGNAL) != end - frame)
        return wrong(subscriber, "a request could not be sent: %s", strerror(errno));
    while (!answered) {
        struct pollfd readable = {.fd = subscriber->fd, .events = POLLIN};

        if (poll(&readable, 1, SUBSCRIBER_PATIENCE_MS) <= 0)
            return wrong(subscriber, "no answer to message %u", number);
        if (!read_once(subscriber, number + 1, &answered))
            return false;
    }
    return true;
}

/* ---- Life ---- */

bool subscriber_start(struct subscriber *subscriber, int fd, uint32_t sensors,
                      const struct subscriber *shared)
{
    uint8_t body[512], parameter[64], value[16];
    uint8_t *end = body, *parameter_end;

    *subscriber = (struct subscriber){.fd = fd, .sensors = sensors};
    subscriber->counts = calloc(sensors, sizeof *subscriber->counts);
    subscriber->sums = calloc(sensors, sizeof *subscriber->sums);
    if (subscriber->counts == NULL || subscriber->sums == NULL)
        abort();
    parameter_end = wire_put_bytes(parameter, 1, "start_time", 10);
    parameter_end =
        wire_put_bytes(parameter_end, 2, value, (size_t)(wire_put_integer(value, 2, 1) - value));
    if (shared == NULL) {
        end = wire_put_bytes(end, 2, founding_query, sizeof founding_query - 1);
        end = wire_put_bytes(end, 5, parameter, (size_t)(parameter_end - parameter));
    } else {
        end = wire_put_bytes(end, 4, shared->plan, SUBSCRIBER_PLAN_BYTES);
    }
    end = wire_put_integer(end, 9, START_LATEST);
    /* Enough for any run: what is measured is the push, not the credit. */
    end = wire_put_integer(end, 16, UINT64_C(1) << 40);
    end = wire_put_integer(end, 17, UINT64_C(1) << 50);
    return ask(subscriber, MEMBER_SUBSCRIBE, body, (size_t)(end - body));
}

bool subscriber_read(struct subscriber *subscriber)
{
    return read_once(subscriber, 0, NULL);
}

bool subscriber_end(struct subscriber *subscriber)
{
    uint8_t body[16];

    return ask(subscriber, MEMBER_UNSUBSCRIBE, body,
               (size_t)(wire_put_integer(body, 1, subscriber->id) - body));
}
