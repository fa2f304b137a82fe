/* RegionDestroy: the region and all its contents go, unless a table still reads it. */
#include <stdio.h>

#include "common/mem.h"
#include "common/plant.h"
#include "locator/ack_wait.h"
#include "locator/ops.h"
#include "locator/regions.h"
#include "protocol/message.h"

struct region_destroy {
    struct change change;
    struct request *request;
    char name[LIMIT_NAME_BYTES + 1];
    bool if_exists;
};

static enum change_verdict apply(struct change *change, struct cluster_map *map,
                                 struct failure *failure)
{
    struct region_destroy *destroy = (struct region_destroy *)change;
    struct slice name = slice_text(destroy->name);
    const struct cluster_region *region = cluster_map_region(map, name);
    if (region == NULL) {
        if (destroy->if_exists)
            return CHANGE_UNCHANGED;
        region_fail_unknown(map, name, failure);
        return CHANGE_REFUSED;
    }
    for (uint32_t i = 0; i < map->table_count; i++) {
        if (!slice_equal(map->tables[i].region, name))
            continue;
        request_failure(failure, ADMIN_REASON_EXISTS,
                        "table %.*s reads region %s. Drop it first: `vug sql 'DROP TABLE %.*s'`.",
                        SLICE_FMT(map->tables[i].name), destroy->name,
                        SLICE_FMT(map->tables[i].name));
        return CHANGE_REFUSED;
    }
    uint32_t id = region->id;
    enum error error = cluster_map_remove_region(map, id);
    INVARIANT(error == OK);
    if (PLANTED(PLANT_REGION_ID_REUSED) && id + 1 == map->next_region_id)
        map->next_region_id = id;
    return CHANGE_STORE;
}

static void done(struct locator *locator, struct change *change, const struct failure *failure)
{
    struct region_destroy *destroy = (struct region_destroy *)change;
    if (failure != NULL) {
        request_fail_with(destroy->request, failure);
    } else {
        Pb__RegionDestroyResponse response = PB__REGION_DESTROY_RESPONSE__INIT;
        char text[LIMIT_NAME_BYTES + 64];
        snprintf(text, sizeof(text), "region %s was destroyed", destroy->name);
        response.epoch = locator->map->epoch;
        ack_wait_reply(destroy->request, locator->map->epoch, 1023, &response.base, text);
    }
    mem_free(destroy);
}

void locator_op_region_destroy(struct request *request, const ProtobufCMessage *body,
                               struct arena *arena)
{
    (void)arena;
    const Pb__RegionDestroyRequest *message = (const Pb__RegionDestroyRequest *)body;
    struct slice name = region_name(message_slice(message->name));
    struct failure failure;
    if (!region_check_name(name, &failure)) {
        request_fail_with(request, &failure);
        return;
    }
    struct region_destroy *destroy = mem_zalloc(sizeof(*destroy));
    if (destroy == NULL) {
        request_fail(request, ADMIN_REASON_MEMORY,
                     "the locator has not enough memory; nothing was changed.");
        return;
    }
    destroy->change.apply = apply;
    destroy->change.done = done;
    destroy->request = request;
    destroy->if_exists = message->if_exists;
    memcpy(destroy->name, name.data, name.len);
    if (changes_submit(&request->locator->changes, &destroy->change) != OK) {
        mem_free(destroy);
        request_fail(request, ADMIN_REASON_BUSY,
                     "too many changes of the cluster map wait; try again.");
    }
}
