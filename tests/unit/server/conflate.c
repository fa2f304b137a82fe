#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/limits.h"
#include "server/conflate.h"
#include "protocol/codec.h"
#include "server/cq.h"

/* A run of events of one integer result for each key, in words: "+I a 1, -U a 1, +U a 2". */
static uint8_t kind_of(const char *text)
{
    return text[0] == '+'   ? (text[1] == 'I' ? QUERY_INSERT : QUERY_UPDATE_AFTER)
           : text[1] == 'U' ? QUERY_UPDATE_BEFORE
                            : QUERY_DELETE;
}

static uint32_t make_run(const char *text, struct arena *arena, struct ring_event *events)
{
    uint32_t count = 0;
    while (*text != '\0') {
        struct query_value values[2] = {
            {.kind = QUERY_TYPE_STRING, .text = slice_of(text + 3, 1)},
            {.kind = QUERY_TYPE_INT, .integer = text[5] - '0'},
        };
        struct query_row row = {.values = values, .count = 2};
        struct cq_event event = {.bucket = 3,
                                 .generation = 1,
                                 .position = {10 + count, count % 2},
                                 .kind = kind_of(text),
                                 .row = &row};
        struct buf encoded;
        buf_init(&encoded);
        assert_int_equal(cq_event_encode(&event, arena, &encoded), OK);
        uint8_t *copy = arena_alloc(arena, encoded.len);
        assert_non_null(copy);
        memcpy(copy, encoded.data, encoded.len);
        events[count++] =
            (struct ring_event){event.position, event.kind, slice_of(copy, encoded.len)};
        buf_fini(&encoded);
        text += 6;
        while (*text == ',' || *text == ' ')
            text++;
    }
    return count;
}

static void check_run(const char *given, const char *expected)
{
    static const uint32_t keys[] = {0};
    struct arena arena;
    struct ring_event events[32], wanted[32], *net;
    uint32_t net_count;
    arena_init(&arena, LIMIT_ARENA_BYTES);
    uint32_t count = make_run(given, &arena, events);
    uint32_t wanted_count = make_run(expected, &arena, wanted);
    assert_int_equal(conflate(events, count, keys, 1, &arena, &net, &net_count), OK);
    if (net_count != wanted_count)
        fail_msg("%s: %u events, not %u", given, net_count, wanted_count);
    for (uint32_t i = 0; i < net_count; i++) {
        struct slice have = net[i].encoded, want = wanted[i].encoded;
        struct codec_field one, other;
        assert_int_equal(net[i].kind, wanted[i].kind);
        assert_int_equal(have.data[CQ_EVENT_KIND_OFFSET], wanted[i].kind);
        if (i > 0)
            assert_true(ring_before(net[i - 1].position, net[i].position));
        /* The same values; the identity is that of an event of the run. */
        for (;;) {
            do
                one.number = 0;
            while (have.len > 0 && codec_next_field(&have, &one) == OK && one.number != 5);
            do
                other.number = 0;
            while (want.len > 0 && codec_next_field(&want, &other) == OK && other.number != 5);
            assert_int_equal(one.number, other.number);
            if (one.number != 5)
                break;
            assert_true(slice_equal(one.bytes, other.bytes));
        }
        uint32_t same = 0;
        for (uint32_t e = 0; e < count; e++)
            same += events[e].position.seq == net[i].position.seq;
        assert_int_equal(same, 1);
    }
    arena_fini(&arena);
}

static void the_net_change_of_a_key_is_c40(void **state)
{
    (void)state;
    check_run("+I a 1, -U a 1, +U a 2", "+I a 2");
    check_run("+I a 1, -D a 1", "");
    check_run("-U a 1, +U a 2, -U a 2, +U a 3, -U a 3, +U a 1", "");
    check_run("-U a 1, +U a 2, -D a 2", "-D a 1");
    check_run("-D a 1, +I a 2", "-U a 1, +U a 2");
}

static void chains_keep_the_first_old_and_the_last_new(void **state)
{
    (void)state;
    check_run("-U a 1, +U a 2, -U a 2, +U a 3", "-U a 1, +U a 3");
    check_run("+I a 1, +I a 2, +I a 3", "+I a 3"); /* append only */
    check_run("-D a 1, +I a 2, -D a 2", "-D a 1");
    check_run("-D a 1, +I a 1", "");
    check_run("+U a 4, -U a 4, +U a 5", "+U a 5"); /* its first half was sent before */
    check_run("", "");
}

static void keys_do_not_touch_each_other_and_identities_rise(void **state)
{
    (void)state;
    check_run("+I a 1, +I b 1, -U a 1, +U a 2, -D b 1, +I c 7", "+I a 2, +I c 7");
    check_run("-U a 1, +U a 2, -U b 5, +U b 6, -U a 2, +U a 3", "-U b 5, +U b 6, -U a 1, +U a 3");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_net_change_of_a_key_is_c40),
        cmocka_unit_test(chains_keep_the_first_old_and_the_last_new),
        cmocka_unit_test(keys_do_not_touch_each_other_and_identities_rise),
    };
    return cmocka_run_group_tests_name("server/conflate", tests, NULL, NULL);
}
