#include "tests/unit/server/pair.h"

#include "server/feed_wire.h"

/* Opens a feed at server B by hand. */
static enum error open_by_hand(struct pair *pair, uint64_t feed, uint64_t query, uint32_t bucket)
{
    struct buf out;
    struct feed_open open = {
        .feed = feed, .query = query, .credit = LIMIT_FEED_BYTES, .run_max = 1, .count = 1};
    buf_init(&out);
    feed_open_put(&out, &open);
    feed_open_put_bucket(&out, bucket, &(struct token_position){0});
    enum error error = feed_on_open(&pair->incoming[B], buf_slice(&out));
    buf_fini(&out);
    return error;
}

/* The first item of the frame that was sent for a feed; 0: none was sent. */
static enum feed_item_type answered(struct pair *pair, uint64_t feed)
{
    struct frame *frame = pair_take(pair);
    struct feed_item item;
    uint64_t id;
    if (frame == NULL)
        return (enum feed_item_type)0;
    struct slice rest = slice_of(frame->bytes + 1, frame->len - 1);
    assert_int_equal(feed_get_number(&rest, &id), OK);
    assert_int_equal(id, feed);
    assert_int_equal(feed_item_next(&rest, &item), OK);
    free(frame);
    return item.type;
}

static void what_is_not_known_or_not_led_is_said(void **state)
{
    (void)state;
    struct pair pair;
    struct subscriber subscriber;
    pair_begin(&pair, 4);
    assert_int_equal(open_by_hand(&pair, 5, 77, 1), OK);
    assert_int_equal(answered(&pair, 5), FEED_ITEM_END);
    Pb__CqSubscribeRequest request = subscribe_request(FILTER);
    pair_subscribe(&pair, &subscriber, A, &request);
    uint64_t query = pair.stages[B].fixture.server.instances->id;
    assert_int_equal(open_by_hand(&pair, 6, query, 1), OK); /* led there */
    assert_int_equal(answered(&pair, 6), FEED_ITEM_POSITION);
    assert_int_equal(open_by_hand(&pair, 7, query, 2), OK); /* led here */
    assert_int_equal(answered(&pair, 7), FEED_ITEM_MOVED);
    assert_int_equal(open_by_hand(&pair, 8, query, 4), ERROR_MALFORMED); /* not there at all */
    subscriber_fini(&subscriber);
    pair_end(&pair);
}

static void frames_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    struct pair pair;
    pair_begin(&pair, 2);
    static const uint8_t bytes[][4] = {{0}, {3, 1}, {FEED_EVENTS, 0xff}, {FEED_EVENTS, 1, 9, 9}};
    static const size_t lens[] = {0, 2, 2, 4};
    for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++) {
        struct slice content = slice_of(bytes[i], lens[i]);
        assert_int_equal(feed_on_open(&pair.incoming[B], content), ERROR_MALFORMED);
        assert_int_equal(feed_on_events(&pair.outgoing[A], content), ERROR_MALFORMED);
        assert_int_equal(feed_on_status(&pair.outgoing[A], content), ERROR_MALFORMED);
        if (i < 3) {
            assert_int_equal(feed_on_credit(&pair.incoming[B], content), ERROR_MALFORMED);
            assert_int_equal(feed_on_close(&pair.incoming[B], content), ERROR_MALFORMED);
        }
    }
    pair_end(&pair);
}

static void what_comes_for_a_feed_that_is_gone_closes_it(void **state)
{
    (void)state;
    struct pair pair;
    struct buf out;
    pair_begin(&pair, 2);
    buf_init(&out);
    buf_append_byte(&out, FEED_EVENTS);
    feed_put_number(&out, 55);
    feed_item_put(&out, &(struct feed_item){.type = FEED_ITEM_MOVED, .bucket = 1});
    assert_int_equal(feed_on_events(&pair.outgoing[A], buf_slice(&out)), OK);
    struct frame *frame = pair_take(&pair);
    assert_non_null(frame);
    assert_int_equal(frame->kind, PEER_FRAME_FEED_CLOSE);
    assert_int_equal(deliver(&pair, frame), OK); /* it never was: nothing happens */
    free(frame);
    buf_fini(&out);
    pair_end(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_known_or_not_led_is_said),
        cmocka_unit_test(frames_that_make_no_sense_are_refused),
        cmocka_unit_test(what_comes_for_a_feed_that_is_gone_closes_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
