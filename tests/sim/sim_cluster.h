/* A cluster under the simulation: a locator, a server with two workers, and clients, all in one
 * thread.
 *
 * Several of these can live in one sim: nothing of the product is global. */
#ifndef VUG_TESTS_SIM_SIM_CLUSTER_H
#define VUG_TESTS_SIM_SIM_CLUSTER_H

#include "client/vug.h"
#include "locator/locator.h"
#include "server/server.h"
#include "tests/sim/sim_net.h"

enum { SIM_WORKERS = 2 };

/* One process on a node of its own, with its loops. */
struct sim_process {
    struct sim_node *node;
    struct loop *loops[1 + SIM_WORKERS];
    struct net *nets[1 + SIM_WORKERS];
    unsigned loop_count;
};

struct sim_cluster {
    struct sim *sim;
    struct log *log;
    struct map_memory memory;
    struct sim_process locator_process, server_process, client_process;
    struct locator *locator;
    struct server *server;
    char locator_host[64];
    struct vug_target target;
    bool locator_ready, server_ready, failed;
    uint64_t ring_bytes_max; /* before sim_cluster_start(); 0: the default */
};

/* Starts everything and waits until the server is ready; asserts that it is. `name` tells clusters
 * of one sim apart. */
void sim_cluster_start(struct sim_cluster *cluster, struct sim *sim, const char *name);
void sim_cluster_stop(struct sim_cluster *cluster);

void sim_process_start(struct sim_process *process, struct sim *sim, struct sim_node *node,
                       unsigned loop_count);
void sim_process_stop(struct sim_process *process);

void sim_locator_start(struct sim_cluster *cluster);
/* The process dies; its memory is freed. */
void sim_locator_crash(struct sim_cluster *cluster, enum sim_crash how);
void sim_server_start(struct sim_cluster *cluster);
void sim_server_crash(struct sim_cluster *cluster, enum sim_crash how);

/* One request from a fresh client; asserts that it is answered, and returns the failure's code or
 * 0. */
uint32_t sim_request(struct sim_cluster *cluster, enum vug_client_role role, uint32_t number,
                     const struct buf *body, struct buf *reply);
void sim_create_region(struct sim_cluster *cluster, const char *name, const char *type);
void sim_sql(struct sim_cluster *cluster, const char *statement);

/* ---- A reading, and what a subscriber must see ---- */

struct sim_reading {
    char key[24], id[24];
    uint64_t timestamp;
    bool has_temperature;
    double temperature; /* a multiple of 1/64, so that sums are exact in any order of evaluation */
};
void sim_reading_random(struct sim *sim, struct sim_reading *reading, unsigned ids, uint64_t n,
                        bool key_is_id);
size_t sim_reading_document(const struct sim_reading *reading, char *out, size_t size);

/* A subscriber of `SELECT id, AVG(temperature) OVER (PARTITION BY id)` keeps what it saw. */
struct sim_seen {
    char id[24];
    bool is_null;
    double average;
    uint32_t bucket;
    uint64_t seq;
};
struct sim_subscriber {
    struct vug_subscription *subscription;
    struct sim_seen *seen;
    size_t count, cap;
    unsigned subscribed, snapshot_ends, gaps, losses, reconnects, failures;
    bool subscribed_once;
};
void sim_subscriber_start(struct sim_subscriber *subscriber, struct sim_cluster *cluster,
                          const char *sql, const struct vug_subscription_options *options);
void sim_subscriber_stop(struct sim_subscriber *subscriber);

/* A writer of readings, in order, exactly once each. */
struct sim_writer {
    struct vug_writer *writer;
    struct sim_reading *readings;
    size_t count, next, done;
    unsigned failures;
};
void sim_writer_start(struct sim_writer *writer, struct sim_cluster *cluster, const char *region,
                      struct sim_reading *readings, size_t count);
bool sim_writer_is_done(void *writer);
void sim_writer_stop(struct sim_writer *writer);

/* For each id, the sequence that was seen equals a recomputation over the readings in order;
 * nothing else was seen. */
void sim_check_averages(const struct sim_reading *readings, size_t count,
                        const struct sim_subscriber *subscriber);

#endif
