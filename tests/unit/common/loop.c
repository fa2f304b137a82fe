#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/loop.h"
#include "tests/lib/mem_fault.h"
#include "tests/sim/sim_loop.h"

static void count(void *arg)
{
    ++*(unsigned *)arg;
}

struct fixture {
    struct sim *sim;
    struct loop *loop;
};

static void begin(struct fixture *fixture)
{
    fixture->sim = sim_new(1);
    fixture->loop = sim_loop_new(fixture->sim, sim_node_new(fixture->sim, "node"));
}

static void end(struct fixture *fixture)
{
    sim_loop_free(fixture->loop);
    sim_free(fixture->sim);
}

static void a_timer_fires_once_for_each_set(void **state)
{
    struct fixture fixture;
    struct loop_timer timer;
    unsigned fired = 0;

    (void)state;
    begin(&fixture);
    assert_int_equal(loop_timer_init(&timer, fixture.loop, count, &fired), OK);
    loop_timer_set(&timer, 10);
    loop_timer_set(&timer, 20);
    sim_run_until(fixture.sim, NULL, NULL, 10000);
    assert_int_equal(fired, 1);
    loop_timer_set(&timer, 10);
    loop_timer_clear(&timer);
    sim_run_until(fixture.sim, NULL, NULL, 10000);
    assert_int_equal(fired, 1);
    loop_timer_fini(&timer);
    end(&fixture);
}

static void ending_a_timer_that_never_began_is_safe(void **state)
{
    struct fixture fixture;
    struct loop_timer timer = {0};
    unsigned fired = 0;

    (void)state;
    loop_timer_fini(&timer);
    begin(&fixture);
    mem_fault_fail_at(1);
    assert_int_equal(loop_timer_init(&timer, fixture.loop, count, &fired), ERROR_MEMORY);
    mem_fault_fail_at(0);
    loop_timer_fini(&timer);
    assert_int_equal(loop_timer_init(&timer, fixture.loop, count, &fired), OK);
    loop_timer_set(&timer, 10);
    loop_timer_fini(&timer);
    loop_timer_fini(&timer);
    sim_run_until(fixture.sim, NULL, NULL, 10000);
    assert_int_equal(fired, 0);
    end(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_timer_fires_once_for_each_set),
        cmocka_unit_test(ending_a_timer_that_never_began_is_safe),
    };

    return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
