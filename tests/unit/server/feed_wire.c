#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "server/feed_wire.h"

static const struct feed_item items[] = {
    {.type = FEED_ITEM_POSITION,
     .bucket = 12,
     .position = {.generation = 3, .in_snapshot = true, .begin = BEGIN_ANY, .at = {7, UINT32_MAX}}},
    {.type = FEED_ITEM_EVENT,
     .bucket = LIMIT_BUCKETS - 1,
     .position = {.at = {1ull << 60, 4}},
     .kind = 3,
     .loose = true,
     .bytes = {(const uint8_t *)"abc", 3}},
    {.type = FEED_ITEM_RUN, .count = 4, .raw = 1000},
    {.type = FEED_ITEM_STATUS,
     .bucket = 1,
     .code = PB__CQ_STATUS__CODE__GAP,
     .from_seq = 5,
     .to_seq = UINT64_MAX,
     .bytes = {(const uint8_t *)"text", 4}},
    {.type = FEED_ITEM_MOVED, .bucket = 300},
    {.type = FEED_ITEM_END},
};

static void items_come_out_as_they_went_in(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out);
    for (size_t i = 0; i < sizeof items / sizeof items[0]; i++)
        feed_item_put(&out, &items[i]);
    struct slice rest = buf_slice(&out);
    for (size_t i = 0; i < sizeof items / sizeof items[0]; i++) {
        struct feed_item item;
        assert_int_equal(feed_item_next(&rest, &item), OK);
        assert_int_equal(item.type, items[i].type);
        assert_int_equal(item.bucket, items[i].bucket);
        assert_int_equal(item.position.generation, items[i].position.generation);
        assert_int_equal(item.position.in_snapshot, items[i].position.in_snapshot);
        assert_int_equal(item.position.begin, items[i].position.begin);
        assert_int_equal(item.position.at.seq, items[i].position.at.seq);
        assert_int_equal(item.position.at.sub, items[i].position.at.sub);
        assert_int_equal(item.kind, items[i].kind);
        assert_int_equal(item.loose, items[i].loose);
        assert_int_equal(item.count, items[i].count);
        assert_int_equal(item.raw, items[i].raw);
        assert_int_equal(item.code, items[i].code);
        assert_int_equal(item.from_seq, items[i].from_seq);
        assert_int_equal(item.to_seq, items[i].to_seq);
        assert_true(slice_equal(item.bytes, items[i].bytes));
    }
    assert_int_equal(rest.len, 0);
    buf_fini(&out);
}

static void items_that_are_cut_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof items / sizeof items[0]; i++) {
        struct buf out;
        struct feed_item item;
        buf_init(&out);
        feed_item_put(&out, &items[i]);
        for (size_t len = 0; len < out.len; len++) {
            struct slice rest = slice_of(out.data, len);
            assert_int_equal(feed_item_next(&rest, &item), ERROR_MALFORMED);
        }
        struct slice rest = slice_of((const uint8_t *)"\x09\x01", 2); /* no such type */
        assert_int_equal(feed_item_next(&rest, &item), ERROR_MALFORMED);
        buf_fini(&out);
    }
}

static void an_open_comes_out_as_it_went_in_and_cut_it_is_refused(void **state)
{
    (void)state;
    struct buf out;
    struct feed_open open = {.feed = 1ull << 40,
                             .query = 9,
                             .flags = FEED_PROGRESS | FEED_CREATED,
                             .credit = LIMIT_FEED_BYTES,
                             .run_max = 17,
                             .count = 2};
    struct feed_open read;
    struct token_position position = {.generation = 2, .begin = 8, .at = {9, 10}}, got;
    uint32_t bucket;
    buf_init(&out);
    feed_open_put(&out, &open);
    feed_open_put_bucket(&out, 5, &position);
    feed_open_put_bucket(&out, 6, &(struct token_position){0});
    assert_int_equal(out.data[0], FEED_EVENTS);
    for (size_t len = 0; len < out.len - 1; len++)
        assert_int_equal(feed_open_read(slice_of(out.data + 1, len), &read), ERROR_MALFORMED);
    assert_int_equal(feed_open_read(slice_of(out.data + 1, out.len - 1), &read), OK);
    assert_true(read.feed == open.feed && read.query == open.query && read.flags == open.flags);
    assert_true(read.credit == open.credit && read.run_max == 17 && read.count == 2);
    assert_int_equal(feed_open_next(&read.buckets, &bucket, &got), OK);
    assert_true(bucket == 5 && got.generation == 2 && got.begin == 8 && got.at.seq == 9);
    assert_int_equal(feed_open_next(&read.buckets, &bucket, &got), OK);
    assert_true(bucket == 6 && got.generation == 0);
    buf_append_byte(&out, 0); /* something behind it */
    assert_int_equal(feed_open_read(slice_of(out.data + 1, out.len - 1), &read), ERROR_MALFORMED);
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_come_out_as_they_went_in),
        cmocka_unit_test(items_that_are_cut_are_refused),
        cmocka_unit_test(an_open_comes_out_as_it_went_in_and_cut_it_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
