/* A request that a locator answers now or later, whoever asked: a client's session, or a member's
 * call in a client's name. */
#ifndef VUG_LOCATOR_REQUEST_H
#define VUG_LOCATOR_REQUEST_H

#include "protocol/admin_reason.h"
#include "protocol/session.h"

struct locator;
struct peer;

struct request {
    struct locator *locator;
    struct session_slot *slot; /* of a client, or NULL */
    struct peer *peer;         /* whose call it is; NULL when the member went away */
    uint64_t call_id;
    struct request *next; /* of the locator's open requests */
};

/* Every request ends with exactly one request_reply*() or request_fail*(), which frees it. NULL
 * without memory. */
struct request *request_of_session(struct locator *locator, struct session *session);
struct request *request_of_peer(struct locator *locator, struct peer *peer, uint64_t call_id);

void request_reply(struct request *request, uint32_t number, const ProtobufCMessage *body);
void request_reply_packed(struct request *request, uint32_t number, struct slice body);
void request_fail(struct request *request, enum admin_reason reason, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void request_fail_with(struct request *request, const struct failure *failure);

/* "REASON: text". */
void request_failure(struct failure *failure, enum admin_reason reason, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The member is gone: its requests are still worked on, but their answers go nowhere. */
void request_forget_peer(struct locator *locator, const struct peer *peer);

/* At the end of the locator, after whoever works on requests has let go of them. */
void request_drop_all(struct locator *locator);

#endif
