#include "replica_fixture.h"

static void test_committed_waits_for_all_copies(void **state)
{
    (void)state;
    world_begin(CLUSTER_PARTITION_REDUNDANT, 7);
    assert_int_equal(append(0), OK);
    assert_int_equal(append(0), OK);
    assert_int_equal(committed_of(0), 0);
    while (fill(0, 1) | deliver(0, 1) | deliver_back(0, 1))
        continue;
    assert_int_equal(bucket_of(1)->last_seq, 2);
    assert_int_equal(committed_of(0), 0);
    assert_true(atomic_load(&world->nodes[0].peers[2].unacked_bytes) > 0);
    assert_int_equal(atomic_load(&world->nodes[0].peers[1].unacked_bytes), 0);
    settle();
    assert_int_equal(committed_of(0), 2);
    tick_all(50000);
    settle();
    assert_int_equal(committed_of(1), 2); /* told with the next frame */
    world_end();
}

static void test_a_cut_link_goes_on_where_the_copy_is(void **state)
{
    (void)state;
    world_begin(CLUSTER_PARTITION_REDUNDANT, 3);
    for (int i = 0; i < 5; i++)
        assert_int_equal(append(0), OK);
    fill(0, 1);
    deliver(0, 1); /* applied, but its acknowledgement is lost */
    assert_int_equal(bucket_of(1)->last_seq, 5);
    assert_int_equal(append(0), OK);
    fill(0, 1);
    cut(0, 1);
    settle();
    assert_int_equal(committed_of(0), 0);
    link_up(0, 1);
    link_up(1, 0);
    settle();
    assert_int_equal(committed_of(0), 6);
    assert_int_equal(bucket_of(1)->last_seq, 6);
    world_end();
}

static void test_frames_are_bounded(void **state)
{
    (void)state;
    world_begin(CLUSTER_PARTITION_REDUNDANT, 3);
    for (int i = 0; i < 600; i++)
        assert_int_equal(append(0), OK);
    assert_true(fill(0, 1));
    deliver(0, 1);
    assert_int_equal(bucket_of(1)->last_seq, REPLICA_FRAME_RECORDS);
    settle();
    assert_int_equal(committed_of(0), 600);
    world_end();
}

static void assert_long_value(int node)
{
    char text[16];
    struct bucket *bucket = bucket_of(node);
    struct slice key = operation_key(1, text);
    const struct entry *entry =
        table_find(&bucket->table, key, table_hash(key, bucket->region->hash_seed));
    assert_non_null(entry);
    struct slice value = entry_value(entry);
    assert_int_equal(value.len, LONG_BYTES);
    for (size_t i = 0; i < LONG_BYTES; i++)
        assert_int_equal(value.data[i], (uint8_t)(i * 7 + i / 251));
}

static void test_a_long_record_goes_in_pieces(void **state)
{
    (void)state;
    world_begin(CLUSTER_PARTITION_REDUNDANT, 3);
    assert_int_equal(append_long(0), OK);
    assert_int_equal(append(0), OK);
    unsigned frames = 0;
    while (fill(0, 1)) {
        struct channel *link = &world->to[0][1];
        if (link->end == link->first)
            break;
        const struct frame *frame = &link->frames[(link->end - 1) % FRAMES];
        assert_in_range(frame->len, 1, REPLICA_FRAME_BYTES + 128);
        frames++;
        assert_int_equal(bucket_of(1)->last_seq, frames <= 4 ? 0 : 1);
        deliver(0, 1);
    }
    assert_int_equal(frames, 5); /* the record is longer than its value; then the short one */
    assert_int_equal(bucket_of(1)->last_seq, 2);
    assert_int_equal(replica_of(1)->piece.cap, 0);
    settle();
    assert_int_equal(committed_of(0), 2);
    assert_long_value(1);
    world_end();
}

static void test_a_long_record_begins_anew_on_a_new_link(void **state)
{
    (void)state;
    world_begin(CLUSTER_PARTITION_REDUNDANT, 3);
    assert_int_equal(append_long(0), OK);
    for (unsigned before = 1; before <= 3; before++) {
        for (unsigned i = 0; i < before; i++) {
            while (world->to[0][1].end == world->to[0][1].first)
                assert_true(fill(0, 1) || deliver_back(0, 1));
            deliver(0, 1);
        }
        assert_int_equal(bucket_of(1)->last_seq, 0);
        cut(0, 1);
        link_up(0, 1);
        link_up(1, 0);
    }
    settle();
    assert_int_equal(committed_of(0), 1);
    assert_long_value(1);
    world_end();
}

static void test_unacknowledged_bytes_are_counted_over_many_blocks_and_cuts(void **state)
{
    (void)state;
    world_begin(CLUSTER_PARTITION_REDUNDANT, 3);
    const struct replica_copy *copy = copy_of(0, 1);
    _Atomic uint64_t *counted = &world->nodes[0].peers[1].unacked_bytes;
    for (int round = 0; round < 40; round++) {
        for (int i = 0; i < 30; i++) {
            assert_int_equal(append(0), OK);
            if (i == 10)
                fill(0, 1); /* part of the round arrives, the rest does not yet */
        }
        deliver(0, 1);
        deliver_back(0, 1);
        struct ring_hint hint = {0};
        struct ring_event event;
        uint64_t seq = copy->acked_seq, bytes = 0;
        while (ring_next(&replica_of(0)->backlog, (struct ring_position){seq, 0}, UINT64_MAX, &hint,
                         &event)) {
            seq = event.position.seq;
            bytes += event.encoded.len;
        }
        assert_true(bytes > 0);
        assert_int_equal(copy->unacked_bytes, bytes);
        assert_int_equal(atomic_load(counted), bytes);
        if (round % 10 == 9) {
            cut(0, 1);
            link_up(0, 1);
            link_up(1, 0);
        }
        if (round % 7 == 6)
            ring_drop_oldest(&replica_of(0)->backlog);
        settle();
        assert_int_equal(atomic_load(counted), 0);
    }
    world_end();
}

static void test_at_the_bound_of_the_link_nothing_new_is_taken(void **state)
{
    (void)state;
    world_begin(CLUSTER_PARTITION_REDUNDANT, 3);
    atomic_fetch_add(&world->nodes[0].peers[1].unacked_bytes, PEER_UNACKED_MAX);
    assert_false(replica_may_write_locked(bucket_of(0)));
    assert_true(replica_may_read_locked(bucket_of(0), world->now_us));
    atomic_fetch_sub(&world->nodes[0].peers[1].unacked_bytes, PEER_UNACKED_MAX);
    assert_true(replica_may_write_locked(bucket_of(0)));
    world_end();
}

static void test_alone_it_commits_at_once_and_keeps_nothing(void **state)
{
    (void)state;
    world_begin(CLUSTER_PARTITION, 1);
    for (int i = 0; i < 100; i++)
        assert_int_equal(append(0), OK);
    assert_int_equal(committed_of(0), 100);
    assert_int_equal(atomic_load(&world->nodes[0].server.backlog_bytes), 0);
    world_end();
}

static void test_over_the_budget_what_all_have_is_trimmed(void **state)
{
    (void)state;
    world_begin(CLUSTER_PARTITION_REDUNDANT, 3);
    for (int i = 0; i < 2000; i++)
        assert_int_equal(append(0), OK);
    uint64_t untrimmed = replica_of(0)->backlog.bytes;
    atomic_fetch_add(&world->nodes[0].server.backlog_bytes, LIMIT_BACKLOG_BYTES);
    tick_all(1000);
    assert_int_equal(replica_of(0)->backlog.bytes, untrimmed); /* the copy lacks them */
    settle();
    tick_all(1000);
    assert_true(replica_of(0)->backlog.bytes < untrimmed);
    atomic_fetch_sub(&world->nodes[0].server.backlog_bytes, LIMIT_BACKLOG_BYTES);
    world_end();
}

static void test_a_change_without_memory_changes_nothing(void **state)
{
    (void)state;
    world_begin(CLUSTER_PARTITION_REDUNDANT, 3);
    unsigned failed = 0;
    for (unsigned long n = 1;; n++) {
        uint64_t last_seq = bucket_of(0)->last_seq;
        mem_fault_fail_at(n);
        enum error error = append(0);
        mem_fault_fail_at(0);
        if (error == OK)
            break;
        assert_int_equal(error, ERROR_MEMORY);
        assert_int_equal(bucket_of(0)->last_seq, last_seq);
        failed++;
    }
    assert_true(failed >= 2);
    settle();
    assert_int_equal(committed_of(0), 1);
    world_end();
}

static void test_malformed_acknowledgements_are_refused(void **state)
{
    (void)state;
    world_begin(CLUSTER_PARTITION_REDUNDANT, 3);
    struct peer_conn conn = conn_of(0, 1, NULL);
    const uint8_t bytes[] = {1, 0, 1, 1};
    assert_int_equal(replica_on_acks(&conn, slice_of(bytes, sizeof bytes)), ERROR_MALFORMED);
    world_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_committed_waits_for_all_copies),
        cmocka_unit_test(test_a_cut_link_goes_on_where_the_copy_is),
        cmocka_unit_test(test_frames_are_bounded),
        cmocka_unit_test(test_a_long_record_goes_in_pieces),
        cmocka_unit_test(test_a_long_record_begins_anew_on_a_new_link),
        cmocka_unit_test(test_unacknowledged_bytes_are_counted_over_many_blocks_and_cuts),
        cmocka_unit_test(test_at_the_bound_of_the_link_nothing_new_is_taken),
        cmocka_unit_test(test_alone_it_commits_at_once_and_keeps_nothing),
        cmocka_unit_test(test_over_the_budget_what_all_have_is_trimmed),
        cmocka_unit_test(test_a_change_without_memory_changes_nothing),
        cmocka_unit_test(test_malformed_acknowledgements_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
