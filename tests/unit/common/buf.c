#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "common/buf.h"
#include "tests/lib/mem_fault.h"

static void appended_bytes_stand_in_order(void **state)
{
    struct buf buf;

    (void)state;
    buf_init(&buf);
    buf_append_text(&buf, "one");
    buf_append_byte(&buf, ' ');
    buf_append_slice(&buf, slice_text("two"));
    buf_append(&buf, NULL, 0);
    buf_printf(&buf, " %d", 3);
    assert_true(slice_equal(buf_slice(&buf), slice_text("one two 3")));
    buf_fini(&buf);
}

static void growth_keeps_what_was_there(void **state)
{
    struct buf buf;

    (void)state;
    buf_init(&buf);
    for (unsigned i = 0; i < 100000; i++)
        buf_append_byte(&buf, (uint8_t)(i * 7));
    assert_int_equal(buf.len, 100000);
    for (unsigned i = 0; i < 100000; i++)
        assert_int_equal(buf.data[i], (uint8_t)(i * 7));
    buf_fini(&buf);
}

static void printf_of_any_length_fits(void **state)
{
    char text[3000];
    struct buf buf;

    (void)state;
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    for (int len = 0; len < 300; len++) {
        buf_init(&buf);
        buf_append_text(&buf, "ab");
        buf_printf(&buf, "%.*s|", len, text);
        assert_int_equal(buf.len, len + 3);
        assert_int_equal(buf.data[buf.len - 1], '|');
        buf_fini(&buf);
    }
}

static void consume_moves_the_rest_to_the_front(void **state)
{
    struct buf buf;

    (void)state;
    buf_init(&buf);
    buf_append_text(&buf, "header body");
    buf_consume(&buf, 7);
    assert_true(slice_equal(buf_slice(&buf), slice_text("body")));
    buf_consume(&buf, 0);
    buf_consume(&buf, 4);
    assert_int_equal(buf.len, 0);
    buf_fini(&buf);
}

static void a_failed_allocation_stops_everything_until_it_is_cleared(void **state)
{
    long live = mem_fault_live();
    struct buf buf;

    (void)state;
    buf_init(&buf);
    buf_append_text(&buf, "kept");
    mem_fault_fail_from(1);
    assert_null(buf_reserve(&buf, 1000));
    assert_true(buf.failed);
    mem_fault_fail_from(0);
    buf_append_text(&buf, "lost");
    buf_printf(&buf, "%s", "lost");
    buf_append_byte(&buf, 'x');
    assert_true(slice_equal(buf_slice(&buf), slice_text("kept")));
    buf_clear(&buf);
    assert_false(buf.failed);
    buf_append_text(&buf, "again");
    assert_true(slice_equal(buf_slice(&buf), slice_text("again")));
    buf_fini(&buf);
    assert_int_equal(mem_fault_live(), live);
}

static void an_impossible_size_fails_without_an_allocation(void **state)
{
    struct buf buf;

    (void)state;
    buf_init(&buf);
    buf_append_byte(&buf, 1);
    mem_fault_fail_at(0);
    assert_null(buf_reserve(&buf, SIZE_MAX));
    assert_true(buf.failed);
    assert_int_equal(mem_fault_calls(), 0);
    buf_fini(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appended_bytes_stand_in_order),
        cmocka_unit_test(growth_keeps_what_was_there),
        cmocka_unit_test(printf_of_any_length_fits),
        cmocka_unit_test(consume_moves_the_rest_to_the_front),
        cmocka_unit_test(a_failed_allocation_stops_everything_until_it_is_cleared),
        cmocka_unit_test(an_impossible_size_fails_without_an_allocation),
    };

    return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
