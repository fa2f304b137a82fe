#include "locator/ops.h"

#include "locator/peer_link.h"
#include "locator/queries.h"
#include "protocol/message.h"

enum {
    GET_SERVER = 12,
    SQL_EXECUTE = 1012,
    REGION_CREATE = 1020,
    REGION_DESTROY = 1022,
    CLUSTER_STATUS = 1024,
    REBALANCE = 1026,
    MEMBER_STOP = 1028,
    REGION_CLEAR = 1030,
    MEMBER_FORGET = 1032,
    EVENTS = 1034,
};

static const struct {
    uint32_t number;
    op_fn *execute;
} requests[] = {
    {SQL_EXECUTE, locator_op_sql_execute},
    {REGION_CREATE, locator_op_region_create},
    {REGION_DESTROY, locator_op_region_destroy},
    {CLUSTER_STATUS, locator_op_cluster_status},
    {REBALANCE, locator_op_rebalance},
    {MEMBER_STOP, locator_op_member_stop},
    {REGION_CLEAR, locator_op_region_clear},
    {MEMBER_FORGET, locator_op_member_forget},
    {EVENTS, locator_op_events},
};

static op_fn *find(uint32_t number)
{
    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++)
        if (requests[i].number == number)
            return requests[i].execute;
    return NULL;
}

void ops_call(struct locator *locator, struct peer *peer, const Pb__PeerCall *call)
{
    if (queries_call(locator, peer, call))
        return;
    op_fn *execute = find(call->number);
    struct request *request = request_of_peer(locator, peer, call->id);
    ProtobufCMessage *body = NULL;
    if (request == NULL)
        return; /* the member's deadline answers */
    if (execute == NULL) {
        request_fail(request, ADMIN_REASON_UNSUPPORTED,
                     "locators do not answer requests of number %u.", call->number);
        return;
    }
    enum error error = message_unpack(message_descriptor(call->number), &locator->arena,
                                      slice_of(call->body.data, call->body.len), &body);
    if (error != OK)
        request_fail(request, error == ERROR_MEMORY ? ADMIN_REASON_MEMORY : ADMIN_REASON_INVALID,
                     "the request cannot be read: %s.", error_text(error));
    else
        execute(request, body, &locator->arena);
}

static enum error refuse_while_adopting(struct session *session)
{
    enum error error = session_failf(session, FAILURE_NO_AVAILABLE_SERVER,
                                     "Unable to find a server: the locator is taking over the "
                                     "cluster map that its servers hold");
    session_finish(session);
    return error;
}

static enum error serve(struct session *session, uint32_t number, struct slice slice)
{
    struct locator *locator = session_owner(session);
    if (locator->adopt != NULL)
        return refuse_while_adopting(session);
    struct arena *arena = session_arena(session);
    ProtobufCMessage *body = NULL;
    enum error error = message_unpack(message_descriptor(number), arena, slice, &body);
    if (error != OK)
        return error;
    struct request *request = request_of_session(locator, session);
    if (request == NULL)
        return ERROR_MEMORY;
    find(number)(request, body, arena);
    return OK;
}

static enum error serve_region_create(struct session *session, struct slice body)
{
    return serve(session, REGION_CREATE, body);
}

static enum error serve_region_destroy(struct session *session, struct slice body)
{
    return serve(session, REGION_DESTROY, body);
}

static enum error serve_cluster_status(struct session *session, struct slice body)
{
    return serve(session, CLUSTER_STATUS, body);
}

static enum error serve_rebalance(struct session *session, struct slice body)
{
    return serve(session, REBALANCE, body);
}

static enum error serve_member_stop(struct session *session, struct slice body)
{
    return serve(session, MEMBER_STOP, body);
}

static enum error serve_region_clear(struct session *session, struct slice body)
{
    return serve(session, REGION_CLEAR, body);
}

static enum error serve_member_forget(struct session *session, struct slice body)
{
    return serve(session, MEMBER_FORGET, body);
}

static enum error serve_events(struct session *session, struct slice body)
{
    return serve(session, EVENTS, body);
}

static enum error serve_get_server(struct session *session, struct slice body)
{
    const struct locator *locator = session_owner(session);
    return locator->adopt != NULL ? refuse_while_adopting(session)
                                  : locator_op_get_server(session, body);
}

const struct operation locator_operations[] = {
    {GET_SERVER, "getServer", 0, "CLUSTER:READ", serve_get_server},
    {REGION_CREATE, "regionCreate", OPERATION_ALONE, "DATA:MANAGE", serve_region_create},
    {REGION_DESTROY, "regionDestroy", OPERATION_ALONE, "DATA:MANAGE", serve_region_destroy},
    {CLUSTER_STATUS, "clusterStatus", OPERATION_ALONE, "CLUSTER:READ", serve_cluster_status},
    {REBALANCE, "rebalance", OPERATION_ALONE, "CLUSTER:MANAGE", serve_rebalance},
    {MEMBER_STOP, "memberStop", OPERATION_ALONE, "CLUSTER:MANAGE", serve_member_stop},
    {REGION_CLEAR, "regionClear", OPERATION_ALONE, "DATA:MANAGE", serve_region_clear},
    {MEMBER_FORGET, "memberForget", OPERATION_ALONE, "CLUSTER:MANAGE", serve_member_forget},
    {EVENTS, "events", OPERATION_ALONE, "CLUSTER:READ", serve_events},
    {0},
};
