#include "tests/sim/scenario.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/message.h"
#include "tests/lib/mem_fault.h"
#include "tests/sim/sim_impl.h"

#define SETUP_US      60000000
#define RECOVERY_US   180000000
#define RECOVERY_STEP 20000
#define LOST_STEP_US  1000000

struct run {
    const struct scenario *scenario;
    struct sim *sim;
    struct log *log;
    struct grid grid;
    struct verdict *verdict;
    struct watch watch;
    struct traffic traffic;
    struct faults faults;
    struct ledger ledger;
    struct ledger_subscriber looks[2];
    bool is_encore;
    struct buf data_body, readings_body, scrap_body, destroy_body;
    uint64_t seed, steps;
    const char *type;
    unsigned copies;
};

/* ---- Steps ---- */

static bool step(struct run *run)
{
    if (run->verdict->failed || !sim_step(run->sim))
        return false;
    run->steps++;
    watch_step(&run->watch);
    traffic_step(&run->traffic);
    ledger_step(&run->ledger);
    return true;
}

/* Steps until `until` or so much virtual time has passed. */
static bool run_until(struct run *run, bool (*until)(struct run *run), uint64_t max_us)
{
    uint64_t end_us = sim_now_us(run->sim) + max_us;
    while (until == NULL || !until(run)) {
        if (sim_now_us(run->sim) >= end_us || !step(run))
            return false;
        faults_step(&run->faults);
    }
    return true;
}

static void on_loss(void *arg, struct slice region, uint32_t bucket)
{
    struct run *run = arg;
    if (slice_equal(region, slice_text("readings")))
        ledger_lost(&run->ledger, bucket);
    for (unsigned i = 0; i < run->traffic.region_count; i++)
        if (slice_equal(region, slice_text(run->traffic.regions[i])))
            traffic_lost(&run->traffic, i, ++run->traffic.clock, LINEAR_OPEN);
}

/* ---- The beginning ---- */

struct request {
    bool is_over, failed;
};

static void on_reply(void *arg, const struct vug_error *error, struct slice body)
{
    struct request *request = arg;
    (void)body;
    request->is_over = true;
    request->failed = error != NULL;
}

static bool is_over(void *arg)
{
    return ((const struct request *)arg)->is_over;
}

static void region_body(struct buf *body, const char *name, const char *type, unsigned copies,
                        unsigned buckets)
{
    Pb__RegionCreateRequest request = PB__REGION_CREATE_REQUEST__INIT;
    uint8_t packed[256];
    request.name = message_bytes(slice_text(name));
    request.type = message_bytes(slice_text(type));
    request.redundant_copies = copies;
    request.bucket_count = buckets;
    request.if_not_exists = true;
    buf_init(body);
    buf_append(body, packed, protobuf_c_message_pack(&request.base, packed));
}

static void create_region(struct run *run, const struct buf *body)
{
    struct vug_client *client;
    struct sim_process *process = &run->grid.clients[0];
    bool created = false;
    INVARIANT(vug_client_new(process->loops[0], process->nets[0], &run->grid.target, VUG_TO_LOCATOR,
                             &client) == OK);
    for (int tries = 0; tries < 5 && !created; tries++) {
        struct request request = {0};
        INVARIANT(vug_client_call(client, VUG_REGION_CREATE, buf_slice(body), on_reply, &request) ==
                  OK);
        created = sim_run_until(run->sim, is_over, &request, SETUP_US) && !request.failed;
    }
    vug_client_free(client);
    if (!created)
        verdict_fail(run->verdict, "a region could not be created");
}

static void choose_type(struct run *run)
{
    static const struct {
        const char *type;
        unsigned copies;
    } rows[] = {{"PARTITION_REDUNDANT", 1}, {"PARTITION_REDUNDANT", 2}, {"REPLICATE", 0}};
    size_t row = sim_random_below(run->sim, sizeof rows / sizeof *rows);
    run->type = run->scenario->type != NULL ? run->scenario->type : rows[row].type;
    run->copies = run->scenario->type != NULL ? run->scenario->copies : rows[row].copies;
}

/* Drawn from the seed alone, so that the other seeds run as they do without it. */
static unsigned choose_locators(const struct run *run)
{
    const struct scenario *scenario = run->scenario;
    if (scenario->locators_max < 2 || run->seed % 3 != 0)
        return scenario->locators;
    return 2 + (unsigned)(run->seed / 3 % (scenario->locators_max - 1));
}

static void make_grid(struct run *run)
{
    const struct scenario *scenario = run->scenario;
    struct grid_options options = {.locators = choose_locators(run),
                                   .servers = scenario->servers,
                                   .clients = 2,
                                   .workers = scenario->workers,
                                   .map_delay_us = 300};
    for (unsigned i = 0; !scenario->same_clocks && i < GRID_SERVERS_MAX; i++)
        options.rate_ppm[i] = SIM_RATE_ONE + (uint32_t)sim_random_below(run->sim, 200001);
    if (!grid_start(&run->grid, run->sim, &options, run->log))
        verdict_fail(run->verdict, "the cluster did not start: %s",
                     run->grid.servers[0].why[0] != '\0' ? run->grid.servers[0].why
                                                         : run->grid.servers[1].why);
    for (unsigned i = 0; !scenario->same_walls && i < GRID_SERVERS_MAX; i++)
        sim_node_set_wall_offset_ms(run->grid.servers[i].process.node,
                                    (int64_t)sim_random_below(run->sim, 7200000) - 3600000);
}

static bool ledger_ready(struct run *run)
{
    return ledger_is_ready(&run->ledger);
}

static void begin(struct run *run)
{
    const struct scenario *scenario = run->scenario;
    choose_type(run);
    make_grid(run);
    watch_init(&run->watch, &run->grid, run->verdict);
    run->watch.on_loss = on_loss;
    run->watch.arg = run;
    traffic_start(&run->traffic, &run->grid, &run->watch, run->verdict, &scenario->traffic);
    faults_init(&run->faults, &run->grid, &run->watch, &run->traffic, scenario->weights);
    run->faults.servers_max = scenario->servers_max;
    run->faults.may_lose = scenario->may_lose;
    if (scenario->longest_us != 0)
        run->faults.longest_us = scenario->longest_us;
    region_body(&run->data_body, "data", run->type, run->copies, scenario->buckets);
    region_body(&run->scrap_body, "scrap", run->type, run->copies, scenario->buckets);
    /* Beside a type without copies the books have none: one server could not make them. */
    bool is_single = strcmp(run->type, "PARTITION") == 0;
    region_body(&run->readings_body, "readings", is_single ? "PARTITION" : "PARTITION_REDUNDANT",
                is_single || run->copies > 0 ? run->copies : 1, scenario->buckets);
    buf_init(&run->destroy_body);
    vug_region_request(&run->destroy_body, "scrap");
    buf_append(&run->destroy_body, "\x10\x01", 2); /* if_exists */
    traffic_add_region(&run->traffic, "data");
    if (!run->verdict->failed)
        create_region(run, &run->data_body);
    if (scenario->has_scrap && !run->verdict->failed) {
        create_region(run, &run->scrap_body);
        traffic_add_region(&run->traffic, "scrap");
        run->faults.scrap = "scrap";
        run->faults.scrap_body = &run->scrap_body;
        run->faults.destroy_body = &run->destroy_body;
    }
    if (scenario->has_ledger && !run->verdict->failed) {
        struct ledger_options options = scenario->ledger;
        options.buckets = scenario->buckets;
        create_region(run, &run->readings_body);
        ledger_start(&run->ledger, &run->grid, run->verdict, &options);
        if (!run_until(run, ledger_ready, SETUP_US))
            verdict_fail(run->verdict, "the subscriptions did not begin");
    }
}

/* ---- The middle ---- */

/* A fault comes after a random number of events, or after a random time: between any two events. */
static void make_faults(struct run *run)
{
    const struct scenario *scenario = run->scenario;
    unsigned wanted = scenario->faults == 0 ? FAULTS_USUAL : scenario->faults;
    unsigned gap_us = scenario->gap_us == 0 ? GAP_USUAL_US : scenario->gap_us;
    for (unsigned tries = 0; run->faults.made < wanted && tries < 4 * wanted; tries++) {
        if (run->verdict->failed)
            return;
        if (sim_random_below(run->sim, 3) == 0) {
            for (uint64_t i = sim_random_below(run->sim, 60); i > 0 && step(run); i--)
                faults_step(&run->faults);
        } else {
            run_until(run, NULL, sim_random_below(run->sim, 2 * gap_us));
        }
        if (!run->verdict->failed)
            faults_make(&run->faults);
    }
    /* The few kinds of the aimed ones need times that do not always come. */
    if (scenario->plant == PLANT_NONE && run->faults.made < wanted)
        verdict_fail(run->verdict, "only %u of %u faults could be made", run->faults.made, wanted);
    run_until(run, NULL, 2 * gap_us);
}

/* ---- The end ---- */

static bool is_recovered(struct run *run, char *why, size_t size)
{
    if (!traffic_is_over(&run->traffic)) {
        snprintf(why, size, "calls are unanswered");
        return false;
    }
    if (!faults_is_quiet(&run->faults)) {
        snprintf(why, size, "administration is unanswered");
        return false;
    }
    if (!grid_is_ready(&run->grid)) {
        snprintf(why, size, "a member is not ready");
        return false;
    }
    return ledger_is_over(&run->ledger, why, size) && watch_is_whole(&run->watch, why, size);
}

static void recover(struct run *run)
{
    char why[256] = "";
    uint64_t end_us = sim_now_us(run->sim) +
                      (run->scenario->recovery_us != 0 ? run->scenario->recovery_us : RECOVERY_US);
    if (!run->verdict->failed)
        faults_heal(&run->faults);
    run->traffic.stopped = true;
    while (!run->verdict->failed && !is_recovered(run, why, sizeof why)) {
        if (sim_now_us(run->sim) >= end_us)
            verdict_fail(run->verdict, "not whole again: %s", why);
        run_until(run, NULL, RECOVERY_STEP);
    }
}

static bool both_have_seen(struct run *run)
{
    return ledger_has_seen(&run->looks[0]) && (!run->is_encore || ledger_has_seen(&run->looks[1]));
}

/* A snapshot, the death of a server that leads, and a snapshot from who leads now. */
static void play_encore(struct run *run)
{
    struct grid_member *victim = NULL;
    ledger_look(&run->ledger, &run->looks[0]);
    if (!run_until(run, both_have_seen, SETUP_US)) {
        verdict_fail(run->verdict, "a snapshot did not end");
        return;
    }
    for (unsigned i = 0; i < GRID_SERVERS_MAX && victim == NULL; i++)
        if (run->grid.servers[i].running && watch_can_lose(&run->watch, &run->grid.servers[i]))
            victim = &run->grid.servers[i];
    if (victim == NULL)
        return;
    grid_member_crash(victim, SIM_CRASH_RESET);
    recover(run);
    run->is_encore = true;
    ledger_look(&run->ledger, &run->looks[1]);
    if (!run_until(run, both_have_seen, SETUP_US))
        verdict_fail(run->verdict, "a snapshot after a failover did not end");
    if (!run->verdict->failed)
        ledger_compare(&run->ledger, &run->looks[0], &run->looks[1]);
}

static bool calls_over(struct run *run)
{
    return traffic_is_over(&run->traffic);
}

static void finish(struct run *run)
{
    if (!run->verdict->failed)
        traffic_read_all(&run->traffic);
    if (!run_until(run, calls_over, SETUP_US))
        verdict_fail(run->verdict, "the last reads were not answered");
    run_until(run, NULL, LOST_STEP_US); /* whatever comes twice comes now */
    if (!run->verdict->failed)
        traffic_check(&run->traffic);
    if (!run->verdict->failed)
        ledger_check(&run->ledger);
    if (run->scenario->has_encore && !run->verdict->failed)
        play_encore(run);
}

static void give_back(struct run *run)
{
    for (int i = 0; i < 2; i++)
        ledger_look_away(&run->looks[i]);
    faults_fini(&run->faults);
    ledger_fini(&run->ledger);
    traffic_fini(&run->traffic);
    grid_stop(&run->grid);
    watch_fini(&run->watch);
    buf_fini(&run->data_body);
    buf_fini(&run->scrap_body);
    buf_fini(&run->readings_body);
    buf_fini(&run->destroy_body);
    log_free(run->log);
}

static void on_line(void *arg, enum log_level level, const char *line)
{
    (void)level;
    fprintf(arg, "             - %s\n", line);
}

static uint64_t no_time(void *arg)
{
    (void)arg;
    return 0;
}

void scenario_run(const struct scenario *scenario, uint64_t seed, FILE *trace,
                  struct scenario_result *result)
{
    struct run *run = sim_alloc(sizeof *run);
    long live = mem_fault_live();
    *result = (struct scenario_result){0};
    run->scenario = scenario;
    run->verdict = &result->verdict;
    run->seed = seed;
    run->sim = sim_new(seed);
    if (trace != NULL) {
        run->log = log_new(LOG_DEBUG, on_line, trace, no_time);
        sim_set_trace(run->sim, trace);
    }
    begin(run);
    if (!run->verdict->failed)
        make_faults(run);
    recover(run);
    finish(run);
    result->hash = sim_trace_hash(run->sim);
    result->steps = run->steps;
    result->virtual_us = sim_now_us(run->sim);
    result->faults = run->faults.made;
    result->calls = (unsigned)run->traffic.op_count;
    result->answered = run->traffic.answered;
    for (unsigned i = 0; run->ledger.started && i < scenario->ledger.writers; i++)
        result->written += run->ledger.writers[i].done;
    result->promotions = run->watch.promotions;
    result->losses = run->watch.losses;
    result->commits = run->watch.commits;
    give_back(run);
    sim_free(run->sim);
    free(run);
    if (mem_fault_live() != live)
        verdict_fail(&result->verdict, "%ld blocks of memory were not given back",
                     mem_fault_live() - live);
}
