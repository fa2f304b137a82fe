#include "locator/member_shift.h"

#include <inttypes.h>

#include "common/mem.h"
#include "locator/member_change.h"
#include "locator/membership.h"

struct member_shift {
    struct change change;
    struct locator *locator;
    enum member_shift_kind kind;
    uint64_t incarnation;
    bool struck;
    char name[LIMIT_NAME_BYTES + 1];
};

struct place {
    struct change change;
    struct locator *locator;
    uint32_t placed;
};

/* ---- One member ---- */

static enum change_verdict apply(struct change *change, struct cluster_map *map,
                                 struct failure *failure)
{
    struct member_shift *shift = (struct member_shift *)change;
    uint32_t index = cluster_map_member_by_incarnation(map, shift->incarnation);
    const struct member *member = locator_member(shift->locator, shift->incarnation);
    (void)failure;
    shift->struck = false;
    if (index == CLUSTER_NONE || member == NULL)
        return CHANGE_UNCHANGED;
    if (shift->kind == MEMBER_LEAVING) {
        if (map->members[index].state != CLUSTER_UP)
            return CHANGE_UNCHANGED;
        cluster_map_set_member_state(map, index, CLUSTER_LEAVING);
        return CHANGE_STORE;
    }
    bool is_seen = map->members[index].state == CLUSTER_UP &&
                   membership_is_linked(shift->locator, shift->incarnation);
    if (member->peer != NULL || is_seen || member_change_holds_buckets(map, index))
        return CHANGE_UNCHANGED;
    enum error error = cluster_map_remove_member(map, index);
    INVARIANT(error == OK);
    shift->struck = true;
    return CHANGE_STORE;
}

static void done(struct locator *locator, struct change *change, const struct failure *failure)
{
    struct member_shift *shift = (struct member_shift *)change;
    struct member *member = locator_member(locator, shift->incarnation);
    if (member != NULL)
        member->shifting = false;
    if (failure == NULL && shift->struck)
        log_line(locator->log, LOG_INFO, "membership", "VG1203",
                 "server %s is no member any more; it held no bucket (epoch %" PRIu64 ")",
                 shift->name, locator->map->epoch);
    mem_free(shift);
}

void member_shift_submit(struct locator *locator, enum member_shift_kind kind, uint64_t incarnation)
{
    struct member *member = locator_member(locator, incarnation);
    uint32_t index = cluster_map_member_by_incarnation(locator->map, incarnation);
    struct member_shift *shift = member->shifting ? NULL : mem_zalloc(sizeof(*shift));
    if (shift == NULL)
        return;
    struct slice name = locator->map->members[index].name;
    memcpy(shift->name, name.data, name.len);
    shift->change.apply = apply;
    shift->change.done = done;
    shift->locator = locator;
    shift->kind = kind;
    shift->incarnation = incarnation;
    member->shifting = changes_submit(&locator->changes, &shift->change) == OK;
    if (!member->shifting)
        mem_free(shift);
}

/* ---- Buckets that wait ---- */

static enum change_verdict apply_place(struct change *change, struct cluster_map *map,
                                       struct failure *failure)
{
    struct place *place = (struct place *)change;
    struct member_eyes eyes = membership_eyes(place->locator);
    if (member_change_place_all(map, &eyes, &place->placed) == OK)
        return place->placed > 0 ? CHANGE_STORE : CHANGE_UNCHANGED;
    request_failure(failure, ADMIN_REASON_MEMORY, "the locator has not enough memory.");
    return CHANGE_REFUSED;
}

static void done_place(struct locator *locator, struct change *change,
                       const struct failure *failure)
{
    struct place *place = (struct place *)change;
    locator->placing = false;
    if (failure == NULL && place->placed > 0)
        log_line(locator->log, LOG_INFO, "map", "VG1207",
                 "%u buckets that had no server begin on those that are there", place->placed);
    mem_free(place);
}

void member_shift_place(struct locator *locator)
{
    struct place *place = mem_zalloc(sizeof(*place));
    if (place == NULL)
        return;
    place->change.apply = apply_place;
    place->change.done = done_place;
    place->locator = locator;
    locator->placing = changes_submit(&locator->changes, &place->change) == OK;
    if (!locator->placing)
        mem_free(place);
}
