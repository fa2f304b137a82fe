/* When a bucket may change hands. */
#include "locator/failover_impl.h"
#include "tests/unit/locator/raw_peer.h"

/* Three copies of a bucket whose primary is lost: members 101 to 103, all with links. */
static struct attempt_bucket sealing(void)
{
    struct attempt_bucket bucket = {.copy_count = 3};
    for (uint32_t i = 0; i < 3; i++)
        bucket.copies[i].incarnation = 101 + i;
    return bucket;
}

static bool is_ready(struct fixture *fixture, struct attempt_bucket *bucket, uint64_t after_ms,
                     uint64_t *due_us)
{
    *due_us = UINT64_MAX;
    return attempt_bucket_is_ready(fixture->locator, bucket,
                                   bucket->first_sealed_us + after_ms * MS, due_us);
}

static void test_everybody_here_has_a_second_and_the_absent_less(void **state)
{
    struct fixture *fixture = *state;
    struct raw_peer *peers[3];
    uint64_t due_us;
    for (uint32_t i = 0; i < 3; i++)
        peers[i] = raw_start(fixture, i);
    struct attempt_bucket bucket = sealing();
    assert_false(is_ready(fixture, &bucket, 0, &due_us)); /* nobody sealed: never */
    assert_true(due_us == UINT64_MAX);
    bucket.first_sealed_us = 77;
    bucket.copies[0].state = COPY_SEALED;
    assert_false(is_ready(fixture, &bucket, FAILOVER_HERE_MS - 1, &due_us));
    assert_true(due_us == 77 + FAILOVER_HERE_MS * MS);
    assert_true(is_ready(fixture, &bucket, FAILOVER_HERE_MS, &due_us));
    bucket.copies[1].state = COPY_SEALED;
    net_conn_abort(peers[2]->conn); /* its host still answers */
    peers[2]->conn = NULL;
    run(fixture, 20 * MS);
    assert_false(is_ready(fixture, &bucket, FAILOVER_AWAY_MS - 1, &due_us));
    assert_true(is_ready(fixture, &bucket, FAILOVER_AWAY_MS, &due_us));
    bucket.copies[2].state = COPY_SEALED;
    assert_true(is_ready(fixture, &bucket, 0, &due_us));
    bucket.copies[2].state = COPY_ASKED;
    bucket.copies[2].incarnation = 999; /* nobody's: it is gone */
    assert_true(is_ready(fixture, &bucket, 0, &due_us));
    for (uint32_t i = 0; i < 3; i++)
        raw_free(peers[i]);
}

static void test_reading_copy_is_left_out_only_when_one_that_sealed_promises_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct raw_peer *peers[3];
    uint64_t due_us;
    for (uint32_t i = 0; i < 3; i++)
        peers[i] = raw_start(fixture, i);
    struct attempt_bucket bucket = sealing();
    bucket.is_replicate = true;
    bucket.first_sealed_us = 77;
    for (uint32_t i = 0; i < 2; i++) {
        bucket.copies[i].state = COPY_SEALED;
        bucket.copies[i].promised = 1u << 2;
        bucket.copies[i].ask_us = UINT64_MAX;
    }
    assert_false(is_ready(fixture, &bucket, 5000, &due_us));
    assert_true(bucket.copies[0].ask_us != UINT64_MAX); /* asked again for what is left */
    bucket.copies[1].promised = 0;
    assert_true(is_ready(fixture, &bucket, 5000, &due_us));
    bucket.copies[1].promised = 1u << 2;
    bucket.is_replicate = false;
    assert_true(is_ready(fixture, &bucket, 5000, &due_us));
    for (uint32_t i = 0; i < 3; i++)
        raw_free(peers[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_everybody_here_has_a_second_and_the_absent_less),
        TEST(test_reading_copy_is_left_out_only_when_one_that_sealed_promises_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
