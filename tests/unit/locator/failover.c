/* Copies seal, one is promoted: with servers that are nothing but bytes. */
#include "tests/unit/locator/raw_peer.h"

struct cluster {
    struct fixture *fixture;
    struct raw_peer *peers[RAW_PEERS];
    uint32_t count;
};

static void create(struct fixture *fixture, const char *type, uint32_t redundant)
{
    Pb__RegionCreateRequest request = PB__REGION_CREATE_REQUEST__INIT;
    struct answer answer;
    request.name = message_bytes(slice_text("r"));
    request.type = message_bytes(slice_text(type));
    request.redundant_copies = redundant;
    request.bucket_count = 8;
    ask(fixture, 1020, &request.base, &answer);
    assert_int_equal(answer.number, 1021);
}

static struct cluster begin(struct fixture *fixture, uint32_t count, const char *type,
                            uint32_t redundant)
{
    struct cluster cluster = {.fixture = fixture, .count = count};
    for (uint32_t i = 0; i < count; i++)
        cluster.peers[i] = raw_start(fixture, i);
    run(fixture, 500 * MS);
    create(fixture, type, redundant);
    return cluster;
}

static void end(struct cluster *cluster)
{
    for (uint32_t i = 0; i < cluster->count; i++)
        raw_free(cluster->peers[i]);
}

/* Buckets that `incarnation` leads, in the map that this one has. */
static uint32_t led_by(const struct raw_peer *peer, uint64_t incarnation)
{
    uint32_t led = 0;
    for (uint32_t i = 0; i < 8; i++)
        led += primary_of(peer->map, bucket_of(peer->map, "r", i)) == incarnation;
    return led;
}

static void test_killed_primary_is_replaced_in_one_change_without_a_tick(void **state)
{
    struct cluster cluster = begin(*state, 3, "PARTITION", 2);
    struct raw_peer *other = cluster.peers[1];
    uint64_t epoch = other->map->epoch;
    uint32_t led = led_by(other, 101);
    assert_true(led >= 2);
    raw_end(cluster.peers[0]);
    run(*state, 30 * MS);
    assert_int_equal(other->map->epoch, epoch + 1);
    assert_int_equal(other->map->member_count, 2);
    for (uint32_t i = 0; i < 8; i++) {
        const struct cluster_bucket *bucket = bucket_of(other->map, "r", i);
        assert_int_equal(bucket->generation, 1);
        assert_int_equal(bucket->set_version, 2);
        assert_int_equal(bucket->in_sync_count, 2);
    }
    assert_int_equal(led_by(other, 102), 4); /* level, as everybody had everything */
    assert_int_equal(led_by(other, 103), 4);
    assert_int_equal(other->seal_count, led);
    assert_true(other->seals[0].gone);
    assert_int_equal(other->seals[0].deposed, 101);
    assert_int_equal(other->seals[0].term, 2);
    assert_true(logged(*state, "VG1212"));
    assert_true(logged(*state, "buckets_lost=0"));
    end(&cluster);
}

static void test_report_with_proof_is_enough(void **state)
{
    struct cluster cluster = begin(*state, 3, "PARTITION", 2);
    cluster.peers[0]->is_mute = true;
    raw_report(cluster.peers[2], 101, true, 3);
    run(*state, 30 * MS);
    assert_int_equal(led_by(cluster.peers[1], 101), 0);
    assert_int_equal(cluster.peers[1]->map->member_count, 2);
    assert_true(logged(*state, "noticed by raw2"));
    end(&cluster);
}

static void test_longest_copy_is_promoted(void **state)
{
    struct cluster cluster = begin(*state, 3, "PARTITION", 2);
    uint32_t led = led_by(cluster.peers[2], 101), before = led_by(cluster.peers[2], 103);
    cluster.peers[1]->last_seq = 7;
    cluster.peers[2]->last_seq = 8;
    raw_end(cluster.peers[0]);
    run(*state, 30 * MS);
    assert_int_equal(led_by(cluster.peers[2], 103), before + led);
    end(&cluster);
}

static void test_promise_is_waited_for(void **state)
{
    struct cluster cluster = begin(*state, 3, "PARTITION", 2);
    for (uint32_t i = 1; i < 3; i++) {
        cluster.peers[i]->verdict = PB__PEER_SEALED_BUCKET__VERDICT__PROMISED;
        cluster.peers[i]->wait_ms = 400;
    }
    uint32_t led = led_by(cluster.peers[1], 101);
    cluster.peers[0]->is_mute = true;
    raw_report(cluster.peers[1], 101, false, 1200);
    run(*state, 300 * MS);
    assert_int_equal(cluster.peers[1]->seal_count, led); /* asked once */
    assert_false(cluster.peers[1]->seals[0].gone);
    assert_int_equal(led_by(cluster.peers[1], 101), led);
    for (uint32_t i = 1; i < 3; i++)
        cluster.peers[i]->verdict = PB__PEER_SEALED_BUCKET__VERDICT__SEALED;
    run(*state, 200 * MS);
    assert_int_equal(led_by(cluster.peers[1], 101), 0);
    assert_int_equal(cluster.peers[1]->map->member_count, 3); /* not gone: it may come back */
    assert_true(logged(*state, "VG1211"));
    end(&cluster);
}

static void test_higher_sealed_term_is_gone_beyond(void **state)
{
    struct cluster cluster = begin(*state, 3, "PARTITION", 2);
    cluster.peers[1]->verdict = PB__PEER_SEALED_BUCKET__VERDICT__REFUSED;
    cluster.peers[1]->current = 9;
    raw_end(cluster.peers[0]);
    run(*state, 5 * MS);
    cluster.peers[1]->verdict = PB__PEER_SEALED_BUCKET__VERDICT__SEALED;
    cluster.peers[1]->current = 0;
    run(*state, 200 * MS);
    assert_int_equal(led_by(cluster.peers[1], 101), 0);
    uint32_t raised = 0;
    for (uint32_t i = 0; i < 8; i++) {
        const struct cluster_bucket *bucket = bucket_of(cluster.peers[1]->map, "r", i);
        raised += bucket->term == 10;
        assert_true(bucket->term == 1 || bucket->term == 10);
        assert_int_equal(bucket->in_sync_count, 2);
    }
    assert_true(raised >= 2);
    end(&cluster);
}

static void test_copy_that_does_not_answer_is_left_out(void **state)
{
    struct cluster cluster = begin(*state, 3, "PARTITION", 2);
    uint32_t led = led_by(cluster.peers[1], 101);
    cluster.peers[2]->answers = false;
    raw_end(cluster.peers[0]);
    run(*state, 700 * MS);
    assert_int_equal(led_by(cluster.peers[1], 101), led); /* it has 1 s */
    run(*state, 500 * MS);
    assert_int_equal(led_by(cluster.peers[1], 101), 0);
    uint32_t alone = 0;
    for (uint32_t i = 0; i < 8; i++)
        alone += bucket_of(cluster.peers[1]->map, "r", i)->in_sync_count == 1;
    assert_int_equal(alone, led);
    end(&cluster);
}

static void test_nobody_sealed_promotes_nobody(void **state)
{
    struct cluster cluster = begin(*state, 2, "PARTITION", 1);
    uint32_t led = led_by(cluster.peers[1], 101);
    cluster.peers[1]->answers = false;
    raw_end(cluster.peers[0]);
    run(*state, 8 * SEC);
    assert_int_equal(led_by(cluster.peers[1], 101), led);
    assert_int_equal(bucket_of(cluster.peers[1]->map, "r", 0)->generation, 1);
    cluster.peers[1]->answers = true;
    run(*state, SEC);
    assert_int_equal(led_by(cluster.peers[1], 102), 8);
    end(&cluster);
}

static void test_copy_whose_link_comes_back_is_asked(void **state)
{
    struct cluster cluster = begin(*state, 2, "PARTITION", 1);
    uint32_t led = led_by(cluster.peers[1], 101);
    net_conn_abort(cluster.peers[1]->conn);
    cluster.peers[1]->conn = NULL;
    loop_timer_clear(&cluster.peers[1]->timer);
    run(*state, 100 * MS);
    raw_end(cluster.peers[0]);
    run(*state, 3 * SEC);
    assert_int_equal(led_by(cluster.peers[1], 101), led);
    raw_connect(cluster.peers[1]);
    run(*state, SEC);
    assert_int_equal(led_by(cluster.peers[1], 102), 8);
    end(&cluster);
}

static void test_reading_copy_is_left_out_when_promises_to_it_have_ended(void **state)
{
    struct cluster cluster = begin(*state, 3, "REPLICATE", 0);
    uint32_t led = led_by(cluster.peers[1], 101);
    assert_true(led >= 2);
    cluster.peers[2]->answers = false;
    cluster.peers[1]->promised = 103;
    raw_end(cluster.peers[0]);
    run(*state, 2 * SEC);
    assert_int_equal(led_by(cluster.peers[1], 101), led);
    cluster.peers[1]->promised = 0;
    run(*state, 500 * MS);
    assert_int_equal(led_by(cluster.peers[1], 101), 0);
    end(&cluster);
}

static void test_lost_swap_is_decided_again(void **state)
{
    struct fixture *fixture = *state;
    struct cluster cluster = begin(fixture, 3, "PARTITION", 2);
    fixture->memory.fail_with = ERROR_CONFLICT;
    fixture->memory.fail_count = 1;
    raw_end(cluster.peers[0]);
    run(fixture, 50 * MS);
    assert_int_equal(led_by(cluster.peers[1], 101), 0);
    assert_int_equal(bucket_of(cluster.peers[1]->map, "r", 0)->set_version, 2);
    end(&cluster);
}

static void test_moved_set_version_ends_the_attempt(void **state)
{
    struct fixture *fixture = *state;
    struct cluster cluster = begin(fixture, 3, "PARTITION", 2);
    uint64_t all[] = {101, 102, 103};
    uint32_t id = 0;
    struct raw_peer *suspect = cluster.peers[0], *copy = cluster.peers[1];
    while (primary_of(copy->map, bucket_of(copy->map, "r", id)) != 101)
        id++;
    copy->answers = cluster.peers[2]->answers = false;
    raw_report(copy, 101, false, 1000);
    run(fixture, 20 * MS);
    raw_propose(suspect, bucket_of(suspect->map, "r", id), 1, id, 1, 101, all, 3);
    run(fixture, 20 * MS);
    assert_int_equal(bucket_of(copy->map, "r", id)->set_version, 2);
    copy->seal_count = 0;
    copy->answers = cluster.peers[2]->answers = true;
    suspect->is_mute = true;
    run(fixture, 3 * SEC);
    /* Anew, from the version that it has now. */
    assert_int_equal(led_by(copy, 101), 0);
    assert_int_equal(bucket_of(copy->map, "r", id)->set_version, 3);
    assert_int_equal(bucket_of(copy->map, "r", id)->term, 2);
    end(&cluster);
}

static void test_suspect_that_speaks_again_keeps_its_buckets(void **state)
{
    struct fixture *fixture = *state;
    struct cluster cluster = begin(fixture, 2, "PARTITION", 1);
    uint32_t led = led_by(cluster.peers[1], 101);
    cluster.peers[1]->verdict = PB__PEER_SEALED_BUCKET__VERDICT__PROMISED;
    cluster.peers[1]->wait_ms = 300;
    raw_report(cluster.peers[1], 101, false, 1000);
    run(fixture, 5 * SEC); /* nobody reports it any more, and it beacons */
    assert_true(logged(fixture, "VG1213"));
    cluster.peers[1]->verdict = PB__PEER_SEALED_BUCKET__VERDICT__SEALED;
    run(fixture, 2 * SEC);
    assert_int_equal(led_by(cluster.peers[1], 101), led);
    end(&cluster);
}

/* Whatever allocation fails on the way, the buckets are led in the end: as the stored map says. */
static void test_each_failing_allocation_only_delays(void **state)
{
    for (unsigned long n = 1; n < 150; n++) {
        struct fixture *fixture = *state;
        struct cluster cluster = begin(fixture, 2, "PARTITION", 1);
        struct cluster_map *map;
        raw_end(cluster.peers[0]);
        mem_fault_fail_at(n);
        run(fixture, 30 * MS);
        mem_fault_fail_at(0);
        if (cluster.peers[1]->conn == NULL)
            raw_connect(cluster.peers[1]);
        run(fixture, 5 * SEC);
        assert_int_equal(
            cluster_map_unpack(slice_of(fixture->memory.bytes, fixture->memory.len), &map), OK);
        for (uint32_t i = 0; i < 8; i++)
            assert_int_equal(primary_of(map, bucket_of(map, "r", i)), 102);
        cluster_map_unref(map);
        end(&cluster);
        assert_int_equal(fixture_teardown(state), 0);
        assert_int_equal(fixture_setup(state), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_killed_primary_is_replaced_in_one_change_without_a_tick),
        TEST(test_report_with_proof_is_enough),
        TEST(test_longest_copy_is_promoted),
        TEST(test_promise_is_waited_for),
        TEST(test_higher_sealed_term_is_gone_beyond),
        TEST(test_copy_that_does_not_answer_is_left_out),
        TEST(test_nobody_sealed_promotes_nobody),
        TEST(test_copy_whose_link_comes_back_is_asked),
        TEST(test_reading_copy_is_left_out_when_promises_to_it_have_ended),
        TEST(test_lost_swap_is_decided_again),
        TEST(test_moved_set_version_ends_the_attempt),
        TEST(test_suspect_that_speaks_again_keeps_its_buckets),
        TEST(test_each_failing_allocation_only_delays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
