/* The packed form: what goes in comes out, and what is no map is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>

#include "protocol/cluster_map.h"
#include "tests/lib/mem_fault.h"

static struct cluster_map *make_map(uint32_t buckets)
{
    static const uint8_t id[CLUSTER_ID_BYTES] = {7, 0, 255};
    static const uint32_t sets[][3] = {{1, 2, 3}, {1, 3, 0}, {2, 0, 0}};
    struct slice groups[] = {slice_text("g1"), slice_text("gr\xc3\xbcn")};
    struct cluster_table table = {slice_text("T"), slice_text("CREATE TABLE T (a STRING)"),
                                  slice_text("r1")};
    struct cluster_query query = {
        .text = slice_text("SELECT a FROM T"),
        .name = slice_text("n"),
        .parameters = slice_of("\xff\x00", 2),
        .numeric_mode = 1,
        .start = 3,
        .start_timestamp_ms = -5,
        .owner = slice_text("o"),
        .is_oql = true,
    };
    struct cluster_map *map;
    uint32_t index, region_id;
    uint64_t query_id;

    assert_int_equal(cluster_map_new(id, &map), OK);
    for (unsigned i = 0; i < 4; i++) {
        char name[16];
        struct cluster_member member = {
            .incarnation = 0xfedcba9876543210u + i,
            .host = slice_text("host.example"),
            .port = (uint16_t)(65535 - i),
            .http_port = 7071,
            .role = i == 0 ? CLUSTER_LOCATOR : CLUSTER_SERVER,
            .state = (enum cluster_state)(i % 3),
            .groups = groups,
            .group_count = i % 3,
        };

        snprintf(name, sizeof name, "member%u", i);
        member.name = slice_text(name);
        assert_int_equal(cluster_map_add_member(map, &member, &index), OK);
    }
    for (unsigned i = 0; i < 3; i++) {
        char name[16];
        struct cluster_region region = {
            .type = i == 1 ? CLUSTER_LOCAL : CLUSTER_PARTITION_REDUNDANT,
            .redundant_copies = 2,
            .bucket_count = buckets,
            .key_constraint = VALUE_STRING,
            .value_constraint = i == 0 ? VALUE_JSON : VALUE_NOT_SET,
        };

        snprintf(name, sizeof name, "r%u", i);
        region.name = slice_text(name);
        assert_int_equal(cluster_map_add_region(map, &region, &region_id), OK);
        for (uint32_t bucket = 0; i != 1 && bucket + 1 < buckets; bucket++) {
            struct cluster_bucket value = {
                .generation = 1 + bucket % 2,
                .term = bucket * 3,
                .set_version = bucket * 5,
                .primary = bucket % 4 == 3 ? CLUSTER_NONE : sets[bucket % 3][0],
                .in_sync = sets[bucket % 3],
                .in_sync_count = 3 - bucket % 3,
            };

            assert_int_equal(cluster_map_set_bucket(map, region_id, bucket, &value), OK);
        }
    }
    assert_int_equal(cluster_map_add_table(map, &table), OK);
    assert_int_equal(cluster_map_add_query(map, &query, &query_id), OK);
    assert_int_equal(cluster_map_seal(map), OK);
    return map;
}

static void assert_same(const struct cluster_map *a, const struct cluster_map *b)
{
    assert_memory_equal(a->cluster_id, b->cluster_id, CLUSTER_ID_BYTES);
    assert_int_equal(a->epoch, b->epoch);
    assert_int_equal(a->next_region_id, b->next_region_id);
    assert_int_equal(a->next_query_id, b->next_query_id);
    assert_int_equal(a->member_count, b->member_count);
    for (uint32_t i = 0; i < a->member_count; i++) {
        const struct cluster_member *m = &a->members[i], *n = &b->members[i];

        assert_true(slice_equal(m->name, n->name) && slice_equal(m->host, n->host));
        assert_true(m->incarnation == n->incarnation && m->port == n->port &&
                    m->http_port == n->http_port);
        assert_true(m->role == n->role && m->state == n->state && m->group_count == n->group_count);
        for (uint32_t j = 0; j < m->group_count; j++)
            assert_true(slice_equal(m->groups[j], n->groups[j]));
    }
    assert_int_equal(a->region_count, b->region_count);
    for (uint32_t i = 0; i < a->region_count; i++) {
        const struct cluster_region *r = &a->regions[i], *s = &b->regions[i];

        assert_true(r->id == s->id && r->type == s->type && slice_equal(r->name, s->name));
        assert_true(r->redundant_copies == s->redundant_copies &&
                    r->bucket_count == s->bucket_count);
        assert_true(r->key_constraint == s->key_constraint &&
                    r->value_constraint == s->value_constraint);
        assert_int_equal(r->buckets == NULL, s->buckets == NULL);
        for (uint32_t j = 0; r->buckets != NULL && j < r->bucket_count; j++) {
            const struct cluster_bucket *p = &r->buckets[j], *q = &s->buckets[j];

            assert_true(p->generation == q->generation && p->term == q->term &&
                        p->set_version == q->set_version);
            assert_true(p->primary == q->primary && p->in_sync_count == q->in_sync_count);
            for (uint32_t k = 0; k < p->in_sync_count; k++)
                assert_int_equal(p->in_sync[k], q->in_sync[k]);
        }
    }
    assert_int_equal(a->table_count, b->table_count);
    assert_true(slice_equal(a->tables[0].ddl, b->tables[0].ddl));
    assert_int_equal(a->query_count, b->query_count);
    assert_true(slice_equal(a->queries[0].parameters, b->queries[0].parameters));
    assert_true(a->queries[0].start_timestamp_ms == b->queries[0].start_timestamp_ms);
    assert_true(a->queries[0].is_oql && b->queries[0].is_oql);
}

static void what_is_packed_comes_back(void **state)
{
    static const uint32_t buckets[] = {1, 2, 113, 16384};

    (void)state;
    for (size_t i = 0; i < sizeof buckets / sizeof buckets[0]; i++) {
        struct cluster_map *map = make_map(buckets[i]), *again;
        struct buf packed, twice;

        buf_init(&packed);
        buf_init(&twice);
        assert_int_equal(cluster_map_pack(map, &packed), OK);
        assert_int_equal(cluster_map_unpack(buf_slice(&packed), &again), OK);
        assert_same(map, again);
        assert_int_equal(cluster_map_pack(again, &twice), OK);
        assert_true(slice_equal(buf_slice(&packed), buf_slice(&twice)));
        if (buckets[i] == 113)
            assert_true(packed.len < 3000);
        cluster_map_unref(again);
        cluster_map_unref(map);
        buf_fini(&twice);
        buf_fini(&packed);
    }
}

static void damaged_maps_are_refused_or_keep_every_rule(void **state)
{
    struct cluster_map *map = make_map(7), *again;
    struct buf packed, damaged;
    uint32_t seed = 99;
    unsigned refused = 0;

    (void)state;
    buf_init(&packed);
    buf_init(&damaged);
    assert_int_equal(cluster_map_pack(map, &packed), OK);
    for (size_t len = 0; len < packed.len; len++) {
        if (cluster_map_unpack(slice_of(packed.data, len), &again) == OK)
            cluster_map_unref(again); /* cut between fields: a smaller map */
    }
    for (unsigned i = 0; i < 20000; i++) {
        buf_clear(&damaged);
        buf_append_slice(&damaged, buf_slice(&packed));
        for (int j = 0; j < 2; j++) {
            seed = seed * 1103515245 + 12345;
            damaged.data[(seed >> 8) % damaged.len] = (uint8_t)(seed >> 24);
        }
        enum error error = cluster_map_unpack(buf_slice(&damaged), &again);
        assert_true(error == OK || error == ERROR_DAMAGED);
        refused += error != OK;
        if (error == OK)
            cluster_map_unref(again);
    }
    assert_true(refused > 5000);
    assert_int_equal(cluster_map_unpack(slice_of(NULL, 0), &again), ERROR_DAMAGED);
    buf_fini(&damaged);
    buf_fini(&packed);
    cluster_map_unref(map);
}

static void failed_allocations_are_told_and_leak_nothing(void **state)
{
    struct cluster_map *map = make_map(5), *again;
    long before = mem_fault_live();
    enum error error = ERROR_MEMORY;
    struct buf packed;

    (void)state;
    for (unsigned long n = 1; error == ERROR_MEMORY; n++) {
        buf_init(&packed);
        mem_fault_fail_at(n);
        error = cluster_map_pack(map, &packed);
        mem_fault_fail_at(0);
        if (error != OK)
            buf_fini(&packed);
        assert_int_equal(error == OK ? before : mem_fault_live(), before);
    }
    assert_int_equal(error, OK);
    before = mem_fault_live();
    error = ERROR_MEMORY;
    for (unsigned long n = 1; error == ERROR_MEMORY; n++) {
        mem_fault_fail_at(n);
        error = cluster_map_unpack(buf_slice(&packed), &again);
        mem_fault_fail_at(0);
        assert_int_equal(error == OK ? before : mem_fault_live(), before);
        assert_true(n < 1000);
    }
    assert_int_equal(error, OK);
    cluster_map_unref(again);
    cluster_map_unref(map);
    buf_fini(&packed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_packed_comes_back),
        cmocka_unit_test(damaged_maps_are_refused_or_keep_every_rule),
        cmocka_unit_test(failed_allocations_are_told_and_leak_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
