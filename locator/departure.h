/* Servers that are lost, from the first sign until the map names them no more or they are back: who
 * noticed, how, for how long, and what it did to their buckets.
 *
 *   a report, a probe, silence --> departure_notice() --> failover.h (buckets with other copies)
 *                                         `--> one change of the map for all that are provably gone
 *   the map names it no more --> one line, one event, the answer to `vug member forget` */
#ifndef VUG_LOCATOR_DEPARTURE_H
#define VUG_LOCATOR_DEPARTURE_H

#include "locator/locator_impl.h"
#include "locator/member_change.h"

enum { DEPARTURE_EVIDENCE_BYTES = 160 };

struct departure {
    uint64_t incarnation;
    char name[LIMIT_NAME_BYTES + 1];
    char noticed_by[LIMIT_NAME_BYTES + 1];
    char evidence[DEPARTURE_EVIDENCE_BYTES];
    uint64_t silent_ms;   /* when it was noticed */
    uint64_t noticed_us;  /* the first time */
    uint64_t reported_us; /* the last time that somebody else missed it */
    bool gone, left, forgotten;
    uint32_t promoted, dropped, lost;
    uint64_t entries; /* last known */
    struct request *request;
    uint64_t request_deadline_us;
    struct departure *next;
};

struct departure_notice {
    const char *noticed_by, *evidence;
    uint64_t silent_ms;
    bool gone;
    bool forgotten; /* an operator says so */
};

/* A server of the map is missed. Does at once what can be done. ERROR_MEMORY: whoever missed it
 * says so again. */
enum error departure_notice(struct locator *locator, uint64_t incarnation,
                            const struct departure_notice *notice);
/* Forgets a dead server for an operator; ends the request when it is out of the map, or fails it.
 */
void departure_forget(struct locator *locator, uint64_t incarnation, struct request *request);

struct departure *departure_find(const struct locator *locator, uint64_t incarnation);

/* Takes further what can be taken further; ends what is at its end. */
void departure_drive(struct locator *locator);
void departure_tick(struct locator *locator, uint64_t now_us);
void departure_free_all(struct locator *locator);

/* ---- For other changes that take the gone out in the same swap ---- */

struct departure_losses {
    struct member_loss *losses;
    uint32_t count;
};
/* member_change_depart() with what this locator sees. ERROR_MEMORY. */
enum error departure_apply(struct locator *locator, struct cluster_map *map,
                           struct departure_losses *losses, bool *changed);
/* After the swap: the losses are counted (or, if it failed, not) and freed. */
void departure_count(struct locator *locator, struct departure_losses *losses, bool stored);

#endif
