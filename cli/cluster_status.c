#include "cli/cluster_status.h"

#include "client/wire.h"

/* ClusterStatusRequest: 1 want_members, 2 want_regions, 3 want_tables, 4 want_degraded. */
enum exit_status cluster_status_ask(struct cli *cli, unsigned want, struct vug_reply *reply)
{
    struct buf body;
    buf_init(&body);
    for (uint32_t field = 1; field <= 4; field++)
        vug_wire_uint(&body, field, want >> (field - 1) & 1);
    enum exit_status status = cli_call(cli, VUG_TO_LOCATOR, VUG_CLUSTER_STATUS, &body, NULL, reply);
    buf_fini(&body);
    return status;
}

/* Where a field of a message goes. */
enum target_kind { TO_TEXT, TO_U32, TO_U64 };
struct field_row {
    uint32_t number;
    enum target_kind kind;
    size_t offset;
};

static void read_fields(struct slice message, const struct field_row *rows, size_t count,
                        void *into)
{
    struct codec_field field;
    while (message.len > 0 && codec_next_field(&message, &field) == OK)
        for (size_t i = 0; i < count; i++) {
            uint8_t *place = (uint8_t *)into + rows[i].offset;
            if (rows[i].number != field.number ||
                (rows[i].kind == TO_TEXT) != (field.wire_type == 2))
                continue;
            if (rows[i].kind == TO_TEXT)
                memcpy(place, &field.bytes, sizeof field.bytes);
            else if (rows[i].kind == TO_U64)
                memcpy(place, &field.integer, sizeof field.integer);
            else
                memcpy(place, &(uint32_t){(uint32_t)field.integer}, sizeof(uint32_t));
        }
}
#define ROWS(rows) rows, sizeof rows / sizeof rows[0]

void cluster_status_totals(struct slice body, struct status_totals *totals)
{
    static const struct field_row rows[] = {
        {1, TO_TEXT, offsetof(struct status_totals, cluster_id)},
        {2, TO_U64, offsetof(struct status_totals, epoch)},
        {6, TO_U32, offsetof(struct status_totals, degraded_buckets)},
        {7, TO_U32, offsetof(struct status_totals, lost_buckets)},
        {10, TO_TEXT, offsetof(struct status_totals, answered_by)},
    };
    *totals = (struct status_totals){0};
    read_fields(body, ROWS(rows), totals);
}

bool cluster_status_next_member(struct slice *walk, struct status_member *member)
{
    static const struct field_row rows[] = {
        {1, TO_TEXT, offsetof(struct status_member, name)},
        {2, TO_TEXT, offsetof(struct status_member, role)},
        {3, TO_TEXT, offsetof(struct status_member, host)},
        {4, TO_U32, offsetof(struct status_member, port)},
        {5, TO_U32, offsetof(struct status_member, http_port)},
        {7, TO_TEXT, offsetof(struct status_member, state)},
        {8, TO_U64, offsetof(struct status_member, entries)},
        {9, TO_U64, offsetof(struct status_member, bytes)},
        {10, TO_U32, offsetof(struct status_member, clients)},
        {11, TO_U32, offsetof(struct status_member, primaries)},
        {12, TO_U32, offsetof(struct status_member, buckets)},
        {13, TO_U64, offsetof(struct status_member, uptime_s)},
        {14, TO_U64, offsetof(struct status_member, incarnation)},
        {16, TO_TEXT, offsetof(struct status_member, version)},
    };
    struct slice message = {0};
    if (!vug_wire_next(walk, 3, &message))
        return false;
    *member = (struct status_member){.message = message};
    read_fields(message, ROWS(rows), member);
    return true;
}

bool cluster_status_next_region(struct slice *walk, struct status_region *region)
{
    static const struct field_row rows[] = {
        {1, TO_TEXT, offsetof(struct status_region, name)},
        {3, TO_TEXT, offsetof(struct status_region, type)},
        {4, TO_U32, offsetof(struct status_region, redundant_copies)},
        {5, TO_U32, offsetof(struct status_region, buckets)},
        {6, TO_U64, offsetof(struct status_region, entries)},
        {7, TO_U64, offsetof(struct status_region, bytes)},
        {8, TO_TEXT, offsetof(struct status_region, key_constraint)},
        {9, TO_TEXT, offsetof(struct status_region, value_constraint)},
        {10, TO_U32, offsetof(struct status_region, degraded_buckets)},
        {11, TO_U32, offsetof(struct status_region, lost_buckets)},
        {12, TO_U64, offsetof(struct status_region, generations)},
    };
    struct slice message = {0};
    if (!vug_wire_next(walk, 4, &message))
        return false;
    *region = (struct status_region){0};
    read_fields(message, ROWS(rows), region);
    return true;
}

bool cluster_status_next_degraded(struct slice *walk, struct status_degraded *degraded)
{
    static const struct field_row rows[] = {
        {1, TO_TEXT, offsetof(struct status_degraded, region)},
        {2, TO_U32, offsetof(struct status_degraded, bucket)},
        {3, TO_U32, offsetof(struct status_degraded, copies)},
        {4, TO_U32, offsetof(struct status_degraded, wanted)},
        {5, TO_TEXT, offsetof(struct status_degraded, waits_for)},
    };
    struct slice message = {0};
    if (!vug_wire_next(walk, 8, &message))
        return false;
    *degraded = (struct status_degraded){0};
    read_fields(message, ROWS(rows), degraded);
    return true;
}
