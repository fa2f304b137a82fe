/* Handshake and disconnect, which every host answers alike. Without users a handshake changes
 * nothing: credentials are taken and ignored. */
#include "protocol/session_impl.h"

/* HandshakeResponse{1 authenticated}. */
static enum error session_reply_handshake(struct session *session, bool authenticated)
{
    uint8_t *place = session_reply_begin(session, 23, authenticated ? 2 : 0);

    if (place == NULL)
        return ERROR_MEMORY;
    if (authenticated) {
        place[0] = 1 << 3;
        place[1] = 1;
    }
    session_reply_end(session);
    return OK;
}

enum error session_handshake(struct session *session, struct slice body)
{
    ProtobufCMessage *message;
    enum error error =
        message_unpack(&pb__handshake_request__descriptor, session_arena(session), body, &message);
    if (error != OK)
        return error;
    const Pb__HandshakeRequest *request = (const Pb__HandshakeRequest *)message;
    bool authenticated = request->n_credentials > 0;

    if (session->state == SESSION_AUTHENTICATION) {
        /* There are no users yet who could be the right ones. */
        session_count(&session->host->counters.authentication_failures, 1);
        authenticated = false;
        session_finish(session);
    }
    if (request->value_format.len > 0) {
        struct failure failure;

        failure_set(&failure, FAILURE_INVALID_REQUEST,
                    FAILURE_STATE "Unable to find a ValueSerializer for format %.*s",
                    SLICE_FMT(message_slice(request->value_format)));
        session_finish(session);
        return session_fail(session, &failure);
    }
    return session_reply_handshake(session, authenticated);
}

enum error session_refuse_unauthenticated(struct session *session, uint32_t number,
                                          struct slice body)
{
    enum error error = message_check_member(number, body);

    if (error != OK)
        return error;
    session_finish(session);
    return session_failf(session, FAILURE_AUTHENTICATION_FAILED, "%s",
                         FAILURE_STATE "User has not yet authenticated");
}

enum error session_disconnect(struct session *session, struct slice body)
{
    struct net_address peer = session_peer(session);
    ProtobufCMessage *message;
    enum error error = message_unpack(&pb__disconnect_client_request__descriptor,
                                      session_arena(session), body, &message);
    if (error != OK)
        return error;
    struct slice reason = message_slice(((const Pb__DisconnectClientRequest *)message)->reason);

    log_line(session->host->log, LOG_INFO, "session", NULL, "client %s:%u disconnected: %.*s",
             peer.host, peer.port, SLICE_FMT(reason));
    if (session_reply_begin(session, 31, 0) == NULL)
        return ERROR_MEMORY;
    session_reply_end(session);
    session_finish(session);
    return OK;
}
