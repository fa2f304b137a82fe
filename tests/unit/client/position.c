/* Positions and tokens: what a resumed subscription asks for, and what it drops. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "client/position.h"
#include "common/limits.h"
#include "tests/lib/mem_fault.h"

static struct vug_positions positions;

static void process(uint32_t bucket, uint32_t generation, uint64_t seq, uint32_t sub)
{
    assert_int_equal(vug_positions_reserve(&positions, bucket), OK);
    vug_positions_processed(&positions, bucket, generation, seq, sub);
}

static void assert_text(const char *expected)
{
    struct buf text;
    buf_init(&text);
    vug_positions_text(&positions, &text);
    buf_append_byte(&text, '\0');
    assert_string_equal((const char *)text.data, expected);
    buf_fini(&text);
}

static void base64url_is_that_of_rfc_4648(void **state)
{
    (void)state;
    static const char *const rows[][2] = {{"", ""},           {"f", "Zg"},
                                          {"fo", "Zm8"},      {"foo", "Zm9v"},
                                          {"foob", "Zm9vYg"}, {"\xfb\xff\xfe", "-__-"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buf text, bytes;
        buf_init(&text);
        buf_init(&bytes);
        vug_base64url_encode(slice_text(rows[i][0]), &text);
        assert_true(slice_equal(buf_slice(&text), slice_text(rows[i][1])));
        assert_int_equal(vug_base64url_decode(buf_slice(&text), &bytes), OK);
        assert_true(slice_equal(buf_slice(&bytes), slice_text(rows[i][0])));
        buf_fini(&bytes);
        buf_fini(&text);
    }
    struct buf bytes;
    buf_init(&bytes);
    assert_int_equal(vug_base64url_decode(slice_text("Z"), &bytes), ERROR_INVALID);
    assert_int_equal(vug_base64url_decode(slice_text("a+b/"), &bytes), ERROR_INVALID);
    buf_fini(&bytes);
}

static void a_token_alone_is_the_servers(void **state)
{
    (void)state;
    vug_positions_init(&positions);
    process(3, 1, 7, 0);
    assert_int_equal(vug_positions_take_token(&positions, slice_text("foo")), OK);
    assert_text("Zm9v");
    vug_positions_fini(&positions);
}

static void what_was_processed_since_is_added_and_read_back(void **state)
{
    (void)state;
    struct buf text;
    struct vug_positions read;
    vug_positions_init(&positions);
    vug_positions_init(&read);
    buf_init(&text);
    process(1, 1, 5, 0);
    assert_int_equal(vug_positions_take_token(&positions, slice_text("foo")), OK);
    process(0, 1, 9, 2);
    process(112, 3, 300, 0);
    vug_positions_text(&positions, &text);
    assert_int_equal(vug_positions_parse(&read, buf_slice(&text)), OK);
    assert_true(slice_equal(buf_slice(&read.token), slice_text("foo")));
    assert_true(read.bucket[0].after_token && read.bucket[0].seq == 9 && read.bucket[0].sub == 2);
    assert_true(read.bucket[112].after_token && read.bucket[112].generation == 3 &&
                read.bucket[112].seq == 300);
    assert_false(read.bucket[1].after_token);
    buf_fini(&text);
    vug_positions_fini(&read);
    vug_positions_fini(&positions);
}

static void a_damaged_text_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"", ".", "!", "Zm9v.!", "Zm9v.Zm9v", ".Zm9v"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        vug_positions_init(&positions);
        assert_int_equal(vug_positions_parse(&positions, slice_text(bad[i])), ERROR_INVALID);
        vug_positions_fini(&positions);
    }
}

static void repeats_are_what_is_not_above_the_floor(void **state)
{
    (void)state;
    vug_positions_init(&positions);
    process(4, 1, 10, 1);
    assert_false(vug_positions_is_repeat(&positions, 4, 1, 10,
                                         1)); /* the server's own order, no floor yet */
    vug_positions_set_floor(&positions);
    assert_true(vug_positions_is_repeat(&positions, 4, 1, 10, 1));
    assert_true(vug_positions_is_repeat(&positions, 4, 1, 10, 0));
    assert_true(vug_positions_is_repeat(&positions, 4, 1, 9, 5));
    assert_false(vug_positions_is_repeat(&positions, 4, 1, 10, 2));
    assert_false(vug_positions_is_repeat(&positions, 4, 1, 11, 0));
    assert_false(vug_positions_is_repeat(&positions, 5, 1, 1, 0));
    vug_positions_fini(&positions);
}

static void another_generation_or_a_gap_begins_anew(void **state)
{
    (void)state;
    vug_positions_init(&positions);
    process(4, 1, 10, 1);
    process(5, 1, 10, 1);
    vug_positions_set_floor(&positions);
    assert_false(vug_positions_is_repeat(&positions, 4, 2, 1, 0));
    vug_positions_drop_floor(&positions, 5);
    assert_false(vug_positions_is_repeat(&positions, 5, 1, 1, 0));
    assert_true(vug_positions_is_repeat(&positions, 4, 1, 1, 0));
    vug_positions_fini(&positions);
}

static void a_bucket_beyond_the_limit_is_refused(void **state)
{
    (void)state;
    vug_positions_init(&positions);
    assert_int_equal(vug_positions_reserve(&positions, LIMIT_BUCKETS), ERROR_LIMIT);
    assert_int_equal(vug_positions_reserve(&positions, LIMIT_BUCKETS - 1), OK);
    vug_positions_fini(&positions);
}

static void runs_out_of_memory_and_keeps_what_it_had(void **state)
{
    (void)state;
    long live = mem_fault_live();
    vug_positions_init(&positions);
    process(1, 1, 5, 0);
    assert_int_equal(vug_positions_take_token(&positions, slice_text("foo")), OK);
    process(1, 1, 6, 0);
    mem_fault_fail_at(1);
    assert_int_equal(vug_positions_take_token(&positions, slice_text("new")), ERROR_MEMORY);
    assert_true(slice_equal(buf_slice(&positions.token), slice_text("foo")));
    assert_true(positions.bucket[1].after_token);
    mem_fault_fail_at(1);
    assert_int_equal(vug_positions_reserve(&positions, 5000), ERROR_MEMORY);
    mem_fault_fail_at(0);
    vug_positions_fini(&positions);
    assert_int_equal(mem_fault_live(), live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base64url_is_that_of_rfc_4648),
        cmocka_unit_test(a_token_alone_is_the_servers),
        cmocka_unit_test(what_was_processed_since_is_added_and_read_back),
        cmocka_unit_test(a_damaged_text_is_refused),
        cmocka_unit_test(repeats_are_what_is_not_above_the_floor),
        cmocka_unit_test(another_generation_or_a_gap_begins_anew),
        cmocka_unit_test(a_bucket_beyond_the_limit_is_refused),
        cmocka_unit_test(runs_out_of_memory_and_keeps_what_it_had),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
