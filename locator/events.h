/* The last events of a cluster: who joined, who left, who noticed, and what it did to the buckets.
 * In memory alone, bounded: the oldest goes when a new one comes. */
#ifndef VUG_LOCATOR_EVENTS_H
#define VUG_LOCATOR_EVENTS_H

#include <stdint.h>

#include "common/limits.h"

enum { EVENTS_MAX = 1000, EVENT_TEXT_BYTES = 640, EVENT_EVIDENCE_BYTES = 160 };

struct event {
    uint64_t number; /* from 1 */
    uint64_t time_ms;
    const char *kind; /* a constant */
    char member[LIMIT_NAME_BYTES + 1];
    char text[EVENT_TEXT_BYTES];
    char noticed_by[LIMIT_NAME_BYTES + 1];
    char evidence[EVENT_EVIDENCE_BYTES];
    uint64_t silent_ms;
    uint32_t promoted, lost, moved; /* buckets */
    uint64_t epoch;
};

struct events {
    struct event *ring[EVENTS_MAX];
    uint32_t count;
    uint64_t last; /* number of the newest; 0: none yet */
};

/* Keeps a copy, with the next number. Without memory for it the event is lost: it was logged. */
void events_add(struct events *events, const struct event *event);
void events_fini(struct events *events);

/* The event of that number, NULL when it is kept no more or has not been. */
const struct event *events_find(const struct events *events, uint64_t number);
uint64_t events_first(const struct events *events); /* the oldest that is kept; last + 1: none */

#endif
