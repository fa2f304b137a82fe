/* Instances of continuous queries in the map. */
#include "tests/unit/locator/fixture.h"

#include "locator/queries.h"

static Pb__QueryAdded added;
static Pb__QueryDropped dropped;

static void on_answer(void *arg, const struct failure *failure, uint32_t number, struct slice body)
{
    server_on_answer(arg, failure, number, body);
    if (failure == NULL && number == QUERY_ADD + 1) {
        Pb__QueryAdded *answer = pb__query_added__unpack(NULL, body.len, body.data);
        added = *answer;
        pb__query_added__free_unpacked(answer, NULL);
    } else if (failure == NULL && number == QUERY_DROP + 1) {
        Pb__QueryDropped *answer = pb__query_dropped__unpack(NULL, body.len, body.data);
        dropped = *answer;
        pb__query_dropped__free_unpacked(answer, NULL);
    }
}

static uint32_t call(struct fake_server *server, uint32_t number, const ProtobufCMessage *body)
{
    uint8_t packed[4096];
    assert_in_range(protobuf_c_message_get_packed_size(body), 0, sizeof(packed));
    size_t len = protobuf_c_message_pack(body, packed);
    server->answered = false;
    assert_int_equal(link_call(server->link, number, slice_of(packed, len), on_answer, server), OK);
    assert_true(sim_run_until(server->fixture->sim, server_is_answered, server, 20 * SEC));
    return server->answer_code;
}

static uint32_t add(struct fake_server *server, const char *name, const char *text, bool shared)
{
    Pb__QueryAdd request = PB__QUERY_ADD__INIT;
    request.name = message_bytes(slice_text(name));
    request.text = message_bytes(slice_text(text));
    request.region_id = server->fixture->locator->map->regions[0].id;
    request.shared = shared;
    return call(server, QUERY_ADD, &request.base);
}

static uint32_t drop(struct fake_server *server, uint64_t id)
{
    Pb__QueryDrop request = PB__QUERY_DROP__INIT;
    request.id = id;
    return call(server, QUERY_DROP, &request.base);
}

static uint32_t attached(struct fake_server *server, uint64_t id)
{
    Pb__QueryAttached request = PB__QUERY_ATTACHED__INIT;
    request.id = &id;
    request.n_id = id != 0;
    return call(server, QUERY_ATTACHED, &request.base);
}

static struct fake_server *begin(struct fixture *fixture)
{
    struct answer answer;
    server_start(&fixture->servers[0], 11);
    assert_true(server_joins(&fixture->servers[0]));
    create_region(fixture, "r", "PARTITION", &answer);
    assert_int_equal(answer.number, 1021);
    return &fixture->servers[0];
}

static void test_a_query_comes_into_the_map_and_leaves_it(void **state)
{
    struct fixture *fixture = *state;
    struct fake_server *server = begin(fixture);
    assert_int_equal(add(server, "", "SELECT a FROM T", false), 0);
    assert_true(added.created);
    uint64_t first = added.id;
    assert_int_equal(added.epoch, fixture->locator->map->epoch);
    const struct cluster_query *query = cluster_map_query(fixture->locator->map, first);
    assert_non_null(query);
    assert_true(slice_equal(query->text, slice_text("SELECT a FROM T")));
    /* With state each subscription has one of its own. */
    assert_int_equal(add(server, "", "SELECT a FROM T", false), 0);
    assert_true(added.created && added.id != first);
    assert_int_equal(drop(server, first), 0);
    assert_true(dropped.dropped);
    assert_null(cluster_map_query(fixture->locator->map, first));
    assert_int_equal(drop(server, first), 0); /* again: it is so already */
    assert_int_equal(add(server, "", "SELECT b FROM T", false), 0);
    assert_true(added.id > first + 1); /* no id is used twice */
}

static void test_the_one_that_is_there_wins(void **state)
{
    struct fixture *fixture = *state;
    struct fake_server *server = begin(fixture);
    assert_int_equal(add(server, "n", "SELECT a FROM T", false), 0);
    uint64_t first = added.id;
    assert_int_equal(add(server, "n", "SELECT a FROM T", false), 0);
    assert_true(!added.created && added.id == first);
    assert_int_not_equal(add(server, "n", "SELECT b FROM T", false), 0);
    assert_memory_equal(server->answer_text, "EXISTS: ", 8);
    assert_int_equal(add(server, "", "SELECT c FROM T", true), 0);
    first = added.id;
    assert_true(added.created);
    assert_int_equal(add(server, "", "SELECT c FROM T", true), 0);
    assert_true(!added.created && added.id == first);
    assert_int_not_equal(add(server, "/n/", "SELECT a FROM T", false), 0);
    assert_memory_equal(server->answer_text, "INVALID: ", 9);
}

static void test_a_query_that_nobody_is_attached_to_ends_after_its_retention(void **state)
{
    struct fixture *fixture = *state;
    struct fake_server *server = begin(fixture);
    assert_int_equal(add(server, "n", "SELECT a FROM T", false), 0);
    uint64_t id = added.id;
    for (uint32_t i = 0; i < 70; i++) {
        assert_int_equal(attached(server, id), 0);
        run(fixture, 10 * SEC);
    }
    assert_non_null(cluster_map_query(fixture->locator->map, id));
    for (uint32_t i = 0; i < 59; i++) {
        assert_int_equal(attached(server, 0), 0);
        run(fixture, 10 * SEC);
    }
    assert_non_null(cluster_map_query(fixture->locator->map, id));
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(attached(server, 0), 0);
        run(fixture, 10 * SEC);
    }
    assert_null(cluster_map_query(fixture->locator->map, id));
}

static void test_a_query_of_a_region_that_is_gone_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct fake_server *server = begin(fixture);
    Pb__QueryAdd request = PB__QUERY_ADD__INIT;
    request.text = message_bytes(slice_text("SELECT a FROM T"));
    request.region_id = 99;
    assert_int_not_equal(call(server, QUERY_ADD, &request.base), 0);
    assert_memory_equal(server->answer_text, "NOT_FOUND: ", 11);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_query_comes_into_the_map_and_leaves_it),
        TEST(test_the_one_that_is_there_wins),
        TEST(test_a_query_that_nobody_is_attached_to_ends_after_its_retention),
        TEST(test_a_query_of_a_region_that_is_gone_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
