/* Tests of server/propose.c: the outbox, and handing over. */
#define PEERS_FIXTURE_REAL_OUTBOX
#include "tests/unit/server/peers_fixture.h"

/* ---- The link, which keeps what it is given ---- */

static struct {
    struct proposal proposals[64];
    uint32_t proposal_count, calls;
    uint64_t reported[64], fetched;
    bool gone[64];
    uint32_t report_count;
} sent;

void link_propose(struct link *link, const struct proposal *proposals, uint32_t count)
{
    (void)link;
    sent.calls++;
    for (uint32_t i = 0; i < count; i++)
        sent.proposals[sent.proposal_count++ % 64] = proposals[i];
}

void link_report(struct link *link, uint64_t incarnation, bool gone, uint32_t silent_ms,
                 const char *evidence)
{
    (void)link;
    (void)silent_ms;
    (void)evidence;
    sent.gone[sent.report_count % 64] = gone;
    sent.reported[sent.report_count++ % 64] = incarnation;
}

void link_fetch_map(struct link *link, uint64_t epoch)
{
    (void)link;
    sent.fetched = epoch;
}

static struct server *open_outbox(struct fixture *fixture)
{
    struct server *server = &fixture->nodes[0].server;
    memset(&sent, 0, sizeof sent);
    outbox_init(server);
    server->link = (struct link *)server; /* somebody is there; the functions above do not look */
    return server;
}

static void proposals_of_a_turn_leave_together_the_newest_of_each_bucket(void **state)
{
    struct fixture *fixture = *state;
    struct server *server = open_outbox(fixture);
    for (uint32_t i = 0; i < 50; i++)
        server_propose(server, &(struct proposal){.region_id = 1, .bucket = i % 25, .term = i});
    run(fixture, MS);
    assert_int_equal(sent.calls, 1);
    assert_int_equal(sent.proposal_count, 25);
    assert_int_equal(sent.proposals[3].bucket, 3);
    assert_int_equal(sent.proposals[3].term, 28);
    run(fixture, SEC);
    assert_int_equal(sent.calls, 1);
    outbox_fini(server);
}

static void reports_are_merged_and_bounded(void **state)
{
    struct fixture *fixture = *state;
    struct server *server = open_outbox(fixture);
    for (uint64_t i = 0; i < 100; i++)
        server_report(server, 1 + i % 50, i >= 50, 0, "a very good reason");
    run(fixture, MS);
    assert_int_equal(sent.report_count, OUTBOX_REPORTS);
    assert_int_equal(sent.reported[4], 5);
    assert_true(sent.gone[4]);
    outbox_fini(server);
}

static void without_memory_a_proposal_is_lost_and_nothing_else(void **state)
{
    struct fixture *fixture = *state;
    struct server *server = open_outbox(fixture);
    mem_fault_fail_at(1);
    server_propose(server, &(struct proposal){.bucket = 1});
    mem_fault_fail_at(0);
    server_propose(server, &(struct proposal){.bucket = 2});
    run(fixture, MS);
    assert_int_equal(sent.proposal_count, 1);
    assert_int_equal(sent.proposals[0].bucket, 2);
    outbox_fini(server);
}

static void the_newest_map_is_adopted_and_a_wanted_one_asked_for(void **state)
{
    struct fixture *fixture = *state;
    struct server *server = open_outbox(fixture);
    struct cluster_map *old = make_map(fixture, 3, 1, 0), *newer = make_map(fixture, 4, 1, 0);
    server_give_map(server, newer);
    server_give_map(server, old);
    server_want_map(server, 4);
    run(fixture, MS);
    assert_int_equal(server->catalog->map->epoch, 4);
    assert_int_equal(fixture->nodes[0].maps, 1);
    assert_int_equal(sent.fetched, 0); /* it is here */
    server_want_map(server, 7);
    server_want_map(server, 6);
    run(fixture, MS);
    assert_int_equal(sent.fetched, 7);
    cluster_map_unref(old);
    cluster_map_unref(newer);
    server_give_map(server, server->catalog->map);
    outbox_fini(server); /* with a map that nobody has taken */
}

/* ---- Buckets ---- */

enum { BUCKETS = 4 };

struct cluster {
    struct region region;
    struct region *regions[1];
    struct bucket buckets[BUCKETS];
};

/* A region with `in_sync` members for each bucket. */
static struct cluster_map *map_with_buckets(struct fixture *fixture, uint64_t epoch,
                                            uint32_t redundant, uint32_t primary,
                                            const uint32_t *in_sync, uint32_t count)
{
    struct cluster_map *base = make_map(fixture, epoch - 1, NODES, 0), *map;
    assert_int_equal(cluster_map_edit(base, &map), OK);
    cluster_map_unref(base);
    struct cluster_region region = {.name = slice_text("r"),
                                    .type = CLUSTER_PARTITION_REDUNDANT,
                                    .redundant_copies = redundant,
                                    .bucket_count = BUCKETS};
    uint32_t id;
    assert_int_equal(cluster_map_add_region(map, &region, &id), OK);
    for (uint32_t b = 0; b < BUCKETS; b++) {
        struct cluster_bucket bucket = {.generation = 1,
                                        .term = 1,
                                        .set_version = 1,
                                        .primary = primary,
                                        .in_sync = in_sync,
                                        .in_sync_count = count};
        assert_int_equal(cluster_map_set_bucket(map, id, b, &bucket), OK);
    }
    cluster_map_set_member_state(map, 0, CLUSTER_LEAVING);
    assert_int_equal(cluster_map_seal(map), OK);
    return map;
}

static void adopt(struct server *server, struct cluster *cluster, struct cluster_map *map)
{
    server_adopt_map(server, map);
    memset(cluster, 0, sizeof *cluster);
    cluster->region.id = map->regions[0].id;
    cluster->region.bucket_count = BUCKETS;
    cluster->region.buckets = cluster->buckets;
    for (uint32_t b = 0; b < BUCKETS; b++)
        cluster->buckets[b].id = b;
    cluster->regions[0] = &cluster->region;
    server->catalog->regions = cluster->regions;
    server->catalog->region_count = 1;
    cluster_map_unref(map);
}

static void who_leaves_hands_its_buckets_to_different_servers(void **state)
{
    struct fixture *fixture = *state;
    struct server *server = open_outbox(fixture);
    struct cluster cluster;
    adopt(server, &cluster, map_with_buckets(fixture, 2, 2, 0, (uint32_t[]){0, 1, 2}, 3));
    assert_false(server_has_handed_over(server));
    server_hand_over(server, SEC);
    assert_int_equal(placed.count, BUCKETS);
    assert_int_equal(placed.action, PLACE_HAND_OVER);
    bool differ = false;
    for (uint32_t b = 0; b < BUCKETS; b++) {
        assert_int_not_equal(placed.member[b], server->incarnation);
        differ |= placed.member[b] != placed.member[0];
    }
    assert_true(differ);
    server_hand_over(server, SEC + 1000); /* not again in the same moment */
    assert_int_equal(placed.count, BUCKETS);
    adopt(server, &cluster, map_with_buckets(fixture, 3, 2, 1, (uint32_t[]){1, 2}, 2));
    assert_true(server_has_handed_over(server));
    outbox_fini(server);
}

static void who_leaves_waits_until_others_have_enough_copies(void **state)
{
    struct fixture *fixture = *state;
    struct server *server = open_outbox(fixture);
    struct cluster cluster;
    adopt(server, &cluster, map_with_buckets(fixture, 2, 1, 0, (uint32_t[]){0}, 1));
    assert_false(server_has_handed_over(server)); /* it is the last one that has them */
    server_hand_over(server, SEC);
    assert_int_equal(placed.count, 0); /* there is nobody to hand to yet */
    adopt(server, &cluster, map_with_buckets(fixture, 3, 1, 1, (uint32_t[]){0, 1}, 2));
    assert_false(server_has_handed_over(server)); /* the other one alone is too few */
    adopt(server, &cluster, map_with_buckets(fixture, 4, 1, 1, (uint32_t[]){1, 2}, 2));
    assert_true(server_has_handed_over(server));
    outbox_fini(server);
}

static void who_leaves_stays_for_the_map_that_it_has_sealed_for(void **state)
{
    struct fixture *fixture = *state;
    struct server *server = open_outbox(fixture);
    struct cluster cluster;
    adopt(server, &cluster, map_with_buckets(fixture, 2, 1, 1, (uint32_t[]){0, 1, 2}, 3));
    assert_true(server_has_handed_over(server));
    cluster.buckets[2].replica.is_sealed = true; /* that map may name it alone */
    assert_false(server_has_handed_over(server));
    cluster.buckets[2].replica.is_sealed = false;
    assert_true(server_has_handed_over(server));
    outbox_fini(server);
}

static void what_locators_ask_reaches_the_bucket(void **state)
{
    struct fixture *fixture = *state;
    struct server *server = open_outbox(fixture);
    struct cluster cluster;
    struct seal_answer answer;
    adopt(server, &cluster, map_with_buckets(fixture, 2, 1, 1, (uint32_t[]){0, 1}, 2));
    struct link_seal seal = {.deposed = incarnation_of(1),
                             .gone = true,
                             .region_id = cluster.region.id,
                             .bucket = 3,
                             .term = 5};
    server_on_seal(server, &seal, &answer);
    assert_int_equal(answer.verdict, SEAL_DONE);
    assert_int_equal(answer.current, 5);
    assert_true(atomic_load(&peer_of(fixture, 0, 1)->gone));
    seal.bucket = BUCKETS;
    server_on_seal(server, &seal, &answer);
    assert_int_equal(answer.verdict, SEAL_REFUSED);
    seal.region_id = 99;
    server_on_seal(server, &seal, &answer);
    assert_int_equal(answer.verdict, SEAL_REFUSED);
    struct link_place place = {
        .region_id = cluster.region.id, .bucket = 2, .action = 1, .member = incarnation_of(2)};
    server_on_place(server, &place);
    assert_int_equal(placed.count, 1);
    assert_int_equal(placed.action, PLACE_ADD);
    assert_int_equal(placed.member[2], incarnation_of(2));
    place.member = 4711; /* nobody */
    server_on_place(server, &place);
    place = (struct link_place){
        .region_id = cluster.region.id, .bucket = 2, .action = 9, .member = incarnation_of(2)};
    server_on_place(server, &place);
    assert_int_equal(placed.count, 1);
    outbox_fini(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(proposals_of_a_turn_leave_together_the_newest_of_each_bucket),
        TEST(reports_are_merged_and_bounded),
        TEST(without_memory_a_proposal_is_lost_and_nothing_else),
        TEST(the_newest_map_is_adopted_and_a_wanted_one_asked_for),
        TEST(who_leaves_hands_its_buckets_to_different_servers),
        TEST(who_leaves_waits_until_others_have_enough_copies),
        TEST(who_leaves_stays_for_the_map_that_it_has_sealed_for),
        TEST(what_locators_ask_reaches_the_bucket),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
