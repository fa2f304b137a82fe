/* A cluster with a region of readings, who writes them, and who watches continuous queries over
 * them: for tests of what a subscriber sees while servers die, join and hand over.
 *
 *   pens (idempotent writers) -> region `readings` -> queries -> watchers, each at a server
 *
 * What a watcher saw can be compared with what was written and with what another one saw. */
#ifndef VUG_TESTS_SIM_AUDIENCE_H
#define VUG_TESTS_SIM_AUDIENCE_H

#include "tests/sim/ledger.h"
#include "tests/sim/watch.h"

enum { SCENE_PENS_MAX = 3, SCENE_TOLD_MAX = 256, SCENE_TRACED_MAX = 64, SCENE_TOKENS_MAX = 8 };
#define SCENE_REGION   "readings"
#define SCENE_AVERAGES "SELECT id, AVG(temperature) OVER (PARTITION BY id) FROM readings"
#define SCENE_GROUPS   "SELECT id, AVG(temperature), COUNT(*) FROM readings GROUP BY id"
#define SCENE_ROWS     "SELECT id, temperature FROM readings"
#define SCENE_ANYWHERE GRID_SERVERS_MAX

struct scene;

struct scene_options {
    uint64_t seed;
    unsigned servers, copies, buckets, ids;
    bool key_is_id;
    uint64_t ring_bytes_max; /* 0: the product's */
};

struct pen {
    struct scene *scene;
    struct vug_writer *writer;
    struct sim_reading *readings;
    unsigned count, next, done;
    unsigned window; /* unanswered at a time */
    unsigned gap_us; /* between two, at most; 0: at once */
    uint64_t next_us;
};

struct sight {
    enum vug_kind kind;
    enum vug_phase phase;
    uint32_t bucket, generation, sub;
    uint64_t seq;
    char id[24];
    bool is_null;
    double average;
    int64_t count;
    uint64_t at_us;
};

struct told {
    enum vug_status_code code;
    uint32_t bucket;
    uint64_t from_seq, to_seq;
    size_t sights; /* that came before */
};

struct watcher {
    struct scene *scene;
    struct vug_subscription *subscription;
    struct sight *sights;
    size_t count, cap;
    struct told told[SCENE_TOLD_MAX]; /* beyond SUBSCRIBED, RECONNECTING and the end of snapshots */
    size_t told_count;
    struct buf tokens[SCENE_TOKENS_MAX]; /* [n]: behind the first n results */
    unsigned subscribed, snapshot_ends, reconnects;
    bool failed;
    char why[256];
};

struct scene {
    struct scene_options options;
    struct sim *sim;
    struct log *log;
    struct grid grid;
    struct watch watch;
    struct verdict verdict;
    struct pen pens[SCENE_PENS_MAX];
    unsigned pen_count;
    uint64_t steps;
    long live;
};

/* The cluster, and the region in it; fails the test if it does not come up. VUG_TRACE in the
 * environment: everything that happens goes to that file. */
void scene_start(struct scene *scene, const struct scene_options *options);
/* Ends it; fails the test if an invariant of replication was broken, or memory was not given back.
 */
void scene_stop(struct scene *scene);
/* Steps, until the predicate holds (true) or so much virtual time has passed. */
bool scene_run(struct scene *scene, bool (*predicate)(void *arg), void *arg, uint64_t max_us);
bool scene_step(struct scene *scene);
/* Every bucket has its copies, and everything that was written is answered. */
void scene_settle(struct scene *scene);
/* A request to the locator that must succeed; repeated while it is refused. */
void scene_admin(struct scene *scene, uint32_t number, struct slice body);
void scene_destroy_region(struct scene *scene);
/* Without waiting for the answer: begins, and is_over says so. */
unsigned scene_queries(struct scene *scene); /* in the stored map */

/* Who leads a bucket of the region, and one of its copies; GRID_SERVERS_MAX: nobody. */
unsigned scene_primary(struct scene *scene, uint32_t bucket);
unsigned scene_copy(struct scene *scene, uint32_t bucket);
struct bucket *scene_bucket(struct scene *scene, unsigned server, uint32_t bucket);

/* Makes `count` readings; `at` is a server or SCENE_ANYWHERE. They are written while the scene
 * steps. */
struct pen *scene_write(struct scene *scene, unsigned at, unsigned count, unsigned window,
                        unsigned gap_us);
bool scene_is_written(void *scene);

void watcher_start(struct watcher *watcher, struct scene *scene, unsigned at, const char *sql,
                   const struct vug_subscription_options *options);
bool watcher_is_subscribed(void *watcher);
void watcher_await(struct watcher *watcher); /* until it is */
/* The subscription goes, what it saw stays. */
void watcher_leave(struct watcher *watcher);
/* Goes on with a token, at a server. */
void watcher_resume(struct watcher *watcher, unsigned at, const char *sql, struct slice token);
void watcher_fini(struct watcher *watcher);
unsigned watcher_told(const struct watcher *watcher, enum vug_status_code code);

/* What it saw follows from what was written: each reading once, in an order that keeps that of each
 * pen within each bucket. */
void watcher_check_averages(struct watcher *watcher);
/* The changelog (or upserts) applied to a table gives the final averages and counts, and each
 * change fits to what stood there. */
void watcher_check_groups(struct watcher *watcher);
/* Events of each bucket come in the order of (generation, seq, sub), none twice. */
void watcher_check_order(struct watcher *watcher);
/* What the second saw, which resumed behind the first `behind` results of the first: all others,
 * equal to the last bit, in each bucket in the same order. */
void watcher_check_rest(struct watcher *whole, struct watcher *rest, size_t behind);
/* The same rows with the same ids, in each bucket in the same order. Only the first
 * `whole` results of a bucket must have the same ids: those from before two runs parted, since
 * records that are no data, such as the notes of repeated operations, take numbers too. */
void watcher_check_same(struct watcher *a, struct watcher *b, size_t whole);
/* Nothing was told beyond the ordinary. */
void watcher_check_quiet(struct watcher *watcher);

#endif
