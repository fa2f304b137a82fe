/* The map's packed form: protocol/map.proto. It is written by hand, because a map of ten thousand
 * buckets would need as many small arrays for protobuf-c, and read by protobuf-c. */
#include "protocol/cluster_map_impl.h"

#include "common/limits.h"
#include "protocol/codec.h"
#include "protocol/map.pb-c.h"
#include "protocol/message.h"

/* ---- Writing ---- */

static void cluster_put_varint(struct buf *out, uint64_t value)
{
    uint8_t *end = buf_reserve(out, 10);

    if (end != NULL)
        out->len += (size_t)(codec_put_varint(end, value) - end);
}

static void cluster_put_number(struct buf *out, uint32_t field, uint64_t value)
{
    if (value == 0)
        return;
    cluster_put_varint(out, (uint64_t)field << 3);
    cluster_put_varint(out, value);
}

static void cluster_put_bytes(struct buf *out, uint32_t field, struct slice bytes)
{
    if (bytes.len == 0)
        return;
    cluster_put_varint(out, (uint64_t)field << 3 | 2);
    cluster_put_varint(out, bytes.len);
    buf_append_slice(out, bytes);
}

/* A nested message or column; an empty one is written too. */
static void cluster_put_nested(struct buf *out, uint32_t field, const struct buf *content)
{
    cluster_put_varint(out, (uint64_t)field << 3 | 2);
    cluster_put_varint(out, content->len);
    buf_append_slice(out, buf_slice(content));
    if (content->failed)
        out->failed = true;
}

static void cluster_pack_member(const struct cluster_member *member, struct buf *out)
{
    cluster_put_bytes(out, 1, member->name);
    cluster_put_varint(out, 2 << 3 | 1);
    buf_append(out, &member->incarnation, sizeof member->incarnation); /* little-endian */
    cluster_put_bytes(out, 3, member->host);
    cluster_put_number(out, 4, member->port);
    cluster_put_number(out, 5, member->http_port);
    for (uint32_t i = 0; i < member->group_count; i++)
        cluster_put_bytes(out, 6, member->groups[i]);
    cluster_put_number(out, 7, member->role);
    cluster_put_number(out, 8, member->state);
}

/* One column of the buckets into `column`. */
static void cluster_pack_column(const struct cluster_region *region, uint32_t field,
                                struct buf *column)
{
    buf_clear(column);
    for (uint32_t i = 0; i < region->bucket_count; i++) {
        const struct cluster_bucket *bucket = &region->buckets[i];

        switch (field) {
        case 8:
            cluster_put_varint(column, bucket->generation);
            break;
        case 9:
            cluster_put_varint(column, bucket->term);
            break;
        case 10:
            cluster_put_varint(column, bucket->set_version);
            break;
        case 11:
            cluster_put_varint(column,
                               bucket->primary == CLUSTER_NONE ? 0 : (uint64_t)bucket->primary + 1);
            break;
        case 12:
            cluster_put_varint(column, bucket->in_sync_count);
            break;
        default:
            for (uint32_t j = 0; j < bucket->in_sync_count; j++)
                cluster_put_varint(column, bucket->in_sync[j]);
            break;
        }
    }
}

static void cluster_pack_region(const struct cluster_region *region, struct buf *column,
                                struct buf *out)
{
    cluster_put_number(out, 1, region->id);
    cluster_put_bytes(out, 2, region->name);
    cluster_put_number(out, 3, region->type);
    cluster_put_number(out, 4, region->redundant_copies);
    cluster_put_number(out, 5, region->bucket_count);
    cluster_put_number(out, 6, region->key_constraint);
    cluster_put_number(out, 7, region->value_constraint);
    for (uint32_t field = 8; field <= 13 && region->buckets != NULL; field++) {
        cluster_pack_column(region, field, column);
        cluster_put_nested(out, field, column);
    }
}

static void cluster_pack_query(const struct cluster_query *query, struct buf *out)
{
    uint64_t zigzag =
        (uint64_t)query->start_timestamp_ms << 1 ^ (query->start_timestamp_ms < 0 ? UINT64_MAX : 0);

    cluster_put_number(out, 1, query->id);
    cluster_put_bytes(out, 2, query->name);
    cluster_put_bytes(out, 3, query->text);
    cluster_put_bytes(out, 4, query->parameters);
    cluster_put_number(out, 5, query->numeric_mode);
    cluster_put_number(out, 6, query->start);
    cluster_put_number(out, 7, zigzag);
    cluster_put_bytes(out, 8, query->owner);
    cluster_put_number(out, 9, query->is_oql);
    cluster_put_number(out, 10, query->region_id);
    cluster_put_bytes(out, 11, query->ddl);
}

enum error cluster_map_pack(const struct cluster_map *map, struct buf *out)
{
    struct buf part, column;
    size_t before = out->len;

    PRE(map->is_sealed);
    buf_init(&part);
    buf_init(&column);
    cluster_put_bytes(out, 1, slice_of(map->cluster_id, CLUSTER_ID_BYTES));
    cluster_put_number(out, 2, map->epoch);
    cluster_put_number(out, 3, map->next_region_id);
    cluster_put_number(out, 4, map->next_query_id);
    for (uint32_t i = 0; i < map->member_count; i++) {
        buf_clear(&part);
        cluster_pack_member(&map->members[i], &part);
        cluster_put_nested(out, 5, &part);
    }
    for (uint32_t i = 0; i < map->region_count; i++) {
        buf_clear(&part);
        cluster_pack_region(&map->regions[i], &column, &part);
        cluster_put_nested(out, 6, &part);
    }
    for (uint32_t i = 0; i < map->table_count; i++) {
        buf_clear(&part);
        cluster_put_bytes(&part, 1, map->tables[i].name);
        cluster_put_bytes(&part, 2, map->tables[i].ddl);
        cluster_put_bytes(&part, 3, map->tables[i].region);
        cluster_put_nested(out, 7, &part);
    }
    for (uint32_t i = 0; i < map->query_count; i++) {
        buf_clear(&part);
        cluster_pack_query(&map->queries[i], &part);
        cluster_put_nested(out, 8, &part);
    }
    buf_fini(&column);
    buf_fini(&part);
    if (out->failed)
        return ERROR_MEMORY;
    return out->len - before > LIMIT_MAP_BYTES ? ERROR_LIMIT : OK;
}

/* ---- Reading ---- */

static enum error cluster_unpack_member(struct cluster_map *map, const Pb__MapMember *from,
                                        struct cluster_member *to)
{
    struct cluster_member member = {
        .name = message_slice(from->name),
        .incarnation = from->incarnation,
        .host = message_slice(from->host),
        .port = (uint16_t)from->port,
        .http_port = (uint16_t)from->http_port,
        .role = (enum cluster_role)from->role,
        .state = (enum cluster_state)from->state,
        .group_count = (uint32_t)from->n_groups,
    };
    struct slice *groups;

    if (from->port > UINT16_MAX || from->http_port > UINT16_MAX || from->n_groups > LIMIT_GROUPS)
        return ERROR_DAMAGED;
    groups = cluster_map_array(map, from->n_groups, sizeof *groups);
    if (groups == NULL)
        return ERROR_MEMORY;
    for (size_t i = 0; i < from->n_groups; i++)
        groups[i] = message_slice(from->groups[i]);
    member.groups = groups;
    return cluster_map_keep_member(map, &member, to) ? OK : ERROR_MEMORY;
}

static bool cluster_columns_fit(const Pb__MapRegion *from)
{
    size_t count = from->type == CLUSTER_LOCAL ? 0 : from->bucket_count;
    uint64_t in_sync_count = 0;

    for (size_t i = 0; i < from->n_in_sync_count; i++)
        in_sync_count += from->in_sync_count[i];
    return from->n_generation == count && from->n_term == count && from->n_set_version == count &&
           from->n_primary == count && from->n_in_sync_count == count &&
           from->n_in_sync == in_sync_count;
}

static enum error cluster_unpack_region(struct cluster_map *map, const Pb__MapRegion *from,
                                        struct cluster_region *to)
{
    uint32_t *in_sync;

    if (from->bucket_count == 0 || from->bucket_count > LIMIT_BUCKETS || !cluster_columns_fit(from))
        return ERROR_DAMAGED;
    *to = (struct cluster_region){
        .id = from->id,
        .type = (enum cluster_region_type)from->type,
        .redundant_copies = from->redundant_copies,
        .bucket_count = from->bucket_count,
        .key_constraint = (enum value_type)from->key_constraint,
        .value_constraint = (enum value_type)from->value_constraint,
    };
    if (!cluster_map_keep(map, message_slice(from->name), &to->name))
        return ERROR_MEMORY;
    if (to->type == CLUSTER_LOCAL)
        return OK;
    to->buckets = cluster_map_array(map, from->bucket_count, sizeof *to->buckets);
    in_sync = cluster_map_array(map, from->n_in_sync, sizeof *in_sync);
    if (to->buckets == NULL || in_sync == NULL)
        return ERROR_MEMORY;
    if (from->n_in_sync > 0)
        memcpy(in_sync, from->in_sync, from->n_in_sync * sizeof *in_sync);
    for (uint32_t i = 0; i < from->bucket_count; i++) {
        to->buckets[i] = (struct cluster_bucket){
            .generation = from->generation[i],
            .term = from->term[i],
            .set_version = from->set_version[i],
            .primary = from->primary[i] == 0 ? CLUSTER_NONE : from->primary[i] - 1,
            .in_sync_count = from->in_sync_count[i],
            .in_sync = in_sync,
        };
        in_sync += from->in_sync_count[i];
    }
    return OK;
}

static enum error cluster_unpack_rest(struct cluster_map *map, const Pb__ClusterMap *from)
{
    for (size_t i = 0; i < from->n_table; i++) {
        struct cluster_table *table = &map->tables[i];

        if (!cluster_map_keep(map, message_slice(from->table[i]->name), &table->name) ||
            !cluster_map_keep(map, message_slice(from->table[i]->ddl), &table->ddl) ||
            !cluster_map_keep(map, message_slice(from->table[i]->region), &table->region))
            return ERROR_MEMORY;
    }
    for (size_t i = 0; i < from->n_query; i++) {
        const Pb__MapQuery *packed = from->query[i];
        struct cluster_query *query = &map->queries[i];

        *query = (struct cluster_query){
            .id = packed->id,
            .numeric_mode = packed->numeric_mode,
            .start = packed->start,
            .start_timestamp_ms = packed->start_timestamp_ms,
            .is_oql = packed->oql,
            .region_id = packed->region_id,
        };
        if (!cluster_map_keep(map, message_slice(packed->name), &query->name) ||
            !cluster_map_keep(map, message_slice(packed->text), &query->text) ||
            !cluster_map_keep(map, message_slice(packed->parameters), &query->parameters) ||
            !cluster_map_keep(map, message_slice(packed->ddl), &query->ddl) ||
            !cluster_map_keep(map, message_slice(packed->owner), &query->owner))
            return ERROR_MEMORY;
    }
    return OK;
}

static enum error cluster_unpack_into(struct cluster_map *map, const Pb__ClusterMap *from)
{
    enum error error = OK;

    if (from->cluster_id.len != CLUSTER_ID_BYTES || from->n_member > LIMIT_MEMBERS ||
        from->n_region > LIMIT_REGIONS || from->n_table > LIMIT_TABLES ||
        from->n_query > LIMIT_INSTANCES)
        return ERROR_DAMAGED;
    memcpy(map->cluster_id, from->cluster_id.data, CLUSTER_ID_BYTES);
    map->epoch = from->epoch;
    map->next_region_id = from->next_region_id;
    map->next_query_id = from->next_query_id;
    map->member_count = (uint32_t)from->n_member;
    map->region_count = (uint32_t)from->n_region;
    map->table_count = (uint32_t)from->n_table;
    map->query_count = (uint32_t)from->n_query;
    map->members = cluster_map_array(map, from->n_member, sizeof *map->members);
    map->regions = cluster_map_array(map, from->n_region, sizeof *map->regions);
    map->tables = cluster_map_array(map, from->n_table, sizeof *map->tables);
    map->queries = cluster_map_array(map, from->n_query, sizeof *map->queries);
    if (map->members == NULL || map->regions == NULL || map->tables == NULL || map->queries == NULL)
        return ERROR_MEMORY;
    for (size_t i = 0; i < from->n_member && error == OK; i++)
        error = cluster_unpack_member(map, from->member[i], &map->members[i]);
    for (size_t i = 0; i < from->n_region && error == OK; i++)
        error = cluster_unpack_region(map, from->region[i], &map->regions[i]);
    return error == OK ? cluster_unpack_rest(map, from) : error;
}

enum error cluster_map_unpack(struct slice packed, struct cluster_map **result)
{
    struct cluster_map *map = NULL;
    struct arena arena;
    ProtobufCMessage *message;
    enum error error = ERROR_DAMAGED;

    if (packed.len > LIMIT_MAP_BYTES)
        return ERROR_DAMAGED;
    arena_init(&arena, LIMIT_ARENA_BYTES);
    error = message_unpack(&pb__cluster_map__descriptor, &arena, packed, &message);
    if (error != OK)
        goto err_after_arena;
    map = cluster_map_empty();
    error = map == NULL ? ERROR_MEMORY : cluster_unpack_into(map, (const Pb__ClusterMap *)message);
    if (error == OK)
        error = cluster_map_finish(map);
err_after_arena:
    arena_fini(&arena);
    if (error == OK)
        *result = map;
    else
        cluster_map_unref(map);
    return error == OK || error == ERROR_MEMORY ? error : ERROR_DAMAGED;
}
