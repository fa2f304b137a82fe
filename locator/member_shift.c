#include "locator/member_shift.h"

#include <inttypes.h>

#include "common/mem.h"
#include "locator/member_change.h"
#include "protocol/message.h"

struct member_shift {
    struct change change;
    struct locator *locator;
    enum member_shift_kind kind;
    uint64_t incarnation;
    uint64_t entries; /* last known */
    uint32_t buckets_lost;
    bool struck;
    bool left; /* on purpose */
    char name[LIMIT_NAME_BYTES + 1];
    struct request *request;
};

static enum change_verdict refuse_without_memory(enum error error, struct failure *failure)
{
    if (error == ERROR_UNSUPPORTED)
        request_failure(
            failure, ADMIN_REASON_UNSUPPORTED,
            "other servers hold copies of its buckets, and this version does not promote them.");
    else
        request_failure(failure, ADMIN_REASON_MEMORY,
                        "the locator has not enough memory; nothing was changed.");
    return CHANGE_REFUSED;
}

static enum change_verdict strike(struct member_shift *shift, struct cluster_map *map,
                                  struct failure *failure)
{
    enum error error = member_change_leave(map, shift->incarnation, &shift->buckets_lost);
    shift->struck = error == OK;
    return error == OK ? CHANGE_STORE : refuse_without_memory(error, failure);
}

static enum change_verdict apply(struct change *change, struct cluster_map *map,
                                 struct failure *failure)
{
    struct member_shift *shift = (struct member_shift *)change;
    uint32_t index = cluster_map_member_by_incarnation(map, shift->incarnation);
    const struct member *member = locator_member(shift->locator, shift->incarnation);
    shift->struck = false;
    shift->buckets_lost = 0;
    if (index == CLUSTER_NONE || member == NULL) {
        request_failure(failure, ADMIN_REASON_NOT_FOUND, "server %s is no member any more.",
                        shift->name);
        return CHANGE_REFUSED;
    }
    shift->left = member->leaving;
    bool is_back = member->peer != NULL;
    if (is_back != (shift->kind == MEMBER_UP)) {
        request_failure(failure, ADMIN_REASON_EXISTS,
                        "server %s is connected, so it is not dead. Stop it first: `vug stop %s`.",
                        shift->name, shift->name);
        return CHANGE_REFUSED;
    }
    if (shift->kind == MEMBER_FORGET ||
        (shift->kind != MEMBER_UP && !member_change_holds_buckets(map, index)))
        return strike(shift, map, failure);
    enum cluster_state state = shift->kind == MEMBER_UP     ? CLUSTER_UP
                               : shift->kind == MEMBER_GONE ? CLUSTER_DOWN
                                                            : map->members[index].state;
    if (map->members[index].state == state)
        return CHANGE_UNCHANGED;
    cluster_map_set_member_state(map, index, state);
    return CHANGE_STORE;
}

static void tell(struct member_shift *shift)
{
    struct log *log = shift->locator->log;
    if (shift->buckets_lost > 0)
        log_line(log, LOG_ERROR, "membership", "VG1231",
                 "forgot server %s: %u buckets lost their last copy and start empty with the next "
                 "generation; %" PRIu64 " entries were last known",
                 shift->name, shift->buckets_lost, shift->entries);
    else if (shift->struck)
        log_line(log, LOG_INFO, "membership", "VG1203", "server %s left; it held no bucket",
                 shift->name);
    else if (shift->kind == MEMBER_GONE && shift->left)
        log_line(log, LOG_INFO, "membership", "VG1206",
                 "server %s is gone, on purpose; its buckets cannot be served until it is started "
                 "again, and will then be empty",
                 shift->name);
    else if (shift->kind == MEMBER_GONE)
        log_line(log, LOG_ERROR, "membership", "VG1212",
                 "server %s is gone: its host refuses connections; its buckets cannot be served "
                 "until it is started again, "
                 "and will then be empty",
                 shift->name);
}

static void done(struct locator *locator, struct change *change, const struct failure *failure)
{
    struct member_shift *shift = (struct member_shift *)change;
    struct member *member = locator_member(locator, shift->incarnation);
    if (member != NULL)
        member->shifting = false;
    if (failure == NULL)
        tell(shift);
    if (shift->request != NULL && failure != NULL) {
        request_fail_with(shift->request, failure);
    } else if (shift->request != NULL) {
        Pb__MemberForgetResponse response = PB__MEMBER_FORGET_RESPONSE__INIT;
        response.epoch = locator->map->epoch;
        response.buckets_lost = shift->buckets_lost;
        request_reply(shift->request, 1033, &response.base);
    }
    mem_free(shift);
}

void member_shift_submit(struct locator *locator, enum member_shift_kind kind, uint64_t incarnation,
                         struct request *request)
{
    struct member *member = locator_member(locator, incarnation);
    uint32_t index = cluster_map_member_by_incarnation(locator->map, incarnation);
    struct member_shift *shift = mem_zalloc(sizeof(*shift));
    if (shift == NULL) {
        if (request != NULL)
            request_fail(request, ADMIN_REASON_MEMORY,
                         "the locator has not enough memory; nothing was changed.");
        return;
    }
    struct slice name = locator->map->members[index].name;
    memcpy(shift->name, name.data, name.len);
    shift->change.apply = apply;
    shift->change.done = done;
    shift->locator = locator;
    shift->kind = kind;
    shift->incarnation = incarnation;
    shift->entries = member->entries;
    shift->request = request;
    if (changes_submit(&locator->changes, &shift->change) == OK) {
        member->shifting = true;
        return;
    }
    mem_free(shift);
    if (request != NULL)
        request_fail(request, ADMIN_REASON_BUSY,
                     "too many changes of the cluster map wait; try again.");
}
