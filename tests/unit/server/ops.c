#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "server/ops.h"

static void each_row_is_a_request_and_stands_once(void **state)
{
    (void)state;
    uint32_t last = 0;
    for (const struct operation *row = server_operations; row->number != 0; row++) {
        assert_true(row->number > last); /* rising, so none stands twice */
        assert_int_equal(message_kind(row->number), MESSAGE_REQUEST);
        assert_non_null(row->execute);
        assert_non_null(row->permission);
        assert_true(row->name[0] >= 'a' && row->name[0] <= 'z');
        last = row->number;
    }
    assert_true(last > 1000);
}

static void names_are_those_of_the_messages(void **state)
{
    (void)state;
    for (const struct operation *row = server_operations; row->number != 0; row++)
        if (message_request_name(row->number) != NULL && row->number < 1000)
            assert_string_equal(row->name, message_request_name(row->number));
}

static void only_what_has_no_reply_passes_the_others(void **state)
{
    (void)state;
    for (const struct operation *row = server_operations; row->number != 0; row++)
        assert_int_equal((row->flags & OPERATION_PASSES) != 0,
                         message_descriptor(row->number) == &pb__cq_ack__descriptor);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_row_is_a_request_and_stands_once),
        cmocka_unit_test(names_are_those_of_the_messages),
        cmocka_unit_test(only_what_has_no_reply_passes_the_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
