/* GetServer: names the server with the fewest connections among those that can serve this moment.
 *
 * Those have the map that was in force when the client asked: what was made before, it finds there.
 * When there is none, but one that may be able to in a moment (it takes a new map, or its beacon is
 * late), the answer waits for it, so that a change of the map, or a busy machine, is no error of
 * clients.
 */
#include "locator/client_address.h"
#include "locator/membership.h"
#include "locator/ops.h"
#include "common/mem.h"
#include "protocol/message.h"

enum { OTHERS_MAX = 15 };

/* A client that waits for a server. */
struct server_wait {
    struct session_slot *slot;
    struct arena arena; /* holds the request */
    const Pb__GetServerRequest *request;
    uint64_t epoch; /* in force when it came */
    uint64_t deadline_us;
    struct server_wait *next;
};

/* Geode's reserved group of gateway receivers: a server in nothing but this one is not for clients.
 */
static const char receiver_group[] = "__recv__group";

#define REQUEST_BYTES_MAX (1u << 20) /* of a request that waits, unpacked */

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

struct choice {
    const struct cluster_member *server; /* or NULL */
    struct member *member;
    struct slice host;
    bool is_hopeful; /* there is a server that may serve in a moment */
};

/* What a client asks, from where, and the epoch in force then. */
struct question {
    const Pb__GetServerRequest *request;
    const char *from;
    uint64_t epoch;
};

/* Whether it is one of those that are asked for, and linked to; *host is what the client is told.
 */
static bool may_be_named(const struct locator *locator, const struct question *question,
                         const struct cluster_member *server, struct member **member,
                         struct slice *host)
{
    if (server->role != CLUSTER_SERVER || server->state != CLUSTER_UP ||
        !is_in_group(server, message_slice(question->request->server_group)))
        return false;
    *member = locator_member(locator, server->incarnation);
    *host = client_address_of(locator->options.client_address, question->from, server->name,
                              server->host);
    return (*member)->peer != NULL && !(*member)->gone && !(*member)->leaving &&
           !is_excluded(server, *host, question->request);
}

static struct choice choose(const struct locator *locator, const struct question *question)
{
    struct choice best = {0};
    for (uint32_t i = 0; i < locator->map->member_count; i++) {
        const struct cluster_member *server = &locator->map->members[i];
        struct member *member;
        struct slice host;
        if (!may_be_named(locator, question, server, &member, &host))
            continue;
        if (!membership_serves(locator, member, question->epoch))
            best.is_hopeful = true;
        else if (best.server == NULL || is_better(server, member, best.server, best.member))
            best = (struct choice){server, member, host, best.is_hopeful};
    }
    return best;
}

struct others {
    Pb__Server servers[OTHERS_MAX], *pointers[OTHERS_MAX];
    uint32_t count;
};

/* Servers that might have been named, too: first those behind the one that is, so that not all
 * clients have the same second. */
static void list_others(const struct locator *locator, const struct question *question,
                        const struct choice *choice, struct others *others)
{
    const struct cluster_map *map = locator->map;
    uint32_t best = (uint32_t)(choice->server - map->members);
    others->count = 0;
    for (uint32_t i = 1; i < map->member_count && others->count < OTHERS_MAX; i++) {
        const struct cluster_member *server = &map->members[(best + i) % map->member_count];
        struct member *member;
        struct slice host;
        if (!may_be_named(locator, question, server, &member, &host) ||
            !membership_serves(locator, member, question->epoch))
            continue;
        Pb__Server *other = &others->servers[others->count];
        pb__server__init(other);
        other->hostname = message_bytes(host);
        other->port = server->port;
        others->pointers[others->count++] = other;
    }
}

static void answer(const struct locator *locator, struct session_slot *slot,
                   const struct question *question, const struct choice *choice)
{
    struct failure failure;
    struct others others;
    struct slice group = message_slice(question->request->server_group);
    Pb__Server server = PB__SERVER__INIT;
    Pb__GetServerResponse response = PB__GET_SERVER_RESPONSE__INIT;
    if (choice->server != NULL) {
        server.hostname = message_bytes(choice->host);
        server.port = choice->server->port;
        response.server = &server;
        if (question->request->with_others) {
            list_others(locator, question, choice, &others);
            response.other = others.pointers;
            response.n_other = others.count;
        }
        choice->member->load_estimate++;
        session_slot_reply_message(slot, 13, &response.base);
        return;
    }
    if (group.len == 0)
        failure_set(&failure, FAILURE_NO_AVAILABLE_SERVER, "Unable to find a server");
    else
        failure_set(&failure, FAILURE_NO_AVAILABLE_SERVER,
                    "Unable to find a server in server group %.*s", SLICE_FMT(group));
    session_slot_fail(slot, &failure);
}

static void wait_free(struct server_wait *wait)
{
    arena_fini(&wait->arena);
    mem_free(wait);
}

/* Takes the slot, unless there is no memory. */
static enum error wait_begin(struct locator *locator, struct session_slot *slot, struct slice body)
{
    struct server_wait *wait = mem_zalloc(sizeof(*wait));
    ProtobufCMessage *base;
    if (wait == NULL)
        return ERROR_MEMORY;
    arena_init(&wait->arena, REQUEST_BYTES_MAX);
    enum error error =
        message_unpack(&pb__get_server_request__descriptor, &wait->arena, body, &base);
    if (error != OK) {
        wait_free(wait);
        return error;
    }
    wait->slot = slot;
    wait->request = (const Pb__GetServerRequest *)base;
    wait->epoch = locator->map->epoch;
    wait->deadline_us = loop_now_us(locator->loop) + LOCATOR_NAME_MS * UINT64_C(1000);
    wait->next = locator->server_waits;
    locator->server_waits = wait;
    return OK;
}

enum error locator_op_get_server(struct session *session, struct slice body)
{
    struct locator *locator = session_owner(session);
    ProtobufCMessage *base;
    enum error error =
        message_unpack(&pb__get_server_request__descriptor, session_arena(session), body, &base);
    if (error != OK)
        return error;
    struct session_slot *slot = session_slot_new(session);
    if (slot == NULL)
        return ERROR_MEMORY;
    struct net_address from = session_peer(session);
    struct question question = {(const Pb__GetServerRequest *)base, from.host, locator->map->epoch};
    struct choice choice = choose(locator, &question);
    if (choice.server != NULL || !choice.is_hopeful || wait_begin(locator, slot, body) != OK)
        answer(locator, slot, &question, &choice);
    session_finish(session);
    return OK;
}

/* True when the client was answered, or has gone. */
static bool is_over(struct locator *locator, const struct server_wait *wait)
{
    struct session *session = session_slot_session(wait->slot);
    if (session == NULL) {
        session_slot_drop(wait->slot);
        return true;
    }
    struct net_address from = session_peer(session);
    struct question question = {wait->request, from.host, wait->epoch};
    struct choice choice = choose(locator, &question);
    if (choice.server == NULL && choice.is_hopeful &&
        loop_now_us(locator->loop) < wait->deadline_us)
        return false;
    answer(locator, wait->slot, &question, &choice);
    return true;
}

void locator_get_server_look(struct locator *locator)
{
    for (struct server_wait **at = &locator->server_waits; *at != NULL;) {
        struct server_wait *wait = *at;
        if (!is_over(locator, wait)) {
            at = &wait->next;
            continue;
        }
        *at = wait->next;
        wait_free(wait);
    }
}

void locator_get_server_drop_all(struct locator *locator)
{
    while (locator->server_waits != NULL) {
        struct server_wait *wait = locator->server_waits;
        locator->server_waits = wait->next;
        session_slot_drop(wait->slot);
        wait_free(wait);
    }
}
