#include "replica_fixture.h"

static void test_a_deposed_primary_is_fenced(void **state)
{
    (void)state;
    world_begin(CLUSTER_PARTITION_REDUNDANT, 7);
    append(0);
    settle();
    store_set(1, 2, 1, 6); /* 0 does not hear of it */
    adopt(1);
    adopt(2);
    settle();
    assert_int_equal(append(0), OK);
    settle();
    assert_int_equal(committed_of(0), 1);
    assert_int_equal(bucket_of(1)->last_seq, 1);
    assert_int_equal(bucket_of(2)->last_seq, 1);
    assert_int_equal(append(1), OK);
    settle();
    assert_int_equal(committed_of(1), 2);
    adopt(0);
    assert_int_equal(replica_of(0)->role, REPLICA_NONE);
    assert_int_equal(bucket_of(0)->last_seq, 0);
    world_end();
}

static void test_a_frame_of_a_newer_term_waits_for_the_map(void **state)
{
    (void)state;
    world_begin(CLUSTER_PARTITION_REDUNDANT, 7);
    store_set(1, 2, 1, 6);
    adopt(1);
    assert_int_equal(append(1), OK);
    settle();
    assert_int_equal(bucket_of(2)->last_seq, 0);
    assert_int_equal(replica_of(2)->current, 1);
    adopt(2);
    tick_all(50000);
    settle();
    assert_int_equal(committed_of(1), 1);
    world_end();
}

static void test_a_copy_without_memory_leaves_the_set(void **state)
{
    (void)state;
    world_begin(CLUSTER_PARTITION_REDUNDANT, 7);
    append(0);
    fill(0, 1);
    mem_fault_fail_from(1);
    struct frame frame = {0};
    assert_true(pop(&world->to[0][1], &frame));
    struct peer_conn conn = conn_of(1, 0, &world->back[0][1]);
    assert_int_equal(replica_on_records(&conn, slice_of(frame.data, frame.len)), ERROR_MEMORY);
    mem_fault_fail_from(0);
    free(frame.data);
    buf_fini(&conn.acks);
    assert_int_equal(replica_of(1)->role, REPLICA_NONE);
    cut(0, 1); /* what its owner does when even the answer has no room */
    link_up(0, 1);
    settle();
    assert_int_equal(committed_of(0), 0);
    assert_true(world->proposal_count > 0);
    store(0);
    adopt_all();
    settle();
    assert_int_equal(stored()->in_sync_count, 2);
    assert_int_equal(committed_of(0), 1);
    world_end();
}

static struct frame next_frame(void)
{
    struct frame frame = {0};
    fill(0, 1);
    assert_true(pop(&world->to[0][1], &frame));
    return frame;
}

static void test_a_piece_whose_beginning_is_gone_is_asked_for(void **state)
{
    (void)state;
    world_begin(CLUSTER_PARTITION_REDUNDANT, 3);
    append_long(0);
    struct frame first = next_frame(), second = next_frame();
    struct peer_conn conn = conn_of(1, 0, &world->back[0][1]);
    assert_int_equal(replica_on_records(&conn, slice_of(second.data, second.len)), OK);
    struct slice acks = buf_slice(&conn.acks);
    struct wire_ack ack;
    assert_int_equal(wire_take_ack(&acks, &ack), OK);
    assert_int_equal(ack.flags, ACK_REWIND);
    assert_int_equal(ack.last_seq, 0);
    buf_clear(&conn.acks);
    assert_int_equal(replica_on_records(&conn, slice_of(first.data, first.len)), OK);
    assert_int_equal(replica_on_records(&conn, slice_of(second.data, second.len)), OK);
    assert_int_equal(conn.acks.len, 0); /* there is nothing to say before it is whole */
    assert_int_equal(replica_on_records(&conn, slice_of(second.data, second.len)), OK);
    acks = buf_slice(&conn.acks);
    assert_int_equal(wire_take_ack(&acks, &ack), OK);
    assert_int_equal(ack.flags, ACK_REWIND);
    buf_fini(&conn.acks);
    free(first.data);
    free(second.data);
    cut(0, 1);
    link_up(0, 1);
    link_up(1, 0);
    settle();
    assert_int_equal(committed_of(0), 1);
    world_end();
}

static void test_a_copy_without_memory_for_pieces_leaves_the_set(void **state)
{
    (void)state;
    for (unsigned fail = 1; fail <= 2; fail++) { /* the third fits in what the second one got */
        world_begin(CLUSTER_PARTITION_REDUNDANT, 3);
        append_long(0);
        struct peer_conn conn = conn_of(1, 0, &world->back[0][1]);
        enum error error = OK;
        mem_fault_fail_from(0);
        for (unsigned i = 1; i <= 4 && error == OK && replica_of(1)->role == REPLICA_COPY; i++) {
            struct frame frame = next_frame();
            mem_fault_fail_from(i == fail ? 1 : 0);
            error = replica_on_records(&conn, slice_of(frame.data, frame.len));
            mem_fault_fail_from(0);
            free(frame.data);
        }
        assert_int_equal(bucket_of(1)->last_seq, 0);
        assert_int_equal(replica_of(1)->role, REPLICA_NONE);
        assert_int_equal(replica_of(1)->piece.cap, 0);
        buf_fini(&conn.acks);
        world_end();
    }
}

/* Every 4,096 records the primary says what its contents come to. */
static void write_until_checked(void)
{
    struct bucket *bucket = bucket_of(0);
    for (uint64_t end = bucket->last_seq + 5000; bucket->last_seq < end; settle()) {
        struct record record = {
            .type = RECORD_PUT, .key = slice_text("k"), .value = slice_text("v")};
        record.hash = table_hash(record.key, bucket->region->hash_seed);
        assert_int_equal(bucket_append_locked(bucket, &record, 1), OK);
    }
}

static void test_a_copy_that_differs_leaves_the_set(void **state)
{
    (void)state;
    world_begin(CLUSTER_PARTITION_REDUNDANT, 3);
    write_until_checked();
    assert_int_equal(replica_of(1)->role, REPLICA_COPY);
    assert_int_equal(bucket_of(1)->last_seq, bucket_of(0)->last_seq);
    struct bucket *copy = bucket_of(1);
    uint64_t hash = table_hash(slice_text("k"), copy->region->hash_seed);
    entry_unref(table_remove(&copy->table, slice_text("k"), hash));
    struct entry *entry = entry_new(slice_text("other"), slice_text("x"), 7, 1), *old;
    assert_int_equal(table_put(&copy->table, entry, &old), OK);
    write_until_checked();
    assert_int_equal(replica_of(1)->role, REPLICA_NONE);
    world_end();
}

static void test_duplicates_are_skipped_and_holes_refused(void **state)
{
    (void)state;
    world_begin(CLUSTER_PARTITION_REDUNDANT, 3);
    for (int i = 0; i < 3; i++)
        append(0);
    fill(0, 1);
    struct frame frame = {0};
    assert_true(pop(&world->to[0][1], &frame));
    struct peer_conn conn = conn_of(1, 0, NULL);
    assert_int_equal(replica_on_records(&conn, slice_of(frame.data, frame.len)), OK);
    assert_int_equal(replica_on_records(&conn, slice_of(frame.data, frame.len)), OK);
    assert_int_equal(bucket_of(1)->last_seq, 3);
    replica_drop_locked(bucket_of(1));
    replica_of(1)->role = REPLICA_COPY;
    replica_of(1)->current = 1;
    struct slice rest = slice_of(frame.data, frame.len), packed;
    struct wire_records header;
    assert_int_equal(wire_take_records(&rest, &header), OK);
    assert_int_equal(wire_take_record(&rest, &packed), OK);
    uint8_t hole[256];
    size_t len = (size_t)(wire_put_records(&header, hole) - hole);
    memcpy(hole + len, rest.data, rest.len); /* without its first record */
    buf_clear(&conn.acks);
    assert_int_equal(replica_on_records(&conn, slice_of(hole, len + rest.len)), OK);
    struct slice acks = buf_slice(&conn.acks);
    struct wire_ack ack;
    assert_int_equal(wire_take_ack(&acks, &ack), OK);
    assert_int_equal(ack.flags, ACK_REWIND);
    assert_int_equal(ack.last_seq, 0);
    assert_int_equal(bucket_of(1)->last_seq, 0);
    assert_int_equal(replica_on_records(&conn, slice_of(frame.data, frame.len - 1)),
                     ERROR_MALFORMED);
    buf_fini(&conn.acks);
    free(frame.data);
    world_end();
}

static void test_record_times_go_on_from_the_last_record(void **state)
{
    (void)state;
    world_begin(CLUSTER_PARTITION_REDUNDANT, 3);
    append(0);
    settle();
    uint64_t last_ms = bucket_of(1)->last_time_ms, heard_us = replica_of(1)->heard_us;
    crash(0);
    store_set(1, 2, 1, 2);
    adopt(1);
    world->now_us += 250000;
    assert_int_equal(replica_record_time_locked(bucket_of(1), 9999999, world->now_us),
                     last_ms + (world->now_us - heard_us) / 1000);
    assert_int_equal(replica_record_time_locked(bucket_of(1), 0, 0), last_ms);
    world_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_deposed_primary_is_fenced),
        cmocka_unit_test(test_a_frame_of_a_newer_term_waits_for_the_map),
        cmocka_unit_test(test_a_copy_without_memory_leaves_the_set),
        cmocka_unit_test(test_a_piece_whose_beginning_is_gone_is_asked_for),
        cmocka_unit_test(test_a_copy_without_memory_for_pieces_leaves_the_set),
        cmocka_unit_test(test_a_copy_that_differs_leaves_the_set),
        cmocka_unit_test(test_duplicates_are_skipped_and_holes_refused),
        cmocka_unit_test(test_record_times_go_on_from_the_last_record),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
