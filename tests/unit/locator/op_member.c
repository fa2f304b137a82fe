/* `vug stop` and `vug member forget`. */
#include "tests/unit/locator/fixture.h"

static void forget(struct fixture *fixture, const char *name, struct answer *answer)
{
    Pb__MemberForgetRequest request = PB__MEMBER_FORGET_REQUEST__INIT;
    request.name = message_bytes(slice_text(name));
    ask(fixture, 1032, &request.base, answer);
}

static void test_forget_is_for_the_dead(void **state)
{
    struct fixture *fixture = *state;
    struct answer answer;
    server_start(&fixture->servers[0], 11);
    assert_true(server_joins(&fixture->servers[0]));
    create_region(fixture, "r", "PARTITION", &answer);
    forget(fixture, "server1", &answer);
    assert_int_equal(answer.code, 50);
    assert_memory_equal(answer.text, "EXISTS: ", 8);
    forget(fixture, "servr1", &answer);
    assert_int_equal(answer.code, 100);
    assert_non_null(strstr(answer.text, "did you mean server1?"));
    server_crash(&fixture->servers[0], SIM_CRASH_SILENT);
    run(fixture, 10 * SEC);
    forget(fixture, "server1", &answer);
    assert_int_equal(answer.number, 1033);
    assert_true(logged(fixture, "VG1231"));
    server_start(&fixture->servers[1], 21);
    assert_true(server_joins(&fixture->servers[1]));
    const struct cluster_bucket *bucket = bucket_of(fixture->servers[1].map, "r", 0);
    assert_int_equal(bucket->generation, 2);
    assert_int_equal(bucket->term, 2);
    assert_int_equal(bucket->set_version, 3); /* out, and in again */
}

static void test_stop_reaches_the_member_that_is_named(void **state)
{
    struct fixture *fixture = *state;
    struct answer answer;
    Pb__MemberStopRequest request = PB__MEMBER_STOP_REQUEST__INIT;
    server_start(&fixture->servers[0], 11);
    assert_true(server_joins(&fixture->servers[0]));
    request.name = message_bytes(slice_text("server1"));
    ask(fixture, 1028, &request.base, &answer);
    assert_int_equal(answer.number, 1029);
    run(fixture, SEC);
    assert_int_equal(fixture->servers[0].stops, 1);
    request.name = message_bytes(slice_text("locator1"));
    ask(fixture, 1028, &request.base, &answer);
    assert_int_equal(fixture->stops, 1);
    request.name = message_bytes(slice_text("nobody"));
    ask(fixture, 1028, &request.base, &answer);
    assert_memory_equal(answer.text, "NOT_FOUND: ", 11);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_forget_is_for_the_dead),
        TEST(test_stop_reaches_the_member_that_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
