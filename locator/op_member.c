/* MemberStop and MemberForget. */
#include "common/text.h"
#include "locator/departure.h"
#include "locator/membership.h"
#include "locator/ops.h"
#include "locator/peer_link.h"
#include "protocol/message.h"

/* The server of that name, or the request is ended. */
static const struct cluster_member *find_server(struct request *request, struct slice name)
{
    const struct locator *locator = request->locator;
    const struct cluster_map *map = locator->map;
    uint32_t index = cluster_map_member(map, name);
    if (index != CLUSTER_NONE)
        return &map->members[index];
    struct text_nearest nearest;
    text_nearest_init(&nearest, name);
    for (uint32_t i = 0; i < map->member_count; i++)
        text_nearest_offer(&nearest, (const char *)map->members[i].name.data);
    const char *best = text_nearest_best(&nearest);
    if (best != NULL)
        request_fail(request, ADMIN_REASON_NOT_FOUND, "there is no member %.*s; did you mean %s?",
                     SLICE_FMT(name), best);
    else
        request_fail(request, ADMIN_REASON_NOT_FOUND,
                     "there is no member %.*s; `vug members` shows those that there are.",
                     SLICE_FMT(name));
    return NULL;
}

static void stop_locator(struct request *request)
{
    Pb__MemberStopResponse response = PB__MEMBER_STOP_RESPONSE__INIT;
    struct locator *locator = request->locator;
    if (locator->options.on_stop == NULL) {
        request_fail(request, ADMIN_REASON_UNSUPPORTED,
                     "locator %s cannot be stopped from afar; end its process.",
                     locator->options.name);
        return;
    }
    request_reply(request, 1029, &response.base);
    locator->options.on_stop(locator->options.arg);
}

void locator_op_member_stop(struct request *request, const ProtobufCMessage *body,
                            struct arena *arena)
{
    (void)arena;
    struct locator *locator = request->locator;
    struct slice name = message_slice(((const Pb__MemberStopRequest *)body)->name);
    if (slice_equal(name, slice_text(locator->options.name))) {
        stop_locator(request);
        return;
    }
    const struct cluster_member *server = find_server(request, name);
    if (server == NULL)
        return;
    struct member *member = locator_member(locator, server->incarnation);
    Pb__MemberStopResponse response = PB__MEMBER_STOP_RESPONSE__INIT;
    if (member->peer == NULL)
        request_fail(request, ADMIN_REASON_UNREACHABLE,
                     "server %.*s is not connected to this locator. If its process runs, end it on "
                     "its host; if it is "
                     "dead for good, `vug member forget %.*s` gives up its contents.",
                     SLICE_FMT(name), SLICE_FMT(name));
    else if (peer_ask_to_stop(member->peer) != OK)
        request_fail(request, ADMIN_REASON_MEMORY,
                     "the locator has not enough memory; nothing was done.");
    else
        request_reply(request, 1029, &response.base);
}

void locator_op_member_forget(struct request *request, const ProtobufCMessage *body,
                              struct arena *arena)
{
    (void)arena;
    struct slice name = message_slice(((const Pb__MemberForgetRequest *)body)->name);
    const struct cluster_member *server = find_server(request, name);
    if (server == NULL)
        return;
    const struct locator *locator = request->locator;
    if (locator_member(locator, server->incarnation)->peer != NULL ||
        membership_is_linked(locator, server->incarnation))
        request_fail(request, ADMIN_REASON_EXISTS,
                     "server %.*s is connected, so it is not dead. Stop it first: `vug stop %.*s`.",
                     SLICE_FMT(name), SLICE_FMT(name));
    else
        departure_forget(request->locator, server->incarnation, request);
}
