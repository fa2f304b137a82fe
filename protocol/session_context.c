/* Requests that the host's table has no row for. A server says that it does not support them. A
 * locator refuses what belongs to a server as Geode's does: it looks at the values of some requests
 * first, and whoever asks for a bad one may stay. */
#include "protocol/session_impl.h"

#include "protocol/codec.h"

enum { SESSION_GET_SERVER = 12 };

static enum error session_fail_context(struct session *session)
{
    session_finish(session);
    return session_failf(session, FAILURE_INVALID_REQUEST, "%s", FAILURE_CONTEXT);
}

/* Every value of the fields listed must be usable. ERROR_INVALID with the failure set. */
static enum error session_check_values(struct slice body, uint32_t first_field,
                                       uint32_t second_field, struct failure *failure)
{
    struct codec_field field;
    struct value value;

    while (body.len > 0) {
        enum error error = codec_next_field(&body, &field);

        if (error != OK)
            return error;
        if (field.wire_type != 2 || (field.number != first_field && field.number != second_field))
            continue;
        error = value_decode(field.bytes, &value);
        if (error == OK)
            error = failure_check_value(&value, failure);
        if (error != OK)
            return error;
    }
    return OK;
}

/* ERROR_INVALID with the failure set: the connection stays. */
static enum error session_check_request(uint32_t number, struct slice body, struct failure *failure)
{
    struct codec_entry_request entry;
    struct codec_key_request key;
    enum error error;

    switch (number) {
    case 2:  /* put */
    case 34: /* putIfAbsent */
        error = codec_entry_request(body, &entry);
        if (error == OK)
            error = failure_check_value(&entry.value, failure);
        return error == OK ? failure_check_value(&entry.key, failure) : error;
    case 4:  /* get */
    case 10: /* remove */
        error = codec_key_request(body, &key);
        if (error == OK)
            error = failure_check_value(&key.key, failure);
        if (error != OK || key.key.type != VALUE_NULL)
            return error;
        failure_set(failure, FAILURE_INVALID_REQUEST, "%s",
                    number == 4 ? "Performing a get on a NULL key."
                                : "NULL is not a valid key for removal.");
        return ERROR_INVALID;
    case 18: /* executeFunctionOnRegion: arguments, key filter */
        return session_check_values(body, 3, 4, failure);
    case 20: /* executeFunctionOnMember */
    case 24: /* executeFunctionOnGroup */
        return session_check_values(body, 3, 3, failure);
    case 26: /* oqlQuery: bind parameters */
        return session_check_values(body, 2, 2, failure);
    default:
        return OK;
    }
}

enum error session_no_operation(struct session *session, uint32_t number, struct slice body)
{
    struct failure failure;
    enum error error = message_check_member(number, body);

    if (error != OK || number == SESSION_CQ_ACK)
        return error;
    if (session->host->role == SESSION_SERVER) {
        if (number == SESSION_GET_SERVER)
            return session_fail_context(session);
        return session_failf(session, FAILURE_UNSUPPORTED_OPERATION,
                             "Unsupported operation:%s is not supported yet",
                             message_request_name(number));
    }
    error = session_check_request(number, body, &failure);
    if (error == ERROR_INVALID)
        return session_fail(session, &failure);
    return error == OK ? session_fail_context(session) : error;
}
