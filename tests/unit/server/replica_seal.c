#include "replica_fixture.h"

static struct seal_answer seal(int node, uint32_t set_version, uint32_t term)
{
    struct seal_answer answer;
    replica_seal(bucket_of(node), 1, set_version, term, &answer);
    return answer;
}

static void test_a_seal_waits_for_the_promise_to_the_primary(void **state)
{
    (void)state;
    world_begin(CLUSTER_PARTITION_REDUNDANT, 7);
    append(0);
    settle();
    beat_all();
    struct seal_answer answer = seal(1, 1, 2);
    assert_int_equal(answer.verdict, SEAL_PROMISED);
    assert_true(answer.wait_ms > 2000 && answer.wait_ms <= 2501);
    assert_int_equal(replica_of(1)->current, 1);
    world->now_us += PEER_PROMISE_US;
    answer = seal(1, 1, 2);
    assert_int_equal(answer.verdict, SEAL_DONE);
    assert_int_equal(answer.last_seq, 1);
    assert_int_equal(answer.current, 2);
    assert_int_equal(answer.promised_count, 0);
    assert_int_equal(append(0), OK); /* of the lower term: refused for good */
    settle();
    assert_int_equal(bucket_of(1)->last_seq, 1);
    assert_int_equal(committed_of(0), 1);
    world_end();
}

static void test_a_gone_primary_has_no_promise(void **state)
{
    (void)state;
    world_begin(CLUSTER_REPLICATE, 7);
    beat_all();
    crash(0);
    struct seal_answer answer = seal(1, 1, 2);
    assert_int_equal(answer.verdict, SEAL_DONE);
    assert_int_equal(answer.promised_count, 1); /* the other copy may be reading */
    assert_int_equal(answer.promised[0], incarnation_of(2));
    world->now_us += PEER_PROMISE_US;
    atomic_store(&world->nodes[1].peers[2].promise_until_us, world->now_us + PEER_PROMISE_US);
    assert_int_equal(seal(1, 1, 2).promised_count, 0); /* not for this bucket, since the seal */
    world_end();
}

static void test_what_makes_no_sense_is_refused(void **state)
{
    (void)state;
    world_begin(CLUSTER_PARTITION_REDUNDANT, 7);
    world->now_us += PEER_PROMISE_US;
    assert_int_equal(seal(0, 1, 2).verdict, SEAL_REFUSED);  /* the primary itself */
    assert_int_equal(seal(3, 1, 2).verdict, SEAL_REFUSED);  /* no copy */
    assert_int_equal(seal(1, 1, 1).verdict, SEAL_REFUSED);  /* no higher term */
    assert_int_equal(seal(1, 0, 2).verdict, SEAL_REFUSED);  /* of an older map */
    assert_int_equal(seal(1, 2, 2).verdict, SEAL_PROMISED); /* of a newer one: ask again */
    assert_int_equal(seal(1, 1, 5).verdict, SEAL_DONE);
    assert_int_equal(seal(1, 1, 4).verdict, SEAL_REFUSED);
    assert_int_equal(seal(1, 1, 5).verdict, SEAL_DONE);
    struct seal_answer answer;
    replica_seal(bucket_of(2), 2, 1, 2, &answer); /* another generation */
    assert_int_equal(answer.verdict, SEAL_REFUSED);
    world_end();
}

static void test_who_has_sealed_grants_nothing_for_the_bucket(void **state)
{
    (void)state;
    world_begin(CLUSTER_PARTITION_REDUNDANT, 3);
    beat_all();
    assert_true(replica_may_read_locked(bucket_of(0), world->now_us));
    world->now_us += PEER_PROMISE_US;
    assert_false(replica_may_read_locked(bucket_of(0), world->now_us));
    assert_int_equal(seal(1, 1, 2).verdict, SEAL_DONE);
    beat_all(); /* a lease of the server, but not for this bucket */
    assert_true(peer_lease_holds(&world->nodes[0].peers[1], world->now_us));
    assert_false(replica_may_read_locked(bucket_of(0), world->now_us));
    cut(0, 1);
    link_up(0, 1); /* said again, first thing */
    struct channel *back = &world->back[0][1];
    assert_int_equal(back->frames[back->first % FRAMES].kind, PEER_FRAME_EXCEPTIONS);
    settle();
    beat_all();
    assert_false(replica_may_read_locked(bucket_of(0), world->now_us));
    world_end();
}

static void test_a_sealed_term_is_taken_over(void **state)
{
    (void)state;
    world_begin(CLUSTER_PARTITION_REDUNDANT, 3);
    world->now_us += PEER_PROMISE_US;
    assert_int_equal(seal(1, 1, 4).verdict, SEAL_DONE);
    append(0);
    settle();
    assert_int_equal(committed_of(0), 0);
    assert_int_equal(world->proposal_count, 1);
    assert_int_equal(world->proposals[0].term, 4);
    assert_int_equal(world->proposals[0].primary, incarnation_of(0));
    store(0);
    adopt_all();
    tick_all(50000);
    settle();
    beat_all();
    assert_int_equal(committed_of(0), 1);
    assert_true(replica_may_read_locked(bucket_of(0), world->now_us));
    world_end();
}

static void test_a_sealed_term_is_taken_over_without_writes(void **state)
{
    (void)state;
    world_begin(CLUSTER_PARTITION_REDUNDANT, 3);
    settle();
    world->now_us += PEER_PROMISE_US;
    assert_int_equal(seal(1, 1, 4).verdict, SEAL_DONE);
    beat_all(); /* all that the primary is told is that nothing is granted */
    settle();
    assert_int_equal(world->proposal_count, 1);
    assert_int_equal(world->proposals[0].term, 4);
    store(0);
    adopt_all();
    tick_all(50000);
    settle();
    beat_all();
    assert_true(replica_may_read_locked(bucket_of(0), world->now_us));
    world_end();
}

static void test_a_seal_under_an_older_map_counts_its_promises_anew(void **state)
{
    (void)state;
    world_begin(CLUSTER_PARTITION_REDUNDANT, 7);
    world->now_us += PEER_PROMISE_US;
    assert_int_equal(seal(1, 1, 2).verdict, SEAL_DONE);
    store_set(1, 1, 0, 3); /* the third is out; the term stays */
    adopt_all();
    assert_true(replica_of(1)->is_sealed);
    beat_all();
    assert_int_equal(seal(1, 2, 2).verdict, SEAL_PROMISED);
    world->now_us += PEER_PROMISE_US;
    assert_int_equal(seal(1, 2, 2).verdict, SEAL_DONE);
    world_end();
}

static void test_an_exception_for_a_region_to_come_drops_the_connection(void **state)
{
    (void)state;
    world_begin(CLUSTER_PARTITION_REDUNDANT, 3);
    struct peer_conn conn = conn_of(0, 1, NULL);
    struct wire_exception said = {{world->region_id + 1, 0, 1}, 1};
    struct buf out;
    buf_init(&out);
    wire_append_exception(&said, &out);
    assert_int_equal(replica_on_exceptions(&conn, buf_slice(&out)), ERROR_BUSY);
    assert_int_equal(replica_on_exceptions(&conn, slice_of(out.data, out.len - 1)),
                     ERROR_MALFORMED);
    buf_fini(&out);
    world_end();
}

static void test_a_copy_of_a_replicate_reads_with_all_leases(void **state)
{
    (void)state;
    world_begin(CLUSTER_REPLICATE, 7);
    beat_all();
    assert_true(replica_may_read_locked(bucket_of(1), world->now_us));
    atomic_store(&world->nodes[1].peers[2].lease_until_us, 0);
    assert_false(replica_may_read_locked(bucket_of(1), world->now_us));
    world_end();
    world_begin(CLUSTER_PARTITION_REDUNDANT, 7);
    beat_all();
    assert_false(replica_may_read_locked(bucket_of(1), world->now_us));
    world_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_seal_waits_for_the_promise_to_the_primary),
        cmocka_unit_test(test_a_gone_primary_has_no_promise),
        cmocka_unit_test(test_what_makes_no_sense_is_refused),
        cmocka_unit_test(test_who_has_sealed_grants_nothing_for_the_bucket),
        cmocka_unit_test(test_a_sealed_term_is_taken_over),
        cmocka_unit_test(test_a_sealed_term_is_taken_over_without_writes),
        cmocka_unit_test(test_a_seal_under_an_older_map_counts_its_promises_anew),
        cmocka_unit_test(test_an_exception_for_a_region_to_come_drops_the_connection),
        cmocka_unit_test(test_a_copy_of_a_replicate_reads_with_all_leases),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
