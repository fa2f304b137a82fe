/* Two servers, each with a copy of every bucket, that pull rows from one another; whoever leads a
 * bucket, every row is counted once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "server/cq_image.h"
#include "server/feed.h"
#include "tests/lib/mem_fault.h"
#include "tests/lib/server_fixture.h"

#define TABLE                                                                                      \
    "CREATE TABLE Readings (id STRING, temperature DOUBLE) WITH "                                  \
    "('connector'='geode-region','region'='my_region')"
#define AVERAGE "SELECT id, SUM(temperature), COUNT(*) FROM Readings GROUP BY id"

enum { BUCKETS = 7, IDS = 9, SERVERS = 2 };

struct node {
    struct server_fixture fixture;
    struct region *region;
    struct cq_instance *instance;
    struct peer peer;      /* as the other one sees it */
    struct peer_conn conn; /* that the other one opened to it */
};

static struct node nodes[SERVERS];
static double sums[IDS];
static uint32_t counts[IDS];
static uint64_t random_state, wall_ms;
static bool link_works;

static uint32_t below(uint32_t count)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33) % count;
}

static struct node *node_of(const struct server *server)
{
    return server == &nodes[0].fixture.server ? &nodes[0] : &nodes[1];
}

static struct node *other(const struct node *node)
{
    return node == &nodes[0] ? &nodes[1] : &nodes[0];
}

/* ---- What stands in for links and replication ---- */

struct peer *peers_find(struct server *server, uint64_t incarnation)
{
    struct node *node = other(node_of(server));
    return node->peer.incarnation == incarnation ? &node->peer : NULL;
}

void peer_unref(struct peer *peer)
{
    (void)peer;
}

struct peer_conn *peer_conn_ref(struct peer_conn *conn)
{
    return conn;
}

void peer_conn_unref(struct peer_conn *conn)
{
    (void)conn;
}

/* On the loop of the receiver at once: frames keep their order. */
enum error peer_send(struct peer *peer, enum peer_link_kind link, enum peer_frame_kind kind,
                     struct slice content)
{
    struct node *to = node_of(peer->server);
    assert_int_equal(link, PEER_LINK_REQUESTS);
    assert_int_equal(content.data[0], FEED_ROWS);
    content = slice_of(content.data + 1, content.len - 1);
    if (!link_works)
        return OK; /* lost */
    assert_int_equal(kind == PEER_FRAME_FEED_OPEN     ? rows_on_open(&to->conn, content)
                     : kind == PEER_FRAME_FEED_CREDIT ? rows_on_credit(&to->conn, content)
                                                      : rows_on_close(&to->conn, content),
                     OK);
    return OK;
}

enum error peer_frame_send(struct net_conn *conn, enum peer_frame_kind kind, struct slice content)
{
    struct node *from = (struct node *)(void *)conn, *to = other(from);
    struct peer_conn own = {.worker = to->fixture.worker, .peer = &from->peer};
    content = slice_of(content.data + 1, content.len - 1);
    if (!link_works)
        return OK;
    return kind == PEER_FRAME_FEED_EVENTS ? rows_on_events(&own, content)
                                          : rows_on_status(&own, content);
}

struct cq_instance *cq_instance_find(struct region *region, uint64_t query_id)
{
    struct cq_instance *instance = node_of(region->server)->instance;
    return instance != NULL && instance->id == query_id ? instance : NULL;
}

static void commit(struct bucket *bucket)
{
    atomic_store(&bucket->committed, bucket->last_seq);
    cq_on_commit_locked(bucket);
    rows_notify_locked(bucket);
}

/* The copy's lock is not taken: there is one thread, and locks of two buckets never nest. */
void replica_send_locked(struct bucket *bucket, const struct record *record)
{
    struct node *to = other(node_of(bucket->region->server));
    struct bucket *copy = &to->region->buckets[bucket->id];
    struct record copied = *record;
    copied.instance = record->instance == NULL ? NULL : to->instance;
    assert_int_equal(bucket_apply_locked(copy, &copied), OK);
    commit(copy);
    commit(bucket);
}

/* ---- Two servers ---- */

static void lead(uint32_t b, int leader)
{
    for (int n = 0; n < SERVERS; n++) {
        struct bucket *bucket = &nodes[n].region->buckets[b];
        bucket_lock(bucket);
        bucket->replica.role = n == leader ? REPLICA_PRIMARY : REPLICA_COPY;
        bucket->replica.led = n == leader ? bucket->replica.led + 1 : 0;
        bucket->replica.primary = nodes[leader].peer.incarnation;
        rows_notify_locked(bucket);
        bucket_unlock(bucket);
    }
}

static void start(uint64_t seed)
{
    memset(nodes, 0, sizeof nodes);
    memset(sums, 0, sizeof sums);
    memset(counts, 0, sizeof counts);
    random_state = seed;
    wall_ms = 1000000;
    link_works = true;
    for (int n = 0; n < SERVERS; n++) {
        struct node *node = &nodes[n];
        server_fixture_init(&node->fixture);
        node->region = server_fixture_partition(&node->fixture, "my_region", BUCKETS);
        server_fixture_table(&node->fixture, "Readings", "my_region", TABLE);
        node->peer = (struct peer){
            .server = &node->fixture.server, .incarnation = 100 + (uint64_t)n, .requests_up = true};
        node->conn = (struct peer_conn){.worker = node->fixture.worker,
                                        .conn = (struct net_conn *)(void *)node};
    }
    for (uint32_t b = 0; b < BUCKETS; b++)
        lead(b, (int)below(2));
}

static struct bucket *leader_of(uint32_t b)
{
    return nodes[0].region->buckets[b].replica.role == REPLICA_PRIMARY
               ? &nodes[0].region->buckets[b]
               : &nodes[1].region->buckets[b];
}

static void put(uint32_t reading)
{
    uint8_t stored_key[64], stored_json[200];
    char key[32], json[80];
    uint32_t id = below(IDS);
    double temperature = (double)below(400) / 8;
    snprintf(key, sizeof key, "r%u", reading);
    snprintf(json, sizeof json, "{\"id\":\"s%u\",\"temperature\":%g}", id, temperature);
    struct value key_value = {.type = VALUE_STRING, .bytes = slice_text(key)};
    struct value value = {.type = VALUE_JSON, .bytes = slice_text(json)};
    struct slice stored =
        slice_of(stored_key, (size_t)(value_store(&key_value, stored_key) - stored_key));
    struct bucket *bucket = leader_of(value_bucket(&key_value, BUCKETS));
    struct bucket_key bucket_key = {stored, table_hash(stored, bucket->region->hash_seed)};
    size_t len = (size_t)(value_store(&value, stored_json) - stored_json);
    assert_int_equal(bucket_put(bucket, &bucket_key, slice_of(stored_json, len), wall_ms++), OK);
    sums[id] += temperature;
    counts[id]++;
}

static void begin_query(void)
{
    for (int n = 0; n < SERVERS; n++) {
        struct query_plan *plan = server_fixture_plan(&nodes[n].fixture, AVERAGE);
        struct cq_options options = {.sql = slice_text(AVERAGE),
                                     .plan = plan,
                                     .id = 5,
                                     .region = nodes[n].region,
                                     .budget = &nodes[n].fixture.server.budget};
        assert_int_equal(cq_instance_new(&options, &nodes[n].instance), OK);
        query_plan_unref(plan);
    }
    for (uint32_t b = 0; b < BUCKETS; b++) {
        struct bucket *bucket = leader_of(b);
        bucket_lock(bucket);
        assert_int_equal(
            cq_add_here_locked(bucket, node_of(bucket->region->server)->instance, wall_ms), OK);
        bucket_unlock(bucket);
    }
}

static void turn(void)
{
    fake_net_turn(nodes[below(2)].fixture.net);
}

static void settle(void)
{
    for (int i = 0; i < 20; i++)
        for (int n = 0; n < SERVERS; n++) {
            rows_tick(&nodes[n].fixture.server, 0);
            fake_net_turn(nodes[n].fixture.net);
        }
}

static enum error on_group(void *arg, enum query_kind kind, const struct query_row *row)
{
    uint32_t id, *seen = arg;
    (void)kind;
    assert_int_equal(sscanf((const char *)row->values[0].text.data, "s%u", &id), 1);
    assert_true(row->values[1].float64 == sums[id]);
    assert_int_equal(row->values[2].integer, counts[id]);
    ++*seen;
    return OK;
}

/* Both have the same, and it is what was put. */
static void check(void)
{
    struct arena arena;
    uint32_t seen = 0, expected = 0;
    arena_init(&arena, 1 << 20);
    for (uint32_t b = 0; b < BUCKETS; b++) {
        struct bucket *left = &nodes[0].region->buckets[b], *right = &nodes[1].region->buckets[b];
        assert_true(cq_image_is_quiet_locked(left) && cq_image_is_quiet_locked(right));
        assert_true(cq_image_hash_locked(left) == cq_image_hash_locked(right));
        assert_true(cq_bucket_is_ready_locked(&nodes[0].instance->buckets[b]));
        assert_int_equal(
            query_state_each(nodes[0].instance->buckets[b].state, &arena, on_group, &seen), OK);
    }
    for (uint32_t id = 0; id < IDS; id++)
        expected += counts[id] > 0;
    assert_int_equal(seen, expected);
    arena_fini(&arena);
}

static void finish(void)
{
    link_works = false;
    for (int n = 0; n < SERVERS; n++) {
        for (uint32_t b = 0; b < BUCKETS; b++)
            cq_bucket_free_all(&nodes[n].region->buckets[b]);
        cq_instance_unref(nodes[n].instance);
        server_fixture_fini(&nodes[n].fixture);
    }
}

static void rows_of_two_servers_are_counted_once(void **state)
{
    (void)state;
    long live = mem_fault_live();
    for (uint64_t seed = 1; seed <= 15; seed++) {
        uint32_t reading = 0;
        start(seed);
        for (uint32_t i = below(200); i > 0; i--)
            put(reading++);
        begin_query();
        for (uint32_t i = 0; i < 300; i++) {
            put(reading++);
            if (below(4) == 0)
                turn();
        }
        settle();
        check();
        finish();
        assert_int_equal(mem_fault_live(), live);
    }
}

/* Each server's own link to the other one. */
static void tell_links(void)
{
    for (int n = 0; n < SERVERS; n++) {
        struct peer peer = {.server = &nodes[n].fixture.server,
                            .incarnation = other(&nodes[n])->peer.incarnation};
        rows_on_link(&peer, link_works);
        if (!link_works)
            rows_on_conn_gone(&nodes[n].conn);
    }
}

static void rows_survive_promotions_and_broken_links(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 15; seed++) {
        uint32_t reading = 0;
        start(seed);
        for (uint32_t i = below(200); i > 0; i--)
            put(reading++);
        begin_query();
        for (uint32_t i = 0; i < 400; i++) {
            put(reading++);
            if (below(4) == 0)
                turn();
            if (below(40) == 0)
                lead(below(BUCKETS), (int)below(2));
            if (below(40) == 0) {
                link_works = !link_works;
                tell_links();
            }
        }
        link_works = true;
        tell_links();
        settle();
        check();
        finish();
    }
}

static void an_image_makes_an_equal_copy_and_a_cut_one_none(void **state)
{
    (void)state;
    struct cq_image *image;
    struct buf packed;
    uint32_t reading = 0;
    buf_init(&packed);
    start(3);
    while (reading < 100)
        put(reading++);
    begin_query();
    while (reading < 200)
        put(reading++);
    settle();
    while (reading < 300) /* some rows are still on their way */
        put(reading++);
    for (uint32_t b = 0; b < BUCKETS; b++) {
        struct bucket *from = leader_of(b);
        struct bucket *to = &other(node_of(from->region->server))->region->buckets[b];
        uint64_t hash = cq_image_hash_locked(from);
        buf_clear(&packed);
        /* Half of it ahead, as it is done for what is large. */
        struct cq_packing *packings = NULL;
        bool done;
        if (b % 2 == 0)
            assert_int_equal(cq_packing_step_locked(from, &packings, &done), OK);
        cq_image_pack_locked(from, packings, &packed);
        cq_packing_free_locked(&packings);
        assert_false(packed.failed);
        cq_bucket_free_all(to);
        assert_true(cq_image_hash_locked(to) != hash);
        for (size_t len = 0; len < packed.len; len += 1 + len / 50) {
            assert_int_equal(cq_image_unpack(to, slice_of(packed.data, len), &image),
                             ERROR_MALFORMED);
            assert_null(image);
        }
        assert_int_equal(cq_image_unpack(to, buf_slice(&packed), &image), OK);
        assert_true(cq_image_is_known_locked(to, image));
        cq_image_install_locked(to, image);
        assert_true(cq_image_hash_locked(to) == hash);
        lead(b, to->region == nodes[0].region ? 0 : 1); /* it goes on from there */
    }
    while (reading < 400)
        put(reading++);
    settle();
    check();
    finish();
    buf_fini(&packed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_of_two_servers_are_counted_once),
        cmocka_unit_test(rows_survive_promotions_and_broken_links),
        cmocka_unit_test(an_image_makes_an_equal_copy_and_a_cut_one_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
