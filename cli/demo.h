/* The parts of `vug demo`: the cluster of child processes (demo_cluster.c), and what happens in it
 * (demo.c). */
#ifndef VUG_CLI_DEMO_H
#define VUG_CLI_DEMO_H

#include "cli/child.h"
#include "cli/cli.h"

#include <stdatomic.h>

enum { DEMO_SERVERS_MAX = 16 };

struct demo_server {
    struct child *child; /* NULL: not started */
    struct text_host_port address;
    bool killed;
};

struct demo_cluster {
    struct cli *cli;
    struct loop *loop;
    struct net *net;
    struct child *locator; /* NULL: not started */
    struct demo_server servers[DEMO_SERVERS_MAX];
    uint32_t server_count;
    char data_dir[64];
    struct text_host_port locator_address, http_address; /* http: the locator's */
    struct loop_timer deadline;
    bool started, late;
    _Atomic bool ending;        /* the reader threads look */
    void (*on_lost)(void *arg); /* a member ended by itself */
    void *arg;
};

/* Starts a locator and so many servers and waits for all of them, running the loop. A failure is
 * told. demo_cluster_end() in any case. */
enum exit_status demo_cluster_start(struct demo_cluster *cluster, struct cli *cli,
                                    struct loop *loop, struct net *net, uint32_t servers,
                                    void (*on_lost)(void *arg), void *arg);
/* Kills a server, as a fault would: SIGKILL, without a word to anybody. */
void demo_cluster_kill(struct demo_cluster *cluster, uint32_t server);
/* Ends the members: SIGTERM, after a while SIGKILL; removes their data. Runs the loop. */
void demo_cluster_end(struct demo_cluster *cluster);

/* The readings that ship: beside the executable, in the source tree, or below the working
 * directory. False: not there. */
bool demo_find_readings(char *path, size_t size);

#endif
