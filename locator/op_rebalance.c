/* Rebalance: moves buckets until copies and primaries are level. */
#include "locator/ops.h"
#include "locator/placer.h"
#include "protocol/message.h"

void locator_op_rebalance(struct request *request, const ProtobufCMessage *body,
                          struct arena *arena)
{
    (void)arena;
    placer_rebalance(request->locator, request, ((const Pb__RebalanceRequest *)body)->dry_run);
}
