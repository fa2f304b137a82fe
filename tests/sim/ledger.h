/* Idempotent writers of readings, subscribers to the averages over them, and the books: each
 * acknowledged reading counted once in its id's average, in an order in which the writers wrote,
 * nothing lost and nothing twice. */
#ifndef VUG_TESTS_SIM_LEDGER_H
#define VUG_TESTS_SIM_LEDGER_H

#include "tests/sim/grid.h"
#include "tests/sim/verdict.h"

enum {
    LEDGER_WRITERS_MAX = 3,
    LEDGER_SUBSCRIBERS_MAX = 3,
    LEDGER_READINGS_MAX = 512,
    LEDGER_BUCKETS_MAX = 32,
};

struct ledger_options {
    unsigned writers, subscribers, readings; /* of each writer */
    unsigned ids, buckets;                   /* of the region */
    bool key_is_id; /* else each reading has a key of its own, so rows change buckets */
    unsigned gap_us;
};

struct ledger_writer {
    struct ledger *ledger;
    struct vug_writer *writer;
    struct sim_reading readings[LEDGER_READINGS_MAX];
    unsigned next, done;
    uint64_t next_us;
};

struct ledger_seen {
    char id[24];
    double average;
    uint32_t generation, bucket;
};

struct ledger_subscriber {
    struct ledger *ledger;
    struct vug_subscription *subscription;
    struct ledger_seen *seen;
    size_t count, cap;
    unsigned gaps, reconnects;
    bool told[LEDGER_BUCKETS_MAX]; /* that the bucket's contents were lost */
    bool ready, is_snapshot_over;
};

struct ledger {
    struct grid *grid;
    struct verdict *verdict;
    struct ledger_options options;
    struct ledger_writer *writers;
    struct ledger_subscriber subscribers[LEDGER_SUBSCRIBERS_MAX];
    bool started;
    bool lost[LEDGER_BUCKETS_MAX]; /* buckets whose contents were really lost */
    unsigned losses;
};

/* The region `readings` exists. Subscribes; ledger_is_ready() tells when writing may begin. */
void ledger_start(struct ledger *ledger, struct grid *grid, struct verdict *verdict,
                  const struct ledger_options *options);
void ledger_fini(struct ledger *ledger);
bool ledger_is_ready(const struct ledger *ledger);

void ledger_step(struct ledger *ledger); /* writes what is due */
/* Everything written is acknowledged, and each subscriber has as many results; otherwise says what
 * is missing. */
bool ledger_is_over(const struct ledger *ledger, char *why, size_t size);

/* A bucket of `readings` starts empty: its subscribers have to be told, and the sums mean nothing
 * any more. */
void ledger_lost(struct ledger *ledger, uint32_t bucket);
void ledger_check(struct ledger *ledger);

/* A subscriber of the end: it gets a snapshot, and two of them on a quiet cluster get the same one,
 * in the same order in each bucket, whoever leads it. */
void ledger_look(struct ledger *ledger, struct ledger_subscriber *subscriber);
bool ledger_has_seen(const struct ledger_subscriber *subscriber);
void ledger_compare(struct ledger *ledger, const struct ledger_subscriber *a,
                    const struct ledger_subscriber *b);
void ledger_look_away(struct ledger_subscriber *subscriber);

/* Whether `seen`, the averages of one id in order, is what the readings of that id give in some
 * order that keeps the order of `lane`s; for tests of the check itself. */
struct ledger_row {
    double temperature; /* a multiple of 1/64, different from the others of its id */
    unsigned lane, place;
};
bool ledger_explains(const struct ledger_row *rows, size_t row_count, const double *seen,
                     size_t seen_count, char *why, size_t size);

#endif
