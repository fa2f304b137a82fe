/* Events: what happened to the members and their buckets. Built in the request's arena. */
#include "locator/ops.h"
#include "protocol/message.h"

static struct slice text_of(const char *text)
{
    return slice_text(text);
}

static Pb__ClusterEvent *event_message(const struct event *event, struct arena *arena)
{
    Pb__ClusterEvent *message = arena_zalloc(arena, sizeof(*message));
    if (message == NULL)
        return NULL;
    pb__cluster_event__init(message);
    message->number = event->number;
    message->time_ms = event->time_ms;
    message->member = message_bytes(text_of(event->member));
    message->kind = message_bytes(text_of(event->kind));
    message->text = message_bytes(text_of(event->text));
    message->noticed_by = message_bytes(text_of(event->noticed_by));
    message->evidence = message_bytes(text_of(event->evidence));
    message->silent_ms = event->silent_ms;
    message->buckets_promoted = event->promoted;
    message->buckets_lost = event->lost;
    message->buckets_moved = event->moved;
    message->epoch = event->epoch;
    return message;
}

static bool is_wanted(const Pb__EventsRequest *wants, const struct event *event)
{
    struct slice member = message_slice(wants->member);
    return event->number > wants->after &&
           (member.len == 0 || slice_equal(member, text_of(event->member)));
}

/* The newest so many of those that are wanted begin with this number. */
static uint64_t first_of(const struct events *events, const Pb__EventsRequest *wants)
{
    uint64_t number = events->last + 1;
    uint32_t count = 0;
    while (number > events_first(events) && (wants->limit == 0 || count < wants->limit))
        count += is_wanted(wants, events_find(events, --number));
    return number;
}

void locator_op_events(struct request *request, const ProtobufCMessage *body, struct arena *arena)
{
    const Pb__EventsRequest *wants = (const Pb__EventsRequest *)body;
    const struct events *events = &request->locator->events;
    Pb__EventsResponse response = PB__EVENTS_RESPONSE__INIT;
    response.dropped = events_first(events) - 1;
    response.answered_by = message_bytes(slice_text(request->locator->options.name));
    response.event = arena_zalloc(arena, (events->count + 1) * sizeof(*response.event));
    bool is_complete = response.event != NULL;
    for (uint64_t i = first_of(events, wants); i <= events->last && is_complete; i++) {
        const struct event *event = events_find(events, i);
        if (!is_wanted(wants, event))
            continue;
        Pb__ClusterEvent *message = event_message(event, arena);
        is_complete = message != NULL;
        if (is_complete)
            response.event[response.n_event++] = message;
    }
    if (is_complete)
        request_reply(request, 1035, &response.base);
    else
        request_fail(request, ADMIN_REASON_MEMORY,
                     "the locator has not enough memory for the answer.");
}
