/* Tests of server/link_place.c: what a server and a locator tell each other of buckets. */
#include "tests/unit/server/link_fixture.h"

static struct fake_locator *join(struct fixture *fixture)
{
    locator_listen(&fixture->locators[0]);
    assert_int_equal(link_start(fixture, 1, 60000), OK);
    run(fixture, SEC);
    assert_true(link_is_up(fixture->link));
    return &fixture->locators[0];
}

static void proposals_arrive_in_messages_of_bounded_size(void **state)
{
    struct fixture *fixture = *state;
    struct fake_locator *locator = join(fixture);
    static struct proposal proposals[2500];
    for (uint32_t i = 0; i < 2500; i++)
        proposals[i] = (struct proposal){.region_id = 1,
                                         .bucket = i,
                                         .generation = 1,
                                         .set_version = 2,
                                         .term = 3,
                                         .primary = 4,
                                         .in_sync = {4, 5, 6},
                                         .in_sync_count = 3};
    link_propose(fixture->link, proposals, 2500);
    run(fixture, SEC);
    assert_int_equal(locator->proposes, 3);
    assert_int_equal(locator->places, 2500);
    assert_int_equal(locator->last_bucket, 2499);
    assert_int_equal(locator->last_in_sync, 3);
}

static void reports_arrive_and_beacons_name_the_servers_linked(void **state)
{
    struct fixture *fixture = *state;
    struct fake_locator *locator = join(fixture);
    link_report(fixture->link, 55, true, 12, "its host refuses connections");
    run(fixture, SEC);
    assert_int_equal(locator->reports, 1);
    assert_int_equal(locator->reported, 55);
    assert_true(locator->reported_gone);
    assert_int_equal(locator->beacon_linked, 77);
    assert_int_equal(locator->beacon_stall_us, 4321);
}

static void without_a_locator_words_are_lost_without_harm(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(link_start(fixture, 1, 60000), OK);
    link_propose(fixture->link, &(struct proposal){.bucket = 1}, 1);
    link_report(fixture->link, 55, true, 12, "");
    link_fetch_map(fixture->link, 5);
    struct fake_locator *locator = &fixture->locators[0];
    locator_listen(locator);
    run(fixture, 3 * SEC);
    assert_true(link_is_up(fixture->link));
    assert_int_equal(locator->proposes + locator->reports + locator->fetches, 0);
}

static void a_map_is_fetched_only_if_it_is_newer(void **state)
{
    struct fixture *fixture = *state;
    struct fake_locator *locator = join(fixture);
    link_acknowledge(fixture->link, 4); /* of a peer's map */
    link_fetch_map(fixture->link, 4);
    run(fixture, SEC);
    assert_int_equal(locator->fetches, 0);
    assert_int_equal(locator->acknowledged, 4);
    link_fetch_map(fixture->link, 5);
    run(fixture, SEC);
    assert_int_equal(locator->fetches, 1);
}

static void ask_to_seal(struct fake_locator *locator, Pb__PeerBucketPlace *places, size_t count)
{
    Pb__PeerSeal seal = PB__PEER_SEAL__INIT;
    Pb__PeerBucketPlace **list = calloc(count, sizeof *list);
    for (size_t i = 0; i < count; i++) {
        places[i] = (Pb__PeerBucketPlace)PB__PEER_BUCKET_PLACE__INIT;
        places[i].region_id = 3;
        places[i].bucket = (uint32_t)i;
        places[i].generation = 2;
        places[i].term = 8;
        list[i] = &places[i];
    }
    seal.attempt = 6;
    seal.deposed = 99;
    seal.gone = true;
    seal.place = list;
    seal.n_place = count;
    assert_int_equal(PEER_SEND(locator->conn, SEAL, seal, &seal), OK);
    free(list);
}

static void each_bucket_of_a_seal_is_answered(void **state)
{
    struct fixture *fixture = *state;
    struct fake_locator *locator = join(fixture);
    static Pb__PeerBucketPlace places[1500];
    ask_to_seal(locator, places, 1500);
    run(fixture, SEC);
    assert_int_equal(fixture->seals, 1500);
    assert_int_equal(fixture->seal.deposed, 99);
    assert_true(fixture->seal.gone);
    assert_int_equal(fixture->seal.bucket, 1499);
    assert_int_equal(fixture->seal.term, 8);
    assert_int_equal(fixture->seal.generation, 2);
    assert_int_equal(locator->sealeds, 2);
    assert_int_equal(locator->buckets, 1500);
    assert_int_equal(locator->verdict, PB__PEER_SEALED_BUCKET__VERDICT__SEALED);
    assert_int_equal(locator->promised, 2);
}

static bool has_failed(void *arg)
{
    (void)arg;
    return mem_fault_calls() > 0;
}

static void a_seal_is_asked_again_when_memory_failed(void **state)
{
    struct fixture *fixture = *state;
    struct fake_locator *locator = join(fixture);
    static Pb__PeerBucketPlace places[400];
    push_map(locator, 1, true); /* it has joined, so it does not give up */
    run(fixture, SEC);
    for (unsigned n = 1; n < 30; n++) {
        ask_to_seal(locator, places, 400);
        mem_fault_fail_at(n);
        /* Up to the turn that takes it: the locator's own memory is not what is tested. */
        sim_run_until(fixture->sim, has_failed, NULL, 20 * MS);
        mem_fault_fail_at(0);
        run(fixture, 3 * SEC); /* the link may have been lost for it, and is back */
        assert_true(link_is_up(fixture->link));
    }
    uint32_t before = locator->buckets;
    ask_to_seal(locator, places, 400);
    run(fixture, SEC);
    assert_int_equal(locator->buckets, before + 400);
}

static void orders_reach_the_server(void **state)
{
    struct fixture *fixture = *state;
    struct fake_locator *locator = join(fixture);
    Pb__PeerPlace place = PB__PEER_PLACE__INIT;
    Pb__PeerPlace__Order first = PB__PEER_PLACE__ORDER__INIT, second = first;
    first.region_id = 1;
    second.region_id = 2;
    second.bucket = 7;
    second.generation = 3;
    second.action = PB__PEER_PLACE__ACTION__HAND_OVER;
    second.member = 44;
    Pb__PeerPlace__Order *orders[] = {&first, &second};
    place.order = orders;
    place.n_order = 2;
    assert_int_equal(PEER_SEND(locator->conn, PLACE, place, &place), OK);
    run(fixture, SEC);
    assert_int_equal(fixture->placed, 2);
    assert_int_equal(fixture->place.region_id, 2);
    assert_int_equal(fixture->place.bucket, 7);
    assert_int_equal(fixture->place.generation, 3);
    assert_int_equal(fixture->place.action, PLACE_HAND_OVER);
    assert_int_equal(fixture->place.member, 44);
}

static void with_several_locators_all_hear_and_one_orders(void **state)
{
    struct fixture *fixture = *state;
    Pb__PeerPlace place = PB__PEER_PLACE__INIT;
    Pb__PeerPlace__Order order = PB__PEER_PLACE__ORDER__INIT;
    Pb__PeerPlace__Order *orders[] = {&order};
    place.order = orders;
    place.n_order = 1;
    locator_listen(&fixture->locators[0]);
    locator_listen(&fixture->locators[1]);
    assert_int_equal(link_start(fixture, 2, 60000), OK);
    run(fixture, SEC);
    push_map(&fixture->locators[0], 5, true);
    run(fixture, SEC);
    link_propose(fixture->link, &(struct proposal){.bucket = 1}, 1);
    link_report(fixture->link, 55, true, 12, "its host refuses connections");
    run(fixture, SEC);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(fixture->locators[i].proposes, 1);
        assert_int_equal(fixture->locators[i].reports, 1);
        assert_int_equal(fixture->locators[i].follows_another, i == 1);
        assert_int_equal(PEER_SEND(fixture->locators[i].conn, PLACE, place, &place), OK);
    }
    run(fixture, SEC);
    assert_int_equal(fixture->placed, 1);
    /* The first is away: the second orders. */
    net_listener_close(fixture->locators[0].listener);
    fixture->locators[0].listener = NULL;
    locator_cut(&fixture->locators[0]);
    run(fixture, SEC);
    assert_false(fixture->locators[1].follows_another);
    assert_int_equal(PEER_SEND(fixture->locators[1].conn, PLACE, place, &place), OK);
    run(fixture, SEC);
    assert_int_equal(fixture->placed, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(proposals_arrive_in_messages_of_bounded_size),
        TEST(reports_arrive_and_beacons_name_the_servers_linked),
        TEST(without_a_locator_words_are_lost_without_harm),
        TEST(a_map_is_fetched_only_if_it_is_newer),
        TEST(each_bucket_of_a_seal_is_answered),
        TEST(a_seal_is_asked_again_when_memory_failed),
        TEST(orders_reach_the_server),
        TEST(with_several_locators_all_hear_and_one_orders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
