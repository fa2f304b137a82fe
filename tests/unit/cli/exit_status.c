/* The exit statuses that scripts rely on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/exit_status.h"

static void errors_have_documented_statuses(void **state)
{
    (void)state;
    assert_int_equal(exit_status_of(OK), 0);
    assert_int_equal(exit_status_of(ERROR_IO), 1);
    assert_int_equal(exit_status_of(ERROR_REFUSED), 3);
    assert_int_equal(exit_status_of(ERROR_NAME), 3);
    assert_int_equal(exit_status_of(ERROR_NO_SERVER), 3);
    assert_int_equal(exit_status_of(ERROR_UNAUTHORIZED), 4);
    assert_int_equal(exit_status_of(ERROR_NOT_FOUND), 5);
    assert_int_equal(exit_status_of(ERROR_EXISTS), 6);
    assert_int_equal(exit_status_of(ERROR_TIMEOUT), 7);
    assert_int_equal(exit_status_of(ERROR_MEMORY), 70);
    assert_int_equal(exit_status_of(ERROR_LOCKED), 73);
}

static void a_reason_in_front_decides_and_is_cut_off(void **state)
{
    (void)state;
    const char *text = NULL;
    struct vug_error error = {
        .error = ERROR_INVALID, .code = 50, .text = "EXISTS: region r exists already."};
    assert_int_equal(exit_status_of_vug(&error, &text), 6);
    assert_string_equal(text, "region r exists already.");
    error = (struct vug_error){.error = ERROR_IO, .code = 100, .text = "NOT_FOUND: no member m."};
    assert_int_equal(exit_status_of_vug(&error, &text), 5);
    assert_string_equal(text, "no member m.");
}

static void a_text_without_a_reason_is_kept(void **state)
{
    (void)state;
    const char *text = NULL;
    struct vug_error error = {.error = ERROR_NOT_FOUND, .code = 100, .text = "Region not found r"};
    assert_int_equal(exit_status_of_vug(&error, &text), 5);
    assert_string_equal(text, "Region not found r");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_have_documented_statuses),
        cmocka_unit_test(a_reason_in_front_decides_and_is_cut_off),
        cmocka_unit_test(a_text_without_a_reason_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
