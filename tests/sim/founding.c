/* The founding query under faults: whatever the network does, each subscriber sees for each id
 * exactly the averages of the acknowledged readings, and a seed repeats its run exactly. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/sim/sim_cluster.h"

#define DDL                                                                                        \
    "CREATE TABLE SensorReadings (id STRING, timestamp BIGINT, temperature DOUBLE) WITH "          \
    "('connector'='geode-region',"                                                                 \
    "'region'='my_region')"
#define FOUNDING                                                                                   \
    "SELECT id, AVG(temperature) OVER (PARTITION BY id) FROM SensorReadings WHERE timestamp >= "   \
    "start_time"

enum { READINGS = 300, SEEDS = 600 };

static const struct vug_parameter start_time = {.name = "start_time",
                                                .value = {.type = VALUE_LONG, .integer = 0}};

static void prepare(struct sim_cluster *cluster, struct sim *sim, const char *name)
{
    sim_cluster_start(cluster, sim, name);
    sim_create_region(cluster, "my_region", "PARTITION");
    sim_sql(cluster, DDL);
}

static void make_readings(struct sim *sim, struct sim_reading *readings, size_t count,
                          bool key_is_id)
{
    for (size_t i = 0; i < count; i++)
        sim_reading_random(sim, &readings[i], 7, i, key_is_id);
}

struct progress {
    const struct sim_writer *writer;
    const struct sim_subscriber *subscribers;
    unsigned subscriber_count;
    size_t expected;
};

static bool is_complete(void *arg)
{
    const struct progress *progress = arg;
    if (progress->writer->failures > 0)
        return true;
    bool complete = progress->writer->done == progress->writer->count;
    for (unsigned i = 0; i < progress->subscriber_count; i++) {
        complete = complete && progress->subscribers[i].count >= progress->expected;
        if (progress->subscribers[i].failures > 0)
            return true;
    }
    return complete;
}

static struct sim_faults random_faults(struct sim *sim)
{
    return (struct sim_faults){.latency_min_us = 50,
                               .latency_max_us = 100 + (uint32_t)sim_random_below(sim, 20000),
                               .split_bytes = (uint32_t)sim_random_below(sim, 3) == 0
                                                  ? 0
                                                  : 1 + (uint32_t)sim_random_below(sim, 200),
                               .reset_ppm = (uint32_t)sim_random_below(sim, 20000)};
}

/* One run: two subscribers (one with little credit and one token for each batch) and a writer,
 * among random faults. */
static uint64_t run(uint64_t seed, size_t *reconnects)
{
    struct sim *sim = sim_new(seed);
    struct sim_cluster cluster = {0};
    struct sim_reading readings[READINGS];
    struct sim_subscriber subscribers[2];
    struct sim_writer writer;
    prepare(&cluster, sim, "a");
    make_readings(sim, readings, READINGS, sim_random_below(sim, 2) == 0);
    struct vug_subscription_options options[2] = {
        {.parameters = &start_time, .parameter_count = 1, .progress = true},
        {.parameters = &start_time,
         .parameter_count = 1,
         .credit_events = 1 + sim_random_below(sim, 40),
         .token_every_batch = true,
         .max_batch_events = 1 + (uint32_t)sim_random_below(sim, 5)},
    };
    for (unsigned i = 0; i < 2; i++)
        sim_subscriber_start(&subscribers[i], &cluster, FOUNDING, &options[i]);
    struct sim_faults faults = random_faults(sim),
                      none = {.latency_min_us = 50, .latency_max_us = 200};
    sim_set_faults(sim, &faults);
    sim_writer_start(&writer, &cluster, "my_region", readings, READINGS);
    struct progress progress = {&writer, subscribers, 2, READINGS};
    for (int step = 0; step < 20 && !is_complete(&progress); step++) {
        sim_run_until(sim, is_complete, &progress, 200000);
        if (sim_random_below(sim, 4) == 0) {
            sim_partition(cluster.server_process.node, cluster.client_process.node);
            sim_run_until(sim, is_complete, &progress, sim_random_below(sim, 400000));
            sim_heal_all(sim);
        }
        if (sim_random_below(sim, 6) == 0) {
            sim_locator_crash(&cluster, SIM_CRASH_RESET);
            sim_run_until(sim, is_complete, &progress, sim_random_below(sim, 300000));
            sim_locator_start(&cluster);
        }
    }
    sim_set_faults(sim, &none);
    if (!sim_run_until(sim, is_complete, &progress, 120000000))
        fail_msg("not complete: %zu of %zu written, %zu and %zu results", writer.done, writer.count,
                 subscribers[0].count, subscribers[1].count);
    sim_run_until(sim, NULL, NULL, 3000000); /* whatever comes too often comes now */
    assert_int_equal(writer.failures, 0);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(subscribers[i].failures + subscribers[i].gaps + subscribers[i].losses, 0);
        sim_check_averages(readings, READINGS, &subscribers[i]);
        *reconnects += subscribers[i].reconnects;
        sim_subscriber_stop(&subscribers[i]);
    }
    sim_writer_stop(&writer);
    sim_cluster_stop(&cluster);
    uint64_t hash = sim_trace_hash(sim);
    sim_free(sim);
    return hash;
}

static uint64_t seed_base(void)
{
    const char *text = getenv("SIM_SEED");
    return text == NULL ? 1 : strtoull(text, NULL, 10);
}

static void averages_are_exact_under_faults_and_seeds_repeat(void **state)
{
    (void)state;
    size_t reconnects = 0;
    uint64_t count = getenv("SIM_SEED") != NULL ? 1 : SEEDS;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t seed = seed_base() + i;
        print_message("# seed %llu; repeat with SIM_SEED=%llu\n", (unsigned long long)seed,
                      (unsigned long long)seed);
        uint64_t first = run(seed, &reconnects);
        if (i % 20 == 0)
            assert_true(first == run(seed, &reconnects));
    }
    /* The faults have to bite, or the test shows nothing. */
    if (count > 1)
        assert_true(reconnects > 200);
}

static void different_seeds_take_different_courses(void **state)
{
    (void)state;
    size_t reconnects = 0;
    assert_true(run(1001, &reconnects) != run(1002, &reconnects));
}

/* The subscriber's first connection is cut after every number of bytes from the server. */
static void a_subscriber_that_is_cut_at_any_byte_misses_nothing_and_repeats_nothing(void **state)
{
    (void)state;
    enum { FEW = 24 };
    for (uint64_t bytes = 1; bytes < 4000; bytes += bytes < 900 ? 7 : 61) {
        struct sim *sim = sim_new(7);
        struct sim_cluster cluster = {0};
        struct sim_reading readings[FEW];
        struct sim_subscriber subscriber;
        struct sim_writer writer;
        struct vug_subscription_options options = {.parameters = &start_time,
                                                   .parameter_count = 1,
                                                   .token_every_batch = bytes % 2 == 0,
                                                   .max_batch_events = 3};
        prepare(&cluster, sim, "a");
        make_readings(sim, readings, FEW, bytes % 3 != 0);
        /* The next connection to the server is the subscriber's. */
        sim_cut_connection(cluster.client_process.node, cluster.server_process.node, 1,
                           SIM_TO_CONNECTOR, bytes);
        sim_subscriber_start(&subscriber, &cluster, FOUNDING, &options);
        sim_writer_start(&writer, &cluster, "my_region", readings, FEW);
        struct progress progress = {&writer, &subscriber, 1, FEW};
        if (!sim_run_until(sim, is_complete, &progress, 60000000))
            fail_msg(
                "cut after %llu bytes: %zu of %d written, %zu results, %u reconnects, %u failures",
                (unsigned long long)bytes, writer.done, FEW, subscriber.count,
                subscriber.reconnects, subscriber.failures + writer.failures);
        sim_run_until(sim, NULL, NULL, 2000000);
        sim_check_averages(readings, FEW, &subscriber);
        sim_subscriber_stop(&subscriber);
        sim_writer_stop(&writer);
        sim_cluster_stop(&cluster);
        sim_free(sim);
    }
}

/* No mutable globals: three clusters with the same names live in one process and never meet. */
static void three_servers_in_one_process_do_not_meet(void **state)
{
    (void)state;
    static const char *const names[] = {"a", "b", "c"};
    struct sim *sim = sim_new(3);
    struct sim_cluster clusters[3] = {0};
    struct sim_reading readings[3][100];
    struct sim_subscriber subscribers[3];
    struct sim_writer writers[3];
    struct vug_subscription_options options = {.parameters = &start_time, .parameter_count = 1};
    for (unsigned i = 0; i < 3; i++) {
        prepare(&clusters[i], sim, names[i]);
        make_readings(sim, readings[i], 100, i != 1);
        sim_subscriber_start(&subscribers[i], &clusters[i], FOUNDING, &options);
    }
    for (unsigned i = 0; i < 3; i++)
        sim_writer_start(&writers[i], &clusters[i], "my_region", readings[i], 100);
    for (unsigned i = 0; i < 3; i++) {
        struct progress progress = {&writers[i], &subscribers[i], 1, 100};
        assert_true(sim_run_until(sim, is_complete, &progress, 60000000));
    }
    sim_run_until(sim, NULL, NULL, 2000000);
    for (unsigned i = 0; i < 3; i++) {
        sim_check_averages(readings[i], 100, &subscribers[i]);
        sim_subscriber_stop(&subscribers[i]);
        sim_writer_stop(&writers[i]);
        sim_cluster_stop(&clusters[i]);
    }
    sim_free(sim);
}

/* A server that comes back is empty: its subscriber is told, and sees the averages of what is
 * written from then on. */
static void a_restarted_server_is_empty_and_says_so(void **state)
{
    (void)state;
    enum { HALF = 60 };
    struct sim *sim = sim_new(11);
    struct sim_cluster cluster = {0};
    struct sim_reading readings[2 * HALF];
    struct sim_subscriber subscriber;
    struct sim_writer writers[2];
    struct vug_subscription_options options = {.parameters = &start_time, .parameter_count = 1};
    prepare(&cluster, sim, "a");
    make_readings(sim, readings, 2 * HALF, true);
    sim_subscriber_start(&subscriber, &cluster, FOUNDING, &options);
    sim_writer_start(&writers[0], &cluster, "my_region", readings, HALF);
    struct progress progress = {&writers[0], &subscriber, 1, HALF};
    assert_true(sim_run_until(sim, is_complete, &progress, 60000000));
    sim_check_averages(readings, HALF, &subscriber);

    sim_server_crash(&cluster, SIM_CRASH_RESET);
    sim_run_until(sim, NULL, NULL, 500000);
    sim_server_start(&cluster);
    unsigned before = subscriber.subscribed;
    for (int i = 0; i < 600 && subscriber.subscribed == before; i++)
        sim_run_until(sim, NULL, NULL, 100000);
    assert_true(subscriber.subscribed > before);
    sim_run_until(sim, NULL, NULL, 1000000);
    assert_true(subscriber.losses > 0);
    assert_int_equal(subscriber.count, HALF);

    subscriber.count = 0;
    sim_writer_start(&writers[1], &cluster, "my_region", readings + HALF, HALF);
    struct progress second = {&writers[1], &subscriber, 1, HALF};
    assert_true(sim_run_until(sim, is_complete, &second, 60000000));
    sim_check_averages(readings + HALF, HALF, &subscriber);
    sim_subscriber_stop(&subscriber);
    sim_writer_stop(&writers[0]);
    sim_writer_stop(&writers[1]);
    sim_cluster_stop(&cluster);
    sim_free(sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(averages_are_exact_under_faults_and_seeds_repeat),
        cmocka_unit_test(different_seeds_take_different_courses),
        cmocka_unit_test(a_subscriber_that_is_cut_at_any_byte_misses_nothing_and_repeats_nothing),
        cmocka_unit_test(three_servers_in_one_process_do_not_meet),
        cmocka_unit_test(a_restarted_server_is_empty_and_says_so),
    };
    return cmocka_run_group_tests_name("founding", tests, NULL, NULL);
}
