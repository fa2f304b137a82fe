/* What must hold after every step, seen from inside of all servers at once:
 *
 *   - at most one server leads a bucket in a term;
 *   - whatever was committed is on every living server that the newest map counts as in sync;
 *   - two such servers with the same last record of a bucket have the same contents;
 *   - an acknowledged write is on all of them;
 *   - record times go on as time does, whoever leads;
 *   - nothing starts empty while a copy of it lives.
 *
 * Only the server whose turn it was is looked at, so a step costs little. */
#ifndef VUG_TESTS_SIM_WATCH_H
#define VUG_TESTS_SIM_WATCH_H

#include "tests/sim/grid.h"
#include "tests/sim/verdict.h"

struct watch_track;

enum { WATCH_RECENT = 256 };

struct watch {
    struct grid *grid;
    struct verdict *verdict;
    struct cluster_map *map;     /* the newest that was stored; NULL before the first */
    struct watch_track **tracks; /* one for each region, bucket and generation */
    size_t count, cap;
    struct watch_track
        *recent[WATCH_RECENT]; /* by region and bucket: so that most are found at once */
    /* A bucket of the region starts empty, because its contents were lost. NULL allowed. */
    void (*on_loss)(void *arg, struct slice region, uint32_t bucket);
    void *arg;
    unsigned losses;     /* generations that began because the contents were lost */
    unsigned promotions; /* terms that began */
    unsigned commits;    /* times that something more was committed */
};

void watch_init(struct watch *watch, struct grid *grid, struct verdict *verdict);
void watch_fini(struct watch *watch);

/* After each sim_step(). */
void watch_step(struct watch *watch);
/* The part of it that looks at one server. */
void watch_server(struct watch *watch, struct grid_member *member);

/* A client was told that `value` is stored under `key`. */
void watch_acknowledged(struct watch *watch, const char *region, const struct value *key,
                        const struct value *value);

/* Every bucket is led, has all the copies that it should have, and these are equal; otherwise says
 * in `why` what is missing. Copies that differ at the same record are a failure at once. */
bool watch_is_whole(struct watch *watch, char *why, size_t size);

/* True while `member` could die without taking the last living copy of a bucket along. */
bool watch_can_lose(struct watch *watch, const struct grid_member *member);

/* A hash of the entries that a bucket holds, the same on every copy. */
uint64_t watch_contents(const struct bucket *bucket);
/* One of the state of its continuous queries and of the results that it keeps; 0 while that cannot
 * be compared, because rows are still on their way through it. */
uint64_t watch_state(struct bucket *bucket);

#endif
