/* What primaries propose: checked against the map, many in one swap. */
#include "locator/proposals.h"
#include "tests/unit/locator/raw_peer.h"

/* Three servers "a", "b", "c" (incarnations 1 to 3), one region of two buckets led by "a" with "b"
 * as a copy. */
static struct cluster_map *example(void)
{
    static const uint8_t id[CLUSTER_ID_BYTES] = {1};
    static const char *const names[] = {"a", "b", "c"};
    struct cluster_map *map;
    uint32_t index, region_id;
    uint32_t set[] = {0, 1};
    struct cluster_region region = {
        .name = slice_text("r"), .type = CLUSTER_PARTITION, .bucket_count = 2};
    struct cluster_bucket bucket = {.generation = 4,
                                    .term = 5,
                                    .set_version = 6,
                                    .primary = 0,
                                    .in_sync_count = 2,
                                    .in_sync = set};
    assert_int_equal(cluster_map_new(id, &map), OK);
    for (uint32_t i = 0; i < 3; i++) {
        struct cluster_member member = {.name = slice_text(names[i]),
                                        .incarnation = i + 1,
                                        .host = slice_text("h"),
                                        .port = 1,
                                        .role = CLUSTER_SERVER};
        assert_int_equal(cluster_map_add_member(map, &member, &index), OK);
    }
    assert_int_equal(cluster_map_add_region(map, &region, &region_id), OK);
    for (uint32_t i = 0; i < 2; i++)
        assert_int_equal(cluster_map_set_bucket(map, region_id, i, &bucket), OK);
    return map;
}

static struct proposed_place fine(void)
{
    return (struct proposed_place){.author = 1,
                                   .region_id = 1,
                                   .bucket = 1,
                                   .generation = 4,
                                   .set_version = 6,
                                   .term = 5,
                                   .primary = 1,
                                   .in_sync = {3, 1, 2},
                                   .in_sync_count = 3};
}

static void test_set_change_keeps_the_term_and_counts_the_version(void **state)
{
    (void)state;
    struct cluster_map *map = example();
    struct proposed_place place = fine();
    assert_int_equal(proposal_apply(map, &place), OK);
    const struct cluster_bucket *bucket = &map->regions[0].buckets[1];
    assert_int_equal(bucket->in_sync_count, 3);
    assert_int_equal(bucket->in_sync[2], 2);
    assert_int_equal(bucket->term, 5);
    assert_int_equal(bucket->set_version, 7);
    assert_int_equal(map->regions[0].buckets[0].set_version, 6);
    assert_int_equal(proposal_apply(map, &place), ERROR_CONFLICT); /* it has moved */
    place.set_version = 7;
    assert_int_equal(proposal_apply(map, &place), OK); /* unchanged, and the version moves on */
    assert_int_equal(cluster_map_seal(map), OK);
    cluster_map_unref(map);
}

static void test_hand_over_and_takeover_raise_the_term(void **state)
{
    (void)state;
    struct cluster_map *map = example();
    struct proposed_place place = fine();
    place.term = 9; /* its copies have sealed for it */
    assert_int_equal(proposal_apply(map, &place), OK);
    assert_int_equal(map->regions[0].buckets[1].term, 9);
    place.bucket = 0;
    place.term = 5;
    place.primary = 2;
    assert_int_equal(proposal_apply(map, &place), OK);
    assert_int_equal(map->regions[0].buckets[0].term, 6);
    assert_int_equal(map->regions[0].buckets[0].primary, 1);
    cluster_map_unref(map);
}

static void test_what_cannot_be_changes_nothing(void **state)
{
    (void)state;
    struct cluster_map *map = example();
    struct proposed_place place;
#define REFUSED(change, error)                                                                     \
    do {                                                                                           \
        place = fine();                                                                            \
        change;                                                                                    \
        assert_int_equal(proposal_apply(map, &place), error);                                      \
        assert_int_equal(map->regions[0].buckets[1].set_version, 6);                               \
    } while (0)
    REFUSED(place.region_id = 2, ERROR_CONFLICT);
    REFUSED(place.bucket = 2, ERROR_CONFLICT);
    REFUSED(place.generation = 3, ERROR_CONFLICT);
    REFUSED(place.set_version = 5, ERROR_CONFLICT);
    REFUSED(place.author = 2, ERROR_CONFLICT);
    REFUSED(place.author = 77, ERROR_CONFLICT);
    REFUSED(place.term = 4, ERROR_INVALID);
    REFUSED(place.primary = 77, ERROR_INVALID);
    REFUSED(place.primary = 3, ERROR_INVALID); /* no copy yet */
    REFUSED(place.in_sync_count = 0, ERROR_INVALID);
    REFUSED(place.in_sync_count = 1, ERROR_INVALID); /* without the primary */
    REFUSED(place.in_sync[0] = 77, ERROR_INVALID);
    REFUSED(place.in_sync[0] = 2, ERROR_INVALID); /* twice */
    cluster_map_set_member_state(map, 2, CLUSTER_DOWN);
    REFUSED((void)0, ERROR_INVALID);
    cluster_map_unref(map);
}

static void test_what_waits_travels_in_one_swap(void **state)
{
    struct fixture *fixture = *state;
    struct raw_peer *a = raw_start(fixture, 0), *b = raw_start(fixture, 1);
    struct answer answer;
    uint64_t both[] = {101, 102}, other[] = {102};
    run(fixture, 500 * MS);
    create_region(fixture, "r", "PARTITION", &answer);
    uint64_t epoch = a->map->epoch;
    for (uint32_t i = 0; i < 7; i++) {
        const struct cluster_bucket *bucket = bucket_of(a->map, "r", i);
        if (primary_of(a->map, bucket) == 101)
            raw_propose(a, bucket, 1, i, 1, 101, both, 2);
        else
            raw_propose(a, bucket, 1, i, 1, 102, other, 1); /* not its business */
    }
    run(fixture, 20 * MS);
    assert_int_equal(b->map->epoch, epoch + 1);
    for (uint32_t i = 0; i < 7; i++) {
        const struct cluster_bucket *bucket = bucket_of(b->map, "r", i);
        bool is_own = primary_of(b->map, bucket) == 101;
        assert_int_equal(bucket->in_sync_count, is_own ? 2 : 1);
        assert_int_equal(bucket->set_version, is_own ? 2 : 1);
    }
    raw_free(a);
    raw_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set_change_keeps_the_term_and_counts_the_version),
        cmocka_unit_test(test_hand_over_and_takeover_raise_the_term),
        cmocka_unit_test(test_what_cannot_be_changes_nothing),
        TEST(test_what_waits_travels_in_one_swap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
