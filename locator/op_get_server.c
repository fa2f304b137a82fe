/* GetServer: names the server with the fewest connections among those that can serve this moment.
 */
#include "locator/client_address.h"
#include "locator/membership.h"
#include "locator/ops.h"
#include "protocol/message.h"

/* Geode's reserved group of gateway receivers: a server in nothing but this one is not for clients.
 */
static const char receiver_group[] = "__recv__group";

static bool is_in_group(const struct cluster_member *server, struct slice group)
{
    if (group.len == 0)
        return server->group_count != 1 ||
               !slice_equal(server->groups[0], slice_text(receiver_group));
    for (uint32_t i = 0; i < server->group_count; i++)
        if (slice_equal(server->groups[i], group))
            return true;
    return false;
}

/* By the text of its address, as this client was told it: an exclusion in another spelling excludes
 * nothing. */
static bool is_excluded(const struct cluster_member *server, struct slice host,
                        const Pb__GetServerRequest *request)
{
    for (size_t i = 0; i < request->n_excluded_servers; i++) {
        const Pb__Server *excluded = request->excluded_servers[i];
        if (excluded->port == server->port && slice_equal(message_slice(excluded->hostname), host))
            return true;
    }
    return false;
}

static bool is_better(const struct cluster_member *server, const struct member *member,
                      const struct cluster_member *best, const struct member *best_member)
{
    if (member->load_estimate != best_member->load_estimate)
        return member->load_estimate < best_member->load_estimate;
    size_t shorter = server->host.len < best->host.len ? server->host.len : best->host.len;
    int order = memcmp(server->host.data, best->host.data, shorter);
    if (order != 0 || server->host.len != best->host.len)
        return order != 0 ? order < 0 : server->host.len < best->host.len;
    return server->port < best->port;
}

enum error locator_op_get_server(struct session *session, struct slice body)
{
    struct locator *locator = session_owner(session);
    ProtobufCMessage *base;
    enum error error =
        message_unpack(&pb__get_server_request__descriptor, session_arena(session), body, &base);
    if (error != OK)
        return error;
    const Pb__GetServerRequest *request = (const Pb__GetServerRequest *)base;
    struct slice group = message_slice(request->server_group);
    struct net_address from = session_peer(session);
    struct slice best_host = group;
    const struct cluster_member *best = NULL;
    struct member *best_member = NULL;
    for (uint32_t i = 0; i < locator->map->member_count; i++) {
        const struct cluster_member *server = &locator->map->members[i];
        struct member *member = locator_member(locator, server->incarnation);
        struct slice host = client_address_of(locator->options.client_address, from.host,
                                              server->name, server->host);
        if (server->role != CLUSTER_SERVER || server->state != CLUSTER_UP ||
            !membership_serves(locator, member) || !is_in_group(server, group) ||
            is_excluded(server, host, request))
            continue;
        if (best == NULL || is_better(server, member, best, best_member)) {
            best = server;
            best_host = host;
            best_member = member;
        }
    }
    if (best == NULL && group.len == 0) {
        error = session_failf(session, FAILURE_NO_AVAILABLE_SERVER, "Unable to find a server");
    } else if (best == NULL) {
        error = session_failf(session, FAILURE_NO_AVAILABLE_SERVER,
                              "Unable to find a server in server group %.*s", SLICE_FMT(group));
    } else {
        Pb__Server server = PB__SERVER__INIT;
        Pb__GetServerResponse response = PB__GET_SERVER_RESPONSE__INIT;
        server.hostname = message_bytes(best_host);
        server.port = best->port;
        response.server = &server;
        best_member->load_estimate++;
        error = session_reply_message(session, 13, &response.base);
    }
    session_finish(session);
    return error;
}
