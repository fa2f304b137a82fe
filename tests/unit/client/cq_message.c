/* Pushed messages, whole and damaged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "client/cq_message.h"
#include "client/wire.h"

static struct value values[LIMIT_COLUMNS];

static void an_event_is_read_with_its_defaults(void **state)
{
    (void)state;
    struct vug_event event;
    struct buf out;
    struct value name = {.type = VALUE_STRING, .bytes = slice_text("EWR")};
    struct value average = {.type = VALUE_DOUBLE, .float64 = 3.9};
    buf_init(&out);
    vug_wire_uint(&out, 1, 12);
    vug_wire_uint(&out, 2, 7);
    vug_wire_value(&out, 5, &name);
    vug_wire_value(&out, 5, &average);
    vug_wire_sint(&out, 7, -1);
    vug_wire_text(&out, 99, "of a later version");
    assert_int_equal(cq_message_event(buf_slice(&out), values, &event), OK);
    assert_int_equal(event.kind, VUG_INSERT);
    assert_int_equal(event.bucket, 12);
    assert_int_equal(event.generation, 1);
    assert_int_equal(event.seq, 7);
    assert_int_equal(event.sub, 0);
    assert_int_equal(event.value_count, 2);
    assert_true(slice_equal(event.values[0].bytes, slice_text("EWR")));
    assert_true(event.values[1].float64 == 3.9);
    assert_int_equal(event.key.type, VALUE_NOT_SET);
    assert_true(event.event_time_ms == -1);
    for (size_t len = 1; len < out.len;
         len++) /* cut off anywhere: an error or a shorter event, never beyond */
        (void)cq_message_event(slice_of(out.data, len), values, &event);
    buf_fini(&out);
}

static void too_many_values_are_refused(void **state)
{
    (void)state;
    struct vug_event event;
    struct buf out;
    struct value null = {.type = VALUE_NULL};
    buf_init(&out);
    for (unsigned i = 0; i <= LIMIT_COLUMNS; i++)
        vug_wire_value(&out, 5, &null);
    assert_int_equal(cq_message_event(buf_slice(&out), values, &event), ERROR_LIMIT);
    buf_fini(&out);
}

static void damage_is_told(void **state)
{
    (void)state;
    struct vug_event event;
    struct cq_message_batch batch;
    struct cq_message_status status;
    struct slice cut = slice_of("\x2a\x05\x4a", 3);
    assert_int_equal(cq_message_event(cut, values, &event), ERROR_MALFORMED);
    assert_int_equal(cq_message_batch(cut, &batch), ERROR_MALFORMED);
    assert_int_equal(cq_message_status(cut, &status), ERROR_MALFORMED);
}

static void a_status_names_its_bucket_and_range(void **state)
{
    (void)state;
    struct cq_message_status message;
    struct buf out;
    buf_init(&out);
    vug_wire_uint(&out, 1, 5);
    vug_wire_uint(&out, 2, VUG_GAP);
    vug_wire_uint(&out, 3, 4);
    vug_wire_uint(&out, 4, 10);
    vug_wire_uint(&out, 5, 20);
    vug_wire_text(&out, 7, "why");
    assert_int_equal(cq_message_status(buf_slice(&out), &message), OK);
    assert_int_equal(message.id, 5);
    assert_int_equal(message.status.bucket, 4);
    assert_int_equal(message.status.from_seq, 10);
    assert_int_equal(message.status.to_seq, 20);
    assert_true(slice_equal(message.status.detail, slice_text("why")));
    assert_string_equal(vug_status_text(message.status.code), "GAP");
    buf_fini(&out);
}

static void kinds_have_flinks_names(void **state)
{
    (void)state;
    assert_string_equal(vug_kind_text(VUG_INSERT), "+I");
    assert_string_equal(vug_kind_text(VUG_UPDATE_BEFORE), "-U");
    assert_string_equal(vug_kind_text(VUG_UPDATE_AFTER), "+U");
    assert_string_equal(vug_kind_text(VUG_DELETE), "-D");
    assert_string_equal(vug_kind_text(VUG_LATE), "LATE");
    assert_string_equal(vug_kind_text(VUG_ROW_ERROR), "ERROR");
    assert_string_equal(vug_status_text((enum vug_status_code)77), "UNKNOWN");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_event_is_read_with_its_defaults),
        cmocka_unit_test(too_many_values_are_refused),
        cmocka_unit_test(damage_is_told),
        cmocka_unit_test(a_status_names_its_bucket_and_range),
        cmocka_unit_test(kinds_have_flinks_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
