#include "tests/unit/server/image_fixture.h"

static void image_while_changing(uint32_t entries, unsigned changes, uint64_t seed)
{
    long live = mem_fault_live();
    struct fixture *fixture = fixture_new(seed);
    struct bucket *bucket = &fixture->source.buckets[4];
    populate(bucket, entries);
    begin(4);
    assert_int_equal(run(bucket, changes), OK);
    assert_int_equal(fixture->done, 1);
    assert_int_equal(fixture->failed, 0);
    assert_int_equal(fixture->source.peer.image_in_flight, 0);
    check_installed(4);
    fixture_free(fixture);
    assert_int_equal(mem_fault_live(), live);
}

static void an_image_is_the_bucket_as_it_was_at_the_cut(void **state)
{
    (void)state;
    image_while_changing(0, 0, 1);
    image_while_changing(0, 50, 2);
    image_while_changing(1, 0, 3);
    for (uint64_t seed = 0; seed < 20; seed++)
        image_while_changing(1, 5, seed);
    for (uint64_t seed = 0; seed < 30; seed++)
        image_while_changing(3000 + (uint32_t)seed * 211, 300, seed);
    image_while_changing(50000, 0, 4);
    for (uint64_t seed = 0; seed < 4; seed++)
        image_while_changing(50000, 2000, seed);
}

static void change_source(struct bucket *bucket)
{
    if (bucket != &now->source.buckets[0])
        return;
    now->holds++;
    for (unsigned i = 0; i < 20; i++)
        change(bucket);
}

static void a_writer_may_come_between_any_two_holds_of_the_lock(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 5; seed++) {
        struct fixture *fixture = fixture_new(seed);
        struct bucket *bucket = &fixture->source.buckets[0];
        populate(bucket, 20000);
        begin(0);
        fixture->after_unlock = change_source;
        assert_int_equal(run(bucket, 0), OK);
        fixture->after_unlock = NULL;
        assert_true(fixture->holds >= 20000 / 230);
        check_installed(0);
        fixture_free(fixture);
    }
}

/* Both branches, at each piece of an image of that many entries. */
static void clear_after(uint32_t entries, unsigned turns, bool then_writes)
{
    struct fixture *fixture = fixture_new(turns);
    struct bucket *bucket = &fixture->source.buckets[0];
    populate(bucket, entries);
    uint64_t cut_seq = bucket->last_seq;
    begin(0);
    for (unsigned i = 0; i < turns; i++)
        image_fill(&fixture->source.peer, fixture->source.conn.conn);
    clear(bucket);
    for (unsigned i = 0; then_writes && i < 400; i++)
        change(bucket);
    assert_int_equal(deliver_pieces(UINT32_MAX), OK);
    assert_int_equal(deliver_acks(), OK);
    assert_int_equal(run(bucket, then_writes ? 7 : 0), OK);
    assert_int_equal(fixture->done, 1);
    if (turns > 0 && entries <= 1000)
        assert_int_equal(fixture->done_seq[0], cut_seq);
    check_installed(0);
    fixture_free(fixture);
}

static void a_clear_is_either_survived_or_starts_the_image_over(void **state)
{
    (void)state;
    for (unsigned turns = 0; turns < 4; turns++)
        for (unsigned writes = 0; writes < 2; writes++) {
            clear_after(10, turns, writes != 0);
            clear_after(1000, turns, writes != 0);
            clear_after(30000, turns, writes != 0);
        }
    struct fixture *fixture = fixture_new(1);
    struct bucket *bucket = &fixture->source.buckets[0];
    populate(bucket, 30000);
    begin(0);
    uint64_t cut_seq = bucket->last_seq;
    image_fill(&fixture->source.peer, fixture->source.conn.conn);
    clear(bucket);
    assert_int_equal(image_seq_locked(bucket, fixture->copies[0].image), bucket->last_seq);
    assert_int_equal(run(bucket, 0), OK);
    assert_int_equal(fixture->done_seq[0], cut_seq + 1);
    check_installed(0);
    fixture_free(fixture);
}

static void large_entries_travel_in_pieces(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_new(1);
    struct bucket *bucket = &fixture->source.buckets[0];
    populate(bucket, 10);
    put(bucket, 3, 3000000);
    put(bucket, 5, IMAGE_PIECE_BYTES);
    put(bucket, 6, 700000);
    begin(0);
    fixture->value_max = 100000;
    assert_int_equal(run(bucket, 3), OK);
    assert_true(fixture->pieces > 3700000 / IMAGE_PIECE_BYTES);
    check_installed(0);
    fixture_free(fixture);
}

static void what_is_on_its_way_is_bounded(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_new(1);
    for (uint32_t i = 0; i < 6; i++) {
        populate(&fixture->source.buckets[i], 20000);
        begin(i);
    }
    unsigned turns = 0;
    while (image_fill(&fixture->source.peer, fixture->source.conn.conn))
        assert_true(turns++ < 100);
    fake_net_turn(fixture->source.net);
    size_t sent = fake_conn_sent(fixture->source.wire).len;
    assert_true(sent > IMAGE_IN_FLIGHT_MAX * 9 / 10);
    assert_true(fixture->source.peer.image_in_flight <= IMAGE_IN_FLIGHT_MAX);
    assert_false(image_fill(&fixture->source.peer, fixture->source.conn.conn));
    fake_net_turn(fixture->source.net);
    assert_int_equal(fake_conn_sent(fixture->source.wire).len, sent);
    unsigned cut = 0;
    for (uint32_t i = 0; i < 6; i++)
        cut += fixture->snapshots[i].seq > 0;
    assert_int_equal(cut, LIMIT_IMAGES_AT_ONCE);
    unsigned dirty = fixture->dirty;
    assert_int_equal(deliver_pieces(UINT32_MAX), OK);
    assert_int_equal(deliver_acks(), OK);
    assert_true(fixture->dirty > dirty);
    assert_int_equal(fixture->source.peer.image_in_flight, 0);
    assert_int_equal(run(&fixture->source.buckets[0], 1), OK);
    assert_int_equal(fixture->done, 6);
    for (uint32_t i = 0; i < 6; i++)
        check_installed(i);
    fixture_free(fixture);
}

static void all_buckets_of_a_region_arrive(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_new(1);
    for (uint32_t i = 0; i < BUCKETS_MAX; i++) {
        populate(&fixture->source.buckets[i], i * 3);
        begin(i);
    }
    assert_int_equal(run(&fixture->source.buckets[77], 9), OK);
    assert_int_equal(fixture->done, BUCKETS_MAX);
    for (uint32_t i = 0; i < BUCKETS_MAX; i++)
        check_installed(i);
    fixture_free(fixture);
}

static void a_link_may_break_at_any_piece(void **state)
{
    (void)state;
    long live = mem_fault_live();
    for (unsigned piece = 0;; piece++) {
        struct fixture *fixture = fixture_new(piece);
        struct bucket *bucket = &fixture->source.buckets[0];
        populate(bucket, 4000);
        begin(0);
        begin(1);
        while (fixture->source.peer.images != NULL && fixture->pieces < piece) {
            image_fill(&fixture->source.peer, fixture->source.conn.conn);
            assert_int_equal(deliver_pieces(piece - fixture->pieces), OK);
            if (fixture->pieces < piece)
                assert_int_equal(deliver_acks(), OK);
            change(bucket);
        }
        bool whole = fixture->done == 2;
        image_on_link(&fixture->source.peer, false);
        image_on_conn_gone(&fixture->target.conn);
        fake_net_turn(fixture->target.net);
        assert_int_equal(fixture->done + fixture->failed, 2);
        assert_null(fixture->copies[0].image);
        assert_null(bucket->images);
        if (fixture->target.buckets[0].last_seq == 0)
            check_untouched(0);
        /* What was installed and never heard of is replaced by the next image. */
        fake_conn_take(fixture->source.wire);
        fake_conn_take(fixture->target.wire);
        fixture->done = 0;
        begin(0);
        assert_int_equal(run(bucket, 2), OK);
        assert_int_equal(fixture->done, 1);
        check_installed(0);
        fixture_free(fixture);
        assert_int_equal(mem_fault_live(), live);
        if (whole)
            break;
        assert_true(piece < 1000);
    }
}

static void an_image_that_nobody_wants_is_dropped_at_both_ends(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_new(1);
    struct bucket *bucket = &fixture->source.buckets[0];
    populate(bucket, 40000);
    begin(0);
    image_fill(&fixture->source.peer, fixture->source.conn.conn);
    assert_int_equal(deliver_pieces(UINT32_MAX), OK);
    assert_non_null(fixture->target.buckets[0].replica.image);
    bucket_lock(bucket);
    image_end_locked(bucket, &fixture->copies[0]);
    image_end_locked(bucket, &fixture->copies[0]);
    bucket_unlock(bucket);
    assert_null(bucket->images);
    assert_int_equal(run(bucket, 3), OK);
    assert_null(fixture->target.buckets[0].replica.image);
    assert_int_equal(fixture->done + fixture->failed, 0);
    assert_int_equal(fixture->source.peer.image_in_flight, 0);
    check_untouched(0);
    fixture_free(fixture);
}

static void nothing_begins_while_a_query_is_built_or_the_link_is_down(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_new(1);
    struct bucket *bucket = &fixture->source.buckets[0];
    fixture->building = true;
    assert_int_equal(image_begin_locked(bucket, &fixture->copies[0]), ERROR_BUSY);
    fixture->building = false;
    fixture->source.peer.replication_up = false;
    assert_int_equal(image_begin_locked(bucket, &fixture->copies[0]), ERROR_BUSY);
    fixture->source.peer.replication_up = true;
    assert_null(fixture->copies[0].image);
    begin(0);
    assert_int_equal(image_seq_locked(bucket, fixture->copies[0].image), bucket->last_seq);
    fixture->building = true;
    assert_int_equal(run(bucket, 0), OK);
    assert_int_equal(fixture->failed, 1);
    assert_int_equal(fixture->pieces, 0);
    fixture_free(fixture);
}

static void losing_the_contents_under_way_fails_the_image(void **state)
{
    (void)state;
    for (int what = 0; what < 2; what++) {
        struct fixture *fixture = fixture_new(1);
        struct bucket *bucket = &fixture->source.buckets[0];
        populate(bucket, 40000);
        begin(0);
        image_fill(&fixture->source.peer, fixture->source.conn.conn);
        if (what == 0)
            bucket->generation++;
        else
            fixture->source.region.destroyed = true;
        assert_int_equal(run(bucket, 0), OK);
        assert_int_equal(fixture->failed, 1);
        assert_null(fixture->target.buckets[0].replica.image);
        check_untouched(0);
        fixture_free(fixture);
    }
}

static void answers_that_cannot_be_are_malformed(void **state)
{
    (void)state;
    static const uint8_t region[] = {0xac, 2}; /* 300 */
    struct fixture *fixture = fixture_new(1);
    populate(&fixture->source.buckets[0], 20000);
    begin(0);
    image_fill(&fixture->source.peer, fixture->source.conn.conn);
    static const uint8_t tails[][8] = {
        /* length, then bucket, id, verdict, value */
        {4, 0, 1, IMAGE_ARRIVED, 0x80},
        {6, 0, 1, IMAGE_ARRIVED, 0xff, 0xff, 0x7f}, /* more than was sent */
        {4, 0, 1, IMAGE_INSTALLED, 1},              /* before the end */
        {4, 0, 1, 0, 1},
        {4, 0, 1, 4, 1},
        {5, 0, 1, IMAGE_ARRIVED, 1, 1},
        {3, 0, 1, IMAGE_ARRIVED},
        {2, 0, 1},
        {1, 0},
        {0},
    };
    for (size_t i = 0; i < sizeof tails / sizeof tails[0]; i++) {
        uint8_t content[16];
        memcpy(content, region, 2);
        memcpy(content + 2, tails[i] + 1, tails[i][0]);
        struct slice slice = slice_of(content, 2u + tails[i][0]);
        assert_int_equal(image_on_ack(&fixture->source.conn, slice), ERROR_MALFORMED);
    }
    static const uint8_t unknown[] = {0xac, 2, 0, 9, IMAGE_ARRIVED, 1};
    assert_int_equal(image_on_ack(&fixture->source.conn, slice_of(unknown, sizeof unknown)), OK);
    assert_int_equal(fixture->failed, 0);
    fixture_free(fixture);
}

static void what_queries_remember_is_packed_before_the_cut(void **state)
{
    (void)state;
    long live = mem_fault_live();
    for (int ends = 0; ends < 2; ends++) {
        struct fixture *fixture = fixture_new(1);
        struct bucket *bucket = &fixture->source.buckets[0];
        populate(bucket, 60);
        fixture->packing_steps = 30;
        begin(0);
        while (fixture->packing_steps > 0) {
            unsigned before = fixture->packing_steps;
            bool more = image_fill(&fixture->source.peer, fixture->source.conn.conn);
            assert_true(fixture->packing_steps < before && before - fixture->packing_steps < 10);
            assert_int_equal(fixture->packings, fixture->packing_steps > 0);
            assert_true(more || fixture->packing_steps == 0);
            assert_true(fixture->packing_steps == 0 ||
                        fake_conn_sent(fixture->source.wire).len == 0);
            if (ends > 0)
                break;
            put(bucket, 3, 10); /* is of the image while that is not cut */
        }
        if (ends > 0)
            image_end_locked(bucket, &fixture->copies[0]);
        assert_int_equal(fixture->packings, 0);
        assert_int_equal(run(bucket, 0), OK);
        if (ends == 0)
            check_installed(0);
        fixture_free(fixture);
        assert_int_equal(mem_fault_live(), live);
    }
}

static void memory_may_run_out_anywhere(void **state)
{
    (void)state;
    long live = mem_fault_live();
    bool untouched = false;
    unsigned failures = 0;
    for (unsigned long n = 1; !untouched; n++) {
        struct fixture *fixture = fixture_new(1);
        struct bucket *bucket = &fixture->source.buckets[0];
        populate(bucket, 60);
        put(bucket, 3, 100000);
        mem_fault_fail_at(n);
        if (image_begin_locked(bucket, &fixture->copies[0]) == OK) {
            for (unsigned i = 0; i < 8; i++) {
                image_fill(&fixture->source.peer, fixture->source.conn.conn);
                /* A change that is known before it is made, so that the change itself needs no
                 * memory. */
                for (uint32_t key = 0; key < 60; key++)
                    remove_key(bucket, key);
                assert_int_equal(deliver_pieces(UINT32_MAX), OK);
                assert_int_equal(deliver_acks(), OK);
            }
            assert_int_equal(fixture->done + fixture->failed, 1);
        }
        untouched = mem_fault_calls() < n;
        mem_fault_fail_at(0);
        failures += fixture->failed;
        if (fixture->done == 1)
            check_installed(0);
        else
            check_untouched(0);
        assert_true(!untouched || fixture->done == 1);
        fixture_free(fixture);
        assert_int_equal(mem_fault_live(), live);
    }
    assert_true(failures > 20);
}

static void a_connection_without_memory_fails_the_image(void **state)
{
    (void)state;
    for (unsigned n = 1; n < 4; n++) {
        struct fixture *fixture = fixture_new(1);
        populate(&fixture->source.buckets[0], 50);
        begin(0);
        fake_net_fail_reserve(fixture->source.net, n);
        assert_int_equal(run(&fixture->source.buckets[0], 0), OK);
        fake_net_fail_reserve(fixture->source.net, 0);
        assert_int_equal(fixture->failed, 1);
        assert_null(fixture->target.buckets[0].replica.image);
        check_untouched(0);
        fixture_free(fixture);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_image_is_the_bucket_as_it_was_at_the_cut),
        cmocka_unit_test(a_writer_may_come_between_any_two_holds_of_the_lock),
        cmocka_unit_test(a_clear_is_either_survived_or_starts_the_image_over),
        cmocka_unit_test(large_entries_travel_in_pieces),
        cmocka_unit_test(what_is_on_its_way_is_bounded),
        cmocka_unit_test(all_buckets_of_a_region_arrive),
        cmocka_unit_test(a_link_may_break_at_any_piece),
        cmocka_unit_test(an_image_that_nobody_wants_is_dropped_at_both_ends),
        cmocka_unit_test(nothing_begins_while_a_query_is_built_or_the_link_is_down),
        cmocka_unit_test(losing_the_contents_under_way_fails_the_image),
        cmocka_unit_test(answers_that_cannot_be_are_malformed),
        cmocka_unit_test(what_queries_remember_is_packed_before_the_cut),
        cmocka_unit_test(memory_may_run_out_anywhere),
        cmocka_unit_test(a_connection_without_memory_fails_the_image),
    };
    return cmocka_run_group_tests_name("server/image", tests, NULL, NULL);
}
