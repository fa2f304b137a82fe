#include "tests/sim/plots.h"

#include "tests/sim/faults.h"
#include "tests/sim/sim_impl.h"

enum {
    MOMENT_US = 12000000, /* it comes within that, or not at all */
    HELD_UP_PPM = 300000,
    LONGEST_STALL_US = 6000000,
    SLOW_MAP_US = 1500000
};

static uint64_t between(struct faults *faults, uint64_t least, uint64_t most)
{
    return least + sim_random_below(faults->grid->sim, most - least + 1);
}

static struct sim_node *node_of(const struct faults *faults, unsigned server)
{
    return faults->grid->servers[server].process.node;
}

static void set_link(struct faults *faults, struct sim_node *a, struct sim_node *b, bool is_cut)
{
    (void)faults;
    (is_cut ? sim_partition : sim_heal)(a, b);
    (is_cut ? sim_partition : sim_heal)(b, a);
}

static void set_servers(struct faults *faults, unsigned server, bool is_cut)
{
    for (unsigned i = 0; i < GRID_SERVERS_MAX; i++)
        if (i != server)
            set_link(faults, node_of(faults, server), node_of(faults, i), is_cut);
}

static void set_locators(struct faults *faults, unsigned server, bool is_cut)
{
    for (unsigned i = 0; i < faults->grid->options.locators; i++)
        set_link(faults, node_of(faults, server), faults->grid->locators[i].process.node, is_cut);
}

static void cut_off(struct faults *faults, unsigned server)
{
    set_servers(faults, server, true);
    set_locators(faults, server, true);
}

/* Half of the time its links are slow when they are there again. */
static void slow_down(struct faults *faults, unsigned server)
{
    if (between(faults, 0, 1) == 0)
        return;
    for (unsigned i = 0; i < GRID_SERVERS_MAX; i++) {
        uint32_t least = (uint32_t)between(faults, 0, 200000);
        struct sim_faults slow = {.latency_min_us = least, .latency_max_us = least + 200000};
        if (i == server)
            continue;
        sim_link_set_faults(node_of(faults, server), node_of(faults, i), &slow);
        sim_link_set_faults(node_of(faults, i), node_of(faults, server), &slow);
    }
}

/* ---- Moments ---- */

static bool each_bucket(const struct grid_member *member,
                        bool (*is_it)(const struct bucket *bucket, uint64_t incarnation),
                        uint64_t incarnation)
{
    const struct catalog *catalog = member->running ? member->server->catalog : NULL;
    for (uint32_t i = 0; catalog != NULL && i < catalog->region_count; i++)
        for (uint32_t j = 0; j < catalog->regions[i]->bucket_count; j++)
            if (is_it(&catalog->regions[i]->buckets[j], incarnation))
                return true;
    return false;
}

static bool has_sealed_against(const struct bucket *bucket, uint64_t incarnation)
{
    return bucket->replica.is_sealed && bucket->replica.primary == incarnation;
}

static bool is_being_joined(const struct bucket *bucket, uint64_t incarnation)
{
    (void)incarnation;
    for (uint32_t i = 0; i < bucket->replica.copy_count; i++)
        if (bucket->replica.copies[i]->state == COPY_JOINING &&
            bucket->replica.copies[i]->proposed_us != 0)
            return true;
    return false;
}

static bool any_has_sealed_against(const struct faults *faults, unsigned server)
{
    const struct grid *grid = faults->grid;
    for (unsigned i = 0; i < GRID_SERVERS_MAX; i++)
        if (i != server &&
            each_bucket(&grid->servers[i], has_sealed_against, grid->servers[server].incarnation))
            return true;
    return false;
}

/* Some bucket that it has, by its own map, is not its own by the newest. */
static bool is_removed(const struct faults *faults, unsigned server)
{
    const struct cluster_map *map = faults->watch->map;
    const struct grid_member *member = &faults->grid->servers[server];
    const struct catalog *catalog = member->server->catalog;
    for (uint32_t i = 0; map != NULL && catalog != NULL && i < catalog->region_count; i++) {
        const struct region *region = catalog->regions[i];
        const struct cluster_region *newest = cluster_map_region_by_id(map, region->id);
        uint32_t index = cluster_map_member_by_incarnation(map, member->incarnation);
        for (uint32_t j = 0; newest != NULL && newest->buckets != NULL && j < region->bucket_count;
             j++)
            if (region->buckets[j].replica.in_set && index != CLUSTER_NONE &&
                !cluster_bucket_has(&newest->buckets[j], index))
                return true;
    }
    return false;
}

/* ---- Beginning ---- */

bool plot_begin(struct faults *faults, enum plot_kind kind, unsigned a, unsigned b)
{
    struct plot *plot = &faults->plot;
    if (plot->kind != PLOT_NONE)
        return false;
    uint64_t now_us = sim_now_us(faults->grid->sim);
    *plot = (struct plot){.kind = kind, .a = a, .b = b, .until_us = now_us + MOMENT_US};
    switch (kind) {
    case PLOT_ISLAND:
        cut_off(faults, a);
        cut_off(faults, b);
        set_link(faults, node_of(faults, a), node_of(faults, b), false);
        plot->until_us = now_us + between(faults, 4000000, 8000000);
        break;
    case PLOT_HELD_UP:
        cut_off(faults, a);
        sim_node_set_stalls(node_of(faults, a), HELD_UP_PPM, LONGEST_STALL_US);
        plot->until_us = now_us + between(faults, 4000000, 8000000);
        break;
    case PLOT_JOIN_CUT_OFF:
        faults->grid->memory.delay_us = between(faults, 0, SLOW_MAP_US);
        plot->waits = true;
        break;
    case PLOT_LEFT_OUT:
        cut_off(faults, a);
        plot->until_us = now_us + between(faults, 4000000, 8000000);
        break;
    default:
        cut_off(faults, a);
        slow_down(faults, a);
        faults->grid->memory.delay_us = between(faults, 0, SLOW_MAP_US);
        plot->waits = true;
    }
    return true;
}

/* ---- Going on ---- */

static void kill_locators(struct faults *faults)
{
    for (unsigned i = 0; i < faults->grid->options.locators; i++)
        if (faults->grid->locators[i].running)
            grid_member_crash(&faults->grid->locators[i], SIM_CRASH_RESET);
}

static bool find_joined(struct faults *faults)
{
    struct plot *plot = &faults->plot;
    for (unsigned i = 0; i < GRID_SERVERS_MAX; i++) {
        if (!each_bucket(&faults->grid->servers[i], is_being_joined, 0))
            continue;
        plot->a = i;
        return true;
    }
    return false;
}

static bool is_moment(struct faults *faults)
{
    switch (faults->plot.kind) {
    case PLOT_JOIN_CUT_OFF:
        return find_joined(faults);
    case PLOT_REMOVED_RETURN:
        return is_removed(faults, faults->plot.a);
    default:
        return any_has_sealed_against(faults, faults->plot.a);
    }
}

/* How long after its moment a plot goes on. */
static uint64_t pause_us(struct faults *faults)
{
    switch (faults->plot.kind) {
    case PLOT_JOIN_CUT_OFF:
        return between(faults, 1000, 30000);
    case PLOT_REMOVED_RETURN:
        return between(faults, 0, 1) * between(faults, 0, 300000);
    default:
        return 0;
    }
}

static void go_on(struct faults *faults)
{
    struct plot *plot = &faults->plot;
    uint64_t now_us = sim_now_us(faults->grid->sim);
    plot->waits = false;
    plot->until_us = now_us + between(faults, 500000, 3000000);
    switch (plot->kind) {
    case PLOT_JOIN_CUT_OFF:
        cut_off(faults, plot->a);
        plot->until_us = now_us + between(faults, 4000000, 8000000);
        break;
    case PLOT_SEAL_RETURN:
        set_link(faults, node_of(faults, plot->a), node_of(faults, plot->b), false);
        break;
    default:
        set_servers(faults, plot->a, false);
        if (plot->kind == PLOT_SEAL_IN_VAIN)
            kill_locators(faults);
    }
}

void plot_step(struct faults *faults)
{
    struct plot *plot = &faults->plot;
    uint64_t now_us = sim_now_us(faults->grid->sim);
    if (plot->kind == PLOT_NONE)
        return;
    if (!faults->grid->servers[plot->a].running) {
        plot_end(faults);
        return;
    }
    if (plot->waits && !plot->has_come && is_moment(faults)) {
        plot->has_come = true;
        plot->at_us = now_us + pause_us(faults);
        plot->until_us = plot->at_us + 1;
    }
    if (plot->waits && plot->has_come && now_us >= plot->at_us)
        go_on(faults);
    if (now_us >= plot->until_us)
        plot_end(faults);
}

void plot_end(struct faults *faults)
{
    static const struct sim_faults calm = {.latency_min_us = 50, .latency_max_us = 400};
    struct plot *plot = &faults->plot;
    struct grid *grid = faults->grid;
    if (plot->kind == PLOT_NONE)
        return;
    unsigned ends[] = {plot->a, plot->b};
    for (int i = 0; i < 2; i++) {
        set_servers(faults, ends[i], false);
        set_locators(faults, ends[i], false);
        sim_node_set_stalls(node_of(faults, ends[i]), 0, 0);
        for (unsigned j = 0; j < GRID_SERVERS_MAX; j++) {
            if (j == ends[i])
                continue;
            sim_link_set_faults(node_of(faults, ends[i]), node_of(faults, j), &calm);
            sim_link_set_faults(node_of(faults, j), node_of(faults, ends[i]), &calm);
        }
    }
    for (unsigned i = 0; plot->kind == PLOT_SEAL_IN_VAIN && i < grid->options.locators; i++)
        if (!grid->locators[i].running)
            grid_member_start(&grid->locators[i]);
    grid->memory.delay_us = grid->options.map_delay_us;
    plot->kind = PLOT_NONE;
}
