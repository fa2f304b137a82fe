/* The last events, and no more. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <cmocka.h>

#include "locator/events.h"
#include "tests/lib/mem_fault.h"

static void add(struct events *events, const char *text)
{
    struct event event = {.kind = "joined"};
    snprintf(event.text, sizeof(event.text), "%s", text);
    events_add(events, &event);
}

static void test_the_newest_thousand_are_kept_in_order(void **state)
{
    (void)state;
    struct events *events = calloc(1, sizeof(*events));
    long live = mem_fault_live();
    assert_int_equal(events_first(events), 1);
    assert_null(events_find(events, 1));
    for (uint32_t i = 1; i <= EVENTS_MAX + 5; i++) {
        char text[16];
        snprintf(text, sizeof(text), "%u", i);
        add(events, text);
    }
    assert_int_equal(events->count, EVENTS_MAX);
    assert_int_equal(events_first(events), 6);
    assert_null(events_find(events, 5));
    assert_null(events_find(events, EVENTS_MAX + 6));
    assert_string_equal(events_find(events, 6)->text, "6");
    assert_int_equal(events_find(events, EVENTS_MAX + 5)->number, EVENTS_MAX + 5);
    events_fini(events);
    assert_int_equal(mem_fault_live(), live);
    free(events);
}

static void test_without_memory_an_event_is_lost_and_the_numbers_have_no_gap(void **state)
{
    (void)state;
    struct events *events = calloc(1, sizeof(*events));
    add(events, "a");
    mem_fault_fail_at(1);
    add(events, "b");
    mem_fault_fail_at(0);
    add(events, "c");
    assert_int_equal(events->count, 2);
    assert_string_equal(events_find(events, 2)->text, "c");
    events_fini(events);
    free(events);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_newest_thousand_are_kept_in_order),
        cmocka_unit_test(test_without_memory_an_event_is_lost_and_the_numbers_have_no_gap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
