/* One run of a cluster among faults, from a seed: the general scenario, and for each planted fault
 * one that is aimed at it.
 *
 *   start -> regions, subscriptions -> calls, writes and faults -> heal -> everything answered and
 *   all copies back -> read all keys -> histories and books are checked */
#ifndef VUG_TESTS_SIM_SCENARIO_H
#define VUG_TESTS_SIM_SCENARIO_H

#include "common/plant.h"
#include "tests/sim/faults.h"
#include "tests/sim/ledger.h"

struct scenario {
    const char *name;
    enum plant plant; /* that it is aimed at */
    /* The cluster. */
    unsigned locators, servers, servers_max, workers;
    unsigned locators_max; /* of every third seed: 2 to so many locators; 0: as the others */
    bool same_clocks, same_walls;
    /* The regions: `data` for calls, `readings` for the ledger, `scrap` that comes and goes. */
    const char *type; /* of `data` and `scrap`; NULL: one of several at random */
    unsigned copies, buckets;
    bool has_scrap, has_ledger;
    bool has_encore; /* snapshots of `readings` before and after a failover are compared */
    struct ledger_options ledger;
    struct traffic_options traffic;
    /* The faults. */
    unsigned faults;      /* 0: FAULTS_USUAL */
    unsigned gap_us;      /* between two; 0: GAP_USUAL_US */
    unsigned longest_us;  /* 0: as faults.h says */
    unsigned recovery_us; /* it has to be whole again so soon; 0: RECOVERY_US */
    bool may_lose;
    unsigned weights[FAULT_COUNT];
};

enum { FAULTS_USUAL = 50, GAP_USUAL_US = 120000 };

struct scenario_result {
    struct verdict verdict;
    uint64_t hash; /* of the trace */
    uint64_t steps, virtual_us;
    unsigned faults, calls, answered, written, promotions, losses, commits;
};

/* `trace` gets a line for everything that happens; NULL: none. */
void scenario_run(const struct scenario *scenario, uint64_t seed, FILE *trace,
                  struct scenario_result *result);

/* aimed.c: the table. The first is the general one. */
extern const struct scenario scenarios[];
extern const size_t scenario_count;
const struct scenario *scenario_named(const char *name); /* NULL: there is none */
const struct scenario *scenario_aimed_at(enum plant plant);

/* plant.c: which fault is planted in the product now. */
void plant_set(enum plant plant);
const char *plant_text(enum plant plant);

#endif
