/* Sensor readings whose running averages are known: what the founding query must push, checked
 * event by event.
 *
 * The nth temperature of a sensor is a function of the sensor and n, in quarters of a degree, so
 * that every sum is exact in a double and the average is one division: a subscriber needs no more
 * than a count and a sum for each sensor. A sensor belongs to one connection, so its readings
 * arrive in the order in which they were made. */
#ifndef VUG_TESTS_BENCH_READINGS_H
#define VUG_TESTS_BENCH_READINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    READINGS_TEMPERATURE_BYTES = 5, /* dd.dd */
    SUBSCRIBER_PLAN_BYTES = 16,
};

/* The temperature as it stands in the document. */
void readings_write_temperature(uint64_t sensor, uint32_t n, uint8_t *out);

/* One subscription on a connection of its own. */
struct subscriber {
    int fd;
    uint64_t id;                         /* the server's, of the subscription */
    uint8_t plan[SUBSCRIBER_PLAN_BYTES]; /* by which others share the query */
    uint64_t events;                     /* received and right */
    uint64_t batches;
    uint32_t sensors;
    uint32_t *counts; /* of each sensor */
    uint64_t *sums;   /* in quarters */
    uint8_t *data;    /* received, not yet whole */
    size_t len, cap;
    char wrong[200]; /* what the server said wrongly; empty if nothing */
};

/* Subscribes to the founding query on a connected socket that has said hello, and waits for the
 * answer. `shared` is another subscriber whose query this one reads, too; NULL begins a query. */
bool subscriber_start(struct subscriber *subscriber, int fd, uint32_t sensors,
                      const struct subscriber *shared);

/* Reads once and checks the events. False when something was wrong. */
bool subscriber_read(struct subscriber *subscriber);

/* Ends the subscription, so that the query ends in the server, too. */
bool subscriber_end(struct subscriber *subscriber);

#endif
