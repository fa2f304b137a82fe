#include "tests/sim/grid.h"

#include <string.h>

#define START_US 60000000

/* ---- Locators ---- */

static void on_locator_ready(void *arg)
{
    ((struct grid_member *)arg)->ready = true;
}

static void on_locator_failed(void *arg, enum error why, const char *text)
{
    struct grid_member *member = arg;
    (void)why;
    member->refused = true;
    snprintf(member->why, sizeof member->why, "%s", text);
}

static void start_locator(struct grid_member *member)
{
    struct grid *grid = member->grid;
    struct sim_process *process = &member->process;
    sim_process_start(process, grid->sim, process->node, 1);
    struct map_store *store;
    INVARIANT(map_store_memory_new(process->loops[0], &grid->memory, &store) == OK);
    struct locator_options options = {.name = member->name,
                                      .bind_host = sim_node_host(process->node),
                                      .port = VUG_LOCATOR_PORT,
                                      .on_ready = on_locator_ready,
                                      .on_failed = on_locator_failed,
                                      .arg = member};
    INVARIANT(locator_new(&options, process->loops[0], process->nets[0], grid->log, store,
                          &member->locator) == OK);
}

/* ---- Servers ---- */

static void on_server_ready(void *arg)
{
    ((struct grid_member *)arg)->ready = true;
}

static void on_server_refused(void *arg, enum error why, const char *text)
{
    on_locator_failed(arg, why, text);
}

static void on_stop_requested(void *arg)
{
    ((struct grid_member *)arg)->draining = true;
}

static void start_server(struct grid_member *member)
{
    struct grid *grid = member->grid;
    struct sim_process *process = &member->process;
    unsigned workers = grid->options.workers;
    struct server_place places[SIM_WORKERS];
    struct net_address locators[GRID_LOCATORS_MAX];
    sim_process_start(process, grid->sim, process->node, 1 + workers);
    for (unsigned i = 0; i < workers; i++)
        places[i] = (struct server_place){process->loops[1 + i], process->nets[1 + i]};
    for (unsigned i = 0; i < grid->options.locators; i++) {
        locators[i].port = VUG_LOCATOR_PORT;
        snprintf(locators[i].host, sizeof locators[i].host, "%s",
                 sim_node_host(grid->locators[i].process.node));
    }
    struct server_options options = {.name = member->name,
                                     .bind_address = sim_node_host(process->node),
                                     .port = VUG_SERVER_PORT,
                                     .locators = locators,
                                     .locator_count = grid->options.locators,
                                     .locator_wait_ms = 600000,
                                     .ring_bytes_max = grid->options.ring_bytes_max};
    static const struct server_events events = {on_server_ready, on_server_refused,
                                                on_stop_requested};
    INVARIANT(server_new(&options, (struct server_place){process->loops[0], process->nets[0]},
                         places, workers, grid->log, &events, member, &member->server) == OK);
    member->incarnation = member->server->incarnation;
}

/* ---- Life of a member ---- */

void grid_member_start(struct grid_member *member)
{
    PRE(!member->running);
    if (!sim_node_is_alive(member->process.node))
        sim_node_restart(member->process.node);
    member->exists = member->running = true;
    member->ready = member->refused = member->paused = false;
    member->draining = member->drained = false;
    member->starts++;
    if (member >= member->grid->servers && member < member->grid->servers + GRID_SERVERS_MAX)
        start_server(member);
    else
        start_locator(member);
}

static void free_product(struct grid_member *member)
{
    if (member->server != NULL)
        server_free(member->server);
    if (member->locator != NULL)
        locator_free(member->locator);
    member->server = NULL;
    member->locator = NULL;
    member->incarnation = 0;
    member->running = member->ready = member->paused = false;
}

void grid_member_crash(struct grid_member *member, enum sim_crash how)
{
    PRE(member->running);
    sim_node_crash(member->process.node, how);
    free_product(member);
    sim_process_stop(&member->process);
    if (how == SIM_CRASH_RESET)
        sim_node_restart(member->process.node);
}

void grid_member_pause(struct grid_member *member)
{
    PRE(member->running && !member->paused);
    member->paused = true;
    sim_node_pause(member->process.node);
}

void grid_member_resume(struct grid_member *member)
{
    PRE(member->running && member->paused);
    member->paused = false;
    sim_node_resume(member->process.node);
}

static void on_drained(void *arg)
{
    ((struct grid_member *)arg)->drained = true;
}

void grid_server_drain(struct grid_member *member)
{
    PRE(member->running && member->server != NULL);
    member->draining = true;
    server_drain(member->server, on_drained, member);
}

/* A process that ends in order closes its sockets as the system does for one that dies. */
void grid_reap(struct grid *grid)
{
    for (unsigned i = 0; i < GRID_SERVERS_MAX; i++) {
        struct grid_member *member = &grid->servers[i];
        if (member->running && !member->paused && (member->drained || member->refused)) {
            sim_note(grid->sim, member->refused ? "refused" : "drained", i, 0);
            grid_member_crash(member, SIM_CRASH_RESET);
        }
    }
}

/* ---- The grid ---- */

static void member_init(struct grid *grid, struct grid_member *member, const char *kind,
                        unsigned index)
{
    member->grid = grid;
    snprintf(member->name, sizeof member->name, "%s%u", kind, index + 1);
    member->process.node = sim_node_new(grid->sim, member->name);
}

bool grid_is_ready(void *arg)
{
    const struct grid *grid = arg;
    bool ready = true;
    for (unsigned i = 0; i < grid->options.locators; i++)
        ready = ready && grid->locators[i].ready;
    for (unsigned i = 0; i < GRID_SERVERS_MAX; i++)
        ready = ready && (!grid->servers[i].running || grid->servers[i].ready);
    return ready;
}

bool grid_start(struct grid *grid, struct sim *sim, const struct grid_options *options,
                struct log *log)
{
    PRE(options->locators >= 1 && options->locators <= GRID_LOCATORS_MAX);
    PRE(options->servers >= 1 && options->servers <= GRID_SERVERS_MAX);
    PRE(options->clients >= 1 && options->clients <= GRID_CLIENTS_MAX);
    PRE(options->workers >= 1 && options->workers <= SIM_WORKERS);
    *grid = (struct grid){.sim = sim, .log = log, .options = *options};
    map_memory_init(&grid->memory);
    grid->memory.delay_us = options->map_delay_us;
    char list[GRID_LOCATORS_MAX * 32] = "";
    size_t len = 0;
    for (unsigned i = 0; i < options->locators; i++) {
        struct grid_member *locator = &grid->locators[i];
        member_init(grid, locator, "locator", i);
        len += (size_t)snprintf(list + len, sizeof list - len, "%s%s[%u]", i > 0 ? "," : "",
                                sim_node_host(locator->process.node), VUG_LOCATOR_PORT);
        grid_member_start(locator);
    }
    INVARIANT(vug_target_locators(&grid->target, list) == OK);
    for (unsigned i = 0; i < GRID_SERVERS_MAX; i++) {
        struct grid_member *server = &grid->servers[i];
        member_init(grid, server, "server", i);
        if (options->rate_ppm[i] != 0)
            sim_node_set_rate(server->process.node, options->rate_ppm[i]);
        if (i < options->servers)
            grid_member_start(server);
    }
    for (unsigned i = 0; i < options->clients; i++) {
        char name[24];
        snprintf(name, sizeof name, "client%u", i + 1);
        sim_process_start(&grid->clients[i], sim, sim_node_new(sim, name), 1);
    }
    return sim_run_until(sim, grid_is_ready, grid, START_US);
}

void grid_stop(struct grid *grid)
{
    for (unsigned i = 0; i < GRID_SERVERS_MAX; i++)
        if (grid->servers[i].running)
            grid_member_crash(&grid->servers[i], SIM_CRASH_RESET);
    for (unsigned i = 0; i < grid->options.locators; i++)
        if (grid->locators[i].running)
            grid_member_crash(&grid->locators[i], SIM_CRASH_RESET);
    for (unsigned i = 0; i < grid->options.clients; i++)
        sim_process_stop(&grid->clients[i]);
    map_memory_fini(&grid->memory);
}

/* ---- Questions ---- */

unsigned grid_running(const struct grid *grid)
{
    unsigned count = 0;
    for (unsigned i = 0; i < GRID_SERVERS_MAX; i++) {
        const struct grid_member *member = &grid->servers[i];
        count += member->running && !member->paused && !member->draining;
    }
    return count;
}

struct vug_target grid_straight(const struct grid *grid, unsigned server, uint32_t timeout_ms)
{
    struct vug_target target = {.straight = true, .timeout_ms = timeout_ms};
    snprintf(target.server.host, sizeof target.server.host, "%s",
             sim_node_host(grid->servers[server].process.node));
    target.server.port = VUG_SERVER_PORT;
    return target;
}

struct grid_member *grid_server_of(struct grid *grid, uint64_t incarnation)
{
    for (unsigned i = 0; i < GRID_SERVERS_MAX; i++)
        if (grid->servers[i].running && grid->servers[i].incarnation == incarnation)
            return &grid->servers[i];
    return NULL;
}

struct grid_member *grid_server_on(struct grid *grid, const struct sim_node *node)
{
    for (unsigned i = 0; i < GRID_SERVERS_MAX; i++)
        if (grid->servers[i].process.node == node)
            return grid->servers[i].running ? &grid->servers[i] : NULL;
    return NULL;
}
