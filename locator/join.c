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
    uint64_t replaced;
    uint64_t entries; /* last known, of the replaced one */
    uint32_t buckets_lost;
    int refusal; /* if it is refused */
};

void join_forget_peer(struct join *join)
{
    join->peer = NULL;
}

/* Somebody else may have come, or come back, since it was decided. */
static bool is_still_right(const struct join *join, const struct cluster_map *map)
{
    const struct cluster_member *holder = membership_holder(map, join->member.name);
    if ((holder == NULL ? 0 : holder->incarnation) != join->replaced)
        return false;
    return holder == NULL || locator_member(join->locator, holder->incarnation)->peer == NULL;
}

static enum change_verdict apply(struct change *change, struct cluster_map *map,
                                 struct failure *failure)
{
    struct join *join = (struct join *)change;
    join->refusal = PB__PEER_WELCOME__REFUSAL__NOT_READY;
    join->buckets_lost = 0;
    if (cluster_map_member_by_incarnation(map, join->member.incarnation) != CLUSTER_NONE)
        return CHANGE_UNCHANGED;
    if (!is_still_right(join, map)) {
        request_failure(failure, ADMIN_REASON_EXISTS, "another server came first.");
        return CHANGE_REFUSED;
    }
    enum error error = member_change_join(map, &join->member, join->replaced, &join->buckets_lost);
    if (error == OK)
        return CHANGE_STORE;
    if (error == ERROR_INVALID || error == ERROR_LIMIT) {
        join->refusal = PB__PEER_WELCOME__REFUSAL__MALFORMED;
        request_failure(failure, ADMIN_REASON_INVALID,
                        "the name, the host or a group of the server cannot be: 1 to %u printable "
                        "characters, no slash at "
                        "either end.",
                        LIMIT_NAME_BYTES);
    } else if (error == ERROR_UNSUPPORTED) {
        join->refusal = PB__PEER_WELCOME__REFUSAL__SECOND_SERVER;
        request_failure(failure, ADMIN_REASON_UNSUPPORTED,
                        "other servers hold copies of the dead server's buckets, and this version "
                        "does not promote them.");
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
    if (failure == NULL) {
        log_line(locator->log, LOG_INFO, "membership", "VG1201",
                 "server %.*s joined: %.*s:%u (epoch %" PRIu64 ")", SLICE_FMT(join->member.name),
                 SLICE_FMT(join->member.host), join->member.port, locator->map->epoch);
        if (join->buckets_lost > 0)
            log_line(locator->log, LOG_ERROR, "membership", "VG1231",
                     "server %.*s takes the place of one that is gone: %u buckets lost their last "
                     "copy and start empty "
                     "with the next generation; %" PRIu64 " entries were last known",
                     SLICE_FMT(join->member.name), join->buckets_lost, join->entries);
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

enum error join_submit(struct peer *peer, uint64_t replaced)
{
    struct locator *locator = peer->locator;
    struct join *join = mem_zalloc(sizeof(*join));
    if (join == NULL)
        return ERROR_MEMORY;
    join->change.apply = apply;
    join->change.done = done;
    join->locator = locator;
    join->peer = peer;
    join->replaced = replaced;
    arena_init(&join->arena, 4 * PEER_HELLO_BYTES_MAX);
    if (replaced != 0)
        join->entries = locator_member(locator, replaced)->entries;
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
