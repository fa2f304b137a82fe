#include "replica_fixture.h"

static void place(int node, enum place_action action, int other)
{
    replica_place(bucket_of(node), 1, action, &world->nodes[node].peers[other]);
}

static void test_a_copy_joins_by_way_of_image_and_send_set(void **state)
{
    (void)state;
    world_begin(CLUSTER_PARTITION_REDUNDANT, 1);
    for (int i = 0; i < 5; i++)
        append(0);
    place(0, PLACE_ADD, 1);
    assert_int_equal(copy_of(0, 1)->state, COPY_OFFERED);
    append(0); /* behind the image; nobody waits for the new copy yet */
    assert_int_equal(committed_of(0), 6);
    deliver(0, 1);
    deliver_back(0, 1);
    assert_int_equal(copy_of(0, 1)->state, COPY_JOINING);
    assert_int_equal(world->proposal_count, 0); /* it lacks what was answered */
    assert_false(replica_may_read_locked(bucket_of(0), 99999999));
    append(0);
    assert_int_equal(committed_of(0), 6);
    settle();
    assert_int_equal(committed_of(0), 7);
    assert_int_equal(bucket_of(1)->last_seq, 7);
    assert_int_equal(world->proposal_count, 1);
    assert_int_equal(world->proposals[0].in_sync_count, 2);
    tick_all(100000);
    assert_int_equal(world->proposal_count, 1);
    tick_all(500000);
    assert_int_equal(world->proposal_count, 2); /* again, until the set has moved */
    store(0);
    adopt_all();
    assert_int_equal(copy_of(0, 1)->state, COPY_IN_SYNC);
    assert_true(replica_of(1)->in_set);
    world_end();
}

static void test_an_image_that_fails_is_tried_again(void **state)
{
    (void)state;
    world_begin(CLUSTER_PARTITION_REDUNDANT, 1);
    append(0);
    mem_fault_fail_at(1);
    place(0, PLACE_ADD, 1); /* no memory for the copy */
    mem_fault_fail_at(0);
    assert_int_equal(replica_of(0)->copy_count, 0);
    place(0, PLACE_ADD, 1);
    cut(0, 1);
    assert_null(copy_of(0, 1)->image);
    link_up(0, 1);
    tick_all(600000);
    settle();
    assert_int_equal(copy_of(0, 1)->state, COPY_JOINING);
    world_end();
}

static void test_copies_of_a_replicate_know_of_the_joining_one_first(void **state)
{
    (void)state;
    world_begin(CLUSTER_REPLICATE, 3);
    append(0);
    settle();
    place(0, PLACE_ADD, 2);
    while (fill(0, 2) | deliver(0, 2) | deliver_back(0, 2))
        continue;
    assert_int_equal(copy_of(0, 2)->state, COPY_JOINING);
    assert_int_equal(world->proposal_count, 0);
    settle();
    assert_int_equal(replica_of(1)->reader_count, 2);
    assert_int_equal(world->proposal_count, 1);
    beat_all();
    assert_true(replica_may_read_locked(bucket_of(1), world->now_us));
    atomic_store(&world->nodes[1].peers[2].lease_until_us, 0);
    assert_false(replica_may_read_locked(bucket_of(1), world->now_us));
    world_end();
}

static void test_a_gone_copy_is_out_at_once(void **state)
{
    (void)state;
    world_begin(CLUSTER_REPLICATE, 7);
    beat_all();
    append(0);
    crash(2);
    assert_int_equal(world->proposal_count, 1);
    assert_int_equal(world->proposals[0].in_sync_count, 2);
    settle();
    assert_int_equal(committed_of(0), 0); /* not before the map says so (R3) */
    store(0);
    adopt_all();
    settle();
    assert_int_equal(committed_of(0), 1);
    world_end();
}

static void test_a_silent_copy_of_a_replicate_goes_after_its_promises(void **state)
{
    (void)state;
    world_begin(CLUSTER_REPLICATE, 3);
    beat_all();
    append(0);
    fill(0, 1);
    tick_all(900000);
    assert_false(copy_of(0, 1)->removing);
    tick_all(200000);
    assert_true(copy_of(0, 1)->removing);
    assert_int_equal(world->proposal_count, 0);
    tick_all(1000000);
    assert_int_equal(world->proposal_count, 0);
    tick_all(PEER_PROMISE_US - 2100000 + 1);
    assert_int_equal(world->proposal_count, 1);
    assert_int_equal(world->proposals[0].in_sync_count, 1);
    world_end();
}

static void test_a_hand_over_waits_for_committed(void **state)
{
    (void)state;
    world_begin(CLUSTER_PARTITION_REDUNDANT, 3);
    append(0);
    place(0, PLACE_HAND_OVER, 1);
    assert_int_equal(append(0), ERROR_ELSEWHERE);
    assert_int_equal(world->proposal_count, 0);
    settle();
    assert_int_equal(world->proposal_count, 1);
    store(0);
    adopt_all();
    settle();
    assert_int_equal(replica_of(1)->led, 2);
    assert_int_equal(replica_of(0)->role, REPLICA_COPY);
    assert_int_equal(append(1), OK);
    settle();
    assert_int_equal(committed_of(1), 2);
    assert_int_equal(bucket_of(0)->last_seq, 2);
    world_end();
}

static void test_a_hand_over_that_was_proposed_ends_with_the_unchanged_set(void **state)
{
    (void)state;
    world_begin(CLUSTER_PARTITION_REDUNDANT, 3);
    place(0, PLACE_HAND_OVER, 1);
    assert_int_equal(world->proposal_count, 1);
    world->proposal_count = 0; /* its fate is not known */
    beat_all();
    tick_all(5100000);
    assert_int_equal(append(0), ERROR_ELSEWHERE);
    assert_int_equal(world->proposal_count, 1);
    assert_int_equal(world->proposals[0].primary, incarnation_of(0));
    store(0);
    adopt_all();
    assert_int_equal(append(0), OK);
    world_end();
}

static void test_a_hand_over_to_one_that_lags_is_given_up(void **state)
{
    (void)state;
    world_begin(CLUSTER_PARTITION_REDUNDANT, 3);
    append(0);
    place(0, PLACE_HAND_OVER, 1);
    tick_all(5100000);
    assert_false(replica_of(0)->handing_over);
    world_end();
}

static void test_a_dropped_copy_is_proposed_for_removal(void **state)
{
    (void)state;
    world_begin(CLUSTER_PARTITION_REDUNDANT, 7);
    place(0, PLACE_DROP, 2);
    tick_all(1000);
    assert_int_equal(world->proposal_count, 1);
    store(0);
    adopt_all();
    assert_int_equal(replica_of(2)->role, REPLICA_NONE);
    assert_null(copy_of(0, 2));
    world_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_copy_joins_by_way_of_image_and_send_set),
        cmocka_unit_test(test_an_image_that_fails_is_tried_again),
        cmocka_unit_test(test_copies_of_a_replicate_know_of_the_joining_one_first),
        cmocka_unit_test(test_a_gone_copy_is_out_at_once),
        cmocka_unit_test(test_a_silent_copy_of_a_replicate_goes_after_its_promises),
        cmocka_unit_test(test_a_hand_over_waits_for_committed),
        cmocka_unit_test(test_a_hand_over_that_was_proposed_ends_with_the_unchanged_set),
        cmocka_unit_test(test_a_hand_over_to_one_that_lags_is_given_up),
        cmocka_unit_test(test_a_dropped_copy_is_proposed_for_removal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
