#include "locator/departure.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/mem.h"
#include "locator/failover.h"
#include "locator/membership.h"
#include "protocol/message.h"

enum { QUIET_MS = 3000 /* nobody has missed it any more for that long */ };

struct depart {
    struct change change;
    struct locator *locator;
    struct departure_losses losses;
};

struct departure *departure_find(const struct locator *locator, uint64_t incarnation)
{
    struct departure *departure = locator->departures;
    while (departure != NULL && departure->incarnation != incarnation)
        departure = departure->next;
    return departure;
}

/* ---- The change ---- */

enum error departure_apply(struct locator *locator, struct cluster_map *map,
                           struct departure_losses *losses, bool *changed)
{
    struct member_eyes eyes = membership_eyes(locator);
    mem_free(losses->losses);
    losses->count = map->member_count;
    losses->losses = mem_array(losses->count + 1, sizeof(*losses->losses));
    return losses->losses == NULL ? ERROR_MEMORY
                                  : member_change_depart(map, &eyes, losses->losses, changed);
}

void departure_count(struct locator *locator, struct departure_losses *losses, bool stored)
{
    for (uint32_t i = 0; stored && losses->losses != NULL && i < losses->count; i++) {
        const struct member_loss *loss = &losses->losses[i];
        struct departure *departure = departure_find(locator, loss->incarnation);
        if (departure == NULL)
            continue;
        departure->dropped += loss->dropped;
        departure->lost += loss->lost;
    }
    mem_free(losses->losses);
    *losses = (struct departure_losses){0};
}

static enum change_verdict apply(struct change *change, struct cluster_map *map,
                                 struct failure *failure)
{
    struct depart *depart = (struct depart *)change;
    bool changed = false;
    if (departure_apply(depart->locator, map, &depart->losses, &changed) == OK)
        return changed ? CHANGE_STORE : CHANGE_UNCHANGED;
    request_failure(failure, ADMIN_REASON_MEMORY, "the locator has not enough memory.");
    return CHANGE_REFUSED;
}

static void done(struct locator *locator, struct change *change, const struct failure *failure)
{
    struct depart *depart = (struct depart *)change;
    departure_count(locator, &depart->losses, failure == NULL);
    mem_free(depart);
    locator->departing = false;
    if (!locator->closing && failure == NULL)
        departure_drive(locator);
}

/* Without memory or room the next tick tries again. */
static void submit(struct locator *locator)
{
    struct depart *depart = mem_zalloc(sizeof(*depart));
    if (depart == NULL)
        return;
    depart->change.apply = apply;
    depart->change.done = done;
    depart->locator = locator;
    locator->departing = changes_submit(&locator->changes, &depart->change) == OK;
    if (!locator->departing)
        mem_free(depart);
}

/* ---- Ends ---- */

static void tell(struct locator *locator, const struct departure *departure, const char *kind,
                 const char *text)
{
    struct event event = {.time_ms = loop_wall_ms(locator->loop),
                          .kind = kind,
                          .silent_ms = departure->silent_ms,
                          .promoted = departure->promoted,
                          .lost = departure->lost,
                          .epoch = locator->map->epoch};
    memcpy(event.member, departure->name, sizeof(event.member));
    memcpy(event.noticed_by, departure->noticed_by, sizeof(event.noticed_by));
    memcpy(event.evidence, departure->evidence, sizeof(event.evidence));
    snprintf(event.text, sizeof(event.text), "%s", text);
    events_add(&locator->events, &event);
}

static void reply(struct locator *locator, struct departure *departure)
{
    Pb__MemberForgetResponse response = PB__MEMBER_FORGET_RESPONSE__INIT;
    if (departure->request == NULL)
        return;
    response.epoch = locator->map->epoch;
    response.buckets_lost = departure->lost;
    request_reply(departure->request, 1033, &response.base);
    departure->request = NULL;
}

static void tell_removed(struct locator *locator, struct departure *departure)
{
    char text[EVENT_TEXT_BYTES];
    uint64_t took_ms = (loop_now_us(locator->loop) - departure->noticed_us) / 1000;
    bool is_loss = departure->lost > 0;
    if (departure->left)
        snprintf(text, sizeof(text), "server %s has left, on purpose", departure->name);
    else
        snprintf(text, sizeof(text),
                 "removed server %s: %.100s; noticed by %.100s after %" PRIu64 " ms of silence",
                 departure->name, departure->evidence, departure->noticed_by, departure->silent_ms);
    log_line(locator->log, departure->left ? LOG_INFO : LOG_ERROR, "membership",
             departure->left ? "VG1206" : "VG1212",
             "%s buckets_promoted=%u copies_dropped=%u buckets_lost=%u took_ms=%" PRIu64, text,
             departure->promoted, departure->dropped, departure->lost, took_ms);
    if (is_loss)
        log_line(locator->log, LOG_ERROR, "membership", "VG1231",
                 "server %s is gone with the last copy of %u buckets, which start empty with the "
                 "next generation; %" PRIu64 " entries were last known",
                 departure->name, departure->lost, departure->entries);
    tell(locator, departure, departure->left ? "left" : "removed", text);
}

static void tell_back(struct locator *locator, const struct departure *departure)
{
    char text[EVENT_TEXT_BYTES];
    snprintf(text, sizeof(text), "server %s answers again, after %" PRIu64 " ms", departure->name,
             (loop_now_us(locator->loop) - departure->noticed_us) / 1000);
    log_line(locator->log, LOG_INFO, "membership", "VG1213", "%s buckets_promoted=%u", text,
             departure->promoted);
    tell(locator, departure, "back", text);
}

static bool is_back(const struct locator *locator, const struct departure *departure)
{
    const struct member *member = locator_member(locator, departure->incarnation);
    uint64_t now_us = loop_now_us(locator->loop);
    return !departure->gone && member != NULL && member->peer != NULL && member->beaconed &&
           now_us - member->heard_us < PEER_FRESH_MS * UINT64_C(1000) &&
           now_us - departure->reported_us > QUIET_MS * UINT64_C(1000);
}

/* True when it is over; it may be freed then. */
static bool ends(struct locator *locator, struct departure *departure)
{
    if (cluster_map_member_by_incarnation(locator->map, departure->incarnation) == CLUSTER_NONE) {
        failover_stop(locator, departure->incarnation);
        tell_removed(locator, departure);
        reply(locator, departure);
        return true;
    }
    if (!is_back(locator, departure))
        return false;
    failover_stop(locator, departure->incarnation);
    tell_back(locator, departure);
    return true;
}

static void end_those_at_their_end(struct locator *locator)
{
    bool any = false;
    for (struct departure **at = &locator->departures; *at != NULL;) {
        struct departure *departure = *at;
        if (!ends(locator, departure)) {
            at = &departure->next;
            continue;
        }
        *at = departure->next;
        mem_free(departure);
        any = true;
    }
    if (any)
        membership_decide_waiting(locator);
}

/* ---- What goes on ---- */

void departure_drive(struct locator *locator)
{
    struct member_eyes eyes = membership_eyes(locator);
    bool is_sealing = false, has_gone = false;
    /* What a change under way has done is counted by its done(); until then nothing ends. */
    if (!locator->departing && !failover_swaps(locator))
        end_those_at_their_end(locator);
    for (struct departure *departure = locator->departures; departure != NULL;
         departure = departure->next) {
        bool seals = failover_start(locator, departure->incarnation, departure->gone);
        is_sealing = is_sealing || (seals && departure->gone &&
                                    failover_is_young(locator, departure->incarnation));
        has_gone = has_gone || departure->gone;
    }
    /* What the failover changes travels with the rest, unless it waits for somebody. */
    if (has_gone && !is_sealing && !locator->departing &&
        member_change_can_depart(locator->map, &eyes))
        submit(locator);
}

static void time_out(struct locator *locator, struct departure *departure, uint64_t now_us)
{
    if (departure->request == NULL || now_us < departure->request_deadline_us)
        return;
    struct request *request = departure->request;
    (void)locator;
    departure->request = NULL;
    request_fail(request, ADMIN_REASON_TIMEOUT,
                 "server %s is being forgotten, but its other copies have not all answered, or a "
                 "server still reports a link to it; it goes on. See `vug status`.",
                 departure->name);
}

void departure_tick(struct locator *locator, uint64_t now_us)
{
    if (locator->departures == NULL)
        return;
    departure_drive(locator);
    for (struct departure *departure = locator->departures; departure != NULL;
         departure = departure->next)
        time_out(locator, departure, now_us);
}

void departure_free_all(struct locator *locator)
{
    while (locator->departures != NULL) {
        struct departure *departure = locator->departures;
        locator->departures = departure->next;
        mem_free(departure);
    }
}

/* ---- Begins ---- */

static struct departure *begin(struct locator *locator, struct member *member)
{
    struct departure *departure = mem_zalloc(sizeof(*departure));
    if (departure == NULL)
        return NULL;
    uint32_t index = cluster_map_member_by_incarnation(locator->map, member->incarnation);
    struct slice name = locator->map->members[index].name;
    memcpy(departure->name, name.data, name.len);
    departure->incarnation = member->incarnation;
    departure->noticed_us = loop_now_us(locator->loop);
    departure->left = member->leaving || locator->map->members[index].state == CLUSTER_LEAVING;
    departure->entries = member->entries;
    departure->next = locator->departures;
    locator->departures = departure;
    return departure;
}

static void take_evidence(struct locator *locator, struct departure *departure,
                          const struct departure_notice *notice)
{
    snprintf(departure->noticed_by, sizeof(departure->noticed_by), "%s", notice->noticed_by);
    snprintf(departure->evidence, sizeof(departure->evidence), "%s", notice->evidence);
    departure->silent_ms = notice->silent_ms;
    if (notice->gone)
        return;
    log_line(locator->log, departure->left ? LOG_INFO : LOG_WARN, "membership", "VG1211",
             "server %s may be replaced: %s suspect_by=%s silent_ms=%" PRIu64, departure->name,
             departure->evidence, departure->noticed_by, departure->silent_ms);
    tell(locator, departure, "suspect", departure->evidence);
}

enum error departure_notice(struct locator *locator, uint64_t incarnation,
                            const struct departure_notice *notice)
{
    struct member *member = locator_member(locator, incarnation);
    if (member == NULL ||
        cluster_map_member_by_incarnation(locator->map, incarnation) == CLUSTER_NONE)
        return OK; /* the map names it no more */
    struct departure *departure = departure_find(locator, incarnation);
    bool is_new = departure == NULL;
    if (is_new)
        departure = begin(locator, member);
    if (departure == NULL)
        return ERROR_MEMORY;
    departure->reported_us = loop_now_us(locator->loop);
    bool is_proof = notice->gone && !departure->gone;
    departure->gone = departure->gone || notice->gone;
    departure->forgotten = departure->forgotten || notice->forgotten;
    member->gone = departure->gone;
    if (is_new || is_proof) {
        take_evidence(locator, departure, notice);
        departure_drive(locator);
    }
    return OK;
}

void departure_forget(struct locator *locator, uint64_t incarnation, struct request *request)
{
    struct departure_notice notice = {.noticed_by = "an operator",
                                      .evidence = "it was forgotten with `vug member forget`",
                                      .gone = true,
                                      .forgotten = true};
    struct member *member = locator_member(locator, incarnation);
    struct departure *departure = departure_find(locator, incarnation);
    if (departure == NULL)
        departure = begin(locator, member);
    if (departure == NULL || departure->request != NULL) {
        request_fail(request, departure == NULL ? ADMIN_REASON_MEMORY : ADMIN_REASON_BUSY,
                     "the server is being forgotten already, or the locator has not enough memory; "
                     "try again.");
        return;
    }
    departure->request = request;
    departure->request_deadline_us = loop_now_us(locator->loop) + LOCATOR_CALL_MS * UINT64_C(1000);
    departure->gone = departure->forgotten = member->gone = true;
    departure->silent_ms = (loop_now_us(locator->loop) - member->heard_us) / 1000;
    notice.silent_ms = departure->silent_ms;
    take_evidence(locator, departure, &notice);
    departure_drive(locator);
}
