/* The checks of the simulation, on histories made by hand: what is good passes, what is bad is
 * found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/sim/ledger.h"
#include "tests/sim/linear.h"
#include "tests/sim/sim_impl.h"
#include "tests/sim/watch.h"

enum { BUDGET = 3000000 };

#define PUT(from, to, v)                                                                           \
    {                                                                                              \
        .kind = LINEAR_PUT, .called = (from), .answered = (to), .value = (v)                       \
    }
#define GET(from, to, s)                                                                           \
    {                                                                                              \
        .kind = LINEAR_GET, .called = (from), .answered = (to), .seen = (s)                        \
    }
#define REMOVE(from, to)                                                                           \
    {                                                                                              \
        .kind = LINEAR_REMOVE, .called = (from), .answered = (to)                                  \
    }
#define ABSENT(from, to, v, s)                                                                     \
    {                                                                                              \
        .kind = LINEAR_PUT_IF_ABSENT, .called = (from), .answered = (to), .value = (v),            \
        .seen = (s)                                                                                \
    }
#define CHECK(ops) linear_check(ops, sizeof(ops) / sizeof *(ops), BUDGET, NULL)

static void one_after_the_other_reads_see_the_last_write(void **state)
{
    (void)state;
    struct linear_op good[] = {PUT(1, 2, 7), GET(3, 4, 7),  PUT(5, 6, 8),
                               GET(7, 8, 8), REMOVE(9, 10), GET(11, 12, 0)};
    struct linear_op stale[] = {PUT(1, 2, 7), PUT(3, 4, 8), GET(5, 6, 7)};
    struct linear_op lost[] = {PUT(1, 2, 7), GET(3, 4, 0)};
    struct linear_op invented[] = {PUT(1, 2, 7), GET(3, 4, 9)};
    struct linear_op undead[] = {PUT(1, 2, 7), REMOVE(3, 4), GET(5, 6, 7)};
    assert_int_equal(CHECK(good), LINEAR_OK);
    assert_int_equal(CHECK(stale), LINEAR_BROKEN);
    assert_int_equal(CHECK(lost), LINEAR_BROKEN);
    assert_int_equal(CHECK(invented), LINEAR_BROKEN);
    assert_int_equal(CHECK(undead), LINEAR_BROKEN);
}

static void what_overlaps_may_happen_in_either_order(void **state)
{
    (void)state;
    struct linear_op either[] = {PUT(1, 10, 7), PUT(2, 9, 8), GET(11, 12, 7)};
    struct linear_op other[] = {PUT(1, 10, 7), PUT(2, 9, 8), GET(11, 12, 8)};
    struct linear_op both[] = {PUT(1, 10, 7), PUT(2, 9, 8), GET(11, 12, 8), GET(13, 14, 7)};
    struct linear_op during[] = {PUT(1, 10, 7), GET(2, 3, 0), GET(4, 5, 7), GET(6, 7, 7)};
    struct linear_op back[] = {PUT(1, 10, 7), GET(2, 3, 7), GET(4, 5, 0)};
    assert_int_equal(CHECK(either), LINEAR_OK);
    assert_int_equal(CHECK(other), LINEAR_OK);
    assert_int_equal(CHECK(both), LINEAR_BROKEN);
    assert_int_equal(CHECK(during), LINEAR_OK);
    assert_int_equal(CHECK(back), LINEAR_BROKEN);
}

static void put_if_absent_stores_only_into_absence(void **state)
{
    (void)state;
    struct linear_op good[] = {ABSENT(1, 2, 7, 0), ABSENT(3, 4, 8, 7), REMOVE(5, 6),
                               ABSENT(7, 8, 9, 0), GET(9, 10, 9)};
    struct linear_op twice[] = {ABSENT(1, 2, 7, 0), ABSENT(3, 4, 8, 0)};
    struct linear_op race[] = {ABSENT(1, 5, 7, 0), ABSENT(2, 6, 8, 0)};
    struct linear_op unseen[] = {PUT(1, 2, 7), ABSENT(3, 4, 8, 6)};
    assert_int_equal(CHECK(good), LINEAR_OK);
    assert_int_equal(CHECK(twice), LINEAR_BROKEN);
    assert_int_equal(CHECK(race), LINEAR_BROKEN);
    assert_int_equal(CHECK(unseen), LINEAR_BROKEN);
}

static void an_open_operation_happens_late_or_never_but_once(void **state)
{
    (void)state;
    struct linear_op never[] = {PUT(1, 2, 7), PUT(3, LINEAR_OPEN, 8), GET(4, 5, 7)};
    struct linear_op late[] = {PUT(1, 2, 7), PUT(3, LINEAR_OPEN, 8), GET(4, 5, 7), GET(6, 7, 8)};
    struct linear_op twice[] = {PUT(1, LINEAR_OPEN, 8), GET(2, 3, 8), PUT(4, 5, 9), GET(6, 7, 9),
                                GET(8, 9, 8)};
    struct linear_op early[] = {GET(1, 2, 8), PUT(3, LINEAR_OPEN, 8)};
    struct linear_op removal[] = {PUT(1, 2, 7), REMOVE(3, LINEAR_OPEN), GET(4, 5, 7), GET(6, 7, 0),
                                  GET(8, 9, 0)};
    struct linear_op return_of[] = {PUT(1, 2, 7), REMOVE(3, LINEAR_OPEN), GET(4, 5, 0),
                                    GET(6, 7, 7)};
    struct linear_op absent[] = {ABSENT(1, LINEAR_OPEN, 7, 0), GET(2, 3, 0), GET(4, 5, 7)};
    assert_int_equal(CHECK(never), LINEAR_OK);
    assert_int_equal(CHECK(late), LINEAR_OK);
    assert_int_equal(CHECK(twice), LINEAR_BROKEN);
    assert_int_equal(CHECK(early), LINEAR_BROKEN);
    assert_int_equal(CHECK(removal), LINEAR_OK);
    assert_int_equal(CHECK(return_of), LINEAR_BROKEN);
    assert_int_equal(CHECK(absent), LINEAR_OK);
}

static void a_session_keeps_the_order_of_its_calls(void **state)
{
    (void)state;
    struct linear_op free_order[] = {PUT(1, 10, 7), PUT(2, 11, 8), GET(12, 13, 7)};
    struct linear_op ordered[] = {PUT(1, 10, 7), PUT(2, 11, 8), GET(12, 13, 7)};
    struct linear_op asked_again[] = {GET(1, 10, 8), PUT(2, 11, 8)};
    struct linear_op too_early[] = {PUT(1, 10, 7), GET(2, 11, 0), GET(12, 13, 7)};
    struct linear_op skipped[] = {PUT(1, LINEAR_OPEN, 7), PUT(2, LINEAR_OPEN, 8), GET(3, 4, 8),
                                  GET(5, 6, 7)};
    ordered[0].session = ordered[1].session = 1;
    skipped[0].session = skipped[1].session = 1;
    asked_again[0].session = asked_again[1].session = 1;
    too_early[0].session = too_early[1].session = 1;
    assert_int_equal(CHECK(free_order), LINEAR_OK);
    assert_int_equal(CHECK(ordered), LINEAR_BROKEN);
    assert_int_equal(CHECK(skipped), LINEAR_BROKEN);
    assert_int_equal(CHECK(asked_again), LINEAR_OK);
    assert_int_equal(CHECK(too_early), LINEAR_BROKEN);
}

/* Histories of a real register: each operation happens at one moment between its call and its
 * answer. Some are left open, of which some happened. */
static size_t random_history(struct sim_prng *prng, struct linear_op *ops, size_t count)
{
    enum { LANES = 8 };
    uint64_t clock = 0, value = 0;
    size_t made = 0, running[LANES];
    bool happened[LANES] = {false};
    for (size_t i = 0; i < LANES; i++)
        running[i] = SIZE_MAX;
    while (made < count) {
        size_t lane = sim_prng_next(prng) % LANES, op = running[lane];
        if (op == SIZE_MAX) {
            running[lane] = made;
            happened[lane] = false;
            ops[made] = (struct linear_op){.kind = (enum linear_kind)(sim_prng_next(prng) % 4),
                                           .called = ++clock,
                                           .answered = LINEAR_OPEN,
                                           .value = made + 1};
            made++;
        } else if (!happened[lane]) {
            happened[lane] = true;
            ops[op].seen = value;
            if (ops[op].kind == LINEAR_REMOVE)
                value = 0;
            else if (ops[op].kind == LINEAR_PUT ||
                     (ops[op].kind == LINEAR_PUT_IF_ABSENT && value == 0))
                value = ops[op].value;
            if (sim_prng_next(prng) % 40 == 0)
                running[lane] = SIZE_MAX; /* its answer is lost */
        } else {
            ops[op].answered = ++clock;
            running[lane] = SIZE_MAX;
        }
    }
    return made;
}

static void random_histories_of_a_register_pass_and_spoilt_ones_do_not(void **state)
{
    (void)state;
    enum { COUNT = 300, ROUNDS = 25 };
    struct linear_op ops[COUNT], spoilt[COUNT];
    struct sim_prng prng;
    unsigned found = 0;
    sim_prng_init(&prng, 1);
    for (int round = 0; round < ROUNDS; round++) {
        size_t count = random_history(&prng, ops, COUNT);
        memcpy(spoilt, ops, sizeof spoilt);
        assert_int_equal(linear_check(ops, count, BUDGET, NULL), LINEAR_OK);
        /* A read that sees what was there long ago. */
        size_t at = COUNT - 1, old = 0;
        while (spoilt[at].kind != LINEAR_GET || spoilt[at].answered == LINEAR_OPEN)
            at--;
        while (spoilt[old].kind != LINEAR_PUT || spoilt[old].answered == LINEAR_OPEN)
            old++;
        spoilt[at].seen = spoilt[old].value;
        found += linear_check(spoilt, count, BUDGET, NULL) == LINEAR_BROKEN;
    }
    assert_int_equal(found, ROUNDS);
}

/* Every order that is allowed is tried by force. */
static bool by_force(const struct linear_op *ops, size_t count, unsigned done, uint64_t value)
{
    uint64_t first_answer = LINEAR_OPEN;
    bool is_over = true;
    for (size_t i = 0; i < count; i++) {
        if ((done >> i & 1) != 0 || ops[i].answered == LINEAR_OPEN)
            continue;
        is_over = false;
        if (ops[i].answered < first_answer)
            first_answer = ops[i].answered;
    }
    if (is_over)
        return true;
    for (size_t i = 0; i < count; i++) {
        const struct linear_op *op = &ops[i];
        if ((done >> i & 1) != 0 || op->called > first_answer)
            continue;
        bool later = false;
        for (size_t j = 0; j < count; j++)
            later = later ||
                    (op->kind != LINEAR_GET && op->session != 0 && ops[j].session == op->session &&
                     (done >> j & 1) != 0 && ops[j].called > op->called);
        bool looks = op->kind == LINEAR_GET ||
                     (op->kind == LINEAR_PUT_IF_ABSENT && op->answered != LINEAR_OPEN);
        if (later || (looks && op->answered != LINEAR_OPEN && op->seen != value))
            continue;
        uint64_t after = op->kind == LINEAR_PUT                           ? op->value
                         : op->kind == LINEAR_REMOVE                      ? 0
                         : op->kind == LINEAR_PUT_IF_ABSENT && value == 0 ? op->value
                                                                          : value;
        if (by_force(ops, count, done | 1u << i, after))
            return true;
    }
    return false;
}

static void short_histories_are_judged_as_by_force(void **state)
{
    (void)state;
    enum { COUNT = 7, ROUNDS = 20000 };
    struct sim_prng prng;
    unsigned verdicts[2] = {0};
    sim_prng_init(&prng, 2);
    for (int round = 0; round < ROUNDS; round++) {
        struct linear_op ops[COUNT];
        for (uint64_t i = 0; i < COUNT; i++) {
            uint64_t called = 1 + sim_prng_next(&prng) % 20 * 2;
            bool is_open = sim_prng_next(&prng) % 5 == 0;
            ops[i] = (struct linear_op){
                .kind = (enum linear_kind)(sim_prng_next(&prng) % 4),
                .session = (uint32_t)(sim_prng_next(&prng) % 4),
                .called = called * 8 + i,
                .answered =
                    is_open ? LINEAR_OPEN : (called + 1 + sim_prng_next(&prng) % 12 * 2) * 8 + i,
                .value = i + 1,
                .seen = sim_prng_next(&prng) % (COUNT / 2 + 1)};
        }
        bool good = by_force(ops, COUNT, 0, 0);
        verdicts[good]++;
        assert_int_equal(linear_check(ops, COUNT, BUDGET, NULL), good ? LINEAR_OK : LINEAR_BROKEN);
    }
    assert_true(verdicts[0] > 1000 && verdicts[1] > 1000);
}

/* ---- The books ---- */

static void averages_are_explained_by_some_order_that_keeps_the_lanes(void **state)
{
    (void)state;
    const struct ledger_row rows[] = {{1, 0, 0}, {2.5, 0, 1}, {4, 1, 0}, {8.25, 1, 1}};
    const double in_order[] = {1, 1.75, 2.5, 3.9375}, mixed[] = {4, 2.5, 13.25 / 3, 3.9375};
    const double lanes_broken[] = {2.5, 1.75, 2.5, 3.9375}, short_of[] = {1, 1.75, 2.5};
    const double twice[] = {1, 1, 4.5 / 3, 8.5 / 4, 16.75 / 5};
    char why[160];
    assert_true(ledger_explains(rows, 4, in_order, 4, why, sizeof why));
    assert_true(ledger_explains(rows, 4, mixed, 4, why, sizeof why));
    assert_false(ledger_explains(rows, 4, lanes_broken, 4, why, sizeof why));
    assert_false(ledger_explains(rows, 4, short_of, 3, why, sizeof why));
    assert_false(ledger_explains(rows, 4, twice, 5, why, sizeof why));
}

/* ---- The look into servers: two of them, made by hand, with one bucket ---- */

struct pair {
    struct sim *sim;
    struct grid grid;
    struct verdict verdict;
    struct watch watch;
    struct server servers[2];
    struct catalog catalogs[2];
    struct region regions[2], *listed[2];
    struct bucket buckets[2];
};

static void store_map(struct pair *pair, uint64_t epoch, uint32_t generation, bool both)
{
    static const uint8_t cluster_id[CLUSTER_ID_BYTES] = {1};
    static const uint32_t set[] = {0, 1};
    struct cluster_map *map;
    struct buf packed;
    uint32_t id;
    assert_int_equal(cluster_map_new(cluster_id, &map), OK);
    for (uint64_t i = 0; i < 2; i++) {
        struct cluster_member member = {.name = slice_text(i == 0 ? "server1" : "server2"),
                                        .incarnation = i + 1,
                                        .host = slice_text("10.0.0.1"),
                                        .port = 40404,
                                        .role = CLUSTER_SERVER};
        assert_int_equal(cluster_map_add_member(map, &member, &id), OK);
    }
    struct cluster_region region = {.name = slice_text("data"),
                                    .type = CLUSTER_PARTITION_REDUNDANT,
                                    .redundant_copies = 1,
                                    .bucket_count = 1};
    assert_int_equal(cluster_map_add_region(map, &region, &id), OK);
    struct cluster_bucket bucket = {.generation = generation,
                                    .term = (uint32_t)epoch,
                                    .set_version = (uint32_t)epoch,
                                    .primary = 0,
                                    .in_sync_count = both ? 2 : 1,
                                    .in_sync = set};
    assert_int_equal(cluster_map_set_bucket(map, id, 0, &bucket), OK);
    map->epoch = epoch;
    assert_int_equal(cluster_map_seal(map), OK);
    for (int i = 0; i < 2; i++)
        pair->regions[i].id = id;
    buf_init(&packed);
    assert_int_equal(cluster_map_pack(map, &packed), OK);
    pair->grid.memory.epoch = epoch;
    pair->grid.memory.bytes = sim_realloc(pair->grid.memory.bytes, packed.len);
    pair->grid.memory.len = packed.len;
    memcpy(pair->grid.memory.bytes, packed.data, packed.len);
    buf_fini(&packed);
    cluster_map_unref(map);
}

static int pair_start(void **state)
{
    struct pair *pair = sim_alloc(sizeof *pair);
    *state = pair;
    pair->sim = sim_new(1);
    pair->grid.sim = pair->sim;
    for (size_t i = 0; i < 2; i++) {
        struct grid_member *member = &pair->grid.servers[i];
        snprintf(member->name, sizeof member->name, "server%zu", i + 1);
        member->server = &pair->servers[i];
        member->running = true;
        member->incarnation = i + 1;
        pair->servers[i].catalog = &pair->catalogs[i];
        pair->listed[i] = &pair->regions[i];
        pair->catalogs[i].regions = &pair->listed[i];
        pair->catalogs[i].region_count = 1;
        pair->regions[i].type = CLUSTER_PARTITION_REDUNDANT;
        pair->regions[i].bucket_count = 1;
        pair->regions[i].buckets = &pair->buckets[i];
        pair->buckets[i].region = &pair->regions[i];
        pair->buckets[i].generation = 1;
        assert_int_equal(table_init(&pair->buckets[i].table), OK);
    }
    pair->buckets[0].replica.role = REPLICA_PRIMARY;
    pair->buckets[0].replica.led = 1;
    pair->buckets[1].replica.role = REPLICA_COPY;
    watch_init(&pair->watch, &pair->grid, &pair->verdict);
    store_map(pair, 1, 1, true);
    return 0;
}

static int pair_stop(void **state)
{
    struct pair *pair = *state;
    watch_fini(&pair->watch);
    for (size_t i = 0; i < 2; i++)
        table_fini(&pair->buckets[i].table);
    free(pair->grid.memory.bytes);
    sim_free(pair->sim);
    free(pair);
    return 0;
}

/* One server applies a record that stores `number` under the key k0. */
static void apply_on(struct pair *pair, size_t server, int64_t number)
{
    struct bucket *bucket = &pair->buckets[server];
    struct value key = {.type = VALUE_STRING, .bytes = slice_text("k0")};
    struct value value = {.type = VALUE_LONG, .integer = number};
    uint8_t stored_key[32], stored_value[32];
    struct slice key_slice =
        slice_of(stored_key, (size_t)(value_store(&key, stored_key) - stored_key));
    struct slice value_slice =
        slice_of(stored_value, (size_t)(value_store(&value, stored_value) - stored_value));
    uint64_t hash = table_hash(key_slice, bucket->region->hash_seed);
    struct entry *entry = entry_new(key_slice, value_slice, hash, ++bucket->last_seq), *old;
    assert_non_null(entry);
    assert_int_equal(table_put(&bucket->table, entry, &old), OK);
    entry_unref(old);
    bucket->data_seq = bucket->last_seq;
    bucket->last_time_ms = 1000;
    watch_server(&pair->watch, &pair->grid.servers[server]);
}

static void commit_on(struct pair *pair, size_t server, uint64_t seq)
{
    atomic_store(&pair->buckets[server].committed, seq);
    watch_server(&pair->watch, &pair->grid.servers[server]);
}

static void records_that_all_copies_have_are_rightly_committed(void **state)
{
    struct pair *pair = *state;
    apply_on(pair, 0, 5);
    apply_on(pair, 1, 5);
    commit_on(pair, 0, 1);
    apply_on(pair, 0, 6);
    watch_server(&pair->watch, &pair->grid.servers[1]);
    assert_false(pair->verdict.failed);
    assert_int_equal(pair->watch.commits, 1);
}

static void a_commit_that_a_copy_in_sync_lacks_is_found(void **state)
{
    struct pair *pair = *state;
    apply_on(pair, 0, 5);
    commit_on(pair, 0, 1);
    assert_true(pair->verdict.failed);
}

static void a_copy_that_comes_into_the_set_without_what_was_committed_is_found(void **state)
{
    struct pair *pair = *state;
    store_map(pair, 2, 1, false);
    apply_on(pair, 0, 5);
    commit_on(pair, 0, 1);
    assert_false(pair->verdict.failed);
    store_map(pair, 3, 1, true);
    watch_server(&pair->watch, &pair->grid.servers[0]);
    assert_true(pair->verdict.failed);
}

static void copies_that_differ_after_a_committed_record_are_found(void **state)
{
    struct pair *pair = *state;
    apply_on(pair, 0, 5);
    apply_on(pair, 1, 6);
    assert_false(pair->verdict.failed);
    commit_on(pair, 0, 1);
    assert_false(pair->verdict.failed);
    apply_on(pair, 1, 7);
    assert_true(pair->verdict.failed);
}

static void a_second_leader_of_a_term_is_found(void **state)
{
    struct pair *pair = *state;
    pair->buckets[1].replica.role = REPLICA_PRIMARY;
    pair->buckets[1].replica.led = 2;
    for (size_t i = 0; i < 2; i++)
        watch_server(&pair->watch, &pair->grid.servers[i]);
    assert_false(pair->verdict.failed);
    pair->buckets[1].replica.led = 1;
    watch_server(&pair->watch, &pair->grid.servers[1]);
    assert_true(pair->verdict.failed);
}

static void an_answer_before_a_copy_has_the_write_is_found(void **state)
{
    struct pair *pair = *state;
    struct value key = {.type = VALUE_STRING, .bytes = slice_text("k0")};
    struct value value = {.type = VALUE_LONG, .integer = 5};
    apply_on(pair, 0, 5);
    apply_on(pair, 1, 5);
    watch_acknowledged(&pair->watch, "data", &key, &value);
    assert_false(pair->verdict.failed);
    value.integer = 6;
    apply_on(pair, 0, 6);
    watch_acknowledged(&pair->watch, "data", &key, &value);
    assert_true(pair->verdict.failed);
}

static void record_times_that_jump_with_the_leader_are_found(void **state)
{
    struct pair *pair = *state;
    apply_on(pair, 0, 5);
    apply_on(pair, 1, 5);
    commit_on(pair, 0, 1);
    store_map(pair, 2, 1, true);
    pair->buckets[0].replica.role = REPLICA_COPY;
    pair->buckets[1].replica = (struct replica){.role = REPLICA_PRIMARY, .led = 2};
    pair->buckets[1].last_seq++;
    pair->buckets[1].last_time_ms = 3000000;
    watch_server(&pair->watch, &pair->grid.servers[1]);
    assert_true(pair->verdict.failed);
}

static void a_loss_is_counted_when_every_copy_is_dead(void **state)
{
    struct pair *pair = *state;
    watch_server(&pair->watch, &pair->grid.servers[0]);
    for (int i = 0; i < 2; i++)
        pair->grid.servers[i].running = false;
    store_map(pair, 2, 2, true);
    watch_server(&pair->watch, &pair->grid.servers[0]);
    assert_int_equal(pair->watch.losses, 1);
    assert_false(pair->verdict.failed);
}

static void a_bucket_that_starts_empty_although_a_copy_lives_is_found(void **state)
{
    struct pair *pair = *state;
    watch_server(&pair->watch, &pair->grid.servers[0]);
    pair->grid.servers[0].running = false;
    store_map(pair, 2, 2, true);
    watch_server(&pair->watch, &pair->grid.servers[1]);
    assert_true(pair->verdict.failed);
}

static void the_last_living_copy_is_known(void **state)
{
    struct pair *pair = *state;
    assert_true(watch_can_lose(&pair->watch, &pair->grid.servers[0]));
    pair->grid.servers[1].running = false;
    assert_false(watch_can_lose(&pair->watch, &pair->grid.servers[0]));
}

static void a_bucket_is_whole_when_all_its_copies_are_equal(void **state)
{
    struct pair *pair = *state;
    char why[256];
    for (size_t i = 0; i < 2; i++)
        pair->buckets[i].replica.set_version = 1;
    apply_on(pair, 0, 5);
    assert_false(watch_is_whole(&pair->watch, why, sizeof why));
    apply_on(pair, 1, 5);
    assert_false(watch_is_whole(&pair->watch, why, sizeof why));
    commit_on(pair, 0, 1);
    assert_true(watch_is_whole(&pair->watch, why, sizeof why));
    store_map(pair, 2, 1, false);
    assert_false(watch_is_whole(&pair->watch, why, sizeof why));
    assert_false(pair->verdict.failed);
}

#define PAIR_TEST(test) cmocka_unit_test_setup_teardown(test, pair_start, pair_stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_after_the_other_reads_see_the_last_write),
        cmocka_unit_test(what_overlaps_may_happen_in_either_order),
        cmocka_unit_test(put_if_absent_stores_only_into_absence),
        cmocka_unit_test(an_open_operation_happens_late_or_never_but_once),
        cmocka_unit_test(a_session_keeps_the_order_of_its_calls),
        cmocka_unit_test(random_histories_of_a_register_pass_and_spoilt_ones_do_not),
        cmocka_unit_test(short_histories_are_judged_as_by_force),
        cmocka_unit_test(averages_are_explained_by_some_order_that_keeps_the_lanes),
        PAIR_TEST(records_that_all_copies_have_are_rightly_committed),
        PAIR_TEST(a_commit_that_a_copy_in_sync_lacks_is_found),
        PAIR_TEST(a_copy_that_comes_into_the_set_without_what_was_committed_is_found),
        PAIR_TEST(copies_that_differ_after_a_committed_record_are_found),
        PAIR_TEST(a_second_leader_of_a_term_is_found),
        PAIR_TEST(an_answer_before_a_copy_has_the_write_is_found),
        PAIR_TEST(record_times_that_jump_with_the_leader_are_found),
        PAIR_TEST(a_loss_is_counted_when_every_copy_is_dead),
        PAIR_TEST(a_bucket_that_starts_empty_although_a_copy_lives_is_found),
        PAIR_TEST(the_last_living_copy_is_known),
        PAIR_TEST(a_bucket_is_whole_when_all_its_copies_are_equal),
    };
    return cmocka_run_group_tests_name("checker", tests, NULL, NULL);
}
