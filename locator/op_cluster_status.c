/* ClusterStatus: the map in force, and beside it what was last heard of each server. Everything is
 * built in the request's arena. */
#include "locator/client_address.h"
#include "locator/membership.h"
#include "locator/ops.h"
#include "locator/peer_link.h"
#include "locator/placer.h"
#include "protocol/message.h"

enum { DEGRADED_MAX = 100 };

/* What people read: serving, joining (connected, but not all there yet), suspect (not connected),
 * gone (provably), leaving. */
static const char *state_word(const struct locator *locator, const struct cluster_member *server,
                              const struct member *member)
{
    if (server->state == CLUSTER_DOWN || member->gone)
        return "gone";
    if (member->peer == NULL)
        return "suspect";
    if (server->state == CLUSTER_LEAVING || member->leaving)
        return "leaving";
    bool is_fresh = loop_now_us(locator->loop) - member->heard_us < PEER_FRESH_MS * UINT64_C(1000);
    if (member->beaconed && !is_fresh)
        return "suspect";
    return member->beaconed && member->acknowledged > 0 ? "serving" : "joining";
}

static void count_buckets(const struct cluster_map *map, uint32_t index, Pb__MemberStatus *status)
{
    for (uint32_t i = 0; i < map->region_count; i++) {
        const struct cluster_region *region = &map->regions[i];
        for (uint32_t j = 0; region->buckets != NULL && j < region->bucket_count; j++) {
            status->primaries += region->buckets[j].primary == index;
            status->buckets += cluster_bucket_has(&region->buckets[j], index);
        }
    }
}

static Pb__MemberStatus *locator_status(const struct locator *locator, struct arena *arena)
{
    Pb__MemberStatus *status = arena_zalloc(arena, sizeof(*status));
    if (status == NULL)
        return NULL;
    pb__member_status__init(status);
    status->name = message_bytes(slice_text(locator->options.name));
    status->role = message_bytes(slice_text(cluster_role_word(CLUSTER_LOCATOR)));
    status->host = message_bytes(slice_text(locator->options.hostname));
    status->port = net_listener_address(locator->listener).port;
    status->http_port = locator->options.http_port;
    status->state = message_bytes(slice_text("serving"));
    status->clients = locator->connection_count;
    status->uptime_s = (loop_now_us(locator->loop) - locator->started_us) / 1000000;
    status->incarnation = locator->incarnation;
    status->epoch = locator->map->epoch;
    status->version = message_bytes(slice_text(VUG_VERSION));
    return status;
}

/* `from` is where the question comes from, or "". */
static Pb__MemberStatus *server_status(const struct locator *locator, uint32_t index,
                                       const char *from, struct arena *arena)
{
    const struct cluster_member *server = &locator->map->members[index];
    const struct member *member = locator_member(locator, server->incarnation);
    Pb__MemberStatus *status = arena_zalloc(arena, sizeof(*status));
    ProtobufCBinaryData *groups = arena_zalloc(arena, (server->group_count + 1) * sizeof(*groups));
    if (status == NULL || groups == NULL)
        return NULL;
    pb__member_status__init(status);
    status->name = message_bytes(server->name);
    status->role = message_bytes(slice_text(cluster_role_word(server->role)));
    status->host = message_bytes(
        client_address_of(locator->options.client_address, from, server->name, server->host));
    status->port = server->port;
    status->http_port = server->http_port;
    for (uint32_t i = 0; i < server->group_count; i++)
        groups[i] = message_bytes(server->groups[i]);
    status->groups = groups;
    status->n_groups = server->group_count;
    status->state = message_bytes(slice_text(state_word(locator, server, member)));
    status->entries = member->entries;
    status->bytes = member->bytes;
    status->clients = member->clients;
    status->uptime_s = member->uptime_s;
    status->incarnation = server->incarnation;
    status->epoch = member->acknowledged;
    if (member->peer != NULL)
        status->version = message_bytes(slice_text(member->peer->version));
    count_buckets(locator->map, index, status);
    return status;
}

static bool add_members(const struct locator *locator, const char *from, struct arena *arena,
                        Pb__ClusterStatusResponse *response)
{
    const struct cluster_map *map = locator->map;
    response->member = arena_zalloc(arena, (map->member_count + 1) * sizeof(*response->member));
    if (response->member == NULL)
        return false;
    response->member[response->n_member++] = locator_status(locator, arena);
    for (uint32_t i = 0; i < map->member_count; i++)
        if (map->members[i].role == CLUSTER_SERVER)
            response->member[response->n_member++] = server_status(locator, i, from, arena);
    for (size_t i = 0; i < response->n_member; i++)
        if (response->member[i] == NULL)
            return false;
    return true;
}

static void add_load(const struct locator *locator, uint32_t region_id, Pb__RegionStatus *status)
{
    for (const struct member *member = locator->members; member != NULL; member = member->next) {
        for (uint32_t i = 0; i < member->region_count; i++) {
            if (member->regions[i].region_id != region_id)
                continue;
            status->entries += member->regions[i].entries;
            status->bytes += member->regions[i].bytes;
        }
    }
}

static const char *constraint_word(enum value_type type)
{
    return type == VALUE_NOT_SET ? "" : value_type_word(type);
}

/* A region that is made anew under its name has lost its contents, too. */
static uint64_t generations_of(const struct cluster_region *region)
{
    uint64_t sum = (uint64_t)region->id << 32;
    for (uint32_t i = 0; region->buckets != NULL && i < region->bucket_count; i++)
        sum += region->buckets[i].generation;
    return sum;
}

static bool add_regions(const struct locator *locator, const bool *serves, struct arena *arena,
                        bool wanted, Pb__ClusterStatusResponse *response)
{
    const struct cluster_map *map = locator->map;
    response->region = arena_zalloc(arena, (map->region_count + 1) * sizeof(*response->region));
    if (response->region == NULL)
        return false;
    for (uint32_t i = 0; i < map->region_count; i++) {
        const struct cluster_region *region = &map->regions[i];
        uint32_t lost;
        uint32_t degraded = cluster_map_degraded(map, region, serves, &lost);
        response->degraded_buckets += degraded;
        response->lost_buckets += lost;
        if (!wanted)
            continue;
        Pb__RegionStatus *status = arena_zalloc(arena, sizeof(*status));
        if (status == NULL)
            return false;
        pb__region_status__init(status);
        status->name = message_bytes(region->name);
        status->id = region->id;
        status->type = message_bytes(slice_text(cluster_region_type_word(region->type)));
        status->redundant_copies = region->redundant_copies;
        status->buckets = region->bucket_count;
        status->key_constraint = message_bytes(slice_text(constraint_word(region->key_constraint)));
        status->value_constraint =
            message_bytes(slice_text(constraint_word(region->value_constraint)));
        status->degraded_buckets = degraded;
        status->lost_buckets = lost;
        status->generations = generations_of(region);
        add_load(locator, region->id, status);
        response->region[response->n_region++] = status;
    }
    return true;
}

static bool add_tables(const struct cluster_map *map, struct arena *arena,
                       Pb__ClusterStatusResponse *response)
{
    response->table = arena_zalloc(arena, (map->table_count + 1) * sizeof(*response->table));
    if (response->table == NULL)
        return false;
    for (uint32_t i = 0; i < map->table_count; i++) {
        Pb__TableStatus *status = arena_zalloc(arena, sizeof(*status));
        if (status == NULL)
            return false;
        pb__table_status__init(status);
        status->name = message_bytes(map->tables[i].name);
        status->region = message_bytes(map->tables[i].region);
        status->ddl = message_bytes(map->tables[i].ddl);
        response->table[response->n_table++] = status;
    }
    return true;
}

/* Of each member of the map: whether it serves its buckets this moment. */
static bool *who_serves(const struct locator *locator, struct arena *arena)
{
    const struct cluster_map *map = locator->map;
    bool *serves = arena_zalloc(arena, map->member_count + 1);
    for (uint32_t i = 0; serves != NULL && i < map->member_count; i++)
        serves[i] =
            map->members[i].role == CLUSTER_SERVER && map->members[i].state != CLUSTER_DOWN &&
            membership_answers(locator, locator_member(locator, map->members[i].incarnation));
    return serves;
}

/* False when the bucket has all its copies and its primary serves. */
static bool describe_bucket(const struct cluster_map *map, const struct cluster_region *region,
                            uint32_t id, const bool *serves, Pb__DegradedBucket *status)
{
    const struct cluster_bucket *bucket = &region->buckets[id];
    bool has_primary = bucket->primary != CLUSTER_NONE;
    pb__degraded_bucket__init(status);
    status->wanted = cluster_map_wanted_copies(map, region);
    status->copies = cluster_map_serving_copies(bucket, serves);
    if (has_primary && !serves[bucket->primary])
        status->waits_for = message_bytes(map->members[bucket->primary].name);
    status->region = message_bytes(region->name);
    status->bucket = id;
    return status->copies < status->wanted || !has_primary || status->waits_for.len > 0;
}

static bool add_degraded(const struct cluster_map *map, const bool *serves, struct arena *arena,
                         Pb__ClusterStatusResponse *response)
{
    response->degraded = arena_zalloc(arena, DEGRADED_MAX * sizeof(*response->degraded));
    if (response->degraded == NULL)
        return false;
    for (uint32_t i = 0; i < map->region_count; i++) {
        const struct cluster_region *region = &map->regions[i];
        for (uint32_t j = 0; region->buckets != NULL && j < region->bucket_count; j++) {
            Pb__DegradedBucket bucket;
            if (!describe_bucket(map, region, j, serves, &bucket))
                continue;
            if (response->n_degraded == DEGRADED_MAX)
                return true;
            Pb__DegradedBucket *kept = arena_alloc(arena, sizeof(*kept));
            if (kept == NULL)
                return false;
            *kept = bucket;
            response->degraded[response->n_degraded++] = kept;
        }
    }
    return true;
}

void locator_op_cluster_status(struct request *request, const ProtobufCMessage *body,
                               struct arena *arena)
{
    const Pb__ClusterStatusRequest *wants = (const Pb__ClusterStatusRequest *)body;
    const struct locator *locator = request->locator;
    Pb__ClusterStatusResponse response = PB__CLUSTER_STATUS_RESPONSE__INIT;
    response.cluster_id = message_bytes(slice_of(locator->map->cluster_id, CLUSTER_ID_BYTES));
    response.epoch = locator->map->epoch;
    struct session *session = request->slot == NULL ? NULL : session_slot_session(request->slot);
    struct net_address from = {0};
    if (session != NULL)
        from = session_peer(session);
    bool rebalances;
    response.moves = placer_moves(locator, &rebalances);
    response.rebalancing = rebalances;
    response.answered_by = message_bytes(slice_text(locator->options.name));
    const bool *serves = who_serves(locator, arena);
    bool is_complete =
        serves != NULL &&
        (!wants->want_members || add_members(locator, from.host, arena, &response)) &&
        add_regions(locator, serves, arena, wants->want_regions, &response) &&
        (!wants->want_tables || add_tables(locator->map, arena, &response)) &&
        (!wants->want_degraded || add_degraded(locator->map, serves, arena, &response));
    if (is_complete)
        request_reply(request, 1025, &response.base);
    else
        request_fail(request, ADMIN_REASON_MEMORY,
                     "the locator has not enough memory for the answer.");
}
