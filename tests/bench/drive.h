/* The load itself: connections on one thread, each with a batch of `depth` requests on its way.
 *
 *   issue a batch -> [epoll] -> read -> check each reply against its request -> all answered: issue
 * the next
 *
 * Closed loop: latency is from the sending of a batch to the reading of a reply. */
#ifndef VUG_TESTS_BENCH_DRIVE_H
#define VUG_TESTS_BENCH_DRIVE_H

#include <sys/types.h>

#include "tests/bench/exchange.h"
#include "tests/bench/histogram.h"

enum { DRIVE_PIDS_MAX = 8 };

struct drive_options {
    uint16_t port; /* of 127.0.0.1 */
    uint32_t connections, depth;
    uint64_t keys;
    uint64_t requests; /* exactly so many, from the first on; 0: by time */
    double warmup_s, seconds;
    bool sequential; /* keys 0, 1, 2, ... and not random ones */
    uint32_t subscribers;
    uint64_t seed;
    pid_t pids[DRIVE_PIDS_MAX]; /* processes whose CPU time is measured */
    uint32_t pid_count;
    const struct exchange *exchanges; /* of one protocol, for one length of value each */
    uint32_t exchange_count;
};

struct drive_result {
    uint64_t requests, events, batches; /* events: of all subscribers */
    double seconds;
    double server_cpu_s;
    struct histogram latency_ns;
    char wrong[256]; /* the first wrong answer; empty if there was none */
};

/* False when something was wrong: result->wrong says what. */
bool drive(const struct drive_options *options, struct drive_result *result);

/* The share of time in which this thread did not run although it wanted to. */
double drive_probe(double seconds);

#endif
