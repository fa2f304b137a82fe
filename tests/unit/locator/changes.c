/* Changes of the map: one swap at a time, whatever the store does. */
#include "locator/locator_impl.h"
#include "tests/unit/locator/raw_peer.h"

static uint64_t epoch_of(const struct fixture *fixture)
{
    struct locator_state now;
    locator_state(fixture->locator, &now);
    return now.epoch;
}

static void test_new_cluster_is_stored_before_it_is_shown(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(fixture->memory.epoch, 1);
    assert_int_equal(fixture->memory.stores, 1);
    assert_int_equal(epoch_of(fixture), 1);
}

static void test_failed_store_fails_the_change_and_keeps_the_old_map(void **state)
{
    struct fixture *fixture = *state;
    struct answer answer;
    fixture->memory.fail_with = ERROR_IO;
    fixture->memory.fail_count = 1;
    create_region(fixture, "r", "PARTITION", &answer);
    assert_memory_equal(answer.text, "STORE: ", 7);
    assert_int_equal(epoch_of(fixture), 1);
    assert_true(logged(fixture, "VG1230"));
    create_region(fixture, "r", "PARTITION", &answer);
    assert_int_equal(answer.number, 1021);
    assert_int_equal(epoch_of(fixture), 2);
}

/* Another locator changes the map behind this one's back. */
static void test_conflict_is_decided_again_on_the_others_map(void **state)
{
    struct fixture *fixture = *state;
    struct answer answer;
    struct cluster_map *base, *other;
    struct buf packed;
    uint32_t id;
    buf_init(&packed);
    assert_int_equal(
        cluster_map_unpack(slice_of(fixture->memory.bytes, fixture->memory.len), &base), OK);
    assert_int_equal(cluster_map_edit(base, &other), OK);
    struct cluster_region region = {
        .name = slice_text("theirs"), .type = CLUSTER_PARTITION, .bucket_count = 3};
    assert_int_equal(cluster_map_add_region(other, &region, &id), OK);
    assert_int_equal(cluster_map_seal(other), OK);
    assert_int_equal(cluster_map_pack(other, &packed), OK);
    mem_free(fixture->memory.bytes);
    fixture->memory.bytes = mem_alloc(packed.len);
    memcpy(fixture->memory.bytes, packed.data, packed.len);
    fixture->memory.len = packed.len;
    fixture->memory.epoch = 2;

    create_region(fixture, "theirs", "PARTITION", &answer);
    assert_memory_equal(answer.text, "EXISTS: ", 8);
    create_region(fixture, "ours", "PARTITION", &answer);
    assert_int_equal(answer.number, 1021);
    assert_int_equal(fixture->memory.epoch, 3);
    struct cluster_map *map;
    assert_int_equal(cluster_map_unpack(slice_of(fixture->memory.bytes, fixture->memory.len), &map),
                     OK);
    assert_int_equal(map->region_count, 2);
    cluster_map_unref(map);
    cluster_map_unref(other);
    cluster_map_unref(base);
    buf_fini(&packed);
}

static void test_changes_wait_for_each_other_and_all_are_made(void **state)
{
    enum { CLIENTS = 12 };
    struct fixture *fixture = *state;
    struct client *clients = calloc(CLIENTS, sizeof(*clients));
    struct slice body;
    fixture->memory.delay_us = 20 * MS;
    for (uint32_t i = 0; i < CLIENTS; i++) {
        char name[16];
        Pb__RegionCreateRequest request = PB__REGION_CREATE_REQUEST__INIT;
        snprintf(name, sizeof(name), "r%u", i / 2); /* each name twice: one of the two is late */
        request.name = message_bytes(slice_text(name));
        request.type = message_bytes(slice_text("PARTITION"));
        client_open(fixture, &clients[i]);
        client_send(&clients[i], 1020, &request.base);
    }
    uint32_t created = 0, refused = 0;
    for (uint32_t i = 0; i < CLIENTS; i++) {
        uint32_t number = client_reply(&clients[i], 1, 5 * SEC, &body);
        created += number == 1021;
        refused += number == 1;
        client_close(&clients[i]);
    }
    assert_int_equal(created, CLIENTS / 2);
    assert_int_equal(refused, CLIENTS / 2);
    assert_int_equal(fixture->memory.epoch, 1 + CLIENTS / 2);
    free(clients);
}

/* Reading it takes longer than the time after which it is read again. */
static void test_a_slow_store_holds_no_change_up(void **state)
{
    struct fixture *fixture = *state;
    struct client *client = calloc(1, sizeof(*client));
    struct slice body;
    Pb__RegionCreateRequest request = PB__REGION_CREATE_REQUEST__INIT;
    fixture->memory.delay_us = LOCATOR_REFRESH_MS * MS * 3 / 2;
    run(fixture, LOCATOR_REFRESH_MS * MS);
    request.name = message_bytes(slice_text("slow"));
    request.type = message_bytes(slice_text("PARTITION"));
    client_open(fixture, client);
    client_send(client, 1020, &request.base);
    assert_int_equal(client_reply(client, 1, 4 * fixture->memory.delay_us, &body), 1021);
    client_close(client);
    free(client);
}

/* Whatever allocation fails, the region is there or not, nobody is left hanging, and the next
 * attempt works. */
static void test_each_failing_allocation_leaves_the_map_whole(void **state)
{
    struct fixture *fixture = *state;
    struct fake_server *server = &fixture->servers[0];
    struct answer answer;
    server_start(server, 11);
    assert_true(server_joins(server));
    run(fixture, SEC);
    bool untouched = false;
    for (unsigned long n = 1; !untouched; n++) {
        char name[32];
        struct client *client = calloc(1, sizeof(*client));
        struct slice body;
        Pb__RegionCreateRequest request = PB__REGION_CREATE_REQUEST__INIT;
        snprintf(name, sizeof(name), "r%lu", n);
        request.name = message_bytes(slice_text(name));
        request.type = message_bytes(slice_text("PARTITION"));
        request.bucket_count = 3;
        client_open(fixture, client);
        client_send(client, 1020, &request.base);
        mem_fault_fail_at(n);
        client_reply(client, 1, 2 * SEC, &body);
        untouched = mem_fault_calls() < n;
        mem_fault_fail_at(0);
        client_close(client);
        free(client);
        Pb__RegionCreateRequest again = request;
        again.if_not_exists = true;
        assert_true(server_joins(server));
        ask(fixture, 1020, &again.base, &answer);
        assert_int_equal(answer.number, 1021);
        assert_int_equal(bucket_of(server->map, name, 0)->primary, 0);
        assert_int_equal(fixture->memory.epoch, epoch_of(fixture));
        assert_true(n < 2000);
    }
}

static void ignore_stored(void *arg, const struct map_problem *problem)
{
    (void)arg;
    assert_null(problem);
}

/* Another locator over the same store has made a change; a server that has it says so. */
static void test_newer_map_of_another_locator_is_read_when_somebody_has_it(void **state)
{
    struct fixture *fixture = *state;
    struct raw_peer *server = raw_start(fixture, 0);
    struct cluster_map *map, *next;
    struct buf packed;
    struct locator_state now;
    run(fixture, SEC);
    assert_int_equal(cluster_map_unpack(slice_of(fixture->memory.bytes, fixture->memory.len), &map),
                     OK);
    assert_int_equal(cluster_map_edit(map, &next), OK);
    assert_int_equal(cluster_map_seal(next), OK);
    buf_init(&packed);
    assert_int_equal(cluster_map_pack(next, &packed), OK);
    uint64_t older = fixture->memory.epoch;
    struct map_store *store;
    assert_int_equal(map_store_memory_new(fixture->locator_loop, &fixture->memory, &store), OK);
    assert_int_equal(
        map_store_store(store, older, next->epoch, buf_slice(&packed), ignore_stored, NULL), OK);
    run(fixture, 100 * MS);
    assert_int_equal(fixture->memory.epoch, older + 1);
    locator_state(fixture->locator, &now);
    assert_int_equal(now.epoch, older); /* nobody has told it */
    cluster_map_unref(server->map);
    server->map = cluster_map_ref(next);
    run(fixture, SEC);
    locator_state(fixture->locator, &now);
    assert_int_equal(now.epoch, older + 1);
    map_store_free(store);
    run(fixture, MS);
    raw_free(server);
    buf_fini(&packed);
    cluster_map_unref(map);
    cluster_map_unref(next);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_new_cluster_is_stored_before_it_is_shown),
        TEST(test_failed_store_fails_the_change_and_keeps_the_old_map),
        TEST(test_conflict_is_decided_again_on_the_others_map),
        TEST(test_changes_wait_for_each_other_and_all_are_made),
        TEST(test_a_slow_store_holds_no_change_up),
        TEST(test_newer_map_of_another_locator_is_read_when_somebody_has_it),
        TEST(test_each_failing_allocation_leaves_the_map_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
