/* Answers that wait until every server of the map works with an epoch: who created a region can use
 * it at once, anywhere. */
#ifndef VUG_LOCATOR_ACK_WAIT_H
#define VUG_LOCATOR_ACK_WAIT_H

#include "locator/locator_impl.h"

/* Replies to the request when every server of the map in force has acknowledged `epoch`; fails with
 * TIMEOUT after LOCATOR_ACK_MS, with `done` ("region sensors was created") and the server that is
 * missing. Ends the request in any case. */
void ack_wait_reply(struct request *request, uint64_t epoch, uint32_t number,
                    const ProtobufCMessage *body, const char *done);

/* Something moved: an acknowledgement, the map, time. */
void ack_wait_look(struct locator *locator);

/* At the end of the locator: the requests are left to request_drop_all(). */
void ack_wait_free_all(struct locator *locator);

#endif
