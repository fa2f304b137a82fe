/* Snapshots and tails under concurrent writers, slow readers and broken connections, for plans with
 * and without state. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/sim/sim_cluster.h"

#define PATIENCE_US 120000000
#define RAW         "SELECT id, timestamp, temperature FROM my_region"
#define RUNNING     "SELECT id, AVG(temperature) OVER (PARTITION BY id) FROM my_region"
#define GROUPED     "SELECT id, COUNT(*) AS n, MAX(timestamp) AS latest FROM my_region GROUP BY id"

enum { IDS = 200, COLUMNS = 3 };

/* The last row of each id, as a reader keeps it who applies kinds literally; and what is wrong on
 * the way. */
struct view {
    struct vug_subscription *subscription;
    double rows[IDS][COLUMNS];
    bool present[IDS];
    uint64_t events, snapshot_events, tail_events, deletes;
    unsigned subscribed, ends, gaps, resnapshots, failures, lint;
    uint64_t last_seq[113];
    uint32_t last_sub[113];
};

static double number(const struct value *value)
{
    return value->type == VALUE_DOUBLE ? value->float64
           : value->type == VALUE_LONG ? (double)value->integer
                                       : -1;
}

static void on_event(void *arg, const struct vug_event *event)
{
    struct view *view = arg;
    unsigned id = 0;
    char text[32] = "";
    view->events++;
    view->snapshot_events += event->phase == VUG_SNAPSHOT;
    view->tail_events += event->phase == VUG_TAIL;
    /* Identities of a bucket rise, but where a snapshot begins again. */
    bool rises =
        event->seq > view->last_seq[event->bucket] ||
        (event->seq == view->last_seq[event->bucket] && event->sub > view->last_sub[event->bucket]);
    if (!rises && view->last_seq[event->bucket] > 0 && event->phase == VUG_TAIL)
        view->lint++;
    view->last_seq[event->bucket] = event->seq;
    view->last_sub[event->bucket] = event->sub;
    assert_int_equal(event->values[0].type, VALUE_STRING);
    snprintf(text, sizeof text, "%.*s", SLICE_FMT(event->values[0].bytes));
    assert_int_equal(sscanf(text, "s%u", &id), 1);
    assert_true(id < IDS);
    switch (event->kind) {
    case VUG_UPDATE_BEFORE:
    case VUG_DELETE:
        /* What goes is what was there. */
        for (unsigned i = 1; i < event->value_count; i++)
            view->lint += !view->present[id] || view->rows[id][i] != number(&event->values[i]);
        view->deletes += event->kind == VUG_DELETE;
        view->present[id] = false;
        break;
    default:
        for (unsigned i = 1; i < event->value_count; i++)
            view->rows[id][i] = number(&event->values[i]);
        view->present[id] = true;
    }
}

static void on_status(void *arg, const struct vug_status *status)
{
    struct view *view = arg;
    view->subscribed += status->code == VUG_SUBSCRIBED;
    view->ends += status->code == VUG_SNAPSHOT_ENDED;
    view->gaps += status->code == VUG_GAP;
    view->resnapshots += status->code == VUG_RESNAPSHOT;
    if (status->code == VUG_GAP)
        assert_true(status->from_seq <= status->to_seq && status->from_seq > 0);
}

static void on_failed(void *arg, const struct vug_error *error)
{
    print_message("# subscription: %s\n", error->text);
    ((struct view *)arg)->failures++;
}

static bool is_subscribed(void *arg)
{
    const struct view *view = arg;
    return view->subscribed > 0 || view->failures > 0;
}

static void open_view(struct view *view, struct sim_cluster *cluster, const char *sql,
                      const struct vug_subscription_options *options)
{
    static const struct vug_subscription_events events = {
        .on_event = on_event, .on_status = on_status, .on_failed = on_failed};
    struct sim_process *process = &cluster->client_process;
    struct vug_subscription_options own = {0};
    if (options != NULL)
        own = *options;
    own.sql = slice_text(sql);
    memset(view, 0, sizeof *view);
    assert_int_equal(vug_subscription_new(process->loops[0], process->nets[0], &cluster->target,
                                          &own, &events, view, &view->subscription),
                     OK);
    assert_true(sim_run_until(cluster->sim, is_subscribed, view, PATIENCE_US));
    assert_int_equal(view->failures, 0);
}

static void make_readings(struct sim *sim, struct sim_reading *readings, size_t count, unsigned ids,
                          size_t first)
{
    for (size_t i = 0; i < count; i++) {
        sim_reading_random(sim, &readings[i], ids, first + i, true);
        readings[i].has_temperature = true;
        if (i < ids && first == 0) { /* every id is there */
            snprintf(readings[i].id, sizeof readings[i].id, "s%zu", i);
            snprintf(readings[i].key, sizeof readings[i].key, "s%zu", i);
        }
    }
}

static void write_all(struct sim_cluster *cluster, struct sim_reading *readings, size_t count)
{
    struct sim_writer writer;
    sim_writer_start(&writer, cluster, "my_region", readings, count);
    assert_true(sim_run_until(cluster->sim, sim_writer_is_done, &writer, PATIENCE_US));
    assert_int_equal(writer.failures, 0);
    sim_writer_stop(&writer);
}

/* What a view of each query must show in the end, over the readings from `from` on. */
enum which { IS_RAW, IS_RUNNING, IS_GROUPED };

static void check_view(const struct view *view, enum which which,
                       const struct sim_reading *readings, size_t from, size_t count)
{
    for (unsigned id = 0; id < IDS; id++) {
        char name[24];
        double sum = 0, last = 0, latest = 0;
        unsigned n = 0;
        snprintf(name, sizeof name, "s%u", id);
        for (size_t i = from; i < count; i++) {
            if (strcmp(readings[i].id, name) != 0)
                continue;
            sum += readings[i].temperature;
            last = readings[i].temperature;
            latest = (double)readings[i].timestamp;
            n++;
        }
        if (view->present[id] != (n > 0))
            fail_msg("%s: %s", name, n > 0 ? "is missing" : "should not be there");
        if (n == 0)
            continue;
        if (which == IS_RUNNING && view->rows[id][1] != sum / n)
            fail_msg("%s: average %g, not %g", name, view->rows[id][1], sum / n);
        if (which == IS_RAW && (view->rows[id][1] != latest || view->rows[id][2] != last))
            fail_msg("%s: %g at %g, not %g at %g", name, view->rows[id][2], view->rows[id][1], last,
                     latest);
        if (which == IS_GROUPED && (view->rows[id][1] != n || view->rows[id][2] != latest))
            fail_msg("%s: %g rows up to %g, not %u up to %g", name, view->rows[id][1],
                     view->rows[id][2], n, latest);
    }
}

static void start(struct sim_cluster *cluster, struct sim *sim)
{
    sim_cluster_start(cluster, sim, "a");
    sim_create_region(cluster, "my_region", "PARTITION");
}

/* Entries are loaded, then views are opened in the middle of ten rounds of updates. For the plan
 * with state, only the last reading of each id is there when it starts, and every later one is a
 * row. */
static void a_snapshot_and_its_tail_are_the_final_state_under_writers(void **state)
{
    (void)state;
    enum { LOADED = IDS, UPDATES = 10 * IDS };
    for (uint64_t seed = 1; seed <= 8; seed++) {
        static struct sim_reading readings[LOADED + UPDATES];
        struct sim *sim = sim_new(seed);
        struct sim_cluster cluster = {0};
        struct view views[3];
        struct sim_writer writer;
        start(&cluster, sim);
        make_readings(sim, readings, LOADED, IDS, 0);
        make_readings(sim, readings + LOADED, UPDATES, IDS, LOADED);
        write_all(&cluster, readings, LOADED);
        open_view(&views[IS_RUNNING], &cluster, RUNNING, NULL);
        open_view(&views[IS_GROUPED], &cluster, GROUPED, NULL);
        sim_writer_start(&writer, &cluster, "my_region", readings + LOADED, UPDATES);
        sim_run_until(sim, NULL, NULL, 1 + sim_random_below(sim, 2000));
        struct vug_subscription_options few = {.credit_events = 1 + sim_random_below(sim, 30),
                                               .max_batch_events = 7};
        open_view(&views[IS_RAW], &cluster, RAW, &few);
        struct sim_faults faults = {
            .latency_min_us = 20, .latency_max_us = 2000, .reset_ppm = 5000};
        sim_set_faults(sim, &faults);
        assert_true(sim_run_until(sim, sim_writer_is_done, &writer, PATIENCE_US));
        faults.reset_ppm = 0;
        sim_set_faults(sim, &faults);
        sim_run_until(sim, NULL, NULL, 20000000);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(views[i].failures + views[i].gaps + views[i].lint, 0);
            assert_true(views[i].ends >= 1);
            check_view(&views[i], (enum which)i, readings, 0, LOADED + UPDATES);
            vug_subscription_free(views[i].subscription);
        }
        assert_int_equal(views[IS_RUNNING].ends, 1);
        /* No row of the tail is lost or doubled: one for each update. */
        assert_int_equal(views[IS_RUNNING].snapshot_events, LOADED);
        assert_int_equal(views[IS_RUNNING].tail_events, UPDATES);
        sim_writer_stop(&writer);
        sim_cluster_stop(&cluster);
        sim_free(sim);
    }
}

/* A reader that was away for longer than the outputs are kept is told so, and gets a new snapshot.
 */
static void a_reader_that_fell_behind_gets_a_gap_and_a_new_snapshot(void **state)
{
    (void)state;
    enum { COUNT = 6000, FEW = 5 };
    static struct sim_reading readings[COUNT];
    struct sim *sim = sim_new(3);
    struct sim_cluster cluster = {.ring_bytes_max = 64 * 1024};
    struct view views[3];
    static const char *const queries[] = {RAW, RUNNING, GROUPED};
    start(&cluster, sim);
    make_readings(sim, readings, COUNT, FEW, 0);
    for (int i = 0; i < 3; i++)
        open_view(&views[i], &cluster, queries[i], NULL);
    write_all(&cluster, readings, 50);
    sim_run_until(sim, NULL, NULL, 100000);
    /* The client hears nothing while a second one writes far more than the rings keep. */
    struct sim_process other = {0};
    sim_process_start(&other, sim, sim_node_new(sim, "writer"), 1);
    struct sim_process readers = cluster.client_process;
    cluster.client_process = other;
    sim_node_pause(readers.node);
    write_all(&cluster, readings + 50, COUNT - 50);
    sim_node_resume(readers.node);
    sim_run_until(sim, NULL, NULL, 30000000);
    cluster.client_process = readers;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(views[i].failures, 0);
        assert_true(views[i].gaps > 0);
        assert_true(views[i].ends > 1);
        check_view(&views[i], (enum which)i, readings, 0, COUNT);
        vug_subscription_free(views[i].subscription);
    }
    sim_process_stop(&other);
    sim_cluster_stop(&cluster);
    sim_free(sim);
}

/* Two who attach to one name share one instance; the second one sees the averages that began with
 * the first. */
static void subscribers_of_one_name_share_what_began_with_the_first(void **state)
{
    (void)state;
    enum { COUNT = 400 };
    static struct sim_reading readings[COUNT];
    struct sim *sim = sim_new(9);
    struct sim_cluster cluster = {0};
    struct view first, second, alone;
    struct vug_subscription_options named = {.name = "averages"};
    start(&cluster, sim);
    make_readings(sim, readings, COUNT, 20, 0);
    open_view(&first, &cluster, RUNNING, &named);
    write_all(&cluster, readings, COUNT / 2);
    open_view(
        &second, &cluster,
        "select   ID_.id , avg(ID_.temperature)\n over (partition by id) AS a from my_region ID_",
        &named);
    open_view(&alone, &cluster, RUNNING, NULL);
    assert_int_equal(cluster.server->budget.instance_count, 2);
    write_all(&cluster, readings + COUNT / 2, COUNT / 2);
    sim_run_until(sim, NULL, NULL, 1000000);
    check_view(&first, IS_RUNNING, readings, 0, COUNT);
    check_view(&second, IS_RUNNING, readings, 0, COUNT);
    assert_int_equal(second.snapshot_events, 20);
    assert_int_equal(second.tail_events, COUNT / 2);
    /* An unnamed one began later: with the last reading of each id. */
    unsigned differ = 0;
    for (unsigned id = 0; id < 20; id++)
        differ += alone.rows[id][1] != first.rows[id][1];
    assert_true(differ > 0);
    vug_subscription_free(first.subscription);
    vug_subscription_free(second.subscription);
    vug_subscription_free(alone.subscription);
    sim_cluster_stop(&cluster);
    sim_free(sim);
}

/* One who conflates sees fewer events, in a sequence that is consistent all the same, and the same
 * end. */
static void a_reader_that_conflates_sees_net_changes_and_the_same_end(void **state)
{
    (void)state;
    enum { COUNT = 3000, FEW = 12 };
    static struct sim_reading readings[COUNT];
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct sim *sim = sim_new(seed);
        struct sim_cluster cluster = {0};
        struct view views[2];
        static const char *const queries[] = {RUNNING, GROUPED};
        start(&cluster, sim);
        make_readings(sim, readings, COUNT, FEW, 0);
        struct vug_subscription_options options = {.slow_policy = 1,
                                                   .credit_events = 1 + sim_random_below(sim, 60)};
        for (int i = 0; i < 2; i++)
            open_view(&views[i], &cluster, queries[i], &options);
        struct sim_faults faults = {
            .latency_min_us = 1000, .latency_max_us = 3000, .reset_ppm = 2000};
        sim_set_faults(sim, &faults);
        write_all(&cluster, readings, COUNT);
        sim_run_until(sim, NULL, NULL, 60000000);
        for (int i = 0; i < 2; i++) {
            assert_int_equal(views[i].failures + views[i].gaps + views[i].lint, 0);
            check_view(&views[i], i == 0 ? IS_RUNNING : IS_GROUPED, readings, 0, COUNT);
            assert_true(views[i].events < (uint64_t)(i + 1) * COUNT - 100);
            vug_subscription_free(views[i].subscription);
        }
        sim_cluster_stop(&cluster);
        sim_free(sim);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_snapshot_and_its_tail_are_the_final_state_under_writers),
        cmocka_unit_test(a_reader_that_fell_behind_gets_a_gap_and_a_new_snapshot),
        cmocka_unit_test(a_reader_that_conflates_sees_net_changes_and_the_same_end),
        cmocka_unit_test(subscribers_of_one_name_share_what_began_with_the_first),
    };
    return cmocka_run_group_tests_name("snapshot", tests, NULL, NULL);
}
