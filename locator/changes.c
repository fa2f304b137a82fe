#include "locator/changes.h"

#include <inttypes.h>

#include "locator/locator_impl.h"
#include "locator/membership.h"

enum { ATTEMPTS_MAX = 8 };

static void pump_soon(struct changes *changes)
{
    if (changes->under_way == NULL && !changes->loading &&
        (changes->first != NULL || changes->reload))
        loop_timer_set(&changes->pump, 0);
}

static struct change *take_first(struct changes *changes)
{
    struct change *change = changes->first;
    changes->first = change->next;
    if (changes->first == NULL)
        changes->end = &changes->first;
    changes->count--;
    return change;
}

static void finish(struct changes *changes, struct change *change, const struct failure *failure)
{
    changes->under_way = NULL;
    changes->failed += failure != NULL;
    change->done(changes->locator, change, failure);
    pump_soon(changes);
}

static void finish_without_memory(struct changes *changes, struct change *change)
{
    struct failure failure;
    request_failure(&failure, ADMIN_REASON_MEMORY,
                    "the locator has not enough memory; nothing was changed.");
    finish(changes, change, &failure);
}

static void retry(struct changes *changes, struct change *change)
{
    changes->under_way = NULL;
    change->next = changes->first;
    if (changes->first == NULL)
        changes->end = &change->next;
    changes->first = change;
    changes->count++;
    pump_soon(changes);
}

static void fail_at_store(struct changes *changes, const struct map_problem *problem)
{
    struct failure failure;
    log_line(changes->locator->log, LOG_ERROR, "map", "VG1230",
             "a change of the cluster map was not stored: %s", problem->text);
    request_failure(&failure, ADMIN_REASON_STORE, "%s", problem->text);
    finish(changes, changes->under_way, &failure);
}

/* Somebody else's map: what they stored is in force now, and the change is decided again. */
static enum error take_reloaded(struct changes *changes, uint64_t epoch, struct slice bytes)
{
    struct locator *locator = changes->locator;
    struct cluster_map *map;
    enum error error = cluster_map_unpack(bytes, &map);
    if (error != OK)
        return error;
    if (map->epoch != epoch ||
        memcmp(map->cluster_id, locator->map->cluster_id, sizeof(map->cluster_id)) != 0)
        error = ERROR_DAMAGED;
    buf_clear(&changes->packed);
    buf_append_slice(&changes->packed, bytes);
    if (error == OK && changes->packed.failed)
        error = ERROR_MEMORY;
    if (error == OK)
        error = membership_prepare(locator, map);
    if (error == OK)
        locator_take_map(locator, map, &changes->packed);
    else
        cluster_map_unref(map);
    return error;
}

static void on_reloaded(void *arg, const struct map_problem *problem, uint64_t epoch,
                        struct slice bytes)
{
    struct changes *changes = arg;
    struct map_problem broken;
    enum error error = problem != NULL ? problem->error : take_reloaded(changes, epoch, bytes);
    if (error == OK) {
        retry(changes, changes->under_way);
        return;
    }
    if (problem == NULL) {
        map_problem_set(&broken, error,
                        "The cluster map that another locator stored cannot be taken: %s.",
                        error_text(error));
        problem = &broken;
    }
    fail_at_store(changes, problem);
}

static void on_stored(void *arg, const struct map_problem *problem)
{
    struct changes *changes = arg;
    struct change *change = changes->under_way;
    struct cluster_map *map = changes->proposed;
    changes->proposed = NULL;
    if (problem == NULL) {
        changes->stored++;
        locator_take_map(changes->locator, map, &changes->packed);
        finish(changes, change, NULL);
        return;
    }
    cluster_map_unref(map);
    membership_prune(changes->locator);
    if (problem->error != ERROR_CONFLICT || ++change->attempts > ATTEMPTS_MAX)
        fail_at_store(changes, problem);
    else if (map_store_load(changes->locator->store, on_reloaded, changes) != OK)
        finish_without_memory(changes, change);
}

/* Packs and proposes a changed copy, which is taken. Whatever needs memory happens before the store
 * hears of it. */
static enum error propose(struct changes *changes, struct cluster_map *map)
{
    struct locator *locator = changes->locator;
    buf_clear(&changes->packed);
    enum error error = cluster_map_seal(map);
    INVARIANT(error != ERROR_INVALID);
    if (error == OK)
        error = cluster_map_pack(map, &changes->packed);
    if (error == OK && changes->packed.len > LOCATOR_MAP_BYTES_MAX)
        error = ERROR_LIMIT;
    if (error == OK)
        error = membership_prepare(locator, map);
    if (error == OK)
        error = map_store_store(locator->store, locator->map->epoch, map->epoch,
                                buf_slice(&changes->packed), on_stored, changes);
    if (error == OK) {
        changes->proposed = map;
    } else {
        cluster_map_unref(map);
        membership_prune(locator);
    }
    return error;
}

static void on_refreshed(void *arg, const struct map_problem *problem, uint64_t epoch,
                         struct slice bytes)
{
    struct changes *changes = arg;
    changes->loading = false;
    /* What cannot be read now is read again when somebody asks again. */
    if (problem == NULL)
        changes->refreshed_us = loop_now_us(changes->locator->loop);
    if (problem == NULL && epoch > changes->locator->map->epoch)
        (void)take_reloaded(changes, epoch, bytes);
    pump_soon(changes);
}

void changes_reload(struct changes *changes)
{
    changes->reload = true;
    pump_soon(changes);
}

static void on_pump(void *arg)
{
    struct changes *changes = arg;
    if (changes->reload && (changes->first == NULL || !changes->has_loaded)) {
        changes->reload = false;
        changes->has_loaded = true;
        changes->loading = map_store_load(changes->locator->store, on_refreshed, changes) == OK;
        pump_soon(changes);
        return;
    }
    struct change *change = take_first(changes);
    struct failure failure;
    changes->under_way = change;
    changes->has_loaded = false;
    struct cluster_map *map;
    if (cluster_map_edit(changes->locator->map, &map) != OK) {
        finish_without_memory(changes, change);
        return;
    }
    switch (change->apply(change, map, &failure)) {
    case CHANGE_UNCHANGED:
        cluster_map_unref(map);
        finish(changes, change, NULL);
        return;
    case CHANGE_REFUSED:
        cluster_map_unref(map);
        finish(changes, change, &failure);
        return;
    case CHANGE_STORE:
        break;
    }
    enum error error = propose(changes, map);
    if (error == ERROR_LIMIT) {
        request_failure(
            &failure, ADMIN_REASON_INVALID,
            "the cluster map would become longer than %u bytes; use fewer regions or buckets.",
            LOCATOR_MAP_BYTES_MAX);
        finish(changes, change, &failure);
    } else if (error != OK) {
        finish_without_memory(changes, change);
    }
}

enum error changes_init(struct changes *changes, struct locator *locator)
{
    *changes = (struct changes){.locator = locator};
    changes->end = &changes->first;
    buf_init(&changes->packed);
    return loop_timer_init(&changes->pump, locator->loop, on_pump, changes);
}

void changes_fini(struct changes *changes)
{
    loop_timer_fini(&changes->pump);
    struct failure failure;
    request_failure(&failure, ADMIN_REASON_UNREACHABLE,
                    "the locator is shutting down; the change may or may not have been made.");
    if (changes->under_way != NULL)
        changes->under_way->done(changes->locator, changes->under_way, &failure);
    changes->under_way = NULL;
    while (changes->first != NULL) {
        struct change *change = take_first(changes);
        change->done(changes->locator, change, &failure);
    }
    cluster_map_unref(changes->proposed);
    buf_fini(&changes->packed);
}

enum error changes_submit(struct changes *changes, struct change *change)
{
    if (changes->count >= LOCATOR_CHANGES_MAX)
        return ERROR_BUSY;
    change->next = NULL;
    *changes->end = change;
    changes->end = &change->next;
    changes->count++;
    pump_soon(changes);
    return OK;
}
