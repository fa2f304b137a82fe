#include "replica_fixture.h"

/* ---- A walk over random events, with the invariants of primary-backup replication ---- */

enum { HISTORY = 400 };

/* What some answer has depended on: it may never change or be lost. */
static struct {
    uint32_t operation[HISTORY];
    uint64_t count;
} ghost;
static uint64_t random_state;

static uint32_t any(uint32_t below)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33) % below;
}

static struct { /* a locator's attempt to replace the primary */
    bool on;
    uint32_t set_version, term;
    int primary;
    unsigned set, sealed, promised[NODES];
    uint64_t last_seq[NODES];
} attempt;

static uint32_t operation_at(int node, uint64_t seq)
{
    struct bucket *bucket = bucket_of(node);
    char text[16];
    for (uint32_t operation = 1; operation <= world->operations; operation++) {
        struct slice key = operation_key(operation, text);
        struct entry *entry =
            table_find(&bucket->table, key, table_hash(key, bucket->region->hash_seed));
        if (entry != NULL && entry->seq == seq)
            return operation;
    }
    return 0;
}

static void check_reads(int node)
{
    struct bucket *bucket = bucket_of(node);
    if (replica_may_read_locked(bucket, world->now_us) && committed_of(node) == bucket->last_seq)
        assert_true(bucket->last_seq >= ghost.count); /* else it is stale */
}

static void check(void)
{
    for (int a = 0; a < NODES; a++) {
        if (!world->nodes[a].alive || !replica_leads(replica_of(a)))
            continue;
        for (int b = 0; b < a; b++)
            assert_false(world->nodes[b].alive && replica_leads(replica_of(b)) &&
                         replica_of(a)->led == replica_of(b)->led);
        uint64_t committed = committed_of(a);
        assert_true(committed <= bucket_of(a)->last_seq);
        while (ghost.count < committed) {
            ghost.operation[ghost.count] = operation_at(a, ghost.count + 1);
            ghost.count++;
        }
    }
    for (int a = 0; a < NODES; a++) {
        if (!world->nodes[a].alive)
            continue;
        check_reads(a);
        if (!in_stored_set(a))
            continue;
        assert_true(bucket_of(a)->last_seq >= ghost.count);
        for (uint64_t seq = ghost.count > 5 ? ghost.count - 5 : 0; seq < ghost.count; seq++)
            assert_int_equal(operation_at(a, seq + 1), ghost.operation[seq]);
    }
}

static bool lost_all(void)
{
    for (int a = 0; a < NODES; a++)
        if (in_stored_set(a) && world->nodes[a].alive)
            return false;
    return true;
}

static void begin_attempt(void)
{
    memset(&attempt, 0, sizeof attempt);
    attempt.on = true;
    attempt.set_version = stored()->set_version;
    attempt.term = stored()->term + 1;
    attempt.primary = (int)stored()->primary;
    for (int a = 0; a < NODES; a++)
        attempt.set |= (unsigned)in_stored_set(a) << a;
}

static void seal_one(int node)
{
    if (!attempt.on || node == attempt.primary || !(attempt.set >> node & 1) ||
        !world->nodes[node].alive)
        return;
    struct seal_answer answer;
    replica_seal(bucket_of(node), 1, attempt.set_version, attempt.term, &answer);
    if (answer.verdict == SEAL_REFUSED && answer.current > attempt.term &&
        stored()->set_version == attempt.set_version)
        attempt.term = answer.current;
    if (answer.verdict != SEAL_DONE)
        return;
    attempt.sealed |= 1u << node;
    attempt.last_seq[node] = answer.last_seq;
    attempt.promised[node] = 0;
    for (uint32_t i = 0; i < answer.promised_count; i++)
        attempt.promised[node] |= 1u << node_of(answer.promised[i]);
}

/* R6: a copy may be left out when one that sealed has no promise to it. */
static bool may_leave_out(int node)
{
    if (!world->nodes[node].alive || PLANTED(PLANT_SWAP_WITHOUT_WAIT))
        return true;
    for (int a = 0; a < NODES; a++)
        if (attempt.sealed >> a & 1 && !(attempt.promised[a] >> node & 1))
            return true;
    return false;
}

static void swap(void)
{
    int best = -1;
    if (!attempt.on || attempt.sealed == 0)
        return;
    for (int a = 0; a < NODES; a++) {
        if (attempt.set >> a & 1 && !(attempt.sealed >> a & 1) && a != attempt.primary &&
            !may_leave_out(a))
            return;
        if (attempt.sealed >> a & 1 && (best < 0 || attempt.last_seq[a] > attempt.last_seq[best]))
            best = a;
    }
    attempt.on = false;
    if (attempt.set_version == stored()->set_version)
        store_set(1, attempt.term, best, attempt.sealed);
}

static void order_copies(void)
{
    int primary = (int)stored()->primary;
    for (int a = 0; a < NODES; a++)
        if (world->nodes[a].alive && world->nodes[primary].alive && !in_stored_set(a) &&
            replica_leads(replica_of(primary)))
            replica_place(bucket_of(primary), 1, PLACE_ADD, &world->nodes[primary].peers[a]);
}

static void hand_over_to(int node)
{
    int primary = (int)stored()->primary;
    if (node != primary && world->nodes[primary].alive)
        replica_place(bucket_of(primary), 1, PLACE_HAND_OVER, &world->nodes[primary].peers[node]);
}

static unsigned crashes;
static int isolated; /* a server that hears of nothing, or -1 */

static void isolate_any(void)
{
    isolated = isolated >= 0 ? -1 : any(2) ? (int)stored()->primary : (int)any(NODES);
    for (int a = 0; a < NODES && isolated >= 0; a++)
        if (a != isolated)
            cut(a, isolated);
}

static void any_fault(int a, int b)
{
    switch (any(10)) {
    case 0:
        cut(a, b);
        break;
    case 1:
        if (world->proposal_count > 0)
            world->proposals[0] = world->proposals[--world->proposal_count];
        break;
    case 2:
        if (crashes == 0 && any(10) == 0) {
            crashes++;
            crash(a);
        }
        break;
    case 3:
        hand_over_to(a);
        break;
    case 4:
        if (world->nodes[a].alive)
            replica_place(bucket_of(a), 1, PLACE_DROP, &world->nodes[a].peers[b]);
        break;
    case 5:
        isolate_any();
        break;
    default:
        if (!attempt.on || attempt.set_version != stored()->set_version || any(8) == 0)
            begin_attempt();
        break;
    }
}

static void any_of_the_map(int a)
{
    switch (any(6)) {
    case 0:
        order_copies();
        break;
    case 1:
        if (a != isolated)
            adopt(a);
        break;
    case 2:
        if (world->proposal_count > 0)
            store(any((uint32_t)world->proposal_count));
        break;
    case 3:
        swap();
        break;
    default:
        if (a != isolated)
            seal_one(a);
        break;
    }
}

static void any_event(void)
{
    int a = (int)any(NODES), b = (a + 1 + (int)any(NODES - 1)) % NODES;
    uint32_t dice = any(100);
    if (dice < 3)
        any_fault(a, b);
    else if (dice < 20)
        any_of_the_map(a);
    else if (dice < 26)
        tick_all(any(6) == 0 ? 700000 : 50000);
    else if (dice < 32 && a != isolated && b != isolated)
        link_up(a, b);
    else if (dice < 36 && world->operations < HISTORY / 2)
        (void)(any(8) == 0 ? append_long(a) : append(a));
    else if (dice < 44)
        beacon(a, b);
    else if (dice < 62)
        fill(a, b);
    else if (dice < 80)
        deliver(a, b);
    else
        deliver_back(a, b);
}

/* No more faults: all that live have the bucket at last, and the same of it. */
static bool is_whole(void)
{
    int primary = (int)stored()->primary;
    if (!world->nodes[primary].alive || !replica_leads(replica_of(primary)) ||
        !replica_may_write_locked(bucket_of(primary)) ||
        !replica_may_read_locked(bucket_of(primary), world->now_us) ||
        committed_of(primary) != bucket_of(primary)->last_seq)
        return false;
    for (int a = 0; a < NODES; a++)
        if (world->nodes[a].alive &&
            (!in_stored_set(a) || bucket_of(a)->last_seq != bucket_of(primary)->last_seq))
            return false;
    return true;
}

static void fair_round(void)
{
    for (int a = 0; a < NODES; a++)
        for (int b = 0; b < NODES; b++)
            if (a != b)
                link_up(a, b);
    adopt_all();
    if (!world->nodes[stored()->primary].alive) {
        if (!attempt.on || attempt.set_version != stored()->set_version)
            begin_attempt();
        for (int a = 0; a < NODES; a++)
            seal_one(a);
        swap();
        adopt_all();
    }
    beat_all();
    order_copies();
    settle();
    tick_all(100000);
    settle();
    while (world->proposal_count > 0)
        store(0);
    check();
}

static void walk(enum cluster_region_type type, uint64_t seed, unsigned steps)
{
    memset(&ghost, 0, sizeof ghost);
    memset(&attempt, 0, sizeof attempt);
    crashes = 0;
    isolated = -1;
    random_state = seed * 2654435761u + 12345;
    world_begin(type, seed % 3 == 0 ? 3 : 7);
    for (unsigned i = 0; i < steps && !lost_all(); i++) {
        any_event();
        check();
    }
    unsigned round = 0;
    while (!lost_all() && !is_whole() && round < 400) {
        fair_round();
        round++;
    }
    if (round == 400)
        fail_msg("seed %llu: the bucket is not whole after the faults stopped",
                 (unsigned long long)seed);
    world_end();
}

static void test_random_walks_of_a_partition(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 150; seed++)
        walk(CLUSTER_PARTITION_REDUNDANT, seed, 1500);
}

static void test_random_walks_of_a_replicate(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 150; seed++)
        walk(CLUSTER_REPLICATE, seed, 1500);
}

/* ---- Roles ---- */

static void test_a_fresh_region_begins_in_its_first_set(void **state)
{
    (void)state;
    world_begin(CLUSTER_PARTITION_REDUNDANT, 6);
    assert_int_equal(replica_of(1)->role, REPLICA_PRIMARY);
    assert_int_equal(replica_of(1)->led, 1);
    assert_int_equal(replica_of(2)->role, REPLICA_COPY);
    assert_int_equal(replica_of(0)->role, REPLICA_NONE);
    assert_int_equal(append(0), ERROR_ELSEWHERE);
    assert_int_equal(append(1), OK);
    world_end();
}

static void test_another_generation_begins_empty(void **state)
{
    (void)state;
    world_begin(CLUSTER_PARTITION_REDUNDANT, 3);
    append(0);
    settle();
    store_set(2, 2, 1, 2);
    adopt_all();
    assert_int_equal(replica_of(1)->role, REPLICA_PRIMARY);
    assert_int_equal(bucket_of(1)->generation, 2);
    assert_int_equal(bucket_of(1)->last_seq, 0);
    assert_int_equal(bucket_of(1)->table.entry_count, 0);
    assert_int_equal(replica_of(0)->role, REPLICA_NONE);
    assert_int_equal(append(1), OK);
    assert_int_equal(committed_of(1), 1);
    world_end();
}

static void test_a_primary_of_the_last_generation_has_the_copies_of_the_next(void **state)
{
    (void)state;
    world_begin(CLUSTER_PARTITION_REDUNDANT, 3);
    append(0);
    settle();
    store_set(2, 2, 0, 3);
    adopt_all();
    assert_int_equal(replica_of(0)->role, REPLICA_PRIMARY);
    assert_int_equal(replica_of(0)->copy_count, 1);
    assert_int_equal(append(0), OK);
    assert_int_equal(committed_of(0), 0);
    settle();
    assert_int_equal(committed_of(0), 1);
    assert_int_equal(bucket_of(1)->last_seq, 1);
    world_end();
}

static void test_a_bucket_that_nobody_had_begins_where_it_is_placed(void **state)
{
    (void)state;
    world_begin(CLUSTER_PARTITION_REDUNDANT, 3);
    append(0);
    settle();
    store_set(2, 1, (int)CLUSTER_NONE, 0);
    adopt_all();
    assert_int_equal(replica_of(1)->role, REPLICA_NONE);
    store_set(2, 2, 1, 6);
    adopt_all();
    assert_int_equal(replica_of(1)->role, REPLICA_PRIMARY);
    assert_int_equal(replica_of(2)->role, REPLICA_COPY);
    assert_int_equal(replica_of(0)->role, REPLICA_NONE);
    assert_int_equal(append(1), OK);
    settle();
    assert_int_equal(committed_of(1), 1);
    world_end();
}

static void test_a_promoted_copy_commits_its_suffix_after_acknowledgement(void **state)
{
    (void)state;
    world_begin(CLUSTER_PARTITION_REDUNDANT, 7);
    append(0);
    fill(0, 1);
    deliver(0, 1); /* 2 never gets it */
    crash(0);
    store_set(1, 2, 1, 6);
    adopt(1);
    assert_int_equal(bucket_of(1)->last_seq, 1);
    assert_int_equal(committed_of(1), 0);
    settle();
    assert_int_equal(committed_of(1), 0);
    adopt(2);
    tick_all(50000);
    settle();
    assert_int_equal(committed_of(1), 1);
    assert_int_equal(bucket_of(2)->last_seq, 1);
    world_end();
}

static void test_without_memory_a_map_is_adopted_later(void **state)
{
    (void)state;
    world_begin(CLUSTER_REPLICATE, 7);
    beat_all();
    append(0);
    settle();
    store_set(1, 2, 1, 6);
    adopt(2);
    struct region_place place;
    const struct cluster_region *region = cluster_map_region_by_id(world->map, world->region_id);
    assert_int_equal(region_bucket_place(world->map, region, 0, &place), OK);
    unsigned failed = 0;
    for (unsigned long n = 1;; n++) {
        mem_fault_fail_at(n);
        enum error error = replica_adopt_locked(bucket_of(1), &place.place);
        mem_fault_fail_at(0);
        if (error == OK)
            break;
        assert_int_equal(error, ERROR_MEMORY);
        assert_int_equal(replica_of(1)->set_version, 1);
        assert_int_equal(replica_of(1)->role, REPLICA_COPY);
        failed++;
    }
    assert_true(failed >= 2);
    adopt(1);
    settle();
    assert_int_equal(replica_of(1)->led, 2);
    world_end();
}

static void test_a_stalled_bucket_reads_nothing_until_it_could_adopt(void **state)
{
    (void)state;
    world_begin(CLUSTER_REPLICATE, 3);
    beat_all();
    replica_of(0)->is_stalled = true;
    assert_false(replica_may_read_locked(bucket_of(0), world->now_us));
    tick_all(1000);
    assert_true(replica_may_read_locked(bucket_of(0), world->now_us));
    world_end();
}

static void test_a_destroyed_region_has_no_place(void **state)
{
    (void)state;
    world_begin(CLUSTER_PARTITION_REDUNDANT, 3);
    append(0);
    region_destroy(bucket_of(0)->region);
    assert_int_equal(replica_of(0)->copy_count, 0);
    assert_false(replica_may_write_locked(bucket_of(0)));
    assert_int_equal(atomic_load(&world->nodes[0].peers[1].unacked_bytes), 0);
    world_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_fresh_region_begins_in_its_first_set),
        cmocka_unit_test(test_another_generation_begins_empty),
        cmocka_unit_test(test_a_primary_of_the_last_generation_has_the_copies_of_the_next),
        cmocka_unit_test(test_a_bucket_that_nobody_had_begins_where_it_is_placed),
        cmocka_unit_test(test_a_promoted_copy_commits_its_suffix_after_acknowledgement),
        cmocka_unit_test(test_without_memory_a_map_is_adopted_later),
        cmocka_unit_test(test_a_stalled_bucket_reads_nothing_until_it_could_adopt),
        cmocka_unit_test(test_a_destroyed_region_has_no_place),
        cmocka_unit_test(test_random_walks_of_a_partition),
        cmocka_unit_test(test_random_walks_of_a_replicate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
