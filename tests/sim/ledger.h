/* Idempotent writers of readings, subscribers to the averages over them, and the books: each
 * acknowledged reading counted once in its id's average, in an order in which the writers wrote,
 * nothing lost and nothing twice. */
#ifndef VUG_TESTS_SIM_LEDGER_H
#define VUG_TESTS_SIM_LEDGER_H

#include "tests/sim/grid.h"
#include "tests/sim/verdict.h"

enum { LEDGER_WRITERS_MAX = 3, LEDGER_SUBSCRIBERS_MAX = 3, LEDGER_READINGS_MAX = 512 };

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
    uint32_t generation;
};

struct ledger_subscriber {
    struct ledger *ledger;
    struct vug_subscription *subscription;
    struct ledger_seen *seen;
    size_t count, cap;
    unsigned gaps, losses, reconnects;
    bool ready;
};

struct ledger {
    struct grid *grid;
    struct verdict *verdict;
    struct ledger_options options;
    struct ledger_writer *writers;
    struct ledger_subscriber subscribers[LEDGER_SUBSCRIBERS_MAX];
    bool started;
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

/* `losses` is how many buckets really lost their contents: then the sums are not compared. */
void ledger_check(struct ledger *ledger, unsigned losses);

/* Whether `seen`, the averages of one id in order, is what the readings of that id give in some
 * order that keeps the order of `lane`s; for tests of the check itself. */
struct ledger_row {
    double temperature; /* a multiple of 1/64, different from the others of its id */
    unsigned lane, place;
};
bool ledger_explains(const struct ledger_row *rows, size_t row_count, const double *seen,
                     size_t seen_count, char *why, size_t size);

#endif
