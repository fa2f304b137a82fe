/* `vug events`: every departure says who noticed, how, and what it did. */
#include "tests/unit/locator/raw_peer.h"

static Pb__EventsResponse *events_of(struct fixture *fixture, const char *member, uint32_t limit,
                                     uint64_t after)
{
    Pb__EventsRequest request = PB__EVENTS_REQUEST__INIT;
    struct answer answer;
    request.member = message_bytes(slice_text(member));
    request.limit = limit;
    request.after = after;
    ask(fixture, 1034, &request.base, &answer);
    assert_int_equal(answer.number, 1035);
    return pb__events_response__unpack(NULL, answer.len, answer.body);
}

#define IS(field, text) assert_true(slice_equal(message_slice(field), slice_text(text)))

static void test_departure_is_told_with_its_reason_and_its_effect(void **state)
{
    struct fixture *fixture = *state;
    struct raw_peer *a = raw_start(fixture, 0), *b = raw_start(fixture, 1);
    struct answer answer;
    run(fixture, 500 * MS);
    create_region(fixture, "r", "PARTITION_REDUNDANT", &answer);
    raw_end(a);
    run(fixture, SEC);
    Pb__EventsResponse *events = events_of(fixture, "raw0", 0, 0);
    assert_int_equal(events->n_event, 2);
    IS(events->answered_by, "locator1");
    IS(events->event[0]->kind, "joined");
    IS(events->event[1]->kind, "removed");
    IS(events->event[1]->noticed_by, "locator1");
    assert_true(events->event[1]->evidence.len > 0);
    assert_in_range(events->event[1]->buckets_promoted, 3, 4);
    assert_int_equal(events->event[1]->buckets_lost, 0);
    assert_true(events->event[1]->number > events->event[0]->number);
    uint64_t last = events->event[1]->number;
    pb__events_response__free_unpacked(events, NULL);

    events = events_of(fixture, "", 1, 0);
    assert_int_equal(events->n_event, 1);
    assert_int_equal(events->event[0]->number, last);
    pb__events_response__free_unpacked(events, NULL);
    events = events_of(fixture, "", 0, last);
    assert_int_equal(events->n_event, 0);
    pb__events_response__free_unpacked(events, NULL);
    raw_free(a);
    raw_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_departure_is_told_with_its_reason_and_its_effect),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
