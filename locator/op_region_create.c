/* RegionCreate: one more region in the map, placed on the servers that there are, answered when all
 * of them have it. */
#include <stdio.h>

#include "common/mem.h"
#include "locator/ack_wait.h"
#include "locator/membership.h"
#include "locator/ops.h"
#include "locator/regions.h"

struct region_create {
    struct change change;
    struct request *request;
    struct cluster_region region;
    char name[LIMIT_NAME_BYTES + 1];
    bool if_not_exists;
    uint32_t id;
};

static enum change_verdict refuse_existing(const struct region_create *create,
                                           const struct cluster_region *existing,
                                           struct failure *failure)
{
    if (region_is_same(existing, &create->region))
        request_failure(failure, ADMIN_REASON_EXISTS,
                        "region %s exists already, with the same attributes.", create->name);
    else
        request_failure(failure, ADMIN_REASON_EXISTS,
                        "region %s exists already, as %s with %u redundant copies and %u buckets. "
                        "Use another name, or "
                        "`vug region destroy %s` first, which drops its contents.",
                        create->name, cluster_region_type_word(existing->type),
                        existing->redundant_copies, existing->bucket_count, create->name);
    return CHANGE_REFUSED;
}

static enum change_verdict apply(struct change *change, struct cluster_map *map,
                                 struct failure *failure)
{
    struct region_create *create = (struct region_create *)change;
    const struct cluster_region *existing = cluster_map_region(map, create->region.name);
    if (existing != NULL) {
        create->id = existing->id;
        if (create->if_not_exists && region_is_same(existing, &create->region))
            return CHANGE_UNCHANGED;
        return refuse_existing(create, existing, failure);
    }
    struct member_eyes eyes = membership_eyes(create->request->locator);
    enum error error = cluster_map_add_region(map, &create->region, &create->id);
    if (error == OK)
        error = member_change_place(map, create->id, &eyes);
    if (error == OK)
        return CHANGE_STORE;
    if (error == ERROR_LIMIT)
        request_failure(failure, ADMIN_REASON_INVALID, "a cluster has at most %u regions.",
                        LIMIT_REGIONS);
    else
        request_failure(failure, ADMIN_REASON_MEMORY,
                        "the locator has not enough memory; nothing was changed.");
    return CHANGE_REFUSED;
}

static void tell_if_not_everywhere(struct locator *locator, const struct region_create *create)
{
    uint32_t servers = 0;
    for (uint32_t i = 0; i < locator->map->member_count; i++)
        servers += locator->map->members[i].role == CLUSTER_SERVER;
    if (create->region.type == CLUSTER_REPLICATE && servers > CLUSTER_COPIES_MAX)
        log_line(locator->log, LOG_WARN, "map", "VG1242",
                 "region %s is replicated to %u of %u servers: a bucket has no more copies; the "
                 "others ask these",
                 create->name, CLUSTER_COPIES_MAX, servers);
}

static void done(struct locator *locator, struct change *change, const struct failure *failure)
{
    struct region_create *create = (struct region_create *)change;
    if (failure != NULL) {
        request_fail_with(create->request, failure);
    } else {
        Pb__RegionCreateResponse response = PB__REGION_CREATE_RESPONSE__INIT;
        char text[LIMIT_NAME_BYTES + 64];
        snprintf(text, sizeof(text), "region %s was created", create->name);
        response.epoch = locator->map->epoch;
        response.region_id = create->id;
        tell_if_not_everywhere(locator, create);
        ack_wait_reply(create->request, locator->map->epoch, 1021, &response.base, text);
    }
    mem_free(create);
}

void locator_op_region_create(struct request *request, const ProtobufCMessage *body,
                              struct arena *arena)
{
    (void)arena;
    const Pb__RegionCreateRequest *message = (const Pb__RegionCreateRequest *)body;
    struct cluster_region region;
    struct failure failure;
    if (!region_of_request(message, &region, &failure)) {
        request_fail_with(request, &failure);
        return;
    }
    struct region_create *create = mem_zalloc(sizeof(*create));
    if (create == NULL) {
        request_fail(request, ADMIN_REASON_MEMORY,
                     "the locator has not enough memory; nothing was changed.");
        return;
    }
    create->change.apply = apply;
    create->change.done = done;
    create->request = request;
    create->region = region;
    create->if_not_exists = message->if_not_exists;
    memcpy(create->name, region.name.data, region.name.len);
    create->region.name = slice_of(create->name, region.name.len);
    if (changes_submit(&request->locator->changes, &create->change) != OK) {
        mem_free(create);
        request_fail(request, ADMIN_REASON_BUSY,
                     "too many changes of the cluster map wait; try again.");
    }
}
