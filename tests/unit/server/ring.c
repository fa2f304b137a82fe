#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "server/ring.h"
#include "tests/lib/mem_fault.h"

static struct ring_position at(uint64_t seq, uint32_t sub)
{
    return (struct ring_position){seq, sub};
}

static const struct ring_position start = {10, UINT32_MAX};

/* The content of an event follows from its number, so that a reader that lost its way is seen. */
static bool append(struct ring *ring, uint64_t seq, size_t len)
{
    uint8_t *place =
        ring_append(ring, at(seq, (uint32_t)(seq % 3)), (uint8_t)(seq % 5), len, seq * 10);
    if (place != NULL)
        memset(place, (int)(seq * 31), len);
    return place != NULL;
}

static void check_event(const struct ring_event *event, uint64_t seq, size_t len)
{
    assert_int_equal(event->position.seq, seq);
    assert_int_equal(event->position.sub, seq % 3);
    assert_int_equal(event->kind, seq % 5);
    assert_int_equal(event->encoded.len, len);
    for (size_t i = 0; i < len; i++)
        assert_int_equal(event->encoded.data[i], (uint8_t)(seq * 31));
}

static void events_are_read_in_their_order(void **state)
{
    (void)state;
    long live = mem_fault_live();
    struct ring ring;
    struct ring_event event;
    ring_init(&ring, start);
    for (uint64_t seq = 11; seq < 2000; seq++)
        assert_true(append(&ring, seq, seq % 700));
    for (int hinted = 0; hinted < 2; hinted++) {
        struct ring_position after = start;
        struct ring_hint hint = {0};
        for (uint64_t seq = 11; seq < 2000; seq++) {
            if (hinted == 0)
                hint = (struct ring_hint){0};
            assert_true(ring_next(&ring, after, UINT64_MAX, &hint, &event));
            check_event(&event, seq, seq % 700);
            after = event.position;
        }
        assert_false(ring_next(&ring, after, UINT64_MAX, &hint, &event));
    }
    ring_fini(&ring);
    assert_int_equal(ring.bytes, 0);
    assert_int_equal(mem_fault_live(), live);
}

static void what_is_not_committed_is_not_read(void **state)
{
    (void)state;
    struct ring ring;
    struct ring_hint hint = {0};
    struct ring_event event;
    ring_init(&ring, start);
    for (uint64_t seq = 11; seq <= 13; seq++)
        assert_true(append(&ring, seq, 4));
    assert_false(ring_next(&ring, start, 10, &hint, &event));
    assert_true(ring_next(&ring, start, 12, &hint, &event));
    assert_true(ring_next(&ring, event.position, 12, &hint, &event));
    assert_int_equal(event.position.seq, 12);
    assert_false(ring_next(&ring, event.position, 12, &hint, &event));
    assert_true(ring_next(&ring, event.position, 13, &hint, &event));
    check_event(&event, 13, 4);
    ring_fini(&ring);
}

static void events_of_one_record_are_told_apart(void **state)
{
    (void)state;
    struct ring ring;
    struct ring_hint hint = {0};
    struct ring_event event;
    ring_init(&ring, start);
    for (uint32_t sub = 0; sub < 4; sub++)
        assert_non_null(ring_append(&ring, at(11, sub), 0, 0, 1));
    assert_true(ring_next(&ring, at(11, 1), UINT64_MAX, &hint, &event));
    assert_int_equal(event.position.sub, 2);
    assert_int_equal(event.encoded.len, 0);
    assert_false(ring_next(&ring, at(11, 3), UINT64_MAX, &hint, &event));
    ring_fini(&ring);
}

static void dropping_raises_the_floor_to_the_last_that_went(void **state)
{
    (void)state;
    struct ring ring;
    struct ring_event event;
    ring_init(&ring, start);
    for (uint64_t seq = 11; seq < 500; seq++)
        assert_true(append(&ring, seq, 40));
    uint64_t bytes = ring.bytes;
    uint64_t dropped = ring_drop_oldest(&ring);
    assert_true(dropped > 0);
    assert_int_equal(ring.bytes, bytes - dropped);
    assert_true(ring_before(start, ring.floor));
    struct ring_hint hint = {0};
    assert_true(ring_next(&ring, ring.floor, UINT64_MAX, &hint, &event));
    check_event(&event, ring.floor.seq + 1, 40);
    while (ring_drop_oldest(&ring) > 0)
        continue;
    assert_int_equal(ring.bytes, 0);
    assert_int_equal(ring.floor.seq, 499);
    hint = (struct ring_hint){0};
    assert_false(ring_next(&ring, ring.floor, UINT64_MAX, &hint, &event));
    assert_true(append(&ring, 500, 40));
    assert_true(ring_next(&ring, ring.floor, UINT64_MAX, &hint, &event));
    check_event(&event, 500, 40);
    ring_fini(&ring);
}

static void a_hint_into_a_dropped_block_is_known_to_be_stale(void **state)
{
    (void)state;
    struct ring ring;
    struct ring_event event;
    ring_init(&ring, start);
    struct ring_hint hint = {0};
    uint64_t seq = 11;
    /* One reader walks with its hint, falls behind by whole blocks, is told (the floor passed it)
     * and goes on with the same hint: blocks of one size come and go, so that new ones lie where
     * freed ones were. */
    struct ring_position after = start;
    for (int round = 0; round < 300; round++) {
        for (int i = 0; i < 40; i++, seq++)
            assert_true(append(&ring, seq, 60 + seq % 30));
        while (ring.bytes > 3000)
            ring_drop_oldest(&ring);
        if (ring_before(after, ring.floor))
            after = ring.floor;
        for (int i = 0; i < 5; i++) {
            assert_int_equal(ring_next(&ring, after, UINT64_MAX, &hint, &event),
                             after.seq < seq - 1);
            if (after.seq == seq - 1)
                break;
            check_event(&event, after.seq + 1, 60 + (after.seq + 1) % 30);
            after = event.position;
        }
    }
    ring_fini(&ring);
}

static void a_block_where_a_freed_one_lay_is_another_block(void **state)
{
    (void)state;
    struct ring ring;
    struct ring_event event;
    ring_init(&ring, start);
    assert_true(append(&ring, 11, 50));
    assert_true(append(&ring, 12, 60));
    /* As left by a reader that stood behind the first event of a freed block at this address. */
    struct ring_hint hint = {.block = ring.oldest, .serial = ring.next_serial - 1, .offset = 72};
    assert_true(ring_next(&ring, start, UINT64_MAX, &hint, &event));
    check_event(&event, 11, 50);
    ring_fini(&ring);
}

static void a_hint_into_a_former_life_is_known_to_be_stale(void **state)
{
    (void)state;
    struct ring ring, filled, image;
    struct ring_event event;
    struct ring_hint hint = {0};
    struct buf packed;
    buf_init(&packed);
    ring_init(&ring, start);
    ring_init(&filled, start);
    for (uint64_t seq = 11; seq < 14; seq++)
        assert_true(append(&ring, seq, 50));
    for (uint64_t seq = 11; seq < 20; seq++)
        assert_true(append(&filled, seq, 50));
    ring_pack(&filled, &packed);
    assert_true(ring_next(&ring, at(12, 1), UINT64_MAX, &hint, &event));
    check_event(&event, 13, 50);
    /* The image of another copy takes its place; the reader does not hear of it. */
    struct ring_position after = event.position;
    struct slice rest = buf_slice(&packed);
    ring_fini(&ring);
    assert_int_equal(ring_unpack(&rest, &image), OK);
    ring_move(&ring, &image);
    assert_true(ring_next(&ring, after, UINT64_MAX, &hint, &event));
    check_event(&event, 14, 50);
    ring_fini(&ring);
    ring_renew(&ring, after);
    assert_true(append(&ring, 15, 50));
    assert_true(ring_next(&ring, after, UINT64_MAX, &hint, &event));
    check_event(&event, 15, 50);
    ring_fini(&ring);
    ring_fini(&filled);
    buf_fini(&packed);
}

static void what_is_old_goes_by_whole_blocks(void **state)
{
    (void)state;
    struct ring ring;
    ring_init(&ring, start);
    for (uint64_t seq = 11; seq < 1000; seq++)
        assert_true(append(&ring, seq, 100));
    assert_int_equal(ring_drop_before(&ring, 110), 0);
    uint64_t before = ring.bytes, dropped = ring_drop_before(&ring, 5000);
    assert_int_equal(ring.bytes, before - dropped);
    /* Nothing that is younger has gone. */
    assert_true(ring.floor.seq < 500);
    assert_true(ring.floor.seq > 300);
    ring_drop_before(&ring, UINT64_MAX);
    assert_int_equal(ring.bytes, 0);
    ring_fini(&ring);
}

static void the_floor_may_rise_beyond_the_last_event(void **state)
{
    (void)state;
    struct ring ring;
    struct ring_hint hint = {0};
    struct ring_event event;
    ring_init(&ring, start);
    for (uint64_t seq = 11; seq < 20; seq++)
        assert_true(append(&ring, seq, 10));
    assert_true(ring_next(&ring, at(15, 0), UINT64_MAX, &hint, &event));
    assert_int_equal(ring_raise_floor(&ring, at(9, 0)), 0);
    assert_int_equal(ring.floor.seq, 10);
    assert_int_equal(ring_raise_floor(&ring, at(14, UINT32_MAX)),
                     0); /* in the middle of its only block */
    hint = (struct ring_hint){0};
    assert_true(ring_next(&ring, ring.floor, UINT64_MAX, &hint, &event));
    check_event(&event, 15, 10);
    assert_true(ring_raise_floor(&ring, at(30, UINT32_MAX)) > 0);
    assert_int_equal(ring.bytes, 0);
    assert_false(ring_next(&ring, ring.floor, UINT64_MAX, &hint, &event));
    assert_true(append(&ring, 31, 10));
    assert_true(ring_next(&ring, ring.floor, UINT64_MAX, &hint, &event));
    check_event(&event, 31, 10);
    ring_fini(&ring);
}

static void large_events_pass_and_the_largest_are_refused(void **state)
{
    (void)state;
    struct ring ring;
    struct ring_hint hint = {0};
    struct ring_event event;
    ring_init(&ring, start);
    assert_true(append(&ring, 11, 5));
    assert_true(append(&ring, 12, 100000));
    assert_true(append(&ring, 13, (1u << 28) - 1));
    assert_null(ring_append(&ring, at(14, 0), 0, 1u << 28, 1));
    assert_null(ring_append(&ring, at(14, 0), 0, SIZE_MAX - 100, 1));
    assert_int_equal(ring.last.seq, 13);
    assert_true(append(&ring, 14, 5));
    struct ring_position after = start;
    static const size_t sizes[] = {5, 100000, (1u << 28) - 1, 5};
    for (uint64_t seq = 11; seq <= 14; seq++) {
        assert_true(ring_next(&ring, after, UINT64_MAX, &hint, &event));
        assert_int_equal(event.position.seq, seq);
        assert_int_equal(event.encoded.len, sizes[seq - 11]);
        after = event.position;
    }
    ring_fini(&ring);
}

static void without_memory_an_append_changes_nothing(void **state)
{
    (void)state;
    long live = mem_fault_live();
    struct ring ring;
    struct ring_hint hint = {0};
    struct ring_event event;
    struct ring_position after = start;
    uint64_t lost = 0;
    ring_init(&ring, start);
    for (uint64_t seq = 11; seq < 400; seq++) {
        mem_fault_fail_at(seq % 2 == 0 ? 1 : 0);
        struct ring before = ring;
        if (!append(&ring, seq, 90)) {
            assert_memory_equal(&before, &ring, sizeof ring);
            lost++;
        }
        mem_fault_fail_at(0);
    }
    assert_true(lost > 0);
    uint64_t read = 0;
    while (ring_next(&ring, after, UINT64_MAX, &hint, &event)) {
        check_event(&event, event.position.seq, 90);
        after = event.position;
        read++;
    }
    assert_int_equal(read, 400 - 11 - lost);
    ring_fini(&ring);
    assert_int_equal(mem_fault_live(), live);
}

/* Both have the same events, floor and end, and lose the same ones by time. */
static void check_equal(const struct ring *a, const struct ring *b)
{
    struct ring_event left, right;
    struct ring_hint left_hint = {0}, right_hint = {0};
    struct ring_position after = a->floor;
    assert_memory_equal(&a->floor.seq, &b->floor.seq, sizeof a->floor.seq);
    assert_int_equal(a->floor.sub, b->floor.sub);
    assert_int_equal(a->last.seq, b->last.seq);
    assert_int_equal(a->last.sub, b->last.sub);
    while (ring_next(a, after, UINT64_MAX, &left_hint, &left)) {
        assert_true(ring_next(b, after, UINT64_MAX, &right_hint, &right));
        assert_int_equal(left.position.seq, right.position.seq);
        assert_int_equal(left.position.sub, right.position.sub);
        assert_int_equal(left.kind, right.kind);
        assert_true(slice_equal(left.encoded, right.encoded));
        after = left.position;
    }
    assert_false(ring_next(b, after, UINT64_MAX, &right_hint, &right));
}

static void a_packed_ring_becomes_an_equal_one(void **state)
{
    (void)state;
    long live = mem_fault_live();
    for (uint64_t last = 10; last < 3000; last = last * 2 + 1) {
        struct ring ring, copy = {0};
        struct buf packed;
        buf_init(&packed);
        ring_init(&ring, start);
        for (uint64_t seq = 11; seq <= last; seq++)
            assert_true(append(&ring, seq, seq % 300));
        if (last > 100)
            (void)ring_drop_oldest(&ring);
        if (last > 1000)
            (void)ring_raise_floor(&ring, at(last + 5, 1));
        buf_append_text(&packed, "in front");
        ring_pack(&ring, &packed);
        buf_append_text(&packed, "behind");
        struct slice rest = slice_of(packed.data + 8, packed.len - 8);
        assert_int_equal(ring_unpack(&rest, &copy), OK);
        assert_true(slice_equal(rest, slice_text("behind")));
        check_equal(&ring, &copy);
        for (uint64_t seq = last + 6; seq < last + 50; seq++)
            assert_true(append(&ring, seq, 20) && append(&copy, seq, 20));
        check_equal(&ring, &copy);
        (void)ring_drop_before(&ring, last * 5);
        (void)ring_drop_before(&copy, last * 5);
        check_equal(&ring, &copy);
        ring_fini(&ring);
        ring_fini(&copy);
        assert_int_equal(copy.bytes, 0);
        buf_fini(&packed);
    }
    assert_int_equal(mem_fault_live(), live);
}

static void a_damaged_packed_ring_leaks_nothing(void **state)
{
    (void)state;
    long live = mem_fault_live();
    struct ring ring, copy = {0};
    struct buf packed;
    unsigned refused = 0;
    buf_init(&packed);
    ring_init(&ring, start);
    for (uint64_t seq = 11; seq < 90; seq++)
        assert_true(append(&ring, seq, seq % 30));
    ring_pack(&ring, &packed);
    for (size_t len = 0; len < packed.len; len++) {
        struct slice rest = slice_of(packed.data, len);
        assert_int_equal(ring_unpack(&rest, &copy), ERROR_MALFORMED);
        assert_int_equal(copy.bytes, 0);
    }
    for (size_t i = 0; i < packed.len; i++)
        for (unsigned bit = 0; bit < 8; bit++) {
            packed.data[i] = (uint8_t)(packed.data[i] ^ 1u << bit);
            struct slice rest = buf_slice(&packed);
            enum error error = ring_unpack(&rest, &copy);
            packed.data[i] = (uint8_t)(packed.data[i] ^ 1u << bit);
            assert_true(error == OK || error == ERROR_MALFORMED);
            refused += error != OK;
            ring_fini(&copy);
        }
    assert_true(refused > packed.len / 4);
    unsigned long failed = 0;
    for (bool done = false; !done;) {
        struct slice rest = buf_slice(&packed);
        mem_fault_fail_at(++failed);
        enum error error = ring_unpack(&rest, &copy);
        mem_fault_fail_at(0);
        done = error == OK;
        assert_true(done || error == ERROR_MEMORY);
        ring_fini(&copy);
    }
    assert_true(failed > 2);
    ring_fini(&ring);
    buf_fini(&packed);
    assert_int_equal(mem_fault_live(), live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_are_read_in_their_order),
        cmocka_unit_test(what_is_not_committed_is_not_read),
        cmocka_unit_test(events_of_one_record_are_told_apart),
        cmocka_unit_test(dropping_raises_the_floor_to_the_last_that_went),
        cmocka_unit_test(a_hint_into_a_dropped_block_is_known_to_be_stale),
        cmocka_unit_test(a_block_where_a_freed_one_lay_is_another_block),
        cmocka_unit_test(a_hint_into_a_former_life_is_known_to_be_stale),
        cmocka_unit_test(what_is_old_goes_by_whole_blocks),
        cmocka_unit_test(the_floor_may_rise_beyond_the_last_event),
        cmocka_unit_test(large_events_pass_and_the_largest_are_refused),
        cmocka_unit_test(without_memory_an_append_changes_nothing),
        cmocka_unit_test(a_packed_ring_becomes_an_equal_one),
        cmocka_unit_test(a_damaged_packed_ring_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
