#include "tests/unit/server/image_fixture.h"

/* The pieces of one image, as they were sent. */
struct recording {
    struct slice pieces[16];
    unsigned count;
};

static void record(struct recording *recording)
{
    uint32_t kind;
    uint8_t *content;
    size_t len, taken = 0;
    memset(recording, 0, sizeof *recording);
    while (image_fill(&now->source.peer, now->source.conn.conn))
        continue;
    fake_net_turn(now->source.net);
    while (take_frame(&now->source, &kind, &content, &len, &taken)) {
        assert_true(recording->count < 16);
        recording->pieces[recording->count++] = slice_of(content, len);
    }
}

static void recording_free(struct recording *recording)
{
    for (unsigned i = 0; i < recording->count; i++)
        free((void *)(uintptr_t)recording->pieces[i].data);
}

/* A small image of bucket 0, with all that one has. */
static void record_small(struct recording *recording)
{
    populate(&now->source.buckets[0], 12);
    for (unsigned i = 0; i < 5; i++)
        change(&now->source.buckets[0]);
    begin(0);
    record(recording);
    assert_int_equal(recording->count, 3);
}

/* The last verdict that the target has sent; 0: none. */
static int last_verdict(void)
{
    uint32_t kind;
    uint8_t *content;
    size_t len, taken = 0;
    int verdict = 0;
    fake_net_turn(now->target.net);
    while (take_frame(&now->target, &kind, &content, &len, &taken)) {
        struct slice rest = slice_of(content, len);
        uint32_t region, bucket;
        uint64_t id;
        assert_true(image_get32(&rest, &region) && image_get32(&rest, &bucket));
        assert_true(image_get(&rest, UINT64_MAX, &id) && rest.len > 0);
        verdict = rest.data[0];
        free(content);
    }
    return verdict;
}

static enum error give(struct slice piece)
{
    uint8_t *copy = malloc(piece.len > 0 ? piece.len : 1);
    assert_non_null(copy);
    memcpy(copy, piece.data, piece.len);
    enum error error = image_on_piece(&now->target.conn, slice_of(copy, piece.len));
    free(copy);
    return error;
}

/* All pieces, one of them another: whatever becomes of it, the bucket is as before or holds a whole
 * image. */
static void give_with(const struct recording *recording, unsigned changed, struct slice piece,
                      unsigned *malformed)
{
    struct bucket *bucket = &now->target.buckets[0];
    enum error error = OK;
    for (unsigned i = 0; i < recording->count && error == OK; i++)
        error = give(i == changed ? piece : recording->pieces[i]);
    assert_true(error == OK || error == ERROR_MALFORMED);
    *malformed += error == ERROR_MALFORMED;
    int verdict = last_verdict();
    if (error == OK && verdict == IMAGE_INSTALLED) {
        assert_int_equal(bucket->replica.role, REPLICA_COPY);
        bucket->replica.role = REPLICA_NONE;
        table_clear(&bucket->table);
        writers_fini(&bucket->writers);
        streams_fini(&bucket->streams);
        cq_bucket_free_all(bucket);
        bucket->last_seq = 0;
    } else {
        check_untouched(0);
        image_on_conn_gone(&now->target.conn);
    }
    bucket->replica.current = 7;
    assert_null(bucket->replica.image);
}

static void malformed_pieces_harm_nothing(void **state)
{
    (void)state;
    long live = mem_fault_live();
    struct fixture *fixture = fixture_new(1);
    struct recording recording;
    unsigned malformed = 0, tried = 0;
    record_small(&recording);
    for (unsigned p = 0; p < recording.count; p++) {
        struct slice piece = recording.pieces[p];
        uint8_t *copy = malloc(piece.len + 1);
        assert_non_null(copy);
        for (size_t len = 0; len < piece.len; len++, tried++)
            give_with(&recording, p, slice_of(piece.data, len), &malformed);
        for (size_t at = 0; at < piece.len; at++)
            for (unsigned flip = 0; flip < 9; flip++, tried++) {
                memcpy(copy, piece.data, piece.len);
                copy[at] = (uint8_t)(copy[at] ^ (flip == 8 ? 0xff : 1u << flip));
                give_with(&recording, p, slice_of(copy, piece.len), &malformed);
            }
        memcpy(copy, piece.data, piece.len);
        copy[piece.len] = 1;
        give_with(&recording, p, slice_of(copy, piece.len + 1), &malformed);
        free(copy);
    }
    assert_true(malformed > tried / 4);
    recording_free(&recording);
    fixture_free(fixture);
    assert_int_equal(mem_fault_live(), live);
}

static void pieces_out_of_order_are_malformed(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_new(1);
    struct recording recording;
    record_small(&recording);
    assert_int_equal(give(recording.pieces[0]), OK);
    assert_int_equal(give(recording.pieces[2]), ERROR_MALFORMED);
    check_untouched(0);
    assert_int_equal(give(recording.pieces[0]), OK);
    assert_int_equal(give(recording.pieces[1]), OK);
    assert_int_equal(give(recording.pieces[1]), ERROR_MALFORMED);
    check_untouched(0);
    /* What nobody waits for is refused, so that the sender stops. */
    (void)last_verdict();
    assert_int_equal(give(recording.pieces[1]), OK);
    assert_int_equal(last_verdict(), IMAGE_REFUSED);
    recording_free(&recording);
    fixture_free(fixture);
}

static void an_image_with_other_than_its_number_of_entries_is_malformed(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_new(1);
    struct recording recording;
    record_small(&recording);
    uint8_t begin_piece[IMAGE_HEADER_MAX];
    struct slice piece = slice_of(begin_piece, recording.pieces[0].len);
    memcpy(begin_piece, recording.pieces[0].data, piece.len);
    begin_piece[piece.len - 1]++; /* the number of entries, below 127 */
    assert_int_equal(give(piece), OK);
    assert_int_equal(give(recording.pieces[1]), OK);
    assert_int_equal(give(recording.pieces[2]), ERROR_MALFORMED);
    begin_piece[piece.len - 1] = (uint8_t)(begin_piece[piece.len - 1] - 2);
    assert_int_equal(give(piece), OK);
    assert_int_equal(give(recording.pieces[1]), ERROR_MALFORMED);
    check_untouched(0);
    recording_free(&recording);
    fixture_free(fixture);
}

static void an_image_of_a_newer_map_waits_for_that_map(void **state)
{
    (void)state;
    for (int what = 0; what < 2; what++) {
        struct fixture *fixture = fixture_new(1);
        struct recording recording;
        struct bucket *bucket = &fixture->target.buckets[0];
        record_small(&recording);
        if (what == 0)
            fixture->target.server.adopted_epoch = 8;
        else
            bucket->replica.set_version = 4;
        for (unsigned i = 0; i < recording.count; i++)
            assert_int_equal(give(recording.pieces[i]), OK);
        assert_int_equal(last_verdict(), IMAGE_REFUSED);
        check_untouched(0);
        assert_null(bucket->replica.image);
        /* The map comes while the pieces arrive. */
        assert_int_equal(give(recording.pieces[0]), OK);
        assert_int_equal(give(recording.pieces[1]), OK);
        fixture->target.server.adopted_epoch = 9;
        bucket->replica.set_version = 5;
        assert_int_equal(give(recording.pieces[2]), OK);
        assert_int_equal(last_verdict(), IMAGE_INSTALLED);
        fixture->done_seq[0] = fixture->snapshots[0].seq;
        check_installed(0);
        recording_free(&recording);
        fixture_free(fixture);
    }
}

/* Each is a reason to refuse, at the beginning or at the end. */
static void refuse_primary(struct bucket *bucket)
{
    bucket->replica.role = REPLICA_PRIMARY;
}
static void refuse_term(struct bucket *bucket)
{
    bucket->replica.current = 8;
}
static void refuse_generation(struct bucket *bucket)
{
    bucket->generation = 4;
}
static void refuse_in_set(struct bucket *bucket)
{
    bucket->replica.in_set = true;
    bucket->last_seq = 1;
}
static void refuse_destroyed(struct bucket *bucket)
{
    bucket->region->destroyed = true;
}
static void refuse_unknown(struct bucket *bucket)
{
    bucket->region->id = 301;
}
static void refuse_other_primary(struct bucket *bucket)
{
    bucket->replica.primary = 4711;
}
static void refuse_old_generation(struct bucket *bucket)
{
    bucket->generation = 2;
}
static void refuse_query(struct bucket *bucket)
{
    (void)bucket;
    now->query_unknown = true;
}

static void what_is_not_wanted_is_refused_and_tried_again(void **state)
{
    (void)state;
    static const struct {
        void (*make)(struct bucket *bucket);
        bool at_begin; /* already there */
    } reasons[] = {
        {refuse_primary, true},        {refuse_term, true},
        {refuse_generation, true},     {refuse_in_set, true},
        {refuse_destroyed, true},      {refuse_unknown, true},
        {refuse_other_primary, false}, {refuse_old_generation, false},
        {refuse_query, false},
    };
    for (unsigned r = 0; r < sizeof reasons / sizeof reasons[0]; r++)
        for (unsigned late = 0; late < 2; late++) {
            struct fixture *fixture = fixture_new(1);
            struct bucket *bucket = &fixture->target.buckets[0];
            struct recording recording;
            record_small(&recording);
            if (late == 0)
                reasons[r].make(bucket);
            assert_int_equal(give(recording.pieces[0]), OK);
            assert_int_equal(last_verdict(),
                             late == 0 && reasons[r].at_begin ? IMAGE_REFUSED : IMAGE_ARRIVED);
            if (late > 0)
                reasons[r].make(bucket);
            uint64_t before = bucket->last_seq;
            assert_int_equal(give(recording.pieces[1]), OK);
            assert_int_equal(give(recording.pieces[2]), OK);
            assert_int_equal(last_verdict(), IMAGE_REFUSED);
            assert_int_equal(bucket->table.entry_count, 0);
            assert_int_equal(bucket->last_seq, before);
            assert_null(bucket->cqs);
            recording_free(&recording);
            fixture_free(fixture);
        }
}

static void a_refusal_is_told_to_the_replica_once(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_new(1);
    populate(&fixture->source.buckets[0], 20000);
    fixture->target.buckets[0].replica.current = 8;
    begin(0);
    assert_int_equal(run(&fixture->source.buckets[0], 1), OK);
    assert_int_equal(fixture->failed, 1);
    assert_int_equal(fixture->done, 0);
    assert_int_equal(fixture->source.peer.image_in_flight, 0);
    check_untouched(0);
    fixture_free(fixture);
}

static void a_newer_image_takes_the_place_of_one_that_arrives(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_new(1);
    struct recording first, second;
    struct bucket *source = &fixture->source.buckets[0], *bucket = &fixture->target.buckets[0];
    record_small(&first);
    assert_int_equal(give(first.pieces[0]), OK);
    assert_int_equal(give(first.pieces[1]), OK);
    struct image_in *old = bucket->replica.image;
    image_end_locked(source, &fixture->copies[0]);
    (void)image_fill(&fixture->source.peer, fixture->source.conn.conn); /* ABORT */
    fake_net_turn(fixture->source.net);
    fake_conn_take(fixture->source.wire);
    source->replica.led = 6; /* of an earlier term than the one that arrives */
    begin(0);
    record(&second);
    bucket->replica.current = 6;
    assert_int_equal(give(second.pieces[0]), OK);
    assert_int_equal(last_verdict(), IMAGE_REFUSED);
    assert_ptr_equal(bucket->replica.image, old);
    recording_free(&second);
    bucket->replica.current = 7;
    image_end_locked(source, &fixture->copies[0]);
    (void)image_fill(&fixture->source.peer, fixture->source.conn.conn);
    fake_net_turn(fixture->source.net);
    fake_conn_take(fixture->source.wire);
    source->replica.led = 7;
    begin(0);
    assert_int_equal(run(source, 4), OK);
    check_installed(0);
    recording_free(&first);
    fixture_free(fixture);
}

static void empty_and_count(void *worker)
{
    long before = mem_fault_live();
    now->empty_trash(worker);
    assert_true(before - mem_fault_live() < 2000);
    now->trash_runs++;
}

static void older_contents_go_in_slices(void **state)
{
    (void)state;
    long live = mem_fault_live();
    struct fixture *fixture = fixture_new(1);
    struct bucket *source = &fixture->source.buckets[0], *bucket = &fixture->target.buckets[0];
    populate(source, 3000);
    populate(bucket, 20000);
    bucket->replica.role = REPLICA_COPY;
    assert_non_null(
        ring_append(&bucket->replica.backlog, (struct ring_position){20000, 0}, 1, 9, 1));
    begin(0);
    while (fixture->source.peer.images != NULL && fixture->target.worker.trash == NULL) {
        image_fill(&fixture->source.peer, fixture->source.conn.conn);
        uint32_t kind;
        uint8_t *content;
        size_t len, taken = 0;
        fake_net_turn(fixture->source.net);
        while (take_frame(&fixture->source, &kind, &content, &len, &taken)) {
            assert_int_equal(image_on_piece(&fixture->target.conn, slice_of(content, len)), OK);
            free(content);
        }
    }
    /* Before the loop had a turn nothing of it is freed. */
    assert_non_null(fixture->target.worker.trash);
    assert_true(fixture->target.worker.trash_task.queued);
    fixture->empty_trash = fixture->target.worker.trash_task.on_run;
    fixture->target.worker.trash_task.on_run = empty_and_count;
    fake_net_turn(fixture->target.net);
    assert_true(fixture->trash_runs > 20);
    assert_null(fixture->target.worker.trash);
    assert_int_equal(deliver_acks(), OK);
    assert_int_equal(fixture->done, 1);
    assert_int_equal(fixture->queries_freed, 1);
    check_installed(0);
    /* The backlog goes on behind the image. */
    assert_int_equal(bucket->replica.backlog.floor.seq, bucket->last_seq);
    assert_non_null(ring_append(&bucket->replica.backlog,
                                (struct ring_position){bucket->last_seq + 1, 0}, 1, 9, 1));
    fixture_free(fixture);
    assert_int_equal(mem_fault_live(), live);
}

static void an_image_of_unknown_queries_changes_nothing(void **state)
{
    (void)state;
    long live = mem_fault_live();
    struct fixture *fixture = fixture_new(1);
    struct bucket *bucket = &fixture->target.buckets[0];
    populate(&fixture->source.buckets[0], 50);
    populate(bucket, 70);
    bucket->replica.role = REPLICA_COPY;
    struct cq_bucket *queries = bucket->cqs;
    uint64_t seq = bucket->last_seq;
    for (unsigned times = 1; times <= 2; times++) {
        fixture->query_unknown = times == 1;
        fixture->query_forgotten = times == 2;
        begin(0);
        assert_int_equal(run(&fixture->source.buckets[0], 0), OK);
        assert_int_equal(fixture->failed, times);
        assert_int_equal(bucket->table.entry_count, 70);
        assert_int_equal(bucket->last_seq, seq);
        assert_ptr_equal(bucket->cqs, queries);
        assert_int_equal(bucket->replica.role, REPLICA_COPY);
    }
    fixture_free(fixture);
    assert_int_equal(mem_fault_live(), live);
}

static void what_arrives_is_dropped_with_its_connection_or_by_the_map(void **state)
{
    (void)state;
    long live = mem_fault_live();
    for (int what = 0; what < 3; what++) {
        struct fixture *fixture = fixture_new(1);
        struct bucket *bucket = &fixture->target.buckets[0];
        populate(&fixture->source.buckets[0], 20000);
        begin(0);
        image_fill(&fixture->source.peer, fixture->source.conn.conn);
        assert_int_equal(deliver_pieces(UINT32_MAX), OK);
        assert_non_null(bucket->replica.image);
        if (what == 0)
            image_drop_incoming_locked(bucket);
        else
            image_on_conn_gone(&fixture->target.conn);
        assert_null(bucket->replica.image);
        if (what == 2)
            trash_free(&fixture->target.worker);
        check_untouched(0);
        /* The sender goes on for a while; it is told to stop. */
        assert_int_equal(run(&fixture->source.buckets[0], 0), OK);
        assert_int_equal(fixture->failed, 1);
        check_untouched(0);
        fixture_free(fixture);
        assert_int_equal(mem_fault_live(), live);
    }
}

static void an_answer_that_cannot_be_written_costs_the_connection(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_new(1);
    struct recording recording;
    record_small(&recording);
    for (unsigned i = 0; i < recording.count; i++) {
        fake_net_fail_reserve(fixture->target.net, 1);
        assert_int_equal(give(recording.pieces[i]), ERROR_MEMORY);
    }
    fake_net_fail_reserve(fixture->target.net, 0);
    recording_free(&recording);
    fixture_free(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(malformed_pieces_harm_nothing),
        cmocka_unit_test(pieces_out_of_order_are_malformed),
        cmocka_unit_test(an_image_with_other_than_its_number_of_entries_is_malformed),
        cmocka_unit_test(an_image_of_a_newer_map_waits_for_that_map),
        cmocka_unit_test(what_is_not_wanted_is_refused_and_tried_again),
        cmocka_unit_test(a_refusal_is_told_to_the_replica_once),
        cmocka_unit_test(a_newer_image_takes_the_place_of_one_that_arrives),
        cmocka_unit_test(older_contents_go_in_slices),
        cmocka_unit_test(an_image_of_unknown_queries_changes_nothing),
        cmocka_unit_test(what_arrives_is_dropped_with_its_connection_or_by_the_map),
        cmocka_unit_test(an_answer_that_cannot_be_written_costs_the_connection),
    };
    return cmocka_run_group_tests_name("server/image_in", tests, NULL, NULL);
}
