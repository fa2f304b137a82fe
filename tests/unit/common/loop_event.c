#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/loop.h"
#include "common/loop_event.h"
#include "tests/lib/mem_fault.h"

struct fixture {
    struct loop *loop;
    struct loop_task tasks[8];
    struct loop_timer timer, second;
    char text[64];
    size_t len;
    uint64_t start_us, fired_us;
    size_t count;
    long live_before;
};

static void note(struct fixture *fixture, char c)
{
    assert_true(fixture->len < sizeof fixture->text - 1);
    assert_true(loop_is_current(fixture->loop));
    fixture->text[fixture->len++] = c;
}

static void stop(void *arg)
{
    struct fixture *fixture = arg;

    loop_event_stop(fixture->loop);
}

static void note_a(void *arg)
{
    note(arg, 'a');
}

static void note_b(void *arg)
{
    note(arg, 'b');
}

static void note_c(void *arg)
{
    note(arg, 'c');
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    static loop_fn *const functions[] = {note_a, note_b, note_c, stop};

    fixture->live_before = mem_fault_live();
    assert_int_equal(loop_event_new(&fixture->loop), OK);
    for (int i = 0; i < 4; i++)
        fixture->tasks[i] = (struct loop_task){.on_run = functions[i], .arg = fixture};
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    loop_timer_fini(&fixture->timer);
    loop_timer_fini(&fixture->second);
    loop_event_free(fixture->loop);
    assert_int_equal(mem_fault_live(), fixture->live_before);
    free(fixture);
    return 0;
}

static void posted_tasks_run_in_the_order_of_the_calls(void **state)
{
    struct fixture *fixture = *state;

    loop_post(fixture->loop, &fixture->tasks[2]);
    loop_post(fixture->loop, &fixture->tasks[0]);
    loop_post(fixture->loop, &fixture->tasks[1]);
    assert_true(fixture->tasks[0].queued);
    loop_post(fixture->loop, &fixture->tasks[3]);
    loop_event_run(fixture->loop);
    assert_string_equal(fixture->text, "cab");
    assert_false(fixture->tasks[0].queued);
}

static void defer_all(void *arg)
{
    struct fixture *fixture = arg;

    note(fixture, '1');
    loop_event_defer_last(fixture->loop, &fixture->tasks[2]);
    loop_defer(fixture->loop, &fixture->tasks[0]);
    loop_defer(fixture->loop, &fixture->tasks[1]);
    loop_post(fixture->loop, &fixture->tasks[5]);
}

static void note_second(void *arg)
{
    note(arg, '2');
    stop(arg);
}

static void deferred_tasks_run_at_the_end_of_the_turn_and_the_last_ones_after_them(void **state)
{
    struct fixture *fixture = *state;

    fixture->tasks[4] = (struct loop_task){.on_run = defer_all, .arg = fixture};
    fixture->tasks[5] = (struct loop_task){.on_run = note_second, .arg = fixture};
    loop_post(fixture->loop, &fixture->tasks[4]);
    loop_event_run(fixture->loop);
    assert_string_equal(fixture->text, "1abc2");
}

static void defer_again(void *arg)
{
    struct fixture *fixture = arg;

    note(fixture, '.');
    if (fixture->len == 5)
        stop(fixture);
    else
        loop_defer(fixture->loop, &fixture->tasks[4]);
}

static void a_task_deferred_at_the_end_of_a_turn_runs_without_waiting(void **state)
{
    struct fixture *fixture = *state;

    /* Nothing else is there that could wake the loop. */
    fixture->tasks[4] = (struct loop_task){.on_run = defer_again, .arg = fixture};
    loop_defer(fixture->loop, &fixture->tasks[4]);
    loop_event_run(fixture->loop);
    assert_string_equal(fixture->text, ".....");
}

static void tasks_whose_owners_are_gone_are_forgotten(void **state)
{
    struct fixture *fixture = *state;
    struct loop_task *gone = calloc(3, sizeof *gone);

    assert_non_null(gone);
    for (int i = 0; i < 3; i++)
        gone[i] = (struct loop_task){.on_run = defer_again, .arg = fixture};
    loop_post(fixture->loop, &gone[0]);
    loop_defer(fixture->loop, &gone[1]);
    loop_event_defer_last(fixture->loop, &gone[2]);
    free(gone);
    loop_event_forget_tasks(fixture->loop);
    loop_post(fixture->loop, &fixture->tasks[3]);
    loop_event_run(fixture->loop);
    assert_string_equal(fixture->text, "");
}

enum { POSTS = 20000, THREADS = 3 };

struct poster {
    struct fixture *fixture;
    struct loop_task *tasks;
    size_t index;
};

struct posted {
    struct fixture *fixture;
    size_t thread, number;
};

static size_t next_of_thread[THREADS];

static void count_posted(void *arg)
{
    struct posted *posted = arg;

    /* The posts of one thread keep their order. */
    assert_int_equal(posted->number, next_of_thread[posted->thread]);
    next_of_thread[posted->thread]++;
    if (++posted->fixture->count == POSTS * THREADS)
        loop_event_stop(posted->fixture->loop);
}

static void *post_all(void *arg)
{
    struct poster *poster = arg;

    for (size_t i = 0; i < POSTS; i++)
        loop_post(poster->fixture->loop, &poster->tasks[i]);
    return NULL;
}

static void posts_from_other_threads_all_arrive_in_order(void **state)
{
    struct fixture *fixture = *state;
    struct poster posters[THREADS];
    struct posted *posted = calloc(POSTS * THREADS, sizeof *posted);
    struct loop_task *tasks = calloc(POSTS * THREADS, sizeof *tasks);
    pthread_t threads[THREADS];

    memset(next_of_thread, 0, sizeof next_of_thread);
    for (size_t i = 0; i < POSTS * THREADS; i++) {
        posted[i] = (struct posted){fixture, i / POSTS, i % POSTS};
        tasks[i] = (struct loop_task){.on_run = count_posted, .arg = &posted[i]};
    }
    for (size_t i = 0; i < THREADS; i++) {
        posters[i] = (struct poster){fixture, tasks + i * POSTS, i};
        assert_int_equal(pthread_create(&threads[i], NULL, post_all, &posters[i]), 0);
    }
    loop_event_run(fixture->loop);
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(fixture->count, POSTS * THREADS);
    free(tasks);
    free(posted);
}

static void on_fire(void *arg)
{
    struct fixture *fixture = arg;

    fixture->count++;
    fixture->fired_us = loop_now_us(fixture->loop);
    loop_event_stop(fixture->loop);
}

static void a_timer_fires_once_and_never_early(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(loop_timer_init(&fixture->timer, fixture->loop, on_fire, fixture), OK);
    for (uint64_t delay_us = 0; delay_us < 12000; delay_us += 1700) {
        fixture->count = 0;
        fixture->start_us = loop_now_us(fixture->loop);
        loop_timer_set(&fixture->timer, delay_us);
        loop_event_run(fixture->loop);
        assert_int_equal(fixture->count, 1);
        assert_true(fixture->fired_us - fixture->start_us >= delay_us);
    }
}

static void a_cleared_timer_stays_silent_and_a_replaced_one_fires_at_its_new_time(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(loop_timer_init(&fixture->timer, fixture->loop, note_a, fixture), OK);
    assert_int_equal(loop_timer_init(&fixture->second, fixture->loop, on_fire, fixture), OK);
    loop_timer_set(&fixture->timer, 1000);
    loop_timer_clear(&fixture->timer);
    loop_timer_set(&fixture->second, UINT64_C(3600000000));
    loop_timer_set(&fixture->second, 5000);
    loop_event_run(fixture->loop);
    assert_int_equal(fixture->count, 1);
    assert_string_equal(fixture->text, "");
}

static void burn(struct fixture *fixture)
{
    struct timespec now;
    uint64_t start_ns = 0, now_ns;

    (void)fixture;
    do {
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
        now_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
        if (start_ns == 0)
            start_ns = now_ns;
    } while (now_ns - start_ns < 3000000);
}

static void work_for_a_while(void *arg)
{
    struct fixture *fixture = arg;

    fixture->start_us = loop_now_us(fixture->loop);
    burn(fixture);
    fixture->fired_us = loop_now_us(fixture->loop);
    loop_event_stop(fixture->loop);
}

static void the_clock_stands_during_a_turn_and_long_turns_are_measured(void **state)
{
    struct fixture *fixture = *state;

    fixture->tasks[4] = (struct loop_task){.on_run = work_for_a_while, .arg = fixture};
    loop_post(fixture->loop, &fixture->tasks[4]);
    loop_event_run(fixture->loop);
    assert_true(fixture->start_us == fixture->fired_us);
    assert_true(loop_turn_max_us(fixture->loop) >= 3000);
}

static void note_time(void *arg)
{
    struct fixture *fixture = arg;

    fixture->fired_us = loop_now_us(fixture->loop);
    stop(fixture);
}

static void use_clock_before_the_wait(void *arg)
{
    struct fixture *fixture = arg;

    fixture->start_us = loop_now_us(fixture->loop);
}

static void a_use_of_the_clock_before_the_wait_does_not_survive_it(void **state)
{
    struct fixture *fixture = *state;

    fixture->tasks[4] = (struct loop_task){.on_run = use_clock_before_the_wait, .arg = fixture};
    assert_int_equal(loop_timer_init(&fixture->timer, fixture->loop, note_time, fixture), OK);
    loop_timer_set(&fixture->timer, 4000);
    loop_defer(fixture->loop, &fixture->tasks[4]);
    loop_event_run(fixture->loop);
    assert_true(fixture->fired_us > fixture->start_us);
}

static void random_bytes_differ(void **state)
{
    struct fixture *fixture = *state;
    uint8_t a[32] = {0}, b[32] = {0};

    loop_random(fixture->loop, a, sizeof a);
    loop_random(fixture->loop, b, sizeof b);
    assert_memory_not_equal(a, b, sizeof a);
}

static void a_signal_runs_its_callback_on_the_loop(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(loop_event_signal(fixture->loop, SIGUSR1, on_fire, fixture), OK);
    kill(getpid(), SIGUSR1);
    loop_event_run(fixture->loop);
    assert_int_equal(fixture->count, 1);
}

static void what_can_be_read_runs_its_callback_until_it_is(void **state)
{
    struct fixture *fixture = *state;
    int ends[2];

    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "x", 1), 1);
    assert_int_equal(loop_event_readable(fixture->loop, ends[0], on_fire, fixture), OK);
    loop_event_run(fixture->loop);
    loop_event_run(fixture->loop);
    assert_int_equal(fixture->count, 2);
    close(ends[1]);
    close(ends[0]);
}

static void *is_current_elsewhere(void *arg)
{
    struct fixture *fixture = arg;

    fixture->count = loop_is_current(fixture->loop);
    return NULL;
}

static void ask_from_another_thread(void *arg)
{
    struct fixture *fixture = arg;
    pthread_t thread;

    assert_true(loop_is_current(fixture->loop));
    fixture->count = 7;
    assert_int_equal(pthread_create(&thread, NULL, is_current_elsewhere, fixture), 0);
    pthread_join(thread, NULL);
    loop_event_stop(fixture->loop);
}

static void only_the_loops_own_thread_is_current(void **state)
{
    struct fixture *fixture = *state;

    fixture->tasks[4] = (struct loop_task){.on_run = ask_from_another_thread, .arg = fixture};
    loop_post(fixture->loop, &fixture->tasks[4]);
    loop_event_run(fixture->loop);
    assert_int_equal(fixture->count, 0);
}

static void a_stop_before_the_run_is_not_lost(void **state)
{
    struct fixture *fixture = *state;

    loop_event_stop(fixture->loop);
    loop_event_run(fixture->loop);
    loop_post(fixture->loop, &fixture->tasks[0]);
    loop_post(fixture->loop, &fixture->tasks[3]);
    loop_event_run(fixture->loop);
    assert_string_equal(fixture->text, "a");
}

static void failed_allocations_are_returned(void **state)
{
    struct fixture *fixture = *state;
    struct loop_timer timer;
    struct loop *loop;

    mem_fault_fail_at(1);
    assert_int_equal(loop_event_new(&loop), ERROR_MEMORY);
    mem_fault_fail_at(1);
    assert_int_equal(loop_timer_init(&timer, fixture->loop, note_a, fixture), ERROR_MEMORY);
    loop_timer_fini(&timer);
    mem_fault_fail_at(1);
    assert_int_equal(loop_event_signal(fixture->loop, SIGUSR2, note_a, fixture), ERROR_MEMORY);
    mem_fault_fail_at(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        T(posted_tasks_run_in_the_order_of_the_calls),
        T(deferred_tasks_run_at_the_end_of_the_turn_and_the_last_ones_after_them),
        T(a_task_deferred_at_the_end_of_a_turn_runs_without_waiting),
        T(tasks_whose_owners_are_gone_are_forgotten),
        T(posts_from_other_threads_all_arrive_in_order),
        T(a_timer_fires_once_and_never_early),
        T(a_cleared_timer_stays_silent_and_a_replaced_one_fires_at_its_new_time),
        T(the_clock_stands_during_a_turn_and_long_turns_are_measured),
        T(a_use_of_the_clock_before_the_wait_does_not_survive_it),
        T(random_bytes_differ),
        T(a_signal_runs_its_callback_on_the_loop),
        T(what_can_be_read_runs_its_callback_until_it_is),
        T(only_the_loops_own_thread_is_current),
        T(a_stop_before_the_run_is_not_lost),
        T(failed_allocations_are_returned),
#undef T
    };

    return cmocka_run_group_tests_name("loop_event", tests, NULL, NULL);
}
