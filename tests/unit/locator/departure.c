/* Those that are lost: who noticed, and what becomes of what they had. */
#include "tests/unit/locator/raw_peer.h"

static void forget(struct fixture *fixture, const char *name, struct answer *answer)
{
    Pb__MemberForgetRequest request = PB__MEMBER_FORGET_REQUEST__INIT;
    request.name = message_bytes(slice_text(name));
    ask(fixture, 1032, &request.base, answer);
}

/* A cut cable: nobody knows whether it lives. */
static void cut_off(struct raw_peer *peer)
{
    sim_partition(peer->node, peer->fixture->locator_node);
    sim_partition(peer->fixture->locator_node, peer->node);
}

static void test_sole_copy_on_a_silent_server_is_waited_for(void **state)
{
    struct fixture *fixture = *state;
    struct raw_peer *a = raw_start(fixture, 0), *b = raw_start(fixture, 1);
    struct answer answer;
    run(fixture, 500 * MS);
    create_region(fixture, "r", "PARTITION", &answer);
    cut_off(a);
    run(fixture, 20 * SEC);
    assert_int_equal(b->map->member_count, 2);
    assert_int_equal(bucket_of(b->map, "r", 0)->generation, 1);
    assert_true(logged(fixture, "VG1211"));

    /* Its other friend still has a link to it: it lives. */
    b->linked[0] = 101;
    b->linked_count = 1;
    run(fixture, SEC);
    forget(fixture, "raw0", &answer);
    assert_memory_equal(answer.text, "EXISTS: ", 8);
    b->linked_count = 0;
    run(fixture, SEC);
    forget(fixture, "raw0", &answer);
    assert_int_equal(answer.number, 1033);
    Pb__MemberForgetResponse *response =
        pb__member_forget_response__unpack(NULL, answer.len, answer.body);
    assert_in_range(response->buckets_lost, 3, 4);
    pb__member_forget_response__free_unpacked(response, NULL);
    run(fixture, 20 * MS);
    assert_int_equal(b->map->member_count, 1);
    for (uint32_t i = 0; i < 7; i++)
        assert_int_equal(primary_of(b->map, bucket_of(b->map, "r", i)), 102);
    raw_free(a);
    raw_free(b);
}

static void test_nothing_is_lost_while_a_link_is_reported(void **state)
{
    struct fixture *fixture = *state;
    struct raw_peer *a = raw_start(fixture, 0), *b = raw_start(fixture, 1);
    struct answer answer;
    run(fixture, 500 * MS);
    create_region(fixture, "r", "PARTITION", &answer);
    b->linked[0] = 101;
    b->linked_count = 1;
    run(fixture, 500 * MS);
    raw_end(a);
    run(fixture, 3 * SEC);
    assert_int_equal(b->map->member_count, 2);
    assert_int_equal(b->map->members[0].state, CLUSTER_DOWN);
    b->linked_count = 0;
    run(fixture, 500 * MS);
    assert_int_equal(b->map->member_count, 1);
    assert_true(logged(fixture, "VG1231"));
    raw_free(a);
    raw_free(b);
}

static void test_who_was_taken_for_dead_is_not_taken_back(void **state)
{
    struct fixture *fixture = *state;
    struct raw_peer *a = raw_start(fixture, 0), *b = raw_start(fixture, 1);
    struct answer answer;
    run(fixture, 500 * MS);
    create_region(fixture, "r", "PARTITION", &answer);
    b->linked[0] = 101; /* so that it stays in the map */
    b->linked_count = 1;
    run(fixture, 500 * MS);
    raw_end(a);
    run(fixture, SEC);
    raw_connect(a);
    run(fixture, SEC);
    assert_int_equal(a->refusal, PB__PEER_WELCOME__REFUSAL__NAME_TAKEN);
    raw_free(a);
    raw_free(b);
}

static void test_new_incarnation_waits_until_the_old_one_is_out(void **state)
{
    struct fixture *fixture = *state;
    struct raw_peer *a = raw_start(fixture, 0), *b = raw_start(fixture, 1);
    struct answer answer;
    run(fixture, 500 * MS);
    create_region(fixture, "r", "PARTITION_REDUNDANT", &answer);
    b->answers = false;
    raw_end(a);
    run(fixture, 100 * MS);
    a->incarnation = 201;
    raw_connect(a);
    run(fixture, 2 * SEC);
    assert_int_equal(a->refusal, -1);
    b->answers = true;
    run(fixture, SEC);
    assert_int_equal(a->refusal, 0);
    assert_int_equal(b->map->member_count, 2);
    for (uint32_t i = 0; i < 7; i++) {
        const struct cluster_bucket *bucket = bucket_of(b->map, "r", i);
        assert_int_equal(primary_of(b->map, bucket), 102);
        assert_int_equal(bucket->generation, 1);
        assert_false(has_copy(b->map, bucket, 201)); /* it begins with nothing */
    }
    raw_free(a);
    raw_free(b);
}

static void test_locator_that_comes_back_takes_everybody_back(void **state)
{
    struct fixture *fixture = *state;
    struct raw_peer *a = raw_start(fixture, 0), *b = raw_start(fixture, 1);
    struct answer answer;
    run(fixture, 500 * MS);
    create_region(fixture, "r", "PARTITION_REDUNDANT", &answer);
    uint64_t epoch = a->map->epoch;
    locator_end(fixture);
    run(fixture, 300 * SEC);
    locator_start(fixture);
    raw_connect(a);
    raw_connect(b);
    run(fixture, 10 * SEC);
    assert_int_equal(a->refusal, 0);
    assert_int_equal(a->map->epoch, epoch);
    assert_int_equal(b->seal_count, 0);
    raw_free(a);
    raw_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_sole_copy_on_a_silent_server_is_waited_for),
        TEST(test_nothing_is_lost_while_a_link_is_reported),
        TEST(test_who_was_taken_for_dead_is_not_taken_back),
        TEST(test_new_incarnation_waits_until_the_old_one_is_out),
        TEST(test_locator_that_comes_back_takes_everybody_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
