#include "tests/sim/faults.h"

#include <string.h>

#include "tests/sim/sim_impl.h"

enum {
    REBALANCE = 1026,
    AGAIN_US = 300000,
    PAUSED_MAX = 2,
    LONGEST_STALL_US = 6000000,
    LOCATORS_AT = GRID_SERVERS_MAX
};

static const struct sim_faults calm = {.latency_min_us = 50, .latency_max_us = 400};

/* ---- Whom ---- */

static uint64_t draw(struct faults *faults, uint64_t bound)
{
    return sim_random_below(faults->grid->sim, bound);
}

static struct sim_node *node_at(const struct faults *faults, unsigned index)
{
    return index < LOCATORS_AT ? faults->grid->servers[index].process.node
                               : faults->grid->locators[index - LOCATORS_AT].process.node;
}

/* A server that runs, is not paused and does not leave; GRID_SERVERS_MAX if there is none. */
static unsigned any_server(struct faults *faults)
{
    unsigned first = (unsigned)draw(faults, GRID_SERVERS_MAX);
    for (unsigned i = 0; i < GRID_SERVERS_MAX; i++) {
        unsigned index = (first + i) % GRID_SERVERS_MAX;
        const struct grid_member *member = &faults->grid->servers[index];
        if (member->running && !member->paused && !member->draining && !member->refused)
            return index;
    }
    return GRID_SERVERS_MAX;
}

static bool two_servers(struct faults *faults, unsigned *a, unsigned *b)
{
    *a = any_server(faults);
    for (int tries = 0; tries < 8; tries++) {
        *b = any_server(faults);
        if (*a != *b)
            return *b != GRID_SERVERS_MAX;
    }
    return false;
}

static bool ends_later(struct faults *faults, enum fault fault, unsigned a, unsigned b)
{
    if (faults->end_count == FAULT_ENDS_MAX)
        return false;
    faults->ends[faults->end_count++] = (struct fault_end){
        .at_us = sim_now_us(faults->grid->sim) + 1 + draw(faults, faults->longest_us),
        .fault = fault,
        .a = a,
        .b = b};
    return true;
}

/* ---- Administration ---- */

static void on_answer(void *arg, const struct vug_error *error, struct slice body)
{
    struct faults *faults = arg;
    struct faults_admin *admin = &faults->admin;
    (void)body;
    admin->asked = false;
    sim_note(faults->grid->sim, "administered", admin->number, error != NULL);
    if (error != NULL && admin->number != REBALANCE) {
        admin->again_us = sim_now_us(faults->grid->sim) + AGAIN_US;
        return;
    }
    if (admin->number == VUG_REGION_CREATE) {
        for (unsigned i = 0; i < faults->traffic->region_count; i++) {
            if (strcmp(faults->traffic->regions[i], faults->scrap) != 0)
                continue;
            faults->traffic->has_region[i] = true;
            traffic_lost(faults->traffic, i, admin->since, ++faults->traffic->clock);
        }
    }
    admin->number = admin->then;
    admin->then = 0;
}

static void administer(struct faults *faults)
{
    struct faults_admin *admin = &faults->admin;
    struct sim_process *process = &faults->grid->clients[0];
    struct buf body;
    if (admin->number == 0 || admin->asked || sim_now_us(faults->grid->sim) < admin->again_us)
        return;
    if (admin->client == NULL &&
        vug_client_new(process->loops[0], process->nets[0], &faults->grid->target, VUG_TO_LOCATOR,
                       &admin->client) != OK)
        return;
    buf_init(&body);
    if (admin->number == VUG_REGION_CREATE)
        buf_append_slice(&body, buf_slice(faults->scrap_body));
    else if (admin->number == VUG_REGION_DESTROY)
        buf_append_slice(&body, buf_slice(faults->destroy_body));
    admin->asked =
        vug_client_call(admin->client, admin->number, buf_slice(&body), on_answer, faults) == OK;
    buf_fini(&body);
}

bool faults_is_quiet(const struct faults *faults)
{
    return faults->admin.number == 0;
}

static bool make_region_again(struct faults *faults)
{
    struct faults_admin *admin = &faults->admin;
    if (faults->scrap == NULL || admin->number != 0)
        return false;
    for (unsigned i = 0; i < faults->traffic->region_count; i++)
        if (strcmp(faults->traffic->regions[i], faults->scrap) == 0)
            faults->traffic->has_region[i] = false;
    admin->since = ++faults->traffic->clock;
    admin->number = VUG_REGION_DESTROY;
    admin->then = VUG_REGION_CREATE;
    return true;
}

/* ---- The faults ---- */

static bool crash_server(struct faults *faults, enum fault fault, unsigned server)
{
    struct grid_member *member = &faults->grid->servers[server];
    if (!faults->may_lose && !watch_can_lose(faults->watch, member))
        return false;
    if (!ends_later(faults, fault, server, 0))
        return false;
    grid_member_crash(member, fault == FAULT_CRASH ? SIM_CRASH_RESET : SIM_CRASH_SILENT);
    return true;
}

static bool crash(struct faults *faults, enum fault fault)
{
    unsigned server = any_server(faults);
    return server != GRID_SERVERS_MAX && crash_server(faults, fault, server);
}

static bool halt(struct faults *faults)
{
    unsigned server = any_server(faults), paused = 0;
    for (unsigned i = 0; i < GRID_SERVERS_MAX; i++)
        paused += faults->grid->servers[i].paused;
    if (server == GRID_SERVERS_MAX || paused >= PAUSED_MAX ||
        !ends_later(faults, FAULT_PAUSE, server, 0))
        return false;
    grid_member_pause(&faults->grid->servers[server]);
    return true;
}

static bool cut_servers(struct faults *faults, enum fault fault)
{
    unsigned a, b;
    if (!two_servers(faults, &a, &b) || !ends_later(faults, fault, a, b))
        return false;
    sim_partition(node_at(faults, a), node_at(faults, b));
    if (fault == FAULT_CUT_BOTH)
        sim_partition(node_at(faults, b), node_at(faults, a));
    return true;
}

static void isolate(struct faults *faults, unsigned server, bool from_locators, bool is_cut)
{
    unsigned count = GRID_SERVERS_MAX + (from_locators ? faults->grid->options.locators : 0);
    for (unsigned i = 0; i < count; i++) {
        if (i == server)
            continue;
        (is_cut ? sim_partition : sim_heal)(node_at(faults, server), node_at(faults, i));
        (is_cut ? sim_partition : sim_heal)(node_at(faults, i), node_at(faults, server));
    }
}

static bool cut_off(struct faults *faults, enum fault fault)
{
    unsigned server = any_server(faults);
    if (server == GRID_SERVERS_MAX)
        return false;
    unsigned other = fault == FAULT_CUT_LOCATOR
                         ? LOCATORS_AT + (unsigned)draw(faults, faults->grid->options.locators)
                         : (unsigned)draw(faults, 2);
    if (!ends_later(faults, fault, server, other))
        return false;
    if (fault == FAULT_ISOLATE) {
        isolate(faults, server, other == 1, true);
        return true;
    }
    struct sim_node *to =
        fault == FAULT_CUT_LOCATOR ? node_at(faults, other) : faults->grid->clients[other].node;
    sim_partition(node_at(faults, server), to);
    sim_partition(to, node_at(faults, server));
    return true;
}

static bool spoil_link(struct faults *faults, enum fault fault)
{
    unsigned a, b;
    struct sim_faults spoiled = calm;
    if (!two_servers(faults, &a, &b) || !ends_later(faults, fault, a, b))
        return false;
    if (fault == FAULT_DELAY) {
        spoiled.latency_min_us = (uint32_t)draw(faults, 300000);
        spoiled.latency_max_us = spoiled.latency_min_us + (uint32_t)draw(faults, 300000);
    } else if (fault == FAULT_RESETS) {
        spoiled.reset_ppm = 1000 + (uint32_t)draw(faults, 30000);
    } else {
        spoiled.split_bytes = 1 + (uint32_t)draw(faults, 100);
    }
    sim_link_set_faults(node_at(faults, a), node_at(faults, b), &spoiled);
    return true;
}

static bool hold_up(struct faults *faults, enum fault fault)
{
    unsigned server = any_server(faults);
    if (server == GRID_SERVERS_MAX || !ends_later(faults, fault, server, 0))
        return false;
    if (fault == FAULT_STALLS)
        sim_node_set_stalls(node_at(faults, server), 2000 + (uint32_t)draw(faults, 30000),
                            LONGEST_STALL_US);
    else
        sim_node_set_turn_time(node_at(faults, server), 20, 20 + (uint32_t)draw(faults, 5000));
    return true;
}

static bool join(struct faults *faults)
{
    unsigned running = 0, at = GRID_SERVERS_MAX;
    for (unsigned i = 0; i < GRID_SERVERS_MAX; i++) {
        running += faults->grid->servers[i].exists;
        if (!faults->grid->servers[i].exists && at == GRID_SERVERS_MAX)
            at = i;
    }
    if (at == GRID_SERVERS_MAX || running >= faults->servers_max)
        return false;
    grid_member_start(&faults->grid->servers[at]);
    return true;
}

static bool stop(struct faults *faults)
{
    unsigned server = any_server(faults);
    if (server == GRID_SERVERS_MAX || grid_running(faults->grid) < 2 ||
        !faults->grid->servers[server].ready)
        return false;
    grid_server_drain(&faults->grid->servers[server]);
    return true;
}

static void cut_locator(struct faults *faults, unsigned index, bool is_cut)
{
    struct sim_node *locator = faults->grid->locators[index].process.node;
    for (unsigned i = 0; i < GRID_SERVERS_MAX; i++) {
        (is_cut ? sim_partition : sim_heal)(locator, node_at(faults, i));
        (is_cut ? sim_partition : sim_heal)(node_at(faults, i), locator);
    }
}

static bool locator_fault(struct faults *faults, enum fault fault)
{
    unsigned index = (unsigned)draw(faults, faults->grid->options.locators);
    struct grid_member *member = &faults->grid->locators[index];
    if (!member->running || member->paused || !ends_later(faults, fault, index, 0))
        return false;
    if (fault == FAULT_LOCATOR_CRASH)
        grid_member_crash(member, SIM_CRASH_RESET);
    else if (fault == FAULT_LOCATOR_PAUSE)
        grid_member_pause(member);
    else if (fault == FAULT_LOCATOR_SLOW)
        sim_node_set_turn_time(member->process.node, 20, 20 + (uint32_t)draw(faults, 20000));
    else
        cut_locator(faults, index, true);
    return true;
}

static bool map_fault(struct faults *faults, enum fault fault)
{
    struct map_memory *memory = &faults->grid->memory;
    if (fault == FAULT_MAP_FAILS) {
        memory->fail_with = ERROR_IO;
        memory->fail_count = 1 + (uint32_t)draw(faults, 3);
        return true;
    }
    if (!ends_later(faults, fault, 0, 0))
        return false;
    memory->delay_us = draw(faults, 500000);
    return true;
}

static bool rebalance(struct faults *faults)
{
    if (faults->admin.number != 0)
        return false;
    faults->admin.number = REBALANCE;
    return true;
}

static bool plot(struct faults *faults, enum plot_kind kind)
{
    unsigned a, b;
    return two_servers(faults, &a, &b) && plot_begin(faults, kind, a, b);
}

/* One about a server while another one dies, which comes back. */
static bool plot_with_crash(struct faults *faults, enum plot_kind kind)
{
    unsigned a, b;
    return faults->plot.kind == PLOT_NONE && two_servers(faults, &a, &b) &&
           crash_server(faults, FAULT_CRASH, b) && plot_begin(faults, kind, a, b);
}

static bool make(struct faults *faults, enum fault fault)
{
    switch (fault) {
    case FAULT_CRASH:
    case FAULT_CRASH_SILENT:
        return crash(faults, fault);
    case FAULT_PAUSE:
        return halt(faults);
    case FAULT_CUT:
    case FAULT_CUT_BOTH:
        return cut_servers(faults, fault);
    case FAULT_CUT_CLIENT:
    case FAULT_CUT_LOCATOR:
    case FAULT_ISOLATE:
        return cut_off(faults, fault);
    case FAULT_DELAY:
    case FAULT_RESETS:
    case FAULT_SPLIT:
        return spoil_link(faults, fault);
    case FAULT_STALLS:
    case FAULT_SLOW:
        return hold_up(faults, fault);
    case FAULT_JOIN:
        return join(faults);
    case FAULT_STOP:
        return stop(faults);
    case FAULT_REBALANCE:
        return rebalance(faults);
    case FAULT_REGION:
        return make_region_again(faults);
    case FAULT_LOCATOR_CRASH:
    case FAULT_LOCATOR_PAUSE:
    case FAULT_LOCATOR_SLOW:
    case FAULT_LOCATOR_ALONE:
        return locator_fault(faults, fault);
    case FAULT_MAP_SLOW:
    case FAULT_MAP_FAILS:
        return map_fault(faults, fault);
    case FAULT_ISLAND:
        return plot(faults, PLOT_ISLAND);
    case FAULT_HELD_UP:
        return plot(faults, PLOT_HELD_UP);
    case FAULT_JOIN_CUT_OFF:
        return plot_with_crash(faults, PLOT_JOIN_CUT_OFF);
    case FAULT_SEAL_RETURN:
        return plot(faults, PLOT_SEAL_RETURN);
    case FAULT_SEAL_IN_VAIN:
        return plot(faults, PLOT_SEAL_IN_VAIN);
    case FAULT_REMOVED_RETURN:
        return plot(faults, PLOT_REMOVED_RETURN);
    case FAULT_LEFT_OUT:
        return plot_with_crash(faults, PLOT_LEFT_OUT);
    case FAULT_COUNT:
        break;
    }
    return false;
}

void faults_make(struct faults *faults)
{
    unsigned sum = 0;
    for (unsigned i = 0; i < FAULT_COUNT; i++)
        sum += faults->weights[i];
    /* One that cannot be made now is drawn again. */
    for (int tries = 0; tries < 10; tries++) {
        uint64_t at = draw(faults, sum);
        unsigned fault = 0;
        while (at >= faults->weights[fault])
            at -= faults->weights[fault++];
        sim_note(faults->grid->sim, fault_text((enum fault)fault), (uint64_t)tries, 0);
        if (make(faults, (enum fault)fault)) {
            faults->made++;
            faults->of_kind[fault]++;
            return;
        }
    }
}

/* ---- Their ends ---- */

static void end_link_fault(struct faults *faults, const struct fault_end *end)
{
    switch (end->fault) {
    case FAULT_CUT:
    case FAULT_CUT_BOTH:
    case FAULT_CUT_LOCATOR:
        sim_heal(node_at(faults, end->a), node_at(faults, end->b));
        sim_heal(node_at(faults, end->b), node_at(faults, end->a));
        break;
    case FAULT_CUT_CLIENT:
        sim_heal(node_at(faults, end->a), faults->grid->clients[end->b].node);
        sim_heal(faults->grid->clients[end->b].node, node_at(faults, end->a));
        break;
    case FAULT_ISOLATE:
        isolate(faults, end->a, end->b == 1, false);
        break;
    default:
        sim_link_set_faults(node_at(faults, end->a), node_at(faults, end->b), &calm);
    }
}

static void end_fault(struct faults *faults, const struct fault_end *end)
{
    struct grid *grid = faults->grid;
    struct grid_member *member = &grid->servers[end->a];
    sim_note(grid->sim, "end of", end->fault, end->a);
    switch (end->fault) {
    case FAULT_CRASH:
    case FAULT_CRASH_SILENT:
        if (!member->running)
            grid_member_start(member);
        break;
    case FAULT_PAUSE:
        if (member->running && member->paused)
            grid_member_resume(member);
        break;
    case FAULT_STALLS:
        sim_node_set_stalls(member->process.node, 0, 0);
        break;
    case FAULT_SLOW:
        sim_node_set_turn_time(member->process.node, 0, 0);
        break;
    case FAULT_LOCATOR_CRASH:
        if (!grid->locators[end->a].running)
            grid_member_start(&grid->locators[end->a]);
        break;
    case FAULT_LOCATOR_PAUSE:
        if (grid->locators[end->a].running && grid->locators[end->a].paused)
            grid_member_resume(&grid->locators[end->a]);
        break;
    case FAULT_LOCATOR_SLOW:
        sim_node_set_turn_time(grid->locators[end->a].process.node, 0, 0);
        break;
    case FAULT_LOCATOR_ALONE:
        cut_locator(faults, end->a, false);
        break;
    case FAULT_MAP_SLOW:
        grid->memory.delay_us = grid->options.map_delay_us;
        break;
    default:
        end_link_fault(faults, end);
    }
}

/* A server that drained or was refused begins again, as its supervisor would start it. */
static void revive(struct faults *faults)
{
    grid_reap(faults->grid);
    for (unsigned i = 0; i < faults->grid->options.locators; i++) {
        struct grid_member *locator = &faults->grid->locators[i];
        if (!locator->running || locator->paused || !locator->refused)
            continue;
        grid_member_crash(locator, SIM_CRASH_RESET);
        grid_member_start(locator);
    }
    for (unsigned i = 0; i < GRID_SERVERS_MAX; i++) {
        struct grid_member *member = &faults->grid->servers[i];
        bool waits = false;
        for (unsigned j = 0; j < faults->end_count; j++)
            waits =
                waits || (faults->ends[j].a == i && (faults->ends[j].fault == FAULT_CRASH ||
                                                     faults->ends[j].fault == FAULT_CRASH_SILENT));
        if (member->exists && !member->running && !waits)
            ends_later(faults, FAULT_CRASH, i, 0);
    }
}

void faults_step(struct faults *faults)
{
    uint64_t now_us = sim_now_us(faults->grid->sim);
    for (unsigned i = 0; i < faults->end_count;) {
        struct fault_end end = faults->ends[i];
        if (end.at_us > now_us) {
            i++;
            continue;
        }
        faults->ends[i] = faults->ends[--faults->end_count];
        end_fault(faults, &end);
    }
    plot_step(faults);
    revive(faults);
    administer(faults);
}

void faults_heal(struct faults *faults)
{
    while (faults->end_count > 0) {
        struct fault_end end = faults->ends[--faults->end_count];
        end_fault(faults, &end);
    }
    plot_end(faults);
    sim_heal_all(faults->grid->sim);
    faults->grid->memory.fail_count = 0;
    faults->longest_us = 500000; /* whoever still has to be started again */
}

void faults_init(struct faults *faults, struct grid *grid, struct watch *watch,
                 struct traffic *traffic, const unsigned *weights)
{
    *faults = (struct faults){.grid = grid,
                              .watch = watch,
                              .traffic = traffic,
                              .weights = weights,
                              .longest_us = 4000000};
    faults->admin.faults = faults;
    sim_set_faults(grid->sim, &calm);
}

void faults_fini(struct faults *faults)
{
    if (faults->admin.client != NULL)
        vug_client_free(faults->admin.client);
}

const char *fault_text(enum fault fault)
{
    static const char *const texts[FAULT_COUNT] = {
        [FAULT_CRASH] = "crash",
        [FAULT_CRASH_SILENT] = "silent crash",
        [FAULT_PAUSE] = "pause",
        [FAULT_CUT] = "cut",
        [FAULT_CUT_BOTH] = "cut both",
        [FAULT_CUT_CLIENT] = "cut client",
        [FAULT_CUT_LOCATOR] = "cut locator",
        [FAULT_ISOLATE] = "isolate",
        [FAULT_DELAY] = "delay",
        [FAULT_RESETS] = "resets",
        [FAULT_SPLIT] = "split",
        [FAULT_STALLS] = "stalls",
        [FAULT_SLOW] = "slow",
        [FAULT_JOIN] = "join",
        [FAULT_STOP] = "stop",
        [FAULT_REBALANCE] = "rebalance",
        [FAULT_REGION] = "region",
        [FAULT_LOCATOR_CRASH] = "locator crash",
        [FAULT_LOCATOR_PAUSE] = "locator pause",
        [FAULT_LOCATOR_SLOW] = "locator slow",
        [FAULT_LOCATOR_ALONE] = "locator alone",
        [FAULT_MAP_SLOW] = "map slow",
        [FAULT_MAP_FAILS] = "map fails",
        [FAULT_ISLAND] = "island",
        [FAULT_HELD_UP] = "held up",
        [FAULT_JOIN_CUT_OFF] = "join cut off",
        [FAULT_SEAL_RETURN] = "seal, return",
        [FAULT_SEAL_IN_VAIN] = "seal in vain",
        [FAULT_REMOVED_RETURN] = "removed, return",
        [FAULT_LEFT_OUT] = "left out",
    };
    return texts[fault];
}
