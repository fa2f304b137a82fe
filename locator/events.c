#include "locator/events.h"

#include "common/mem.h"

void events_add(struct events *events, const struct event *event)
{
    struct event **place = &events->ring[(events->last + 1) % EVENTS_MAX];
    struct event *kept = *place;
    if (kept == NULL)
        kept = mem_alloc(sizeof(*kept));
    if (kept == NULL)
        return;
    *kept = *event;
    kept->number = ++events->last;
    *place = kept;
    if (events->count < EVENTS_MAX)
        events->count++;
}

void events_fini(struct events *events)
{
    for (uint32_t i = 0; i < EVENTS_MAX; i++)
        mem_free(events->ring[i]);
    *events = (struct events){0};
}

uint64_t events_first(const struct events *events)
{
    return events->last - events->count + 1;
}

const struct event *events_find(const struct events *events, uint64_t number)
{
    if (number < events_first(events) || number > events->last)
        return NULL;
    return events->ring[number % EVENTS_MAX];
}
