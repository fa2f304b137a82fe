/* ClusterStatusResponse as the commands read it: walked in place, nothing copied. */
#ifndef VUG_CLI_CLUSTER_STATUS_H
#define VUG_CLI_CLUSTER_STATUS_H

#include "cli/cli.h"

enum { CLUSTER_STATUS_MEMBERS = 1, CLUSTER_STATUS_REGIONS = 2, CLUSTER_STATUS_DEGRADED = 8 };
enum { CLUSTER_STATUS_MOVES_FIELD = 11 }; /* changes of places that are under way or wait */

/* Asks a locator for the parts that `want` names; a failure is told. */
enum exit_status cluster_status_ask(struct cli *cli, unsigned want, struct vug_reply *reply);

struct status_totals {
    struct slice cluster_id, answered_by;
    uint64_t epoch;
    uint32_t degraded_buckets, lost_buckets;
};
void cluster_status_totals(struct slice body, struct status_totals *totals);

struct status_member {
    struct slice name, role, host, state, version;
    struct slice message; /* for its groups: field 6, repeated */
    uint32_t port, http_port, clients, primaries, buckets;
    uint64_t entries, bytes, uptime_s, incarnation;
};
/* Start with *walk = the body. */
bool cluster_status_next_member(struct slice *walk, struct status_member *member);

struct status_region {
    struct slice name, type, key_constraint, value_constraint;
    uint32_t redundant_copies, buckets, degraded_buckets, lost_buckets;
    uint64_t entries, bytes, generations;
};
bool cluster_status_next_region(struct slice *walk, struct status_region *region);

struct status_degraded {
    struct slice region, waits_for;
    uint32_t bucket, copies, wanted;
};
bool cluster_status_next_degraded(struct slice *walk, struct status_degraded *degraded);

#endif
