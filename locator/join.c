#include "locator/join.h"

#include <inttypes.h>

#include "common/mem.h"
#include "locator/member_change.h"
#include "locator/membership.h"
#include "locator/peer_link.h"

struct join {
    struct change change;
    struct locator *locator;
    struct peer *peer;  /* NULL when it went away meanwhile */
    struct arena arena; /* holds what `member` points to */
    struct cluster_member member;
    bool is_new;
    int refusal; /* if it is refused */
};

void join_forget_peer(struct join *join)
{
    join->peer = NULL;
}

static enum change_verdict apply(struct change *change, struct cluster_map *map,
                                 struct failure *failure)
{
    struct join *join = (struct join *)change;
    join->refusal = PB__PEER_WELCOME__REFUSAL__NOT_READY;
    join->is_new = cluster_map_member_by_incarnation(map, join->member.incarnation) == CLUSTER_NONE;
    if (!join->is_new)
        return CHANGE_UNCHANGED;
    struct member_eyes eyes = membership_eyes(join->locator);
    enum error error = member_change_join(map, &join->member, &eyes);
    if (error == OK)
        return CHANGE_STORE;
    if (error == ERROR_INVALID || error == ERROR_LIMIT) {
        join->refusal = PB__PEER_WELCOME__REFUSAL__MALFORMED;
        request_failure(failure, ADMIN_REASON_INVALID,
                        "the name, the host or a group of the server cannot be: 1 to %u printable "
                        "characters, no slash at "
                        "either end.",
                        LIMIT_NAME_BYTES);
    } else if (error == ERROR_EXISTS) {
        request_failure(failure, ADMIN_REASON_EXISTS, "another server came first.");
    } else {
        request_failure(failure, ADMIN_REASON_MEMORY,
                        "the locator has not enough memory; trying again.");
    }
    return CHANGE_REFUSED;
}

static void done(struct locator *locator, struct change *change, const struct failure *failure)
{
    struct join *join = (struct join *)change;
    struct peer *peer = join->peer;
    if (peer != NULL)
        peer->join = NULL;
    if (failure == NULL && join->is_new) {
        log_line(locator->log, LOG_INFO, "membership", "VG1201",
                 "server %.*s joined: %.*s:%u (epoch %" PRIu64 ")", SLICE_FMT(join->member.name),
                 SLICE_FMT(join->member.host), join->member.port, locator->map->epoch);
        membership_tell(locator, join->member.name, "joined", "server joined");
    }
    arena_fini(&join->arena);
    int refusal = join->refusal;
    mem_free(join);
    if (peer == NULL)
        return;
    if (failure == NULL)
        membership_link(peer);
    else
        peer_refuse(peer, refusal, "%s", failure->text);
}

static bool keep(struct join *join, const char *text, struct slice *kept)
{
    size_t len = strlen(text);
    char *copy = arena_strndup(&join->arena, text, len);
    *kept = slice_of(copy, len);
    return copy != NULL;
}

static bool keep_member(struct join *join, const struct peer *peer)
{
    struct slice *groups = arena_zalloc(&join->arena, (peer->group_count + 1) * sizeof(*groups));
    if (groups == NULL)
        return false;
    for (size_t i = 0; i < peer->group_count; i++)
        if (!keep(join, peer->groups[i], &groups[i]))
            return false;
    join->member = (struct cluster_member){
        .incarnation = peer->incarnation,
        .port = peer->port,
        .http_port = peer->http_port,
        .role = CLUSTER_SERVER,
        .state = CLUSTER_UP,
        .groups = groups,
        .group_count = (uint32_t)peer->group_count,
    };
    return keep(join, peer->name, &join->member.name) && keep(join, peer->host, &join->member.host);
}

enum error join_submit(struct peer *peer)
{
    struct locator *locator = peer->locator;
    struct join *join = mem_zalloc(sizeof(*join));
    if (join == NULL)
        return ERROR_MEMORY;
    join->change.apply = apply;
    join->change.done = done;
    join->locator = locator;
    join->peer = peer;
    arena_init(&join->arena, 4 * PEER_HELLO_BYTES_MAX);
    enum error error =
        keep_member(join, peer) ? changes_submit(&locator->changes, &join->change) : ERROR_MEMORY;
    if (error != OK) {
        arena_fini(&join->arena);
        mem_free(join);
        return error;
    }
    peer->join = join;
    return OK;
}
