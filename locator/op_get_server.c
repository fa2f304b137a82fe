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

enum { OTHERS_MAX = 15 };

/* Every server that clients may be sent to now, of a group. */
struct candidate {
    const struct cluster_member *server;
    struct member *member;
    struct slice host; /* as this client is told */
};

static uint32_t list_candidates(const struct locator *locator, struct session *session,
                                const Pb__GetServerRequest *request, struct candidate *candidates)
{
    struct net_address from = session_peer(session);
    uint32_t count = 0;
    for (uint32_t i = 0; i < locator->map->member_count; i++) {
        const struct cluster_member *server = &locator->map->members[i];
        struct member *member = locator_member(locator, server->incarnation);
        struct slice host = client_address_of(locator->options.client_address, from.host,
                                              server->name, server->host);
        if (server->role == CLUSTER_SERVER && server->state == CLUSTER_UP &&
            membership_serves(locator, member) &&
            is_in_group(server, message_slice(request->server_group)) &&
            !is_excluded(server, host, request))
            candidates[count++] = (struct candidate){server, member, host};
    }
    return count;
}

static enum error reply(struct session *session, const struct candidate *candidates, uint32_t count,
                        uint32_t best, bool with_others)
{
    Pb__Server servers[1 + OTHERS_MAX], *others[OTHERS_MAX];
    Pb__GetServerResponse response = PB__GET_SERVER_RESPONSE__INIT;
    /* The best first, then those behind it, so that not all clients have the same second. */
    for (uint32_t i = 0; i < count && i <= OTHERS_MAX && (i == 0 || with_others); i++) {
        const struct candidate *candidate = &candidates[(best + i) % count];
        pb__server__init(&servers[i]);
        servers[i].hostname = message_bytes(candidate->host);
        servers[i].port = candidate->server->port;
        if (i > 0)
            others[response.n_other++] = &servers[i];
    }
    response.server = &servers[0];
    response.other = others;
    return session_reply_message(session, 13, &response.base);
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
    struct candidate *candidates =
        arena_alloc(session_arena(session), (locator->map->member_count + 1) * sizeof(*candidates));
    if (candidates == NULL)
        return ERROR_MEMORY;
    uint32_t count = list_candidates(locator, session, request, candidates), best = 0;
    for (uint32_t i = 1; i < count; i++)
        if (is_better(candidates[i].server, candidates[i].member, candidates[best].server,
                      candidates[best].member))
            best = i;
    if (count == 0 && group.len == 0) {
        error = session_failf(session, FAILURE_NO_AVAILABLE_SERVER, "Unable to find a server");
    } else if (count == 0) {
        error = session_failf(session, FAILURE_NO_AVAILABLE_SERVER,
                              "Unable to find a server in server group %.*s", SLICE_FMT(group));
    } else {
        candidates[best].member->load_estimate++;
        error = reply(session, candidates, count, best, request->with_others);
    }
    session_finish(session);
    return error;
}
