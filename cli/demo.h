/* The parts of `vug demo`: the cluster of child processes (demo_cluster.c), and what happens in it
 * (demo.c). */
#ifndef VUG_CLI_DEMO_H
#define VUG_CLI_DEMO_H

#include "cli/child.h"
#include "cli/cli.h"

struct demo_cluster {
    struct cli *cli;
    struct loop *loop;
    struct net *net;
    struct child *locator, *server; /* NULL: not started */
    char data_dir[64];
    struct text_host_port locator_address, server_address, http_address;
    struct loop_timer deadline;
    bool started, ending, late;
    void (*on_lost)(void *arg); /* a member ended by itself */
    void *arg;
};

/* Starts a locator and a server and waits for both, running the loop. A failure is told.
 * demo_cluster_end() in any case. */
enum exit_status demo_cluster_start(struct demo_cluster *cluster, struct cli *cli,
                                    struct loop *loop, struct net *net, void (*on_lost)(void *arg),
                                    void *arg);
/* Ends the members: SIGTERM, after a while SIGKILL; removes their data. Runs the loop. */
void demo_cluster_end(struct demo_cluster *cluster);

/* The readings that ship: beside the executable, in the source tree, or below the working
 * directory. False: not there. */
bool demo_find_readings(char *path, size_t size);

#endif
