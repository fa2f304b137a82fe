/* Fields as protobuf has them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "client/wire.h"
#include "tests/lib/mem_fault.h"

static void defaults_are_left_out(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out);
    vug_wire_uint(&out, 1, 0);
    vug_wire_sint(&out, 2, 0);
    vug_wire_text(&out, 3, "");
    vug_wire_text(&out, 4, NULL);
    assert_int_equal(out.len, 0);
    buf_fini(&out);
}

static void signed_numbers_zigzag(void **state)
{
    (void)state;
    static const int64_t numbers[] = {1, -1, 2, -2, 1357020000000, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        struct buf out;
        struct codec_field field;
        buf_init(&out);
        vug_wire_sint(&out, 10, numbers[i]);
        struct slice rest = buf_slice(&out);
        assert_int_equal(codec_next_field(&rest, &field), OK);
        assert_int_equal(field.number, 10);
        assert_true(vug_wire_unzigzag(field.integer) == numbers[i]);
        assert_int_equal(rest.len, 0);
        buf_fini(&out);
    }
}

static void a_removal_has_a_key_and_no_value(void **state)
{
    (void)state;
    struct buf out;
    struct value key = {.type = VALUE_STRING, .bytes = slice_text("k")};
    buf_init(&out);
    vug_wire_pair(&out, 4, 2, 1, &key, NULL);
    assert_int_equal(out.len, 9);
    assert_memory_equal(out.data, "\x22\x07\x08\x01\x12\x03\x4a\x01k", 9);
    buf_fini(&out);
}

static void a_walk_skips_other_fields_and_ends_at_damage(void **state)
{
    (void)state;
    struct slice content, walk = slice_of("\x08\x01\x12\x01x\x1a\x01y\x12\x01z\x12\x09", 13);
    assert_true(vug_wire_next(&walk, 2, &content));
    assert_true(slice_equal(content, slice_text("x")));
    assert_true(vug_wire_next(&walk, 2, &content));
    assert_true(slice_equal(content, slice_text("z")));
    assert_false(vug_wire_next(&walk, 2, &content));
}

static void no_memory_shows_in_the_buffer(void **state)
{
    (void)state;
    struct buf out;
    struct value key = {.type = VALUE_STRING, .bytes = slice_text("k")};
    buf_init(&out);
    mem_fault_fail_at(1);
    vug_wire_named_value(&out, 5, "name", &key);
    mem_fault_fail_at(0);
    assert_true(out.failed);
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_left_out),
        cmocka_unit_test(signed_numbers_zigzag),
        cmocka_unit_test(a_removal_has_a_key_and_no_value),
        cmocka_unit_test(a_walk_skips_other_fields_and_ends_at_damage),
        cmocka_unit_test(no_memory_shows_in_the_buffer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
