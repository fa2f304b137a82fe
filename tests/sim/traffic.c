#include "tests/sim/traffic.h"

#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim_impl.h"

/* Beyond those of the run: losses, and the reads at the end. */
enum { SPARE_OPS = 4096, BUDGET = 3000000 };

#define SIZE_KEY UINT32_MAX

void traffic_key(unsigned key, char text[16], struct value *value)
{
    snprintf(text, 16, "k%u", key);
    *value = (struct value){.type = VALUE_STRING, .bytes = slice_text(text)};
}

static struct value value_of(uint64_t number)
{
    return (struct value){.type = VALUE_LONG, .integer = (int64_t)number};
}

void traffic_start(struct traffic *traffic, struct grid *grid, struct watch *watch,
                   struct verdict *verdict, const struct traffic_options *options)
{
    PRE(options->callers <= TRAFFIC_CALLERS_MAX && options->keys <= TRAFFIC_KEYS_MAX);
    *traffic =
        (struct traffic){.grid = grid, .watch = watch, .verdict = verdict, .options = *options};
    traffic->ops = sim_alloc((options->ops_max + SPARE_OPS) * sizeof *traffic->ops);
    for (unsigned i = 0; i < options->callers; i++) {
        traffic->callers[i].node = i % grid->options.clients;
        traffic->callers[i].server = i % grid->options.servers;
    }
}

void traffic_fini(struct traffic *traffic)
{
    for (unsigned i = 0; i < traffic->options.callers; i++)
        if (traffic->callers[i].client != NULL)
            vug_client_free(traffic->callers[i].client);
    free(traffic->ops);
}

void traffic_add_region(struct traffic *traffic, const char *name)
{
    PRE(traffic->region_count < TRAFFIC_REGIONS_MAX);
    traffic->has_region[traffic->region_count] = true;
    traffic->regions[traffic->region_count++] = name;
}

/* ---- Answers ---- */

static bool read_value(struct traffic_op *op, struct slice body)
{
    struct value value;
    if (vug_value_reply(body, &value) != OK)
        return false;
    if (value.type == VALUE_LONG && value.integer > 0)
        op->linear.seen = (uint64_t)value.integer;
    else if (value.type != VALUE_NULL && value.type != VALUE_NOT_SET)
        return false;
    return true;
}

static void on_reply(void *arg, const struct vug_error *error, struct slice body)
{
    struct traffic_op *op = arg;
    struct traffic *traffic = op->traffic;
    op->is_over = true;
    op->caller->unanswered--;
    if (error != NULL) {
        op->code = error->code == 0 ? UINT32_MAX : error->code;
        /* Told that it is in doubt, its caller may go on before it happens. */
        if (error->code != 0)
            op->linear.session = 0;
        op->caller->broken = op->caller->broken || error->code == 0;
        traffic->failed++;
        sim_note(traffic->grid->sim, "failed", (uint64_t)(op - traffic->ops), op->code);
        if (traffic->grid->log != NULL)
            log_line(traffic->grid->log, LOG_INFO, "client", NULL, "%s", error->text);
        return;
    }
    bool has_value = op->number == VUG_GET || op->number == VUG_PUT_IF_ABSENT;
    uint64_t size = 0;
    if ((has_value && !read_value(op, body)) ||
        (op->number == VUG_SIZE &&
         (vug_size_reply(body, &size) != OK || size > traffic->options.keys)))
        verdict_fail(traffic->verdict, "operation %zu: an answer that makes no sense",
                     (size_t)(op - traffic->ops));
    op->linear.answered = ++traffic->clock;
    traffic->answered++;
    sim_note(traffic->grid->sim, "answered", (uint64_t)(op - traffic->ops), op->linear.seen);
    bool wrote = op->number == VUG_PUT || (op->number == VUG_PUT_IF_ABSENT && op->linear.seen == 0);
    if (wrote) {
        op->next_acknowledged = traffic->acknowledged;
        traffic->acknowledged = op;
    }
}

/* ---- Calls ---- */

static void send(struct traffic *traffic, struct traffic_caller *caller, struct traffic_op *op)
{
    char text[16];
    struct value key, value = value_of(op->linear.value);
    struct buf body;
    const char *region = traffic->regions[op->region];
    traffic_key(op->key, text, &key);
    buf_init(&body);
    if (op->number == VUG_SIZE)
        vug_region_request(&body, region);
    else if (op->number == VUG_PUT || op->number == VUG_PUT_IF_ABSENT)
        vug_entry_request(&body, region, &key, &value);
    else
        vug_key_request(&body, region, &key);
    sim_note(traffic->grid->sim, "call", (uint64_t)(op - traffic->ops), op->key);
    enum error error = vug_client_call(caller->client, op->number, buf_slice(&body), on_reply, op);
    if (error == OK)
        caller->unanswered++;
    else
        op->is_over = true;
    buf_fini(&body);
}

static struct traffic_op *new_op(struct traffic *traffic, struct traffic_caller *caller,
                                 uint32_t number, unsigned region, unsigned key)
{
    struct traffic_op *op = &traffic->ops[traffic->op_count++];
    *op = (struct traffic_op){.traffic = traffic,
                              .caller = caller,
                              .region = region,
                              .key = key,
                              .number = number,
                              .linear = {.session = caller->session,
                                         .called = ++traffic->clock,
                                         .answered = LINEAR_OPEN}};
    switch (number) {
    case VUG_PUT:
        op->linear.kind = LINEAR_PUT;
        op->linear.value = traffic->op_count;
        break;
    case VUG_PUT_IF_ABSENT:
        op->linear.kind = LINEAR_PUT_IF_ABSENT;
        op->linear.value = traffic->op_count;
        break;
    case VUG_REMOVE:
        op->linear.kind = LINEAR_REMOVE;
        break;
    case VUG_GET:
        op->linear.kind = LINEAR_GET;
        break;
    default:
        op->key = SIZE_KEY;
    }
    return op;
}

/* What was under way on it stays open. */
static void leave(struct traffic *traffic, struct traffic_caller *caller)
{
    if (caller->client != NULL)
        vug_client_free(caller->client);
    caller->client = NULL;
    caller->broken = false;
    caller->unanswered = 0;
    for (size_t i = 0; i < traffic->op_count; i++)
        if (traffic->ops[i].caller == caller)
            traffic->ops[i].is_over = true;
}

static bool turn_to(struct traffic *traffic, struct traffic_caller *caller, unsigned server)
{
    struct sim_process *process = &traffic->grid->clients[caller->node];
    leave(traffic, caller);
    struct vug_target target = grid_straight(traffic->grid, server, traffic->options.timeout_ms);
    caller->server = server;
    caller->session = ++traffic->sessions;
    return vug_client_new(process->loops[0], process->nets[0], &target, VUG_TO_SERVER,
                          &caller->client) == OK;
}

/* A server that runs, at random; the present one if it does and is to be kept. */
static bool choose_server(struct traffic *traffic, struct traffic_caller *caller)
{
    struct grid *grid = traffic->grid;
    unsigned server = caller->server;
    if ((caller->broken && !traffic->options.own_server) || !grid->servers[server].running)
        server = (unsigned)sim_random_below(grid->sim, GRID_SERVERS_MAX);
    for (unsigned i = 0; i < GRID_SERVERS_MAX && !grid->servers[server].running; i++)
        server = (server + 1) % GRID_SERVERS_MAX;
    return grid->servers[server].running && turn_to(traffic, caller, server);
}

static uint32_t choose_number(struct traffic *traffic)
{
    const struct traffic_options *options = &traffic->options;
    uint64_t draw = sim_random_below(traffic->grid->sim, 100);
    const struct {
        unsigned percent;
        uint32_t number;
    } rows[] = {{options->percent_put, VUG_PUT},
                {options->percent_get, VUG_GET},
                {options->percent_remove, VUG_REMOVE},
                {options->percent_put_if_absent, VUG_PUT_IF_ABSENT}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (draw < rows[i].percent)
            return rows[i].number;
        draw -= rows[i].percent;
    }
    return VUG_SIZE;
}

static void call_burst(struct traffic *traffic, struct traffic_caller *caller)
{
    struct sim *sim = traffic->grid->sim;
    const struct traffic_options *options = &traffic->options;
    if (caller->broken || caller->client == NULL ||
        (!options->own_server && caller->unanswered == 0 && sim_random_below(sim, 16) == 0)) {
        if (!options->own_server)
            caller->server = (unsigned)sim_random_below(sim, GRID_SERVERS_MAX);
        if (!choose_server(traffic, caller))
            return;
    }
    bool reads = caller >= traffic->callers + options->callers - options->readers;
    unsigned pending_max = options->pending_max != 0 && (reads || options->readers == 0)
                               ? options->pending_max
                               : 2 * options->burst_max;
    uint64_t burst = 1 + sim_random_below(sim, options->burst_max);
    unsigned region = (unsigned)sim_random_below(sim, traffic->region_count);
    /* A burst stays with a few keys, so that their order matters. */
    uint64_t first = sim_random_below(sim, options->keys);
    while (burst-- > 0 && caller->unanswered < pending_max &&
           traffic->op_count < options->ops_max && traffic->has_region[region]) {
        unsigned key = (unsigned)((first + sim_random_below(sim, 2)) % options->keys);
        uint32_t number = reads ? VUG_GET : choose_number(traffic);
        send(traffic, caller, new_op(traffic, caller, number, region, key));
    }
}

void traffic_step(struct traffic *traffic)
{
    uint64_t now_us = sim_now_us(traffic->grid->sim);
    while (traffic->acknowledged != NULL) {
        struct traffic_op *op = traffic->acknowledged;
        struct value key, value = value_of(op->linear.value);
        char text[16];
        traffic->acknowledged = op->next_acknowledged;
        traffic_key(op->key, text, &key);
        watch_acknowledged(traffic->watch, traffic->regions[op->region], &key, &value);
    }
    for (unsigned i = 0; i < traffic->options.callers; i++) {
        struct traffic_caller *caller = &traffic->callers[i];
        if (caller->broken && caller->unanswered == 0)
            leave(traffic, caller);
        if (traffic->stopped || now_us < caller->next_us ||
            traffic->op_count >= traffic->options.ops_max)
            continue;
        caller->next_us =
            now_us + sim_random_below(traffic->grid->sim, 2 * traffic->options.gap_us + 1);
        call_burst(traffic, caller);
    }
}

bool traffic_is_over(const struct traffic *traffic)
{
    if (!traffic->stopped && traffic->op_count < traffic->options.ops_max)
        return false;
    for (size_t i = 0; i < traffic->op_count; i++)
        if (!traffic->ops[i].is_over)
            return false;
    return true;
}

void traffic_lost(struct traffic *traffic, unsigned region, uint64_t since, uint64_t until)
{
    for (unsigned key = 0; key < traffic->options.keys; key++) {
        INVARIANT(traffic->op_count < traffic->options.ops_max + SPARE_OPS / 2);
        struct traffic_op *op = new_op(traffic, &traffic->callers[0], VUG_REMOVE, region, key);
        op->is_over = true;
        op->linear.session = 0;
        op->linear.called = since;
        op->linear.answered = until;
    }
}

void traffic_read_all(struct traffic *traffic)
{
    unsigned at = 0;
    traffic->stopped = true;
    for (unsigned i = 0; i < traffic->options.callers; i++)
        if (traffic->callers[i].client == NULL || traffic->callers[i].unanswered == 0)
            choose_server(traffic, &traffic->callers[i]);
    for (unsigned region = 0; region < traffic->region_count; region++) {
        for (unsigned key = 0; key < traffic->options.keys && traffic->has_region[region]; key++) {
            struct traffic_caller *caller = &traffic->callers[at++ % traffic->options.callers];
            if (caller->client != NULL && traffic->op_count < traffic->options.ops_max + SPARE_OPS)
                send(traffic, caller, new_op(traffic, caller, VUG_GET, region, key));
        }
    }
}

/* ---- The check ---- */

static const char *const kinds[] = {"put", "get", "remove", "putIfAbsent"};

/* Each operation of a key whose history makes no sense, in the order of the calls. */
static void print_history(const struct traffic *traffic, unsigned region, unsigned key)
{
    for (size_t i = 0; i < traffic->op_count; i++) {
        const struct traffic_op *op = &traffic->ops[i];
        if (op->region != region || op->key != key)
            continue;
        printf("# session %u: %s of %llu, called at %llu, ", op->linear.session,
               kinds[op->linear.kind], (unsigned long long)op->linear.value,
               (unsigned long long)op->linear.called);
        if (op->linear.answered == LINEAR_OPEN)
            printf("never answered\n");
        else
            printf("answered at %llu, saw %llu\n", (unsigned long long)op->linear.answered,
                   (unsigned long long)op->linear.seen);
    }
}

static void check_key(struct traffic *traffic, struct linear_op *ops, unsigned region, unsigned key)
{
    struct linear_op stuck = {0};
    size_t count = 0;
    for (size_t i = 0; i < traffic->op_count; i++)
        if (traffic->ops[i].region == region && traffic->ops[i].key == key)
            ops[count++] = traffic->ops[i].linear;
    enum linear_verdict verdict = linear_check(ops, count, BUDGET, &stuck);
    if (verdict == LINEAR_BROKEN)
        print_history(traffic, region, key);
    if (verdict == LINEAR_BROKEN)
        verdict_fail(traffic->verdict,
                     "/%s key k%u: the %s of %llu that saw %llu (called at %llu, answered at %llu) "
                     "has no place among %zu operations",
                     traffic->regions[region], key, kinds[stuck.kind],
                     (unsigned long long)stuck.value, (unsigned long long)stuck.seen,
                     (unsigned long long)stuck.called, (unsigned long long)stuck.answered, count);
    else if (verdict == LINEAR_UNDECIDED)
        verdict_fail(traffic->verdict,
                     "/%s key k%u: undecided over %zu operations, at the %s of %llu that saw %llu "
                     "(called at %llu, answered at %llu)",
                     traffic->regions[region], key, count, kinds[stuck.kind],
                     (unsigned long long)stuck.value, (unsigned long long)stuck.seen,
                     (unsigned long long)stuck.called, (unsigned long long)stuck.answered);
}

void traffic_check(struct traffic *traffic)
{
    struct linear_op *ops = sim_alloc((traffic->op_count + 1) * sizeof *ops);
    for (unsigned region = 0; region < traffic->region_count; region++)
        for (unsigned key = 0; key < traffic->options.keys && !traffic->verdict->failed; key++)
            check_key(traffic, ops, region, key);
    free(ops);
}
