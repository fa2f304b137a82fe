/* RegionCreate, twice and before there is any server. */
#include "tests/unit/locator/fixture.h"

static void test_if_not_exists_and_if_exists_are_success(void **state)
{
    struct fixture *fixture = *state;
    struct answer answer;
    Pb__RegionCreateRequest create = PB__REGION_CREATE_REQUEST__INIT;
    Pb__RegionDestroyRequest destroy = PB__REGION_DESTROY_REQUEST__INIT;
    create.name = destroy.name = message_bytes(slice_text("r"));
    create.type = message_bytes(slice_text("PARTITION"));
    create.if_not_exists = true;
    ask(fixture, 1020, &create.base, &answer);
    assert_int_equal(answer.number, 1021);
    ask(fixture, 1020, &create.base, &answer);
    assert_int_equal(answer.number, 1021);
    create.type = message_bytes(slice_text("REPLICATE"));
    ask(fixture, 1020, &create.base, &answer);
    assert_memory_equal(answer.text, "EXISTS: ", 8);
    ask(fixture, 1022, &destroy.base, &answer);
    assert_int_equal(answer.number, 1023);
    ask(fixture, 1022, &destroy.base, &answer);
    assert_memory_equal(answer.text, "NOT_FOUND: ", 11);
    destroy.if_exists = true;
    ask(fixture, 1022, &destroy.base, &answer);
    assert_int_equal(answer.number, 1023);
}

static void test_region_before_any_server_gets_its_owner_at_the_join(void **state)
{
    struct fixture *fixture = *state;
    struct fake_server *server = &fixture->servers[0];
    struct answer answer;
    create_region(fixture, "early", "PARTITION", &answer);
    assert_int_equal(answer.number, 1021);
    server_start(server, 11);
    assert_true(server_joins(server));
    for (uint32_t i = 0; i < 7; i++) {
        const struct cluster_bucket *bucket = bucket_of(server->map, "early", i);
        assert_int_equal(bucket->generation, 1);
        assert_int_equal(bucket->term, 1);
        assert_int_equal(bucket->set_version, 1);
        assert_int_equal(bucket->primary, 0);
        assert_int_equal(bucket->in_sync_count, 1);
    }
    assert_false(logged(fixture, "VG1231"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_if_not_exists_and_if_exists_are_success),
        TEST(test_region_before_any_server_gets_its_owner_at_the_join),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
