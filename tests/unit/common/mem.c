#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

/* mem.c itself is the system's heap; what is tested here is the one that takes its place in all
 * tests. */
#include <pthread.h>
#include <string.h>

#include "tests/lib/mem_fault.h"

static void exactly_the_nth_call_fails(void **state)
{
    void *blocks[5];
    long live = mem_fault_live();

    (void)state;
    mem_fault_fail_at(3);
    for (int i = 0; i < 5; i++)
        blocks[i] = mem_alloc(10);
    assert_int_equal(mem_fault_calls(), 5);
    assert_int_equal(mem_fault_live(), live + 4);
    assert_null(blocks[2]);
    for (int i = 0; i < 5; i++) {
        assert_true((blocks[i] == NULL) == (i == 2));
        mem_free(blocks[i]);
    }
    assert_int_equal(mem_fault_live(), live);
}

static void every_call_from_the_nth_on_fails(void **state)
{
    char *block;

    (void)state;
    mem_fault_fail_from(2);
    block = mem_strndup("text", 4);
    assert_string_equal(block, "text");
    assert_null(mem_zalloc(1));
    assert_null(mem_array(1, 1));
    assert_null(mem_realloc(block, 100));
    assert_null(mem_strndup("x", 1));
    assert_string_equal(block, "text");
    mem_fault_fail_from(0);
    block = mem_realloc(block, 100);
    assert_string_equal(block, "text");
    mem_free(block);
}

static void an_array_too_large_for_the_address_space_is_no_memory(void **state)
{
    (void)state;
    assert_null(mem_array(SIZE_MAX / 2, 3));
}

static void *churn(void *arg)
{
    (void)arg;
    for (int i = 0; i < 10000; i++)
        mem_free(mem_realloc(mem_alloc(1), 50));
    return NULL;
}

static void threads_are_counted_right(void **state)
{
    long live = mem_fault_live();
    pthread_t threads[3];

    (void)state;
    mem_fault_fail_at(0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, churn, NULL), 0);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(mem_fault_live(), live);
    assert_int_equal(mem_fault_calls(), 60000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exactly_the_nth_call_fails),
        cmocka_unit_test(every_call_from_the_nth_on_fails),
        cmocka_unit_test(an_array_too_large_for_the_address_space_is_no_memory),
        cmocka_unit_test(threads_are_counted_right),
    };

    return cmocka_run_group_tests_name("mem", tests, NULL, NULL);
}
