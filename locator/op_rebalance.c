/* Rebalance: moves buckets until copies and primaries are level. */
#include "locator/ops.h"
#include "locator/peer_link.h"
#include "locator/placer.h"
#include "protocol/message.h"

enum { REBALANCE = 1026 };

static void on_relayed(void *arg, const struct failure *failure, uint32_t number, struct slice body)
{
    if (failure != NULL)
        request_fail_with(arg, failure);
    else
        request_reply_packed(arg, number, body);
}

/* Servers do what another locator asks for: one of them asks that one. */
static bool relay(struct request *request, const ProtobufCMessage *body, struct arena *arena)
{
    size_t len = protobuf_c_message_get_packed_size(body);
    uint8_t *packed = arena_alloc(arena, len + 1);
    struct peer *peer = request->locator->peers;
    while (peer != NULL && peer->state != PEER_LINKED)
        peer = peer->next;
    if (packed == NULL || peer == NULL)
        return false;
    protobuf_c_message_pack(body, packed);
    return peer_call(peer, REBALANCE, slice_of(packed, len), on_relayed, request) == OK;
}

void locator_op_rebalance(struct request *request, const ProtobufCMessage *body,
                          struct arena *arena)
{
    /* What a server relays comes from the locator that it does not follow. */
    if (request->slot != NULL && !placer_is_followed(request->locator)) {
        if (!relay(request, body, arena))
            request_fail(request, ADMIN_REASON_BUSY,
                         "the servers follow another locator, and it could not be asked; try "
                         "again, or ask that one.");
        return;
    }
    placer_rebalance(request->locator, request, ((const Pb__RebalanceRequest *)body)->dry_run);
}
