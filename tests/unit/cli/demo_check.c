/* The second opinion of the demo, held to small tables whose averages are known. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/demo_check.h"

static char problem[256];

static enum error check_text(const char *text, int64_t start_time, struct demo_check **check)
{
    char path[] = "/tmp/vug-demo-check-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    enum error error = demo_check_new(path, start_time, check, problem);
    unlink(path);
    return error;
}

static bool matches(const struct demo_check *check, const char *key, double average)
{
    return demo_check_matches(check, slice_text(key), &average);
}

static const char readings[] =
    "id,timestamp,temperature\ns1,1000,20\ns2,1000,30\ns1,2000,22\ns1,3000,\n"
    "s2,2500,31\ns1,4000,27\n";

static void averages_each_station(void **state)
{
    (void)state;
    struct demo_check *check = NULL;
    assert_int_equal(check_text(readings, 0, &check), OK);
    assert_int_equal(demo_check_key_count(check), 2);
    assert_int_equal(demo_check_rows(check, 0), 4);
    assert_true(matches(check, "s1", 23));
    assert_true(matches(check, "s2", 30.5));
    assert_false(matches(check, "s2", 30));
    assert_false(matches(check, "s3", 30));
    assert_false(demo_check_matches(check, slice_text("s1"), NULL));
    demo_check_free(check);
}

static void leaves_out_what_is_before_the_start(void **state)
{
    (void)state;
    struct demo_check *check = NULL;
    assert_int_equal(check_text(readings, 2000, &check), OK);
    assert_true(matches(check, "s1", 24.5));
    assert_true(matches(check, "s2", 31));
    assert_int_equal(demo_check_rows(check, 0), 3);
    demo_check_free(check);
}

static void a_station_without_temperatures_is_null(void **state)
{
    (void)state;
    struct demo_check *check = NULL;
    assert_int_equal(check_text("id,timestamp,temperature\ns1,1,\n", 0, &check), OK);
    assert_true(demo_check_matches(check, slice_text("s1"), NULL));
    assert_false(matches(check, "s1", 0));
    demo_check_free(check);
}

static void is_exact_to_the_last_digits(void **state)
{
    (void)state;
    struct demo_check *check = NULL;
    assert_int_equal(
        check_text("temperature,id,timestamp\r\n0.1,\"a\",1\r\n0.2,\"a\",2\r\n0.3,\"a\",3\r\n", 0,
                   &check),
        OK);
    assert_true(matches(check, "a", 0.2));
    assert_false(matches(check, "a", nextafter(nextafter(nextafter(0.2, 1), 1), 1)));
    assert_false(matches(check, "a", NAN));
    demo_check_free(check);
}

static void negative_readings_and_an_average_near_zero(void **state)
{
    (void)state;
    struct demo_check *check = NULL;
    assert_int_equal(check_text("id,timestamp,temperature\na,1,-5.5\na,2,5.5\n", 0, &check), OK);
    assert_true(matches(check, "a", 0));
    assert_false(matches(check, "a", 1e-9));
    demo_check_free(check);
}

static void refuses_what_it_cannot_read(void **state)
{
    (void)state;
    struct demo_check *check = NULL;
    assert_int_equal(check_text("id,time\na,1\n", 0, &check), ERROR_INVALID);
    assert_int_equal(check_text("id,timestamp,temperature\na,1,warm\n", 0, &check), ERROR_INVALID);
    assert_non_null(strstr(problem, "line 2"));
    assert_int_equal(check_text("id,timestamp,temperature\na,1\n", 0, &check), ERROR_INVALID);
    assert_int_equal(demo_check_new("/nonexistent/readings", 0, &check, problem), ERROR_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(averages_each_station),
        cmocka_unit_test(leaves_out_what_is_before_the_start),
        cmocka_unit_test(a_station_without_temperatures_is_null),
        cmocka_unit_test(is_exact_to_the_last_digits),
        cmocka_unit_test(negative_readings_and_an_average_near_zero),
        cmocka_unit_test(refuses_what_it_cannot_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
