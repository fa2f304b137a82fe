#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "tests/lib/mem_fault.h"
#include "tests/lib/server_fixture.h"

#define TABLE                                                                                      \
    "CREATE TABLE Readings (id STRING, temperature DOUBLE) WITH "                                  \
    "('connector'='geode-region','region'='my_region')"
#define AVERAGE "SELECT id, AVG(temperature) OVER (PARTITION BY id) FROM Readings"
#define FILTER  "SELECT id, temperature FROM Readings WHERE temperature > 20"

enum { IDS = 12, ROWS_MAX = 4000 };

/* What a recomputation says: for each id the averages after each of its rows. All temperatures are
 * dyadic, so sums are exact. */
struct expected {
    double sum[IDS];
    uint32_t count[IDS];
    double averages[IDS][ROWS_MAX];
};

struct test {
    struct server_fixture fixture;
    struct region *region;
    struct cq_instance *instance;
    struct expected *expected;
    uint32_t silent[IDS]; /* rows of each id that were there when the query began */
    uint64_t random;
    uint64_t wall_ms, last_id;
};

static uint32_t next_random(struct test *test, uint32_t below)
{
    test->random = test->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(test->random >> 33) % below;
}

static struct cq_instance *new_instance(struct test *test, const char *sql, enum cq_start start)
{
    struct query_plan *plan = server_fixture_plan(&test->fixture, sql);
    struct cq_instance *instance;
    struct cq_options options = {.sql = slice_text(sql),
                                 .name = slice_text(""),
                                 .owner = slice_text(""),
                                 .plan = plan,
                                 .start = start,
                                 .id = ++test->last_id,
                                 .region = test->region,
                                 .budget = &test->fixture.server.budget};
    assert_int_equal(cq_instance_new(&options, &instance), OK);
    query_plan_unref(plan);
    return instance;
}

/* A turn of the main loop. */
static bool build(struct test *test)
{
    fake_net_turn(test->fixture.net);
    return cq_instance_is_ready(test->instance);
}

/* All rows have come to their groups. */
static void settle(struct test *test)
{
    for (int turns = 0; !build(test); turns++)
        assert_in_range(turns, 0, 1000);
    fake_net_turn(test->fixture.net);
}

static void start_test(struct test *test, uint32_t bucket_count, uint64_t seed)
{
    memset(test, 0, sizeof *test);
    server_fixture_init(&test->fixture);
    test->region = server_fixture_partition(&test->fixture, "my_region", bucket_count);
    server_fixture_table(&test->fixture, "Readings", "my_region", TABLE);
    test->expected = test_calloc(1, sizeof *test->expected);
    test->random = seed;
    test->wall_ms = 1000000;
}

static enum error add_to(struct test *test, struct cq_instance *instance, uint32_t b)
{
    struct bucket *bucket = &test->region->buckets[b];
    bucket_lock(bucket);
    enum error error = cq_add_here_locked(bucket, instance, test->wall_ms);
    bucket_unlock(bucket);
    return error;
}

/* In every bucket, until one has no memory for it. */
static enum error add(struct test *test, struct cq_instance *instance)
{
    enum error error = OK;
    for (uint32_t b = 0; b < test->region->bucket_count && error == OK; b++)
        error = add_to(test, instance, b);
    return error;
}

static void drop(struct test *test, const struct cq_instance *instance)
{
    for (uint32_t b = 0; b < test->region->bucket_count; b++) {
        bucket_lock(&test->region->buckets[b]);
        cq_drop_here_locked(&test->region->buckets[b], instance->id, test->wall_ms);
        bucket_unlock(&test->region->buckets[b]);
    }
}

static void begin_query(struct test *test, const char *sql, enum cq_start start)
{
    test->instance = new_instance(test, sql, start);
    memcpy(test->silent, test->expected->count, sizeof test->silent);
    assert_int_equal(add(test, test->instance), OK);
}

static void end_test(struct test *test)
{
    if (test->instance != NULL) {
        drop(test, test->instance);
        cq_instance_unref(test->instance);
    }
    test_free(test->expected);
    server_fixture_fini(&test->fixture);
}

static void expect(struct test *test, uint32_t id, double temperature)
{
    struct expected *expected = test->expected;
    expected->sum[id] += temperature;
    assert_in_range(expected->count[id], 0, ROWS_MAX - 1);
    expected->count[id]++;
    expected->averages[id][expected->count[id] - 1] = expected->sum[id] / expected->count[id];
}

static enum error put_text(struct test *test, const char *key, const char *json,
                           struct bucket **bucket)
{
    uint8_t stored_key[64], stored_json[200];
    struct value key_value = {.type = VALUE_STRING, .bytes = slice_text(key)};
    struct value value = {.type = VALUE_JSON, .bytes = slice_text(json)};
    struct slice stored =
        slice_of(stored_key, (size_t)(value_store(&key_value, stored_key) - stored_key));
    struct bucket_key bucket_key = {stored, table_hash(stored, test->region->hash_seed)};
    *bucket = region_bucket(test->region, &key_value);
    size_t len = (size_t)(value_store(&value, stored_json) - stored_json);
    return bucket_put(*bucket, &bucket_key, slice_of(stored_json, len), test->wall_ms++);
}

/* A reading of an id, under its own key or under the id. */
static enum error try_reading(struct test *test, uint32_t id, double temperature, uint32_t reading,
                              bool own_key)
{
    char key[32], json[80];
    struct bucket *bucket;
    snprintf(key, sizeof key, own_key ? "r%u" : "s%u", own_key ? reading : id);
    snprintf(json, sizeof json, "{\"id\":\"s%u\",\"temperature\":%g}", id, temperature);
    return put_text(test, key, json, &bucket);
}

static void put_reading(struct test *test, uint32_t reading, bool own_key)
{
    uint32_t id = next_random(test, IDS);
    double temperature = (double)next_random(test, 400) / 8 - 10;
    assert_int_equal(try_reading(test, id, temperature, reading, own_key), OK);
    expect(test, id, temperature);
}

/* Some rows are on their way to their groups when others follow. */
static void put_elsewhere(struct test *test, uint32_t reading)
{
    put_reading(test, reading, true);
    if (next_random(test, 8) == 0)
        fake_net_turn(test->fixture.net);
}

struct read_event {
    uint32_t id;
    double number;
    Pb__Kind kind;
    struct ring_position position;
};

static void decode(const struct ring_event *event, uint32_t bucket, struct read_event *read)
{
    Pb__CqEvent *message = pb__cq_event__unpack(NULL, event->encoded.len, event->encoded.data);
    char id[16] = "";
    assert_non_null(message);
    assert_int_equal(message->bucket, bucket);
    assert_int_equal(message->seq, event->position.seq);
    assert_int_equal(message->sub, event->position.sub);
    assert_int_equal(message->kind, event->kind);
    assert_int_equal(event->encoded.data[CQ_EVENT_KIND_OFFSET], event->kind);
    assert_true(message->ingest_time_ms >= 1000000);
    *read = (struct read_event){.kind = message->kind, .position = event->position};
    if (message->n_value == 2) {
        snprintf(id, sizeof id, "%.*s", SLICE_FMT(message_slice(message->value[0]->string_result)));
        assert_int_equal(sscanf(id, "s%u", &read->id), 1);
        read->number = message->value[1]->double_result;
    }
    pb__cq_event__free_unpacked(message, NULL);
}

typedef void event_fn(void *arg, uint32_t bucket, const struct read_event *event);

static uint32_t each_event(struct test *test, struct cq_instance *instance, event_fn *visit,
                           void *arg)
{
    uint32_t events = 0;
    for (uint32_t b = 0; b < test->region->bucket_count; b++) {
        struct ring *ring = &instance->buckets[b].ring;
        struct ring_position after = ring->floor;
        struct ring_hint hint = {0};
        struct ring_event event;
        struct read_event read;
        while (ring_next(ring, after, UINT64_MAX, &hint, &event)) {
            decode(&event, b, &read);
            visit(arg, b, &read);
            after = event.position;
            events++;
        }
    }
    return events;
}

struct comparison {
    const struct expected *expected;
    uint32_t seen[IDS];
    uint32_t bucket[IDS]; /* + 1 */
};

static void compare(void *arg, uint32_t bucket, const struct read_event *event)
{
    struct comparison *comparison = arg;
    uint32_t id = event->id;
    assert_int_equal(event->kind, PB__KIND__INSERT);
    assert_true(comparison->seen[id] < comparison->expected->count[id]);
    assert_true(event->number == comparison->expected->averages[id][comparison->seen[id]]);
    comparison->seen[id]++;
    assert_true(comparison->bucket[id] == 0 || comparison->bucket[id] == bucket + 1);
    comparison->bucket[id] = bucket + 1;
}

/* Every row since the query began has given its average, in the order of the puts. */
static void check_events(struct test *test)
{
    struct comparison comparison = {.expected = test->expected};
    memcpy(comparison.seen, test->silent, sizeof comparison.seen);
    each_event(test, test->instance, compare, &comparison);
    for (uint32_t id = 0; id < IDS; id++)
        assert_int_equal(comparison.seen[id], test->expected->count[id]);
}

static enum error on_state_row(void *arg, enum query_kind kind, const struct query_row *row)
{
    struct comparison *comparison = arg;
    struct value id_value, average;
    struct arena arena;
    char text[16];
    uint32_t id;
    (void)kind;
    arena_init(&arena, 1 << 20);
    assert_int_equal(query_value_to_wire(&row->values[0], &arena, &id_value), OK);
    assert_int_equal(query_value_to_wire(&row->values[1], &arena, &average), OK);
    snprintf(text, sizeof text, "%.*s", SLICE_FMT(id_value.bytes));
    assert_int_equal(sscanf(text, "s%u", &id), 1);
    assert_true(average.float64 ==
                comparison->expected->averages[id][comparison->expected->count[id] - 1]);
    comparison->seen[id]++;
    arena_fini(&arena);
    return OK;
}

/* The state holds each id once, with the average of everything. */
static void check_state(struct test *test)
{
    struct comparison comparison = {.expected = test->expected};
    struct arena arena;
    arena_init(&arena, 1 << 20);
    for (uint32_t b = 0; b < test->region->bucket_count; b++)
        assert_int_equal(
            query_state_each(test->instance->buckets[b].state, &arena, on_state_row, &comparison),
            OK);
    arena_fini(&arena);
    for (uint32_t id = 0; id < IDS; id++)
        assert_int_equal(comparison.seen[id], test->expected->count[id] > 0);
}

static void averages_equal_a_recomputation_when_the_key_is_the_id(void **state)
{
    (void)state;
    long live = mem_fault_live();
    struct test test;
    start_test(&test, 7, 1);
    begin_query(&test, AVERAGE, CQ_START_SNAPSHOT);
    settle(&test);
    uint64_t records = 0;
    for (uint32_t i = 0; i < 1500; i++)
        put_reading(&test, i, false);
    check_events(&test);
    check_state(&test);
    for (uint32_t b = 0; b < 7; b++)
        records += test.region->buckets[b].last_seq;
    assert_int_equal(records, 1500 + 2 * 7); /* no row went anywhere else */
    end_test(&test);
    assert_int_equal(mem_fault_live(), live);
}

static void averages_equal_a_recomputation_when_rows_lie_elsewhere_than_their_group(void **state)
{
    (void)state;
    long live = mem_fault_live();
    struct test test;
    start_test(&test, 7, 2);
    begin_query(&test, AVERAGE, CQ_START_SNAPSHOT);
    uint64_t records = 0;
    for (uint32_t i = 0; i < 1500; i++)
        put_elsewhere(&test, i);
    settle(&test);
    check_events(&test);
    check_state(&test);
    for (uint32_t b = 0; b < 7; b++)
        records += test.region->buckets[b].last_seq;
    assert_true(records > 1500 + 2 * 7 + 1000);
    end_test(&test);
    assert_int_equal(mem_fault_live(), live);
}

static void what_was_there_is_counted_silently(void **state)
{
    (void)state;
    long live = mem_fault_live();
    for (uint32_t round = 0; round < 60; round++) {
        bool own_key = round % 2 == 0;
        struct test test;
        start_test(&test, 1 + round % 6, round + 10);
        /* Few entries, so that a bucket's queue is often worked off by rows that come from others.
         */
        for (uint32_t i = 0; i < 1 + round % 20 && own_key; i++)
            put_reading(&test, i, true);
        for (uint32_t id = 0; id < round % IDS && !own_key; id++) {
            assert_int_equal(try_reading(&test, id, id + 0.5, id, false), OK);
            expect(&test, id, id + 0.5);
        }
        begin_query(&test, AVERAGE, CQ_START_SNAPSHOT);
        for (int slices = 0; !build(&test); slices++)
            assert_in_range(slices, 0, 1000);
        check_state(&test);
        uint32_t events = 0;
        for (uint32_t b = 0; b < test.region->bucket_count; b++)
            events += test.instance->buckets[b].ring.oldest != NULL;
        assert_int_equal(events, 0);
        end_test(&test);
    }
    assert_int_equal(mem_fault_live(), live);
}

static void puts_that_go_on_while_the_start_is_read_are_counted_once_and_in_order(void **state)
{
    (void)state;
    long live = mem_fault_live();
    for (uint32_t round = 0; round < 10; round++) {
        bool own_key = round % 2 == 0;
        struct test test;
        uint32_t reading = 0;
        start_test(&test, 5, round);
        if (own_key) {
            while (reading < 700)
                put_reading(&test, reading++, true);
        } else {
            for (uint32_t id = 0; id < IDS; id++) {
                assert_int_equal(try_reading(&test, id, id + 0.25, id, false), OK);
                expect(&test, id, id + 0.25);
            }
        }
        begin_query(&test, AVERAGE, CQ_START_SNAPSHOT);
        assert_false(cq_instance_is_ready(test.instance));
        bool ready = false;
        while (!ready) {
            for (uint32_t i = 0; i < 1 + next_random(&test, 40); i++)
                put_reading(&test, reading++, own_key);
            ready = build(&test);
        }
        for (uint32_t i = 0; i < 100; i++)
            put_reading(&test, reading++, own_key);
        settle(&test);
        check_events(&test);
        check_state(&test);
        for (uint32_t b = 0; b < 5; b++)
            assert_int_equal(test.instance->buckets[b].input_count, 0);
        end_test(&test);
    }
    assert_int_equal(mem_fault_live(), live);
}

static uint32_t bucket_of_text(const struct test *test, char prefix, uint32_t number)
{
    char text[32];
    snprintf(text, sizeof text, "%c%u", prefix, number);
    struct value value = {.type = VALUE_STRING, .bytes = slice_text(text)};
    return region_bucket(test->region, &value)->id;
}

/* Bucket 0 still reads what was there when groups in bucket 1 take rows: its own new rows come
 * behind that, and those of bucket 1 that were put after them wait. */
static void rows_wait_for_the_start_of_the_bucket_of_earlier_ones(void **state)
{
    (void)state;
    long live = mem_fault_live();
    enum { BEFORE = 24000, AFTER = 16000 };
    struct test test;
    uint32_t id = 0;
    start_test(&test, 2, 1);
    while (bucket_of_text(&test, 's', id) != 1)
        id++;
    for (uint32_t reading = 0, put = 0; put < BEFORE; reading++)
        if (bucket_of_text(&test, 'r', reading) == 0) {
            assert_int_equal(try_reading(&test, id, 1, reading, true), OK);
            put++;
        }
    begin_query(&test, AVERAGE, CQ_START_SNAPSHOT);
    for (uint32_t i = 0; i < AFTER; i++)
        assert_int_equal(try_reading(&test, id, i, 1000000 + i, true), OK);
    settle(&test);
    struct ring *ring = &test.instance->buckets[1].ring;
    struct ring_position after = ring->floor;
    struct ring_hint hint = {0};
    struct ring_event event;
    struct read_event read;
    double sum = BEFORE;
    for (uint32_t i = 0; i < AFTER; i++, after = event.position) {
        assert_true(ring_next(ring, after, UINT64_MAX, &hint, &event));
        decode(&event, 1, &read);
        sum += i;
        assert_true(read.number == sum / (BEFORE + i + 1));
    }
    end_test(&test);
    assert_int_equal(mem_fault_live(), live);
}

static void a_start_with_the_latest_begins_empty(void **state)
{
    (void)state;
    struct test test;
    start_test(&test, 5, 3);
    for (uint32_t i = 0; i < 50; i++)
        assert_int_equal(try_reading(&test, i % IDS, 100, i, true), OK);
    begin_query(&test, AVERAGE, CQ_START_LATEST);
    assert_true(cq_instance_is_ready(test.instance));
    for (uint32_t i = 0; i < 200; i++)
        put_elsewhere(&test, i);
    settle(&test);
    check_events(&test);
    check_state(&test);
    end_test(&test);
}

static void a_row_that_is_faster_than_the_start_of_its_bucket_is_counted(void **state)
{
    (void)state;
    long live = mem_fault_live();
    struct test test;
    start_test(&test, 6, 4);
    for (uint32_t i = 0; i < 60; i++)
        put_reading(&test, i, true);
    test.instance = new_instance(&test, AVERAGE, CQ_START_SNAPSHOT);
    /* As with puts of other threads between the records of one start. */
    for (uint32_t b = 0; b < 6; b++) {
        assert_int_equal(add_to(&test, test.instance, b), OK);
        for (uint32_t i = 0; i < 30; i++) {
            /* Only into buckets that have begun: a put into another one is what was there at its
             * start. */
            put_reading(&test, 1000 * (b + 1) + i, true);
        }
    }
    settle(&test);
    check_state(&test);
    end_test(&test);
    assert_int_equal(mem_fault_live(), live);
}

static void early_rows_of_a_start_that_failed_are_freed(void **state)
{
    (void)state;
    long live = mem_fault_live();
    struct test test;
    start_test(&test, 6, 4);
    test.instance = new_instance(&test, AVERAGE, CQ_START_SNAPSHOT);
    assert_int_equal(add_to(&test, test.instance, 0), OK);
    for (uint32_t i = 0; i < 60; i++)
        put_reading(&test, i, true);
    end_test(&test);
    assert_int_equal(mem_fault_live(), live);
}

static void ending_while_it_builds_ends_the_building(void **state)
{
    (void)state;
    long live = mem_fault_live();
    struct test test;
    start_test(&test, 5, 3);
    for (uint32_t i = 0; i < 2000; i++)
        put_reading(&test, i, true);
    begin_query(&test, AVERAGE, CQ_START_SNAPSHOT);
    assert_false(cq_instance_build(test.instance, 0));
    drop(&test, test.instance);
    for (int turns = 0; turns < 10; turns++)
        assert_false(build(&test));
    for (uint32_t i = 0; i < 20; i++)
        put_reading(&test, 3000 + i, true);
    end_test(&test);
    assert_int_equal(mem_fault_live(), live);
}

static void building_rests_while_other_buckets_have_not_begun(void **state)
{
    (void)state;
    long live = mem_fault_live();
    struct test test;
    start_test(&test, 6, 4);
    for (uint32_t i = 0; i < 100; i++)
        put_reading(&test, i, true);
    test.instance = new_instance(&test, AVERAGE, CQ_START_SNAPSHOT);
    assert_int_equal(add_to(&test, test.instance, 0), OK);
    assert_true(cq_instance_build(test.instance, UINT32_MAX));
    assert_false(cq_instance_is_ready(test.instance));
    end_test(&test);
    assert_int_equal(mem_fault_live(), live);
}

static void changes_wait_while_too_many_rows_lie_there(void **state)
{
    (void)state;
    long live = mem_fault_live();
    struct test test;
    start_test(&test, 6, 4);
    begin_query(&test, AVERAGE, CQ_START_SNAPSHOT);
    struct cq_bucket *cqb = &test.instance->buckets[0];
    size_t bytes = cqb->rows.bytes;
    assert_true(cq_takes_changes_locked(cqb->bucket));
    cqb->rows.bytes = LIMIT_ROWS_BYTES / 2 + 1;
    assert_false(cq_takes_changes_locked(cqb->bucket));
    assert_true(cq_takes_changes_locked(test.instance->buckets[1].bucket));
    cqb->crowded_ticks = LIMIT_CROWDED_TICKS; /* nobody takes them */
    assert_true(cq_takes_changes_locked(cqb->bucket));
    cqb->crowded_ticks = 0;
    atomic_store(&test.instance->failed, true); /* it ends, its rows with it */
    assert_true(cq_takes_changes_locked(cqb->bucket));
    cqb->rows.bytes = bytes;
    end_test(&test);
    assert_int_equal(mem_fault_live(), live);
}

struct tail {
    uint64_t first_seq, last_seq;
    uint32_t events;
};

static void measure(void *arg, uint32_t bucket, const struct read_event *event)
{
    struct tail *tail = (struct tail *)arg + bucket;
    if (tail->events++ == 0)
        tail->first_seq = event->position.seq;
    else
        assert_int_equal(event->position.seq, tail->last_seq + 1);
    tail->last_seq = event->position.seq;
}

static void outputs_beyond_the_budget_raise_the_floor(void **state)
{
    (void)state;
    struct test test;
    struct tail tails[3] = {0};
    start_test(&test, 3, 5);
    test.fixture.server.budget.ring_bytes_max = 20000;
    begin_query(&test, AVERAGE, CQ_START_SNAPSHOT);
    settle(&test);
    for (uint32_t i = 0; i < 3000; i++) {
        put_reading(&test, i, false);
        uint64_t bytes = 0;
        for (uint32_t b = 0; b < 3; b++)
            bytes += test.instance->buckets[b].ring.bytes;
        assert_int_equal(bytes, atomic_load(&test.instance->ring_bytes));
        /* The budget, and for each bucket the block that is being filled. */
        assert_in_range(bytes, 0, 20000 + 3 * 12000);
    }
    each_event(&test, test.instance, measure, tails);
    for (uint32_t b = 0; b < 3; b++) {
        const struct ring *ring = &test.instance->buckets[b].ring;
        if (test.region->buckets[b].last_seq < 1000)
            continue;
        assert_true(ring->floor.seq > 2);
        assert_int_equal(tails[b].first_seq,
                         ring->floor.seq + 1); /* nothing between the floor and what is kept */
        assert_int_equal(tails[b].last_seq, test.region->buckets[b].last_seq);
    }
    cq_instance_expire(test.instance, loop_wall_ms(test.fixture.server.loop) + test.wall_ms +
                                          LIMIT_RING_RETENTION_MS + 1);
    assert_int_equal(atomic_load(&test.instance->ring_bytes), 0);
    check_state(&test);
    end_test(&test);
    assert_int_equal(atomic_load(&test.fixture.server.budget.instance_count), 0);
}

struct found {
    uint32_t bucket;
    uint64_t seq;
    bool is_there;
};

static void find(void *arg, uint32_t bucket, const struct read_event *event)
{
    struct found *found = arg;
    found->is_there |= bucket == found->bucket && event->position.seq == found->seq;
}

static void a_failed_allocation_never_fails_a_put_and_never_loses_an_output_silently(void **state)
{
    (void)state;
    long live = mem_fault_live();
    uint32_t failures = 0, floors = 0;
    for (unsigned n = 1; n < 40; n++) {
        for (uint32_t before = 0; before < 40; before += 13) {
            bool own_key = n % 2 == 0;
            struct test test;
            start_test(&test, 3, n);
            begin_query(&test, AVERAGE, CQ_START_SNAPSHOT);
            settle(&test);
            for (uint32_t i = 0; i < before; i++)
                put_reading(&test, i, own_key);
            uint32_t entries = 0;
            for (uint32_t b = 0; b < 3; b++)
                entries += (uint32_t)test.region->buckets[b].table.entry_count;
            mem_fault_fail_at(n);
            enum error error = try_reading(&test, 11, 8, 500, own_key);
            mem_fault_fail_at(0);
            fake_net_turn(test.fixture.net);
            assert_true(error == OK || error == ERROR_MEMORY);
            uint32_t now = 0;
            struct found found = {0};
            bool gap = false;
            for (uint32_t b = 0; b < 3; b++) {
                struct bucket *bucket = &test.region->buckets[b];
                now += (uint32_t)bucket->table.entry_count;
                gap |=
                    test.instance->buckets[b].ring.floor.seq > test.instance->buckets[b].added_seq;
            }
            struct value id = {.type = VALUE_STRING, .bytes = slice_text("s11")};
            found.bucket = region_bucket(test.region, &id)->id;
            found.seq = region_bucket(test.region, &id)->last_seq;
            if (error != OK) {
                assert_int_equal(now, entries);
                assert_false(atomic_load(&test.instance->failed));
                assert_false(gap);
            } else if (!atomic_load(&test.instance->failed) && !gap) {
                each_event(&test, test.instance, find, &found);
                assert_true(found.is_there);
            } else {
                failures += atomic_load(&test.instance->failed);
                floors += gap;
            }
            end_test(&test);
        }
    }
    assert_true(failures > 0);
    assert_true(floors > 0);
    assert_int_equal(mem_fault_live(), live);
}

static void a_start_without_memory_begins_nothing_there(void **state)
{
    (void)state;
    struct test test;
    start_test(&test, 4, 6);
    for (uint32_t i = 0; i < 40; i++)
        put_reading(&test, i, true);
    long live = mem_fault_live();
    enum error error = ERROR_MEMORY;
    for (unsigned n = 1; error != OK; n++) {
        test.instance = new_instance(&test, AVERAGE, CQ_START_SNAPSHOT);
        mem_fault_fail_at(n);
        error = add(&test, test.instance);
        mem_fault_fail_at(0);
        if (error != OK) {
            assert_int_equal(error, ERROR_MEMORY);
            assert_null(test.region->buckets[3].cqs);
            drop(&test, test.instance);
            for (uint32_t b = 0; b < 4; b++)
                assert_null(test.region->buckets[b].cqs);
            rows_tick(&test.fixture.server, 0);
            cq_instance_unref(test.instance);
            assert_int_equal(mem_fault_live(), live);
        }
    }
    settle(&test);
    check_state(&test);
    end_test(&test);
}

static void an_instance_that_cannot_be_made_leaves_nothing(void **state)
{
    (void)state;
    struct test test;
    start_test(&test, 4, 6);
    struct query_plan *plan = server_fixture_plan(&test.fixture, AVERAGE);
    struct cq_options options = {
        .plan = plan, .region = test.region, .budget = &test.fixture.server.budget};
    long live = mem_fault_live();
    enum error error = ERROR_MEMORY;
    for (unsigned n = 1; error != OK; n++) {
        mem_fault_fail_at(n);
        error = cq_instance_new(&options, &test.instance);
        mem_fault_fail_at(0);
        if (error != OK)
            assert_int_equal(mem_fault_live(), live);
    }
    cq_instance_unref(test.instance);
    test.instance = NULL;
    assert_int_equal(mem_fault_live(), live);
    assert_int_equal(atomic_load(&test.fixture.server.budget.instance_count), 0);
    query_plan_unref(plan);
    end_test(&test);
}

static void two_instances_do_not_disturb_each_other(void **state)
{
    (void)state;
    long live = mem_fault_live();
    struct test test;
    start_test(&test, 5, 7);
    begin_query(&test, AVERAGE, CQ_START_LATEST);
    struct cq_instance *second = new_instance(&test, AVERAGE, CQ_START_LATEST);
    for (uint32_t i = 0; i < 100; i++)
        put_elsewhere(&test, i);
    fake_net_turn(test.fixture.net);
    assert_int_equal(add(&test, second), OK);
    for (uint32_t i = 100; i < 200; i++)
        put_elsewhere(&test, i);
    fake_net_turn(test.fixture.net);
    assert_int_equal(atomic_load(&test.instance->events), 200);
    assert_int_equal(atomic_load(&second->events), 100);
    assert_int_equal(atomic_load(&second->rows_in), 100);
    check_events(&test);
    drop(&test, second);
    for (uint32_t i = 200; i < 300; i++)
        put_elsewhere(&test, i);
    fake_net_turn(test.fixture.net);
    assert_int_equal(atomic_load(&second->events), 100);
    check_events(&test);
    cq_instance_unref(second);
    end_test(&test);
    assert_int_equal(mem_fault_live(), live);
}

static void check_filtered(void *arg, uint32_t bucket, const struct read_event *event)
{
    (void)bucket;
    assert_true(event->number > 20);
    assert_int_equal(event->kind, PB__KIND__INSERT);
    assert_int_equal(event->position.sub, 0);
    ++*(uint32_t *)arg;
}

static void a_filter_has_no_state_and_lets_rows_through_as_they_come(void **state)
{
    (void)state;
    struct test test;
    uint32_t seen = 0, warm = 0;
    start_test(&test, 5, 8);
    for (uint32_t i = 0; i < 40; i++)
        assert_int_equal(try_reading(&test, 1, 30, i, true),
                         OK); /* for a snapshot, not for the ring */
    begin_query(&test, FILTER, CQ_START_SNAPSHOT);
    assert_true(cq_instance_is_ready(test.instance));
    assert_null(test.instance->buckets[0].state);
    for (uint32_t i = 0; i < 100; i++) {
        warm += i % 3 == 0;
        assert_int_equal(try_reading(&test, i % IDS, i % 3 == 0 ? 20.125 : 20, i, true), OK);
    }
    each_event(&test, test.instance, check_filtered, &seen);
    assert_int_equal(seen, warm);
    end_test(&test);
}

static void a_row_that_does_not_fit_is_an_error_event_and_a_put_all_the_same(void **state)
{
    (void)state;
    struct test test;
    struct bucket *bucket;
    struct ring_hint hint = {0};
    struct ring_event event;
    start_test(&test, 5, 8);
    begin_query(&test, AVERAGE, CQ_START_SNAPSHOT);
    assert_int_equal(put_text(&test, "bad", "{\"id\":\"s1\",\"temperature\":\"hot\"}", &bucket),
                     OK);
    assert_int_equal(atomic_load(&test.instance->errors), 1);
    struct ring *ring = &test.instance->buckets[bucket->id].ring;
    assert_true(ring_next(ring, ring->floor, UINT64_MAX, &hint, &event));
    Pb__CqEvent *message = pb__cq_event__unpack(NULL, event.encoded.len, event.encoded.data);
    assert_int_equal(message->kind, PB__KIND__ERROR);
    assert_int_equal(message->n_value, 0);
    assert_true(message->error.len > 0);
    assert_true(slice_equal(message_slice(message->key->string_result), slice_text("bad")));
    pb__cq_event__free_unpacked(message, NULL);
    put_reading(&test, 1, true);
    settle(&test);
    check_state(&test);
    end_test(&test);
}

enum { WRITERS = 3, WRITER_ROWS = 1500 };

struct writer_thread {
    pthread_t thread;
    struct test *test;
    uint32_t index;
    bool failed;
};

static double temperature_of(uint32_t writer, uint32_t row)
{
    return (double)((writer * 7919 + row * 104729) % 400) / 8;
}

static void *write_rows(void *arg)
{
    struct writer_thread *writer = arg;
    for (uint32_t i = 0; i < WRITER_ROWS; i++) {
        uint8_t stored_key[32], stored_json[96];
        char key[16], json[80];
        snprintf(key, sizeof key, "w%u-%u", writer->index, i);
        snprintf(json, sizeof json, "{\"id\":\"s%u\",\"temperature\":%g}", i % IDS,
                 temperature_of(writer->index, i));
        struct value key_value = {.type = VALUE_STRING, .bytes = slice_text(key)};
        struct value value = {.type = VALUE_JSON, .bytes = slice_text(json)};
        struct slice stored =
            slice_of(stored_key, (size_t)(value_store(&key_value, stored_key) - stored_key));
        struct bucket_key bucket_key = {stored,
                                        table_hash(stored, writer->test->region->hash_seed)};
        size_t len = (size_t)(value_store(&value, stored_json) - stored_json);
        struct bucket *bucket = region_bucket(writer->test->region, &key_value);
        writer->failed |=
            bucket_put(bucket, &bucket_key, slice_of(stored_json, len), 2000000) != OK;
    }
    return NULL;
}

static void rows_of_many_threads_are_counted_once_while_a_query_starts(void **state)
{
    (void)state;
    long live = mem_fault_live();
    for (uint32_t round = 0; round < 4; round++) {
        struct test test;
        struct writer_thread writers[WRITERS];
        start_test(&test, 6, round);
        for (uint32_t w = 0; w < WRITERS; w++) {
            writers[w] = (struct writer_thread){.test = &test, .index = w};
            assert_int_equal(pthread_create(&writers[w].thread, NULL, write_rows, &writers[w]), 0);
        }
        begin_query(&test, AVERAGE, CQ_START_SNAPSHOT);
        while (!build(&test))
            continue;
        for (uint32_t w = 0; w < WRITERS; w++) {
            assert_int_equal(pthread_join(writers[w].thread, NULL), 0);
            assert_false(writers[w].failed);
            for (uint32_t i = 0; i < WRITER_ROWS; i++)
                expect(&test, i % IDS, temperature_of(w, i));
        }
        settle(&test);
        check_state(&test); /* sums are exact, so their order does not count */
        end_test(&test);
    }
    assert_int_equal(mem_fault_live(), live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(averages_equal_a_recomputation_when_the_key_is_the_id),
        cmocka_unit_test(averages_equal_a_recomputation_when_rows_lie_elsewhere_than_their_group),
        cmocka_unit_test(what_was_there_is_counted_silently),
        cmocka_unit_test(puts_that_go_on_while_the_start_is_read_are_counted_once_and_in_order),
        cmocka_unit_test(rows_wait_for_the_start_of_the_bucket_of_earlier_ones),
        cmocka_unit_test(a_start_with_the_latest_begins_empty),
        cmocka_unit_test(a_row_that_is_faster_than_the_start_of_its_bucket_is_counted),
        cmocka_unit_test(early_rows_of_a_start_that_failed_are_freed),
        cmocka_unit_test(ending_while_it_builds_ends_the_building),
        cmocka_unit_test(building_rests_while_other_buckets_have_not_begun),
        cmocka_unit_test(changes_wait_while_too_many_rows_lie_there),
        cmocka_unit_test(outputs_beyond_the_budget_raise_the_floor),
        cmocka_unit_test(a_failed_allocation_never_fails_a_put_and_never_loses_an_output_silently),
        cmocka_unit_test(a_start_without_memory_begins_nothing_there),
        cmocka_unit_test(an_instance_that_cannot_be_made_leaves_nothing),
        cmocka_unit_test(two_instances_do_not_disturb_each_other),
        cmocka_unit_test(a_filter_has_no_state_and_lets_rows_through_as_they_come),
        cmocka_unit_test(rows_of_many_threads_are_counted_once_while_a_query_starts),
        cmocka_unit_test(a_row_that_does_not_fit_is_an_error_event_and_a_put_all_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
